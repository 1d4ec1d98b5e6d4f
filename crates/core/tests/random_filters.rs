//! Random filters over random bytes: nothing panics, and a block that is scanned first gives what the
//! same block gives line by line. `STOCKADE_LONG=n` takes n times as many filters, `STOCKADE_SEED` others.

#[path = "../../pattern/tests/dialect/mod.rs"]
mod dialect;

use std::sync::Arc;

use dialect::{Dialect, Rng};
use jiff::tz::TimeZone;
use stockade_core::matcher::{Calendar, DatePattern, Encoding, Filter, FilterSpec, Matcher, Scanner, UseDns};
use stockade_core::{Batch, Block, JailName, Position, SourceKey, Span, Stamp, Timestamp};

/// Filters of the short form.
const FILTERS: usize = 200;
const NOW: i64 = 1_767_225_600;
/// Beginnings of lines: dates of many kinds, whole and broken.
const DATES: [&str; 10] = [
    "2026-01-01 00:00:00 ",
    "2025-12-31T23:59:30.5Z ",
    "Jan  1 00:00:00 ",
    "[01/Jan/2026:00:00:00 +0000] ",
    "1767225600 ",
    "@4000000069554e0a00000000 ",
    "0000-12-30 00:00:00 ",
    "Feb 30 25:61:61 ",
    "20260101 ",
    "",
];
const TAGS: [&str; 6] =
    [" <HOST>", "<F-ID>\\S+</F-ID>", " from <ADDR>", "<SUBNET>", "(?P<host>\\S+)<HOST>?", "<F-MLFID>a</F-MLFID>"];
const IDS: [&str; 6] = [" 192.0.2.1", " ::ffff:1.2.3.4", " from 2001:db8::1", "10.0.0.0/8", "bob", "[::1]"];

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn spec(dialect: &mut Dialect, texts: &mut Vec<String>) -> FilterSpec {
    let mut pattern = |tags: bool| {
        let case = dialect.case(4);
        texts.extend(case.texts);
        let tag = if tags { dialect.rng.pick(&TAGS) } else { "" };
        let anchor = if dialect.rng.chance(50) { "^" } else { "" };
        format!("{anchor}(?:{}){tag}", case.pattern)
    };
    let failregex = vec![pattern(true), pattern(true)];
    let (prefregex, ignoreregex) = (pattern(false), pattern(false));
    let rng = &mut dialect.rng;
    let dates = [
        DatePattern::Default,
        DatePattern::Default,
        DatePattern::Default,
        DatePattern::Journal,
        DatePattern::Text("^%Y-%m-%d %H:%M:%S\n{EPOCH}".to_owned()),
        DatePattern::Text("{NONE}".to_owned()),
    ];
    let encodings =
        [Encoding::Utf8, Encoding::Utf8, Encoding::Latin1, Encoding::Ascii, Encoding::Utf16Le, Encoding::Utf16Be];
    FilterSpec {
        prefregex: rng.chance(20).then(|| format!("{prefregex}<F-CONTENT>.*</F-CONTENT>")),
        failregex,
        ignoreregex: if rng.chance(20) { vec![ignoreregex] } else { Vec::new() },
        datepattern: rng.pick(&dates).clone(),
        maxlines: *rng.pick(&[1, 1, 1, 3]),
        usedns: *rng.pick(&[UseDns::Raw, UseDns::No]),
        encoding: *rng.pick(&encodings),
        findtime: Span::from_secs(600),
        ..FilterSpec::default()
    }
}

/// Bytes of a block's text: lines that a pattern may match, and noise.
fn text(rng: &mut Rng, texts: &[String], encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..rng.below(12) {
        let line = match rng.below(4) {
            0 => texts.get(rng.below(texts.len())).cloned().unwrap_or_default(),
            _ => format!(
                "{}{}{}",
                rng.pick(&DATES),
                texts.get(rng.below(texts.len())).cloned().unwrap_or_default(),
                rng.pick(&IDS)
            ),
        };
        let line = format!("{line}{}", rng.pick(&["\n", "\n", "\r\n", "\u{85}\n"]));
        match encoding {
            Encoding::Utf16Le => out.extend(line.encode_utf16().flat_map(u16::to_le_bytes)),
            Encoding::Utf16Be => out.extend(line.encode_utf16().flat_map(u16::to_be_bytes)),
            _ => out.extend(line.bytes()),
        }
        if rng.chance(20) {
            out.extend((0..rng.below(20)).map(|_| u8::try_from(rng.below(256)).unwrap_or(0)));
        }
    }
    out
}

/// The text as a block of whole lines; of the journal with a stamp for each.
fn block(text: &[u8], encoding: Encoding, journal: bool, in_operation: bool) -> Option<Block> {
    let end = encoding.line_end();
    let whole = end.last(text)?;
    let text = text.get(..whole)?;
    let mut at = 0;
    let stamps = end.lines(text).map(|line| {
        at += u32::try_from(line.len()).unwrap_or(0);
        Stamp { end: at, time: Timestamp::from_secs(NOW + i64::from(at)), cursor: format!("c{at}").into() }
    });
    let (begin, to) = if journal {
        let cursor = |at: usize| Position::Cursor { cursor: format!("c{at}").into(), at: Timestamp::from_secs(NOW) };
        (cursor(0), cursor(whole))
    } else {
        (Position::Offset(0), Position::Offset(u64::try_from(whole).ok()?))
    };
    Some(Block {
        source: SourceKey { path: "/log".into(), generation: 1 },
        begin,
        end: to,
        stamps: if journal { stamps.collect() } else { Box::default() },
        text: text.into(),
        in_operation,
        replay: false,
    })
}

#[test]
fn random_filters_read_random_bytes_and_skip_nothing() {
    let calendar = Calendar::new(TimeZone::UTC, 2026);
    let seed = setting("STOCKADE_SEED", 1);
    let mut dialect = Dialect::new(seed as u64);
    let (mut filters, mut lines, mut failures, mut refused) = (0, 0, 0, 0);
    while filters < FILTERS * setting("STOCKADE_LONG", 1) {
        let mut texts = Vec::new();
        let spec = spec(&mut dialect, &mut texts);
        let Ok(filter) = Filter::compile(&spec, &calendar) else {
            refused += 1;
            continue;
        };
        filters += 1;
        let filter = Arc::new(filter);
        let matcher = || Matcher::new(JailName::new("jail"), Arc::clone(&filter), 0);
        let (mut plain, mut scanned, mut scanner) = (matcher(), matcher(), Scanner::new(vec![Arc::clone(&filter)]));
        for round in 0..8 {
            let text = text(&mut dialect.rng, &texts, spec.encoding);
            let journal = spec.datepattern == DatePattern::Journal;
            let Some(block) = block(&text, spec.encoding, journal, dialect.rng.chance(50)) else { continue };
            let now = Timestamp::from_secs(NOW + 5 * round);
            let one: Batch = plain.block(now, &block);
            let scan = scanner.scan(now, &block);
            let other = scanned.scanned(&block, &scan);
            assert_eq!(
                one,
                other,
                "seed {seed}, filter {filters}: {spec:?}\n{:?}",
                String::from_utf8_lossy(&block.text)
            );
            // A line without what a pattern needs can't match; where it is passed over, nothing runs out of steps.
            let told = |matcher: &mut Matcher| {
                let notes = matcher.take_notes().into_iter().filter(|note| !note.text.contains("ran out of steps"));
                notes.collect::<Vec<_>>()
            };
            assert_eq!(told(&mut plain), told(&mut scanned), "seed {seed}, filter {filters}: {spec:?}");
            lines += one.lines;
            failures += one.failures.len();
        }
    }
    println!("{filters} filters ({refused} refused), {lines} lines, {failures} failures");
    assert!(failures > filters / 4, "only {failures} failures");
}
