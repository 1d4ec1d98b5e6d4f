//! A loader that does nothing but fill a set of the kernel: the floor that
//! everything else is compared with.
#![allow(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

const CHUNK: u32 = 5000;

/// Address number `i`, spread over the whole space.
pub(crate) fn address(i: u32) -> Ipv4Addr {
    Ipv4Addr::from(i.wrapping_mul(2_654_435_761))
}

/// Fills a hash set with time-outs, with the same chunks and flags, from one prepared buffer per chunk.
pub(crate) fn load(elements: u32) -> Duration {
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER));
    let fd = fd.unwrap();
    sockopt::set_socket_send_buffer_size_force(&fd, 8 << 20).unwrap();
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).unwrap();
    let transact = |body: &[u8]| {
        let mut all = message(0x10, 1, &[0, 0, 0, 10]);
        all.extend_from_slice(body);
        all.extend(message(0x11, 1, &[0, 0, 0, 10]));
        rustix::net::send(&fd, &all, SendFlags::empty()).unwrap();
        let mut answer = [0u8; 4096];
        while let Ok((_, len)) = rustix::net::recv(&fd, &mut answer, RecvFlags::DONTWAIT) {
            assert!(answer.get(16..len.min(20)).is_some_and(|code| code == [0; 4]), "the kernel refused");
        }
    };
    let table = |kind: u16, flags: u16, rest: &[u8]| {
        let mut body = vec![1, 0, 0, 0];
        body.extend(attr(1, b"stockade-raw\0"));
        body.extend_from_slice(rest);
        message(10 << 8 | kind, flags, &body)
    };
    transact(&table(0, 0x405, &[]));
    let mut set = attr(2, b"s\0");
    for (kind, value) in [(3u16, 0x10u32), (4, 7), (5, 4), (10, 1), (12, 60_000)] {
        set.extend(attr(kind, &value.to_be_bytes()));
    }
    transact(&table(9, 0x405, &set));
    let start = Instant::now();
    let mut next = 0;
    while next < elements {
        let mut body = Vec::with_capacity(200_000);
        for _ in 0..CHUNK / 1000 {
            let mut list = Vec::with_capacity(40_000);
            for i in next..(next + 1000).min(elements) {
                let mut element = attr(0x8001, &attr(1, &address(i).octets()));
                element.extend(attr(4, &86_400_000u64.to_be_bytes()));
                list.extend(attr(0x8001, &element));
            }
            next += 1000;
            let mut rest = attr(2, b"s\0");
            rest.extend(attr(0x8003, &list));
            body.extend(table(12, 0x405, &rest));
        }
        transact(&body);
    }
    let took = start.elapsed();
    transact(&table(2, 0x5, &[]));
    took
}

/// Does a set of a table `inet` hold this address? Asked by its key: `nft get element` would read the whole set.
#[allow(dead_code, reason = "not everybody who loads asks")]
pub(crate) fn holds(table: &str, set: &str, address: Ipv4Addr) -> bool {
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER));
    let fd = fd.unwrap();
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).unwrap();
    let text = |kind: u16, text: &str| attr(kind, &[text.as_bytes(), b"\0"].concat());
    let key = attr(0x8001, &attr(0x8001, &attr(1, &address.octets())));
    let body = [vec![1, 0, 0, 0], text(1, table), text(2, set), attr(0x8003, &key)].concat();
    rustix::net::send(&fd, &message(10 << 8 | 13, 0, &body), SendFlags::empty()).unwrap();
    let mut answer = [0u8; 4096];
    let (_, len) = rustix::net::recv(&fd, answer.as_mut_slice(), RecvFlags::empty()).unwrap();
    // An error is of the kind 2, the element of another one.
    answer.get(4..6.min(len)).is_some_and(|kind| kind == (10u16 << 8 | 12).to_ne_bytes())
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(payload.len() + 16);
    all.extend(u32::try_from(payload.len() + 16).unwrap().to_ne_bytes());
    all.extend(kind.to_ne_bytes());
    all.extend((flags | 1).to_ne_bytes());
    all.extend([0; 8]);
    all.extend_from_slice(payload);
    all
}

fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(value.len() + 8);
    all.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
    all.extend(kind.to_ne_bytes());
    all.extend_from_slice(value);
    all.resize(all.len().next_multiple_of(4), 0);
    all
}
