//! `scan --json` beside an installed fail2ban's own classes: whole filters and jails over
//! generated logs, line by line, bans included.
//!
//! The logs are that fail2ban's sample logs, shuffled and mutated: mixed date shapes, lines without
//! a date, several files, clock jumps, zones, ends of years, broken bytes. Where it lies unpacked is
//! said by `STOCKADE_F2B_ROOT_110`. `STOCKADE_LONG=n` runs n times as many logs, `STOCKADE_SEED`
//! begins elsewhere.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test: it writes logs, runs both, and stops at whatever differs"
)]

mod compare;
#[allow(dead_code, reason = "shared with the tests of the matcher, which use more of it")]
#[path = "../../../core/tests/matcher_original/generate.rs"]
mod generate;
mod words;

#[test]
fn whole_filters_find_and_ban_what_the_original_does() {
    let Some(installed) = stockade_original::newest("whole_filters_find_and_ban_what_the_original_does") else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let logs = 60 * number("STOCKADE_LONG").unwrap_or(1);
    compare::run(&installed, logs, number("STOCKADE_SEED").unwrap_or(1));
}
