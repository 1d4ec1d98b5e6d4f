//! Log files, the journal and streams as blocks of whole lines, with positions to resume from.
//!
//! | item | what it is for |
//! |---|---|
//! | [`FileReader`] | one log file by path, through rotation and truncation |
//! | [`StreamReader`] | anything that is read once: standard input, an old log |
//! | [`Watcher`] | tells which files, globs and descriptors have something new; one per poll thread |
//! | [`Journal`] | the systemd journal through a `journalctl` child |
//! | [`History`] | what the journal holds, read once |
//! | [`Glob`] | paths of `logpath` that may appear later |
//! | [`Note`], [`Error`] | what the operator should know |
//!
//! One thread waits for all sources and lets them be read; here it reads them itself:
//!
//! ```no_run
//! use stockade_source::{FileReader, Mode, Start, Watcher};
//!
//! let mut log = FileReader::open("/var/log/auth.log", Start::Tail);
//! let mut watcher = Watcher::new(Mode::Auto)?;
//! let id = watcher.add_file(log.path());
//! loop {
//!     for ready in watcher.wait(None)? {
//!         assert_eq!(ready, id);
//!         while let Some(block) = log.read()? {
//!             let lines = block.text.split(|byte| *byte == b'\n');
//!             drop(lines);
//!         }
//!         watcher.remind(id, log.next_look());
//!     }
//! }
//! # #[expect(unreachable_code, reason = "it runs for ever")]
//! # Ok::<(), stockade_source::Error>(())
//! ```
//!
//! A journal joins through `add_fd(journal.as_fd())`, and is asked about again by `again(id)` once it
//! was read to `None`.
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
pub use journal::{History, Journal, JournalOptions, JournalStart};
pub use note::{Anew, Level, Note};
pub use stream::StreamReader;
pub use watch::{Glob, Mode, ReadyId, Waker, Watcher};
