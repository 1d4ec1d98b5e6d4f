//! All jails of Debian's fail2ban 1.1.0 and 1.0.2, one at a time and together:
//! our stream against the original's, command for command.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

#[path = "original/compare.rs"]
mod compare;
mod original;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use compare::Differences;
use serde_json::json;
use stockade_config::{LoadOptions, TreeSource, load};

/// A copy of a tree by links, in which `jail.local` can be written.
fn linked(tree: &Path, name: &str) -> PathBuf {
    let copy = std::env::temp_dir().join(format!("stockade-stock-{}-{name}", std::process::id()));
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(tree).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path().canonicalize().unwrap(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

/// Names of all jails in a stock `jail.conf`.
fn jails(tree: &Path) -> Vec<String> {
    let text = std::io::read_to_string(fs::File::open(tree.join("jail.conf")).unwrap()).unwrap();
    let headers = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']'));
    let names = headers.map(|(name, _)| name.to_owned());
    names.filter(|name| name != "INCLUDES" && name != "DEFAULT").collect()
}

fn switch_on(names: &[&str]) -> String {
    names.iter().map(|name| format!("[{name}]\nenabled = true\n")).collect()
}

#[test]
fn stock_jails_give_the_same_commands() {
    let mut differences = Differences::read();
    let originals = original::all("stock_jails_give_the_same_commands");
    let complete = originals.len() == 2;
    for mut original in originals {
        let tree = linked(&original.tree(), &original.version);
        let names = jails(&original.tree());
        assert!(names.len() > 90, "only {} jails in {}", names.len(), original.version);
        let version = original.version.clone();
        let options = LoadOptions { version: &version, ..LoadOptions::default() };
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let each = names.iter().map(|name| vec![name.as_str()]);
        let mut commands = 0;
        for set in each.chain([all]) {
            fs::write(tree.join("jail.local"), switch_on(&set)).unwrap();
            let theirs = original.load(&tree);
            let ours = load(&TreeSource::Disk(tree.clone()), &options);
            let wrong = differences.compare(&theirs, &ours, &version);
            assert!(wrong.is_empty(), "{version} {set:?}: {wrong:#?}");
            commands = ours.original().count();
            // What the original accepts without a word we must not call an error.
            let errors: Vec<String> = ours
                .diagnostics
                .iter()
                .filter(|d| d.severity == stockade_config::Severity::Error)
                .map(ToString::to_string)
                .collect();
            assert!(errors.is_empty(), "{version} {set:?}: {errors:#?}");
        }
        println!("{version}: {} jails, {commands} commands together", names.len());
        fs::remove_dir_all(&tree).unwrap();
    }
    if complete {
        differences.finish(file!());
    }
}

/// The trees of the original's own tests: those that they write, and the one
/// they keep, with each of its jails alone.
#[test]
fn trees_of_the_originals_own_tests_give_the_same_commands() {
    let mut differences = Differences::read();
    for mut original in original::all("trees_of_the_originals_own_tests_give_the_same_commands") {
        let version = original.version.clone();
        let folder = std::env::temp_dir().join(format!("stockade-own-trees-{}-{version}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let ran = original.ask(&json!({"op": "own_trees", "stock": original.tree(), "to": folder}));
        let mut trees: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(trees.len() >= 4, "{version}: only {} trees: {ran}", trees.len());
        let kept = original.installed.packages().join("fail2ban/tests/config");
        let names = jails(&kept);
        for name in &names {
            let tree = linked(&kept, &format!("{version}-{name}"));
            let all = names.iter().map(|other| format!("[{other}]\nenabled = {}\n", other == name));
            fs::write(tree.join("jail.local"), all.collect::<String>()).unwrap();
            trees.push(tree);
        }
        assert!(names.len() > 10, "only {names:?}");
        let mut commands = 0;
        for tree in &trees {
            let theirs = original.load(tree);
            let options = LoadOptions { version: &version, ..LoadOptions::default() };
            let ours = load(&TreeSource::Disk(tree.clone()), &options);
            let wrong = differences.compare(&theirs, &ours, &version);
            assert!(wrong.is_empty(), "{version} {}: {wrong:#?}", tree.display());
            commands += ours.original().count();
        }
        println!("{version}: {} trees of the original's own tests, {commands} commands", trees.len());
        for tree in trees.iter().chain([&folder]).filter(|tree| tree.exists()) {
            fs::remove_dir_all(tree).unwrap();
        }
    }
}

/// Processor time of this thread so far: other work on the machine must not fail a test.
fn processor_time() -> Duration {
    let text = std::io::read_to_string(fs::File::open("/proc/thread-self/schedstat").unwrap()).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Bar: the stock tree with all jails below 50 ms, 1,000 jails below 0.5 s (the
/// test, if it is not optimised, eight times that). The original's time is
/// measured in the same run.
#[test]
fn the_stock_tree_loads_quickly() {
    let Some(mut original) = original::newest("the_stock_tree_loads_quickly") else { return };
    let tree = linked(&original.tree(), "time");
    let names = jails(&original.tree());
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    fs::write(tree.join("jail.local"), switch_on(&all)).unwrap();
    let source = TreeSource::Disk(tree.clone());
    let begin = Instant::now();
    original.load(&tree);
    let theirs = begin.elapsed();
    let ours = (0..5).map(|_| {
        let begin = processor_time();
        assert!(!load(&source, &LoadOptions::default()).refused);
        processor_time() - begin
    });
    let ours = ours.min().unwrap();
    let many: Vec<String> = (0..1_000)
        .map(|n| format!("[jail{n}]\nenabled = true\nfilter = sshd[mode=aggressive]\nlogpath = /nowhere/{n}.log\n"))
        .collect();
    fs::write(tree.join("jail.local"), many.concat()).unwrap();
    let begin = processor_time();
    let thousand = load(&source, &LoadOptions::default());
    let thousand_took = processor_time() - begin;
    assert!(thousand.jails.len() >= 1_000, "{} jails", thousand.jails.len());
    fs::remove_dir_all(&tree).unwrap();
    println!("stock tree: original {theirs:?}, ours {ours:?}; 1,000 jails {thousand_took:?}");
    let slack = if cfg!(debug_assertions) { 8 } else { 1 };
    assert!(ours.as_millis() < 50 * slack, "stock tree took {ours:?}");
    assert!(thousand_took.as_millis() < 500 * slack, "1,000 jails took {thousand_took:?}");
}
