//! `stockade completion`: what a shell needs to complete our words.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit};

/// Shown below the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  stockade completion bash > /etc/bash_completion.d/stockade
  stockade completion fish > ~/.config/fish/completions/stockade.fish

The packages bring these files with them.";

/// Words of `stockade completion`.
#[derive(Args)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(super) fn completion(args: &CompletionArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stockade", &mut script);
    io::stdout().write_all(&script).context("write to standard output")?;
    Ok(Exit::Done)
}
