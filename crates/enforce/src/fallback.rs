//! Where the kernel has no nftables: `ipset` with `iptables`, or `iptables` alone.
//!
//! The same picture as with nftables: a build has a number, stands beside the
//! former one and replaces it. With sets, rules stand in `raw` PREROUTING (ports
//! as dialled) and, for ports and refusals, in `filter` INPUT and FORWARD (ports
//! after redirection). Without sets each ban is a rule in `raw`; refusals become
//! silence there and a ban ends only when we end it.

use std::collections::HashSet;

use stockade_core::Net;

use crate::change::{Change, ElementOp};
use crate::command::run;
use crate::error::Error;
use crate::layout::{GroupKey, Layout, Verdict};
use crate::ports::PortSpec;

/// `ipset` takes no longer time-outs; longer bans never end by themselves.
const TIMEOUT_SECS_MAX: u64 = 2_147_483;
/// A set takes this many elements; it does not cost memory before.
const ELEMENTS_MAX: u32 = 1 << 22;
/// Names of chains are at most 28 bytes; this leaves room for numbers.
const PREFIX_BYTES_MAX: usize = 15;
/// The `multiport` match takes 15 ports; a range counts as two.
const MULTIPORT_MAX: usize = 15;
/// Seconds to wait for others who change the rules.
const LOCK_SECS: &str = "10";

/// The tools of one address family.
#[derive(Clone, Debug)]
struct Family {
    ipv4: bool,
    /// `iptables` or `iptables-legacy`, and so on.
    program: String,
}

#[derive(Clone, Debug)]
struct Group {
    /// `stockade-1-0`: name of its chain, or beginning of the names of its sets.
    name: String,
    key: GroupKey,
}

/// Enforcement through the tools.
#[derive(Debug)]
pub(crate) struct Fallback {
    prefix: String,
    with_sets: bool,
    families: Vec<Family>,
    build: u32,
    groups: Vec<Group>,
    /// Without sets: the rules that stand, so that none stands twice.
    standing: HashSet<(String, Net)>,
}

impl Fallback {
    /// Tries the tools; changes nothing.
    ///
    /// # Errors
    ///
    /// Which tool is missing or does not work, in its own words.
    pub(crate) fn open(table: &str, with_sets: bool) -> Result<Self, Error> {
        let prefix: String = table.chars().filter(char::is_ascii_alphanumeric).take(PREFIX_BYTES_MAX).collect();
        let ipv4 = find("iptables")?;
        let mut families = vec![Family { ipv4: true, program: ipv4 }];
        // A machine without IPv6 has nothing to block there.
        families.extend(find("ip6tables").ok().map(|program| Family { ipv4: false, program }));
        let mut fallback =
            Fallback { prefix, with_sets, families, build: 0, groups: Vec::new(), standing: HashSet::new() };
        let mut names: Vec<String> = fallback.chains("raw")?.into_iter().map(|(name, _)| name).collect();
        if with_sets {
            names.extend(fallback.sets()?);
        }
        fallback.build = names.iter().filter_map(|n| fallback.build_number(n)).max().unwrap_or(0);
        Ok(fallback)
    }

    /// Are bans elements of sets?
    pub(crate) fn has_sets(&self) -> bool {
        self.with_sets
    }

    /// What is blocked less well than with nftables, in words.
    pub(crate) fn limits(&self) -> &'static str {
        match (self.with_sets, self.families.len()) {
            (true, 2) => "",
            (true, _) => "; no ip6tables: IPv6 is not blocked",
            (false, 2) => "; slow with many bans, which end only while we live",
            (false, _) => "; slow with many bans, which end only while we live; no ip6tables: IPv6 is not blocked",
        }
    }

    fn build_number(&self, name: &str) -> Option<u32> {
        name.strip_prefix(&self.prefix)?.strip_prefix('-')?.split('-').next()?.parse().ok()
    }

    /// See [`crate::nft::Nft::build`].
    pub(crate) fn build(&mut self, layout: &Layout, reuse: &[Option<usize>]) -> Result<(), Error> {
        let build = self.build.wrapping_add(1);
        let main = format!("{}-{build}", self.prefix);
        let mut groups = Vec::new();
        let mut sets = String::new();
        let mut chains = Vec::new();
        for (i, key) in layout.groups().iter().enumerate() {
            let old = reuse.get(i).copied().flatten().and_then(|old| self.groups.get(old));
            let group = old.cloned().unwrap_or_else(|| Group { name: format!("{main}-{i}"), key: key.clone() });
            if old.is_none() && self.with_sets {
                for family in &self.families {
                    let inet = if family.ipv4 { "inet" } else { "inet6" };
                    for kind in ["ip", "net"] {
                        let name = set_name(&group.name, family.ipv4, kind == "ip");
                        line(
                            &mut sets,
                            &format!("create {name} hash:{kind} family {inet} timeout 0 maxelem {ELEMENTS_MAX}"),
                        );
                    }
                }
            } else if old.is_none() {
                chains.push(group.name.clone());
                chains.push(refusing(&group.name));
            }
            groups.push(group);
        }
        if !sets.is_empty() {
            run("ipset", &["-exist", "restore"], &sets)?;
        }
        for family in &self.families {
            restore(family, &self.rules(family, &main, &groups, &chains))?;
        }
        self.build = build;
        self.groups = groups;
        Ok(())
    }

    /// The text for `iptables-restore` that makes a build and puts it in force.
    fn rules(&self, family: &Family, main: &str, groups: &[Group], chains: &[String]) -> String {
        let mut raw = format!("*raw\n:{main} - [0:0]\n");
        let mut filter = format!("*filter\n:{main} - [0:0]\n");
        for chain in chains {
            line(&mut raw, &format!(":{chain} - [0:0]"));
        }
        for chain in chains.iter().filter(|c| c.ends_with(REFUSING)) {
            line(&mut raw, &format!("-A {chain} -j DROP"));
        }
        for group in groups {
            for matched in port_matches(&group.key.ports) {
                if !self.with_sets {
                    line(&mut raw, &format!("-A {main} {matched}-j {}", group.name));
                    continue;
                }
                for hosts in [true, false] {
                    let set = set_name(&group.name, family.ipv4, hosts);
                    let rule = format!("-A {main} {matched}-m set --match-set {set} src -j");
                    if group.key.verdict == Verdict::Drop {
                        line(&mut raw, &format!("{rule} DROP"));
                    }
                    if group.key.verdict == Verdict::Reject {
                        line(&mut filter, &format!("{rule} REJECT"));
                    } else if !group.key.ports.is_all() {
                        line(&mut filter, &format!("{rule} DROP"));
                    }
                }
            }
        }
        line(&mut raw, &format!("-I PREROUTING 1 ! -i lo -j {main}\nCOMMIT"));
        if !self.with_sets {
            return raw;
        }
        line(&mut filter, &format!("-I INPUT 1 ! -i lo -j {main}\n-I FORWARD 1 -j {main}\nCOMMIT"));
        raw + &filter
    }

    /// See [`crate::nft::Nft::retire`].
    pub(crate) fn retire(&mut self) -> Result<(), Error> {
        let main = format!("{}-{}", self.prefix, self.build);
        let mut kept: Vec<String> = self.groups.iter().flat_map(|g| [g.name.clone(), refusing(&g.name)]).collect();
        kept.push(main);
        self.remove_except(&kept)
    }

    /// Removes everything of ours.
    pub(crate) fn delete(&mut self) -> Result<(), Error> {
        self.groups.clear();
        self.remove_except(&[])
    }

    fn remove_except(&mut self, kept: &[String]) -> Result<(), Error> {
        for family in self.families.clone() {
            for table in ["raw", "filter"] {
                let saved = save(&family, table)?;
                let stale: Vec<&str> =
                    saved.lines().filter_map(|l| self.own_chain(l)).filter(|c| kept.iter().all(|k| k != c)).collect();
                if stale.is_empty() {
                    continue;
                }
                let mut text = format!("*{table}\n");
                for jump in saved.lines().filter(|l| l.starts_with("-A ")) {
                    let to = jump.rsplit(' ').next().unwrap_or("");
                    let from = jump.split(' ').nth(1).unwrap_or("");
                    if stale.contains(&to) && !stale.contains(&from) {
                        line(&mut text, &jump.replacen("-A ", "-D ", 1));
                    }
                }
                stale.iter().for_each(|chain| line(&mut text, &format!("-F {chain}")));
                stale.iter().for_each(|chain| line(&mut text, &format!("-X {chain}")));
                restore(&family, &(text + "COMMIT\n"))?;
            }
        }
        self.standing.retain(|(chain, _)| kept.contains(chain));
        if self.with_sets {
            let stale = self.sets()?;
            let kept = |set: &String| kept.iter().any(|k| set.starts_with(k) && set.len() == k.len().saturating_add(3));
            let text: String = stale.iter().filter(|s| !kept(s)).map(|s| format!("destroy {s}\n")).collect();
            if !text.is_empty() {
                run("ipset", &["restore"], &text)?;
            }
        }
        Ok(())
    }

    /// The name in a line `:name - [0:0]` of `iptables-save`, if it is ours.
    fn own_chain<'l>(&self, line: &'l str) -> Option<&'l str> {
        let name = line.strip_prefix(':')?.split(' ').next()?;
        self.build_number(name).map(|_| name)
    }

    /// Our chains in a table, with the lines that `iptables-save -c` shows of them.
    fn chains(&self, table: &str) -> Result<Vec<(String, Vec<String>)>, Error> {
        let mut all = Vec::new();
        for family in &self.families {
            let saved = run(&format!("{}-save", family.program), &["-c", "-t", table], "")?;
            for chain in saved.lines().filter_map(|l| self.own_chain(l)) {
                let own = |l: &&str| l.split("-A ").nth(1).and_then(|r| r.split(' ').next()) == Some(chain);
                all.push((chain.to_owned(), saved.lines().filter(own).map(str::to_owned).collect()));
            }
        }
        Ok(all)
    }

    fn sets(&self) -> Result<Vec<String>, Error> {
        let listed = run("ipset", &["list", "-n"], "")?;
        Ok(listed.lines().filter(|n| self.build_number(n).is_some()).map(str::to_owned).collect())
    }

    /// See [`crate::nft::Nft::change`].
    pub(crate) fn change(&mut self, ops: &[ElementOp]) -> Vec<(usize, Error)> {
        let all: Vec<usize> =
            (0..ops.len()).filter(|i| ops.get(*i).is_some_and(|op| self.has_family(op.net))).collect();
        let mut failed = Vec::new();
        let mut parts = vec![all];
        while let Some(part) = parts.pop() {
            let Err(error) = self.try_change(ops, &part) else { continue };
            match part.as_slice() {
                [] => {}
                [only] => failed.push((*only, error)),
                several => {
                    let (left, right) = several.split_at(several.len() / 2);
                    parts.push(left.to_vec());
                    parts.push(right.to_vec());
                }
            }
        }
        failed
    }

    fn has_family(&self, net: Net) -> bool {
        self.families.iter().any(|f| f.ipv4 == net.is_ipv4())
    }

    fn try_change(&mut self, ops: &[ElementOp], part: &[usize]) -> Result<(), Error> {
        let chosen: Vec<&ElementOp> = part.iter().filter_map(|i| ops.get(*i)).collect();
        let name = |op: &ElementOp| self.groups.get(op.group).map(|g| g.name.clone()).unwrap_or_default();
        if self.with_sets {
            let mut text = String::new();
            for op in &chosen {
                let set = set_name(&name(op), op.net.is_ipv4(), op.net.is_host());
                for net in halves(op.net) {
                    let words = match op.change {
                        Change::Remove => format!("del {set} {net}"),
                        Change::Add(millis) | Change::Replace(millis) => {
                            format!("add {set} {net} timeout {}", seconds(millis))
                        }
                    };
                    line(&mut text, &words);
                }
            }
            return run("ipset", &["-exist", "restore"], &text).map(drop);
        }
        for family in self.families.clone() {
            let mut text = String::from("*raw\n");
            let mut after: Vec<((String, Net), bool)> = Vec::new();
            for op in chosen.iter().filter(|op| op.net.is_ipv4() == family.ipv4) {
                let key = (name(op), op.net);
                let stands = self.standing.contains(&key) || after.iter().any(|(k, there)| *k == key && *there);
                let wanted = op.change != Change::Remove;
                if stands != wanted {
                    let verb = if wanted { "-A" } else { "-D" };
                    line(&mut text, &format!("{verb} {} -s {} -j {}", key.0, op.net, refusing(&key.0)));
                    after.push((key, wanted));
                }
            }
            if !after.is_empty() {
                restore(&family, &(text + "COMMIT\n"))?;
                for (key, there) in after {
                    if there {
                        self.standing.insert(key)
                    } else {
                        self.standing.remove(&key)
                    };
                }
            }
        }
        Ok(())
    }

    /// See [`crate::nft::Nft::holds`].
    pub(crate) fn holds(&mut self, group: usize, net: Net) -> bool {
        let Some(name) = self.groups.get(group).map(|g| g.name.clone()) else { return false };
        if self.with_sets {
            let set = set_name(&name, net.is_ipv4(), net.is_host());
            return halves(net).iter().all(|part| run("ipset", &["test", &set, part], "").is_ok());
        }
        let family = self.families.iter().find(|f| f.ipv4 == net.is_ipv4());
        family.is_some_and(|f| {
            run(
                &f.program,
                &["-w", LOCK_SECS, "-t", "raw", "-C", &name, "-s", &net.to_string(), "-j", &refusing(&name)],
                "",
            )
            .is_ok()
        })
    }

    /// See [`crate::nft::Nft::is_whole`].
    pub(crate) fn is_whole(&mut self) -> Result<bool, Error> {
        let main = format!("{}-{}", self.prefix, self.build);
        for family in &self.families {
            if !save(family, "raw")?
                .lines()
                .any(|l| l.starts_with("-A PREROUTING ") && l.ends_with(&format!(" {main}")))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Packets and bytes that each group refused, by index.
    pub(crate) fn counters(&mut self) -> Result<Vec<(u64, u64)>, Error> {
        let mut lines: Vec<(String, Vec<String>)> = self.chains("raw")?;
        if self.with_sets {
            lines.extend(self.chains("filter")?);
        }
        let of = |group: &Group| {
            let ours = lines.iter().flat_map(|(chain, lines)| lines.iter().map(move |line| (chain, line)));
            let refusing = ours.filter(|(chain, line)| {
                let by_set = line.contains(&format!(" {}-", group.name));
                if self.with_sets { by_set } else { **chain == refusing(&group.name) }
            });
            refusing
                .filter_map(|(_, line)| counts(line))
                .fold((0u64, 0u64), |(packets, bytes), (p, b)| (packets.saturating_add(p), bytes.saturating_add(b)))
        };
        Ok(self.groups.iter().map(of).collect())
    }

    /// Removes one host or network from all of our sets and chains, whoever made them; returns from how many.
    pub(crate) fn lift(&mut self, net: Net) -> Result<usize, Error> {
        let mut lifted = 0usize;
        if self.with_sets {
            let ending = set_name("", net.is_ipv4(), net.is_host());
            for set in self.sets()?.iter().filter(|s| s.ends_with(&ending)) {
                for part in halves(net) {
                    if run("ipset", &["test", set, &part], "").is_ok() {
                        run("ipset", &["-exist", "del", set, &part], "")?;
                        lifted = lifted.saturating_add(1);
                    }
                }
            }
            return Ok(lifted);
        }
        for (chain, _) in self.chains("raw")? {
            for family in self.families.iter().filter(|f| f.ipv4 == net.is_ipv4()) {
                let rule = |verb| {
                    ["-w", LOCK_SECS, "-t", "raw", verb, &chain, "-s", &net.to_string(), "-j", &refusing(&chain)]
                        .map(str::to_owned)
                };
                let [check, delete] = [rule("-C"), rule("-D")];
                if run(&family.program, &check.each_ref().map(String::as_str), "").is_ok() {
                    run(&family.program, &delete.each_ref().map(String::as_str), "")?;
                    lifted = lifted.saturating_add(1);
                }
            }
        }
        Ok(lifted)
    }

    /// Is anything of ours there?
    pub(crate) fn found(&self) -> Result<bool, Error> {
        Ok(!self.chains("raw")?.is_empty() || (self.with_sets && !self.sets()?.is_empty()))
    }
}

/// The variant of the tool that works here: the ordinary one, else the one for the old tables.
fn find(tool: &str) -> Result<String, Error> {
    let works = |program: &str| run(program, &["-w", LOCK_SECS, "-t", "raw", "-S", "PREROUTING"], "");
    let legacy = format!("{tool}-legacy");
    match works(tool) {
        Ok(_) => Ok(tool.to_owned()),
        Err(error) => works(&legacy).map(|_| legacy).map_err(|_| error),
    }
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn restore(family: &Family, text: &str) -> Result<(), Error> {
    run(&format!("{}-restore", family.program), &["-w", LOCK_SECS, "--noflush"], text).map(drop)
}

fn save(family: &Family, table: &str) -> Result<String, Error> {
    run(&format!("{}-save", family.program), &["-t", table], "")
}

/// The counters in front of a rule: `[packets:bytes] -A ..`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (packets, bytes) = line.strip_prefix('[')?.split_once(']')?.0.split_once(':')?;
    Some((packets.parse().ok()?, bytes.parse().ok()?))
}

/// Ending of the name of the chain that refuses what the chain of a group has found.
const REFUSING: &str = "-d";

/// That chain; it keeps the counters when bans come and go.
fn refusing(group: &str) -> String {
    format!("{group}{REFUSING}")
}

/// Set of hosts or networks of a group.
fn set_name(group: &str, ipv4: bool, hosts: bool) -> String {
    format!("{group}-{}{}", if hosts { 'h' } else { 'n' }, if ipv4 { '4' } else { '6' })
}

/// What `ipset` is told: itself, and for "everything", which it does not take, its two halves.
fn halves(net: Net) -> Vec<String> {
    if net.prefix() > 0 {
        return vec![net.to_string()];
    }
    let (low, high) = if net.is_ipv4() { ("0.0.0.0/1", "128.0.0.0/1") } else { ("::/1", "8000::/1") };
    vec![low.to_owned(), high.to_owned()]
}

/// A time-out as `ipset` takes it; 0 never ends.
fn seconds(millis: Option<u64>) -> u64 {
    let seconds = millis.map_or(0, |ms| ms.div_ceil(1000).max(1));
    if seconds > TIMEOUT_SECS_MAX { 0 } else { seconds }
}

/// Matches for the ports of a group, one per rule, each with a blank behind it.
fn port_matches(ports: &PortSpec) -> Vec<String> {
    if ports.is_all() {
        return vec![String::new()];
    }
    let mut all = Vec::new();
    for protocol in ports.protocols() {
        let mut words: Vec<(String, usize)> = Vec::new();
        for (low, high) in ports.ranges() {
            words.push(if low == high { (low.to_string(), 1) } else { (format!("{low}:{high}"), 2) });
        }
        if words.is_empty() {
            all.push(format!("-p {protocol} "));
        }
        let mut rest = words.as_slice();
        while !rest.is_empty() {
            let mut used = 0usize;
            let mut number = 0usize;
            for (_, cost) in rest {
                used = used.saturating_add(*cost);
                if used > MULTIPORT_MAX {
                    break;
                }
                number = number.saturating_add(1);
            }
            let (now, later) = rest.split_at(number.max(1).min(rest.len()));
            let list: Vec<&str> = now.iter().map(|(word, _)| word.as_str()).collect();
            all.push(format!("-p {protocol} -m multiport --dports {} ", list.join(",")));
            rest = later;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Services;

    #[test]
    fn many_ports_are_spread_over_rules() {
        let all: Vec<String> =
            (1..=40).map(|p| if p % 10 == 0 { format!("{p}00-{p}10") } else { format!("{p}01") }).collect();
        let spec = PortSpec::parse(&all.join(","), "tcp", &Services::embedded()).unwrap();
        let matches = port_matches(&spec);
        let ports: Vec<&str> = matches.iter().flat_map(|m| m.trim().rsplit(' ').next().unwrap().split(',')).collect();
        assert_eq!(ports.len(), 40);
        for m in &matches {
            let list = m.trim().rsplit(' ').next().unwrap();
            assert!(list.split([',', ':']).count() <= MULTIPORT_MAX, "{m}");
        }
        assert_eq!(port_matches(&PortSpec::ALL), [""]);
    }

    #[test]
    fn times_fit_ipset() {
        assert_eq!([seconds(None), seconds(Some(0)), seconds(Some(1001)), seconds(Some(u64::MAX))], [0, 1, 2, 0]);
        assert_eq!(seconds(Some(TIMEOUT_SECS_MAX * 1000)), TIMEOUT_SECS_MAX);
    }
}
