//! What the lines came to, and the report that programs parse.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use stockade_core::matcher::DateRank;
use stockade_core::{GroupValue, Timestamp};
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};
use stockade_wire::value::repr_str;

use super::options::Options;
use super::rules::Rules;
use crate::cli::term::say;

/// One hit of a failregex.
pub(super) struct Found {
    /// 0-based.
    pub(super) regex: u32,
    /// `None` if a later line of the session may tell.
    pub(super) id: Option<String>,
    /// The address where the id is something else.
    pub(super) ip: Option<String>,
    pub(super) time: Option<Timestamp>,
    pub(super) nofail: bool,
    /// Groups that are set, sorted by name.
    pub(super) groups: Vec<(Arc<str>, GroupValue)>,
    /// The lines of the failure.
    pub(super) matches: Vec<Box<str>>,
    /// The last line: before its date, its date, behind it.
    pub(super) parts: [Box<str>; 3],
}

/// A hit as `-v` lists it.
struct Listed {
    id: String,
    time: Option<Timestamp>,
    several: bool,
}

/// Lines of one kind: how many, and those that are kept for printing.
#[derive(Default)]
struct Kind {
    count: i64,
    kept: Vec<String>,
}

/// What the lines came to.
#[derive(Default)]
pub(super) struct Stats {
    tested: i64,
    matched: Kind,
    missed: Kind,
    ignored: Kind,
    /// Hits by the index of their failregex.
    hits: HashMap<u32, Vec<Listed>>,
    /// Number of hits by the index of their ignoreregex.
    pub(super) ignore_hits: HashMap<u32, u64>,
    prefixes: u64,
    /// Groups of the prefregex, as Python shows them.
    prefix_groups: Vec<String>,
    /// The date templates as they were left.
    pub(super) dates: Vec<DateRank>,
    pub(super) took: Duration,
}

impl Stats {
    /// A failregex hit.
    pub(super) fn hit(&mut self, found: Found, several: bool) {
        let id = found.id.unwrap_or_else(|| "None".to_owned());
        self.hits.entry(found.regex).or_default().push(Listed { id, time: found.time, several });
    }

    /// The prefregex matched this text.
    pub(super) fn prefixed(&mut self, options: &Options, rules: &Rules, text: Option<&str>) {
        self.prefixes += 1;
        if options.verbose == 0 {
            return;
        }
        if self.prefix_groups.len() < rules.limit {
            let groups = rules.filter.prefregex().zip(text).and_then(|(regex, text)| groups_of(regex, text));
            self.prefix_groups.extend(groups);
        } else if self.prefix_groups.len() == rules.limit {
            self.prefix_groups.push("...".to_owned());
        }
    }

    /// One line was tried.
    pub(super) fn line(&mut self, options: &Options, rules: &Rules, line: String, ignored: bool, matched: bool) {
        self.tested += 1;
        let keep_some = i64::try_from(rules.limit).unwrap_or(i64::MAX);
        let (kind, keep) = if ignored {
            let few = self.ignored.count <= keep_some;
            (&mut self.ignored, !options.no_ignored && (options.all_ignored || few))
        } else if matched {
            (&mut self.matched, options.all_matched)
        } else {
            let few = self.missed.count <= keep_some;
            (&mut self.missed, !options.no_missed && (options.all_missed || few))
        };
        kind.count += 1;
        if keep {
            kind.kept.push(line);
        }
    }

    /// A line that had been counted as missed belongs to a match.
    pub(super) fn missed_after_all(&mut self, options: &Options, line: &str) {
        if let Some(at) = self.missed.kept.iter().position(|kept| kept == line) {
            self.missed.kept.remove(at);
        }
        if options.all_matched && !options.debuggex {
            self.matched.kept.push(line.to_owned());
        }
        self.matched.count += 1;
        self.missed.count -= 1;
    }
}

/// Prints it.
pub(super) fn print(options: &Options, rules: &Rules, stats: &Stats) {
    say("\nResults\n=======");
    if let Some(prefregex) = rules.filter.prefregex() {
        let mut rows = vec![prefregex.to_owned()];
        rows.extend(stats.prefix_groups.iter().map(|groups| format!("    {groups}")));
        say(format!("\nPrefregex: {} total", stats.prefixes));
        list(&rows, None);
    }
    let hits = |index: u32| stats.hits.get(&index).map_or(&[][..], Vec::as_slice);
    regexes(options, "Failregex", &rules.failregex, |index| (hits(index).len() as u64, hits(index)));
    let ignored = |index: u32| stats.ignore_hits.get(&index).copied().unwrap_or(0);
    regexes(options, "Ignoreregex", &rules.ignoreregex, |index| (ignored(index), &[]));
    if !rules.journal || rules.dated {
        dates(options, rules, stats);
    }
    let Stats { tested, matched, missed, ignored, .. } = stats;
    say(format!(
        "\nLines: {tested} lines, {} ignored, {} matched, {} missed",
        ignored.count, matched.count, missed.count
    ));
    say(format!("[processed in {:.2} sec]\n", stats.took.as_secs_f64()));
    if options.all_matched {
        lines(options, rules, "matched", matched, true);
    }
    if !options.no_ignored {
        lines(options, rules, "ignored", ignored, options.all_ignored);
    }
    if !options.no_missed {
        lines(options, rules, "missed", missed, options.all_missed);
    }
}

/// Regexes with their hits.
fn regexes<'h>(options: &Options, title: &str, texts: &[String], hits: impl Fn(u32) -> (u64, &'h [Listed])) {
    let (mut total, mut rows) = (0, Vec::new());
    for (text, index) in texts.iter().zip(0_u32..) {
        let (count, listed) = hits(index);
        total += count;
        if count == 0 && options.verbose == 0 {
            continue;
        }
        rows.push(format!("{:2}) [{count}] {text}", index + 1));
        if options.verbose == 0 {
            continue;
        }
        for hit in listed {
            let several = if hit.several { " (multiple regex matched)" } else { "" };
            rows.push(format!("    {}  {}{several}", hit.id, clock(hit.time)));
        }
    }
    say(format!("\n{title}: {total} total"));
    list(&rows, Some(" #) [# of hits] regular expression"));
}

fn dates(options: &Options, rules: &Rules, stats: &Stats) {
    say("\nDate template hits:");
    let templates = rules.filter.date_templates();
    let mut rows = Vec::new();
    for rank in &stats.dates {
        let Some(template) = templates.get(rank.template).filter(|_| rank.hits > 0 || options.verbose > 0) else {
            continue;
        };
        rows.push(format!("[{}] {}", rank.hits, template.name));
        if options.verbose_date {
            #[expect(clippy::cast_precision_loss, reason = "a weight is a rounded number anyway")]
            let weight = rank.hits as f64 * template.weight / f64::from(rank.distance.max(1));
            let pattern = template.pattern.as_deref().unwrap_or("");
            rows.push(format!("    # weight: {weight:.3} ({:.3}), pattern: {pattern}", template.weight));
            rows.push(format!("    # regex:   {}", template.regex));
        }
    }
    list(&rows, Some("[# of hits] date format"));
}

/// Lines of one kind, or that there are too many of them.
fn lines(options: &Options, rules: &Rules, what: &str, kind: &Kind, all: bool) {
    if kind.count <= 0 {
        return;
    }
    let mut head = what.to_owned();
    if let Some(first) = head.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !all && usize::try_from(kind.count).is_ok_and(|count| count >= rules.limit) {
        say(format!("{head} line(s): too many to print.  Use --print-all-{what} to print all {} lines", kind.count));
        return;
    }
    let rows: Vec<String> = if options.debuggex {
        let texts = if what == "ignored" { &rules.ignoreregex } else { &rules.failregex };
        let expanded: Vec<&str> =
            if what == "ignored" { rules.filter.ignoreregex().collect() } else { rules.filter.failregex().collect() };
        let pairs = kind.kept.iter().flat_map(|line| texts.iter().zip(&expanded).map(move |pair| (line, pair)));
        pairs.map(|(line, (text, expanded))| format!("{line} | {text} |  {}", link(line, expanded, rules))).collect()
    } else {
        kind.kept.clone()
    };
    let rows: Vec<String> = rows.iter().map(|row| row.trim_end().to_owned()).collect();
    list(&rows, Some(&format!("{head} line(s):")));
}

/// A link that opens line and regex at debuggex.com.
fn link(line: &str, regex: &str, rules: &Rules) -> String {
    let flags = if rules.maxlines > 1 { "&flags=m" } else { "" };
    format!("https://www.debuggex.com/?re={}&str={}&flavor=python{flags}", quoted(regex), quoted(line))
}

/// Text as it stands in the query of a link.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Rows in the original's frame; nothing if there are none.
fn list(rows: &[String], head: Option<&str>) {
    if rows.is_empty() {
        return;
    }
    let head = head.map_or_else(String::new, |head| format!("|- {head}\n"));
    say(format!("{head}|  {}\n`-", rows.join("\n|  ")));
}

/// A time as C's `ctime` writes it, local; without one the present.
fn clock(time: Option<Timestamp>) -> String {
    let time = time.unwrap_or_else(crate::daemon::now);
    let at = jiff::Timestamp::from_second(time.micros().div_euclid(1_000_000)).unwrap_or_default();
    at.to_zoned(TimeZone::system()).strftime("%a %b %d %H:%M:%S %Y").to_string()
}

/// The named groups of a match, as Python shows the dictionary of them.
fn groups_of(regex: &str, text: &str) -> Option<String> {
    let regex = Regex::new(regex, Flags::default()).ok()?;
    let mut slots = Slots::new();
    if regex.search(&mut Scratch::new(), text, 0..text.len(), &mut slots) != Outcome::Match {
        return None;
    }
    let one = |(name, group): &(Arc<str>, usize)| {
        let value = slots.get(*group).and_then(|at| text.get(at)).map_or_else(|| "None".to_owned(), repr_str);
        format!("{}: {value}", repr_str(name))
    };
    let mut names = regex.group_names().to_vec();
    names.sort_by_key(|(_, group)| *group);
    Some(format!("{{{}}}", names.iter().map(one).collect::<Vec<_>>().join(", ")))
}
