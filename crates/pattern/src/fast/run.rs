//! The run loop.
//!
//! Positions are byte offsets; the text is valid UTF-8, and programs for ASCII
//! texts are only run on ASCII texts.

use memchr::{memchr, memrchr};

use super::node::{Keep, Node, Program, Word};
use super::step::{Step, is_text};
use crate::plain::backref;
use crate::search::{FRAMES_MAX, NONE, Outcome, Scratch, Text};
use crate::tree::FOREVER;

/// Bytes of a run that cost one step.
const SCAN_SHIFT: u32 = 3;

/// What a frame holds, in the upper bits of its first word.
const TAG_SHIFT: u32 = 28;
const CHOICE: u32 = 0;
pub(super) const MOST: u32 = 1 << TAG_SHIFT;
pub(super) const LEAST: u32 = 2 << TAG_SHIFT;
const SLOT: u32 = 3 << TAG_SHIFT;
const REGISTER: u32 = 4 << TAG_SHIFT;
const NODE: u32 = (1 << TAG_SHIFT) - 1;

/// How one node ended.
enum Next {
    To(u32, usize),
    Fail,
    Stop(Stop),
}

/// How a run of the loop ended.
enum Stop {
    At(usize),
    Fail,
    Exhausted,
}

impl Program {
    /// Searches from every position of the window, in order.
    pub(crate) fn search(&self, scratch: &mut Scratch, text: Text<'_>) -> Outcome {
        let mut at = text.start as usize;
        for word in &self.begins.words {
            if !is_word(text.bytes, at, word) {
                return Outcome::NoMatch;
            }
            at += usize::from(word.len);
        }
        let line = if text.one_line { (0, text.bytes.len().saturating_sub(1)) } else { (1, 0) };
        let mut search = Search { program: self, bytes: text.bytes, text, scratch, line, depth: 0, remembers: false };
        search.scratch.slots.clear();
        search.scratch.slots.resize(self.slots, NONE);
        search.scratch.frames.clear();
        if self.registers > 0 {
            search.scratch.registers.clear();
            search.scratch.registers.resize(self.registers, NONE);
        }
        search.scratch.memo.reset();
        search.scratch.needs.clear();
        search.find(text.start as usize)
    }
}

pub(super) struct Search<'s> {
    pub(super) program: &'s Program,
    pub(super) bytes: &'s [u8],
    pub(super) text: Text<'s>,
    pub(super) scratch: &'s mut Scratch,
    /// A stretch without a newline, up to the next one or the end.
    pub(super) line: (usize, usize),
    pub(super) depth: u32,
    /// Failed states are remembered: the memo is on, and this is no look-around.
    pub(super) remembers: bool,
}

#[expect(clippy::cast_possible_truncation, reason = "texts are shorter than 4 GiB, see Regex::search")]
pub(super) fn short(at: usize) -> u32 {
    at as u32
}

impl Search<'_> {
    fn find(&mut self, from: usize) -> Outcome {
        let program = self.program;
        let mut start = from;
        loop {
            if !program.anchored {
                match self.next_start(start) {
                    Some(at) => start = at,
                    None => return Outcome::NoMatch,
                }
            }
            let (node, at) = if start == 0 { self.begin() } else { (program.start, start) };
            match self.run(node, at) {
                Stop::At(end) => {
                    if let [first, second, ..] = self.scratch.slots.as_mut_slice() {
                        *first = short(start);
                        *second = short(end);
                    }
                    return Outcome::Match;
                }
                Stop::Exhausted => return Outcome::Exhausted,
                Stop::Fail => {}
            }
            if program.anchored || start >= self.bytes.len() {
                return Outcome::NoMatch;
            }
            self.scratch.budget = self.scratch.budget.saturating_sub(1);
            if !self.scratch.memo.begun {
                self.begin_memo();
            }
            start += 1;
            // What was saved without a way back is dropped with the attempt.
            self.scratch.slots.fill(NONE);
            self.scratch.frames.clear();
        }
    }

    /// Where a match at the start of the text goes on behind what was looked at before the search.
    fn begin(&mut self) -> (u32, usize) {
        let begins = &self.program.begins;
        for (slot, at) in &begins.saves {
            if let Some(place) = self.scratch.slots.get_mut(*slot as usize) {
                *place = *at;
            }
        }
        (begins.next, begins.bytes as usize)
    }

    /// The next position where a match can begin.
    fn next_start(&mut self, from: usize) -> Option<usize> {
        let program = self.program;
        let rest = self.bytes.get(from..)?;
        let end = self.bytes.len();
        if let Some(byte) = program.first_byte {
            return memchr(byte, rest).map(|at| from + at);
        }
        let found = rest.iter().position(|&byte| byte & 0xc0 != 0x80 && program.is_in(byte, program.first));
        match found {
            Some(at) => Some(from + at),
            None => program.first_at_end.then_some(end),
        }
    }

    /// Runs from a node until it matches or everything has failed.
    ///
    /// The frames that the caller has on the stack stay below; when it fails, its
    /// own frames are gone and everything they changed is as before.
    fn run(&mut self, node: u32, at: usize) -> Stop {
        let program = self.program;
        let bytes = self.bytes;
        // Locals, because every call could have changed what is behind a reference.
        let steps = &*program.steps;
        let tables = program.tables.as_slice();
        let class_of: &[u8; 256] = &program.class_of;
        let base = self.scratch.frames.len();
        let mut pc = node;
        let mut at = at;
        loop {
            // Whatever succeeds goes on with the loop; all others end up behind the match.
            match *step_of(steps, pc) {
                Step::Fail => {}
                Step::Match => return Stop::At(at),
                Step::Word { value, or, next, len, unused } => {
                    if is_text(bytes, at, value, or, unused) {
                        pc = next;
                        at += usize::from(len);
                        continue;
                    }
                }
                Step::WordTable { value, base, end, len, unused } => {
                    if is_text(bytes, at, value, 0, unused) {
                        at += usize::from(len);
                        pc = target(tables, class_of, (base, end), bytes.get(at));
                        continue;
                    }
                }
                Step::Set { mask, next } => {
                    if bytes.get(at).is_some_and(|&byte| is_in(class_of, byte, mask)) {
                        pc = next;
                        at += 1;
                        continue;
                    }
                }
                Step::Take { mask, some, next } if !self.remembers => {
                    let many = members(class_of, bytes, at, mask);
                    self.charge(many);
                    if many > 0 || !some {
                        pc = next;
                        at += many;
                        continue;
                    }
                }
                Step::TakeTable { mask, some, base, end } if !self.remembers => {
                    let many = members(class_of, bytes, at, mask);
                    self.charge(many);
                    if many > 0 || !some {
                        at += many;
                        pc = target(tables, class_of, (base, end), bytes.get(at));
                        continue;
                    }
                }
                Step::Few { mask, next, min, max } => {
                    let many = few_members(class_of, bytes, at, mask, max);
                    if many >= usize::from(min) {
                        self.charge(many);
                        pc = next;
                        at += many;
                        continue;
                    }
                }
                Step::Most { mask, follow, next, min, max, at_end } if !self.remembers => {
                    let many = match max {
                        0 => members(class_of, bytes, at, mask),
                        max => few_members(class_of, bytes, at, mask, max),
                    };
                    let (low, high) = (at + usize::from(min), at + many);
                    let leaves = match bytes.get(high) {
                        Some(&byte) => is_in(class_of, byte, follow),
                        None => at_end,
                    };
                    // As in `begin_run`: one that comes up short costs nothing.
                    if high >= low {
                        self.charge(many);
                        if leaves && high > low {
                            self.scratch.frames.push((MOST | pc, short(low), short(high)));
                        }
                        let to = if leaves { Some(high) } else { self.leave_run(pc, low, high) };
                        if let Some(to) = to {
                            pc = next;
                            at = to;
                            continue;
                        }
                    }
                }
                Step::TakeLine { some, next } => {
                    let end = self.line_end(at);
                    if end > at || !some {
                        pc = next;
                        at = end;
                        continue;
                    }
                }
                Step::Rest { slot } => {
                    let end = self.line_end(at);
                    if end > at && is_end(bytes, end) {
                        self.save_for_good(slot, end);
                        return Stop::At(end);
                    }
                }
                Step::Octets { next } => {
                    if let Some(end) = octets(bytes, at) {
                        pc = next;
                        at = end;
                        continue;
                    }
                }
                Step::End { next } => {
                    if is_end(bytes, at) {
                        pc = next;
                        continue;
                    }
                }
                Step::Last => {
                    if is_end(bytes, at) {
                        return Stop::At(at);
                    }
                }
                Step::Table { base, end } => {
                    pc = target(tables, class_of, (base, end), bytes.get(at));
                    continue;
                }
                Step::Split { first, second } if !self.remembers => {
                    self.scratch.frames.push((CHOICE | second, short(at), 0));
                    pc = first;
                    continue;
                }
                Step::SplitWord { value, first, second, skip, unused } if !self.remembers => {
                    if is_text(bytes, at, value, 0, unused) {
                        self.scratch.frames.push((CHOICE | second, short(at), 0));
                        pc = first;
                        at += usize::from(skip);
                    } else {
                        pc = second;
                    }
                    continue;
                }
                Step::Save { slot, next } => {
                    pc = next;
                    self.save_for_good(slot, at);
                    continue;
                }
                Step::SaveTable { slot, base, end } => {
                    pc = target(tables, class_of, (base, end), bytes.get(at));
                    self.save_for_good(slot, at);
                    continue;
                }
                Step::SaveUndo { slot, next } => {
                    pc = next;
                    self.save(slot, at);
                    continue;
                }
                Step::SaveUndoTable { slot, base, end } => {
                    pc = target(tables, class_of, (base, end), bytes.get(at));
                    self.save(slot, at);
                    continue;
                }
                Step::Node
                | Step::Take { .. }
                | Step::TakeTable { .. }
                | Step::Most { .. }
                | Step::Split { .. }
                | Step::SplitWord { .. } => match self.node(pc, at) {
                    Next::To(to, from) => {
                        pc = to;
                        at = from;
                        continue;
                    }
                    Next::Fail => {}
                    Next::Stop(stop) => return stop,
                },
            }
            match self.resume(base) {
                Resume::At(to, from) => {
                    pc = to;
                    at = from;
                }
                Resume::Empty => return Stop::Fail,
                Resume::Exhausted => return Stop::Exhausted,
            }
        }
    }

    /// Goes through one node.
    #[inline(never)]
    fn node(&mut self, pc: u32, at: usize) -> Next {
        let program = self.program;
        let bytes = self.bytes;
        let nodes = program.nodes.as_slice();
        let class_of: &[u8; 256] = &program.class_of;
        let mut pc = pc;
        let mut at = at;
        let ok = match *node_of(nodes, pc) {
            // All but the first are steps of their own, see `Step::of`.
            Node::Choice(_)
            | Node::Fail
            | Node::Match
            | Node::Done
            | Node::Set { .. }
            | Node::TakeLine { .. }
            | Node::Octets { .. }
            | Node::End { .. }
            | Node::Table { .. }
            | Node::Save { .. }
            | Node::SaveUndo { .. } => false,
            Node::Word { ref word, next } => {
                pc = next;
                let hit = is_word(bytes, at, word);
                at += usize::from(word.len);
                hit
            }
            Node::Wide { mask, wide, next } => {
                pc = next;
                match self.wide_char(at, mask, wide) {
                    Some(behind) => {
                        at = behind;
                        true
                    }
                    None => false,
                }
            }
            Node::Run(ref run) => {
                if self.remembers() && run.keep != Keep::All && !self.scratch.memo.enters(&program.places, pc, at) {
                    false
                } else {
                    match self.begin_run(pc, run, at) {
                        Some(to) => {
                            pc = run.next;
                            at = to;
                            true
                        }
                        None => false,
                    }
                }
            }
            Node::Take { mask, some, next } => {
                let end = if self.remembers() {
                    let (end, tried) = self.reach(pc, None, mask, at);
                    // It would end where it ended before, and what follows has failed there.
                    if tried <= end { None } else { Some(end) }
                } else {
                    let end = span(class_of, bytes, at, mask);
                    self.charge(end.saturating_sub(at));
                    Some(end)
                };
                match end {
                    Some(end) if end > at || !some => {
                        if self.remembers() {
                            self.scratch.memo.tried(pc, end);
                        }
                        pc = next;
                        at = end;
                        true
                    }
                    _ => false,
                }
            }
            Node::Start { next } => {
                pc = next;
                at == 0
            }
            Node::Split { first, second } => {
                if self.remembers() && !self.scratch.memo.enters(&program.places, pc, at) {
                    false
                } else {
                    self.scratch.frames.push((CHOICE | second, short(at), 0));
                    pc = first;
                    true
                }
            }
            Node::SplitWord { ref word, skip, first, second } => {
                if self.remembers() && !self.scratch.memo.enters(&program.places, pc, at) {
                    false
                } else {
                    if is_word(bytes, at, word) {
                        self.scratch.frames.push((CHOICE | second, short(at), 0));
                        pc = first;
                        at += usize::from(skip);
                    } else {
                        pc = second;
                    }
                    true
                }
            }
            Node::Turn { next } => {
                match self.scratch.budget.checked_sub(1) {
                    Some(left) if self.scratch.frames.len() < FRAMES_MAX => self.scratch.budget = left,
                    _ => return Next::Stop(Stop::Exhausted),
                }
                let fresh = !self.remembers() || self.scratch.memo.enters(&program.places, pc, at);
                pc = next;
                fresh
            }
            Node::At { anchor, next } => {
                pc = next;
                self.text.is_at(anchor, short(at))
            }
            Node::Edge { mask, negative, next } => {
                pc = next;
                let word = |byte: Option<&u8>| byte.is_some_and(|&byte| is_in(class_of, byte, mask));
                let before = at > 0 && word(bytes.get(at - 1));
                !bytes.is_empty() && (before != word(bytes.get(at))) != negative
            }
            Node::Behind { mask, next } => {
                pc = next;
                at > 0 && bytes.get(at - 1).is_some_and(|&byte| is_in(class_of, byte, mask))
            }
            Node::NotWord { ref word, next } => {
                pc = next;
                !is_word(bytes, at, word)
            }
            Node::Look { body, behind, negative, next } => {
                pc = next;
                match self.look(body, behind, at) {
                    Stop::Exhausted => return Next::Stop(Stop::Exhausted),
                    Stop::At(height) => {
                        if negative {
                            self.unwind(height);
                        } else {
                            self.cut(height);
                        }
                        !negative
                    }
                    Stop::Fail => negative,
                }
            }
            Node::Atomic { body, next } => {
                pc = next;
                let height = self.scratch.frames.len();
                match self.enclosed(body, at) {
                    Stop::Exhausted => return Next::Stop(Stop::Exhausted),
                    Stop::At(end) => {
                        self.cut(height);
                        at = end;
                        true
                    }
                    Stop::Fail => false,
                }
            }
            Node::Need { literal, next } => {
                pc = next;
                self.is_later(literal, at)
            }
            Node::Backref { group, fold, next } => {
                pc = next;
                match backref(self.scratch, self.text, group, fold, short(at)) {
                    Some(end) => {
                        self.charge(end as usize - at);
                        at = end as usize;
                        true
                    }
                    None => false,
                }
            }
            Node::Cond { group, yes, no } => {
                pc = if self.scratch.group(group).is_some() { yes } else { no };
                true
            }
            Node::LoopStart { register, next } => {
                pc = next;
                self.set_register(register, NONE);
                self.set_register(register + 1, NONE);
                true
            }
            Node::LoopTest { register, min, max, body, next, lazy } => {
                match self.scratch.budget.checked_sub(1) {
                    Some(left) if self.scratch.frames.len() < FRAMES_MAX => self.scratch.budget = left,
                    _ => return Next::Stop(Stop::Exhausted),
                }
                let count = self.register(register).wrapping_add(1);
                if count < min {
                    self.set_register(register, count);
                    pc = body;
                } else if lazy {
                    self.scratch.frames.push((CHOICE | (pc + 1), short(at), 0));
                    pc = next;
                } else if (count < max || max == FOREVER) && self.register(register + 1) != short(at) {
                    self.scratch.frames.push((CHOICE | next, short(at), 0));
                    self.set_register(register, count);
                    self.set_register(register + 1, short(at));
                    pc = body;
                } else {
                    pc = next;
                }
                true
            }
            Node::LoopMore { register, max, body } => {
                let count = self.register(register).wrapping_add(1);
                let more = (count < max || max == FOREVER) && self.register(register + 1) != short(at);
                if more {
                    self.set_register(register, count);
                    self.set_register(register + 1, short(at));
                    pc = body;
                }
                more
            }
        };
        if ok { Next::To(pc, at) } else { Next::Fail }
    }

    /// Where a plain run is left, if not at its end.
    #[inline(never)]
    fn leave_run(&mut self, pc: u32, low: usize, high: usize) -> Option<usize> {
        match self.program.node(pc) {
            Node::Run(run) => self.backward(pc, run, low, high),
            _ => None,
        }
    }

    /// Takes frames until one gives a place to go on.
    fn resume(&mut self, base: usize) -> Resume {
        let program = self.program;
        // Scans are paid for without a look at what is left.
        if self.scratch.budget == 0 {
            return Resume::Exhausted;
        }
        loop {
            if self.scratch.frames.len() <= base {
                return Resume::Empty;
            }
            let Some((head, a, b)) = self.scratch.frames.pop() else { return Resume::Empty };
            let node = head & NODE;
            let tag = head & !NODE;
            if tag == SLOT {
                if let Some(place) = self.scratch.slots.get_mut(a as usize) {
                    *place = b;
                }
                continue;
            }
            if tag == REGISTER {
                if let Some(place) = self.scratch.registers.get_mut(a as usize) {
                    *place = b;
                }
                continue;
            }
            let cost = if self.remembers { 2 } else { 1 };
            match self.scratch.budget.checked_sub(cost) {
                Some(left) => self.scratch.budget = left,
                None => return Resume::Exhausted,
            }
            if !self.scratch.memo.begun {
                self.begin_memo();
            }
            let found = match tag {
                CHOICE => Some((node, a as usize)),
                MOST => self.give_back(node, a as usize, b as usize),
                _ => self.take_more(node, a as usize, b),
            };
            let Some((to, from)) = found else { continue };
            if self.remembers() && !self.scratch.memo.resumes(&program.places, to, from) {
                continue;
            }
            return Resume::At(to, from);
        }
    }

    /// Pays for bytes that were looked at; an overdraft shows at the next step.
    pub(super) fn charge(&mut self, bytes: usize) {
        if bytes >> SCAN_SHIFT > 0 {
            self.scratch.budget = self.scratch.budget.saturating_sub(short(bytes) >> SCAN_SHIFT);
        }
    }

    #[inline(always)]
    fn save_for_good(&mut self, slot: u32, at: usize) {
        if let Some(place) = self.scratch.slots.get_mut(slot as usize) {
            *place = short(at);
        }
    }

    fn save(&mut self, slot: u32, at: usize) {
        if let Some(place) = self.scratch.slots.get_mut(slot as usize) {
            let old = std::mem::replace(place, short(at));
            // With nothing to come back to, the attempt is over anyway; but a look-around goes on.
            if self.depth > 0 || !self.scratch.frames.is_empty() {
                self.scratch.frames.push((SLOT, slot, old));
            }
        }
    }

    fn register(&self, register: u32) -> u32 {
        self.scratch.registers.get(register as usize).copied().unwrap_or(NONE)
    }

    fn set_register(&mut self, register: u32, value: u32) {
        if let Some(place) = self.scratch.registers.get_mut(register as usize) {
            let old = std::mem::replace(place, value);
            self.scratch.frames.push((REGISTER, register, old));
        }
    }

    /// Whether a literal occurs at a position or later.
    #[inline(never)]
    fn is_later(&mut self, literal: u32, at: usize) -> bool {
        if self.scratch.needs.is_empty() {
            for need in &self.program.needs {
                let last = last_of(self.bytes, need).map_or(NONE, short);
                self.scratch.needs.push(last);
            }
        }
        match self.scratch.needs.get(literal as usize) {
            Some(&last) => last != NONE && short(at) <= last,
            None => true,
        }
    }

    /// Runs a body of its own; failed states are not remembered inside.
    #[inline(never)]
    fn enclosed(&mut self, body: u32, at: usize) -> Stop {
        match self.scratch.budget.checked_sub(1) {
            Some(left) => self.scratch.budget = left,
            None => return Stop::Exhausted,
        }
        self.depth += 1;
        let remembers = std::mem::replace(&mut self.remembers, false);
        let stop = self.run(body, at);
        self.remembers = remembers;
        self.depth -= 1;
        stop
    }

    /// Runs a look-around; the answer is the height of the stack before it.
    #[inline(never)]
    fn look(&mut self, body: u32, behind: u32, at: usize) -> Stop {
        let height = self.scratch.frames.len();
        let Some(from) = self.text.back(short(at), behind) else { return Stop::Fail };
        match self.enclosed(body, from as usize) {
            Stop::At(_) => Stop::At(height),
            other => other,
        }
    }

    /// Forgets the choices above a height, but keeps the old values.
    #[inline(never)]
    fn cut(&mut self, height: usize) {
        let frames = &mut self.scratch.frames;
        let mut kept = height;
        for from in height..frames.len() {
            let Some(&frame) = frames.get(from) else { break };
            if matches!(frame.0 & !NODE, SLOT | REGISTER) {
                if let Some(place) = frames.get_mut(kept) {
                    *place = frame;
                }
                kept += 1;
            }
        }
        frames.truncate(kept);
    }

    /// Takes back everything above a height.
    #[inline(never)]
    fn unwind(&mut self, height: usize) {
        while self.scratch.frames.len() > height {
            match self.scratch.frames.pop() {
                Some((head, slot, old)) if head & !NODE == SLOT => {
                    if let Some(place) = self.scratch.slots.get_mut(slot as usize) {
                        *place = old;
                    }
                }
                Some((head, register, old)) if head & !NODE == REGISTER => {
                    if let Some(place) = self.scratch.registers.get_mut(register as usize) {
                        *place = old;
                    }
                }
                _ => {}
            }
        }
    }
}

enum Resume {
    At(u32, usize),
    Empty,
    Exhausted,
}

impl Program {
    pub(super) fn node(&self, at: u32) -> &Node {
        node_of(&self.nodes, at)
    }

    pub(super) fn is_in(&self, byte: u8, mask: u64) -> bool {
        is_in(&self.class_of, byte, mask)
    }

    pub(super) fn span(&self, bytes: &[u8], at: usize, mask: u64) -> usize {
        span(&self.class_of, bytes, at, mask)
    }
}

/// Is this what `$` means?
#[inline(always)]
fn is_end(bytes: &[u8], at: usize) -> bool {
    at + 1 >= bytes.len() && bytes.get(at).is_none_or(|&byte| byte == b'\n')
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "every node names nodes of its own program, each of which has a step")]
fn step_of(steps: &[Step], at: u32) -> &Step {
    &steps[at as usize]
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "every node names nodes of its own program, see finish.rs")]
fn node_of(nodes: &[Node], at: u32) -> &Node {
    &nodes[at as usize]
}

#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "the array has an entry for each byte")]
pub(super) fn is_in(class_of: &[u8; 256], byte: u8, mask: u64) -> bool {
    mask >> (class_of[usize::from(byte)] & 63) & 1 == 1
}

/// Where a table (its place and its end's target) leads with the next byte.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "a table has an entry for each class, see finish.rs")]
fn target(tables: &[u16], class_of: &[u8; 256], (base, end): (u32, u32), byte: Option<&u8>) -> u32 {
    match byte {
        Some(&byte) => u32::from(tables[base as usize + usize::from(class_of[usize::from(byte)])]),
        None => end,
    }
}

/// The end of a run of whole bytes.
#[inline(always)]
fn span(class_of: &[u8; 256], bytes: &[u8], at: usize, mask: u64) -> usize {
    at + members(class_of, bytes, at, mask)
}

/// How many bytes in a row belong to a set.
#[inline(always)]
fn members(class_of: &[u8; 256], bytes: &[u8], at: usize, mask: u64) -> usize {
    let Some(rest) = bytes.get(at..) else { return 0 };
    rest.iter().position(|&byte| !is_in(class_of, byte, mask)).unwrap_or(rest.len())
}

/// The same, but no more than so many.
#[inline(always)]
fn few_members(class_of: &[u8; 256], bytes: &[u8], at: usize, mask: u64, max: u8) -> usize {
    let Some(rest) = bytes.get(at..) else { return 0 };
    let rest = rest.get(..usize::from(max)).unwrap_or(rest);
    rest.iter().position(|&byte| !is_in(class_of, byte, mask)).unwrap_or(rest.len())
}

/// The end of three times one to three digits and a dot.
fn octets(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    for _ in 0..3 {
        at += match bytes.get(at..)? {
            [b'0'..=b'9', b'.', ..] => 2,
            [b'0'..=b'9', b'0'..=b'9', b'.', ..] => 3,
            [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'.', ..] => 4,
            _ => return None,
        };
    }
    Some(at)
}

/// Whether the bytes of a word stand at a position.
#[inline(always)]
pub(super) fn is_word(bytes: &[u8], at: usize, word: &Word) -> bool {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(chunk) => (u64::from_le_bytes(*chunk) | word.or) & word.mask == word.value,
        None => is_word_near_end(bytes, at, word),
    }
}

#[cold]
fn is_word_near_end(bytes: &[u8], at: usize, word: &Word) -> bool {
    let Some(rest) = bytes.get(at..at + usize::from(word.len)) else { return false };
    let mut chunk = [0; 8];
    for (to, from) in chunk.iter_mut().zip(rest) {
        *to = *from;
    }
    (u64::from_le_bytes(chunk) | word.or) & word.mask == word.value
}

/// Where a literal occurs for the last time.
fn last_of(bytes: &[u8], literal: &[u8]) -> Option<usize> {
    let first = *literal.first()?;
    let mut end = bytes.len();
    loop {
        let at = memrchr(first, bytes.get(..end)?)?;
        if bytes.get(at..).is_some_and(|rest| rest.starts_with(literal)) {
            return Some(at);
        }
        end = at;
    }
}
