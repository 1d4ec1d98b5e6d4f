//! Which template is taken for a line: stateful, as logs mostly repeat
//! themselves and some texts fit several templates.
//!
//! Source: fail2ban `server/datedetector.py`, `matchTime` and
//! `_reorderTemplate`, followed step by step. Positions count characters, as
//! there; the line itself is cut by bytes.

use std::ops::Range;
use std::sync::Arc;

use stockade_pattern::{Scratch, Slots};

use super::Templates;
use super::convert::{Bad, Clock, Field};
use super::sketch::Sketch;
use super::template::{Exhausted, Found, Template};
use crate::time::{Span, Timestamp};

/// After this long without use a template gives way to one in use.
const UNUSED: Span = Span::from_secs(300);

/// One template's standing in this log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Rank {
    /// Index into [`Templates`].
    pub(in super::super) template: usize,
    /// How often it won.
    pub(in super::super) hits: u64,
    /// When it last won.
    pub(in super::super) used: Option<Timestamp>,
    /// Where its last win began, in characters.
    pub(in super::super) distance: u32,
}

/// One end of the last match: its place in characters and the two characters around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Edge {
    pub(in super::super) at: u32,
    pub(in super::super) before: Option<char>,
    pub(in super::super) behind: Option<char>,
}

/// The state of choosing, one per jail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Choice {
    /// Templates in their present order; empty until the first line.
    pub(in super::super) order: Vec<Rank>,
    /// How often each template (by its index) matched at all, taken or not.
    ///
    /// DIVERGENCE (dates-per-jail): the original counts this over all jails of the process, so
    /// that one jail's log can change another's dates; here each jail counts for itself.
    pub(in super::super) matched: Vec<u64>,
    /// Place in `order` of the template that won last.
    pub(in super::super) last: Option<usize>,
    /// First place in `order` whose template never won.
    pub(in super::super) first_unused: usize,
    /// Begin and end of the last match.
    pub(in super::super) edges: (Edge, Edge),
    /// The last date that was read, as busy logs repeat it.
    memo: Memo,
}

/// A date and its time, as read at one moment with one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memo {
    /// From where the short way seeks a date up to two bytes behind it; empty if it was not read so.
    head: Vec<u8>,
    /// What is cut, and where the seconds are, counted from the head's begin.
    cut: Range<usize>,
    seconds: usize,
    /// The time of the date's minute, if that was needed.
    minute: Option<Timestamp>,
    template: usize,
    now: Timestamp,
    text: String,
    time: Option<Timestamp>,
}

impl Memo {
    fn is_of(&self, template: usize, clock: &Clock<'_>) -> bool {
        !self.head.is_empty() && (self.template, self.now) == (template, clock.now)
    }

    /// The seconds of a text that differs from the head in nothing else.
    fn other_seconds(&self, text: &[u8]) -> Option<[u8; 2]> {
        let (minute, rest) = text.get(..self.head.len())?.split_at_checked(self.seconds)?;
        let (own_minute, own_rest) = self.head.split_at_checked(self.seconds)?;
        let ([tens @ b'0'..=b'5', ones @ b'0'..=b'9', behind @ ..], [_, _, own_behind @ ..]) = (rest, own_rest) else {
            return None;
        };
        (minute == own_minute && behind == own_behind).then_some([*tens, *ones])
    }
}

/// A line's date.
#[derive(Clone, Debug)]
pub(in super::super) struct Dated {
    /// Index of the template into [`Templates`].
    pub(in super::super) template: usize,
    /// What is cut from the line, in bytes; empty if the template allows for no date.
    pub(in super::super) cut: Range<usize>,
    /// The time, if the text is a date.
    pub(in super::super) time: Result<Timestamp, Bad>,
}

/// What a line's search for a date came to.
#[derive(Debug, Default)]
pub(in super::super) struct Lookup {
    /// The date, if a template matched.
    pub(in super::super) dated: Option<Dated>,
    /// A template (its index) whose steps ran out.
    pub(in super::super) exhausted: Option<usize>,
}

/// Number of characters of the first `byte` bytes.
fn chars_before(line: &str, byte: usize) -> u32 {
    let count = line.as_bytes().iter().take(byte).filter(|b| !(0x80..0xc0).contains(*b)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Place in bytes of the character `at`, at most the end of the line.
fn byte_of(line: &str, at: u32) -> usize {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    match line.as_bytes().get(..at) {
        Some(head) if head.is_ascii() => at,
        _ => line.char_indices().nth(at).map_or(line.len(), |(byte, _)| byte),
    }
}

/// The characters before and behind a place of the line; none before the first
/// and behind the last one, nor anywhere outside the line.
fn around(line: &str, at: u32) -> (Option<char>, Option<char>) {
    let byte = byte_of(line, at);
    if chars_before(line, byte) < at {
        // Outside: one place behind the end there is still a character before it.
        return (None, None);
    }
    let before = line.get(..byte).and_then(|head| head.chars().next_back());
    (before, line.get(byte..).and_then(|tail| tail.chars().next()))
}

/// One search's means.
struct Searcher<'a> {
    templates: &'a Templates,
    scratch: &'a mut Scratch,
    slots: &'a mut Slots,
    line: &'a str,
    /// What the line has, once it was needed.
    sketch: Option<Sketch>,
    exhausted: Option<usize>,
}

impl Choice {
    /// Finds the date of a line and learns from it.
    pub(in super::super) fn look(
        &mut self,
        templates: &Templates,
        scratch: &mut Scratch,
        slots: &mut Slots,
        line: &str,
        clock: &Clock<'_>,
    ) -> Lookup {
        if self.order.len() != templates.len() {
            *self = Choice::new(templates.len());
        }
        let mut searcher = Searcher { templates, scratch, slots, line, sketch: None, exhausted: None };
        let winner = self.winner(&mut searcher);
        let exhausted = searcher.exhausted;
        let Some((place, found)) = winner else { return Lookup { dated: None, exhausted } };
        let Some(template) = self.settle(templates, line, place, &found, clock.wall) else {
            return Lookup { dated: None, exhausted };
        };
        let time = match templates.get(template) {
            Some(t) if t.is_plain() => self.remembered(t, template, line, &found, clock),
            Some(t) => t.time(line, &found, clock),
            None => Err(Bad::Invalid),
        };
        Lookup { dated: Some(Dated { template, cut: found.cut, time }), exhausted }
    }

    /// The time of a match, from memory if it is the date of the line before.
    fn remembered(
        &mut self,
        template: &Template,
        index: usize,
        line: &str,
        found: &Found,
        clock: &Clock<'_>,
    ) -> Result<Timestamp, Bad> {
        let text = line.get(found.cut.clone()).unwrap_or("");
        let memo = &mut self.memo;
        if let Some(time) = memo.time
            && memo.template == index
            && memo.now == clock.now
            && memo.text == text
        {
            return Ok(time);
        }
        let time = template.time(line, found, clock)?;
        memo.head.clear();
        memo.text.clear();
        memo.text.push_str(text);
        (memo.template, memo.now, memo.time) = (index, clock.now, Some(time));
        Ok(time)
    }

    /// Forgets the last date's time, as it may be read otherwise from now on.
    pub(in super::super) fn forget_time(&mut self) {
        self.memo = Memo::default();
    }

    /// Is it a choice among just these templates, each once? For choices read from outside.
    pub(in super::super) fn fits(&self, templates: &Templates) -> bool {
        let mut seen: Vec<usize> = self.order.iter().map(|rank| rank.template).collect();
        seen.sort_unstable();
        let whole = seen.into_iter().eq(0..templates.len());
        whole && self.matched.len() == templates.len() && self.last.is_none_or(|place| place < templates.len())
    }

    fn new(templates: usize) -> Self {
        let rank = |template| Rank { template, hits: 0, used: None, distance: 0x7fff_ffff };
        Choice { order: (0..templates).map(rank).collect(), matched: vec![0; templates], ..Choice::default() }
    }

    /// The template that takes every line on which its short way finds a date, whatever
    /// else the line holds; `None` if there is none at present.
    ///
    /// That is the last winner, if it is bound to the line's begin: it is tried first, and taken
    /// where it matches.
    pub(in super::super) fn sure<'t>(&self, templates: &'t Templates) -> Option<&'t Arc<Template>> {
        let rank = self.order.get(self.last?)?;
        templates.get(rank.template).filter(|template| template.anchored && template.fast().is_some())
    }

    /// So many lines went by unseen that the sure template would have taken. The
    /// line behind them sets the rest: where its date is, and what surrounds it.
    pub(in super::super) fn pass(&mut self, lines: u64, now: Timestamp) {
        let Some(rank) = self.last.and_then(|place| self.order.get_mut(place)).filter(|_| lines > 0) else { return };
        rank.hits += lines;
        rank.used = Some(now);
        if let Some(count) = self.matched.get_mut(rank.template) {
            *count += lines;
        }
    }

    /// The date of a line on which the sure template's short way is known to find one. Counts it; its
    /// place is to be noted by [`Choice::note_place`] before any other line is looked at.
    pub(in super::super) fn look_regular(
        &mut self,
        templates: &Templates,
        line: &str,
        clock: &Clock<'_>,
    ) -> Option<Dated> {
        let index = self.order.get(self.last?)?.template;
        let template = templates.get(index)?;
        let fast = template.fast()?;
        let from = fast.seeks_from(line.as_bytes())?;
        // The short way looks at no byte beyond the two behind a date.
        let sought = line.as_bytes().get(from..).unwrap_or_default();
        let memo = &mut self.memo;
        let mut near = false;
        if memo.is_of(index, clock) {
            let cut = memo.cut.start + from..memo.cut.end + from;
            if let (true, Some(time)) = (sought.starts_with(&memo.head), memo.time) {
                self.pass(1, clock.wall);
                return Some(Dated { template: index, cut, time: Ok(time) });
            }
            if let Some(seconds) = memo.other_seconds(sought) {
                near = true;
                if let (Some(minute), Some(head)) = (memo.minute, sought.get(..memo.head.len())) {
                    let [tens, ones] = seconds.map(|digit| i64::from(digit - b'0'));
                    let time = minute + Span::from_secs(tens * 10 + ones);
                    memo.head.copy_from_slice(head);
                    memo.text.clear();
                    memo.text.push_str(line.get(cut.clone()).unwrap_or(""));
                    memo.time = Some(time);
                    self.pass(1, clock.wall);
                    return Some(Dated { template: index, cut, time: Ok(time) });
                }
            }
        }
        let found = fast.find(line.as_bytes(), &(0..line.len()))?;
        let time = self.remembered(template, index, line, &found, clock);
        if let (Ok(_), Some(head), Some((seconds, _))) =
            (&time, line.as_bytes().get(from..found.cut.end + 2), found.fields.extent(Field::Second))
        {
            // Worth its price where a minute has more than one date.
            let minute = if near { template.minute(line, &found, seconds, clock) } else { None };
            let memo = &mut self.memo;
            memo.head.clear();
            memo.head.extend_from_slice(head);
            memo.cut = found.cut.start - from..found.cut.end - from;
            (memo.seconds, memo.minute) = (seconds - from, minute);
        }
        self.pass(1, clock.wall);
        Some(Dated { template: index, cut: found.cut, time })
    }

    /// Notes where the sure template finds the date of this regular line.
    pub(in super::super) fn note_place(&mut self, templates: &Templates, line: &str) {
        let Some(template) = self.sure(templates) else { return };
        let found = template.fast().and_then(|fast| fast.find(line.as_bytes(), &(0..line.len())));
        if let (Some(found), Some(place)) = (found, self.last) {
            self.set_place(line, place, &found);
        }
    }

    /// Searches with the template at a place of the order, in the part of the line or all of it.
    fn search(&mut self, with: &mut Searcher<'_>, place: usize, part: Option<Range<usize>>) -> Option<Found> {
        let index = self.order.get(place)?.template;
        let template = with.templates.get(index)?;
        let line = with.line;
        let found = match (part, template.need()) {
            (Some(part), _) => template.search(with.scratch, with.slots, line, part),
            (None, None) => template.search(with.scratch, with.slots, line, 0..line.len()),
            (None, Some(need)) => match template.short_way(line, &(0..line.len())) {
                Some(found) => Ok(Some(found)),
                None => {
                    let sketch = with.sketch.get_or_insert_with(|| Sketch::of(line));
                    match template.short_way_by(sketch, line) {
                        Some(found) => Ok(Some(found)),
                        None => {
                            let window = sketch.window(line, need)?;
                            template.long_way(with.scratch, with.slots, line, window)
                        }
                    }
                }
            },
        };
        match found {
            Ok(Some(found)) => {
                if let Some(count) = self.matched.get_mut(index) {
                    *count += 1;
                }
                Some(found)
            }
            Ok(None) => None,
            Err(Exhausted) => {
                with.exhausted = Some(index);
                None
            }
        }
    }

    fn anchored(&self, with: &Searcher<'_>, place: usize) -> bool {
        self.order.get(place).and_then(|rank| with.templates.get(rank.template)).is_some_and(|t| t.anchored)
    }

    /// The template that wins this line, by its place in the order, and its match.
    fn winner(&mut self, with: &mut Searcher<'_>) -> Option<(usize, Found)> {
        let mut best: Option<(usize, Found, u32)> = None;
        let mut skip = None;
        if let Some(place) = self.last {
            let anchored = self.anchored(with, place);
            let window = if anchored { None } else { self.last_window(with.line) };
            if window.is_none() {
                skip = Some(place);
            }
            if let Some(found) = self.search(with, place, window) {
                let (begin, end) = self.span(with.line, &found);
                let same = begin == self.edges.0.at && end == self.edges.1.at;
                if self.order.len() == 1 || anchored || same {
                    return Some((place, found));
                }
                best = Some((place, found, begin));
            }
        }
        for place in 0..self.order.len() {
            if skip == Some(place) {
                continue;
            }
            let Some(found) = self.search(with, place, None) else { continue };
            let rank = self.order.get(place)?;
            let begin = chars_before(with.line, found.span.start);
            let Some(next) = self.order.get(place + 1) else { return Some((place, found)) };
            let next_unseen = self.matched.get(next.template).is_none_or(|n| *n == 0);
            if self.anchored(with, place) || (begin == 0 && rank.hits > 0 && next_unseen) {
                return Some((place, found));
            }
            let last_begin = if self.last.is_some() { self.edges.0.at } else { 1 };
            if begin > rank.distance || begin > last_begin {
                // Possibly found somewhere in the message: keep the nearest one, look on.
                if best.as_ref().is_none_or(|(_, _, nearest)| begin < *nearest) {
                    best = Some((place, found, begin));
                }
                continue;
            }
            return Some((place, found));
        }
        best.map(|(place, found, _)| (place, found))
    }

    /// The part of the line where the last match was, if what surrounds it looks the same.
    fn last_window(&self, line: &str) -> Option<Range<usize>> {
        let (begin, end) = self.edges;
        let (before, first) = around(line, begin.at);
        let (last, behind) = around(line, end.at);
        let plain = |c: Option<char>| c.is_some_and(|c| !c.is_alphanumeric());
        let left = before == begin.before || (first == begin.behind && plain(begin.behind));
        let right = behind == end.behind || (last == end.before && plain(end.before));
        (left && right).then(|| byte_of(line, begin.at)..byte_of(line, end.at))
    }

    /// Begin and end of a match in characters.
    fn span(&self, line: &str, found: &Found) -> (u32, u32) {
        (chars_before(line, found.span.start), chars_before(line, found.span.end))
    }

    /// Notes where the template at `place` matched.
    fn set_place(&mut self, line: &str, place: usize, found: &Found) {
        let (begin, end) = self.span(line, found);
        if let Some(rank) = self.order.get_mut(place) {
            rank.distance = begin;
        }
        let (before, first) = around(line, begin);
        let (mut last, behind) = around(line, end);
        if end == 0 {
            // Index -1 is the last character there.
            last = line.chars().next_back();
        }
        self.edges = (Edge { at: begin, before, behind: first }, Edge { at: end, before: last, behind });
    }

    /// Notes the win of the template at `place`; its index.
    fn settle(
        &mut self,
        templates: &Templates,
        line: &str,
        place: usize,
        found: &Found,
        now: Timestamp,
    ) -> Option<usize> {
        self.set_place(line, place, found);
        let rank = self.order.get_mut(place)?;
        rank.hits += 1;
        rank.used = Some(now);
        let template = rank.template;
        if self.first_unused == place {
            self.first_unused += 1;
        }
        let mut place = place;
        if place > 0 && self.last != Some(place) {
            place = self.move_up(templates, place);
        }
        self.last = Some(place);
        Some(template)
    }

    #[expect(clippy::cast_precision_loss, reason = "the original computes with floats, too")]
    fn weight(&self, templates: &Templates, place: usize) -> f64 {
        let Some(rank) = self.order.get(place) else { return 0.0 };
        let weight = templates.get(rank.template).map_or(1.0, |t| t.weight);
        rank.hits as f64 * weight / f64::from(rank.distance.max(1))
    }

    /// Moves the template at `place` up if it earned it; its new place.
    fn move_up(&mut self, templates: &Templates, place: usize) -> usize {
        let Some(used) = self.order.get(place).and_then(|rank| rank.used) else { return place };
        let weight = self.weight(templates, place);
        let movable = |this: &Self, to: usize| {
            let stale = this.order.get(to).is_some_and(|rank| rank.used.is_none_or(|at| used - UNUSED > at));
            weight > this.weight(templates, to) || stale
        };
        let mut to = if self.first_unused < place { self.first_unused } else { place / 2 };
        if !movable(self, to) {
            if to == place - 1 {
                return place;
            }
            to = place - 1;
            if !movable(self, to) {
                return place;
            }
        }
        let rank = self.order.remove(place);
        self.order.insert(to, rank);
        while self.order.get(self.first_unused).is_some_and(|rank| rank.hits > 0) {
            self.first_unused += 1;
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters() {
        let line = "äö 12";
        assert_eq!(chars_before(line, 5), 3);
        assert_eq!(byte_of(line, 3), 5);
        assert_eq!(around(line, 3), (Some(' '), Some('1')));
        assert_eq!(around(line, 0), (None, Some('ä')));
        assert_eq!(around(line, 5), (Some('2'), None));
        assert_eq!(around(line, 9), (None, None));
    }
}
