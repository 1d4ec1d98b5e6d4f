//! What a line must contain for a filter to care about it at all.
//!
//! A filter finds something in a line only if its prefregex matches and one of
//! its failregexes does. So two ways lead to literals of which a line must hold
//! at least one: those of the prefregex, or one set for each failregex. Which of
//! the sets are looked for is decided by [`super::literals`], who has seen the log.

use stockade_pattern::{Hole, LiteralSet};

use super::decode::Encoding;
use super::filter::Filter;
use super::pattern::Pattern;
use crate::block::LineEnd;

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
        if filter.maxlines > 1 || filter.failregex.is_empty() || wide {
            return None;
        }
        // Journal entries have their date beside their text, so nothing is cut out of it.
        let hole = if filter.dates.is_none() { Hole::None } else { Hole::BetweenNonWords };
        let clause = |pattern: &Pattern| {
            let usable = |set: &LiteralSet| set.literals.iter().all(|l| is_usable(l, filter.encoding));
            let sets: Clause = pattern.required(hole).into_iter().filter(usable).collect();
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

/// Does the literal stand in the log's bytes as it stands in the pattern?
///
/// Line ends are put behind what patterns see, so they may be in no line.
fn is_usable(literal: &[u8], encoding: Encoding) -> bool {
    !literal.contains(&b'\n') && !literal.contains(&b'\r') && (encoding == Encoding::Utf8 || literal.is_ascii())
}
