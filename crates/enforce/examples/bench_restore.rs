//! How fast bans get into the kernel, against a loader that does nothing else.
//!
//! ```text
//! unshare -n target/release/examples/bench_restore [BANS, default 1000000]
//! ```
//! Prints one line per figure: name, value, unit. Refuses to run where a table
//! `inet stockade` stands, so that it can't touch a living guard.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops at the first surprise and prints")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use stockade_core::{JailName, Net, Span, Timestamp};
use stockade_enforce::{JailBlock, Kernel, Layout, OnClose, Options, PortSpec, SetOp, Verdict, lift};

const CHUNK: u32 = 5000;

fn main() {
    let bans: u32 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    assert!(!lift("stockade", Some(host(0))).unwrap().found, "a table inet stockade stands here");
    let raw = (0..3).map(|_| raw_loader(bans)).min().unwrap();
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

/// Address number `i`, spread over the whole space.
fn address(i: u32) -> Ipv4Addr {
    Ipv4Addr::from(i.wrapping_mul(2_654_435_761))
}

fn host(i: u32) -> Net {
    Net::host(IpAddr::V4(address(i)))
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

/// Fills a hash set with time-outs, with the same chunks and flags, from one prepared buffer per chunk.
fn raw_loader(elements: u32) -> Duration {
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER));
    let fd = fd.unwrap();
    sockopt::set_socket_send_buffer_size_force(&fd, 8 << 20).unwrap();
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).unwrap();
    let transact = |body: &[u8]| {
        let mut all = message(0x10, 1, &[0, 0, 0, 10]);
        all.extend_from_slice(body);
        all.extend(message(0x11, 1, &[0, 0, 0, 10]));
        rustix::net::send(&fd, &all, SendFlags::empty()).unwrap();
        let mut answer = [0u8; 4096];
        while let Ok((_, len)) = rustix::net::recv(&fd, &mut answer, RecvFlags::DONTWAIT) {
            assert!(answer.get(16..len.min(20)).is_some_and(|code| code == [0; 4]), "the kernel refused");
        }
    };
    let table = |kind: u16, flags: u16, rest: &[u8]| {
        let mut body = vec![1, 0, 0, 0];
        body.extend(attr(1, b"stockade-raw\0"));
        body.extend_from_slice(rest);
        message(10 << 8 | kind, flags, &body)
    };
    transact(&table(0, 0x405, &[]));
    let mut set = attr(2, b"s\0");
    for (kind, value) in [(3u16, 0x10u32), (4, 7), (5, 4), (10, 1), (12, 60_000)] {
        set.extend(attr(kind, &value.to_be_bytes()));
    }
    transact(&table(9, 0x405, &set));
    let start = Instant::now();
    let mut next = 0;
    while next < elements {
        let mut body = Vec::with_capacity(200_000);
        for _ in 0..CHUNK / 1000 {
            let mut list = Vec::with_capacity(40_000);
            for i in next..(next + 1000).min(elements) {
                let mut element = attr(0x8001, &attr(1, &address(i).octets()));
                element.extend(attr(4, &86_400_000u64.to_be_bytes()));
                list.extend(attr(0x8001, &element));
            }
            next += 1000;
            let mut rest = attr(2, b"s\0");
            rest.extend(attr(0x8003, &list));
            body.extend(table(12, 0x405, &rest));
        }
        transact(&body);
    }
    let took = start.elapsed();
    transact(&table(2, 0x5, &[]));
    took
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(payload.len() + 16);
    all.extend(u32::try_from(payload.len() + 16).unwrap().to_ne_bytes());
    all.extend(kind.to_ne_bytes());
    all.extend((flags | 1).to_ne_bytes());
    all.extend([0; 8]);
    all.extend_from_slice(payload);
    all
}

fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(value.len() + 8);
    all.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
    all.extend(kind.to_ne_bytes());
    all.extend_from_slice(value);
    all.resize(all.len().next_multiple_of(4), 0);
    all
}
