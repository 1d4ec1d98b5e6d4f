//! One counted attempt, and what the matcher hands to the judge.

use std::fmt;
use std::sync::Arc;

use crate::block::{Position, SourceKey};
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::matcher::{known_name, known_place};
use crate::time::Timestamp;

/// Who failed, as far as the line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Known from the line itself.
    Id(FailureId),
    /// A host name whose addresses must be asked for first (`usedns` yes or warn).
    Name(Box<str>),
}

/// The value of a captured group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupValue {
    /// One text.
    Text(Box<str>),
    /// Several, such as the users of one connection.
    List(Vec<Box<str>>),
}

/// Captured groups in one piece of memory, as they travel from the matcher to the judge.
///
/// In the order in which they were put in, which is by name. [`Groups::to_list`] unpacks them.
#[derive(Clone)]
pub struct Groups(Packed);

/// So many bytes need no memory of their own; most groups have fewer.
const SHORT_BYTES: usize = 78;

/// Where the bytes are.
#[derive(Clone)]
enum Packed {
    Short { len: u8, bytes: [u8; SHORT_BYTES] },
    Long(Box<[u8]>),
}

/// Begins a group that is one text.
const TEXT: u8 = 1;
/// Begins a group that is several texts.
const LIST: u8 = 2;
/// From here on: begins a group that is one text, whose name is a known one (its place is added).
const KNOWN: u8 = 16;

impl Groups {
    fn of(packed: &[u8]) -> Groups {
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..packed.len()), u8::try_from(packed.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(packed);
                Groups(Packed::Short { len, bytes })
            }
            _ => Groups(Packed::Long(packed.into())),
        }
    }

    fn packed(&self) -> &[u8] {
        match &self.0 {
            Packed::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Packed::Long(bytes) => bytes,
        }
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.packed().is_empty()
    }

    /// What they take of memory beside their own size, in bytes.
    pub fn bytes(&self) -> usize {
        if let Packed::Long(bytes) = &self.0 { bytes.len() } else { 0 }
    }

    /// Each with a copy of its name and value.
    pub fn to_list(&self) -> Vec<(Arc<str>, GroupValue)> {
        self.iter().map(|(name, value)| (Arc::from(name), value)).collect()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, GroupValue)> {
        let mut rest = Unpack(self.packed());
        std::iter::from_fn(move || {
            let kind = rest.byte()?;
            if let Some(place) = kind.checked_sub(KNOWN) {
                return Some((known_name(place)?, GroupValue::Text(rest.text()?.into())));
            }
            let name = rest.text()?;
            let value = match kind {
                TEXT => GroupValue::Text(rest.text()?.into()),
                _ => {
                    let count = rest.number()?;
                    GroupValue::List((0..count).map(|_| rest.text().map(Box::from)).collect::<Option<_>>()?)
                }
            };
            Some((name, value))
        })
    }
}

impl Default for Groups {
    fn default() -> Groups {
        Groups::of(&[])
    }
}

impl PartialEq for Groups {
    fn eq(&self, other: &Groups) -> bool {
        self.packed() == other.packed()
    }
}

impl Eq for Groups {}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>> FromIterator<(N, GroupValue)> for Groups {
    fn from_iter<I: IntoIterator<Item = (N, GroupValue)>>(groups: I) -> Groups {
        let mut packer = Packer::default();
        for (name, value) in groups {
            match value {
                GroupValue::Text(text) => packer.text(name.as_ref(), &text),
                GroupValue::List(list) => packer.list(name.as_ref(), list.iter().map(|text| &**text)),
            }
        }
        packer.finish()
    }
}

/// Puts groups together; to be used again and again, so that [`Groups`] mostly cost no allocation.
#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    /// Adds a group that is one text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        if let Some(place) = known_place(name) {
            return self.known(place, text);
        }
        self.0.push(TEXT);
        self.put(name);
        self.put(text);
    }

    /// Adds a group that is one text and has the known name of this place.
    #[inline]
    pub(crate) fn known(&mut self, place: u8, text: &str) {
        self.0.push(KNOWN + place);
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds a group that is several texts.
    pub(crate) fn list<'t>(&mut self, name: &str, texts: impl ExactSizeIterator<Item = &'t str>) {
        self.0.push(LIST);
        self.put(name);
        self.number(texts.len());
        texts.for_each(|text| self.put(text));
    }

    /// What was added since the last time.
    pub(crate) fn finish(&mut self) -> Groups {
        let groups = Groups::of(&self.0);
        self.0.clear();
        groups
    }

    /// Seven bits a byte, the lowest first; the last byte is below 128.
    #[inline]
    fn number(&mut self, number: usize) {
        let mut rest = number;
        while let Some(more) = (rest >> 7 > 0).then_some(rest >> 7) {
            self.0.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest = more;
        }
        self.0.push(u8::try_from(rest & 0x7f).unwrap_or(0));
    }

    fn put(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// What is left to unpack.
struct Unpack<'g>(&'g [u8]);

impl<'g> Unpack<'g> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                break;
            }
        }
        Some(number)
    }

    fn text(&mut self) -> Option<&'g str> {
        let len = self.number()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

/// The lines of a failure, oldest first, as they stood in the log. Mostly one, which needs no list.
#[derive(Clone, Default)]
pub struct Matches(Lines);

#[derive(Clone, Default)]
enum Lines {
    #[default]
    None,
    One(Box<str>),
    /// Any number.
    Many(Vec<Box<str>>),
}

impl Matches {
    /// Takes all lines out of a list, which keeps its memory if there is but one.
    pub(crate) fn out_of(list: &mut Vec<Box<str>>) -> Matches {
        if list.len() > 1 {
            return Matches(Lines::Many(std::mem::take(list)));
        }
        Matches(list.pop().map_or(Lines::None, Lines::One))
    }

    /// Appends all but the first `skip` lines to a list.
    pub(crate) fn append_to(self, skip: usize, list: &mut Vec<Box<str>>) {
        match self.0 {
            Lines::One(line) if skip == 0 => {
                if list.capacity() == 0 {
                    list.reserve_exact(1);
                }
                list.push(line);
            }
            Lines::Many(lines) => list.extend(lines.into_iter().skip(skip)),
            Lines::None | Lines::One(_) => {}
        }
    }

    /// As a list.
    pub fn into_vec(self) -> Vec<Box<str>> {
        match self.0 {
            Lines::None => Vec::new(),
            Lines::One(line) => vec![line],
            Lines::Many(lines) => lines,
        }
    }
}

impl std::ops::Deref for Matches {
    type Target = [Box<str>];

    fn deref(&self) -> &[Box<str>] {
        match &self.0 {
            Lines::None => &[],
            Lines::One(line) => std::slice::from_ref(line),
            Lines::Many(lines) => lines,
        }
    }
}

impl From<Vec<Box<str>>> for Matches {
    fn from(mut list: Vec<Box<str>>) -> Matches {
        Matches::out_of(&mut list)
    }
}

impl FromIterator<Box<str>> for Matches {
    fn from_iter<I: IntoIterator<Item = Box<str>>>(lines: I) -> Matches {
        lines.into_iter().collect::<Vec<_>>().into()
    }
}

impl PartialEq for Matches {
    fn eq(&self, other: &Matches) -> bool {
        **self == **other
    }
}

impl Eq for Matches {}

impl fmt::Debug for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One counted attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who failed.
    pub who: Who,
    /// The address for firewalls where the id is something else.
    pub ip: Option<Net>,
    /// When, as the log claims; never later than the time it was judged.
    pub time: Timestamp,
    /// 0-based index of the failregex that matched.
    pub regex: u32,
    /// Place behind the line that completed the failure.
    pub place: Position,
    /// The matched lines (oldest first) as they stood in the log, without line end.
    pub matches: Matches,
    /// Captured groups by name, sorted by name; without the id groups' own copies.
    pub groups: Groups,
}

/// What one jail's matcher found in one block (or part of one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose matcher.
    pub jail: JailName,
    /// Which source the block came from.
    pub source: SourceKey,
    /// Every line of the source before this place has been judged with this batch.
    pub to: Position,
    /// In line order.
    pub failures: Vec<Failure>,
    /// Number of lines looked at.
    pub lines: u32,
    /// Copied from [`crate::Block::replay`]: counts change, nothing is decided.
    pub replay: bool,
    /// Which compiled configuration of the jail made it; grows with each reload.
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out() {
        let list: Vec<(Arc<str>, GroupValue)> = vec![
            ("a".into(), GroupValue::Text("".into())),
            ("user".into(), GroupValue::Text("r\u{f6}\u{f6}t".into())),
            ("users".into(), GroupValue::List(vec!["x".into(), "".into()])),
            ("z".into(), GroupValue::List(Vec::new())),
            ("zz".into(), GroupValue::Text("x".repeat(700).into())),
        ];
        let groups: Groups = list.iter().cloned().collect();
        assert_eq!(groups.to_list(), list);
        let short: Groups = list.iter().take(4).cloned().collect();
        assert_eq!(short.to_list().as_slice(), list.get(..4).unwrap());
        assert!(short.bytes() == 0 && groups.bytes() > 700 && short != groups);
        assert!(Groups::default().to_list().is_empty() && Groups::default().is_empty() && !groups.is_empty());
    }
}
