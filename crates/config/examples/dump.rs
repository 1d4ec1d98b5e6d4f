//! Prints the command stream of a tree: `dump DIR|builtin [--json|--all|--time N] [--version V]`.
//!
//! Without an option it prints what `fail2ban-client -d` prints; findings go to
//! standard error.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

use std::time::Instant;

use stockade_config::{LoadOptions, Loaded, TreeSource, load};
use stockade_wire::value::{command_json, command_repr};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let value = |flag: &str| {
        let at = arguments.iter().position(|a| a == flag)?;
        arguments.get(at + 1).map(String::as_str)
    };
    let source = match arguments.first().map(String::as_str) {
        Some("builtin") | None => TreeSource::Embedded,
        Some(folder) => TreeSource::of_folder(folder),
    };
    let options = LoadOptions { version: value("--version").unwrap_or(""), ..LoadOptions::default() };
    let rounds: u32 = value("--time").and_then(|n| n.parse().ok()).unwrap_or(1);
    let begin = Instant::now();
    let mut loaded = Loaded::default();
    for _ in 0..rounds {
        loaded = load(&source, &options);
    }
    if has("--time") {
        println!("{} commands in {:?}", loaded.stream.len(), begin.elapsed() / rounds);
        return;
    }
    for command in &loaded.stream {
        if has("--json") {
            println!("{}", command_json(command));
        } else if has("--all") || !stockade_config::is_own(command) {
            println!("{}", command_repr(command));
        }
    }
    for finding in &loaded.diagnostics {
        eprintln!("{finding}");
    }
    if !loaded.is_startable() {
        std::process::exit(255);
    }
}
