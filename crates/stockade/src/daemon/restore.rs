//! Stored bans on their way from the database to the judge, some at a time, so
//! that reading, deciding and enforcing go on beside each other and no two
//! copies of all bans are ever in memory.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use stockade_core::Timestamp;
use stockade_core::judge::{Event, Judge, StoredBan};
use stockade_store::Reader;

use super::judge::{JudgeControl, JudgeInbox};
use super::store::{ROWS_AT_ONCE, StoreHandle, Wanted};

/// How many batches may be under way to the judge.
const BATCHES_MAX: usize = 2;
/// How many decisions may wait for the kernel before the judge gets more.
const WAITING_MAX: usize = 16_384;
/// How long until the judge is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Batches of stored bans under way to the judge.
pub(super) struct Way<'a> {
    judge: &'a Arc<JudgeInbox>,
    event: fn(Vec<StoredBan>) -> Event,
    under_way: VecDeque<Receiver<usize>>,
}

impl<'a> Way<'a> {
    /// `event` is what the batches are sent as.
    pub(super) fn to(judge: &'a Arc<JudgeInbox>, event: fn(Vec<StoredBan>) -> Event) -> Way<'a> {
        Way { judge, event, under_way: VecDeque::new() }
    }

    /// Hands a batch over, if there is anything in it, once there is room for it; `None` if the judge
    /// has gone.
    pub(super) fn send(&mut self, rows: Vec<StoredBan>) -> Option<()> {
        if rows.is_empty() {
            return Some(());
        }
        super::arrow::pass("restore");
        self.judge.control(JudgeControl::Event((self.event)(rows)));
        let waiting = self.look(|judge, _| judge.outstanding());
        self.under_way.push_back(waiting);
        if self.under_way.len() <= BATCHES_MAX {
            return Some(());
        }
        let mut waiting = self.under_way.pop_front()?.recv().ok()?;
        while waiting > WAITING_MAX {
            std::thread::park_timeout(LOOK_AGAIN);
            waiting = self.look(|judge, _| judge.outstanding()).recv().ok()?;
        }
        Some(())
    }

    /// Waits until everything handed over has been decided about; `None` if the judge has gone.
    pub(super) fn end(self) -> Option<()> {
        // What a step leaves over for the next one is done when nothing is due any more.
        let busy = |judge: &Judge, now| usize::from(judge.next_deadline().is_some_and(|at| at <= now));
        while self.look(busy).recv().ok()? > 0 {}
        Some(())
    }

    fn look(&self, what: impl FnOnce(&Judge, Timestamp) -> usize + Send + 'static) -> Receiver<usize> {
        let (sender, seen) = channel();
        let look = move |judge: &Judge, now| sender.send(what(judge, now)).unwrap_or_default();
        self.judge.control(JudgeControl::Look(Box::new(look)));
        seen
    }
}

/// Hands all stored bans to the judge and waits until all are decided about:
/// how many there were. `None` if the judge has gone.
///
/// They are read beside the store's thread, which answers the judge meanwhile.
/// Where that does not work, the store reads them itself, and mends what it can.
pub(super) fn all(
    database: Option<&Path>,
    store: &StoreHandle,
    wanted: Wanted,
    judge: &Arc<JudgeInbox>,
) -> Option<usize> {
    let mut way = Way::to(judge, Event::Restore);
    let (mut rows, mut number, mut gone) = (Vec::with_capacity(ROWS_AT_ONCE), 0, false);
    let read = database.map(|path| {
        Reader::open(path)?.bans(|ban| {
            rows.extend(wanted.take(ban));
            if rows.len() >= ROWS_AT_ONCE && !gone {
                number += rows.len();
                let full = std::mem::replace(&mut rows, Vec::with_capacity(ROWS_AT_ONCE));
                gone = way.send(full).is_none();
            }
        })
    });
    if gone {
        return None;
    }
    number += rows.len();
    way.send(rows)?;
    if !matches!(read, Some(Ok(_))) {
        // Whoever is banned already is passed over.
        number = 0;
        for rows in store.bans(wanted) {
            number += rows.len();
            way.send(rows)?;
        }
    }
    way.end()?;
    Some(number)
}
