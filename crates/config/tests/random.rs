//! Random trees: our stream against that of the original's reader.
//!
//! Makes 200 trees, under `CI=true` 2,000; `STOCKADE_LONG=N` makes N (20,000 is
//! the long form), and 80% more small ones with a mistake in each. Every tree
//! has its own seed; a tree that differs is kept and its seed and folder are
//! printed. `STOCKADE_SEED=S` runs one. Two workers, each with an original of
//! its own, share the seeds.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

#[path = "original/compare.rs"]
mod compare;
#[path = "random/generate.rs"]
mod generate;
mod original;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use compare::Differences;
use original::Original;
use stockade_config::{LoadOptions, TreeSource, load};

/// As many originals beside each other.
const WORKERS: usize = 2;

/// A worker goes no further after as many trees that differ.
const WRONG_MAX: usize = 6;

/// What one worker found, or all together.
struct Sum {
    differences: Differences,
    constructs: BTreeMap<&'static str, u32>,
    wrong: Vec<String>,
    trees: u32,
    commands: usize,
    refused: u32,
    skipped: u32,
    /// Time spent by the original and by us.
    theirs: Duration,
    ours: Duration,
    /// The tree that took the original longest.
    slowest: (Duration, u64),
}

impl Sum {
    fn new() -> Self {
        Sum {
            differences: Differences::read(),
            constructs: BTreeMap::new(),
            wrong: Vec::new(),
            trees: 0,
            commands: 0,
            refused: 0,
            skipped: 0,
            theirs: Duration::ZERO,
            ours: Duration::ZERO,
            slowest: (Duration::ZERO, 0),
        }
    }

    fn add(&mut self, other: Sum) {
        for (id, met) in other.differences.met {
            *self.differences.met.entry(id).or_default() += met;
        }
        for (name, made) in other.constructs {
            *self.constructs.entry(name).or_default() += made;
        }
        self.wrong.extend(other.wrong);
        self.trees += other.trees;
        self.commands += other.commands;
        self.refused += other.refused;
        self.skipped += other.skipped;
        self.theirs += other.theirs;
        self.ours += other.ours;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// Makes the tree of one seed and compares.
    fn compare(&mut self, seed: u64, small: bool, original: &mut Original, root: &Path) {
        let version = original.version.clone();
        let folder = root.join(format!("{version}-{seed}"));
        generate::tree(seed, small, &folder, &mut self.constructs);
        let begin = Instant::now();
        let theirs = original.load(&folder);
        let took = begin.elapsed();
        self.theirs += took;
        self.slowest = self.slowest.max((took, seed));
        let begin = Instant::now();
        let options = LoadOptions { version: &version, ..LoadOptions::default() };
        let ours = load(&TreeSource::Disk(folder.clone()), &options);
        self.ours += begin.elapsed();
        self.trees += 1;
        self.refused += u32::from(ours.refused);
        self.skipped += u32::from(!ours.skipped.is_empty());
        self.commands += ours.stream.len();
        let found = self.differences.compare(&theirs, &ours, &version);
        if found.is_empty() {
            fs::remove_dir_all(&folder).unwrap();
        } else {
            self.wrong.push(format!("{version} seed {seed} in {}: {}", folder.display(), found.join("\n")));
        }
    }
}

#[test]
fn random_trees_give_the_same_commands() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let short = if stockade_original::under_ci() { 2_000 } else { 200 };
    let count = number("STOCKADE_LONG").unwrap_or(short);
    let only = number("STOCKADE_SEED");
    let root = std::env::temp_dir().join(format!("stockade-random-{}", std::process::id()));
    let begin = Instant::now();
    let mut versions = 0;
    let work = |worker: usize, mut originals: Vec<Original>| {
        let mut sum = Sum::new();
        let last = originals.len() - 1;
        for (nth, original) in originals.iter_mut().enumerate() {
            // The newest takes all trees, the older one every tenth.
            let step = if nth == last && last > 0 { 10 } else { 1 };
            let all = (1..=count + count * 4 / 5).step_by(step).skip(worker).step_by(WORKERS);
            let seeds: Vec<u64> = only.map_or_else(|| all.collect(), |seed| vec![seed]);
            for seed in seeds {
                sum.compare(seed, seed > count, original, &root);
                if sum.wrong.len() >= WRONG_MAX {
                    return sum;
                }
            }
        }
        sum
    };
    let work = &work;
    let mut sum = Sum::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..if only.is_some() { 1 } else { WORKERS })
            .filter_map(|worker| {
                let originals = original::all("random_trees_give_the_same_commands");
                versions = originals.len();
                (versions > 0).then(|| scope.spawn(move || work(worker, originals)))
            })
            .collect();
        for worker in workers {
            sum.add(worker.join().unwrap());
        }
    });
    if versions == 0 {
        return;
    }
    println!(
        "{} trees in {:?}, {} commands, {} refused, {} with skipped jails",
        sum.trees,
        begin.elapsed(),
        sum.commands,
        sum.refused,
        sum.skipped
    );
    println!(
        "the original took {:?} ({:?} for seed {}), we took {:?}",
        sum.theirs, sum.slowest.0, sum.slowest.1, sum.ours
    );
    println!("differences: {:?}", sum.differences.met);
    assert!(sum.wrong.is_empty(), "{}", sum.wrong.join("\n\n"));
    fs::remove_dir_all(&root).unwrap();
    if only.is_none() && count >= 2_000 {
        sum.differences.finish(file!());
        let rare: Vec<_> = sum.constructs.iter().filter(|(_, n)| **n < 100).collect();
        assert!(rare.is_empty(), "made less than 100 times: {rare:?}");
        println!("{} constructs, the rarest {:?}", sum.constructs.len(), sum.constructs.values().min());
    }
}
