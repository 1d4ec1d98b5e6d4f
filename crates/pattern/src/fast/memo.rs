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
                Node::Split { second, .. } => {
                    places.enter(at);
                    places.resume(*second as usize);
                }
                Node::Run(run) if run.keep != Keep::All => {
                    places.enter(at);
                    places.resume(run.next as usize);
                }
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

/// The bits of one search.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    bits: Vec<u64>,
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
        if places.count == 0 || bits > BITS_MAX {
            return;
        }
        self.width = text_len + 1;
        self.bits.clear();
        self.bits.resize(bits / 64 + 1, 0);
        self.on = true;
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
