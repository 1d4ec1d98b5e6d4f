//! Passing over lines that cannot matter, so that nobody could tell.
//!
//! A line that holds none of the literals which the patterns need is no failure.
//! But it may leave something behind for others: its date (lent to lines without
//! one), which template fits the log, a warning. So a line is passed over only
//! if all of this is known:
//!
//! - its date is *regular*: read by the short way of the template that won the
//!   last line and would win this one, too (see [`super::date::Choice::sure`]);
//! - it is no text that can't be decoded;
//! - its time calls for no warning that was not given today.
//!
//! Then it changes nothing but counts, which are made up for, and what the next
//! regular line sets anew. In front of any other line, and at the block's end,
//! the last line that was passed over is looked at after all.
//!
//! Where a filter needs no literal, what follows the date tells (see [`super::head`]).
//!
//! A filter that sees several lines at once keeps the last ones. In front of a line that is
//! looked at, and at the block's end, as many lines as it keeps are taken up without a search;
//! behind a line with a needle none is passed over for as long as it is kept. So what is kept is
//! what it would be, and no line was passed over that was together with one that holds a needle.

use std::sync::Arc;

use super::date::Survey;
use super::decode::{Encoding, LINE_BYTES_MAX};
use super::filter::Filter;
use super::head::{Head, fits};
use super::lines::{Care, LineMode, LineReport, Lines, Matcher, ODD_DATE, RawLine};
use super::notes::{Daily, Note};
use super::scanner::{Extent, Scan, Selection};
use crate::block::Block;
use crate::failure::{Batch, Failure};
use crate::time::{Span, Timestamp};

/// Which lines may be failures.
#[derive(Clone, Copy)]
enum Wanted<'s> {
    /// These, in order: they hold a needle.
    These(&'s [Extent]),
    /// Those that begin so behind their date, and those whose date is not known.
    Headed(&'s [Head]),
}

impl Wanted<'_> {
    /// May the line that begins here be a failure, for all that is known without its date?
    fn has(&self, from: usize) -> bool {
        match self {
            Wanted::These(lines) => lines.binary_search_by_key(&from, |(from, _)| *from as usize).is_ok(),
            Wanted::Headed(_) => true,
        }
    }

    /// All lines that are to be looked at, in order.
    fn stops(&self, text: &[u8], survey: &Survey, broken: &[Extent]) -> Vec<Stop> {
        match self {
            Wanted::These(lines) => stops(lines, &survey.odd, broken),
            Wanted::Headed(heads) => {
                let mut stops = stops(&headed(text, survey, heads), &survey.odd, broken);
                stops.iter_mut().for_each(|stop| stop.candidate = true);
                stops
            }
        }
    }
}

/// The regular lines that begin with one of these heads behind their date.
fn headed(text: &[u8], survey: &Survey, heads: &[Head]) -> Vec<Extent> {
    let fit = |end: u32| fits(text.get(end as usize..).unwrap_or_default(), heads);
    let wanted = survey.ends.iter().filter(|(_, end)| end.is_none_or(fit));
    let extent = |(from, _): &(u32, Option<u32>)| {
        let rest = text.get(*from as usize..).unwrap_or_default();
        let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        (*from, from.saturating_add(u32::try_from(len).unwrap_or(u32::MAX)))
    };
    wanted.map(extent).collect()
}

/// A line that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stop {
    line: Extent,
    /// It may be a failure.
    candidate: bool,
    /// It is not regular.
    odd: bool,
}

/// A walk through one block.
struct Walk<'w> {
    filter: &'w Filter,
    now: Timestamp,
    block: &'w Block,
    mode: LineMode,
    found: Found,
    /// How many lines lie before a place of the text.
    numbered: (usize, u32),
    /// Lines dealt with.
    lines: u32,
    /// Everything before is done.
    at: usize,
    /// Up to here lines that were passed over are counted, and those looked at since.
    counted: usize,
    looked_at_since: u32,
    /// What the last line still has to leave behind.
    owing: Owing,
    /// The whole block as text, if it is one and many lines are looked at; and whether it is ASCII.
    text: Option<(&'w str, bool)>,
}

/// A block is decoded as a whole if more than one in so many of its bytes are of lines to be looked at.
const DECODE_WHOLE: usize = 4;

/// What is gathered on the way.
enum Found {
    Failures(Vec<Failure>),
    Lines(Vec<FoundLine>),
}

/// A line of a block in which something was found, or of which something is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLine {
    /// Its number within the block, from 0.
    pub number: u32,
    /// What was found.
    pub report: LineReport,
    /// What there is to log.
    pub notes: Vec<Note>,
}

/// What the last line before a place has not left behind yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owing {
    #[default]
    Nothing,
    /// It was passed over.
    All,
    /// It was looked at, but not where its date stands.
    Place,
}

impl<'w> Walk<'w> {
    fn new(filter: &'w Filter, now: Timestamp, block: &'w Block, mode: LineMode, found: Found) -> Walk<'w> {
        Walk {
            filter,
            now,
            block,
            mode,
            found,
            numbered: (0, 0),
            lines: 0,
            at: 0,
            counted: 0,
            looked_at_since: 0,
            owing: Owing::Nothing,
            text: None,
        }
    }

    /// Decodes the block at once if that costs less than line by line.
    fn decode(&mut self, scan: &Scan, wanted: Wanted<'_>) {
        let Wanted::These(candidates) = wanted else { return };
        let covered: usize = candidates.iter().map(|(from, to)| (to - from) as usize).sum();
        if covered >= self.block.text.len() / DECODE_WHOLE {
            self.text = std::str::from_utf8(&self.block.text).ok().map(|text| (text, scan.is_ascii()));
        }
    }

    /// Are the regular lines too old to matter? All are or none, where they are unremarkable.
    fn is_too_old(&self, survey: &Survey) -> bool {
        let judged = self.mode.findtime && !self.block.in_operation;
        judged && survey.times.is_some_and(|(first, _)| first < self.now - self.filter.findtime)
    }

    /// The number of the line that begins here, from 0. Asked for in order.
    fn number(&mut self, from: usize) -> u32 {
        let (before, number) = self.numbered;
        let part = self.block.text.get(before..from).unwrap_or_default();
        let more = memchr::memchr_iter(b'\n', part).count();
        self.numbered = (from.max(before), number.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)));
        self.numbered.1
    }
}

impl Matcher {
    /// Finds the failures of one block with the help of a scan of it: just what
    /// [`Matcher::block`] finds, at [`Scan::now`]. Only searches that run out of steps can be
    /// fewer: lines without a needle are not searched.
    pub fn scanned(&mut self, block: &Block, scan: &Scan) -> Batch {
        let filter = Arc::clone(&self.filter);
        self.terse = true;
        let Some(wanted) = self.wanted(&filter, block, scan) else { return self.block(scan.now(), block) };
        let room = if let Wanted::These(lines) = wanted { Vec::with_capacity(lines.len() / 2) } else { Vec::new() };
        let mut walk = Walk::new(&filter, scan.now(), block, LineMode::DAEMON, Found::Failures(room));
        self.walk(&mut walk, scan, wanted);
        let mut batch = self.empty_batch(block);
        batch.lines = walk.lines;
        if let Found::Failures(mut failures) = walk.found {
            // A batch may wait long for the judge, with many others.
            if failures.len() < failures.capacity() / 2 {
                failures.shrink_to_fit();
            }
            batch.failures = failures;
        }
        batch
    }

    /// The lines of one block in which something is found, in order: what [`Matcher::line`] finds in
    /// them one after the other, and how many lines there are.
    pub fn scanned_lines(&mut self, block: &Block, scan: &Scan, mode: LineMode) -> (u32, Vec<FoundLine>) {
        let filter = Arc::clone(&self.filter);
        self.terse = false;
        let mut walk = Walk::new(&filter, scan.now(), block, mode, Found::Lines(Vec::new()));
        match self.wanted(&filter, block, scan).filter(|_| !mode.all) {
            Some(wanted) => self.walk(&mut walk, scan, wanted),
            None => {
                for line in Lines::new(block, filter.encoding.line_end()) {
                    self.look_at_line(&mut walk, &line, Care::Whole);
                }
            }
        }
        let found = if let Found::Lines(found) = walk.found { found } else { Vec::new() };
        (walk.lines, found)
    }

    /// The lines that may matter; `None` if each one may.
    fn wanted<'s>(&self, filter: &'s Arc<Filter>, block: &Block, scan: &'s Scan) -> Option<Wanted<'s>> {
        let wanted = match scan.selection(filter) {
            Selection::These(candidates) => Wanted::These(candidates),
            Selection::Every => Wanted::Headed(filter.heads().filter(|_| scan.is_headed())?),
        };
        let foreign = filter.encoding != Encoding::Utf8 && !block.text.is_ascii();
        let timed = block.stamps.is_empty() == filter.dates.is_some();
        (!foreign && timed && block.text.len() <= LINE_BYTES_MAX).then_some(wanted)
    }

    fn walk(&mut self, walk: &mut Walk<'_>, scan: &Scan, wanted: Wanted<'_>) {
        if walk.filter.maxlines > 1 {
            self.seek(scan);
        }
        walk.decode(scan, wanted);
        match walk.filter.dates {
            Some(_) => self.walk_file(walk, scan, wanted),
            None => self.walk_journal(walk, scan, wanted),
        }
    }

    /// Lines with their date in their text.
    fn walk_file(&mut self, walk: &mut Walk<'_>, scan: &Scan, wanted: Wanted<'_>) {
        let text = &*walk.block.text;
        // A log whose dates take turns comes back to each of them: the stops are gathered once.
        let mut surveys: Vec<(Arc<Survey>, Vec<Stop>)> = Vec::new();
        let mut current: Option<usize> = None;
        let mut next = 0;
        while walk.at < text.len() {
            let sure = walk.filter.dates.as_ref().and_then(|t| self.choice.sure(t));
            let clock = walk.filter.clock(walk.now);
            let known = match (current.and_then(|at| surveys.get(at)), &sure) {
                (Some((survey, _)), Some(template)) => survey.is_of(template, &clock),
                _ => false,
            };
            if !known {
                let made = sure.and_then(|template| scan.survey(text, template, &clock));
                current = made.map(|made| {
                    surveys.iter().position(|(survey, _)| Arc::ptr_eq(survey, &made)).unwrap_or_else(|| {
                        let stops = wanted.stops(text, &made, scan.broken());
                        surveys.push((made, stops));
                        surveys.len() - 1
                    })
                });
                next = 0;
            }
            let here = walk.at;
            let unremarkable = |(survey, _): &&(Arc<Survey>, _)| self.is_unremarkable(walk, survey);
            let Some((survey, stops)) = current.and_then(|at| surveys.get(at)).filter(unremarkable) else {
                // No line's date is sure before it was looked at.
                self.look_at(walk, here, if wanted.has(here) { Care::Whole } else { Care::Date });
                continue;
            };
            if next == 0 {
                next = stops.partition_point(|stop| (stop.line.0 as usize) < here);
            }
            let Some(stop) = stops.get(next) else {
                self.pass(walk, survey, text.len());
                break;
            };
            next += 1;
            let from = stop.line.0 as usize;
            self.pass(walk, survey, from);
            if stop.odd {
                self.settle(walk, survey);
            }
            let care = match (stop.candidate, stop.odd) {
                (true, false) => Care::Regular,
                (true, true) => Care::Whole,
                (false, _) => Care::Date,
            };
            self.look_at_extent(walk, from, stop.line.1 as usize, care);
        }
        if let Some((survey, _)) = current.and_then(|at| surveys.get(at)) {
            self.settle(walk, survey);
        }
    }

    /// Passes over the lines up to a place, of which none holds a needle, but for those that have to be kept.
    fn pass(&mut self, walk: &mut Walk<'_>, survey: &Survey, to: usize) {
        // What is too old is not kept.
        let several = walk.filter.maxlines > 1 && !walk.is_too_old(survey);
        while several && walk.at < to && self.awaits() {
            self.look_at(walk, walk.at, Care::Date);
        }
        let kept = if several { last_lines(&walk.block.text, walk.at, to, walk.filter.maxlines) } else { to };
        if kept > walk.at {
            walk.owing = Owing::All;
            walk.at = kept;
        }
        while walk.at < to {
            self.look_at(walk, walk.at, Care::Date);
        }
    }

    /// Is a line kept that may hold a needle, so that the next one may be found together with it?
    pub(super) fn awaits(&self) -> bool {
        self.buffer.iter().any(|line| line.matters)
    }

    /// Lines that were kept when others were looked for may hold one of these needles.
    fn seek(&mut self, scan: &Scan) {
        let same = match (&self.sought, scan.sought()) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            _ => false,
        };
        if !same {
            self.buffer.iter_mut().for_each(|line| line.matters = true);
            self.sought = scan.sought().cloned();
        }
    }

    /// Looks at the last line that was passed over, and counts the others.
    fn settle(&mut self, walk: &mut Walk<'_>, survey: &Survey) {
        let text = &*walk.block.text;
        let (from, to) = (walk.counted, walk.at);
        let whole = from == 0 && to == text.len();
        let lines = || {
            let part = text.get(from..to).unwrap_or_default();
            let ends =
                memchr::memchr_iter(b'\n', part).count() + usize::from(!part.ends_with(b"\n") && !part.is_empty());
            u32::try_from(ends).unwrap_or(u32::MAX)
        };
        let lines = if whole { survey.lines } else { lines() };
        let mut passed = lines.saturating_sub(walk.looked_at_since);
        let owing = std::mem::take(&mut walk.owing);
        if owing == Owing::All {
            passed = passed.saturating_sub(1);
        }
        let wall = if walk.mode.ageless { Timestamp::from_secs(0) } else { walk.now };
        self.choice.pass(u64::from(passed), wall);
        self.counters.lines += u64::from(passed);
        walk.lines += passed;
        if walk.is_too_old(survey) {
            self.counters.too_old += u64::from(passed);
        }
        if owing != Owing::Nothing {
            let head = text.get(..to.saturating_sub(1)).unwrap_or_default();
            let from = memchr::memrchr(b'\n', head).map_or(0, |at| at + 1);
            if owing == Owing::All {
                self.look_at(walk, from, Care::Date);
            } else if let (Ok(line), Some(templates)) =
                (std::str::from_utf8(text.get(from..to).unwrap_or_default()), &walk.filter.dates)
            {
                self.choice.note_place(templates, line.trim_end_matches(['\r', '\n']));
            }
        }
        (walk.counted, walk.looked_at_since) = (walk.at, 0);
    }

    /// Are the times of all regular lines such that none of them leads to a warning?
    fn is_unremarkable(&self, walk: &Walk<'_>, survey: &Survey) -> bool {
        let Some((first, last)) = survey.times.filter(|_| walk.mode.findtime) else { return true };
        if walk.block.in_operation {
            let near = last - walk.now < ODD_DATE && Span::ZERO - (first - walk.now) < ODD_DATE;
            return near || self.notes.is_quiet(Daily::OddDate, walk.now);
        }
        let oldest = walk.now - walk.filter.findtime;
        first >= oldest || (last < oldest && self.notes.is_quiet(Daily::OldLine, walk.now))
    }

    /// Lines whose time comes with them.
    fn walk_journal(&mut self, walk: &mut Walk<'_>, scan: &Scan, wanted: Wanted<'_>) {
        let block = walk.block;
        let times = block.stamps.iter().map(|stamp| stamp.time);
        let times = times.clone().min().zip(times.max());
        let survey = Survey::of_journal(u32::try_from(block.stamps.len()).unwrap_or(u32::MAX), times);
        let plain = !self.is_unremarkable(walk, &survey);
        if plain {
            while walk.at < block.text.len() {
                let here = walk.at;
                self.look_at(walk, here, if wanted.has(here) { Care::Whole } else { Care::Date });
            }
            return;
        }
        for stop in wanted.stops(&block.text, &survey, scan.broken()) {
            self.pass(walk, &survey, stop.line.0 as usize);
            let care = if stop.candidate { Care::Whole } else { Care::Date };
            self.look_at_extent(walk, walk.at, stop.line.1 as usize, care);
        }
        self.pass(walk, &survey, block.text.len());
        self.settle(walk, &survey);
    }

    /// Looks at the line that begins here.
    fn look_at(&mut self, walk: &mut Walk<'_>, from: usize, care: Care) {
        let rest = walk.block.text.get(from..).unwrap_or_default();
        let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        self.look_at_extent(walk, from, from + len, care);
    }

    /// Looks at the line that begins and ends here.
    fn look_at_extent(&mut self, walk: &mut Walk<'_>, from: usize, end: usize, care: Care) {
        let text = walk.text.and_then(|(text, ascii)| Some((text.get(from..end)?, ascii)));
        let stamps = &walk.block.stamps;
        let stamp =
            if stamps.is_empty() { None } else { stamps.get(stamps.partition_point(|s| (s.end as usize) < end)) };
        let bytes = walk.block.text.get(from..end).unwrap_or_default();
        let line = RawLine { bytes, end, stamp, text };
        self.look_at_line(walk, &line, care);
        walk.looked_at_since += 1;
        walk.owing = if care == Care::Regular { Owing::Place } else { Owing::Nothing };
        walk.at = walk.at.max(end);
    }

    fn look_at_line(&mut self, walk: &mut Walk<'_>, line: &RawLine<'_>, care: Care) {
        let report = self.raw_line(walk.filter, walk.now, walk.block, line, care, walk.mode);
        walk.lines += 1;
        match &mut walk.found {
            Found::Failures(failures) => {
                self.add_failures(walk.now, walk.block, line, report, failures);
            }
            Found::Lines(_) => {
                let notes = self.take_notes();
                if !report.found.is_empty() || !notes.is_empty() {
                    let number = walk.number(line.end.saturating_sub(line.bytes.len()));
                    if let Found::Lines(lines) = &mut walk.found {
                        lines.push(FoundLine { number, report: report.shown(), notes });
                    }
                }
            }
        }
    }
}

/// Where the last lines of a part of a text begin; the part begins and ends with lines.
fn last_lines(text: &[u8], from: usize, to: usize, lines: usize) -> usize {
    let part = text.get(from..to.saturating_sub(1)).unwrap_or_default();
    let before = memchr::memrchr_iter(b'\n', part).nth(lines.saturating_sub(1));
    before.map_or(from, |at| from + at + 1)
}

/// All lines that are to be looked at, in order.
fn stops(candidates: &[Extent], odd: &[Extent], broken: &[Extent]) -> Vec<Stop> {
    let stop = |candidate, odd| move |line: &Extent| Stop { line: *line, candidate, odd };
    let mut all: Vec<Stop> = candidates.iter().map(stop(true, false)).collect();
    if odd.is_empty() && broken.is_empty() {
        return all;
    }
    all.extend(odd.iter().chain(broken).map(stop(false, true)));
    all.sort_unstable_by_key(|stop| stop.line);
    all.dedup_by(|next, kept| {
        let same = next.line == kept.line;
        if same {
            kept.candidate |= next.candidate;
            kept.odd |= next.odd;
        }
        same
    });
    all
}
