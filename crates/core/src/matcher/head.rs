//! What follows a line's date, for filters without any literal to look for.
//!
//! A pattern that is anchored at the begin of what it sees must go on there: `^\s[+-]\d{4} ` fits few logs.
//! Where the date stands at the line's begin, that is the place right behind it.

use stockade_pattern::ByteSet;

use super::filter::Filter;
use super::pattern::Pattern;
use crate::block::LineEnd;

/// What the first characters of a text can be, each by its first byte; not empty.
pub(super) type Head = Vec<ByteSet>;

/// The heads of the failregexes: no other text can be a failure, or change anything.
///
/// Nothing if any text may matter, or if there are literals to look for.
pub(super) fn heads(filter: &Filter) -> Option<Vec<Head>> {
    let simple = filter.maxlines == 1 && filter.prefregex.is_none() && !filter.ignores_early();
    if !simple || filter.encoding.line_end() != LineEnd::Byte || filter.dates.is_none() || filter.needs().is_some() {
        return None;
    }
    let heads: Vec<Head> = filter.failregex.iter().map(Pattern::head).collect();
    let known = !heads.is_empty() && heads.iter().all(|head| !head.is_empty());
    known.then_some(heads)
}

/// May a text that begins so have one of these heads? Beyond its line end nothing is known.
pub(super) fn fits(text: &[u8], heads: &[Head]) -> bool {
    heads.iter().any(|head| {
        for (byte, set) in text.iter().zip(head) {
            if matches!(byte, b'\r' | b'\n') {
                return true;
            }
            if !set.has(*byte) {
                return false;
            }
            if !byte.is_ascii() {
                // Behind it bytes are no characters any more.
                return true;
            }
        }
        true
    })
}
