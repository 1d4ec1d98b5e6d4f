//! Runs of single characters: how far they reach, and where they can be left.

use memchr::{memchr, memrchr};

use super::memo::Stretch;
use super::node::{FAIL, Keep, Node, Run};
use super::run::{LEAST, MOST, Search, is_in, is_word, short};
use crate::search::NONE;
use crate::set::within;
use crate::tree::FOREVER;

/// Walking through a run costs more than scanning it.
const WALK: usize = 4;

impl Search<'_> {
    /// Enters a run: where it goes on first. Frames for the other ways are pushed.
    pub(super) fn begin_run(&mut self, pc: u32, run: &Run, at: usize) -> Option<usize> {
        if run.keep == Keep::Least {
            let low = self.scan(run, at, run.min, run.min)?.1;
            let limit = match run.max {
                FOREVER => NONE,
                max => short(self.scan(run, low, 0, max - run.min)?.1),
            };
            return self.forward(pc, run, low, limit, None);
        }
        if self.remembers() && run.max == FOREVER && run.min <= 1 {
            return self.begin_known(pc, run, at);
        }
        let (low, high) = if self.program.ascii && !run.line && run.stop == FAIL {
            self.scan_bytes(run, at)?
        } else {
            self.scan(run, at, run.min, run.max)?
        };
        self.charge(high - at);
        if run.keep == Keep::All {
            return Some(high);
        }
        if !self.can_leave(run, high) {
            return self.backward(pc, run, low, high);
        }
        if high > low {
            self.scratch.frames.push((MOST | pc, short(low), short(high)));
        }
        Some(high)
    }

    /// [`Search::scan`] where every byte is a character.
    #[inline(always)]
    pub(super) fn scan_bytes(&self, run: &Run, at: usize) -> Option<(usize, usize)> {
        let rest = self.bytes.get(at..)?;
        let rest = rest.get(..run.max as usize).unwrap_or(rest);
        let class_of: &[u8; 256] = &self.program.class_of;
        let many = rest.iter().position(|&byte| !is_in(class_of, byte, run.mask)).unwrap_or(rest.len());
        let min = run.min as usize;
        (many >= min).then_some((at + min, at + many))
    }

    /// Whether failed states are remembered here.
    #[inline(always)]
    pub(super) fn remembers(&self) -> bool {
        self.remembers
    }

    #[cold]
    #[inline(never)]
    pub(super) fn begin_memo(&mut self) {
        if !self.scratch.memo.begun && self.depth == 0 && self.scratch.steps() > self.program.memo_from {
            self.scratch.memo.begin(&self.program.places, self.bytes.len());
            self.remembers = self.scratch.memo.on;
        }
    }

    /// Enters a run while failed states are remembered: it is left only at positions that
    /// were not tried from an earlier start in the same stretch.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_known(&mut self, pc: u32, run: &Run, at: usize) -> Option<usize> {
        let low = if run.min == 0 { at } else { self.run_member(run, at)? };
        let (end, tried) = self.reach(pc, Some(run), run.mask, at);
        if low >= tried || (run.keep == Keep::All && tried <= end) {
            return None;
        }
        if run.keep == Keep::All {
            self.scratch.memo.tried(pc, end);
            return Some(end);
        }
        let high = if tried <= end { self.step_back(tried) } else { end };
        self.backward(pc, run, low, high)
    }

    /// The end of a run's stretch, and from where on leaving it has failed. No stretch is scanned twice.
    #[cold]
    #[inline(never)]
    pub(super) fn reach(&mut self, pc: u32, run: Option<&Run>, mask: u64, at: usize) -> (usize, usize) {
        let known = self.scratch.memo.stretch(pc);
        if known.has(at) {
            return (known.to, known.tried);
        }
        let limit = if at < known.from && known.from <= known.to { known.from } else { self.bytes.len() };
        let mut x = at;
        match run {
            Some(run) if run.wide != 0 || run.stop != FAIL => {
                while x < limit {
                    match self.run_member(run, x) {
                        Some(next) => x = next,
                        None => break,
                    }
                }
            }
            _ => {
                let rest = self.bytes.get(..limit).unwrap_or_default();
                x = self.program.span(rest, at, mask);
            }
        }
        self.charge(x - at);
        let stretch =
            if known.has(x) { Stretch { from: at, ..known } } else { Stretch { from: at, to: x, tried: x + 1 } };
        self.scratch.memo.set_stretch(pc, stretch);
        (stretch.to, stretch.tried)
    }

    /// The highest position from `high` down to `low` where the run can be left.
    pub(super) fn backward(&mut self, pc: u32, run: &Run, low: usize, high: usize) -> Option<usize> {
        let mut x = high;
        let mut above = high + 1;
        if !self.remembers()
            && let Some(first) = self.first_of_word(run.word)
        {
            // Only where the literal's first byte stands.
            let within = |from: usize| self.bytes.get(low..from);
            x = within(high.saturating_add(1)).or_else(|| within(high)).map_or(low, |within| {
                let mut end = within.len();
                while let Some(at) = within.get(..end).and_then(|within| memrchr(first, within)) {
                    if self.can_leave(run, low + at) {
                        return low + at;
                    }
                    end = at;
                }
                low
            });
        }
        while !self.can_leave(run, x) {
            if x <= low {
                self.charge(WALK * (high - x));
                if self.remembers() {
                    self.scratch.memo.tried(pc, x);
                }
                return None;
            }
            above = x;
            x = self.step_back(x);
        }
        self.charge(WALK * (high - x));
        if self.remembers() {
            self.scratch.memo.tried(pc, above);
        }
        if x > low {
            self.scratch.frames.push((MOST | pc, short(low), short(x)));
        }
        Some(x)
    }

    pub(super) fn give_back(&mut self, node: u32, low: usize, last: usize) -> Option<(u32, usize)> {
        let program = self.program;
        let Node::Run(run) = program.node(node) else { return None };
        if self.remembers() {
            self.scratch.memo.tried(node, last);
        }
        let high = self.step_back(last);
        self.backward(node, run, low, high).map(|x| (run.next, x))
    }

    /// The lowest position from `low` on where the run can be left; `last` is where leaving it failed.
    pub(super) fn forward(&mut self, pc: u32, run: &Run, low: usize, limit: u32, last: Option<usize>) -> Option<usize> {
        let learns = self.remembers() && limit == NONE;
        let known = if learns { self.scratch.memo.stretch(pc) } else { Stretch::NONE };
        let mut x = low;
        loop {
            if known.has(x) {
                // Every way out from here on has failed before.
                self.scratch.memo.row_ends(pc, last, low, known.to);
                self.charge(WALK * (x - low));
                return None;
            }
            if self.can_leave(run, x) {
                break;
            }
            match self.one_more(run, x, limit) {
                Some(next) => x = next,
                None => {
                    if learns {
                        self.scratch.memo.row_ends(pc, last, low, x);
                    }
                    self.charge(WALK * (x - low));
                    return None;
                }
            }
        }
        if learns {
            self.scratch.memo.row(pc, last, low, x);
        }
        self.charge(WALK * (x - low));
        self.scratch.frames.push((LEAST | pc, short(x), limit));
        Some(x)
    }

    #[inline(never)]
    pub(super) fn take_more(&mut self, node: u32, last: usize, limit: u32) -> Option<(u32, usize)> {
        let program = self.program;
        let Node::Run(run) = program.node(node) else { return None };
        match self.one_more(run, last, limit) {
            Some(low) => self.forward(node, run, low, limit, Some(last)).map(|x| (run.next, x)),
            None => {
                if self.remembers() && limit == NONE {
                    self.scratch.memo.row_ends(node, Some(last), last, last);
                }
                None
            }
        }
    }

    pub(super) fn one_more(&self, run: &Run, x: usize, limit: u32) -> Option<usize> {
        if short(x) >= limit { None } else { self.run_member(run, x) }
    }

    #[inline(always)]
    pub(super) fn can_leave(&self, run: &Run, x: usize) -> bool {
        let possible = match self.bytes.get(x) {
            Some(&byte) => self.program.is_in(byte, run.follow),
            None => run.at_end,
        };
        possible && (run.word == FAIL || self.is_word_node(run.word, x))
    }

    pub(super) fn is_word_node(&self, node: u32, x: usize) -> bool {
        match self.program.node(node) {
            Node::Word { word, .. } | Node::NotWord { word, .. } => is_word(self.bytes, x, word),
            _ => true,
        }
    }

    /// The byte that a literal begins with, if that is but one.
    fn first_of_word(&self, node: u32) -> Option<u8> {
        match self.program.node(node) {
            Node::Word { word, .. } if word.len > 0 && word.or & 0xff == 0 => {
                word.value.to_le_bytes().first().copied().filter(|byte| byte & 0xc0 != 0x80)
            }
            _ => None,
        }
    }

    pub(super) fn step_back(&self, x: usize) -> usize {
        let mut x = x - 1;
        while !self.program.ascii && x > 0 && self.bytes.get(x).is_some_and(|byte| byte & 0xc0 == 0x80) {
            x -= 1;
        }
        x
    }

    /// The position behind one member of a set at a position.
    pub(super) fn member(&self, mask: u64, wide: u16, x: usize) -> Option<usize> {
        let byte = *self.bytes.get(x)?;
        if byte < 0x80 {
            return self.program.is_in(byte, mask).then_some(x + 1);
        }
        self.wide_char(x, mask, wide)
    }

    /// One character whose members above ASCII are a list, or all if the mask says so.
    #[inline(never)]
    pub(super) fn wide_char(&self, x: usize, mask: u64, wide: u16) -> Option<usize> {
        let byte = *self.bytes.get(x)?;
        if byte < 0x80 {
            return self.program.is_in(byte, mask).then_some(x + 1);
        }
        let (c, behind) = self.text.char_at(short(x))?;
        let member = match wide {
            0 => self.program.is_in(byte, mask),
            index => self.program.wides.get(usize::from(index) - 1).is_some_and(|ranges| within(ranges, c)),
        };
        member.then_some(behind as usize)
    }

    /// The positions behind `min` and behind at most `max` members.
    pub(super) fn scan(&mut self, run: &Run, at: usize, min: u32, max: u32) -> Option<(usize, usize)> {
        let program = self.program;
        let bytes = self.bytes;
        if run.stop != FAIL {
            return self.scan_chars(run, at, min, max);
        }
        let unbounded = max == FOREVER && min <= 1;
        if run.line && unbounded {
            let high = self.line_end(at);
            let low = if min == 0 { at } else { self.member(run.mask, run.wide, at)? };
            return Some((low, high));
        }
        if run.wide == 0 && (unbounded || program.ascii) {
            let rest = bytes.get(at..).unwrap_or_default();
            let rest = match max {
                FOREVER => rest,
                max => rest.get(..max as usize).unwrap_or(rest),
            };
            let many = rest.iter().position(|&byte| !program.is_in(byte, run.mask)).unwrap_or(rest.len());
            let low = match min {
                0 => at,
                1 if many > 0 => self.member(run.mask, run.wide, at)?,
                min if many >= min as usize => at + min as usize,
                _ => return None,
            };
            return Some((low, at + many));
        }
        self.scan_chars(run, at, min, max)
    }

    /// [`Search::scan`] character by character.
    #[inline(never)]
    pub(super) fn scan_chars(&self, run: &Run, at: usize, min: u32, max: u32) -> Option<(usize, usize)> {
        let mut x = at;
        let mut low = at;
        let mut count = 0;
        while count < max || max == FOREVER {
            match self.run_member(run, x) {
                Some(next) => x = next,
                None => break,
            }
            count += 1;
            if count == min {
                low = x;
            }
        }
        (count >= min).then_some((low, x))
    }

    /// The position behind one character of a run.
    pub(super) fn run_member(&self, run: &Run, x: usize) -> Option<usize> {
        if run.stop != FAIL && self.is_word_node(run.stop, x) {
            return None;
        }
        self.member(run.mask, run.wide, x)
    }

    /// The end of the line that a position is in; looked up once for each line.
    #[inline(always)]
    pub(super) fn line_end(&mut self, at: usize) -> usize {
        let (from, to) = self.line;
        if from <= at && at <= to { to } else { self.find_line_end(at) }
    }

    #[inline(never)]
    pub(super) fn find_line_end(&mut self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let end = memchr(b'\n', rest).map_or(self.bytes.len(), |more| at + more);
        self.line = (at, end);
        end
    }
}
