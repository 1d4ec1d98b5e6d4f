//! What a line must contain for a filter to care about it at all.
//!
//! A filter finds something in a line only if its prefregex matches and one of
//! its failregexes does. So two ways lead to literals of which a line must hold
//! at least one: those of the prefregex, or one set for each failregex. Which of
//! the sets are looked for is decided by [`super::literals`], who has seen the log.
//!
//! A filter that sees several lines at once finds something only if one of them holds such a literal.

use stockade_pattern::{Hole, LiteralSet};

use super::decode::Encoding;
use super::filter::Filter;
use super::pattern::Pattern;
use crate::block::LineEnd;

/// Shortest part of a literal that may stand for all of it.
const PART_BYTES_MIN: usize = 2;

/// Sets of literals of one pattern, each of which alone suffices; not empty.
pub(super) type Clause = Vec<LiteralSet>;

/// The ways to tell lines that a filter may care about from those it cannot.
#[derive(Debug)]
pub(super) struct Needs {
    /// Each way: a line without a literal of any of its clauses does not matter.
    pub(super) ways: Vec<Vec<Clause>>,
}

impl Needs {
    /// What the filter needs; nothing if every line may matter to it.
    pub(super) fn of(filter: &Filter) -> Option<Needs> {
        let wide = filter.encoding.line_end() != LineEnd::Byte;
        let several = filter.maxlines > 1;
        // A prefregex that matches changes what is kept of the lines, whatever the failregexes say.
        let rewrites = several && filter.prefregex.is_some();
        if rewrites || filter.failregex.is_empty() || wide {
            return None;
        }
        // Journal entries have their date beside their text, so nothing is cut out of it.
        let hole = if filter.dates.is_none() { Hole::None } else { Hole::BetweenNonWords };
        let clause = |pattern: &Pattern| {
            let usable = |set: &LiteralSet| set.literals.iter().all(|l| is_usable(l, filter.encoding));
            let sets = pattern.required(hole).into_iter();
            let sets: Clause =
                sets.filter_map(|set| if several { in_one_line(set) } else { Some(set) }).filter(usable).collect();
            (!sets.is_empty()).then_some(sets)
        };
        let clauses = |patterns: &[Pattern]| patterns.iter().map(clause).collect::<Option<Vec<Clause>>>();
        // What is ignored before all else is counted, so such lines matter, too.
        let early = if filter.ignores_early() { clauses(&filter.ignoreregex)? } else { Vec::new() };
        let by_prefix = filter.prefregex.as_ref().and_then(clause).map(|one| vec![one]);
        let by_failregex = clauses(&filter.failregex);
        let ways = [by_failregex, by_prefix].into_iter().flatten();
        let ways: Vec<Vec<Clause>> = ways.map(|way| way.into_iter().chain(early.iter().cloned()).collect()).collect();
        (!ways.is_empty()).then_some(Needs { ways })
    }
}

/// The same set with the longest part of each literal that stands in one line; nothing if one is too short.
fn in_one_line(set: LiteralSet) -> Option<LiteralSet> {
    if !set.literals.iter().any(|literal| literal.contains(&b'\n')) {
        return Some(set);
    }
    let longest = |literal: &Vec<u8>| literal.split(|b| *b == b'\n').max_by_key(|part| part.len()).map(<[u8]>::to_vec);
    let mut literals: Vec<Vec<u8>> = set.literals.iter().filter_map(longest).collect();
    literals.sort_unstable();
    literals.dedup();
    literals.iter().all(|part| part.len() >= PART_BYTES_MIN).then_some(LiteralSet { literals, ..set })
}

/// Does the literal stand in the log's bytes as it stands in the pattern?
///
/// Line ends are put behind what patterns see, so they may be in no line.
fn is_usable(literal: &[u8], encoding: Encoding) -> bool {
    !literal.contains(&b'\n') && !literal.contains(&b'\r') && (encoding == Encoding::Utf8 || literal.is_ascii())
}
