//! What a packet that is not banned pays for our chains, with few and many jails,
//! and what [`stockade_enforce::Guard`] costs.
//!
//! ```text
//! unshare -n target/release/examples/bench_packets [ROUNDS, default 12]
//! ```
//! The layouts take turns; the best round of each counts. A datagram's whole way
//! is measured, sending included, on a virtual link.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops at the first surprise and prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::UdpSocket;
use std::time::Instant;

use common::{Attacker, TARGET4, flood_address, run};
use stockade_core::{JailName, Net, Timestamp};
use stockade_enforce::{Guard, JailBlock, Kernel, Layout, OnClose, Options, PortSpec, Services, Verdict, lift};

const PORT: u16 = 9999;
const BANS: u32 = 1000;
const DATAGRAMS: u32 = 40_000;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("attacker_process") {
        common::attacker_process();
        return;
    }
    let rounds: u32 = std::env::args().nth(1).map_or(12, |n| n.parse().unwrap());
    assert!(!lift("stockade", Some(Net::host(flood_address(0)))).unwrap().found, "a table inet stockade stands here");
    run("ip", &["link", "set", "lo", "up"]);
    let mut attacker = Attacker::start();
    let _sink = UdpSocket::bind(("0.0.0.0", PORT)).unwrap();
    let every_port = |i: u32| format!("{}", PORT as u32 - i);
    let layouts: Vec<(&str, Vec<String>)> = vec![
        ("without us", vec![]),
        ("1 jail", vec![every_port(0)]),
        ("50 jails, equal ports", (0..50).map(|_| every_port(0)).collect()),
        ("50 jails, a port each", (0..50).map(every_port).collect()),
        ("50 jails, all ports", (0..50).map(|_| "any".to_owned()).collect()),
        (
            "50 jails, 50 different specs that all hold the port",
            (0..50).map(|i| format!("{}-{PORT}", PORT as u32 - i)).collect(),
        ),
    ];
    let mut best = vec![u64::MAX; layouts.len()];
    for _ in 0..rounds {
        for ((_, ports), best) in layouts.iter().zip(&mut best) {
            let kernel = if ports.is_empty() { None } else { Some(start(ports)) };
            let took: u64 = attacker.ask(&format!("burst 10.9.200.1 {TARGET4} {PORT} {DATAGRAMS}")).parse().unwrap();
            *best = (*best).min(took);
            if let Some(kernel) = kernel {
                kernel.close(OnClose::Lift).unwrap();
            }
        }
    }
    for ((name, _), best) in layouts.iter().zip(best) {
        println!("{name}: {:.1} ns per datagram", f64::from(u32::try_from(best).unwrap()) / 1000.0);
    }
    let mut guard = Guard::new();
    let mut all: Vec<_> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let found = guard.collect();
            (start.elapsed(), found.len())
        })
        .collect();
    let first = all.remove(0);
    all.sort_unstable();
    println!("guard: first {:?}, then p50 {:?}, {} protected", first.0, all.get(100).unwrap().0, first.1);
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
