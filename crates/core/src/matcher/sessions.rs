//! What is remembered of the lines of one connection (`<F-MLFID>`).
//!
//! Source: fail2ban `server/filter.py`, `_mergeFailure`, and its cache: 100
//! sessions, each for 5 minutes from its first line, the oldest go first.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;

use super::data::{Data, Known as _, LineGroups, bound};
use super::name::Name;
use crate::time::{Span, Timestamp};

/// Most sessions remembered.
pub(super) const SESSIONS_MAX: usize = 100;
/// How long one is remembered, from its first line.
const LIFETIME: Span = Span::from_secs(5 * 60);
/// Most bytes of one session's groups; a hit with more starts no session.
const SESSION_BYTES_MAX: usize = 64 * 1024;

/// One remembered session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) data: Data,
    pub(super) until: Timestamp,
    /// Tells an entry from an older one of the same id in the queue.
    serial: u64,
}

/// Spreads the ids of sessions (FNV-1a). Whoever chooses ids to collide gains
/// nothing: at most [`SESSIONS_MAX`] are known.
#[derive(Clone, Copy, Debug, Default)]
struct Spread;

impl BuildHasher for Spread {
    type Hasher = Sum;

    fn build_hasher(&self) -> Sum {
        Sum(0xcbf2_9ce4_8422_2325)
    }
}

struct Sum(u64);

impl Hasher for Sum {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}

/// The sessions of one jail.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    known: HashMap<Arc<str>, Session, Spread>,
    /// Ids in the order of their first lines; some are gone already.
    queue: VecDeque<(Arc<str>, u64)>,
    serial: u64,
}

/// Where a merged failure came from and goes back to.
#[derive(Debug)]
pub(super) enum Home {
    /// Remembered under this id until then.
    Known(Arc<str>, Timestamp, u64),
    /// Not remembered.
    Nowhere,
}

impl Sessions {
    /// Merges a hit, whose lines are `matched`, into its session.
    ///
    /// The session, if there is one, is taken out; hand it back with
    /// [`Sessions::put_back`] when the hit is dealt with.
    pub(super) fn merge(
        &mut self,
        id: &str,
        mut hit: LineGroups<'_>,
        mut matched: Vec<Box<str>>,
        now: Timestamp,
    ) -> (Data, Home) {
        let mut gained = false;
        let mut nofail = false;
        if hit.is_true(&Name::MLFGAINED) {
            (gained, nofail) = (true, true);
            if let (false, Some(value)) = (hit.is_true(&Name::NOFAIL), hit.part(&Name::MLFGAINED).cloned()) {
                hit.set(&Name::NOFAIL, value);
            }
        } else if hit.is_true(&Name::NOFAIL) {
            nofail = true;
        }
        let forget = hit.take(&Name::MLFFORGET).is_some_and(|v| v.is_true());
        let (mut data, home) = match self.take(id, now) {
            Some((id, session)) => {
                let mut data = session.data;
                data.add_user(hit.part(&Name::USER));
                let was_nofail = data.take(&Name::NOFAIL);
                let was_gained = data.take(&Name::MLFGAINED);
                if gained {
                    data.pending = false;
                }
                if !was_nofail && !was_gained && !data.pending {
                    data.matches.clear();
                }
                data.overwrite(&hit);
                let home = if forget { Home::Nowhere } else { Home::Known(id, session.until, session.serial) };
                (data, home)
            }
            None => {
                let mut data = Data::default();
                data.overwrite(&hit);
                let home = if forget {
                    Home::Nowhere
                } else {
                    data.add_user(hit.part(&Name::USER));
                    self.open(id, &hit, now)
                };
                (data, home)
            }
        };
        // The users of a session count only where there is one.
        if std::mem::take(&mut data.pending) || data.users.len() > 1 {
            data.take(&Name::NOFAIL);
            data.take(&Name::MLFGAINED);
            (gained, nofail) = (false, false);
        }
        if !nofail {
            let mut matches = std::mem::take(&mut data.nofail_matches);
            join(&mut matches, &mut data.matches);
            if !gained {
                join(&mut matches, &mut matched);
            }
            bound(&mut matches);
            data.matches = matches;
        } else if !forget {
            join(&mut data.nofail_matches, &mut matched);
            bound(&mut data.nofail_matches);
        }
        (data, home)
    }

    /// Takes a living session out.
    fn take(&mut self, id: &str, now: Timestamp) -> Option<(Arc<str>, Session)> {
        self.known.remove_entry(id).filter(|(_, session)| session.until > now)
    }

    /// Makes room for a new session.
    fn open(&mut self, id: &str, hit: &LineGroups<'_>, now: Timestamp) -> Home {
        let bytes: usize = hit.0.iter().map(|(_, value)| value.len()).sum();
        if bytes > SESSION_BYTES_MAX {
            return Home::Nowhere;
        }
        if self.known.len() >= SESSIONS_MAX {
            // Goes on until a living one is gone, as the original does.
            while let Some((old, serial)) = self.queue.pop_front() {
                if self.known.get(&old).is_none_or(|s| s.serial != serial) {
                    continue;
                }
                let gone = self.known.remove(&old);
                if gone.is_some_and(|s| s.until > now) && self.known.len() < SESSIONS_MAX {
                    break;
                }
            }
        }
        if self.queue.len() > 4 * SESSIONS_MAX {
            let known = &self.known;
            self.queue.retain(|(id, serial)| known.get(id).is_some_and(|s| s.serial == *serial));
        }
        self.serial += 1;
        let id: Arc<str> = id.into();
        self.queue.push_back((Arc::clone(&id), self.serial));
        Home::Known(id, now + LIFETIME, self.serial)
    }

    /// Puts a session back where [`Sessions::merge`] took it from.
    pub(super) fn put_back(&mut self, home: Home, data: Data) {
        if let Home::Known(id, until, serial) = home {
            self.known.insert(id, Session { data, until, serial });
        }
    }

    /// All sessions, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Session)> {
        let living = |(id, serial): &(Arc<str>, u64)| {
            let (id, session) = self.known.get_key_value(id)?;
            (session.serial == *serial).then_some((&**id, session))
        };
        self.queue.iter().filter_map(living)
    }

    /// Adds a session read from a snapshot; beyond [`SESSIONS_MAX`] they are left out.
    pub(super) fn add(&mut self, id: Arc<str>, data: Data, until: Timestamp) {
        if self.known.len() < SESSIONS_MAX {
            self.serial += 1;
            self.queue.push_back((Arc::clone(&id), self.serial));
            self.known.insert(id, Session { data, until, serial: self.serial });
        }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Appends texts, without a copy where there is nothing to append to.
fn join(to: &mut Vec<Box<str>>, more: &mut Vec<Box<str>>) {
    if to.is_empty() {
        std::mem::swap(to, more);
    } else {
        to.append(more);
    }
}
