//! The subset of Python's pickle that the original's client and server speak.
//!
//! The original unpickles whatever it is sent, which lets anyone who can open
//! the socket run code in it. Here only plain values are read: `None`, `bool`,
//! `int`, `float`, `str`, `bytes`, `list`, `tuple`, `dict`. Any opcode that
//! could name a class or call something is refused by its number.
//!
//! Source: the opcodes are those of Python's `pickletools`; which of them occur
//! was seen on the wire.

mod answer;
mod exception;
mod read;
mod skim;
mod write;

pub use answer::{Answer, Refusal};
pub use exception::Exception;
pub use read::{Limits, ReadError, read, read_answer};
pub use skim::Skimmer;
pub use write::{answer, bare, failure, request};

#[cfg(test)]
mod tests;
