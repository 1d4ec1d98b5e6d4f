//! Forgetting what is too old, in short pieces, and giving space back.

use rusqlite::{Connection, OptionalExtension, params};
use stockade_core::{Span, Timestamp};

use crate::slice::Slice;
use crate::write::Pen;

/// How often old rows are looked for. Source: fail2ban's observer, each hour.
const EVERY: Span = Span::from_secs(3_600);

/// Rows deleted per statement.
const ROWS: i64 = 200;

/// Where a purge is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Purge {
    /// Not begun; the next begins at this time, `None`: an hour after it is first asked.
    #[default]
    New,
    /// Waits until then.
    Until(Timestamp),
    /// Bans of the jails in this list.
    Bans { before: i64, jails: Vec<String> },
    /// Last bans from this place on, in order of time and row.
    Last { before: i64, time: f64, row: i64 },
    /// Jails that nothing refers to, and sources.
    Jails,
    /// Journal rows.
    Journal,
    /// Free pages.
    Pages,
}

impl Purge {
    /// Is there something to do at `now`? Sets the clock at the first call.
    pub(crate) fn due(&mut self, now: Timestamp) -> bool {
        match self {
            Purge::New => {
                *self = Purge::Until(now + EVERY);
                false
            }
            Purge::Until(at) => *at <= now,
            _ => true,
        }
    }

    /// Does one piece in the given transaction and says where it is then.
    ///
    /// Source: fail2ban's `purge`: bans older than `dbpurgeage`; last bans if they
    /// are that old even when their ban time is counted three times and they are
    /// not permanent; then jails that are disabled and have no bans left.
    pub(crate) fn piece(
        self,
        pen: &mut Pen<'_>,
        tx: &Connection,
        now: Timestamp,
        slice: &Slice,
    ) -> rusqlite::Result<Purge> {
        match self {
            Purge::New | Purge::Until(_) => {
                let before = (now - pen.options.dbpurgeage).secs_rounded();
                let jails = tx
                    .prepare_cached("SELECT name FROM jails")?
                    .query_map([], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                Ok(Purge::Bans { before, jails })
            }
            Purge::Bans { before, mut jails } => {
                let mut delete = tx.prepare_cached(
                    "DELETE FROM bans WHERE rowid IN
                         (SELECT rowid FROM bans WHERE jail = ?1 AND timeofban < ?2 LIMIT ?3)",
                )?;
                while let Some(jail) = jails.last() {
                    if delete.execute(params![jail, before, ROWS])? == 0 {
                        jails.pop();
                    }
                    if slice.spent() {
                        return Ok(Purge::Bans { before, jails });
                    }
                }
                pen.numbers.purged = pen.numbers.purged.max(before);
                Ok(Purge::Last { before, time: f64::MIN, row: i64::MIN })
            }
            Purge::Last { before, time, row } => last_bans(tx, before, time, row, slice),
            Purge::Jails => {
                tx.execute(
                    "DELETE FROM jails WHERE enabled = 0 AND NOT EXISTS (SELECT 1 FROM bans WHERE jail = jails.name)
                         AND NOT EXISTS (SELECT 1 FROM bips WHERE jail = jails.name)",
                    [],
                )?;
                pen.sources.trim(tx)?;
                Ok(Purge::Journal)
            }
            Purge::Journal => {
                let done = journal(pen, tx, now, slice)?;
                Ok(if done { Purge::Pages } else { Purge::Journal })
            }
            Purge::Pages => {
                let free: i64 = tx.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
                let vacuum: i64 = tx.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
                // Some free pages are needed again soon.
                if vacuum != 2 || free < 2_000 {
                    return Ok(Purge::Until(now + EVERY));
                }
                let mut give = tx.prepare("PRAGMA incremental_vacuum(500)")?;
                let mut rows = give.query([])?;
                while rows.next()?.is_some() {}
                Ok(Purge::Pages)
            }
        }
    }
}

/// Deletes old last bans from (`time`, `row`) on.
fn last_bans(tx: &Connection, before: i64, mut time: f64, mut row: i64, slice: &Slice) -> rusqlite::Result<Purge> {
    let mut select = tx.prepare_cached(
        "SELECT rowid, timeofban, bantime != -1 AND timeofban + 3 * bantime < ?3 FROM bips
             WHERE timeofban < ?3 AND (timeofban, rowid) > (?1, ?2) ORDER BY timeofban, rowid LIMIT ?4",
    )?;
    let mut delete = tx.prepare_cached("DELETE FROM bips WHERE rowid = ?1")?;
    loop {
        let old: Vec<(i64, f64, bool)> = select
            .query_map(params![time, row, before, ROWS], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(last) = old.last() else { return Ok(Purge::Jails) };
        (row, time) = (last.0, last.1);
        for (rowid, _, goes) in &old {
            if *goes {
                delete.execute([rowid])?;
            }
        }
        if slice.spent() {
            return Ok(Purge::Last { before, time, row });
        }
    }
}

/// Deletes journal rows beyond the bounds, and what was noted about them; true if there are none left.
fn journal(pen: &mut Pen<'_>, tx: &Connection, now: Timestamp, slice: &Slice) -> rusqlite::Result<bool> {
    let numbers = *pen.numbers;
    let keep = i64::try_from(pen.options.journal_rows).unwrap_or(i64::MAX);
    let settled = numbers.projected.min(numbers.announced).min(numbers.issued);
    let oldest_time = (now - pen.options.journal_age).micros();
    // Not the last one: its number is where the next start goes on.
    let upto = settled.min(numbers.last - 1);
    let beyond = numbers.last.saturating_sub(keep).min(upto);
    let mut delete = tx.prepare_cached(
        "DELETE FROM stockade_journal WHERE seq IN (SELECT seq FROM stockade_journal WHERE seq <= ?1 ORDER BY seq LIMIT ?2)",
    )?;
    while delete.execute(params![beyond, ROWS])? > 0 {
        if slice.spent() {
            return Ok(false);
        }
    }
    loop {
        // Numbers grow with time, so the first row that is young enough ends it.
        let mut oldest = tx.prepare_cached("SELECT seq, time FROM stockade_journal ORDER BY seq LIMIT 1 OFFSET ?1")?;
        let at = oldest.query_row([ROWS - 1], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
        match at {
            Some((seq, time)) if time < oldest_time && seq <= upto => {
                delete.execute(params![seq, ROWS])?;
            }
            _ => break,
        }
        if slice.spent() {
            return Ok(false);
        }
    }
    for table in ["stockade_forget WHERE done = 1", "stockade_lifted WHERE applied = 1 AND told = 1"] {
        tx.execute(&format!("DELETE FROM {table} AND after < (SELECT min(seq) FROM stockade_journal)"), [])?;
    }
    Ok(true)
}
