//! Failed states, remembered once a search has taken many steps.
//!
//! A state is a place in the program and a position in the text. What was
//! tried from it does not depend on how it was reached, as long as no
//! backreference, run-time conditional or counting loop is in the program, and
//! outside of look-arounds and atomic groups. So a state that comes up again
//! fails again.

use super::node::{Keep, Node};

/// Most bits of a memo: 4 MiB.
const BITS_MAX: usize = 32 << 20;

/// No place.
const NOWHERE: u32 = u32::MAX;

/// Numbers for the nodes whose states are worth remembering.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Per node: its number when it is entered, and when a frame resumes at it.
    of: Vec<(u32, u32)>,
    count: usize,
}

impl Places {
    pub(super) fn new(nodes: &[Node], wanted: bool) -> Places {
        let mut places = Places::default();
        if !wanted {
            return places;
        }
        places.of = vec![(NOWHERE, NOWHERE); nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            match node {
                Node::Split { second, .. } | Node::SplitWord { second, .. } => {
                    places.enter(at);
                    places.resume(*second as usize);
                }
                Node::Run(run) if run.keep != Keep::All => {
                    places.enter(at);
                    places.resume(run.next as usize);
                }
                Node::Turn { .. } => places.enter(at),
                _ => {}
            }
        }
        places
    }

    fn number(&mut self) -> u32 {
        self.count += 1;
        u32::try_from(self.count - 1).unwrap_or(NOWHERE)
    }

    fn enter(&mut self, at: usize) {
        let number = self.number();
        if let Some(place) = self.of.get_mut(at) {
            place.0 = number;
        }
    }

    fn resume(&mut self, at: usize) {
        if self.of.get(at).is_some_and(|place| place.1 == NOWHERE) {
            let number = self.number();
            if let Some(place) = self.of.get_mut(at) {
                place.1 = number;
            }
        }
    }
}

/// What is known of the last stretch of text that a run was in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) from: usize,
    /// No member stands here.
    pub(super) to: usize,
    /// For a run that gives back: from here to the end the way out was tried and failed;
    /// beyond the end if it was not tried at all. A run that takes as little as possible
    /// knows only stretches where every way out was tried.
    pub(super) tried: usize,
}

impl Stretch {
    pub(super) const NONE: Stretch = Stretch { from: 1, to: 0, tried: 0 };

    pub(super) fn has(&self, at: usize) -> bool {
        self.from <= at && at <= self.to
    }
}

/// The ways out that a run which takes as little as possible is trying in a row.
#[derive(Clone, Copy, Debug)]
struct Row {
    from: usize,
    next: usize,
}

/// What one search has learned.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    bits: Vec<u64>,
    stretches: Vec<Stretch>,
    rows: Vec<Row>,
    pub(super) on: bool,
    /// Whether it was tried to switch on.
    pub(super) begun: bool,
    width: usize,
}

impl Memo {
    /// Forgets the last search.
    pub(super) fn reset(&mut self) {
        self.on = false;
        self.begun = false;
    }

    /// Begins to remember, if the program allows it and the bits are not too many.
    pub(super) fn begin(&mut self, places: &Places, text_len: usize) {
        self.begun = true;
        let bits = places.count.saturating_mul(text_len + 1);
        if places.of.is_empty() || bits > BITS_MAX {
            return;
        }
        self.width = text_len + 1;
        self.bits.clear();
        self.bits.resize(bits / 64 + 1, 0);
        self.stretches.clear();
        self.stretches.resize(places.of.len(), Stretch::NONE);
        self.rows.clear();
        self.rows.resize(places.of.len(), Row { from: 0, next: usize::MAX });
        self.on = true;
    }

    /// The stretch that a run was in last.
    pub(super) fn stretch(&self, node: u32) -> Stretch {
        self.stretches.get(node as usize).copied().unwrap_or(Stretch::NONE)
    }

    pub(super) fn set_stretch(&mut self, node: u32, stretch: Stretch) {
        if let Some(place) = self.stretches.get_mut(node as usize) {
            *place = stretch;
        }
    }

    /// Leaving a run has failed here and everywhere behind here.
    pub(super) fn tried(&mut self, node: u32, at: usize) {
        if let Some(stretch) = self.stretches.get_mut(node as usize)
            && stretch.has(at)
        {
            stretch.tried = stretch.tried.min(at);
        }
    }

    /// The next way out is tried at `next`, after the one at `last` failed, or as the first at `from`.
    pub(super) fn row(&mut self, node: u32, last: Option<usize>, from: usize, next: usize) {
        if let Some(row) = self.rows.get_mut(node as usize) {
            match last {
                Some(last) if row.next == last => {}
                Some(last) => row.from = last,
                None => row.from = from,
            }
            row.next = next;
        }
    }

    /// No way out is left: all from the row's start to the end have failed.
    pub(super) fn row_ends(&mut self, node: u32, last: Option<usize>, from: usize, to: usize) {
        self.row(node, last, from, usize::MAX);
        if let Some(row) = self.rows.get(node as usize) {
            let from = row.from;
            let stretch = self.stretch(node);
            let from = if stretch.has(to) { from.min(stretch.from) } else { from };
            self.set_stretch(node, Stretch { from, to: to.max(from), tried: from });
        }
    }

    /// Whether entering the node here is new; it is known from now on.
    pub(super) fn enters(&mut self, places: &Places, node: u32, at: usize) -> bool {
        places.of.get(node as usize).is_none_or(|place| self.mark(place.0, at))
    }

    /// Whether resuming at the node here is new; it is known from now on.
    pub(super) fn resumes(&mut self, places: &Places, node: u32, at: usize) -> bool {
        places.of.get(node as usize).is_none_or(|place| self.mark(place.1, at))
    }

    fn mark(&mut self, place: u32, at: usize) -> bool {
        if place == NOWHERE {
            return true;
        }
        let bit = place as usize * self.width + at;
        match self.bits.get_mut(bit / 64) {
            Some(word) => {
                let fresh = *word >> (bit % 64) & 1 == 0;
                *word |= 1 << (bit % 64);
                fresh
            }
            None => true,
        }
    }
}
