//! The whole daemon under load and misfortune, in a network namespace of its own:
//! a million stored bans, a storm of bans, kills, a disk that is full or slow.
//!
//! `STOCKADE_LONG=n` makes a test n times as long; what its bars are, and from
//! which length on they count, stands in each file.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test: it starts the daemon, asks the system's tools, and prints figures"
)]

mod disk;
mod guard;
mod kernel;
mod kills;
mod million;
#[path = "../../../enforce/examples/raw/mod.rs"]
mod raw;
mod stored;
mod storm;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many times more bans.
fn scale() -> u32 {
    std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Runs the body in a network namespace of its own, by starting this test again.
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os("STOCKADE_TEST_NAMESPACE").is_some() {
        return body();
    }
    // They measure times and use all cores: one after another.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let possible = Command::new("unshare").args(["-n", "-m", "true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return stockade_original::skip(test, "no rights to make a network namespace");
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "--"]).arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    assert!(command.env("STOCKADE_TEST_NAMESPACE", "1").status().unwrap().success(), "{test} failed");
}

/// A folder that is gone and made anew.
fn fresh(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stockade-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A quantile in milliseconds.
fn at(all: &mut [Duration], thousandth: usize) -> f64 {
    all.sort_unstable();
    all[(all.len() * thousandth / 1000).min(all.len() - 1)].as_secs_f64() * 1e3
}
