//! `cargo xtask ci`: what has to be true of every commit, within 25 minutes on two cores.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{arrows, bench, steps, testing, tidy, tools};

/// The whole budget.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Runs everything, cheap checks first; true when nothing failed.
///
/// # Errors
/// At the first check that fails before the tests, or when the budget is used up.
pub(crate) fn run() -> Result<bool> {
    let start = Instant::now();
    // What is missing on this computer is known before anything takes time.
    tools::ensure()?;
    steps::say("==> tidy");
    tidy::check()?;
    arrows::check()?;
    let left = || LIMIT.saturating_sub(start.elapsed());
    steps::step("format", &mut steps::cargo(&["fmt", "--all", "--check"]), left())?;
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    steps::step("lints", &mut steps::cargo(&lints), left())?;
    let mut docs = steps::cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    steps::step("docs", docs.env("RUSTDOCFLAGS", "--deny warnings"), left())?;
    let good = testing::run(&[])? & bench::counts()?;
    if start.elapsed() > LIMIT {
        bail!("the checks took {} s, more than their budget of {} s", start.elapsed().as_secs(), LIMIT.as_secs());
    }
    steps::say(&format!("ci: {} after {} s", if good { "good" } else { "FAILED" }, start.elapsed().as_secs()));
    Ok(good)
}
