//! How fast: `bench/counts`, `bench/clients`, `bench/compare` and `bench/plot`, with what they need.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};

use crate::{roots, steps, tools};

/// Half an hour: the original reads some 50,000 lines a second, and each log several times.
const LIMIT: Duration = Duration::from_secs(1800);

/// Builds, counts instructions, and compares over logs of so many lines. True if nothing got slower and
/// all programs found the same.
///
/// # Errors
/// Something can't be built or run.
pub(crate) fn run(lines: &str) -> Result<bool> {
    ensure!(lines.parse::<u32>().is_ok(), "cargo xtask bench takes a number of lines, not '{lines}'");
    tools::ensure()?;
    let environment = roots::ensure()?;
    steps::step(
        "build",
        &mut steps::cargo(&["build", "--release", "--package", "stockade-bench", "--package", "stockade"]),
        LIMIT,
    )?;
    let mut good = true;
    let all = [&["bench/counts"][..], &["bench/clients"], &["bench/compare", "--lines", lines], &["bench/plot"]];
    for words in all {
        let mut command = Command::new("python3");
        command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
        good &= steps::run(&words.join(" "), &mut command, LIMIT, steps::say)?;
    }
    Ok(good)
}
