//! What is done around the code: `cargo xtask test`, `ci`, `tidy`, `long`, `roots`.
#![forbid(unsafe_code)]

mod arrows;
mod bench;
mod ci;
mod dist;
mod docs;
mod known;
mod long;
mod pictures;
mod roots;
mod steps;
mod testing;
mod tidy;
mod tools;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask test [CRATE]           every test: cargo test over all crates (or one), then the stories
cargo xtask test --stories [WORD]  the stories only, those whose name contains WORD
cargo xtask test --list            the names of all stories
cargo xtask ci                     what the CI runs: format, lints, docs, tidy, import arrows, then test
cargo xtask tidy                   rules about the tree that no compiler checks, and the import arrows
cargo xtask dist [PROGRAM]         the packages (.deb, .rpm) and the portable archive, under target/dist,
                                   with a program that was built already, or with one that is built now
cargo xtask docs                   writes the generated pages and manual pages anew
cargo xtask pictures [PROGRAM]     draws what the program shows in a terminal anew, into docs/pictures (needs tmux)
cargo xtask bench [LINES]          how fast: instructions against the accepted ones, then every rival beside us
cargo xtask roots                  builds the Debian roots that tests use, if they are missing
cargo xtask long [NAME]            a long check; without a name: which there are
  --without-machines               leaves out what needs root, loudly; never under CI";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            steps::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// True when everything that was asked for went well.
fn run() -> Result<bool> {
    env::set_current_dir(steps::top())?;
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test", rest @ ..] => testing::run(rest),
        ["ci"] => ci::run(),
        ["tidy"] => {
            tidy::check()?;
            arrows::check()?;
            steps::say("tidy");
            Ok(true)
        }
        ["dist"] => dist::run(None),
        ["dist", program] => dist::run(Some(program)),
        ["docs"] => docs::run(),
        ["pictures"] => pictures::run(None),
        ["pictures", program] => pictures::run(Some(program)),
        ["bench"] => bench::run("200000"),
        ["bench", lines] => bench::run(lines),
        ["roots"] => {
            tools::ensure()?;
            roots::ensure().map(|_| true)
        }
        ["long"] => {
            long::list();
            Ok(true)
        }
        ["long", name] => long::run(name),
        [] | ["help" | "--help" | "-h"] => {
            steps::say(USAGE);
            Ok(true)
        }
        _ => bail!("unknown words: {}\n{USAGE}", words.join(" ")),
    }
}
