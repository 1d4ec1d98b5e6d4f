//! The plain engine: a backtracker without a single optimisation.
//!
//! It is the twin of the fast program in all tests, and it runs the patterns
//! that the fast program refuses because they would grow too large. It never
//! recurses; loops, atomic groups and look-arounds keep their state in
//! registers that are restored when a choice is taken back.

use crate::search::{FRAMES_MAX, NONE, Outcome, Scratch, Text};
use crate::set::{Fold, Set, is_word, lower};
use crate::tree::{Anchor, FOREVER, Greed, Node, Tree};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Plain {
    code: Vec<Inst>,
    sets: Vec<Set>,
    registers: usize,
    slots: usize,
    /// No start but the first position can match.
    anchored: bool,
}

#[derive(Clone, Copy, Debug)]
enum Inst {
    Char(u32),
    Set(u32),
    /// Goes on with the next instruction, and with this one if that fails.
    Try(u32),
    Jump(u32),
    Save(u32),
    At(Anchor),
    Backref(u32, Fold),
    /// Goes on with the next instruction if the group is set, else with this one.
    Cond(u32, u32),
    LoopStart(u32),
    LoopTest {
        register: u32,
        min: u32,
        max: u32,
        lazy: bool,
        body: u32,
    },
    /// Taken back to when the part behind a lazy loop failed.
    LoopMore {
        register: u32,
        max: u32,
        body: u32,
    },
    /// Remembers the height of the stack.
    Mark(u32),
    /// Forgets the choices made since the mark.
    Cut(u32),
    /// Opens a positive look-around.
    Look {
        register: u32,
        behind: u32,
    },
    LookEnd(u32),
    /// Opens a negative look-around; `cont` is where to go if it does not match.
    LookNot {
        register: u32,
        behind: u32,
        cont: u32,
    },
    LookNotEnd(u32),
    Match,
}

/// A frame is another choice, or an old value of a slot or register.
const FRAME_SLOT: u32 = u32::MAX;
const FRAME_REGISTER: u32 = u32::MAX - 1;

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Whether every match begins at the start of the text.
pub(crate) fn is_anchored(node: &Node) -> bool {
    match node {
        Node::At(Anchor::Start) => true,
        Node::Concat(items) => items.first().is_some_and(is_anchored),
        Node::Alt(items) => items.iter().all(is_anchored),
        Node::Group(_, body) | Node::Atomic(body) => is_anchored(body),
        Node::Repeat { min, body, .. } => *min > 0 && is_anchored(body),
        _ => false,
    }
}

impl Plain {
    /// Compiles a tree.
    pub(crate) fn new(tree: &Tree) -> Plain {
        let mut plain = Plain {
            code: Vec::new(),
            sets: Vec::new(),
            registers: 0,
            slots: 2 * (tree.groups as usize + 1),
            anchored: is_anchored(&tree.root),
        };
        plain.emit(&tree.root);
        plain.code.push(Inst::Match);
        plain
    }

    /// A program without an answer.
    pub(crate) fn never() -> Plain {
        Plain { code: Vec::new(), sets: Vec::new(), registers: 0, slots: 0, anchored: true }
    }

    fn here(&self) -> u32 {
        index(self.code.len())
    }

    fn register(&mut self, count: usize) -> u32 {
        let at = index(self.registers);
        self.registers += count;
        at
    }

    fn hole(&mut self) -> usize {
        self.code.push(Inst::Match);
        self.code.len() - 1
    }

    fn fill(&mut self, hole: usize, inst: Inst) {
        if let Some(slot) = self.code.get_mut(hole) {
            *slot = inst;
        }
    }

    fn emit(&mut self, node: &Node) {
        match node {
            Node::Char(c) => self.code.push(Inst::Char(*c)),
            Node::Set(set) => {
                let at = index(self.sets.len());
                self.sets.push(set.clone());
                self.code.push(Inst::Set(at));
            }
            Node::At(anchor) => self.code.push(Inst::At(*anchor)),
            Node::Concat(items) => items.iter().for_each(|item| self.emit(item)),
            Node::Alt(items) => self.alternatives(items),
            Node::Repeat { min, max, greed, body } => self.repeat(*min, *max, *greed, body),
            Node::Group(group, body) => {
                self.code.push(Inst::Save(2 * group));
                self.emit(body);
                self.code.push(Inst::Save(2 * group + 1));
            }
            Node::Atomic(body) => {
                let register = self.register(1);
                self.code.push(Inst::Mark(register));
                self.emit(body);
                self.code.push(Inst::Cut(register));
            }
            Node::Look { negative, behind, body } => {
                let register = self.register(2);
                let behind = behind.unwrap_or(0);
                let hole = self.hole();
                self.emit(body);
                if *negative {
                    self.code.push(Inst::LookNotEnd(register));
                    let cont = self.here();
                    self.fill(hole, Inst::LookNot { register, behind, cont });
                } else {
                    self.code.push(Inst::LookEnd(register));
                    self.fill(hole, Inst::Look { register, behind });
                }
            }
            Node::Backref(group, fold) => self.code.push(Inst::Backref(*group, *fold)),
            Node::Cond { group, yes, no } => {
                let test = self.hole();
                self.emit(yes);
                let jump = self.hole();
                let otherwise = self.here();
                self.fill(test, Inst::Cond(*group, otherwise));
                self.emit(no);
                let end = self.here();
                self.fill(jump, Inst::Jump(end));
            }
        }
    }

    fn alternatives(&mut self, items: &[Node]) {
        let mut jumps = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let last = at + 1 == items.len();
            let choice = (!last).then(|| self.hole());
            self.emit(item);
            if let Some(choice) = choice {
                jumps.push(self.hole());
                let next = self.here();
                self.fill(choice, Inst::Try(next));
            }
        }
        let end = self.here();
        for jump in jumps {
            self.fill(jump, Inst::Jump(end));
        }
    }

    fn repeat(&mut self, min: u32, max: u32, greed: Greed, body: &Node) {
        let possessive = greed == Greed::Possessive;
        let outer = self.register(2);
        if possessive {
            self.code.push(Inst::Mark(outer));
        }
        let register = self.register(2);
        self.code.push(Inst::LoopStart(register));
        let enter = self.hole();
        let start = self.here();
        if possessive {
            // Each turn is atomic on its own, not only the whole.
            self.code.push(Inst::Mark(outer + 1));
            self.emit(body);
            self.code.push(Inst::Cut(outer + 1));
        } else {
            self.emit(body);
        }
        let test = self.here();
        self.fill(enter, Inst::Jump(test));
        let lazy = greed == Greed::Lazy;
        self.code.push(Inst::LoopTest { register, min, max, lazy, body: start });
        if lazy {
            // The test jumps over this one when it leaves the loop.
            self.code.push(Inst::LoopMore { register, max, body: start });
        }
        if possessive {
            self.code.push(Inst::Cut(outer));
        }
    }

    /// Searches from every position of the window, in order.
    pub(crate) fn search(&self, scratch: &mut Scratch, text: Text<'_>) -> Outcome {
        scratch.slots.clear();
        scratch.slots.resize(self.slots, NONE);
        scratch.registers.clear();
        scratch.registers.resize(self.registers, NONE);
        scratch.frames.clear();
        let mut start = text.start;
        loop {
            match self.run(scratch, text, start) {
                Outcome::NoMatch => {}
                other => return other,
            }
            match text.char_at(start) {
                Some((_, next)) if !self.anchored => start = next,
                _ => return Outcome::NoMatch,
            }
        }
    }

    /// Tries one start. On failure all slots and registers are as before.
    fn run(&self, scratch: &mut Scratch, text: Text<'_>, start: u32) -> Outcome {
        let mut pc = 0;
        let mut at = start;
        loop {
            if scratch.budget == 0 || scratch.frames.len() > FRAMES_MAX {
                return Outcome::Exhausted;
            }
            scratch.budget -= 1;
            let Some(&inst) = self.code.get(pc as usize) else { return Outcome::Exhausted };
            pc += 1;
            let ok = match inst {
                Inst::Char(c) => text.char_at(at).filter(|(found, _)| *found == c).map(|(_, next)| at = next).is_some(),
                Inst::Set(set) => {
                    let set = self.sets.get(set as usize);
                    let found = text.char_at(at).filter(|(c, _)| set.is_some_and(|set| set.has(*c)));
                    found.map(|(_, next)| at = next).is_some()
                }
                Inst::Try(other) => {
                    scratch.frames.push((other, at, 0));
                    true
                }
                Inst::Jump(to) => {
                    pc = to;
                    true
                }
                Inst::Save(slot) => {
                    scratch.set_slot(slot, at);
                    true
                }
                Inst::At(anchor) => text.is_at(anchor, at),
                Inst::Backref(group, fold) => match backref(scratch, text, group, fold, at) {
                    Some(next) => {
                        at = next;
                        true
                    }
                    None => false,
                },
                Inst::Cond(group, otherwise) => {
                    if scratch.group(group).is_none() {
                        pc = otherwise;
                    }
                    true
                }
                Inst::LoopStart(register) => {
                    scratch.set_register(register, NONE);
                    scratch.set_register(register + 1, NONE);
                    true
                }
                Inst::LoopTest { register, min, max, lazy, body } => {
                    // The register counts the turns before this one; NONE is -1.
                    let count = scratch.register(register).wrapping_add(1);
                    if count < min {
                        scratch.set_register(register, count);
                        pc = body;
                    } else if lazy {
                        scratch.frames.push((pc, at, 0));
                        pc += 1;
                    } else if (count < max || max == FOREVER) && scratch.register(register + 1) != at {
                        scratch.frames.push((pc, at, 0));
                        scratch.set_register(register, count);
                        scratch.set_register(register + 1, at);
                        pc = body;
                    }
                    true
                }
                Inst::LoopMore { register, max, body } => {
                    let count = scratch.register(register).wrapping_add(1);
                    let more = (count < max || max == FOREVER) && scratch.register(register + 1) != at;
                    if more {
                        scratch.set_register(register, count);
                        scratch.set_register(register + 1, at);
                        pc = body;
                    }
                    more
                }
                Inst::Mark(register) => {
                    let height = index(scratch.frames.len());
                    scratch.set_register(register, height);
                    true
                }
                Inst::Cut(register) => {
                    scratch.cut(scratch.register(register));
                    true
                }
                Inst::Look { register, behind } => match text.back(at, behind) {
                    Some(from) => {
                        let height = index(scratch.frames.len());
                        scratch.set_register(register, height);
                        scratch.set_register(register + 1, at);
                        at = from;
                        true
                    }
                    None => false,
                },
                Inst::LookEnd(register) => {
                    at = scratch.register(register + 1);
                    scratch.cut(scratch.register(register));
                    true
                }
                Inst::LookNot { register, behind, cont } => {
                    match text.back(at, behind) {
                        Some(from) => {
                            let height = index(scratch.frames.len());
                            scratch.set_register(register, height);
                            scratch.frames.push((cont, at, 0));
                            at = from;
                        }
                        None => pc = cont,
                    }
                    true
                }
                Inst::LookNotEnd(register) => {
                    // The look matched: drop its choices and the way around it, then fail.
                    let height = scratch.register(register) as usize;
                    while scratch.frames.len() > height {
                        pop(scratch);
                    }
                    false
                }
                Inst::Match => {
                    scratch.set_slot(0, start);
                    scratch.set_slot(1, at);
                    scratch.frames.clear();
                    return Outcome::Match;
                }
            };
            if ok {
                continue;
            }
            loop {
                match pop(scratch) {
                    Popped::Choice(to, from) => {
                        pc = to;
                        at = from;
                        break;
                    }
                    Popped::Undone => {}
                    Popped::Empty => return Outcome::NoMatch,
                }
            }
        }
    }
}

enum Popped {
    Choice(u32, u32),
    Undone,
    Empty,
}

/// Takes the top frame and undoes it if it is an old value.
fn pop(scratch: &mut Scratch) -> Popped {
    match scratch.frames.pop() {
        None => Popped::Empty,
        Some((FRAME_SLOT, slot, old)) => {
            if let Some(value) = scratch.slots.get_mut(slot as usize) {
                *value = old;
            }
            Popped::Undone
        }
        Some((FRAME_REGISTER, register, old)) => {
            if let Some(value) = scratch.registers.get_mut(register as usize) {
                *value = old;
            }
            Popped::Undone
        }
        Some((to, from, _)) => Popped::Choice(to, from),
    }
}

impl Scratch {
    fn set_slot(&mut self, slot: u32, value: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            self.frames.push((FRAME_SLOT, slot, *place));
            *place = value;
        }
    }

    fn register(&self, register: u32) -> u32 {
        self.registers.get(register as usize).copied().unwrap_or(NONE)
    }

    fn set_register(&mut self, register: u32, value: u32) {
        if let Some(place) = self.registers.get_mut(register as usize) {
            self.frames.push((FRAME_REGISTER, register, *place));
            *place = value;
        }
    }

    /// Forgets the choices above a height, but keeps the old values.
    fn cut(&mut self, height: u32) {
        let height = height as usize;
        let mut kept = height;
        for from in height..self.frames.len() {
            let Some(&frame) = self.frames.get(from) else { break };
            if matches!(frame.0, FRAME_SLOT | FRAME_REGISTER) {
                if let Some(place) = self.frames.get_mut(kept) {
                    *place = frame;
                }
                kept += 1;
            }
        }
        self.frames.truncate(kept);
    }

    /// Where a group matched. As in CPython, a group entered again keeps its old end
    /// until it is left, and counts as unset if that end lies before the new start.
    pub(crate) fn group(&self, group: u32) -> Option<(u32, u32)> {
        let from = *self.slots.get(2 * group as usize)?;
        let to = *self.slots.get(2 * group as usize + 1)?;
        (from != NONE && to != NONE && from <= to).then_some((from, to))
    }
}

/// The position behind a repetition of a group's text.
pub(crate) fn backref(scratch: &Scratch, text: Text<'_>, group: u32, fold: Fold, at: u32) -> Option<u32> {
    let (mut from, to) = scratch.group(group)?;
    let mut at = at;
    while from < to {
        let (wanted, next_from) = text.char_at(from)?;
        let (found, next) = text.char_at(at)?;
        if lower(wanted, fold) != lower(found, fold) {
            return None;
        }
        from = next_from;
        at = next;
    }
    Some(at)
}

impl Text<'_> {
    /// Whether an anchor holds at a position.
    pub(crate) fn is_at(&self, anchor: Anchor, at: u32) -> bool {
        match anchor {
            Anchor::Start => at == 0,
            Anchor::LineStart => at == 0 || self.byte(at - 1) == Some(b'\n'),
            Anchor::End => at == self.end() || (at + 1 == self.end() && self.byte(at) == Some(b'\n')),
            Anchor::LineEnd => at == self.end() || self.byte(at) == Some(b'\n'),
            Anchor::TextEnd => at == self.end(),
            Anchor::Boundary { ascii } => self.end() != 0 && self.word_edge(at, ascii),
            // CPython before 3.14 never finds \B in an empty text.
            Anchor::NotBoundary { ascii } => self.end() != 0 && !self.word_edge(at, ascii),
        }
    }

    fn word_edge(&self, at: u32, ascii: bool) -> bool {
        let before = self.back(at, 1).and_then(|from| self.char_at(from)).is_some_and(|(c, _)| is_word(c, ascii));
        let behind = self.char_at(at).is_some_and(|(c, _)| is_word(c, ascii));
        before != behind
    }
}
