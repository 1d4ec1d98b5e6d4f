//! Random trees: our stream against that of the original's reader.
//!
//! Makes 200 trees, under `CI=true` 2,000; `STOCKADE_LONG=N` makes N (20,000 is
//! the long form), and 80% more small ones with a mistake in each. Every tree has its own seed; a tree that differs is kept and its
//! seed and folder are printed. `STOCKADE_SEED=S` runs one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

#[path = "original/compare.rs"]
mod compare;
#[path = "random/generate.rs"]
mod generate;
mod original;

use std::collections::BTreeMap;
use std::fs;

use compare::Differences;
use stockade_config::{LoadOptions, TreeSource, load};

#[test]
fn random_trees_give_the_same_commands() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let short = if std::env::var("CI").as_deref() == Ok("true") { 2_000 } else { 200 };
    let count = number("STOCKADE_LONG").unwrap_or(short);
    let only = number("STOCKADE_SEED");
    let mut differences = Differences::read();
    let mut constructs: BTreeMap<&'static str, u32> = BTreeMap::new();
    let originals = original::all("random_trees_give_the_same_commands");
    if originals.is_empty() {
        return;
    }
    let root = std::env::temp_dir().join(format!("stockade-random-{}", std::process::id()));
    let (mut wrong, mut refused, mut skipped, mut commands) = (Vec::new(), 0, 0, 0);
    let last = originals.len() - 1;
    for (nth, mut original) in originals.into_iter().enumerate() {
        // The newest takes all trees, the older one every tenth.
        let step = if nth == last && last > 0 { 10 } else { 1 };
        let version = original.version.clone();
        let seeds: Vec<u64> =
            only.map_or_else(|| (1..=count + count * 4 / 5).step_by(step).collect(), |seed| vec![seed]);
        for seed in seeds {
            let folder = root.join(format!("{version}-{seed}"));
            generate::tree(seed, seed > count, &folder, &mut constructs);
            let theirs = original.load(&folder);
            let options = LoadOptions { version: &version, ..LoadOptions::default() };
            let ours = load(&TreeSource::Disk(folder.clone()), &options);
            refused += u32::from(ours.refused);
            skipped += u32::from(!ours.skipped.is_empty());
            commands += ours.stream.len();
            let found = differences.compare(&theirs, &ours, &version);
            if found.is_empty() {
                fs::remove_dir_all(&folder).unwrap();
            } else {
                wrong.push(format!("{version} seed {seed} in {}: {}", folder.display(), found.join("\n")));
                if wrong.len() > 5 {
                    break;
                }
            }
        }
    }
    println!("{count} trees, {commands} commands, {refused} refused, {skipped} with skipped jails");
    println!("differences: {:?}", differences.met);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    fs::remove_dir_all(&root).unwrap();
    if only.is_none() && count >= 2_000 {
        differences.finish("random");
        let rare: Vec<_> = constructs.iter().filter(|(_, n)| **n < 100).collect();
        assert!(rare.is_empty(), "made less than 100 times: {rare:?}");
        println!("{} constructs, the rarest {:?}", constructs.len(), constructs.values().min());
    }
}
