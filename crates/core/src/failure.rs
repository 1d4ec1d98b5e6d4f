//! One counted attempt, and what the matcher hands to the judge.

use std::fmt;
use std::sync::Arc;

use crate::block::{Position, SourceKey};
use crate::id::{FailureId, Net};
use crate::jail::JailName;
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
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Groups(Box<[u8]>);

/// Begins a group that is one text.
const TEXT: u8 = 1;
/// Begins a group that is several texts.
const LIST: u8 = 2;

impl Groups {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they take of memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Each with a copy of its name and value.
    pub fn to_list(&self) -> Vec<(Arc<str>, GroupValue)> {
        self.iter().map(|(name, value)| (Arc::from(name), value)).collect()
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, GroupValue)> {
        let mut rest = Packed(&self.0);
        std::iter::from_fn(move || {
            let kind = rest.byte()?;
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

/// Puts groups together; to be used again and again, so that each [`Groups`] costs one allocation.
#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    /// Adds a group that is one text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.0.push(TEXT);
        self.put(name);
        self.put(text);
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
        let groups = Groups(self.0.as_slice().into());
        self.0.clear();
        groups
    }

    fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn put(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

/// What is left to unpack.
struct Packed<'g>(&'g [u8]);

impl<'g> Packed<'g> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number(&mut self) -> Option<usize> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        usize::try_from(u32::from_le_bytes(*number)).ok()
    }

    fn text(&mut self) -> Option<&'g str> {
        let len = self.number()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
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
    pub matches: Vec<Box<str>>,
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
        ];
        let groups: Groups = list.iter().cloned().collect();
        assert_eq!(groups.to_list(), list);
        assert!(Groups::default().to_list().is_empty() && Groups::default().is_empty() && !groups.is_empty());
    }
}
