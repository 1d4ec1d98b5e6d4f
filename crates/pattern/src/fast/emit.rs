//! From parts to nodes, each emitted after everything that follows it.
//!
//! What follows is a list of items shared by all alternatives in front of it
//! and emitted once for each state of the groups that conditionals test: a
//! tested group is known to be unset at the start and known to be set behind
//! its end, so most conditionals are decided here and leave no node.

use std::collections::HashMap;
use std::rc::Rc;

use super::Options;
use super::lower::{Chars, Lowered, Part, Piece, groups, leads, newline, nullable, single, size};
use super::node::{FAIL, Keep, Node, Run, Word};
use crate::first::ByteSet;
use crate::set::{ASCII_DIGIT, ASCII_WORD, Set};
use crate::tree::{Anchor, FOREVER, Greed};

/// Most nodes of a program.
const NODES_MAX: usize = 20_000;
/// Longest chain of items in front of each other; bounds the compiler's recursion.
const DEPTH_MAX: usize = 400;
/// Largest counted repeat that is written out, in nodes.
const UNROLL_MAX: usize = 400;
/// Most tested groups whose state is followed.
const TESTED_MAX: usize = 16;
/// From so many nodes on, conditionals stay what they are.
const COPIES_MAX: usize = 6_000;

/// What a node can begin with, everything behind it included.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) bytes: ByteSet,
    /// It may succeed at the end of the text.
    pub(super) at_end: bool,
}

const ANYTHING: First = First { bytes: ByteSet::FULL, at_end: true };
const NOTHING: First = First { bytes: ByteSet::EMPTY, at_end: false };

/// An emitted program, its masks still indices of sets.
pub(super) struct Emitted {
    pub(super) nodes: Vec<Node>,
    pub(super) firsts: Vec<First>,
    pub(super) sets: Vec<ByteSet>,
    pub(super) choices: Vec<Vec<u32>>,
    pub(super) needs: Vec<Vec<u8>>,
    pub(super) start: u32,
    pub(super) registers: u32,
    /// A backreference, a run-time conditional or a counting loop makes more than node and position count.
    pub(super) memo: bool,
}

#[derive(Clone, Copy)]
enum Item<'t> {
    Part(&'t Part),
    /// The end of a group.
    Close {
        group: u32,
        spine: bool,
    },
    /// The rest of a repeat that is written out.
    Again {
        body: &'t Part,
        min: u32,
        max: u32,
        lazy: bool,
    },
    Jump(u32),
}

struct Cell<'t> {
    item: Item<'t>,
    rest: Option<List<'t>>,
}

type List<'t> = Rc<Cell<'t>>;

/// Two bits for each tested group.
type Known = u32;
const UNSET: u32 = 0;
const SET: u32 = 1;
const UNKNOWN: u32 = 2;

struct Emit<'t> {
    lowered: &'t Lowered,
    options: Options,
    out: Emitted,
    interned: HashMap<ByteSet, u32>,
    memo: HashMap<(*const Cell<'t>, Known), u32>,
    /// Keeps the lists alive whose addresses are in the memo.
    kept: Vec<List<'t>>,
    depth: usize,
    match_node: u32,
}

/// The program would grow too large.
struct TooLarge;

pub(super) fn emit(lowered: &Lowered, options: Options) -> Option<Emitted> {
    let out = Emitted {
        nodes: Vec::new(),
        firsts: Vec::new(),
        sets: Vec::new(),
        choices: Vec::new(),
        needs: Vec::new(),
        start: FAIL,
        registers: 0,
        memo: options.memo,
    };
    let mut emit = Emit {
        lowered,
        options,
        out,
        interned: HashMap::new(),
        memo: HashMap::new(),
        kept: Vec::new(),
        depth: 0,
        match_node: 0,
    };
    emit.push(Node::Fail, NOTHING).ok()?;
    emit.match_node = emit.push(Node::Match, ANYTHING).ok()?;
    let end = cell(Item::Jump(emit.match_node), None);
    let start = emit.list(&cell(Item::Part(&lowered.root), Some(end)), 0).ok()?;
    emit.out.start = start;
    Some(emit.out)
}

fn cell<'t>(item: Item<'t>, rest: Option<List<'t>>) -> List<'t> {
    Rc::new(Cell { item, rest })
}

impl<'t> Emit<'t> {
    fn push(&mut self, node: Node, first: First) -> Result<u32, TooLarge> {
        if self.out.nodes.len() >= NODES_MAX {
            return Err(TooLarge);
        }
        self.out.nodes.push(node);
        self.out.firsts.push(first);
        u32::try_from(self.out.nodes.len() - 1).map_err(|_| TooLarge)
    }

    fn set_node(&mut self, at: u32, node: Node) {
        if let Some(place) = self.out.nodes.get_mut(at as usize) {
            *place = node;
        }
    }

    fn node(&self, at: u32) -> Node {
        self.out.nodes.get(at as usize).copied().unwrap_or(Node::Fail)
    }

    fn first(&self, at: u32) -> First {
        self.out.firsts.get(at as usize).copied().unwrap_or(ANYTHING)
    }

    fn intern(&mut self, set: ByteSet) -> u64 {
        let next = u32::try_from(self.out.sets.len()).unwrap_or(u32::MAX);
        let index = *self.interned.entry(set).or_insert(next);
        if index == next {
            self.out.sets.push(set);
        }
        u64::from(index)
    }

    fn rest(&mut self, cell: &Cell<'t>, known: Known) -> Result<u32, TooLarge> {
        match &cell.rest {
            Some(rest) => self.list(rest, known),
            None => Ok(FAIL),
        }
    }

    fn list(&mut self, list: &List<'t>, known: Known) -> Result<u32, TooLarge> {
        if let Item::Jump(to) = list.item {
            return Ok(to);
        }
        let key = (Rc::as_ptr(list), known);
        if let Some(&at) = self.memo.get(&key) {
            return Ok(at);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TooLarge);
        }
        let at = self.item(list, known)?;
        self.depth -= 1;
        self.memo.insert(key, at);
        self.kept.push(list.clone());
        Ok(at)
    }

    fn item(&mut self, list: &List<'t>, known: Known) -> Result<u32, TooLarge> {
        match list.item {
            Item::Jump(to) => Ok(to),
            Item::Part(part) => self.part(part, list, known),
            Item::Close { group, spine } => {
                let next = self.rest(list, self.with(known, group, SET))?;
                self.save(2 * group + 1, spine, next)
            }
            Item::Again { body, min, max, lazy } => self.again(body, min, max, lazy, list, known),
        }
    }

    fn part(&mut self, part: &'t Part, list: &List<'t>, known: Known) -> Result<u32, TooLarge> {
        match part {
            Part::Fail => Ok(FAIL),
            Part::Literal(pieces) => {
                let mut next = self.rest(list, known)?;
                let size = if self.options.words { 8 } else { 1 };
                // The first word is a long one: it is what most texts fail at.
                for chunk in pieces.chunks(size).rev() {
                    next = self.word(chunk, next)?;
                }
                Ok(next)
            }
            Part::Chars(chars) => {
                let next = self.rest(list, known)?;
                self.chars(chars, next)
            }
            Part::At(anchor) => {
                let next = self.rest(list, known)?;
                self.anchor(*anchor, next)
            }
            Part::Concat(parts) => {
                let mut inner = list.rest.clone();
                for part in parts.iter().rev() {
                    inner = Some(cell(Item::Part(part), inner));
                }
                match inner {
                    Some(inner) => self.list(&inner, known),
                    None => Ok(FAIL),
                }
            }
            Part::Alt(parts) => {
                let mut targets = Vec::with_capacity(parts.len());
                for part in parts {
                    let target = self.list(&cell(Item::Part(part), list.rest.clone()), known)?;
                    targets.push(self.needing(part, target, list, known)?);
                }
                self.choice(targets)
            }
            Part::Group { index, spine, body } => {
                let close = cell(Item::Close { group: *index, spine: *spine }, list.rest.clone());
                let next = self.list(&cell(Item::Part(body), Some(close)), known)?;
                self.save(2 * index, *spine, next)
            }
            Part::Repeat { min, max, greed, body } => self.repeat(*min, *max, *greed, body, list, known),
            Part::Atomic(body) => {
                let after = self.blur(known, body);
                let next = self.rest(list, after)?;
                let body = self.enclosed(body, known)?;
                // The body's own end counts as anything, so a body that may be empty is anything.
                let begin = self.first(body);
                let first = First { bytes: begin.bytes, at_end: begin.at_end && self.first(next).at_end };
                self.push(Node::Atomic { body, next }, first)
            }
            Part::Look { negative, behind, body } => self.look(*negative, *behind, body, list, known),
            Part::Backref(group, fold) => {
                self.out.memo = false;
                let next = self.rest(list, known)?;
                self.push(Node::Backref { group: *group, fold: *fold, next }, ANYTHING)
            }
            Part::Cond { group, yes, no } => {
                let state = match self.out.nodes.len() < COPIES_MAX {
                    true => self.state(known, *group),
                    false => UNKNOWN,
                };
                match state {
                    SET => self.list(&cell(Item::Part(yes), list.rest.clone()), known),
                    UNSET => self.list(&cell(Item::Part(no), list.rest.clone()), known),
                    _ => {
                        self.out.memo = false;
                        let yes = self.list(&cell(Item::Part(yes), list.rest.clone()), known)?;
                        let no = self.list(&cell(Item::Part(no), list.rest.clone()), known)?;
                        let mut first = self.first(yes);
                        first.bytes.add_all(self.first(no).bytes);
                        first.at_end |= self.first(no).at_end;
                        self.push(Node::Cond { group: *group, yes, no }, first)
                    }
                }
            }
        }
    }

    /// A body that ends in itself: of a look-around or an atomic group.
    fn enclosed(&mut self, body: &'t Part, known: Known) -> Result<u32, TooLarge> {
        let done = self.push(Node::Done, ANYTHING)?;
        self.list(&cell(Item::Part(body), Some(cell(Item::Jump(done), None))), known)
    }

    fn state(&self, known: Known, group: u32) -> u32 {
        if !self.options.conditionals {
            return UNKNOWN;
        }
        match self.lowered.tested.iter().take(TESTED_MAX).position(|tested| *tested == group) {
            Some(at) => known >> (2 * at) & 3,
            None => UNKNOWN,
        }
    }

    fn with(&self, known: Known, group: u32, state: u32) -> Known {
        match self.lowered.tested.iter().take(TESTED_MAX).position(|tested| *tested == group) {
            Some(at) => known & !(3 << (2 * at)) | state << (2 * at),
            None => known,
        }
    }

    /// After a part that may or may not be taken, its groups may or may not be set.
    fn blur(&self, known: Known, part: &Part) -> Known {
        let mut inner = Vec::new();
        if !self.lowered.tested.is_empty() {
            groups(part, &mut inner);
        }
        inner.into_iter().fold(known, |known, group| match self.state(known, group) {
            SET => known,
            _ => self.with(known, group, UNKNOWN),
        })
    }

    fn save(&mut self, slot: u32, spine: bool, next: u32) -> Result<u32, TooLarge> {
        let node = if spine { Node::Save { slot, next } } else { Node::SaveUndo { slot, next } };
        self.push(node, self.first(next))
    }

    fn word(&mut self, pieces: &[Piece], next: u32) -> Result<u32, TooLarge> {
        let mut first = NOTHING;
        if let Some(piece) = pieces.first() {
            first.bytes.add(piece.value);
            first.bytes.add(piece.value & !piece.or);
        }
        let word = word(pieces);
        match self.node(next) {
            Node::Word { word: behind, next } if self.options.words && word.len + behind.len <= 8 => {
                self.push(Node::Word { word: word.joined(behind), next }, first)
            }
            _ => self.push(Node::Word { word, next }, first),
        }
    }

    fn chars(&mut self, chars: &Chars, next: u32) -> Result<u32, TooLarge> {
        let mask = self.intern(chars.bytes);
        let first = First { bytes: chars.leads, at_end: false };
        match self.wide(chars)? {
            Some(wide) => self.push(Node::Wide { mask, wide, next }, first),
            None => self.push(Node::Set { mask, next }, first),
        }
    }

    /// Members above ASCII as nodes name them: index + 1, or 0 for all of them.
    fn wide(&self, chars: &Chars) -> Result<Option<u16>, TooLarge> {
        match (chars.complete, chars.wide) {
            (true, _) => Ok(Some(0)),
            (false, None) => Ok(None),
            (false, Some(index)) => u16::try_from(index + 1).map(Some).map_err(|_| TooLarge),
        }
    }

    fn anchor(&mut self, anchor: Anchor, next: u32) -> Result<u32, TooLarge> {
        let mut first = self.first(next);
        match anchor {
            Anchor::End | Anchor::LineEnd => first.bytes = first.bytes.and(newline()),
            Anchor::TextEnd => first.bytes = ByteSet::EMPTY,
            Anchor::Start => return self.push(Node::Start { next }, first),
            Anchor::Boundary { ascii } | Anchor::NotBoundary { ascii } if self.lowered.ascii || ascii => {
                let mask = self.intern(ByteSet::leads(&Set { ascii: ASCII_WORD, wide: Vec::new() }));
                let negative = matches!(anchor, Anchor::NotBoundary { .. });
                return self.push(Node::Edge { mask, negative, next }, first);
            }
            _ => {}
        }
        match anchor {
            Anchor::End => self.push(Node::End { next }, first),
            anchor => self.push(Node::At { anchor, next }, first),
        }
    }

    fn look(
        &mut self,
        negative: bool,
        behind: Option<u32>,
        body: &'t Part,
        list: &List<'t>,
        known: Known,
    ) -> Result<u32, TooLarge> {
        let after = if negative { known } else { self.blur(known, body) };
        let next = self.rest(list, after)?;
        let mut first = self.first(next);
        match (negative, behind, body) {
            (true, None, Part::Literal(pieces)) if pieces.len() <= 8 => {
                return self.push(Node::NotWord { word: word(pieces), next }, first);
            }
            (false, Some(1), part) => {
                if let Some(chars) = single(part).filter(|chars| chars.wide.is_none() && !chars.complete) {
                    let mask = self.intern(chars.bytes);
                    return self.push(Node::Behind { mask, next }, first);
                }
            }
            _ => {}
        }
        let body = self.enclosed(body, known)?;
        if !negative && behind.is_none() {
            first.bytes = first.bytes.and(self.first(body).bytes);
            first.at_end &= self.first(body).at_end;
        }
        self.push(Node::Look { body, behind: behind.unwrap_or(0), negative, next }, first)
    }

    /// One of several, in order; what cannot match or was tried before is left out.
    fn choice(&mut self, targets: Vec<u32>) -> Result<u32, TooLarge> {
        let mut unique: Vec<u32> = Vec::with_capacity(targets.len());
        for target in targets {
            if target != FAIL && !unique.contains(&target) {
                unique.push(target);
            }
        }
        match unique.as_slice() {
            [] => return Ok(FAIL),
            [only] => return Ok(*only),
            _ => {}
        }
        let mut first = NOTHING;
        for target in &unique {
            first.bytes.add_all(self.first(*target).bytes);
            first.at_end |= self.first(*target).at_end;
        }
        let index = u32::try_from(self.out.choices.len()).map_err(|_| TooLarge)?;
        self.out.choices.push(unique);
        self.push(Node::Choice(index), first)
    }

    fn repeat(
        &mut self,
        min: u32,
        max: u32,
        greed: Greed,
        body: &'t Part,
        list: &List<'t>,
        known: Known,
    ) -> Result<u32, TooLarge> {
        if let Some(chars) = single(body)
            && ((min, max) != (0, 1) || greed == Greed::Possessive)
        {
            let next = self.rest(list, known)?;
            return self.run(&chars, &[], min, max, greed, next);
        }
        if let Some((literal, chars)) = tempered(body)
            && max == FOREVER
            && self.options.tempered
        {
            let next = self.rest(list, known)?;
            return self.run(&chars, literal, min, max, greed, next);
        }
        if self.options.words && min == 3 && max == 3 && is_octet(body) {
            let next = self.rest(list, known)?;
            let mut first = NOTHING;
            (b'0'..=b'9').for_each(|digit| first.bytes.add(digit));
            return self.push(Node::Octets { next }, first);
        }
        let lazy = greed == Greed::Lazy;
        let one = size(body);
        let copies = if max == FOREVER { min } else { max } as usize;
        let small = one.saturating_mul(copies) <= UNROLL_MAX || copies <= 1;
        if !nullable(body) && small && (self.options.unroll || copies <= 1) {
            return self.again(body, min, max, lazy, list, known);
        }
        self.counted(min, max, lazy, body, list, known)
    }

    /// A run of characters up to where `stop` stands, if that is not empty.
    fn run(
        &mut self,
        chars: &Chars,
        stop: &[Piece],
        min: u32,
        max: u32,
        greed: Greed,
        next: u32,
    ) -> Result<u32, TooLarge> {
        let after = self.first(next);
        let disjoint = self.options.possessive
            && (!chars.leads.meets(after.bytes) || (!stop.is_empty() && self.begins_with(next, stop)));
        let stop = match stop {
            [] => FAIL,
            stop => self.push(Node::NotWord { word: word(stop), next: FAIL }, NOTHING)?,
        };
        let keep = match greed {
            Greed::Possessive => Keep::All,
            Greed::Greedy if disjoint || (self.options.possessive && self.accepts(next)) => Keep::All,
            Greed::Greedy => Keep::Most,
            Greed::Lazy if disjoint => Keep::All,
            Greed::Lazy => Keep::Least,
        };
        let mask = self.intern(chars.bytes);
        let follow = if self.options.follow { after } else { ANYTHING };
        let run = Run {
            mask,
            follow: self.intern(follow.bytes),
            next,
            word: if self.options.follow { self.word_behind(next) } else { FAIL },
            stop,
            min,
            max,
            wide: self.wide(chars)?.unwrap_or(0),
            keep,
            at_end: follow.at_end,
            plain: false,
            line: chars.dot && self.options.line && max == FOREVER && min <= 1 && stop == FAIL,
        };
        let mut first = First { bytes: chars.leads, at_end: false };
        if min == 0 {
            first.bytes.add_all(after.bytes);
            first.at_end = after.at_end;
        }
        let some = min == 1;
        let node = match keep {
            Keep::All if run.line => Node::TakeLine { some, next },
            Keep::All if run.wide == 0 && max == FOREVER && min <= 1 && stop == FAIL => Node::Take { mask, some, next },
            _ => Node::Run(run),
        };
        self.push(node, first)
    }

    /// The literal that a node must see first, if there is one.
    fn word_behind(&self, at: u32) -> u32 {
        let mut at = at;
        loop {
            match self.node(at) {
                Node::Save { next, .. } | Node::SaveUndo { next, .. } => at = next,
                Node::Word { word, .. } if word.len > 1 => return at,
                _ => return FAIL,
            }
        }
    }

    /// Whether a node must see a literal first, perhaps with more behind it.
    fn begins_with(&self, at: u32, pieces: &[Piece]) -> bool {
        let stop = word(pieces);
        match self.node(self.word_behind(at)) {
            Node::Word { word, .. } => {
                word.len >= stop.len && word.value & stop.mask == stop.value && word.or & stop.mask == stop.or
            }
            _ => false,
        }
    }

    /// Whether nothing is gained by giving back in front of a node: it accepts where a run ends, or nowhere.
    fn accepts(&self, at: u32) -> bool {
        let mut at = at;
        let mut end_seen = false;
        loop {
            match self.node(at) {
                Node::Save { next, .. } | Node::SaveUndo { next, .. } => at = next,
                Node::End { next } | Node::At { anchor: Anchor::TextEnd, next } if !end_seen => {
                    end_seen = true;
                    at = next;
                }
                Node::Match | Node::Done => return true,
                _ => return false,
            }
        }
    }

    /// A repeat whose body always consumes something, written out.
    fn again(
        &mut self,
        body: &'t Part,
        min: u32,
        max: u32,
        lazy: bool,
        list: &List<'t>,
        known: Known,
    ) -> Result<u32, TooLarge> {
        let fewer = if max == FOREVER { FOREVER } else { max.saturating_sub(1) };
        if min > 0 {
            let rest = cell(Item::Again { body, min: min - 1, max: fewer, lazy }, list.rest.clone());
            return self.list(&cell(Item::Part(body), Some(rest)), known);
        }
        if max == 0 {
            return self.rest(list, known);
        }
        if max != FOREVER {
            let rest = cell(Item::Again { body, min: 0, max: fewer, lazy }, list.rest.clone());
            let more = self.list(&cell(Item::Part(body), Some(rest)), known)?;
            let leave = self.rest(list, known)?;
            let more = self.needing(body, more, list, known)?;
            return self.choice(if lazy { vec![leave, more] } else { vec![more, leave] });
        }
        let known = self.blur(known, body);
        let leave = self.rest(list, known)?;
        let mut first = self.first(leave);
        first.bytes.add_all(leads(body));
        let index = u32::try_from(self.out.choices.len()).map_err(|_| TooLarge)?;
        self.out.choices.push(Vec::new());
        let head = self.push(Node::Choice(index), first)?;
        let turn = self.push(Node::Turn { next: head }, first)?;
        let more = self.list(&cell(Item::Part(body), Some(cell(Item::Jump(turn), None))), known)?;
        let targets = if lazy { vec![leave, more] } else { vec![more, leave] };
        if let Some(choice) = self.out.choices.get_mut(index as usize) {
            *choice = targets.into_iter().filter(|target| *target != FAIL).collect();
        }
        Ok(head)
    }

    /// A repeat that counts its turns and watches for empty ones, like CPython's.
    fn counted(
        &mut self,
        min: u32,
        max: u32,
        lazy: bool,
        body: &'t Part,
        list: &List<'t>,
        known: Known,
    ) -> Result<u32, TooLarge> {
        self.out.memo = false;
        let register = self.out.registers;
        self.out.registers += 2;
        let known = self.blur(known, body);
        let next = self.rest(list, known)?;
        let test = self.push(Node::Fail, ANYTHING)?;
        if lazy {
            self.push(Node::Fail, ANYTHING)?;
        }
        let start = self.list(&cell(Item::Part(body), Some(cell(Item::Jump(test), None))), known)?;
        self.set_node(test, Node::LoopTest { register, min, max, body: start, next, lazy });
        if lazy {
            self.set_node(test + 1, Node::LoopMore { register, max, body: start });
        }
        let mut first = ANYTHING;
        if !nullable(body) {
            first = First { bytes: leads(body), at_end: false };
            if min == 0 {
                first.bytes.add_all(self.first(next).bytes);
                first.at_end = self.first(next).at_end;
            }
        }
        self.push(Node::LoopStart { register, next: test }, first)
    }

    /// Puts a look for a literal in front of an alternative that sets a tested group, where
    /// the conditional it decides begins with that literal.
    fn needing(&mut self, part: &Part, target: u32, list: &List<'t>, known: Known) -> Result<u32, TooLarge> {
        if !self.options.needs || !self.options.conditionals || self.lowered.tested.is_empty() {
            return Ok(target);
        }
        let mut inner = Vec::new();
        groups(part, &mut inner);
        inner.retain(|group| self.state(known, *group) == UNSET && always_sets(part, *group));
        let mut rest = list.rest.as_ref();
        while let Some(cell) = rest {
            if let Item::Part(Part::Cond { group, yes, .. }) = &cell.item
                && inner.contains(group)
                && let Some(literal) = literal_of(yes)
            {
                let found = self.out.needs.iter().position(|known| *known == literal);
                let index = found.unwrap_or_else(|| {
                    self.out.needs.push(literal);
                    self.out.needs.len() - 1
                });
                let literal = u32::try_from(index).map_err(|_| TooLarge)?;
                return self.push(Node::Need { literal, next: target }, self.first(target));
            }
            rest = cell.rest.as_ref();
        }
        Ok(target)
    }
}

/// `(?!literal).`: the literal, of at most eight bytes, and the characters.
fn tempered(part: &Part) -> Option<(&[Piece], Chars)> {
    let Part::Concat(parts) = part else { return None };
    let [Part::Look { negative: true, behind: None, body }, one] = parts.as_slice() else { return None };
    match &**body {
        Part::Literal(pieces) if pieces.len() <= 8 => Some((pieces, single(one)?)),
        _ => None,
    }
}

/// `\d{1,3}\.` in ASCII.
fn is_octet(part: &Part) -> bool {
    let Part::Concat(parts) = part else { return false };
    let [Part::Repeat { min: 1, max: 3, body, .. }, Part::Literal(dot)] = parts.as_slice() else { return false };
    let digits = ByteSet::leads(&Set { ascii: ASCII_DIGIT, wide: Vec::new() });
    single(body).is_some_and(|chars| chars.wide.is_none() && !chars.complete && chars.bytes == digits)
        && *dot == [Piece { value: b'.', or: 0 }]
}

/// Whether every way through the part sets the group.
fn always_sets(part: &Part, group: u32) -> bool {
    match part {
        Part::Group { index, body, .. } => *index == group || always_sets(body, group),
        Part::Concat(parts) => parts.iter().any(|part| always_sets(part, group)),
        Part::Alt(parts) => parts.iter().all(|part| always_sets(part, group)),
        Part::Repeat { min, body, .. } => *min > 0 && always_sets(body, group),
        _ => false,
    }
}

/// The literal that a part begins with, if it is one without folding.
fn literal_of(part: &Part) -> Option<Vec<u8>> {
    match part {
        Part::Literal(pieces) if pieces.iter().all(|piece| piece.or == 0) => {
            Some(pieces.iter().map(|piece| piece.value).collect())
        }
        Part::Concat(parts) => parts.first().and_then(literal_of),
        _ => None,
    }
}

/// Pieces as one comparison of at most eight bytes.
fn word(pieces: &[Piece]) -> Word {
    let mut word = Word { value: 0, or: 0, mask: 0, len: 0 };
    for (at, piece) in pieces.iter().take(8).enumerate() {
        word.value |= u64::from(piece.value) << (8 * at);
        word.or |= u64::from(piece.or) << (8 * at);
        word.mask |= 0xff << (8 * at);
        word.len += 1;
    }
    word
}
