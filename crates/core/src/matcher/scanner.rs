//! One look at a block for all jails of its source: which of its lines may
//! matter to whom, and what the dates of the others are.
//!
//! A [`Scanner`] belongs to one source and learns from its lines; what it finds
//! in a block is a [`Scan`], which goes to the jails together with the block.
//! [`super::Matcher::scanned`] says why lines may be passed over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, Input, Span};
use memchr::memmem::Finder;

use super::buckets::arranged;
use super::date::{Clock, Survey, Template};
use super::filter::Filter;
use super::literals::{self, Sample};
use crate::block::Block;
use crate::time::Timestamp;

/// So few needles are looked for one after the other.
const SINGLE_MAX: usize = 3;
/// Needles of one pass over a block; more need several passes.
const PASS_NEEDLES_MAX: usize = 64;
/// Bytes of a log that are looked at to choose the needles.
const SAMPLE_BYTES: usize = 128 * 1024;
/// The choice is made anew after so many bytes, each time four times as many.
const ANEW_AFTER_BYTES: u64 = 16 << 20;
/// Surveys of dates kept for one block; logs with more shapes of dates are read line by line.
const SURVEYS_MAX: usize = 8;
/// Where more than this share of the lines (in percent) hold a needle, the
/// next blocks are not searched: nearly every line has to be looked at anyway.
const CROWDED_PERCENT: u64 = 60;
/// For how many blocks.
const ASIDE_BLOCKS: u32 = 15;

/// A line of a block, line end included, as offsets into its text.
pub(super) type Extent = (u32, u32);

/// Looks through the blocks of one source.
#[derive(Debug)]
pub struct Scanner {
    filters: Arc<[Arc<Filter>]>,
    plan: Option<Plan>,
    /// Bytes seen since the needles were chosen from a sample, and how many are waited for.
    seen: u64,
    wait: u64,
    /// Blocks that are still to be passed on unsearched.
    aside: u32,
}

/// What a scanner looks for, for reports. Filters are named by their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needles {
    /// Each needle with the filters that it stands for.
    pub list: Vec<(Vec<u8>, Vec<usize>)>,
    /// Filters that look at every line.
    pub every: Vec<usize>,
}

/// Stands for one choice of needles: lines without any of one choice may hold one of another.
#[derive(Debug)]
pub(super) struct Sought;

/// What is looked for, for one set of filters.
#[derive(Debug)]
struct Plan {
    sought: Arc<Sought>,
    /// Some filter asks what follows the dates.
    headed: bool,
    passes: Vec<Pass>,
    /// Tells which needles a line holds, where that matters.
    which: Option<AhoCorasick>,
    needles: Vec<Vec<u8>>,
    /// The filters that each needle stands for, by their places.
    owners: Vec<Vec<usize>>,
    /// Filters to which each line may matter.
    every: Vec<bool>,
}

/// One search over a block.
#[derive(Debug)]
enum Pass {
    /// One needle.
    Single(Finder<'static>),
    /// Several, with vector instructions.
    Packed(Searcher),
    /// Where there are none.
    Plain(AhoCorasick),
}

impl Pass {
    fn new(needles: &[Vec<u8>]) -> Option<Pass> {
        let mut builder = packed::Config::new().builder();
        if let Some(searcher) = builder.extend(needles).build() {
            return Some(Pass::Packed(searcher));
        }
        AhoCorasick::new(needles).ok().map(Pass::Plain)
    }

    /// Where the next needle stands at or behind a place.
    fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let span = Span { start: from, end: text.len() };
        match self {
            Pass::Single(search) => search.find(text.get(from..)?).map(|at| from + at),
            Pass::Packed(search) => search.find_in(text, span).map(|hit| hit.start()),
            Pass::Plain(search) => search.find(Input::new(text).span(span)).map(|hit| hit.start()),
        }
    }
}

impl Plan {
    fn new(filters: &[Arc<Filter>], sample: &[u8]) -> Plan {
        let text = sample;
        let sample = Sample::of(text, filters.iter().filter_map(|f| f.needs()));
        let mut owners: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        let mut every = Vec::with_capacity(filters.len());
        for (place, filter) in filters.iter().enumerate() {
            let needles = filter.needs().and_then(|needs| literals::choose(needs, &sample, filters.len() == 1));
            every.push(needles.is_none());
            for needle in needles.unwrap_or_default() {
                owners.entry(needle).or_default().push(place);
            }
        }
        let (needles, owners): (Vec<Vec<u8>>, Vec<Vec<usize>>) = owners.into_iter().unzip();
        let single = |needle: &Vec<u8>| Some(Pass::Single(Finder::new(needle).into_owned()));
        let passes: Option<Vec<Pass>> = if needles.len() <= SINGLE_MAX {
            needles.iter().map(single).collect()
        } else {
            needles.chunks(PASS_NEEDLES_MAX).map(|some| Pass::new(&arranged(some, text))).collect()
        };
        // Without a search every line may matter to everybody.
        every.iter_mut().for_each(|every| *every |= passes.is_none());
        let which = if filters.len() > 1 { AhoCorasick::new(&needles).ok() } else { None };
        let headed = filters.iter().any(|filter| filter.heads().is_some());
        Plan { sought: Arc::new(Sought), headed, passes: passes.unwrap_or_default(), which, needles, owners, every }
    }

    /// The lines with a needle, in order.
    fn lines_with_needles(&self, text: &[u8]) -> Vec<Extent> {
        let mut lines: Vec<Extent> = Vec::new();
        for pass in &self.passes {
            let mut from = 0;
            while let Some(hit) = pass.next(text, from) {
                let begin =
                    text.get(from..hit).and_then(|head| memchr::memrchr(b'\n', head)).map_or(from, |at| from + at + 1);
                let rest = text.get(hit..).unwrap_or_default();
                let end = memchr::memchr(b'\n', rest).map_or(text.len(), |at| hit + at + 1);
                lines.push((offset(begin), offset(end)));
                from = end;
            }
        }
        if self.passes.len() > 1 {
            lines.sort_unstable();
            lines.dedup();
        }
        lines
    }

    /// Which lines may matter to each filter.
    fn select(&self, text: &[u8], lines: Vec<Extent>) -> Vec<Selection> {
        let every = || self.every.iter().map(|every| if *every { Selection::Every } else { Selection::none() });
        let mut selections: Vec<Selection> = every().collect();
        let Some(which) = &self.which else {
            if let Some(Selection::These(these)) = selections.first_mut() {
                *these = lines;
            }
            return selections;
        };
        for extent in lines {
            let line = text.get(extent.0 as usize..extent.1 as usize).unwrap_or_default();
            for hit in which.find_overlapping_iter(line) {
                for owner in self.owners.get(hit.pattern().as_usize()).into_iter().flatten() {
                    if let Some(Selection::These(these)) = selections.get_mut(*owner)
                        && these.last() != Some(&extent)
                    {
                        these.push(extent);
                    }
                }
            }
        }
        selections
    }
}

/// An offset within a block, which is far below 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Scanner {
    /// A scanner for jails with these filters, which has seen nothing of the log yet.
    pub fn new(filters: Vec<Arc<Filter>>) -> Scanner {
        Scanner { filters: filters.into(), plan: None, seen: 0, wait: 0, aside: 0 }
    }

    /// Is it made for just these filters, in this order?
    pub fn is_for<'f>(&self, filters: impl ExactSizeIterator<Item = &'f Arc<Filter>>) -> bool {
        filters.len() == self.filters.len() && filters.zip(&*self.filters).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// What is looked for at present.
    pub fn needles(&self) -> Needles {
        let Some(plan) = &self.plan else { return Needles::default() };
        let every = plan.every.iter().enumerate().filter(|(_, every)| **every).map(|(place, _)| place);
        Needles {
            list: plan.needles.iter().cloned().zip(plan.owners.iter().cloned()).collect(),
            every: every.collect(),
        }
    }

    /// Looks through a block that is to be judged as of `now`.
    pub fn scan(&mut self, now: Timestamp, block: &Block) -> Scan {
        let text = &*block.text;
        self.seen = self.seen.saturating_add(text.len() as u64);
        if self.plan.is_none() || self.seen >= self.wait {
            self.learn(text);
        }
        let ascii = text.is_ascii();
        let broken = if ascii { Vec::new() } else { broken_lines(text) };
        let every = || self.filters.iter().map(|_| Selection::Every).collect();
        let selections = match &self.plan {
            Some(plan) if self.aside == 0 && text.len() < u32::MAX as usize => {
                let lines = plan.lines_with_needles(text);
                let covered: u64 = lines.iter().map(|(from, to)| u64::from(to - from)).sum();
                if covered.saturating_mul(100) > CROWDED_PERCENT * text.len() as u64 {
                    self.aside = ASIDE_BLOCKS;
                }
                plan.select(text, lines)
            }
            _ => {
                self.aside = self.aside.saturating_sub(1);
                every()
            }
        };
        let sought = self.plan.as_ref().map(|plan| Arc::clone(&plan.sought));
        let headed = self.plan.as_ref().is_some_and(|plan| plan.headed);
        Scan {
            now,
            filters: Arc::clone(&self.filters),
            sought,
            headed,
            selections,
            ascii,
            broken,
            surveys: Mutex::default(),
        }
    }

    /// Chooses the needles by the beginning of a block.
    fn learn(&mut self, text: &[u8]) {
        let sample = text.get(..SAMPLE_BYTES).unwrap_or(text);
        self.plan = Some(Plan::new(&self.filters, sample));
        // A few lines tell little: more is looked at soon.
        self.wait = if sample.len() < SAMPLE_BYTES / 2 {
            self.seen + SAMPLE_BYTES as u64
        } else {
            self.seen.saturating_mul(4).max(ANEW_AFTER_BYTES)
        };
    }
}

/// Which lines of a block may matter to one filter.
#[derive(Debug)]
pub(super) enum Selection {
    /// Each one.
    Every,
    /// These, in order.
    These(Vec<Extent>),
}

impl Selection {
    fn none() -> Selection {
        Selection::These(Vec::new())
    }
}

/// What one look at a block found.
#[derive(Debug)]
pub struct Scan {
    now: Timestamp,
    filters: Arc<[Arc<Filter>]>,
    sought: Option<Arc<Sought>>,
    /// Surveys say where dates end.
    headed: bool,
    selections: Vec<Selection>,
    /// The block is ASCII.
    ascii: bool,
    /// Lines that are not UTF-8.
    broken: Vec<Extent>,
    surveys: Mutex<Vec<Arc<Survey>>>,
}

impl Scan {
    /// As of when the block is judged, by all jails.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The lines that may matter to this filter; each one, if the scan was not made for it.
    pub(super) fn selection(&self, filter: &Arc<Filter>) -> &Selection {
        let place = self.filters.iter().position(|known| Arc::ptr_eq(known, filter));
        place.and_then(|at| self.selections.get(at)).unwrap_or(&Selection::Every)
    }

    /// Do surveys say where dates end?
    pub(super) fn is_headed(&self) -> bool {
        self.headed
    }

    /// The choice of needles that were looked for.
    pub(super) fn sought(&self) -> Option<&Arc<Sought>> {
        self.sought.as_ref()
    }

    /// Is the whole block ASCII?
    pub(super) fn is_ascii(&self) -> bool {
        self.ascii
    }

    /// Lines with bytes that are no UTF-8, in order.
    pub(super) fn broken(&self) -> &[Extent] {
        &self.broken
    }

    /// The dates of all lines, read as this template's; made once for all jails that ask.
    ///
    /// Nothing if the template can't be read so, or too many others were asked for.
    pub(super) fn survey(&self, text: &[u8], template: &Arc<Template>, clock: &Clock<'_>) -> Option<Arc<Survey>> {
        let mut surveys = self.surveys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = surveys.iter().find(|survey| survey.is_of(template, clock)) {
            return Some(Arc::clone(known));
        }
        if surveys.len() >= SURVEYS_MAX {
            return None;
        }
        let survey = Arc::new(Survey::of(text, template, clock, self.headed)?);
        surveys.push(Arc::clone(&survey));
        Some(survey)
    }
}

/// The lines of a text that are not UTF-8.
fn broken_lines(text: &[u8]) -> Vec<Extent> {
    let mut broken = Vec::new();
    let mut from = 0;
    while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
        let Err(error) = std::str::from_utf8(rest) else { break };
        let at = error.valid_up_to();
        let begin = rest.get(..at).and_then(|head| memchr::memrchr(b'\n', head)).map_or(0, |at| at + 1);
        let end = rest.get(at..).and_then(|tail| memchr::memchr(b'\n', tail)).map_or(rest.len(), |n| at + n + 1);
        broken.push((offset(from + begin), offset(from + end)));
        from += end;
    }
    broken
}
