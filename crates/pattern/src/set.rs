//! Sets of characters, and Python's case folding of them.

use crate::tables::{CASED, DIGIT, LOWER, SAME_UPPER, SPACE, WORD};

/// The highest code point.
const LAST: u32 = 0x10_FFFF;

/// A set of code points: a mask for ASCII, sorted and separate ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// Bit `c` stands for the ASCII character `c`.
    pub(crate) ascii: u128,
    /// Inclusive ranges, all above 0x7f, sorted, not touching.
    pub(crate) wide: Vec<(u32, u32)>,
}

/// One of the predefined classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Digit,
    Space,
    Word,
}

/// A mask with the bits of an inclusive range of ASCII characters.
const fn span(first: u8, last: u8) -> u128 {
    let mut mask = 0;
    let mut at = first;
    while at <= last {
        mask |= 1 << at;
        at += 1;
    }
    mask
}

pub(crate) const ASCII_DIGIT: u128 = span(b'0', b'9');
pub(crate) const ASCII_WORD: u128 = ASCII_DIGIT | span(b'A', b'Z') | span(b'a', b'z') | (1 << b'_');
/// ASCII blanks as `str.isspace` sees them; the last four are not in `(?a:\s)`.
pub(crate) const ASCII_SPACE: u128 = span(9, 13) | (1 << b' ') | span(0x1c, 0x1f);

impl Class {
    /// The characters of the class; `ascii` is Python's `a` flag.
    pub(crate) fn set(self, ascii: bool) -> Set {
        let (mask, wide) = match self {
            Class::Digit => (ASCII_DIGIT, DIGIT),
            Class::Word => (ASCII_WORD, WORD),
            Class::Space if ascii => (span(9, 13) | (1 << b' '), SPACE),
            Class::Space => (ASCII_SPACE, SPACE),
        };
        Set { ascii: mask, wide: if ascii { Vec::new() } else { wide.to_vec() } }
    }
}

impl Set {
    /// The set of one code point.
    pub(crate) fn one(c: u32) -> Set {
        let mut set = Set::default();
        set.add_range(c, c);
        set.tidy();
        set
    }

    /// All characters, or all but the newline.
    pub(crate) fn any(newline: bool) -> Set {
        let ascii = if newline { u128::MAX } else { !(1 << b'\n') };
        Set { ascii, wide: vec![(0x80, LAST)] }
    }

    /// Adds an inclusive range; call [`Set::tidy`] after the last one.
    pub(crate) fn add_range(&mut self, first: u32, last: u32) {
        let mut c = first;
        while c <= last && c < 0x80 {
            self.ascii |= 1 << c;
            c += 1;
        }
        if c <= last {
            self.wide.push((c, last));
        }
    }

    /// Adds all of another set; call [`Set::tidy`] after the last one.
    pub(crate) fn add(&mut self, other: &Set) {
        self.ascii |= other.ascii;
        self.wide.extend_from_slice(&other.wide);
    }

    /// Sorts and joins the ranges.
    pub(crate) fn tidy(&mut self) {
        self.wide.sort_unstable();
        let mut out: Vec<(u32, u32)> = Vec::with_capacity(self.wide.len());
        for &(first, last) in &self.wide {
            match out.last_mut() {
                Some(prev) if first <= prev.1.saturating_add(1) => prev.1 = prev.1.max(last),
                _ => out.push((first, last)),
            }
        }
        self.wide = out;
    }

    /// All characters that are not in the set.
    pub(crate) fn negated(&self) -> Set {
        let mut wide = Vec::with_capacity(self.wide.len() + 1);
        let mut next = 0x80;
        for &(first, last) in &self.wide {
            if first > next {
                wide.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= LAST {
            wide.push((next, LAST));
        }
        Set { ascii: !self.ascii, wide }
    }

    /// Whether the code point is in the set.
    pub(crate) fn has(&self, c: u32) -> bool {
        if c < 0x80 { self.ascii >> c & 1 == 1 } else { within(&self.wide, c) }
    }

    /// Whether any code point of an inclusive range is in the set.
    fn touches(&self, first: u32, last: u32) -> bool {
        if first < 0x80 && (first..=last.min(0x7f)).any(|c| self.has(c)) {
            return true;
        }
        let at = self.wide.partition_point(|r| r.1 < first);
        self.wide.get(at).is_some_and(|r| r.0 <= last)
    }

    /// The only member, if there is exactly one.
    pub(crate) fn single(&self) -> Option<u32> {
        match (self.ascii.count_ones(), self.wide.as_slice()) {
            (1, []) => Some(self.ascii.trailing_zeros()),
            (0, [(first, last)]) if first == last => Some(*first),
            _ => None,
        }
    }
}

/// Whether `c` lies in one of the sorted inclusive ranges.
pub(crate) fn within(ranges: &[(u32, u32)], c: u32) -> bool {
    let at = ranges.partition_point(|r| r.1 < c);
    ranges.get(at).is_some_and(|r| r.0 <= c)
}

/// Whether the character is a word character; `ascii` is Python's `a` flag.
pub(crate) fn is_word(c: u32, ascii: bool) -> bool {
    if c < 0x80 { ASCII_WORD >> c & 1 == 1 } else { !ascii && within(WORD, c) }
}

/// How letters are compared when case is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// Case counts.
    None,
    /// Only ASCII letters fold.
    Ascii,
    /// Unicode's simple lower case.
    Unicode,
}

/// The lower case of a character, as Python's engine takes it.
pub(crate) fn lower(c: u32, fold: Fold) -> u32 {
    match fold {
        Fold::None => c,
        Fold::Ascii => ascii_lower(c),
        Fold::Unicode if c < 0x80 => ascii_lower(c),
        Fold::Unicode => {
            let at = LOWER.partition_point(|r| r.1 < c);
            match LOWER.get(at) {
                Some(&(first, _, step, difference)) if first <= c && (c - first).is_multiple_of(step) => {
                    c.saturating_add_signed(difference)
                }
                _ => c,
            }
        }
    }
}

fn ascii_lower(c: u32) -> u32 {
    if (0x41..=0x5a).contains(&c) { c + 32 } else { c }
}

/// Whether the character has another case.
fn is_cased(c: u32, fold: Fold) -> bool {
    match fold {
        Fold::None => false,
        Fold::Ascii => (0x41..=0x5a).contains(&ascii_upper(c)),
        Fold::Unicode => within(CASED, c),
    }
}

fn ascii_upper(c: u32) -> u32 {
    if (0x61..=0x7a).contains(&c) { c - 32 } else { c }
}

/// The characters that have a different lower case: first, last, step, and what makes them lower.
fn uppers(fold: Fold) -> &'static [(u32, u32, u32, i32)] {
    if fold == Fold::Ascii { &[(0x41, 0x5a, 1, 32)] } else { LOWER }
}

/// Calls `each` with every character of one row of [`uppers`] and its lower case.
fn for_each_in(&(first, last, step, difference): &(u32, u32, u32, i32), mut each: impl FnMut(u32, u32)) {
    let mut c = first;
    while c <= last {
        each(c, c.saturating_add_signed(difference));
        c += step;
    }
}

/// One written member of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    Char(u32),
    Range(u32, u32),
    Class(Class, bool),
}

/// The characters a class matches, given its members and flags.
///
/// Source: `re._compiler._optimize_charset` and the engine's `IN_UNI_IGNORE`:
/// with case ignored, a character matches if its lower case is among the
/// folded members, and negation comes last.
pub(crate) fn class_set(members: &[Member], negated: bool, fold: Fold, ascii: bool) -> Set {
    let mut set = Set::default();
    let mut cased = false;
    for member in members {
        match *member {
            Member::Char(c) => {
                set.add_range(c, c);
                cased |= is_cased(c, fold);
                if c > 0xffff && members.len() > 1 {
                    // CPython keeps such a member as written, but compares lower case.
                    cased |= fold != Fold::None;
                } else if fold != Fold::None {
                    fold_into(&mut set, c, c, fold);
                }
            }
            Member::Range(first, last) => {
                set.add_range(first, last);
                if fold != Fold::None {
                    cased = cased || last > 0xffff || range_is_cased(first, last, fold);
                    fold_into(&mut set, first, last, fold);
                }
            }
            Member::Class(class, negated) => {
                let members = class.set(ascii);
                set.add(&if negated { members.negated() } else { members });
            }
        }
    }
    set.tidy();
    if cased {
        set = lower_is_in(&set, fold);
    }
    if negated { set.negated() } else { set }
}

fn range_is_cased(first: u32, last: u32, fold: Fold) -> bool {
    match fold {
        Fold::None => false,
        Fold::Ascii => (first..=last.min(0x7f)).any(|c| is_cased(c, fold)),
        Fold::Unicode => {
            let at = CASED.partition_point(|r| r.1 < first);
            CASED.get(at).is_some_and(|r| r.0 <= last)
        }
    }
}

/// Adds the lower cases of a range of members, and what shares an upper case with them.
fn fold_into(set: &mut Set, first: u32, last: u32, fold: Fold) {
    let mut folded: Vec<u32> = Vec::new();
    if first == last {
        folded.push(lower(first, fold));
    } else {
        for row in uppers(fold).iter().filter(|row| row.0 <= last && row.1 >= first) {
            for_each_in(row, |upper, low| {
                if (first..=last).contains(&upper) {
                    folded.push(low);
                }
            });
        }
    }
    if fold == Fold::Unicode {
        for &(a, b) in SAME_UPPER {
            // A member that is its own lower case counts as folded too.
            if folded.contains(&a) || ((first..=last).contains(&a) && lower(a, fold) == a) {
                set.add_range(b, b);
            }
        }
    }
    for c in folded {
        set.add_range(c, c);
    }
}

/// The characters whose lower case is in the set.
fn lower_is_in(set: &Set, fold: Fold) -> Set {
    // Members that differ from their lower case go out, those whose lower case is in come in.
    let (mut out_of, mut into) = (Set::default(), Set::default());
    for row in uppers(fold) {
        let lower = |c: u32| c.saturating_add_signed(row.3);
        // Most sets are small, and most rows have nothing to do with them.
        if !set.touches(row.0, row.1) && !set.touches(lower(row.0), lower(row.1)) {
            continue;
        }
        for_each_in(row, |upper, low| match (set.has(upper), set.has(low)) {
            (true, false) => out_of.add_range(upper, upper),
            (false, true) => into.add_range(upper, upper),
            _ => {}
        });
    }
    let mut out = set.clone();
    if out_of != Set::default() {
        out_of.tidy();
        out_of.add(&out.negated());
        out_of.tidy();
        out = out_of.negated();
    }
    out.add(&into);
    out.tidy();
    out
}

/// The characters a literal matches under the given folding.
pub(crate) fn literal_set(c: u32, fold: Fold) -> Set {
    if !is_cased(c, fold) {
        return Set::one(c);
    }
    class_set(&[Member::Char(c)], false, fold, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, character by character.
    fn one_by_one(set: &Set, fold: Fold) -> Set {
        let mut out = Set::default();
        for c in (0..=LAST).filter(|c| set.has(lower(*c, fold))) {
            out.add_range(c, c);
        }
        out.tidy();
        out
    }

    #[test]
    fn case_is_ignored_for_each_character_alike() {
        let mut sets: Vec<Set> = Vec::new();
        let mut of = |ranges: &[(u32, u32)]| {
            let mut set = Set::default();
            ranges.iter().for_each(|(first, last)| set.add_range(*first, *last));
            set.tidy();
            sets.push(set.negated());
            sets.push(set);
        };
        of(&[]);
        of(&[(0, LAST)]);
        "aAkKsSiIzZ[`_9\u{130}\u{131}\u{17f}\u{212a}\u{1e9e}\u{df}éÉ\u{10400}\u{10428}\u{1c4}\u{1c5}\u{1c6}\u{2c62}"
            .chars()
            .for_each(|c| of(&[(c.into(), c.into())]));
        of(&[(0x41, 0x5a)]);
        of(&[(0x61, 0x7a)]);
        of(&[(0x50, 0x200)]);
        of(&[(0x3b1, 0x3c9), (0x410, 0x420)]);
        of(&[(0x100, 0x100), (0x102, 0x102), (0x131, 0x2000)]);
        of(&[(0xd8, 0xdf), (0x10, 0x20), (0xa640, 0x10410)]);
        for set in sets {
            for fold in [Fold::Ascii, Fold::Unicode] {
                assert_eq!(lower_is_in(&set, fold), one_by_one(&set, fold), "{set:?} {fold:?}");
            }
        }
    }
}
