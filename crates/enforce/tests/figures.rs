//! What blocking costs: the way of a packet past many jails, and how soon a
//! damaged table stands again.
//!
//! A test prints its figures. The short form only sees to it that they are
//! taken; `STOCKADE_LONG=20` takes them at full size, and then the bars count.
#![expect(clippy::unwrap_used, reason = "a test that prints figures")]

mod common;
#[path = "../examples/raw/mod.rs"]
mod raw;

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Attacker, TARGET4, flood_address, in_namespace, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stockade_core::{JailName, Net, Timestamp};
use stockade_enforce::{Guard, Held, JailBlock, Kernel, Layout, OnClose, Options, PortSpec, Services, Verdict};

/// Where the datagrams go.
const PORT: u16 = 9999;
/// Bans of each jail.
const BANS: u32 = 1_000;

/// How many times longer than the short form.
fn scale() -> u32 {
    std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

#[test]
fn attacker_process() {
    common::attacker_process();
}

/// One way in which jails block; the first jails of several hold the port last.
struct Jails {
    name: &'static str,
    ports: Vec<String>,
    /// Must it cost what one jail costs, within a tenth?
    bar: bool,
}

fn layouts() -> Vec<Jails> {
    let ports = |name, bar, all: &dyn Fn(u16) -> String| Jails { name, ports: (0..50).map(all).collect(), bar };
    vec![
        Jails { name: "1 jail", ports: vec![PORT.to_string()], bar: false },
        Jails { name: "without us", ports: Vec::new(), bar: false },
        ports("50 jails, equal ports", true, &|_| PORT.to_string()),
        ports("50 jails, a port each", true, &|i| (PORT - i).to_string()),
        ports("50 jails, three ports each", true, &|i| format!("{},{},{}", PORT - i, 1_000 + i, 2_000 + 7 * i)),
        ports("50 jails, a port each, and ranges of a hundred", true, &|i| {
            format!("{},{}:{}", PORT - i, 10_000 + 200 * i, 10_099 + 200 * i)
        }),
        ports("50 jails, all ports", false, &|_| "any".to_owned()),
        ports("50 jails, 50 different specs that all hold the port", false, &|i| format!("{}-{PORT}", PORT - i)),
    ]
}

/// What a datagram of somebody who is not banned pays: its whole way on a
/// virtual link, sending included. The layouts take turns; the best round of each counts.
#[test]
fn fifty_jails_cost_a_packet_what_one_costs() {
    in_namespace("fifty_jails_cost_a_packet_what_one_costs", || {
        let (rounds, datagrams) = if scale() > 1 { (scale() * 2, 40_000) } else { (2, 5_000) };
        let mut attacker = Attacker::start();
        let _sink = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
        let layouts = layouts();
        let mut best = vec![u64::MAX; layouts.len()];
        for _ in 0..rounds {
            for (jails, best) in layouts.iter().zip(&mut best) {
                let kernel = if jails.ports.is_empty() { None } else { Some(start(&jails.ports)) };
                let words = format!("burst 10.9.200.1 {TARGET4} {PORT} {datagrams}");
                *best = (*best).min(attacker.ask(&words).parse().unwrap());
                if let Some(kernel) = kernel {
                    kernel.close(OnClose::Lift).unwrap();
                }
            }
        }
        let nanos: Vec<f64> = best.iter().map(|picos| f64::from(u32::try_from(*picos).unwrap()) / 1e3).collect();
        let one = *nanos.first().unwrap();
        for (jails, nanos) in layouts.iter().zip(&nanos) {
            println!("packet path, {}: {nanos:.1} ns a datagram, {:.3} x one jail", jails.name, nanos / one);
        }
        for (jails, nanos) in layouts.iter().zip(&nanos).filter(|(jails, _)| jails.bar && scale() > 1) {
            assert!(nanos / one <= 1.10, "{}: above 1.10 x one jail", jails.name);
        }
    });
}

fn start(ports: &[String]) -> Kernel {
    let layout = Layout::new(ports.iter().enumerate().map(|(i, port)| JailBlock {
        jail: JailName::new(&format!("jail{i}")),
        ports: PortSpec::parse(port, if port == "any" { "all" } else { "udp" }, &Services::embedded()).unwrap(),
        verdict: Verdict::Drop,
    }));
    let mut kernel = Kernel::open(&Options::default()).unwrap();
    let bans = (0..ports.len()).flat_map(|i| {
        (0..BANS).map(move |n| (JailName::new(&format!("jail{i}")), Net::host(flood_address(n)), Timestamp::MAX))
    });
    assert_eq!(kernel.restore(Timestamp::from_secs(0), layout, bans).unwrap().refused, 0);
    kernel
}

/// From the foreign program's end until everything is in force again.
#[test]
fn a_removed_table_stands_again_at_once() {
    in_namespace("a_removed_table_stands_again_at_once", || {
        let sizes = if scale() > 1 { vec![10_000, 1_000_000] } else { vec![1_000] };
        for bans in sizes {
            let raw = (0..3).map(|_| raw::load(bans)).min().unwrap().as_secs_f64();
            let repair = (0..3).map(|_| repaired(bans)).min().unwrap().as_secs_f64();
            println!(
                "own table removed: {bans} bans in force again after {:.1} ms, {:.2} x the raw load",
                repair * 1e3,
                repair / raw
            );
            if scale() > 1 {
                let bar = if bans <= 10_000 { 0.1 } else { 2.0 * raw };
                assert!(repair <= bar, "{bans} bans: repaired after {repair:.3} s, the bar is {bar:.3} s");
            }
        }
    });
}

fn repaired(bans: u32) -> Duration {
    let (now, jail) = (Timestamp::from_secs(1_800_000_000), JailName::new("sshd"));
    let layout = Layout::new([JailBlock { jail: jail.clone(), ports: PortSpec::ALL, verdict: Verdict::Drop }]);
    // On newer kernels nobody else can change our table.
    let mut kernel = Kernel::open(&Options { as_old_kernel: true, ..Options::default() }).unwrap();
    let host = |i: u32| Net::host(IpAddr::V4(raw::address(i)));
    let all = (0..bans).map(|i| (jail.clone(), host(i), Timestamp::MAX));
    assert_eq!(kernel.restore(now, layout, all).unwrap().refused, 0);
    kernel.on_readable();
    run("nft", &["delete", "table", "inet", "stockade"]);
    let start = Instant::now();
    let events = kernel.events_fd().unwrap();
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&limit)).unwrap(), 1, "nobody told us");
    assert!(!kernel.on_readable().is_empty());
    assert_eq!(kernel.is_whole(), Ok(false));
    let loaded = kernel.repair(now).unwrap();
    let took = start.elapsed();
    assert_eq!((loaded.elements, loaded.refused), (usize::try_from(bans).unwrap(), 0));
    for i in (0..bans).step_by(bans as usize / 100) {
        assert_eq!(kernel.verify(&jail, host(i)), Ok(Held::Held), "ban {i}");
    }
    kernel.close(OnClose::Lift).unwrap();
    took
}

#[test]
fn the_guard_looks_quickly() {
    let mut guard = Guard::new();
    let mut all: Vec<_> = (0..20 * scale())
        .map(|_| {
            let start = Instant::now();
            let found = guard.collect();
            (start.elapsed(), found.len())
        })
        .collect();
    let first = all.remove(0);
    all.sort_unstable();
    let half = all.get(all.len() / 2).unwrap().0;
    println!("guard: first {:?}, then p50 {half:?}, {} protected", first.0, first.1);
    assert!(scale() == 1 || half < Duration::from_millis(2), "half of the looks take more than {half:?}");
}
