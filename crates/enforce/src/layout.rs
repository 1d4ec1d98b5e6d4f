//! Which jails block which ports, and how that is cut into groups and segments.

use std::collections::BTreeMap;

use stockade_core::JailName;

use crate::ports::{self, PortSpec};

/// What happens to a packet of a banned address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Silence.
    #[default]
    Drop,
    /// An ICMP "port unreachable", as fail2ban's actions answer by default.
    Reject,
}

/// How one jail blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailBlock {
    /// The jail.
    pub jail: JailName,
    /// What it blocks of a banned address.
    pub ports: PortSpec,
    /// How.
    pub verdict: Verdict,
}

/// What the sets of one group stand for. Jails that agree in it share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) ports: PortSpec,
    pub(crate) verdict: Verdict,
}

/// How all jails block. Jails with equal ports and verdict form a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Each jail's group.
    jails: BTreeMap<JailName, usize>,
    /// Sorted, different from each other, each with at least one jail.
    groups: Vec<GroupKey>,
}

/// A piece of the port space in which the same groups apply. Pieces of one protocol do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) low: u16,
    pub(crate) high: u16,
    /// Indices of groups, sorted, not empty.
    pub(crate) groups: Vec<usize>,
}

impl Layout {
    /// Builds a layout; of a jail named twice the last entry counts.
    pub fn new(blocks: impl IntoIterator<Item = JailBlock>) -> Self {
        let keys: BTreeMap<JailName, GroupKey> =
            blocks.into_iter().map(|b| (b.jail, GroupKey { ports: b.ports, verdict: b.verdict })).collect();
        let mut groups: Vec<GroupKey> = keys.values().cloned().collect();
        groups.sort();
        groups.dedup();
        let jails = keys.into_iter().map(|(jail, key)| (jail, groups.binary_search(&key).unwrap_or(0))).collect();
        Layout { jails, groups }
    }

    /// The jails and the index of each one's group.
    pub(crate) fn jails(&self) -> &BTreeMap<JailName, usize> {
        &self.jails
    }

    /// The groups, by index.
    pub(crate) fn groups(&self) -> &[GroupKey] {
        &self.groups
    }

    /// The jails that are part of it, sorted.
    pub fn names(&self) -> impl Iterator<Item = &JailName> {
        self.jails.keys()
    }

    /// What a jail blocks; `None` if the jail is not part of the layout.
    pub fn ports(&self, jail: &JailName) -> Option<&PortSpec> {
        self.jails.get(jail).and_then(|g| self.groups.get(*g)).map(|g| &g.ports)
    }

    /// Groups that block everything, whatever the protocol.
    pub(crate) fn everything(&self) -> Vec<usize> {
        self.groups.iter().enumerate().filter(|(_, g)| g.ports.is_all()).map(|(i, _)| i).collect()
    }

    /// Protocols that some group names, sorted.
    pub(crate) fn protocols(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self.groups.iter().flat_map(|g| g.ports.protocols().iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The port space of a protocol, cut at every border of a group; pieces without groups are left out.
    ///
    /// A protocol without ports is one piece.
    pub(crate) fn segments(&self, protocol: u8) -> Vec<Segment> {
        let whole = [(0u16, u16::MAX)];
        let ranges = |ports: &PortSpec| -> Vec<(u16, u16)> {
            let with_ports = ports::carries_ports(protocol) && !ports.ranges().is_empty();
            if with_ports { ports.ranges().to_vec() } else { whole.to_vec() }
        };
        let members: Vec<(usize, Vec<(u16, u16)>)> = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, g)| g.ports.protocols().contains(&protocol))
            .map(|(i, g)| (i, ranges(&g.ports)))
            .collect();
        let mut borders: Vec<u32> = members
            .iter()
            .flat_map(|(_, ranges)| ranges.iter().flat_map(|(low, high)| [u32::from(*low), u32::from(*high) + 1]))
            .collect();
        borders.sort_unstable();
        borders.dedup();
        let mut segments: Vec<Segment> = Vec::new();
        for (low, next) in borders.iter().zip(borders.iter().skip(1)) {
            let (Ok(low), Ok(high)) = (u16::try_from(*low), u16::try_from(next.saturating_sub(1))) else { continue };
            let holds = |ranges: &[(u16, u16)]| ranges.iter().any(|(l, h)| (*l..=*h).contains(&low));
            let groups: Vec<usize> = members.iter().filter(|(_, r)| holds(r)).map(|(i, _)| *i).collect();
            match segments.last_mut() {
                Some(last) if last.groups == groups && last.high.checked_add(1) == Some(low) => last.high = high,
                _ if groups.is_empty() => {}
                _ => segments.push(Segment { low, high, groups }),
            }
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Services;

    fn layout(jails: &[(&str, &str, &str)]) -> Layout {
        Layout::new(jails.iter().map(|(jail, port, protocol)| JailBlock {
            jail: JailName::new(jail),
            ports: PortSpec::parse(port, protocol, &Services::embedded()).unwrap(),
            verdict: Verdict::Drop,
        }))
    }

    #[test]
    fn equal_ports_share_a_group() {
        let layout = layout(&[("a", "ssh", "tcp"), ("b", "22", "tcp"), ("c", "any", "all"), ("d", "22", "udp")]);
        assert_eq!(layout.groups().len(), 3);
        assert_eq!(layout.jails()[&JailName::new("a")], layout.jails()[&JailName::new("b")]);
        assert_eq!(layout.everything().len(), 1);
        assert_eq!(layout.protocols(), [6, 17]);
    }

    /// Every port is checked against the plain definition.
    #[test]
    fn segments_say_of_each_port_what_the_groups_say() {
        let layout = layout(&[
            ("a", "ssh", "tcp"),
            ("b", "http,https", "tcp"),
            ("c", "0:1023", "tcp"),
            ("d", "1000:2000,65535", "tcp,udp"),
            ("e", "any", "tcp"),
            ("f", "any", "icmp"),
            ("g", "0", "udp"),
        ]);
        for protocol in [6u8, 17, 1] {
            let segments = layout.segments(protocol);
            for port in 0..=u16::MAX {
                let plain: Vec<usize> = layout
                    .groups()
                    .iter()
                    .enumerate()
                    .filter(|(_, g)| g.ports.covers(protocol, port))
                    .map(|(i, _)| i)
                    .collect();
                let mut holding = segments.iter().filter(|s| (s.low..=s.high).contains(&port));
                let found = holding.next().map(|s| s.groups.clone()).unwrap_or_default();
                assert_eq!(found, plain, "protocol {protocol} port {port}");
                assert!(holding.next().is_none(), "segments overlap at {port}");
            }
        }
        assert_eq!(layout.segments(1).len(), 1);
        assert_eq!(layout.segments(132), []);
    }
}
