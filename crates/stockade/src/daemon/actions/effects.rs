//! Which commands have an effect that stands: kept beside the database, so
//! that a restart repeats nothing and leaves nothing behind.
//!
//! A journal of lines, appended to as commands end and written anew at each
//! start. It counts for this boot of the machine only: what commands did before
//! is gone, or was done to a file and is not ours to judge. It is not flushed to
//! the disk for the same reason.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_core::{FailureId, Net};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::runner::ActionState;

use crate::plain_file;

/// The first word of the file.
const MAGIC: &str = "stockade-actions-1";
/// What is read of a file at most.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Lines that may pile up before the file is written anew, beside twice those that count.
const LINES_SLACK: usize = 100_000;

/// What one action has done and not undone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Effect {
    /// The action as it was then.
    pub(super) spec: ActionSpec,
    /// What the runner said it has in force.
    pub(super) state: ActionState,
    /// Whose ban was carried out, with the address where the id is something else.
    pub(super) bans: HashMap<FailureId, Option<Net>>,
}

/// The file.
#[derive(Debug, Default)]
pub(super) struct Effects {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    lines: usize,
}

impl Effects {
    /// Reads what an earlier process of this boot left; `None` keeps nothing.
    pub(super) fn open(path: Option<PathBuf>) -> (Effects, Vec<Effect>) {
        let found = path.as_deref().map(|path| read(path).unwrap_or_default()).unwrap_or_default();
        (Effects { path, file: None, lines: 0 }, found)
    }

    /// Writes the file anew with what counts now, each action under its number.
    ///
    /// # Errors
    /// If the file can't be written; then nothing is kept until the next call.
    pub(super) fn rewrite<'a>(&mut self, all: impl Iterator<Item = (u32, &'a Effect)>) -> io::Result<()> {
        self.file = None;
        self.lines = 0;
        let Some(path) = &self.path else { return Ok(()) };
        let next = path.with_extension("actions.new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = BufWriter::new(options.open(&next)?);
        writeln!(file, "{MAGIC}\t{}", boot_id())?;
        for (number, effect) in all {
            file.write_all(action_line(number, &effect.spec).as_bytes())?;
            file.write_all(state_line(number, &effect.state).as_bytes())?;
            self.lines += 2 + effect.bans.len();
            for (id, ip) in &effect.bans {
                file.write_all(ban_line(number, id, *ip).as_bytes())?;
            }
        }
        file.flush()?;
        std::fs::rename(&next, path)?;
        self.file = Some(file);
        Ok(())
    }

    /// Is it worth while to write the file anew?
    pub(super) fn is_long(&self, bans: usize) -> bool {
        self.file.is_some() && self.lines > 2 * bans + LINES_SLACK
    }

    /// What an action has in force changed.
    pub(super) fn state(&mut self, number: u32, state: &ActionState) {
        self.append(&state_line(number, state));
    }

    /// A ban was carried out.
    pub(super) fn ban(&mut self, number: u32, id: &FailureId, ip: Option<Net>) {
        self.append(&ban_line(number, id, ip));
    }

    /// A ban was undone.
    pub(super) fn unban(&mut self, number: u32, id: &FailureId) {
        self.append(&format!("-\t{number}\t{}\n", escaped(&id.to_string())));
    }

    /// An action is no more, or has no bans any more.
    pub(super) fn gone(&mut self, number: u32, bans_only: bool) {
        self.append(&format!("{}\t{number}\n", if bans_only { "0" } else { "X" }));
    }

    /// Lets a successor see what was said.
    pub(super) fn flush(&mut self) {
        if self.file.as_mut().is_some_and(|file| file.flush().is_err()) {
            self.file = None;
        }
    }

    fn append(&mut self, line: &str) {
        if let Some(file) = &mut self.file {
            self.lines += 1;
            if file.write_all(line.as_bytes()).is_err() {
                self.file = None;
            }
        }
    }
}

fn action_line(number: u32, spec: &ActionSpec) -> String {
    let mut line = format!("A\t{number}\t{}\t{}", escaped(&spec.jail), escaped(&spec.name));
    if let Some((file, arguments)) = &spec.python {
        line.push_str(&format!("\tP\t{}\t{}", escaped(file), escaped(arguments)));
    }
    for (name, value) in &spec.properties {
        line.push_str(&format!("\t=\t{}\t{}", escaped(name), escaped(value)));
    }
    line.push('\n');
    line
}

fn state_line(number: u32, state: &ActionState) -> String {
    let mut line = format!("F\t{number}");
    for (family, flags) in &state.families {
        match family {
            Some(family) => line.push_str(&format!("\tf{}\t{flags}", escaped(family))),
            None => line.push_str(&format!("\tn\t{flags}")),
        }
    }
    line.push('\n');
    line
}

fn ban_line(number: u32, id: &FailureId, ip: Option<Net>) -> String {
    match ip {
        Some(ip) => format!("+\t{number}\t{}\t{ip}\n", escaped(&id.to_string())),
        None => format!("+\t{number}\t{}\n", escaped(&id.to_string())),
    }
}

/// Reads a file of this boot that we wrote; what is damaged ends it.
fn read(path: &Path) -> Option<Vec<Effect>> {
    let file = plain_file::open_own(path).ok()?;
    let mut lines = BufReader::new(file.take(FILE_BYTES_MAX)).lines();
    if lines.next()?.ok()? != format!("{MAGIC}\t{}", boot_id()) {
        return None;
    }
    let mut all: Vec<(u32, Effect)> = Vec::new();
    for line in lines.map_while(Result::ok) {
        let mut words = line.split('\t');
        let (Some(what), Some(number)) = (words.next(), words.next().and_then(|n| n.parse().ok())) else { break };
        let words: Vec<String> = words.map(plain).collect();
        if what == "A" {
            let Some(spec) = spec_of(&words) else { break };
            match all.iter_mut().find(|(n, _)| *n == number) {
                Some((_, effect)) => effect.spec = spec,
                None => all.push((number, Effect { spec, ..Effect::default() })),
            }
            continue;
        }
        let Some((_, effect)) = all.iter_mut().find(|(n, _)| *n == number) else { continue };
        match (what, words.as_slice()) {
            ("F", words) => effect.state.families = families_of(words),
            ("+", [id]) => drop(effect.bans.insert(FailureId::parse(id), None)),
            ("+", [id, ip]) => drop(effect.bans.insert(FailureId::parse(id), FailureId::parse(ip).net())),
            ("-", [id]) => drop(effect.bans.remove(&FailureId::parse(id))),
            ("0", _) => effect.bans.clear(),
            ("X", _) => all.retain(|(n, _)| *n != number),
            _ => break,
        }
    }
    Some(all.into_iter().map(|(_, effect)| effect).collect())
}

fn spec_of(words: &[String]) -> Option<ActionSpec> {
    let (head, tail) = words.split_at_checked(2)?;
    let [jail, name] = head else { return None };
    let mut spec = ActionSpec { jail: jail.as_str().into(), name: name.as_str().into(), ..ActionSpec::default() };
    for triple in tail.chunks(3) {
        let [what, name, value] = triple else { return None };
        match what.as_str() {
            "P" => spec.python = Some((name.clone(), value.clone())),
            _ => spec.properties.push((name.clone(), value.clone())),
        }
    }
    Some(spec)
}

fn families_of(words: &[String]) -> Vec<(Option<Arc<str>>, u8)> {
    let pairs = words.chunks(2).filter_map(|pair| {
        let [family, flags] = pair else { return None };
        Some((family.strip_prefix('f').map(Arc::from), flags.parse().ok()?))
    });
    pairs.collect()
}

/// One word of a line: no tab, no line break.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn plain(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => break,
            },
            c => c,
        });
    }
    out
}

/// What tells one boot of the machine from another.
fn boot_id() -> String {
    let mut text = String::new();
    if let Ok(file) = File::open("/proc/sys/kernel/random/boot_id") {
        file.take(100).read_to_string(&mut text).unwrap_or_default();
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_again() {
        let folder = std::env::temp_dir().join(format!("stockade-effects-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.actions");
        let spec = ActionSpec {
            jail: "a\tb".into(),
            name: "fw".into(),
            properties: vec![("actionban".into(), "one\ntwo \\n\t<ip>".into()), ("x".into(), String::new())],
            python: Some(("/smtp.py".into(), "{}".into())),
        };
        let state = ActionState { families: vec![(None, 3), (Some("".into()), 1), (Some("inet6".into()), 2)] };
        let (bob, ip) = (FailureId::parse("bob\nx"), FailureId::parse("192.0.2.1"));
        let (mut effects, found) = Effects::open(Some(path.clone()));
        assert!(found.is_empty());
        let fresh = Effect { spec: spec.clone(), ..Effect::default() };
        effects.rewrite([(1, &fresh), (2, &fresh)].into_iter()).unwrap();
        effects.state(1, &state);
        effects.ban(1, &bob, ip.net());
        effects.ban(1, &ip, None);
        effects.ban(1, &FailureId::parse("192.0.2.2"), None);
        effects.unban(1, &FailureId::parse("192.0.2.2"));
        effects.gone(2, false);
        effects.flush();
        let (mut effects, found) = Effects::open(Some(path.clone()));
        let bans = [(bob, ip.net()), (ip, None)].into();
        assert_eq!(found, [Effect { spec, state, bans }]);
        effects.rewrite([(7, &found[0])].into_iter()).unwrap();
        assert_eq!(Effects::open(Some(path.clone())).1, found);
        effects.gone(7, true);
        effects.flush();
        assert!(Effects::open(Some(path.clone())).1[0].bans.is_empty());
        std::fs::write(&path, format!("{MAGIC}\tanother boot\n")).unwrap();
        assert!(Effects::open(Some(path)).1.is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
