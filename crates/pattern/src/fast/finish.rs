//! Byte classes, and choices as tables over them.

use std::collections::HashMap;

use super::Options;
use super::emit::Emitted;
use super::lower::Lowered;
use super::memo::Places;
use super::node::{Begins, FAIL, Keep, Node, Program};
use super::step::Step;
use crate::first::ByteSet;

/// Most byte classes: one bit each in a mask.
const CLASSES_MAX: usize = 64;

pub(super) fn finish(mut emitted: Emitted, lowered: &Lowered, options: Options) -> Option<Program> {
    let mut sets = emitted.sets.clone();
    for choice in &emitted.choices {
        sets.extend(choice.iter().filter_map(|target| emitted.firsts.get(*target as usize)).map(|first| first.bytes));
    }
    let begin = *emitted.firsts.get(emitted.start as usize)?;
    sets.push(begin.bytes);
    let (class_of, samples) = classes(&sets)?;
    let mask = |set: ByteSet| -> u64 {
        samples.iter().enumerate().filter(|(_, byte)| set.has(**byte)).fold(0, |mask, (class, _)| mask | 1 << class)
    };
    let masks: Vec<u64> = emitted.sets.iter().map(|set| mask(*set)).collect();
    let resolve = |index: u64| usize::try_from(index).ok().and_then(|index| masks.get(index)).copied().unwrap_or(0);
    for node in &mut emitted.nodes {
        match node {
            Node::Set { mask, .. }
            | Node::Wide { mask, .. }
            | Node::Take { mask, .. }
            | Node::Edge { mask, .. }
            | Node::Behind { mask, .. } => {
                *mask = resolve(*mask);
            }
            Node::Run(run) => {
                run.mask = resolve(run.mask);
                run.follow = resolve(run.follow);
            }
            _ => {}
        }
    }
    let mut tables = Tables { emitted: &mut emitted, samples: &samples, tables: Vec::new(), chains: HashMap::new() };
    let mut made = Vec::new();
    for at in 0..tables.emitted.nodes.len() {
        if let Some(Node::Choice(choice)) = tables.emitted.nodes.get(at).copied() {
            made.push((at, tables.choice(choice, options.tables)?));
        }
    }
    let tables = tables.tables;
    for (at, node) in made {
        if let Some(place) = emitted.nodes.get_mut(at) {
            *place = node;
        }
    }
    if emitted.nodes.len() > usize::from(u16::MAX) {
        return None;
    }
    if options.words {
        look_ahead(&mut emitted.nodes);
    }
    let places = Places::new(&emitted.nodes, emitted.memo);
    let begins = begins(&emitted.nodes, emitted.start, lowered.anchored);
    for node in &mut emitted.nodes {
        if let Node::Run(run) = node {
            run.plain = lowered.ascii
                && run.keep != Keep::Least
                && (run.wide, run.stop, run.word, run.line) == (0, FAIL, FAIL, false);
        }
    }
    Some(Program {
        steps: emitted.nodes.iter().map(|node| Step::of(node, &emitted.nodes)).collect(),
        begins,
        nodes: emitted.nodes,
        class_of,
        tables,
        wides: lowered.wides.clone(),
        needs: emitted.needs,
        start: emitted.start,
        slots: 2 * (lowered.groups as usize + 1),
        registers: emitted.registers as usize,
        anchored: lowered.anchored,
        ascii: lowered.ascii,
        first: mask(begin.bytes),
        first_at_end: begin.at_end,
        first_byte: begin.bytes.only().filter(|_| !begin.at_end),
        places,
        memo_from: options.memo_from,
    })
}

/// What every way from a node goes through first; for a program that is not anchored, just the start of the text.
fn begins(nodes: &[Node], from: u32, anchored: bool) -> Begins {
    let mut at = from;
    let (mut words, mut saves, mut bytes) = (Vec::new(), Vec::new(), 0);
    // No more steps than stand before any literal worth the name.
    for _ in 0..16 {
        match nodes.get(at as usize) {
            // Behind a literal it fails.
            Some(Node::Start { next }) if bytes == 0 => at = *next,
            Some(Node::Save { slot, next }) if anchored => {
                saves.push((*slot, bytes));
                at = *next;
            }
            Some(Node::Word { word, next }) if anchored => {
                words.push(*word);
                bytes += u32::from(word.len);
                at = *next;
            }
            _ => break,
        }
    }
    Begins { words: words.into(), saves: saves.into(), bytes, next: at }
}

/// Splits whose first way begins with a literal look for it before they try that way.
fn look_ahead(nodes: &mut [Node]) {
    for at in 0..nodes.len() {
        let Some(&Node::Split { first, second }) = nodes.get(at) else { continue };
        let mut way = first;
        // Saving a place changes nothing that the literal depends on.
        for _ in 0..4 {
            match nodes.get(way as usize) {
                Some(&Node::SaveUndo { next, .. }) => way = next,
                Some(&Node::Word { word, next }) if word.len > 1 => {
                    let (skip, first) = if way == first { (word.len, next) } else { (0, first) };
                    if let Some(place) = nodes.get_mut(at) {
                        *place = Node::SplitWord { word, skip, first, second };
                    }
                    break;
                }
                _ => break,
            }
        }
    }
}

/// Bytes that no set tells apart share a class; with a sample byte of each class.
fn classes(sets: &[ByteSet]) -> Option<(Box<[u8; 256]>, Vec<u8>)> {
    let mut unique: Vec<ByteSet> = Vec::new();
    for set in sets {
        if !unique.contains(set) {
            unique.push(*set);
        }
    }
    let mut known: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut class_of = Box::new([0; 256]);
    let mut samples = Vec::new();
    for byte in 0..=u8::MAX {
        let signature: Vec<bool> = unique.iter().map(|set| set.has(byte)).collect();
        let next = u8::try_from(known.len()).ok()?;
        let class = *known.entry(signature).or_insert(next);
        if class == next {
            samples.push(byte);
        }
        if let Some(place) = class_of.get_mut(usize::from(byte)) {
            *place = class;
        }
    }
    (samples.len() <= CLASSES_MAX).then_some((class_of, samples))
}

struct Tables<'e> {
    emitted: &'e mut Emitted,
    samples: &'e [u8],
    tables: Vec<u16>,
    /// Lists of targets that have become nodes.
    chains: HashMap<Vec<u32>, u32>,
}

impl Tables<'_> {
    fn choice(&mut self, choice: u32, tables: bool) -> Option<Node> {
        if !tables {
            let targets = self.emitted.choices.get(choice as usize)?.clone();
            return self.node(&targets);
        }
        let mut lists = Vec::with_capacity(self.samples.len() + 1);
        for byte in self.samples.iter().map(|byte| Some(*byte)).chain([None]) {
            let mut list = Vec::new();
            self.viable(choice, byte, &mut list);
            lists.push(list);
        }
        let end = lists.pop()?;
        if lists.iter().all(|list| *list == end) {
            return self.node(&end);
        }
        let end = self.chain(&end)?;
        let base = u32::try_from(self.tables.len()).ok()?;
        let targets: Option<Vec<u32>> = lists.iter().map(|list| self.chain(list)).collect();
        for target in targets? {
            self.tables.push(u16::try_from(target).ok()?);
        }
        Some(Node::Table { base, end })
    }

    /// The targets that can go on with a byte, or at the end; choices among them dissolve.
    fn viable(&self, choice: u32, byte: Option<u8>, out: &mut Vec<u32>) {
        for &target in self.emitted.choices.get(choice as usize).map_or(&[][..], Vec::as_slice) {
            let at = target as usize;
            let (Some(first), Some(node)) = (self.emitted.firsts.get(at), self.emitted.nodes.get(at)) else {
                continue;
            };
            let possible = match byte {
                Some(byte) => first.bytes.has(byte),
                None => first.at_end,
            };
            if !possible {
                continue;
            }
            if let Node::Choice(inner) = node {
                self.viable(*inner, byte, out);
            } else if !out.contains(&target) {
                out.push(target);
            }
        }
    }

    /// Targets in order, as one node.
    fn node(&mut self, targets: &[u32]) -> Option<Node> {
        Some(match targets {
            [] => Node::Fail,
            [only] => Node::Turn { next: *only },
            [first, rest @ ..] => Node::Split { first: *first, second: self.chain(rest)? },
        })
    }

    fn chain(&mut self, targets: &[u32]) -> Option<u32> {
        match targets {
            [] => Some(FAIL),
            [only] => Some(*only),
            _ => {
                if let Some(at) = self.chains.get(targets) {
                    return Some(*at);
                }
                let node = self.node(targets)?;
                self.emitted.nodes.push(node);
                let at = u32::try_from(self.emitted.nodes.len() - 1).ok()?;
                self.chains.insert(targets.to_vec(), at);
                Some(at)
            }
        }
    }
}
