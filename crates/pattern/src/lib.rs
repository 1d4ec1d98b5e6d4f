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
//!
//! # How it works
//!
//! Pattern → tree ([`Regex::new`] reports Python's errors) → fast program, one
//! for ASCII texts and one for all others, made when first needed → search.
//! Where a program would grow too large, a plain backtracker takes its place.
//! The plain engine is also the twin that the tests hold every pass against,
//! and both are held against CPython itself (`tests/differential.rs`).
//!
//! # Where we differ from CPython, on purpose
//!
//! - `\N{NAME}` is refused: there is no table of character names.
//! - As in CPython 3.12 and later, the flag `t` is unknown, and a conditional's
//!   group number is plain ASCII digits.
//! - Nesting deeper than 200 and more than 10,000 groups are refused.
//! - Character classes and case are those of Unicode 14, whatever CPython runs beside us.
//! - Four bugs of CPython's are not copied: groups inside a possessive repeat that
//!   keep what an abandoned attempt left; a conditional that tests the group it
//!   stands in and sees an abandoned attempt's end; `search` that overlooks a match
//!   beginning with a class under `(?a:..)` because it looks for the first character
//!   without that flag; and "the span of capturing group is wrong".
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
mod stall;
#[cfg(test)]
mod switches;
mod tables;
mod tree;
mod width;

pub use error::Error;
pub use first::ByteSet;
pub use regex::{Flags, Regex, WeakRegex, Whole};
pub use required::{Hole, LiteralSet};
pub use search::{Outcome, Scratch, Slots};
