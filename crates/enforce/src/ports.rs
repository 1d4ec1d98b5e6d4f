//! Which ports a jail blocks, read from the words that fail2ban's `port` and
//! `protocol` options hold.

use std::fmt;

mod services;

pub use services::Services;

/// The protocols that carry ports, by number: tcp, udp, dccp, sctp, udplite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Names of protocols and their numbers.
const PROTOCOLS: [(&str, u8); 15] = [
    ("tcp", 6),
    ("udp", 17),
    ("sctp", 132),
    ("dccp", 33),
    ("udplite", 136),
    ("icmp", 1),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("igmp", 2),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipip", 4),
    ("ipv6", 41),
    ("ospf", 89),
];

/// The ports of a block: all traffic, or some protocols and ports.
///
/// Normalised: equal meaning gives equal values, so jails can share sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// Sorted; empty means every protocol.
    protocols: Vec<u8>,
    /// Sorted, apart, inclusive; empty means every port.
    ranges: Vec<(u16, u16)>,
}

/// A word of `port` or `protocol` that has no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortError {
    /// The option that holds it: `port` or `protocol`.
    pub option: &'static str,
    /// The word as written.
    pub word: String,
    /// What is wrong with it.
    pub why: &'static str,
    /// What to write instead.
    pub help: &'static str,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' {} ({})", self.option, self.word, self.why, self.help)
    }
}

impl std::error::Error for PortError {}

impl PortSpec {
    /// All traffic of an address, whatever the protocol.
    pub const ALL: PortSpec = PortSpec { protocols: Vec::new(), ranges: Vec::new() };

    /// Reads the values of `port` and `protocol`.
    ///
    /// Words are separated by commas or blanks. A port is a number, a service
    /// name, `FROM:TO`, `FROM-TO`, or `any`/`all`; an empty `port` is `any`. A
    /// protocol is a name, a number or `all`/`any`; an empty `protocol` is
    /// `tcp`, as in fail2ban's actions. `all` with certain ports means every
    /// protocol that carries ports.
    ///
    /// # Errors
    ///
    /// The first word that is none of these, with what to write.
    pub fn parse(port: &str, protocol: &str, services: &Services) -> Result<Self, PortError> {
        let protocols = parse_protocols(protocol)?;
        let ranges = parse_ranges(port, &protocols, services)?;
        if ranges.is_empty() {
            return Ok(PortSpec { protocols, ranges });
        }
        if protocols.is_empty() {
            return Ok(PortSpec { protocols: WITH_PORTS.to_vec(), ranges });
        }
        match protocols.iter().find(|p| !WITH_PORTS.contains(p)) {
            None => Ok(PortSpec { protocols, ranges }),
            Some(portless) => Err(PortError {
                option: "protocol",
                word: protocol_name(*portless),
                why: "has no ports, but port names some",
                help: "write port = any, or leave this protocol out",
            }),
        }
    }

    /// Does it mean all traffic of an address?
    pub fn is_all(&self) -> bool {
        self.protocols.is_empty() && self.ranges.is_empty()
    }

    /// Numbers of the protocols, sorted; empty means every protocol.
    pub fn protocols(&self) -> &[u8] {
        &self.protocols
    }

    /// Inclusive ranges of ports, sorted and apart; empty means every port.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Is traffic of this protocol to this port meant?
    pub fn covers(&self, protocol: u8, port: u16) -> bool {
        (self.protocols.is_empty() || self.protocols.contains(&protocol))
            && (self.ranges.is_empty() || self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&port)))
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocols: Vec<String> = self.protocols.iter().map(|p| protocol_name(*p)).collect();
        let ranges: Vec<String> = self
            .ranges
            .iter()
            .map(|(low, high)| if low == high { low.to_string() } else { format!("{low}-{high}") })
            .collect();
        match (protocols.is_empty(), ranges.is_empty()) {
            (true, true) => f.write_str("all"),
            (true, false) => f.write_str(&ranges.join(",")),
            (false, true) => f.write_str(&protocols.join(",")),
            (false, false) => write!(f, "{} {}", protocols.join(","), ranges.join(",")),
        }
    }
}

/// Is this a protocol that carries ports?
pub(crate) fn carries_ports(protocol: u8) -> bool {
    WITH_PORTS.contains(&protocol)
}

/// The number of a protocol with a name.
pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

/// The name of a protocol, else its number.
pub(crate) fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, n)| *n == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ', '\t', '\n']).filter(|w| !w.is_empty())
}

fn is_all(word: &str) -> bool {
    word.eq_ignore_ascii_case("all") || word.eq_ignore_ascii_case("any")
}

fn parse_protocols(text: &str) -> Result<Vec<u8>, PortError> {
    let mut found = Vec::new();
    let mut all = false;
    for word in words(text) {
        if is_all(word) {
            all = true;
        } else if let Some(number) = protocol_number(word).or_else(|| decimal(word)) {
            found.push(number);
        } else {
            return Err(PortError {
                option: "protocol",
                word: word.to_owned(),
                why: "is not a protocol",
                help: "write tcp, udp, sctp, dccp, icmp, another name or number of a protocol, or all",
            });
        }
    }
    if all {
        return Ok(Vec::new());
    }
    if found.is_empty() {
        found.push(6);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn parse_ranges(text: &str, protocols: &[u8], services: &Services) -> Result<Vec<(u16, u16)>, PortError> {
    let mut found = Vec::new();
    let mut all = true;
    for word in words(text) {
        if is_all(word) {
            return Ok(Vec::new());
        }
        all = false;
        found.push(parse_range(word, protocols, services)?);
    }
    if all {
        return Ok(Vec::new());
    }
    let merged = merge(found);
    if merged == [(0, u16::MAX)] { Ok(Vec::new()) } else { Ok(merged) }
}

fn parse_range(word: &str, protocols: &[u8], services: &Services) -> Result<(u16, u16), PortError> {
    let error = |why, help| PortError { option: "port", word: word.to_owned(), why, help };
    if let Some(port) = services.port(word, protocols) {
        return Ok((port, port));
    }
    // A service name may hold a dash, so ranges come second.
    let (low, high) = match word.split_once(':').or_else(|| word.split_once('-')) {
        Some((low, high)) => (low, high),
        None => (word, word),
    };
    let port = |text: &str| decimal(text).or_else(|| services.port(text, protocols));
    match (port(low), port(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        (Some(_), Some(_)) => Err(error("begins behind its end", "write the lower port first, as in 1000:2000")),
        _ if word.bytes().all(|b| b.is_ascii_digit()) => Err(error("is no port", "ports go from 0 to 65535")),
        _ => Err(error(
            "is neither a port nor a known service",
            "write a number, a name from /etc/services, FROM:TO or any; separate several by commas",
        )),
    }
}

/// A plain decimal number; signs, blanks and hexadecimal are refused.
fn decimal<T: std::str::FromStr>(word: &str) -> Option<T> {
    if word.bytes().all(|b| b.is_ascii_digit()) { word.parse().ok() } else { None }
}

fn merge(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if u32::from(low) <= u32::from(last.1) + 1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(port: &str, protocol: &str, shown: &str) {
        let spec = PortSpec::parse(port, protocol, &Services::embedded());
        assert_eq!(spec.map_or_else(|e| format!("! {}", e.word), |s| s.to_string()), shown, "{port} {protocol}");
    }

    #[test]
    fn words_of_fail2ban_are_read() {
        check("ssh", "tcp", "tcp 22");
        check("http,https", "tcp", "tcp 80,443");
        check("https, 80,http", "", "tcp 80,443");
        check("0:65535", "tcp", "tcp");
        check("0:65535", "all", "all");
        check("any", "all", "all");
        check("", "tcp", "tcp");
        check("1000:2000,1500-2500,2501", "udp", "udp 1000-2501");
        check("smtp,465,submission,imap3,imaps,pop3,pop3s", "tcp", "tcp 25,110,143,465,587,993,995");
        check("domain,953", "udp, tcp", "tcp,udp 53,953");
        check("22", "all", "tcp,udp,dccp,sctp,udplite 22");
        check("all", "icmp,tcp", "icmp,tcp");
        check("any", "47", "gre");
        check("ftp-data", "tcp", "tcp 20");
        check("ftp-data:ssh", "tcp", "tcp 20-22");
        check("SSH", "TCP", "! SSH");
    }

    #[test]
    fn a_bad_word_is_named() {
        check("htpp", "tcp", "! htpp");
        check("22,70000", "tcp", "! 70000");
        check("2000:1000", "tcp", "! 2000:1000");
        check("22;reboot", "tcp", "! 22;reboot");
        check("+22", "tcp", "! +22");
        check("22", "tpc", "! tpc");
        check("22", "icmp", "! icmp");
        check(":", "tcp", "! :");
        check("1:2:3", "tcp", "! 1:2:3");
        check("any", "256", "! 256");
        let error = PortSpec::parse("70000", "tcp", &Services::embedded()).unwrap_err();
        assert_eq!(error.to_string(), "port '70000' is no port (ports go from 0 to 65535)");
    }

    #[test]
    fn equal_meaning_is_equal() {
        let parse = |port, protocol| PortSpec::parse(port, protocol, &Services::embedded()).unwrap();
        assert_eq!(parse("ssh", "tcp"), parse("22", "6"));
        assert_eq!(parse("80,443", "tcp"), parse("https,http,80", "tcp tcp"));
        assert!(parse("ssh", "tcp").covers(6, 22));
        assert!(!parse("ssh", "tcp").covers(17, 22));
        assert!(PortSpec::ALL.covers(1, 0));
    }
}
