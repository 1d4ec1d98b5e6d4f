//! Our engine against CPython's `re`: same match, same groups, same refusals.
//!
//! Short form: about 100,000 pairs of pattern and text. `STOCKADE_LONG=n` asks
//! for about `n` pairs of each of two seeds, `STOCKADE_SEED` for another one. With
//! `STOCKADE_FAIL2BAN` naming a fail2ban configuration tree, the patterns of
//! its filters take part, as written and damaged. `STOCKADE_PYTHON` names the
//! interpreter; without one the test says that it skipped.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "a test may panic and print"
)]

use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

mod dialect;
#[path = "../../../conformance/src/known.rs"]
mod known;
use dialect::{Case, Dialect};
use known::Differences;

struct Python {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    from: BufReader<ChildStdout>,
}

/// What CPython says of a pattern.
enum Verdict {
    Refused(String, Option<usize>),
    Unknown,
    Answers(Vec<Answer>),
}

#[derive(PartialEq, Debug)]
enum Answer {
    Nothing,
    TimedOut,
    Bug,
    Spans(Vec<Option<(usize, usize)>>),
}

impl Python {
    #[expect(clippy::disallowed_methods, reason = "the oracle is another process")]
    fn start() -> Option<Python> {
        let name = std::env::var("STOCKADE_PYTHON").unwrap_or_else(|_| "python3".into());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_worker.py");
        let spawned = Command::new(name).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.ok()?;
        let to = child.stdin.take().map(BufWriter::new);
        let from = BufReader::new(child.stdout.take()?);
        Some(Python { child, to, from })
    }

    fn send(&mut self, bytes: &[u8]) {
        self.to.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn send_number(&mut self, n: usize) {
        self.send(&u32::try_from(n).unwrap().to_le_bytes());
    }

    fn send_text(&mut self, text: &str) {
        self.send_number(text.len());
        self.send(text.as_bytes());
    }

    fn flush(&mut self) {
        self.to.as_mut().unwrap().flush().unwrap();
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.from.read_exact(&mut byte).unwrap();
        byte[0]
    }

    fn number(&mut self) -> i32 {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes).unwrap();
        i32::from_le_bytes(bytes)
    }

    fn text(&mut self) -> String {
        let len = usize::try_from(self.number()).unwrap();
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn texts(&mut self) -> Vec<String> {
        let count = self.number();
        (0..count).map(|_| self.text()).collect()
    }

    fn stock(&mut self, tree: &str) -> Vec<String> {
        self.send(b"F");
        self.send_text(tree);
        self.flush();
        self.texts()
    }

    fn walks(&mut self, seed: usize, count: usize, pattern: &str) -> Vec<String> {
        self.send(b"W");
        self.send_number(seed);
        self.send_number(count);
        self.send_text(pattern);
        self.flush();
        self.texts()
    }

    fn search(&mut self, case: &Case, windows: &[(usize, usize)]) -> Verdict {
        self.send(b"S");
        self.send(&[u8::from(case.multiline) | u8::from(case.ignorecase) << 1]);
        self.send_text(&case.pattern);
        self.send_number(case.texts.len());
        for (text, window) in case.texts.iter().zip(windows) {
            self.send_text(text);
            self.send_number(window.0);
            self.send_number(window.1);
        }
        self.flush();
        match self.byte() {
            1 => {
                let position = usize::try_from(self.number()).ok();
                Verdict::Refused(self.text(), position)
            }
            2 => Verdict::Unknown,
            _ => {
                let groups = self.number();
                let answer = |python: &mut Python| match python.byte() {
                    0 => Answer::Nothing,
                    1 => {
                        let spans = (0..=groups).map(|_| {
                            let (from, to) = (python.number(), python.number());
                            (from >= 0).then(|| (usize::try_from(from).unwrap(), usize::try_from(to).unwrap()))
                        });
                        Answer::Spans(spans.collect())
                    }
                    2 => Answer::TimedOut,
                    _ => Answer::Bug,
                };
                Verdict::Answers(case.texts.iter().map(|_| answer(self)).collect())
            }
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.to = None;
        self.child.wait().ok();
    }
}

#[derive(Default, Debug)]
struct Tally {
    patterns: usize,
    pairs: usize,
    matched: usize,
    overruns: usize,
    timeouts: usize,
    bugs: usize,
    refused: usize,
    other_message: usize,
    differences: usize,
    shown: usize,
}

/// The known difference that a pattern runs into: CPython 3.11 still knows the flag `t`, and takes whatever `int`
/// takes for a conditional's group number (`(?(+1)a)`); later ones, and we, do not.
fn listed(pattern: &str) -> Option<&'static str> {
    let flag = pattern.match_indices("(?").any(|(at, _)| {
        let letters = pattern[at + 2..].trim_start_matches(|c: char| "aiLmsux-".contains(c));
        letters.starts_with('t')
    });
    let number = pattern.match_indices("(?(").any(|(at, _)| {
        let name = pattern[at + 3..].split(')').next().unwrap_or_default();
        let plain = name.bytes().all(|byte| byte.is_ascii_digit());
        !plain && !name.starts_with(|c: char| c == '_' || c.is_alphabetic())
    });
    flag.then_some("cpython-flag-t").or(number.then_some("cpython-group-number"))
}

fn is_listed(pattern: &str) -> bool {
    listed(pattern).is_some()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks the interpreter for its version")]
fn listed_differences_still_differ() {
    let Some(mut python) = Python::start() else {
        println!("SKIPPED: no python3 to compare with");
        return;
    };
    let name = std::env::var("STOCKADE_PYTHON").unwrap_or_else(|_| "python3".into());
    let version = Command::new(name).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let version = version.trim().rsplit_once('.').unwrap().0;
    let mut differences = Differences::read();
    for (pattern, id) in [("(?t)a", "cpython-flag-t"), ("(a)(?(+1)b)", "cpython-group-number")] {
        assert_eq!(listed(pattern), Some(id));
        let case = Case { pattern: pattern.into(), multiline: false, ignorecase: false, texts: vec!["ab".into()] };
        let accepted = matches!(python.search(&case, &[(0, 2)]), Verdict::Answers(_));
        let flags = Flags { multiline: false, ignorecase: false };
        assert!(Regex::new(pattern, flags).is_err(), "we take {pattern} now: its entry must go");
        assert!(!accepted || differences.note(id, version), "{version} takes {pattern}, and that is not listed");
    }
    if version == "Python 3.11" {
        differences.finish(file!());
    }
}

impl Tally {
    /// Stops if anything was not as it should be.
    fn passes(&self) {
        assert_eq!(self.differences, 0, "see above");
        assert_eq!(self.other_message, 0, "errors worded otherwise, see above");
        assert!(self.matched * 10 >= self.pairs * 3, "too few matches to mean much: {self:?}");
    }

    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        self.shown += 1;
        if self.shown <= 30 {
            println!("{what}");
        }
    }

    fn check(&mut self, python: &mut Python, dialect: &mut Dialect, case: &Case) {
        self.patterns += 1;
        let windows: Vec<(usize, usize)> = case
            .texts
            .iter()
            .map(|text| {
                let all = text.chars().count();
                if dialect.rng.chance(15) { (dialect.rng.below(all + 1), dialect.rng.below(all + 3)) } else { (0, all) }
            })
            .collect();
        let verdict = python.search(case, &windows);
        let flags = Flags { multiline: case.multiline, ignorecase: case.ignorecase };
        let regex = Regex::new(&case.pattern, flags);
        let (regex, answers) = match (regex, verdict) {
            (_, Verdict::Unknown) => return,
            (Err(ours), Verdict::Refused(message, position)) => {
                self.refused += 1;
                if (&ours.message, ours.position) != (&message, position) && !is_listed(&case.pattern) {
                    self.other_message += 1;
                    self.complain(format_args!("{:?}: {ours} / {message} at {position:?}", case.pattern));
                }
                return;
            }
            (Err(_), Verdict::Answers(_)) if is_listed(&case.pattern) => return,
            (Err(ours), Verdict::Answers(_)) => {
                self.differences += 1;
                self.complain(format_args!("{:?}: we refuse: {ours}", case.pattern));
                return;
            }
            (Ok(_), Verdict::Refused(message, position)) => {
                self.differences += 1;
                self.complain(format_args!("{:?}: we accept, python: {message} at {position:?}", case.pattern));
                return;
            }
            (Ok(regex), Verdict::Answers(answers)) => (regex, answers),
        };
        let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
        for ((text, window), theirs) in case.texts.iter().zip(&windows).zip(answers) {
            self.pairs += 1;
            let bytes = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
            let outcome = regex.search(&mut scratch, text, bytes(window.0)..bytes(window.1), &mut slots);
            let ours = match outcome {
                Outcome::Exhausted => {
                    self.overruns += 1;
                    continue;
                }
                Outcome::NoMatch => Answer::Nothing,
                Outcome::Match => {
                    let span = |group| slots.get(group).map(|span| (span.start, span.end));
                    Answer::Spans((0..=regex.group_count()).map(span).collect())
                }
            };
            match theirs {
                Answer::TimedOut => {
                    self.timeouts += 1;
                    continue;
                }
                Answer::Bug => {
                    self.bugs += 1;
                    self.complain(format_args!("{:?} on {text:?}: python reports a bug of its own", case.pattern));
                    continue;
                }
                _ => {}
            }
            self.matched += usize::from(theirs != Answer::Nothing);
            if ours != theirs {
                self.differences += 1;
                self.complain(format_args!(
                    "{:?} {flags:?} on {text:?} {window:?}:\n  ours   {ours:?}\n  python {theirs:?}",
                    case.pattern
                ));
            }
        }
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The seeds of this run.
fn seeds() -> Vec<u64> {
    match (std::env::var("STOCKADE_SEED"), std::env::var("STOCKADE_LONG")) {
        (Ok(seed), _) => vec![seed.parse().expect("STOCKADE_SEED is a number")],
        (Err(_), Ok(_)) => vec![1, 2],
        (Err(_), Err(_)) => vec![1],
    }
}

const TEXTS: usize = 20;

#[test]
fn generated_patterns_match_as_in_python() {
    let Some(mut python) = Python::start() else {
        println!("SKIPPED: no python3 to compare with");
        return;
    };
    let pairs = setting("STOCKADE_LONG", 100_000);
    for seed in seeds() {
        let mut dialect = Dialect::new(seed);
        let mut tally = Tally::default();
        while tally.pairs < pairs {
            let case = dialect.case(TEXTS);
            tally.check(&mut python, &mut dialect, &case);
        }
        println!("seed {seed}: {tally:?}");
        println!("{:?}", dialect.counts);
        let rare: Vec<_> = dialect.counts.iter().filter(|(_, count)| **count < 100).collect();
        assert!(pairs < 100_000 || rare.is_empty(), "constructs too rare: {rare:?}");
        tally.passes();
    }
}

#[test]
fn stock_patterns_match_as_in_python() {
    let Ok(tree) = std::env::var("STOCKADE_FAIL2BAN") else {
        println!("SKIPPED: STOCKADE_FAIL2BAN names no configuration tree");
        return;
    };
    let Some(mut python) = Python::start() else {
        println!("SKIPPED: no python3 to compare with");
        return;
    };
    let pairs = setting("STOCKADE_LONG", 100_000) / 2;
    let stock = python.stock(&tree);
    assert!(stock.len() > 100, "only {} patterns found", stock.len());
    let mut round = 0;
    for seed in seeds() {
        let mut dialect = Dialect::new(seed);
        let mut tally = Tally::default();
        while tally.pairs < pairs {
            for pattern in &stock {
                let texts = python.walks(round, TEXTS, pattern);
                let damaged = round % 2 == 1;
                let pattern = if damaged { dialect.damage(pattern) } else { pattern.clone() };
                let (multiline, ignorecase) = (dialect.rng.chance(15), dialect.rng.chance(10));
                tally.check(&mut python, &mut dialect, &Case { pattern, multiline, ignorecase, texts });
            }
            round += 1;
        }
        println!("seed {seed}: {} patterns, {tally:?}", stock.len());
        tally.passes();
    }
}
