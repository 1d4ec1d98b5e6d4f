//! Failures that wait for an answer, in the order of each id; and how far each
//! source has had its full effect.

use std::collections::{BTreeMap, VecDeque};

use super::event::{AskId, CommandId};
use super::output::About;
use crate::block::{Position, SourceKey};
use crate::decision::Watermark;
use crate::id::FailureId;
use crate::jail::JailName;
use crate::time::Timestamp;

/// One failure on its way to being counted.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) jail: JailName,
    pub(super) about: About,
    /// Set while the id is a captured host name whose addresses are not known.
    pub(super) name: Option<Box<str>>,
    pub(super) purpose: Purpose,
    /// The ignore command's answer.
    pub(super) command: Option<bool>,
    /// Ask nothing any more.
    pub(super) no_asking: bool,
}

/// Where a case comes from and what hangs on it.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Log { source: SourceKey, place: Position, mark: u64 },
    Replay,
    Attempt { command: CommandId, count: u32 },
}

/// Cases of one id of one jail keep their order.
pub(super) type Lane = (JailName, FailureId);

/// Who waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) lanes: Vec<Lane>,
    /// Unban commands that wait for a name's addresses.
    pub(super) unbans: Vec<WaitingUnban>,
    pub(super) name: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) struct WaitingUnban {
    pub(super) command: CommandId,
    pub(super) jail: Option<JailName>,
    /// Names to ask for, the next one last.
    pub(super) names: Vec<FailureId>,
    pub(super) count: u64,
    pub(super) absent: Vec<FailureId>,
}

/// All parked cases.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lanes: BTreeMap<Lane, VecDeque<Case>>,
    asks: BTreeMap<AskId, (Timestamp, Waiting)>,
    by_name: BTreeMap<Box<str>, AskId>,
    cases: usize,
    last: u64,
}

impl Parking {
    pub(super) fn len(&self) -> usize {
        self.cases
    }

    /// Is nothing parked?
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn has(&self, lane: &Lane) -> bool {
        !self.lanes.is_empty() && self.lanes.contains_key(lane)
    }

    /// How many cases of an id are parked, by jail.
    pub(super) fn of(&self, id: &FailureId) -> impl Iterator<Item = (&JailName, usize)> {
        self.lanes.iter().filter(move |((_, there), _)| there == id).map(|((jail, _), cases)| (jail, cases.len()))
    }

    pub(super) fn push(&mut self, lane: Lane, case: Case) {
        self.cases += 1;
        self.lanes.entry(lane).or_default().push_back(case);
    }

    pub(super) fn push_front(&mut self, lane: Lane, case: Case) {
        self.cases += 1;
        self.lanes.entry(lane).or_default().push_front(case);
    }

    /// The next case of a lane; the lane goes with its last case.
    pub(super) fn pop(&mut self, lane: &Lane) -> Option<Case> {
        let cases = self.lanes.get_mut(lane)?;
        match cases.pop_front() {
            Some(case) => {
                self.cases -= 1;
                Some(case)
            }
            None => {
                self.lanes.remove(lane);
                None
            }
        }
    }

    /// Registers a question; `None` if it has been asked and is only waited for.
    pub(super) fn ask(
        &mut self,
        name: Option<&str>,
        until: Timestamp,
        join: impl FnOnce(&mut Waiting),
    ) -> Option<AskId> {
        if let Some(id) = name.and_then(|name| self.by_name.get(name))
            && let Some((_, waiting)) = self.asks.get_mut(id)
        {
            join(waiting);
            return None;
        }
        self.last += 1;
        let id = AskId(self.last);
        let mut waiting = Waiting { name: name.map(Into::into), ..Waiting::default() };
        join(&mut waiting);
        self.asks.insert(id, (until, waiting));
        if let Some(name) = name {
            self.by_name.insert(name.into(), id);
        }
        Some(id)
    }

    /// Ends a question.
    pub(super) fn answered(&mut self, id: AskId) -> Option<Waiting> {
        let (_, waiting) = self.asks.remove(&id)?;
        if let Some(name) = &waiting.name {
            self.by_name.remove(name);
        }
        Some(waiting)
    }

    /// When the oldest question is given up.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.asks.first_key_value().map(|(_, (until, _))| *until)
    }

    /// The oldest question, if its time is over.
    pub(super) fn overdue(&self, now: Timestamp) -> Option<AskId> {
        self.asks.first_key_value().filter(|(_, (until, _))| *until <= now).map(|(id, _)| *id)
    }
}

/// How far each source of each jail has had its full effect. A parked failure
/// holds the mark of its batch and of all later ones.
#[derive(Debug, Default)]
pub(super) struct Marks {
    open: BTreeMap<(JailName, SourceKey), VecDeque<Mark>>,
    last: u64,
}

#[derive(Debug)]
struct Mark {
    number: u64,
    to: Position,
    cases: u32,
}

impl Marks {
    /// Begins a batch; the batch itself counts as a case until it is closed.
    pub(super) fn begin(&mut self, jail: JailName, source: SourceKey, to: Position) -> u64 {
        self.last += 1;
        let mark = Mark { number: self.last, to, cases: 1 };
        self.open.entry((jail, source)).or_default().push_back(mark);
        self.last
    }

    fn find(&mut self, jail: &JailName, source: &SourceKey, number: u64) -> Option<&mut Mark> {
        let marks = self.open.get_mut(&(jail.clone(), source.clone()))?;
        marks.iter_mut().rev().find(|mark| mark.number == number)
    }

    /// One more case hangs on the mark.
    pub(super) fn hold(&mut self, jail: &JailName, source: &SourceKey, number: u64) {
        if let Some(mark) = self.find(jail, source, number) {
            mark.cases = mark.cases.saturating_add(1);
        }
    }

    /// One case less; the watermark that this sets free.
    pub(super) fn close(&mut self, jail: &JailName, source: &SourceKey, number: u64) -> Option<Watermark> {
        if let Some(mark) = self.find(jail, source, number) {
            mark.cases = mark.cases.saturating_sub(1);
        }
        let key = (jail.clone(), source.clone());
        let marks = self.open.get_mut(&key)?;
        let mut to = None;
        while marks.front().is_some_and(|mark| mark.cases == 0) {
            to = marks.pop_front().map(|mark| mark.to);
        }
        if marks.is_empty() {
            self.open.remove(&key);
        }
        to.map(|to| Watermark { jail: jail.clone(), source: source.clone(), to })
    }

    /// A jail is gone.
    pub(super) fn forget(&mut self, jail: &JailName) {
        self.open.retain(|(there, _), _| there != jail);
    }
}
