//! The stories: what an operator would see, told with real services, real attackers and a real kernel.
//!
//! `stories` runs all, `stories WORD...` those whose name contains one of the words, `stories --list` names them.
//! Started by `cargo xtask test`, which builds the roots and the programs and sets the variables that are needed.
#![forbid(unsafe_code)]

mod bad_input;
mod bans;
mod beside;
mod doctor;
mod exactly;
mod holds;
mod lockout;
mod nothing_lost;
mod packages;
mod proxy;
mod runner;
mod scene;
mod speed;
mod takeover;
mod turns;
mod units;
mod walls;
mod way_out;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

fn main() -> Result<ExitCode> {
    let words: Vec<String> = env::args().skip(1).collect();
    let mut stories = Vec::new();
    stories.extend(exactly::stories());
    stories.extend(holds::stories());
    stories.extend(bans::stories());
    stories.extend(lockout::stories());
    stories.extend(proxy::stories());
    stories.extend(way_out::stories());
    stories.extend(bad_input::stories());
    stories.extend(nothing_lost::stories());
    stories.extend(doctor::stories());
    stories.extend(packages::stories());
    stories.extend(takeover::stories());
    stories.extend(turns::stories());
    stories.extend(units::stories());
    stories.extend(walls::stories());
    stories.extend(speed::stories());
    stories.extend(beside::stories());
    if words.iter().any(|word| word == "--list") {
        runner::list(&stories);
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = env::var_os("STOCKADE_SCRATCH").map(PathBuf::from);
    let scratch = scratch.context("STOCKADE_SCRATCH is not set: run `cargo xtask test`")?;
    runner::run(&stories, &words, &scratch)
}
