//! The commonest nodes once more, in little room.
//!
//! A pattern's nodes are spread over many cache lines, and most of what a search waits for is the next
//! node. So the run loop looks at steps, of which nearly three share a line, and at the node itself
//! only where a step says so.

use super::node::{Node, Run, Word};

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
    Set {
        mask: u64,
        next: u32,
    },
    Take {
        mask: u64,
        next: u32,
        some: bool,
    },
    /// A [`Run`] that is plain.
    Most {
        mask: u64,
        follow: u64,
        next: u32,
        some: bool,
        at_end: bool,
    },
    TakeLine {
        some: bool,
        next: u32,
    },
    Octets {
        next: u32,
    },
    End {
        next: u32,
    },
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
    SaveUndo {
        slot: u32,
        next: u32,
    },
}

impl Step {
    pub(super) fn of(node: &Node) -> Step {
        match *node {
            Node::Fail => Step::Fail,
            Node::Match | Node::Done => Step::Match,
            Node::Word { word, next } if (1..=8).contains(&word.len) => {
                Step::Word { value: word.value, or: word.or, next, len: word.len, unused: unused(word) }
            }
            Node::Set { mask, next } => Step::Set { mask, next },
            Node::Take { mask, some, next } => Step::Take { mask, next, some },
            Node::Run(Run { plain: true, mask, follow, next, min, at_end, .. }) => {
                Step::Most { mask, follow, next, some: min == 1, at_end }
            }
            Node::TakeLine { some, next } => Step::TakeLine { some, next },
            Node::Octets { next } => Step::Octets { next },
            Node::End { next } => Step::End { next },
            Node::Table { base, end } => Step::Table { base, end },
            Node::Split { first, second } => Step::Split { first, second },
            Node::SplitWord { word, skip, first, second } if word.or == 0 && (1..=8).contains(&word.len) => {
                Step::SplitWord { value: word.value, first, second, skip, unused: unused(word) }
            }
            Node::Save { slot, next } => Step::Save { slot, next },
            Node::SaveUndo { slot, next } => Step::SaveUndo { slot, next },
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
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => ((u64::from_le_bytes(*chunk) | or) ^ value).wrapping_shl(u32::from(unused)) == 0,
        None => is_text_near_end(bytes, at, value, or, unused),
    }
}

#[cold]
fn is_text_near_end(bytes: &[u8], at: usize, value: u64, or: u64, unused: u8) -> bool {
    let len = 8 - usize::from(unused / 8);
    let Some(rest) = bytes.get(at..at + len) else { return false };
    let mut chunk = [0; 8];
    for (to, from) in chunk.iter_mut().zip(rest) {
        *to = *from;
    }
    ((u64::from_le_bytes(chunk) | or) ^ value).wrapping_shl(u32::from(unused)) == 0
}
