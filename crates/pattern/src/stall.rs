//! No text can stall a search: each loop of each pattern is fed 8 KiB of itself.
//!
//! `STOCKADE_PATTERNS` names a file of more patterns, one per line. Time is only
//! judged strictly (a millisecond, release build, idle machine) when
//! `STOCKADE_TIMED` is set; else far too slow is all that fails.

use std::time::{Duration, Instant};

use crate::parse::parse;
use crate::tree::{FOREVER, Node};
use crate::{Flags, Outcome, Regex, Scratch, Slots};

/// Length of a hostile text.
const BYTES: usize = 8 << 10;

const HOST: &str = concat!(
    r"(?:\[?(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})",
    r"|(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):)))\]?|(?P<dns>[\w\-.^_]*\w))"
);

const PATTERNS: &[&str] = &[
    r"(?:a+)+b",
    r"(?:a|a)*b",
    r"(?:a|ab|b)*c",
    r"^(?:\w+\s?)*$",
    r"^(?:.*a){8}$",
    r".*.*.*x",
    r"\s*\s*\s*x",
    r"^(?:: (?:[a-z ]+|[^\(]+))*: user=<(?P<u>[^>]*)>, rip=HOST",
    r"^auth: (?:[^,]+,)* ?(?:\S+ )*from HOST$",
    r"^user (?P<u>.*) from HOST(?: (?:port \d+|on \S+|\[x\])){0,3}\s*$",
    r"^(?:(?!from ).)* from (?:(?!via ).)* via HOST",
    r"x*x*x*x*y",
    r"(\w+)\s+\1!",
    r"(?:a?){20}b",
    r"(?:(?:a*)*)*b",
    r"(?P<c>a)?(?:a|b)*(?(c)x|y)",
    r"(?=(?:a+)+b)",
    r"(?>a+)+b",
    r"[^ ]* [^ ]* [^ ]* [^ ]* [^ ]*!",
    r"(?:[^\[]+ )*\[HOST\]",
    r"(?:é+)+b",
    r"(?i)(?:k|K)+z",
];

/// A text for a part; `variant` turns the choices.
fn sample(node: &Node, variant: usize, out: &mut String) {
    match node {
        Node::Char(c) => out.extend(char::from_u32(*c)),
        Node::Set(set) => {
            let wanted = ["a 1:.-", " :a1", "1a ", "é-x/", "[\"<("].get(variant % 5).copied().unwrap_or("a");
            let any = (' '..='~').chain(['\n', 'é']);
            out.extend(wanted.chars().chain(any).find(|c| set.has(u32::from(*c))));
        }
        Node::At(_) | Node::Look { .. } | Node::Backref(..) => {}
        Node::Concat(items) => items.iter().for_each(|item| sample(item, variant, out)),
        Node::Alt(items) => {
            if let Some(item) = items.get(variant % items.len()) {
                sample(item, variant / 2, out);
            }
        }
        Node::Repeat { min, max, body, .. } => {
            let count = (*min).max(u32::from(variant % 2 == 1)).min(*max).min(20);
            (0..count).for_each(|_| sample(body, variant, out));
        }
        Node::Group(_, body) | Node::Atomic(body) => sample(body, variant, out),
        Node::Cond { yes, .. } => sample(yes, variant, out),
    }
}

/// Texts that enter a loop and stay in it, for each loop.
fn hostile(node: &Node, prefix: &str, variant: usize, out: &mut Vec<String>) {
    match node {
        Node::Concat(items) => {
            let mut prefix = prefix.to_owned();
            for item in items {
                hostile(item, &prefix, variant, out);
                sample(item, variant, &mut prefix);
            }
        }
        Node::Alt(items) => items.iter().for_each(|item| hostile(item, prefix, variant, out)),
        Node::Repeat { max, body, .. } => {
            if *max == FOREVER || *max > 20 {
                let mut once = String::new();
                sample(body, variant, &mut once);
                if !once.is_empty() {
                    let mut text = prefix.to_owned();
                    while text.len() < BYTES {
                        text.push_str(&once);
                    }
                    text.truncate(text.floor_char_boundary(BYTES));
                    out.push(text.clone() + "\n");
                    out.push(text + "\u{1}\n");
                }
            }
            hostile(body, prefix, variant, out);
        }
        Node::Group(_, body) | Node::Atomic(body) | Node::Look { body, .. } => hostile(body, prefix, variant, out),
        Node::Cond { yes, no, .. } => {
            hostile(yes, prefix, variant, out);
            hostile(no, prefix, variant, out);
        }
        Node::Char(_) | Node::Set(_) | Node::At(_) | Node::Backref(..) => {}
    }
}

#[test]
fn hostile_lines_are_bounded() {
    let mut patterns: Vec<String> = PATTERNS.iter().map(|pattern| pattern.replace("HOST", HOST)).collect();
    if let Ok(path) = std::env::var("STOCKADE_PATTERNS") {
        #[expect(clippy::disallowed_methods, reason = "a file of the developer's")]
        let text = std::fs::read_to_string(path).unwrap();
        patterns.extend(text.lines().map(str::to_owned));
    }
    let bound = Duration::from_millis(if std::env::var_os("STOCKADE_TIMED").is_some() { 1 } else { 50 });
    let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
    let (mut searches, mut exhausted, mut worst) = (0, 0, (Duration::ZERO, String::new()));
    let mut slow = 0;
    for pattern in &patterns {
        let Ok(tree) = parse(pattern, Default::default()) else { continue };
        let regex = Regex::new(pattern, Flags::default()).unwrap();
        let mut texts = Vec::new();
        (0..8).for_each(|variant| hostile(&tree.root, "", variant, &mut texts));
        texts.push("a: ".repeat(BYTES / 3));
        texts.push("A ".repeat(BYTES / 2));
        texts.push("Disconnected: ".to_owned() + &"a: ".repeat(BYTES / 3));
        texts.sort();
        texts.dedup();
        let mut mine = 0;
        for text in &texts {
            // The best of a few: only a search that is always slow is slow.
            let mut taken = Duration::MAX;
            let mut outcome = Outcome::NoMatch;
            for _ in 0..10 {
                let start = Instant::now();
                outcome = regex.search(&mut scratch, text, 0..text.len(), &mut slots);
                taken = taken.min(start.elapsed());
                if taken < bound / 2 {
                    break;
                }
            }
            searches += 1;
            assert!(scratch.steps() as usize <= 60_000 + 2 * text.len(), "{pattern}");
            if outcome == Outcome::Exhausted && std::env::var_os("STOCKADE_SHOW").is_some() {
                let head: String = text.chars().take(60).collect();
                let tail: String = text.chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
                println!("  exhausted after {taken:?} on {head:?}..{tail:?}");
            }
            mine += usize::from(outcome == Outcome::Exhausted);
            slow += usize::from(taken > bound);
            if taken > worst.0 {
                worst = (taken, pattern.clone());
            }
        }
        if mine > 0 {
            println!("{mine} of {} exhausted: {pattern}", texts.len());
        }
        exhausted += mine;
    }
    println!(
        "{} patterns, {searches} searches, {exhausted} exhausted, worst {:?} {}",
        patterns.len(),
        worst.0,
        worst.1
    );
    assert!(searches > 300, "only {searches} searches");
    assert_eq!(slow, 0, "over {bound:?}: worst {worst:?}");
}
