//! What a line has that dates need, seen in one pass, so that templates which
//! cannot match are not tried.
//!
//! Most dates hold a clock, `10:11:12`. Where no clock stands behind the right
//! character (and, for some, near a month's name) a template of that kind
//! cannot match; where one does, the match begins and ends near it. This holds
//! for the default templates only and for lines of ASCII only, where a digit is
//! `0` to `9` and upper and lower case are what they seem; other lines are
//! searched whole. The tests hold all of it to the whole search.

use std::ops::Range;

/// Most characters of a default date before the first colon of its clock.
const BEFORE: usize = 32;
/// Most characters behind that colon, blanks before a zone not counted.
const BEHIND: usize = 40;

/// What stands before the hours of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lead(u8);

impl Lead {
    const BLANK: Lead = Lead(1);
    const LETTER_T: Lead = Lead(2);
    const COLON: Lead = Lead(4);
    /// The last digit of a year, with no character between.
    const YEAR: Lead = Lead(8);
    /// Anything else, or the line's begin.
    const OTHER: Lead = Lead(16);
    /// `8/2025:`
    const SLASHES: Lead = Lead(32);

    /// What stands before `at`.
    fn before(bytes: &[u8], at: usize) -> Lead {
        let digits = |end: usize, n: usize| {
            let run = end.checked_sub(n).and_then(|from| bytes.get(from..end));
            run.is_some_and(|run| run.iter().all(u8::is_ascii_digit))
        };
        match at.checked_sub(1).and_then(|at| bytes.get(at)) {
            Some(b' ') => Lead::BLANK,
            Some(b'T') => Lead::LETTER_T,
            Some(b':') if digits(at - 1, 4) && digits(at.saturating_sub(6), 1) => Lead::COLON.or(Lead::SLASHES),
            Some(b':') => Lead::COLON,
            Some(b'0'..=b'9') if digits(at, 4) => Lead::YEAR,
            _ => Lead::OTHER,
        }
    }

    const fn or(self, other: Lead) -> Lead {
        Lead(self.0 | other.0)
    }

    fn meets(self, other: Lead) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a default template cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    what: What,
    /// Bound to the line's begin: the last place where a clock's first colon may stand.
    begin: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A clock behind one of these, and a month's name shortly before it if so.
    Clock { lead: Lead, month: bool },
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
        let clock = |lead, month| What::Clock { lead, month };
        let what = match index {
            0 => clock(Lead::BLANK.or(Lead::LETTER_T), false),
            1 | 2 | 11 | 12 | 14 | 15 => clock(Lead::BLANK, true),
            3 | 6 | 10 => clock(Lead::BLANK, false),
            4 => clock(Lead::BLANK.or(Lead::COLON).or(Lead::YEAR), true),
            5 => clock(Lead::SLASHES, false),
            8 | 9 => clock(Lead::OTHER.or(Lead::BLANK).or(Lead::COLON), false),
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
    lead: Lead,
    /// Is there a month's name shortly before?
    month: bool,
}

/// Clocks that have room in place; a line with more, which is hardly a log's own, takes memory.
const CLOCKS: usize = 8;

/// What one line has.
#[derive(Debug)]
pub(super) struct Sketch {
    /// `None`: nothing is known, search the whole line.
    facts: Option<Facts>,
}

#[derive(Debug)]
struct Facts {
    clocks: [Option<Clock>; CLOCKS],
    more: Vec<Clock>,
    digits: bool,
    at: bool,
    epoch: bool,
}

impl Sketch {
    /// Looks at a line.
    pub(super) fn of(line: &str) -> Sketch {
        Sketch { facts: line.is_ascii().then(|| Facts::of(line.as_bytes())) }
    }

    /// The part of `line` in which what needs `need` can match; `None` if it cannot at all.
    pub(super) fn window(&self, line: &str, need: Need) -> Option<Range<usize>> {
        let whole = Some(0..line.len());
        let Some(facts) = &self.facts else { return whole };
        match need.what {
            What::Digits => facts.digits.then_some(0..line.len()),
            What::At => facts.at.then_some(0..line.len()),
            What::Epoch => facts.epoch.then_some(0..line.len()),
            What::Clock { lead, month } => {
                let mut clocks = facts.clocks(lead, month);
                let first = clocks.next()?;
                if let Some(reach) = need.begin {
                    return if first.colon <= reach { whole } else { None };
                }
                let last = clocks.next_back().unwrap_or(first);
                Some(first.colon.saturating_sub(BEFORE)..end_behind(line.as_bytes(), last.colon))
            }
        }
    }
}

impl Sketch {
    /// The first colon of the first clock that fits `need`, if clocks are known and it is not bound to the begin.
    pub(super) fn first_clock(&self, need: Need) -> Option<usize> {
        match (need.what, need.begin) {
            (What::Clock { lead, month }, None) => Some(self.facts.as_ref()?.clocks(lead, month).next()?.colon),
            _ => None,
        }
    }
}

/// Where a match whose clock has its first colon here has ended for sure.
fn end_behind(bytes: &[u8], colon: usize) -> usize {
    let mut at = colon;
    let mut left = BEHIND;
    while left > 0 {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'\t'..=b'\r' | 0x1c..=0x1f | b' ') => {}
            Some(_) => left -= 1,
        }
        at += 1;
    }
    at
}

impl Facts {
    /// The clocks behind one of `lead`, and near a month's name if so asked.
    fn clocks(&self, lead: Lead, month: bool) -> impl DoubleEndedIterator<Item = &Clock> {
        self.clocks
            .iter()
            .flatten()
            .chain(&self.more)
            .filter(move |clock| clock.lead.meets(lead) && (clock.month || !month))
    }

    fn of(bytes: &[u8]) -> Facts {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        let (mut clocks, mut more) = ([None; CLOCKS], Vec::new());
        let mut count = 0;
        for colon in memchr::memchr_iter(b':', bytes) {
            let second = match (digit(colon + 1), bytes.get(colon + 2), bytes.get(colon + 3)) {
                (true, Some(b':'), _) => colon + 2,
                (true, Some(b'0'..=b'9'), Some(b':')) => colon + 3,
                _ => continue,
            };
            let Some(ones) = colon.checked_sub(1).filter(|at| digit(*at)) else { continue };
            if !digit(second + 1) {
                continue;
            }
            // The hours have one digit or two.
            let mut lead = Lead::before(bytes, ones);
            if let Some(tens) = ones.checked_sub(1).filter(|at| digit(*at)) {
                lead = lead.or(Lead::before(bytes, tens));
            }
            let near = bytes.get(colon.saturating_sub(BEFORE)..colon).unwrap_or_default();
            let clock = Clock { colon, lead, month: has_month(near) };
            match clocks.get_mut(count) {
                Some(room) => *room = Some(clock),
                None => more.push(clock),
            }
            count += 1;
        }
        let eight = |at: usize| bytes.get(at..at + 8).is_some_and(|run| run.iter().all(u8::is_ascii_digit));
        let digits = memchr::memmem::find_iter(bytes, b"20").any(eight);
        let ten = |at: usize| bytes.get(at..at + 10).is_some_and(|run| run.iter().all(u8::is_ascii_digit));
        let epoch = (0..3).any(ten) || memchr::memmem::find(bytes, b"audit(").is_some();
        Facts { clocks, more, digits, at: memchr::memchr(b'@', bytes).is_some(), epoch }
    }
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
    })
}

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
