//! Our nftables table against real packets.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Attacker, TARGET4, TARGET6, Witness, in_namespace, run};
use stockade_core::{FailureId, JailName, Net, Span, Timestamp};
use stockade_enforce::{
    Held, JailBlock, Kernel, Layout, Lifted, Means, OnClose, Options, PortSpec, Services, SetOp, Standing, Verdict,
    lift, standing,
};

const PORT: u16 = 2222;
const HOUR: Span = Span::from_secs(3600);

#[test]
fn attacker_process() {
    common::attacker_process();
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn net(text: &str) -> Net {
    FailureId::parse(text).net().unwrap()
}

fn block(jail: &str, port: &str, protocol: &str) -> JailBlock {
    let ports = PortSpec::parse(port, protocol, &Services::embedded()).unwrap();
    JailBlock { jail: JailName::new(jail), ports, verdict: Verdict::Drop }
}

fn ban(jail: &str, whom: &str) -> SetOp {
    SetOp::Ban { jail: JailName::new(jail), net: net(whom), end: now() + HOUR }
}

fn unban(jail: &str, whom: &str) -> SetOp {
    SetOp::Unban { jail: JailName::new(jail), net: net(whom) }
}

fn open(layout: Layout) -> Kernel {
    let mut kernel = Kernel::open(&Options::default()).unwrap();
    assert_eq!(kernel.means().0, Means::Nftables);
    kernel.restore(now(), layout, []).unwrap();
    kernel
}

#[track_caller]
fn apply(kernel: &mut Kernel, ops: &[SetOp]) {
    let applied = kernel.apply(now(), ops);
    assert_eq!(applied.failed, []);
}

/// Does a datagram from there to this port get through?
#[track_caller]
fn passes(attacker: &mut Attacker, witness: &Witness, from: &str, port: u16) -> bool {
    let to = if from.contains(':') { TARGET6 } else { TARGET4 };
    attacker.datagrams(from, to, port, 3);
    let passed = witness.passed(attacker).get(&net(from).addr()).copied().unwrap_or(0);
    assert!(passed == 0 || passed == 3, "{passed} of 3 from {from}");
    passed == 3
}

#[test]
fn a_banned_address_is_silent_until_it_is_unbanned() {
    in_namespace("a_banned_address_is_silent_until_it_is_unbanned", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let mut kernel = open(Layout::new([block("all", "any", "all"), block("one", "2222", "udp")]));
        for jail in ["all", "one"] {
            for (bad, good) in [("10.9.0.1", "10.9.0.2"), ("2001:db8:9::1", "2001:db8:9::2")] {
                assert!(passes(&mut attacker, &witness, bad, PORT));
                apply(&mut kernel, &[ban(jail, bad)]);
                assert!(!passes(&mut attacker, &witness, bad, PORT), "{jail} {bad}");
                assert!(passes(&mut attacker, &witness, good, PORT));
                assert_eq!(kernel.verify(&JailName::new(jail), net(bad)).unwrap(), Held::Held);
                assert_eq!(kernel.verify(&JailName::new(jail), net(good)).unwrap(), Held::Missing);
                apply(&mut kernel, &[unban(jail, bad)]);
                assert!(passes(&mut attacker, &witness, bad, PORT), "{jail} {bad}");
                assert_eq!(kernel.verify(&JailName::new(jail), net(bad)).unwrap(), Held::Missing);
            }
        }
        let counts = kernel.counters().unwrap();
        assert_eq!(counts.iter().map(|c| c.packets).collect::<Vec<_>>(), [6, 6]);
        // The system's own tool understands the table.
        let listed = run("nft", &["list", "table", "inet", "stockade"]);
        assert!(listed.contains("udp dport vmap @b1_udp"), "{listed}");
    });
}

#[test]
fn networks_and_hosts_overlap_freely() {
    in_namespace("networks_and_hosts_overlap_freely", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let mut kernel = open(Layout::new([block("all", "any", "all")]));
        let all = ["10.9.0.0/16", "10.9.1.0/24", "10.9.1.1", "2001:db8:9::/64", "2001:db8:9::/112", "2001:db8:9::1"];
        apply(&mut kernel, &all.map(|whom| ban("all", whom)));
        let holding: Vec<String> =
            kernel.holding(net("10.9.1.1")).unwrap().iter().map(|(_, n)| n.to_string()).collect();
        assert_eq!(holding, ["10.9.1.1", "10.9.1.0/24", "10.9.0.0/16"]);
        assert_eq!(kernel.holding(net("2001:db8:9::5")).unwrap().len(), 2);
        for (lifted, silent) in [
            ("10.9.1.1", "10.9.1.1"),
            ("10.9.0.0/16", "10.9.1.1"),
            ("2001:db8:9::/64", "2001:db8:9::1"),
            ("2001:db8:9::1", "2001:db8:9::1"),
        ] {
            assert!(!passes(&mut attacker, &witness, silent, PORT));
            apply(&mut kernel, &[unban("all", lifted)]);
            assert!(!passes(&mut attacker, &witness, silent, PORT), "still held after {lifted}");
        }
        assert!(passes(&mut attacker, &witness, "10.9.2.1", PORT));
        apply(&mut kernel, &[unban("all", "10.9.1.0/24"), unban("all", "2001:db8:9::/112")]);
        assert!(passes(&mut attacker, &witness, "10.9.1.1", PORT));
        assert!(passes(&mut attacker, &witness, "2001:db8:9::1", PORT));
        apply(&mut kernel, &[ban("all", "0.0.0.0/0")]);
        assert_eq!(kernel.verify(&JailName::new("all"), net("0.0.0.0/0")).unwrap(), Held::Held);
        apply(&mut kernel, &[unban("all", "0.0.0.0/0")]);
        assert!(kernel.is_whole().unwrap());
    });
}

#[test]
fn an_address_stays_banned_while_any_jail_bans_it() {
    in_namespace("an_address_stays_banned_while_any_jail_bans_it", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let jails = ["a", "b", "c"];
        let mut kernel =
            open(Layout::new(jails.map(|jail| block(jail, if jail == "c" { "any" } else { "2222" }, "udp"))));
        apply(&mut kernel, &jails.map(|jail| ban(jail, "10.9.0.1")));
        for jail in jails {
            assert!(!passes(&mut attacker, &witness, "10.9.0.1", PORT));
            apply(&mut kernel, &[unban(jail, "10.9.0.1")]);
        }
        assert!(passes(&mut attacker, &witness, "10.9.0.1", PORT));
        // Several operations on one address in one call: the last one of each jail counts.
        apply(&mut kernel, &[ban("a", "10.9.0.1"), unban("a", "10.9.0.1"), ban("b", "10.9.0.2"), ban("b", "10.9.0.2")]);
        assert!(passes(&mut attacker, &witness, "10.9.0.1", PORT));
        assert!(!passes(&mut attacker, &witness, "10.9.0.2", PORT));
        // What is not there may be unbanned; a jail that is not there may not ban.
        let applied = kernel.apply(now(), &[unban("a", "10.9.0.7"), ban("x", "10.9.0.7"), ban("a", "10.9.0.8")]);
        assert_eq!(applied.failed.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1]);
        assert!(!passes(&mut attacker, &witness, "10.9.0.8", PORT));
    });
}

#[test]
fn only_the_ports_of_the_jail_are_blocked() {
    in_namespace("only_the_ports_of_the_jail_are_blocked", || {
        let (mut attacker, low, high) = (Attacker::start(), Witness::listen(1999), Witness::listen(2000));
        let mut kernel = open(Layout::new([
            block("range", "1000-1999", "udp"),
            block("next", "2000:2100", "udp"),
            block("both", "1999,2000", "udp"),
            block("tcp", "any", "tcp"),
        ]));
        let passed =
            |attacker: &mut Attacker, whom| (passes(attacker, &low, whom, 1999), passes(attacker, &high, whom, 2000));
        apply(&mut kernel, &[ban("range", "10.9.0.1"), ban("next", "10.9.0.2"), ban("both", "10.9.0.3")]);
        apply(&mut kernel, &[ban("tcp", "10.9.0.4")]);
        assert_eq!(passed(&mut attacker, "10.9.0.1"), (false, true));
        assert_eq!(passed(&mut attacker, "10.9.0.2"), (true, false));
        assert_eq!(passed(&mut attacker, "10.9.0.3"), (false, false));
        assert_eq!(passed(&mut attacker, "10.9.0.4"), (true, true));
        common::echo_service(8000);
        assert_eq!(attacker.connect("10.9.0.4", TARGET4, 8000), "timeout");
        assert_eq!(attacker.connect("10.9.0.3", TARGET4, 8000), "open");
    });
}

#[test]
fn a_restore_replaces_what_stood_before() {
    in_namespace("a_restore_replaces_what_stood_before", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let layout = || Layout::new([block("all", "any", "all"), block("one", "2222", "udp")]);
        let mut kernel = open(layout());
        apply(&mut kernel, &[ban("all", "10.9.0.1"), ban("one", "10.9.0.2"), ban("one", "10.9.3.0/24")]);
        drop(kernel);
        assert!(!passes(&mut attacker, &witness, "10.9.0.1", PORT), "blocks outlive us");
        let mut kernel = Kernel::open(&Options::default()).unwrap();
        let end = now() + HOUR;
        let bans = [("one", "10.9.0.2"), ("all", "10.9.0.3"), ("gone", "10.9.0.4"), ("one", "2001:db8:9::/64")];
        kernel.begin_restore(layout(), bans.map(|(j, n)| (JailName::new(j), net(n), end))).unwrap();
        assert!(!passes(&mut attacker, &witness, "10.9.0.1", PORT), "old blocks stand until all is loaded");
        apply(&mut kernel, &[ban("all", "10.9.0.5")]);
        assert!(!passes(&mut attacker, &witness, "10.9.0.5", PORT), "new bans are in force during the load");
        while kernel.load(now()).unwrap()
            != stockade_enforce::Progress::Done(stockade_enforce::Loaded { elements: 3, refused: 0 })
        {}
        for (whom, free) in [
            ("10.9.0.1", true),
            ("10.9.0.2", false),
            ("10.9.0.3", false),
            ("10.9.0.4", true),
            ("10.9.0.5", false),
            ("10.9.3.1", true),
            ("2001:db8:9::1", false),
        ] {
            assert_eq!(passes(&mut attacker, &witness, whom, PORT), free, "{whom}");
        }
        assert!(!run("nft", &["list", "table", "inet", "stockade"]).contains("b1_"));
        kernel.close(OnClose::Lift).unwrap();
        assert!(passes(&mut attacker, &witness, "10.9.0.2", PORT));
        assert!(!run("nft", &["list", "tables"]).contains("stockade"));
    });
}

#[test]
fn where_nothing_is_to_block_nothing_is_made() {
    in_namespace("where_nothing_is_to_block_nothing_is_made", || {
        let mut kernel = Kernel::open(&Options::default()).unwrap();
        kernel.begin_restore(Layout::default(), []).unwrap();
        let listed = run("nft", &["list", "ruleset"]);
        assert!(!listed.contains("chain"), "{listed}");
        while !matches!(kernel.load(now()).unwrap(), stockade_enforce::Progress::Done(_)) {}
        kernel.relayout(now(), Layout::default()).unwrap();
        assert!(kernel.is_whole().unwrap());
        assert_eq!(run("nft", &["list", "tables"]), "");
        // What comes later blocks.
        kernel.relayout(now(), Layout::new([block("all", "any", "all")])).unwrap();
        apply(&mut kernel, &[ban("all", "10.9.0.1")]);
        assert_eq!(kernel.verify(&JailName::new("all"), net("10.9.0.1")).unwrap(), Held::Held);
        kernel.close(OnClose::Lift).unwrap();
    });
}

#[test]
fn lift_works_with_the_daemon_dead_and_says_who_lives() {
    in_namespace("lift_works_with_the_daemon_dead_and_says_who_lives", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        assert_eq!(lift("stockade", None).unwrap(), Lifted::default());
        let mut kernel = open(Layout::new([block("all", "any", "all"), block("one", "2222", "udp")]));
        let bans = [ban("all", "10.9.0.1"), ban("one", "10.9.0.1"), ban("all", "10.9.0.2"), ban("all", "10.9.1.0/24")];
        apply(&mut kernel, &bans);
        let me = format!("pid {}", std::process::id());
        assert!(standing("stockade").unwrap().owner.is_some_and(|o| o.contains(&me)));
        let second = Kernel::open(&Options::default()).unwrap_err();
        assert!(second.why.contains(&format!("pid {}", std::process::id())), "{second}");
        let alive = lift("stockade", Some(net("10.9.0.1"))).unwrap_err();
        assert!(alive.why.contains(&format!("pid {}", std::process::id())), "{alive}");
        drop(kernel);
        assert_eq!(standing("stockade").unwrap(), Standing { table: true, owner: None });
        let lifted = lift("stockade", Some(net("10.9.0.1"))).unwrap();
        assert_eq!(lifted, Lifted { found: true, elements: 2, covered_by: vec![] });
        assert!(passes(&mut attacker, &witness, "10.9.0.1", PORT));
        let lifted = lift("stockade", Some(net("10.9.1.7"))).unwrap();
        assert_eq!(lifted, Lifted { found: false, elements: 0, covered_by: vec![net("10.9.1.0/24")] });
        assert!(lift("stockade", Some(net("10.9.1.0/24"))).unwrap().found);
        assert!(passes(&mut attacker, &witness, "10.9.1.7", PORT));
        assert!(!passes(&mut attacker, &witness, "10.9.0.2", PORT));
        assert!(lift("stockade", None).unwrap().found);
        assert!(passes(&mut attacker, &witness, "10.9.0.2", PORT));
    });
}

#[test]
fn a_new_layout_leaves_no_gap_and_nothing_behind() {
    in_namespace("a_new_layout_leaves_no_gap_and_nothing_behind", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let mut kernel = open(Layout::new([
            block("stays", "2222", "udp"),
            block("moves", "2222", "udp"),
            block("leaves", "2222", "udp"),
            block("alone", "any", "udp"),
        ]));
        let jails = ["stays", "moves", "leaves", "alone"];
        let of = |i: usize| format!("10.9.0.{}", i + 1);
        for (i, jail) in jails.iter().enumerate() {
            apply(
                &mut kernel,
                &[ban(jail, &of(i)), ban(jail, "10.9.0.99"), ban(jail, &format!("10.9.{}.0/24", i + 1))],
            );
        }
        let layout = [block("stays", "2222", "udp"), block("moves", "any", "all"), block("alone", "any", "udp")];
        kernel.relayout(now(), Layout::new(layout)).unwrap();
        for (i, jail) in jails.iter().enumerate() {
            let free = *jail == "leaves";
            assert_eq!(passes(&mut attacker, &witness, &of(i), PORT), free, "{jail}");
            assert_eq!(passes(&mut attacker, &witness, &format!("10.9.{}.7", i + 1), PORT), free, "{jail}");
        }
        assert!(!passes(&mut attacker, &witness, "10.9.0.99", PORT));
        let held = |kernel: &mut Kernel, jail, whom| kernel.verify(&JailName::new(jail), net(whom)).unwrap();
        assert_eq!(held(&mut kernel, "stays", "10.9.0.2"), Held::Missing, "who moved has left the old group");
        assert_eq!(held(&mut kernel, "stays", "10.9.0.99"), Held::Held);
        let listed = run("nft", &["list", "table", "inet", "stockade"]);
        assert!(!listed.contains("b1_ports") && !listed.contains("b1_prerouting"), "{listed}");
        assert!(kernel.is_whole().unwrap());
        kernel.relayout(now(), Layout::default()).unwrap();
        assert!(passes(&mut attacker, &witness, "10.9.0.99", PORT));
        // Where nothing blocks by it, the table itself goes.
        assert!(!run("nft", &["list", "tables"]).contains("stockade"));
    });
}

#[test]
fn established_connections_of_a_banned_address_end() {
    in_namespace("established_connections_of_a_banned_address_end", || {
        let mut attacker = Attacker::start();
        common::echo_service(8000);
        let mut kernel = open(Layout::new([block("web", "8000", "tcp"), block("other", "9000", "tcp")]));
        for (from, to) in [("10.9.0.1", TARGET4), ("2001:db8:9::1", TARGET6), ("10.9.1.1", TARGET4)] {
            let whom = if from == "10.9.1.1" { "10.9.1.0/24" } else { from };
            assert_eq!(attacker.connect(from, to, 8000), "open");
            assert_eq!(attacker.ask("talk 10000"), "alive");
            apply(&mut kernel, &[ban("other", whom)]);
            assert_eq!(kernel.end_connections().unwrap(), 0);
            assert_eq!(attacker.ask("talk 10000"), "alive", "another port");
            apply(&mut kernel, &[ban("web", whom)]);
            assert_eq!(attacker.ask("talk 400"), "silent", "packets of the standing connection are dropped");
            assert_eq!(kernel.end_connections().unwrap(), 1);
            assert_eq!(attacker.ask("talk 10000"), "ended");
            assert_eq!(kernel.end_connections().unwrap(), 0);
        }
    });
}

/// A third namespace behind ours, which forwards to it: `10.1.0.2`, with a witness on one port.
struct Behind {
    attacker: Attacker,
}

impl Behind {
    fn start() -> Behind {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let attacker = Attacker::start_named("b0", "10.1.0");
        Behind { attacker }
    }

    /// Datagrams seen on the port since the last call.
    fn seen(&mut self, port: u16, sender: &mut Attacker, control: &str) -> u64 {
        sender.datagrams("10.0.0.2", control, port, 1);
        self.attacker.ask("seen").parse().unwrap()
    }
}

#[test]
fn forwarded_and_redirected_ports_are_blocked_as_dialled_and_as_delivered() {
    in_namespace("forwarded_and_redirected_ports_are_blocked_as_dialled_and_as_delivered", || {
        let (mut attacker, mut behind) = (Attacker::start(), Behind::start());
        assert_eq!(behind.attacker.ask("listen 80"), "listening");
        let witness = Witness::listen(81);
        run(
            "iptables",
            &"-t nat -A PREROUTING -p udp --dport 8080 -j DNAT --to 10.1.0.2:80".split(' ').collect::<Vec<_>>(),
        );
        run(
            "iptables",
            &"-t nat -A PREROUTING -p udp --dport 8081 -j REDIRECT --to-ports 81".split(' ').collect::<Vec<_>>(),
        );
        let mut kernel = open(Layout::new([
            block("dialled", "8080,8081", "udp"),
            block("delivered", "80,81", "udp"),
            block("all", "any", "all"),
        ]));
        for (jail, from) in [("dialled", "10.9.0.1"), ("delivered", "10.9.0.2"), ("all", "10.9.0.3")] {
            let mut forwarded = |attacker: &mut Attacker, to: &str, port| {
                attacker.datagrams(from, to, port, 3);
                behind.seen(80, attacker, "10.1.0.2") - 1
            };
            assert_eq!(forwarded(&mut attacker, TARGET4, 8080), 3, "control");
            assert_eq!(forwarded(&mut attacker, "10.1.0.2", 80), 3, "control");
            attacker.datagrams(from, TARGET4, 8081, 3);
            assert_eq!(witness.passed(&mut attacker).len(), 1, "control");
            apply(&mut kernel, &[ban(jail, from)]);
            assert_eq!(forwarded(&mut attacker, TARGET4, 8080), 0, "{jail}: published port");
            let direct = forwarded(&mut attacker, "10.1.0.2", 80);
            assert_eq!(direct, if jail == "dialled" { 3 } else { 0 }, "{jail}: the port itself");
            attacker.datagrams(from, TARGET4, 8081, 3);
            assert_eq!(witness.passed(&mut attacker).len(), 0, "{jail}: redirected port");
        }
    });
}

#[test]
fn rejected_addresses_get_an_answer() {
    in_namespace("rejected_addresses_get_an_answer", || {
        let mut attacker = Attacker::start();
        common::echo_service(8000);
        let reject = JailBlock { verdict: Verdict::Reject, ..block("polite", "8000", "tcp") };
        let mut kernel = open(Layout::new([reject]));
        for (from, to) in [("10.9.0.1", TARGET4), ("2001:db8:9::1", TARGET6)] {
            assert_eq!(attacker.connect(from, to, 8000), "open");
            apply(&mut kernel, &[ban("polite", from)]);
            assert_eq!(attacker.connect(from, to, 8000), "refused");
        }
    });
}

/// With us dead the kernel ends a ban by itself, some seconds late; living, we do it.
#[test]
fn a_ban_is_in_the_kernel_until_its_end() {
    in_namespace("a_ban_is_in_the_kernel_until_its_end", || {
        let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
        let mut kernel = open(Layout::new([block("all", "any", "all")]));
        let jail = JailName::new("all");
        // A clock that is 4.5 seconds ahead of the end: half a second is left of the grace.
        let end = now();
        let ops: Vec<SetOp> = (1..=3000)
            .map(|i| SetOp::Ban { jail: jail.clone(), net: Net::host(common::flood_address(i)), end })
            .collect();
        assert_eq!(kernel.apply(end, &ops).failed, []);
        let whom = ops[0].net();
        assert!(!passes(&mut attacker, &witness, &whom.to_string(), PORT));
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(12);
        while kernel.verify(&jail, whom).unwrap() == Held::Held {
            assert!(std::time::Instant::now() < limit, "the kernel did not end the ban");
            std::thread::yield_now();
        }
        assert!(passes(&mut attacker, &witness, &whom.to_string(), PORT));
        // What has expired silently can be unbanned, banned and prolonged as if nothing had happened.
        let again: Vec<SetOp> = ops
            .iter()
            .enumerate()
            .map(|(i, op)| match i % 3 {
                0 => SetOp::Unban { jail: jail.clone(), net: op.net() },
                _ => SetOp::Ban { jail: jail.clone(), net: op.net(), end: now() + HOUR },
            })
            .collect();
        assert_eq!(kernel.apply(now(), &again).failed, []);
        for (i, op) in again.iter().enumerate() {
            assert_eq!(kernel.verify(&jail, op.net()).unwrap() == Held::Held, i % 3 != 0, "{i}");
        }
        // Ends far away and for ever.
        let far = [Timestamp::MAX, Timestamp::from_secs(i64::from(u32::MAX) - 1), Timestamp::from_secs(i64::MAX)];
        for (i, end) in far.into_iter().enumerate() {
            let net = net(&format!("10.9.200.{i}"));
            assert_eq!(kernel.apply(now(), &[SetOp::Ban { jail: jail.clone(), net, end }]).failed, []);
            assert_eq!(kernel.verify(&jail, net).unwrap(), Held::Held);
        }
        let listed = run("nft", &["list", "set", "inet", "stockade", "b1_g0_all_v4"]);
        let forever = listed.split(',').filter(|e| e.contains("10.9.200.") && !e.contains("timeout")).count();
        assert_eq!(forever, 2, "{listed}");
    });
}

#[test]
fn two_thousand_attackers_at_once_are_banned_at_once() {
    in_namespace("two_thousand_attackers_at_once_are_banned_at_once", || {
        let mut kernel = open(Layout::new([block("sshd", "ssh", "tcp"), block("all", "any", "all")]));
        let ops: Vec<SetOp> = (0..2000)
            .map(|i| SetOp::Ban {
                jail: JailName::new(if i % 2 == 0 { "sshd" } else { "all" }),
                net: Net::host(common::flood_address(i)),
                end: now() + HOUR,
            })
            .collect();
        let start = std::time::Instant::now();
        assert_eq!(kernel.apply(now(), &ops).failed, []);
        let took = start.elapsed();
        assert!(took < std::time::Duration::from_millis(200), "{took:?}");
        for op in &ops {
            assert_eq!(kernel.verify(op.jail(), op.net()).unwrap(), Held::Held);
        }
    });
}
