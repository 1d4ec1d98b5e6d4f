//! Which literals are looked for in a log, of all that would do.
//!
//! The choice depends on a sample of that very log: literals that are rare in
//! it send few lines to the patterns, and pieces of literals that begin with
//! rare bytes are found at less cost. The same filters and the same sample
//! always give the same choice.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use stockade_pattern::LiteralSet;

use super::needs::{Clause, Needs};

/// Most needles that one filter may put into a search over all lines.
const NEEDLES_MAX: usize = 96;
/// What a line of the sample costs that has to be looked at; a needle costs about half of that.
const LINE_COST: u64 = 4;
/// What a needle costs, in rising order: a choice with too many needles is made anew with the next one.
const NEEDLE_COSTS: [u64; 3] = [2, 32, 1024];
/// Bytes by which the search finds a place where a needle may begin.
const HEAD: usize = 4;
/// Most spellings of one needle that is looked for in any case.
const SPELLINGS_MAX: usize = 16;

/// Finding a line by one of several needles costs so much more than by the only one there is.
const SEVERAL_COST: u64 = 2;
/// And so many lines that hold no needle cost one more.
const SEVERAL_LINES: u64 = 6;

/// What is known of a log.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// How many lines it has.
    lines: u64,
    /// In how many lines of the sample each literal stands.
    lines_with: BTreeMap<(Vec<u8>, bool), u32>,
    /// How often runs of [`HEAD`] bytes occur, by a hash of them.
    heads: Vec<u32>,
}

impl Sample {
    /// Looks for all literals of `needs` in a piece of the log.
    pub(super) fn of<'n>(text: &[u8], needs: impl Iterator<Item = &'n Needs>) -> Sample {
        let mut sample = Sample {
            lines: memchr::memchr_iter(b'\n', text).count() as u64,
            lines_with: BTreeMap::new(),
            heads: vec![0; 1 << 16],
        };
        for run in text.windows(HEAD) {
            if let Some(count) = sample.heads.get_mut(hash(run)) {
                *count += 1;
            }
        }
        let mut known: [BTreeSet<&[u8]>; 2] = [BTreeSet::new(), BTreeSet::new()];
        for set in needs.flat_map(|n| &n.ways).flatten().flatten() {
            if let Some(known) = known.get_mut(usize::from(set.ignorecase)) {
                known.extend(set.literals.iter().map(Vec::as_slice));
            }
        }
        for (known, ignorecase) in known.iter().zip([false, true]) {
            sample.count(text, known, ignorecase);
        }
        sample
    }

    fn count(&mut self, text: &[u8], known: &BTreeSet<&[u8]>, ignorecase: bool) {
        let literals: Vec<&[u8]> = known.iter().copied().collect();
        let Ok(search) = AhoCorasick::builder().ascii_case_insensitive(ignorecase).build(&literals) else { return };
        // The line that was counted last, for each literal.
        let mut counts = vec![(0_u32, usize::MAX); literals.len()];
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            for hit in search.find_overlapping_iter(line) {
                if let Some((count, last)) = counts.get_mut(hit.pattern().as_usize())
                    && *last != number
                {
                    (*count, *last) = (*count + 1, number);
                }
            }
        }
        for (literal, (count, _)) in literals.into_iter().zip(counts) {
            self.lines_with.insert((literal.to_vec(), ignorecase), count);
        }
    }

    fn lines_with(&self, literal: &[u8], ignorecase: bool) -> u32 {
        self.lines_with.get(&(literal.to_vec(), ignorecase)).copied().unwrap_or(0)
    }

    fn head(&self, run: &[u8]) -> u32 {
        self.heads.get(hash(run)).copied().unwrap_or(0)
    }
}

/// A number below 65,536 for a few bytes.
fn hash(run: &[u8]) -> usize {
    let sum = run.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    (sum.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// The needles for one filter: a line without any of them does not matter to it.
///
/// Nothing if there is no good choice, so that every line has to be looked at. `alone`: nobody else
/// looks for needles, so that a single one is cheap to find.
pub(super) fn choose(needs: &Needs, sample: &Sample, alone: bool) -> Option<BTreeSet<Vec<u8>>> {
    // Where that would be too many needles they are taken to cost more.
    NEEDLE_COSTS.iter().find_map(|cost| {
        let chosen = needs.ways.iter().filter_map(|way| choose_for(way, sample, *cost, alone));
        chosen.min().map(|(_, needles)| needles)
    })
}

/// The best sets for one way, what they cost, and the needles; nothing if they are too many.
fn choose_for(way: &[Clause], sample: &Sample, needle_cost: u64, alone: bool) -> Option<(u64, BTreeSet<Vec<u8>>)> {
    let (mut cost, mut lines) = (0_u64, 0_u64);
    let mut needles = BTreeSet::new();
    for clause in way {
        let (price, hits, chosen) = clause.iter().filter_map(|set| price(set, sample, needle_cost)).min()?;
        cost = cost.saturating_add(price);
        lines = lines.saturating_add(hits);
        needles.extend(chosen);
    }
    let needles = without_longer(&needles);
    if alone && needles.len() > 1 {
        cost = cost.saturating_add(lines * SEVERAL_COST + sample.lines / SEVERAL_LINES);
    }
    (needles.len() <= NEEDLES_MAX).then_some((cost, needles))
}

/// What it costs to look for one of the literals of a set, in how many lines they are, and the needles for it;
/// least is best.
///
/// A line of the sample that holds one costs [`LINE_COST`], a byte that is missing to a
/// needle of [`HEAD`] bytes as much as two such lines, as it makes each search slower.
fn price(set: &LiteralSet, sample: &Sample, needle_cost: u64) -> Option<(u64, u64, Vec<Vec<u8>>)> {
    let lines: u64 = set.literals.iter().map(|l| u64::from(sample.lines_with(l, set.ignorecase))).sum();
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for literal in &set.literals {
        needles.extend(if set.ignorecase { spellings(literal, sample)? } else { vec![piece(literal, sample)] });
    }
    let short = needles.iter().map(|n| HEAD.saturating_sub(n.len())).max().unwrap_or(HEAD) as u64;
    let cost = lines * LINE_COST + 2 * short * LINE_COST + needles.len() as u64 * needle_cost;
    Some((cost, lines, needles))
}

/// The literal from its rarest run of bytes on, if its beginning is common.
fn piece(literal: &[u8], sample: &Sample) -> Vec<u8> {
    let runs = literal.windows(HEAD).map(|run| sample.head(run)).enumerate();
    let at = runs.min_by_key(|(at, count)| (*count, *at)).map_or(0, |(at, _)| at);
    literal.get(at..).unwrap_or(literal).to_vec()
}

/// A short piece of a literal in all its spellings, where that are few.
fn spellings(literal: &[u8], sample: &Sample) -> Option<Vec<Vec<u8>>> {
    let letters = |run: &[u8]| run.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let both = |run: &[u8]| sample.head(run) + sample.head(&run.to_ascii_uppercase());
    let window = literal.windows(HEAD.min(literal.len())).min_by_key(|run| (both(run) / 8, letters(run), both(run)))?;
    let mut all: Vec<Vec<u8>> = vec![Vec::new()];
    for byte in window {
        let cases = BTreeSet::from([byte.to_ascii_lowercase(), byte.to_ascii_uppercase()]);
        all = all.iter().flat_map(|head| cases.iter().map(|b| [head.as_slice(), &[*b]].concat())).collect();
    }
    (all.len() <= SPELLINGS_MAX).then_some(all)
}

/// The needles without those that hold another one.
fn without_longer(needles: &BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let holds = |long: &[u8], short: &[u8]| short.len() < long.len() && long.windows(short.len()).any(|w| w == short);
    let keep = needles.iter().filter(|long| !needles.iter().any(|short| holds(long, short)));
    keep.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(literals: &[&str], ignorecase: bool) -> LiteralSet {
        LiteralSet { literals: literals.iter().map(|l| l.as_bytes().to_vec()).collect(), ignorecase }
    }

    fn chosen(ways: Vec<Vec<Vec<LiteralSet>>>, text: &str) -> Vec<String> {
        let needs = Needs { ways };
        let sample = Sample::of(text.as_bytes(), std::iter::once(&needs));
        let needles = choose(&needs, &sample, false).unwrap();
        needles.into_iter().map(|n| String::from_utf8(n).unwrap()).collect()
    }

    #[test]
    fn the_rarer_literal_is_taken() {
        let ways = || vec![vec![vec![set(&["sshd["], false), set(&["Failed password"], false)]]];
        assert_eq!(chosen(ways(), "sshd[1]: x\nsshd[2]: y\n"), ["Failed password"]);
        assert_eq!(chosen(ways(), "Failed password\nFailed password\n"), ["sshd["]);
    }

    #[test]
    fn a_needle_begins_where_the_log_is_rare() {
        let ways = vec![vec![vec![set(&["session opened by"], false)]]];
        let text = "session closed\n".repeat(50) + "session opened for\n";
        assert_eq!(chosen(ways, &text), ["ed by"]);
    }

    #[test]
    fn any_case_is_a_few_spellings() {
        let ways = vec![vec![vec![set(&["a-1:b"], true)]]];
        assert_eq!(chosen(ways, "nothing"), ["A-1:", "a-1:"]);
    }

    #[test]
    fn a_single_needle_may_be_worth_some_lines_more() {
        let needs = Needs {
            ways: vec![
                vec![vec![set(&["first"], false)], vec![set(&["second"], false)]],
                vec![vec![set(&["prefix"], false)]],
            ],
        };
        let text = "prefix first\nprefix second\nprefix\n".repeat(9);
        let sample = Sample::of(text.as_bytes(), std::iter::once(&needs));
        assert_eq!(choose(&needs, &sample, true).unwrap().len(), 1);
        assert_eq!(choose(&needs, &sample, false).unwrap().len(), 2);
    }

    #[test]
    fn the_way_with_fewer_lines_is_gone() {
        let ways = vec![
            vec![vec![set(&["first"], false)], vec![set(&["second"], false)]],
            vec![vec![set(&["prefix"], false)]],
        ];
        assert_eq!(chosen(ways.clone(), "prefix\nprefix\n"), ["first", "second"]);
        assert_eq!(chosen(ways, "first\nsecond\nfirst\n"), ["prefix"]);
    }
}
