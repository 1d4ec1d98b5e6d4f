//! A jail that fell behind its log's other readers, and reads it for itself.
//!
//! Its own reader begins where the shared one stood, goes as fast as the jail
//! does, and ends where it meets the shared one: there the jail joins again. Of
//! the journal that is a `journalctl` of its own.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stockade_core::matcher::Scanner;

use super::actor::{Actor, Reads};
use super::flow::{Came, Place, Reader, SourceRun, Turns};
use super::pool::Pool;
use super::watch::WatchHandle;
use crate::log::Log;

/// One jail's own way through a log.
pub(crate) struct Apart {
    actor: Arc<Actor>,
    shared: Weak<SourceRun>,
    own: Mutex<Own>,
    turns: Turns,
    /// Under which name it is watched, if it is one of a journal.
    pub(crate) name: Arc<str>,
    /// Bytes up to the shared reader.
    behind: AtomicU64,
    /// As the shared reader's lines were judged when the jail left.
    in_operation: bool,
    pool: Pool,
    watch: WatchHandle,
    log: Log,
}

struct Own {
    reader: Reader,
    scanner: Scanner,
    /// How many bytes of lines it has read, how many the shared reader had handed over when it began, and how many
    /// bytes that one was ahead then.
    read: u64,
    begun: u64,
    ahead: u64,
}

impl Apart {
    /// The jail goes on with this reader, which stands so many bytes behind the shared one.
    pub(crate) fn new(
        actor: &Arc<Actor>,
        shared: &Arc<SourceRun>,
        (reader, ahead): (Reader, u64),
        in_operation: bool,
        (pool, watch, log): (Pool, WatchHandle, Log),
    ) -> Arc<Apart> {
        let scanner = Scanner::new(vec![actor.filter()]);
        let apart = Arc::new(Apart {
            actor: Arc::clone(actor),
            shared: Arc::downgrade(shared),
            name: format!("{}\0{}", shared.name, actor.jail()).into(),
            own: Mutex::new(Own { reader, scanner, read: 0, begun: shared.handed(), ahead }),
            turns: Turns::default(),
            behind: AtomicU64::new(ahead),
            in_operation,
            pool,
            watch,
            log,
        });
        apart.watch.apart(&apart);
        apart
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
        self.watch.remove(&self.name);
    }

    /// What tells that there is more to read, where that is not known from the shared reader.
    pub(crate) fn with_fd<T>(&self, f: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        match &self.own.lock().unwrap_or_else(PoisonError::into_inner).reader {
            Reader::File(_) => None,
            Reader::Journal(journal) => Some(f(journal.as_fd())),
        }
    }

    fn submit(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.pool.submit(Box::new(move || this.turn()));
    }

    /// One read job.
    fn turn(self: Arc<Self>) {
        let came = if self.turns.is_closed() { Came::NoRoom } else { self.read_block() };
        if self.turns.go_on(came == Came::Block) {
            self.submit();
        } else if came == Came::Nothing {
            self.watch.read(&self.name, None);
        }
    }

    fn read_block(self: &Arc<Self>) -> Came {
        let Some(shared) = self.shared.upgrade() else { return Came::NoRoom };
        if !self.actor.has_room(|| {
            let this: Weak<Apart> = Arc::downgrade(self);
            this
        }) {
            return Came::NoRoom;
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let own = &mut *own;
        let there = shared.place();
        match (&mut own.reader, &there) {
            (Reader::File(file), Place::File(generation, offset)) => file.set_limit(Some((*generation, *offset))),
            (Reader::Journal(journal), Place::Journal(cursor)) => journal.set_limit(Some(Arc::clone(cursor))),
            // A source never becomes another kind of source.
            _ => return Came::NoRoom,
        }
        // Of notes and troubles the shared reader has told already.
        let (read, _, _) = own.reader.read();
        match read {
            Ok(Some(mut block)) => {
                block.in_operation = self.in_operation;
                if matches!(&own.reader, Reader::File(file) if file.is_late(&block)) {
                    super::flow::mark_late(&mut block);
                }
                if !own.scanner.is_for(std::iter::once(&self.actor.filter())) {
                    own.scanner = Scanner::new(vec![self.actor.filter()]);
                }
                own.read = own.read.saturating_add(block.text.len() as u64);
                let since = shared.handed().saturating_sub(own.begun);
                let left = own.ahead.saturating_add(since).saturating_sub(own.read);
                self.behind.store(left, Ordering::Relaxed);
                let scan = own.scanner.scan(super::now(), &block);
                // Under the lock: whoever closes this finds no block between it and the mailbox.
                self.actor.block(Arc::new(block), Arc::new(scan));
                Came::Block
            }
            Ok(None) => {
                let met = match &own.reader {
                    Reader::File(_) => own.reader.place() == there,
                    // One entry may have two cursors, before and after journald moved its files.
                    Reader::Journal(journal) => journal.is_at_limit(),
                };
                if met && shared.join_again(self, &there) {
                    self.watch.remove(&self.name);
                    return Came::NoRoom;
                }
                match &own.reader {
                    // What comes wakes the shared reader, and that wakes us.
                    Reader::File(_) => Came::NoRoom,
                    Reader::Journal(_) if met => Came::NoRoom,
                    Reader::Journal(_) => Came::Nothing,
                }
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
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterSpec, Matcher};
    use stockade_core::{JailName, Position, Span, Timestamp};
    use stockade_source::{FileReader, Journal, JournalOptions, JournalStart, Mode, Start, Watcher};
    use stockade_store::{Options, Store};

    use super::super::actor::Around;
    use super::super::guard::GuardHandle;
    use super::super::inbox::Taken;
    use super::super::judge::{JudgeData, inbox};
    use super::super::poison::Poison;
    use super::super::store::StoreHandle;
    use super::*;
    use crate::log::{Aim, Level};

    const LINES: u64 = 1400;

    /// A jail that looks at the last fifty lines again for each line, beside one that passes over all of them.
    struct Scene {
        folder: std::path::PathBuf,
        judge: Arc<super::super::judge::JudgeInbox>,
        watch: WatchHandle,
        pool: Pool,
        source: Arc<SourceRun>,
        quick: Arc<Actor>,
        slow: Arc<Actor>,
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.source.close();
            self.watch.close();
            self.judge.close();
            self.pool.close();
            std::fs::remove_dir_all(&self.folder).unwrap_or_default();
        }
    }

    fn scene(name: &str, open: impl Fn(&Path) -> Reader) -> Scene {
        let folder = std::env::temp_dir().join(format!("stockade-apart-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let judge = inbox();
        let log =
            Log::start(&Aim::parse(&folder.join("own.log").to_string_lossy(), "auto").unwrap(), Level::Info, false);
        let log = log.unwrap();
        let store = Store::open(Path::new(":memory:"), &Options::default()).unwrap().0;
        let store = StoreHandle::start(store, Arc::clone(&judge), log.clone()).unwrap();
        let watch = WatchHandle::start(Watcher::new(Mode::default()).unwrap(), log.clone()).unwrap();
        let pool = Pool::start(2).unwrap();
        let reader = open(&folder);
        let journal = matches!(reader, Reader::Journal(_));
        let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
        let actor = |name: &str, maxlines: u32, failregex: &str| {
            let failregex = vec![failregex.to_owned()];
            let findtime = Span::from_secs(100 * 365 * 86_400);
            let datepattern = if journal { DatePattern::Journal } else { DatePattern::Default };
            let spec = FilterSpec { failregex, maxlines, findtime, datepattern, ..FilterSpec::default() };
            let filter = Arc::new(Filter::compile(&spec, &calendar).unwrap());
            let name = JailName::new(name);
            let matcher = Matcher::new(name.clone(), filter, 0);
            let guard = GuardHandle::new(Arc::clone(&judge), Span::from_secs(86_400));
            let poison = Poison::none(&log);
            let around = Around { guard, pool: pool.clone(), judge: Arc::clone(&judge), poison, log: log.clone() };
            Actor::new(name, matcher, Vec::new(), around)
        };
        let quick = actor("quick", 1, "^ ?host program: .* attack from <HOST>$");
        // Without a literal, so that each line is looked at, with those before it.
        let slow = actor("slow", 50, r"^ ?\w+ \w+: .*\d <HOST>$");
        let source = SourceRun::with("log".into(), reader, pool.clone(), store.clone(), watch.clone(), log.clone());
        source.attach(vec![Arc::clone(&quick), Arc::clone(&slow)], &[]);
        watch.add(Arc::clone(&source));
        Scene { folder, judge, watch, pool, source, quick, slow }
    }

    fn falls_behind_and_catches_up(name: &str, open: impl Fn(&Path) -> Reader) {
        let scene = scene(name, open);
        let Scene { judge, source, slow, .. } = &scene;
        let (mut at, mut lines, mut behind) = ([0_u64; 2], [0_u64; 2], 0);
        let until = Instant::now() + Duration::from_secs(120);
        while lines != [LINES; 2] {
            assert!(Instant::now() < until, "{lines:?} of {LINES} lines read, {behind} behind");
            behind = behind.max(source.behind(slow));
            let Taken::Data(JudgeData::Batch(batch)) =
                judge.take(Some(Instant::now() + Duration::from_millis(1)), true)
            else {
                continue;
            };
            let to = match &batch.to {
                Position::Offset(to) => *to,
                // Entries are a second apart.
                Position::Cursor { at, .. } => u64::try_from(at.secs()).unwrap(),
            };
            let jail = usize::from(batch.jail.as_str() == "slow");
            // Each line once, in order.
            assert!(to >= at[jail], "{} goes back from {} to {to}", batch.jail, at[jail]);
            (at[jail], lines[jail]) = (to, lines[jail] + u64::from(batch.lines));
        }
        assert_eq!(at[0], at[1]);
        assert!(behind > 0, "the slow jail never was apart");
        while source.behind(slow) > 0 || !source.readers().apart.is_empty() {
            assert!(Instant::now() < until, "it has not joined again");
            std::thread::yield_now();
        }
    }

    fn long_log(folder: &Path) -> Reader {
        let path = folder.join("log");
        let line = format!("Jan  1 00:00:00 host program: nothing to see in a line {}\n", "x".repeat(4000));
        std::fs::write(&path, line.repeat(usize::try_from(LINES).unwrap())).unwrap();
        Reader::File(Box::new(FileReader::open(&path, Start::Head)))
    }

    #[test]
    fn a_slow_jail_falls_behind_and_catches_up_alone() {
        falls_behind_and_catches_up("file", long_log);
    }

    #[test]
    fn a_jail_that_joins_from_behind_is_seen_to_be_behind() {
        let scene = scene("joins", long_log);
        let Scene { judge, source, quick, slow, .. } = &scene;
        source.attach(vec![Arc::clone(quick)], &[]);
        let until = Instant::now() + Duration::from_secs(120);
        let take = || judge.take(Some(Instant::now() + Duration::from_millis(1)), true);
        let length = std::fs::metadata(scene.folder.join("log")).unwrap().len();
        while source.handed() < length {
            assert!(Instant::now() < until, "{} of {length} bytes read", source.handed());
            take();
        }
        let Place::File(generation, offset) = source.place() else { panic!("it is a file") };
        assert_eq!(offset, length);
        source.attach(vec![Arc::clone(quick), Arc::clone(slow)], &[(Arc::clone(slow), (generation, 0))]);
        // More than what its mailbox takes.
        let behind = source.behind(slow);
        assert!(behind > 0 && behind <= length, "{behind} of {length} bytes behind");
        while !source.readers().apart.is_empty() {
            assert!(Instant::now() < until, "it has not joined, {} behind", source.behind(slow));
            take();
        }
        assert_eq!(source.behind(slow), 0);
    }

    /// A read job of its own asks where the shared reader is: who takes the jail away must not hold that reader.
    #[test]
    fn a_jail_that_is_taken_away_while_it_is_apart_holds_nobody_up() {
        let scene = scene("away", long_log);
        let patience = Duration::from_secs(60);
        let until = Instant::now() + patience;
        let apart = loop {
            if let Some(apart) = scene.source.readers().apart.first() {
                break Arc::clone(apart);
            }
            assert!(Instant::now() < until, "the slow jail never was apart");
            std::thread::yield_now();
        };
        let own = apart.own.lock().unwrap();
        let (source, quick) = (Arc::clone(&scene.source), Arc::clone(&scene.quick));
        let takes_away = std::thread::spawn(move || source.attach(vec![quick], &[]));
        while !scene.source.readers().apart.is_empty() {
            assert!(Instant::now() < until, "it was not taken away");
            std::thread::yield_now();
        }
        let (sender, place) = std::sync::mpsc::channel();
        let source = Arc::clone(&scene.source);
        let asks = std::thread::spawn(move || sender.send(source.place()).unwrap_or_default());
        let answer = place.recv_timeout(patience);
        drop(own);
        takes_away.join().unwrap();
        asks.join().unwrap();
        assert!(answer.is_ok(), "both wait for each other");
    }

    /// A stand-in for `journalctl`, which begins at an entry if it is told so, and then waits.
    const JOURNALCTL: &str = r#"#!/bin/sh
first=1
for word; do
    case $word in --cursor=*) first=${word##*i=};; esac
done
tail -n +$((first * 7 - 6)) "$0.entries"
exec sleep 1000
"#;

    #[test]
    fn so_does_one_that_reads_the_journal() {
        falls_behind_and_catches_up("journal", |folder| {
            let path = folder.join("journalctl");
            let entry = |n: u64| {
                format!(
                    "__CURSOR=s=1;i={n}\n__REALTIME_TIMESTAMP={n}000000\n_UID=0\n_HOSTNAME=host\n\
                     SYSLOG_IDENTIFIER=program\nMESSAGE=nothing to see {}\n\n",
                    "x".repeat(4000)
                )
            };
            std::fs::write(folder.join("journalctl.entries"), (1..=LINES).map(entry).collect::<String>()).unwrap();
            std::fs::write(&path, JOURNALCTL).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let options = JournalOptions { program: Some(path), ..JournalOptions::default() };
            let start = JournalStart::Since(Timestamp::from_secs(0));
            Reader::Journal(Box::new(Journal::open(options, start).unwrap()))
        });
    }
}
