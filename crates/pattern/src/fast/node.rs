//! The nodes of a program.

use std::sync::Arc;

use super::memo::Places;
use super::step::Step;
use crate::set::Fold;
use crate::tree::Anchor;

/// The node that never matches.
pub(super) const FAIL: u32 = 0;

/// How a run treats what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Takes all and gives nothing back.
    All,
    /// Takes all and gives back one by one.
    Most,
    /// Takes as little as possible.
    Least,
}

/// A run of single characters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Classes of the bytes that belong to the run.
    pub(super) mask: u64,
    /// Classes of the bytes that can follow it.
    pub(super) follow: u64,
    pub(super) next: u32,
    /// The literal that follows it, as a node; the node that never matches if none does.
    pub(super) word: u32,
    /// The literal that ends it wherever it stands, as a node; the node that never matches if none does.
    pub(super) stop: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Members above ASCII as index + 1; 0 if the mask says all.
    pub(super) wide: u16,
    pub(super) keep: Keep,
    /// What follows may match at the end of the text.
    pub(super) at_end: bool,
    /// The run is the rest of the line.
    pub(super) line: bool,
    /// Of bytes of an ASCII text, with nothing more to it than a set, its limits and what can follow.
    pub(super) plain: bool,
}

/// Up to eight bytes in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) value: u64,
    pub(super) or: u64,
    pub(super) mask: u64,
    pub(super) len: u8,
}

impl Word {
    /// With another one behind it; both have at most eight bytes together.
    pub(super) fn joined(self, behind: Word) -> Word {
        let by = 8 * u32::from(self.len);
        Word {
            value: self.value | behind.value.unbounded_shl(by),
            or: self.or | behind.or.unbounded_shl(by),
            mask: self.mask | behind.mask.unbounded_shl(by),
            len: self.len + behind.len,
        }
    }
}

/// One step of a program. Where a node has a `next`, that is where a success goes on.
///
/// Until a program is finished, masks are indices of byte sets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    Fail,
    Match,
    /// The end of a look-around's or an atomic group's body.
    Done,
    Word {
        word: Word,
        next: u32,
    },
    Set {
        mask: u64,
        next: u32,
    },
    /// One character, some of whose members are above ASCII.
    Wide {
        mask: u64,
        wide: u16,
        next: u32,
    },
    Run(Run),
    /// A run of whole bytes to its end, without a way back.
    Take {
        mask: u64,
        /// At least one.
        some: bool,
        next: u32,
    },
    /// The rest of the line, without a way back.
    TakeLine {
        some: bool,
        next: u32,
    },
    /// Three times one to three digits and a dot.
    Octets {
        next: u32,
    },
    /// The start of the text.
    Start {
        next: u32,
    },
    /// `$`
    End {
        next: u32,
    },
    /// Alternatives by index, until the program is finished.
    Choice(u32),
    /// The next node by the class of the next byte, or `end` at the end.
    Table {
        base: u32,
        end: u32,
    },
    Split {
        first: u32,
        second: u32,
    },
    /// The first way begins with a literal: without it only the second one is left.
    SplitWord {
        word: Word,
        /// Behind so many bytes the first way goes on at `first`.
        skip: u8,
        first: u32,
        second: u32,
    },
    /// A turn of a loop: only costs a step.
    Turn {
        next: u32,
    },
    Save {
        slot: u32,
        next: u32,
    },
    SaveUndo {
        slot: u32,
        next: u32,
    },
    At {
        anchor: Anchor,
        next: u32,
    },
    /// A word edge (or none) in an ASCII text.
    Edge {
        mask: u64,
        negative: bool,
        next: u32,
    },
    /// The byte before is in the set.
    Behind {
        mask: u64,
        next: u32,
    },
    /// These bytes do not follow.
    NotWord {
        word: Word,
        next: u32,
    },
    Look {
        body: u32,
        behind: u32,
        negative: bool,
        next: u32,
    },
    Atomic {
        body: u32,
        next: u32,
    },
    /// A literal occurs here or later.
    Need {
        literal: u32,
        next: u32,
    },
    Backref {
        group: u32,
        fold: Fold,
        next: u32,
    },
    Cond {
        group: u32,
        yes: u32,
        no: u32,
    },
    LoopStart {
        register: u32,
        next: u32,
    },
    LoopTest {
        register: u32,
        min: u32,
        max: u32,
        body: u32,
        next: u32,
        lazy: bool,
    },
    /// Where a lazy loop goes on when what follows it failed.
    LoopMore {
        register: u32,
        max: u32,
        body: u32,
    },
}

/// What a match at the start of a text begins with, as far as that is known.
#[derive(Debug)]
pub(super) struct Begins {
    /// Only for anchored programs, as are places to save.
    pub(super) words: Box<[Word]>,
    /// Slots, and how far from the start their places are.
    pub(super) saves: Box<[(u32, u32)]>,
    /// The length of the words.
    pub(super) bytes: u32,
    /// The node behind all that.
    pub(super) next: u32,
}

/// A finished program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) nodes: Vec<Node>,
    /// One for each node.
    pub(super) steps: Box<[Step]>,
    pub(super) class_of: Box<[u8; 256]>,
    pub(super) tables: Vec<u16>,
    pub(super) wides: Vec<Arc<[(u32, u32)]>>,
    pub(super) needs: Vec<Vec<u8>>,
    pub(super) start: u32,
    pub(super) slots: usize,
    pub(super) registers: usize,
    /// Only the start of the text can match.
    pub(super) anchored: bool,
    pub(super) begins: Begins,
    /// Made for ASCII texts only.
    pub(super) ascii: bool,
    /// Classes of the bytes a match can begin with, and whether one can be at the end.
    pub(super) first: u64,
    pub(super) first_at_end: bool,
    /// The only byte a match can begin with.
    pub(super) first_byte: Option<u8>,
    /// Where failed states may be remembered.
    pub(super) places: Places,
    /// Steps after which they are.
    pub(super) memo_from: u32,
}
