//! Single TCP packets, made by hand: what a stream from a thousand addresses consists of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The protocol number of TCP.
const TCP: u8 = 6;

/// The flags of a packet that opens a connection.
const SYN: u8 = 0x02;

/// A whole IP packet that asks to open a connection, or none when the two addresses are of different families.
///
/// Source: RFC 791, RFC 8200, RFC 9293.
#[must_use]
pub fn syn(source: IpAddr, target: IpAddr, source_port: u16, target_port: u16) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(syn_v4(source, target, source_port, target_port)),
        (IpAddr::V6(source), IpAddr::V6(target)) => Some(syn_v6(source, target, source_port, target_port)),
        _ => None,
    }
}

fn syn_v4(source: Ipv4Addr, target: Ipv4Addr, source_port: u16, target_port: u16) -> Vec<u8> {
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(source.octets());
    pseudo.extend(target.octets());
    pseudo.extend([0, TCP, 0, 20]);
    let segment = segment(&pseudo, source_port, target_port);
    // Version 4, 20 bytes of header, 40 in all; number and checksum are the kernel's; do not fragment; 64 hops.
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(segment);
    packet
}

fn syn_v6(source: Ipv6Addr, target: Ipv6Addr, source_port: u16, target_port: u16) -> Vec<u8> {
    let mut pseudo = Vec::with_capacity(40);
    pseudo.extend(source.octets());
    pseudo.extend(target.octets());
    pseudo.extend([0, 0, 0, 20, 0, 0, 0, TCP]);
    let segment = segment(&pseudo, source_port, target_port);
    let mut packet = vec![0x60, 0, 0, 0, 0, 20, TCP, 64];
    packet.extend(source.octets());
    packet.extend(target.octets());
    packet.extend(segment);
    packet
}

/// A TCP header of 20 bytes with its checksum over the pseudo header.
fn segment(pseudo: &[u8], source_port: u16, target_port: u16) -> Vec<u8> {
    let header = |checksum: u16| {
        let mut header = Vec::with_capacity(20);
        header.extend(source_port.to_be_bytes());
        header.extend(target_port.to_be_bytes());
        header.extend(1_u32.to_be_bytes());
        header.extend(0_u32.to_be_bytes());
        header.extend([0x50, SYN]);
        header.extend(65_535_u16.to_be_bytes());
        header.extend(checksum.to_be_bytes());
        header.extend([0, 0]);
        header
    };
    let blank = header(0);
    header(checksum(pseudo.iter().chain(&blank).copied()))
}

/// The internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: impl Iterator<Item = u8>) -> u16 {
    let mut sum: u32 = 0;
    for (place, byte) in bytes.enumerate() {
        sum += if place % 2 == 0 { u32::from(byte) << 8 } else { u32::from(byte) };
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The ports of a TCP packet that a raw IPv4 socket has received (with header) or an IPv6 one (without): source, target.
#[must_use]
pub fn ports(packet: &[u8], family_v4: bool) -> Option<(u16, u16)> {
    let start = if family_v4 { usize::from(packet.first()? & 0x0f) * 4 } else { 0 };
    let pair = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    Some((pair(start)?, pair(start + 2)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_over_packet_with_checksum_is_zero() {
        let packet = syn("198.18.0.1".parse().unwrap(), "10.66.0.2".parse().unwrap(), 4000, 22).expect("one family");
        let mut bytes = packet.get(12..20).unwrap().to_vec();
        bytes.extend([0, TCP, 0, 20]);
        bytes.extend(packet.get(20..).unwrap());
        assert_eq!(checksum(bytes.into_iter()), 0);
    }

    #[test]
    fn ports_stand_behind_the_header_of_each_family() {
        let v4 = syn("198.18.0.1".parse().unwrap(), "10.66.0.2".parse().unwrap(), 4000, 22).expect("one family");
        assert_eq!(ports(&v4, true), Some((4000, 22)));
        let v6 = syn("2001:db8::1".parse().unwrap(), "fd66::2".parse().unwrap(), 4001, 22).expect("one family");
        assert_eq!(ports(v6.get(40..).unwrap(), false), Some((4001, 22)));
    }
}
