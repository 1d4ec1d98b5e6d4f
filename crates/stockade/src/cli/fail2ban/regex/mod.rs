//! `fail2ban-regex`: tries a filter on lines, with the original's words and output.

mod lines;
mod options;
mod out;
mod report;
mod rules;
mod usage;

use std::process::ExitCode;

use crate::cli::term::{note, say};
use options::{Options, Parsed};
use report::Stats;
use rules::Rules;

/// The one exit code of the original for whatever failed.
const FAILED: u8 = 255;

/// Runs as `fail2ban-regex`, called so by `caller` (whole, as it was typed).
pub(crate) fn run(caller: &str, words: &[String]) -> ExitCode {
    let name = caller.rsplit('/').next().unwrap_or(caller);
    let options = match options::parse(words) {
        Parsed::Work(options) => *options,
        Parsed::Help => {
            usage::help(caller);
            return ExitCode::SUCCESS;
        }
        Parsed::Version { short } => {
            let version = stockade_config::VERSION;
            say(if short { version.replace(".dev", ".") } else { format!("{name} {version}") });
            return ExitCode::SUCCESS;
        }
        Parsed::Wrong(what) => {
            note(format!("{}\n\n{name}: error: {what}", usage::line(caller)));
            return ExitCode::from(2);
        }
    };
    let mut errors = Vec::new();
    for (no, all, what) in
        [(options.no_missed, options.all_missed, "missed"), (options.no_ignored, options.all_ignored, "ignored")]
    {
        if no && all {
            errors.push(format!("ERROR: --print-no-{what} and --print-all-{what} are mutually exclusive."));
        }
    }
    if !(2..=3).contains(&options.words.len()) {
        errors.push("ERROR: provide both <LOG> and <REGEX>.".to_owned());
    }
    if !errors.is_empty() {
        usage::help(caller);
        note(format!("\n{}", errors.join("\n")));
        return ExitCode::from(FAILED);
    }
    match try_lines(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(text)) => {
            say(text);
            ExitCode::from(FAILED)
        }
    }
}

/// What is printed before the program ends with [`FAILED`].
struct Failed(String);

impl Failed {
    fn error(what: impl std::fmt::Display) -> Failed {
        Failed(format!("ERROR: {what}"))
    }
}

fn try_lines(options: &Options) -> Result<(), Failed> {
    if options.out.is_none() {
        say("\nRunning tests\n=============\n");
    }
    let rules = Rules::read(options)?;
    let mut stats = Stats::default();
    lines::look(options, &rules, &mut stats)?;
    if options.out.is_none() {
        report::print(options, &rules, &stats);
    }
    Ok(())
}

/// Prints a line of the report; not if only results are wanted.
fn tell(options: &Options, line: impl AsRef<str>) {
    if options.out.is_none() {
        say(line);
    }
}
