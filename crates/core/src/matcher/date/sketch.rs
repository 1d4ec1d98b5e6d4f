//! What a line has that dates need, seen in one pass, so that templates which
//! cannot match are not tried.
//!
//! Most dates hold a clock, `10:11:12`. What stands right before a clock says
//! which templates can match there: a blank, a month's name so many characters
//! before, a separator between numbers. Where no clock fits, a template cannot
//! match; where one does, the match begins and ends near it. This holds for the
//! default templates only. A character that is not ASCII may be a digit (`\d` is
//! any decimal digit) or, where case does not matter, a letter: it counts as
//! what it would have to be. The tests hold all of it to the whole search.

use std::ops::Range;

/// Most characters of a default date before the first colon of its clock.
const BEFORE: usize = 32;
/// Most characters behind that colon, blanks before a zone not counted.
const BEHIND: usize = 40;
/// Most bytes of one character.
const CHAR: usize = 4;

/// Kinds of templates by what stands before their clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds(u8);

impl Kinds {
    /// `2025-08-12 `, `2025-08-12T`
    const ISO: Kinds = Kinds(1);
    /// `Aug 12 `
    const SYSLOG: Kinds = Kinds(2);
    /// `Aug 12 2025 `, `Aug 12, 2025 `, `Aug-12-25 `
    const DATED: Kinds = Kinds(4);
    /// `12/08/2025 `, `08-12-2025 `
    const NUMERIC: Kinds = Kinds(8);
    /// `12/Aug/2025:`, also with a blank or nothing in the colon's place
    const ACCESS: Kinds = Kinds(16);
    /// `08/12/2025:`
    const SLASHES: Kinds = Kinds(32);
    /// Nothing of a date's own, near the line's begin.
    const BARE: Kinds = Kinds(64);
    /// `250812 `
    const SIX: Kinds = Kinds(128);

    const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    /// What a date can be whose hours end before the colon at `colon`.
    fn before(bytes: &[u8], colon: usize) -> Kinds {
        let Some(ones) = char_before(bytes, colon).filter(|at| digit(bytes.get(*at))) else { return Kinds::default() };
        // Months and separators stand in the same place for hours of one digit and of two.
        let around = Around::of(bytes, colon);
        let mut kinds = around.kinds(bytes, ones);
        if let Some(tens) = ones.checked_sub(1).filter(|at| bytes.get(*at).is_some_and(u8::is_ascii_digit)) {
            kinds = kinds.or(around.kinds(bytes, tens));
        }
        kinds
    }
}

/// Can it be (a part of) a digit?
fn digit(byte: Option<&u8>) -> bool {
    byte.is_some_and(|b| b.is_ascii_digit() || !b.is_ascii())
}

/// Can all of the `n` bytes before `end` be of digits?
fn digits(bytes: &[u8], end: usize, n: usize) -> bool {
    let run = end.checked_sub(n).and_then(|from| bytes.get(from..end));
    run.is_some_and(|run| run.iter().all(|b| digit(Some(b))))
}

/// Where the character before `at` begins.
fn char_before(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at.checked_sub(1)?;
    while at > 0 && bytes.get(at).is_some_and(|b| (0x80..0xc0).contains(b)) {
        at -= 1;
    }
    Some(at)
}

/// What stands some way before a clock's first colon.
struct Around {
    ascii: bool,
    /// A month's name as close as in `Aug 12 10:` or `12/Aug/2025:10:`.
    month_near: bool,
    /// One as far as in `Aug 12, 2025 10:`.
    month_far: bool,
    /// A separator of numbers as close as in `12/08/2025 10:`.
    separator: bool,
}

impl Around {
    fn of(bytes: &[u8], colon: usize) -> Around {
        let back = |far: usize, near: usize| {
            bytes.get(colon.saturating_sub(far)..colon.saturating_sub(near)).unwrap_or_default()
        };
        let separator = |part: &[u8]| part.iter().any(|b| matches!(b, b'-' | b'/' | b'.'));
        let ascii = back(BEFORE, 0).is_ascii();
        if !ascii {
            // Places are not known to the byte.
            let month = has_month(back(BEFORE, 0));
            return Around { ascii, month_near: month, month_far: month, separator: separator(back(BEFORE, 0)) };
        }
        // Its last letter is 4 to 8 characters before the colon, or 7 to 12.
        let (month_near, month_far) = (has_month(back(11, 3)), has_month(back(15, 6)));
        Around { ascii, month_near, month_far, separator: separator(back(10, 0)) }
    }

    /// What a date can be whose hours begin at `hours`.
    fn kinds(&self, bytes: &[u8], hours: usize) -> Kinds {
        let lead = hours.checked_sub(1).and_then(|at| bytes.get(at));
        let (near, far, separator) = (self.month_near, self.month_far, self.separator);
        let mut kinds = Kinds::default();
        let mut may_be = |kind, yes: bool| kinds = if yes { kinds.or(kind) } else { kinds };
        match lead {
            Some(b' ') => {
                let two = usize::from(hours.checked_sub(2).and_then(|at| bytes.get(at)) == Some(&b' '));
                may_be(Kinds::BARE, true);
                may_be(Kinds::ISO.or(Kinds::NUMERIC), separator);
                may_be(Kinds::SYSLOG.or(Kinds::ACCESS), near);
                may_be(Kinds::DATED, far);
                may_be(Kinds::SIX, digits(bytes, hours - 1 - two, 6));
            }
            Some(b'T') => may_be(Kinds::ISO, separator),
            Some(b':') => {
                may_be(Kinds::BARE, true);
                may_be(Kinds::ACCESS, near);
                let date = digits(bytes, hours - 1, 4) && digits(bytes, hours.saturating_sub(6), 1);
                may_be(Kinds::SLASHES, date || !self.ascii);
            }
            Some(b'0'..=b'9') => may_be(Kinds::ACCESS, near && digits(bytes, hours, 4)),
            Some(b) if !b.is_ascii() => {
                may_be(Kinds::BARE, true);
                may_be(Kinds::ACCESS, near);
            }
            _ => may_be(Kinds::BARE, true),
        }
        kinds
    }
}

/// What a default template cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    what: What,
    /// Bound to the line's begin: the last place where a clock's first colon may stand, in characters.
    begin: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A clock with one of these before it.
    Clock(Kinds),
    /// Eight digits that begin with 20.
    Digits,
    /// An `@`.
    At,
    /// Ten digits at the begin, or `audit(`.
    Epoch,
}

impl Need {
    /// What the default pattern of this index needs.
    pub(super) fn of(index: usize, begin: bool) -> Option<Need> {
        let what = match index {
            0 => What::Clock(Kinds::ISO),
            1 | 14 | 15 => What::Clock(Kinds::SYSLOG),
            2 | 11 | 12 => What::Clock(Kinds::DATED),
            3 | 6 => What::Clock(Kinds::NUMERIC),
            4 => What::Clock(Kinds::ACCESS),
            5 => What::Clock(Kinds::SLASHES),
            8 | 9 => What::Clock(Kinds::BARE),
            10 => What::Clock(Kinds::SIX),
            13 => What::Digits,
            16 => What::At,
            7 => What::Epoch,
            _ => return None,
        };
        let reach = match index {
            8 => 4,
            9 => 12,
            _ => 2 + BEFORE,
        };
        Some(Need { what, begin: begin.then_some(reach) })
    }
}

/// A clock in the line.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Place of its first colon.
    colon: usize,
    kinds: Kinds,
}

/// Clocks that have room in place; a line with more, which is hardly a log's own, takes memory.
const CLOCKS: usize = 8;

/// What one line has.
#[derive(Debug)]
pub(super) struct Sketch {
    ascii: bool,
    clocks: [Option<Clock>; CLOCKS],
    more: Vec<Clock>,
    digits: bool,
    at: bool,
    epoch: bool,
}

impl Sketch {
    /// Looks at a line.
    pub(super) fn of(line: &str) -> Sketch {
        let bytes = line.as_bytes();
        let (mut clocks, mut more) = ([None; CLOCKS], Vec::new());
        let mut count = 0;
        for colon in memchr::memchr_iter(b':', bytes) {
            let Some(second) = second_colon(bytes, colon) else { continue };
            if !digit(bytes.get(second + 1)) {
                continue;
            }
            let kinds = Kinds::before(bytes, colon);
            if kinds == Kinds::default() {
                continue;
            }
            let clock = Clock { colon, kinds };
            match clocks.get_mut(count) {
                Some(room) => *room = Some(clock),
                None => more.push(clock),
            }
            count += 1;
        }
        let ascii = line.is_ascii();
        let run = |at: usize, n: usize| digits(bytes, at + n, n);
        let digits = memchr::memmem::find_iter(bytes, b"20").any(|at| run(at, 8));
        // Behind at most two characters.
        let heads = if ascii { 0..3 } else { 0..2 * CHAR + 1 };
        let epoch = heads.into_iter().any(|at| run(at, 10)) || memchr::memmem::find(bytes, b"audit(").is_some();
        Sketch { ascii, clocks, more, digits, at: memchr::memchr(b'@', bytes).is_some(), epoch }
    }

    /// The part of `line` in which what needs `need` can match; `None` if it cannot at all.
    pub(super) fn window(&self, line: &str, need: Need) -> Option<Range<usize>> {
        let whole = 0..line.len();
        match need.what {
            What::Digits => self.digits.then_some(whole),
            What::At => self.at.then_some(whole),
            What::Epoch => self.epoch.then_some(whole),
            What::Clock(kinds) => {
                let mut clocks = self.clocks(kinds);
                let first = clocks.next()?;
                if let Some(reach) = need.begin {
                    let reach = if self.ascii { reach } else { reach * CHAR };
                    return (first.colon <= reach).then_some(whole);
                }
                let last = clocks.next_back().unwrap_or(first);
                Some(start_before(line, first.colon)..end_behind(line, last.colon))
            }
        }
    }

    /// The first colon of the first clock that fits `need`, if it is a clock and not bound to the begin.
    pub(super) fn first_clock(&self, need: Need) -> Option<usize> {
        match (need.what, need.begin) {
            (What::Clock(kinds), None) => Some(self.clocks(kinds).next()?.colon),
            _ => None,
        }
    }

    /// The clocks that may be of one of these kinds.
    fn clocks(&self, kinds: Kinds) -> impl DoubleEndedIterator<Item = &Clock> {
        self.clocks.iter().flatten().chain(&self.more).filter(move |clock| clock.kinds.meets(kinds))
    }
}

/// The colon behind one digit or two that stand behind a colon.
fn second_colon(bytes: &[u8], colon: usize) -> Option<usize> {
    let mut at = colon + 1;
    for _ in 0..2 {
        if !digit(bytes.get(at)) {
            return None;
        }
        at += 1;
        while bytes.get(at).is_some_and(|b| (0x80..0xc0).contains(b)) {
            at += 1;
        }
        if bytes.get(at) == Some(&b':') {
            return Some(at);
        }
    }
    None
}

/// Where no match whose clock has its first colon here begins before.
fn start_before(line: &str, colon: usize) -> usize {
    let near = colon.saturating_sub(BEFORE);
    match line.as_bytes().get(near..colon) {
        Some(part) if part.is_ascii() => near,
        _ => line.get(..colon).and_then(|head| head.char_indices().rev().nth(BEFORE - 1)).map_or(0, |(at, _)| at),
    }
}

/// Where a match whose clock has its first colon here has ended for sure.
fn end_behind(line: &str, colon: usize) -> usize {
    let mut left = BEHIND;
    for (at, c) in line.get(colon..).unwrap_or_default().char_indices() {
        if left == 0 {
            return colon + at;
        }
        // What a pattern's `\s` may be; some of these are no blanks any more.
        let blank = c.is_whitespace() || matches!(c, '\x1c'..='\x1f' | '\u{180e}');
        left -= usize::from(!blank);
    }
    line.len()
}

/// Is there the short name of a month, in any case?
fn has_month(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|three| {
        let [a, b, c] = *three else { return false };
        let three = [a | 0x20, b | 0x20, c | 0x20];
        matches!(
            &three,
            b"jan" | b"feb" | b"mar" | b"apr" | b"may" | b"jun" | b"jul" | b"aug" | b"sep" | b"oct" | b"nov" | b"dec"
        )
    }) || bytes.contains(&LONG_S)
}

/// The first byte of the long s, which is an s where case does not matter.
const LONG_S: u8 = 0xc5;

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use stockade_pattern::{Scratch, Slots};

    use super::super::{Calendar, Template};
    use super::*;

    const PIECES: &[&str] = &[
        "2025-08-12",
        "2025-08-12T",
        "2025.8.2 ",
        "Aug 12 ",
        "aug  2 ",
        "Tue Aug 12 2025 ",
        "12/08/2025 ",
        "12/8/25 ",
        "12/Aug/2025:",
        "12-Aug-2025",
        "08/12/2025:",
        "08-12-2025 ",
        "1754986272",
        "[1754986272]",
        "<08/12/25@",
        "250812 ",
        "Aug 12, 2025 ",
        "Aug-12-25 ",
        "20250812",
        "20250812T",
        "PDT Aug 12 ",
        "+02:00 Aug 12 ",
        "@400000006",
        "89ae5e000000000",
        "10:11:12",
        " 8:11:12",
        "10:11:12",
        "9:1:2",
        "101112",
        "10:11",
        ":12",
        ".123456",
        ",5",
        " +0200",
        "Z",
        "   GMT",
        " PM",
        " 2025",
        "x",
        " ",
        "[",
        "\t\t\t",
        "é",
        "\u{661}",
        "1\u{662}",
        "202\u{665}",
        "\u{17f}ep 1\u{661} ",
        "12/\u{17f}EP/202\u{665}",
        ":\u{661}\u{662}:\u{663}",
        "\u{a0}\u{2003}",
        "audit(",
        ":9)",
        ": ",
        "1.2.3.4 - - ",
        "25:11:12",
        "12:34:56:78",
        ">",
    ];

    #[test]
    fn what_is_left_out_would_not_have_matched() {
        let calendar = Calendar::new(TimeZone::UTC, 2026);
        let templates: Vec<&Template> = calendar.defaults().iter().map(|t| &**t).collect();
        assert_eq!(templates.iter().filter(|t| t.need().is_some()).count(), 31);
        let rounds = std::env::var("STOCKADE_LONG").ok().and_then(|v| v.parse::<u32>().ok()).unwrap_or(1);
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 20).unwrap() % n
        };
        let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
        let (mut left_out, mut found, mut by_clock) = (0, 0, 0);
        for _ in 0..rounds * 6_000 {
            let mut line: String = (0..below(5)).map(|_| PIECES[below(PIECES.len())]).collect();
            line.push_str(PIECES[below(24)]);
            line.push_str("10:11:12");
            line.extend((0..below(5)).map(|_| PIECES[below(PIECES.len())]));
            let sketch = Sketch::of(&line);
            for template in &templates {
                let Some(need) = template.need() else { continue };
                let mut search = |window| template.long_way(&mut scratch, &mut slots, &line, window).ok().flatten();
                let whole = search(0..line.len());
                let part = sketch.window(&line, need).and_then(search);
                assert_eq!(part, whole, "{line:?} {}", template.regex);
                if let Some(short) = template.short_way_by(&sketch, &line) {
                    by_clock += 1;
                    assert_eq!(Some(short), whole, "by the clock: {line:?} {}", template.regex);
                }
                left_out += usize::from(sketch.window(&line, need).is_none());
                found += usize::from(whole.is_some());
            }
        }
        assert!(left_out > 10_000 && found > 2_000 && by_clock > 150, "{left_out} {found} {by_clock}");
    }
}
