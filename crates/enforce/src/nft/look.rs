//! What stands in the kernel, and small changes to it without having made it.

use rustix::io::Errno;
use stockade_core::Net;

use super::words::*;
use super::{first, transact, write};
use crate::error::Error;
use crate::netlink::{DUMP, Message, Socket, attribute, attributes, be32, be64, text};

/// A table as the kernel shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableState {
    pub(crate) exists: bool,
    pub(crate) flags: u32,
    /// Port id of the socket that owns it.
    pub(crate) owner: Option<u32>,
}

/// The attributes of a message of ours, if it is of that kind.
pub(super) fn body_of(message: Message<'_>, kind: u16) -> Option<&[u8]> {
    if message.kind == (SUBSYSTEM << 8 | kind) { message.payload.get(4..) } else { None }
}

/// What the kernel knows about a table.
pub(crate) fn table_state(socket: &mut Socket, table: &str) -> Result<TableState, Errno> {
    let state = socket.request(
        |w| {
            w.begin(SUBSYSTEM << 8 | GETTABLE, 0, &[PROTO_INET, 0, 0, 0]);
            w.text(TABLE_NAME, table);
            w.end();
        },
        |state: &mut TableState, message| {
            let Some(body) = body_of(message, NEWTABLE) else { return };
            state.exists = true;
            state.flags = attribute(body, TABLE_FLAGS).and_then(be32).unwrap_or(0);
            state.owner = attribute(body, TABLE_OWNER).and_then(be32);
        },
    );
    match state {
        Err(Errno::NOENT) => Ok(TableState::default()),
        other => other,
    }
}

/// Kinds of named things in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chain,
    Map,
    Set,
    Counter,
}

/// A named thing in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// All named things in a table, without their contents; none if the table is missing.
pub(crate) fn standing(socket: &mut Socket, table: &str) -> Result<Vec<Object>, Errno> {
    let mut all = Vec::new();
    for (get, new, table_kind, name_kind) in [
        (GETCHAIN, NEWCHAIN, CHAIN_TABLE, CHAIN_NAME),
        (GETSET, NEWSET, SET_TABLE, SET_NAME),
        (GETOBJ, NEWOBJ, OBJ_TABLE, OBJ_NAME),
    ] {
        let found = socket.request(
            |w| {
                w.begin(SUBSYSTEM << 8 | get, DUMP, &[PROTO_INET, 0, 0, 0]);
                w.text(table_kind, table);
                w.end();
            },
            |found: &mut Vec<Object>, message| {
                let Some(body) = body_of(message, new) else { return };
                if attribute(body, table_kind).map(text) != Some(table) {
                    return;
                }
                let is_map = attribute(body, SET_FLAGS).and_then(be32).unwrap_or(0) & SET_F_MAP != 0;
                let kind = match new {
                    NEWCHAIN => Kind::Chain,
                    NEWSET if is_map => Kind::Map,
                    NEWSET => Kind::Set,
                    _ => Kind::Counter,
                };
                let name = attribute(body, name_kind).map(text).unwrap_or_default().to_owned();
                found.push(Object { kind, name });
            },
        );
        match found {
            Ok(found) => all.extend(found),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}

/// What stands in a table of any family, without the elements of its sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) exists: bool,
    pub(crate) chains: Vec<String>,
    /// Sets with a name; no maps.
    pub(crate) sets: Vec<String>,
    /// Rules that look into a set: chain, number of the rule, set.
    pub(crate) lookups: Vec<(String, u64, String)>,
}

/// Looks at a table.
pub(crate) fn look_at(socket: &mut Socket, family: u8, table: &str) -> Result<Seen, Errno> {
    let mut seen = Seen::default();
    let ask = |socket: &mut Socket, get: u16, new: u16| {
        let found = socket.request(
            |w| {
                w.begin(SUBSYSTEM << 8 | get, DUMP, &[family, 0, 0, 0]);
                // All three kinds name their table in the same attribute.
                w.text(RULE_TABLE, table);
                w.end();
            },
            |found: &mut Vec<Vec<u8>>, message| {
                let Some(body) = body_of(message, new) else { return };
                if attribute(body, RULE_TABLE).map(text) == Some(table) {
                    found.push(body.to_vec());
                }
            },
        );
        match found {
            Err(Errno::NOENT) => Ok(Vec::new()),
            other => other,
        }
    };
    let named = |body: &[u8], kind| attribute(body, kind).map(text).unwrap_or_default().to_owned();
    seen.chains = ask(socket, GETCHAIN, NEWCHAIN)?.iter().map(|body| named(body, CHAIN_NAME)).collect();
    for body in ask(socket, GETSET, NEWSET)? {
        let flags = attribute(&body, SET_FLAGS).and_then(be32).unwrap_or(0);
        if flags & (SET_F_ANONYMOUS | SET_F_MAP) == 0 {
            seen.sets.push(named(&body, SET_NAME));
        }
    }
    for body in ask(socket, GETRULE, NEWRULE)? {
        let handle = attribute(&body, RULE_HANDLE).and_then(be64).unwrap_or(0);
        let expressions = attribute(&body, RULE_EXPRESSIONS).unwrap_or_default();
        for (_, expression) in attributes(expressions) {
            let set = attribute(expression, EXPR_DATA).and_then(|data| attribute(data, LOOKUP_SET)).map(text);
            if let Some(set) = set.filter(|_| attribute(expression, EXPR_NAME).map(text) == Some("lookup")) {
                seen.lookups.push((named(&body, RULE_CHAIN), handle, set.to_owned()));
            }
        }
    }
    seen.exists = !seen.chains.is_empty() || !seen.sets.is_empty() || table_exists(socket, family, table)?;
    Ok(seen)
}

fn table_exists(socket: &mut Socket, family: u8, table: &str) -> Result<bool, Errno> {
    let found = socket.request(
        |w| {
            w.begin(SUBSYSTEM << 8 | GETTABLE, 0, &[family, 0, 0, 0]);
            w.text(TABLE_NAME, table);
            w.end();
        },
        |found: &mut bool, message| *found |= body_of(message, NEWTABLE).is_some(),
    );
    match found {
        Err(Errno::NOENT) => Ok(false),
        other => other,
    }
}

/// Asks for one element by its key.
pub(crate) fn has_element(socket: &mut Socket, table: &str, set: &str, net: Net) -> Result<bool, Errno> {
    has_element_of(socket, PROTO_INET, table, set, net)
}

/// The same in a table of any family.
pub(crate) fn has_element_of(socket: &mut Socket, family: u8, table: &str, set: &str, net: Net) -> Result<bool, Errno> {
    let found = socket.request(
        |w| {
            w.begin(SUBSYSTEM << 8 | GETSETELEM, 0, &[family, 0, 0, 0]);
            w.text(ELEMS_TABLE, table);
            w.text(ELEMS_SET, set);
            w.nest(ELEMS_ELEMENTS, |w| w.nest(LIST_ELEM, |w| write::key(w, net)));
            w.end();
        },
        |found: &mut bool, message| *found |= message.kind == (SUBSYSTEM << 8 | NEWSETELEM),
    );
    match found {
        Err(Errno::NOENT) => Ok(false),
        other => other,
    }
}

/// Deletes a table, whoever made it.
pub(crate) fn delete_table(socket: &mut Socket, table: &str) -> Result<(), Errno> {
    transact(socket, table, |b| {
        b.delete_table();
    })
    .map_err(|f| first(&f))
}

/// Deletes elements that are known to be there, in one transaction.
pub(crate) fn delete_elements(socket: &mut Socket, table: &str, found: &[(String, Net)]) -> Result<(), Errno> {
    let done = transact(socket, table, |b| {
        for (set, net) in found {
            b.elements(DELSETELEM, set, std::iter::once((*net, None)));
        }
    });
    done.map_err(|f| first(&f))
}

/// The error for a table that another living process holds.
pub(crate) fn owned_by(what: &str, owner: u32) -> Error {
    let who = owner_in_words(owner);
    Error::new(
        what,
        format!("it belongs to {who}, which is alive"),
        "stop that process first, or ask it through its control socket",
    )
}

/// The process behind the port id of a table's owner.
pub(crate) fn owner_in_words(owner: u32) -> String {
    crate::owner::of_netlink_port(owner, NETLINK_NETFILTER)
}

/// Number of the netfilter protocol in `/proc/net/netlink`.
const NETLINK_NETFILTER: u32 = 12;
