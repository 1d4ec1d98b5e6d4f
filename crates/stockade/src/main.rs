//! stockade: guards a machine against those who keep trying.
//!
//! One binary: the daemon (`stockade run`) and all that talks to it. See
//! `ARCHITECTURE.md` for who owns what.
#![forbid(unsafe_code)]

mod blacklist;
mod cli;
mod control;
mod daemon;
mod doctor;
mod log;
mod parallel;
mod places;
mod plain_file;
mod relay;
mod settings;

fn main() -> std::process::ExitCode {
    cli::main()
}
