//! Recognised actions leave in the kernel what the original's own commands leave there.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "runs the original and the firewall's tools")]

#[path = "../common/mod.rs"]
mod common;
mod findings;
mod holding;
mod original;
mod repair;
#[path = "../../src/stock/tests/trees.rs"]
mod trees;
mod trouble;

use std::path::Path;
use std::process::Command;

use common::in_namespace;
use original::{Original, action_of, net, now, spec_of};
use stockade_core::{JailName, Span};
use stockade_enforce::stock::{Stock, StockAction};
use stockade_enforce::{Held, OnClose, SetOp};
use stockade_original::Installed;

fn jail() -> JailName {
    JailName::new("j")
}

fn ban(whom: &str) -> SetOp {
    SetOp::Ban { jail: jail(), net: net(whom), end: now() + Span::from_secs(600) }
}

fn unban(whom: &str) -> SetOp {
    SetOp::Unban { jail: jail(), net: net(whom) }
}

fn stock_with(action: &StockAction) -> Stock {
    let mut stock = Stock::new();
    assert_eq!(stock.set_actions(now(), [action.clone()], |_| Vec::new()), []);
    stock
}

#[track_caller]
fn apply(stock: &mut Stock, ops: &[SetOp]) {
    assert_eq!(stock.apply(now(), ops).failed, []);
}

/// What stands in a network namespace, ours or that of a process; without what differs from run to run.
fn standing(of: Option<u32>) -> String {
    let mut all = String::new();
    for command in ["nft list ruleset", "iptables-save", "ip6tables-save", "ipset save"] {
        let pid = of.map(|pid| pid.to_string());
        let mut words: Vec<&str> = pid.iter().flat_map(|pid| ["nsenter", "-n", "-t", pid]).collect();
        words.extend(command.split(' '));
        let output = Command::new(words.remove(0)).args(&words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<String> = text.lines().filter(|l| !l.starts_with('#')).map(plain).collect();
        if command == "ipset save" {
            lines.sort();
        }
        all += &format!("== {command}\n{}\n", lines.join("\n"));
    }
    all
}

/// Without the random seed of a set; what is left of a time depends on the moment.
fn plain(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    if let Some(at) = words.iter().position(|w| *w == "initval") {
        words.drain(at..(at + 2).min(words.len()));
    }
    let element = words.first() == Some(&"add");
    let at = words.iter().position(|w| *w == "timeout");
    if let Some(secs) = at.filter(|_| element).and_then(|at| words.get_mut(at + 1)).filter(|secs| **secs != "0") {
        *secs = "some";
    }
    words.join(" ")
}

/// The steps of a life, for both; after each the kernels hold the same.
fn same_life(version: &str, root: &Path, call: &str) {
    let spec = spec_of(root, call);
    let mut original = Original::start(root, &spec);
    common::run("nft", &["flush", "ruleset"]);
    let mut stock = stock_with(&action_of(&spec));
    let steps = [
        "start",
        "ban 192.0.2.1",
        "ban 192.0.2.2",
        "ban 2001:db8::1",
        "ban 192.0.2.77",
        "unban 192.0.2.2",
        "unban 2001:db8::1",
        "flush",
        "ban 192.0.2.9",
        "ban 2001:db8::2",
        "ban 2001:db8::3",
        "stop",
    ];
    for step in steps {
        let with_time = if step.contains("ban") { format!("{step} 600") } else { step.to_owned() };
        assert_eq!(original.tell(&with_time), "ok", "{version} {call}: {step}");
        match step.split_once(' ') {
            Some(("ban", whom)) => {
                apply(&mut stock, &[ban(whom)]);
                assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Held), "{version} {call}: {step}");
            }
            Some((_, whom)) => {
                apply(&mut stock, &[unban(whom)]);
                assert_eq!(stock.verify(&jail(), net(whom)), Ok(Held::Missing), "{version} {call}: {step}");
            }
            None if step == "flush" => stock.flush(&jail()).unwrap(),
            None if step == "stop" => std::mem::take(&mut stock).close(OnClose::Lift).unwrap(),
            None => {}
        }
        let (theirs, ours) = (standing(Some(original.pid())), standing(None));
        assert_eq!(ours, theirs, "{version} {call}: after {step}");
        if step != "stop" {
            assert_eq!(stock.check(now(), true), Ok(false), "{version} {call}: after {step}");
            assert_eq!(ours, standing(None), "{version} {call}: looking changed something after {step}");
        }
    }
}

/// The calls of each means, in a namespace of their own.
fn same_lives(test: &str, calls: &[&str]) {
    let roots = stockade_original::both(test);
    in_namespace(test, || {
        // The short form takes each call with one version, in turn; `STOCKADE_LONG` each with all.
        let long = std::env::var_os("STOCKADE_LONG").is_some();
        for (i, Installed { version, root }) in roots.iter().enumerate() {
            for (_, call) in calls.iter().enumerate().filter(|(n, _)| long || n % roots.len() == i) {
                same_life(version, root, call);
            }
        }
    });
}

#[test]
fn nftables_leaves_what_the_original_leaves() {
    let calls = [
        "nftables-multiport[name=web, port=\"http,https\", protocol=tcp]",
        "nftables[name=web, port=\"22,8000:8010\", protocol=\"tcp,udp\", blocktype=drop]",
        "nftables-allports[name=all, chain_priority=\"filter - 5\", chain_hook=prerouting]",
        "nftables[name=web, type=custom, rule_match-custom=\"tcp dport { 25 } ct state new\", table=mine, chain=c]",
        "nftables[name=web, blocktype=\"counter reject with icmpx type admin-prohibited\"]",
    ];
    same_lives("nftables_leaves_what_the_original_leaves", &calls);
}

#[test]
fn iptables_leaves_what_the_original_leaves() {
    let calls = [
        "iptables-multiport[name=web, port=\"http,https\", protocol=tcp]",
        "iptables[name=ssh, port=22, protocol=\"tcp,udp\", blocktype=DROP]",
        "iptables-allports[name=all, chain=FORWARD, returntype=ACCEPT]",
        "iptables-new[name=ssh, port=ssh, lockingopt=\"-w 5\"]",
    ];
    same_lives("iptables_leaves_what_the_original_leaves", &calls);
}

#[test]
fn ipset_leaves_what_the_original_leaves() {
    let calls = [
        "iptables-ipset-proto6[name=web, port=\"80,443\", protocol=tcp]",
        "iptables-ipset-proto6-allports[name=all, protocol=\"tcp,udp\", blocktype=DROP]",
        "iptables-ipset[name=ssh, default-ipsettime=60, ipsettime=\"<timeout-bantime>\"]",
    ];
    same_lives("ipset_leaves_what_the_original_leaves", &calls);
}
