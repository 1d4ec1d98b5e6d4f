//! The original's own clients, unmodified, against our daemon and against theirs:
//! every command of the protocol gets the same output, the same exit code and the
//! same values of the same types.
//!
//! What differs on purpose stands in `conformance/known-differences.json`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "tests start programs, a failure is a panic, and figures are printed"
)]

mod both;
mod daemon;
mod exporter;
mod faults;
mod hostile;
mod load;
mod rights;
mod slow;
mod stock;

use stockade_original::{newest, older};

#[test]
fn clients_of_1_1_0_see_no_difference() {
    if let Some(installed) = newest("clients_of_1_1_0_see_no_difference") {
        both::compare(&both::COMMANDS, "1.1.0", &installed.root);
        both::compare(&both::METHODS, "1.1.0", &installed.root);
    }
}

#[test]
fn clients_of_1_0_2_see_no_difference() {
    if let Some(installed) = older("clients_of_1_0_2_see_no_difference") {
        both::compare(&both::COMMANDS, "1.0.2", &installed.root);
        both::compare(&both::METHODS, "1.0.2", &installed.root);
    }
}

#[test]
fn clients_see_no_difference_on_the_stock_tree_of_1_1_0() {
    if let Some(installed) = newest("clients_see_no_difference_on_the_stock_tree_of_1_1_0") {
        stock::compare("1.1.0", &installed.root);
    }
}

#[test]
fn clients_see_no_difference_on_the_stock_tree_of_1_0_2() {
    if let Some(installed) = older("clients_see_no_difference_on_the_stock_tree_of_1_0_2") {
        stock::compare("1.0.2", &installed.root);
    }
}
