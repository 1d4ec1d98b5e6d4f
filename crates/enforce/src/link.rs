//! Virtual cables and addresses for the demo's own network namespaces.
//!
//! Source: Linux `rtnetlink(7)`, `include/uapi/linux/if_link.h`, `veth.h`.

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;
use stockade_core::Net;

use crate::netlink::{ACK, CREATE, Socket, Writer};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const EXCL: u16 = 0x200;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFF_UP: u32 = 1;

/// Makes a pair of joined interfaces: `here` in this network namespace, `there`
/// in that of process `pid`. Both are down.
///
/// # Errors
/// If the kernel refuses (no rights, a name is taken, no such process).
pub fn veth(here: &str, there: &str, pid: u32) -> io::Result<()> {
    ask(|w| {
        w.begin(RTM_NEWLINK, CREATE | EXCL | ACK, &link_header(0, 0));
        w.text(IFLA_IFNAME, here);
        w.nest(IFLA_LINKINFO, |w| {
            w.text(IFLA_INFO_KIND, "veth");
            w.nest(IFLA_INFO_DATA, |w| {
                w.nest(VETH_INFO_PEER, |w| {
                    w.raw(&link_header(0, 0));
                    w.text(IFLA_IFNAME, there);
                    w.bytes(IFLA_NET_NS_PID, &pid.to_ne_bytes());
                });
            });
        });
        w.end();
    })
}

/// Gives an interface an address inside a network of `prefix` bits.
///
/// # Errors
/// If there is no such interface, or the kernel refuses.
pub fn add_address(interface: &str, address: Net, prefix: u8) -> io::Result<()> {
    let index = index(interface)?;
    let (family, bytes) = match address.addr() {
        IpAddr::V4(a) => (2_u8, a.octets().to_vec()),
        IpAddr::V6(a) => (10_u8, a.octets().to_vec()),
    };
    ask(|w| {
        let [a, b, c, d] = index.to_ne_bytes();
        w.begin(RTM_NEWADDR, CREATE | EXCL | ACK, &[family, prefix, 0, 0, a, b, c, d]);
        w.bytes(IFA_LOCAL, &bytes);
        w.bytes(IFA_ADDRESS, &bytes);
        w.end();
    })
}

/// Switches an interface on.
///
/// # Errors
/// If there is no such interface, or the kernel refuses.
pub fn up(interface: &str) -> io::Result<()> {
    let index = index(interface)?;
    ask(|w| {
        w.begin(RTM_NEWLINK, ACK, &link_header(index, IFF_UP));
        w.end();
    })
}

fn index(interface: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, interface)?)
}

/// `struct ifinfomsg` with these flags set and to be changed.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0_u8; 16];
    for (place, value) in [(4, index), (8, flags), (12, flags)] {
        for (slot, byte) in header.iter_mut().skip(place).zip(value.to_ne_bytes()) {
            *slot = byte;
        }
    }
    header
}

fn ask(write: impl Fn(&mut Writer)) -> io::Result<()> {
    let mut socket = Socket::open(None, 0)?;
    socket.request(write, |(): &mut (), _| {}).map_err(|e: Errno| e.into())
}
