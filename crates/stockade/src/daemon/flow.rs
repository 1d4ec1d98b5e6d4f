//! Sources and who reads them: which log goes to which jails, and from where.
//!
//! One thread waits for news of all logs; a source with news gets a read job,
//! one at a time, so its order is kept while sources are read side by side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::{Block, SourceKey};
use stockade_source::{FileReader, Journal, Note};

use super::actor::Actor;
use super::asker::Asker;
use super::pool::Pool;
use super::store::{StoreHandle, StoreJob};
use super::watch::WatchHandle;
use crate::log::Log;

/// What lines that came late into a rotated file have behind their path.
const LATE: &str = " (rotated)";

/// How many blocks one read job hands over before other jobs get their turn.
const BLOCKS_A_TURN: usize = 4;

/// What a source is read with.
pub(crate) enum Reader {
    /// A log file.
    File(Box<FileReader>),
    /// The systemd journal.
    Journal(Box<Journal>),
}

/// How a source is doing, for `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceState {
    /// Empty if it is being read.
    pub(crate) trouble: String,
    /// Bytes that wait to be read.
    pub(crate) lag_bytes: u64,
    /// Which incarnation is read.
    pub(crate) generation: u64,
    /// Offset of the next unread line.
    pub(crate) offset: u64,
}

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Block,
    Nothing,
    /// A jail can't take more now.
    NoRoom,
}

#[derive(Default)]
struct Schedule {
    scheduled: bool,
    again: bool,
    closed: bool,
}

/// Whom a source needs.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) pool: Pool,
    pub(crate) store: StoreHandle,
    pub(crate) watch: WatchHandle,
    pub(crate) asker: Asker,
    pub(crate) log: Log,
}

/// One source that is being read.
pub(crate) struct SourceRun {
    /// The path, or what is asked of the journal.
    pub(crate) name: Arc<str>,
    reader: Mutex<Reader>,
    attached: Mutex<Vec<Arc<Actor>>>,
    schedule: Mutex<Schedule>,
    state: Mutex<SourceState>,
    first_lines: Mutex<HashMap<u64, String>>,
    pool: Pool,
    store: StoreHandle,
    watch: WatchHandle,
    log: Log,
}

impl SourceRun {
    /// A source that nobody is attached to yet.
    pub(crate) fn new(name: Arc<str>, reader: Reader, reach: &Reach) -> Arc<SourceRun> {
        let Reach { pool, store, watch, log, .. } = reach.clone();
        let run = SourceRun {
            name,
            reader: Mutex::new(reader),
            attached: Mutex::default(),
            schedule: Mutex::default(),
            state: Mutex::default(),
            first_lines: Mutex::default(),
            pool,
            store,
            watch,
            log,
        };
        Arc::new(run)
    }

    /// Replaces those who get this source's blocks.
    pub(crate) fn attach(&self, actors: Vec<Arc<Actor>>) {
        *self.attached.lock().unwrap_or_else(PoisonError::into_inner) = actors;
    }

    /// There may be something to read.
    pub(crate) fn kick(self: &Arc<Self>) {
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        if schedule.closed {
            return;
        }
        if schedule.scheduled {
            schedule.again = true;
            return;
        }
        schedule.scheduled = true;
        drop(schedule);
        self.submit();
    }

    /// Reads no more; a job under way ends first.
    pub(crate) fn close(&self) {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        drop(self.reader.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How it is doing.
    pub(crate) fn state(&self) -> SourceState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs something on the reader, between two reads.
    pub(crate) fn with_reader<T>(&self, f: impl FnOnce(&mut Reader) -> T) -> T {
        f(&mut self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn submit(self: &Arc<Self>) {
        let run = Arc::clone(self);
        self.pool.submit(Box::new(move || run.turn()));
    }

    /// One read job.
    fn turn(self: Arc<Self>) {
        let mut came = Came::Block;
        for _ in 0..BLOCKS_A_TURN {
            came = self.read_block();
            if came != Came::Block {
                break;
            }
        }
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        if schedule.closed {
            return;
        }
        if came == Came::Block || std::mem::take(&mut schedule.again) {
            drop(schedule);
            self.submit();
            return;
        }
        schedule.scheduled = false;
        drop(schedule);
        // Where there was no room, the mailbox wakes us, not the file.
        if came == Came::Nothing {
            let look_at = self.with_reader(|reader| match reader {
                Reader::File(file) => file.next_look(),
                Reader::Journal(_) => None,
            });
            self.watch.read(&self.name, look_at);
        }
    }

    /// Reads one block and hands it on.
    fn read_block(self: &Arc<Self>) -> Came {
        if self.schedule.lock().unwrap_or_else(PoisonError::into_inner).closed {
            return Came::NoRoom;
        }
        let actors = self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // All are asked, so that each one that is full wakes us.
        let full = actors.iter().filter(|actor| !actor.has_room(self)).count();
        if full > 0 {
            return Came::NoRoom;
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, notes, trouble) = match &mut *reader {
            Reader::File(file) => (file.read(), file.take_notes(), file.trouble().map(ToString::to_string)),
            Reader::Journal(journal) => {
                (journal.read(), journal.take_notes(), journal.trouble().map(ToString::to_string))
            }
        };
        self.update_state(&reader, trouble);
        self.tell(&notes);
        match read {
            Ok(Some(mut block)) => {
                if matches!(&*reader, Reader::File(file) if file.is_late(&block)) {
                    // It counts, but it is no place from which to go on after a restart.
                    block.source.path = format!("{}{LATE}", block.source.path).into();
                } else {
                    self.note_first_line(&mut reader, &block.source);
                }
                drop(reader);
                self.hand_over(block, &actors);
                Came::Block
            }
            Ok(None) => Came::Nothing,
            Err(e) => {
                // A log that is not there yet is waited for; one that can't be read wants somebody.
                let missing = matches!(e, stockade_source::Error::Missing { .. });
                let level = if missing { crate::log::Level::Info } else { crate::log::Level::Warning };
                self.log.line(level, "fail2ban.filter", e.to_string());
                Came::Nothing
            }
        }
    }

    fn hand_over(&self, block: Block, actors: &[Arc<Actor>]) {
        let block = Arc::new(block);
        for actor in actors {
            actor.block(Arc::clone(&block));
        }
    }

    fn update_state(&self, reader: &Reader, trouble: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.trouble = trouble.unwrap_or_default();
        if let Reader::File(file) = reader {
            state.lag_bytes = file.lag_bytes();
            state.generation = file.generation();
            state.offset = file.offset();
        }
    }

    fn tell(&self, notes: &[Note]) {
        for note in notes {
            self.log.line(super::source_level(note.level()), "fail2ban.filter", note.to_string());
        }
    }

    /// The original's table wants to know each file by its first line.
    fn note_first_line(&self, reader: &mut Reader, source: &SourceKey) {
        let Reader::File(file) = reader else { return };
        if source.generation == 0 || source.generation != file.generation() {
            return;
        }
        let mut known = self.first_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(&source.generation) {
            return;
        }
        if let Ok(hash) = file.sha1_first_line() {
            known.clear();
            known.insert(source.generation, hash.clone());
            self.store.send(StoreJob::FirstLine { source: source.clone(), hash });
        }
    }
}
