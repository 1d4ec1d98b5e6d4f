//! What a search needs and what it answers.

use std::ops::Range;

use crate::fast::Memo;

/// No position.
pub(crate) const NONE: u32 = u32::MAX;

/// Steps that one search may take, if nothing else is asked for: so many, and
/// some more for each byte of the text, so that long lines are not refused for
/// their length. A step is a few nanoseconds; 8 KiB end within a millisecond.
const STEPS: u32 = 60_000;
const STEPS_PER_BYTE: u32 = 2;
const STEPS_MAX: u32 = 4_000_000;

/// Most frames of a search: 12 MiB.
pub(crate) const FRAMES_MAX: usize = 1 << 20;

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The leftmost match was found; the slots hold its groups.
    Match,
    /// The text has no match.
    NoMatch,
    /// The search took more steps than allowed; whether there is a match is not known.
    ///
    /// Also the answer for texts of 4 GiB and more.
    Exhausted,
}

/// Room that searches work in; one per thread, good for every pattern.
///
/// A search allocates only when it needs more than any search before it.
#[derive(Debug)]
pub struct Scratch {
    pub(crate) frames: Vec<(u32, u32, u32)>,
    pub(crate) slots: Vec<u32>,
    pub(crate) registers: Vec<u32>,
    /// Last places of needed literals, looked up once for each search.
    pub(crate) needs: Vec<u32>,
    pub(crate) memo: Memo,
    /// Steps left of the running search.
    pub(crate) budget: u32,
    /// Steps that it had at its start.
    granted: u32,
    limit: u32,
    per_byte: u32,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Scratch {
    /// An empty scratch with the usual step limit.
    pub fn new() -> Scratch {
        Scratch { limit: STEPS, per_byte: STEPS_PER_BYTE, ..Scratch::with_limit(0) }
    }

    /// An empty scratch whose searches end after `steps`, whatever the text's length.
    pub fn with_limit(steps: u32) -> Scratch {
        Scratch {
            frames: Vec::new(),
            slots: Vec::new(),
            registers: Vec::new(),
            needs: Vec::new(),
            memo: Memo::default(),
            budget: 0,
            granted: 0,
            limit: steps,
            per_byte: 0,
        }
    }

    /// Starts a search's account.
    pub(crate) fn begin(&mut self, bytes: usize) {
        let more = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_mul(self.per_byte);
        self.granted = self.limit.saturating_add(more).min(STEPS_MAX.max(self.limit));
        self.budget = self.granted;
    }

    /// Steps that the last search took; an engine's step is a few nanoseconds.
    pub fn steps(&self) -> u32 {
        self.granted - self.budget
    }
}

/// The groups of a match: byte ranges of the searched text.
///
/// Reusable; group 0 is the whole match. Empty after a search that found nothing.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    ends: Vec<u32>,
}

impl Slots {
    /// No groups yet.
    pub fn new() -> Slots {
        Slots::default()
    }

    /// Where a group matched, or nothing if it took no part in the match.
    #[inline]
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        let [from, to] = *self.ends.as_chunks().0.get(group)?;
        // Nothing is greater than no place.
        (from <= to && to != NONE).then_some(from as usize..to as usize)
    }

    /// Forgets the groups.
    pub fn clear(&mut self) {
        self.ends.clear();
    }

    /// Takes the places over; `slots` gets the old ones' room.
    pub(crate) fn take(&mut self, slots: &mut Vec<u32>) {
        std::mem::swap(&mut self.ends, slots);
    }

    #[cfg(test)]
    pub(crate) fn fill(&mut self, slots: &[u32]) {
        self.ends.clear();
        self.ends.extend_from_slice(slots);
    }
}

/// The text of a search: Python's `endpos` has cut it, `pos` is where it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'t> {
    pub(crate) bytes: &'t [u8],
    pub(crate) start: u32,
    /// Its only line end is its last byte.
    pub(crate) one_line: bool,
}

impl Text<'_> {
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(NONE)
    }

    pub(crate) fn byte(&self, at: u32) -> Option<u8> {
        self.bytes.get(at as usize).copied()
    }

    /// The character at a position and the position behind it.
    pub(crate) fn char_at(&self, at: u32) -> Option<(u32, u32)> {
        let first = u32::from(self.byte(at)?);
        if first < 0x80 {
            return Some((first, at + 1));
        }
        let rest = |i: u32| self.byte(at + i).map_or(0, |b| u32::from(b) & 0x3f);
        Some(if first < 0xe0 {
            ((first & 0x1f) << 6 | rest(1), at + 2)
        } else if first < 0xf0 {
            ((first & 0xf) << 12 | rest(1) << 6 | rest(2), at + 3)
        } else {
            ((first & 7) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3), at + 4)
        })
    }

    /// The position some characters before another, if there are as many.
    pub(crate) fn back(&self, at: u32, chars: u32) -> Option<u32> {
        let mut at = at;
        for _ in 0..chars {
            at = at.checked_sub(1)?;
            while self.byte(at).is_some_and(|b| b & 0xc0 == 0x80) {
                at = at.checked_sub(1)?;
            }
        }
        Some(at)
    }
}
