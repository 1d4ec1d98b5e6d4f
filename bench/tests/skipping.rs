//! Fast is slow: blocks whose lines are passed over where they can't matter, beside
//! the same blocks looked at line by line. Failures, counts, messages and all that
//! is remembered must be the same.
//!
//! The filters are those of an installed fail2ban (`STOCKADE_F2B_ROOT_110`) and our own,
//! several jails on two logs at once; the lines are that fail2ban's samples and generated
//! ones under dates of many shapes, some of them damaged, some without a date. Lines that belong
//! together stand in a row or among others, over the ends of blocks, too.
//! `STOCKADE_LONG=n` runs n times as many lines, `STOCKADE_SEED` begins elsewhere. Several streams of random numbers
//! run beside each other, always as many, so that a seed finds the same on any machine.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    reason = "a test: it reads logs, and stops at whatever is wrong"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_bench::logs::{self, Random, Wish};
use stockade_bench::stock::{self, Named};
use stockade_core::matcher::{Calendar, DatePattern, Encoding, Filter, FilterSpec, LineMode, Matcher, Scanner, UseDns};
use stockade_core::{Block, JailName, Position, SourceKey, Span, Timestamp};

/// Lines of the short form.
const LINES: u64 = 2_000_000;
/// Streams of random numbers, a thread each.
const STREAMS: u64 = 4;
const NOW: i64 = 1_784_100_000;

/// Shapes of dates, and what follows them mostly.
const SHAPES: &[&str] = &[
    "%b %e %H:%M:%S",
    "%b %e %H:%M:%S",
    "%b %e %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.104233+00:00",
    "%Y-%m-%d %H:%M:%S",
    "[%d/%b/%Y:%H:%M:%S +0000]",
    "192.0.2.7 - - [%d/%b/%Y:%H:%M:%S +0000]",
    "192.0.2.7 - - [%d/%b/%Y:%H:%M:%S +0000]",
    "[%a %b %d %H:%M:%S.123456 %Y]",
    "%a %b %d %H:%M:%S %Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S,123",
    "%s",
    "[%s]",
    "audit(%s.123:9)",
    "%H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "@400000006a579",
    "%b %d, %Y %I:%M:%S %p",
    "<13>%b %e %H:%M:%S",
    "",
];

/// A line without its date.
#[derive(Clone)]
struct Content {
    /// What stood before the date, and behind it.
    head: Vec<u8>,
    tail: Vec<u8>,
    /// The filter knows that the line has none.
    undated: bool,
}

struct Ground {
    filters: Vec<(String, Arc<Filter>, Vec<Content>)>,
    /// Places of the filters that see several lines at once, and of those known by what follows the date.
    often: Vec<usize>,
    noise: Vec<Content>,
}

impl Ground {
    fn add(&mut self, name: &str, spec: &FilterSpec, filter: Arc<Filter>, contents: Vec<Content>) {
        if spec.maxlines > 1 || name.contains("head") || name == "3proxy" {
            self.often.push(self.filters.len());
        }
        self.filters.push((name.to_owned(), filter, contents));
    }
}

/// Lines of the homemade filters; with some of them those that belong together make failures.
const HOMEMADE: &str = "\
 begin of 7
 nothing of 7
 end of 7 by 192.0.2.7
 begin of 8
 begin of 9
 end of 9 by 192.0.2.9
 end of 8 by 192.0.2.8
 session of 8
 begin of 5
 begin of 5
 end of 5 by 192.0.2.5
 BEGIN of 6
 bad one 192.0.2.1
 END of 6 by 192.0.2.6
 bad two 192.0.2.2
 +7 x 192.0.2.3
\t-8 é 192.0.2.4
\u{a0}+1 y 192.0.2.5
 é1 y 192.0.2.6
";

fn ground() -> Ground {
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
    let mut named: Vec<(Named, Option<PathBuf>)> = Vec::new();
    if let Some(installed) = stockade_original::newest("skipping") {
        for filter in stock::filters(&installed.tree()).unwrap() {
            let log = installed.logs().join(&filter.name);
            named.push((filter, Some(log)));
        }
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    for filter in stock::filters(&own).unwrap() {
        let log = own.join("samples").join(format!("{}.log", filter.name));
        named.push((filter, Some(log)));
    }
    named.extend(homemade().into_iter().map(|filter| (filter, None)));
    let mut ground = Ground { filters: Vec::new(), often: Vec::new(), noise: Vec::new() };
    for (Named { name, mut spec }, log) in named {
        let filter = stock::compile(&spec, &calendar).unwrap();
        let text = log.map(|log| std::fs::read_to_string(log).unwrap_or_default());
        let contents = contents(&filter, text.as_deref().unwrap_or(HOMEMADE));
        ground.noise.extend(contents.iter().take(6).cloned());
        if spec.maxlines > 1 && text.is_some() {
            // On a log with foreign dates.
            spec.datepattern = DatePattern::Text("{^LN-BEG}".into());
            let filter = stock::compile(&spec, &calendar).unwrap();
            ground.add(&format!("{name}, date at the begin"), &spec, filter, contents.clone());
        }
        ground.add(&name, &spec, filter, contents);
    }
    let mut generated = Vec::new();
    let wish = Wish { lines: 400, ..Wish::default() };
    logs::auth(&wish, &mut generated).unwrap();
    logs::access(&wish, &mut generated).unwrap();
    let filter = stock::compile(&FilterSpec { failregex: vec!["<HOST>".into()], ..FilterSpec::default() }, &calendar);
    ground.noise.extend(contents(&filter.unwrap(), &String::from_utf8(generated).unwrap()));
    ground
}

/// Filters with what others have not.
fn homemade() -> Vec<Named> {
    let spec =
        FilterSpec { failregex: vec!["^ bad (?:one|two) <HOST>".into()], usedns: UseDns::No, ..FilterSpec::default() };
    let with = |name: &str, change: &dyn Fn(&mut FilterSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        Named { name: name.to_owned(), spec }
    };
    vec![
        with("default dates", &|_| {}),
        with("ignored first", &|spec| {
            spec.failregex = ["one", "two", "three", "four"].map(|w| format!("{w} from <HOST>")).to_vec();
            spec.ignoreregex = vec!["session".into()];
        }),
        with("latin", &|spec| spec.encoding = Encoding::Latin1),
        with("ascii", &|spec| spec.encoding = Encoding::Ascii),
        with("own date", &|spec| spec.datepattern = DatePattern::Text("^%Y-%m-%d %H:%M:%S\n%H:%M:%S".into())),
        with("no bounds", &|spec| spec.datepattern = DatePattern::Text("{UNB}%H:%M:%S".into())),
        with("no date", &|spec| spec.datepattern = DatePattern::Text("{NONE}".into())),
        with("short findtime", &|spec| spec.findtime = Span::from_secs(600)),
        with("a zone", &|spec| spec.logtimezone = Some("CET".into())),
        with("two lines", &|spec| spec.maxlines = 2),
        with("begin and end", &|spec| together(spec, 2)),
        with("begin and end among three", &|spec| together(spec, 3)),
        with("begin and end among many", &|spec| together(spec, 40)),
        with("begin and end, in any case", &|spec| {
            together(spec, 3);
            spec.failregex.iter_mut().for_each(|regex| regex.insert_str(0, "(?i)"));
        }),
        with("begin and end, ignored first", &|spec| {
            together(spec, 4);
            spec.failregex.extend(["two", "three", "four"].map(|w| format!("^ {w} from <HOST>")));
            spec.ignoreregex = vec!["^ session".into()];
        }),
        with("begin and end, ignored", &|spec| {
            together(spec, 4);
            spec.ignoreregex = vec!["of 9".into()];
        }),
        with("begin and end, with prefregex", &|spec| {
            together(spec, 3);
            spec.prefregex = Some("^<F-CONTENT>.+</F-CONTENT>$".into());
        }),
        with("begin and end, journal", &|spec| {
            together(spec, 3);
            spec.datepattern = DatePattern::Journal;
        }),
        with("begin and end, short findtime", &|spec| {
            together(spec, 3);
            spec.findtime = Span::from_secs(600);
        }),
        with("any case", &|spec| spec.failregex = vec!["(?i)FAILED password for .* from <HOST>".into()]),
        with("journal", &|spec| spec.datepattern = DatePattern::Journal),
        with("a head", &|spec| spec.failregex = vec![r"^\s[+\-é]\d \S+ <HOST>$".into()]),
        with("two heads", &|spec| {
            spec.failregex = vec![r"^\s-\d \S+ <HOST>$".into(), r"^[^\S\t]\W\d \S+ <HOST>$".into()];
            spec.ignoreregex = vec!["y".into()];
        }),
        with("a head around the date", &|spec| {
            spec.failregex = vec![r"^[\[<]\W\s[+\-é]\d \S+ <HOST>$".into()];
            spec.datepattern = DatePattern::Text("{^LN-BEG}".into());
        }),
        with("a head around any date", &|spec| {
            spec.failregex = vec![r"^[\[<]\W?\s[+\-é]\d \S+ <HOST>$".into()];
        }),
        with("a letter", &|spec| spec.failregex = vec!["<HOST>: [xy]$".into()]),
    ]
}

/// A failure is an end with its begin, one line behind the other or with some between.
fn together(spec: &mut FilterSpec, maxlines: u32) {
    spec.maxlines = maxlines;
    spec.failregex = vec![
        r"^ begin of (?P<n>\d+)$<SKIPLINES>^ end of (?P=n) by <HOST>$".into(),
        r"^ nothing of \d+\n end of \d+ by <HOST>$".into(),
    ];
}

/// The lines of a log, each divided at the date that the filter sees.
fn contents(filter: &Arc<Filter>, text: &str) -> Vec<Content> {
    let mut out = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut matcher = Matcher::new(JailName::new("x"), Arc::clone(filter), 0);
        let report = matcher.line(Timestamp::from_secs(NOW), line, None, false, LineMode::SCAN);
        let undated = report.date.as_ref().is_some_and(|date| date.span.is_empty());
        let (head, tail) = match report.date {
            Some(date) => (line.get(..date.span.start).unwrap_or(""), line.get(date.span.end..).unwrap_or("")),
            None => ("", line),
        };
        out.push(Content { head: head.as_bytes().to_vec(), tail: tail.as_bytes().to_vec(), undated });
    }
    out
}

/// The text of a date, made once for each second and shape.
#[derive(Default)]
struct Dates(std::collections::HashMap<(usize, i64), Vec<u8>>);

impl Dates {
    fn text(&mut self, shape: usize, at: i64) -> &[u8] {
        if self.0.len() > 10_000 {
            self.0.clear();
        }
        self.0.entry((shape, at)).or_insert_with(|| {
            let time = jiff::Timestamp::from_second(at).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let shape = SHAPES.get(shape).unwrap();
            match shape.strip_prefix('@') {
                Some(_) => format!("@40000000{:08x}00000000", at + 10).into_bytes(),
                None => time.strftime(shape).to_string().into_bytes(),
            }
        })
    }
}

/// One log of a sequence.
struct Log {
    key: SourceKey,
    shape: usize,
    /// Seconds that its dates differ from the present.
    skew: i64,
    /// Once in so many lines something is odd.
    odd: usize,
    /// Once in so many lines the date stands where it stood before.
    heads: usize,
    /// The jail and the place of the line that follows in a row of its lines.
    row: Option<(usize, usize)>,
    at: u64,
    in_operation: bool,
    scanner: Scanner,
}

impl Log {
    /// One of the jails' lines, or noise.
    fn content<'g>(&mut self, random: &mut Random, ground: &'g Ground, jails: &[usize]) -> &'g Content {
        let (jail, line) = match self.row {
            Some(next) if !random.one_in(4) => next,
            _ if random.one_in(3) => {
                let jail = *random.pick(jails);
                (jail, random.below(ground.filters.get(jail).unwrap().2.len()))
            }
            _ => return random.pick(&ground.noise),
        };
        let own = &ground.filters.get(jail).unwrap().2;
        self.row = (line + 1 < own.len() && !random.one_in(5)).then_some((jail, line + 1));
        own.get(line).unwrap_or_else(|| random.pick(&ground.noise))
    }

    fn block(&mut self, random: &mut Random, dates: &mut Dates, now: i64, ground: &Ground, jails: &[usize]) -> Block {
        let lines = if random.one_in(4) { 1 + random.below(3) } else { 1 + random.below(300) };
        let mut text = Vec::new();
        let mut stamps = Vec::new();
        let begin = now + self.skew - lines as i64 / 8;
        for n in 0..lines {
            let Content { head, tail, undated } = self.content(random, ground, jails).clone();
            let mut shape = self.shape;
            let mut at = begin + n as i64 / 8;
            let odd = random.one_in(self.odd);
            let what = if odd { random.below(9) } else { 9 };
            match what {
                0 => shape = random.below(SHAPES.len()),
                1 => at -= *random.pick(&[1, 59, 60, 61, 62, 600, 700, 90_000]),
                2 => at += *random.pick(&[1, 59, 60, 61, 62, 600, 90_000, 40_000_000]),
                _ => {}
            }
            let from = text.len();
            // The date stands where it stood before, or at the line's begin.
            if random.one_in(self.heads) {
                text.extend_from_slice(&head);
            }
            if what != 3 && !(undated && random.one_in(2)) {
                text.extend_from_slice(dates.text(shape, at));
            }
            text.extend_from_slice(&tail);
            match what {
                4 => text.push(0xe9),
                5 => text.push(b'\r'),
                6 => text.truncate(from + random.below(text.len() - from + 1)),
                7 => {
                    let place = from + random.below(text.len() - from + 1);
                    text.insert(place, *random.pick(b" x:[]\t.0Z\xc3"));
                }
                8 => {
                    let place = from + random.below(text.len() - from + 1);
                    text.splice(place..place, "é".bytes());
                }
                _ => {}
            }
            text.push(b'\n');
            stamps.push(stockade_core::Stamp {
                end: u32::try_from(text.len()).unwrap(),
                time: Timestamp::from_secs(at),
                cursor: "c".into(),
            });
        }
        let begin = Position::Offset(self.at);
        self.at += text.len() as u64;
        if !self.key.path.starts_with("systemd") {
            stamps.clear();
        }
        Block {
            source: self.key.clone(),
            begin,
            end: Position::Offset(self.at),
            text: text.into(),
            stamps: stamps.into(),
            in_operation: self.in_operation,
            replay: false,
        }
    }
}

/// The same jail twice.
struct Pair {
    name: String,
    fast: Matcher,
    slow: Matcher,
}

/// Runs some jails over two logs; the number of lines and of failures.
fn sequence(random: &mut Random, dates: &mut Dates, ground: &Ground) -> (u64, u64) {
    let is_journal = |jail: &usize| ground.filters.get(*jail).unwrap().0.ends_with("journal");
    let mut jails: Vec<usize> = (0..1 + random.below(3)).map(|_| random.below(ground.filters.len())).collect();
    if random.one_in(3) {
        *jails.first_mut().unwrap() = *random.pick(&ground.often);
        if is_journal(jails.first().unwrap()) {
            jails.truncate(1);
        }
    }
    let mut now = NOW + random.below(200 * 86_400) as i64;
    let journal = jails.iter().all(is_journal);
    let filters: Vec<Arc<Filter>> =
        jails.iter().map(|jail| Arc::clone(&ground.filters.get(*jail).unwrap().1)).collect();
    let mut pairs: Vec<Pair> = Vec::new();
    for (jail, filter) in jails.iter().zip(&filters) {
        let matcher = || Matcher::new(JailName::new("j"), Arc::clone(filter), 0);
        pairs.push(Pair { name: ground.filters.get(*jail).unwrap().0.clone(), fast: matcher(), slow: matcher() });
    }
    let mut logs: Vec<Log> = Vec::new();
    for path in ["/one", "/two"] {
        logs.push(Log {
            key: SourceKey { path: if journal { "systemd-journal" } else { path }.into(), generation: 1 },
            shape: random.below(SHAPES.len()),
            skew: *random.pick(&[0, 0, 0, 0, -30, 40, -3600, 7200, -700, -550]),
            odd: *random.pick(&[5, 30, 200, 100_000]),
            heads: *random.pick(&[20, 20, 1]),
            row: None,
            at: 0,
            in_operation: random.one_in(2),
            scanner: Scanner::new(filters.clone()),
        });
    }
    let (mut lines, mut failures) = (0, 0);
    for _ in 0..12 {
        let log = random.below(2);
        let log = logs.get_mut(log).unwrap();
        let block = log.block(random, dates, now, ground, &jails);
        log.in_operation |= random.one_in(3);
        let scan = log.scanner.scan(Timestamp::from_secs(now), &block);
        for pair in &mut pairs {
            let fast = pair.fast.scanned(&block, &scan);
            let slow = pair.slow.block(Timestamp::from_secs(now), &block);
            let shown = String::from_utf8_lossy(&block.text);
            let name = &pair.name;
            assert_eq!(fast, slow, "{name}: failures, in operation: {}, now {now}\n{shown}", block.in_operation);
            assert_eq!(pair.fast.take_notes(), pair.slow.take_notes(), "{name}: messages, now {now}\n{shown}");
            assert_eq!(pair.fast.counters(), pair.slow.counters(), "{name}: counts, now {now}\n{shown}");
            assert!(pair.fast.snapshot() == pair.slow.snapshot(), "{name}: what is remembered, now {now}\n{shown}");
            if random.one_in(8) {
                // Both go on as after a restart.
                let saved = pair.slow.snapshot();
                pair.fast.restore(&saved).unwrap();
                pair.slow.restore(&saved).unwrap();
            }
            if random.one_in(16) {
                for matcher in [&mut pair.fast, &mut pair.slow] {
                    let filter = Arc::clone(matcher.filter());
                    matcher.swap(filter, 0);
                }
            }
            lines += u64::from(slow.lines);
            failures += slow.failures.len() as u64;
        }
        now += *random.pick(&[0, 1, 1, 30, 400, 90_000]);
    }
    (lines, failures)
}

#[test]
fn passing_over_lines_changes_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let ground = ground();
    let seed = number("STOCKADE_SEED").unwrap_or(1);
    let wanted = LINES * number("STOCKADE_LONG").unwrap_or(1) / STREAMS;
    let stream = |n: u64| {
        let mut random = Random::new(seed.wrapping_mul(STREAMS) + n);
        let mut dates = Dates::default();
        let (mut lines, mut failures) = (0, 0);
        while lines < wanted {
            let (more, found) = sequence(&mut random, &mut dates, &ground);
            (lines, failures) = (lines + more, failures + found);
        }
        (lines, failures)
    };
    let sums: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STREAMS).map(|n| scope.spawn(move || stream(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (lines, failures) = sums.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    println!("{} filters, {lines} lines, {failures} failures, no difference", ground.filters.len());
    assert!(failures > lines / 200, "too few failures to tell anything: {failures} of {lines} lines");
}
