//! Rules that can't match, or that match less than was meant.
//!
//! [`findings`] needs nothing but the action; [`findings_here`] also looks at
//! what stands on this machine, and changes nothing.

use super::Recognised;
use super::plan::{ChainWay, Jump, NftWay, Plan, SetWay, Tool, Way};
use crate::actions::{ActionSpec, Expansion};
use crate::command::run;

/// One thing that is wrong with how an action blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose action.
    pub jail: String,
    /// Which action.
    pub action: String,
    /// What is wrong, on what.
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// Does nothing get blocked because of it, or only less than was meant?
    pub blocks_nothing: bool,
}

/// What can be seen in the action's text alone.
pub fn findings(spec: &ActionSpec, recognised: &Recognised) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut add = |what: String, help: &str, blocks_nothing: bool| {
        let (jail, action) = (spec.jail.to_string(), spec.name.to_string());
        all.push(Finding { jail, action, what, help: help.to_owned(), blocks_nothing });
    };
    match recognised {
        Recognised::Accelerated(plan) => of_plan(plan, &mut add),
        Recognised::Shell(_) => of_text(spec, &mut add),
    }
    all
}

type Add<'a> = dyn FnMut(String, &str, bool) + 'a;

fn of_plan(plan: &Plan, add: &mut Add<'_>) {
    if let Way::Nft(way) = &plan.inet4 {
        let NftWay { table, chain_spec, chain, .. } = way;
        if ["output", "postrouting"].contains(&chain_spec.hook.as_str()) {
            add(
                format!(
                    "chain {chain} hangs at hook {}, where packets of others' connections don't begin",
                    chain_spec.hook
                ),
                "use chain_hook = input (services of this host), forward (containers) or prerouting (both)",
                true,
            );
        }
        if table.family != "inet" {
            let (other, number) = if table.family == "ip" { ("IPv6", 6) } else { ("IPv4", 4) };
            add(
                format!("table {} {} never sees {other}", table.family, table.name),
                if number == 6 {
                    "use table_family = inet, or addresses of IPv6 are not blocked"
                } else {
                    "use table_family = inet"
                },
                false,
            );
        }
    }
}

/// Mistakes that are common in actions written by hand.
fn of_text(spec: &ActionSpec, add: &mut Add<'_>) {
    let text_of = |family: &str| {
        let expansion = Expansion::new(spec, Some(family)).ok()?;
        let text = |property: &str| expansion.text(property).unwrap_or_default();
        Some((text("actionstart"), text("actionban")))
    };
    let Some((start, ban)) = text_of("inet4") else { return };
    for (property, text) in [("actionstart", &start), ("actionban", &ban)] {
        for words in commands(text) {
            if let Some((verb, chain, number)) = appended_by_number(&words) {
                add(
                    format!(
                        "{property}: '{verb} {chain} {number}' gives a number where iptables appends: the rule is refused"
                    ),
                    "write -I CHAIN NUMBER, or -A CHAIN without a number",
                    true,
                );
            }
        }
    }
    let six = text_of("inet6").map(|(_, ban)| ban).unwrap_or_default();
    let by_four =
        commands(&six).any(|words| words.first().is_some_and(|p| is_iptables(p)) && words.iter().any(|w| w == "<ip>"));
    if by_four {
        add(
            "actionban uses iptables for IPv6 addresses too, which it refuses".to_owned(),
            "set iptables = ip6tables in a section [Init?family=inet6], as the stock actions do",
            false,
        );
    }
}

fn is_iptables(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    ["iptables", "iptables-legacy", "iptables-nft"].contains(&name)
}

/// The words of each line and of each command in it; quoting is not looked at.
fn commands(text: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    let ends = |c: char| matches!(c, '\n' | ';' | '|' | '&' | '{' | '}' | '(' | ')');
    let words = |command: &str| -> Vec<String> {
        let all = command.split_whitespace().map(|w| w.trim_matches(['"', '\'']).to_owned());
        all.skip_while(|w| ["do", "then", "else", "!"].contains(&w.as_str())).collect()
    };
    text.split(ends).map(words).filter(|words| !words.is_empty())
}

/// `iptables .. -A CHAIN NUMBER ..`
fn appended_by_number(words: &[String]) -> Option<(&str, &str, &str)> {
    let program = words.first()?;
    let name = program.rsplit('/').next().unwrap_or_default();
    if !name.starts_with("iptables") && !name.starts_with("ip6tables") {
        return None;
    }
    let at = words.iter().position(|w| w == "-A" || w == "--append")?;
    let (verb, chain, number) = (words.get(at)?, words.get(at.checked_add(1)?)?, words.get(at.checked_add(2)?)?);
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    is_number.then_some((verb, chain, number))
}

/// What is wrong on this machine, as its tables stand now: a missing table, set
/// or chain, rules that accept a packet before ours see it, and ports that reach
/// a container under another number. Looks only.
pub fn findings_here(spec: &ActionSpec, recognised: &Recognised, has_bans: bool) -> Vec<Finding> {
    let mut all = findings(spec, recognised);
    let Recognised::Accelerated(plan) = recognised else { return all };
    let mut add = |what: String, help: &str, blocks_nothing: bool| {
        let (jail, action) = (spec.jail.to_string(), spec.name.to_string());
        all.push(Finding { jail, action, what, help: help.to_owned(), blocks_nothing });
    };
    for way in [&plan.inet4, &plan.inet6] {
        match way {
            Way::Nft(way) => nft_here(way, has_bans, &mut add),
            Way::Chain(ChainWay { tool, jumps, .. }) | Way::Set(SetWay { tool, jumps, .. }) => {
                tables_here(tool, jumps, has_bans, &mut add);
            }
        }
    }
    all
}

fn nft_here(way: &NftWay, has_bans: bool, add: &mut Add<'_>) {
    // IPv4's part speaks for both; IPv6 may never have been started.
    if !way.ipv4 || !has_bans {
        return;
    }
    let NftWay { table, chain, set, .. } = way;
    let listed = run("nft", &["list", "chain", &table.family, &table.name, chain], "").unwrap_or_default();
    if listed.is_empty() {
        let what = format!("table {} {} or its chain {chain} is missing: nothing is blocked", table.family, table.name);
        add(what, "somebody removed it; the daemon puts it back, or see its log for why it can't", true);
        return;
    }
    let rule = listed.lines().position(|line| line.contains(&format!("@{set} ")));
    if rule.is_none() {
        let what = format!("no rule of chain {chain} looks into set {set}");
        add(what, "somebody removed it; the daemon puts it back, or see its log for why it can't", true);
    }
    // Within one chain an accept ends the chain before ours.
    let earlier = listed.lines().take(rule.unwrap_or(0)).find(|line| accepts_all(line));
    if let Some(line) = earlier {
        let what = format!("'{}' in chain {chain} accepts packets before set {set} is looked into", line.trim());
        add(what, "put that rule behind ours, or into a chain of another priority", false);
    }
    if way.chain_spec.hook == "input" {
        published(&way.rules.join(" "), add);
    }
}

/// Does a rule accept packets whatever their source, so that a banned one's go through too?
fn accepts_all(rule: &str) -> bool {
    rule.trim_end().ends_with("accept") && !rule.contains("saddr") && !rule.contains("iif") && !rule.contains("policy")
}

fn tables_here(tool: &Tool, jumps: &[Jump], has_bans: bool, add: &mut Add<'_>) {
    if !has_bans {
        return;
    }
    let Ok(saved) = run(&format!("{}-save", tool.program), &["-t", "filter"], "") else { return };
    for jump in jumps {
        let head = format!("-A {} ", jump.from);
        let target: String = jump.rule.iter().rev().take(2).rev().cloned().collect::<Vec<_>>().join(" ");
        let lines: Vec<&str> = saved.lines().filter(|line| line.starts_with(&head)).collect();
        let Some(at) = lines.iter().position(|line| line.ends_with(&target)) else {
            let what = format!("no rule of chain {} of {} leads to the bans", jump.from, tool.program);
            add(what, "somebody removed it; the daemon puts it back, or see its log for why it can't", true);
            continue;
        };
        let earlier = lines.iter().take(at).find(|line| {
            let any_source = !line.contains(" -s ") && !line.contains(" -i ") && !line.contains("--match-set");
            line.ends_with("-j ACCEPT") && any_source
        });
        if let Some(line) = earlier {
            let what = format!("'{line}' accepts packets before the bans are looked at");
            add(what, "put that rule behind ours: remove it and add it again with -A", false);
        }
        if jump.from == "INPUT" {
            published(&jump.rule.join(" "), add);
        }
    }
}

/// A port that is sent on to a container or another host never comes to INPUT.
fn published(rule: &str, add: &mut Add<'_>) {
    let Ok(saved) = run("iptables-save", &["-t", "nat"], "") else { return };
    for line in saved.lines().filter(|line| line.starts_with("-A ") && line.contains("-j DNAT")) {
        let word_behind = |option: &str| line.split(option).nth(1).and_then(|rest| rest.split_whitespace().next());
        let (Some(port), Some(to)) = (word_behind(" --dport "), word_behind(" --to-destination ")) else { continue };
        let mut ports = rule.split(|c: char| !c.is_ascii_alphanumeric());
        if ports.any(|word| word == port) {
            add(
                format!("port {port} is sent on to {to}: its packets never come to chain INPUT"),
                "use the chain where they pass: chain = DOCKER-USER or FORWARD, with the port they have there, \
                 or the action `stockade`, which sees ports as they were dialled",
                true,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)], expected: &[&str]) {
        let properties = properties.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let spec = ActionSpec { jail: "j".into(), name: "a".into(), properties, python: None };
        let found = findings(&spec, &super::super::recognise(&spec));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (finding, words) in found.iter().zip(expected) {
            assert!(finding.what.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn an_append_with_a_number_is_found() {
        check(
            &[
                ("actionstart", "iptables -N x\nfor ip in $(cat y); do iptables -A x 1 -s $ip -j DROP; done"),
                ("actionban", "ip6tables -w -I x 1 -s <ip> -j DROP"),
            ],
            &["actionstart: '-A x 1'"],
        );
        check(&[("actionban", "iptables -A x -s <ip> -j DROP")], &["IPv6 addresses too"]);
        check(
            &[("actionban", "<tool> -A x -s <ip> -j DROP"), ("tool", "iptables"), ("tool?family=inet6", "ip6tables")],
            &[],
        );
        check(&[("actionban", "nft add element inet x y { <ip> }")], &[]);
    }
}
