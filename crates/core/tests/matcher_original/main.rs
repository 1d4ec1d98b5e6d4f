//! Our matcher beside an installed fail2ban's own filter class: the same lines
//! in the same order under the same clock must give the same hits.
//!
//! The lines are that fail2ban's sample logs, shuffled and mutated: other date
//! shapes, lines without a date, broken characters, clock jumps, zones. Where
//! it lies unpacked is said by `STOCKADE_F2B_ROOT_110`; without it the test says that
//! it did nothing. `STOCKADE_LONG=n` runs n times as many sequences,
//! `STOCKADE_SEED` begins elsewhere.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test: it reads logs, runs the original, and stops at whatever is wrong"
)]

mod compare;
mod generate;
mod homemade;

#[test]
fn the_same_lines_give_the_same_hits() {
    let Some(installed) = stockade_original::newest("the_same_lines_give_the_same_hits") else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let sequences = 40 * number("STOCKADE_LONG").unwrap_or(1);
    compare::run_dates(&installed, sequences, number("STOCKADE_SEED").unwrap_or(1));
    compare::run_homemade(&installed, sequences, number("STOCKADE_SEED").unwrap_or(1));
    compare::run(&installed, sequences, number("STOCKADE_SEED").unwrap_or(1));
}
