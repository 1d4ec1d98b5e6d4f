//! The explanation: for people, coloured on a terminal, or as JSON lines.

use std::ops::Range;

use serde_json::{Value, json};

use super::Rules;
use super::lint::Finding;
use super::marks::{Mark, Running};
use super::trial::{Matched, Missed, Trial};
use crate::cli::scan::epoch;
use crate::cli::term::{self, say};

/// Everything there is to tell.
pub(super) struct Report<'r> {
    pub(super) rules: &'r Rules,
    pub(super) trial: &'r Trial<'r>,
    pub(super) findings: &'r [Finding],
}

/// Colours of marks, in turn; dates are dim.
const COLOURS: [&str; 5] = ["32", "36", "35", "33", "34"];
/// The most characters of a pattern in a table.
const PATTERN_CHARS: usize = 100;

impl Report<'_> {
    pub(super) fn json(&self) {
        for matched in &self.trial.shown {
            say(json!({
                "line": matched.line, "text": matched.text, "regex": matched.regex, "id": matched.id,
                "time": matched.time.map_or(Value::Null, epoch), "marks": marks(&matched.marks),
            })
            .to_string());
        }
        for missed in &self.trial.missed {
            let near = missed.near.as_ref().map(|(option, index, near, span)| {
                json!({
                    "option": option, "index": index, "percent": near.percent, "matched": [span.start, span.end],
                    "stopped": near.stopped, "at": near.at,
                })
            });
            let date = missed.date.as_ref().map(|date| json!([date.span.start, date.span.end]));
            let alike = missed.alike;
            say(json!({ "missed": missed.line, "alike": alike, "text": missed.text, "date": date, "near": near })
                .to_string());
        }
        for (option, index, text, running) in self.patterns() {
            say(json!({
                "pattern": text, "option": option, "index": index, "tried": running.tried, "hits": running.hits,
                "steps": running.average(), "steps_worst": running.worst, "overruns": running.exhausted,
            })
            .to_string());
        }
        for finding in self.findings {
            say(json!({
                "lint": finding.what, "option": finding.option, "index": finding.index,
                "text": finding.text, "fix": finding.fix,
            })
            .to_string());
        }
        let trial = self.trial;
        say(json!({ "sum": {
            "lines": trial.lines, "matched": trial.matched, "ignored": trial.ignored, "undated": trial.undated, "told": trial.told,
        } })
        .to_string());
    }

    fn patterns(&self) -> impl Iterator<Item = (&'static str, usize, &str, &Running)> {
        let spec = &self.rules.spec;
        let prefix = spec.prefregex.as_deref().zip(self.trial.prefregex.as_ref());
        let prefix = prefix.map(|(text, running)| ("prefregex", 0, text, running));
        let fail = spec.failregex.iter().zip(&self.trial.failregex).enumerate();
        prefix.into_iter().chain(fail.map(|(n, (text, running))| ("failregex", n, text.as_str(), running)))
    }

    pub(super) fn people(&self) {
        for matched in &self.trial.shown {
            self.matched(matched);
        }
        if self.trial.matched > self.trial.shown.len() as u64 {
            say(format!(
                "... and {} more lines that match (--show N)\n",
                self.trial.matched - self.trial.shown.len() as u64
            ));
        }
        if !self.trial.missed.is_empty() {
            say(term::bold("Lines that came nearest to a match"));
            for missed in &self.trial.missed {
                self.missed(missed);
            }
        }
        self.table();
        if !self.findings.is_empty() {
            say(term::bold("What to look at"));
            for finding in self.findings {
                say(format!("{} {}: {}", finding.option, finding.index + 1, term::warn(&finding.text)));
                say(format!("    {}", finding.fix));
            }
            say("");
        }
        let trial = self.trial;
        let ignored = if trial.ignored > 0 { format!(", {} ignored", trial.ignored) } else { String::new() };
        let undated = if trial.undated > 0 { format!(", {} without a date", trial.undated) } else { String::new() };
        let told = if trial.told > 0 { format!(", {} tell only more of a session", trial.told) } else { String::new() };
        say(format!("{} lines, {} matched{told}{ignored}{undated}", trial.lines, trial.matched));
    }

    fn matched(&self, matched: &Matched) {
        let when = matched.time.map_or_else(|| "no date".to_owned(), |at| term::clock(at.secs()));
        let who = clean(&matched.id);
        say(format!("line {}: failregex {} finds {}, {when}", matched.line, matched.regex + 1, term::bold(&who)));
        self.line(&matched.text, &matched.marks);
        say("");
    }

    fn missed(&self, missed: &Missed) {
        let alike = if missed.alike > 1 { format!(" and {} more like it", missed.alike - 1) } else { String::new() };
        let Some((option, index, near, span)) = &missed.near else {
            say(format!("line {}{alike}: no pattern gets beyond its beginning", missed.line));
            self.line(&missed.text, missed.date.as_slice());
            say("");
            return;
        };
        say(format!(
            "line {}{alike}: {option} {} gets {}% through and stops at {} (character {})",
            missed.line,
            index + 1,
            near.percent,
            term::warn(&clean(&near.stopped)),
            near.at + 1
        ));
        let mut all: Vec<Mark> = missed.date.iter().cloned().collect();
        if !span.is_empty() {
            all.push(Mark { name: "matched so far".to_owned(), span: span.clone() });
        }
        let behind = missed.text.get(span.end..).unwrap_or("");
        self.line(&missed.text, &all);
        let next: String = behind.chars().take(30).collect();
        say(format!("    the line goes on with '{}'\n", clean(&next)));
    }

    /// The line, and below it which part is what.
    fn line(&self, text: &str, all: &[Mark]) {
        let mut shown = String::new();
        let colours = term::colours();
        let mut at = 0;
        let mut tinted: Vec<(Range<usize>, &str)> = Vec::new();
        let mut turn = COLOURS.iter().cycle();
        for mark in all {
            let colour = if mark.name == "date" { "2" } else { turn.next().copied().unwrap_or("32") };
            tinted.push((mark.span.clone(), colour));
        }
        tinted.sort_by_key(|(span, _)| span.start);
        for (span, colour) in &tinted {
            if span.start < at {
                continue;
            }
            shown.push_str(&clean(text.get(at..span.start).unwrap_or("")));
            let part = clean(text.get(span.clone()).unwrap_or(""));
            if colours {
                shown.push_str(&format!("\x1b[{colour}m{part}\x1b[0m"));
            } else {
                shown.push_str(&part);
            }
            at = span.end.max(at);
        }
        shown.push_str(&clean(text.get(at..).unwrap_or("")));
        say(format!("    {shown}"));
        for mark in all {
            let column = clean(text.get(..mark.span.start).unwrap_or("")).chars().count();
            let width = clean(text.get(mark.span.clone()).unwrap_or("")).chars().count().max(1);
            say(format!("    {}{} {}", " ".repeat(column), "^".repeat(width), mark.name));
        }
    }

    fn table(&self) {
        let rows: Vec<Vec<String>> = self
            .patterns()
            .map(|(option, index, text, running)| {
                let mut pattern: String = text.chars().take(PATTERN_CHARS).collect();
                if pattern.len() < text.len() {
                    pattern.push_str("...");
                }
                vec![
                    format!("{option} {}", index + 1),
                    running.hits.to_string(),
                    running.average().to_string(),
                    running.worst.to_string(),
                    clean(&pattern),
                ]
            })
            .collect();
        term::table(&["PATTERN", "LINES", "STEPS", "WORST", "TEXT"], &[1, 2, 3], &rows);
        say("");
    }
}

fn marks(all: &[Mark]) -> Value {
    all.iter().map(|mark| json!({ "name": mark.name, "from": mark.span.start, "to": mark.span.end })).collect()
}

/// Text of a log, without what a terminal would obey.
fn clean(text: &str) -> String {
    let mut out = String::new();
    stockade_core::text::push_escaped(&mut out, text);
    out
}
