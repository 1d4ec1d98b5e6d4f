//! Lanes: who waits for which runs to end.
//!
//! A lane is all that is done under one action name, over all jails: its runs
//! never overlap; different lanes run beside each other. A task is one thing
//! that happens to a jail (a ban, its end, a start) with a step for each of its
//! actions. The steps of one action keep the order of their tasks, whether or
//! not they have anything to do. In strict order a step begins when the one
//! before it in its task has ended; while it waits, the steps of other jails in
//! its lane go on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use stockade_enforce::runner::{ActionId, RunId};

/// Number of a task.
pub(super) type TaskId = u64;

/// Where steps wait, and one runs.
#[derive(Default)]
struct Lane {
    /// By action, each in the order of tasks; none is empty.
    queues: BTreeMap<ActionId, VecDeque<TaskId>>,
    waiting: usize,
    running: Option<Running>,
}

/// A step that the runner has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) run: RunId,
    pub(super) task: TaskId,
    pub(super) action: ActionId,
    pub(super) since: Instant,
}

/// All lanes by number, and their numbers by name.
#[derive(Default)]
pub(super) struct Lanes {
    names: HashMap<Arc<str>, u32>,
    lanes: HashMap<u32, Lane>,
    /// Lanes that may have something to begin.
    ready: VecDeque<u32>,
    next_run: RunId,
}

impl Lanes {
    /// The lane of this name.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(name.into(), number);
        number
    }

    /// Puts a step behind all others of its action.
    pub(super) fn push(&mut self, lane: u32, task: TaskId, action: ActionId) {
        let there = self.lanes.entry(lane).or_default();
        there.queues.entry(action).or_default().push_back(task);
        there.waiting += 1;
        self.wake(lane);
    }

    /// Something in this lane may begin now.
    pub(super) fn wake(&mut self, lane: u32) {
        if self.lanes.get(&lane).is_some_and(|there| there.running.is_none() && there.waiting > 0) {
            self.ready.push_back(lane);
        }
    }

    /// Something in any lane may begin now.
    pub(super) fn wake_all(&mut self) {
        self.ready.extend(self.lanes.keys().copied());
    }

    /// The oldest step that may begin, if `may` says so; its lane is free
    /// until [`Lanes::begin`].
    pub(super) fn next(&mut self, may: impl Fn(TaskId, ActionId) -> bool) -> Option<(u32, TaskId, ActionId)> {
        while let Some(lane) = self.ready.front().copied() {
            if let Some((task, action)) = self.lanes.get_mut(&lane).and_then(|there| there.take(&may)) {
                return Some((lane, task, action));
            }
            self.ready.pop_front();
        }
        None
    }

    /// The step that [`Lanes::next`] gave runs from now on, under this number.
    pub(super) fn begin(&mut self, lane: u32, task: TaskId, action: ActionId) -> RunId {
        self.next_run += 1;
        let running = Running { run: self.next_run, task, action, since: Instant::now() };
        self.lanes.entry(lane).or_default().running = Some(running);
        self.next_run
    }

    /// A run ended: which step it was.
    pub(super) fn end(&mut self, run: RunId) -> Option<Running> {
        let (lane, there) = self.lanes.iter_mut().find(|(_, lane)| lane.running.is_some_and(|r| r.run == run))?;
        self.ready.push_back(*lane);
        there.running.take()
    }

    /// All that run now, taken away: whoever ran them is gone.
    pub(super) fn end_all(&mut self) -> Vec<Running> {
        let mut ended = Vec::new();
        for (number, lane) in &mut self.lanes {
            ended.extend(lane.running.take());
            self.ready.push_back(*number);
        }
        ended
    }

    /// How many steps wait in a lane.
    pub(super) fn waiting(&self, lane: u32) -> usize {
        self.lanes.get(&lane).map_or(0, |lane| lane.waiting)
    }

    /// What runs in a lane.
    pub(super) fn running(&self, lane: u32) -> Option<Running> {
        self.lanes.get(&lane)?.running
    }

    /// Does nothing wait and nothing run?
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.running.is_none() && lane.waiting == 0)
    }
}

impl Lane {
    /// Takes the oldest step that may begin, unless one runs.
    fn take(&mut self, may: &impl Fn(TaskId, ActionId) -> bool) -> Option<(TaskId, ActionId)> {
        if self.running.is_some() {
            return None;
        }
        let heads = self.queues.iter().filter_map(|(action, queue)| Some((*queue.front()?, *action)));
        let (task, action) = heads.filter(|(task, action)| may(*task, *action)).min()?;
        let queue = self.queues.get_mut(&action)?;
        queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&action);
        }
        self.waiting -= 1;
        Some((task, action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lanes: &mut Lanes, may: impl Fn(TaskId, ActionId) -> bool) -> Vec<(u32, TaskId, RunId)> {
        let mut begun = Vec::new();
        while let Some((lane, task, action)) = lanes.next(&may) {
            begun.push((lane, task, lanes.begin(lane, task, action)));
        }
        begun
    }

    #[test]
    fn a_lane_runs_one_step_at_a_time_and_holds_up_no_other() {
        let mut lanes = Lanes::default();
        let (a, b) = (lanes.number("a"), lanes.number("b"));
        assert_eq!((lanes.number("a"), lanes.waiting(a)), (a, 0));
        lanes.push(a, 1, 10);
        lanes.push(a, 2, 10);
        lanes.push(b, 1, 11);
        assert_eq!(all(&mut lanes, |_, _| true), [(a, 1, 1), (b, 1, 2)]);
        assert_eq!((lanes.waiting(a), lanes.running(a).map(|r| r.run)), (1, Some(1)));
        assert_eq!(lanes.end(1).map(|r| (r.task, r.action)), Some((1, 10)));
        assert_eq!(lanes.next(|_, _| true).map(|(lane, task, _)| (lane, task)), Some((a, 2)));
        // A step without anything to do leaves the lane free for the next one.
        assert!(lanes.next(|_, _| true).is_none() && lanes.end(99).is_none());
        assert_eq!(lanes.end_all().len(), 1);
        assert!(lanes.is_idle());
    }

    #[test]
    fn a_step_that_waits_for_another_action_lets_other_jails_pass_but_none_of_its_own() {
        let mut lanes = Lanes::default();
        let a = lanes.number("a");
        lanes.push(a, 1, 10);
        lanes.push(a, 2, 10);
        lanes.push(a, 3, 20);
        let held = |task, _| task != 1;
        assert_eq!(all(&mut lanes, held), [(a, 3, 1)]);
        lanes.end(1);
        assert!(all(&mut lanes, held).is_empty());
        lanes.wake(a);
        assert_eq!(all(&mut lanes, |_, _| true), [(a, 1, 2)]);
        lanes.end(2);
        assert_eq!(all(&mut lanes, |_, _| true), [(a, 2, 3)]);
    }
}
