//! Who else changes the table: notifications of the kernel.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::netlink;

use super::words::*;
use crate::error::Error;
use crate::netlink::{Message, Socket, attribute, be32, text};

/// What happened at the kernel's side without us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// Somebody else changed our table.
    ForeignChange {
        /// Who, as the kernel says: name of the program and process id. May be empty.
        who: String,
    },
    /// Somebody removed our table, or flushed the whole ruleset.
    TableGone {
        /// Who, as the kernel says. May be empty.
        who: String,
    },
    /// So much happened that notifications were lost; the table must be checked.
    Overrun,
}

/// A subscription to changes of one table.
#[derive(Debug)]
pub(crate) struct Watch {
    socket: Socket,
    tables: Vec<String>,
    pending: Pending,
}

/// What was seen since the last end of a transaction.
#[derive(Debug, Default)]
struct Pending {
    changed: bool,
    gone: bool,
}

impl Watch {
    pub(crate) fn open(table: &str) -> Result<Self, Error> {
        Self::open_all(vec![table.to_owned()])
    }

    /// For tables with any of these names, of whatever family.
    pub(crate) fn open_all(tables: Vec<String>) -> Result<Self, Error> {
        let socket = Socket::open(Some(netlink::NETFILTER), GROUP_MASK)
            .map_err(|e| Error::errno("subscribe to changes of nftables", e))?;
        Ok(Watch { socket, tables, pending: Pending::default() })
    }

    /// Reads all notifications that wait; those caused by the socket `own` are left out.
    pub(crate) fn read(&mut self, own: u32) -> Vec<KernelEvent> {
        self.read_but(own, &HashSet::new())
    }

    /// The same, without what processes with these numbers did.
    pub(crate) fn read_but(&mut self, own: u32, children: &HashSet<u32>) -> Vec<KernelEvent> {
        let mut events = Vec::new();
        loop {
            let (tables, pending) = (&self.tables, &mut self.pending);
            let whose = |message: Message<'_>| message.port_id == own;
            match self.socket.receive(|m| take(m, whose(m), children, tables, pending, &mut events)) {
                Ok(true) => {}
                Ok(false) => return events,
                Err(Errno::NOBUFS) => events.push(KernelEvent::Overrun),
                Err(_) => {
                    events.push(KernelEvent::Overrun);
                    return events;
                }
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn take(
    message: Message<'_>,
    own: bool,
    children: &HashSet<u32>,
    tables: &[String],
    pending: &mut Pending,
    events: &mut Vec<KernelEvent>,
) {
    let Some(body) = message.payload.get(4..) else { return };
    if own || message.kind >> 8 != SUBSYSTEM {
        return;
    }
    match message.kind & 0xff {
        // The end of a transaction says who made it.
        NEWGEN => {
            let name = attribute(body, GEN_PROC_NAME).map(text).unwrap_or_default();
            let pid = attribute(body, GEN_PROC_PID).and_then(be32);
            let who = match pid {
                Some(pid) => format!("{name} (pid {pid})"),
                None => name.to_owned(),
            };
            let seen = std::mem::take(pending);
            if pid.is_some_and(|pid| children.contains(&pid)) {
                return;
            }
            if seen.gone {
                events.push(KernelEvent::TableGone { who });
            } else if seen.changed {
                events.push(KernelEvent::ForeignChange { who });
            }
        }
        // All other kinds of notifications name the table in their first attribute.
        kind => {
            if attribute(body, TABLE_NAME).map(text).is_some_and(|name| tables.iter().any(|t| t == name)) {
                pending.changed = true;
                pending.gone |= kind == DELTABLE;
            }
        }
    }
}
