//! Lines, tried one after the other: what is kept of them to explain.

use std::collections::HashMap;
use std::sync::Arc;

use stockade_core::matcher::{Hit, LineMode, Matcher};
use stockade_core::{JailName, Timestamp, Who};

use super::Rules;
use super::marks::{self, Mark, Place, Running};
use super::near::{Near, Trier};

/// Lines whose misses are looked at closely, each for all that look like it.
const CANDIDATES_MAX: usize = 100;
/// Lines of success that are kept of each pattern.
const INNOCENT_MAX: usize = 3;
/// Characters of a line that is shown.
pub(super) const SHOWN_CHARS: usize = 500;

/// Words of lines that tell of no failure. Only looked for to warn.
const INNOCENT: &[&str] = &[
    "accepted ",
    "session opened",
    "succeeded",
    "successful",
    "logged in",
    "authenticated as",
    "\" 200 ",
    "\" 204 ",
    "\" 206 ",
    "\" 301 ",
    "\" 302 ",
    "\" 304 ",
];

/// A line that matched.
pub(super) struct Matched {
    pub(super) line: u64,
    pub(super) text: String,
    /// 0-based.
    pub(super) regex: u32,
    pub(super) id: String,
    pub(super) time: Option<Timestamp>,
    pub(super) marks: Vec<Mark>,
}

/// A line that no failregex matched.
pub(super) struct Missed {
    pub(super) line: u64,
    pub(super) text: String,
    /// How many lines missed in the same way, this one included.
    pub(super) alike: u64,
    /// `None`: not the prefregex either.
    pub(super) date: Option<Mark>,
    /// What the failregexes (or the prefregex) saw, and where that stands in the line.
    seen: String,
    place: Option<Place>,
    prefixed: bool,
    /// The pattern that got furthest: its option and 0-based number.
    pub(super) near: Option<(&'static str, usize, Near, std::ops::Range<usize>)>,
}

/// What came of the lines.
pub(super) struct Trial<'r> {
    rules: &'r Rules,
    matcher: Matcher,
    show: usize,
    pub(super) lines: u64,
    pub(super) matched: u64,
    pub(super) ignored: u64,
    pub(super) undated: u64,
    /// Lines that a failregex hit, but that are no failure by themselves.
    pub(super) told: u64,
    pub(super) shown: Vec<Matched>,
    pub(super) missed: Vec<Missed>,
    /// Which of them stands for lines of a shape.
    shapes: HashMap<String, usize>,
    pub(super) prefregex: Option<Running>,
    pub(super) failregex: Vec<Running>,
    /// Lines of success that a failregex hit: its number, the line, its text.
    pub(super) innocent: Vec<(usize, u64, String)>,
    /// Failregexes that hit such lines on purpose.
    gained: Vec<bool>,
}

impl<'r> Trial<'r> {
    pub(super) fn new(rules: &'r Rules, show: usize) -> Trial<'r> {
        let multiline = rules.spec.maxlines > 1;
        Trial {
            rules,
            matcher: Matcher::new(JailName::new("regex"), Arc::clone(&rules.filter), 0),
            show,
            lines: 0,
            matched: 0,
            ignored: 0,
            undated: 0,
            told: 0,
            shown: Vec::new(),
            missed: Vec::new(),
            shapes: HashMap::new(),
            prefregex: rules.filter.prefregex().map(|text| Running::new(text, false)),
            failregex: rules.filter.failregex().map(|text| Running::new(text, multiline)).collect(),
            innocent: Vec::new(),
            gained: rules
                .spec
                .failregex
                .iter()
                .map(|t| t.contains("<F-MLFGAINED>") || t.contains("<F-NOFAIL>"))
                .collect(),
        }
    }

    /// One line, without its end.
    pub(super) fn line(&mut self, number: u64, line: &str, stamp: Option<Timestamp>) {
        let mode = LineMode { show: true, pending: true, ..LineMode::SCAN };
        let report = self.matcher.line(crate::daemon::now(), line, stamp, false, mode);
        self.matcher.take_notes();
        self.lines += 1;
        let date = marks::date(&report);
        self.undated += u64::from(date.is_none() && stamp.is_none());
        let Some(seen) = report.seen.as_deref() else { return };
        let place = Place::of(line, seen);
        let (mut text, mut inner) = (seen.text.to_string(), place.clone());
        let mut all: Vec<Mark> = date.iter().cloned().collect();
        let mut prefixed = true;
        if let Some(prefregex) = &mut self.prefregex {
            prefixed = prefregex.search(&text);
            if let (true, Some(regex)) = (prefixed, &prefregex.regex) {
                if let Some(place) = &place {
                    all.extend(
                        marks::groups(regex, &prefregex.slots, place).into_iter().filter(|m| m.name != "content"),
                    );
                }
                let content =
                    regex.group_names().iter().find(|(name, _)| **name == *"content").map(|(_, group)| *group);
                if let Some(span) = content.and_then(|group| prefregex.slots.get(group)).filter(|span| !span.is_empty())
                {
                    inner = place.as_ref().map(|place| place.from(span.start));
                    text = format!("{}\n", text.get(span).unwrap_or(""));
                }
            }
        }
        let innocent = is_innocent(line);
        let mut spans = Vec::new();
        for (running, n) in self.failregex.iter_mut().zip(0..) {
            let hit = prefixed && running.search(&text);
            let meant = self.gained.get(n).copied().unwrap_or(false);
            if hit
                && innocent
                && !meant
                && self.innocent.iter().filter(|(index, ..)| *index == n).count() < INNOCENT_MAX
            {
                self.innocent.push((n, number, short(line)));
            }
            if let (true, Some(regex), Some(place)) = (hit, &running.regex, &inner) {
                spans.push((n, marks::groups(regex, &running.slots, place)));
            }
        }
        if !report.ignored.is_empty() {
            self.ignored += 1;
            return;
        }
        match report.hits.first() {
            Some(hit) => self.hit(number, line, hit, all, &spans),
            None if !spans.is_empty() => self.told += 1,
            None => self.miss(Missed {
                line: number,
                text: short(line),
                alike: 1,
                date,
                seen: text,
                place: inner,
                prefixed,
                near: None,
            }),
        }
    }

    /// Keeps a line that nothing matched, or counts it to one of its shape.
    fn miss(&mut self, missed: Missed) {
        let shape = shape(&missed.seen);
        if let Some(known) = self.shapes.get(&shape).and_then(|at| self.missed.get_mut(*at)) {
            known.alike += 1;
        } else if self.missed.len() < CANDIDATES_MAX.max(self.show) {
            self.shapes.insert(shape, self.missed.len());
            self.missed.push(missed);
        }
    }

    fn hit(&mut self, number: u64, line: &str, hit: &Hit, mut marks: Vec<Mark>, spans: &[(usize, Vec<Mark>)]) {
        self.matched += 1;
        if self.shown.len() >= self.show {
            return;
        }
        if let Some((_, own)) = spans.iter().find(|(n, _)| *n == hit.regex as usize) {
            marks.extend(own.iter().cloned());
        }
        marks.sort_by_key(|mark| (mark.span.start, std::cmp::Reverse(mark.span.end)));
        let id = match &hit.who {
            Some(Who::Id(id)) => id.to_string(),
            Some(Who::Name(name)) => name.to_string(),
            None => "not known yet".to_owned(),
        };
        self.shown.push(Matched { line: number, text: short(line), regex: hit.regex, id, time: hit.time, marks });
    }

    /// Looks at the missed lines closely, and keeps those that came nearest.
    pub(super) fn end(&mut self) {
        let mut trier = Trier::new(&self.rules.spec, &self.rules.calendar);
        for missed in &mut self.missed {
            let patterns: Vec<(&'static str, usize, &str)> = if missed.prefixed {
                self.rules.spec.failregex.iter().enumerate().map(|(n, text)| ("failregex", n, text.as_str())).collect()
            } else {
                self.rules.spec.prefregex.iter().map(|text| ("prefregex", 0, text.as_str())).collect()
            };
            let near =
                patterns.into_iter().filter_map(|(option, n, text)| Some((option, n, trier.near(text, &missed.seen)?)));
            missed.near = near.max_by_key(|(_, _, near)| (near.matched.end, near.percent)).map(|(option, n, near)| {
                let span = missed.place.as_ref().map_or(0..0, |place| place.span(&near.matched));
                (option, n, near, span)
            });
        }
        let how_near =
            |missed: &Missed| missed.near.as_ref().map_or((0, 0), |(_, _, near, _)| (near.percent, near.matched.end));
        // One for all that stop at the same place of the same pattern.
        let mut first: HashMap<(&'static str, usize, usize), usize> = HashMap::new();
        let mut kept: Vec<Missed> = Vec::new();
        for missed in self.missed.drain(..) {
            let stop = missed.near.as_ref().map(|(option, n, near, _)| (*option, *n, near.at));
            match stop.and_then(|stop| first.get(&stop)).and_then(|at| kept.get_mut(*at)) {
                Some(known) => known.alike += missed.alike,
                None => {
                    first.extend(stop.map(|stop| (stop, kept.len())));
                    kept.push(missed);
                }
            }
        }
        kept.sort_by_key(|missed| std::cmp::Reverse(how_near(missed)));
        kept.truncate(self.show);
        self.missed = kept;
    }
}

/// A text without what differs from line to line: words with digits in them.
fn shape(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    words.fold(String::new(), |mut shape, word| {
        if word.contains(|c: char| c.is_ascii_digit()) {
            shape.push('0');
            shape.extend(word.chars().last().filter(|c| !c.is_alphanumeric()));
        } else {
            shape.push_str(word);
        }
        shape
    })
}

/// Does the line speak of success?
fn is_innocent(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    INNOCENT.iter().any(|word| lower.contains(word))
}

fn short(line: &str) -> String {
    line.chars().take(SHOWN_CHARS).collect()
}
