//! Killed at every step of every write, the store has afterwards what it had said was saved.
//!
//! The parent starts this test binary again with a step to die at; the child
//! runs a script of commits that follows from a seed and aborts there. Long
//! form: `STOCKADE_LONG=n` runs n seeds instead of 2.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a failure is a panic, the test starts itself, and tells its parent by standard output"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Folder, at, ban, bans, decision, model, source, turn, watermark};
use stockade_core::{BanTime, Decision, DecisionKind, FailureId, Seq, Span, Turn};
use stockade_store::{Forget, Marks, Options, Snapshot, Store};

/// A small generator with a fixed sequence per seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One call of the script.
enum Call {
    Commit(Vec<Turn>, Marks),
    CatchUp,
    Purge,
    Close,
}

/// The calls of a seed. Few addresses, so that bans meet; in even seeds one commit is large enough for windows.
fn script(seed: u64) -> Vec<Call> {
    let mut dice = Dice(seed);
    let mut next = 1;
    let mut calls = Vec::new();
    for n in 0..20 {
        match if n == 5 { 9 } else { dice.roll(9) } {
            0 | 3 => calls.push(Call::CatchUp),
            1 => calls.push(Call::Purge),
            2 => calls.push(Call::Close),
            kind => {
                let mut rows = 1 + dice.roll(8);
                if kind == 9 && seed.is_multiple_of(2) {
                    rows = 12_000;
                }
                let mut decisions = Vec::new();
                for _ in 0..rows {
                    decisions.push(any_decision(next, &mut dice, rows));
                    next += 1;
                }
                let offset = next * 100;
                let mark = watermark("sshd", source("/var/log/auth.log", 1), offset);
                let snapshots =
                    vec![Snapshot { name: "matcher/sshd".into(), data: offset.to_le_bytes().to_vec().into() }];
                let mut marks = Marks { announced: Some(Seq(next - 1)), snapshots, ..Marks::default() };
                marks.issued = marks.announced;
                if dice.roll(4) == 0 {
                    marks.forget.push(Forget { jail: None, id: FailureId::parse(&address(dice.roll(40))) });
                }
                calls.push(Call::Commit(vec![Turn { decisions, watermarks: vec![mark] }], marks));
            }
        }
    }
    calls
}

fn address(n: u64) -> String {
    format!("192.0.2.{n}")
}

fn any_decision(seq: u64, dice: &mut Dice, rows: u64) -> Decision {
    let id = if rows > 100 { format!("10.{}.{}.1", seq / 250, dice.roll(250)) } else { address(dice.roll(40)) };
    let jail = if dice.roll(3) == 0 { "web" } else { "sshd" };
    let secs = i64::try_from(seq).unwrap();
    match dice.roll(10) {
        0 => decision(seq, DecisionKind::Lift, jail, &id, secs, 0),
        1 => {
            let mut longer = decision(seq, DecisionKind::Prolong, jail, &id, secs, 600);
            longer.end = at(secs + 5_000);
            longer
        }
        2 => decision(seq, DecisionKind::Unban, jail, &id, secs, 600),
        3 => ban(seq, jail, &id, secs, -1),
        _ => {
            let mut ban = ban(seq, jail, &id, secs, 600);
            ban.count = u32::try_from(1 + dice.roll(5)).unwrap();
            ban.bantime = BanTime::For(Span::from_secs(i64::try_from(60 + dice.roll(600)).unwrap()));
            ban.end = ban.bantime.end(ban.time);
            ban
        }
    }
}

/// Runs the calls of `seed`; tells after each one how many have returned.
fn run(path: &Path, seed: u64, options: &Options, returned: &mut dyn FnMut(usize)) {
    let (mut store, _) = Store::open(path, options).unwrap();
    for (n, call) in script(seed).into_iter().enumerate() {
        match call {
            Call::Commit(turns, marks) => store.commit(&turns, &marks).unwrap(),
            Call::CatchUp => {
                store.catch_up(at(0)).unwrap();
            }
            Call::Purge => {
                // Nothing of the script is that old; it is about the steps.
                store.purge(at(0));
                while store.catch_up(at(0)).unwrap().more {}
            }
            Call::Close => {
                store.close(at(0)).unwrap();
                store = Store::open(path, options).unwrap().0;
            }
        }
        returned(n + 1);
    }
    store.close(at(0)).unwrap();
}

/// What stands once the decisions up to number `saved` are in the journal, in the plainest way.
struct Expected {
    bans: common::Bans,
    /// Of the last commit that is there as a whole.
    offset: u64,
    /// Number of the last decision of the calls that have returned.
    returned: u64,
}

fn expected(seed: u64, calls: usize, saved: u64) -> Expected {
    let mut decisions: Vec<Decision> = Vec::new();
    let mut expected = Expected { bans: common::Bans::new(), offset: 0, returned: 0 };
    for (n, call) in script(seed).into_iter().enumerate() {
        let Call::Commit(turns, marks) = call else { continue };
        let mut last = 0;
        for turn in turns {
            last = turn.decisions.last().map_or(last, |decision| decision.seq.0);
            decisions.extend(turn.decisions.into_iter().filter(|decision| decision.seq.0 <= saved));
            for mark in turn.watermarks.iter().filter(|_| last <= saved) {
                let stockade_core::Position::Offset(to) = mark.to else { panic!("a file") };
                expected.offset = to;
            }
        }
        for forget in marks.forget.iter().filter(|_| last <= saved) {
            decisions.retain(|decision| decision.id != forget.id);
        }
        if n < calls {
            expected.returned = last;
        }
    }
    expected.bans = model(&decisions);
    expected
}

/// The child's part: does nothing unless the environment asks for it.
#[test]
fn child() {
    let Ok(path) = std::env::var("STOCKADE_CRASH_FILE") else { return };
    let seed: u64 = std::env::var("STOCKADE_CRASH_SEED").unwrap().parse().unwrap();
    let die_at: u64 = std::env::var("STOCKADE_CRASH_STEP").unwrap().parse().unwrap();
    let steps = Arc::new(AtomicU64::new(0));
    let count = steps.clone();
    let trace: stockade_store::Trace = Arc::new(move |name| {
        // Single rows of a large commit are all alike: every 997th stands for them.
        static ROWS: AtomicU64 = AtomicU64::new(0);
        if name == "row" && ROWS.fetch_add(1, Ordering::Relaxed) % 997 != 3 {
            return;
        }
        if count.fetch_add(1, Ordering::Relaxed) == die_at {
            std::process::abort();
        }
    });
    let options = Options { trace: Some(trace), ..Options::default() };
    run(&PathBuf::from(path), seed, &options, &mut |calls| println!("returned {calls}"));
    println!("steps {}", steps.load(Ordering::Relaxed));
}

/// Runs a child that dies at `step`; returns how many calls returned, and the number of all steps if it lived.
fn crash(path: &Path, seed: u64, step: u64) -> (usize, Option<u64>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("STOCKADE_CRASH_FILE", path)
        .env("STOCKADE_CRASH_SEED", seed.to_string())
        .env("STOCKADE_CRASH_STEP", step.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number =
        |word: &str| text.lines().rev().find_map(|line| line.trim().rsplit_once(word)?.1.trim().parse::<u64>().ok());
    (usize::try_from(number("returned ").unwrap_or(0)).unwrap(), number("steps "))
}

#[test]
fn killed_at_any_step_nothing_saved_is_lost() {
    let long: u64 = std::env::var("STOCKADE_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut crashes = 0;
    for seed in 0..long.max(2) {
        let folder = Folder::new();
        let (calls, steps) = crash(&folder.file(), seed, u64::MAX);
        let steps = steps.expect("the undisturbed run ends");
        assert_eq!(calls, script(seed).len());
        check(&folder.file(), seed, calls, 0);
        // All steps in the long form; in the short one so many that it takes a few seconds.
        let stride = if long > 0 { 1 } else { 1 + steps / if seed == 0 { 10 } else { 24 } };
        let mut step = 0;
        while step < steps {
            let folder = Folder::new();
            let (calls, lived) = crash(&folder.file(), seed, step);
            check(&folder.file(), seed, calls, step);
            // Slices end by the clock, so that runs differ by a few steps.
            if lived.is_some() {
                break;
            }
            crashes += 1;
            step += stride;
        }
    }
    assert!(crashes >= 30, "only {crashes} crashes");
}

/// Everything of the first `calls` calls must be there, and of the interrupted one a part from its start.
#[track_caller]
fn check(path: &Path, seed: u64, calls: usize, step: u64) {
    let (mut store, recovery) = Store::open(path, &Options::default()).unwrap();
    let found = bans(&mut store);
    let offset = recovery
        .watermarks
        .first()
        .map_or(0, |mark| if let stockade_core::Position::Offset(to) = mark.to { to } else { 0 });
    let saved = recovery.next.0 - 1;
    let expected = expected(seed, calls, saved);
    assert!(saved >= expected.returned, "seed {seed} step {step}: {saved} saved of {}", expected.returned);
    assert_eq!(offset, expected.offset, "seed {seed} step {step}");
    assert!(found == expected.bans, "seed {seed} step {step} calls {calls} saved {saved}");
    assert!(!recovery.foreign, "seed {seed} step {step}");
    if let Some(snapshot) = recovery.snapshots.first() {
        assert_eq!(*snapshot.data, offset.to_le_bytes(), "seed {seed} step {step}");
    }
    // Projected, closed and opened again it is still the same.
    store.close(at(0)).unwrap();
    let (mut store, recovery) = Store::open(path, &Options::default()).unwrap();
    assert_eq!(recovery.pending, 0);
    assert_eq!(bans(&mut store), found, "seed {seed} step {step} after projection");
    store.close(at(0)).unwrap();
    projection_is_right(path, &found);
}

/// `bans` has each living ban, and `bips` only what `bans` has.
fn projection_is_right(path: &Path, bans: &common::Bans) {
    let db = rusqlite::Connection::open(path).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let lonely: i64 = db
        .query_row(
            "SELECT count(*) FROM bips p WHERE NOT EXISTS (SELECT 1 FROM bans b
                 WHERE b.jail = p.jail AND b.ip = p.ip AND b.timeofban = p.timeofban)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(lonely, 0);
    let rows: i64 = db.query_row("SELECT count(*) FROM bips", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(rows).unwrap(), bans.len());
    let doubled: i64 = db
        .query_row(
            "SELECT count(*) FROM (SELECT 1 FROM bans GROUP BY jail, ip, timeofban HAVING count(*) > 1)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(doubled, 0, "a ban stands twice in the history");
}

#[test]
fn a_turn_with_nothing_in_it_is_no_error() {
    let folder = Folder::new();
    let (mut store, _) = common::open(&folder.file());
    store.commit(&[turn(vec![])], &Marks::default()).unwrap();
    store.commit(&[], &Marks::default()).unwrap();
}
