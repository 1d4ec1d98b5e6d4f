//! What operators see, with the real program and a real kernel in a network of
//! its own: `blacklist = PATH` and `PATH.keep`, bans that don't hold, rules that
//! can't match.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that runs programs"
)]

mod guard;
mod holds;
mod keep;
mod lift;
mod list;
mod tags;

pub(crate) use guard::{Guard, eventually, skipped};
