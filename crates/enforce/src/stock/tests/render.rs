//! The programs and arguments that a plan stands for, in their order: what a
//! shell must run for an action that was recognised as this plan.

use super::super::plan::{ChainWay, Jump, NftWay, SetWay, Table, Timeout, Tool, Way};

/// What the stub tools of a test answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    /// Does what is asked for stand, so that checks and flushes succeed?
    pub(super) stands: bool,
    /// The handles that `nft -a list chain` shows for the set.
    pub(super) handles: &'static [u32],
    /// Does `nft list table` show a set?
    pub(super) any_set: bool,
}

type Argv = Vec<String>;

fn argv(words: &[&str]) -> Argv {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// The commands of one property of the action, for the address and time of a ban.
pub(super) fn commands(way: &Way, property: &str, ip: &str, bantime: i64, answers: Answers) -> Vec<Argv> {
    match way {
        Way::Nft(way) => nft(way, property, ip, answers),
        Way::Chain(way) => chain(way, property, ip, answers),
        Way::Set(way) => set(way, property, ip, bantime, answers),
    }
}

fn nft(way: &NftWay, property: &str, ip: &str, answers: Answers) -> Vec<Argv> {
    let Table { family, name } = &way.table;
    let on =
        |verb: &[&str], object: &str, more: &[&str]| argv(&[&["nft"], verb, &[family, name, object], more].concat());
    let key = if way.ipv4 { "ipv4_addr;" } else { "ipv6_addr;" };
    let spec: &[&str] =
        if way.interval { &["{", "type", key, "flags", "interval;", "}"] } else { &["{", "type", key, "}"] };
    let mut added = vec![on(&["add", "set"], &way.set, spec)];
    for rule in &way.rules {
        added.push(on(&["add", "rule"], &way.chain, &rule.split(' ').collect::<Vec<_>>()));
    }
    let mut removed = vec![on(&["-a", "list", "chain"], &way.chain, &[])];
    for handle in answers.handles {
        removed.push(on(&["delete", "rule"], &way.chain, &["handle", &handle.to_string()]));
    }
    removed.push(on(&["delete", "set"], &way.set, &[]));
    match property {
        "actionstart" => {
            let spec = &way.chain_spec;
            let mut place = vec!["{", "type", &spec.kind, "hook", &spec.hook, "priority"];
            place.extend(spec.priority.split(' '));
            place.extend([";", "}"]);
            let mut all = vec![argv(&["nft", "add", "table", family, name])];
            all.push(on(&["--", "add", "chain"], &way.chain, &place));
            all.extend(added);
            all
        }
        "actionban" => vec![on(&["add", "element"], &way.set, &["{", ip, "}"])],
        "actionunban" => vec![on(&["delete", "element"], &way.set, &["{", ip, "}"])],
        "actioncheck" => vec![on(&["list", "chain"], &way.chain, &[])],
        "actionflush" => {
            let mut all = vec![on(&["flush", "set"], &way.set, &[])];
            if !answers.stands {
                all.extend(removed);
                all.extend(added);
            }
            all
        }
        "actionstop" => {
            let mut all = removed;
            all.push(argv(&["nft", "list", "table", family, name]));
            if !answers.any_set {
                all.push(argv(&["nft", "delete", "table", family, name]));
            }
            all
        }
        other => panic!("{other}"),
    }
}

fn by(tool: &Tool, words: &[&str]) -> Argv {
    let head = std::iter::once(tool.program.rsplit('/').next().unwrap()).chain(tool.wait.iter().map(String::as_str));
    head.chain(words.iter().copied()).map(str::to_owned).collect()
}

fn rules(tool: &Tool, verb: &str, jumps: &[Jump]) -> Vec<Argv> {
    let words = |jump: &Jump| {
        let mut words = vec![verb.to_owned(), jump.from.clone()];
        words.extend(jump.rule.iter().cloned());
        words
    };
    jumps.iter().map(|jump| by(tool, &words(jump).iter().map(String::as_str).collect::<Vec<_>>())).collect()
}

fn made(tool: &Tool, jumps: &[Jump], stands: bool) -> Vec<Argv> {
    let pairs = rules(tool, "-C", jumps).into_iter().zip(rules(tool, "-I", jumps));
    pairs.flat_map(|(check, make)| if stands { vec![check] } else { vec![check, make] }).collect()
}

fn chain(way: &ChainWay, property: &str, ip: &str, answers: Answers) -> Vec<Argv> {
    let tool = &way.tool;
    let ending = |verb: &str, rule: &[&str], target: &[String]| {
        let mut words = vec![verb, &way.chain];
        words.extend(rule);
        words.extend(target.iter().map(String::as_str));
        by(tool, &words)
    };
    match property {
        "actionstart" => {
            let mut all = vec![ending("-C", &["-j"], &way.last)];
            if !answers.stands {
                all.push(by(tool, &["-N", &way.chain]));
                all.push(ending("-A", &["-j"], &way.last));
            }
            all.extend(made(tool, &way.jumps, answers.stands));
            all
        }
        "actionban" => vec![ending("-I", &["1", "-s", ip, "-j"], &way.block)],
        "actionunban" => vec![ending("-D", &["-s", ip, "-j"], &way.block)],
        "actioncheck" => rules(tool, "-C", &way.jumps),
        "actionflush" => vec![by(tool, &["-F", &way.chain])],
        "actionstop" => {
            let mut all = rules(tool, "-D", &way.jumps);
            all.extend([by(tool, &["-F", &way.chain]), by(tool, &["-X", &way.chain])]);
            all
        }
        other => panic!("{other}"),
    }
}

fn set(way: &SetWay, property: &str, ip: &str, bantime: i64, answers: Answers) -> Vec<Argv> {
    let name = way.set.as_str();
    match property {
        "actionstart" => {
            let create: Vec<&str> = way.create.iter().map(String::as_str).collect();
            let mut all = vec![argv(&[&["ipset", "-exist", "create", name], create.as_slice()].concat())];
            all.extend(made(&way.tool, &way.jumps, answers.stands));
            all
        }
        "actionban" => {
            let time = match way.timeout {
                Timeout::Fixed(secs) => secs.to_string(),
                Timeout::BantimeUpTo(bound) if bantime > i64::try_from(bound).unwrap() => "0".to_owned(),
                Timeout::Bantime | Timeout::BantimeUpTo(_) => bantime.to_string(),
            };
            vec![argv(&["ipset", "-exist", "add", name, ip, "timeout", &time])]
        }
        "actionunban" => vec![argv(&["ipset", "-exist", "del", name, ip])],
        "actioncheck" => rules(&way.tool, "-C", &way.jumps),
        "actionflush" => vec![argv(&["ipset", "flush", name])],
        "actionstop" => {
            let mut all = rules(&way.tool, "-D", &way.jumps);
            all.extend([argv(&["ipset", "flush", name]), argv(&["ipset", "destroy", name])]);
            all
        }
        other => panic!("{other}"),
    }
}
