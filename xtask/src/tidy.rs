//! Rules about the tree that no compiler checks.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Result, ensure};

use crate::{known, steps};

/// More lines than this in a source file mean that it is two things.
const LINES_MAX: usize = 900;

/// The most bytes of a tracked file.
const BYTES_MAX: u64 = 1 << 20;

/// Words that belong to a workplace or a machine and not to the product; split, so that this file may hold them.
const FOREIGN: [(&str, &str); 14] = [
    (concat!("..", "/shared"), "a folder beside the repository"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("fa", "rm-"), "a tool of one workplace"),
    (concat!("iss", "ues show"), "a tool of one workplace"),
    (concat!("dupli", "cates --"), "a tool of one workplace"),
    (concat!("crates", ".io/"), "the host of a package registry"),
    (concat!("index.crates", ".io"), "the host of a package registry"),
    (concat!("static.crates", ".io"), "the host of a package registry"),
    (concat!("pypi", ".org"), "the host of a package registry"),
    (concat!("pythonhosted", ".org"), "the host of a package registry"),
    (concat!("npmjs", ".org"), "the host of a package registry"),
    (concat!("proxy.golang", ".org"), "the host of a package registry"),
    (concat!("deb.debian", ".org"), "the host of a package registry"),
    (concat!("/.cargo", "/registry"), "a path of one machine"),
];

/// Checks every tracked file.
///
/// # Errors
/// Lists each place with what is wrong with it.
pub(crate) fn check() -> Result<()> {
    let top = steps::top();
    let list = steps::output(Command::new("git").arg("-C").arg(&top).args(["ls-files", "-z"]))?;
    let mut wrong = Vec::new();
    for name in list.split('\0').filter(|name| !name.is_empty() && *name != "Cargo.lock") {
        let path = top.join(name);
        // A file that is removed but still tracked, or a link, holds no text of ours.
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > BYTES_MAX {
            wrong.push(format!("{name}: {} bytes, more than {BYTES_MAX}", metadata.len()));
            continue;
        }
        let text = steps::read(&path)?;
        wrong.extend(foreign(name, &text));
        if Path::new(name).extension().is_some_and(|ending| ending == "rs") {
            wrong.extend(source(name, &text));
        }
    }
    wrong.extend(copied(&top, &list)?);
    wrong.extend(known::check(&list.split('\0').collect::<Vec<&str>>())?);
    let ci = top.join(".ci/run");
    if ci.symlink_metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o100 == 0) {
        wrong.push(".ci/run: cannot be executed".to_owned());
    }
    ensure!(wrong.is_empty(), "the tree is not tidy:\n  {}", wrong.join("\n  "));
    Ok(())
}

/// Words that do not belong into the product.
fn foreign(name: &str, text: &str) -> Vec<String> {
    let numbered = text.lines().zip(1..);
    numbered
        .flat_map(|(line, number)| {
            let found = FOREIGN.iter().filter(move |(word, _)| stands_in(line, word));
            found.map(move |(word, what)| format!("{name}:{number}: \"{word}\", {what}"))
        })
        .collect()
}

/// Whether `word` stands in `line` and not only as the end of a longer word or path.
fn stands_in(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !(before.is_alphanumeric() || before == '-' || before == '_'))
    })
}

/// Rules for source files.
fn source(name: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        wrong.push(format!("{name}: {lines} lines: one thing, or two? (at most {LINES_MAX})"));
    }
    for (line, number) in text.lines().zip(1..) {
        if line.trim() == concat!("#[ign", "ore]") {
            wrong.push(format!("{name}:{number}: an ignored test without a reason"));
        }
    }
    let root = name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs");
    if root && !text.contains("#![forbid(unsafe_code)]") && !name.starts_with("crates/sys/") {
        wrong.push(format!("{name}: does not forbid unsafe code"));
    }
    if root && !text.starts_with("//!") {
        wrong.push(format!("{name}: does not say first what it is"));
    }
    wrong
}

/// Long lines of our configuration that also stand in the original's, where a root with it was built.
///
/// Its text is under another licence: ours is our own. Option names and short lines coincide naturally.
fn copied(top: &Path, list: &str) -> Result<Vec<String>> {
    let mut theirs = std::collections::BTreeSet::new();
    for root in ["trixie", "bookworm"] {
        let folder = top.join("target/roots").join(root).join("etc/fail2ban");
        for folder in [folder.clone(), folder.join("filter.d"), folder.join("action.d"), folder.join("jail.d")] {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
                theirs.extend(steps::read(&entry.path())?.lines().filter_map(telling).map(str::to_owned));
            }
        }
    }
    let ours = list
        .split('\0')
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "conf" || ending == "local"));
    let mut wrong = Vec::new();
    for name in ours {
        let Ok(text) = steps::read(&top.join(name)) else { continue };
        for (line, number) in text.lines().zip(1..) {
            if telling(line).is_some_and(|line| theirs.contains(line)) {
                wrong.push(format!("{name}:{number}: the same line stands in the original's configuration"));
            }
        }
    }
    Ok(wrong)
}

/// The part of a line that would show where it comes from, if it is long enough to show it.
fn telling(line: &str) -> Option<&str> {
    let line = line.trim();
    let line = match line.split_once('=') {
        Some((name, value)) if name.trim().ends_with("regex") => value.trim(),
        _ => line,
    };
    (line.len() >= 50).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_are_found_where_they_stand_alone() {
        let path = concat!("see ../", "shared/design.md");
        assert_eq!(foreign("a.md", path).len(), 1);
        assert!(foreign("a.md", "plat\u{66}orm-independent").is_empty());
        assert!(foreign("a.md", "net\u{77}ork/").is_empty());
    }

    #[test]
    fn a_crate_root_has_to_forbid_unsafe_code_and_to_say_what_it_is() {
        assert_eq!(source("crates/a/src/lib.rs", "fn main() {}").len(), 2);
        assert!(source("crates/a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n").is_empty());
        assert_eq!(source("crates/a/src/b.rs", concat!("    #[ign", "ore]\n")).len(), 1);
    }

    #[test]
    fn the_tree_is_tidy() {
        check().unwrap();
    }
}
