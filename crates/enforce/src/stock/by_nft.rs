//! Stock actions for nftables: tables, chains and rules through one `nft -f` per
//! burst, because `nft` alone knows its language; elements over netlink.
//!
//! One `nft -f` takes about 5 ms, an element over netlink 1 to 4 us; through `nft`
//! the elements of a burst of 2,000 take 25 ms and of 10,000 three times as long.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use rustix::io::Errno;
use rustix::net::netlink;
use stockade_core::Net;

use super::plan::{NftWay, Table};
use crate::command::run_and_tell;
use crate::error::Error;
use crate::netlink::Socket;
use crate::nft::words::{DELSETELEM, NEWSETELEM, PROTO_INET, PROTO_IPV4, PROTO_IPV6};
use crate::nft::{Batch, MESSAGE_ELEMENTS, Seen, TRANSACTION_ELEMENTS, commit, first, has_element_of, look_at};

/// So many elements are replaced in one transaction; the socket's buffer takes twice as many.
const REPLACE_MAX: usize = 100_000;
/// Numbers of our own children, remembered so that their work is not taken for somebody else's.
const CHILDREN_MAX: usize = 64;

/// A change of one set: which, whom, and whether they are added.
pub(super) type Change<'p> = (&'p NftWay, Net, bool);

/// Carries out plans for nftables.
#[derive(Debug)]
pub(super) struct ByNft {
    socket: Socket,
    /// Processes of ours that changed tables.
    pub(super) children: VecDeque<u32>,
}

impl ByNft {
    pub(super) fn open() -> Result<ByNft, Error> {
        let socket = Socket::open(Some(netlink::NETFILTER), 0).map_err(|e| Error::errno("open a netlink socket", e))?;
        Ok(ByNft { socket, children: VecDeque::new() })
    }

    /// The number of our socket, by which our own changes are known.
    pub(super) fn port_id(&self) -> u32 {
        self.socket.port_id()
    }

    fn nft(&mut self, text: &str) -> Result<(), Error> {
        let (pid, result) = run_and_tell("nft", &["-f", "-"], text);
        if self.children.len() >= CHILDREN_MAX {
            self.children.pop_front();
        }
        self.children.push_back(pid);
        result.map(drop)
    }

    /// What stands in a table.
    pub(super) fn look(&mut self, table: &Table) -> Result<Seen, Error> {
        look_at(&mut self.socket, family_of(table), &table.name)
            .map_err(|e| Error::errno(format!("look at table {} {}", table.family, table.name), e))
    }

    /// Makes what is missing of tables, chains and sets, and the rules anew; says of each whether its set stood before.
    pub(super) fn start(&mut self, ways: &[&NftWay]) -> Vec<Result<bool, Error>> {
        let mut tables: BTreeMap<&Table, Result<Seen, Error>> = BTreeMap::new();
        for way in ways {
            if !tables.contains_key(&way.table) {
                tables.insert(&way.table, self.look(&way.table));
            }
        }
        let seen = |way: &NftWay| tables.get(&way.table).cloned().unwrap_or_else(|| Ok(Seen::default()));
        let stood = |way: &NftWay| seen(way).map(|seen| seen.sets.contains(&way.set));
        let text_of = |way: &&NftWay| seen(way).map(|seen| start_text(way, &seen));
        let texts: Vec<Result<String, Error>> = ways.iter().map(text_of).collect();
        let all: String = texts.iter().flatten().map(String::as_str).collect();
        if self.nft(&all).is_ok() && texts.iter().all(Result::is_ok) {
            return ways.iter().map(|way| stood(way)).collect();
        }
        // One that can't be made takes nobody else with it.
        let each = ways.iter().zip(texts);
        each.map(|(way, text)| {
            self.nft(&text?)?;
            stood(way)
        })
        .collect()
    }

    /// Adds and removes elements; returns the indices of those that are not as asked for.
    pub(super) fn change(&mut self, changes: &[Change<'_>]) -> Vec<(usize, Error)> {
        let mut failed = Vec::new();
        let mut by_table: BTreeMap<(&Table, bool), Vec<usize>> = BTreeMap::new();
        for (i, (way, ..)) in changes.iter().enumerate() {
            by_table.entry((&way.table, way.interval)).or_default().push(i);
        }
        for ((table, interval), all) in by_table {
            for part in all.chunks(TRANSACTION_ELEMENTS) {
                if interval {
                    self.change_intervals(changes, part, &mut failed);
                } else {
                    self.change_hosts(table, changes, part, &mut failed);
                }
            }
        }
        failed
    }

    /// Elements of plain sets, over netlink.
    fn change_hosts(
        &mut self,
        table: &Table,
        changes: &[Change<'_>],
        part: &[usize],
        failed: &mut Vec<(usize, Error)>,
    ) {
        let get = |i: &usize| changes.get(*i).copied();
        let mut left: Vec<usize> = Vec::with_capacity(part.len());
        for i in part {
            match get(i) {
                Some((_, net, _)) if net.is_host() => left.push(*i),
                Some((_, net, true)) => {
                    let help = "the set of this action takes single addresses only";
                    failed.push((*i, Error::new(format!("ban {net}"), "it is a network", help)));
                }
                Some(_) | None => {}
            }
        }
        if left.is_empty() {
            return;
        }
        let mut packed = Batch::new(&self.socket, family_of(table), &table.name);
        let same = |a: &usize, b: &usize| match (get(a), get(b)) {
            (Some((w1, _, add1)), Some((w2, _, add2))) => add1 == add2 && w1.set == w2.set,
            _ => false,
        };
        for run in left.chunk_by(same) {
            let Some((way, _, add)) = run.first().and_then(get) else { continue };
            let verb = if add { NEWSETELEM } else { DELSETELEM };
            for part in run.chunks(MESSAGE_ELEMENTS) {
                packed.elements(verb, &way.set, part.iter().filter_map(get).map(|(_, net, _)| (net, None)));
            }
        }
        if commit(&mut self.socket, packed).is_ok() {
            return;
        }
        // One element per message: the kernel names the bad ones.
        while !left.is_empty() {
            let mut single = Batch::new(&self.socket, family_of(table), &table.name);
            let mut numbers: Vec<(u32, usize)> = Vec::new();
            for i in &left {
                if let Some((way, net, add)) = get(i) {
                    let verb = if add { NEWSETELEM } else { DELSETELEM };
                    numbers.push((single.elements(verb, &way.set, std::iter::once((net, None))), *i));
                }
            }
            let Err(bad) = commit(&mut self.socket, single) else { return };
            let of_number: HashMap<u32, usize> = numbers.into_iter().collect();
            let mut named = HashSet::new();
            for (seq, errno) in &bad {
                if let Some(i) = of_number.get(seq) {
                    let removal = get(i).is_some_and(|(_, _, add)| !add);
                    named.insert(*i);
                    // What is not there needs no removing.
                    if !(removal && *errno == Errno::NOENT) {
                        failed.push((*i, Error::errno(format!("change a set of table {}", table.name), *errno)));
                    }
                }
            }
            if named.is_empty() {
                failed.extend(left.iter().map(|i| (*i, Error::errno("change a set", first(&bad)))));
                return;
            }
            left.retain(|i| !named.contains(i));
        }
    }

    /// Elements of sets that take networks: `nft` works out their ends.
    fn change_intervals(&mut self, changes: &[Change<'_>], part: &[usize], failed: &mut Vec<(usize, Error)>) {
        let mut parts = vec![part.to_vec()];
        while let Some(part) = parts.pop() {
            let mut text = String::new();
            for (way, net, add) in part.iter().filter_map(|i| changes.get(*i)) {
                let verb = if *add { "add" } else { "delete" };
                let Table { family, name } = &way.table;
                text += &format!("{verb} element {family} {name} {} {{ {net} }}\n", way.set);
            }
            let Err(error) = self.nft(&text) else { continue };
            match part.as_slice() {
                [] => {}
                [only] => {
                    let change = changes.get(*only);
                    let gone = change.is_some_and(|(way, net, add)| !add && matches!(self.holds(way, *net), Ok(false)));
                    if !gone {
                        failed.push((*only, error));
                    }
                }
                several => {
                    let (left, right) = several.split_at(several.len() / 2);
                    // The first half is done first.
                    parts.push(right.to_vec());
                    parts.push(left.to_vec());
                }
            }
        }
    }

    /// Makes exactly these be the elements of a set, in one transaction as far as that is possible.
    pub(super) fn replace(&mut self, way: &NftWay, wanted: &[Net]) -> Vec<(usize, Error)> {
        let (together, rest) = wanted.split_at(wanted.len().min(REPLACE_MAX));
        let whole = !way.interval && together.iter().all(|net| net.is_host());
        let mut batch = Batch::new(&self.socket, family_of(&way.table), &way.table.name);
        batch.flush_set(&way.set);
        if whole {
            for part in together.chunks(MESSAGE_ELEMENTS) {
                batch.elements(NEWSETELEM, &way.set, part.iter().map(|net| (*net, None)));
            }
        }
        let done = commit(&mut self.socket, batch);
        let left = if whole && done.is_ok() { rest } else { wanted };
        let skipped = wanted.len().saturating_sub(left.len());
        let changes: Vec<Change<'_>> = left.iter().map(|net| (way, *net, true)).collect();
        self.change(&changes).into_iter().map(|(i, error)| (i.saturating_add(skipped), error)).collect()
    }

    /// Removes all elements.
    pub(super) fn flush(&mut self, way: &NftWay) -> Result<(), Error> {
        let mut batch = Batch::new(&self.socket, family_of(&way.table), &way.table.name);
        batch.flush_set(&way.set);
        match commit(&mut self.socket, batch) {
            Ok(()) => Ok(()),
            // The original makes what is missing anew.
            Err(_) => self.start(&[way]).into_iter().next().map_or(Ok(()), |done| done.map(drop)),
        }
    }

    /// Removes the rules and the set, and the table with its last set.
    pub(super) fn stop(&mut self, way: &NftWay) -> Result<(), Error> {
        let what = || format!("remove set {} of table {} {}", way.set, way.table.family, way.table.name);
        let seen = self.look(&way.table)?;
        if !seen.exists {
            return Ok(());
        }
        let mut batch = Batch::new(&self.socket, family_of(&way.table), &way.table.name);
        for (chain, handle, _) in seen.lookups.iter().filter(|(chain, _, set)| *chain == way.chain && *set == way.set) {
            batch.delete_rule(chain, *handle);
        }
        if seen.sets.contains(&way.set) {
            batch.delete_set(&way.set);
        }
        if seen.sets.iter().all(|set| *set == way.set) {
            batch.delete_table();
        }
        commit(&mut self.socket, batch).map_err(|failures| Error::errno(what(), first(&failures)))
    }

    /// Do the table, the chain, the set and all its rules stand?
    pub(super) fn is_whole(way: &NftWay, seen: &Seen) -> bool {
        let rules = seen.lookups.iter().filter(|(chain, _, set)| *chain == way.chain && *set == way.set).count();
        seen.chains.contains(&way.chain) && seen.sets.contains(&way.set) && rules >= way.rules.len()
    }

    /// Asks for an element by its key.
    pub(super) fn holds(&mut self, way: &NftWay, net: Net) -> Result<bool, Error> {
        has_element_of(&mut self.socket, family_of(&way.table), &way.table.name, &way.set, net)
            .map_err(|e| Error::errno(format!("look {net} up in set {}", way.set), e))
    }
}

/// The text that makes what a plan needs and that is missing, its rules always anew.
fn start_text(way: &NftWay, seen: &Seen) -> String {
    let Table { family, name } = &way.table;
    let NftWay { chain, set, .. } = way;
    let mut text = format!("add table {family} {name}\n");
    if !seen.chains.contains(chain) {
        let spec = &way.chain_spec;
        let place = format!("type {} hook {} priority {};", spec.kind, spec.hook, spec.priority);
        text += &format!("add chain {family} {name} {chain} {{ {place} }}\n");
    }
    if !seen.sets.contains(set) {
        let key = if way.ipv4 { "ipv4_addr" } else { "ipv6_addr" };
        let options = if way.interval { " flags interval;" } else { "" };
        text += &format!("add set {family} {name} {set} {{ type {key};{options} }}\n");
    }
    for (_, handle, _) in seen.lookups.iter().filter(|(c, _, s)| c == chain && s == set) {
        text += &format!("delete rule {family} {name} {chain} handle {handle}\n");
    }
    for rule in &way.rules {
        text += &format!("add rule {family} {name} {chain} {rule}\n");
    }
    text
}

fn family_of(table: &Table) -> u8 {
    match table.family.as_str() {
        "ip" => PROTO_IPV4,
        "ip6" => PROTO_IPV6,
        _ => PROTO_INET,
    }
}
