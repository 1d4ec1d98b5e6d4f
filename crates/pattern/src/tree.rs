//! The syntax tree of a pattern.

use crate::set::{Fold, Set};

/// No upper bound of a repeat.
pub(crate) const FOREVER: u32 = u32::MAX;

/// What a position must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// `\A`, and `^` without the multi-line flag.
    Start,
    /// `^` with the multi-line flag.
    LineStart,
    /// `$` without the multi-line flag: the end, or before one final newline.
    End,
    /// `$` with the multi-line flag.
    LineEnd,
    /// `\Z`.
    TextEnd,
    /// `\b`.
    Boundary { ascii: bool },
    /// `\B`.
    NotBoundary { ascii: bool },
}

/// How a repeat chooses its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

/// A part of a pattern. Flags are already worked into the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Char(u32),
    Set(Set),
    At(Anchor),
    Concat(Vec<Node>),
    /// Alternatives in order of preference; at least two.
    Alt(Vec<Node>),
    Repeat {
        min: u32,
        max: u32,
        greed: Greed,
        body: Box<Node>,
    },
    Group(u32, Box<Node>),
    Atomic(Box<Node>),
    /// `behind` is the fixed number of characters a look-behind steps back.
    Look {
        negative: bool,
        behind: Option<u32>,
        body: Box<Node>,
    },
    Backref(u32, Fold),
    Cond {
        group: u32,
        yes: Box<Node>,
        no: Box<Node>,
    },
}

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) root: Node,
    /// Number of groups, without the whole match.
    pub(crate) groups: u32,
    /// Names with their group, in order of the groups.
    pub(crate) names: Vec<(String, u32)>,
}
