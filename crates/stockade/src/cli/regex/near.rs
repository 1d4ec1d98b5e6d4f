//! How far a pattern got on a line that it does not match, and where it stopped.

use stockade_core::matcher::{Calendar, Filter, FilterSpec, UseDns};
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

use super::pieces::{Piece, alternatives, pieces};

/// Groups within groups that are looked into.
const DEPTH_MAX: usize = 4;
/// Beginnings of one pattern that are tried.
const TRIES_MAX: usize = 2_000;

/// How far a pattern got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Near {
    /// What of the text it matched, in bytes.
    pub(super) matched: std::ops::Range<usize>,
    /// The piece that nothing matched, as it is written.
    pub(super) stopped: String,
    /// Where that piece stands, in bytes of the pattern.
    pub(super) at: usize,
    /// Share of the pattern that had matched, in percent.
    pub(super) percent: usize,
}

/// Tries beginnings of patterns.
pub(super) struct Trier<'c> {
    usedns: UseDns,
    multiline: bool,
    calendar: &'c std::sync::Arc<Calendar>,
    scratch: Scratch,
    slots: Slots,
    tries: usize,
}

impl<'c> Trier<'c> {
    pub(super) fn new(spec: &FilterSpec, calendar: &'c std::sync::Arc<Calendar>) -> Trier<'c> {
        Trier {
            usedns: spec.usedns,
            multiline: spec.maxlines > 1,
            calendar,
            scratch: Scratch::new(),
            slots: Slots::new(),
            tries: 0,
        }
    }

    /// How far `pattern` (as it is written) gets in `text`; `None` if not even its first piece matches.
    pub(super) fn near(&mut self, pattern: &str, text: &str) -> Option<Near> {
        self.tries = 0;
        let all = alternatives(pattern, 0).into_iter();
        let mut best = all.filter_map(|(part, at)| self.sequence("", "", (part, at), text, 0)).max_by_key(rank)?;
        best.percent = best.at * 100 / pattern.len().max(1);
        Some(best)
    }

    /// The farthest that `head` and a beginning of `part` get, all closed by `tail`.
    fn sequence(&mut self, head: &str, tail: &str, part: (&str, usize), text: &str, depth: usize) -> Option<Near> {
        let all = pieces(part.0, part.1);
        let mut good: Option<(String, std::ops::Range<usize>)> = None;
        let mut stopped = 0;
        let mut begin = head.to_owned();
        for (n, piece) in all.iter().enumerate() {
            let longer = format!("{begin}{}", piece.text);
            match self.finds(&format!("{longer}{tail}"), text) {
                Some(found) => {
                    good = Some((longer.clone(), found));
                    stopped = n + 1;
                    begin = longer;
                }
                None => break,
            }
        }
        let piece = all.get(stopped)?;
        let before = good.as_ref().map_or(head, |(begin, _)| begin.as_str()).to_owned();
        let here = good.map(|(_, matched)| Near {
            matched,
            stopped: word(all.get(stopped..).unwrap_or_default()),
            at: piece.at,
            percent: 0,
        });
        // Within a group some alternative may have got further.
        let inner = piece.group.as_ref().filter(|_| depth < DEPTH_MAX).and_then(|group| {
            let head = format!("{before}{}", group.open);
            let tail = format!("{}{tail}", group.close);
            let ways = alternatives(group.inner.0, group.inner.1).into_iter();
            ways.filter_map(|way| self.sequence(&head, &tail, way, text, depth + 1)).max_by_key(rank)
        });
        here.into_iter().chain(inner).max_by_key(rank)
    }

    /// Where a beginning of a pattern matches, if it is a pattern and does. Anchors alone do not count.
    fn finds(&mut self, pattern: &str, text: &str) -> Option<std::ops::Range<usize>> {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return None;
        }
        // The tags of a prefregex are those of a failregex, and it needs nobody's address.
        let spec = FilterSpec { prefregex: Some(pattern.to_owned()), usedns: self.usedns, ..FilterSpec::default() };
        let filter = Filter::compile(&spec, self.calendar).ok()?;
        let flags = Flags { multiline: self.multiline, ..Flags::default() };
        let regex = Regex::new(filter.prefregex()?, flags).ok()?;
        let found = regex.search(&mut self.scratch, text, 0..text.len(), &mut self.slots);
        if found == Outcome::Match { self.slots.get(0) } else { None }
    }
}

/// The first of these pieces; if it is a letter the whole word that it begins.
fn word(pieces: &[Piece<'_>]) -> String {
    let letter = |piece: &&Piece<'_>| piece.text.chars().all(char::is_alphanumeric);
    let word: String = pieces.iter().take_while(letter).map(|piece| piece.text).collect();
    if word.is_empty() { pieces.first().map_or_else(String::new, |piece| piece.text.to_owned()) } else { word }
}

/// Further in the text is nearer, then further in the pattern.
fn rank(near: &Near) -> (usize, usize) {
    (near.matched.end, near.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: Option<(&str, &str)>) {
        let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
        let near = Trier::new(&FilterSpec::default(), &calendar).near(pattern, text);
        let shown = near.as_ref().map(|near| (text.get(near.matched.clone()).unwrap(), near.stopped.as_str()));
        assert_eq!(shown, expected, "{pattern} on {text:?}: {near:?}");
    }

    #[test]
    fn the_piece_that_nothing_matches_is_named() {
        check("^bad login from <HOST>$", "bad login of 192.0.2.1\n", Some(("bad login ", "from")));
        check("^login <HOST> port$", "login 192.0.2.1 Port\n", Some(("login 192.0.2.1 ", "port")));
        check("^x", "y\n", Some(("", "x")));
        check("x", "y\n", None);
    }

    #[test]
    fn alternatives_are_looked_into() {
        let pattern = "^<F-USER>root|ad(?:min|mon)</F-USER> from <HOST>";
        check(pattern, "admix\n", Some(("admi", "n")));
        check(pattern, "admin by\n", Some(("admin ", "from")));
        check("^a|^bc", "bd\n", Some(("b", "c")));
    }
}
