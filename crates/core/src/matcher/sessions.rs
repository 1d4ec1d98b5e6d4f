//! What is remembered of the lines of one connection (`<F-MLFID>`).
//!
//! Source: fail2ban `server/filter.py`, `_mergeFailure`, and its cache: 100
//! sessions, each for 5 minutes from its first line, the oldest go first.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::data::{Data, Known as _, LineGroups, bound};
use super::name::Name;
use crate::time::{Span, Timestamp};

/// Most sessions remembered.
pub(super) const SESSIONS_MAX: usize = 100;
/// How long one is remembered, from its first line.
const LIFETIME: Span = Span::from_secs(5 * 60);
/// Most bytes of one session's groups; a hit with more starts no session.
const SESSION_BYTES_MAX: usize = 64 * 1024;

/// Spreads the ids of sessions, eight bytes at a time. Whoever chooses ids to collide gains
/// nothing: at most [`SESSIONS_MAX`] are known.
fn spread(id: &str) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(ODD);
        sum ^ sum >> 32
    };
    let (words, rest) = id.as_bytes().as_chunks::<8>();
    let sum = words.iter().fold(ODD, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(1, |word, byte| word << 8 | u64::from(*byte));
    mix(mix(sum, last), 0)
}

/// The sessions of one jail.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    /// The room of each session, by its id.
    known: HashTable<usize>,
    rooms: Vec<Room>,
    /// Rooms that nobody lives in.
    free: Vec<usize>,
    /// Rooms in the order of their sessions' first lines, with the serial numbers of these; some are gone already.
    queue: VecDeque<(usize, u64)>,
    serial: u64,
    /// What was remembered of sessions that are gone: its memory is used again.
    #[expect(clippy::vec_box, reason = "boxes that move into sessions and back")]
    spare: Vec<Box<Data>>,
}

/// Where a session is kept.
#[derive(Clone, Debug, Default)]
struct Room {
    /// Tells a session from an older one in the same room.
    serial: u64,
    /// Of the session's id.
    hash: u64,
    id: String,
    session: Option<Session>,
}

/// One remembered session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Nothing while its latest hit is dealt with.
    data: Option<Box<Data>>,
    pub(super) until: Timestamp,
}

impl Session {
    /// What is remembered of it.
    pub(super) fn data(&self) -> Option<&Data> {
        self.data.as_deref()
    }
}

/// Room for an id that a room keeps for the next one.
const ID_BYTES_KEPT: usize = 256;
/// Most gone sessions whose memory is kept.
const SPARE_MAX: usize = 8;

/// Where a merged failure came from and goes back to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// Remembered in this room.
    Room(usize),
    /// Not remembered.
    Nowhere,
}

impl Sessions {
    /// Merges a hit, whose lines `matched` adds to a list, into its session.
    ///
    /// The session, if there is one, is taken out; hand it back with
    /// [`Sessions::put_back`] when the hit is dealt with.
    pub(super) fn merge(
        &mut self,
        id: &str,
        hit: &mut LineGroups<'_>,
        matched: impl FnOnce(&mut Vec<Box<str>>),
        now: Timestamp,
    ) -> (Box<Data>, Home) {
        let mut gained = false;
        let mut nofail = false;
        if hit.is_true(&Name::MLFGAINED) {
            (gained, nofail) = (true, true);
            if let (false, Some(value)) = (hit.is_true(&Name::NOFAIL), hit.part(&Name::MLFGAINED)) {
                hit.set(&Name::NOFAIL, value);
            }
        } else if hit.is_true(&Name::NOFAIL) {
            nofail = true;
        }
        let forget = hit.take(&Name::MLFFORGET).is_some_and(|v| v.is_true());
        let hash = spread(id);
        let (mut data, home) = match self.find(id, hash, now) {
            Some(room) => {
                let mut data = if forget { self.leave(room) } else { self.take(room) }.unwrap_or_default();
                data.add_user(hit.text(&Name::USER));
                let was_nofail = data.take(&Name::NOFAIL);
                let was_gained = data.take(&Name::MLFGAINED);
                if gained {
                    data.pending = false;
                }
                if !was_nofail && !was_gained && !data.pending {
                    data.matches.clear();
                }
                data.overwrite(hit);
                (data, if forget { Home::Nowhere } else { Home::Room(room) })
            }
            None => {
                let mut data = self.spare.pop().unwrap_or_default();
                data.overwrite(hit);
                let home = if forget {
                    Home::Nowhere
                } else {
                    data.add_user(hit.text(&Name::USER));
                    self.open(id, hash, hit.len(), now)
                };
                (data, home)
            }
        };
        // The users of a session count only where there is one.
        if std::mem::take(&mut data.pending) || data.users_seen() > 1 {
            data.take(&Name::NOFAIL);
            data.take(&Name::MLFGAINED);
            (gained, nofail) = (false, false);
        }
        if !nofail {
            let data = &mut *data;
            if !data.nofail_matches.is_empty() {
                data.nofail_matches.append(&mut data.matches);
                std::mem::swap(&mut data.nofail_matches, &mut data.matches);
            }
            if !gained {
                matched(&mut data.matches);
            }
            bound(&mut data.matches);
        } else if !forget {
            matched(&mut data.nofail_matches);
            bound(&mut data.nofail_matches);
        }
        (data, home)
    }

    /// The room of a living session.
    fn find(&mut self, id: &str, hash: u64, now: Timestamp) -> Option<usize> {
        let room = *self.known.find(hash, |room| self.rooms.get(*room).is_some_and(|room| room.id == id))?;
        if self.session(room)?.until > now {
            return Some(room);
        }
        let gone = self.leave(room);
        self.keep_spare(gone);
        None
    }

    fn session(&self, room: usize) -> Option<&Session> {
        self.rooms.get(room)?.session.as_ref()
    }

    /// Takes out what is remembered of a session.
    fn take(&mut self, room: usize) -> Option<Box<Data>> {
        self.rooms.get_mut(room)?.session.as_mut()?.data.take()
    }

    /// Forgets a session; what was remembered of it.
    fn leave(&mut self, room: usize) -> Option<Box<Data>> {
        let place = self.rooms.get_mut(room)?;
        let session = place.session.take()?;
        if let Ok(known) = self.known.find_entry(place.hash, |known| *known == room) {
            known.remove();
        }
        self.free.push(room);
        session.data
    }

    fn keep_spare(&mut self, data: Option<Box<Data>>) {
        if let Some(mut data) = data
            && self.spare.len() < SPARE_MAX
            && data.clear()
        {
            self.spare.push(data);
        }
    }

    /// Makes room for a new session, whose first hit has so many bytes.
    fn open(&mut self, id: &str, hash: u64, bytes: usize, now: Timestamp) -> Home {
        if bytes > SESSION_BYTES_MAX {
            return Home::Nowhere;
        }
        if self.known.len() >= SESSIONS_MAX {
            // Goes on until a living one is gone, as the original does.
            while let Some((old, serial)) = self.queue.pop_front() {
                if self.rooms.get(old).is_none_or(|room| room.serial != serial) {
                    continue;
                }
                let Some(session) = self.session(old) else { continue };
                let living = session.until > now;
                let gone = self.leave(old);
                self.keep_spare(gone);
                if living && self.known.len() < SESSIONS_MAX {
                    break;
                }
            }
        }
        if self.queue.len() > 4 * SESSIONS_MAX {
            let rooms = &self.rooms;
            self.queue.retain(|(old, serial)| {
                rooms.get(*old).is_some_and(|room| room.serial == *serial && room.session.is_some())
            });
        }
        Home::Room(self.enter(id, hash, None, now + LIFETIME))
    }

    /// Gives a new session a room.
    fn enter(&mut self, id: &str, hash: u64, data: Option<Box<Data>>, until: Timestamp) -> usize {
        self.serial += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            self.rooms.push(Room::default());
            self.rooms.len() - 1
        });
        self.queue.push_back((at, self.serial));
        if let Some(room) = self.rooms.get_mut(at) {
            (room.serial, room.hash, room.session) = (self.serial, hash, Some(Session { data, until }));
            room.id.clear();
            room.id.push_str(id);
            room.id.shrink_to(ID_BYTES_KEPT);
        }
        let rooms = &self.rooms;
        self.known.insert_unique(hash, at, |room| rooms.get(*room).map_or(0, |room| room.hash));
        at
    }

    /// Puts a session back where [`Sessions::merge`] took it from.
    pub(super) fn put_back(&mut self, home: Home, data: Box<Data>) {
        let room = if let Home::Room(room) = home { self.rooms.get_mut(room) } else { None };
        match room.and_then(|room| room.session.as_mut()) {
            Some(session) => session.data = Some(data),
            None => self.keep_spare(Some(data)),
        }
    }

    /// All sessions, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Session)> {
        let living = |(room, serial): &(usize, u64)| {
            let room = self.rooms.get(*room).filter(|room| room.serial == *serial)?;
            room.session.as_ref().map(|session| (&*room.id, session))
        };
        self.queue.iter().filter_map(living)
    }

    /// Adds a session read from a snapshot; beyond [`SESSIONS_MAX`] they are left out, and so is one that is there.
    pub(super) fn add(&mut self, id: &str, data: Data, until: Timestamp) {
        let hash = spread(id);
        let there = self.known.find(hash, |room| self.rooms.get(*room).is_some_and(|room| room.id == id)).is_some();
        if self.known.len() < SESSIONS_MAX && !there {
            self.enter(id, hash, Some(Box::new(data)), until);
        }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
