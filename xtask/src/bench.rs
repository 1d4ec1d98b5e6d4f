//! How fast: `bench/counts`, `bench/clients`, `bench/compare`, `bench/daemon` and `bench/plot`, with what they need.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{roots, steps, tools};

/// Half an hour: the original reads some 50,000 lines a second, and each log several times.
const LIMIT: Duration = Duration::from_secs(1800);

/// Instructions against the accepted ones, for CI; true if nothing takes more.
///
/// # Errors
/// Something can't be built or run.
pub(crate) fn counts() -> Result<bool> {
    let environment = roots::ensure()?;
    steps::step(
        "build what is counted",
        &mut steps::cargo(&["build", "--release", "--package", "stockade-bench"]),
        LIMIT,
    )?;
    steps::say("==> instructions");
    let mut command = Command::new("python3");
    command.arg("bench/counts").envs(environment.iter().map(|(name, value)| (name, value)));
    steps::run("bench/counts", &mut command, LIMIT, steps::say)
}

/// Builds, counts instructions, measures the daemon, and compares over logs of so many lines. True if nothing got slower and
/// all programs found the same.
///
/// # Errors
/// Something can't be built or run.
pub(crate) fn run(lines: &str) -> Result<bool> {
    ensure!(lines.parse::<u32>().is_ok(), "cargo xtask bench takes a number of lines, not '{lines}'");
    let begun = Instant::now();
    tools::ensure()?;
    let environment = roots::ensure()?;
    let packages = ["build", "--release", "--package", "stockade-bench", "--package", "stockade"];
    steps::step("build", &mut steps::cargo(&packages), LIMIT)?;
    let mut good = true;
    let compare = ["bench/compare", "--lines", lines];
    for words in [&["bench/counts", "--save"][..], &["bench/clients"], &compare, &["bench/daemon"], &["bench/plot"]] {
        let mut command = Command::new("python3");
        command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
        good &= steps::run(&words.join(" "), &mut command, LIMIT, steps::say)?;
    }
    steps::say(&format!("measured in {} min {} s", begun.elapsed().as_secs() / 60, begun.elapsed().as_secs() % 60));
    Ok(good)
}
