//! Owner of what the recognised actions have in the kernel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use stockade_core::{JailName, Net, Timestamp};

use super::account::{Account, Wanted, secs_left};
use super::by_nft::ByNft;
use super::by_sets;
use super::by_tables::{ByTables, has_chain};
use super::plan::{ChainWay, NftWay, Plan, SetWay, Table, Tool, Way};
use crate::content::End;
use crate::error::Error;
use crate::nft::Seen;
use crate::nft::events::{KernelEvent, Watch};
use crate::ops::{Applied, Held, OnClose, SetOp};

/// When somebody changed a table, so many elements of a set are looked up; 10 us each.
const ASKED_MAX: usize = 1000;
/// Sets up to this size are put in again then, whatever the look-ups say; 2 us an element.
const REPLACED_MAX: usize = 100_000;

/// If more bans of a chain end at once, the chain is written anew: 65 us a rule,
/// where removing one takes 1 us for each rule that stands.
const REMOVED_SINGLY_MAX: usize = 50;

/// One recognised action of one jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockAction {
    /// Whose action.
    pub jail: JailName,
    /// Its name in the jail.
    pub name: Arc<str>,
    /// What it does.
    pub plan: Plan,
}

impl StockAction {
    /// The same for who only removes what is there: nothing is set up before the first ban.
    #[must_use]
    pub fn for_lifting(mut self) -> StockAction {
        self.plan.on_demand = true;
        self
    }
}

/// One family of one action.
#[derive(Clone, Debug)]
struct Side {
    jail: JailName,
    action: Arc<str>,
    way: Way,
    ipv4: bool,
    on_demand: bool,
    account: Account,
}

/// Index of a side.
type At = usize;

/// Owner of everything that recognised actions have in the kernel. One thread owns it.
///
/// As with the original, the first ban of a family starts it, and bans have no
/// end of their own in the kernel (but for ipset, where the action says so).
/// What an earlier process left is taken over; [`Stock::settle`] says that
/// everything wanted has been handed over, and what else stands there goes.
#[derive(Debug, Default)]
pub struct Stock {
    sides: Vec<Side>,
    by_jail: HashMap<JailName, Vec<At>>,
    nft: Option<ByNft>,
    tables: ByTables,
    watch: Option<(Vec<String>, Watch)>,
    /// A load goes on: its own notifications would only slow it down.
    quiet: bool,
}

impl Stock {
    /// With no actions yet; touches nothing.
    pub fn new() -> Stock {
        Stock::default()
    }

    /// Very many bans are about to come: until [`Stock::settle`], which looks
    /// whether everything stands, nobody listens to changes.
    pub fn expect_load(&mut self) {
        self.quiet = true;
    }

    /// Takes over what all jails have from now on. Actions that stay as they
    /// are keep their bans; what is gone is stopped as the original stops it;
    /// new ones get the bans of the jail's other actions, and `bans` of jails
    /// that had none. Returns what could not be done: jail, action and why.
    pub fn set_actions(
        &mut self,
        now: Timestamp,
        actions: impl IntoIterator<Item = StockAction>,
        bans: impl Fn(&JailName) -> Vec<(Net, Timestamp)>,
    ) -> Vec<(JailName, Arc<str>, Error)> {
        let known: HashMap<JailName, Vec<(Net, Timestamp)>> =
            self.by_jail.keys().map(|jail| (jail.clone(), self.bans_of(jail))).collect();
        let mut before = std::mem::take(&mut self.sides);
        let mut fresh: BTreeSet<At> = BTreeSet::new();
        for StockAction { jail, name, plan } in actions {
            for ipv4 in [true, false] {
                let way = plan.way(ipv4);
                let same = |s: &Side| s.jail == jail && s.action == name && s.ipv4 == ipv4 && s.way == *way;
                let account = match before.iter().position(same) {
                    Some(old) => before.swap_remove(old).account,
                    None => {
                        fresh.insert(self.sides.len());
                        Account::default()
                    }
                };
                let (jail, action) = (jail.clone(), Arc::clone(&name));
                self.sides.push(Side { jail, action, way: way.clone(), ipv4, on_demand: plan.on_demand, account });
            }
        }
        let mut failed = Vec::new();
        // What goes, goes before the new comes: it may have the same name.
        for mut side in before {
            if let Err(error) = self.stop(&mut side) {
                failed.push((side.jail, side.action, error));
            }
        }
        self.by_jail.clear();
        for (i, side) in self.sides.iter().enumerate() {
            self.by_jail.entry(side.jail.clone()).or_default().push(i);
        }
        self.watch_tables();
        let at_once: Vec<At> = fresh.iter().copied().filter(|i| self.side(*i).is_some_and(|s| !s.on_demand)).collect();
        for (i, error) in self.start(&at_once) {
            failed.extend(self.side(i).map(|s| (s.jail.clone(), Arc::clone(&s.action), error)));
        }
        let mut wanted: Vec<(At, Net, Option<End>)> = Vec::new();
        for i in fresh {
            let Some(side) = self.side(i) else { continue };
            let ipv4 = side.ipv4;
            let of_jail = known.get(&side.jail).cloned().unwrap_or_else(|| bans(&side.jail));
            let all = of_jail.into_iter().filter(|(net, _)| net.is_ipv4() == ipv4);
            wanted.extend(all.map(|(net, end)| (i, net, Some(End::new(end)))));
        }
        for ((i, net, _), error) in self.carry_out(now, &wanted).0 {
            let error = Error { what: format!("ban {net}"), ..error };
            failed.extend(self.side(i).map(|s| (s.jail.clone(), Arc::clone(&s.action), error)));
        }
        failed
    }

    /// Has the jail a recognised action?
    pub fn blocks(&self, jail: &JailName) -> bool {
        self.by_jail.contains_key(jail)
    }

    /// By which means the jail's recognised actions block, in words; empty if it has none.
    pub fn means(&self, jail: &JailName) -> String {
        let sides = self.by_jail.get(jail).into_iter().flatten().filter_map(|i| self.side(*i));
        let words: BTreeSet<String> = sides
            .map(|side| match &side.way {
                Way::Nft(nft) => format!("nftables, table {} {}", nft.table.family, nft.table.name),
                Way::Chain(chain) => format!("iptables, chain {}", chain.chain),
                Way::Set(set) => format!("ipset, set {}", set.set),
            })
            .collect();
        words.into_iter().collect::<Vec<_>>().join("; ")
    }

    /// The bans of one jail that should be in force, in no order.
    pub fn bans_of(&self, jail: &JailName) -> Vec<(Net, Timestamp)> {
        let sides = self.by_jail.get(jail).into_iter().flatten().filter_map(|at| self.side(*at));
        let all: HashMap<Net, Timestamp> =
            sides.flat_map(|side| side.account.iter()).map(|(net, end)| (net, end.time())).collect();
        all.into_iter().collect()
    }

    /// Bans that should be in force, over all actions.
    pub fn bans(&self) -> usize {
        self.sides.iter().map(|side| side.account.len()).sum()
    }

    /// Whose state in the kernel is not as wanted.
    pub fn unsettled(&self) -> impl Iterator<Item = Net> + '_ {
        self.sides.iter().flat_map(|side| side.account.unsettled.iter().copied())
    }

    fn side(&self, at: At) -> Option<&Side> {
        self.sides.get(at)
    }

    /// Carries out operations of jails with recognised actions; several on one
    /// address are netted out. Operations of other jails are passed over.
    pub fn apply(&mut self, now: Timestamp, ops: &[SetOp]) -> Applied {
        let mut last: HashMap<(At, Net), usize> = HashMap::new();
        let mut wanted: Vec<(At, Net, Option<End>)> = Vec::new();
        for op in ops {
            let net = op.net();
            for at in self.by_jail.get(op.jail()).into_iter().flatten().copied() {
                if self.side(at).is_none_or(|side| side.ipv4 != net.is_ipv4()) {
                    continue;
                }
                let end = if let SetOp::Ban { end, .. } = op { Some(End::new(*end)) } else { None };
                let slot = *last.entry((at, net)).or_insert_with(|| {
                    wanted.push((at, net, end));
                    wanted.len().saturating_sub(1)
                });
                if let Some(entry) = wanted.get_mut(slot) {
                    entry.2 = end;
                }
            }
        }
        let (failed, repaired) = self.carry_out(now, &wanted);
        let mut applied = Applied { failed: Vec::new(), repaired };
        // Whose operations a side carries out; nobody asks unless something failed.
        let mut of_side: HashMap<(At, Net), Vec<(usize, &SetOp)>> = HashMap::new();
        for (index, op) in ops.iter().enumerate().filter(|_| !failed.is_empty()) {
            for at in self.by_jail.get(op.jail()).into_iter().flatten() {
                of_side.entry((*at, op.net())).or_default().push((index, op));
            }
        }
        for ((at, net, _), error) in failed {
            for (index, op) in of_side.get(&(at, net)).into_iter().flatten().copied() {
                let verb = if matches!(op, SetOp::Ban { .. }) { "ban" } else { "unban" };
                let action = self.side(at).map(|s| Arc::clone(&s.action)).unwrap_or_default();
                let what = format!("{verb} {net} in jail {} by action '{action}'", op.jail());
                applied.failed.push((index, Error { what, ..error.clone() }));
            }
        }
        applied.failed.sort_by_key(|(i, _)| *i);
        applied.failed.dedup_by_key(|(i, _)| *i);
        applied
    }

    /// Brings sides and addresses to the wanted state; what failed, and whether something had to be repaired.
    #[expect(clippy::type_complexity, reason = "read by two callers, right here")]
    fn carry_out(
        &mut self,
        now: Timestamp,
        wanted: &[(At, Net, Option<End>)],
    ) -> (Vec<((At, Net, Option<End>), Error)>, bool) {
        let mut failed = Vec::new();
        let mut todo: Vec<(At, Net, Option<End>)> = Vec::new();
        for (at, net, end) in wanted {
            let Some(side) = self.sides.get_mut(*at) else { continue };
            let before = side.account.set(*net, *end);
            let renewed = matches!(&side.way, Way::Set(set) if set.timeout.ends()) && before != *end;
            let unsettled = !side.account.unsettled.is_empty() && side.account.unsettled.contains(net);
            if before.is_some() != end.is_some() || renewed || unsettled {
                todo.push((*at, *net, *end));
            }
        }
        let first: BTreeSet<At> = todo
            .iter()
            .filter(|(at, _, end)| end.is_some() && self.side(*at).is_some_and(|s| !s.account.started))
            .map(|(at, ..)| *at)
            .collect();
        let broken = self.start(&first.into_iter().collect::<Vec<_>>());
        todo.retain(|entry| {
            let error = broken.iter().find(|(at, _)| *at == entry.0).map(|(_, error)| error.clone());
            let started = self.side(entry.0).is_some_and(|s| s.account.started);
            failed.extend(error.map(|error| (*entry, error)));
            started
        });
        let refused = self.change(now, &todo);
        // What was refused does not count as missing.
        for (at, net, _) in refused.iter().filter_map(|(i, _)| todo.get(*i)) {
            if let Some(side) = self.sides.get_mut(*at) {
                side.account.unsettled.insert(*net);
            }
        }
        let mut repaired = false;
        let mut by_side: BTreeMap<At, Vec<((At, Net, Option<End>), Error)>> = BTreeMap::new();
        for (entry, error) in refused.into_iter().filter_map(|(i, error)| Some((*todo.get(i)?, error))) {
            by_side.entry(entry.0).or_default().push((entry, error));
        }
        for (at, of_it) in by_side {
            let damaged = !self.is_whole(at).unwrap_or(true) && self.repair_one(now, at).is_ok();
            repaired |= damaged;
            let side = self.side(at);
            let still = |net: &Net| side.is_none_or(|side| side.account.unsettled.contains(net));
            failed.extend(of_it.into_iter().filter(|((_, net, _), _)| !damaged || still(net)));
        }
        for (at, net, _) in &todo {
            if let Some(side) = self.sides.get_mut(*at) {
                side.account.unsettled.remove(net);
            }
        }
        for ((at, net, _), _) in &failed {
            if let Some(side) = self.sides.get_mut(*at) {
                side.account.unsettled.insert(*net);
            }
        }
        (failed, repaired)
    }

    /// Puts elements and rules in or takes them out; the indices of those that were refused.
    fn change(&mut self, now: Timestamp, todo: &[(At, Net, Option<End>)]) -> Vec<(usize, Error)> {
        let mut refused = Vec::new();
        let rewritten = self.rewrite_chains(now, todo, &mut refused);
        let (mut nft, mut chains, mut sets) = ((vec![], vec![]), (vec![], vec![]), (vec![], vec![]));
        for (i, (at, net, end)) in todo.iter().enumerate().filter(|(_, (at, ..))| !rewritten.contains(at)) {
            match self.sides.get(*at).map(|side| &side.way) {
                Some(Way::Nft(way)) => {
                    nft.0.push(i);
                    nft.1.push((way, *net, end.is_some()));
                }
                Some(Way::Chain(way)) => {
                    chains.0.push(i);
                    chains.1.push((way, *net, end.is_some()));
                }
                Some(Way::Set(way)) => {
                    sets.0.push(i);
                    sets.1.push((way, *net, end.map(|end| secs_left(end, now))));
                }
                None => {}
            }
        }
        let mut note = |index: &[usize], bad: Vec<(usize, Error)>| {
            refused.extend(bad.into_iter().filter_map(|(i, error)| Some((*index.get(i)?, error))));
        };
        if let Some(hands) = self.nft.as_mut().filter(|_| !nft.1.is_empty()) {
            note(&nft.0, hands.change(&nft.1));
        }
        if !chains.1.is_empty() {
            note(&chains.0, self.tables.change(&chains.1));
        }
        if !sets.1.is_empty() {
            note(&sets.0, by_sets::change(&sets.1));
        }
        refused
    }

    /// Chains from which many bans go are written anew, in one transaction:
    /// removing a rule by what it says looks through all of them.
    fn rewrite_chains(
        &mut self,
        now: Timestamp,
        todo: &[(At, Net, Option<End>)],
        refused: &mut Vec<(usize, Error)>,
    ) -> BTreeSet<At> {
        let mut removals: HashMap<At, usize> = HashMap::new();
        for (at, _, end) in todo {
            if end.is_none() && self.side(*at).is_some_and(|side| side.way.chain().is_some()) {
                let count = removals.entry(*at).or_default();
                *count = count.saturating_add(1);
            }
        }
        let many: BTreeSet<At> =
            removals.into_iter().filter(|(_, n)| *n > REMOVED_SINGLY_MAX).map(|(at, _)| at).collect();
        for at in &many {
            if let Err(error) = self.replace(now, *at) {
                let of_it = todo.iter().enumerate().filter(|(_, entry)| entry.0 == *at);
                refused.extend(of_it.map(|(i, _)| (i, error.clone())));
            }
        }
        many
    }

    /// Starts sides; those that could not be started.
    fn start(&mut self, all: &[At]) -> Vec<(At, Error)> {
        let of_kind = |pick: fn(&Way) -> bool| -> Vec<At> {
            all.iter().copied().filter(|at| self.sides.get(*at).is_some_and(|s| pick(&s.way))).collect()
        };
        let (nft, chains, sets) = (
            of_kind(|way| matches!(way, Way::Nft(_))),
            of_kind(|way| matches!(way, Way::Chain(_))),
            of_kind(|way| matches!(way, Way::Set(_))),
        );
        let mut done: Vec<(At, Result<bool, Error>)> = Vec::new();
        if !nft.is_empty() {
            match self.nft() {
                Ok(()) => {
                    let ways: Vec<&NftWay> = nft.iter().filter_map(|at| self.sides.get(*at)?.way.nft()).collect();
                    let results = self.nft.as_mut().map(|hands| hands.start(&ways)).unwrap_or_default();
                    done.extend(nft.into_iter().zip(results));
                }
                Err(error) => done.extend(nft.into_iter().map(|at| (at, Err(error.clone())))),
            }
        }
        if !chains.is_empty() {
            let ways: Vec<&ChainWay> = chains.iter().filter_map(|at| self.sides.get(*at)?.way.chain()).collect();
            let results = self.tables.start(&ways);
            done.extend(chains.into_iter().zip(results));
        }
        if !sets.is_empty() {
            let ways: Vec<&SetWay> = sets.iter().filter_map(|at| self.sides.get(*at)?.way.set()).collect();
            let results = by_sets::start(&mut self.tables, &ways);
            done.extend(sets.into_iter().zip(results));
        }
        let mut failed = Vec::new();
        for (at, result) in done {
            let Some(side) = self.sides.get_mut(at) else { continue };
            match result {
                Ok(stood) => (side.account.started, side.account.adopted) = (true, stood),
                Err(error) => failed.push((at, error)),
            }
        }
        failed
    }

    fn nft(&mut self) -> Result<(), Error> {
        if self.nft.is_none() {
            self.nft = Some(ByNft::open()?);
        }
        Ok(())
    }

    /// Makes exactly what is wanted be there.
    fn replace(&mut self, now: Timestamp, at: At) -> Result<(), Error> {
        let Some(side) = self.sides.get_mut(at) else { return Ok(()) };
        let wanted: Vec<Wanted> = side.account.in_order(now);
        let nets: Vec<Net> = wanted.iter().map(|(net, _)| *net).collect();
        let failed = match &side.way {
            Way::Nft(way) => self.nft.as_mut().map(|hands| hands.replace(way, &nets)).unwrap_or_default(),
            Way::Chain(way) => {
                self.tables.replace(way, &nets)?;
                Vec::new()
            }
            Way::Set(way) => by_sets::replace(way, &wanted)?,
        };
        side.account.unsettled = failed.iter().filter_map(|(i, _)| nets.get(*i)).copied().collect();
        side.account.adopted = false;
        Ok(())
    }

    /// Puts a chain of iptables in order after what was just seen of it. An error
    /// where that is no chain, or things have changed meanwhile.
    fn mend_chain(&mut self, now: Timestamp, at: At, view: &View) -> Result<(), Error> {
        let no_chain = || Error::new("mend a chain", "there is none", "");
        let side = self.sides.get_mut(at).ok_or_else(no_chain)?;
        let chain = side.way.chain().ok_or_else(no_chain)?;
        let saved = view.saved(&chain.tool)?;
        let wanted: Vec<Net> = side.account.in_order(now).into_iter().map(|(net, _)| net).collect();
        self.tables.mend(chain, saved, &wanted)?;
        side.account.unsettled.clear();
        side.account.adopted = false;
        Ok(())
    }

    fn repair_one(&mut self, now: Timestamp, at: At) -> Result<(), Error> {
        if let Some((_, error)) = self.start(&[at]).pop() {
            return Err(error);
        }
        // Where only what leads to the bans was missing, that is all; elements of nftables are cheap to put in again.
        let nft = self.side(at).is_some_and(|side| side.way.nft().is_some());
        if !nft && self.is_whole(at)? {
            if let Some(side) = self.sides.get_mut(at) {
                side.account.adopted = false;
            }
            return Ok(());
        }
        let many = self.side(at).is_some_and(|side| side.account.len() > REPLACED_MAX);
        if !many {
            return self.replace(now, at);
        }
        // Notifications of so many elements would only be lost; so it is looked again instead.
        (self.watch, self.quiet) = (None, true);
        let mut done = self.replace(now, at);
        self.quiet = false;
        self.watch_tables();
        if done.is_ok() && !self.is_whole(at)? {
            self.start(&[at]);
            done = self.replace(now, at);
        }
        done
    }

    /// All bans from before this process have been handed over: whatever else
    /// an earlier one left in the kernel goes now. Returns what could not be done.
    pub fn settle(&mut self, now: Timestamp) -> Vec<Error> {
        let (left, mut failed) = self.left_standing();
        for at in left {
            failed.extend(self.start(&[at]).into_iter().map(|(_, error)| error));
        }
        for at in 0..self.sides.len() {
            if self.side(at).is_some_and(|s| s.account.started && s.account.adopted) {
                failed.extend(self.replace(now, at).err());
            }
        }
        if self.quiet {
            // Elements may have gone, too, while nobody listened. What puts them back is not listened to either.
            let first = self.check(now, true).err();
            self.quiet = false;
            self.watch_tables();
            let second = self.check(now, false).err();
            failed.extend(first.or(second));
        }
        failed
    }

    /// Sides that nobody has started in this process and that stand nevertheless, and why it can't be told of others.
    fn left_standing(&mut self) -> (Vec<At>, Vec<Error>) {
        let idle: Vec<At> =
            (0..self.sides.len()).filter(|at| self.side(*at).is_some_and(|s| !s.account.started)).collect();
        let view = self.view(&idle);
        let (mut left, mut failed) = (Vec::new(), Vec::new());
        for at in idle {
            match self.side(at).map(|side| view.stands(&side.way)) {
                Some(Ok(true)) => left.push(at),
                // Whoever lacks the tool has nothing of it standing.
                Some(Err(error)) if !error.lacks_feature && !failed.contains(&error) => failed.push(error),
                _ => {}
            }
        }
        (left, failed)
    }

    /// What stands in the kernel, as far as these sides are concerned.
    fn view(&mut self, all: &[At]) -> View {
        let mut view = View::default();
        let ways: Vec<Way> = all.iter().filter_map(|at| Some(self.sides.get(*at)?.way.clone())).collect();
        for way in &ways {
            match way {
                Way::Nft(nft) => {
                    if !view.nft.contains_key(&nft.table) {
                        let opened = self.nft();
                        let seen = opened.and_then(|()| match self.nft.as_mut() {
                            Some(hands) => hands.look(&nft.table),
                            None => Ok(Seen::default()),
                        });
                        view.nft.insert(nft.table.clone(), seen);
                    }
                }
                Way::Chain(ChainWay { tool, .. }) | Way::Set(SetWay { tool, .. }) => {
                    if !view.saved.contains_key(&tool.program) {
                        view.saved.insert(tool.program.clone(), self.tables.save(tool));
                    }
                    if matches!(way, Way::Set(_)) && view.sets.is_none() {
                        view.sets = Some(by_sets::names());
                    }
                }
            }
        }
        view
    }

    fn is_whole(&mut self, at: At) -> Result<bool, Error> {
        let view = self.view(&[at]);
        self.side(at).map_or(Ok(true), |side| whole_in(&view, side))
    }

    /// Looks whether everything that was started stands, and repairs what does
    /// not. `true` if something had to be repaired.
    ///
    /// `changed` says that somebody else changed one of our tables: then
    /// elements are made sure of too, not only the sets they are in.
    ///
    /// # Errors
    ///
    /// Something is missing and could not be made again, or could not be looked
    /// at, and is left as it is; all else was repaired.
    pub fn check(&mut self, now: Timestamp, changed: bool) -> Result<bool, Error> {
        let started: Vec<At> =
            (0..self.sides.len()).filter(|at| self.side(*at).is_some_and(|s| s.account.started)).collect();
        let view = self.view(&started);
        let (mut repaired, mut result) = (false, Ok(()));
        for at in started {
            let Some(side) = self.side(at) else { continue };
            let whole = match whole_in(&view, side) {
                Ok(whole) => whole,
                Err(error) => {
                    result = result.and(Err(error));
                    self.note_look(at, false);
                    continue;
                }
            };
            let doubtful = (changed || side.account.unseen) && matches!(side.way, Way::Nft(_));
            let many = side.account.len() > ASKED_MAX;
            let replaced = many && side.account.len() <= REPLACED_MAX;
            let done = if !whole {
                repaired = true;
                self.mend_chain(now, at, &view).or_else(|_| self.repair_one(now, at))
            } else if doubtful {
                self.elements_stand(at).and_then(|stand| {
                    repaired |= !stand;
                    if stand && !replaced { Ok(()) } else { self.replace(now, at) }
                })
            } else {
                Ok(())
            };
            self.note_look(at, done.is_ok());
            result = result.and(done);
        }
        result.map(|()| repaired)
    }

    /// Whether all of one side was seen, and repaired where that was needed.
    fn note_look(&mut self, at: At, seen: bool) {
        if let Some(side) = self.sides.get_mut(at) {
            side.account.unseen = !seen;
        }
    }

    /// Are up to [`ASKED_MAX`] elements, spread over all, there?
    fn elements_stand(&mut self, at: At) -> Result<bool, Error> {
        let Some(side) = self.sides.get(at) else { return Ok(true) };
        let (Way::Nft(way), Some(hands)) = (&side.way, self.nft.as_mut()) else { return Ok(true) };
        let asked = side.account.sample(ASKED_MAX).into_iter().filter(|net| !side.account.unsettled.contains(net));
        for net in asked {
            if !hands.holds(way, net)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tries again what was refused; how many are still refused.
    pub fn retry(&mut self, now: Timestamp) -> usize {
        let mut again = Vec::new();
        for (at, side) in self.sides.iter().enumerate() {
            again.extend(side.account.unsettled.iter().map(|net| (at, *net, side.account.end(*net))));
        }
        self.carry_out(now, &again);
        self.unsettled().count()
    }

    /// Asks the kernel by key whether this jail's ban is in force by all of its recognised actions.
    ///
    /// # Errors
    ///
    /// The kernel could not be asked.
    pub fn verify(&mut self, jail: &JailName, net: Net) -> Result<Held, Error> {
        let mut held = Held::Missing;
        for at in self.sides_of(jail, net) {
            if !self.holds(at, net)? {
                return Ok(Held::Missing);
            }
            held = Held::Held;
        }
        Ok(held)
    }

    /// Asks each of this jail's actions in the kernel for a ban, and takes those that have it as started and
    /// holding it: for whoever lifts what an earlier process left. Has one of them it?
    ///
    /// # Errors
    ///
    /// One of them could not be asked; the others were.
    pub fn take_over(&mut self, jail: &JailName, net: Net) -> Result<bool, Error> {
        let mut found = Ok(false);
        for at in self.sides_of(jail, net) {
            match self.holds(at, net) {
                Ok(false) => {}
                Ok(true) => {
                    if let Some(side) = self.sides.get_mut(at) {
                        side.account.started = true;
                        side.account.set(net, Some(End::new(Timestamp::MAX)));
                    }
                    found = found.map(|_| true);
                }
                Err(error) => found = found.and(Err(error)),
            }
        }
        found
    }

    /// The sides that block this one for a jail.
    fn sides_of(&self, jail: &JailName, net: Net) -> Vec<At> {
        let of_jail = self.by_jail.get(jail).into_iter().flatten().copied();
        of_jail.filter(|at| self.side(*at).is_some_and(|side| side.ipv4 == net.is_ipv4())).collect()
    }

    /// Has the kernel this one there?
    fn holds(&mut self, at: At, net: Net) -> Result<bool, Error> {
        let Some(side) = self.sides.get(at) else { return Ok(false) };
        match &side.way {
            Way::Nft(way) => {
                let hands = match &mut self.nft {
                    Some(hands) => hands,
                    none => none.insert(ByNft::open()?),
                };
                hands.holds(way, net)
            }
            Way::Chain(way) => Ok(self.tables.holds(way, net)),
            Way::Set(way) => Ok(by_sets::holds(way, net)),
        }
    }

    /// Lifts all bans of a jail at once, as `unban --all` does with the original.
    ///
    /// # Errors
    ///
    /// The last thing that could not be done.
    pub fn flush(&mut self, jail: &JailName) -> Result<(), Error> {
        let sides: Vec<At> = self.by_jail.get(jail).into_iter().flatten().copied().collect();
        let mut result = Ok(());
        for at in sides {
            let Some(side) = self.sides.get_mut(at) else { continue };
            let used = std::mem::take(&mut side.account.used);
            side.account.clear();
            if !side.account.started || !used {
                continue;
            }
            let done = match &side.way {
                Way::Nft(way) => self.nft.as_mut().map_or(Ok(()), |hands| hands.flush(way)),
                Way::Chain(way) => self.tables.flush(way),
                Way::Set(way) => by_sets::flush(way),
            };
            result = result.and(done);
        }
        result
    }

    fn stop(&mut self, side: &mut Side) -> Result<(), Error> {
        if !std::mem::take(&mut side.account.started) {
            return Ok(());
        }
        let done = match &side.way {
            Way::Nft(way) => self.nft.as_mut().map_or(Ok(()), |hands| hands.stop(way)),
            Way::Chain(way) => self.tables.stop(way),
            Way::Set(way) => by_sets::stop(&mut self.tables, way),
        };
        done.map_err(|e| Error {
            what: format!("stop action '{}' of jail {}: {}", side.action, side.jail, e.what),
            ..e
        })
    }

    /// Lets go of the kernel: bans stay, or everything is removed.
    ///
    /// # Errors
    ///
    /// Something could not be removed; all else is.
    pub fn close(mut self, what: OnClose) -> Result<(), Error> {
        let mut result = Ok(());
        if what == OnClose::Lift {
            for mut side in std::mem::take(&mut self.sides) {
                result = result.and(self.stop(&mut side));
            }
        }
        result
    }

    /// Readable when somebody else may have changed a table of nftables or of
    /// iptables on nftables. `None` where that can't be told, or nothing is there.
    pub fn events_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(|(_, watch)| watch.as_fd())
    }

    /// Reads what others did; then [`Stock::check`] is due unless it is empty. Never blocks.
    pub fn on_readable(&mut self) -> Vec<KernelEvent> {
        let own = self.nft.as_ref().map_or(0, ByNft::port_id);
        let children = self.nft.iter().flat_map(|n| &n.children).chain(&self.tables.children).copied().collect();
        self.watch.as_mut().map(|(_, watch)| watch.read_but(own, &children)).unwrap_or_default()
    }

    /// Is there something whose loss nobody tells us of, or could the last look not see all, so that
    /// [`Stock::check`] is to be called now and then?
    pub fn wants_looks(&self) -> bool {
        let wants = |side: &Side| side.account.unseen || !matches!(side.way, Way::Nft(_));
        self.sides.iter().any(|side| side.account.started && wants(side))
    }

    fn watch_tables(&mut self) {
        let tables: BTreeSet<String> = self
            .sides
            .iter()
            .map(|side| match &side.way {
                Way::Nft(NftWay { table: Table { name, .. }, .. }) => name.clone(),
                Way::Chain(_) | Way::Set(_) => "filter".to_owned(),
            })
            .collect();
        let tables: Vec<String> = tables.into_iter().collect();
        if tables.is_empty() || self.quiet {
            self.watch = None;
        } else if self.watch.as_ref().is_none_or(|(known, _)| *known != tables) {
            // Without notifications what is lost shows at the next ban, as with the original.
            self.watch = Watch::open_all(tables.clone()).ok().map(|watch| (tables, watch));
        }
    }
}

/// Does all that a side needs stand? An error where that can't be told.
fn whole_in(view: &View, side: &Side) -> Result<bool, Error> {
    let bans = side.account.len().saturating_sub(side.account.unsettled.len());
    match &side.way {
        Way::Nft(way) => Ok(ByNft::is_whole(way, view.nft(&way.table)?)),
        Way::Chain(way) => Ok(ByTables::is_whole(way, view.saved(&way.tool)?, bans)),
        Way::Set(way) => by_sets::is_whole(way, view.saved(&way.tool)?, view.sets()?, bans),
    }
}

/// What stands in the kernel, or why that can't be told.
#[derive(Debug, Default)]
struct View {
    nft: HashMap<Table, Result<Seen, Error>>,
    /// What `iptables-save` shows, by program.
    saved: HashMap<String, Result<String, Error>>,
    /// Names of sets of ipset.
    sets: Option<Result<Vec<String>, Error>>,
}

impl View {
    fn stands(&self, way: &Way) -> Result<bool, Error> {
        Ok(match way {
            Way::Nft(nft) => self.nft(&nft.table)?.sets.contains(&nft.set),
            Way::Chain(chain) => has_chain(self.saved(&chain.tool)?, &chain.chain),
            Way::Set(set) => self.sets()?.contains(&set.set),
        })
    }

    fn nft(&self, table: &Table) -> Result<&Seen, Error> {
        seen(self.nft.get(table))
    }

    fn saved(&self, tool: &Tool) -> Result<&str, Error> {
        seen(self.saved.get(&tool.program)).map(String::as_str)
    }

    fn sets(&self) -> Result<&[String], Error> {
        seen(self.sets.as_ref()).map(Vec::as_slice)
    }
}

fn seen<T>(looked: Option<&Result<T, Error>>) -> Result<&T, Error> {
    let nobody = || Error::new("look at the firewall's tables", "nobody has looked at these", "");
    looked.ok_or_else(nobody)?.as_ref().map_err(Clone::clone)
}
