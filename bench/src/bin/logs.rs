//! Writes a log: `logs auth|auth-iso|auth-dense|access|access-dense LINES ATTACK_PER_MILLE FILE [TRUTH]`
//!
//! In a dense log few attackers try often, so that every guard, whatever it takes for an attack, bans all of them.
//! The file `TRUTH` gets one line per attacker: address and number of attacks, by address.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{BufWriter, Write as _};

use anyhow::{Context as _, Result, bail};
use stockade_bench::logs::{self, Stamp, Wish};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, lines, attack, file, truth @ ..] = words.as_slice() else {
        bail!("logs auth|auth-iso|auth-dense|access|access-dense LINES ATTACK_PER_MILLE FILE [TRUTH]");
    };
    let mut wish = Wish {
        lines: lines.parse().context("LINES")?,
        attack_per_mille: attack.parse().context("ATTACK_PER_MILLE")?,
        ..Wish::default()
    };
    let (kind, dense) = kind.strip_suffix("-dense").map_or((kind.as_str(), false), |kind| (kind, true));
    if dense {
        (wish.attackers, wish.lines_a_second) = (20, 1000);
    }
    if kind == "auth-iso" {
        wish.stamp = Stamp::Iso;
    }
    let mut out = BufWriter::new(File::create(file).with_context(|| format!("{file} can't be written"))?);
    let found = match kind {
        "auth" | "auth-iso" => logs::auth(&wish, &mut out)?,
        "access" => logs::access(&wish, &mut out)?,
        other => bail!("{other} is no kind of log"),
    };
    out.flush()?;
    if let [truth] = truth {
        let mut out = BufWriter::new(File::create(truth).with_context(|| format!("{truth} can't be written"))?);
        for (address, attacks) in found {
            writeln!(out, "{address} {attacks}")?;
        }
        out.flush()?;
    }
    Ok(())
}
