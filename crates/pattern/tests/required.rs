//! What patterns say they need is needed: literals and first bytes never hide a match.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and print")]

use stockade_pattern::{Flags, Hole, LiteralSet, Outcome, Regex, Scratch, Slots};

mod dialect;
use dialect::Dialect;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern, Flags::default()).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

fn shown(set: &LiteralSet) -> String {
    let literals: Vec<_> = set.literals.iter().map(|literal| String::from_utf8_lossy(literal)).collect();
    literals.join("|") + if set.ignorecase { " i" } else { "" }
}

#[track_caller]
fn needs(pattern: &str, hole: Hole, expected: &[&str]) {
    let sets: Vec<String> = regex(pattern).required(hole).iter().map(shown).collect();
    assert_eq!(sets, expected, "{pattern}");
}

#[test]
fn literals_of_simple_patterns() {
    needs("^Failed login from ", Hole::None, &["Failed login from "]);
    needs(r"abc\d+def", Hole::None, &["abc", "def"]);
    needs("(?:ab|cd)x", Hole::None, &["abx|cdx"]);
    needs("(?:one|two|.*)x", Hole::None, &[]);
    needs("(?:foo|bar)+", Hole::None, &["bar|foo"]);
    needs("(?:foo)?bar", Hole::None, &["bar"]);
    needs("(?i)abc", Hole::None, &["abc i"]);
    // In a Unicode text the Kelvin sign matches too.
    needs("(?i)abcde kabc", Hole::None, &["abcde kabc|abcde \u{212a}abc i", "abcde  i"]);
    needs("(?=needle).*", Hole::None, &["needle"]);
    needs("(?!needle).*", Hole::None, &[]);
    needs("a", Hole::None, &[]);
    needs("ab\u{fffd}cd", Hole::None, &["ab", "cd"]);
}

#[test]
fn literals_never_span_a_hole() {
    needs(r"^\[\] \[client ", Hole::None, &["[] [client "]);
    needs(r"^\[\] \[client ", Hole::BetweenNonWords, &["[client "]);
    needs(r"host : user", Hole::BetweenNonWords, &["host "]);
    needs(r"to=<user>", Hole::BetweenNonWords, &["<user>"]);
}

#[test]
fn first_bytes_of_anchored_patterns() {
    let set = regex("^(?:Failed|[iI]nvalid) ").first_bytes().unwrap();
    let bytes: Vec<u8> = (0..=u8::MAX).filter(|byte| set.has(*byte)).collect();
    assert_eq!(bytes, b"FIi");
    assert_eq!(regex("Failed").first_bytes(), None);
    assert_eq!(regex("^(?:Failed)?").first_bytes(), None);
    assert_eq!(regex("^(?:a|é)").first_bytes().unwrap().len(), 2);
    assert!(regex(r"^\s*x").first_bytes().unwrap().has(b' '));
}

/// The text with a date put where one may have been cut out: between two bytes that are no words.
fn with_hole(text: &str, at: usize) -> Option<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (before, behind) = text.split_at_checked(at)?;
    let open = !before.chars().next_back().is_some_and(word) && !behind.chars().next().is_some_and(word);
    open.then(|| format!("{before}2026-01-01{behind}"))
}

fn has(text: &[u8], set: &LiteralSet) -> bool {
    let text = if set.ignorecase { text.to_ascii_lowercase() } else { text.to_vec() };
    set.literals.iter().any(|literal| text.windows(literal.len()).any(|window| window == literal))
}

#[test]
fn every_match_has_what_its_pattern_needs() {
    let pairs: usize = std::env::var("STOCKADE_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut dialect = Dialect::new(4242);
    let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
    let (mut done, mut checked) = (0, 0);
    while done < pairs {
        let case = dialect.case(10);
        let flags = Flags { multiline: case.multiline, ignorecase: case.ignorecase };
        let Ok(regex) = Regex::new(&case.pattern, flags) else { continue };
        let (sets, around, first) =
            (regex.required(Hole::None), regex.required(Hole::BetweenNonWords), regex.first_bytes());
        for text in &case.texts {
            done += 1;
            if regex.search(&mut scratch, text, 0..text.len(), &mut slots) != Outcome::Match {
                continue;
            }
            for set in &sets {
                checked += 1;
                assert!(has(text.as_bytes(), set), "{:?} on {text:?} without {}", case.pattern, shown(set));
            }
            if let Some(first) = first {
                assert!(text.bytes().next().is_some_and(|byte| first.has(byte)), "{:?} on {text:?}", case.pattern);
            }
            let at = dialect.rng.below(text.len() + 1);
            if let Some(line) = with_hole(text, at) {
                for set in &around {
                    assert!(has(line.as_bytes(), set), "{:?} on {line:?} without {}", case.pattern, shown(set));
                }
            }
        }
    }
    println!("{done} pairs, {checked} checks of sets");
    assert!(checked > pairs / 20, "only {checked} checks");
}
