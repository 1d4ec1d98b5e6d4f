//! Which part of a line is what.

use std::ops::Range;
use std::sync::Arc;

use stockade_core::matcher::{LineReport, Seen};
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

/// A part of a line, in bytes of the line as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// `date`, `prefix`, or the name of a group.
    pub(super) name: String,
    pub(super) span: Range<usize>,
}

/// Where texts that patterns saw stand in their line.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Up to here the text is the line's own beginning; behind it `shift` bytes were cut out.
    before: usize,
    shift: usize,
    /// Where the text itself begins in what was seen.
    begin: usize,
    /// Bytes of the line.
    len: usize,
}

impl Place {
    /// Of what was seen as a whole, if that is this one line.
    pub(super) fn of(line: &str, seen: &Seen) -> Option<Place> {
        let [before, date, behind] = &seen.parts;
        let whole = seen.text.len() == before.len() + behind.len() + 1;
        let own = line.len() == before.len() + date.len() + behind.len();
        // A lent date stands nowhere in the line.
        let (before, shift) = if own { (before.len(), date.len()) } else { (0, 0) };
        whole.then_some(Place { before, shift, begin: 0, len: line.len() })
    }

    /// Of a part of what was seen, beginning at `begin`.
    pub(super) fn from(&self, begin: usize) -> Place {
        Place { begin: self.begin + begin, ..self.clone() }
    }

    /// Where a part of the text stands in the line.
    pub(super) fn span(&self, span: &Range<usize>) -> Range<usize> {
        let at = |n: usize| {
            let n = n + self.begin;
            (if n < self.before || n == self.before && self.shift == 0 { n } else { n + self.shift }).min(self.len)
        };
        // A part that ends where the date begins ends there.
        let end = span.end + self.begin;
        let end = if end <= self.before && span.end > span.start { end } else { at(span.end) };
        at(span.start)..end.max(at(span.start))
    }
}

/// The named groups of a match.
pub(super) fn groups(regex: &Regex, slots: &Slots, place: &Place) -> Vec<Mark> {
    let mut names = regex.group_names().to_vec();
    names.sort_by_key(|(_, group)| *group);
    let one = |(name, group): (Arc<str>, usize)| {
        let span = slots.get(group).filter(|span| !span.is_empty())?;
        Some(Mark { name: name.to_string(), span: place.span(&span) })
    };
    names.into_iter().filter_map(one).collect()
}

/// A pattern as it runs: expanded, compiled, and what its searches cost.
pub(super) struct Running {
    pub(super) regex: Option<Regex>,
    scratch: Scratch,
    pub(super) slots: Slots,
    /// Lines it was tried on, lines it matched, steps of all and of the worst.
    pub(super) tried: u64,
    pub(super) hits: u64,
    pub(super) steps: u64,
    pub(super) worst: u32,
    /// Searches that ran out of steps.
    pub(super) exhausted: u64,
}

impl Running {
    pub(super) fn new(expanded: &str, multiline: bool) -> Running {
        Running {
            regex: Regex::new(expanded, Flags { multiline, ..Flags::default() }).ok(),
            scratch: Scratch::new(),
            slots: Slots::new(),
            tried: 0,
            hits: 0,
            steps: 0,
            worst: 0,
            exhausted: 0,
        }
    }

    /// Does it match? Groups are in `slots` then.
    pub(super) fn search(&mut self, text: &str) -> bool {
        let Some(regex) = &self.regex else { return false };
        let outcome = regex.search(&mut self.scratch, text, 0..text.len(), &mut self.slots);
        self.tried += 1;
        self.steps += u64::from(self.scratch.steps());
        self.worst = self.worst.max(self.scratch.steps());
        self.hits += u64::from(outcome == Outcome::Match);
        self.exhausted += u64::from(outcome == Outcome::Exhausted);
        outcome == Outcome::Match
    }

    /// Steps of a search on average.
    pub(super) fn average(&self) -> u64 {
        self.steps / self.tried.max(1)
    }
}

/// The date of a line, as a mark.
pub(super) fn date(report: &LineReport) -> Option<Mark> {
    let date = report.date.as_ref().filter(|date| !date.span.is_empty())?;
    Some(Mark { name: "date".to_owned(), span: date.span.clone() })
}
