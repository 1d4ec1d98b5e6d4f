//! Which packets a rule of a firewall looks at, and what is left of them for a later one.

use crate::ports::{Services, protocol_number};

/// Which packets a rule looks at, as far as its protocols and ports say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packets {
    /// Numbers of protocols; empty is any.
    protocols: Vec<u8>,
    /// Inclusive ranges; empty is any.
    pub(super) ports: Vec<(u16, u16)>,
    /// The rule asks for more than that: not all of these packets are meant.
    pub(super) narrowed: bool,
    /// Only packets of connections that are open already.
    pub(super) open_only: bool,
}

/// Stands for a protocol that we don't know by its name; the number is reserved.
const UNKNOWN_PROTOCOL: u8 = 255;

/// Words of rules that ask for nothing, or for what is read with the word before or behind them.
const PLAIN: [&str; 20] = [
    "-m",
    "tcp",
    "udp",
    "multiport",
    "comment",
    "--comment",
    "conntrack",
    "--ctstate",
    "--state",
    "state",
    "ct",
    "meta",
    "th",
    "counter",
    "NEW",
    "new",
    "RELATED",
    "related",
    "ESTABLISHED",
    "established",
];

/// Words of rules that are followed by one that asks for nothing.
const WITH_ONE: [&str; 3] = ["-A", "packets", "bytes"];

/// What a rule does; behind it stands nothing about packets.
const VERDICTS: [&str; 8] = ["-j", "-g", "accept", "drop", "reject", "dnat", "jump", "goto"];

impl Packets {
    /// Of a rule as `iptables-save` or `nft list` write it, or as an action has it.
    pub(super) fn of(rule: &str, services: &Services) -> Packets {
        let unquoted: String = rule.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        let apart = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}');
        let words: Vec<&str> = unquoted.split(apart).filter(|word| !word.is_empty()).collect();
        let mut packets = Packets::default();
        let mut at = 0;
        while let Some((word, rest)) = words.get(at..).and_then(<[&str]>::split_first) {
            let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or_default();
            let not = before == "!" || rest.first() == Some(&"!=");
            let mut taken = 0;
            match *word {
                word if VERDICTS.contains(&word) => break,
                _ if not => packets.narrowed = true,
                "-p" | "l4proto" | "nexthdr" => taken = packets.read_protocols(rest),
                "protocol" if before == "ip" => taken = packets.read_protocols(rest),
                "--dport" | "--dports" | "dport" => taken = packets.read_ports(rest, services),
                word if WITH_ONE.contains(&word) => taken = 1,
                // A field of a header, so the packet has that header.
                word if rest.first().is_some_and(|next| ["dport", "sport", "type", "code", "spi"].contains(next)) => {
                    if word != "th" {
                        packets.protocols = vec![protocol_number(word).unwrap_or(UNKNOWN_PROTOCOL)];
                    }
                }
                word => packets.narrowed |= !PLAIN.contains(&word),
            }
            at = at.saturating_add(1).saturating_add(taken);
        }
        let has = |states: [&str; 2]| words.iter().any(|word| states.contains(word));
        packets.open_only =
            (has(["ESTABLISHED", "established"]) || has(["RELATED", "related"])) && !has(["NEW", "new"]);
        packets
    }

    /// Reads names or numbers of protocols; how many words they are.
    fn read_protocols(&mut self, words: &[&str]) -> usize {
        let number = |word: &&str| protocol_number(word).or_else(|| word.parse().ok());
        self.protocols = words.iter().map_while(number).collect();
        if self.protocols.is_empty() {
            let any = words.first().is_none_or(|word| ["all", "any"].contains(word));
            self.protocols.extend((!any).then_some(UNKNOWN_PROTOCOL));
            return 1;
        }
        let taken = self.protocols.len();
        if self.protocols.contains(&0) {
            self.protocols.clear();
        }
        taken
    }

    /// Reads ports, ranges and names of services; how many words they are.
    fn read_ports(&mut self, words: &[&str], services: &Services) -> usize {
        let protocols = if self.protocols.is_empty() { &[6, 17] } else { self.protocols.as_slice() };
        let port = |word: &str| word.parse().ok().or_else(|| services.port(word, protocols));
        let range = |word: &&str| match word.split_once([':', '-']) {
            Some((low, high)) if low.starts_with(|c: char| c.is_ascii_digit()) => {
                Some((low.parse().ok()?, high.parse().ok()?))
            }
            _ => port(word).map(|port| (port, port)),
        };
        let ports: Vec<(u16, u16)> = words.iter().map_while(range).collect();
        // Ports that we can't read: of a map, of a set with a name.
        self.narrowed |= ports.is_empty();
        self.ports.extend(&ports);
        ports.len()
    }

    /// Can one packet be meant by both?
    pub(super) fn meets(&self, other: &Packets) -> bool {
        let same = self.protocols.is_empty()
            || other.protocols.is_empty()
            || self.protocols.iter().any(|protocol| other.protocols.contains(protocol));
        let free = self.ports.is_empty() || other.ports.is_empty();
        let overlap = |(low, high): &(u16, u16)| other.ports.iter().any(|(l, h)| low <= h && l <= high);
        same && (free || self.ports.iter().any(overlap))
    }

    /// Is the port one of them?
    pub(super) fn covers(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }
}

/// Packets that still come to a rule: protocol (`None` is every other one) and inclusive range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left(Vec<(Option<u8>, u16, u16)>);

impl Left {
    /// All that a rule means.
    pub(super) fn all_of(packets: &Packets) -> Left {
        let mut protocols: Vec<Option<u8>> = packets.protocols.iter().copied().map(Some).collect();
        if protocols.is_empty() {
            protocols = vec![Some(6), Some(17), None];
        }
        let ports = if packets.ports.is_empty() { &[(0, u16::MAX)] } else { packets.ports.as_slice() };
        Left(protocols.iter().flat_map(|of| ports.iter().map(move |(low, high)| (*of, *low, *high))).collect())
    }

    /// Those that another rule takes away don't come any more.
    pub(super) fn without(&mut self, taken: &Packets) {
        let ports = if taken.ports.is_empty() { &[(0, u16::MAX)] } else { taken.ports.as_slice() };
        let concerned =
            |of: Option<u8>| taken.protocols.is_empty() || of.is_some_and(|of| taken.protocols.contains(&of));
        for (from, to) in ports {
            let mut rest = Vec::new();
            for (of, low, high) in self.0.drain(..) {
                if !concerned(of) || high < *from || *to < low {
                    rest.push((of, low, high));
                    continue;
                }
                rest.extend(from.checked_sub(1).filter(|end| low <= *end).map(|end| (of, low, end)));
                rest.extend(to.checked_add(1).filter(|start| *start <= high).map(|start| (of, start, high)));
            }
            self.0 = rest;
        }
    }

    /// None come any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Do none come any more?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, protocols: &[u8], ports: &[(u16, u16)], narrowed: bool) {
        let packets = Packets::of(rule, &Services::embedded());
        let seen = (packets.protocols.as_slice(), packets.ports.as_slice(), packets.narrowed);
        assert_eq!(seen, (protocols, ports, narrowed), "{rule}");
    }

    #[test]
    fn protocols_and_ports_of_a_rule_are_read() {
        let web = [(80, 80), (443, 443)];
        check(
            "-A INPUT -p tcp -m multiport --dports 80,443,8000:8010 -j ACCEPT",
            &[6],
            &[(80, 80), (443, 443), (8000, 8010)],
            false,
        );
        check("tcp dport { 22, 80-81 } accept", &[6], &[(22, 22), (80, 81)], false);
        check("udp dport 53 dnat to 10.0.0.1:5353", &[17], &[(53, 53)], false);
        check("-p tcp --dports http,https", &[6], &web, false);
        check("-A INPUT -m conntrack --ctstate NEW -j ACCEPT", &[], &[], false);
        check("meta l4proto { tcp, udp } th dport { 80, 443 } accept", &[6, 17], &web, false);
        check("tcp dport 80 counter packets 7 bytes 80 accept comment \"dport 22\"", &[6], &[(80, 80)], false);
    }

    #[test]
    fn each_protocol_is_one_of_its_own() {
        check("-A INPUT -p icmp -m comment --comment \"tcp\" -j ACCEPT", &[1], &[], false);
        check("-A INPUT -p gre -j ACCEPT", &[47], &[], false);
        check("-A INPUT -p 47 -j ACCEPT", &[47], &[], false);
        check("-A INPUT -p all -j ACCEPT", &[], &[], false);
        check("-A INPUT -p some-new-one -j ACCEPT", &[UNKNOWN_PROTOCOL], &[], false);
        check("meta l4proto { icmp, ipv6-icmp } accept", &[1, 58], &[], false);
        check("ip protocol gre accept", &[47], &[], true);
        check("ip6 nexthdr ipv6-icmp accept", &[58], &[], true);
        check("icmp type echo-request counter packets 0 bytes 0 accept", &[1], &[], true);
        check("tcp dport 22 ip saddr @s reject with icmpx type admin-prohibited", &[6], &[(22, 22)], true);
        check("sctp dport 80 accept", &[132], &[(80, 80)], false);
    }

    #[test]
    fn what_asks_for_more_is_narrowed() {
        check("-A INPUT -p tcp -m multiport ! --dports 22,23 -j ACCEPT", &[6], &[], true);
        check("-A INPUT ! -p tcp -j ACCEPT", &[], &[], true);
        check("tcp dport != 22 accept", &[6], &[], true);
        check("meta l4proto != tcp accept", &[], &[], true);
        check("tcp dport @web accept", &[6], &[], true);
        check("-A INPUT -d 192.0.2.1/32 -p tcp -m tcp --dport 80 -j ACCEPT", &[6], &[(80, 80)], true);
        check("-A INPUT -m limit --limit 5/sec -j ACCEPT", &[], &[], true);
        check("ip daddr 192.0.2.1 accept", &[], &[], true);
    }

    #[test]
    fn rules_meet_when_one_packet_is_meant_by_both() {
        let services = Services::embedded();
        let meet = |one: &str, another: &str| Packets::of(one, &services).meets(&Packets::of(another, &services));
        assert!(meet("-p tcp --dport 22", "-p tcp --dports 20:25"));
        assert!(meet("-p tcp", "--dport 22"));
        assert!(!meet("-p tcp --dport 22", "-p tcp --dport 80"));
        assert!(!meet("-p udp", "-p tcp --dport 80"));
        assert!(!meet("-p icmp", "-p tcp --dport 80"));
        assert!(meet("-p icmp", "-p all"));
    }

    #[test]
    fn nothing_is_left_only_when_all_is_taken() {
        let services = Services::embedded();
        let left = |ours: &str, taken: &[&str]| {
            let mut left = Left::all_of(&Packets::of(ours, &services));
            taken.iter().for_each(|rule| left.without(&Packets::of(rule, &services)));
            left.0
        };
        let web = "-p tcp --dports 80,443";
        assert_eq!(left(web, &["-p tcp --dport 80"]), [(Some(6), 443, 443)]);
        assert_eq!(left(web, &["-p tcp --dport 80", "--dports 100:500"]), []);
        assert_eq!(left(web, &["-p udp --dports 80,443"]).len(), 2);
        assert_eq!(left("-p tcp --dport 10:20", &["-p tcp --dport 12:13"]), [(Some(6), 10, 11), (Some(6), 14, 20)]);
        assert_eq!(left("-p tcp", &["-p tcp --dport 0:65534"]), [(Some(6), 65535, 65535)]);
        assert_eq!(left("--dport 53", &["-p tcp", "-p udp"]), [(None, 53, 53)]);
        assert_eq!(left("--dport 53", &["-m conntrack --ctstate NEW"]), []);
    }
}
