//! `ipset` and `iptables` where nftables is missing, against real packets.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Attacker, TARGET4, TARGET6, Witness, in_namespace, run};
use stockade_core::{FailureId, JailName, Net, Span, Timestamp};
use stockade_enforce::{
    Held, JailBlock, Kernel, Layout, Means, OnClose, Options, PortSpec, Services, SetOp, Verdict, lift,
};

const PORT: u16 = 2222;

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

fn layout(jails: &[(&str, &str, &str)]) -> Layout {
    Layout::new(jails.iter().map(|(jail, port, protocol)| JailBlock {
        jail: JailName::new(jail),
        ports: PortSpec::parse(port, protocol, &Services::embedded()).unwrap(),
        verdict: if *jail == "polite" { Verdict::Reject } else { Verdict::Drop },
    }))
}

fn ban(jail: &str, whom: &str) -> SetOp {
    SetOp::Ban { jail: JailName::new(jail), net: net(whom), end: now() + Span::from_secs(3600) }
}

fn unban(jail: &str, whom: &str) -> SetOp {
    SetOp::Unban { jail: JailName::new(jail), net: net(whom) }
}

#[track_caller]
fn passes(attacker: &mut Attacker, witness: &Witness, from: &str) -> bool {
    attacker.datagrams(from, if from.contains(':') { TARGET6 } else { TARGET4 }, PORT, 3);
    witness.passed(attacker).contains_key(&net(from).addr())
}

fn everything_works(means: Means) {
    let options = Options { means: Some(means), ..Options::default() };
    let (mut attacker, witness) = (Attacker::start(), Witness::listen(PORT));
    let jails =
        [("all", "any", "all"), ("one", "2222", "udp"), ("two", "2200-2300", "udp,tcp"), ("other", "22", "tcp")];
    let mut kernel = Kernel::open(&options).unwrap();
    assert_eq!(kernel.means().0, means);
    kernel.restore(now(), layout(&jails), []).unwrap();
    for jail in ["all", "one", "two"] {
        for (whom, from) in [
            ("10.9.0.1", "10.9.0.1"),
            ("10.9.1.0/24", "10.9.1.7"),
            ("2001:db8:9::1", "2001:db8:9::1"),
            ("2001:db8:9:0:1::/80", "2001:db8:9:0:1::7"),
        ] {
            assert!(passes(&mut attacker, &witness, from));
            assert_eq!(kernel.apply(now(), &[ban(jail, whom), ban("other", from)]).failed, []);
            assert!(!passes(&mut attacker, &witness, from), "{jail} {whom}");
            assert_eq!(kernel.verify(&JailName::new(jail), net(whom)).unwrap(), Held::Held);
            let prolonged = SetOp::Ban { jail: JailName::new(jail), net: net(whom), end: Timestamp::MAX };
            assert_eq!(kernel.apply(now(), &[prolonged]).failed, []);
            assert_eq!(kernel.apply(now(), &[unban(jail, whom), unban(jail, "10.9.77.77")]).failed, []);
            assert_eq!(kernel.verify(&JailName::new(jail), net(whom)).unwrap(), Held::Missing);
            assert!(passes(&mut attacker, &witness, from), "{jail} {whom}");
        }
    }
    let packets: Vec<u64> = kernel.counters().unwrap().iter().map(|c| c.packets).collect();
    assert_eq!(packets.iter().sum::<u64>(), 3 * 4 * 3, "{packets:?}");

    // A new layout, and a restart: what stood, stands until it is replaced.
    assert_eq!(kernel.apply(now(), &[ban("one", "10.9.0.1"), ban("two", "10.9.0.2")]).failed, []);
    kernel.relayout(now(), layout(&[("one", "2222", "udp"), ("two", "any", "all")])).unwrap();
    assert!(!passes(&mut attacker, &witness, "10.9.0.1") && !passes(&mut attacker, &witness, "10.9.0.2"));
    drop(kernel);
    let mut kernel = Kernel::open(&options).unwrap();
    let bans = [(JailName::new("one"), net("10.9.0.2"), Timestamp::MAX)];
    kernel.begin_restore(layout(&jails), bans).unwrap();
    assert!(!passes(&mut attacker, &witness, "10.9.0.1"));
    while let stockade_enforce::Progress::Left(_) = kernel.load(now()).unwrap() {}
    assert!(passes(&mut attacker, &witness, "10.9.0.1") && !passes(&mut attacker, &witness, "10.9.0.2"));
    assert!(kernel.is_whole().unwrap());

    // Somebody empties the table; the next look finds out.
    run("iptables", &["-t", "raw", "-F", "PREROUTING"]);
    assert!(!kernel.is_whole().unwrap());
    kernel.repair(now()).unwrap();
    assert!(!passes(&mut attacker, &witness, "10.9.0.2"));

    // The way out, and nothing is left behind.
    drop(kernel);
    assert_eq!(lift("stockade", Some(net("10.9.0.2"))).unwrap().elements, 1);
    assert!(passes(&mut attacker, &witness, "10.9.0.2"));
    assert!(lift("stockade", None).unwrap().found);
    let mut kernel = Kernel::open(&options).unwrap();
    kernel.restore(now(), layout(&jails), [(JailName::new("all"), net("0.0.0.0/0"), Timestamp::MAX)]).unwrap();
    kernel.close(OnClose::Lift).unwrap();
    for tool in ["iptables-save", "ip6tables-save"] {
        assert!(!run(tool, &[]).contains("stockade"));
    }
    assert!(!run("ipset", &["list", "-n"]).contains("stockade"));
}

#[test]
fn ipset_does_all_of_it() {
    in_namespace("ipset_does_all_of_it", || {
        everything_works(Means::Ipset);
        let mut attacker = Attacker::start_named("c0", "10.7.0");
        common::echo_service(8000);
        let mut kernel = Kernel::open(&Options { means: Some(Means::Ipset), ..Options::default() }).unwrap();
        kernel.restore(now(), layout(&[("polite", "8000", "tcp")]), []).unwrap();
        assert_eq!(attacker.connect("10.7.0.2", "10.7.0.1", 8000), "open");
        assert_eq!(kernel.apply(now(), &[ban("polite", "10.7.0.2")]).failed, []);
        assert_eq!(attacker.connect("10.7.0.2", "10.7.0.1", 8000), "refused");
    });
}

#[test]
fn iptables_alone_does_it_too() {
    in_namespace("iptables_alone_does_it_too", || everything_works(Means::Iptables));
}
