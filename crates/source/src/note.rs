//! What happened to a source that the operator may want to know.

use std::fmt;
use std::path::PathBuf;

use stockade_core::text::repr;

/// How much a note asks of its reader, in fail2ban's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For us.
    Debug,
    /// fail2ban's own level `MSG`, between DEBUG and INFO.
    Msg,
    /// A step in a life cycle.
    Info,
    /// We recovered, but look.
    Warning,
    /// Act now.
    Error,
}

/// Why a file was begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anew {
    /// Another file stands at the path now.
    Replaced,
    /// It became shorter than what had been read.
    Truncated,
    /// It is not shorter, but what had been read is no longer there.
    Rewritten,
}

/// One thing that happened to a source. `Display` gives the text for the log;
/// where other programs read fail2ban's log, it is fail2ban's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A log file is read from now on.
    Added {
        /// The path as configured.
        path: PathBuf,
        /// Offset of the first line that will be read.
        pos: u64,
        /// SHA-1 of the first line in hexadecimal; empty if there is no whole line yet.
        hash: String,
    },
    /// A file was rotated, truncated or rewritten; it is read from its beginning.
    Rotated {
        /// The path as configured.
        path: PathBuf,
        /// In which way.
        how: Anew,
        /// Size and inode of the new file, read position and inode of the old one.
        size: u64,
        /// See `size`.
        pos: u64,
        /// See `size`.
        inode: u64,
        /// See `size`.
        old_inode: u64,
    },
    /// The file that had been moved away was read to its end before its successor.
    Drained {
        /// The path as configured.
        path: PathBuf,
        /// Bytes of an unfinished last line that nobody completed so far.
        unfinished: u64,
    },
    /// After a restart the rest of the rotated file was found under this name and is read first.
    Found {
        /// The path as configured.
        path: PathBuf,
        /// Where the rest stands.
        rotated: PathBuf,
        /// Offset from which it is read.
        pos: u64,
    },
    /// The stored position does not fit the file; it is read from its beginning.
    Unknown {
        /// The path as configured.
        path: PathBuf,
    },
    /// A line longer than the bound was left out.
    LongLine {
        /// The path as configured.
        path: PathBuf,
        /// Offset of its first byte.
        offset: u64,
        /// Its length in bytes, line end included.
        bytes: u64,
    },
    /// A file that had been missing or refused can be read (again).
    Back {
        /// The path as configured.
        path: PathBuf,
    },
    /// inotify can't be used for this path; it is looked at every so often instead.
    Polled {
        /// The path as configured.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A journal entry was left out: it or a needed field is too large, or its origin is not trusted.
    EntryLeftOut {
        /// Why.
        why: &'static str,
        /// How many since the last such note.
        count: u64,
    },
    /// The stored cursor is of no use; the journal is read by time instead.
    CursorLost,
    /// `journalctl` was started again.
    JournalRestarted {
        /// How often in a row.
        attempt: u32,
    },
    /// The jail has no `journalmatch`; every entry is read.
    NoJournalMatch,
    /// More happened than is kept.
    More {
        /// Number of notes that were dropped.
        dropped: u64,
    },
}

impl Note {
    /// How much the note asks of its reader.
    pub fn level(&self) -> Level {
        match self {
            Note::Added { .. } | Note::Found { .. } | Note::Back { .. } => Level::Info,
            Note::Rotated { .. } => Level::Msg,
            Note::Drained { .. } => Level::Debug,
            Note::Unknown { .. } | Note::Polled { .. } | Note::NoJournalMatch => Level::Info,
            Note::LongLine { .. }
            | Note::EntryLeftOut { .. }
            | Note::CursorLost
            | Note::JournalRestarted { .. }
            | Note::More { .. } => Level::Warning,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Text of fail2ban's `FileFilter.addLogPath`, parsed by panels and its own tests.
            Note::Added { path, pos, hash } => {
                write!(f, "Added logfile: {} (pos = {pos}, hash = {hash})", repr(&path.to_string_lossy()))
            }
            // Text of fail2ban's `FileContainer.open`.
            Note::Rotated { path, how, size, pos, inode, old_inode } => {
                let how = match how {
                    Anew::Replaced => "replaced",
                    Anew::Truncated => "truncated",
                    Anew::Rewritten => "rewritten",
                };
                let path = path.display();
                write!(f, "Log rotation detected for {path}, reason: {how} ({size}, {pos}, {inode}, {old_inode})")
            }
            Note::Drained { path, unfinished: 0 } => write!(f, "rotated file of {} read to its end", path.display()),
            Note::Drained { path, unfinished } => {
                write!(
                    f,
                    "rotated file of {} read to its end, {unfinished} bytes without line end left out",
                    path.display()
                )
            }
            Note::Found { path, rotated, pos } => {
                write!(f, "{} was rotated meanwhile: reading {} from {pos} first", path.display(), rotated.display())
            }
            Note::Unknown { path } => {
                write!(f, "{} is not the file of the stored position, reading it from its beginning", path.display())
            }
            Note::LongLine { path, offset, bytes } => {
                write!(f, "line of {bytes} bytes at offset {offset} of {} left out", path.display())
            }
            Note::Back { path } => write!(f, "{} can be read now", path.display()),
            Note::Polled { path, why } => write!(f, "{} is polled: {why}", path.display()),
            Note::EntryLeftOut { why, count } => write!(f, "{count} journal entries left out: {why}"),
            Note::CursorLost => f.write_str("stored journal cursor is of no use, seeking by time instead"),
            Note::JournalRestarted { attempt } => write!(f, "journalctl started again (attempt {attempt})"),
            Note::NoJournalMatch => f.write_str("no journalmatch is set, every journal entry is read"),
            Note::More { dropped } => write!(f, "{dropped} more notes dropped"),
        }
    }
}

/// Notes kept until somebody takes them.
const NOTES_MAX: usize = 64;

/// A bounded heap of notes; what does not fit is counted.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    kept: Vec<Note>,
    dropped: u64,
}

impl Notes {
    pub(crate) fn push(&mut self, note: Note) {
        if self.kept.len() < NOTES_MAX {
            self.kept.push(note);
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Note> {
        let mut out = std::mem::take(&mut self.kept);
        if self.dropped > 0 {
            out.push(Note::More { dropped: std::mem::take(&mut self.dropped) });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_added_log_is_told_in_fail2bans_words() {
        let note = Note::Added { path: "/var/log/a'b.log".into(), pos: 12, hash: "ab".into() };
        assert_eq!(note.to_string(), "Added logfile: \"/var/log/a'b.log\" (pos = 12, hash = ab)");
        assert_eq!(note.level(), Level::Info);
        assert_eq!(repr("a\n\u{1}"), "'a\\n\\x01'");
    }

    #[test]
    fn notes_are_bounded_and_the_rest_is_counted() {
        let mut notes = Notes::default();
        for _ in 0..100 {
            notes.push(Note::CursorLost);
        }
        let taken = notes.take();
        assert_eq!(taken.len(), NOTES_MAX + 1);
        assert_eq!(taken.last(), Some(&Note::More { dropped: 36 }));
        assert!(notes.take().is_empty());
    }
}
