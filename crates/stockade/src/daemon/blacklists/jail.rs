//! One jail's two lists: when which of them is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockade_core::judge::JailSpec;
use stockade_core::{Net, Timestamp};
use stockade_source::ReadyId;

use super::{Flags, ListView};
use crate::blacklist::{self, Keep, Lists, Standing};
use crate::daemon::rest::{AGAIN_EVERY, Look, look, patience};

/// How many bans are looked at at once.
pub(super) const PAGE: usize = 4_096;
/// How many contents a list may have besides its next one: that before and after a crash, and one that failed.
const OURS_MAX: usize = 3;
/// A list is written no more often.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// A large list takes at most one part in so many of the time.
const WRITE_SHARE: u32 = 10;

pub(super) struct Jail {
    pub(super) spec: JailSpec,
    pub(super) lists: Lists,
    pub(super) flags: Arc<Flags>,
    pub(super) watch: ReadyId,
    /// What was last said of it.
    pub(super) told: Vec<String>,
    /// The `.keep` file as it was last read.
    pub(super) keep: Keep,
    /// Who of it is banned for good, with the line.
    pub(super) kept: Arc<BTreeMap<Net, u32>>,
    /// Who of it is not, and why.
    pub(super) left_out: Vec<(u32, String)>,
    /// Why the `.keep` file can't be read.
    keep_trouble: String,
    /// When the `.keep` file is to be looked at.
    look_at: Option<Instant>,
    /// How it looked then.
    looked: Look,
    /// Was it ever read?
    was_read: bool,
    /// How it looked when it was, and whether that was another look than before.
    read_as: Look,
    pub(super) is_another: bool,
    next_write: Instant,
    standing: Option<Standing>,
    /// What may stand in its place by our own hand, see [`blacklist::content`].
    pub(super) ours: Vec<u64>,
    bans: usize,
    written: Option<Timestamp>,
    /// Why the list can't be written.
    list_trouble: String,
}

impl Jail {
    pub(super) fn new(spec: JailSpec, lists: Lists, ours: Vec<u64>, watch: ReadyId, now: Instant) -> Jail {
        let flags = Flags::default();
        flags.dirty.store(true, Ordering::Relaxed);
        Jail {
            spec,
            lists,
            flags: Arc::new(flags),
            watch,
            told: Vec::new(),
            keep: Keep::default(),
            kept: Arc::default(),
            left_out: Vec::new(),
            keep_trouble: String::new(),
            look_at: Some(now),
            looked: None,
            was_read: false,
            read_as: None,
            is_another: false,
            next_write: now,
            standing: None,
            ours,
            bans: 0,
            written: None,
            list_trouble: String::new(),
        }
    }

    /// When there is something to do; `None` if not before something happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let write = self.flags.dirty.load(Ordering::Acquire).then_some(self.next_write);
        let lifted = self.flags.lifted.load(Ordering::Acquire).then_some(self.next_write);
        [write, lifted, self.look_at].into_iter().flatten().min()
    }

    /// The `.keep` file, or what decides about it, may be another.
    pub(super) fn keep_changed(&mut self, now: Instant) {
        self.look_at = Some(now);
    }

    /// Reads the `.keep` file if that is due and it has come to rest; is there
    /// something to do about who is kept?
    pub(super) fn read_keep(&mut self, now: Instant) -> bool {
        let lifted = now >= self.next_write && self.flags.lifted.swap(false, Ordering::AcqRel);
        if self.look_at.is_none_or(|at| at > now) {
            return lifted && self.was_read;
        }
        let there = look(&self.lists.keep);
        if self.was_read && there != self.looked {
            self.looked = there;
            self.look_at = Some(now + patience(there));
            return lifted;
        }
        (self.looked, self.look_at) = (there, None);
        match blacklist::read(&self.lists.keep) {
            Ok(keep) => {
                self.keep = keep;
                self.keep_trouble.clear();
                self.is_another |= self.was_read && self.read_as != there;
                (self.was_read, self.read_as) = (true, there);
                true
            }
            // What was kept stays so: a mistake here must not let anybody in.
            Err(e) => {
                self.keep_trouble =
                    format!("{} can't be read: {e}; who was banned by it stays banned", self.lists.keep.display());
                self.look_at = Some(now + AGAIN_EVERY);
                lifted && self.was_read
            }
        }
    }

    /// Somebody of the `.keep` file can't be banned now; later perhaps.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + AGAIN_EVERY);
    }

    pub(super) fn may_write(&self, now: Instant) -> bool {
        now >= self.next_write
    }

    /// What the list may be after the next [`Jail::write`], if that was not known before.
    pub(super) fn will_be_ours(&mut self, lines: &[String]) -> Option<&[u64]> {
        let next = blacklist::content(lines);
        if self.ours.contains(&next) {
            return None;
        }
        // What stands there now is among the first; what never came to stand there is last.
        self.ours.truncate(OURS_MAX);
        self.ours.push(next);
        Some(&self.ours)
    }

    /// Writes the list; `saved` if what this one and earlier processes have written is known.
    pub(super) fn write(&mut self, lines: &[String], saved: bool, began: Instant) {
        let path = self.lists.list.display();
        match blacklist::write(&self.lists.list, lines, self.standing, saved.then_some(&self.ours)) {
            Ok(written) => {
                self.ours = vec![blacklist::content(lines)];
                self.standing = Some(written.standing);
                self.bans = lines.len();
                self.written = Some(crate::daemon::now());
                self.list_trouble.clear();
                if let Some(old) = written.set_aside {
                    let old = old.display();
                    self.list_trouble = format!(
                        "another file stood in the place of {path}; it is {old} now; was it a list, \
                         `stockade import --jail {} {old}` takes it over",
                        self.spec.name
                    );
                }
            }
            Err(e) => {
                self.list_trouble = format!("{path} can't be written: {e}; it is tried again");
                // The next round tries again.
                self.flags.dirty.store(true, Ordering::Release);
            }
        }
        let now = Instant::now();
        self.next_write = now + WRITE_EVERY.max((now - began) * WRITE_SHARE);
    }

    pub(super) fn view(&self) -> ListView {
        let keep = self.lists.keep.display();
        let troubles = [&self.list_trouble, &self.keep_trouble].into_iter().filter(|text| !text.is_empty()).cloned();
        let left_out = self.left_out.iter().map(|(line, why)| format!("{keep}:{line}: {why}"));
        ListView {
            lists: Some(self.lists.clone()),
            bans: self.bans,
            written: self.written,
            kept: Arc::clone(&self.kept),
            complaints: troubles.chain(self.keep.complaints(&self.lists.keep)).chain(left_out).collect(),
        }
    }
}
