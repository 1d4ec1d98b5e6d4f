//! A stream of opening packets from many addresses, at a steady rate, until it is killed.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use conformance::packet;
use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, SendFlags, SocketType, ipproto, sendto, socket},
};

/// Two raw sockets that send whole packets, one per family.
#[derive(Debug)]
pub(crate) struct Sender {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Sender {
    pub(crate) fn open() -> Result<Self> {
        let raw = |family| socket(family, SocketType::RAW, Some(RAW)).context("open a raw socket (needs root)");
        Ok(Self { v4: raw(AddressFamily::INET)?, v6: raw(AddressFamily::INET6)? })
    }

    /// Sends one packet; a full queue of the device loses it, as a real one would.
    pub(crate) fn send(&self, packet: &[u8], to: IpAddr) -> Result<()> {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        match sendto(socket, packet, SendFlags::empty(), &SocketAddr::new(to, 0)) {
            // A closed gate answers "not permitted": the packet was dropped on the way out.
            Ok(_) | Err(Errno::NOBUFS | Errno::AGAIN | Errno::PERM) => Ok(()),
            Err(error) => Err(error).context("send a packet"),
        }
    }
}

/// The protocol whose packets come with their own header.
const RAW: Protocol = ipproto::RAW;

pub(crate) fn run(addresses: &[IpAddr], v4: Ipv4Addr, v6: Ipv6Addr, port: u16, rate: u32) -> Result<ExitCode> {
    let sender = Sender::open()?;
    let target = |address: &IpAddr| if address.is_ipv4() { IpAddr::V4(v4) } else { IpAddr::V6(v6) };
    let packets: Vec<(IpAddr, Vec<u8>)> = addresses
        .iter()
        .filter_map(|address| Some((target(address), packet::syn(*address, target(address), 40_000, port)?)))
        .collect();
    let start = Instant::now();
    let mut sent = 0_u64;
    for (to, packet) in packets.iter().cycle() {
        sender.send(packet, *to)?;
        sent += 1;
        let due = Duration::from_nanos(sent.saturating_mul(1_000_000_000) / u64::from(rate.max(1)));
        let ahead = due.saturating_sub(start.elapsed());
        // Pacing is the sender's work: packets go out in small groups at a steady rate.
        if ahead > Duration::from_millis(1) {
            thread::sleep(ahead);
        }
    }
    Ok(ExitCode::SUCCESS)
}
