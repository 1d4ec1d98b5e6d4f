//! One jail's matcher as an actor: a mailbox of blocks, worked off by one
//! worker at a time, so that the order of lines holds without a lock on the way.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use stockade_core::judge::{Guard, ProtectedAs, Protection};
use stockade_core::matcher::{Filter, Matcher, Overrun, Scan};
use stockade_core::{Batch, Block, JailName, Position, SourceKey, Watermark};

use super::guard::GuardHandle;
use super::judge::{JudgeData, JudgeInbox};
use super::poison::{Care, Noted, Poison};
use super::pool::Pool;
use super::stage::StagedJail;
use crate::log::Log;
use crate::relay::{self, Watch};

/// How many blocks may wait for one jail; then its sources wait too.
const MAILBOX_BLOCKS_MAX: usize = 16;

/// How long after a snapshot the next one may come.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(30);
/// How much is read between two snapshots even if nobody fails.
const SNAPSHOT_BYTES: usize = 16 << 20;

/// How long a jail that gets a log back waits for what it has read of it to be decided about, at most: a full
/// mailbox (4 MiB of lines) on a machine that is very busy.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What a jail has done with a source before this process: lines before
/// `counted` are in the snapshot, lines from there to `decided` had their
/// decisions made, so they only rebuild counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    /// Which incarnation of the file.
    pub(crate) source: SourceKey,
    /// Everything before it is in the snapshot.
    pub(crate) counted: Position,
    /// Everything before it was decided.
    pub(crate) decided: Position,
}

/// Someone who reads, and waits for room in a mailbox.
pub(crate) trait Reads: Send + Sync {
    /// There may be something to read, and room for it.
    fn kick(self: Arc<Self>);
}

/// How often a log is looked through for successful lines at most, and how much of the time that may take.
const LOOK_AFTER: Duration = Duration::from_secs(5);
const LOOK_COST: u32 = 50;

/// What waits in a mailbox.
enum Item {
    Block(Arc<Block>, Arc<Scan>),
    Filter(Arc<Filter>, u64),
    Snapshot,
    Places(Sender<(JailName, Vec<Watermark>)>),
}

struct Mailbox {
    items: VecDeque<Item>,
    blocks: usize,
    scheduled: bool,
    /// Who waits for room.
    waiting: Vec<Weak<dyn Reads>>,
}

/// The matcher and what only it needs.
struct Work {
    matcher: Matcher,
    past: HashMap<SourceKey, Past>,
    /// When the last snapshot was sent, and what was read since.
    snapshot_at: Option<Instant>,
    bytes_since: usize,
    failures_since: usize,
}

/// By what a proxy is told from an attacker.
#[derive(Default)]
struct Lookout {
    watch: Option<Arc<Watch>>,
    /// When which source may be looked through again.
    next: HashMap<Arc<str>, Instant>,
}

/// One jail's place in the flow.
pub(crate) struct Actor {
    jail: JailName,
    mailbox: Mutex<Mailbox>,
    work: Mutex<Work>,
    /// By which the blocks that come now are judged.
    filter: Mutex<Arc<Filter>>,
    /// Patterns that ran out of steps, as of the last block.
    overruns: Mutex<Arc<[Overrun]>>,
    lookout: Mutex<Lookout>,
    around: Around,
    noted: Noted,
}

/// Whom an actor needs.
#[derive(Clone)]
pub(crate) struct Around {
    /// Asked before failures are handed on.
    pub(crate) guard: GuardHandle,
    /// Works the mailbox off.
    pub(crate) pool: Pool,
    /// Gets what was found.
    pub(crate) judge: Arc<JudgeInbox>,
    /// Notes of what is looked at, for the next process.
    pub(crate) poison: Poison,
    /// The own log.
    pub(crate) log: Log,
}

impl Actor {
    /// An actor with an empty mailbox.
    pub(crate) fn new(jail: JailName, matcher: Matcher, past: Vec<Past>, around: Around) -> Arc<Actor> {
        let past = past.into_iter().map(|p| (p.source.clone(), p)).collect();
        Arc::new(Actor {
            noted: around.poison.of(&jail),
            around,
            jail,
            mailbox: Mutex::new(Mailbox { items: VecDeque::new(), blocks: 0, scheduled: false, waiting: Vec::new() }),
            filter: Mutex::new(Arc::clone(matcher.filter())),
            overruns: Mutex::default(),
            lookout: Mutex::default(),
            work: Mutex::new(Work { matcher, past, snapshot_at: None, bytes_since: 0, failures_since: 0 }),
        })
    }

    /// Before its first block comes: part of a source was decided about in another life, and is only counted.
    pub(crate) fn replay(&self, past: Past) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.past.insert(past.source.clone(), past);
    }

    /// Whose matcher it is.
    pub(crate) fn jail(&self) -> &JailName {
        &self.jail
    }

    /// By which filter the blocks that come now are judged.
    pub(crate) fn filter(&self) -> Arc<Filter> {
        Arc::clone(&self.filter.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Patterns that ran out of steps since they are in use, as of the last block.
    pub(crate) fn overruns(&self) -> Arc<[Overrun]> {
        Arc::clone(&self.overruns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is there room for one more block? If not, `reader` is woken when there is.
    pub(crate) fn has_room(&self, reader: impl FnOnce() -> Weak<dyn Reads>) -> bool {
        let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let room = mailbox.blocks < MAILBOX_BLOCKS_MAX;
        if !room {
            let reader = reader();
            if !mailbox.waiting.iter().any(|known| known.ptr_eq(&reader)) {
                mailbox.waiting.push(reader);
            }
        }
        room
    }

    /// Puts a block into the mailbox, with what a scan of it found.
    pub(crate) fn block(self: &Arc<Self>, block: Arc<Block>, scan: Arc<Scan>) {
        self.put(Item::Block(block, scan));
    }

    /// The lines after those that wait now are judged by this filter.
    pub(crate) fn swap(self: &Arc<Self>, filter: Arc<Filter>, epoch: u64) {
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&filter);
        self.put(Item::Filter(filter, epoch));
    }

    /// From now on a proxy is told from an attacker as this jail's options say.
    pub(crate) fn watch(&self, staged: &StagedJail) {
        let watch = staged.watch.clone().filter(|_| staged.spec.guard != Guard::Off);
        *self.lookout.lock().unwrap_or_else(PoisonError::into_inner) = Lookout { watch, next: HashMap::new() };
    }

    /// Has somebody failed behind whom others may stand? Then the guard has to know before the judge counts.
    fn look_for_relays(&self, batch: &Batch) {
        if !relay::addresses(batch).any(relay::is_private) {
            return;
        }
        let source = &batch.source.path;
        let lookout = self.lookout.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watch) = lookout.watch.clone() else { return };
        let began = Instant::now();
        if lookout.next.get(source).is_some_and(|next| began < *next) {
            return;
        }
        // Who changes the jail meanwhile doesn't wait for the log to be read.
        drop(lookout);
        let found = watch.look(source, super::now()).relay(source);
        let next = Instant::now() + LOOK_AFTER.max(began.elapsed() * LOOK_COST);
        let mut lookout = self.lookout.lock().unwrap_or_else(PoisonError::into_inner);
        if lookout.watch.as_ref().is_some_and(|now| Arc::ptr_eq(now, &watch)) {
            lookout.next.insert(Arc::clone(source), next);
        }
        drop(lookout);
        let Some((net, seen)) = found else { return };
        let reason = ProtectedAs::Relay { jail: self.jail.clone(), seen: seen.clone() };
        if self.around.guard.relay(Protection { net, reason }) {
            self.around.log.warning(format!(
                "[{}] {net} forwards for others: {seen}. Who bans it bans everybody behind it; let the service log \
                 the clients' own addresses (stockade doctor says how)",
                self.jail
            ));
        }
    }

    /// Sends a snapshot to the judge, behind everything that waits now.
    pub(crate) fn snapshot(self: &Arc<Self>) {
        self.put(Item::Snapshot);
    }

    /// Has the judge tell up to where this jail has decided, behind everything that waits now.
    pub(crate) fn places(self: &Arc<Self>, reply: Sender<(JailName, Vec<Watermark>)>) {
        self.put(Item::Places(reply));
    }

    /// Number of blocks that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).blocks
    }

    /// Has it nearly done all it was given?
    pub(crate) fn is_hungry(&self) -> bool {
        self.waiting() <= MAILBOX_BLOCKS_MAX / 4
    }

    /// Is nothing waiting, and nothing under way?
    pub(crate) fn is_idle(&self) -> bool {
        !self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).scheduled
    }

    fn put(self: &Arc<Self>, item: Item) {
        let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        mailbox.blocks += usize::from(matches!(item, Item::Block(..)));
        mailbox.items.push_back(item);
        if !mailbox.scheduled {
            mailbox.scheduled = true;
            let actor = Arc::clone(self);
            self.around.pool.submit(Box::new(move || actor.turn()));
        }
    }

    /// Works off one item, then gives other jobs a chance.
    fn turn(self: Arc<Self>) {
        let item = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).items.pop_front();
        let was_block = matches!(item, Some(Item::Block(..)));
        {
            let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            match item {
                Some(Item::Block(block, scan)) => self.judge_block(&mut work, &block, &scan),
                Some(Item::Filter(filter, epoch)) => {
                    work.matcher.swap(filter, epoch);
                    self.post_overruns(&work.matcher);
                }
                Some(Item::Snapshot) => self.send_snapshot(&mut work),
                Some(Item::Places(reply)) => {
                    self.around.judge.data(JudgeData::Places { jail: self.jail.clone(), reply });
                }
                None => {}
            }
        }
        let (again, waiting) = {
            let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            mailbox.blocks -= usize::from(was_block);
            mailbox.scheduled = !mailbox.items.is_empty();
            (mailbox.scheduled, std::mem::take(&mut mailbox.waiting))
        };
        for source in waiting.iter().filter_map(Weak::upgrade) {
            source.kick();
        }
        if again {
            let actor = Arc::clone(&self);
            self.around.pool.submit(Box::new(move || actor.turn()));
        }
    }

    /// Posts which patterns ran out of steps, for who asks while a block is under way.
    fn post_overruns(&self, matcher: &Matcher) {
        *self.overruns.lock().unwrap_or_else(PoisonError::into_inner) = matcher.overruns().into();
    }

    fn send_snapshot(&self, work: &mut Work) {
        let blob = work.matcher.snapshot();
        self.around.judge.data(JudgeData::Snapshot { jail: self.jail.clone(), blob });
        (work.snapshot_at, work.bytes_since, work.failures_since) = (Some(Instant::now()), 0, 0);
    }

    /// Sends a snapshot if there is enough that a restart would have to count again.
    fn snapshot_if_due(&self, work: &mut Work, block: &Block) {
        let Some(at) = work.snapshot_at else {
            // The first one only says where counting began.
            let begin = Batch {
                jail: self.jail.clone(),
                source: block.source.clone(),
                to: block.begin.clone(),
                failures: Vec::new(),
                lines: 0,
                replay: true,
                epoch: u64::MAX,
            };
            self.around.judge.data(JudgeData::Batch(begin));
            self.send_snapshot(work);
            return;
        };
        if at.elapsed() > SNAPSHOT_AFTER && (work.failures_since > 0 || work.bytes_since > SNAPSHOT_BYTES) {
            self.send_snapshot(work);
        }
    }

    /// Matches the part of a block that is news to this jail.
    fn judge_block(&self, work: &mut Work, block: &Block, scan: &Scan) {
        self.snapshot_if_due(work, block);
        let mut care = Care::Usual;
        for (from, to, replay) in self.parts(work, block) {
            care = self.noted.begin(block);
            let exhausted = work.matcher.counters().exhausted;
            let whole = from == 0 && to == block.text.len();
            let mut batch = if care == Care::LineByLine {
                let Some(part) = cut(block, from, to, replay) else { continue };
                self.line_by_line(work, &part, scan)
            } else if whole {
                work.matcher.scanned(block, scan)
            } else {
                let Some(part) = cut(block, from, to, replay) else { continue };
                work.matcher.block(scan.now(), &part)
            };
            self.noted.pause();
            if work.matcher.counters().exhausted != exhausted {
                self.post_overruns(&work.matcher);
            }
            batch.replay = replay;
            work.bytes_since = work.bytes_since.saturating_add(to - from);
            work.failures_since = work.failures_since.saturating_add(batch.failures.len());
            if !batch.failures.is_empty() && !batch.replay {
                self.around.guard.refresh();
                self.look_for_relays(&batch);
            }
            for note in work.matcher.take_notes() {
                self.around.log.line(super::level(note.level), "fail2ban.filter", note.text);
            }
            if !self.around.judge.data(JudgeData::Batch(batch)) {
                break;
            }
        }
        self.noted.end(block, care);
    }

    /// Matches lines of which one may have ended an earlier process: each is noted first.
    fn line_by_line(&self, work: &mut Work, part: &Block, scan: &Scan) -> Batch {
        let mut all =
            work.matcher.block(scan.now(), &Block { text: Box::default(), stamps: Box::default(), ..part.clone() });
        let mut from = 0;
        for line in work.matcher.filter().line_end().lines(&part.text).map(<[u8]>::len).collect::<Vec<_>>() {
            let to = from + line;
            if let Some(line) = cut(part, from, to, part.replay)
                && self.noted.begin_line(&line)
            {
                let batch = work.matcher.block(scan.now(), &line);
                all.failures.extend(batch.failures);
                self.noted.end_line(&line);
            }
            all.lines = all.lines.saturating_add(1);
            from = to;
        }
        all
    }

    /// The parts of a block's text that count, each with whether it is only replayed: cut where
    /// replaying ends and news begins.
    fn parts(&self, work: &mut Work, block: &Block) -> Vec<(usize, usize, bool)> {
        let end = block.text.len();
        let Some(past) = work.past.get(&block.source) else { return vec![(0, end, block.replay)] };
        let counted = place(block, &past.counted);
        let decided = place(block, &past.decided).max(counted);
        if decided < end {
            work.past.remove(&block.source);
        }
        let mut parts = vec![(counted, decided, true), (decided, end, block.replay)];
        parts.retain(|(from, to, _)| from < to);
        parts
    }
}

/// Where in the block's text a position lies: 0 if before it, its length if behind.
fn place(block: &Block, position: &Position) -> usize {
    match (position, &block.begin) {
        (Position::Offset(at), Position::Offset(begin)) => {
            usize::try_from(at.saturating_sub(*begin)).unwrap_or(usize::MAX).min(block.text.len())
        }
        (Position::Cursor { cursor, at }, _) => block
            .stamps
            .iter()
            .rev()
            .find(|stamp| stamp.cursor == *cursor || stamp.time < *at)
            .map_or(0, |stamp| usize::try_from(stamp.end).unwrap_or(usize::MAX).min(block.text.len())),
        (Position::Offset(_), Position::Cursor { .. }) => 0,
    }
}

/// Up to where these jails have decided, once all that was read for them is judged; `None` if the judge has gone,
/// or if that takes too long.
pub(crate) fn settled<'a>(
    actors: impl Iterator<Item = &'a Arc<Actor>>,
    log: &Log,
) -> Option<HashMap<JailName, Vec<Watermark>>> {
    let (sender, settled) = channel();
    let mut waiting: BTreeSet<JailName> = BTreeSet::new();
    for actor in actors {
        actor.places(sender.clone());
        waiting.insert(actor.jail.clone());
    }
    drop(sender);
    let (until, mut marks) = (Instant::now() + SETTLE_MAX, HashMap::new());
    while !waiting.is_empty() {
        match settled.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((jail, places)) => {
                waiting.remove(&jail);
                marks.insert(jail, places);
            }
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                let late = waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                log.warning(format!(
                    "what was read of a log that comes back is not judged yet, after {} s, in jail {late}: \
                         some of its lines may count twice",
                    SETTLE_MAX.as_secs()
                ));
                return None;
            }
        }
    }
    Some(marks)
}

/// The lines of `block` between two offsets that are line ends; `None` if there are none.
fn cut(block: &Block, from: usize, to: usize, replay: bool) -> Option<Block> {
    let text: Box<[u8]> = block.text.get(from..to).filter(|t| !t.is_empty())?.into();
    let shifted = |by: usize| match &block.begin {
        Position::Offset(begin) => Position::Offset(begin.saturating_add(by as u64)),
        cursor @ Position::Cursor { .. } => block
            .stamps
            .iter()
            .rev()
            .find(|s| s.end as usize <= by)
            .map_or_else(|| cursor.clone(), |s| Position::Cursor { cursor: Arc::clone(&s.cursor), at: s.time }),
    };
    let stamps = block
        .stamps
        .iter()
        .filter(|s| s.end as usize > from && s.end as usize <= to)
        .map(|s| stockade_core::Stamp { end: s.end - u32::try_from(from).unwrap_or(0), ..s.clone() })
        .collect();
    Some(Block { begin: shifted(from), end: shifted(to), text, stamps, replay, ..block.clone() })
}

#[cfg(test)]
pub(super) mod tests;
