//! Which bytes a match can begin with.

use crate::tree::Node;

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// The set without a byte.
    pub(crate) const EMPTY: ByteSet = ByteSet([0; 4]);
    /// The set of all bytes.
    pub(crate) const FULL: ByteSet = ByteSet([u64::MAX; 4]);

    /// Whether the byte is in the set.
    pub fn has(&self, byte: u8) -> bool {
        let word = self.0.get(usize::from(byte >> 6)).copied().unwrap_or(0);
        word >> (byte & 63) & 1 == 1
    }

    /// Number of bytes in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no byte is in the set.
    pub fn is_empty(&self) -> bool {
        *self == ByteSet::EMPTY
    }

    pub(crate) fn add(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    pub(crate) fn add_all(&mut self, other: ByteSet) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    pub(crate) fn meets(&self, other: ByteSet) -> bool {
        !self.and(other).is_empty()
    }

    pub(crate) fn and(mut self, other: ByteSet) -> ByteSet {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        self
    }

    /// The only byte, if there is exactly one.
    pub(crate) fn only(&self) -> Option<u8> {
        if self.len() == 1 { (0..=u8::MAX).find(|byte| self.has(*byte)) } else { None }
    }

    /// The first bytes of the UTF-8 forms of a set of characters.
    pub(crate) fn leads(set: &crate::set::Set) -> ByteSet {
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        let mut out = ByteSet([half(set.ascii), half(set.ascii >> 64), 0, 0]);
        for &(first, last) in &set.wide {
            for byte in lead(first)..=lead(last) {
                out.add(byte);
            }
        }
        out
    }
}

/// The first byte of a character's UTF-8 form; grows with the character.
pub(crate) fn lead(c: u32) -> u8 {
    let byte = match c {
        0..0x80 => c,
        0x80..0x800 => 0xc0 | c >> 6,
        0x800..0x1_0000 => 0xe0 | c >> 12,
        _ => 0xf0 | c >> 18,
    };
    u8::try_from(byte).unwrap_or(u8::MAX)
}

/// What a part can begin with: bytes it may consume first, and whether it may consume none.
#[derive(Clone, Copy, Debug)]
struct First {
    bytes: ByteSet,
    nullable: bool,
}

/// The bytes that the first character of a match can begin with; nothing if a match may be empty.
///
/// May name bytes that no match begins with, never the other way round.
pub(crate) fn first_bytes(root: &Node) -> Option<ByteSet> {
    let first = first(root);
    (!first.nullable && first.bytes != ByteSet::FULL).then_some(first.bytes)
}

/// Most characters of a head.
const HEAD_MAX: usize = 8;

/// What the first characters of a match can begin with, one set for each, as far as each match has them.
pub(crate) fn head(root: &Node) -> Vec<ByteSet> {
    let mut out = Vec::new();
    add_head(root, &mut out);
    out
}

/// Adds the characters of a part; whether those behind it are known by their place, too.
fn add_head(node: &Node, out: &mut Vec<ByteSet>) -> bool {
    match node {
        Node::Char(_) | Node::Set(_) if out.len() < HEAD_MAX => {
            out.push(first(node).bytes);
            true
        }
        Node::At(_) | Node::Look { .. } => true,
        Node::Concat(items) => items.iter().all(|item| add_head(item, out)),
        Node::Group(_, body) | Node::Atomic(body) => add_head(body, out),
        Node::Repeat { min, max, body, .. } => {
            // Each turn adds a character, or none of them does.
            (0..*min).take(HEAD_MAX).all(|_| add_head(body, out)) && min == max
        }
        _ => false,
    }
}

fn first(node: &Node) -> First {
    let nothing = First { bytes: ByteSet::EMPTY, nullable: true };
    match node {
        Node::Char(c) => {
            let mut bytes = ByteSet::EMPTY;
            bytes.add(lead(*c));
            First { bytes, nullable: false }
        }
        Node::Set(set) => First { bytes: ByteSet::leads(set), nullable: false },
        Node::At(_) | Node::Look { .. } => nothing,
        Node::Concat(items) => {
            let mut sum = nothing;
            for item in items {
                let one = first(item);
                sum.bytes.add_all(one.bytes);
                if !one.nullable {
                    sum.nullable = false;
                    break;
                }
            }
            sum
        }
        Node::Alt(items) => {
            let mut sum = First { bytes: ByteSet::EMPTY, nullable: false };
            for one in items.iter().map(first) {
                sum.bytes.add_all(one.bytes);
                sum.nullable |= one.nullable;
            }
            sum
        }
        Node::Repeat { min, max, body, .. } => {
            let mut one = first(body);
            one.nullable |= *min == 0;
            if *max == 0 { nothing } else { one }
        }
        Node::Group(_, body) | Node::Atomic(body) => first(body),
        Node::Backref(..) => First { bytes: ByteSet::FULL, nullable: true },
        Node::Cond { yes, no, .. } => {
            let (yes, no) = (first(yes), first(no));
            let mut bytes = yes.bytes;
            bytes.add_all(no.bytes);
            First { bytes, nullable: yes.nullable || no.nullable }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Flags, Regex};

    /// The head of a pattern, each set as those of a few characters that it holds.
    fn head(pattern: &str) -> Vec<String> {
        let regex = Regex::new(pattern, Flags::default()).expect("a pattern");
        regex
            .head()
            .iter()
            .map(|set| " +-1ax".chars().filter(|c| u8::try_from(*c).is_ok_and(|b| set.has(b))).collect())
            .collect()
    }

    #[test]
    fn a_head_goes_as_far_as_places_are_known() {
        assert_eq!(head(r"^\s[+-]\d{2} \S+"), [" ", "+-", "1", "1", " ", "+-1ax"]);
        assert_eq!(head(r"^(?:a(?=x)\b(?P<n>x)){2}1?x"), ["a", "x", "a", "x"]);
        assert_eq!(head(r"^a(?:x|11)a"), ["a"]);
        assert_eq!(head(r"^a{9}"), ["a"; 8]);
        assert_eq!(head(r"^(?:\b){100000000}a"), ["a"]);
        assert!(head(r"^a?x").is_empty());
        assert!(head(r"ax").is_empty());
        assert!(head(r"(?m)^ax").is_empty());
    }
}
