//! Log files, the journal and streams as blocks of whole lines, with positions to resume from.
//!
//! | item | what it is for |
//! |---|---|
//! | [`FileReader`] | one log file by path, through rotation and truncation |
//! | [`StreamReader`] | anything that is read once: standard input, an old log |
//! | [`Watcher`] | tells which files, globs and descriptors have something new; one per poll thread |
//! | [`Journal`] | the systemd journal through a `journalctl` child |
//! | [`Glob`] | paths of `logpath` that may appear later |
//! | [`Note`], [`Error`] | what the operator should know |
//!
//! Nothing here knows a date or a pattern, and nothing here decides.
#![forbid(unsafe_code)]

mod error;
pub mod file;
pub mod journal;
mod note;
mod stream;
pub mod watch;

pub use error::{Error, Result};
pub use file::{Bounds, FileReader, Start, probe};
pub use journal::{Journal, JournalOptions, JournalStart};
pub use note::{Anew, Level, Note};
pub use stream::StreamReader;
pub use watch::{Glob, Mode, ReadyId, Waker, Watcher};
