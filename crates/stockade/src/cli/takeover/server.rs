//! Whoever answers at the tree's socket: which of the two guards it is, whom it has banned, and its end.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use stockade_core::{FailureId, JailName};
use stockade_wire::Value;
use stockade_wire::pickle::Answer;

use crate::cli::fail2ban::connection::{Connection, Trouble, in_words};

/// How long an answer may take; a list of very many bans takes long in the original.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Original,
    Stockade,
}

/// One ban as a guard lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) jail: JailName,
    pub(super) id: FailureId,
    /// When it began and how long it lasts, in seconds; negative: for ever. `None` if it was not told.
    pub(super) time: Option<(i64, i64)>,
}

/// The place where a guard answers, in the original's protocol.
pub(super) struct Server {
    socket: PathBuf,
}

impl Server {
    pub(super) fn at(socket: &Path) -> Server {
        Server { socket: socket.to_owned() }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Who answers; `None` if nobody does.
    pub(super) fn who(&self) -> Result<Option<Who>> {
        let Some(pid) = self.pid() else { return Ok(None) };
        let program = std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero()))
            .with_context(|| format!("who answers at {} can't be seen", self.socket.display()))?;
        let own = std::env::current_exe().ok();
        let name = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let ours = own.as_deref() == Some(&program) || name.starts_with("stockade");
        Ok(Some(if ours { Who::Stockade } else { Who::Original }))
    }

    /// The process that answers.
    pub(super) fn pid(&self) -> Option<Pid> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        rustix::net::sockopt::socket_peercred(&stream).ok().map(|credentials| credentials.pid)
    }

    fn ask(&self, words: &[&str]) -> Result<Value> {
        let what = || format!("`{}` at {}", words.join(" "), self.socket.display());
        let mut connection = Connection::open(&self.socket, Some(PATIENCE)).with_context(what)?;
        let command: Vec<Value> = words.iter().map(|word| Value::Str((*word).into())).collect();
        match connection.ask(&command) {
            Ok(Answer::Result(value)) => Ok(value),
            Ok(Answer::Refused(refusal)) => Err(anyhow!("{}: refused ({})", what(), refusal.class)),
            Ok(Answer::Other(_)) => Err(anyhow!("{}: the answer can't be understood", what())),
            Err(Trouble::Socket(error)) => Err(anyhow!("{}: {}", what(), in_words(&error))),
            Err(Trouble::Answer(why)) => Err(anyhow!("{}: {why}", what())),
        }
    }

    /// Does it answer?
    pub(super) fn answers(&self) -> bool {
        self.ask(&["ping"]).is_ok()
    }

    /// The jails that run.
    pub(super) fn jails(&self) -> Result<Vec<String>> {
        let status = self.ask(&["status"])?;
        let rows = status.as_items().unwrap_or_default();
        let list = rows.iter().filter_map(Value::as_items).find_map(|row| match row {
            [name, list] if name.as_str() == Some("Jail list") => list.as_str(),
            _ => None,
        });
        let names = list.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    }

    /// Stops or resumes reading and banning in all jails.
    pub(super) fn idle(&self, on: bool) -> Result<()> {
        for jail in self.jails()? {
            self.ask(&["set", &jail, "idle", if on { "on" } else { "off" }])?;
        }
        Ok(())
    }

    /// All bans that stand.
    pub(super) fn bans(&self) -> Result<BTreeSet<Listed>> {
        let mut all = BTreeSet::new();
        for jail in self.jails()? {
            let list = self.ask(&["get", &jail, "banip", "--with-time"])?;
            let rows = list.as_items().unwrap_or_default().iter().filter_map(Value::as_str);
            all.extend(rows.filter_map(|row| listed(&jail, row)));
        }
        Ok(all)
    }

    /// Ends it and waits until it has gone; `waiting` is called now and then.
    pub(super) fn end(&self, limit: Duration, waiting: &dyn Fn()) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        kill_process(pid, Signal::TERM)
            .with_context(|| format!("process {} can't be told to stop", pid.as_raw_nonzero()))?;
        let begin = Instant::now();
        let mut told = begin;
        while test_kill_process(pid).is_ok() && !is_dead(pid) {
            if begin.elapsed() > limit {
                bail!("process {} has not ended within {} s", pid.as_raw_nonzero(), limit.as_secs());
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                waiting();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Is nothing left of it but a number that its parent has not asked for?
fn is_dead(pid: Pid) -> bool {
    std::fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).is_err()
}

/// A local time as the original writes it, in seconds of the epoch.
fn local_time(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp().as_second())
}

/// `192.0.2.1 \t2026-11-22 10:00:00 + 600 = 2026-11-22 10:10:00`, or an id alone.
fn listed(jail: &str, row: &str) -> Option<Listed> {
    let (id, times) = row.split_once('\t').unwrap_or((row, ""));
    let id = id.trim();
    if id.is_empty() {
        return None;
    }
    let time = times.split_once(" + ").and_then(|(begin, rest)| {
        let secs = rest.split(' ').next()?.parse().ok()?;
        Some((local_time(begin.trim())?, secs))
    });
    Some(Listed { jail: JailName::new(jail), id: FailureId::parse(id), time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_list_is_a_ban() {
        let ban = listed("sshd", "192.0.2.1 \t2026-11-22 10:00:00 + 600 = 2026-11-22 10:10:00").unwrap();
        assert_eq!((ban.id.to_string().as_str(), ban.time.map(|(_, secs)| secs)), ("192.0.2.1", Some(600)));
        let ever = listed("sshd", "2001:db8::1 \t2026-11-22 10:00:00 + -1 = 9999-12-31 23:59:59").unwrap();
        assert_eq!(ever.time.map(|(_, secs)| secs), Some(-1));
        assert_eq!(listed("sshd", "someone").unwrap().time, None);
        assert_eq!(listed("sshd", ""), None);
    }
}
