//! A jail that fell behind its log's other readers, and reads it for itself.
//!
//! Its own reader begins where the shared one stood, goes as fast as the jail
//! does, and ends where it meets the shared one: there the jail joins again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stockade_core::matcher::Scanner;
use stockade_source::FileReader;

use super::actor::{Actor, Reads};
use super::flow::{Came, SourceRun, Turns};
use super::pool::Pool;
use crate::log::Log;

/// One jail's own way through a log.
pub(crate) struct Apart {
    actor: Arc<Actor>,
    shared: Weak<SourceRun>,
    own: Mutex<Own>,
    turns: Turns,
    /// Bytes up to the shared reader.
    behind: AtomicU64,
    /// As the shared reader's lines were judged when the jail left.
    in_operation: bool,
    pool: Pool,
    log: Log,
}

struct Own {
    reader: FileReader,
    scanner: Scanner,
}

impl Apart {
    /// The jail goes on with this reader.
    pub(crate) fn new(
        actor: &Arc<Actor>,
        shared: &Arc<SourceRun>,
        reader: FileReader,
        in_operation: bool,
        pool: Pool,
        log: Log,
    ) -> Arc<Apart> {
        let scanner = Scanner::new(vec![actor.filter()]);
        Arc::new(Apart {
            actor: Arc::clone(actor),
            shared: Arc::downgrade(shared),
            own: Mutex::new(Own { reader, scanner }),
            turns: Turns::default(),
            behind: AtomicU64::new(0),
            in_operation,
            pool,
            log,
        })
    }

    /// Whose way it is.
    pub(crate) fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    /// Bytes up to the shared reader, as last seen.
    pub(crate) fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// Reads no more; a job under way ends first.
    pub(crate) fn close(&self) {
        self.turns.close();
        drop(self.own.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn submit(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.pool.submit(Box::new(move || this.turn()));
    }

    /// One read job.
    fn turn(self: Arc<Self>) {
        let came = if self.turns.is_closed() { Came::Nothing } else { self.read_block() };
        if self.turns.go_on(came == Came::Block) {
            self.submit();
        }
    }

    fn read_block(self: &Arc<Self>) -> Came {
        let Some(shared) = self.shared.upgrade() else { return Came::Nothing };
        if !self.actor.has_room(|| {
            let this: Weak<Apart> = Arc::downgrade(self);
            this
        }) {
            return Came::NoRoom;
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((generation, offset)) = shared.place() else { return Came::Nothing };
        own.reader.set_limit(Some((generation, offset)));
        let read = own.reader.read();
        let notes = own.reader.take_notes();
        drop(notes); // The shared reader has told of it already.
        match read {
            Ok(Some(mut block)) => {
                block.in_operation = self.in_operation;
                if own.reader.is_late(&block) {
                    super::flow::mark_late(&mut block);
                }
                if !own.scanner.is_for(std::iter::once(&self.actor.filter())) {
                    own.scanner = Scanner::new(vec![self.actor.filter()]);
                }
                let left = if own.reader.generation() == generation {
                    offset.saturating_sub(own.reader.offset())
                } else {
                    own.reader.lag_bytes().saturating_add(offset)
                };
                self.behind.store(left, Ordering::Relaxed);
                let scan = own.scanner.scan(super::now(), &block);
                // Under the lock: whoever closes this finds no block between it and the mailbox.
                self.actor.block(Arc::new(block), Arc::new(scan));
                drop(own);
                Came::Block
            }
            Ok(None) => {
                let here = (own.reader.generation(), own.reader.offset());
                if shared.join_again(self, here) { Came::Nothing } else { Came::NoRoom }
            }
            Err(e) => {
                self.log.warning(format!("{}, read apart for jail '{}': {e}", shared.name, self.actor.jail()));
                Came::Nothing
            }
        }
    }
}

impl Reads for Apart {
    fn kick(self: Arc<Self>) {
        if self.turns.begin() {
            self.submit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use stockade_core::matcher::{Calendar, Filter, FilterSpec, Matcher};
    use stockade_core::{JailName, Position, Span};
    use stockade_source::{Mode, Start, Watcher};
    use stockade_store::{Options, Store};

    use super::super::actor::Around;
    use super::super::flow::Reader;
    use super::super::guard::GuardHandle;
    use super::super::inbox::Taken;
    use super::super::judge::{JudgeData, inbox};
    use super::super::poison::Poison;
    use super::super::store::StoreHandle;
    use super::super::watch::WatchHandle;
    use super::*;
    use crate::log::{Aim, Level};

    /// A jail that looks at the last fifty lines again for each line, beside one that passes over all of them.
    #[test]
    fn a_slow_jail_falls_behind_and_catches_up_alone() {
        let folder = std::env::temp_dir().join(format!("stockade-apart-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("log");
        let line = format!("Jan  1 00:00:00 host program: nothing to see in a line {}\n", "x".repeat(4000));
        std::fs::write(&path, line.repeat(1400)).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();

        let judge = inbox();
        let log =
            Log::start(&Aim::parse(&folder.join("own.log").to_string_lossy(), "auto").unwrap(), Level::Info, false);
        let log = log.unwrap();
        let store = Store::open(std::path::Path::new(":memory:"), &Options::default()).unwrap().0;
        let store = StoreHandle::start(store, Arc::clone(&judge), log.clone()).unwrap();
        let watch = WatchHandle::start(Watcher::new(Mode::default()).unwrap(), log.clone()).unwrap();
        let pool = Pool::start(2).unwrap();
        let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
        let actor = |name: &str, maxlines: u32| {
            let failregex = vec!["^ host program: .* attack from <HOST>$".to_owned()];
            let findtime = Span::from_secs(100 * 365 * 86_400);
            let spec = FilterSpec { failregex, maxlines, findtime, ..FilterSpec::default() };
            let filter = Arc::new(Filter::compile(&spec, &calendar).unwrap());
            let name = JailName::new(name);
            let matcher = Matcher::new(name.clone(), filter, 0);
            let guard = GuardHandle::new(Arc::clone(&judge), Span::from_secs(86_400));
            let poison = Poison::none(&log);
            let around = Around { guard, pool: pool.clone(), judge: Arc::clone(&judge), poison, log: log.clone() };
            Actor::new(name, matcher, Vec::new(), around)
        };
        let (quick, slow) = (actor("quick", 1), actor("slow", 50));
        let reader = Reader::File(Box::new(FileReader::open(&path, Start::Head)));
        let name: Arc<str> = path.to_string_lossy().into();
        let source = SourceRun::with(name, reader, pool.clone(), store.clone(), watch.clone(), log.clone());
        source.attach(vec![Arc::clone(&quick), Arc::clone(&slow)]);
        watch.add(Arc::clone(&source));

        let (mut at, mut lines, mut behind) = ([0_u64; 2], [0_u64; 2], 0);
        let until = Instant::now() + Duration::from_secs(120);
        while at != [size; 2] {
            assert!(Instant::now() < until, "read up to {at:?} of {size}, {behind} behind");
            behind = behind.max(source.behind(&slow));
            let Taken::Data(JudgeData::Batch(batch)) =
                judge.take(Some(Instant::now() + Duration::from_millis(1)), true)
            else {
                continue;
            };
            let Position::Offset(to) = batch.to else { panic!("{batch:?}") };
            let jail = usize::from(batch.jail.as_str() == "slow");
            // Each line once, in order.
            assert!(to >= at[jail], "{} goes back from {} to {to}", batch.jail, at[jail]);
            (at[jail], lines[jail]) = (to, lines[jail] + u64::from(batch.lines));
        }
        assert_eq!(lines, [1400; 2]);
        assert!(behind > 0, "the slow jail never was apart");
        let joined = |source: &SourceRun| source.behind(&slow) == 0 && source.place().is_some_and(|(_, at)| at == size);
        while !joined(&source) {
            assert!(Instant::now() < until, "it has not joined again");
            std::thread::yield_now();
        }
        source.close();
        watch.close();
        pool.close();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
