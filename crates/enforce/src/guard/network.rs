//! Addresses, gateways and name servers of this machine.
//!
//! Source: Linux `include/uapi/linux/rtnetlink.h` and `if_addr.h`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::netlink::{DUMP, Message, Socket, attribute, attributes};
use crate::owner::read_bounded;

const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_GATEWAY: u16 = 5;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
/// Multicast groups of addresses and routes, both families, as a bind mask.
const GROUP_MASK: u32 = 0x10 | 0x40 | 0x100 | 0x400;
/// Configuration of the resolver is read up to this size.
const RESOLV_BYTES_MAX: u64 = 64 * 1024;

/// A subscription to changes of addresses and routes.
#[derive(Debug)]
pub(super) struct Watch {
    socket: Socket,
}

impl Watch {
    pub(super) fn open() -> Result<Self, Errno> {
        Ok(Watch { socket: Socket::open(None, GROUP_MASK)? })
    }

    /// Has anything changed since the last call?
    pub(super) fn changed(&mut self) -> bool {
        let mut changed = false;
        loop {
            match self.socket.receive(|_| {}) {
                Ok(true) | Err(Errno::NOBUFS) => changed = true,
                Ok(false) => return changed,
                Err(_) => return true,
            }
        }
    }
}

/// The addresses of all interfaces.
pub(super) fn own_addresses() -> BTreeSet<IpAddr> {
    dump(GETADDR, 8, |found, message| {
        let body = message.payload.get(8..).filter(|_| message.kind == NEWADDR)?;
        // On point-to-point links the first is the other side.
        let value = attribute(body, IFA_LOCAL).or_else(|| attribute(body, IFA_ADDRESS))?;
        found.insert(address(value)?);
        Some(())
    })
}

/// The next hops of all routes.
pub(super) fn gateways() -> BTreeSet<IpAddr> {
    dump(GETROUTE, 12, |found, message| {
        let body = message.payload.get(12..).filter(|_| message.kind == NEWROUTE)?;
        next_hop(found, body);
        let mut hops = attribute(body, RTA_MULTIPATH).unwrap_or_default();
        // Each is a `struct rtnexthop` of 8 bytes with attributes behind it.
        while let Some([l0, l1, ..]) = hops.first_chunk::<8>() {
            let len = usize::from(u16::from_ne_bytes([*l0, *l1]));
            next_hop(found, hops.get(8..len)?);
            hops = hops.get(len.next_multiple_of(4)..)?;
        }
        Some(())
    })
}

fn next_hop(found: &mut BTreeSet<IpAddr>, body: &[u8]) {
    for (kind, value) in attributes(body) {
        match kind {
            RTA_GATEWAY => found.extend(address(value)),
            RTA_VIA => found.extend(value.get(2..).and_then(address)),
            _ => {}
        }
    }
}

fn dump(kind: u16, header: usize, take: impl Fn(&mut BTreeSet<IpAddr>, Message<'_>) -> Option<()>) -> BTreeSet<IpAddr> {
    let Ok(mut socket) = Socket::open(None, 0) else { return BTreeSet::new() };
    let fixed = vec![0; header];
    let found = socket.request(
        |w| {
            w.begin(kind, DUMP, &fixed);
            w.end();
        },
        |found: &mut BTreeSet<IpAddr>, message| {
            // A message without an address of interest is nothing special.
            let _: Option<()> = take(found, message);
        },
    );
    found.unwrap_or_default()
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>()?)).to_canonical()),
        _ => None,
    }
}

/// The name servers: of the resolver, and those that systemd-resolved asks behind it.
pub(super) fn resolvers() -> BTreeSet<IpAddr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let texts = files.iter().filter_map(|path| read_bounded(path, RESOLV_BYTES_MAX));
    texts.flat_map(|text| name_servers(&String::from_utf8_lossy(&text))).collect()
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver")
            && let Some(addr) = words.next()
        {
            // A link-local server may carry its interface.
            let addr = addr.split('%').next().unwrap_or(addr);
            found.extend(addr.parse::<IpAddr>().ok().map(|a| a.to_canonical()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n nameserver\t2001:db8::53 # x\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver";
        let all: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["192.0.2.1", "2001:db8::53", "fe80::1"]);
    }

    #[test]
    fn the_loopback_address_is_our_own() {
        assert!(own_addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
