//! Literals without which a pattern cannot match, so that most lines need no look at all.

use crate::set::Set;
use crate::tree::Node;

/// Most literals of one set.
const LITERALS_MAX: usize = 64;
/// Longest literal; longer ones are cut.
const BYTES_MAX: usize = 64;
/// Shortest literal that is worth looking for.
const BYTES_MIN: usize = 2;
/// Shortest part of a literal that may stand for all of it, to be rid of letters of either case.
const EXACT_MIN: usize = 5;
/// Most alternative sets of one pattern.
const SETS_MAX: usize = 32;

/// A set of literals: a text in which none of them occurs has no match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiteralSet {
    /// UTF-8 byte strings of at least two bytes, sorted, none within another.
    /// In lower case if `ignorecase` is set.
    pub literals: Vec<Vec<u8>>,
    /// Whether ASCII letters of the text must be compared without case.
    pub ignorecase: bool,
}

/// Where literals may not be trusted to stand in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hole {
    /// The searched text is the line itself.
    #[default]
    None,
    /// Something between two bytes that are no word characters may have been
    /// cut out of the line before the search (a date between word boundaries).
    BetweenNonWords,
}

/// One byte of a literal; a folded one stands for both cases of a letter.
type Piece = (u8, bool);
type Literal = Vec<Piece>;

/// All usable sets, each of which suffices on its own; in order of the pattern.
pub(crate) fn required(root: &Node, hole: Hole) -> Vec<LiteralSet> {
    let mut found = Found { sets: Vec::new(), hole };
    found.node(root);
    let mut out: Vec<LiteralSet> = Vec::new();
    for set in found.sets {
        let set = finish(set);
        if !out.contains(&set) && out.len() < SETS_MAX {
            out.push(set);
        }
    }
    let better: Vec<bool> = out.iter().map(|set| out.iter().any(|other| is_better(other, set))).collect();
    let mut better = better.into_iter();
    out.retain(|_| !better.next().unwrap_or(false));
    out
}

/// Whether a set is met by no more texts than another, with no more literals.
fn is_better(set: &LiteralSet, than: &LiteralSet) -> bool {
    let within = |short: &[u8], long: &[u8]| long.windows(short.len()).any(|window| window == short);
    let implies = |long: &Vec<u8>| than.literals.iter().any(|short| within(short, long));
    set != than
        && set.ignorecase == than.ignorecase
        && set.literals.len() <= than.literals.len()
        && set.literals.iter().all(implies)
}

struct Found {
    sets: Vec<Vec<Literal>>,
    hole: Hole,
}

impl Found {
    /// Collects the sets of a part.
    fn node(&mut self, node: &Node) {
        match node {
            Node::Concat(_) | Node::Char(_) | Node::Set(_) => {
                let mut items = Vec::new();
                flatten(node, &mut items);
                self.run(&items, LITERALS_MAX, true);
                // Also without alternatives: one literal may serve better than a product of many.
                self.run(&items, 1, false);
                self.run(&items, 8, false);
            }
            Node::Alt(items) => self.either(&items.iter().collect::<Vec<_>>()),
            Node::Cond { yes, no, .. } => self.either(&[yes, no]),
            Node::Repeat { min, body, .. } if *min > 0 => self.node(body),
            Node::Repeat { .. } | Node::At(_) | Node::Backref(..) => {}
            Node::Group(_, body) | Node::Atomic(body) => self.node(body),
            Node::Look { negative: false, body, .. } => self.node(body),
            Node::Look { .. } => {}
        }
    }

    /// Items that follow each other without a gap; `deep` looks into those without a few exact texts.
    fn run(&mut self, items: &[&Node], most: usize, deep: bool) {
        let mut product: Vec<Literal> = vec![Vec::new()];
        for item in items {
            let exact = exact(item, most);
            let next = exact.as_ref().and_then(|exact| times(&product, exact, most));
            match (next, exact) {
                (Some(next), _) => product = next,
                (None, Some(exact)) => {
                    self.keep(std::mem::replace(&mut product, exact));
                }
                (None, None) => {
                    // What is repeated still begins and ends the literals around it.
                    self.keep(std::mem::replace(&mut product, vec![Vec::new()]));
                    if deep && !matches!(item, Node::Char(_) | Node::Set(_)) {
                        self.node(item);
                    }
                    if let Node::Repeat { min: 1.., body, .. } = item {
                        product = self::exact(body, most).unwrap_or_else(|| vec![Vec::new()]);
                    }
                }
            }
        }
        self.keep(product);
    }

    /// Alternatives: a set is one good set of each.
    fn either(&mut self, items: &[&Node]) {
        let mut sum: Vec<Literal> = Vec::new();
        for item in items {
            let mut inner = Found { sets: Vec::new(), hole: self.hole };
            inner.node(item);
            let best = inner.sets.into_iter().max_by_key(|set| (shortest(set).min(8), usize::MAX - set.len()));
            match best {
                Some(set) => sum.extend(set),
                None => return,
            }
        }
        if sum.len() <= LITERALS_MAX {
            self.sets.push(sum);
        }
    }

    fn keep(&mut self, set: Vec<Literal>) {
        let set: Vec<Literal> = match self.hole {
            Hole::None => set,
            Hole::BetweenNonWords => set.iter().map(Vec::as_slice).map(longest_piece).collect(),
        };
        let set: Vec<Literal> = set.into_iter().map(exactly_spelt).collect();
        if shortest(&set) >= BYTES_MIN && self.sets.len() < 4 * SETS_MAX {
            self.sets.push(set);
        }
    }
}

fn shortest(set: &[Literal]) -> usize {
    set.iter().map(Vec::len).min().unwrap_or(0)
}

/// Items of nested lists and groups, in one row.
fn flatten<'t>(node: &'t Node, out: &mut Vec<&'t Node>) {
    match node {
        Node::Concat(items) => items.iter().for_each(|item| flatten(item, out)),
        Node::Group(_, body) | Node::Atomic(body) => flatten(body, out),
        // Positions take no room: the literals around them touch.
        Node::At(_) => {}
        node => out.push(node),
    }
}

/// Every literal followed by every other, unless that would be too many.
fn times(left: &[Literal], right: &[Literal], most: usize) -> Option<Vec<Literal>> {
    let longest = |set: &[Literal]| set.iter().map(Vec::len).max().unwrap_or(0);
    if left.len() * right.len() > most || longest(left) + longest(right) > BYTES_MAX {
        return None;
    }
    let pair = |a: &Literal, b: &Literal| a.iter().chain(b).copied().collect();
    Some(left.iter().flat_map(|a| right.iter().map(move |b| pair(a, b))).collect())
}

/// All texts that a part can match, if they are few.
fn exact(node: &Node, most: usize) -> Option<Vec<Literal>> {
    match node {
        Node::Char(c) => Some(vec![bytes(*c)?]),
        Node::Set(set) => members(set, most),
        Node::At(_) => Some(vec![Vec::new()]),
        Node::Look { .. } | Node::Backref(..) => None,
        Node::Concat(items) => {
            let mut product = vec![Vec::new()];
            for item in items {
                product = times(&product, &exact(item, most)?, most)?;
            }
            Some(product)
        }
        Node::Alt(items) => {
            let mut sum = Vec::new();
            for item in items {
                sum.extend(exact(item, most)?);
                if sum.len() > most {
                    return None;
                }
            }
            Some(sum)
        }
        Node::Repeat { min, max, body, .. } => {
            if *max > 4 || (*min != *max && most == 1) {
                return None;
            }
            let body = exact(body, most)?;
            let mut power = vec![Vec::new()];
            let mut sum: Vec<Literal> = Vec::new();
            for count in 0..=*max {
                if count >= *min {
                    sum.extend(power.iter().cloned());
                }
                if count < *max {
                    power = times(&power, &body, most)?;
                }
            }
            (sum.len() <= most).then_some(sum)
        }
        Node::Group(_, body) | Node::Atomic(body) => exact(body, most),
        Node::Cond { yes, no, .. } => {
            let mut sum = exact(yes, most)?;
            sum.extend(exact(no, most)?);
            (sum.len() <= most).then_some(sum)
        }
    }
}

/// The bytes of a character; none for what a damaged line may have been given in place of its bytes.
fn bytes(c: u32) -> Option<Literal> {
    let c = char::from_u32(c).filter(|c| *c != char::REPLACEMENT_CHARACTER)?;
    let mut room = [0; 4];
    Some(c.encode_utf8(&mut room).bytes().map(|byte| (byte, false)).collect())
}

fn members(set: &Set, most: usize) -> Option<Vec<Literal>> {
    let letter = set.ascii.trailing_zeros().min(0x7f);
    let pair = 1u128 << letter | 1u128 << (letter ^ 0x20);
    if set.wide.is_empty() && set.ascii == pair && (0x41..=0x5a).contains(&letter) {
        let lower = u8::try_from(letter).unwrap_or(0) | 0x20;
        return Some(vec![vec![(lower, true)]]);
    }
    let wide: u32 = set.wide.iter().map(|(first, last)| (last - first).saturating_add(1)).fold(0, u32::saturating_add);
    if wide.saturating_add(set.ascii.count_ones()) as usize > most.min(8) {
        return None;
    }
    let ascii = (0..0x80u32).filter(|c| set.ascii >> c & 1 == 1);
    ascii.chain(set.wide.iter().flat_map(|(first, last)| *first..=*last)).map(bytes).collect()
}

/// The longest part that does not touch two bytes which are no word characters.
fn longest_piece(literal: &[Piece]) -> Literal {
    // Bytes above ASCII may belong to either kind.
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut best: &[Piece] = &[];
    let mut rest = literal;
    while !rest.is_empty() {
        let cut = rest.windows(2).position(|pair| matches!(pair, [a, b] if !word(a.0) && !word(b.0)));
        let (piece, after) = rest.split_at(cut.map_or(rest.len(), |at| at + 1));
        if piece.len() > best.len() {
            best = piece;
        }
        rest = after;
    }
    best.to_vec()
}

/// The longest part without letters of either case, if it says enough by itself: `[Ff]ailed` is looked
/// for as `ailed`, which costs one comparison, not one for each spelling.
fn exactly_spelt(literal: Literal) -> Literal {
    let best = literal.split(|piece| piece.1).max_by_key(|part| part.len()).unwrap_or_default();
    if best.len() < literal.len() && best.len() >= EXACT_MIN { best.to_vec() } else { literal }
}

/// Folds, sorts, and drops literals that contain another one.
fn finish(set: Vec<Literal>) -> LiteralSet {
    let ignorecase = set.iter().flatten().any(|(_, folded)| *folded);
    let plain = |literal: Literal| -> Vec<u8> {
        let fold = |byte: u8| if ignorecase { byte.to_ascii_lowercase() } else { byte };
        literal.into_iter().map(|(byte, _)| fold(byte)).collect()
    };
    let mut literals: Vec<Vec<u8>> = set.into_iter().map(plain).collect();
    literals.sort_by_key(Vec::len);
    let mut out: Vec<Vec<u8>> = Vec::new();
    for literal in literals {
        if !out.iter().any(|short| literal.windows(short.len()).any(|window| window == short)) {
            out.push(literal);
        }
    }
    out.sort();
    LiteralSet { literals: out, ignorecase }
}
