//! The annotated sample logs of an installed fail2ban, judged by its stock
//! filters through our matcher: every annotation must be met.
//!
//! Where a fail2ban lies unpacked (a folder with `etc/fail2ban` and
//! `usr/lib/python3/dist-packages/fail2ban` with its tests) is said by
//! `STOCKADE_F2B_ROOT_110` and `STOCKADE_F2B_ROOT_102`; without them these
//! tests say that they did nothing. The options of the filters are expanded by
//! that fail2ban's own reader (`options.py` here).
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test: it reads logs, runs a reader for their filters, and stops at whatever is wrong"
)]

mod daemon;
mod options;
mod samples;

use stockade_original::{newest, older};

#[test]
fn samples_of_1_1_0_are_met() {
    if let Some(installed) = newest("samples_of_1_1_0_are_met") {
        samples::check_all(&installed, 1_101);
    }
}

#[test]
fn samples_of_1_0_2_are_met() {
    if let Some(installed) = older("samples_of_1_0_2_are_met") {
        samples::check_all(&installed, 1_067);
    }
}

#[test]
fn blocks_give_what_single_lines_give() {
    if let Some(installed) = newest("blocks_give_what_single_lines_give") {
        samples::check_blocks(&installed);
    }
}
