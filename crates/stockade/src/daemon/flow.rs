//! Sources and who reads them: which log goes to which jails, and from where.
//!
//! One thread waits for news of all logs; a source with news gets a read job,
//! one at a time, so its order is kept while sources are read side by side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stockade_core::matcher::{Filter, Scanner};
use stockade_core::{Block, LineEnd, SourceKey};
use stockade_source::{FileReader, Journal, Note, Start};

use super::actor::{Actor, Reads};
use super::apart::Apart;
use super::asker::Asker;
use super::poison::Poison;
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

/// Where a reader stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In which incarnation of a file, and at which byte.
    File(u64, u64),
    /// Behind the entry with this cursor.
    Journal(Arc<str>),
}

impl Reader {
    /// Where the next block begins.
    pub(crate) fn place(&self) -> Place {
        match self {
            Reader::File(file) => Place::File(file.generation(), file.offset()),
            Reader::Journal(journal) => Place::Journal(journal.cursor()),
        }
    }

    /// Another reader that begins where this one stands; `None` if there can be none.
    fn fork(&self) -> Option<Reader> {
        match self {
            Reader::File(file) => Some(Reader::File(Box::new(file.fork(file.generation(), file.offset()).ok()??))),
            Reader::Journal(journal) => Some(Reader::Journal(Box::new(journal.fork().ok()?))),
        }
    }

    /// The next lines, what is to be told of them, and what keeps it from reading.
    pub(crate) fn read(&mut self) -> (Result<Option<Block>, stockade_source::Error>, Vec<Note>, Option<String>) {
        match self {
            Reader::File(file) => (file.read(), file.take_notes(), file.trouble().map(ToString::to_string)),
            Reader::Journal(journal) => {
                (journal.read(), journal.take_notes(), journal.trouble().map(ToString::to_string))
            }
        }
    }

    /// Have the lines been read that were there at the start?
    fn in_operation(&self) -> bool {
        match self {
            Reader::File(file) => file.in_operation(),
            Reader::Journal(journal) => journal.in_operation(),
        }
    }
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
pub(crate) enum Came {
    Block,
    Nothing,
    /// A jail can't take more now.
    NoRoom,
}

/// One job at a time, and another one if it was asked for meanwhile.
#[derive(Default)]
pub(crate) struct Turns(Mutex<Schedule>);

#[derive(Default)]
struct Schedule {
    scheduled: bool,
    again: bool,
    closed: bool,
}

impl Turns {
    fn lock(&self) -> std::sync::MutexGuard<'_, Schedule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody asks for a job: is one to be submitted?
    pub(crate) fn begin(&self) -> bool {
        let mut schedule = self.lock();
        schedule.again = schedule.scheduled;
        !schedule.closed && !std::mem::replace(&mut schedule.scheduled, true)
    }

    /// A job ended: is another one to be submitted?
    pub(crate) fn go_on(&self, more: bool) -> bool {
        let mut schedule = self.lock();
        schedule.scheduled = !schedule.closed && (more | std::mem::take(&mut schedule.again));
        schedule.scheduled
    }

    /// No more jobs.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Are there no more jobs?
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

/// Whom a source needs.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) pool: Pool,
    pub(crate) store: StoreHandle,
    pub(crate) watch: WatchHandle,
    pub(crate) asker: Asker,
    pub(crate) poison: Poison,
    pub(crate) log: Log,
}

/// Who gets a source's lines.
#[derive(Default)]
pub(crate) struct Readers {
    /// Those who get each block as it is read.
    attached: Vec<Arc<Actor>>,
    /// Those who fell behind.
    pub(crate) apart: Vec<Arc<Apart>>,
}

/// One source that is being read.
pub(crate) struct SourceRun {
    /// The path, or what is asked of the journal.
    pub(crate) name: Arc<str>,
    reader: Mutex<Reader>,
    readers: Mutex<Readers>,
    scanner: Mutex<Scanner>,
    turns: Turns,
    state: Mutex<SourceState>,
    /// Bytes of lines that were handed over.
    handed: AtomicU64,
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
        SourceRun::with(name, reader, pool, store, watch, log)
    }

    /// The same with just what it needs.
    pub(crate) fn with(
        name: Arc<str>,
        reader: Reader,
        pool: Pool,
        store: StoreHandle,
        watch: WatchHandle,
        log: Log,
    ) -> Arc<SourceRun> {
        let run = SourceRun {
            name,
            reader: Mutex::new(reader),
            readers: Mutex::default(),
            scanner: Mutex::new(Scanner::new(Vec::new())),
            turns: Turns::default(),
            state: Mutex::default(),
            handed: AtomicU64::new(0),
            first_lines: Mutex::default(),
            pool,
            store,
            watch,
            log,
        };
        Arc::new(run)
    }

    /// Is it one of those who read this source?
    pub(crate) fn is_read_by(&self, actor: &Arc<Actor>) -> bool {
        let readers = self.readers();
        let mut all = readers.attached.iter().chain(readers.apart.iter().map(|apart| apart.actor()));
        all.any(|known| Arc::ptr_eq(known, actor))
    }

    /// Replaces those who get this source's blocks. Who fell behind goes on catching up, and so does who joins from
    /// `behind`: an earlier place (generation and offset) of a file that the others read on meanwhile.
    pub(crate) fn attach(self: &Arc<Self>, actors: Vec<Arc<Actor>>, behind: &[(Arc<Actor>, (u64, u64))]) {
        // While the reader is held no block is under way to those who are attached.
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.replace(actors);
        if let Reader::File(file) = &*reader {
            for (actor, place) in behind.iter().filter(|(_, place)| *place != (file.generation(), file.offset())) {
                self.join_from(file, actor, *place);
            }
        }
        drop(reader);
        // Each of them may be asking just now where this reader is.
        gone.iter().for_each(|apart| apart.close());
    }

    /// Lets a jail that was just attached read for itself up to where the others are.
    fn join_from(self: &Arc<Self>, file: &FileReader, actor: &Arc<Actor>, (generation, offset): (u64, u64)) {
        if generation == file.generation() && offset > file.offset() {
            // It was further than those who read it now; its own past is passed over when it comes.
            return;
        }
        let own = match file.fork(generation, offset) {
            Ok(Some(own)) => own,
            // That file is not open any more, or never was: it may lie beside the log under another name.
            Ok(None) => file.again(Start::Resume { generation, offset }),
            Err(e) => {
                let text = format!("jail '{}' misses lines of {}: {e}", actor.jail(), self.name);
                return self.log.line(crate::log::Level::Error, "fail2ban.filter", text);
            }
        };
        let ahead = if generation == file.generation() {
            file.offset().saturating_sub(offset)
        } else {
            own.lag_bytes().saturating_sub(file.lag_bytes())
        };
        let own = (Reader::File(Box::new(own)), ahead);
        let with = (self.pool.clone(), self.watch.clone(), self.log.clone());
        let apart = Apart::new(actor, self, own, file.in_operation(), with);
        let mut readers = self.readers();
        readers.attached.retain(|attached| !Arc::ptr_eq(attached, actor));
        readers.apart.push(Arc::clone(&apart));
        drop(readers);
        Arc::clone(&apart).kick();
    }

    /// Returns those who go on for themselves and are none of them any more.
    fn replace(&self, actors: Vec<Arc<Actor>>) -> Vec<Arc<Apart>> {
        let mut readers = self.readers();
        let gone = |apart: &Apart, actors: &[Arc<Actor>]| !actors.iter().any(|a| Arc::ptr_eq(a, apart.actor()));
        let (gone, stay): (Vec<_>, Vec<_>) = readers.apart.drain(..).partition(|apart| gone(apart, &actors));
        let apart = |actor: &Arc<Actor>| stay.iter().any(|apart| Arc::ptr_eq(apart.actor(), actor));
        readers.attached = actors.into_iter().filter(|actor| !apart(actor)).collect();
        readers.apart = stay;
        gone
    }

    pub(crate) fn readers(&self) -> std::sync::MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes this jail is behind those who read the source together; 0 if it is one of them.
    pub(crate) fn behind(&self, actor: &Arc<Actor>) -> u64 {
        self.readers().apart.iter().filter(|apart| Arc::ptr_eq(apart.actor(), actor)).map(|apart| apart.behind()).sum()
    }

    /// Where the next block begins.
    pub(crate) fn place(&self) -> Place {
        self.with_reader(|reader| reader.place())
    }

    /// How many bytes of lines were handed over so far.
    pub(crate) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Takes a jail back if it stands where the next block begins; then it is apart no more.
    pub(crate) fn join_again(self: &Arc<Self>, apart: &Arc<Apart>, place: &Place) -> bool {
        // While the reader is held no block is under way to those who are attached.
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.place() != *place {
            return false;
        }
        let mut readers = self.readers();
        if let Some(at) = readers.apart.iter().position(|known| Arc::ptr_eq(known, apart)) {
            drop(readers.apart.remove(at));
            readers.attached.push(Arc::clone(apart.actor()));
            self.log.line(
                crate::log::Level::Info,
                "fail2ban.filter",
                format!("Jail '{}' has caught up with {}", apart.actor().jail(), self.name),
            );
        }
        true
    }

    /// There may be something to read.
    pub(crate) fn kick(self: &Arc<Self>) {
        if self.turns.begin() {
            self.submit();
        }
    }

    /// Reads no more; a job under way ends first.
    pub(crate) fn close(&self) {
        self.turns.close();
        let apart = std::mem::take(&mut self.readers().apart);
        apart.iter().for_each(|apart| apart.close());
        drop(self.reader.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Lines end so from here on.
    pub(crate) fn set_line_end(&self, line_end: LineEnd) -> Result<(), stockade_source::Error> {
        self.with_reader(|reader| match reader {
            Reader::File(file) => file.set_line_end(line_end),
            Reader::Journal(_) => Ok(()),
        })
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
        for apart in &self.readers().apart {
            Arc::clone(apart).kick();
        }
        if self.turns.go_on(came == Came::Block) {
            self.submit();
            return;
        }
        if self.turns.is_closed() {
            return;
        }
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
        if self.turns.is_closed() {
            return Came::NoRoom;
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut actors = self.readers().attached.clone();
        // All are asked, so that each one that is full wakes us.
        let me = || -> Weak<dyn Reads> {
            let me: Weak<SourceRun> = Arc::downgrade(self);
            me
        };
        let full: Vec<Arc<Actor>> = actors.iter().filter(|actor| !actor.has_room(me)).cloned().collect();
        if !full.is_empty() {
            // While all others have work to do it costs nothing to wait.
            if !actors.iter().any(|actor| actor.is_hungry()) || !self.let_go(&reader, &full) {
                return Came::NoRoom;
            }
            actors.retain(|actor| !full.iter().any(|f| Arc::ptr_eq(f, actor)));
        }
        let (read, notes, trouble) = reader.read();
        self.update_state(&reader, trouble);
        self.tell(&notes);
        match read {
            Ok(Some(mut block)) => {
                if matches!(&*reader, Reader::File(file) if file.is_late(&block)) {
                    mark_late(&mut block);
                } else {
                    self.note_first_line(&mut reader, &block.source);
                }
                self.handed.fetch_add(block.text.len() as u64, Ordering::Relaxed);
                // Under the lock: whoever closes the source, or joins it, finds no block between it and the mailboxes.
                self.hand_over(block, &actors);
                drop(reader);
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
        let scan = {
            let mut scanner = self.scanner.lock().unwrap_or_else(PoisonError::into_inner);
            let filters: Vec<Arc<Filter>> = actors.iter().map(|actor| actor.filter()).collect();
            if !scanner.is_for(filters.iter()) {
                *scanner = Scanner::new(filters);
            }
            Arc::new(scanner.scan(super::now(), &block))
        };
        let block = Arc::new(block);
        for actor in actors {
            actor.block(Arc::clone(&block), Arc::clone(&scan));
        }
    }

    /// Lets jails that hold the others up read for themselves from here on; `false` if they can't.
    fn let_go(self: &Arc<Self>, reader: &Reader, slow: &[Arc<Actor>]) -> bool {
        let mut apart = Vec::new();
        for actor in slow {
            // Without descriptors (or a child) left they go on together, as slowly as the slowest.
            let Some(own) = reader.fork() else { return false };
            let (pool, watch, log) = (self.pool.clone(), self.watch.clone(), self.log.clone());
            apart.push(Apart::new(actor, self, (own, 0), reader.in_operation(), (pool, watch, log)));
        }
        let mut readers = self.readers();
        for one in apart {
            readers.attached.retain(|actor| !Arc::ptr_eq(actor, one.actor()));
            self.log.line(
                crate::log::Level::Info,
                "fail2ban.filter",
                format!("Jail '{}' falls behind with {}; it goes on for itself", one.actor().jail(), self.name),
            );
            Arc::clone(&one).kick();
            readers.apart.push(one);
        }
        true
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

impl Reads for SourceRun {
    fn kick(self: Arc<Self>) {
        SourceRun::kick(&self);
    }
}

/// Lines that came late into a rotated file count, but their place is none to go on from after a restart.
pub(crate) fn mark_late(block: &mut Block) {
    block.source.path = format!("{}{LATE}", block.source.path).into();
}
