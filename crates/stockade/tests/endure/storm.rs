//! 20,000 bans a second over very many standing bans, saved and in the kernel.
//!
//! The short form lasts 2 seconds over 20,000 bans; `STOCKADE_LONG=50` a minute
//! over a million, and then the bars count.

use std::io::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::guard::{Blocks, Guard};
use crate::kernel::held;
use crate::{at, fresh, in_namespace, scale, stored};

/// Bans a second.
const RATE: u32 = 20_000;
/// How often lines are written.
const BEATS: u32 = 100;

/// Attacker number `n`: none of those that stand.
fn attacker(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0b00_0000 | (n.wrapping_mul(2_654_435_761) & 0x00ff_ffff))
}

#[test]
fn a_storm_is_saved_and_in_the_kernel() {
    in_namespace("storm::a_storm_is_saved_and_in_the_kernel", run);
}

fn run() {
    let (standing, secs) = (20_000 * scale(), (2 * scale()).min(60));
    let folder = fresh("storm");
    let mut guard = Guard::new(&folder, Blocks::Own, None);
    stored::make(&folder.join("bans.sqlite3"), standing, 0);
    guard.start_until("INFO    ready");
    guard.wait_for("all bans are in force", Duration::from_secs(60));
    let mut log = std::fs::OpenOptions::new().append(true).open(folder.join("web.log")).unwrap();
    let (begin, mut written, mut lags) = (Instant::now(), 0, Vec::new());
    let mut backlog = 0;
    for beat in 0..secs * BEATS {
        let mut text = String::new();
        for n in written..written + RATE / BEATS {
            text += &format!("{} refused\n", attacker(n));
        }
        log.write_all(text.as_bytes()).unwrap();
        written += RATE / BEATS;
        if beat % BEATS == 0 {
            // How long until the last of these is in the kernel; the writing makes up for it.
            let (last, asked) = (attacker(written - 1).to_string(), Instant::now());
            while !held(Blocks::Own, std::iter::once(last.clone())) {
                assert!(asked.elapsed() < Duration::from_secs(60), "{last} is never banned");
                std::thread::park_timeout(Duration::from_millis(1));
            }
            lags.push(asked.elapsed());
            backlog = backlog.max(guard.backlog());
        }
        let due = begin + Duration::from_secs(1) * (beat + 1) / BEATS;
        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
    }
    let wrote = begin.elapsed();
    let all = u64::from(standing) + u64::from(written);
    let unsaved = || guard.ask("status", &serde_json::json!({}));
    let done = loop {
        let status = unsaved();
        let bans = status["firewall"]["bans"].as_u64().unwrap();
        let open = status["database"]["unsaved"].as_u64().unwrap() + status["firewall"]["unsettled"].as_u64().unwrap();
        if bans == all && open == 0 {
            break begin.elapsed();
        }
        assert!(begin.elapsed() < wrote + Duration::from_secs(120), "{bans} of {all} bans: {status}");
        std::thread::park_timeout(Duration::from_millis(5));
    };
    println!(
        "storm over {standing} bans: {written} lines in {:.2} s, all {} in the kernel {:.2} s after the last; \
         line to kernel p50 {:.1} ms, at most {:.1} ms; {:.0} bans a second",
        wrote.as_secs_f64(),
        written,
        (done - wrote).as_secs_f64(),
        at(&mut lags, 500),
        at(&mut lags, 1000),
        f64::from(written) / done.as_secs_f64(),
    );
    let behind = Instant::now();
    while guard.backlog() > 0 {
        assert!(behind.elapsed() < Duration::from_secs(600), "the tables of the original never catch up");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    println!(
        "storm: the original's tables were at most {backlog} rows behind and caught up {:.1} s after it; {} MB resident",
        behind.elapsed().as_secs_f64(),
        guard.memory("VmHWM:") / 1024
    );
    let sample = (0..written).step_by((written / 2_000) as usize).map(|n| attacker(n).to_string());
    assert!(held(Blocks::Own, sample), "the kernel does not hold all of the storm");
    guard.kill();
    assert_eq!(guard.stored(), all, "the database has not all of them after a crash");
    if scale() >= 50 {
        assert!(done.as_secs_f64() < f64::from(secs) * 1.05, "slower than {RATE} bans a second");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
