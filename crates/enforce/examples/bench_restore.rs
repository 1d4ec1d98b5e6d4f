//! How fast bans get into the kernel, against a loader that does nothing else.
//!
//! ```text
//! unshare -n target/release/examples/bench_restore [BANS, default 1000000]
//! ```
//! Prints one line per figure: name, value, unit. Refuses to run where a table
//! `inet stockade` stands, so that it can't touch a living guard.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops at the first surprise and prints")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use stockade_core::{JailName, Net, Span, Timestamp};
use stockade_enforce::{JailBlock, Kernel, Layout, OnClose, Options, PortSpec, SetOp, Verdict, lift};

mod raw;

fn main() {
    let bans: u32 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    assert!(!lift("stockade", Some(host(0))).unwrap().found, "a table inet stockade stands here");
    let raw = (0..3).map(|_| raw::load(bans)).min().unwrap();
    println!("raw_loader {:.3} s for {bans} elements, best of 3", raw.as_secs_f64());

    let before = resident();
    let now = Timestamp::from_secs(1_800_000_000);
    let end = now + Span::from_secs(86_400);
    let jail = JailName::new("sshd");
    let layout = || Layout::new([JailBlock { jail: jail.clone(), ports: PortSpec::ALL, verdict: Verdict::Drop }]);
    let all = |n: u32| (0..n).map(|i| (jail.clone(), host(i), end));
    let mut best = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        let mut kernel = Kernel::open(&Options::default()).unwrap();
        let loaded = kernel.restore(now, layout(), all(bans)).unwrap();
        best = best.min(start.elapsed());
        assert_eq!((loaded.elements, loaded.refused), (usize::try_from(bans).unwrap(), 0));
        kernel.close(OnClose::Lift).unwrap();
    }
    println!("restore {:.3} s, {:.2} x raw loader", best.as_secs_f64(), best.as_secs_f64() / raw.as_secs_f64());

    let mut kernel = Kernel::open(&Options::default()).unwrap();
    kernel.begin_restore(layout(), all(bans)).unwrap();
    let mut during = Vec::new();
    let mut fresh = (bans..).map(host);
    while matches!(kernel.load(now).unwrap(), stockade_enforce::Progress::Left(_)) {
        during.push(one(&mut kernel, now, &jail, fresh.next().unwrap(), end));
    }
    show("single ban between the steps of a load", &mut during);
    println!("resident {:.1} MB more, {:.0} B per ban", mb(resident() - before), per(resident() - before, bans));

    let mut single: Vec<Duration> =
        (0..20_000).map(|_| one(&mut kernel, now, &jail, fresh.next().unwrap(), end)).collect();
    show("single ban on top", &mut single);
    let mut unban: Vec<Duration> = (0..20_000)
        .map(|i| {
            let op = [SetOp::Unban { jail: jail.clone(), net: host(i) }];
            let start = Instant::now();
            assert_eq!(kernel.apply(now, &op).failed, []);
            start.elapsed()
        })
        .collect();
    show("single unban", &mut unban);
    let mut verify: Vec<Duration> = (30_000..40_000)
        .map(|i| {
            let start = Instant::now();
            assert_eq!(kernel.verify(&jail, host(i)).unwrap(), stockade_enforce::Held::Held);
            start.elapsed()
        })
        .collect();
    show("verify", &mut verify);
    for size in [2_000usize, 5_000] {
        let burst: Vec<SetOp> =
            fresh.by_ref().take(size).map(|net| SetOp::Ban { jail: jail.clone(), net, end }).collect();
        let start = Instant::now();
        assert_eq!(kernel.apply(now, &burst).failed, []);
        println!("burst of {size} {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let start = Instant::now();
    for _ in 0..1000 {
        let ops: Vec<SetOp> = fresh.by_ref().take(100).map(|net| SetOp::Ban { jail: jail.clone(), net, end }).collect();
        assert_eq!(kernel.apply(now, &ops).failed, []);
    }
    println!("bans in calls of 100 {:.0} /s", 100_000.0 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    let ops: Vec<SetOp> =
        (100_000..200_000.min(bans)).map(|i| SetOp::Unban { jail: jail.clone(), net: host(i) }).collect();
    assert_eq!(kernel.apply(now, &ops).failed, []);
    println!("{} expiries at once {:.3} s", ops.len(), start.elapsed().as_secs_f64());
    let start = Instant::now();
    kernel.counters().unwrap();
    println!("counters {:.0} us", start.elapsed().as_secs_f64() * 1e6);
    let start = Instant::now();
    let loaded = kernel.repair(now).unwrap();
    println!("repair of {} {:.3} s", loaded.elements, start.elapsed().as_secs_f64());
    kernel.close(OnClose::Lift).unwrap();

    let mut kernel = Kernel::open(&Options::default()).unwrap();
    kernel.restore(now, layout(), all(10_000)).unwrap();
    let start = Instant::now();
    kernel.repair(now).unwrap();
    println!("repair of 10000 {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    kernel.close(OnClose::Lift).unwrap();
}

fn one(kernel: &mut Kernel, now: Timestamp, jail: &JailName, net: Net, end: Timestamp) -> Duration {
    let op = [SetOp::Ban { jail: jail.clone(), net, end }];
    let start = Instant::now();
    assert_eq!(kernel.apply(now, &op).failed, []);
    start.elapsed()
}

fn show(name: &str, all: &mut [Duration]) {
    all.sort_unstable();
    let at = |part: usize| all.get(all.len() * part / 1000).map_or(0.0, |d| d.as_secs_f64() * 1e6);
    let max = all.last().map_or(0.0, |d| d.as_secs_f64() * 1e6);
    println!("{name}: p50 {:.1} us, p99 {:.1} us, max {max:.1} us, n {}", at(500), at(990), all.len());
}

fn host(i: u32) -> Net {
    Net::host(IpAddr::V4(raw::address(i)))
}

fn resident() -> u64 {
    use std::io::Read;
    let mut status = String::new();
    std::fs::File::open("/proc/self/status").unwrap().take(65_536).read_to_string(&mut status).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn per(bytes: u64, number: u32) -> f64 {
    bytes as f64 / f64::from(number)
}
