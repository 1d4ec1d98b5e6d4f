//! Long checks: what is too long for every commit, with a budget, and with its sums kept in `docs/long-runs.md`.

use std::{
    fs::OpenOptions,
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{roots, steps, tools};

/// One long check.
struct Long {
    name: &'static str,
    about: &'static str,
    minutes: u64,
    /// Arguments of cargo.
    cargo: &'static [&'static str],
    /// The value of `STOCKADE_LONG` that its test reads: how much longer than the short form.
    scale: &'static str,
    /// Lines of its output that hold one of these words are its sums.
    sums: &'static [&'static str],
}

/// All of them.
const CHECKS: &[Long] = &[
    Long {
        name: "pattern",
        about: "5 million pairs of pattern and text against CPython, generated and from the original's filters",
        minutes: 60,
        cargo: &["test", "--release", "--package", "stockade-pattern", "--test", "differential", "--", "--nocapture"],
        scale: "5000000",
        sums: &["Tally", "test result"],
    },
    Long {
        name: "stories",
        about: "all stories, with 200 restarts under the stream and 20,000 single bans",
        minutes: 60,
        cargo: &["xtask", "test", "--stories"],
        scale: "20",
        sums: &["reached the witness", "line written", "in one write", "passed, "],
    },
];

/// Says which long checks there are.
pub(crate) fn list() {
    for check in CHECKS {
        steps::say(&format!("{:20} {} (at most {} min)", check.name, check.about, check.minutes));
    }
}

/// Runs one and appends its sums to `docs/long-runs.md`; true when it went well.
///
/// # Errors
/// When there is none of this name, or it takes longer than its budget.
pub(crate) fn run(name: &str) -> Result<bool> {
    let check = CHECKS.iter().find(|check| check.name == name).with_context(|| format!("no long check {name}"))?;
    tools::ensure()?;
    let environment = roots::ensure()?;
    let mut command = steps::cargo(check.cargo);
    command.env("STOCKADE_LONG", check.scale).envs(environment);
    let start = Instant::now();
    let mut sums = Vec::new();
    let good = steps::run(name, &mut command, Duration::from_secs(check.minutes * 60), |line| {
        steps::say(line);
        if check.sums.iter().any(|word| line.contains(word)) {
            sums.push(line.trim().to_owned());
        }
    })?;
    let took = start.elapsed().as_secs();
    append(check, good, took, &sums)?;
    steps::say(&format!("{name}: {} after {took} s", if good { "good" } else { "FAILED" }));
    Ok(good)
}

fn append(check: &Long, good: bool, took: u64, sums: &[String]) -> Result<()> {
    let folder = steps::top().join("docs");
    std::fs::create_dir_all(&folder)?;
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join("long-runs.md"))?;
    let commit = steps::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    let day = steps::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let outcome = if good { "good" } else { "FAILED" };
    writeln!(
        file,
        "\n## {} {}, {outcome}\n\n{}; commit {}; {took} s.\n",
        day.trim(),
        check.name,
        check.about,
        commit.trim()
    )?;
    for sum in sums {
        writeln!(file, "- {sum}")?;
    }
    Ok(())
}
