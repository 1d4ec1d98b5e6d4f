//! Long checks: what is too long for every commit, with a budget, and with its sums kept in `docs/long-runs.md`.

use std::{
    fs::OpenOptions,
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{roots, steps, tools};

/// The most lines that are kept of one run.
const SUMS_MAX: usize = 100;

/// One long check.
struct Long {
    name: &'static str,
    about: &'static str,
    minutes: u64,
    /// Package, test program and test, where it is one of a crate; else the stories.
    test: Option<[&'static str; 3]>,
    /// A word in the names of the stories that are meant; empty for all.
    story: &'static str,
    /// The value of `STOCKADE_LONG` that its test reads: how much longer than the short form.
    scale: &'static str,
}

const fn of_a_crate(
    name: &'static str,
    about: &'static str,
    minutes: u64,
    test: [&'static str; 3],
    scale: &'static str,
) -> Long {
    Long { name, about, minutes, test: Some(test), story: "", scale }
}

/// All of them. What they print beside the names of tests is kept as their sums.
const CHECKS: &[Long] = &[
    of_a_crate(
        "pattern",
        "a million pairs of pattern and text of each of two seeds, and half as many from the original's filters, \
         against CPython",
        120,
        ["stockade-pattern", "differential", ""],
        "1000000",
    ),
    of_a_crate(
        "pattern-required",
        "5 million pairs: every match holds what its pattern is said to need",
        60,
        ["stockade-pattern", "required", "every_match_has"],
        "5000000",
    ),
    of_a_crate(
        "matcher",
        "25 times as many random line sequences through our matcher and the original's",
        120,
        ["stockade-core", "matcher_original", ""],
        "25",
    ),
    of_a_crate(
        "random-filters",
        "4,000 random filters over random bytes in all encodings: no panic, and scanned blocks give what lines give",
        60,
        ["stockade-core", "random_filters", ""],
        "20",
    ),
    of_a_crate(
        "scan",
        "12,000 logs through scan and the original's classes: failures and bans",
        60,
        ["stockade", "scan", "whole_filters"],
        "200",
    ),
    of_a_crate(
        "hostile-lines",
        "every stock pattern on hostile lines of 8 KiB made of all sample lines: below 1 ms for each line, no steps run out",
        60,
        ["stockade-core", "hostile", ""],
        "1",
    ),
    of_a_crate(
        "skipping",
        "50 million lines passed over where they can't matter, beside the same lines looked at one by one",
        120,
        ["stockade-bench", "skipping", ""],
        "25",
    ),
    of_a_crate("judge", "50 times the sizes: a million bans, floods, ends", 60, ["stockade-core", "judge", ""], "50"),
    of_a_crate(
        "config",
        "20,000 random trees, and 16,000 with a mistake, against the original's reader",
        60,
        ["stockade-config", "random", ""],
        "20000",
    ),
    of_a_crate(
        "config-fuzz",
        "50,000 damaged, nested and random trees: no panic, bounded time and memory",
        60,
        ["stockade-config", "hostile", "damaged_trees"],
        "50000",
    ),
    of_a_crate(
        "source",
        "100 times as many random histories of growing, rotated and truncated files",
        60,
        ["stockade-source", "files", "every_complete_line"],
        "100",
    ),
    of_a_crate(
        "enforce-model",
        "200,000 random changes of the kernel's table",
        60,
        ["stockade-enforce", "model", ""],
        "1000",
    ),
    of_a_crate(
        "enforce-storm",
        "1,000 times killed in a storm of changes under a packet stream",
        120,
        ["stockade-enforce", "stream", "killed_in_a_storm"],
        "1000",
    ),
    of_a_crate(
        "enforce-mutation",
        "10 changes of one character at each place of stock actions, those recognised run by a shell",
        180,
        ["stockade-enforce", "lib", "an_action_with_one_character"],
        "10",
    ),
    of_a_crate(
        "enforce-stock",
        "all stock actions of both versions beside the original's commands",
        60,
        ["stockade-enforce", "stock", "leaves_what_the_original"],
        "1",
    ),
    of_a_crate(
        "packets",
        "what a packet pays with 50 jails beside one: at most a tenth more, unless many of different port lists hold the \
         same port",
        20,
        ["stockade-enforce", "figures", "fifty_jails"],
        "10",
    ),
    of_a_crate(
        "guard",
        "400 looks at who may not be banned: half of them within 2 ms",
        10,
        ["stockade-enforce", "figures", "the_guard_looks"],
        "20",
    ),
    of_a_crate(
        "repair",
        "our own table removed: 10,000 bans in force again within 100 ms, a million within twice the raw load",
        20,
        ["stockade-enforce", "figures", "a_removed_table"],
        "20",
    ),
    of_a_crate(
        "repair-stock",
        "tables and rules of stock actions removed: 10,000 bans in force again within 100 ms",
        20,
        ["stockade-enforce", "stock", "repair::"],
        "20",
    ),
    of_a_crate(
        "protocol-hostile",
        "1 GB of each kind of endless request at the control socket",
        20,
        ["stockade", "protocol", "hostile"],
        "16",
    ),
    of_a_crate(
        "protocol-load",
        "200 clients with 2,000 commands each while 10,000 lines a second arrive",
        30,
        ["stockade", "protocol", "two_hundred"],
        "20",
    ),
    of_a_crate(
        "million",
        "a million stored bans, whole program: in force within 2.5 s, memory, a ban on top, 100,000 ends at once",
        30,
        ["stockade", "endure", "million::"],
        "50",
    ),
    of_a_crate(
        "storm",
        "20,000 bans a second for a minute over a million, saved and in the kernel",
        30,
        ["stockade", "endure", "storm::"],
        "50",
    ),
    of_a_crate(
        "kills",
        "the daemon killed 1,000 times at random moments of a storm of bans",
        60,
        ["stockade", "endure", "kills::"],
        "20",
    ),
    of_a_crate("store-crash", "killed at every step of 500 random runs", 120, ["stockade-store", "crash", ""], "500"),
    of_a_crate("store-damage", "1,000 damaged databases", 60, ["stockade-store", "damage", "damage_neither"], "1000"),
    Long {
        name: "stories",
        about: "all stories, with 200 restarts under the stream, 300 crashes and 20,000 single bans",
        minutes: 60,
        test: None,
        story: "",
        scale: "20",
    },
    Long {
        name: "burst",
        about: "2,000 attackers in a burst, and the start after kill -9, by stock actions: ours and the original's",
        minutes: 30,
        test: None,
        story: "burst beside",
        scale: "20",
    },
    Long {
        name: "takeover",
        about: "changing places with a fail2ban that has 20,000 bans: over, back, over again, under a stream",
        minutes: 120,
        test: None,
        story: "takeover",
        scale: "20",
    },
];

/// Says which long checks there are.
pub(crate) fn list() {
    for check in CHECKS {
        steps::say(&format!("{:20} {} (at most {} min)", check.name, check.about, check.minutes));
    }
}

/// Runs one and appends its sums to `docs/long-runs.md`; true when it went well.
///
/// # Errors
/// When there is none of this name, or it takes longer than its budget.
pub(crate) fn run(name: &str) -> Result<bool> {
    let check = CHECKS.iter().find(|check| check.name == name).with_context(|| format!("no long check {name}"))?;
    tools::ensure()?;
    let environment = roots::ensure()?;
    let mut command = match check.test {
        Some([package, program, filter]) => {
            // Tests that stand beside the code are in the library.
            let target: &[&str] = if program == "lib" { &["--lib"] } else { &["--test", program] };
            let words = [&["test", "--release", "--package", package], target, &["--"]].concat();
            let mut command = steps::cargo(&words);
            command.args(["--nocapture", filter]);
            command
        }
        None if check.story.is_empty() => steps::cargo(&["xtask", "test", "--stories"]),
        None => steps::cargo(&["xtask", "test", "--stories", check.story]),
    };
    command.env("STOCKADE_LONG", check.scale).envs(environment);
    let start = Instant::now();
    let mut sums = Vec::new();
    let good = steps::run(name, &mut command, Duration::from_secs(check.minutes * 60), |line| {
        steps::say(line);
        let chatter = line.trim() == "ok" || ["running ", "test "].iter().any(|word| line.starts_with(word));
        if line.starts_with("==> stories") {
            // What was built and packed before is no sum.
            sums.clear();
        } else if !chatter && !line.trim().is_empty() && sums.len() < SUMS_MAX {
            sums.push(line.trim().to_owned());
        }
    })?;
    let took = start.elapsed().as_secs();
    append(check, good, took, &sums)?;
    steps::say(&format!("{name}: {} after {took} s", if good { "good" } else { "FAILED" }));
    Ok(good)
}

fn append(check: &Long, good: bool, took: u64, sums: &[String]) -> Result<()> {
    let folder = steps::top().join("docs");
    std::fs::create_dir_all(&folder)?;
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join("long-runs.md"))?;
    let commit = steps::output(Command::new("git").args(["rev-parse", "--short", "HEAD"]))?;
    let day = steps::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let outcome = if good { "good" } else { "FAILED" };
    writeln!(
        file,
        "\n## {} {}, {outcome}\n\n{}; commit {}; {took} s.\n",
        day.trim(),
        check.name,
        check.about,
        commit.trim()
    )?;
    for sum in sums {
        writeln!(file, "- {sum}")?;
    }
    Ok(())
}
