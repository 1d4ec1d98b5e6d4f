//! Log files: one case over every way to read them, and random histories.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails loudly"
)]

mod random;
mod rotation;
mod seek;
mod tester;
mod watching;
