//! The kernel's thread: the only one that touches our table.
//!
//! It waits for work and for news of others' changes to the table. A long load
//! is done in steps between which single bans go through. Stock firewall actions
//! that need no shell are carried out here as well.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use stockade_core::judge::{BanView, Event, Retry};
use stockade_core::{Decision, JailName, Net, Seq, Turn};
use stockade_enforce::stock::{Stock, StockAction};
use stockade_enforce::{GroupCount, Held, Kernel, Layout, Means, OnClose, Progress, SetOp};

use super::judge::{JudgeControl, JudgeInbox};
use crate::control::server::Waker;
use crate::log::{Level, Log};

/// After a failed load, how long until it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often that is looked at of whose loss nobody tells us.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What the thread can be asked for.
enum Job {
    Turn(Arc<Turn>),
    Retry(Retry),
    /// Somebody who is banned was heard of again: does the ban hold?
    Doubt(JailName, Net),
    /// Living bans of jails that did not block so far.
    TakeOver(Vec<SetOp>),
    /// All bans of this jail end.
    Flush(JailName),
    /// All stored bans have been decided about: what stood before may go. The sender goes when they are in force, or
    /// can't be brought in force now.
    Settle(Sender<()>),
    Layout(Layout, Vec<StockAction>, Sender<Result<(), String>>),
    Verify(JailName, Net, Sender<bool>),
    Counters(Sender<Vec<GroupCount>>),
    Close(OnClose, Sender<Result<(), String>>),
}

struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    wake: Waker,
    state: Mutex<KernelState>,
}

/// How enforcement is doing, for `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelState {
    /// By which means, in words.
    pub(crate) means: String,
    /// Why by these.
    pub(crate) why: String,
    /// Bans that should be in force.
    pub(crate) bans: usize,
    /// Bans that the kernel does not hold.
    pub(crate) unsettled: usize,
    /// How often somebody else's change was repaired.
    pub(crate) repairs: u64,
    /// Empty, or what is wrong now.
    pub(crate) trouble: String,
    /// Nothing is enforced at all.
    pub(crate) dry: bool,
    /// By which means jails with stock firewall actions block, in words.
    pub(crate) stock: HashMap<JailName, String>,
    /// Does any jail block by our own means?
    pub(crate) own: bool,
}

impl KernelState {
    /// By which means a jail blocks, in words.
    pub(crate) fn means_of(&self, jail: &JailName) -> &str {
        self.stock.get(jail).unwrap_or(&self.means)
    }

    /// All that enforces, in words.
    pub(crate) fn all_means(&self) -> String {
        let own = (self.own || self.dry).then(|| self.means.clone());
        let mut kinds: Vec<&str> = self.stock.values().filter_map(|words| words.split(',').next()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let stock = (!kinds.is_empty()).then(|| format!("stock actions ({})", kinds.join(", ")));
        let all: Vec<String> = own.into_iter().chain(stock).collect();
        if all.is_empty() { "the commands of the jails' actions".to_owned() } else { all.join(" and ") }
    }

    /// Why by our own means; nothing where no jail blocks by them.
    pub(crate) fn own_why(&self) -> &str {
        if self.own || self.dry { &self.why } else { "" }
    }
}

/// What enforces, in words.
pub(crate) fn in_words(means: Means) -> &'static str {
    match means {
        Means::Nftables => "nftables, table inet stockade",
        Means::Ipset => "ipset with iptables",
        Means::Iptables => "iptables, a rule for each ban",
        Means::DryRun => "nothing (dry run)",
    }
}

/// The way to the kernel's thread.
#[derive(Clone)]
pub(crate) struct KernelHandle {
    shared: Arc<Shared>,
}

impl KernelHandle {
    /// Starts the thread on an open kernel.
    pub(crate) fn start(kernel: Kernel, judge: Arc<JudgeInbox>, log: Log) -> io::Result<KernelHandle> {
        let (means, why) = kernel.means();
        let state = KernelState {
            means: in_words(means).to_owned(),
            why: why.to_owned(),
            dry: means == Means::DryRun,
            ..KernelState::default()
        };
        let shared = Arc::new(Shared { jobs: Mutex::default(), wake: Waker::new()?, state: Mutex::new(state) });
        let layout = Layout::default();
        let mut stock = Stock::new();
        stock.expect_load();
        let thread = Thread {
            kernel,
            stock,
            shared: Arc::clone(&shared),
            judge,
            log,
            layout,
            loading: Loading::Held,
            in_force: None,
            looked: Instant::now(),
        };
        std::thread::Builder::new().name("kernel".into()).spawn(move || thread.run())?;
        Ok(KernelHandle { shared })
    }

    /// Carries out the decisions of a turn and tells the judge.
    pub(crate) fn turn(&self, turn: Arc<Turn>) {
        self.push(Job::Turn(turn));
    }

    /// Tries again what the kernel refused.
    pub(crate) fn retry(&self, retry: Retry) {
        self.push(Job::Retry(retry));
    }

    /// Sees to it that this ban is really in force.
    pub(crate) fn doubt(&self, jail: JailName, net: Net) {
        self.push(Job::Doubt(jail, net));
    }

    /// What an earlier process left may go, as soon as everything of ours is in. The receiver hangs up when all bans
    /// are in force, or can't be brought in force now.
    pub(crate) fn settle(&self) -> Receiver<()> {
        let (sender, in_force) = channel();
        self.push(Job::Settle(sender));
        in_force
    }

    /// Living bans of a jail that did not block so far.
    pub(crate) fn take_over(&self, jail: &JailName, bans: &[BanView]) {
        let op = |ban: &BanView| Some(SetOp::Ban { jail: jail.clone(), net: ban.ip.or(ban.id.net())?, end: ban.end });
        self.push(Job::TakeOver(bans.iter().filter_map(op).collect()));
    }

    /// All bans of a jail end; the single decisions follow.
    pub(crate) fn flush(&self, jail: JailName) {
        self.push(Job::Flush(jail));
    }

    /// Changes what jails block, without a gap.
    pub(crate) fn layout(&self, layout: Layout, stock: Vec<StockAction>) -> Result<(), String> {
        self.ask(|reply| Job::Layout(layout, stock, reply))
            .unwrap_or_else(|| Err("the kernel thread has gone".to_owned()))
    }

    /// Does the kernel hold this very host or network for this jail now?
    pub(crate) fn verify(&self, jail: &JailName, net: Net) -> Option<bool> {
        self.ask(|reply| Job::Verify(jail.clone(), net, reply))
    }

    /// What has been dropped so far.
    pub(crate) fn counters(&self) -> Receiver<Vec<GroupCount>> {
        let (sender, counters) = channel();
        self.push(Job::Counters(sender));
        counters
    }

    /// Lets go of the kernel; bans stay or are lifted.
    pub(crate) fn close(&self, what: OnClose) -> Result<(), String> {
        self.ask(|reply| Job::Close(what, reply)).unwrap_or(Ok(()))
    }

    /// How it is doing.
    pub(crate) fn state(&self) -> KernelState {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, job: Job) {
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        self.shared.wake.wake();
    }

    /// Asks and waits for the answer; `None` if the thread has gone.
    fn ask<T>(&self, job: impl FnOnce(Sender<T>) -> Job) -> Option<T> {
        let (sender, receiver) = channel();
        self.push(job(sender));
        receiver.recv().ok()
    }
}

/// How far a load is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loading {
    /// Started; its end waits for [`Job::Settle`].
    Held,
    /// Going on.
    Going,
    /// There is none.
    None,
}

struct Thread {
    kernel: Kernel,
    stock: Stock,
    shared: Arc<Shared>,
    judge: Arc<JudgeInbox>,
    log: Log,
    /// Jails without an entry only count.
    layout: Layout,
    loading: Loading,
    /// Who waits until the bans of the start are in force.
    in_force: Option<Sender<()>>,
    /// When we last looked whether everything stands.
    looked: Instant,
}

impl Thread {
    fn run(mut self) {
        loop {
            let trouble = !self.state(|s| s.trouble.is_empty());
            let patience = match self.loading {
                Loading::Going if !trouble => Some(Duration::ZERO),
                _ if trouble => Some(AGAIN_AFTER),
                _ if self.stock.wants_looks() => Some(LOOK_EVERY.saturating_sub(self.looked.elapsed())),
                _ => None,
            };
            let (table, stock) = self.wait(patience);
            if table {
                self.foreign_change();
            }
            if stock || self.stock.wants_looks() && self.looked.elapsed() >= LOOK_EVERY {
                self.look_at_stock(stock);
            }
            self.shared.wake.clear();
            let jobs = std::mem::take(&mut *self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner));
            let mut turns = Vec::new();
            for job in jobs {
                if let Job::Turn(turn) = job {
                    turns.push(turn);
                    continue;
                }
                self.turns(&std::mem::take(&mut turns));
                match job {
                    Job::Turn(_) => {}
                    Job::Retry(retry) => self.again(&retry),
                    Job::Doubt(jail, net) => self.doubt(&jail, net),
                    Job::TakeOver(ops) => self.take_over(&ops),
                    Job::Flush(jail) => {
                        // What is left standing is lifted one by one.
                        if let Err(e) = self.stock.flush(&jail) {
                            self.log.line(Level::Warning, "fail2ban.actions", format!("[{jail}] {e}"));
                        }
                    }
                    Job::Settle(in_force) => {
                        self.loading = Loading::Going;
                        self.in_force = Some(in_force);
                        for error in self.stock.settle(super::now()) {
                            self.log.line(Level::Error, "fail2ban.actions", error.to_string());
                        }
                    }
                    Job::Layout(layout, stock, reply) => drop(reply.send(self.layout(layout, &stock))),
                    Job::Verify(jail, net, reply) => drop(reply.send(self.holds(&jail, net))),
                    Job::Counters(reply) => drop(reply.send(self.kernel.counters().unwrap_or_default())),
                    Job::Close(what, reply) => {
                        let stock = self.stock.close(what);
                        drop(reply.send(self.kernel.close(what).and(stock).map_err(|e| e.to_string())));
                        return;
                    }
                }
            }
            self.turns(&turns);
            self.load();
            self.update_state();
        }
    }

    /// Waits for work; did somebody else change something: our table, those of stock actions?
    fn wait(&self, patience: Option<Duration>) -> (bool, bool) {
        let wake = PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN);
        let events: [Option<BorrowedFd<'_>>; 2] = [self.kernel.events_fd(), self.stock.events_fd()];
        let mut fds = vec![wake];
        fds.extend(events.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let patience = patience.and_then(|p| rustix::event::Timespec::try_from(p).ok());
        if poll(&mut fds, patience.as_ref()).is_err() {
            return (false, false);
        }
        let mut changed = fds.iter().skip(1).map(|fd| !fd.revents().is_empty());
        let [table, stock] = events.map(|fd| fd.is_some() && changed.next().unwrap_or(false));
        (table, stock)
    }

    /// Is this very ban in force by everything that the jail blocks with?
    fn holds(&mut self, jail: &JailName, net: Net) -> bool {
        let table = self.layout.ports(jail).is_some();
        let stock = self.stock.blocks(jail);
        (table || stock)
            && (!table || matches!(self.kernel.verify(jail, net), Ok(Held::Held)))
            && (!stock || matches!(self.stock.verify(jail, net), Ok(Held::Held)))
    }

    fn turns(&mut self, turns: &[Arc<Turn>]) {
        let decisions: Vec<&Decision> = turns.iter().flat_map(|turn| &turn.decisions).collect();
        let Some(upto) = decisions.last().map(|d| d.seq) else { return };
        let now = super::now();
        let mut failed: Vec<(Seq, Box<str>)> = Vec::new();
        let mut repaired = false;
        let lists = self.sort_by_means(&decisions);
        for (stock, (ops, seqs)) in [false, true].into_iter().zip(lists) {
            let applied = match (ops.is_empty(), stock) {
                (true, _) => continue,
                (false, true) => self.stock.apply(now, &ops),
                (false, false) => self.kernel.apply(now, &ops),
            };
            repaired |= applied.repaired;
            let why = |(i, why): (usize, stockade_enforce::Error)| Some((*seqs.get(i)?, why.to_string().into()));
            failed.extend(applied.failed.into_iter().filter_map(why));
        }
        if repaired {
            self.repaired();
        }
        failed.sort_by_key(|(seq, _)| *seq);
        failed.dedup_by_key(|(seq, _)| *seq);
        // Before the judge is told: who is answered may ask at once how many bans there are.
        self.update_state();
        super::arrow::pass("kernel to judge");
        self.judge.control(JudgeControl::Event(Event::Applied { upto, failed }));
    }

    /// What the decisions change in our own table and in what stock actions have, with their numbers.
    fn sort_by_means(&self, decisions: &[&Decision]) -> [(Vec<SetOp>, Vec<Seq>); 2] {
        let mut lists: [(Vec<SetOp>, Vec<Seq>); 2] = Default::default();
        let mut last: Option<(&JailName, [bool; 2])> = None;
        for decision in decisions {
            let jail = &decision.jail;
            let concerns = match last {
                Some((known, concerns)) if known == jail => concerns,
                _ => [self.layout.ports(jail).is_some(), self.stock.blocks(jail)],
            };
            last = Some((jail, concerns));
            for ((ops, seqs), _) in lists.iter_mut().zip(concerns).filter(|(_, concerns)| *concerns) {
                if let Some(op) = SetOp::of(decision) {
                    ops.push(op);
                    seqs.push(decision.seq);
                }
            }
        }
        lists
    }

    /// Puts bans in force that were decided before their jail blocked.
    fn take_over(&mut self, ops: &[SetOp]) {
        let now = super::now();
        let (kernel, stock) = (&mut self.kernel, &mut self.stock);
        let of_stock: Vec<SetOp> = ops.iter().filter(|op| stock.blocks(op.jail())).cloned().collect();
        let of_table: Vec<SetOp> = ops.iter().filter(|op| self.layout.ports(op.jail()).is_some()).cloned().collect();
        let mut failed = stock.apply(now, &of_stock).failed;
        failed.extend(kernel.apply(now, &of_table).failed);
        if let Some((_, why)) = failed.first() {
            let text = format!("{} living bans could not be put in force; they are tried again: {why}", failed.len());
            self.log.line(Level::Error, "fail2ban.actions", text);
        }
    }

    /// Tries again what the kernel refused, and tells what came of this one.
    fn again(&mut self, retry: &Retry) {
        self.kernel.retry(super::now());
        self.stock.retry(super::now());
        let unsettled = || self.kernel.unsettled().chain(self.stock.unsettled());
        let refused = retry.subject.id.net().is_some_and(|net| unsettled().any(|other| other == net));
        let result = if refused { Err("the kernel refuses it still".into()) } else { Ok(()) };
        self.judge.control(JudgeControl::Event(Event::Reapplied { subject: retry.subject.clone(), result }));
    }

    /// A ban that is not in the kernel although it should be is put there.
    fn doubt(&mut self, jail: &JailName, net: Net) {
        if self.stock.blocks(jail) && matches!(self.stock.verify(jail, net), Ok(Held::Missing)) {
            self.repair_stock(true);
        }
        let blocks = self.layout.ports(jail).is_some() && self.kernel.means().0 != Means::DryRun;
        if !blocks || self.loading != Loading::None {
            return;
        }
        if matches!(self.kernel.verify(jail, net), Ok(Held::Missing)) && self.kernel.begin_repair().is_ok() {
            self.loading = Loading::Going;
            self.repaired();
        }
    }

    fn layout(&mut self, layout: Layout, stock: &[StockAction]) -> Result<(), String> {
        // Bans go along when a jail changes from one way of blocking to the other.
        let before = std::mem::replace(&mut self.layout, layout.clone());
        let mut moved: Vec<SetOp> = Vec::new();
        for jail in self.layout.names().filter(|jail| before.ports(jail).is_none()) {
            let bans = self.stock.bans_of(jail).into_iter();
            moved.extend(bans.map(|(net, end)| SetOp::Ban { jail: jail.clone(), net, end }));
        }
        let now = super::now();
        let kernel = &self.kernel;
        for (jail, action, why) in self.stock.set_actions(now, stock.iter().cloned(), |jail| kernel.bans_of(jail)) {
            self.log.line(Level::Error, "fail2ban.actions", format!("[{jail}] action '{action}': {why}"));
        }
        let means = stock.iter().map(|action| (action.jail.clone(), self.stock.means(&action.jail))).collect();
        let own = layout.names().next().is_some();
        self.state(|s| (s.stock, s.own) = (means, own));
        self.table_layout(layout)?;
        let failed = self.kernel.apply(now, &moved).failed;
        failed.first().map_or(Ok(()), |(_, why)| Err(why.to_string()))
    }

    fn table_layout(&mut self, layout: Layout) -> Result<(), String> {
        if self.loading == Loading::Held {
            return self.kernel.begin_restore(layout, []).map_err(|e| e.to_string());
        }
        self.kernel.relayout(super::now(), layout).map(drop).map_err(|e| e.to_string())
    }

    /// One step of a load.
    fn load(&mut self) {
        if self.loading != Loading::Going {
            return;
        }
        match self.kernel.load(super::now()) {
            Ok(Progress::Left(_)) => self.trouble(None),
            Ok(Progress::Done(loaded)) => {
                self.loading = Loading::None;
                self.in_force = None;
                self.trouble(None);
                let bans = self.kernel.bans() + self.stock.bans();
                if bans > 0 {
                    self.log.line(Level::Info, "fail2ban.actions", format!("all bans are in force: {bans}"));
                }
                if loaded.refused > 0 {
                    let text = format!("the kernel refused {} bans; they are tried again", loaded.refused);
                    self.log.line(Level::Error, "fail2ban.actions", text);
                }
            }
            Err(e) => {
                self.in_force = None;
                self.trouble(Some(e.to_string()));
            }
        }
    }

    /// Somebody else did something to our table.
    fn foreign_change(&mut self) {
        if self.kernel.on_readable().is_empty() {
            return;
        }
        match self.kernel.is_whole() {
            Ok(true) => {}
            Ok(false) => match self.kernel.begin_repair() {
                Ok(()) => {
                    self.loading = Loading::Going;
                    self.repaired();
                }
                Err(e) => self.trouble(Some(e.to_string())),
            },
            Err(e) => self.trouble(Some(e.to_string())),
        }
    }

    /// Are the tables, sets and rules of stock actions as they should be? What is not is put back.
    fn look_at_stock(&mut self, changed: bool) {
        self.looked = Instant::now();
        if !changed || !self.stock.on_readable().is_empty() {
            self.repair_stock(changed);
        }
    }

    fn repair_stock(&mut self, changed: bool) {
        match self.stock.check(super::now(), changed) {
            Ok(false) => {}
            Ok(true) => self.repaired(),
            Err(e) => self.log.line(Level::Error, "fail2ban.actions", e.to_string()),
        }
    }

    fn repaired(&mut self) {
        self.state(|s| s.repairs += 1);
        let text = "another program removed our rules or a part of them; they are being put back";
        self.log.line(Level::Warning, "fail2ban.actions", text);
    }

    fn trouble(&self, trouble: Option<String>) {
        let trouble = trouble.unwrap_or_default();
        let news = self.state(|s| {
            let news = s.trouble != trouble;
            s.trouble.clone_from(&trouble);
            news
        });
        if news && !trouble.is_empty() {
            self.log.line(Level::Error, "fail2ban.actions", trouble);
        }
    }

    fn update_state(&self) {
        let bans = self.kernel.bans() + self.stock.bans();
        let unsettled = self.kernel.unsettled().count() + self.stock.unsettled().count();
        self.state(|s| (s.bans, s.unsettled) = (bans, unsettled));
    }

    fn state<T>(&self, f: impl FnOnce(&mut KernelState) -> T) -> T {
        f(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
