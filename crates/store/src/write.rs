//! One commit: journal rows, marks and, while little waits, the projection.

use std::iter::Peekable;

use rusqlite::{Connection, TransactionBehavior, params};
use stockade_core::{Decision, Origin, Seq, Watermark};

use crate::marks::{Forget, Marks, Snapshot};
use crate::options::Options;
use crate::project;
use crate::row::{self, Cell, sql_int};
use crate::slice::Slice;
use crate::sources::Sources;
use crate::window::{self, Window};

/// Above this many journal rows that are not yet in the original's tables a
/// commit leaves them to [`crate::Store::catch_up`].
const BACKLOG_MAX: i64 = 5_000;

/// Bytes of a snapshot per row, and so per step of a slice.
const SNAPSHOT_PART: usize = 1 << 20;

/// The numbers that stand in `stockade_meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The newest journal row ever written.
    pub(crate) last: i64,
    /// The newest one that is in the original's tables.
    pub(crate) projected: i64,
    /// The newest one announced.
    pub(crate) announced: i64,
    /// The newest one whose commands were given out.
    pub(crate) issued: i64,
    /// The last row of the window that is being brought over; 0: none is.
    pub(crate) window_end: i64,
    /// The row of that window that was brought over last.
    pub(crate) window_at: i64,
    /// 1 if the original has ever written into this file, so that not all bans are in the journal.
    pub(crate) foreign: i64,
    /// Last bans from before this time (seconds) may have been purged.
    pub(crate) purged: i64,
    /// Up to here the original's newer rows win: it has run since these were written.
    pub(crate) theirs_until: i64,
}

impl Numbers {
    /// The table's keys and values.
    fn pairs(self) -> [(&'static str, i64); 9] {
        [
            ("last", self.last),
            ("projected", self.projected),
            ("announced", self.announced),
            ("issued", self.issued),
            ("window_end", self.window_end),
            ("window_at", self.window_at),
            ("foreign", self.foreign),
            ("purged", self.purged),
            ("theirs_until", self.theirs_until),
        ]
    }

    /// Writes those that differ from `before`.
    pub(crate) fn save(self, db: &Connection, before: Numbers) -> rusqlite::Result<()> {
        for ((key, value), (_, old)) in self.pairs().into_iter().zip(before.pairs()) {
            if value != old {
                db.prepare_cached("INSERT OR REPLACE INTO stockade_meta(key, value) VALUES(?1, ?2)")?
                    .execute(params![key, value])?;
            }
        }
        Ok(())
    }

    /// Reads them; the newest row is also looked up in the journal itself.
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Numbers> {
        let get = |key: &str| -> rusqlite::Result<i64> {
            let mut select = db.prepare_cached("SELECT value FROM stockade_meta WHERE key = ?1")?;
            let mut rows = select.query([key])?;
            let value = rows.next()?.and_then(|row| row.get::<_, i64>(0).ok());
            Ok(value.unwrap_or(0).max(0))
        };
        let newest: Option<i64> = db.query_row("SELECT max(seq) FROM stockade_journal", [], |row| row.get(0))?;
        let mut numbers = Numbers {
            last: get("last")?,
            projected: get("projected")?,
            announced: get("announced")?,
            issued: get("issued")?,
            window_end: get("window_end")?,
            window_at: get("window_at")?,
            foreign: get("foreign")?,
            purged: get("purged")?,
            theirs_until: get("theirs_until")?,
        };
        numbers.last = numbers.last.max(newest.unwrap_or(0)).max(numbers.projected);
        Ok(numbers)
    }
}

/// What one commit has to write.
pub(crate) struct Load<'a> {
    pub(crate) decisions: &'a mut dyn Iterator<Item = &'a Decision>,
    pub(crate) watermarks: &'a [&'a Watermark],
    pub(crate) marks: &'a Marks,
    /// Ids to forget behind a decision; `None`: behind the last one of this load.
    pub(crate) forget: &'a [(Option<Seq>, &'a Forget)],
}

/// What a transaction needs besides its connection.
pub(crate) struct Pen<'a> {
    pub(crate) options: &'a Options,
    pub(crate) numbers: &'a mut Numbers,
    /// The numbers as they stand in the file.
    pub(crate) on_disk: &'a mut Numbers,
    pub(crate) sources: &'a mut Sources,
    /// Keep transactions brief: commits are waiting or about to come.
    pub(crate) brief: bool,
    /// Journal rows found damaged while projecting.
    pub(crate) damaged: &'a mut u64,
}

impl Pen<'_> {
    /// Writes `load` in as few transactions as their bound allows; watermarks
    /// and marks go with the last one. After an error, what earlier
    /// transactions wrote stays; writing it all again does no harm.
    #[expect(clippy::needless_pass_by_value, reason = "its iterator is used up")]
    pub(crate) fn write(&mut self, db: &mut Connection, load: Load<'_>) -> rusqlite::Result<()> {
        for snapshot in &load.marks.snapshots {
            self.stage_snapshot(db, snapshot)?;
        }
        let mut decisions = load.decisions.peekable();
        loop {
            let done = self.transaction(db, |pen, tx, slice| {
                pen.journal(tx, &mut decisions, slice)?;
                if decisions.peek().is_some() {
                    return Ok(false);
                }
                pen.marks(tx, load.watermarks, load.marks)?;
                for (after, entry) in load.forget {
                    let after = after.map_or(pen.numbers.last, |seq| sql_int(seq.0));
                    let jail = entry.jail.as_ref().map(|jail| jail.as_str());
                    project::note_forget(tx, after, jail, &entry.id)?;
                }
                if pen.numbers.last - pen.numbers.projected <= BACKLOG_MAX && pen.numbers.window_end == 0 {
                    pen.project(tx, &mut slice.short())?;
                }
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Runs `work` in one durable transaction; numbers and caches go back with it if it fails.
    pub(crate) fn transaction<T>(
        &mut self,
        db: &mut Connection,
        work: impl FnOnce(&mut Self, &Connection, &mut Slice) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let before = *self.numbers;
        self.options.step("begin");
        let result = (|| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(self, &tx, &mut Slice::start(self.brief))?;
            self.numbers.save(&tx, *self.on_disk)?;
            self.options.step("commit");
            tx.commit()?;
            self.options.step("committed");
            Ok(value)
        })();
        if result.is_err() {
            *self.numbers = before;
            self.sources.clear();
        } else {
            *self.on_disk = *self.numbers;
        }
        result
    }

    /// Appends decisions until there are no more or the slice is spent.
    fn journal<'d>(
        &mut self,
        tx: &Connection,
        decisions: &mut Peekable<impl Iterator<Item = &'d Decision>>,
        slice: &mut Slice,
    ) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached(INSERT)?;
        let mut json = Vec::new();
        for decision in decisions.by_ref() {
            let source = match &decision.origin {
                Origin::Log { source, .. } => Some(self.sources.id(tx, source)?),
                _ => None,
            };
            self.options.step("row");
            row::write(&mut insert, decision, source, self.options.dbmaxmatches, &mut json)?;
            self.numbers.last = self.numbers.last.max(sql_int(decision.seq.0));
            if slice.spent_by_one() {
                break;
            }
        }
        Ok(())
    }

    /// Brings waiting journal rows into the original's tables until the slice is spent.
    pub(crate) fn project(&mut self, tx: &Connection, slice: &mut Slice) -> rusqlite::Result<()> {
        self.options.step("project");
        let theirs_wins = self.numbers.projected < self.numbers.theirs_until;
        let last = if theirs_wins { self.numbers.theirs_until.min(self.numbers.last) } else { self.numbers.last };
        let done = project::run(tx, self.numbers.projected, last, theirs_wins, slice)?;
        self.numbers.projected = done.upto;
        *self.damaged += done.damaged;
        Ok(())
    }

    /// Brings waiting journal rows over in one transaction: in windows if there are many, else in plain order.
    pub(crate) fn catch_up(&mut self, db: &mut Connection, window: &mut Option<Window>) -> rusqlite::Result<()> {
        let waiting = self.numbers.last - self.numbers.projected;
        if window.is_none() && (self.numbers.window_end > 0 || waiting >= window::BACKLOG_MIN) {
            db.execute_batch("PRAGMA cache_size = -16000")?;
            *window = Window::load(db, self.numbers, self.brief)?;
        }
        let Some(mut current) = window.take() else {
            return self.transaction(db, |pen, tx, slice| pen.project(tx, slice));
        };
        let done = self.transaction(db, |pen, tx, slice| {
            pen.options.step("window");
            current.run(tx, pen.numbers, pen.damaged, slice)
        })?;
        if done {
            db.execute_batch("PRAGMA cache_size = -2000; PRAGMA shrink_memory")?;
        } else {
            *window = Some(current);
        }
        Ok(())
    }

    /// Everything of a commit that is no decision.
    fn marks(&mut self, tx: &Connection, watermarks: &[&Watermark], marks: &Marks) -> rusqlite::Result<()> {
        self.options.step("marks");
        self.numbers.announced = marks.announced.map_or(0, |seq| sql_int(seq.0)).max(self.numbers.announced);
        self.numbers.issued = marks.issued.map_or(0, |seq| sql_int(seq.0)).max(self.numbers.issued);
        if let Some(jails) = &marks.jails {
            tx.execute("UPDATE jails SET enabled = 0 WHERE enabled != 0", [])?;
            let mut enable = tx.prepare_cached(
                "INSERT INTO jails(name, enabled) VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET enabled = 1",
            )?;
            for jail in jails {
                enable.execute([jail.as_str()])?;
            }
        }
        for line in &marks.firstlines {
            let id = self.sources.id(tx, &line.source)?;
            tx.prepare_cached("UPDATE stockade_source SET current = 0 WHERE path = ?1 AND id != ?2 AND current = 1")?
                .execute(params![&*line.source.path, id])?;
            tx.prepare_cached("UPDATE stockade_source SET current = 1, firstline = ?2 WHERE id = ?1")?
                .execute(params![id, &*line.hash])?;
            let jails: Vec<String> = tx
                .prepare_cached("SELECT jail FROM stockade_watermark WHERE source = ?1")?
                .query_map([id], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for jail in jails {
                project::log_row(tx, &jail, id)?;
            }
        }
        for mark in watermarks {
            let id = self.sources.id(tx, &mark.source)?;
            let text = row::place_as_text(&mark.to);
            tx.prepare_cached(
                "INSERT INTO stockade_watermark(jail, source, place) VALUES(?1, ?2, ?3)
                     ON CONFLICT(jail, source) DO UPDATE SET place = excluded.place",
            )?
            .execute(params![mark.jail.as_str(), id, row::place_cell(&mark.to, &text)])?;
            project::log_row(tx, mark.jail.as_str(), id)?;
        }
        for (jail, source) in &marks.dropped {
            let id = self.sources.id(tx, source)?;
            tx.prepare_cached("DELETE FROM stockade_watermark WHERE jail = ?1 AND source = ?2")?
                .execute(params![jail.as_str(), id])?;
        }
        for entry in &marks.allow {
            let jail = entry.jail.as_ref().map_or("", |jail| jail.as_str());
            let id = entry.id.to_string();
            match entry.since {
                Some(since) => tx
                    .prepare_cached("INSERT OR REPLACE INTO stockade_allow(jail, id, time) VALUES(?1, ?2, ?3)")?
                    .execute(params![jail, id, since.micros()])?,
                None => tx
                    .prepare_cached("DELETE FROM stockade_allow WHERE jail = ?1 AND id = ?2")?
                    .execute(params![jail, id])?,
            };
        }
        for snapshot in &marks.snapshots {
            switch_snapshot(tx, snapshot)?;
        }
        Ok(())
    }

    /// Writes the parts of a large snapshot beside its old version, so that the
    /// transaction that switches to it is short.
    fn stage_snapshot(&mut self, db: &mut Connection, snapshot: &Snapshot) -> rusqlite::Result<()> {
        if snapshot.data.len() <= SNAPSHOT_PART || snapshot.data.len() > Snapshot::DATA_MAX {
            return Ok(());
        }
        let mut parts = (0_i64..).zip(snapshot.data.chunks(SNAPSHOT_PART)).peekable();
        while parts.peek().is_some() {
            self.transaction(db, |pen, tx, slice| {
                pen.options.step("snapshot");
                let version = valid_version(tx, &snapshot.name)? + 1;
                for (part, data) in parts.by_ref() {
                    insert_part(tx, &snapshot.name, version, part, data)?;
                    if slice.spent() {
                        break;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The version of a snapshot that counts; 0 if there is none.
fn valid_version(tx: &Connection, name: &str) -> rusqlite::Result<i64> {
    let mut select = tx.prepare_cached("SELECT version FROM stockade_snapshot_valid WHERE name = ?1")?;
    let mut rows = select.query([name])?;
    rows.next()?.map_or(Ok(0), |row| row.get(0))
}

/// Writes one part, over what an interrupted attempt may have left.
fn insert_part(tx: &Connection, name: &str, version: i64, part: i64, data: &[u8]) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO stockade_snapshot(name, version, part, data, sum) VALUES(?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![name, version, part, data, row::checksum(&[Cell::Blob(data)])])
    .map(|_| ())
}

/// Makes the staged parts, or a small snapshot itself, the version that counts.
fn switch_snapshot(tx: &Connection, snapshot: &Snapshot) -> rusqlite::Result<()> {
    let name = &*snapshot.name;
    if snapshot.data.is_empty() || snapshot.data.len() > Snapshot::DATA_MAX {
        tx.execute("DELETE FROM stockade_snapshot WHERE name = ?1", [name])?;
        tx.execute("DELETE FROM stockade_snapshot_valid WHERE name = ?1", [name])?;
        return Ok(());
    }
    let version = valid_version(tx, name)? + 1;
    if snapshot.data.len() <= SNAPSHOT_PART {
        insert_part(tx, name, version, 0, &snapshot.data)?;
    }
    // An earlier, longer attempt that never got here may have left more parts than this one has.
    let parts = i64::try_from(snapshot.data.len().div_ceil(SNAPSHOT_PART)).unwrap_or(i64::MAX);
    tx.prepare_cached("DELETE FROM stockade_snapshot WHERE name = ?1 AND (version != ?2 OR part >= ?3)")?
        .execute(params![name, version, parts])?;
    tx.prepare_cached("INSERT OR REPLACE INTO stockade_snapshot_valid(name, version) VALUES(?1, ?2)")?
        .execute(params![name, version])?;
    Ok(())
}

/// One journal row; a number that is there already is left alone.
const INSERT: &str =
    "INSERT OR IGNORE INTO stockade_journal(seq, kind, jail, id, time, bantime, until, count, failures,
    data, origin, source, place, why, sum) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
