//! What can keep a source from being read, in the operator's words.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of this crate's fallible calls.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a source can't be read (now). Fields are data; the text is made by `Display`:
/// one line, lower case, without a full stop.
#[derive(Debug)]
pub enum Error {
    /// No such file. It is waited for; see [`crate::Watcher`].
    Missing {
        /// The path as configured.
        path: PathBuf,
    },
    /// The file, or a directory on the way to it, refuses us.
    Unreadable {
        /// The path as configured.
        path: PathBuf,
        /// The file or directory that refuses; equals `path` if it is the file itself.
        refused_by: PathBuf,
        /// Name (or number) of the group that could read it; `None` if no group can.
        group: Option<String>,
    },
    /// There is something else than a regular file at that path.
    NotAFile {
        /// The path as configured.
        path: PathBuf,
        /// What it is: `a directory`, `a FIFO`, ...
        what: &'static str,
    },
    /// The system refused something else; the source keeps its position.
    Io {
        /// What we tried, such as `read`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no `journalctl` to read the journal with.
    NoJournalctl {
        /// Why it could not be started.
        source: io::Error,
    },
    /// `journalctl` runs, but there is no journal, or none that we may read.
    NoJournal {
        /// What `journalctl` said, one line, at most 300 characters.
        said: String,
        /// The group that could read it, if reading was refused.
        group: Option<String>,
    },
    /// `journalctl` ended for another reason; it is started again after a pause.
    JournalEnded {
        /// How it ended, such as `exit status: 1`.
        how: String,
        /// What it said last, one line, at most 300 characters; may be empty.
        said: String,
    },
    /// A word of a `journalmatch` is not `FIELD=value`.
    BadMatch {
        /// The word.
        word: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An argument of `backend = systemd[...]` that we can't follow.
    BadOption {
        /// Name of the argument.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it, or what to use instead.
        why: &'static str,
    },
    /// A glob that can't be read.
    BadGlob {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Error {
    /// Is it worth trying again later without anybody changing the configuration?
    pub fn is_transient(&self) -> bool {
        !matches!(self, Error::BadMatch { .. } | Error::BadOption { .. } | Error::BadGlob { .. })
    }

    /// Would the operator read the same text? Used to report a trouble once.
    pub(crate) fn same_as(&self, other: &Error) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing { path } => write!(f, "log file {} does not exist", path.display()),
            Error::Unreadable { path, refused_by, group } => {
                write!(f, "log file {} can't be read", path.display())?;
                if refused_by != path {
                    write!(f, ": directory {} can't be entered", refused_by.display())?;
                }
                match group {
                    Some(group) => write!(f, "; members of group {group} could"),
                    None => f.write_str("; no group could, only its owner and root"),
                }
            }
            Error::NotAFile { path, what } => write!(f, "log file {} is {what}", path.display()),
            Error::Io { what, path, source } => write!(f, "{what} of {} failed: {source}", path.display()),
            Error::NoJournalctl { source } => write!(f, "journalctl can't be started: {source}"),
            Error::NoJournal { said, group } => {
                write!(f, "no journal can be read")?;
                if !said.is_empty() {
                    write!(f, ": {said}")?;
                }
                match group {
                    Some(group) => write!(f, "; members of group {group} could"),
                    None => Ok(()),
                }
            }
            Error::JournalEnded { how, said } if said.is_empty() => write!(f, "journalctl ended, {how}"),
            Error::JournalEnded { how, said } => write!(f, "journalctl ended, {how}: {said}"),
            Error::BadMatch { word, why } => write!(f, "journalmatch {word:?}: {why}"),
            Error::BadOption { option, value, why } => write!(f, "backend systemd[{option}={value}]: {why}"),
            Error::BadGlob { pattern, why } => write!(f, "glob {pattern:?}: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } | Error::NoJournalctl { source } => Some(source),
            _ => None,
        }
    }
}
