//! The original's own clients, unmodified, against our daemon and against theirs:
//! every command of the protocol gets the same output, the same exit code and the
//! same values of the same types.
//!
//! The originals are found through `STOCKADE_F2B_ROOT_110` and `..._102`; what
//! differs on purpose stands in `conformance/known-differences.json`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "tests start programs, a failure is a panic, and figures are printed"
)]

mod both;
mod daemon;
mod exporter;
mod faults;
mod hostile;
mod load;

use std::path::PathBuf;

/// The root of an unpacked original, or a line that says what was skipped.
fn root(variable: &str) -> Option<PathBuf> {
    let root =
        std::env::var_os(variable).map(PathBuf::from).filter(|root| root.join("usr/bin/fail2ban-server").is_file());
    if root.is_none() {
        eprintln!("SKIPPED: {variable} names no root with fail2ban; `cargo xtask test` makes one");
    }
    root
}

#[test]
fn clients_of_1_1_0_see_no_difference() {
    if let Some(root) = root("STOCKADE_F2B_ROOT_110") {
        both::compare("1.1.0", &root);
    }
}

#[test]
fn clients_of_1_0_2_see_no_difference() {
    if let Some(root) = root("STOCKADE_F2B_ROOT_102") {
        both::compare("1.0.2", &root);
    }
}
