//! The writer's face.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use stockade_core::{FailureId, JailName, Seq, Timestamp, Turn, Watermark};

use crate::audit::{self, Trust};
use crate::bans::{self, StoredBan};
use crate::damage;
use crate::error::Error;
use crate::file;
use crate::lift::{self, Lifted};
use crate::marks::{Forget, Marks};
use crate::options::Options;
use crate::project;
use crate::purge::Purge;
use crate::recovery::{Note, Recovery};
use crate::row::sql_int;
use crate::schema;
use crate::slice::Slice;
use crate::sources::Sources;
use crate::unsaved::Unsaved;
use crate::window::Window;
use crate::write::{Load, Numbers, Pen};

/// Pages of the WAL (4 KiB each) above which [`Store::catch_up`] folds it in.
const WAL_PAGES: i64 = 1_000;

/// Pages above which a commit does so itself: [`Store::catch_up`] was not called, or finds no time.
const WAL_PAGES_MAX: i64 = 4_000;

/// How long after a commit others are expected.
const BUSY: Duration = Duration::from_millis(250);

/// The one writer of the database.
///
/// Not shared between threads; readers open their own [`crate::Reader`].
pub struct Store {
    path: PathBuf,
    memory: bool,
    db: Option<Connection>,
    writable: bool,
    options: Options,
    numbers: Numbers,
    on_disk: Numbers,
    sources: Sources,
    lifted: Vec<Lifted>,
    unsaved: Unsaved,
    degraded: Option<Degraded>,
    purge: Purge,
    window: Option<Window>,
    last_commit: Option<Instant>,
    damaged_rows: u64,
    notes: Vec<Note>,
}

/// The state of a store whose disk fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// The last error.
    pub why: Box<str>,
    /// Decisions that wait in memory.
    pub rows: usize,
}

/// What [`Store::catch_up`] has left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Call again as soon as no commit waits; if false, once a second is enough.
    pub more: bool,
    /// Journal rows that are not yet in the original's tables.
    pub backlog: u64,
}

impl Store {
    /// Changes what is kept from now on: `dbpurgeage` and `dbmaxmatches`.
    pub fn set_bounds(&mut self, dbpurgeage: stockade_core::Span, dbmaxmatches: usize) {
        self.options.dbpurgeage = dbpurgeage;
        self.options.dbmaxmatches = dbmaxmatches;
    }

    /// Opens or makes the database at `path` and reads what a start needs.
    ///
    /// `:memory:` and `None` (any case) stand for a database in memory, as in
    /// `dbfile`. A damaged file is set aside as `NAME.YYYYmmdd-HHMMSS` and
    /// rebuilt from what can be read; one that can't be written gives a store
    /// that is [`Store::degraded`]. Both are told in [`Recovery::notes`].
    ///
    /// # Errors
    /// [`Error::TooNew`] for a database of a newer fail2ban, which is left alone;
    /// else none that a full or failing disk or damage could cause.
    pub fn open(path: &Path, options: &Options) -> Result<(Store, Recovery), Error> {
        let memory = path.to_str().is_some_and(|text| text == ":memory:" || text.eq_ignore_ascii_case("none"));
        let mut store = Store {
            path: path.to_path_buf(),
            memory,
            db: None,
            writable: true,
            options: options.clone(),
            numbers: Numbers::default(),
            on_disk: Numbers::default(),
            sources: Sources::default(),
            lifted: Vec::new(),
            unsaved: Unsaved::default(),
            degraded: None,
            purge: Purge::default(),
            window: None,
            last_commit: None,
            damaged_rows: 0,
            notes: Vec::new(),
        };
        if memory {
            store.db = Some(file::in_memory().map_err(|error| Error::sql(path, error))?);
            return Ok((store, Recovery { next: Seq(1), ..Recovery::default() }));
        }
        let recovery = match store.connect() {
            Ok(recovery) => recovery,
            Err(error @ Error::TooNew { .. }) => return Err(error),
            Err(error) if error.is_corrupt() => store.rebuild_and_connect(&error),
            Err(error) => store.connect_read_only(&error),
        };
        Ok((store, recovery))
    }

    /// Opens the file for writing and reads everything but the bans.
    fn connect(&mut self) -> Result<Recovery, Error> {
        let file::Opened { db, notes, foreign } = file::open(&self.path, &self.options)?;
        let recovery = self.take(db).map_err(|error| Error::sql(&self.path, error))?;
        self.writable = true;
        if foreign {
            self.transaction(|pen, _, _| {
                pen.numbers.theirs_until = pen.numbers.last;
                pen.numbers.foreign = 1;
                Ok(())
            })
            .map_err(|error| Error::sql(&self.path, error))?;
        }
        if !recovery.superseded.is_empty() {
            // Else the next thing that is known of such a log would bring our old place back into their table.
            self.transaction(|_, tx, _| {
                let mut delete = tx.prepare_cached("DELETE FROM stockade_watermark WHERE jail = ?1 AND source = ?2")?;
                recovery.superseded.iter().try_for_each(|(jail, source)| delete.execute((jail, source)).map(drop))
            })
            .map_err(|error| Error::sql(&self.path, error))?;
        }
        self.carry_out_lifts().map_err(|error| Error::sql(&self.path, error))?;
        let idle = !self.backlog() && !self.has_forgets()?;
        if idle && !foreign && file::is_small(&self.path) {
            let changed = self
                .transaction(|pen, tx, _| audit::run(tx, *pen.numbers, Trust::Rows))
                .map_err(|error| Error::sql(&self.path, error))?;
            self.damaged_rows += changed;
        }
        Ok(Recovery { foreign, notes, ..recovery })
    }

    /// Reads everything but the bans through `db` and keeps it.
    fn take(&mut self, db: Connection) -> rusqlite::Result<Recovery> {
        let numbers = Numbers::load(&db)?;
        let mut recovery = Recovery::read(&db, numbers)?;
        self.lifted.clear();
        if schema::has_table(&db, "stockade_lifted")? {
            self.lifted = lift::pending(&db, "applied = 0")?;
            recovery.lifted = lift::pending(&db, "told = 0")?;
        }
        let beside = lift::read_beside(&self.path);
        self.lifted.extend_from_slice(&beside);
        recovery.lifted.extend(beside);
        self.numbers = numbers;
        self.on_disk = numbers;
        self.sources.clear();
        self.window = None;
        self.db = Some(db);
        Ok(recovery)
    }

    /// Ends the bans that were lifted while no daemon ran, before any new decision.
    fn carry_out_lifts(&mut self) -> rusqlite::Result<()> {
        let beside = lift::read_beside(&self.path);
        let (mut pen, db) = self.pen()?;
        if !beside.is_empty() {
            pen.transaction(db, |pen, tx, _| {
                beside.iter().try_for_each(|lifted| lift::note(tx, lifted, pen.numbers.last))
            })?;
            lift::remove_beside(&self.path);
        }
        let (mut pen, db) = self.pen()?;
        lift::apply(&mut pen, db)?;
        if !lift::pending(db, "told = 0")?.is_empty() {
            pen.transaction(db, |_, tx, _| tx.execute("UPDATE stockade_lifted SET told = 1 WHERE told = 0", []))?;
        }
        self.lifted.clear();
        Ok(())
    }

    /// Sets the damaged file aside and goes on with what could be rescued.
    fn rebuild_and_connect(&mut self, error: &Error) -> Recovery {
        self.db = None;
        let rebuilt = damage::rebuild(&self.path, error).and_then(|note| Ok((note, self.connect()?)));
        match rebuilt {
            Ok((note, mut recovery)) => {
                recovery.notes.retain(|note| !matches!(note, Note::Created | Note::TakenOver | Note::Foreign));
                recovery.notes.insert(0, note);
                recovery
            }
            Err(error) => self.connect_read_only(&error),
        }
    }

    /// The file can't be written: takes what can be read and keeps the rest in memory.
    fn connect_read_only(&mut self, error: &Error) -> Recovery {
        self.writable = false;
        self.degraded = Some(Degraded { why: error.to_string().into(), rows: 0 });
        let note = Note::Unwritable { why: error.to_string().into() };
        let read = file::open_read_only(&self.path)
            .and_then(|db| self.take(db).map_err(|error| Error::sql(&self.path, error)));
        match read {
            Ok(mut recovery) => {
                recovery.notes.push(note);
                recovery
            }
            Err(error) => {
                self.db = None;
                // Numbers that are larger than any that may stand in the file we can't see.
                let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
                self.numbers = Numbers { last: sql_int(secs << 20), ..Numbers::default() };
                let next = Seq(self.numbers.last.cast_unsigned() + 1);
                let unreadable = Note::Unreadable { why: error.to_string().into() };
                Recovery { next, notes: vec![note, unreadable], ..Recovery::default() }
            }
        }
    }

    /// Hands every stored ban to `each`, one per (jail, id), in the file's
    /// order: with its count it is also the history that `bantime.increment` needs.
    ///
    /// Returns their number. If damage shows on the way, the file is rebuilt and
    /// all bans are handed out again from the start: later ones replace earlier ones.
    ///
    /// # Errors
    /// If the file can't be read any more although it could be opened.
    pub fn each_ban(&mut self, mut each: impl FnMut(StoredBan<'_>)) -> Result<u64, Error> {
        let Some(db) = &self.db else { return Ok(0) };
        match bans::each(db, self.numbers, &self.lifted, &mut each) {
            Ok(given) => Ok(given),
            Err(error) => {
                let error = Error::sql(&self.path, error);
                if !error.is_corrupt() || !self.writable || self.memory {
                    return Err(error);
                }
                let recovery = self.rebuild_and_connect(&error);
                self.notes.extend(recovery.notes);
                let Some(db) = &self.db else { return Ok(0) };
                bans::each(db, self.numbers, &self.lifted, &mut each).map_err(|error| Error::sql(&self.path, error))
            }
        }
    }

    /// Saves decisions, watermarks and marks; when it returns `Ok`, all of it is on the disk.
    ///
    /// Decisions of several turns go in one transaction as far as 100 ms allow;
    /// watermarks and marks go with the last one. A decision whose number is in
    /// the journal already is left as it is, so repeating a commit does no harm.
    ///
    /// # Errors
    /// What hinders the disk. Everything is then kept in memory and goes first
    /// with the next `commit` or [`Store::catch_up`], in order: do not pass it
    /// again. Only after [`Error::Overflow`] nothing of this call was kept.
    pub fn commit(&mut self, turns: &[Turn], marks: &Marks) -> Result<(), Error> {
        let rows = turns.iter().map(|turn| turn.decisions.len()).sum::<usize>();
        if rows > 0 {
            self.last_commit = Some(Instant::now());
        }
        if !self.unsaved.is_empty() {
            self.keep(turns, marks, rows)?;
            return self.save_unsaved();
        }
        let result = self.save(turns, marks);
        match result {
            Ok(()) => {
                self.degraded = None;
                self.fold_in(WAL_PAGES_MAX)
            }
            Err(error) => {
                self.keep(turns, marks, rows)?;
                self.unsaved.drop_saved(self.saved());
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Keeps what could not be saved.
    fn keep(&mut self, turns: &[Turn], marks: &Marks, rows: usize) -> Result<(), Error> {
        let waiting = self.unsaved.decisions.len();
        if waiting > 0 && waiting + rows > self.options.unsaved_rows {
            return Err(Error::Overflow { waiting });
        }
        self.unsaved.add(turns, marks, Seq(self.numbers.last.max(0).cast_unsigned()));
        Ok(())
    }

    fn fail(&mut self, error: &Error) {
        self.degraded = Some(Degraded { why: error.to_string().into(), rows: self.unsaved.decisions.len() });
    }

    fn save(&mut self, turns: &[Turn], marks: &Marks) -> Result<(), Error> {
        let watermarks: Vec<&Watermark> = turns.iter().flat_map(|turn| &turn.watermarks).collect();
        let forget: Vec<_> = marks.forget.iter().map(|entry| (None, entry)).collect();
        self.repairing(|store| {
            let (mut pen, db) = store.pen()?;
            let mut decisions = turns.iter().flat_map(|turn| &turn.decisions);
            let load = Load { decisions: &mut decisions, watermarks: &watermarks, marks, forget: &forget };
            pen.write(db, load)
        })
    }

    fn save_unsaved(&mut self) -> Result<(), Error> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let watermarks = unsaved.watermarks();
        let watermarks: Vec<&Watermark> = watermarks.iter().collect();
        let marks = unsaved.marks();
        let forget: Vec<_> = unsaved.forget.iter().map(|(after, entry)| (Some(*after), entry)).collect();
        let result = self.repairing(|store| {
            let (mut pen, db) = store.pen()?;
            let mut decisions = unsaved.decisions.iter();
            let load = Load { decisions: &mut decisions, watermarks: &watermarks, marks: &marks, forget: &forget };
            pen.write(db, load)
        });
        match result {
            Ok(()) => {
                self.degraded = None;
                Ok(())
            }
            Err(error) => {
                self.unsaved = unsaved;
                self.unsaved.drop_saved(self.saved());
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Runs a write; if damage shows, rebuilds the file and runs it once more.
    fn repairing<T>(&mut self, mut work: impl FnMut(&mut Store) -> rusqlite::Result<T>) -> Result<T, Error> {
        let error = match work(self) {
            Ok(value) => return Ok(value),
            Err(error) => Error::sql(&self.path, error),
        };
        if !error.is_corrupt() || self.memory || !self.writable {
            return Err(error);
        }
        let recovery = self.rebuild_and_connect(&error);
        self.notes.extend(recovery.notes);
        work(self).map_err(|error| Error::sql(&self.path, error))
    }

    /// The parts that a transaction needs.
    fn pen(&mut self) -> rusqlite::Result<(Pen<'_>, &mut Connection)> {
        let Some(db) = self.db.as_mut().filter(|_| self.writable) else {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
            let why = self.degraded.as_ref().map(|degraded| degraded.why.to_string());
            return Err(rusqlite::Error::SqliteFailure(code, why));
        };
        let pen = Pen {
            options: &self.options,
            numbers: &mut self.numbers,
            on_disk: &mut self.on_disk,
            sources: &mut self.sources,
            brief: false,
            damaged: &mut self.damaged_rows,
        };
        Ok((pen, db))
    }

    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Pen<'_>, &Connection, &mut Slice) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let (mut pen, db) = self.pen()?;
        pen.transaction(db, work)
    }

    /// Does at most one short piece of the work that waits: unsaved decisions,
    /// opening the file again, projection, purging, folding in the WAL.
    ///
    /// # Errors
    /// As [`Store::commit`]; nothing is lost, the work goes on waiting.
    pub fn catch_up(&mut self, now: Timestamp) -> Result<Waiting, Error> {
        if !self.writable {
            self.reopen()?;
        }
        if !self.unsaved.is_empty() {
            self.save_unsaved()?;
            return Ok(self.waiting(true));
        }
        if self.backlog() || self.has_forgets()? {
            self.repairing(|store| {
                let mut window = store.window.take();
                let brief = store.last_commit.is_some_and(|at| at.elapsed() < BUSY);
                let (mut pen, db) = store.pen()?;
                pen.brief = brief;
                pen.catch_up(db, &mut window)?;
                store.window = window;
                Ok(())
            })?;
            self.fold_in(2 * WAL_PAGES)?;
            return Ok(self.waiting(true));
        }
        if self.purge_slice(now)? {
            return Ok(self.waiting(true));
        }
        self.fold_in(WAL_PAGES)?;
        Ok(self.waiting(false))
    }

    /// One piece of a purge, if one is due; true if there is more.
    fn purge_slice(&mut self, now: Timestamp) -> Result<bool, Error> {
        if !self.purge.due(now) {
            return Ok(false);
        }
        let state = self.purge.clone();
        let next = self.repairing(|store| {
            let state = state.clone();
            store.transaction(|pen, tx, slice| state.piece(pen, tx, now, slice))
        })?;
        let more = !matches!(next, Purge::Until(_));
        self.purge = next;
        Ok(more)
    }

    /// Makes a purge due now; [`Store::catch_up`] carries it out in pieces. Else it runs once an hour.
    pub fn purge(&mut self, now: Timestamp) {
        self.purge = Purge::Until(now);
    }

    /// Tries to open the file for writing again.
    fn reopen(&mut self) -> Result<(), Error> {
        let numbers = self.numbers;
        // SQLite would share the reader's view of the WAL's index, which may not be written.
        self.db = None;
        match self.connect() {
            Ok(recovery) => {
                self.numbers.last = self.numbers.last.max(numbers.last);
                self.notes.extend(recovery.notes);
                if self.unsaved.is_empty() {
                    self.degraded = None;
                }
                Ok(())
            }
            Err(error) => {
                self.db = file::open_read_only(&self.path).ok();
                self.numbers = numbers;
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Are there journal rows that are not in the original's tables?
    fn backlog(&self) -> bool {
        self.numbers.last > self.numbers.projected
    }

    fn has_forgets(&self) -> Result<bool, Error> {
        let Some(db) = &self.db else { return Ok(false) };
        project::next_forget(db).map(|after| after.is_some()).map_err(|error| Error::sql(&self.path, error))
    }

    fn waiting(&self, more: bool) -> Waiting {
        let backlog = (self.numbers.last - self.numbers.projected).max(0).cast_unsigned();
        Waiting { more: more || backlog > 0, backlog }
    }

    /// Folds the WAL into the file if more than `pages` of it wait.
    fn fold_in(&mut self, pages: i64) -> Result<(), Error> {
        let Some(db) = self.db.as_ref().filter(|_| self.writable && !self.memory) else { return Ok(()) };
        let sql = |error| Error::sql(&self.path, error);
        let waiting: i64 = db
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
            .map_err(sql)?;
        if waiting > pages {
            self.options.step("checkpoint");
            db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(sql)?;
        }
        Ok(())
    }

    /// Up to which decision everything is on the disk.
    pub fn saved(&self) -> Seq {
        Seq(self.numbers.last.max(0).cast_unsigned())
    }

    /// Set while decisions can't be saved and wait in memory.
    pub fn degraded(&self) -> Option<&Degraded> {
        self.degraded.as_ref()
    }

    /// What happened to the file since the last call, such as a repair while running.
    pub fn take_notes(&mut self) -> Vec<Note> {
        if self.damaged_rows > 0 {
            self.notes.push(Note::DamagedRows { rows: self.damaged_rows });
            self.damaged_rows = 0;
        }
        std::mem::take(&mut self.notes)
    }

    /// Marks exactly these jails as enabled.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn set_jails(&mut self, jails: &[JailName]) -> Result<(), Error> {
        self.commit(&[], &Marks { jails: Some(jails.to_vec()), ..Marks::default() })
    }

    /// Forgets bans and history of `id` in one jail or all, whether it is banned or not.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn forget(&mut self, jail: Option<&JailName>, id: &FailureId) -> Result<(), Error> {
        let forget = vec![Forget { jail: jail.cloned(), id: id.clone() }];
        self.commit(&[], &Marks { forget, ..Marks::default() })
    }

    /// Saves what waits, completes the original's tables, folds the WAL in and
    /// leaves WAL mode, so that a copy of the one file is whole.
    ///
    /// # Errors
    /// What hindered it; decisions already committed are safe all the same.
    pub fn close(mut self, now: Timestamp) -> Result<(), Error> {
        if self.memory {
            return Ok(());
        }
        if !self.writable {
            self.reopen()?;
        }
        while !self.unsaved.is_empty() || self.backlog() || self.has_forgets()? {
            self.catch_up(now)?;
        }
        let Some(mut db) = self.db.take() else { return Ok(()) };
        file::hand_back(&mut db, &self.path, &self.options).map_err(|error| Error::sql(&self.path, error))?;
        db.close().map_err(|(_, error)| Error::sql(&self.path, error))
    }
}
