//! What went wrong at the kernel's side, and what to do about it.

use std::fmt;

use rustix::io::Errno;

/// A refused or failed piece of enforcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was tried, on what; lower case, no full stop.
    pub what: String,
    /// Why it failed, in the kernel's or the tool's words.
    pub why: String,
    /// May the same work later without anybody changing anything?
    pub retryable: bool,
    /// What the operator can do; empty if there is nothing to say.
    pub help: String,
    /// Does this kernel or machine lack what was tried?
    pub lacks_feature: bool,
}

impl Error {
    /// An error that stays until somebody acts.
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) -> Self {
        Error { what: what.into(), why: why.into(), retryable: false, help: help.into(), lacks_feature: false }
    }

    /// An error number of a system call or of a netlink answer.
    pub(crate) fn errno(what: impl Into<String>, errno: Errno) -> Self {
        let (why, retryable, help) = match errno {
            Errno::PERM | Errno::ACCESS => {
                ("not permitted".to_owned(), false, "run as root or give the process CAP_NET_ADMIN".to_owned())
            }
            Errno::NOMEM | Errno::NOBUFS => ("the kernel is out of memory".to_owned(), true, String::new()),
            Errno::BUSY | Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT => (errno.to_string(), true, String::new()),
            Errno::NOENT => ("no such object in the kernel".to_owned(), true, String::new()),
            _ => (errno.to_string(), false, String::new()),
        };
        let lacks_feature = matches!(
            errno,
            Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::NOSYS | Errno::INVAL
        );
        Error { what: what.into(), why, retryable, help, lacks_feature }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
