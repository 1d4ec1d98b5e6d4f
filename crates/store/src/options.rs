//! How the store is to behave.

use std::fmt;
use std::sync::Arc;

use stockade_core::Span;

/// Options of the database, under the names that `fail2ban.conf` gives them.
#[derive(Clone)]
pub struct Options {
    /// `dbpurgeage`: age after which bans are forgotten. Default one day.
    pub dbpurgeage: Span,
    /// `dbmaxmatches`: matched lines kept per ban, the last ones; 0 for none. Default 10.
    pub dbmaxmatches: usize,
    /// Most rows that the journal keeps; older ones go first, but none that is
    /// not yet projected, announced and issued. Default 1,000,000.
    pub journal_rows: u64,
    /// Age after which journal rows go. Default 30 days.
    pub journal_age: Span,
    /// Most decisions kept in memory while the disk fails. Default 1,000,000.
    pub unsaved_rows: usize,
    /// Called with the name of each step right before it is done. For tests
    /// that crash or fill the disk there.
    pub trace: Option<Trace>,
}

/// See [`Options::trace`].
pub type Trace = Arc<dyn Fn(&'static str) + Send + Sync>;

impl Default for Options {
    fn default() -> Self {
        Options {
            dbpurgeage: Span::from_secs(86_400),
            dbmaxmatches: 10,
            journal_rows: 1_000_000,
            journal_age: Span::from_secs(30 * 86_400),
            unsaved_rows: 1_000_000,
            trace: None,
        }
    }
}

impl Options {
    /// Tells the trace, if there is one.
    pub(crate) fn step(&self, name: &'static str) {
        if let Some(trace) = &self.trace {
            trace(name);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dbpurgeage", &self.dbpurgeage)
            .field("dbmaxmatches", &self.dbmaxmatches)
            .field("journal_rows", &self.journal_rows)
            .field("journal_age", &self.journal_age)
            .field("unsaved_rows", &self.unsaved_rows)
            .finish_non_exhaustive()
    }
}
