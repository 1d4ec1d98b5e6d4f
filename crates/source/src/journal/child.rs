//! The `journalctl` child: how it is started, heard and ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::export::Parser;
use super::{JournalOptions, JournalStart};
use crate::{Error, Result};

/// Bytes of its standard error that are kept.
const SAID_MAX: usize = 4 << 10;
/// Characters of it that are shown.
const SHOWN_MAX: usize = 300;
/// Bytes read from it at once.
const READ_BYTES: usize = 64 << 10;
/// Wish for the size of its output pipe.
const PIPE_BYTES: usize = 1 << 20;
/// The longest wait for a probe.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// A running child.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    said: Vec<u8>,
    pub(super) parser: Parser,
    bytes: u64,
}

impl Child {
    /// Starts `journalctl --follow`; its pipes join `epoll`.
    pub(super) fn start(options: &JournalOptions, start: &JournalStart, epoll: &OwnedFd) -> Result<Child> {
        let mut command = command(options)?;
        // Not `--output-fields`: it looks each field up in each entry, and halves the rate (measured with 252).
        command.args(["--output=export", "--follow"]);
        match start {
            JournalStart::Tail => command.arg("--lines=0"),
            // Entries of the same second that are older are dropped by nobody: they are old for the jail anyway.
            JournalStart::Since(at) => command.args(["--no-tail".to_owned(), format!("--since=@{}", at.secs().max(0))]),
            // `--after-cursor` of old versions skips an entry if the cursor's own is gone.
            JournalStart::After { cursor, .. } => command.args(["--no-tail".to_owned(), format!("--cursor={cursor}")]),
        };
        command.args(options.arguments()?.1);
        let (process, stdout, stderr) = spawn(command)?;
        for fd in [&stdout, &stderr] {
            let watched = rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK)
                .and_then(|()| epoll::add(epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN));
            watched.map_err(|e| Error::Io { what: "set-up", path: "journal reader".into(), source: e.into() })?;
        }
        // More per wake-up; no matter if it is refused.
        rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES).ok();
        Ok(Child { process, stdout, stderr: Some(stderr), said: Vec::new(), parser: Parser::new(), bytes: 0 })
    }

    /// Reads once into the parser. 0: the child has closed its output.
    pub(super) fn fill(&mut self) -> std::result::Result<usize, Errno> {
        let room = self.parser.room();
        room.reserve(READ_BYTES);
        let n = rustix::io::read(&self.stdout, rustix::buffer::spare_capacity(room))?;
        self.bytes = self.bytes.saturating_add(u64::try_from(n).unwrap_or(0));
        Ok(n)
    }

    /// Has it ever written an entry (or part of one)?
    pub(super) fn spoke(&self) -> bool {
        self.bytes > 0
    }

    /// Takes in what stands in its standard error.
    pub(super) fn hear(&mut self, epoll: &OwnedFd) {
        let Some(stderr) = &self.stderr else { return };
        let mut room = [0; 1024];
        loop {
            match rustix::io::read(stderr, &mut room) {
                Ok(0) => break,
                Ok(n) => {
                    self.said.extend_from_slice(room.get(..n).unwrap_or_default());
                    let surplus = self.said.len().saturating_sub(SAID_MAX);
                    self.said.drain(..surplus);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => break,
            }
        }
        // Closed: it would be readable for ever.
        epoll::delete(epoll, stderr).ok();
        self.stderr = None;
    }

    /// A trouble that it complained of and goes on with.
    pub(super) fn complaint(&self) -> Option<Error> {
        let said = String::from_utf8_lossy(&self.said);
        if said.contains("No journal files were") || said.contains("not seeing messages from other users") {
            Some(trouble_of(String::new(), shown(&self.said)))
        } else {
            None
        }
    }

    /// Ends it; how it ended (if by itself) and what it said.
    pub(super) fn end(mut self, epoll: &OwnedFd) -> (String, String) {
        // It may just have closed its output on the way out: then its own status counts.
        let by_itself = self.process.try_wait();
        self.process.kill().ok();
        let status = match (by_itself, self.process.wait()) {
            (Ok(Some(status)), _) | (_, Ok(status)) => status.to_string(),
            (_, Err(e)) => e.to_string(),
        };
        self.hear(epoll);
        (status, shown(&self.said))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Asks once whether there is anything to read.
pub(super) fn probe(options: &JournalOptions) -> Result<()> {
    let mut command = command(options)?;
    // Not in export format: that keeps quiet about a missing journal.
    command.args(["--output=short", "--lines=1"]).args(options.arguments()?.1);
    let (mut process, stdout, stderr) = spawn(command)?;
    drop(stdout);
    let give_up = Instant::now() + PROBE_MAX;
    let mut said = Vec::new();
    let mut room = [0; 1024];
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&stderr, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => break,
            Err(Errno::INTR) => continue,
            Ok(_) | Err(_) => {}
        }
        match rustix::io::read(&stderr, &mut room) {
            Ok(0) => break,
            Ok(n) if said.len() < SAID_MAX => said.extend_from_slice(room.get(..n).unwrap_or_default()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    if Instant::now() >= give_up {
        process.kill().ok();
    }
    let status = process.wait().map_err(|source| Error::NoJournalctl { source })?;
    let text = shown(&said);
    let complained = text.contains("No journal files were") || text.contains("not seeing messages from other users");
    // Closing its output early may end it by a broken pipe, which is no complaint.
    let failed = status.code().is_some_and(|code| code != 0) && !text.is_empty();
    if complained || failed { Err(trouble_of(status.to_string(), text)) } else { Ok(()) }
}

/// `journalctl` with what all calls share.
#[expect(clippy::disallowed_methods, reason = "this is the one process that source starts")]
pub(super) fn command(options: &JournalOptions) -> Result<Command> {
    let program = options.program.clone().unwrap_or_else(|| "journalctl".into());
    let mut command = Command::new(program);
    command.arg("--no-pager");
    command.args(options.arguments()?.0);
    // Its complaints are read below, in English.
    command.env("LC_ALL", "C").env_remove("SYSTEMD_LOG_LEVEL").env_remove("SYSTEMD_LOG_TARGET").current_dir("/");
    // A ^C at our terminal is for us.
    command.process_group(0);
    Ok(command)
}

pub(super) fn spawn(mut command: Command) -> Result<(process::Child, OwnedFd, OwnedFd)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().map_err(|source| Error::NoJournalctl { source })?;
    match (process.stdout.take(), process.stderr.take()) {
        (Some(stdout), Some(stderr)) => Ok((process, stdout.into(), stderr.into())),
        _ => {
            process.kill().ok();
            process.wait().ok();
            Err(Error::NoJournalctl { source: io::Error::other("it has no output") })
        }
    }
}

/// What the end or the complaint of a child means.
pub(super) fn trouble_of(how: String, said: String) -> Error {
    if said.contains("insufficient permissions") || said.contains("not seeing messages from other users") {
        Error::NoJournal { said, group: Some("systemd-journal".into()) }
    } else if said.contains("No journal files were") {
        Error::NoJournal { said, group: None }
    } else {
        Error::JournalEnded { how, said }
    }
}

/// An equal error, for handing out while it is kept.
pub(super) fn copy_of(error: &Error) -> Error {
    match error {
        Error::NoJournal { said, group } => Error::NoJournal { said: said.clone(), group: group.clone() },
        Error::JournalEnded { how, said } => Error::JournalEnded { how: how.clone(), said: said.clone() },
        Error::NoJournalctl { source } => {
            Error::NoJournalctl { source: io::Error::new(source.kind(), source.to_string()) }
        }
        other => Error::JournalEnded { how: other.to_string(), said: String::new() },
    }
}

/// Text of a child on one line, without control characters, the last [`SHOWN_MAX`] characters.
pub(super) fn shown(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let words: Vec<&str> = text.split(|c: char| c.is_control()).map(str::trim).filter(|w| !w.is_empty()).collect();
    let line = words.join(", ");
    let skip = line.chars().count().saturating_sub(SHOWN_MAX);
    let line: String = line.chars().skip(skip).collect();
    line.trim_end_matches('.').to_owned()
}
