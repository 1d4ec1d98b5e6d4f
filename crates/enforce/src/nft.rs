//! Our own nftables table, spoken to over netlink.
//!
//! ```text
//! table inet stockade
//!   chain b1_prerouting   hook prerouting, -300: loopback accepted; groups that block everything; b1_ports
//!   chain b1_input        hook input, -1:        b1_ports again, for ports that were redirected to this host
//!   chain b1_forward      hook forward, -1:      b1_ports again, for ports after DNAT
//!   chain b1_ports        per protocol: destination port -> chain, by the map b1_tcp, b1_udp .. of single ports
//!                         and the map b1_tcp_ranges .. of long ranges, where there are any
//!   chain b1_s0           several groups hold these ports: jump to each
//!   chain b1_g0_tcp_22    source in a set of this group: count, drop
//!   set   b1_g0_tcp_22_v4, _v6, _v4_24 ..   hosts, and networks by prefix length, once there is a ban
//! ```
//! `b1` is the number of the build. A new build stands beside the old one until
//! its sets are full; then the old one is retired in one transaction. So no
//! moment is without protection, whoever made the old one.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::netlink;
use stockade_core::Net;

use crate::change::{Change, ElementOp};
use crate::error::Error;
use crate::layout::{GroupKey, Layout, Verdict};
use crate::netlink::{DUMP, ERROR, Socket, attribute, be64, error_of, text};

pub(crate) mod events;
mod groups;
mod look;
pub(crate) mod words;
mod write;

use groups::{Group, SetKey, add_dispatch, add_fresh, build_number, name_of, set_key, set_name};
use look::body_of;
use words::*;
pub(crate) use write::Batch;

pub(crate) use groups::parse_set_name;
pub(crate) use look::{
    Kind, Object, Seen, delete_elements, delete_table, has_element, has_element_of, look_at, owned_by, owner_in_words,
    standing, table_state,
};

/// Elements per message: their attributes must fit 64 KiB, at most 60 bytes each.
pub(crate) const MESSAGE_ELEMENTS: usize = 1000;
/// Elements per transaction; more would stall single bans behind it.
pub(crate) const TRANSACTION_ELEMENTS: usize = 5000;
/// Operations per transaction while a refused batch is searched for its bad elements.
const ISOLATE_OPS: usize = 256;

/// What the kernel can do, found out by trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// The table is ours alone and outlives us (Linux 6.9).
    pub(crate) owned: bool,
    /// Elements can be removed without knowing whether they are there (Linux 6.3).
    destroy: bool,
    /// Packets can be rejected at prerouting (Linux 5.9).
    reject: bool,
}

/// The table, as we made it.
#[derive(Debug)]
pub(crate) struct Nft {
    socket: Socket,
    table: String,
    features: Features,
    /// Number of the last build.
    build: u32,
    groups: Vec<Group>,
    /// All chains, maps and counters of ours; sets stand with their groups.
    structure: Vec<String>,
    /// Rules that lead packets to the chains of groups.
    dispatch_rules: usize,
}

impl Nft {
    /// Opens the socket and takes the table over, or prepares to make it.
    ///
    /// `old` means to do without the verbs and flags of newer kernels.
    pub(crate) fn open(table: &str, old: bool) -> Result<Self, Error> {
        let what = format!("open nftables table inet {table}");
        let mut socket =
            Socket::open(Some(netlink::NETFILTER), 0).map_err(|e| Error::errno("open a netlink socket", e))?;
        let state = table_state(&mut socket, table).map_err(|e| Error::errno(&what, e))?;
        if let Some(owner) = state.owner.filter(|o| *o != socket.port_id()) {
            return Err(owned_by(&what, owner));
        }
        let mut nft = Nft {
            socket,
            table: table.to_owned(),
            features: Features { owned: !old, destroy: !old, reject: true },
            build: 0,
            groups: Vec::new(),
            structure: Vec::new(),
            dispatch_rules: 0,
        };
        nft.features.destroy = !old
            && nft
                .transact(|b| {
                    b.destroy_table("stockade-which-does-not-exist");
                })
                .is_ok();
        if let Err(errno) = nft.claim() {
            nft.features.owned = false;
            if errno == Errno::PERM {
                return Err(Error::errno(what, errno));
            }
            nft.claim().map_err(|e| Error::errno(&what, e))?;
        }
        nft.build = nft.standing()?.iter().filter_map(|o| build_number(&o.name)).max().unwrap_or(0);
        Ok(nft)
    }

    pub(crate) fn features(&self) -> Features {
        self.features
    }

    pub(crate) fn port_id(&self) -> u32 {
        self.socket.port_id()
    }

    /// Makes the table, or makes an orphaned one ours.
    fn claim(&mut self) -> Result<(), Errno> {
        let flags = self.table_flags();
        self.transact(|b| {
            b.add_table(flags);
        })
        .map_err(|failures| first(&failures))
    }

    fn table_flags(&self) -> u32 {
        if self.features.owned { TABLE_F_OWNER | TABLE_F_PERSIST } else { 0 }
    }

    /// Does the table stand, and all that this build made in it?
    pub(crate) fn is_whole(&mut self) -> Result<bool, Error> {
        if self.structure.is_empty() {
            return Ok(true);
        }
        let standing = self.standing()?;
        let sets = self.groups.iter().flat_map(|g| g.sets.iter().map(|(v4, p)| set_name(&g.name, *v4, *p)));
        if !self.structure.iter().cloned().chain(sets).all(|name| standing.iter().any(|o| o.name == name)) {
            return Ok(false);
        }
        // Each set has one rule.
        let by_sets: usize = self.groups.iter().map(|g| g.sets.len()).sum();
        let expected = by_sets.saturating_add(self.dispatch_rules);
        Ok(self.count_rules()? >= expected)
    }

    /// Rules that stand in chains of this build.
    fn count_rules(&mut self) -> Result<usize, Error> {
        let (table, structure) = (&self.table, &self.structure);
        let count = self.socket.request(
            |w| {
                w.begin(SUBSYSTEM << 8 | GETRULE, DUMP, &[PROTO_INET, 0, 0, 0]);
                w.text(RULE_TABLE, table);
                w.end();
            },
            |count: &mut usize, message| {
                let Some(body) = body_of(message, NEWRULE) else { return };
                let chain = attribute(body, RULE_CHAIN).map(text).unwrap_or_default();
                let ours = attribute(body, RULE_TABLE).map(text) == Some(table.as_str());
                if ours && structure.iter().any(|name| name == chain) {
                    *count = count.saturating_add(1);
                }
            },
        );
        count.map_err(|e| Error::errno(format!("list the rules of table inet {table}"), e))
    }

    /// Makes chains and maps for this layout beside what stands, live at once; where nothing is to block and the last build
    /// blocked nothing, nothing is made.
    ///
    /// `reuse` says for each group of the layout which group of the last build
    /// it continues; the others start empty.
    pub(crate) fn build(&mut self, layout: &Layout, reuse: &[Option<usize>]) -> Result<(), Error> {
        if layout.groups().is_empty() && self.groups.is_empty() {
            self.structure.clear();
            self.dispatch_rules = 0;
            return Ok(());
        }
        let result = self.try_build(layout, reuse);
        let failures = match result {
            Err(failures) if self.features.reject && layout.groups().iter().any(|g| g.verdict == Verdict::Reject) => {
                self.features.reject = false;
                self.try_build(layout, reuse).map_err(|_| failures)
            }
            other => other,
        };
        failures.map_err(|f| Error::errno(format!("build the chains of table inet {}", self.table), first(&f)))
    }

    fn try_build(&mut self, layout: &Layout, reuse: &[Option<usize>]) -> Result<(), Vec<(u32, Errno)>> {
        let build = self.build.wrapping_add(1);
        let mut structure = Vec::new();
        let mut dispatch_rules = 0;
        let groups: Vec<(Group, bool)> = layout
            .groups()
            .iter()
            .enumerate()
            .map(|(i, key)| match reuse.get(i).copied().flatten().and_then(|old| self.groups.get(old)) {
                Some(old) => (old.clone(), true),
                None => (self.new_group(build, i, key), false),
            })
            .collect();
        let flags = self.table_flags();
        self.transact(|b| {
            b.add_table(flags);
            for (group, reused) in &groups {
                structure.push(group.name.clone());
                if *reused {
                    continue;
                }
                b.add_counter(&group.name);
                b.add_chain(&group.name);
            }
            let before = b.rules;
            add_dispatch(b, build, layout, &groups, &mut structure);
            dispatch_rules = b.rules.saturating_sub(before);
        })?;
        self.dispatch_rules = dispatch_rules;
        self.build = build;
        self.groups = groups.into_iter().map(|(group, _)| group).collect();
        self.structure = structure;
        Ok(())
    }

    fn new_group(&self, build: u32, index: usize, key: &GroupKey) -> Group {
        let verdict = if self.features.reject { key.verdict } else { Verdict::Drop };
        let label: String =
            key.ports.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(40).collect();
        let refuse = if key.verdict == Verdict::Reject { "_reject" } else { "" };
        Group { name: format!("b{build}_g{index}_{label}{refuse}"), verdict, sets: Vec::new() }
    }

    /// Removes everything in the table that the present build does not use, in one transaction; the table itself
    /// when nothing blocks by it. The next build makes it again.
    pub(crate) fn retire(&mut self) -> Result<(), Error> {
        if self.groups.is_empty() {
            self.structure.clear();
            self.dispatch_rules = 0;
            return self.delete();
        }
        let mut stale = self.standing()?;
        let sets: Vec<String> =
            self.groups.iter().flat_map(|g| g.sets.iter().map(|(v4, p)| set_name(&g.name, *v4, *p))).collect();
        stale.retain(|o| !self.structure.contains(&o.name) && !sets.contains(&o.name));
        if stale.is_empty() {
            return Ok(());
        }
        let named = |kind| stale.iter().filter(move |o| o.kind == kind).map(|o| o.name.as_str());
        let done = self.transact(|b| {
            named(Kind::Chain).for_each(|n| {
                b.flush_chain(n);
            });
            named(Kind::Map).for_each(|n| {
                b.delete_set(n);
            });
            named(Kind::Chain).for_each(|n| {
                b.delete_chain(n);
            });
            named(Kind::Set).for_each(|n| {
                b.delete_set(n);
            });
            named(Kind::Counter).for_each(|n| {
                b.delete_counter(n);
            });
        });
        done.map_err(|f| Error::errno(format!("remove the former chains of table inet {}", self.table), first(&f)))
    }

    /// Changes elements, [`TRANSACTION_ELEMENTS`] per transaction; each (group, net) at most once.
    ///
    /// Returns the indices of those that failed; all others are as asked for.
    pub(crate) fn change(&mut self, ops: &[ElementOp]) -> Vec<(usize, Errno)> {
        let mut failed = Vec::new();
        let mut offset = 0usize;
        for chunk in ops.chunks(TRANSACTION_ELEMENTS) {
            let mut order: Vec<(usize, ElementOp)> = chunk.iter().copied().enumerate().collect();
            order.iter_mut().for_each(|(i, _)| *i = i.saturating_add(offset));
            offset = offset.saturating_add(chunk.len());
            // Where there is no set there is nothing to remove.
            order.retain(|(_, op)| op.change != Change::Remove || self.has_set(set_key(op)));
            order.sort_by_key(|(_, op)| set_key(op));
            if self.packed(&order).is_err() {
                self.isolate(&order, &mut failed);
            }
        }
        failed
    }

    /// One transaction with many elements per message.
    fn packed(&mut self, order: &[(usize, ElementOp)]) -> Result<(), Vec<(u32, Errno)>> {
        let fresh = self.fresh_sets(order);
        let remove = if self.features.destroy { DESTROYSETELEM } else { DELSETELEM };
        let groups = std::mem::take(&mut self.groups);
        let done = self.transact(|b| {
            add_fresh(b, &groups, &fresh);
            for same_set in order.chunk_by(|(_, a), (_, b)| set_key(a) == set_key(b)) {
                let Some(set) = same_set.first().and_then(|(_, op)| name_of(&groups, set_key(op))) else { continue };
                let gone: Vec<Net> = same_set
                    .iter()
                    .filter(|(_, op)| !matches!(op.change, Change::Add(_)))
                    .map(|(_, op)| op.net)
                    .collect();
                for part in gone.chunks(MESSAGE_ELEMENTS) {
                    b.elements(remove, &set, part.iter().map(|net| (*net, None)));
                }
                let new: Vec<(Net, Option<u64>)> =
                    same_set.iter().filter_map(|(_, op)| op.change.added().map(|millis| (op.net, millis))).collect();
                for part in new.chunks(MESSAGE_ELEMENTS) {
                    b.elements(NEWSETELEM, &set, part.iter().copied());
                }
            }
        });
        self.groups = groups;
        if done.is_ok() {
            self.keep_fresh(&fresh);
        }
        done
    }

    /// Does what a refused batch asks for, except for the elements that made it fail.
    fn isolate(&mut self, order: &[(usize, ElementOp)], failed: &mut Vec<(usize, Errno)>) {
        // Set by set: one that can't be made takes nobody else with it.
        let sets = order.chunk_by(|(_, a), (_, b)| set_key(a) == set_key(b));
        for part in sets.flat_map(|set| set.chunks(ISOLATE_OPS)) {
            let mut left = part.to_vec();
            while !left.is_empty() {
                match self.one_by_one(&left) {
                    Ok(()) => break,
                    Err(bad) => {
                        let before = left.clone();
                        for (i, errno, was_removal) in bad {
                            let absent = was_removal && errno == Errno::NOENT;
                            match left.iter_mut().find(|(index, _)| *index == i) {
                                Some((_, op)) if absent => {
                                    if let Change::Replace(millis) = op.change {
                                        op.change = Change::Add(millis);
                                        continue;
                                    }
                                }
                                _ => failed.push((i, errno)),
                            }
                            left.retain(|(index, _)| *index != i);
                        }
                        if left == before {
                            failed.extend(left.iter().map(|(i, _)| (*i, Errno::PROTO)));
                            break;
                        }
                    }
                }
            }
        }
    }

    /// One transaction with one element per message; names the bad ones: (index, why, while removing).
    fn one_by_one(&mut self, ops: &[(usize, ElementOp)]) -> Result<(), Vec<(usize, Errno, bool)>> {
        let fresh = self.fresh_sets(ops);
        let groups = std::mem::take(&mut self.groups);
        let mut numbers: Vec<(u32, usize, bool)> = Vec::new();
        let done = self.transact(|b| {
            add_fresh(b, &groups, &fresh);
            for (i, op) in ops {
                let Some(set) = name_of(&groups, set_key(op)) else { continue };
                if !matches!(op.change, Change::Add(_)) {
                    numbers.push((b.elements(DELSETELEM, &set, std::iter::once((op.net, None))), *i, true));
                }
                if let Some(millis) = op.change.added() {
                    numbers.push((b.elements(NEWSETELEM, &set, std::iter::once((op.net, millis))), *i, false));
                }
            }
        });
        self.groups = groups;
        let Err(failures) = done else {
            self.keep_fresh(&fresh);
            return Ok(());
        };
        let mut bad: Vec<(usize, Errno, bool)> = Vec::new();
        for (seq, errno) in &failures {
            let op = numbers.iter().find(|(s, ..)| s == seq);
            // Of an operation with two messages the first refusal counts.
            if let Some((_, i, removal)) = op.filter(|(_, i, _)| bad.iter().all(|(known, ..)| known != i)) {
                bad.push((*i, *errno, *removal));
            }
        }
        if bad.is_empty() {
            bad = ops.iter().map(|(i, _)| (*i, first(&failures), false)).collect();
        }
        Err(bad)
    }

    /// Sets that the operations need and that don't exist yet.
    fn fresh_sets(&self, ops: &[(usize, ElementOp)]) -> Vec<SetKey> {
        let mut keys: Vec<SetKey> = ops.iter().map(|(_, op)| set_key(op)).filter(|k| !self.has_set(*k)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn has_set(&self, key: SetKey) -> bool {
        self.groups.get(key.group).is_none_or(|g| g.sets.contains(&(key.ipv4, key.prefix)))
    }

    fn keep_fresh(&mut self, fresh: &[SetKey]) {
        for key in fresh {
            if let Some(group) = self.groups.get_mut(key.group) {
                group.sets.push((key.ipv4, key.prefix));
            }
        }
    }

    /// Is this very host or network an element of the group, not yet expired?
    pub(crate) fn holds(&mut self, group: usize, net: Net) -> Result<bool, Errno> {
        let key = SetKey { group, ipv4: net.is_ipv4(), prefix: net.prefix() };
        // A set that we have not made holds nothing of ours, whatever stands under its name.
        if !self.has_set(key) {
            return Ok(false);
        }
        let Some(set) = name_of(&self.groups, key) else { return Ok(false) };
        has_element(&mut self.socket, &self.table, &set, net)
    }

    /// Have we made the set that would hold it?
    pub(crate) fn has_set_for(&self, group: usize, net: Net) -> bool {
        self.has_set(SetKey { group, ipv4: net.is_ipv4(), prefix: net.prefix() })
    }

    /// Packets and bytes that each group refused, by index.
    pub(crate) fn counters(&mut self) -> Result<Vec<(u64, u64)>, Errno> {
        let table = self.table.clone();
        let found = self.socket.request(
            |w| {
                w.begin(SUBSYSTEM << 8 | GETOBJ, DUMP, &[PROTO_INET, 0, 0, 0]);
                w.text(OBJ_TABLE, &table);
                w.be32(OBJ_TYPE, OBJ_COUNTER);
                w.end();
            },
            |found: &mut Vec<(String, u64, u64)>, message| {
                let Some(body) = body_of(message, NEWOBJ) else { return };
                let data = attribute(body, OBJ_DATA).unwrap_or_default();
                let number = |kind| attribute(data, kind).and_then(be64).unwrap_or(0);
                let name = attribute(body, OBJ_NAME).map(text).unwrap_or_default();
                if attribute(body, OBJ_TABLE).map(text) == Some(table.as_str()) {
                    found.push((name.to_owned(), number(COUNTER_PACKETS), number(COUNTER_BYTES)));
                }
            },
        )?;
        let of =
            |group: &Group| found.iter().find(|(name, ..)| *name == group.name).map_or((0, 0), |(_, p, b)| (*p, *b));
        Ok(self.groups.iter().map(of).collect())
    }

    /// Removes the table with all that it blocks.
    pub(crate) fn delete(&mut self) -> Result<(), Error> {
        match self.transact(|b| {
            b.delete_table();
        }) {
            Ok(()) => Ok(()),
            Err(f) if first(&f) == Errno::NOENT => Ok(()),
            Err(f) => Err(Error::errno(format!("delete table inet {}", self.table), first(&f))),
        }
    }

    fn standing(&mut self) -> Result<Vec<Object>, Error> {
        standing(&mut self.socket, &self.table)
            .map_err(|e| Error::errno(format!("list the chains and sets of table inet {}", self.table), e))
    }

    fn transact(&mut self, write: impl FnOnce(&mut Batch<'_>)) -> Result<(), Vec<(u32, Errno)>> {
        transact(&mut self.socket, &self.table, write)
    }
}

impl AsFd for Nft {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Runs one transaction; on refusal nothing has changed and each bad message is named by its number.
fn transact(socket: &mut Socket, table: &str, write: impl FnOnce(&mut Batch<'_>)) -> Result<(), Vec<(u32, Errno)>> {
    let mut batch = Batch::new(socket, PROTO_INET, table);
    write(&mut batch);
    commit(socket, batch)
}

/// Runs what was written; as [`transact`].
pub(crate) fn commit(socket: &mut Socket, mut batch: Batch<'_>) -> Result<(), Vec<(u32, Errno)>> {
    batch.finish();
    let expected = batch.messages;
    // Answers to an earlier request that was given up, or the news that some were lost.
    while matches!(socket.receive(|_| {}), Ok(true) | Err(Errno::NOBUFS)) {}
    socket.send(&batch.writer).map_err(|e| vec![(0, e)])?;
    let mut acknowledged = 0usize;
    let mut failures = Vec::new();
    // The kernel has answered before `send` returns.
    while acknowledged < expected {
        let more = socket.receive(|message| {
            if message.kind == ERROR {
                acknowledged = acknowledged.saturating_add(1);
                failures.extend(error_of(message.payload).map(|errno| (message.seq, errno)));
            }
        });
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(errno) => failures.push((0, errno)),
        }
    }
    if failures.is_empty() && acknowledged < expected {
        failures.push((0, Errno::PROTO));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// The first reason; what failed before is the cause of what failed later.
pub(crate) fn first(failures: &[(u32, Errno)]) -> Errno {
    failures.first().map_or(Errno::PROTO, |(_, errno)| *errno)
}
