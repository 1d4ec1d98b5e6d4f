//! `export`: bans for other programs, hosts and the way back.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use stockade_core::GroupValue;
use stockade_store::{Reader, StoredBan};

use super::term::{note, say};
use super::{Common, Exit};
use crate::places::Places;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade export > bans.json                        every standing ban, one JSON object a line\n  \
    stockade export --form text --jail sshd            addresses only, one a line\n  \
    stockade export --form fail2ban -o bans.sqlite3    a database that fail2ban reads\n  \
    stockade export | ssh other.example stockade import -\n\n\
    Reads the database; the daemon may run or not.";

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One JSON object a line, with everything that is known
    Json,
    /// Addresses only, one a line, sorted
    Text,
    /// A database for fail2ban (schema 4); needs --output
    Fail2ban,
}

/// Words of `export`.
#[derive(Args)]
pub(crate) struct ExportArgs {
    /// What to write
    #[arg(long, value_enum, default_value_t = Form::Json)]
    form: Form,
    /// Only bans of this jail
    #[arg(long)]
    jail: Option<String>,
    /// Bans that have ended, too (what counts for `bantime.increment`)
    #[arg(long)]
    ended: bool,
    /// The file to make [default: standard output]
    #[arg(short, long, value_name = "FILE", required_if_eq("form", "fail2ban"))]
    output: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl ExportArgs {
    fn wants(&self, ban: &StoredBan<'_>) -> bool {
        self.jail.as_deref().is_none_or(|jail| jail == ban.jail.as_str())
            && (ban.stands(crate::daemon::now()) || self.ended && !ban.lifted)
    }
}

/// Exports.
pub(crate) fn export(args: &ExportArgs) -> Result<Exit> {
    let Some(database) = Places::of(args.common.conf.as_deref())?.database else {
        bail!("this tree keeps its database in memory (dbfile); there is nothing to export");
    };
    let reader = Reader::open(&database).with_context(|| format!("{} can't be exported", database.display()))?;
    if let Some(path) = args.output.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        bail!("{} exists already and is not overwritten; choose another name", path.display());
    }
    if args.form == Form::Fail2ban {
        let output = args.output.as_deref().context("--form fail2ban needs --output FILE")?;
        let mut count = 0_u64;
        stockade_store::export(output, |each| {
            reader.bans(|ban| {
                if args.wants(&ban) {
                    count += 1;
                    each(ban);
                }
            })
        })?;
        if args.common.json {
            say(json!({ "bans": count, "file": output }).to_string());
        } else {
            note(format!("{count} bans written to {}", output.display()));
        }
        return Ok(Exit::Done);
    }
    let mut lines: Vec<String> = Vec::new();
    reader.bans(|ban| {
        if args.wants(&ban) {
            lines.push(if args.form == Form::Json { row(&ban).to_string() } else { ban.id.to_string() });
        }
    })?;
    lines.sort();
    lines.dedup();
    match &args.output {
        None => lines.iter().for_each(say),
        Some(path) => {
            write(path, &lines).with_context(|| format!("{} can't be written", path.display()))?;
            note(format!("{} bans written to {}", lines.len(), path.display()));
        }
    }
    Ok(Exit::Done)
}

/// One ban as JSON: times in seconds since the epoch, `bantime` -1 for ever and
/// `null` where the jail decides.
fn row(ban: &StoredBan<'_>) -> Value {
    let evidence = ban.evidence();
    let group = |value: &GroupValue| match value {
        GroupValue::Text(text) => json!(text),
        GroupValue::List(list) => json!(list),
    };
    let groups: Map<String, Value> =
        evidence.groups.iter().map(|(name, value)| (name.to_string(), group(value))).collect();
    json!({
        "jail": ban.jail.as_str(),
        "id": ban.id.to_string(),
        "ip": evidence.ip.map(|ip| ip.to_string()),
        "time": ban.time.as_secs_f64(),
        "bantime": ban.bantime.map(stockade_core::BanTime::secs),
        "count": ban.count,
        "failures": evidence.failures,
        "matches": evidence.matches,
        "groups": groups,
    })
}

/// A new file that only its owner reads: it holds captured text.
fn write(path: &std::path::Path, lines: &[String]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    let mut out = std::io::BufWriter::new(file);
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
