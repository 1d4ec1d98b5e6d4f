//! Lines: samples, shuffled and mutated. The tests of `scan` take it, too.

use jiff::tz::TimeZone;

/// A small generator of numbers, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Shapes of dates, as `strftime` writes them.
const SHAPES: &[&str] = &[
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.123456Z",
    "%Y-%m-%dT%H:%M:%S+02:00",
    "%Y-%m-%d %H:%M:%S,123",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y-%m-%d  %-H:%M:%S",
    "%b %e %H:%M:%S",
    "%b %d %H:%M:%S",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S.011 %Y",
    "%a %b %d %Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%y %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%m-%d-%Y %H:%M:%S.244",
    "%d/%b/%Y:%H:%M:%S +0200",
    "%d-%b-%Y %H:%M:%S.252",
    "%m/%d/%Y:%H:%M:%S",
    "%s",
    "[%s]",
    "%s.123",
    "%H:%M:%S",
    "<%m/%d/%y@%H:%M:%S>",
    "%y%m%d %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p",
    "%b-%d-%y %H:%M:%S",
    "%Y%m%dT%H%M%S",
    "%Y%m%d-%H:%M:%S",
    "PDT %b %d %H:%M:%S",
    "host %b %d %H:%M:%S",
    "+00:00 %b %d %H:%M:%S %Y",
    "@400000006%08x",
    "%Y-02-30 %H:%M:%S",
    "%b %d 25:%M:%S",
    "audit(%s.123:9)",
    "%d/%B/%Y %l:%M:%S %p",
    "%j %Y %H:%M:%S",
    "%Y-%m-%d %H:%M:%S MSK",
    "%Y-%m-%d %H:%M:%S CET+0130",
    "%Y-%m-%d %H:%M:%S cest",
    "x%Y%m%dy",
    "%m/%d",
    "%a %b %d %I:%M",
    "%Y W%W %w",
    "%y U%U %a",
    "[%s123456]",
    "%s123",
    "%Yx%m%d",
    "%d %b",
    "%m-%d %H:%M",
    "%a %b %e %H:%M:%S %Y",
    "%m/%d/%y %H:%M:%S",
    "%d %m %Y",
    "%Y-%m-%d",
];

/// A date near `now`, in one shape or another.
pub(crate) fn date(random: &mut Random, now: i64, zone: &TimeZone) -> String {
    let spread = *random.pick(&[1_i64, 30, 61, 70, 600, 700, 4_000, 90_000, 40_000_000, 300_000_000]);
    let at = now - spread / 2 + i64::try_from(random.below(usize::try_from(spread).unwrap() + 1)).unwrap();
    let at = jiff::Timestamp::from_second(at.max(0)).unwrap().to_zoned(zone.clone());
    let shape = *random.pick(SHAPES);
    if let Some((head, _)) = shape.split_once("%08x") {
        return format!("{head}89ae5e000000000");
    }
    at.strftime(shape).to_string()
}

/// What may stand around a date.
const AROUND: &[&str] = &[
    "",
    "",
    "",
    " ",
    "x",
    "x ",
    "[",
    "]",
    "<13>",
    " <134>1 ",
    "a: ",
    "(((",
    "\"",
    "A msg=audit(",
    ":9)",
    "pre",
    "é ",
    "\u{a0}",
    " - - [",
    "] \"GET / HTTP/1.1\"",
    "\t",
    "1",
    "2025",
    "-",
    ".",
    "²",
    "٣",
];

/// A line with a date like `shape`, or another one, or two, or none.
pub(crate) fn dated(random: &mut Random, shape: &str, now: i64, zone: &TimeZone) -> String {
    let mut line = (*random.pick(AROUND)).to_owned();
    match random.below(8) {
        0 => {}
        1..=4 => line.push_str(shape),
        5 => line.push_str(&format!("{shape} {}", date(random, now, zone))),
        _ => line.push_str(&date(random, now, zone)),
    }
    for _ in 0..random.below(3) {
        line += random.pick::<&str>(AROUND);
    }
    if random.one_in(5) {
        scramble(random, &mut line);
    }
    line
}

/// One sample line made into another one.
pub(crate) fn mutate(random: &mut Random, line: &str, now: i64, zone: &TimeZone) -> String {
    let mut line = line.to_owned();
    match random.below(8) {
        0 => {}
        1..=4 => line = replace_date(&line, &date(random, now, zone)),
        5 => line = format!("{} {line}", date(random, now, zone)),
        6 => line = replace_date(&line, ""),
        _ => line = format!("{} {}", line, date(random, now, zone)),
    }
    if random.one_in(6) {
        scramble(random, &mut line);
    }
    line
}

/// Puts `date` where the line seems to have one: its first run of date-like characters with two colons.
fn replace_date(line: &str, date: &str) -> String {
    let Some(first) = line.find(':') else { return format!("{date} {line}") };
    let bytes = line.as_bytes();
    let begin = bytes[..first].iter().rposition(|b| matches!(b, b'[' | b'>' | b'"' | b'(')).map_or(0, |at| at + 1);
    let end = bytes[first..]
        .iter()
        .position(|b| !matches!(b, b'0'..=b'9' | b':' | b'.' | b','))
        .map_or(bytes.len(), |n| first + n);
    format!("{}{date}{}", line.get(..begin).unwrap_or(""), line.get(end..).unwrap_or(""))
}

/// Small accidents.
fn scramble(random: &mut Random, line: &mut String) {
    for _ in 0..=random.below(3) {
        let places: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
        if places.is_empty() {
            return;
        }
        let at = *random.pick(&places);
        match random.below(4) {
            0 => {
                line.remove(at);
            }
            1 => {
                let c =
                    *random.pick(&['é', '\u{fffd}', ' ', ':', '[', ']', '\0', '1', 'x', '٣', '\u{2028}', '\r', '\t']);
                line.insert(at, c);
            }
            2 => line.truncate(at),
            _ => {
                let tail = line.get(at..).unwrap_or("").to_owned();
                line.push_str(&tail);
            }
        }
    }
}
