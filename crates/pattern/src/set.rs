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

/// Calls `each` with every character that has a different lower case.
fn for_each_upper(fold: Fold, mut each: impl FnMut(u32, u32)) {
    if fold == Fold::Ascii {
        (0x41..=0x5a).for_each(|c| each(c, c + 32));
        return;
    }
    for &(first, last, step, difference) in LOWER {
        let mut c = first;
        while c <= last {
            each(c, c.saturating_add_signed(difference));
            c += step;
        }
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
        for_each_upper(fold, |upper, low| {
            if (first..=last).contains(&upper) {
                folded.push(low);
            }
        });
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
    let mut uppers = Set::default();
    let mut wanted: Vec<u32> = Vec::new();
    for_each_upper(fold, |upper, low| {
        uppers.add_range(upper, upper);
        if set.has(low) {
            wanted.push(upper);
        }
    });
    uppers.tidy();
    // Members that differ from their lower case go out, then those whose lower case is in come in.
    let mut out = set.negated();
    out.add(&uppers);
    out.tidy();
    let mut out = out.negated();
    for c in wanted {
        out.add_range(c, c);
    }
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
