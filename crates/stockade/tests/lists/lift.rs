//! The way out of a mistaken line in the operator's own list.

use rustix::process::Signal;

use crate::holds::actions;
use crate::{Guard, eventually, skipped};

/// Waits until the list's thread has looked at everybody once more: somebody else was unbanned.
fn another_round(guard: &Guard) {
    guard.says("ban --jail web 203.0.113.1");
    eventually("one more in the list", || guard.lines().contains(&"203.0.113.1".to_owned()));
    guard.says("unban 203.0.113.1");
    eventually("one less in the list", || !guard.lines().contains(&"203.0.113.1".to_owned()));
}

#[test]
fn what_is_lifted_is_not_kept_until_the_file_changes() {
    if skipped("what_is_lifted_is_not_kept_until_the_file_changes") {
        return;
    }
    let guard = Guard::start("");
    guard.keep("192.0.2.0/24\n198.51.100.7\n2001:db8::1\n");
    eventually("all banned", || guard.banned() == ["192.0.2.0/24", "198.51.100.7", "2001:db8::1"]);

    // Who is inside of a network is told of it, and lifting the network lets him in.
    let inside = guard.says("lift 192.0.2.7");
    assert!(inside.code == 1 && inside.out.contains("the network 192.0.2.0/24 is banned in web"), "{inside:?}");
    assert!(guard.says("unban 192.0.2.0/24").out.contains("keep:1: remove the line"));
    let lift = guard.says("lift 192.0.2.0/24");
    assert!(lift.code == 0 && lift.out.contains("blacklist.keep:1"), "{lift:?}");
    assert!(lift.out.contains("until that file changes"), "{lift:?}");
    another_round(&guard);
    assert_eq!(guard.banned(), ["198.51.100.7", "2001:db8::1"]);
    let status = guard.says("status web").out;
    assert!(status.contains("blacklist.keep:1: 192.0.2.0/24 is not banned: it was lifted"), "{status}");
    assert!(!guard.read("own.log").contains("had been unbanned"));

    // The others are kept as ever, and all of it once the file is another.
    guard.says_as("fail2ban-client", "unban 198.51.100.7");
    eventually("banned again", || guard.read("own.log").contains("198.51.100.7"));
    eventually("banned again", || guard.banned() == ["198.51.100.7", "2001:db8::1"]);
    guard.keep("192.0.2.0/24\n198.51.100.7\n");
    eventually("the new file counts", || guard.banned() == ["192.0.2.0/24", "198.51.100.7"]);

    // All at once: an unban says who keeps them, a lift lets them go.
    let keep = format!("{}.keep", guard.list().display());
    let unban = guard.says("unban --all");
    assert!(unban.out.contains("2 bans lifted") && unban.out.contains(&format!("2 are kept by {keep}")), "{unban:?}");
    eventually("banned again", || guard.banned() == ["192.0.2.0/24", "198.51.100.7"]);
    let lift = guard.says("lift");
    assert!(lift.code == 0 && lift.out.contains(&keep) && lift.out.contains("until that file changes"), "{lift:?}");
    another_round(&guard);
    assert_eq!(guard.banned(), [""; 0]);
    guard.says("reload");
    eventually("a reload ends it", || guard.banned() == ["192.0.2.0/24", "198.51.100.7"]);
}

#[test]
fn without_a_daemon_it_is_told_who_will_be_banned_again() {
    if skipped("without_a_daemon_it_is_told_who_will_be_banned_again") {
        return;
    }
    let mut guard = Guard::start("");
    guard.keep("198.51.100.7\n192.0.2.0/24\n");
    eventually("all banned", || guard.banned().len() == 2);
    guard.down(Signal::KILL);
    for (words, line) in [("lift 192.0.2.7", ".keep:2"), ("lift", ".keep")] {
        let said = guard.says_alone(words);
        assert!(said.out.contains(line) && said.out.contains("remove the line"), "{words}: {said:?}");
    }
    assert!(!guard.says_alone("lift 203.0.113.1").out.contains(".keep"));
}

/// fail2ban's sets and chains know no ends: a ban whose time has run out since the daemon died is still there.
#[test]
fn without_a_daemon_bans_that_ran_out_leave_the_sets_too() {
    let Some(actions) = actions("without_a_daemon_bans_that_ran_out_leave_the_sets_too") else { return };
    for action in ["nftables-multiport", "iptables-multiport"] {
        let mut guard = Guard::start_with_actions(&format!("action = {action}[name=web, port=80]\n"), Some(&actions));
        let addresses: Vec<String> = (1..=150).map(|n| format!("192.0.2.{n}")).collect();
        guard.says(&format!("ban --jail web {}", addresses.join(" ")));
        eventually("all in the kernel", || guard.inside("nft list ruleset; iptables-save").out.contains("192.0.2.150"));
        let network = guard.network();
        guard.down(Signal::KILL);
        let there = || guard.in_network(&network, "nft list ruleset; iptables-save").out.matches("192.0.2.").count();
        // From now on none of them stands, as far as the database knows.
        guard.says_alone("lift");
        assert!(there() >= 150, "{action}: {}", there());
        let lift = guard.in_network(&network, "stockade lift");
        assert!(lift.code == 0 && lift.out.contains("all bans lifted"), "{action}: {lift:?}");
        assert_eq!(there(), 0, "{action}");

        std::fs::remove_file(guard.home.join("db.sqlite3")).unwrap();
        let lift = guard.in_network(&network, "stockade lift");
        assert!(lift.code == 1 && lift.out.contains("no database tells whose bans"), "{action}: {lift:?}");
    }
}

#[test]
fn without_a_daemon_a_lift_sets_nothing_up() {
    let Some(actions) = actions("without_a_daemon_a_lift_sets_nothing_up") else { return };
    let at_once = "action = iptables-multiport[name=web, port=80, actionstart_on_demand=false]\n";
    let mut guard = Guard::start_with_actions(at_once, Some(&actions));
    let chains = |said: crate::guard::Said| said.out.matches("f2b-web").count();
    eventually("chains", || chains(guard.inside("iptables-save")) > 0);
    let network = guard.network();
    guard.down(Signal::KILL);
    guard.in_network(&network, "iptables -F; iptables -X; ip6tables -F; ip6tables -X");
    let lift = guard.in_network(&network, "stockade lift 192.0.2.1; iptables-save; ip6tables-save");
    assert!(lift.out.contains("192.0.2.1: not banned"), "{lift:?}");
    assert_eq!(chains(lift), 0);
}

#[test]
fn a_stop_tells_how_many_bans_stay_where_jails_differ() {
    if skipped("a_stop_tells_how_many_bans_stay_where_jails_differ") {
        return;
    }
    let other = "stockade.onstop = keep\n[api]\nenabled = true\nfilter =\nbantime = 1h\nstockade.onstop = lift\n";
    let mut guard = Guard::start(other);
    guard.says("ban --jail web 192.0.2.1");
    let addresses: Vec<String> = (0..5_000).map(|n| format!("198.18.{}.{}", n / 250, n % 250)).collect();
    guard.says(&format!("ban --jail api {}", addresses.join(" ")));
    eventually("all in the kernel", || guard.holds("192.0.2.1") && guard.holds("198.18.19.249"));
    let stop = guard.says("stop");
    assert!(stop.out.contains("; 5000 bans lifted from the kernel"), "{stop:?}");
    assert!(stop.out.contains("; 1 ban stays in the kernel"), "{stop:?}");
    guard.down(Signal::TERM);
}
