//! Who is counted and banned: addresses, networks, or free text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address or a network in canonical form: host bits are zero, an
/// IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    addr: IpAddr,
    prefix: u8,
}

impl Net {
    /// A single address.
    pub fn host(addr: IpAddr) -> Self {
        let addr = addr.to_canonical();
        Net { addr, prefix: width(addr) }
    }

    /// A network; host bits are masked off. `None` if `prefix` is longer than
    /// the address (32 or 128).
    pub fn new(addr: IpAddr, prefix: u8) -> Option<Self> {
        let (addr, prefix) = match (addr, addr.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if prefix >= 96 => (v4, prefix.checked_sub(96)?),
            _ => (addr, prefix),
        };
        if prefix > width(addr) {
            return None;
        }
        Some(Net { addr: mask(addr, prefix), prefix })
    }

    /// The (first) address.
    pub fn addr(self) -> IpAddr {
        self.addr
    }

    /// Length of the prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Is it one address, not a network?
    pub fn is_host(self) -> bool {
        self.prefix == width(self.addr)
    }

    /// Is it of the IPv4 family?
    pub fn is_ipv4(self) -> bool {
        self.addr.is_ipv4()
    }

    /// Does `self` hold all addresses of `other`? Families never mix.
    pub fn contains(self, other: Net) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.prefix <= other.prefix && mask(other.addr, self.prefix) == self.addr
    }
}

/// Number of bits of an address.
fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// `addr` with all bits behind the first `prefix` ones cleared.
fn mask(addr: IpAddr, prefix: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(a) & keep))
        }
        IpAddr::V6(a) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(a) & keep))
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { write!(f, "{}", self.addr) } else { write!(f, "{}/{}", self.addr, self.prefix) }
    }
}

/// Who failed and who is banned: what fail2ban calls the id of a ticket.
///
/// Source: fail2ban `server/ipdns.py`, `IPAddr`: text that is an address, a
/// CIDR or an address with a mask is normalised; anything else stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureId {
    /// An address or a network.
    Net(Net),
    /// Any other text, such as a user name; firewalls have no use for it.
    Text(Box<str>),
}

impl FailureId {
    /// Reads an id as fail2ban does. Never fails: what is no address is text.
    ///
    /// Accepts brackets around IPv6, `addr/len` and `addr/mask`; refuses (keeps
    /// as text) leading zeros, zone suffixes, short forms and bad prefixes.
    pub fn parse(text: &str) -> Self {
        match parse_net(text) {
            Some(net) => FailureId::Net(net),
            None => FailureId::Text(text.into()),
        }
    }

    /// The address or network, if it is one.
    pub fn net(&self) -> Option<Net> {
        match self {
            FailureId::Net(net) => Some(*net),
            FailureId::Text(_) => None,
        }
    }
}

/// The mask forms of [`FailureId::parse`].
fn parse_net(text: &str) -> Option<Net> {
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let Some(addr) = parse_ipv4(text.as_bytes()) {
        return Some(Net::host(IpAddr::V4(addr)));
    }
    let Some((addr, tail)) = text.split_once('/') else {
        return text.parse().ok().map(Net::host);
    };
    let addr: IpAddr = addr.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(addr).parse().ok()?;
    if !tail.is_empty() && tail.len() <= 3 && tail.bytes().all(|b| b.is_ascii_digit()) {
        return Net::new(addr, tail.parse().ok()?);
    }
    let bits = match (addr, tail.parse().ok()?) {
        (IpAddr::V4(_), IpAddr::V4(m)) => prefix_of_mask(u128::from(u32::from(m)) << 96)?,
        (IpAddr::V6(_), IpAddr::V6(m)) => prefix_of_mask(u128::from(m))?,
        _ => return None,
    };
    Net::new(addr, bits)
}

/// Four numbers and three dots, spelt as usual; anything else is left to the library.
fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut sum, mut octet, mut digits, mut dots) = (0_u32, 0_u32, 0, 0);
    for byte in text {
        match byte {
            b'0'..=b'9' if digits < 3 && (digits == 0 || octet > 0) => {
                octet = octet * 10 + u32::from(byte - b'0');
                digits += 1;
            }
            b'.' if digits > 0 && octet < 256 && dots < 3 => {
                sum = sum << 8 | octet;
                (octet, digits, dots) = (0, 0, dots + 1);
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0 && octet < 256).then(|| Ipv4Addr::from(sum << 8 | octet))
}

/// Number of leading ones, if nothing but zeros follows them.
fn prefix_of_mask(mask: u128) -> Option<u8> {
    let ones = mask.leading_ones();
    let rest_clear = mask.checked_shl(ones).unwrap_or(0) == 0;
    if rest_clear { u8::try_from(ones).ok() } else { None }
}

impl From<IpAddr> for FailureId {
    fn from(addr: IpAddr) -> Self {
        FailureId::Net(Net::host(addr))
    }
}

impl fmt::Display for FailureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureId::Net(net) => net.fmt(f),
            FailureId::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, shown: &str, is_net: bool) {
        let id = FailureId::parse(input);
        assert_eq!(id.to_string(), shown, "{input}");
        assert_eq!(id.net().is_some(), is_net, "{input}");
    }

    #[test]
    fn addresses_are_normalised_and_the_rest_is_kept() {
        check("::ffff:1.2.3.4", "1.2.3.4", true);
        check("[2001:DB8:0::1]", "2001:db8::1", true);
        check("1.2.3.4/24", "1.2.3.0/24", true);
        check("1.2.3.4/255.255.255.0", "1.2.3.0/24", true);
        check("2001:db8::1/ffff:ffff::", "2001:db8::/32", true);
        check("1.2.3.4/32", "1.2.3.4", true);
        check("1.2.3.4/33", "1.2.3.4/33", false);
        check("01.2.3.4", "01.2.3.4", false);
        check("fe80::1%eth0", "fe80::1%eth0", false);
        check("1.2.3.4/255.0.255.0", "1.2.3.4/255.0.255.0", false);
        check("host/24", "host/24", false);
    }

    #[test]
    fn networks_contain_their_hosts_and_smaller_networks() {
        let net = |t: &str| FailureId::parse(t).net().unwrap();
        assert!(net("10.0.0.0/8").contains(net("10.1.2.0/24")));
        assert!(net("0.0.0.0/0").contains(net("10.1.2.3")));
        assert!(!net("10.1.2.0/24").contains(net("10.0.0.0/8")));
        assert!(!net("::/0").contains(net("10.1.2.3")));
    }
}
