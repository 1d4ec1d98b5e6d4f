//! The way out: takes our blocks out of the kernel with the daemon dead.

use rustix::net::netlink;
use stockade_core::Net;

use crate::error::Error;
use crate::fallback::Fallback;
use crate::netlink::Socket;
use crate::nft;

/// What was lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// Was there anything of ours at all?
    pub found: bool,
    /// Elements removed; with the whole table it is 0.
    pub elements: usize,
    /// Networks that still hold the address and were not asked for.
    pub covered_by: Vec<Net>,
}

/// Removes one address or network from all of our sets, or with `None` the whole table.
///
/// Needs nothing but the kernel: no daemon, no socket, no database. The caller
/// marks the database. Networks that hold the address stay and are named.
///
/// # Errors
///
/// No rights, or a living process owns the table (then its name and process id
/// are in the text; ask it instead).
pub fn lift(table: &str, target: Option<Net>) -> Result<Lifted, Error> {
    let what = match target {
        Some(net) => format!("lift {net} from table inet {table}"),
        None => format!("lift table inet {table}"),
    };
    let failed = |errno| Error::errno(&what, errno);
    let opened = Socket::open(Some(netlink::NETFILTER), 0)
        .and_then(|mut socket| nft::table_state(&mut socket, table).map(|state| (socket, state)));
    let (mut socket, state) = match opened.map_err(failed) {
        Ok((socket, state)) if state.exists => (socket, state),
        Err(error) if !error.lacks_feature => return Err(error),
        _ => return lift_by_tools(table, target),
    };
    if let Some(owner) = state.owner {
        return Err(nft::owned_by(&what, owner));
    }
    let Some(net) = target else {
        nft::delete_table(&mut socket, table).map_err(failed)?;
        return Ok(Lifted { found: true, ..Lifted::default() });
    };
    let mut elements = Vec::new();
    let mut covered_by = Vec::new();
    for object in nft::standing(&mut socket, table).map_err(failed)? {
        let Some((ipv4, prefix)) = nft::parse_set_name(&object.name).filter(|_| object.kind == nft::Kind::Set) else {
            continue;
        };
        if ipv4 != net.is_ipv4() || prefix > net.prefix() {
            continue;
        }
        let Some(key) = Net::new(net.addr(), prefix) else { continue };
        if nft::has_element(&mut socket, table, &object.name, key).map_err(failed)? {
            if key == net {
                elements.push((object.name, key));
            } else {
                covered_by.push(key);
            }
        }
    }
    if !elements.is_empty() {
        nft::delete_elements(&mut socket, table, &elements).map_err(failed)?;
    }
    covered_by.sort_unstable();
    covered_by.dedup();
    Ok(Lifted { found: !elements.is_empty(), elements: elements.len(), covered_by })
}

/// What stands in the kernel, as seen without a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Is our table there?
    pub table: bool,
    /// The living process that owns it, in words: `stockade (pid 5)`. `None` if
    /// nobody does: the daemon is dead, or the kernel knows no owners.
    pub owner: Option<String>,
}

/// Looks whether our table stands, and who owns it.
///
/// # Errors
///
/// No rights to ask, or no nftables.
pub fn standing(table: &str) -> Result<Standing, Error> {
    let failed = |errno| Error::errno(format!("look for table inet {table}"), errno);
    let mut socket = Socket::open(Some(netlink::NETFILTER), 0).map_err(failed)?;
    let state = nft::table_state(&mut socket, table).map_err(failed)?;
    Ok(Standing { table: state.exists, owner: state.owner.map(nft::owner_in_words) })
}

/// The same where bans are kept by `ipset` or `iptables`; without these tools there is nothing to lift.
fn lift_by_tools(table: &str, target: Option<Net>) -> Result<Lifted, Error> {
    let mut lifted = Lifted::default();
    for with_sets in [true, false] {
        let Ok(mut tools) = Fallback::open(table, with_sets) else { continue };
        if !tools.found()? {
            continue;
        }
        match target {
            None => {
                tools.delete()?;
                lifted.found = true;
            }
            Some(net) => {
                lifted.elements = lifted.elements.saturating_add(tools.lift(net)?);
                lifted.found = lifted.elements > 0;
            }
        }
    }
    Ok(lifted)
}
