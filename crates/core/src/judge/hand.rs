//! Going round over the slots of several tables, a part at a time.

use std::ops::Range;

use super::table::Slot;

/// Where the next part begins.
#[derive(Debug, Default)]
pub(super) struct Hand {
    table: usize,
    slot: Slot,
}

impl Hand {
    /// The next `wanted` slots of tables that have so many: of which table, and which. No more than
    /// there are, and none twice.
    pub(super) fn next(&mut self, slots: impl Iterator<Item = Slot>, wanted: usize) -> Vec<(usize, Range<Slot>)> {
        let slots: Vec<Slot> = slots.collect();
        let all: usize = slots.iter().map(|count| *count as usize).sum();
        let mut left = wanted.min(all);
        let mut parts = Vec::new();
        while left > 0 {
            let Some(count) = slots.get(self.table) else {
                *self = Hand::default();
                continue;
            };
            let end = Slot::try_from(left).unwrap_or(Slot::MAX).saturating_add(self.slot).min(*count);
            if self.slot < end {
                left -= (end - self.slot) as usize;
                parts.push((self.table, self.slot..end));
                self.slot = end;
            } else {
                *self = Hand { table: self.table + 1, slot: 0 };
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_over_all_tables() {
        let mut hand = Hand::default();
        let mut next = |wanted| hand.next([3, 0, 2].into_iter(), wanted);
        assert_eq!(next(2), [(0, 0..2)]);
        assert_eq!(next(2), [(0, 2..3), (2, 0..1)]);
        assert_eq!(next(4), [(2, 1..2), (0, 0..3)]);
        assert_eq!(next(100), [(2, 0..2), (0, 0..3)]);
        assert_eq!(hand.next([2].into_iter(), 1), [(0, 0..1)], "tables may go");
        assert_eq!(hand.next([0, 0].into_iter(), 1), []);
        assert_eq!(hand.next([].into_iter(), 1), []);
    }
}
