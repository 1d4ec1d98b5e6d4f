//! Rules that can't match on this machine, as its tables stand now. Looks only.
//!
//! A missing table, set or chain; rules that accept a packet before ours see it;
//! ports that are sent on to a container, and so never come to the chain where
//! ours stand, or come there under another number.

use super::findings::{Add, Finding, findings, gather};
use super::owner::StockAction;
use super::plan::{ChainSpec, ChainWay, Jump, NftWay, SetWay, Tool, Way};
use crate::command::run;
use crate::ports::Services;

/// Which families have bans that must stand in the kernel now. One without may
/// never have been started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// Bans of IPv4.
    pub inet4: bool,
    /// Bans of IPv6.
    pub inet6: bool,
}

/// What is wrong with an action, with this machine's tables around it.
pub fn findings_here(action: &StockAction, bans: Families) -> Vec<Finding> {
    let mut all = findings(action);
    let here = gather(action.jail.as_str(), &action.name, |add| {
        let services = Services::load();
        for (way, has_bans) in [(&action.plan.inet4, bans.inet4), (&action.plan.inet6, bans.inet6)] {
            match way {
                Way::Nft(way) => nft(way, has_bans, &services, add),
                Way::Chain(ChainWay { tool, jumps, .. }) | Way::Set(SetWay { tool, jumps, .. }) => {
                    tables(tool, jumps, has_bans, &services, add);
                }
            }
        }
    });
    all.extend(here);
    all
}

const PUT_BACK: &str = "somebody removed it; the daemon puts it back, or see its log for why it can't";

fn nft(way: &NftWay, has_bans: bool, services: &Services, add: &mut Add<'_>) {
    let NftWay { table, chain, set, chain_spec, rules, .. } = way;
    for rule in rules {
        published(&Match::of(rule, services), place_of(chain_spec), &format!("chain {chain}"), services, add);
    }
    if !has_bans {
        return;
    }
    let listed = run("nft", &["list", "chain", &table.family, &table.name, chain], "").unwrap_or_default();
    if listed.is_empty() {
        let what = format!("table {} {} or its chain {chain} is missing: nothing is blocked", table.family, table.name);
        add(what, PUT_BACK, true);
        return;
    }
    let ours = format!("@{set}");
    let Some((at, rule)) = listed.lines().enumerate().find(|(_, line)| line.split(' ').any(|word| word == ours)) else {
        add(format!("no rule of chain {chain} looks into set {set}"), PUT_BACK, true);
        return;
    };
    // Within one chain an accept ends the chain before ours; one of another chain ends only that.
    let ours = Match::of(rule, services);
    let accepts = |line: &&str| {
        let any_source = !line.contains("saddr") && !line.contains("iif") && !line.contains("policy");
        line.trim_end().ends_with("accept") && any_source && Match::of(line, services).meets(&ours)
    };
    if let Some(line) = listed.lines().take(at).find(accepts) {
        let what = format!("'{}' in chain {chain} accepts packets before set {set} is looked into", line.trim());
        add(what, "put that rule behind ours, or into a chain of another priority", true);
    }
}

fn tables(tool: &Tool, jumps: &[Jump], has_bans: bool, services: &Services, add: &mut Add<'_>) {
    for jump in jumps {
        let place = if jump.from == "INPUT" { Place::OwnServices } else { Place::AfterDnat };
        let ports = Match::of(&jump.rule.join(" "), services);
        published(&ports, place, &format!("chain {}", jump.from), services, add);
    }
    if !has_bans {
        return;
    }
    let Ok(saved) = run(&format!("{}-save", tool.program), &["-t", "filter"], "") else { return };
    for jump in jumps {
        let head = format!("-A {} ", jump.from);
        let target: Vec<&str> = jump.rule.iter().rev().take(2).rev().map(String::as_str).collect();
        let target = target.join(" ");
        let lines: Vec<&str> = saved.lines().filter(|line| line.starts_with(&head)).collect();
        let Some((at, ours)) = lines.iter().enumerate().find(|(_, line)| leads_to(line, jump, &target)) else {
            let what = format!("no rule of chain {} of {} leads to the bans", jump.from, tool.program);
            add(what, PUT_BACK, true);
            continue;
        };
        let ours = Match::of(ours, services);
        let accepts = |line: &&&str| {
            let any_source = !line.contains(" -s ") && !line.contains(" -i ") && !line.contains("--match-set");
            line.ends_with("-j ACCEPT") && any_source && Match::of(line, services).meets(&ours)
        };
        for line in lines.iter().take(at).filter(accepts) {
            let help = "put that rule behind ours: remove it and add it again with -A";
            if line.contains("ESTABLISHED") && !line.contains("NEW") {
                let what = format!("'{line}' stands before the bans: open connections of a banned address go on");
                add(what, help, false);
            } else {
                add(format!("'{line}' accepts packets before the bans are looked at"), help, true);
            }
        }
    }
}

/// Is it the line of `iptables-save` that the jump made?
fn leads_to(line: &str, jump: &Jump, target: &str) -> bool {
    match jump.rule.iter().position(|word| word == "--match-set").and_then(|at| jump.rule.get(at.checked_add(1)?)) {
        Some(set) => line.contains(&format!("--match-set {set} ")),
        None => line.ends_with(target),
    }
}

/// Where a rule stands, as far as ports that are sent on are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before they are sent on: it sees all packets as they were dialled.
    AsDialled,
    /// Behind: it never sees those.
    OwnServices,
    /// On the way to where they are sent: it sees them under their new number.
    AfterDnat,
}

fn place_of(spec: &ChainSpec) -> Place {
    let first = spec.priority.split(' ').next().unwrap_or_default();
    let early = ["raw", "mangle"].contains(&first) || first.parse::<i32>().is_ok_and(|number| number < DNAT);
    match spec.hook.as_str() {
        "input" => Place::OwnServices,
        "prerouting" if early => Place::AsDialled,
        _ => Place::AfterDnat,
    }
}

/// The priority at which destinations are changed.
const DNAT: i32 = -100;

/// Tells of ports that never come to a rule, or under another number.
fn published(ours: &Match, place: Place, chain: &str, services: &Services, add: &mut Add<'_>) {
    if place == Place::AsDialled {
        return;
    }
    for Sent { dialled, to, port } in sent_on(services) {
        let Some((low, _)) = dialled.ports.first().copied().filter(|_| dialled.meets(ours)) else { continue };
        if place == Place::OwnServices {
            add(
                format!("port {low} is sent on to {to}: its packets never come to {chain}"),
                "use the chain where they pass: chain = DOCKER-USER or FORWARD, with the port they have there, \
                 or the action `stockade`, which sees ports as they were dialled",
                !ours.ports.is_empty(),
            );
        } else if let Some(port) = port.filter(|port| !ours.ports.is_empty() && !ours.covers(*port)) {
            add(
                format!("port {low} comes to {chain} as port {port}, on its way to {to}: the rule there never matches"),
                &format!("set port = {port}, or use the action `stockade`, which sees ports as they were dialled"),
                true,
            );
        }
    }
}

/// A port that is sent on to a container or another host.
struct Sent {
    dialled: Match,
    to: String,
    /// The port that it has from there on; `None` is the same.
    port: Option<u16>,
}

/// All that this machine sends on.
fn sent_on(services: &Services) -> Vec<Sent> {
    let mut all = Vec::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let saved = run(program, &["-t", "nat"], "").unwrap_or_default();
        for line in saved.lines().filter(|line| line.starts_with("-A ") && line.contains("-j DNAT")) {
            if let Some(to) = word_behind(line, "--to-destination") {
                all.push(sent(line, to, services));
            }
        }
    }
    // Terse: what stands in sets may be much.
    let ruleset = run("nft", &["--terse", "list", "ruleset"], "").unwrap_or_default();
    for line in ruleset.lines().filter(|line| line.contains("dport") && line.contains("dnat")) {
        if let Some(to) = word_behind(line, "to").filter(|to| !all.iter().any(|known| known.to == **to)) {
            all.push(sent(line, to, services));
        }
    }
    all
}

fn sent(line: &str, to: &str, services: &Services) -> Sent {
    let port = match to.rsplit_once(':') {
        // An address of IPv6 with a port stands in brackets.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => port.parse().ok(),
        _ => None,
    };
    Sent { dialled: Match::of(line, services), to: to.to_owned(), port }
}

fn word_behind<'l>(line: &'l str, option: &str) -> Option<&'l str> {
    line.split_whitespace().skip_while(|word| *word != option).nth(1)
}

/// Which packets a rule looks at, as far as its protocol and ports say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Match {
    /// `tcp` or `udp`; `None` is any.
    protocol: Option<u8>,
    /// Inclusive ranges; empty is any.
    ports: Vec<(u16, u16)>,
}

impl Match {
    /// Of a rule as `iptables-save` or `nft list` write it, or as an action has it.
    fn of(rule: &str, services: &Services) -> Match {
        let words: Vec<&str> = rule
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | '"'))
            .filter(|w| !w.is_empty())
            .collect();
        let number = |word: &str| match word {
            "tcp" | "6" => Some(6),
            "udp" | "17" => Some(17),
            _ => None,
        };
        let is_ports = |word: &&str| ["--dport", "--dports", "dport"].contains(word);
        let at = words.iter().position(is_ports);
        let behind =
            |option: &str| words.iter().position(|w| *w == option).and_then(|at| words.get(at.checked_add(1)?));
        let before = at
            .and_then(|at| words.get(at.checked_sub(1)?))
            .filter(|_| rule.contains(" dport ") || rule.starts_with("dport"));
        let protocol = behind("-p").or(before).and_then(|word| number(word));
        let protocols = protocol.map_or_else(|| vec![6, 17], |one| vec![one]);
        let port = |word: &str| word.parse().ok().or_else(|| services.port(word, &protocols));
        let range = |word: &&str| match word.split_once([':', '-']) {
            Some((low, high)) if low.starts_with(|c: char| c.is_ascii_digit()) => {
                Some((low.parse().ok()?, high.parse().ok()?))
            }
            _ => port(word).map(|port| (port, port)),
        };
        let behind = at.and_then(|at| words.get(at.checked_add(1)?..)).unwrap_or_default();
        Match { protocol, ports: behind.iter().map_while(range).collect() }
    }

    /// Can one packet be meant by both?
    fn meets(&self, other: &Match) -> bool {
        let same = self.protocol.zip(other.protocol).is_none_or(|(one, another)| one == another);
        let free = self.ports.is_empty() || other.ports.is_empty();
        let overlap = |(low, high): &(u16, u16)| other.ports.iter().any(|(l, h)| low <= h && l <= high);
        same && (free || self.ports.iter().any(overlap))
    }

    fn covers(&self, port: u16) -> bool {
        self.ports.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_and_ports_of_a_rule_are_read() {
        let services = Services::embedded();
        let of = |rule: &str| {
            let Match { protocol, ports } = Match::of(rule, &services);
            (protocol, ports)
        };
        assert_eq!(
            of("-A INPUT -p tcp -m multiport --dports 80,443,8000:8010 -j f2b-web"),
            (Some(6), vec![(80, 80), (443, 443), (8000, 8010)])
        );
        assert_eq!(of("tcp dport { 22, 80-81 } ip saddr @addr-set-web reject"), (Some(6), vec![(22, 22), (80, 81)]));
        assert_eq!(of("udp dport 53 dnat to 10.0.0.1:5353"), (Some(17), vec![(53, 53)]));
        assert_eq!(of("-p tcp --dports http,https"), (Some(6), vec![(80, 80), (443, 443)]));
        assert_eq!(of("-A INPUT -m conntrack --ctstate NEW -j ACCEPT"), (None, vec![]));
    }

    #[test]
    fn rules_meet_when_one_packet_is_meant_by_both() {
        let services = Services::embedded();
        let meet = |one: &str, another: &str| Match::of(one, &services).meets(&Match::of(another, &services));
        assert!(meet("-p tcp --dport 22", "-p tcp --dports 20:25"));
        assert!(meet("-p tcp", "--dport 22"));
        assert!(!meet("-p tcp --dport 22", "-p tcp --dport 80"));
        assert!(!meet("-p udp", "-p tcp --dport 80"));
    }
}
