//! How many characters a part of a pattern can match.

use crate::tree::{FOREVER, Node};

/// Fewest and most characters; `u64::MAX` is without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

const NOTHING: Width = Width { min: 0, max: 0 };

impl Width {
    fn either(self, other: Width) -> Width {
        Width { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The width of a part; `groups` has the widths of the groups closed before it.
pub(crate) fn width(node: &Node, groups: &[Option<Width>]) -> Width {
    match node {
        Node::Char(_) | Node::Set(_) => Width { min: 1, max: 1 },
        Node::At(_) | Node::Look { .. } => NOTHING,
        Node::Concat(items) => items.iter().fold(NOTHING, |sum, item| {
            let one = width(item, groups);
            Width { min: sum.min.saturating_add(one.min), max: sum.max.saturating_add(one.max) }
        }),
        Node::Alt(items) => {
            let widths = items.iter().map(|item| width(item, groups));
            widths.reduce(Width::either).unwrap_or(NOTHING)
        }
        Node::Repeat { min, max, body, .. } => {
            let one = width(body, groups);
            let most = match *max {
                FOREVER if one.max > 0 => u64::MAX,
                max => one.max.saturating_mul(u64::from(max)),
            };
            Width { min: one.min.saturating_mul(u64::from(*min)), max: most }
        }
        Node::Group(_, body) | Node::Atomic(body) => width(body, groups),
        Node::Backref(group, _) => groups.get(*group as usize).copied().flatten().unwrap_or(NOTHING),
        Node::Cond { yes, no, .. } => width(yes, groups).either(width(no, groups)),
    }
}
