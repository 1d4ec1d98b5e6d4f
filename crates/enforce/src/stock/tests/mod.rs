//! Stock files of the original are recognised, and nothing that does something else is.

mod mutation;
mod render;
mod trees;

use stockade_original::{Installed, both};

use super::*;

fn spec((jail, name, properties): trees::Parts) -> ActionSpec {
    ActionSpec { jail: jail.as_str().into(), name: name.as_str().into(), properties, python: None }
}

/// Ways in which operators call the stock actions that are carried out without a shell.
const CALLS: [&str; 26] = [
    "nftables[name=web]",
    "nftables[name=web, type=allports]",
    "nftables[name=web, type=multiport, port=\"http,https,8000:8010\", protocol=\"tcp,udp\"]",
    "nftables[name=web, type=custom, rule_match-custom=\"tcp dport { 25 } ct state new\"]",
    "nftables-multiport[name=web-1, port=\"25,465\", table_family=ip, table=mine, chain=c2, blocktype=drop]",
    "nftables-multiport[name=web, blocktype=\"counter reject with icmpx type admin-prohibited\", chain_hook=prerouting]",
    "nftables-multiport[name=web, chain_priority=\"filter - 5\", nftables=/usr/sbin/nft]",
    "nftables-allports[name=all]",
    "nftables-allports[name=all, protocol=\"tcp,udp\", chain_type=filter, chain_hook=forward]",
    "iptables[name=ssh]",
    "iptables[name=ssh, type=multiport, port=\"22,2222\", protocol=\"tcp,udp\"]",
    "iptables[name=ssh, type=allports, chain=DOCKER-USER]",
    "iptables-multiport[name=web, port=\"http,https\", protocol=tcp]",
    "iptables-multiport[name=web, port=\"http,https\", blocktype=DROP, returntype=ACCEPT, lockingopt=\"-w 5\"]",
    "iptables-multiport[name=web, blocktype=\"REJECT --reject-with tcp-reset\", lockingopt=]",
    "iptables-allports[name=all, chain=FORWARD, protocol=all]",
    "iptables-new[name=ssh, port=ssh]",
    "iptables-new[name=ssh, port=1:1024, protocol=\"tcp,udp\"]",
    "iptables-ipset[name=web, type=multiport, port=\"80,443\"]",
    "iptables-ipset[name=web]",
    "iptables-ipset[name=web, type=allports, ipsettime=600, default-ipsettime=60]",
    "iptables-ipset-proto6[name=web, port=\"80,443\", blocktype=DROP]",
    "iptables-ipset-proto6[name=web, ipsettime=\"<bantime>\"]",
    "iptables-ipset-proto6[name=web, ipsettime=\"<timeout-bantime>\"]",
    "iptables-ipset-proto6-allports[name=all, chain=\"INPUT\", protocol=\"tcp,udp\"]",
    "iptables-ipset-proto6-allports[name=web-2_b]",
];

fn stock(root: &std::path::Path, call: &str) -> ActionSpec {
    trees::actions(root, &[("j", call)]).into_iter().map(spec).next().unwrap()
}

#[test]
fn stock_files_of_both_versions_are_recognised() {
    for Installed { version, root } in both("stock_files_of_both_versions_are_recognised") {
        for call in CALLS {
            if let Recognised::Shell(why) = recognise(&stock(&root, call)) {
                panic!("{version} {call}: {why}");
            }
        }
    }
}

#[test]
fn what_an_operator_changed_is_a_shell_action_with_the_reason() {
    #[track_caller]
    fn check(spec: &ActionSpec, reason: &str) {
        match recognise(spec) {
            Recognised::Shell(why) => assert!(why.contains(reason), "{why}"),
            Recognised::Accelerated(plan) => panic!("{plan:?}"),
        }
    }
    for Installed { root, .. } in both("what_an_operator_changed_is_a_shell_action_with_the_reason") {
        let plain = stock(&root, "iptables-multiport[name=web]");
        let with = |name: &str, change: &dyn Fn(&str) -> String| {
            let mut spec = plain.clone();
            match spec.properties.iter_mut().find(|(n, _)| n == name) {
                Some((_, value)) => *value = change(value),
                None => spec.properties.push((name.to_owned(), change(""))),
            }
            spec
        };
        check(
            &with("actionban", &|text| format!("{text}\necho <ip> >> /etc/ip.list")),
            "actionban (inet4): a redirection",
        );
        check(&with("actionban", &|text| format!("{text}\nlogger <ip>")), "actionban (inet4): it is not what");
        check(&with("actionstart", &|text| format!("{text}\n<iptables> -A INPUT -j LOG")), "actionstart (inet4)");
        check(&with("actionunban", &|_| String::new()), "actionunban (inet4)");
        check(&with("actionprolong", &|_| "x".to_owned()), "actionprolong is set");
        check(&with("norestored", &|_| "1".to_owned()), "norestored");
        check(&with("families", &|_| "inet4".to_owned()), "families");
        check(&ActionSpec { python: Some(("smtp.py".into(), String::new())), ..plain.clone() }, "Python");
        check(&stock(&root, "nftables[name=web, addr_set=blocked]"), "both families share set blocked");
        check(&stock(&root, "nftables[name=\"a b\"]"), "actionstart (inet4)");
        check(&stock(&root, "iptables[name=x, iptables=\"iptables -t mangle\"]"), "actionstart (inet4)");
        check(&stock(&root, "route[name=web]"), "none of nft, iptables and ipset");
        check(&stock(&root, "sendmail[name=web]"), "none of nft, iptables and ipset");
        check(&stock(&root, "iptables-ipset-proto4[name=web]"), "actionstart (inet4)");
    }
}

#[test]
fn actions_that_share_a_chain_or_a_set_are_shell_actions() {
    for Installed { root, .. } in both("actions_that_share_a_chain_or_a_set_are_shell_actions") {
        let jails = [
            ("a", "iptables-multiport[name=x]"),
            ("b", "iptables-allports[name=x]"),
            ("c", "iptables-multiport[name=y]"),
            ("web", "iptables-ipset-proto6[name=web]"),
            ("web6", "iptables-ipset-proto6[name=web6]"),
            ("d", "nftables[name=x]"),
        ];
        let specs: Vec<ActionSpec> = trees::actions(&root, &jails).into_iter().map(spec).collect();
        let accelerated: Vec<&str> = specs
            .iter()
            .zip(recognise_all(&specs))
            .filter(|(_, r)| matches!(r, Recognised::Accelerated(_)))
            .map(|(s, _)| &*s.jail)
            .collect();
        assert_eq!(accelerated, ["c", "d"]);
    }
}
