//! From a pattern's text to its tree, with Python's rules and error messages.
//!
//! Source: CPython `Lib/re/_parser.py` (3.11; where 3.12 and later are
//! stricter, they are followed: conditional group numbers must be plain ASCII
//! digits and the flag `t` is unknown).

use crate::error::Error;
use crate::scan::{Scan, Token};
use crate::set::{Class, Fold, Member, Set, class_set, literal_set};
use crate::tree::{Anchor, FOREVER, Greed, Node, Tree};
use crate::width::Width;

mod class;
mod escape;
mod group;

/// Deepest nesting of parentheses. Python's own recursion limit refuses at a similar depth.
const DEPTH_MAX: usize = 200;
/// Most groups of one pattern; keeps the slots of a search small.
const GROUPS_MAX: usize = 10_000;

/// The flags in force at a place of the pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) ignorecase: bool,
    pub(crate) multiline: bool,
    pub(crate) dotall: bool,
    pub(crate) verbose: bool,
    pub(crate) ascii: bool,
}

impl Flags {
    fn fold(self) -> Fold {
        match (self.ignorecase, self.ascii) {
            (false, _) => Fold::None,
            (true, true) => Fold::Ascii,
            (true, false) => Fold::Unicode,
        }
    }
}

struct Parser {
    scan: Scan,
    /// Flags of the whole pattern; inline global flags add to them.
    flags: Flags,
    /// Set when `(?u)` or `(?a)` was written for the whole pattern.
    wrote_unicode: bool,
    wrote_ascii: bool,
    /// Width of each group once it is closed; index 0 is unused.
    groups: Vec<Option<Width>>,
    names: Vec<(String, u32)>,
    /// Number of groups at the start of the outermost look-behind being read.
    behind_groups: Option<usize>,
    /// Groups that conditionals test by number, with the place.
    tested: Vec<(u32, usize)>,
    /// Set when a look-behind of variable width was read; Python reports it last.
    bad_behind: bool,
}

/// Reads a pattern.
///
/// # Errors
/// Whatever Python's `re.compile` refuses, and nesting beyond [`DEPTH_MAX`].
pub(crate) fn parse(pattern: &str, flags: Flags) -> Result<Tree, Error> {
    let mut parser = Parser {
        scan: Scan::new(pattern)?,
        flags,
        wrote_unicode: false,
        wrote_ascii: flags.ascii,
        groups: vec![None],
        names: Vec::new(),
        behind_groups: None,
        tested: Vec::new(),
        bad_behind: false,
    };
    let root = parser.alternatives(flags, 0, true)?;
    if parser.wrote_unicode && parser.wrote_ascii {
        return Err(Error::whole("ASCII and UNICODE flags are incompatible"));
    }
    if parser.scan.next.is_some() {
        return Err(parser.scan.error("unbalanced parenthesis", 0));
    }
    for &(group, position) in &parser.tested {
        if group as usize >= parser.groups.len() {
            return Err(parser.scan.error_at(format!("invalid group reference {group}"), position));
        }
    }
    if parser.bad_behind {
        return Err(Error::whole("look-behind requires fixed-width pattern"));
    }
    let groups = u32::try_from(parser.groups.len() - 1).unwrap_or(u32::MAX);
    Ok(Tree { root, groups, names: parser.names })
}

impl Parser {
    /// `a|b|c`, up to a closing parenthesis or the end.
    fn alternatives(&mut self, mut flags: Flags, depth: usize, whole: bool) -> Result<Node, Error> {
        if depth > DEPTH_MAX {
            return Err(self.scan.error("pattern is nested too deeply", 0));
        }
        let mut items = Vec::new();
        loop {
            items.push(self.sequence(&mut flags, depth, whole && items.is_empty())?);
            if !self.scan.take('|')? {
                break;
            }
        }
        match items.len() {
            1 => Ok(items.pop().unwrap_or(Node::Concat(Vec::new()))),
            _ => Ok(Node::Alt(items)),
        }
    }

    /// A run of items without `|`. Only the `first` one of the whole pattern may set global flags.
    fn sequence(&mut self, flags: &mut Flags, depth: usize, first: bool) -> Result<Node, Error> {
        let mut items: Vec<Node> = Vec::new();
        while let Some(this) = self.scan.next {
            if matches!(this, Token::Char('|' | ')')) {
                break;
            }
            self.scan.get()?;
            let c = match this {
                Token::Escape(c) => {
                    let node = self.escape(c, *flags)?;
                    items.push(node);
                    continue;
                }
                Token::Char(c) => c,
            };
            if flags.verbose {
                if matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') {
                    continue;
                }
                if c == '#' {
                    while !matches!(self.scan.get()?, None | Some(Token::Char('\n'))) {}
                    continue;
                }
            }
            match c {
                '[' => items.push(self.class(*flags)?),
                '*' | '+' | '?' | '{' => self.repeat(c, *flags, &mut items)?,
                '.' => items.push(Node::Set(Set::any(flags.dotall))),
                '(' => {
                    let start_of_all = first && items.is_empty();
                    if let Some(node) = self.group(flags, depth, start_of_all)? {
                        items.push(node);
                    }
                }
                '^' if flags.multiline => items.push(Node::At(Anchor::LineStart)),
                '^' => items.push(Node::At(Anchor::Start)),
                '$' if flags.multiline => items.push(Node::At(Anchor::LineEnd)),
                '$' => items.push(Node::At(Anchor::End)),
                _ => items.push(literal(u32::from(c), *flags)),
            }
        }
        Ok(Node::Concat(items))
    }

    /// A quantifier behind the last item.
    fn repeat(&mut self, c: char, flags: Flags, items: &mut Vec<Node>) -> Result<(), Error> {
        let here = self.scan.tell();
        let (min, max) = match c {
            '?' => (0, 1),
            '*' => (0, FOREVER),
            '+' => (1, FOREVER),
            _ => match self.counts(here)? {
                Some(counts) => counts,
                None => {
                    items.push(literal(u32::from('{'), flags));
                    return Ok(());
                }
            },
        };
        let back = self.scan.tell() - here + 1;
        match items.last() {
            None | Some(Node::At(_)) => return Err(self.scan.error("nothing to repeat", back)),
            Some(Node::Repeat { .. }) => return Err(self.scan.error("multiple repeat", back)),
            Some(_) => {}
        }
        let greed = if self.scan.take('?')? {
            Greed::Lazy
        } else if self.scan.take('+')? {
            Greed::Possessive
        } else {
            Greed::Greedy
        };
        if let Some(body) = items.pop() {
            items.push(Node::Repeat { min, max, greed, body: Box::new(body) });
        }
        Ok(())
    }

    /// What follows a `{`: counts, or nothing if the brace stands for itself.
    fn counts(&mut self, here: usize) -> Result<Option<(u32, u32)>, Error> {
        if self.scan.next == Some(Token::Char('}')) {
            return Ok(None);
        }
        let digit = |c: char| c.is_ascii_digit();
        let low = self.scan.get_while(usize::MAX, digit)?;
        let high = if self.scan.take(',')? { self.scan.get_while(usize::MAX, digit)? } else { low.clone() };
        if !self.scan.take('}')? {
            self.scan.seek(here)?;
            return Ok(None);
        }
        let number = |text: &str| {
            // Python raises OverflowError, without a position.
            let too_large = || Error::whole("the repetition number is too large");
            text.parse::<u32>().ok().filter(|n| *n != FOREVER).ok_or_else(too_large)
        };
        let min = if low.is_empty() { 0 } else { number(&low)? };
        let max = if high.is_empty() { FOREVER } else { number(&high)? };
        if max < min {
            let back = self.scan.tell() - here;
            return Err(self.scan.error("min repeat greater than max repeat", back));
        }
        Ok(Some((min, max)))
    }
}

/// A character that stands for itself, or for its other cases too.
fn literal(c: u32, flags: Flags) -> Node {
    if !flags.ignorecase {
        return Node::Char(c);
    }
    let set = literal_set(c, flags.fold());
    match set.single() {
        Some(only) => Node::Char(only),
        None => Node::Set(set),
    }
}

/// A predefined class as an item.
fn class_node(class: Class, negated: bool, flags: Flags) -> Node {
    Node::Set(class_set(&[Member::Class(class, negated)], false, Fold::None, flags.ascii))
}
