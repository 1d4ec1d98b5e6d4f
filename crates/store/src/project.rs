//! The original's tables, kept equal to what the journal says.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use stockade_core::{BanTime, DecisionKind, FailureId, Position, Timestamp};

use crate::row::{COLUMNS, Cell, RawRow, read_place};
use crate::slice::Slice;

/// Journal rows read at a time.
const ROWS: i64 = 512;

/// How far a projection came.
pub(crate) struct Projected {
    /// The last journal row that is in the original's tables.
    pub(crate) upto: i64,
    /// Rows that were left out because their checksum does not fit.
    pub(crate) damaged: u64,
}

/// Brings journal rows after `from` into `bans` and `bips`, oldest first, until
/// all are done or the slice is spent. Must run inside a transaction.
///
/// `theirs_wins` leaves a row of `bips` alone that is newer than ours: the
/// original has run since.
pub(crate) fn run(
    db: &Connection,
    from: i64,
    last: i64,
    theirs_wins: bool,
    slice: &mut Slice,
) -> rusqlite::Result<Projected> {
    let mut done = Projected { upto: from, damaged: 0 };
    while done.upto < last && !slice.spent() {
        let pause = next_forget(db)?;
        if pause.is_some_and(|after| after <= done.upto) {
            forget_due(db, done.upto, slice)?;
            continue;
        }
        let until = pause.unwrap_or(last).min(last);
        if !run_rows(db, until, theirs_wins, slice, &mut done)? {
            done.upto = until;
        }
    }
    if done.upto >= last && next_forget(db)?.is_some() {
        forget_due(db, done.upto, slice)?;
    }
    Ok(done)
}

/// Projects one stretch of rows up to and including `until`; false if there are none left.
fn run_rows(
    db: &Connection,
    until: i64,
    theirs_wins: bool,
    slice: &mut Slice,
    done: &mut Projected,
) -> rusqlite::Result<bool> {
    let mut select = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM stockade_journal WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3"
    ))?;
    let mut writer = Writer::new(db, theirs_wins)?;
    let mut rows = select.query(params![done.upto, until, ROWS])?;
    let mut found = false;
    while let Some(row) = rows.next()? {
        found = true;
        match RawRow::read(row)? {
            Some(raw) => {
                writer.apply(&raw)?;
                done.upto = raw.seq;
            }
            None => {
                done.damaged += 1;
                done.upto = row.get(0)?;
            }
        }
        if slice.spent_by_one() {
            break;
        }
    }
    Ok(found)
}

/// The statements of one stretch of rows.
pub(crate) struct Writer<'a> {
    db: &'a Connection,
    jail: CachedStatement<'a>,
    bans: CachedStatement<'a>,
    bips: CachedStatement<'a>,
    known_jail: String,
    theirs_wins: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(db: &'a Connection, theirs_wins: bool) -> rusqlite::Result<Self> {
        Ok(Writer {
            db,
            jail: db.prepare_cached("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)")?,
            bans: db.prepare_cached(
                "INSERT INTO bans(jail, ip, timeofban, bantime, bancount, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            bips: db.prepare_cached(
                "INSERT OR REPLACE INTO bips(jail, ip, timeofban, bantime, bancount, data)
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            known_jail: String::new(),
            theirs_wins,
        })
    }

    /// Puts one decision into the original's tables.
    ///
    /// Source: fail2ban's `addBan` (a row in each table), `delBan` at an unban by
    /// hand; a ban that ends by itself stays as history.
    pub(crate) fn apply(&mut self, row: &RawRow<'_>) -> rusqlite::Result<()> {
        match row.kind {
            DecisionKind::Ban => {
                if self.known_jail != row.jail {
                    self.jail.execute([row.jail])?;
                    row.jail.clone_into(&mut self.known_jail);
                }
                let data = &*row.ban_data();
                let time = row.time.secs_rounded();
                let values = params![row.jail, row.id, time, bantime_cell(row.bantime), row.count, data];
                self.bans.execute(values)?;
                if !self.theirs_wins || !self.has_newer(row, time)? {
                    self.bips.execute(values)?;
                }
            }
            // The original writes nothing here; without it the longer ban would be lost at a restart.
            DecisionKind::Prolong => {
                let end = (row.end != Timestamp::MAX).then(|| row.end.secs_rounded());
                self.db
                    .prepare_cached(
                        "UPDATE bips SET bantime = coalesce(?3 - timeofban, -1) WHERE ip = ?1 AND jail = ?2",
                    )?
                    .execute(params![row.id, row.jail, end])?;
            }
            DecisionKind::Lift => forget(self.db, Some(row.jail), row.id)?,
            DecisionKind::Restore | DecisionKind::Unban | DecisionKind::Repeal | DecisionKind::Withhold => {}
        }
        Ok(())
    }

    /// Does `bips` have a later ban than this?
    fn has_newer(&self, row: &RawRow<'_>, time: i64) -> rusqlite::Result<bool> {
        self.db
            .prepare_cached("SELECT 1 FROM bips WHERE ip = ?1 AND jail = ?2 AND timeofban > ?3")?
            .query_row(params![row.id, row.jail, time], |_| Ok(()))
            .optional()
            .map(|found| found.is_some())
    }
}

/// The column for a ban time: whole seconds where possible, -1 for a permanent ban.
pub(crate) fn bantime_cell(bantime: BanTime) -> Cell<'static> {
    match bantime {
        BanTime::Permanent => Cell::Int(-1),
        BanTime::For(span) if span.micros() % 1_000_000 == 0 => Cell::Int(span.secs()),
        BanTime::For(span) => Cell::Real(span.as_secs_f64()),
    }
}

/// Deletes all bans and the history of an id.
fn forget(db: &Connection, jail: Option<&str>, id: &str) -> rusqlite::Result<()> {
    match jail {
        Some(jail) => {
            db.prepare_cached("DELETE FROM bips WHERE ip = ?1 AND jail = ?2")?.execute(params![id, jail])?;
            db.prepare_cached("DELETE FROM bans WHERE jail = ?2 AND ip = ?1")?.execute(params![id, jail])?;
        }
        None => {
            db.prepare_cached("DELETE FROM bips WHERE ip = ?1")?.execute([id])?;
            db.prepare_cached("DELETE FROM bans WHERE ip = ?1")?.execute([id])?;
        }
    }
    Ok(())
}

/// Notes that `id` is to be forgotten once everything up to row `after` is projected.
pub(crate) fn note_forget(db: &Connection, after: i64, jail: Option<&str>, id: &FailureId) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO stockade_forget(after, jail, id) VALUES(?1, ?2, ?3)")?.execute(params![
        after,
        jail,
        id.to_string()
    ])?;
    Ok(())
}

/// Behind which row the next forgetting stands.
pub(crate) fn next_forget(db: &Connection) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT min(after) FROM stockade_forget WHERE done = 0")?.query_row([], |row| row.get(0))
}

/// Forgets the ids that are due when everything up to `upto` is projected, until the slice is spent.
fn forget_due(db: &Connection, upto: i64, slice: &mut Slice) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(
        "SELECT rowid, jail, id FROM stockade_forget WHERE after <= ?1 AND done = 0 ORDER BY after LIMIT 256",
    )?;
    loop {
        let due: Vec<(i64, Option<String>, String)> = select
            .query_map([upto], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (rowid, jail, id) in &due {
            forget(db, jail.as_deref(), id)?;
            db.prepare_cached("UPDATE stockade_forget SET done = 1 WHERE rowid = ?1")?.execute([rowid])?;
        }
        if due.is_empty() || slice.spent() {
            return Ok(());
        }
    }
}

/// Writes the `logs` row that belongs to the watermark of (`jail`, source), if
/// that source is the current one of its path and its first line is known.
pub(crate) fn log_row(db: &Connection, jail: &str, source: i64) -> rusqlite::Result<()> {
    let found = db
        .prepare_cached(
            "SELECT s.path, s.firstline, w.place FROM stockade_watermark w JOIN stockade_source s ON s.id = w.source
                 WHERE w.jail = ?1 AND w.source = ?2 AND (s.current = 1 OR typeof(w.place) = 'text')",
        )?
        .query_row(params![jail, source], |row| {
            let firstline: Option<String> = row.get(1)?;
            let place = read_place(row.get_ref(2)?.into());
            Ok((row.get::<_, String>(0)?, firstline, place))
        })
        .optional()?;
    let Some((path, firstline, Some(place))) = found else { return Ok(()) };
    let Some((path, hash, position)) = theirs(&path, firstline.as_deref(), &place) else { return Ok(()) };
    db.prepare_cached("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)")?.execute([jail])?;
    db.prepare_cached(
        "INSERT INTO logs(jail, path, firstlinemd5, lastfilepos) VALUES(?1, ?2, ?3, ?4)
             ON CONFLICT(jail, path) DO UPDATE SET firstlinemd5 = excluded.firstlinemd5,
             lastfilepos = excluded.lastfilepos",
    )?
    .execute(params![jail, path, hash, position])?;
    Ok(())
}

/// The path under which the original keeps the place in the systemd journal.
pub(crate) const JOURNAL: &str = "systemd-journal";

/// How the original writes a place: path, hash and number; `None` if the first
/// line of a file is not known.
pub(crate) fn theirs<'a>(
    path: &'a str,
    firstline: Option<&str>,
    place: &Position,
) -> Option<(&'a str, String, Cell<'static>)> {
    match place {
        Position::Offset(offset) => Some((path, firstline?.to_owned(), Cell::Int(crate::row::sql_int(*offset)))),
        Position::Cursor { at, .. } => {
            let hash = firstline.map_or_else(|| iso(*at), str::to_owned);
            Some((JOURNAL, hash, Cell::Real(at.as_secs_f64())))
        }
    }
}

/// `2026-11-22T14:41:43.000001 `, as the original notes a journal time beside
/// the number that it really uses; in UTC.
fn iso(at: Timestamp) -> String {
    let [year, month, day, hour, minute, second] = civil(at.secs());
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if at.subsec_micros() != 0 {
        text.push_str(&format!(".{:06}", at.subsec_micros()));
    }
    text.push(' ');
    text
}

/// `20261122-144143`, in UTC.
pub(crate) fn stamp(secs: i64) -> String {
    let [year, month, day, hour, minute, second] = civil(secs);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Year, month, day, hour, minute, second of a time in UTC.
fn civil(secs: i64) -> [i64; 6] {
    let second = secs.rem_euclid(86_400);
    // Days to a civil date, counted from 0000-03-01 in eras of 400 years.
    let shifted = secs.div_euclid(86_400) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    [year, month, day, second / 3_600, second / 60 % 60, second % 60]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_times_are_civil_dates() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00 "),
            (1_795_358_503_000_001, "2026-11-22T14:41:43.000001 "),
            (951_782_400_000_000, "2000-02-29T00:00:00 "),
            (-1_000_000, "1969-12-31T23:59:59 "),
        ] {
            assert_eq!(iso(Timestamp::from_micros(micros)), text);
        }
    }

    #[test]
    fn ban_times_are_whole_numbers_where_they_can_be() {
        assert_eq!(bantime_cell(BanTime::Permanent), Cell::Int(-1));
        assert_eq!(bantime_cell(BanTime::from_secs_f64(600.0)), Cell::Int(600));
        assert_eq!(bantime_cell(BanTime::from_secs_f64(700.25)), Cell::Real(700.25));
    }
}
