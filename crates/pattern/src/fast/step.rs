//! The commonest nodes once more, in little room.
//!
//! A pattern's nodes are spread over many cache lines, and most of what a search waits for is the next
//! node. So the run loop looks at steps, of which nearly three share a line, and at the node itself
//! only where a step says so.

use super::node::{Keep, Node, Run, Word};
use crate::tree::FOREVER;

/// One step; those that are the same as a [`Node`] are explained there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Look at the node.
    Node,
    Fail,
    Match,
    /// `unused`: how many upper bits of eight bytes are not compared.
    Word {
        value: u64,
        or: u64,
        next: u32,
        len: u8,
        unused: u8,
    },
    /// A literal, not folded, and the table behind it.
    WordTable {
        value: u64,
        base: u32,
        end: u32,
        len: u8,
        unused: u8,
    },
    Set {
        mask: u64,
        next: u32,
    },
    Take {
        mask: u64,
        next: u32,
        some: bool,
    },
    TakeTable {
        mask: u64,
        base: u32,
        end: u32,
        some: bool,
    },
    /// A [`Run`] that is plain, has an upper limit, and gives nothing back.
    Few {
        mask: u64,
        next: u32,
        min: u8,
        max: u8,
    },
    /// A [`Run`] that is plain and gives back one by one; without an upper limit if that is 0.
    Most {
        mask: u64,
        follow: u64,
        next: u32,
        min: u8,
        max: u8,
        at_end: bool,
    },
    TakeLine {
        some: bool,
        next: u32,
    },
    /// At least one byte, up to the line's end, to be saved, and the text's end behind it: `(.+)$`
    Rest {
        slot: u32,
    },
    Octets {
        next: u32,
    },
    End {
        next: u32,
    },
    /// An end with nothing behind it.
    Last,
    Table {
        base: u32,
        end: u32,
    },
    Split {
        first: u32,
        second: u32,
    },
    /// Its literal is not folded.
    SplitWord {
        value: u64,
        first: u32,
        second: u32,
        skip: u8,
        unused: u8,
    },
    Save {
        slot: u32,
        next: u32,
    },
    SaveTable {
        slot: u32,
        base: u32,
        end: u32,
    },
    SaveUndo {
        slot: u32,
        next: u32,
    },
    SaveUndoTable {
        slot: u32,
        base: u32,
        end: u32,
    },
}

impl Step {
    /// The step of one of these nodes. A table that follows it is taken in: the byte it looks at is at hand.
    pub(super) fn of(node: &Node, nodes: &[Node]) -> Step {
        let table = |next: u32| match nodes.get(next as usize) {
            Some(&Node::Table { base, end }) => Some((base, end)),
            _ => None,
        };
        let is_last = |at: u32| match nodes.get(at as usize) {
            Some(&Node::End { next }) => matches!(nodes.get(next as usize), Some(Node::Match)),
            _ => false,
        };
        match *node {
            Node::Fail => Step::Fail,
            Node::Match | Node::Done => Step::Match,
            Node::Word { word, next } if (1..=8).contains(&word.len) => {
                let Word { value, or, len, .. } = word;
                match table(next) {
                    Some((base, end)) if or == 0 => Step::WordTable { value, base, end, len, unused: unused(word) },
                    _ => Step::Word { value, or, next, len, unused: unused(word) },
                }
            }
            Node::Set { mask, next } => Step::Set { mask, next },
            Node::Take { mask, some, next } => match table(next) {
                Some((base, end)) => Step::TakeTable { mask, base, end, some },
                None => Step::Take { mask, next, some },
            },
            Node::Run(Run { plain: true, mask, follow, next, min, max, at_end, keep, .. }) => {
                let max = if max == FOREVER { Some(0) } else { u8::try_from(max).ok().filter(|max| *max > 0) };
                match (keep, u8::try_from(min), max) {
                    (Keep::Most, Ok(min), Some(max)) => Step::Most { mask, follow, next, min, max, at_end },
                    (Keep::All, Ok(min), Some(max)) if max > 0 => Step::Few { mask, next, min, max },
                    _ => Step::Node,
                }
            }
            Node::TakeLine { some, next } => match nodes.get(next as usize) {
                Some(&Node::Save { slot, next }) if some && is_last(next) => Step::Rest { slot },
                _ => Step::TakeLine { some, next },
            },
            Node::Octets { next } => Step::Octets { next },
            Node::End { next } if matches!(nodes.get(next as usize), Some(Node::Match)) => Step::Last,
            Node::End { next } => Step::End { next },
            Node::Table { base, end } => Step::Table { base, end },
            Node::Split { first, second } => Step::Split { first, second },
            Node::SplitWord { word, skip, first, second } if word.or == 0 && (1..=8).contains(&word.len) => {
                Step::SplitWord { value: word.value, first, second, skip, unused: unused(word) }
            }
            Node::Save { slot, next } => match table(next) {
                Some((base, end)) => Step::SaveTable { slot, base, end },
                None => Step::Save { slot, next },
            },
            Node::SaveUndo { slot, next } => match table(next) {
                Some((base, end)) => Step::SaveUndoTable { slot, base, end },
                None => Step::SaveUndo { slot, next },
            },
            _ => Step::Node,
        }
    }
}

fn unused(word: Word) -> u8 {
    64 - 8 * word.len.min(8)
}

/// Whether bytes stand at a position.
#[inline(always)]
pub(super) fn is_text(bytes: &[u8], at: usize, value: u64, or: u64, unused: u8) -> bool {
    match bytes.get(at..at + 8).and_then(|eight| eight.first_chunk::<8>()) {
        Some(chunk) => ((u64::from_le_bytes(*chunk) | or) ^ value).wrapping_shl(u32::from(unused)) == 0,
        None => is_text_near_end(bytes, at, value, or, unused),
    }
}

/// The same in the last bytes of a text.
#[inline(never)]
fn is_text_near_end(bytes: &[u8], at: usize, value: u64, or: u64, unused: u8) -> bool {
    let len = 8 - usize::from(unused / 8);
    if at + len > bytes.len() {
        return false;
    }
    let chunk = match bytes.last_chunk::<8>() {
        // As if zeros followed.
        Some(chunk) => u64::from_le_bytes(*chunk) >> (8 * (at + 8 - bytes.len())),
        None => {
            let mut chunk = [0; 8];
            for (to, from) in chunk.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
                *to = *from;
            }
            u64::from_le_bytes(chunk)
        }
    };
    ((chunk | or) ^ value).wrapping_shl(u32::from(unused)) == 0
}
