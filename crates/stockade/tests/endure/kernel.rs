//! What the kernel holds, asked from outside of the daemon.

use std::process::Command;

use crate::guard::Blocks;
use crate::raw;

/// Does the kernel hold all of these? Asked by key.
pub(crate) fn held(blocks: Blocks, addresses: impl Iterator<Item = String>) -> bool {
    let mut all = addresses;
    let Some((table, set)) = set_name(blocks) else { return false };
    all.all(|address| raw::holds(table, &set, address.parse().unwrap()))
}

/// The set in which jail `web` has its IPv4 addresses; our own is made with the first ban.
fn set_name(blocks: Blocks) -> Option<(&'static str, String)> {
    if blocks == Blocks::Stock {
        return Some(("f2b-table", "addr-set-web".to_owned()));
    }
    let output = Command::new("nft").args(["-t", "list", "ruleset"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sets = text.split("\tset ").skip(1).filter(|set| set.contains("type ipv4_addr"));
    let names: Vec<&str> = sets.filter_map(|set| set.split_whitespace().next()).collect();
    assert!(names.len() <= 1, "{text}");
    names.first().map(|name| ("stockade", (*name).to_owned()))
}
