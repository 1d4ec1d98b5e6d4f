//! TCP sockets of this network namespace: who is connected, and ending it.
//!
//! Source: Linux `include/uapi/linux/inet_diag.h` and `sock_diag.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use rustix::net::netlink;

use crate::netlink::{ACK, DUMP, Message, Socket};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
/// Established, both handshakes and all half-closed states; not time-wait (6), closed (7) and listen (10).
const CONNECTED: u32 = 0x0fff & !(1 | 1 << 6 | 1 << 7 | 1 << 10);
const ESTABLISHED: u32 = 1 << 1;
const LISTENING: u32 = 1 << 10;
/// Bytes of `struct inet_diag_sockid`.
const SOCK_ID: usize = 48;

/// One TCP connection that ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    family: u8,
    /// The kernel's own description, to be handed back.
    id: [u8; SOCK_ID],
    pub(crate) local_port: u16,
    pub(crate) peer: IpAddr,
    pub(crate) inode: u32,
}

/// Access to the sockets of this network namespace.
#[derive(Debug)]
pub(crate) struct Diag {
    socket: Socket,
}

impl Diag {
    pub(crate) fn open() -> Result<Self, Errno> {
        Ok(Diag { socket: Socket::open(Some(netlink::SOCK_DIAG), 0)? })
    }

    /// All TCP connections of both families. An IPv4 peer of an IPv6 socket is shown as IPv4.
    pub(crate) fn connections(&mut self) -> Result<Vec<Connection>, Errno> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let found = self.socket.request(
                |w| {
                    w.begin(SOCK_DIAG_BY_FAMILY, DUMP, &request(family, CONNECTED, &[0; SOCK_ID]));
                    w.end();
                },
                |found: &mut Vec<Connection>, message| found.extend(connection_of(message)),
            );
            match found {
                Ok(found) => all.extend(found),
                // No IPv6 in this kernel.
                Err(Errno::NOENT | Errno::AFNOSUPPORT) if family == AF_INET6 => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(all)
    }

    /// Established connections to ports on which a program of root listens: not
    /// what a user's own programs or forwarded ports are connected to.
    pub(crate) fn serving_root(&mut self) -> Result<Vec<Connection>, Errno> {
        let mut ports = Vec::new();
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            for states in [LISTENING, ESTABLISHED] {
                let found = self.socket.request(
                    |w| {
                        w.begin(SOCK_DIAG_BY_FAMILY, DUMP, &request(family, states, &[0; SOCK_ID]));
                        w.end();
                    },
                    |found: &mut Vec<(Connection, u32)>, message| {
                        found.extend(connection_of(message).zip(owner_of(message)));
                    },
                );
                match found {
                    Ok(found) if states == LISTENING => {
                        ports.extend(found.iter().filter(|(_, uid)| *uid == 0).map(|(c, _)| c.local_port));
                    }
                    Ok(found) => all.extend(found.into_iter().map(|(connection, _)| connection)),
                    // No IPv6 in this kernel.
                    Err(Errno::NOENT | Errno::AFNOSUPPORT) if family == AF_INET6 => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        all.retain(|connection| ports.contains(&connection.local_port));
        Ok(all)
    }

    /// Ends a connection: both sides see a reset. `false` if it had ended already.
    pub(crate) fn end(&mut self, connection: &Connection) -> Result<bool, Errno> {
        let ended = self.socket.request(
            |w| {
                w.begin(SOCK_DESTROY, ACK, &request(connection.family, u32::MAX, &connection.id));
                w.end();
            },
            |(): &mut (), _| {},
        );
        match ended {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// `struct inet_diag_req_v2`
fn request(family: u8, states: u32, id: &[u8; SOCK_ID]) -> Vec<u8> {
    let mut request = vec![family, TCP, 0, 0];
    request.extend_from_slice(&states.to_ne_bytes());
    request.extend_from_slice(id);
    request
}

/// Whose socket it is: `idiag_uid` of `struct inet_diag_msg`.
fn owner_of(message: Message<'_>) -> Option<u32> {
    Some(u32::from_ne_bytes(*message.payload.get(4 + SOCK_ID + 12..)?.first_chunk::<4>()?))
}

/// Reads `struct inet_diag_msg`.
fn connection_of(message: Message<'_>) -> Option<Connection> {
    if message.kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let ([family, ..], rest) = message.payload.split_first_chunk::<4>()?;
    let (id, rest) = rest.split_first_chunk::<SOCK_ID>()?;
    let inode = rest.get(16..)?.first_chunk::<4>()?;
    let peer: [u8; 16] = *id.get(20..)?.first_chunk()?;
    let peer = match *family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(*peer.first_chunk::<4>()?)),
        _ => IpAddr::V6(Ipv6Addr::from(peer)).to_canonical(),
    };
    let [high, low, ..] = *id;
    Some(Connection {
        family: *family,
        id: *id,
        local_port: u16::from_be_bytes([high, low]),
        peer,
        inode: u32::from_ne_bytes(*inode),
    })
}
