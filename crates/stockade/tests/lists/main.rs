//! `blacklist = PATH` and `PATH.keep` with the real program, a real kernel in a
//! network of its own, and an operator who edits.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that runs programs"
)]

mod guard;
mod keep;
mod list;

pub(crate) use guard::{Guard, eventually, skipped};
