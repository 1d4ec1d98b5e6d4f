//! Whole machines for tests: a Debian root in namespaces of its own, real services in it, and real attackers outside.
//!
//! A [`Machine`] is entered through namespaces and an overlay in memory, so that starting one takes a fraction of a
//! second, costs no copy, and leaves nothing behind. A [`Street`] is the network in front of it: attackers with
//! addresses of their own, packet streams, and a witness that counts what came through the machine's packet filter
//! from where no rule of the machine can reset or reach it. A [`Guard`] is the program under test, ours or the
//! original. The stories themselves are in the program `stories`, started by `cargo xtask test`.
#![forbid(unsafe_code)]

mod bounded;
mod guard;
pub mod known;
mod machine;
pub mod packet;
mod programs;
mod services;
mod street;
mod wait;

pub use bounded::read_bounded;
pub use guard::{Guard, Program};
pub use machine::{Machine, Output, Root, feed};
pub use programs::Programs;
pub use services::{Daemon, Logging, Sshd, SshdOptions};
pub use street::{Attempt, Counts, Dial, Session, Stream, Street};
pub use wait::{eventually, within};
