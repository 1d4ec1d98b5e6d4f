//! The public face: a compiled pattern.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

use crate::error::Error;
use crate::fast::{Options, Program, compile};
use crate::first::{ByteSet, first_bytes, head};
use crate::parse::{self, parse};
use crate::plain::{Plain, is_anchored};
use crate::required::{Hole, LiteralSet, required};
use crate::search::{NONE, Outcome, Scratch, Slots, Text};
use crate::tree::Tree;

/// Flags given beside a pattern, like the `flags` of `re.compile`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// `re.MULTILINE`: `^` and `$` at every line.
    pub multiline: bool,
    /// `re.IGNORECASE`, with Unicode's simple folding.
    pub ignorecase: bool,
}

/// A compiled pattern; cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Regex {
    inner: Arc<Inner>,
}

/// A compiled pattern that lives as long as others keep it.
#[derive(Clone)]
pub struct WeakRegex {
    inner: Weak<Inner>,
}

impl WeakRegex {
    /// The pattern, if somebody still has it.
    pub fn upgrade(&self) -> Option<Regex> {
        Some(Regex { inner: self.inner.upgrade()? })
    }
}

impl fmt::Debug for WeakRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakRegex").field(&self.upgrade()).finish()
    }
}

struct Inner {
    pattern: Arc<str>,
    flags: Flags,
    groups: usize,
    names: Vec<(Arc<str>, usize)>,
    first_bytes: Option<ByteSet>,
    /// For texts of ASCII only, and for all others; each built at the first such text.
    ascii: OnceLock<Engine>,
    unicode: OnceLock<Engine>,
}

/// A whole text and what is known of it, so that several searches need not look again.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'t> {
    text: &'t str,
    ascii: bool,
    one_line: bool,
}

impl<'t> Whole<'t> {
    /// Looks at a text.
    pub fn new(text: &'t str) -> Whole<'t> {
        Whole { text, ascii: text.is_ascii(), one_line: false }
    }

    /// A text that is known to be ASCII.
    pub fn of_ascii(text: &'t str) -> Whole<'t> {
        debug_assert!(text.is_ascii(), "{text:?} is said to be ASCII");
        Whole { text, ascii: true, one_line: false }
    }

    /// The same text, whose only line end is known to be its last byte.
    #[must_use]
    pub fn of_one_line(self) -> Whole<'t> {
        debug_assert_eq!(self.text.find('\n').map(|at| at + 1), Some(self.text.len()), "{:?} is one line", self.text);
        Whole { one_line: true, ..self }
    }

    /// The text behind a place, which is the end of a character. Nothing if the place is none.
    #[inline]
    pub fn behind(self, place: usize) -> Option<Whole<'t>> {
        let text = self.text.get(place..)?;
        let ascii = self.ascii || text.is_ascii();
        Some(Whole { text, ascii, one_line: self.one_line })
    }

    /// Its text.
    pub fn text(self) -> &'t str {
        self.text
    }
}

/// What runs a search.
enum Engine {
    Fast(Program),
    Plain(Plain),
}

impl Inner {
    fn engine(&self, ascii: bool) -> Engine {
        // The pattern was read before, so it can be read again.
        match parse(&self.pattern, parser_flags(self.flags)) {
            Ok(tree) => Engine::of(&tree, ascii),
            Err(_) => Engine::Plain(Plain::never()),
        }
    }
}

impl Engine {
    fn of(tree: &Tree, ascii: bool) -> Engine {
        match compile(tree, ascii, Options::ALL) {
            Some(program) => Engine::Fast(program),
            None => Engine::Plain(Plain::new(tree)),
        }
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regex").field(&self.as_str()).finish()
    }
}

fn parser_flags(flags: Flags) -> parse::Flags {
    parse::Flags { multiline: flags.multiline, ignorecase: flags.ignorecase, ..parse::Flags::default() }
}

impl Regex {
    /// Reads a pattern. What runs it is built at the first search, so that patterns nobody searches for cost little.
    ///
    /// # Errors
    /// The pattern is not valid Python; message and position are Python's.
    pub fn new(pattern: &str, flags: Flags) -> Result<Regex, Error> {
        let tree = parse(pattern, parser_flags(flags))?;
        let names = tree.names.iter().map(|(name, group)| (Arc::from(name.as_str()), *group as usize)).collect();
        let inner = Inner {
            pattern: pattern.into(),
            flags,
            groups: tree.groups as usize,
            names,
            first_bytes: if is_anchored(&tree.root) { first_bytes(&tree.root) } else { None },
            ascii: OnceLock::new(),
            unicode: OnceLock::new(),
        };
        Ok(Regex { inner: Arc::new(inner) })
    }

    /// The same pattern, for who only wants it as long as others do.
    pub fn downgrade(&self) -> WeakRegex {
        WeakRegex { inner: Arc::downgrade(&self.inner) }
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.inner.pattern
    }

    /// The same, to be kept without a copy.
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.inner.pattern)
    }

    /// The flags that were given beside the pattern.
    pub fn flags(&self) -> Flags {
        self.inner.flags
    }

    /// Number of groups, without the whole match.
    pub fn group_count(&self) -> usize {
        self.inner.groups
    }

    /// The named groups with their numbers, in order of the numbers.
    pub fn group_names(&self) -> &[(Arc<str>, usize)] {
        &self.inner.names
    }

    /// What a text must begin with to match at all, for patterns anchored at its start.
    ///
    /// Nothing for other patterns, and where an empty match or any first byte is possible.
    /// A text whose first byte is not in the set, and the empty text, have no match.
    pub fn first_bytes(&self) -> Option<ByteSet> {
        self.inner.first_bytes
    }

    /// What the first characters of a text that matches are, each by the first byte of its UTF-8 form, for
    /// patterns anchored at its start: the first few, as far as their number is the same in all texts.
    ///
    /// Empty for other patterns. Computed anew on each call.
    pub fn head(&self) -> Vec<ByteSet> {
        match parse(&self.inner.pattern, parser_flags(self.inner.flags)) {
            Ok(tree) if is_anchored(&tree.root) => head(&tree.root),
            _ => Vec::new(),
        }
    }

    /// Sets of literals, each of which alone tells where to look: every text that matches
    /// contains at least one literal of each set.
    ///
    /// In order of the pattern, not ranked; may be empty. Computed anew on each call.
    pub fn required(&self, hole: Hole) -> Vec<LiteralSet> {
        match parse(&self.inner.pattern, parser_flags(self.inner.flags)) {
            Ok(tree) => required(&tree.root, hole),
            Err(_) => Vec::new(),
        }
    }

    /// Finds the leftmost match, like `search(text, pos, endpos)` of a Python pattern.
    ///
    /// `window` is in bytes: the text behind its end does not exist, the text
    /// before its start is seen by look-behinds and `\b`, and `^` still means
    /// the start of the text. An end beyond the text, or within a character, is
    /// moved back. The slots are filled on [`Outcome::Match`] and empty otherwise.
    pub fn search(&self, scratch: &mut Scratch, text: &str, window: Range<usize>, slots: &mut Slots) -> Outcome {
        slots.clear();
        scratch.begin(window.end.saturating_sub(window.start).min(text.len()));
        let end = text.floor_char_boundary(window.end);
        if window.start > end {
            return Outcome::NoMatch;
        }
        let start = text.floor_char_boundary(window.start);
        let bytes = text.as_bytes().get(..end).unwrap_or_default();
        let Some(start) = u32::try_from(start).ok().filter(|_| bytes.len() < NONE as usize) else {
            return Outcome::Exhausted;
        };
        self.search_bytes(scratch, Text { bytes, start, one_line: false }, bytes.is_ascii(), slots)
    }

    /// As [`Regex::search`] over the whole of a text.
    pub fn search_whole(&self, scratch: &mut Scratch, text: Whole<'_>, slots: &mut Slots) -> Outcome {
        slots.clear();
        scratch.begin(text.text.len());
        if text.text.len() >= NONE as usize {
            return Outcome::Exhausted;
        }
        let bytes = text.text.as_bytes();
        self.search_bytes(scratch, Text { bytes, start: 0, one_line: text.one_line }, text.ascii, slots)
    }

    fn search_bytes(&self, scratch: &mut Scratch, text: Text<'_>, ascii: bool, slots: &mut Slots) -> Outcome {
        let cell = if ascii { &self.inner.ascii } else { &self.inner.unicode };
        let engine = cell.get_or_init(|| self.inner.engine(ascii));
        let outcome = match engine {
            Engine::Fast(program) => program.search(scratch, text),
            Engine::Plain(program) => program.search(scratch, text),
        };
        if outcome == Outcome::Match {
            slots.take(&mut scratch.slots);
        }
        outcome
    }
}
