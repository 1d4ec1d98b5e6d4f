//! The commonest dates read byte by byte.
//!
//! Only the plainest spelling of a shape is read here: all numbers with two
//! digits, English month names as syslog writes them, and a neighbourhood that
//! leaves no doubt about where the match ends. Anything else is left to the
//! template's regular expression, the plain twin; the test below holds both to
//! the same spans and fields.

use std::ops::Range;

use super::convert::{Field, Fields};
use super::template::Found;

/// A shape that is read here, and where it is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fast {
    pub(super) shape: Shape,
    pub(super) place: Place,
    /// The last digit of the last decade accepted, `202x`: `b'2'`.
    pub(super) decade: u8,
}

/// Where a date is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the start of the window, which begins or follows a word there.
    Word,
    /// Behind `^` and at most two characters of no word.
    Line,
    /// Behind the line's first `[`, as in access logs.
    Bracket,
}

/// The shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `2025-08-12T10:11:12.123+02:00`
    Iso,
    /// `Aug 12 10:11:12` or `Tue Aug 12 10:11:12.123 2025`
    Syslog,
    /// `12/Aug/2025:10:11:12 +0200`
    Access,
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// Reads on from a place in the line.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn ahead(&self, n: usize) -> Option<u8> {
        self.bytes.get(self.at + n).copied()
    }

    /// Skips one of these bytes.
    fn one(&mut self, of: &[u8]) -> Option<u8> {
        let b = self.peek().filter(|b| of.contains(b))?;
        self.at += 1;
        Some(b)
    }

    /// Two characters that make a number in `low..=high`; the first may be a blank if `blank`.
    fn two(&mut self, low: u8, high: u8, blank: bool) -> Option<(usize, usize)> {
        let [tens, ones] = *self.bytes.get(self.at..self.at + 2)? else { return None };
        let tens = match tens {
            b' ' if blank => 0,
            b'0'..=b'9' => tens - b'0',
            _ => return None,
        };
        let value = tens * 10 + ones.checked_sub(b'0').filter(|n| *n < 10)?;
        if !(low..=high).contains(&value) {
            return None;
        }
        self.at += 2;
        Some((self.at - 2, self.at))
    }

    /// A year of the accepted decades.
    fn year(&mut self, decade: u8) -> Option<(usize, usize)> {
        let [b'2', b'0', tens, b'0'..=b'9'] = *self.bytes.get(self.at..self.at + 4)? else { return None };
        if !(b'0'..=decade).contains(&tens) {
            return None;
        }
        self.at += 4;
        Some((self.at - 4, self.at))
    }

    /// One of these names of three letters.
    fn name(&mut self, of: &[&[u8; 3]]) -> Option<(usize, usize)> {
        let name = self.bytes.get(self.at..self.at + 3)?;
        of.iter().find(|known| **known == name)?;
        self.at += 3;
        Some((self.at - 3, self.at))
    }

    /// `10:11:12`
    fn clock(&mut self, put: &mut impl FnMut(Field, (usize, usize))) -> Option<()> {
        put(Field::Hour, self.two(0, 23, false)?);
        self.one(b":")?;
        put(Field::Minute, self.two(0, 59, false)?);
        self.one(b":")?;
        put(Field::Second, self.two(0, 59, false)?);
        Some(())
    }

    /// Up to six digits behind the point, if there is one of `points` and a digit.
    fn fraction(&mut self, points: &[u8]) -> Option<()> {
        if self.peek().is_some_and(|b| points.contains(&b)) && self.ahead(1).is_some_and(|b| b.is_ascii_digit()) {
            let digits = self.bytes.iter().skip(self.at + 1).take_while(|b| b.is_ascii_digit()).count();
            if digits > 6 {
                return None;
            }
            self.at += 1 + digits;
        }
        Some(())
    }

    /// `+0200` or `+02:00`, which must not run into a word.
    fn offset(&mut self) -> Option<(usize, usize)> {
        let start = self.at;
        self.one(b"+-")?;
        self.two(0, 19, false)?;
        if self.peek() == Some(b':') {
            self.at += 1;
        }
        self.two(0, 99, false)?;
        Some((start, self.at))
    }

    /// Is this a sure end: the end of the window or an ASCII character of no word?
    fn ends(&self) -> bool {
        self.peek().is_none_or(|b| b.is_ascii() && !is_word(b))
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

impl Fast {
    /// From where in a line a date is sought; nothing if the line has no such place.
    #[inline]
    pub(super) fn seeks_from(self, line: &[u8]) -> Option<usize> {
        match self.place {
            Place::Bracket => Some(memchr::memchr(b'[', line)? + 1),
            Place::Line | Place::Word => Some(0),
        }
    }

    /// The match of this shape; `None` says nothing, the regular expression decides then.
    pub(super) fn find(self, line: &[u8], window: &Range<usize>) -> Option<Found> {
        let bytes = line.get(..window.end)?;
        let mut start = window.start;
        match self.place {
            Place::Line | Place::Bracket if start != 0 => return None,
            Place::Line => {
                let plain = |b: &&u8| b.is_ascii() && !is_word(**b);
                start = bytes.iter().take(2).take_while(plain).count();
            }
            Place::Bracket => start = memchr::memchr(b'[', bytes)? + 1,
            Place::Word => {
                if let Some(before) = start.checked_sub(1).and_then(|at| bytes.get(at))
                    && (is_word(*before) || !before.is_ascii())
                {
                    return None;
                }
            }
        }
        let mut cursor = Cursor { bytes, at: start };
        let mut fields = Fields::default();
        self.read(&mut cursor, &mut |field, (from, to)| fields.set(field, from, to))?;
        let cut = start..cursor.at;
        Some(Found { span: window.start..cursor.at, cut, fields })
    }

    /// The leftmost match, given the first colon of the first clock that may belong to one.
    ///
    /// Earlier in the line none can begin: a match has a clock, and before its
    /// own clock only one beginning reads as a date of this shape (two where a
    /// weekday may stand; that is left to the regular expression).
    pub(super) fn find_by_clock(self, line: &str, colon: usize) -> Option<Found> {
        let head = match self.shape {
            Shape::Iso => 13,
            Shape::Syslog => 9,
            Shape::Access => 14,
        };
        let start = colon.checked_sub(head)?;
        let bytes = line.as_bytes();
        let before = |n: usize| start.checked_sub(n).and_then(|at| bytes.get(at)).copied();
        if self.place != Place::Word
            || (before(1) == Some(b' ') && self.shape == Shape::Syslog && before(2).is_some_and(is_word))
        {
            return None;
        }
        self.find(bytes, &(start..bytes.len()))
    }

    fn read(self, at: &mut Cursor<'_>, put: &mut impl FnMut(Field, (usize, usize))) -> Option<()> {
        match self.shape {
            Shape::Iso => {
                put(Field::Year, at.year(self.decade)?);
                let sep = at.one(b"-/.")?;
                put(Field::Month, at.two(1, 12, false)?);
                at.one(&[sep])?;
                put(Field::Day, at.two(1, 31, false)?);
                at.one(b"T ")?;
                at.clock(put)?;
                at.fraction(b".,")?;
                match at.peek() {
                    // A blank may stand before a zone.
                    Some(b'\t'..=b'\r' | 0x1c..=0x1f | b' ') => {
                        let next = at.ahead(1);
                        let zone = |b: u8| {
                            b.is_ascii_whitespace() || !b.is_ascii() || b"ZUG+-\x0b\x1c\x1d\x1e\x1f".contains(&b)
                        };
                        if next.is_some_and(zone) {
                            return None;
                        }
                    }
                    Some(b'Z') => {
                        put(Field::Zone, (at.at, at.at + 1));
                        at.at += 1;
                    }
                    Some(b'+' | b'-') => put(Field::Zone, at.offset()?),
                    _ => {}
                }
            }
            Shape::Syslog => {
                if let Some(day) = at.name(&WEEKDAYS) {
                    put(Field::WeekdayName, day);
                    at.one(b" ")?;
                }
                put(Field::MonthName, at.name(&MONTHS)?);
                at.one(b" ")?;
                put(Field::Day, at.two(1, 31, true)?);
                at.one(b" ")?;
                at.clock(put)?;
                at.fraction(b".")?;
                if at.peek() == Some(b' ') && at.ahead(1) == Some(b'2') {
                    at.at += 1;
                    put(Field::Year, at.year(self.decade)?);
                }
            }
            Shape::Access => {
                put(Field::Day, at.two(1, 31, false)?);
                let sep = at.one(b"-/")?;
                put(Field::MonthName, at.name(&MONTHS)?);
                at.one(&[sep])?;
                put(Field::Year, at.year(self.decade)?);
                at.one(b" :")?;
                at.clock(put)?;
                at.fraction(b".")?;
                if at.peek() == Some(b' ') {
                    match at.ahead(1) {
                        Some(b'+' | b'-') => {
                            at.at += 1;
                            put(Field::Zone, at.offset()?);
                        }
                        Some(b'Z' | b'U' | b'G') => return None,
                        _ => {}
                    }
                }
            }
        }
        at.ends().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use stockade_pattern::{Scratch, Slots};

    use super::super::template::Template;
    use super::super::{Calendar, DEFAULTS};
    use jiff::tz::TimeZone;

    /// Pieces that dates are made of, right ones and wrong ones.
    const PIECES: &[&str] = &[
        "2025", "2019", "2031", "1999", "-", "-", "/", ".", "08", "8", "12", "31", "32", "00", " 2", "T", " ", " ",
        ":", ":", "10", "23", "24", "59", "60", ".123", ",5", ".1234567", "Z", "+02:00", "-0700", "+2", "UTC", " GMT",
        "Aug", "aug", "Tue ", "x", "_", "é", "\u{a0}", "[", "]", "(", "\u{1f}", "\t", "\u{1680}", "٣",
    ];
    /// Whole dates, to be damaged.
    const WHOLE: &[&str] = &[
        "2025-08-12T10:11:12.123456+02:00",
        "2025-08-12 10:11:12",
        "2025/08/12 10:11:12,123 -0700",
        "2025-08-12 10:11:12Z",
        "Aug 12 10:11:12",
        "Aug  2 10:11:12.5 2025",
        "Tue Aug 12 10:11:12 2025",
        "12/Aug/2025:10:11:12 +0200",
        "12-Aug-2025 10:11:12.252",
    ];

    #[test]
    fn the_short_way_finds_what_the_long_way_finds() {
        let calendar = Calendar::new(TimeZone::UTC, 2026);
        let templates: Vec<&Template> =
            calendar.defaults().iter().map(|t| &**t).filter(|t| t.has_short_way()).collect();
        assert_eq!(templates.len(), 6, "of {} defaults", DEFAULTS.len());
        let rounds = std::env::var("STOCKADE_LONG").ok().and_then(|v| v.parse::<u32>().ok()).unwrap_or(1);
        let mut seed = 0x1234_5678_9abc_def1_u64;
        let mut below = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 20).unwrap() % n
        };
        let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
        let mut taken = 0;
        for _ in 0..rounds * 40_000 {
            let mut line = String::new();
            for _ in 0..below(3) {
                line.push_str(PIECES[below(PIECES.len())]);
            }
            let from = line.len();
            line.push_str(WHOLE[below(WHOLE.len())]);
            let to = line.len();
            for _ in 0..below(3) {
                line.push_str(PIECES[below(PIECES.len())]);
            }
            if below(2) == 0 {
                let places: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
                let at = places[below(places.len())];
                match below(3) {
                    0 => line.insert_str(at, PIECES[below(PIECES.len())]),
                    1 => line.truncate(at),
                    _ => {
                        line.remove(at);
                    }
                }
            }
            let window: Range<usize> = if below(2) == 0 {
                0..line.len()
            } else {
                line.floor_char_boundary(from)..line.floor_char_boundary(to.min(line.len()).max(from))
            };
            for template in &templates {
                let Some(short) = template.short_way(&line, &window) else { continue };
                taken += 1;
                let long = template.long_way(&mut scratch, &mut slots, &line, window.clone());
                assert_eq!(long.ok().flatten(), Some(short), "{line:?} {window:?} {}", template.regex);
            }
        }
        assert!(taken > 10_000, "the short way was taken {taken} times only");
    }
}
