//! `cargo xtask docs`: writes the generated pages anew. Their tests fail when they are out of date.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{roots, steps, tools};

/// Tests that write what they otherwise check, in this order: a page may be made from what an earlier one wrote.
const WRITERS: [[&str; 2]; 3] =
    [["stockade-config", "trees"], ["stockade-config", "errors"], ["stockade-config", "manual"]];

/// Runs them all.
///
/// # Errors
/// When one of them fails: it says what it found, and wrote nothing.
pub(crate) fn run() -> Result<bool> {
    tools::ensure()?;
    let environment = roots::ensure()?;
    for [package, test] in WRITERS {
        let mut command = steps::cargo(&["test", "--quiet", "--package", package, "--test", test, "--"]);
        command.arg("--test-threads=1").env("STOCKADE_UPDATE", "1");
        command.envs(environment.iter().map(|(name, place)| (*name, place)));
        ensure!(steps::run(test, &mut command, Duration::from_secs(900), steps::say)?, "writing {test} failed");
    }
    Ok(true)
}
