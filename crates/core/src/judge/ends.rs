//! When the bans of one jail end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::table::Slot;
use crate::decision::Seq;
use crate::time::Timestamp;

/// Stored bans that come together and are fewer than this are as good as new ones.
const RUN_MIN: usize = 64;

/// A place in the index of ends: by end, and then by order of ban. In parts of
/// four bytes, which leaves no gaps: there are very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    /// The upper and the lower half; numbers are ordered as times are.
    time: [u32; 2],
    seq: [u32; 2],
    pub(super) slot: Slot,
}

impl End {
    /// Turns times into numbers in the same order.
    const SIGN: u64 = 1 << 63;

    pub(super) fn new(end: Timestamp, seq: Seq, slot: Slot) -> End {
        End { time: halves(end.micros().cast_unsigned() ^ End::SIGN), seq: halves(seq.0), slot }
    }

    pub(super) fn time(self) -> Timestamp {
        let [high, low] = self.time.map(u64::from);
        Timestamp::from_micros(((high << 32 | low) ^ End::SIGN).cast_signed())
    }
}

/// The upper and the lower half.
#[expect(clippy::cast_possible_truncation, reason = "that is what halves are")]
fn halves(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}

/// Ends of bans, the first one first.
///
/// Those of stored bans, which a start takes up in great numbers, stay in the
/// order in which they came together: in half the time and memory of a tree.
/// They can't be removed from there, so what comes first may be of a ban that
/// has gone or changed since; whoever takes it looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    tree: BTreeSet<End>,
    /// What came together, the last end first; without its next one.
    runs: Vec<Vec<End>>,
    /// The next one of each run, and its place in `runs`.
    next: BinaryHeap<Reverse<(End, usize)>>,
    /// What is coming together.
    coming: Vec<End>,
}

impl Ends {
    pub(super) fn insert(&mut self, end: End) {
        self.tree.insert(end);
    }

    /// Removes one, or leaves it to whoever takes it.
    pub(super) fn remove(&mut self, end: &End) {
        self.tree.remove(end);
    }

    /// Adds one of a stored ban; [`Ends::came_together`] follows behind the last one.
    pub(super) fn take_up(&mut self, end: End) {
        self.coming.push(end);
    }

    /// What was taken up since the last call is all of it.
    pub(super) fn came_together(&mut self) {
        if self.coming.len() < RUN_MIN {
            self.tree.extend(self.coming.drain(..));
            return;
        }
        let mut run = std::mem::take(&mut self.coming);
        run.sort_unstable_by(|a, b| b.cmp(a));
        let first = run.pop();
        run.shrink_to_fit();
        self.next.extend(first.map(|first| Reverse((first, self.runs.len()))));
        self.runs.push(run);
    }

    pub(super) fn first(&self) -> Option<End> {
        let of_runs = self.next.peek().map(|Reverse((end, _))| *end);
        self.tree.first().copied().into_iter().chain(of_runs).min()
    }

    pub(super) fn pop_first(&mut self) -> Option<End> {
        let first = self.first()?;
        if self.tree.first() == Some(&first) {
            return self.tree.pop_first();
        }
        let Reverse((end, at)) = self.next.pop()?;
        if let Some(run) = self.runs.get_mut(at) {
            match run.pop() {
                Some(next) => self.next.push(Reverse((next, at))),
                None => *run = Vec::new(),
            }
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_in_the_order_of_time_and_then_of_bans() {
        assert_eq!(size_of::<End>(), 20);
        let micros = [i64::MIN, -1 << 40, -1, 0, 1, u32::MAX.into(), 1 << 32, i64::MAX - 1];
        let all = micros.iter().flat_map(|at| [(5, 2), (5, 3), (1 << 40, 0)].map(|(seq, slot)| (*at, seq, slot)));
        let ends: Vec<End> =
            all.clone().map(|(at, seq, slot)| End::new(Timestamp::from_micros(at), Seq(seq), slot)).collect();
        assert!(ends.is_sorted());
        assert!(ends.iter().zip(all).all(|(end, (at, ..))| end.time().micros() == at));
    }

    #[test]
    fn whatever_came_together_the_first_end_comes_first() {
        let mut ends = Ends::default();
        // Scattered; in runs, in too small a run, and one by one.
        let all: Vec<End> = (0..1_000u32)
            .map(|n| End::new(Timestamp::from_secs(i64::from(n * 7_919 % 1_000)), Seq(u64::from(n)), n))
            .collect();
        for (n, end) in all.iter().enumerate() {
            if n < 600 {
                ends.take_up(*end)
            } else {
                ends.insert(*end)
            }
            if [199, 449, 459, 599].contains(&n) {
                ends.came_together();
            }
        }
        ends.remove(&all[999]);
        let mut sorted = all[..999].to_vec();
        sorted.sort_unstable();
        let popped: Vec<End> = std::iter::from_fn(|| ends.pop_first()).collect();
        assert_eq!(popped, sorted);
        assert!(ends.runs.iter().all(|run| run.capacity() == 0), "what is over takes no memory");
    }
}
