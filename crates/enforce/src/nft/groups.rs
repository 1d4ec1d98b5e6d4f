//! Names of our sets and chains, and the way of a packet through them.

use super::words::*;
use super::write::Batch;
use crate::change::ElementOp;
use crate::layout::{Layout, Verdict};
use crate::ports::{carries_ports, protocol_name};

/// Ranges of a port map per message: their attributes must fit 64 KiB, at most 180 bytes each.
const MESSAGE_RANGES: usize = 250;

/// A range of at most so many ports is kept as single ports: they are found faster than a range.
const SHORT_RANGE: u16 = 128;

/// The sets of one group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Name of chain and counter, and beginning of the names of its sets.
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// Prefix lengths for which sets exist: (is IPv4, length).
    pub(super) sets: Vec<(bool, u8)>,
}

/// A set of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetKey {
    pub(super) group: usize,
    pub(super) ipv4: bool,
    pub(super) prefix: u8,
}

pub(super) fn set_key(op: &ElementOp) -> SetKey {
    SetKey { group: op.group, ipv4: op.net.is_ipv4(), prefix: op.net.prefix() }
}

pub(super) fn name_of(groups: &[Group], key: SetKey) -> Option<String> {
    groups.get(key.group).map(|g| set_name(&g.name, key.ipv4, key.prefix))
}

/// Name of a set: hosts end with `_v4` or `_v6`, networks have their prefix length behind that.
pub(super) fn set_name(group: &str, ipv4: bool, prefix: u8) -> String {
    match (ipv4, prefix) {
        (true, 32) => format!("{group}_v4"),
        (false, 128) => format!("{group}_v6"),
        (true, prefix) => format!("{group}_v4_{prefix}"),
        (false, prefix) => format!("{group}_v6_{prefix}"),
    }
}

/// The family and prefix length of a set of addresses, from its name: (is IPv4, length).
pub(crate) fn parse_set_name(name: &str) -> Option<(bool, u8)> {
    let (head, last) = name.rsplit_once('_')?;
    match last {
        "v4" => return Some((true, 32)),
        "v6" => return Some((false, 128)),
        _ => {}
    }
    let prefix: u8 = last.parse().ok()?;
    match head.rsplit_once('_')?.1 {
        "v4" if prefix < 32 => Some((true, prefix)),
        "v6" if prefix < 128 => Some((false, prefix)),
        _ => None,
    }
}

/// The number of the build that made an object.
pub(super) fn build_number(name: &str) -> Option<u32> {
    name.strip_prefix('b')?.split_once('_')?.0.parse().ok()
}

pub(super) fn add_set(b: &mut Batch<'_>, group: &Group, ipv4: bool, prefix: u8) {
    let set = set_name(&group.name, ipv4, prefix);
    b.add_address_set(&set, ipv4);
    b.add_rule(&group.name, |r| {
        r.source_in(&set, ipv4, prefix);
        r.counter(&group.name);
        r.refuse(group.verdict);
    });
}

pub(super) fn add_fresh(b: &mut Batch<'_>, groups: &[Group], fresh: &[SetKey]) {
    for key in fresh {
        if let Some(group) = groups.get(key.group) {
            add_set(b, group, key.ipv4, key.prefix);
        }
    }
}

/// The base chains and the way from a packet's protocol and port to the chains of groups.
pub(super) fn add_dispatch(
    b: &mut Batch<'_>,
    build: u32,
    layout: &Layout,
    groups: &[(Group, bool)],
    structure: &mut Vec<String>,
) {
    let chain_of = |i: &usize| groups.get(*i).map(|(g, _)| g.name.clone()).unwrap_or_default();
    let ports = format!("b{build}_ports");
    b.add_chain(&ports);
    structure.push(ports.clone());
    let mut shared: Vec<(Vec<usize>, String)> = Vec::new();
    let mut by_port = false;
    for protocol in layout.protocols() {
        by_port = true;
        let mut ranges: Vec<(u16, u16, String)> = Vec::new();
        for segment in layout.segments(protocol) {
            let target = match (segment.groups.as_slice(), shared.iter().find(|(g, _)| *g == segment.groups)) {
                ([only], _) => chain_of(only),
                (_, Some((_, chain))) => chain.clone(),
                (several, None) => {
                    let chain = format!("b{build}_s{}", shared.len());
                    b.add_chain(&chain);
                    for group in several {
                        b.add_rule(&chain, |r| r.jump(&chain_of(group)));
                    }
                    structure.push(chain.clone());
                    shared.push((segment.groups.clone(), chain.clone()));
                    chain
                }
            };
            ranges.push((segment.low, segment.high, target));
        }
        match ranges.as_slice() {
            [(0, u16::MAX, chain)] => {
                b.add_rule(&ports, |r| {
                    r.protocol(protocol);
                    r.jump(chain);
                });
            }
            _ if carries_ports(protocol) => {
                add_port_maps(b, build, protocol, &ports, &ranges, structure);
            }
            _ => {}
        }
    }
    let everything: Vec<String> = layout.everything().iter().map(chain_of).collect();
    for (hook, number, priority) in
        [("prerouting", HOOK_PREROUTING, -300), ("input", HOOK_INPUT, -1), ("forward", HOOK_FORWARD, -1)]
    {
        let chain = format!("b{build}_{hook}");
        b.add_base_chain(&chain, number, priority);
        structure.push(chain.clone());
        if number != HOOK_FORWARD {
            b.add_rule(&chain, |r| {
                r.loopback();
                r.accept();
            });
        }
        if number == HOOK_PREROUTING {
            everything.iter().for_each(|group| {
                b.add_rule(&chain, |r| r.jump(group));
            });
        }
        if by_port {
            b.add_rule(&chain, |r| r.jump(&ports));
        }
    }
}

/// The maps of one protocol, from its ports to chains, and their rules in the chain `ports`.
fn add_port_maps(
    b: &mut Batch<'_>,
    build: u32,
    protocol: u8,
    ports: &str,
    ranges: &[(u16, u16, String)],
    structure: &mut Vec<String>,
) {
    let lead = |b: &mut Batch<'_>, map: &str| {
        b.add_rule(ports, |r| {
            r.protocol(protocol);
            r.port_map(map);
        });
    };
    let ranges = || ranges.iter().map(|(low, high, chain)| (*low, *high, chain.as_str()));
    let is_short = |(low, high, _): &(u16, u16, &str)| high.saturating_sub(*low) < SHORT_RANGE;
    let single: Vec<(u16, &str)> =
        ranges().filter(is_short).flat_map(|(low, high, chain)| (low..=high).map(move |port| (port, chain))).collect();
    if !single.is_empty() {
        let map = format!("b{build}_{}", protocol_name(protocol));
        b.add_port_map(&map, single.len());
        for part in single.chunks(MESSAGE_RANGES) {
            b.fill_port_map(&map, part);
        }
        lead(b, &map);
        structure.push(map);
    }
    let wide: Vec<(u16, u16, &str)> = ranges().filter(|range| !is_short(range)).collect();
    if !wide.is_empty() {
        let map = format!("b{build}_{}_ranges", protocol_name(protocol));
        b.add_port_range_map(&map);
        for (i, part) in wide.chunks(MESSAGE_RANGES).enumerate() {
            b.fill_port_range_map(&map, part, i == 0);
        }
        lead(b, &map);
        structure.push(map);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sets_are_read_back() {
        for (ipv4, prefix) in [(true, 32), (true, 24), (true, 0), (false, 128), (false, 64), (false, 32), (false, 0)] {
            assert_eq!(parse_set_name(&set_name("b1_g0_tcp_22", ipv4, prefix)), Some((ipv4, prefix)));
        }
        for other in ["b1_tcp", "x", "b1_v4_33", "b1_v6_200", "b1_v4_x", "_v5"] {
            assert_eq!(parse_set_name(other), None, "{other}");
        }
        assert_eq!(build_number("b12_ports"), Some(12));
        assert_eq!(build_number("prerouting"), None);
    }
}
