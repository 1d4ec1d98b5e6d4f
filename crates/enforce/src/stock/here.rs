//! Rules that can't match on this machine, as its tables stand now. Looks only.
//!
//! A missing table, set or chain; rules that accept a packet before ours see it;
//! ports that are sent on to a container, and so never come to the chain where
//! ours stand, or come there under another number. What can't be told is not told.

mod packets;
mod tables;

use packets::{Left, Packets};
pub use tables::Here;
use tables::Sent;

use super::findings::{Add, Finding, findings, gather};
use super::owner::StockAction;
use super::plan::{ChainSpec, ChainWay, Jump, NftWay, SetWay, Tool, Way};
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

impl Here {
    /// What is wrong with an action, with this machine's tables around it.
    pub fn findings(&self, action: &StockAction, bans: Families) -> Vec<Finding> {
        let mut all = findings(action);
        let here = gather(action.jail.as_str(), &action.name, |add| {
            for (way, has_bans) in [(&action.plan.inet4, bans.inet4), (&action.plan.inet6, bans.inet6)] {
                let report = match way {
                    Way::Nft(way) => self.nft(way, has_bans),
                    Way::Chain(ChainWay { tool, jumps, .. }) | Way::Set(SetWay { tool, jumps, .. }) => {
                        self.tables(tool, jumps, has_bans)
                    }
                };
                report.tell(add);
            }
        });
        all.extend(here);
        all
    }

    fn nft(&self, way: &NftWay, has_bans: bool) -> Report {
        let NftWay { table, chain, set, chain_spec, rules, .. } = way;
        let listed = if has_bans { self.chain(table, chain) } else { None };
        let look = format!("@{set}");
        let ours = |line: &str| line.split(' ').any(|word| word == look);
        let lines = listed.as_deref().unwrap_or_default();
        let mut report = Report::default();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| ours(line)) {
            report.own.push(Own::new(line, &self.services, at));
        }
        let missing = listed.is_some() && report.own.is_empty();
        if report.own.is_empty() {
            report.own = rules.iter().map(|rule| Own::new(rule, &self.services, 0)).collect();
        }
        for at in 0..report.own.len() {
            self.published(&mut report, at, place_of(chain_spec), &format!("chain {chain}"));
        }
        if missing {
            report.own.iter_mut().for_each(|own| own.left.clear());
            let name = format!("table {} {}", table.family, table.name);
            let what = match lines {
                [] => format!("{name} or its chain {chain} is missing: nothing is blocked"),
                _ => format!("no rule of chain {chain} looks into set {set}"),
            };
            report.add(what, PUT_BACK);
            return report;
        }
        // Within one chain an accept ends the chain before ours; one of another chain ends only that.
        for (at, line) in lines.iter().enumerate() {
            let words = line.split('"').next().unwrap_or_default();
            let accepts = words.split(' ').any(|word| word == "accept") && !words.contains("policy");
            if accepts && !words.contains("saddr") && !words.contains("iif") {
                let verdict = format!("'{line}' in chain {chain} accepts packets before set {set} is looked into");
                let help = "put that rule behind ours, or into a chain of another priority";
                report.accepted(0, &self.foreign(line, at), verdict, help);
            }
        }
        report
    }

    fn foreign<'l>(&self, line: &'l str, at: usize) -> Foreign<'l> {
        Foreign { line, at, packets: Packets::of(line, &self.services) }
    }

    fn tables(&self, tool: &Tool, jumps: &[Jump], has_bans: bool) -> Report {
        let mut report = Report::default();
        let saved = if has_bans { self.saved(&format!("{}-save", tool.program), "filter") } else { None };
        for jump in jumps {
            let head = format!("-A {} ", jump.from);
            let lines: Vec<&str> =
                saved.as_deref().unwrap_or_default().lines().filter(|line| line.starts_with(&head)).collect();
            let ours = lines.iter().position(|line| leads_to(line, jump));
            let own = match ours.and_then(|at| Some((at, lines.get(at)?))) {
                Some((at, line)) => Own::new(line, &self.services, at),
                None => Own::new(&jump.rule.join(" "), &self.services, 0),
            };
            let index = report.own.len();
            report.own.push(own);
            let place = if jump.from == "INPUT" { Place::OwnServices } else { Place::AfterDnat };
            self.published(&mut report, index, place, &format!("chain {}", jump.from));
            if saved.is_some() && ours.is_none() {
                report.own.iter_mut().skip(index).for_each(|own| own.left.clear());
                let what = format!("no rule of chain {} of {} leads to the bans", jump.from, tool.program);
                report.add(what, PUT_BACK);
            }
            for (at, line) in lines.iter().enumerate() {
                let any_source = !line.contains(" -s ") && !line.contains(" -i ") && !line.contains("--match-set");
                if line.ends_with("-j ACCEPT") && any_source {
                    let verdict = format!("'{line}' accepts packets before the bans are looked at");
                    let help = "put that rule behind ours: remove it and add it again with -A";
                    report.accepted(index, &self.foreign(line, at), verdict, help);
                }
            }
        }
        report
    }

    /// Tells of ports that never come to a rule of ours, or under another number.
    fn published(&self, report: &mut Report, at: usize, place: Place, chain: &str) {
        let Some(own) = report.own.get_mut(at).filter(|_| place != Place::AsDialled) else { return };
        let ours = own.packets.clone();
        for Sent { dialled, to, port, of_some } in self.sent_on() {
            let Some((low, _)) = dialled.ports.first().copied().filter(|_| dialled.meets(&ours)) else { continue };
            let (what, help) = if place == Place::OwnServices {
                (
                    format!("port {low} is sent on to {to}: its packets never come to {chain}"),
                    "use the chain where they pass: chain = DOCKER-USER or FORWARD, with the port they have there, \
                     or the action `stockade`, which sees ports as they were dialled"
                        .to_owned(),
                )
            } else if let Some(port) = port.filter(|port| !ours.covers(*port)) {
                (
                    format!(
                        "port {low} comes to {chain} as port {port}, on its way to {to}: the rule there passes it over"
                    ),
                    format!("set port = {port}, or use the action `stockade`, which sees ports as they were dialled"),
                )
            } else {
                continue;
            };
            if let Some(own) = report.own.get_mut(at).filter(|_| !of_some) {
                own.left.without(dialled);
            }
            report.add(what, &help);
        }
    }
}

/// A rule of ours.
#[derive(Debug)]
struct Own {
    packets: Packets,
    /// What comes to it.
    left: Left,
    /// Where it stands in its chain.
    at: usize,
}

impl Own {
    fn new(rule: &str, services: &Services, at: usize) -> Own {
        let packets = Packets::of(rule, services);
        Own { left: Left::all_of(&packets), packets, at }
    }
}

/// A rule of others, and its place in its chain.
#[derive(Debug)]
struct Foreign<'l> {
    line: &'l str,
    at: usize,
    packets: Packets,
}

/// What was found about one family of an action.
#[derive(Debug, Default)]
struct Report {
    own: Vec<Own>,
    /// What is wrong, what to do, and whether packets are lost to our rules by it.
    found: Vec<(String, String, bool)>,
}

impl Report {
    fn add(&mut self, what: String, help: &str) {
        self.found.push((what, help.to_owned(), true));
    }

    /// A rule of others accepts packets; ours from the index `first` on stand in its chain.
    fn accepted(&mut self, first: usize, foreign: &Foreign<'_>, verdict: String, help: &str) {
        let Foreign { line, at, packets } = foreign;
        let meant = |own: &&mut Own| *at < own.at && packets.meets(&own.packets);
        let mut concerned = self.own.iter_mut().skip(first).filter(meant).peekable();
        if concerned.peek().is_none() {
            return;
        }
        if packets.open_only {
            let what = format!("'{line}' stands before the bans: open connections of a banned address go on");
            self.found.push((what, help.to_owned(), false));
            return;
        }
        concerned.filter(|_| !packets.narrowed).for_each(|own| own.left.without(packets));
        self.add(verdict, help);
    }

    /// Nothing is blocked only if no packet is left for any of the rules.
    fn tell(self, add: &mut Add<'_>) {
        let nothing = self.own.iter().all(|own| own.left.is_empty());
        for (what, help, takes) in self.found {
            add(what, &help, takes && nothing);
        }
    }
}

const PUT_BACK: &str = "somebody removed it; the daemon puts it back, or see its log for why it can't";

/// Is it the line of `iptables-save` that the jump made?
fn leads_to(line: &str, jump: &Jump) -> bool {
    match jump.rule.iter().position(|word| word == "--match-set").and_then(|at| jump.rule.get(at.checked_add(1)?)) {
        Some(set) => line.contains(&format!("--match-set {set} ")),
        None => {
            let target: Vec<&str> = jump.rule.iter().rev().take(2).rev().map(String::as_str).collect();
            line.ends_with(&target.join(" "))
        }
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

#[cfg(test)]
mod tests;
