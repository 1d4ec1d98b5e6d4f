//! No gap: a stream from banned addresses goes on while everything is replaced, flushed and killed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::{Duration, Instant};

use common::{Attacker, Daemon, TARGET4, Witness, flood_address, in_namespace, run};
use stockade_core::{JailName, Net, Span, Timestamp};
use stockade_enforce::{
    Held, JailBlock, Kernel, KernelEvent, Layout, OnClose, Options, PortSpec, Progress, Services, SetOp, Verdict,
};

const PORT: u16 = 2222;
const STREAM: u32 = 1000;

#[test]
fn attacker_process() {
    common::attacker_process();
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn layout(jails: &[&str]) -> Layout {
    let ports = PortSpec::parse("2222", "udp", &Services::embedded()).unwrap();
    Layout::new(jails.iter().map(|jail| JailBlock {
        jail: JailName::new(jail),
        ports: if *jail == "everything" { PortSpec::ALL } else { ports.clone() },
        verdict: Verdict::Drop,
    }))
}

fn bans(jail: &str, number: u32) -> impl Iterator<Item = (JailName, Net, Timestamp)> {
    let (jail, end) = (JailName::new(jail), now() + Span::from_secs(3600));
    (0..number).map(move |i| (jail.clone(), Net::host(flood_address(i)), end))
}

fn start(options: &Options) -> Kernel {
    let mut kernel = Kernel::open(options).unwrap();
    assert_eq!(kernel.restore(now(), layout(&["sshd"]), bans("sshd", STREAM)).unwrap().refused, 0);
    kernel
}

/// The stream without us: the witness must see it.
fn control(attacker: &mut Attacker, witness: &Witness) {
    attacker.ask(&format!("flood {STREAM} {TARGET4} {PORT}"));
    let end = Instant::now() + Duration::from_secs(20);
    let mut seen = 0;
    while seen < 1000 {
        assert!(Instant::now() < end, "the control does not leak");
        seen += witness.passed(attacker).len();
    }
    attacker.ask("stop");
    witness.passed(attacker);
}

#[test]
fn nothing_passes_while_everything_changes() {
    if Daemon::is_here() {
        let _kernel = start(&Options::default());
        Daemon::ready();
        return;
    }
    in_namespace("nothing_passes_while_everything_changes", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        control(&mut attacker, &witness);
        let daemon = Daemon::start("nothing_passes_while_everything_changes");
        attacker.ask(&format!("flood {STREAM} {TARGET4} {PORT}"));
        let passed = |attacker: &mut Attacker, what: &str| {
            let passed = witness.passed(attacker);
            assert!(passed.is_empty(), "{what}: {} addresses got through", passed.len());
        };
        passed(&mut attacker, "standing");
        run("nft", &["flush", "ruleset"]);
        passed(&mut attacker, "foreign flush");
        daemon.kill();
        passed(&mut attacker, "kill -9");
        let mut kernel = start(&Options::default());
        passed(&mut attacker, "taken over");
        for _ in 0..20 {
            kernel.restore(now(), layout(&["sshd", "x"]), bans("sshd", STREAM)).unwrap();
            kernel.relayout(now(), layout(&["everything", "sshd"])).unwrap();
            kernel.repair(now()).unwrap();
            let prolong: Vec<SetOp> = bans("sshd", STREAM)
                .map(|(jail, net, end)| SetOp::Ban { jail, net, end: end + Span::from_secs(60) })
                .collect();
            assert_eq!(kernel.apply(now(), &prolong).failed, []);
        }
        passed(&mut attacker, "restore, relayout, repair, prolong");
        kernel.begin_restore(layout(&["sshd"]), bans("sshd", STREAM)).unwrap();
        drop(kernel);
        passed(&mut attacker, "killed in the middle of a restore");
        let kernel = start(&Options::default());
        passed(&mut attacker, "restarted after that");
        let sent: u64 = attacker.ask("stop").parse().unwrap();
        assert!(sent > 10_000, "{sent}");
        passed(&mut attacker, "end");
        kernel.close(OnClose::Lift).unwrap();
        control(&mut attacker, &witness);
    });
}

#[test]
fn without_an_owner_a_foreign_flush_is_seen_and_repaired() {
    in_namespace("without_an_owner_a_foreign_flush_is_seen_and_repaired", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let mut kernel = start(&Options { as_old_kernel: true, ..Options::default() });
        assert_eq!(kernel.on_readable(), [], "the load itself is not foreign");
        let jail = JailName::new("sshd");
        let whom = Net::host(flood_address(7));
        let op = |ban| match ban {
            true => SetOp::Ban { jail: jail.clone(), net: whom, end: now() + Span::from_secs(60) },
            false => SetOp::Unban { jail: jail.clone(), net: whom },
        };
        kernel.apply(now(), &[op(false), op(true)]);
        assert_eq!(kernel.on_readable(), [], "our own changes are not foreign");
        let set = "add element inet stockade b1_g0_udp_2222_v4 { 192.0.2.1 }";
        run("nft", &set.split(' ').collect::<Vec<_>>());
        let events = wait(&mut kernel);
        assert!(matches!(events.as_slice(), [KernelEvent::ForeignChange { who }] if who.contains("nft")), "{events:?}");
        for verb in ["flush ruleset", "delete table inet stockade"] {
            run("nft", &verb.split(' ').collect::<Vec<_>>());
            let events = wait(&mut kernel);
            assert!(matches!(events.as_slice(), [KernelEvent::TableGone { who }] if who.contains("nft")), "{events:?}");
            assert_eq!(kernel.verify(&jail, whom).unwrap(), Held::Missing);
            assert!(!kernel.is_whole().unwrap());
            kernel.repair(now()).unwrap();
            assert_eq!(kernel.verify(&jail, whom).unwrap(), Held::Held);
            attacker.datagrams(&whom.addr().to_string(), TARGET4, PORT, 3);
            assert!(witness.passed(&mut attacker).is_empty());
            assert_eq!(kernel.on_readable(), []);
        }
        for harm in [
            "flush chain inet stockade PREROUTING",
            "delete chain inet stockade PREROUTING",
            "flush table inet stockade",
        ] {
            let listed = run("nft", &["list", "table", "inet", "stockade"]);
            let chain = listed.split_whitespace().find(|w| w.ends_with("_prerouting")).unwrap().to_owned();
            run("nft", &harm.replace("PREROUTING", &chain).split(' ').collect::<Vec<_>>());
            assert!(matches!(wait(&mut kernel).as_slice(), [KernelEvent::ForeignChange { .. }]), "{harm}");
            assert!(!kernel.is_whole().unwrap(), "{harm}");
            kernel.repair(now()).unwrap();
            assert!(kernel.is_whole().unwrap(), "{harm}");
        }
        // Without having looked at the notifications, the next ban finds out.
        run("nft", &["flush", "ruleset"]);
        let applied = kernel.apply(now(), &[op(true)]);
        assert!(applied.repaired && applied.failed.is_empty(), "{applied:?}");
        assert_eq!(kernel.bans(), 1000);
        attacker.datagrams(&flood_address(8).to_string(), TARGET4, PORT, 3);
        assert!(witness.passed(&mut attacker).is_empty());
    });
}

/// Kill -9 at any moment of a storm of changes. Rounds: `STOCKADE_LONG`, 5 without it.
#[test]
fn killed_in_a_storm_it_leaves_no_gap() {
    let name = "killed_in_a_storm_it_leaves_no_gap";
    if Daemon::is_here() {
        let mut kernel = start(&Options::default());
        Daemon::storm(|round| {
            let extra = |jail: &str| SetOp::Ban {
                jail: JailName::new(jail),
                net: Net::new(flood_address(round % 5000 + 2000), 24 + u8::try_from(round % 9).unwrap()).unwrap(),
                end: Timestamp::MAX,
            };
            assert_eq!(kernel.apply(now(), &[extra("sshd")]).failed, []);
            if round % 7 == 0 {
                kernel
                    .relayout(now(), layout(if round % 2 == 0 { &["everything", "sshd"] } else { &["sshd"] }))
                    .unwrap();
            }
            if round % 11 == 0 {
                kernel.restore(now(), layout(&["sshd"]), bans("sshd", STREAM)).unwrap();
            }
        });
    }
    in_namespace(name, || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        control(&mut attacker, &witness);
        drop(start(&Options::default()));
        attacker.ask(&format!("flood {STREAM} {TARGET4} {PORT}"));
        let rounds: u32 = std::env::var("STOCKADE_LONG").map_or(5, |n| n.parse().unwrap());
        for round in 0..rounds {
            let mut daemon = Daemon::start(name);
            // A moment that no two rounds share: so many changes, and then some of the clock's noise.
            daemon.wait_for_changes(round * 13 % 40 + 1);
            for _ in 0..now().micros() % 5000 {
                std::hint::spin_loop();
            }
            daemon.kill();
            let passed = witness.passed(&mut attacker);
            assert!(passed.is_empty(), "round {round}: {} addresses got through", passed.len());
        }
        let kernel = start(&Options::default());
        attacker.ask("stop");
        assert!(witness.passed(&mut attacker).is_empty());
        kernel.close(OnClose::Lift).unwrap();
        control(&mut attacker, &witness);
    });
}

fn wait(kernel: &mut Kernel) -> Vec<KernelEvent> {
    let fd = kernel.events_fd().unwrap();
    let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1, "no notification");
    kernel.on_readable()
}

#[test]
fn an_old_kernel_forgives_unbans_of_absent_addresses() {
    in_namespace("an_old_kernel_forgives_unbans_of_absent_addresses", || {
        let mut kernel = start(&Options { as_old_kernel: true, ..Options::default() });
        let jail = JailName::new("sshd");
        for number in [3u32, 400, 999] {
            let set = format!("delete element inet stockade b1_g0_udp_2222_v4 {{ {} }}", flood_address(number));
            run("nft", &set.split(' ').collect::<Vec<_>>());
        }
        let mut ops: Vec<SetOp> =
            (0..500).map(|i| SetOp::Unban { jail: jail.clone(), net: Net::host(flood_address(i)) }).collect();
        ops.extend((500..1500).map(|i| SetOp::Ban {
            jail: jail.clone(),
            net: Net::host(flood_address(i)),
            end: now() + Span::from_secs(7200),
        }));
        assert_eq!(kernel.apply(now(), &ops).failed, []);
        for i in 0..1500 {
            let held = kernel.verify(&jail, Net::host(flood_address(i))).unwrap();
            assert_eq!(held == Held::Held, i >= 500, "{i}");
        }
        // A load in steps goes on with bans in between.
        kernel.begin_repair().unwrap();
        kernel.apply(now(), &ops[..1]);
        while let Progress::Left(_) = kernel.load(now()).unwrap() {}
        assert_eq!(kernel.bans(), 1000);
        assert!(kernel.is_whole().unwrap());
    });
}

/// Somebody has put something under the name of a set that we need.
#[test]
fn one_refused_element_is_named_and_takes_nobody_with_it() {
    in_namespace("one_refused_element_is_named_and_takes_nobody_with_it", || {
        let mut kernel = start(&Options { as_old_kernel: true, ..Options::default() });
        let jail = JailName::new("sshd");
        run("nft", &["add set inet stockade b1_g0_udp_2222_v4_24 { type ipv6_addr; }"]);
        let op = |addr: &str, prefix| SetOp::Ban {
            jail: jail.clone(),
            net: Net::new(addr.parse().unwrap(), prefix).unwrap(),
            end: Timestamp::MAX,
        };
        let ops = [op("192.0.2.1", 32), op("198.51.100.0", 24), op("2001:db8::", 64), op("203.0.113.0", 25)];
        let applied = kernel.apply(now(), &ops);
        assert_eq!(applied.failed.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1], "{applied:?}");
        assert!(applied.failed[0].1.what.contains("198.51.100.0/24"), "{applied:?}");
        for (i, op) in ops.iter().enumerate() {
            assert_eq!(kernel.verify(&jail, op.net()).unwrap() == Held::Held, i != 1, "{i}");
        }
        assert_eq!(kernel.unsettled().collect::<Vec<_>>(), [ops[1].net()]);
        assert_eq!(kernel.retry(now()), 1);
        run("nft", &["delete set inet stockade b1_g0_udp_2222_v4_24"]);
        assert_eq!(kernel.retry(now()), 0);
        assert_eq!(kernel.verify(&jail, ops[1].net()).unwrap(), Held::Held);
        assert_eq!(kernel.unsettled().count(), 0);
    });
}
