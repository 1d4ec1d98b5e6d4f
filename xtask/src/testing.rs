//! `cargo xtask test`: every crate's tests, then the stories.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, bail, ensure};

use crate::{dist, roots, steps, tools};

/// What passed and what failed so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    passed: u64,
    failed: u64,
    left_out: u64,
}

/// How long the tests of all crates may take, compiling included.
const CRATES_LIMIT: Duration = Duration::from_secs(1800);

/// How long the stories may take, and in their long form (`STOCKADE_LONG`): the original needs up to an hour for its
/// part of the take-over of 20,000 bans.
const STORIES_LIMIT: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(7200)];

/// Runs what the words ask for; true when nothing failed.
///
/// # Errors
/// When something cannot be run at all.
pub(crate) fn run(words: &[&str]) -> Result<bool> {
    let without_machines = words.contains(&"--without-machines");
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "--without-machines").collect();
    ensure!(!(without_machines && steps::under_ci()), "under CI nothing is left out: --without-machines is refused");
    let environment = if without_machines {
        steps::say("LEFT OUT: everything that needs root (kernel, real services, the original, the stories)");
        Vec::new()
    } else {
        tools::ensure()?;
        roots::ensure()?
    };
    let mut sum = Sum::default();
    match words.as_slice() {
        [] => {
            crates(&["--workspace"], &environment, &mut sum)?;
            if !without_machines {
                stories(&[], &environment, &mut sum)?;
            }
        }
        ["--list"] => {
            stories(&["--list"], &environment, &mut sum)?;
            return Ok(true);
        }
        ["--stories", rest @ ..] if !without_machines => stories(rest, &environment, &mut sum)?,
        [name] if !name.starts_with('-') => crates(&["--package", name], &environment, &mut sum)?,
        _ => bail!("unknown words: {}", words.join(" ")),
    }
    if sum.left_out > 0 {
        steps::say(&format!("{} ignored (each says why)", sum.left_out));
    }
    steps::say(&format!("{} passed, {} failed", sum.passed, sum.failed));
    Ok(sum.failed == 0)
}

fn crates(which: &[&str], environment: &[(&str, PathBuf)], sum: &mut Sum) -> Result<()> {
    steps::say(&format!("==> cargo test {}", which.join(" ")));
    let mut command = steps::cargo(&["test", "--no-fail-fast"]);
    command.args(which).args(["--", "--show-output"]);
    command.envs(environment.iter().map(|(name, place)| (*name, place)));
    let before = *sum;
    let mut reader = Reader::default();
    let good = steps::run("cargo test", &mut command, CRATES_LIMIT, |line| {
        if reader.take(line, sum) {
            steps::say(line);
        }
    })?;
    if !good && sum.failed == before.failed {
        // Something else than a test went wrong, such as the compiling.
        sum.failed += 1;
    }
    if steps::under_ci() && reader.skips > 0 {
        steps::say(&format!("FAILED  {} tests did nothing, and under CI nothing is left out", reader.skips));
        sum.failed += 1;
    }
    Ok(())
}

/// Reads what test programs print, and keeps what is worth to be seen.
#[derive(Debug, Default)]
struct Reader {
    /// How many test programs are inside each other.
    depth: u32,
    /// Inside the output of tests that passed.
    passing: bool,
    /// How often such a test said that it did nothing.
    skips: u64,
}

impl Reader {
    /// Counts a line; true when it should be shown.
    fn take(&mut self, line: &str, sum: &mut Sum) -> bool {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.passing = false;
            let words: Vec<&str> = rest.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
            let number = |what: &str| {
                let pair = words.windows(2).find(|pair| pair.last() == Some(&what));
                pair.and_then(|pair| pair.first()?.parse::<u64>().ok()).unwrap_or(0)
            };
            // A test that starts its own program again shows a sum inside the sum.
            self.depth = self.depth.saturating_sub(1);
            if self.depth > 0 {
                return false;
            }
            sum.passed += number("passed");
            sum.failed += number("failed");
            sum.left_out += number("ignored");
            return number("failed") > 0;
        }
        self.depth += u32::from(line.starts_with("running ") && line.trim_end().ends_with(['t', 's']));
        match line {
            "successes:" => self.passing = true,
            "failures:" => self.passing = false,
            _ => {}
        }
        let skip = ["SKIP", "skipped:", "LEFT OUT"].iter().any(|word| line.trim_start().starts_with(word));
        if skip && self.passing {
            self.skips += 1;
        }
        let quiet =
            line.is_empty() || line.starts_with("running ") || (line.starts_with("test ") && line.ends_with(" ... ok"));
        skip || !(self.passing || quiet)
    }
}

/// Builds the program under test as it is shipped, and tells the stories.
fn stories(words: &[&str], environment: &[(&str, PathBuf)], sum: &mut Sum) -> Result<()> {
    let minutes = Duration::from_secs(600);
    steps::step(
        "build stockade as shipped",
        &mut steps::cargo(&["build", "--release", "--package", "stockade"]),
        minutes,
    )?;
    steps::step("build the stories", &mut steps::cargo(&["build", "--package", "conformance"]), minutes)?;
    let target = steps::top().join("target");
    steps::say("==> pack");
    dist::pack(&target.join("release/stockade"), &target.join("packages"))?;
    steps::say("==> stories");
    let mut command = Command::new(target.join("debug/stories"));
    command.args(words).envs(environment.iter().map(|(name, place)| (*name, place)));
    command.env("STOCKADE_SCRATCH", target.join("machines")).env("STOCKADE_BIN", target.join("release/stockade"));
    command.env("RUST_LIB_BACKTRACE", "0").env("STOCKADE_PACKAGES", target.join("packages"));
    let mut told = false;
    let [short, long] = STORIES_LIMIT;
    let limit = if std::env::var_os("STOCKADE_LONG").is_some() { long } else { short };
    steps::run("stories", &mut command, limit, |line| {
        if let Some((passed, failed)) = counted(line) {
            sum.passed += passed;
            sum.failed += failed;
            told = true;
        } else {
            steps::say(line);
        }
    })?;
    if !told && words != ["--list"] {
        sum.failed += 1;
        steps::say("FAILED  the stories ended without a sum");
    }
    Ok(())
}

/// The sum that the stories print last.
fn counted(line: &str) -> Option<(u64, u64)> {
    let (passed, failed) = line.strip_prefix("stories: ")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_programs_are_summed() {
        let (mut sum, mut reader) = (Sum::default(), Reader::default());
        assert!(!reader.take("running 13 tests", &mut sum));
        assert!(!reader.take("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out", &mut sum));
        assert!(
            reader.take("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", &mut sum)
        );
        assert!(!reader.take("running 2 tests", &mut sum));
        assert!(!reader.take("running 1 test", &mut sum));
        assert!(!reader.take("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out", &mut sum));
        assert!(!reader.take("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", &mut sum));
        assert_eq!(sum, Sum { passed: 17, failed: 2, left_out: 1 });
        assert!(!reader.take("test a::b ... ok", &mut sum));
        assert!(reader.take("test a::b ... FAILED", &mut sum));
    }

    #[test]
    fn a_passing_test_is_heard_only_when_it_did_nothing() {
        let (mut sum, mut reader) = (Sum::default(), Reader::default());
        assert!(!reader.take("successes:", &mut sum));
        assert!(!reader.take("a figure", &mut sum));
        assert!(reader.take("SKIPPED: no python3 to compare with", &mut sum));
        assert!(reader.take("failures:", &mut sum));
        assert!(reader.take("a figure", &mut sum));
        assert_eq!(reader.skips, 1);
    }

    #[test]
    fn sum_of_the_stories_is_read() {
        assert_eq!(counted("stories: 21 passed, 3 failed"), Some((21, 3)));
        assert_eq!(counted("ok      holds: restart"), None);
    }
}
