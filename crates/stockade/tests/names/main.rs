//! `fail2ban-client` and `fail2ban-server` by name, beside the original's.
//!
//! Tables of command lines stand in text files next to this one. A difference
//! that is meant is listed with its reason in `conformance/known-differences.json`.
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
#[path = "../../../../conformance/src/known.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod known;
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

/// The list of known differences, those noted that came up; fails if one of them is not listed.
pub(crate) fn listed(met: &BTreeSet<String>) -> known::Differences {
    let mut listed = known::Differences::read();
    for id in met {
        assert!(listed.note(id, "1.1.0") || listed.note(id, "1.0.2"), "the difference '{id}' is not listed");
    }
    listed
}
