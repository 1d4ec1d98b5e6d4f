//! `fail2ban-client` and `fail2ban-server` by name, beside the original's.
//!
//! Tables of command lines stand in text files next to this one. A difference
//! that is meant is listed with its reason in `known-differences.json`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that runs programs"
)]

mod command_lines;
mod conversations;
mod foreign;
mod life;
mod original;
mod ours;
mod trees;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a program said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A folder of this test's own, under `/tmp`, where both sides see it.
pub(crate) fn fresh_folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(format!("/tmp/stockade-names-{}-{n}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Fails if a listed difference that `test` should meet was not met: it is gone, so its entry must go.
pub(crate) fn all_met(test: &str, met: &BTreeSet<String>) {
    let listed: serde_json::Value = serde_json::from_str(include_str!("known-differences.json")).unwrap();
    let listed = listed.as_array().unwrap();
    for known in listed.iter().filter(|known| known["seen_in"].as_array().unwrap().iter().any(|name| name == test)) {
        let id = known["id"].as_str().unwrap();
        assert!(known["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{id} has no reason");
        assert!(met.contains(id), "the listed difference '{id}' is none any more");
    }
    for id in met {
        assert!(listed.iter().any(|known| known["id"] == id.as_str()), "the difference '{id}' is not listed");
    }
}
