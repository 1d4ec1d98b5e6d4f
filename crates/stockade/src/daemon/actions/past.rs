//! What the database remembers of an address, for the tags that tell of more than
//! the present ban: `<ipmatches>`, `<ipjailmatches>`, `<ipfailures>`, `<ipjailfailures>`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stockade_store::Reader;

use super::ticket::{Memory, Ticket};

/// The database, opened when a command first wants it.
pub(super) struct Past {
    path: Option<PathBuf>,
    matches_max: Arc<AtomicUsize>,
    reader: RefCell<Option<Reader>>,
}

impl Past {
    /// Nothing is remembered without a path.
    pub(super) fn new(path: Option<PathBuf>, matches_max: Arc<AtomicUsize>) -> Past {
        Past { path, matches_max, reader: RefCell::default() }
    }

    /// All stored bans of the ticket's address, in its jail or in all. What can't
    /// be read is not there: the ban's own lines are told then.
    pub(super) fn merged(&self, ticket: &Ticket, jail_only: bool) -> Option<Memory> {
        let path = self.path.as_ref()?;
        let mut reader = self.reader.borrow_mut();
        if reader.is_none() {
            *reader = Reader::open(path).ok();
        }
        let most = self.matches_max.load(Ordering::Relaxed);
        match reader.as_ref()?.merged(&ticket.ip_text(), jail_only.then_some(&ticket.jail), most) {
            Ok(found) => found.map(|all| (all.matches, all.failures.into())),
            Err(_) => {
                *reader = None;
                None
            }
        }
    }
}
