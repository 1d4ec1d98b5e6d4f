//! Carries out actions as written: a process of its own that runs commands in
//! lanes, spoken to in a handful of typed, bounded messages.
//!
//! The daemon keeps the order of decisions and says [`Order`]s; the runner
//! keeps the actions' texts and what they have in force, and answers each run
//! with [`News::Done`]. Values that attackers wrote reach a command through
//! arguments only ([`Values`]).

mod action;
mod dynamic;
mod handle;
mod mail;
mod message;
mod names;
mod serve;
mod shell;
mod smtp;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

pub use handle::{NewsReader, Runner};
pub use mail::check as check_python;
pub use message::{ActionId, ActionState, LineLevel, News, Order, RunId, Speaker, Values, Verb};
pub use serve::serve;

/// The runner's whole life, when standard input is the socket to the daemon:
/// leaves the daemon's session and serves until the daemon is gone.
///
/// # Errors
/// If standard input is no socket, or what comes from it is damaged.
pub fn serve_stdin() -> io::Result<()> {
    // A terminal's signals are the daemon's affair; who leads a group already stays.
    rustix::process::setsid().ok();
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if rustix::net::getpeername(&socket).is_err() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is no socket to a daemon"));
    }
    serve(UnixStream::from(socket))
}
