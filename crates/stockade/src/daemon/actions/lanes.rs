//! Lanes: who waits for which runs to end.
//!
//! A lane is all that is done under one action name, over all jails: its runs
//! never overlap and keep their order; different lanes run beside each other.
//! A task is one thing that happens to a jail (a ban, its end, a start) with a
//! step for each of its actions. In strict order a step begins when the one
//! before it has ended; a step that has nothing to do still waits for its turn,
//! so that no later task overtakes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use stockade_enforce::runner::{ActionId, RunId};

/// Number of a task.
pub(super) type TaskId = u64;

/// Where a step waits or runs.
#[derive(Default)]
struct Lane {
    queue: VecDeque<(TaskId, ActionId)>,
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

    /// Puts a step behind all others of its lane.
    pub(super) fn push(&mut self, lane: u32, task: TaskId, action: ActionId) {
        let there = self.lanes.entry(lane).or_default();
        there.queue.push_back((task, action));
        if there.running.is_none() {
            self.ready.push_back(lane);
        }
    }

    /// The next step that may begin: its lane is free until [`Lanes::begin`].
    pub(super) fn next(&mut self) -> Option<(u32, TaskId, ActionId)> {
        while let Some(lane) = self.ready.front().copied() {
            let there = self.lanes.entry(lane).or_default();
            if there.running.is_none()
                && let Some((task, action)) = there.queue.pop_front()
            {
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

    /// A run ended; which step it was.
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
        self.lanes.get(&lane).map_or(0, |lane| lane.queue.len())
    }

    /// What runs in a lane.
    pub(super) fn running(&self, lane: u32) -> Option<Running> {
        self.lanes.get(&lane)?.running
    }

    /// Does nothing wait and nothing run?
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.running.is_none() && lane.queue.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_runs_one_step_at_a_time_and_holds_up_no_other() {
        let mut lanes = Lanes::default();
        let (a, b) = (lanes.number("a"), lanes.number("b"));
        assert_eq!((lanes.number("a"), lanes.waiting(a)), (a, 0));
        lanes.push(a, 1, 10);
        lanes.push(a, 2, 10);
        lanes.push(b, 1, 11);
        let mut begun = Vec::new();
        while let Some((lane, task, action)) = lanes.next() {
            begun.push((lane, task, lanes.begin(lane, task, action)));
        }
        assert_eq!(begun, [(a, 1, 1), (b, 1, 2)]);
        assert_eq!((lanes.waiting(a), lanes.running(a).map(|r| r.run)), (1, Some(1)));
        assert_eq!(lanes.end(1).map(|r| (r.task, r.action)), Some((1, 10)));
        assert_eq!(lanes.next().map(|(lane, task, _)| (lane, task)), Some((a, 2)));
        // A step without anything to do leaves the lane free for the next one.
        assert!(lanes.next().is_none() && lanes.end(99).is_none());
        assert_eq!(lanes.end_all().len(), 1);
        assert!(lanes.is_idle());
    }
}
