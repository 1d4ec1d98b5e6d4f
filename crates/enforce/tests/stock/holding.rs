//! Bans of recognised actions hold: over restarts, changes of configuration and what others do to the tables.

use stockade_core::{JailName, Net, Timestamp};
use stockade_enforce::stock::{Stock, StockAction};
use stockade_enforce::{Held, OnClose};
use stockade_original::{Installed, newest};

use crate::common::{in_namespace, run};
use crate::original::{action_of, net, now, spec_of};
use crate::{apply, ban, jail, stock_with, unban};

const CALLS: [&str; 3] = [
    "nftables-multiport[name=web, port=\"80,443\", protocol=\"tcp,udp\"]",
    "iptables-multiport[name=web, port=\"80,443\", protocol=\"tcp,udp\"]",
    "iptables-ipset-proto6[name=web, port=\"80,443\"]",
];

const BANNED: [&str; 4] = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"];

/// Runs the body for each means, in a namespace, with the actions of the newest original.
fn for_each_means(test: &str, body: impl Fn(&dyn Fn(&str) -> StockAction, &str)) {
    let Some(Installed { root, .. }) = newest(test) else { return };
    in_namespace(test, || {
        for call in CALLS {
            run("nft", &["flush", "ruleset"]);
            run("ipset", &["flush"]);
            run("ipset", &["destroy"]);
            body(&|call| action_of(&spec_of(&root, call)), call);
        }
    });
}

/// What stands; of iptables as its own tool shows it: others show chains in the order in which they were made.
fn standing(call: &str) -> String {
    let all = crate::standing(None);
    if call.starts_with("nft") { all } else { all.split_once("== iptables-save").unwrap().1.to_owned() }
}

fn with_bans(action: &StockAction, all: &[&str]) -> Stock {
    let mut stock = stock_with(action);
    apply(&mut stock, &all.iter().map(|whom| ban(whom)).collect::<Vec<_>>());
    stock
}

/// Waits until the kernel tells of somebody else's change.
#[track_caller]
pub(crate) fn wait_for_news(stock: &mut Stock) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let events = stock.events_fd().unwrap();
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&limit)).unwrap(), 1, "nobody told us");
    assert_ne!(stock.on_readable(), []);
}

#[test]
fn what_others_remove_is_noticed_and_put_back() {
    for_each_means("holding::what_others_remove_is_noticed_and_put_back", |action, call| {
        let mut stock = with_bans(&action(call), &BANNED);
        let before = standing(call);
        assert_eq!(stock.on_readable(), [], "{call}: our own changes are news to us");
        let damages: &[&[&str]] = if call.starts_with("nft") {
            &[
                &["nft", "flush", "ruleset"],
                &["nft", "delete", "table", "inet", "f2b-table"],
                &["nft", "flush", "chain", "inet", "f2b-table", "f2b-chain"],
                &["nft", "flush", "set", "inet", "f2b-table", "addr-set-web"],
                &["nft", "delete", "element", "inet", "f2b-table", "addr6-set-web", "{ 2001:db8::1 }"],
            ]
        } else if call.contains("ipset") {
            &[&["iptables", "-F", "INPUT"], &["ip6tables", "-F"], &["sh", "-c", "ipset flush f2b-web6"]]
        } else {
            &[
                &["iptables", "-F"],
                &["ip6tables", "-F", "INPUT"],
                &["iptables", "-D", "f2b-web", "1"],
                &["sh", "-c", "printf '*filter\\nCOMMIT\\n' | iptables-restore"],
                &["sh", "-c", "iptables -F; iptables -X f2b-web"],
            ]
        };
        for damage in damages {
            run(damage.first().unwrap(), damage.get(1..).unwrap());
            assert_ne!(standing(call), before, "{damage:?} changes nothing");
            let told = !damage.concat().contains("ipset");
            if told {
                wait_for_news(&mut stock);
            }
            assert_eq!(stock.check(now(), told), Ok(true), "{damage:?}");
            assert_eq!(standing(call), before, "{damage:?}");
            for whom in BANNED {
                assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Held), "{damage:?}: {whom}");
            }
            assert_eq!(stock.on_readable(), [], "{damage:?}: our own repair is news to us");
            assert_eq!(stock.check(now(), true), Ok(false));
        }
        // The next ban after a loss that nobody told us of repairs as well, and holds.
        run("nft", &["flush", "ruleset"]);
        let applied = stock.apply(now(), &[ban("192.0.2.3")]);
        assert_eq!(applied.failed, []);
        if !call.contains("ipset") {
            assert!(applied.repaired, "{call}");
        }
        assert_eq!(stock.verify(&jail(), net("192.0.2.3")), Ok(Held::Held));
    });
}

#[test]
fn what_a_dead_process_left_can_be_lifted() {
    for_each_means("holding::what_a_dead_process_left_can_be_lifted", |action, call| {
        drop(with_bans(&action(call), &BANNED));
        let before = standing(call);
        let mut stock = Stock::new();
        assert_eq!(stock.set_actions(now(), [action(call)], |_| Vec::new()), []);
        assert_eq!(standing(call), before, "{call}: looking changed something");
        for whom in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(stock.take_over(&jail(), net(whom)), Ok(true), "{call}: {whom}");
            assert_eq!(stock.apply(now(), &[unban(whom)]).failed, []);
            assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Missing), "{call}: {whom}");
        }
        assert_eq!(stock.verify(&jail(), net("192.0.2.2")), Ok(Held::Held), "{call}");
        stock.close(OnClose::Lift).unwrap();
        for whom in BANNED {
            assert!(!standing(call).contains(whom), "{call}: {whom} is left");
        }
    });
}

#[test]
fn what_only_one_of_two_actions_holds_can_be_lifted() {
    for_each_means("holding::what_only_one_of_two_actions_holds_can_be_lifted", |action, call| {
        drop(with_bans(&action(call), &BANNED));
        let second = StockAction { name: "other".into(), ..action(&call.replace("name=web", "name=other")) };
        let mut stock = Stock::new();
        assert_eq!(stock.set_actions(now(), [action(call), second], |_| Vec::new()), []);
        assert_eq!(stock.take_over(&jail(), net("192.0.2.9")), Ok(false), "{call}");
        assert_eq!(stock.take_over(&jail(), net("192.0.2.1")), Ok(true), "{call}");
        assert_eq!(stock.apply(now(), &[unban("192.0.2.1")]).failed, []);
        assert_eq!(stock.take_over(&jail(), net("192.0.2.1")), Ok(false), "{call}");
        let left = standing(call);
        assert!(left.contains("192.0.2.2"), "{left}");
        assert!(!left.contains("-other"), "{call}: an action was started for it: {left}");
    });
}

#[test]
fn a_restart_takes_over_what_stands_and_removes_what_is_left_over() {
    for_each_means("holding::a_restart_takes_over_what_stands_and_removes_what_is_left_over", |action, call| {
        let wanted = ["192.0.2.1", "192.0.2.3", "2001:db8::2"];
        let fresh = with_bans(&action(call), &wanted);
        let expected = standing(call);
        fresh.close(OnClose::Lift).unwrap();
        // Stopped with the bans kept; while we were down some ended and some came.
        with_bans(&action(call), &BANNED).close(OnClose::Keep).unwrap();
        let mut stock = stock_with(&action(call));
        for whom in BANNED {
            let held = stock.verify(&jail(), net(whom)).unwrap();
            assert!(call.starts_with("nft") || held == Held::Held, "{call}: {whom} was let go");
        }
        apply(&mut stock, &wanted.map(ban));
        assert_eq!(stock.settle(now()), []);
        assert_eq!(standing(call), expected, "{call}");
        // Nobody is banned any more: what an earlier process left goes all the same.
        drop(stock);
        let mut stock = stock_with(&action(call));
        assert_eq!(stock.settle(now()), []);
        for whom in wanted {
            assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Missing), "{call}: {whom}");
        }
        stock.close(OnClose::Lift).unwrap();
    });
}

#[test]
fn changed_parameters_take_effect_and_the_bans_stay() {
    for_each_means("holding::changed_parameters_take_effect_and_the_bans_stay", |action, call| {
        let other = call.replace("80,443", "2222");
        let fresh = with_bans(&action(&other), &BANNED);
        let expected = standing(call);
        fresh.close(OnClose::Lift).unwrap();
        // While we live.
        let mut stock = with_bans(&action(call), &BANNED);
        assert_eq!(stock.set_actions(now(), [action(&other)], |_| Vec::new()), []);
        assert_eq!(sorted(&standing(call)), sorted(&expected), "{call}");
        assert_eq!(stock.bans(), BANNED.len());
        drop(stock);
        // And over a restart.
        let mut stock = stock_with(&action(call));
        apply(&mut stock, &BANNED.map(ban));
        assert_eq!(stock.settle(now()), []);
        drop(stock);
        let mut stock = stock_with(&action(&other));
        apply(&mut stock, &BANNED.map(ban));
        assert_eq!(stock.settle(now()), []);
        assert_eq!(sorted(&standing(call)), sorted(&expected), "{call}");
        // Bans that the jail has otherwise come along when the action is new.
        assert_eq!(stock.set_actions(now(), [], |_| Vec::new()), []);
        assert_eq!(stock.bans(), 0);
        let known = |name: &JailName| -> Vec<(Net, Timestamp)> {
            assert_eq!(*name, jail());
            BANNED.map(|whom| (net(whom), Timestamp::MAX)).to_vec()
        };
        assert_eq!(stock.set_actions(now(), [action(call)], known), []);
        for whom in BANNED {
            assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Held), "{call}: {whom}");
        }
        stock.close(OnClose::Lift).unwrap();
    });
}

/// Bans that all came at once stand in no order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn one_that_is_refused_takes_nobody_else_with_it() {
    for_each_means("holding::one_that_is_refused_takes_nobody_else_with_it", |action, call| {
        let mut stock = with_bans(&action(call), &[]);
        // The sets of the stock actions take no networks of IPv6, one of nftables none at all.
        let applied =
            stock.apply(now(), &[ban("2001:db8::7"), ban("2001:db8:1::/48"), ban("2001:db8::8"), unban("192.0.2.9")]);
        let refused: Vec<usize> = applied.failed.iter().map(|(i, _)| *i).collect();
        assert_eq!(refused, if call.starts_with("iptables-multiport") { vec![] } else { vec![1] }, "{applied:?}");
        for whom in ["2001:db8::7", "2001:db8::8"] {
            assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Held), "{call}: {whom}");
        }
        assert_eq!(stock.unsettled().count(), refused.len());
        assert_eq!(stock.retry(now()), refused.len());
        apply(&mut stock, &[unban("2001:db8:1::/48"), unban("2001:db8::7")]);
        assert_eq!(stock.unsettled().count(), 0);
        // Many at once: the chain is written anew, in the same order.
        let many: Vec<String> = (0..120).map(|n| format!("198.51.100.{n}")).collect();
        apply(&mut stock, &many.iter().map(|whom| ban(whom)).collect::<Vec<_>>());
        let gone: Vec<_> = many.iter().filter(|whom| !whom.ends_with('7')).map(|whom| unban(whom)).collect();
        apply(&mut stock, &gone);
        let left = crate::standing(None).matches("198.51.100.").count();
        assert!(if call.starts_with("iptables-multi") { left == 24 } else { left == 12 }, "{call}: {left}");
        stock.close(OnClose::Lift).unwrap();
    });
}
