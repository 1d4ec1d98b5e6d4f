//! From characters to bytes: the tree for one kind of text.

use std::sync::Arc;

use super::Options;
use crate::first::{ByteSet, lead};
use crate::plain::is_anchored;
use crate::set::{Fold, Set};
use crate::tree::{Anchor, FOREVER, Greed, Node, Tree};

/// One byte of a literal: matches `b` if `b | or == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) value: u8,
    pub(super) or: u8,
}

/// One character out of several.
#[derive(Clone, Debug)]
pub(super) struct Chars {
    /// Bytes that are a whole member; with `complete` also all bytes from 0x80.
    pub(super) bytes: ByteSet,
    /// Bytes a member can begin with.
    pub(super) leads: ByteSet,
    /// All characters above ASCII are members.
    pub(super) complete: bool,
    /// Index of the members above ASCII, if some but not all are.
    pub(super) wide: Option<u32>,
    /// Every character but the newline.
    pub(super) dot: bool,
}

/// A lowered part.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Never matches.
    Fail,
    Literal(Vec<Piece>),
    Chars(Chars),
    At(Anchor),
    Concat(Vec<Part>),
    Alt(Vec<Part>),
    /// `max` is at least 1, and more than 1 unless `min` is 0.
    Repeat {
        min: u32,
        max: u32,
        greed: Greed,
        body: Box<Part>,
    },
    Group {
        index: u32,
        /// Outside of every choice, so every match goes through it exactly once.
        spine: bool,
        body: Box<Part>,
    },
    Atomic(Box<Part>),
    Look {
        negative: bool,
        behind: Option<u32>,
        body: Box<Part>,
    },
    Backref(u32, Fold),
    Cond {
        group: u32,
        yes: Box<Part>,
        no: Box<Part>,
    },
}

/// A lowered pattern.
pub(super) struct Lowered {
    pub(super) root: Part,
    pub(super) wides: Vec<Arc<[(u32, u32)]>>,
    pub(super) groups: u32,
    pub(super) ascii: bool,
    /// Only the start of the text can match.
    pub(super) anchored: bool,
    /// Groups that conditionals test.
    pub(super) tested: Vec<u32>,
}

pub(super) fn lower(tree: &Tree, ascii: bool, options: Options) -> Lowered {
    let mut tested = Vec::new();
    collect_tested(&tree.root, &mut tested);
    let mut lower = Lower { wides: Vec::new(), ascii, options, tested };
    let root = lower.part(&tree.root, true);
    Lowered {
        root,
        wides: lower.wides,
        groups: tree.groups,
        ascii,
        anchored: is_anchored(&tree.root),
        tested: lower.tested,
    }
}

/// The groups that conditionals test, each once.
fn collect_tested(node: &Node, out: &mut Vec<u32>) {
    match node {
        Node::Concat(items) | Node::Alt(items) => items.iter().for_each(|item| collect_tested(item, out)),
        Node::Repeat { body, .. } | Node::Group(_, body) | Node::Atomic(body) | Node::Look { body, .. } => {
            collect_tested(body, out);
        }
        Node::Cond { group, yes, no } => {
            if !out.contains(group) {
                out.push(*group);
            }
            collect_tested(yes, out);
            collect_tested(no, out);
        }
        Node::Char(_) | Node::Set(_) | Node::At(_) | Node::Backref(..) => {}
    }
}

struct Lower {
    wides: Vec<Arc<[(u32, u32)]>>,
    ascii: bool,
    options: Options,
    tested: Vec<u32>,
}

impl Lower {
    fn part(&mut self, node: &Node, spine: bool) -> Part {
        match node {
            Node::Char(c) => self.char(*c),
            Node::Set(set) => self.set(set),
            Node::At(anchor) => Part::At(*anchor),
            Node::Concat(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let part = self.part(item, spine);
                    self.append(&mut out, part);
                }
                match out.len() {
                    1 => out.pop().unwrap_or(Part::Fail),
                    _ => Part::Concat(out),
                }
            }
            Node::Alt(items) => {
                let parts: Vec<Part> = items.iter().map(|item| self.part(item, false)).collect();
                union(&parts).unwrap_or(Part::Alt(parts))
            }
            Node::Repeat { min, max, greed, body } => self.repeat(*min, *max, *greed, body, spine),
            Node::Group(index, body) => {
                let body = Box::new(self.part(body, spine));
                // A tested group must not keep what an earlier attempt left in it.
                let spine = spine && self.options.spine && !self.tested.contains(index);
                Part::Group { index: *index, spine, body }
            }
            Node::Atomic(body) => Part::Atomic(Box::new(self.part(body, false))),
            Node::Look { negative, behind, body } => {
                Part::Look { negative: *negative, behind: *behind, body: Box::new(self.part(body, false)) }
            }
            Node::Backref(group, fold) => Part::Backref(*group, *fold),
            Node::Cond { group, yes, no } => {
                let (yes, no) = (self.part(yes, false), self.part(no, false));
                Part::Cond { group: *group, yes: Box::new(yes), no: Box::new(no) }
            }
        }
    }

    /// Adds a part to a list; literals join, lists dissolve.
    fn append(&self, out: &mut Vec<Part>, part: Part) {
        match part {
            Part::Concat(parts) => parts.into_iter().for_each(|part| self.append(out, part)),
            Part::Literal(more) => match out.last_mut() {
                Some(Part::Literal(pieces)) if self.options.words => pieces.extend(more),
                _ => out.push(Part::Literal(more)),
            },
            part => out.push(part),
        }
    }

    fn char(&self, c: u32) -> Part {
        let Some(c) = char::from_u32(c).filter(|c| c.is_ascii() || !self.ascii) else {
            return Part::Fail;
        };
        let mut room = [0; 4];
        Part::Literal(c.encode_utf8(&mut room).bytes().map(|value| Piece { value, or: 0 }).collect())
    }

    fn set(&mut self, set: &Set) -> Part {
        let narrow = self.ascii || set.wide.is_empty();
        let ascii = Set { ascii: set.ascii, wide: Vec::new() };
        if narrow {
            let mut members = (0..0x80u8).filter(|b| set.ascii >> b & 1 == 1);
            match (set.ascii.count_ones(), members.next(), members.next()) {
                (0, ..) => return Part::Fail,
                (1, Some(value), _) => return Part::Literal(vec![Piece { value, or: 0 }]),
                (2, Some(a), Some(b)) if (a ^ b).is_power_of_two() => {
                    return Part::Literal(vec![Piece { value: a | b, or: a ^ b }]);
                }
                _ => {}
            }
        }
        let complete = matches!(set.wide.as_slice(), [(0x80, 0x10_ffff)]);
        let mut bytes = ByteSet::leads(&ascii);
        let mut leads = bytes;
        let mut wide = None;
        if !narrow {
            leads = ByteSet::leads(set);
            if complete {
                (0x80..=0xff).for_each(|byte| bytes.add(byte));
            } else {
                wide = u32::try_from(self.wides.len()).ok();
                self.wides.push(Arc::from(set.wide.as_slice()));
            }
        }
        let dot = set.ascii == !(1 << b'\n') && complete;
        Part::Chars(Chars { bytes, leads, complete, wide, dot })
    }

    fn repeat(&mut self, min: u32, max: u32, greed: Greed, body: &Node, spine: bool) -> Part {
        if max == 0 {
            return Part::Concat(Vec::new());
        }
        let once = min == 1 && max == 1;
        let body = self.part(body, spine && once && greed != Greed::Possessive);
        match (once, greed) {
            (true, Greed::Possessive) => return Part::Atomic(Box::new(body)),
            (true, _) => return body,
            (false, Greed::Possessive) if single(&body).is_none() => {
                // Each turn is atomic on its own, not only the whole.
                let body = Box::new(Part::Atomic(Box::new(body)));
                return Part::Atomic(Box::new(Part::Repeat { min, max, greed: Greed::Greedy, body }));
            }
            _ => {}
        }
        Part::Repeat { min, max, greed, body: Box::new(body) }
    }
}

/// Alternatives that are one byte each, as one set.
fn union(parts: &[Part]) -> Option<Part> {
    let mut bytes = ByteSet::EMPTY;
    for part in parts {
        match part {
            Part::Literal(pieces) => match pieces.as_slice() {
                [piece] => {
                    bytes.add(piece.value);
                    bytes.add(piece.value & !piece.or);
                }
                _ => return None,
            },
            Part::Chars(chars) if chars.wide.is_none() && !chars.complete => bytes.add_all(chars.bytes),
            _ => return None,
        }
    }
    Some(Part::Chars(Chars { bytes, leads: bytes, complete: false, wide: None, dot: false }))
}

/// The part as a set of single characters, if it is one that runs can be made of.
pub(super) fn single(part: &Part) -> Option<Chars> {
    match part {
        Part::Chars(chars) => Some(chars.clone()),
        Part::Literal(pieces) => match pieces.as_slice() {
            [piece] if piece.value < 0x80 => {
                let mut bytes = ByteSet::EMPTY;
                bytes.add(piece.value);
                bytes.add(piece.value & !piece.or);
                Some(Chars { bytes, leads: bytes, complete: false, wide: None, dot: false })
            }
            _ => None,
        },
        Part::Concat(parts) => match parts.as_slice() {
            [part] => single(part),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the part can match without consuming anything.
pub(super) fn nullable(part: &Part) -> bool {
    match part {
        Part::Fail | Part::Literal(_) | Part::Chars(_) => false,
        Part::At(_) | Part::Look { .. } | Part::Backref(..) => true,
        Part::Concat(parts) => parts.iter().all(nullable),
        Part::Alt(parts) => parts.iter().any(nullable),
        Part::Repeat { min, body, .. } => *min == 0 || nullable(body),
        Part::Group { body, .. } | Part::Atomic(body) => nullable(body),
        Part::Cond { yes, no, .. } => nullable(yes) || nullable(no),
    }
}

/// Bytes that the part can begin with when it consumes anything.
pub(super) fn leads(part: &Part) -> ByteSet {
    let mut out = ByteSet::EMPTY;
    match part {
        Part::Fail | Part::At(_) | Part::Look { .. } => {}
        Part::Literal(pieces) => {
            if let Some(piece) = pieces.first() {
                out.add(piece.value);
                out.add(piece.value & !piece.or);
            }
        }
        Part::Chars(chars) => out = chars.leads,
        Part::Concat(parts) => {
            for part in parts {
                out.add_all(leads(part));
                if !nullable(part) {
                    break;
                }
            }
        }
        Part::Alt(parts) => parts.iter().for_each(|part| out.add_all(leads(part))),
        Part::Repeat { body, .. } | Part::Group { body, .. } | Part::Atomic(body) => out = leads(body),
        Part::Backref(..) => out = ByteSet::FULL,
        Part::Cond { yes, no, .. } => {
            out = leads(yes);
            out.add_all(leads(no));
        }
    }
    out
}

/// Rough number of nodes that one copy of the part takes.
pub(super) fn size(part: &Part) -> usize {
    match part {
        Part::Fail | Part::Chars(_) | Part::At(_) | Part::Backref(..) => 1,
        Part::Literal(pieces) => pieces.len() / 8 + 1,
        Part::Concat(parts) | Part::Alt(parts) => parts.iter().map(size).sum::<usize>() + 1,
        Part::Repeat { min, max, body, .. } => {
            if single(body).is_some() {
                return 1;
            }
            let copies = if *max == FOREVER { min + 1 } else { *max };
            size(body).saturating_mul(copies as usize).saturating_add(1)
        }
        Part::Group { body, .. } => size(body) + 2,
        Part::Atomic(body) | Part::Look { body, .. } => size(body) + 2,
        Part::Cond { yes, no, .. } => size(yes) + size(no) + 1,
    }
}

/// Groups within the part.
pub(super) fn groups(part: &Part, out: &mut Vec<u32>) {
    match part {
        Part::Group { index, body, .. } => {
            out.push(*index);
            groups(body, out);
        }
        Part::Concat(parts) | Part::Alt(parts) => parts.iter().for_each(|part| groups(part, out)),
        Part::Repeat { body, .. } | Part::Atomic(body) | Part::Look { body, .. } => groups(body, out),
        Part::Cond { yes, no, .. } => {
            groups(yes, out);
            groups(no, out);
        }
        Part::Fail | Part::Literal(_) | Part::Chars(_) | Part::At(_) | Part::Backref(..) => {}
    }
}

/// The first byte of the newline's UTF-8 form, for the sets of anchors.
pub(super) fn newline() -> ByteSet {
    let mut set = ByteSet::EMPTY;
    set.add(lead(u32::from('\n')));
    set
}
