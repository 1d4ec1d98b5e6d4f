//! What can go wrong with the database, and whether trying again helps.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why something could not be read from or written to the database.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No room on the disk. Worth retrying.
    Full {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file or its folder can't be written. Worth retrying: the mount may change.
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Another program holds the database. Worth retrying.
    Busy {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The content is damaged.
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer fail2ban has written the file; it is left as it is.
    TooNew {
        /// The database.
        path: PathBuf,
        /// The version that stands in it; we know up to 4.
        version: i64,
    },
    /// The file is no database of fail2ban.
    NotFail2ban {
        /// The database.
        path: PathBuf,
    },
    /// The file is no database of ours: it has no journal.
    NoJournal {
        /// The database.
        path: PathBuf,
    },
    /// The disk has been failing for so long that the memory kept for unsaved
    /// decisions is used up; nothing of this call was taken.
    Overflow {
        /// How many unsaved decisions wait already.
        waiting: usize,
    },
    /// Reading or moving the file itself failed.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else SQLite may say, such as a failing disk. Worth retrying.
    Sql {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Sorts an error of SQLite by what the operator can do about it.
    pub(crate) fn sql(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full { path, source },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Error::ReadOnly { path, source }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Error::Busy { path, source }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt { path, source },
            _ => Error::Sql { path, source },
        }
    }

    /// May the same call succeed later without anybody touching our file?
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Error::Full { .. }
                | Error::ReadOnly { .. }
                | Error::Busy { .. }
                | Error::Overflow { .. }
                | Error::Io { .. }
                | Error::Sql { .. }
        )
    }

    /// Is the content of the file damaged?
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Error::Corrupt { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Full { path, source } => {
                write!(f, "can't write database {}: {source}; free some space, unsaved bans are kept", path.display())
            }
            Error::ReadOnly { path, source } => {
                write!(f, "can't write database {}: {source}; check mount and permissions", path.display())
            }
            Error::Busy { path, source } => {
                write!(f, "database {} is held by another program: {source}", path.display())
            }
            Error::Corrupt { path, source } => write!(f, "database {} is damaged: {source}", path.display()),
            Error::TooNew { path, version } => write!(
                f,
                "database {} has version {version}, known are 1 to 4; move it away or name another dbfile",
                path.display()
            ),
            Error::NotFail2ban { path } => write!(f, "{} is no fail2ban database", path.display()),
            Error::NoJournal { path } => write!(f, "database {} has no stockade journal", path.display()),
            Error::Overflow { waiting } => {
                write!(f, "{waiting} decisions wait for the database, which is the limit; reading of logs pauses")
            }
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Sql { path, source } => write!(f, "database {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Full { source, .. }
            | Error::ReadOnly { source, .. }
            | Error::Busy { source, .. }
            | Error::Corrupt { source, .. }
            | Error::Sql { source, .. } => Some(source),
            Error::Io { source, .. } => Some(source),
            Error::TooNew { .. } | Error::NotFail2ban { .. } | Error::NoJournal { .. } | Error::Overflow { .. } => None,
        }
    }
}
