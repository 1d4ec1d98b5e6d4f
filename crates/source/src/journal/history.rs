//! What the journal holds now, read once from its first entry to its last.

use std::process;
use std::sync::Arc;

use rustix::io::Errno;
use stockade_core::block::{Block, Position, SourceKey, Stamp};
use stockade_core::time::Timestamp;

use super::child;
use super::export::{Field, Parser};
use super::{CURSOR_MAX, JournalOptions, LINE_MAX, line, trusted};
use crate::file::BLOCK_BYTES;
use crate::{Error, Result};

/// Bytes read from `journalctl` at once.
const READ_BYTES: usize = 64 << 10;
/// Bytes of its complaints that are kept.
const SAID_MAX: usize = 4 << 10;

/// The stored entries of the journal as blocks of lines, oldest first. Waits for `journalctl`.
#[derive(Debug)]
pub struct History {
    process: process::Child,
    stdout: std::os::fd::OwnedFd,
    stderr: std::os::fd::OwnedFd,
    parser: Parser,
    options: JournalOptions,
    key: SourceKey,
    cursor: Arc<str>,
    at: Timestamp,
    ended: bool,
    left_out: u64,
}

impl History {
    /// Starts reading; `since` leaves out older entries.
    ///
    /// # Errors
    /// [`Error::BadMatch`], [`Error::BadOption`], [`Error::NoJournalctl`]; [`Error::NoJournal`] and
    /// [`Error::JournalEnded`] if it can't be read.
    pub fn open(options: JournalOptions, since: Option<Timestamp>) -> Result<History> {
        let since = since.map(|since| format!("--since=@{}", since.secs().max(0)));
        History::start(options, since)
    }

    /// Starts reading at the newest `count` entries.
    ///
    /// # Errors
    /// As [`History::open`].
    pub fn newest(options: JournalOptions, count: u32) -> Result<History> {
        History::start(options, Some(format!("--lines={count}")))
    }

    fn start(options: JournalOptions, from: Option<String>) -> Result<History> {
        child::probe(&options)?;
        let mut command = child::command(&options)?;
        command.arg("--output=export");
        command.args(from);
        command.args(options.arguments()?.1);
        let (process, stdout, stderr) = child::spawn(command)?;
        let key = SourceKey { path: options.name()?, generation: 0 };
        let parser = Parser::new();
        let (cursor, at) = ("".into(), Timestamp::from_secs(0));
        Ok(History { process, stdout, stderr, parser, options, key, cursor, at, ended: false, left_out: 0 })
    }

    /// Entries that were left out so far: too large, without a time, or of an origin that is not trusted.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The next entries as lines, each with its stamp; `None` at the end.
    ///
    /// # Errors
    /// [`Error::JournalEnded`] if `journalctl` breaks off; what was read before is good.
    pub fn read(&mut self) -> Result<Option<Block>> {
        let begin = Position::Cursor { cursor: Arc::clone(&self.cursor), at: self.at };
        let (mut text, mut stamps) = (Vec::new(), Vec::new());
        while self.gather(&mut text, &mut stamps)? {
            let room = self.parser.room();
            room.reserve(READ_BYTES);
            match rustix::io::read(&self.stdout, rustix::buffer::spare_capacity(room)) {
                Ok(0) => {
                    self.ended = true;
                    self.finish()?;
                    break;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Error::Io { what: "read", path: "the journal".into(), source: e.into() }),
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        Ok(Some(Block {
            source: self.key.clone(),
            begin,
            end: Position::Cursor { cursor: Arc::clone(&self.cursor), at: self.at },
            text: text.into_boxed_slice(),
            stamps: stamps.into_boxed_slice(),
            in_operation: false,
            replay: false,
        }))
    }

    /// Makes lines of the entries that are there. Is there room for more, and more to come?
    fn gather(&mut self, text: &mut Vec<u8>, stamps: &mut Vec<Stamp>) -> Result<bool> {
        loop {
            if text.len() + LINE_MAX > BLOCK_BYTES {
                return Ok(false);
            }
            let entry = self.parser.next_entry().map_err(|_| Error::JournalEnded {
                how: "it wrote no export format".to_owned(),
                said: String::new(),
            })?;
            let Some(entry) = entry else { return Ok(!self.ended) };
            let cursor = entry.get(Field::Cursor).and_then(|c| std::str::from_utf8(c).ok());
            let whole = !entry.too_large && trusted(entry, self.options.trusted_uids.as_deref());
            let (Some(cursor), Some(time), true) = (cursor.filter(|c| c.len() <= CURSOR_MAX), entry.time(), whole)
            else {
                self.left_out += 1;
                continue;
            };
            (self.cursor, self.at) = (cursor.into(), time);
            line::append(entry, text);
            let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
            stamps.push(Stamp { end, time, cursor: Arc::clone(&self.cursor) });
        }
    }

    /// How `journalctl` ended.
    fn finish(&mut self) -> Result<()> {
        let mut said = Vec::new();
        let mut room = [0; 1024];
        while let Ok(n @ 1..) = rustix::io::read(&self.stderr, &mut room) {
            if said.len() < SAID_MAX {
                said.extend_from_slice(room.get(..n).unwrap_or_default());
            }
        }
        match self.process.wait() {
            // 1 is also what it answers when no entry matches.
            Ok(status) if status.success() || status.code() == Some(1) && said.is_empty() => Ok(()),
            Ok(status) => Err(child::trouble_of(status.to_string(), child::shown(&said))),
            Err(source) => Err(Error::NoJournalctl { source }),
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
