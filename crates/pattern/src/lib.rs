//! Python's regular expressions, exact and bounded.
//!
//! A [`Regex`] takes a pattern in the dialect of Python's `re` module (text
//! patterns, CPython 3.11 to 3.13) and finds exactly what Python finds: the
//! same match and the same groups. A search never takes more than a fixed
//! number of steps; when it would, it answers [`Outcome::Exhausted`], which is
//! never the same as "no match".
//!
//! ```
//! use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};
//!
//! let regex = Regex::new(r"^(?P<word>\w+)\s", Flags::default())?;
//! let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
//! let text = "hello world";
//! assert_eq!(regex.search(&mut scratch, text, 0..text.len(), &mut slots), Outcome::Match);
//! assert_eq!(slots.get(1), Some(0..5));
//! # Ok::<(), stockade_pattern::Error>(())
//! ```
#![forbid(unsafe_code)]

mod error;
mod fast;
mod first;
mod parse;
mod plain;
mod regex;
mod required;
mod scan;
mod search;
mod set;
#[cfg(test)]
mod switches;
mod tables;
mod tree;
mod width;

pub use error::Error;
pub use first::ByteSet;
pub use regex::{Flags, Regex};
pub use required::{Hole, LiteralSet};
pub use search::{Outcome, Scratch, Slots};
