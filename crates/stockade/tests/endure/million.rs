//! Very many stored bans: how soon they are in force again after a start, what
//! they cost in memory, and what a ban on top of them takes.
//!
//! The short form has 20,000 bans; `STOCKADE_LONG=50` has a million, and then
//! the bars count.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::guard::{Blocks, Guard};
use crate::kernel::held;
use crate::{at, fresh, in_namespace, raw, scale, stored};

/// Bans of the short form.
const BANS: u32 = 20_000;

/// Bans on top, one after another: p50 and p99 in milliseconds.
fn on_top(guard: &mut Guard, from: u32, count: u32) -> (f64, f64) {
    let mut all: Vec<Duration> =
        (from..from + count).map(|n| guard.ban_by_line(&format!("203.0.{}.{}", n / 250, n % 250 + 1))).collect();
    (at(&mut all, 500), at(&mut all, 990))
}

#[test]
fn with_our_own_table_all_are_back_at_once() {
    in_namespace("million::with_our_own_table_all_are_back_at_once", || run(Blocks::Own, None));
}

#[test]
fn with_the_stock_action_all_are_back_at_once() {
    let Some(theirs) = std::env::var_os("STOCKADE_FAIL2BAN").map(PathBuf::from) else {
        let test = "with_the_stock_action_all_are_back_at_once";
        return stockade_original::skip(test, "STOCKADE_FAIL2BAN names no configuration of the original");
    };
    in_namespace("million::with_the_stock_action_all_are_back_at_once", || run(Blocks::Stock, Some(&theirs)));
}

fn run(blocks: Blocks, theirs: Option<&Path>) {
    let bans = BANS * scale();
    let (short, long) = (bans / 10, bans - bans / 10);
    let folder = fresh("million");
    let mut guard = Guard::new(&folder, blocks, theirs);
    guard.start_until("ready");
    let idle = guard.memory("RssAnon:");
    guard.kill();
    for name in ["bans.sqlite3", "bans.sqlite3-wal", "bans.sqlite3-shm"] {
        drop(std::fs::remove_file(folder.join(name)));
    }
    let making = Instant::now();
    let began = stored::make(&folder.join("bans.sqlite3"), long, short);
    println!("{blocks:?}: {bans} bans stored in {:.1} s", making.elapsed().as_secs_f64());

    let raw = (0..3).map(|_| raw::load(bans)).min().unwrap().as_secs_f64();
    let until = jiff::Timestamp::now().as_second() + 20 + i64::from(scale()) / 2;
    guard.short_bantime(until - began.secs());
    let ready = guard.start_until("INFO    ready");
    let enforced = guard.wait_for("all bans are in force", Duration::from_secs(60));
    let parts = ["Starting stockade", "stored bans read"].map(|words| guard.said(words).unwrap());
    println!(
        "{blocks:?}: all in force {enforced} ms after the start, {:.2} x the raw loader ({raw:.3} s); \
         first words {} ms, read and decided {} ms, ready {ready} ms",
        f64::from(i32::try_from(enforced).unwrap()) / 1e3 / raw,
        parts[0],
        parts[1],
    );
    let many = (0..long).step_by((long / 2_000) as usize).map(|n| stored::address(n).to_string());
    assert!(held(blocks, many), "the kernel does not hold what it should");
    let peak = guard.memory("VmHWM:");
    let heap = (guard.memory("RssAnon:").saturating_sub(idle)) * 1024 / u64::from(bans);
    println!(
        "{blocks:?}: at most {} MB resident, {} MB now, {heap} B of heap for each ban",
        peak / 1024,
        guard.memory("VmRSS:") / 1024,
    );
    let (half, most) = on_top(&mut guard, 0, 300);
    println!("{blocks:?}: a ban on top, line to announced: p50 {half:.2} ms, p99 {most:.2} ms");

    expiries(blocks, &mut guard, until, short, long);
    if scale() >= 50 {
        assert!(enforced <= 2_500, "above 2.5 s");
        assert!(peak < 300 << 10 && heap < 200, "above 300 MB or 200 B");
        assert!(most < 10.0, "one of a hundred bans on top takes longer than 10 ms");
    }
    guard.kill();
    std::fs::remove_dir_all(folder).unwrap();
}

/// The bans of one jail all end in the same second; bans on top meanwhile.
fn expiries(blocks: Blocks, guard: &mut Guard, until: i64, short: u32, long: u32) {
    while jiff::Timestamp::now().as_second() < until {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let mut all = Vec::new();
    let mut n = 1_000_u32;
    let begin = Instant::now();
    let done = loop {
        all.push(guard.ban_by_line(&format!("203.0.{}.{}", n / 250, n % 250 + 1)));
        n += 1;
        let status = guard.ask("status", &serde_json::json!({}));
        let held = status["firewall"]["bans"].as_u64().unwrap();
        let left = held.saturating_sub(u64::from(long) + 300 + u64::from(n - 1_000));
        if left == 0 {
            break jiff::Timestamp::now().as_millisecond() - until * 1_000;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{left} of {short} never ended");
    };
    let count = all.len();
    println!(
        "{blocks:?}: {short} bans that end in one second are gone {done} ms after it began; {count} bans meanwhile: \
         p50 {:.2} ms, p99 {:.2} ms",
        at(&mut all, 500),
        at(&mut all, 990)
    );
    if scale() >= 50 {
        assert!(done <= 2_000, "not gone within a second of their second");
    }
}
