//! The kernel's side of all bans: what should be in force, and putting it there.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use stockade_core::{JailName, Net, Timestamp};

use crate::backend::{Backend, Means, Options, by_tools, open_nft};
use crate::change::{Change, ElementOp};
use crate::content::{End, JailBans};
use crate::diag::Diag;
use crate::error::Error;
use crate::fallback::Fallback;
use crate::layout::Layout;
use crate::nft::TRANSACTION_ELEMENTS;
use crate::nft::events::{KernelEvent, Watch};
use crate::ops::{Applied, GroupCount, Held, Loaded, OnClose, Progress, SetOp};
use crate::ports::PortSpec;

/// The kernel keeps an element this much longer than the ban lasts, so that it
/// is always us who end a ban, unless we are dead.
const GRACE_MILLIS: u64 = 5_000;

/// New bans remembered for [`Kernel::end_connections`]. Beyond that, connections run into silence instead.
const FRESH_MAX: usize = 10_000;

#[derive(Debug)]
struct Jail {
    name: JailName,
    group: usize,
    bans: JailBans,
}

/// What becomes of one element in one go.
#[derive(Clone, Copy, Debug)]
struct Key {
    group: usize,
    net: Net,
    /// Was it wanted before?
    was: bool,
    /// Until when it is wanted now.
    end: Option<End>,
}

/// What becomes of each element that some operations touch.
#[derive(Debug)]
struct Keys {
    all: Vec<Key>,
    /// Place of each in `all`, once one of them may have come before.
    seen: Option<HashMap<(usize, Net), usize>>,
    /// Do all operations ban?
    only_bans: bool,
}

impl Keys {
    fn with_capacity(ops: &[SetOp]) -> Keys {
        let only_bans = ops.iter().all(|op| matches!(op, SetOp::Ban { .. }));
        Keys { all: Vec::with_capacity(ops.len()), seen: None, only_bans }
    }

    /// Takes what an element was before an operation and is wanted to be after it; its place.
    fn note(&mut self, key: Key) -> usize {
        let next = self.all.len();
        // Where nobody is unbanned, who was not wanted before is met for the first time.
        if self.only_bans && !key.was {
            if let Some(seen) = &mut self.seen {
                seen.insert((key.group, key.net), next);
            }
            self.all.push(key);
            return next;
        }
        let all = &self.all;
        let known = || all.iter().enumerate().map(|(i, key)| ((key.group, key.net), i)).collect();
        let place = *self.seen.get_or_insert_with(known).entry((key.group, key.net)).or_insert(next);
        match self.all.get_mut(place) {
            Some(known) => known.end = key.end,
            None => self.all.push(key),
        }
        place
    }
}

/// A load in progress.
#[derive(Debug, Default)]
struct Fill {
    /// (index of the jail, whom) to put in; the end is looked up when its turn comes.
    add: Vec<(u32, Net)>,
    /// (group, whom) that may have to leave a group that stays.
    settle: Vec<(usize, Net)>,
    loaded: Loaded,
}

/// Owner of everything that we have in the kernel. One thread owns it.
#[derive(Debug)]
pub struct Kernel {
    backend: Backend,
    why: String,
    watch: Option<Watch>,
    layout: Layout,
    jails: Vec<Jail>,
    index: HashMap<JailName, usize>,
    /// Indices of the jails of each group.
    members: Vec<Vec<usize>>,
    /// (group, whom) whose state in the kernel may differ from what is wanted.
    unsettled: HashSet<(usize, Net)>,
    fill: Option<Fill>,
    /// (group, whom) banned since connections were ended last.
    fresh: Vec<(usize, Net)>,
    /// `None` until first needed; an error if this kernel can't end connections.
    diag: Option<Result<Diag, Error>>,
}

impl Kernel {
    /// Finds out what this machine has and takes an earlier table over. What
    /// that one blocks stays blocked until a [`Kernel::restore`] is complete.
    ///
    /// Without nftables it is ipset with iptables, else iptables alone, else
    /// nothing but account: [`Kernel::means`] says which and why.
    ///
    /// # Errors
    ///
    /// No rights, a living process owns the table, or the means asked for don't
    /// work here; nothing has changed then.
    pub fn open(options: &Options) -> Result<Kernel, Error> {
        let tools = |with_sets| Fallback::open(&options.table, with_sets);
        let (backend, watch, why) = match options.means {
            Some(Means::Nftables) => open_nft(options)?,
            Some(Means::Ipset) => by_tools(tools(true)?, "asked for"),
            Some(Means::Iptables) => by_tools(tools(false)?, "asked for"),
            Some(Means::DryRun) => (Backend::Dry, None, "a dry run was asked for".to_owned()),
            None => match open_nft(options) {
                Ok(open) => open,
                Err(error) if !error.lacks_feature => return Err(error),
                Err(no_nft) => match (tools(true), tools(false)) {
                    (Ok(sets), _) => by_tools(sets, &no_nft.to_string()),
                    (Err(no_sets), Ok(plain)) => by_tools(plain, &format!("{no_nft}; {no_sets}")),
                    (Err(_), Err(nothing)) => (Backend::Dry, None, format!("nothing blocks here: {no_nft}; {nothing}")),
                },
            },
        };
        Ok(Kernel {
            backend,
            why,
            watch,
            layout: Layout::default(),
            jails: Vec::new(),
            index: HashMap::new(),
            members: Vec::new(),
            unsettled: HashSet::new(),
            fill: None,
            fresh: Vec::new(),
            diag: None,
        })
    }

    /// What enforces, and why that: for the log and `status`.
    pub fn means(&self) -> (Means, &str) {
        let means = match &self.backend {
            Backend::Nft(_) => Means::Nftables,
            Backend::Tools(tools) if tools.has_sets() => Means::Ipset,
            Backend::Tools(_) => Means::Iptables,
            Backend::Dry => Means::DryRun,
        };
        (means, &self.why)
    }

    /// Makes exactly these bans be in force, with this layout, whatever stood before.
    ///
    /// Bans of jails that the layout doesn't have are left out. Does all steps
    /// at once; [`Kernel::begin_restore`] leaves the steps to the caller.
    ///
    /// # Errors
    ///
    /// The chains could not be made, or the former ones not removed. What stood
    /// before is still in force.
    pub fn restore(
        &mut self,
        now: Timestamp,
        layout: Layout,
        bans: impl IntoIterator<Item = (JailName, Net, Timestamp)>,
    ) -> Result<Loaded, Error> {
        self.begin_restore(layout, bans)?;
        self.load_all(now)
    }

    /// Takes the bans into memory and makes the chains. From here on
    /// [`Kernel::apply`] works and is in force at once; [`Kernel::load`] brings
    /// the rest. What stood before stays in force until the load is done.
    ///
    /// # Errors
    ///
    /// As [`Kernel::restore`].
    pub fn begin_restore(
        &mut self,
        layout: Layout,
        bans: impl IntoIterator<Item = (JailName, Net, Timestamp)>,
    ) -> Result<(), Error> {
        self.set_layout(layout, Vec::new());
        for (jail, net, end) in bans {
            if let Some(jail) = self.index.get(&jail).and_then(|i| self.jails.get_mut(*i)) {
                jail.bans.extend_to(net, End::new(end));
            }
        }
        self.begin_rebuild()
    }

    /// Builds everything anew from what should be in force, beside what stands.
    fn begin_rebuild(&mut self) -> Result<(), Error> {
        self.backend.build(&self.layout, &[])?;
        self.unsettled.clear();
        let mut fill = Fill::default();
        fill.add.reserve_exact(self.bans());
        for (i, jail) in self.jails.iter().enumerate() {
            let i = u32::try_from(i).unwrap_or(u32::MAX);
            fill.add.extend(jail.bans.iter().map(|(net, _)| (i, net)));
        }
        self.fill = Some(fill);
        Ok(())
    }

    /// Carries out a new layout; bans of jails that stay, stay, without a gap.
    /// Bans of jails that the layout doesn't have leave the kernel.
    ///
    /// # Errors
    ///
    /// As [`Kernel::restore`]; the former layout is still in force then.
    pub fn relayout(&mut self, now: Timestamp, layout: Layout) -> Result<Loaded, Error> {
        // A load that is under way is brought to its end first.
        if self.fill.is_some() {
            self.load_all(now)?;
        }
        let reuse: Vec<Option<usize>> =
            layout.groups().iter().map(|key| self.layout.groups().iter().position(|old| old == key)).collect();
        self.backend.build(&layout, &reuse)?;
        let renamed = |old: usize| reuse.iter().position(|r| *r == Some(old));
        let before = std::mem::take(&mut self.jails);
        let unsettled = std::mem::take(&mut self.unsettled);
        let mut fill = Fill::default();
        let mut kept = Vec::new();
        for jail in before {
            let now_in = layout.jails().get(&jail.name).copied();
            let was_in = renamed(jail.group);
            if let Some(group) = was_in.filter(|_| now_in != was_in) {
                fill.settle.extend(jail.bans.iter().map(|(net, _)| (group, net)));
            }
            kept.push((jail, now_in != was_in));
        }
        let moved: Vec<JailName> = kept.iter().filter(|(_, moved)| *moved).map(|(jail, _)| jail.name.clone()).collect();
        self.set_layout(layout, kept.into_iter().map(|(jail, _)| jail).collect());
        for (i, jail) in self.jails.iter().enumerate().filter(|(_, jail)| moved.contains(&jail.name)) {
            let i = u32::try_from(i).unwrap_or(u32::MAX);
            fill.add.extend(jail.bans.iter().map(|(net, _)| (i, net)));
        }
        self.unsettled = unsettled.into_iter().filter_map(|(group, net)| Some((renamed(group)?, net))).collect();
        self.fill = Some(fill);
        self.load_all(now)
    }

    /// Takes a layout over and gives its jails the bans that they had in `before`.
    fn set_layout(&mut self, layout: Layout, before: Vec<Jail>) {
        let mut before: HashMap<JailName, JailBans> = before.into_iter().map(|j| (j.name, j.bans)).collect();
        self.jails = layout
            .jails()
            .iter()
            .map(|(name, group)| Jail {
                name: name.clone(),
                group: *group,
                bans: before.remove(name).unwrap_or_default(),
            })
            .collect();
        self.index = self.jails.iter().enumerate().map(|(i, jail)| (jail.name.clone(), i)).collect();
        self.members = vec![Vec::new(); layout.groups().len()];
        for (i, jail) in self.jails.iter().enumerate() {
            if let Some(members) = self.members.get_mut(jail.group) {
                members.push(i);
            }
        }
        self.layout = layout;
    }

    fn load_all(&mut self, now: Timestamp) -> Result<Loaded, Error> {
        loop {
            if let Progress::Done(loaded) = self.load(now)? {
                return Ok(loaded);
            }
        }
    }

    /// Puts up to 5,000 further elements into the kernel; the last call removes what stood before.
    ///
    /// A call takes about 5 ms. Other operations may come in between.
    ///
    /// # Errors
    ///
    /// What stood before could not be removed; calling again tries it again.
    pub fn load(&mut self, now: Timestamp) -> Result<Progress, Error> {
        let Some(mut fill) = self.fill.take() else { return Ok(Progress::Done(Loaded::default())) };
        if !fill.add.is_empty() {
            let part = fill.add.split_off(fill.add.len().saturating_sub(TRANSACTION_ELEMENTS));
            let ops: Vec<ElementOp> = part.iter().filter_map(|(jail, net)| self.fill_op(now, *jail, *net)).collect();
            self.run_fill(&ops, &mut fill.loaded);
            let left = fill.add.len().saturating_add(fill.settle.len());
            self.fill = Some(fill);
            return Ok(Progress::Left(left));
        }
        if let Err(error) = self.backend.retire() {
            self.fill = Some(fill);
            return Err(error);
        }
        // Removals come last: whoever moved to another group is in force there by now.
        fill.settle.sort_unstable();
        fill.settle.dedup();
        let settle = std::mem::take(&mut fill.settle);
        let ops: Vec<ElementOp> = settle.iter().map(|(group, net)| self.settle_op(now, *group, *net)).collect();
        self.run_fill(&ops, &mut fill.loaded);
        self.check_after_load()?;
        Ok(match &self.fill {
            Some(again) => Progress::Left(again.add.len()),
            None => Progress::Done(fill.loaded),
        })
    }

    fn fill_op(&self, now: Timestamp, jail: u32, net: Net) -> Option<ElementOp> {
        let group = self.jails.get(usize::try_from(jail).ok()?)?.group;
        let end = self.wanted(group, net)?;
        Some(ElementOp { group, net, change: Change::Add(timeout(end, now)) })
    }

    /// What brings an element from any state to the wanted one.
    fn settle_op(&self, now: Timestamp, group: usize, net: Net) -> ElementOp {
        let change = match self.wanted(group, net) {
            Some(end) => Change::Replace(timeout(end, now)),
            None => Change::Remove,
        };
        ElementOp { group, net, change }
    }

    fn run_fill(&mut self, ops: &[ElementOp], loaded: &mut Loaded) {
        let failed = self.change(ops);
        loaded.elements = loaded.elements.saturating_add(ops.len().saturating_sub(failed.len()));
        loaded.refused = loaded.refused.saturating_add(failed.len());
    }

    /// Hands elements to the backend and keeps account of refusals.
    fn change(&mut self, ops: &[ElementOp]) -> Vec<(usize, Error)> {
        let failed = self.backend.change(ops);
        if !self.unsettled.is_empty() {
            for op in ops {
                self.unsettled.remove(&(op.group, op.net));
            }
        }
        for op in failed.iter().filter_map(|(i, _)| ops.get(*i)) {
            self.unsettled.insert((op.group, op.net));
        }
        failed
    }

    /// The latest end that any jail of the group has for it; `None` if none bans it.
    fn wanted(&self, group: usize, net: Net) -> Option<End> {
        self.wanted_by(group, net, |_| true)
    }

    /// The same of some jails only.
    fn wanted_by(&self, group: usize, net: Net, which: impl Fn(usize) -> bool) -> Option<End> {
        let members = self.members.get(group)?.iter().filter(|i| which(**i));
        members.filter_map(|i| self.jails.get(*i)?.bans.get(net)).max()
    }

    /// Carries out operations, in this order; several on one address are netted out.
    ///
    /// One transaction per 5,000 elements that change. An operation on a jail
    /// that the layout doesn't have is reported as failed.
    pub fn apply(&mut self, now: Timestamp, ops: &[SetOp]) -> Applied {
        let mut applied = Applied::default();
        let mut keys = Keys::with_capacity(ops);
        let mut key_of: Vec<Option<usize>> = Vec::with_capacity(ops.len());
        for (i, op) in ops.iter().enumerate() {
            let (jail, net) = (op.jail(), op.net());
            let Some(at) = self.index.get(jail).copied() else {
                let help = "the jail must be part of the layout before it can ban";
                applied
                    .failed
                    .push((i, Error::new(format!("change ban of {net} in jail {jail}"), "unknown jail", help)));
                key_of.push(None);
                continue;
            };
            let group = self.jails.get(at).map_or(0, |j| j.group);
            let end = if let SetOp::Ban { end, .. } = op { Some(End::new(*end)) } else { None };
            let others = self.wanted_by(group, net, |jail| jail != at);
            let old = self.jails.get_mut(at).and_then(|jail| jail.bans.set(net, end));
            let was = others.or(old).is_some();
            key_of.push(Some(keys.note(Key { group, net, was, end: end.max(others) })));
        }
        let keys = keys.all;
        for key in &keys {
            if !key.was && self.fresh.len() < FRESH_MAX && key.end.is_some() {
                self.fresh.push((key.group, key.net));
            }
        }
        let changes: Vec<ElementOp> = keys.iter().map(|key| self.net_op(now, key)).collect();
        let failed = self.change(&changes);
        if !failed.is_empty() {
            if self.repair_if_damaged(now) {
                applied.repaired = true;
            } else {
                for (key, error) in failed {
                    for (i, op) in ops.iter().enumerate().filter(|(i, _)| key_of.get(*i) == Some(&Some(key))) {
                        let verb = if matches!(op, SetOp::Ban { .. }) { "ban" } else { "unban" };
                        let what = format!("{verb} {} in jail {}", op.net(), op.jail());
                        applied.failed.push((i, Error { what, ..error.clone() }));
                    }
                }
            }
        }
        applied.failed.sort_by_key(|(i, _)| *i);
        applied
    }

    fn net_op(&self, now: Timestamp, key: &Key) -> ElementOp {
        let Key { group, net, was, end } = *key;
        let unsettled = !self.unsettled.is_empty() && self.unsettled.contains(&(group, net));
        let change = match end {
            Some(end) if !was && !unsettled => Change::Add(timeout(end, now)),
            Some(end) => Change::Replace(timeout(end, now)),
            None => Change::Remove,
        };
        ElementOp { group, net, change }
    }

    /// Tries again what the kernel refused; returns how many are still refused.
    pub fn retry(&mut self, now: Timestamp) -> usize {
        let keys: Vec<(usize, Net)> = self.unsettled.iter().copied().collect();
        let ops: Vec<ElementOp> = keys.iter().map(|(group, net)| self.settle_op(now, *group, *net)).collect();
        self.change(&ops);
        self.unsettled.len()
    }

    /// Whose state in the kernel is not as wanted.
    pub fn unsettled(&self) -> impl Iterator<Item = Net> + '_ {
        self.unsettled.iter().map(|(_, net)| *net)
    }

    /// Bans that should be in force, over all jails.
    pub fn bans(&self) -> usize {
        self.jails.iter().map(|jail| jail.bans.len()).sum()
    }

    /// The bans of one jail that should be in force, in no order; none if it is not part of the layout.
    pub fn bans_of(&self, jail: &JailName) -> Vec<(Net, Timestamp)> {
        let jail = self.index.get(jail).and_then(|i| self.jails.get(*i));
        jail.map(|jail| jail.bans.iter().map(|(net, end)| (net, end.time())).collect()).unwrap_or_default()
    }

    /// Asks the kernel by key whether this jail's ban of this very host or network is in force. About 10 us.
    ///
    /// # Errors
    ///
    /// The kernel could not be asked.
    pub fn verify(&mut self, jail: &JailName, net: Net) -> Result<Held, Error> {
        let group = self.index.get(jail).and_then(|i| self.jails.get(*i)).map(|j| j.group);
        let held = match group {
            Some(group) => self.backend.holds(group, net)?,
            None => false,
        };
        Ok(if held { Held::Held } else { Held::Missing })
    }

    /// Everything in the kernel that holds this address or network: what is
    /// blocked, and by which element. Asked by key, one question per group and
    /// prefix length in use; expired elements don't count.
    ///
    /// # Errors
    ///
    /// The kernel could not be asked.
    pub fn holding(&mut self, net: Net) -> Result<Vec<(PortSpec, Net)>, Error> {
        let mut found = Vec::new();
        for (group, key) in self.layout.groups().iter().enumerate() {
            for prefix in (0..=net.prefix()).rev() {
                let Some(element) = Net::new(net.addr(), prefix) else { continue };
                // A network of which nobody has banned one of that length costs nothing: it has no set.
                if self.backend.may_hold(group, element) && self.backend.holds(group, element)? {
                    found.push((key.ports.clone(), element));
                }
            }
        }
        Ok(found)
    }

    /// Does everything that we made in the kernel still stand, chains, rules and
    /// sets? Their elements are not looked at. About 0.1 ms with nftables; some
    /// ms with the tools, which send no notifications, so there ask now and then.
    ///
    /// # Errors
    ///
    /// The kernel could not be asked.
    pub fn is_whole(&mut self) -> Result<bool, Error> {
        self.backend.is_whole()
    }

    /// Ends the TCP connections of everyone banned since the last call, on the
    /// ports of their jails; returns how many were ended. Their packets are
    /// dropped already, this frees the services that still wait for them.
    ///
    /// One dump of this network namespace's sockets, if there was a ban at all:
    /// to be called behind the acknowledgement of a ban, not before it.
    ///
    /// # Errors
    ///
    /// This kernel can't show or end connections (`CONFIG_INET_DIAG_DESTROY`);
    /// said once, later calls do nothing.
    pub fn end_connections(&mut self) -> Result<usize, Error> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() || matches!(self.backend, Backend::Dry) {
            return Ok(0);
        }
        let what = "end the connections of banned addresses";
        let diag = self.diag.get_or_insert_with(|| Diag::open().map_err(|e| Error::errno(what, e)));
        let Ok(diag) = diag else { return Ok(0) };
        let hosts: HashMap<IpAddr, usize> =
            fresh.iter().filter(|(_, net)| net.is_host()).map(|(group, net)| (net.addr(), *group)).collect();
        let mut ended = 0usize;
        let result = diag.connections().and_then(|connections| {
            for connection in connections {
                let peer = Net::host(connection.peer);
                let covers = |group: usize| {
                    self.layout.groups().get(group).is_some_and(|g| g.ports.covers(6, connection.local_port))
                };
                // The map keeps one group per host; only if that one has other ports the list is looked through.
                let banned = hosts.get(&connection.peer).is_some_and(|group| covers(*group))
                    || (hosts.contains_key(&connection.peer) || fresh.len() > hosts.len())
                        && fresh.iter().any(|(group, net)| net.contains(peer) && covers(*group));
                if banned && diag.end(&connection)? {
                    ended = ended.saturating_add(1);
                }
            }
            Ok(ended)
        });
        result.map_err(|errno| {
            let mut error = Error::errno(what, errno);
            if errno == Errno::OPNOTSUPP {
                error.help =
                    "the packets are dropped all the same; a kernel with CONFIG_INET_DIAG_DESTROY can do it".into();
                self.diag = Some(Err(error.clone()));
            }
            error
        })
    }

    /// Makes everything anew from what should be in force.
    ///
    /// # Errors
    ///
    /// As [`Kernel::restore`].
    pub fn repair(&mut self, now: Timestamp) -> Result<Loaded, Error> {
        self.begin_repair()?;
        self.load_all(now)
    }

    /// The same in steps: [`Kernel::load`] brings the elements.
    ///
    /// # Errors
    ///
    /// As [`Kernel::restore`].
    pub fn begin_repair(&mut self) -> Result<(), Error> {
        self.begin_rebuild()
    }

    fn repair_if_damaged(&mut self, now: Timestamp) -> bool {
        matches!(self.is_whole(), Ok(false)) && self.repair(now).is_ok()
    }

    /// Readable when somebody else may have changed our table. `None` where nobody can.
    pub fn events_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Reads what others did to our table. Never blocks.
    ///
    /// After a change or a removal [`Kernel::repair`] is due, after an overrun
    /// if [`Kernel::is_whole`] says no.
    pub fn on_readable(&mut self) -> Vec<KernelEvent> {
        let own = match &self.backend {
            Backend::Nft(nft) => nft.port_id(),
            Backend::Tools(_) | Backend::Dry => 0,
        };
        self.watch.as_mut().map(|watch| watch.read(own)).unwrap_or_default()
    }

    /// Reads what happened during a load. A large load overruns the notifications by itself,
    /// so whether the table was disturbed is asked; then the load starts again.
    fn check_after_load(&mut self) -> Result<(), Error> {
        if !self.on_readable().is_empty() && !self.is_whole()? {
            self.begin_rebuild()?;
        }
        Ok(())
    }

    /// What each group has refused so far. One small dump, whatever the number of bans.
    ///
    /// # Errors
    ///
    /// The kernel could not be asked.
    pub fn counters(&mut self) -> Result<Vec<GroupCount>, Error> {
        let counts = match &mut self.backend {
            Backend::Nft(nft) => nft.counters().map_err(|e| Error::errno("read the counters", e))?,
            Backend::Tools(tools) => tools.counters()?,
            Backend::Dry => vec![(0, 0); self.layout.groups().len()],
        };
        let groups = self.layout.groups().iter().zip(&self.members).zip(counts);
        Ok(groups
            .map(|((key, members), (packets, bytes))| GroupCount {
                jails: members.iter().filter_map(|i| self.jails.get(*i).map(|j| j.name.clone())).collect(),
                ports: key.ports.clone(),
                verdict: key.verdict,
                packets,
                bytes,
            })
            .collect())
    }

    /// Lets go of the kernel.
    ///
    /// # Errors
    ///
    /// The bans should be lifted and could not be; they are still in force.
    pub fn close(self, what: OnClose) -> Result<(), Error> {
        match (self.backend, what) {
            (Backend::Nft(mut nft), OnClose::Lift) => nft.delete(),
            (Backend::Tools(mut tools), OnClose::Lift) => tools.delete(),
            (_, OnClose::Keep) | (Backend::Dry, OnClose::Lift) => Ok(()),
        }
    }
}

/// The kernel's time-out for an end; `None` is for ever.
fn timeout(end: End, now: Timestamp) -> Option<u64> {
    end.millis_from(now).map(|millis| millis.saturating_add(GRACE_MILLIS))
}
