//! What the kernel holds, asked from outside of the daemon.

use std::process::{Command, Stdio};

use crate::guard::Blocks;

/// Does the kernel hold all of these? Asked by key.
pub(crate) fn held(blocks: Blocks, addresses: impl Iterator<Item = String>) -> bool {
    let all: Vec<String> = addresses.collect();
    let Some(set) = set_name(blocks) else { return false };
    all.chunks(50).all(|part| {
        let element = format!("{{ {} }}", part.join(", "));
        let mut command = Command::new("nft");
        command.args(["get", "element"]).args(set.split(' ')).arg(element).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().unwrap().success()
    })
}

/// The set in which jail `web` has its IPv4 addresses; our own is made with the first ban.
fn set_name(blocks: Blocks) -> Option<String> {
    if blocks == Blocks::Stock {
        return Some("inet f2b-table addr-set-web".to_owned());
    }
    let output = Command::new("nft").args(["-t", "list", "table", "inet", "stockade"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sets = text.split("\tset ").skip(1).filter(|set| set.contains("type ipv4_addr"));
    let names: Vec<&str> = sets.filter_map(|set| set.split_whitespace().next()).collect();
    assert!(names.len() <= 1, "{text}");
    names.first().map(|name| format!("inet stockade {name}"))
}
