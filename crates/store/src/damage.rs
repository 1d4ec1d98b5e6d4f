//! A damaged database is set aside, and what can be read goes into a new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use stockade_core::FailureId;

use crate::audit::{self, Trust};
use crate::error::Error;
use crate::file;
use crate::options::Options;
use crate::recovery::Note;
use crate::row::{self, Cell, RawRow};
use crate::salvage::{self, Value};
use crate::schema;
use crate::write::Numbers;

/// A table, its columns, and whether its rows have numbers.
type Table = (&'static str, &'static str, bool);

/// What is copied, parents first.
const TABLES: [Table; 13] = [
    ("jails", "name, enabled", true),
    ("logs", "jail, path, firstlinemd5, lastfilepos", true),
    ("bans", "jail, ip, timeofban, bantime, bancount, data", true),
    ("bips", "ip, jail, timeofban, bantime, bancount, data", true),
    ("stockade_meta", "key, value", false),
    ("stockade_journal", row::COLUMNS, true),
    ("stockade_source", "id, path, generation, firstline, current", true),
    ("stockade_watermark", "jail, source, place", false),
    ("stockade_snapshot", "name, version, part, data, sum", true),
    ("stockade_snapshot_valid", "name, version", false),
    ("stockade_allow", "jail, id, time", false),
    ("stockade_forget", "after, jail, id, done", true),
    ("stockade_lifted", "net, time, after, applied, told", true),
];

/// Builds a new database from what can be read of the damaged one at `path`,
/// sets that one aside and puts the new one in its place.
///
/// A crash in between leaves the damaged one in its place, for the next attempt.
pub(crate) fn rebuild(path: &Path, why: &Error) -> Result<Note, Error> {
    let new = beside(path, ".rebuild");
    for stale in [new.clone(), beside(&new, "-journal"), beside(&new, "-wal")] {
        remove(&stale)?;
    }
    let rescued = match rescue(path, &new) {
        Ok(rescued) => rescued,
        Err(error) => {
            // On a full disk the half of a new file is only in the way.
            for half in [new.clone(), beside(&new, "-journal")] {
                remove(&half)?;
            }
            return Err(Error::sql(&new, error));
        }
    };
    let set_aside = file::set_aside_name(path);
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    fs::hard_link(path, &set_aside).or_else(|_| fs::rename(path, &set_aside)).map_err(io)?;
    for tail in ["-wal", "-journal"] {
        let old = beside(path, tail);
        if old.exists() {
            fs::rename(&old, beside(&set_aside, tail)).map_err(io)?;
        }
    }
    remove(&beside(path, "-shm"))?;
    fs::rename(&new, path).map_err(io)?;
    let what = match why {
        Error::Corrupt { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    Ok(Note::Damaged { what: what.into(), set_aside, rescued })
}

/// `path` with `tail` behind its name.
fn beside(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    name.into()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path: path.to_path_buf(), source }),
        _ => Ok(()),
    }
}

/// Fills `new` with every readable row of `old`; returns their number.
fn rescue(old: &Path, new: &Path) -> rusqlite::Result<u64> {
    let db = Connection::open(new)?;
    schema::prepare_connection(&db)?;
    db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA foreign_keys = OFF; BEGIN")?;
    schema::create_missing(&db)?;
    let mut rescued = 0;
    let mut known = false;
    // Of a file so damaged that not even its tables are known, the pages are searched below.
    if let Ok(from) = Connection::open_with_flags(old, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        from.execute_batch("PRAGMA writable_schema = ON").unwrap_or_default();
        // So that nothing stays in the WAL, which is moved away later than the file.
        from.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap_or_default();
        for table in TABLES {
            let (rows, whole) = copy(&from, &db, table)?;
            rescued += rows;
            known |= table.0 == "stockade_journal" && (whole || rows > 0);
            if table.0 == "bips" && !whole {
                // Each ban in the history is the last one of its address and jail, or an earlier one.
                rescued += u64::try_from(db.execute(
                    "INSERT OR IGNORE INTO bips(ip, jail, timeofban, bantime, bancount, data)
                         SELECT ip, jail, timeofban, bantime, bancount, data FROM bans
                         WHERE ip IS NOT NULL ORDER BY timeofban DESC",
                    [],
                )?)
                .unwrap_or(0);
            }
        }
    }
    if !known {
        rescued += salvage(old, &db)?;
        // Whether the original was ever here can't be known any more.
        db.execute("INSERT OR REPLACE INTO stockade_meta(key, value) VALUES('foreign', 1)", [])?;
    }
    for table in ["logs", "bans", "bips"] {
        db.execute(&format!("INSERT OR IGNORE INTO jails(name) SELECT DISTINCT jail FROM {table}"), [])?;
    }
    // A window that was under way begins again: what it had brought over is taken back by the audit.
    db.execute("DELETE FROM stockade_meta WHERE key IN ('window_end', 'window_at')", [])?;
    audit::run(&db, Numbers::load(&db)?, if known { Trust::Journal } else { Trust::Pages })?;
    db.execute_batch("COMMIT")?;
    // It was us who wrote it, not the original.
    file::note_closed(&db, new, &Options::default())?;
    Ok(rescued)
}

/// Copies one table from its start to the first damage, then from its end to the
/// last; returns the number of rows and whether there was no damage.
fn copy(from: &Connection, to: &Connection, table: Table) -> rusqlite::Result<(u64, bool)> {
    let (name, columns, numbered) = table;
    let places = vec!["?"; columns.split(',').count()].join(", ");
    let mut insert = to.prepare(&format!("INSERT OR IGNORE INTO {name}({columns}) VALUES({places})"))?;
    let mut copied = 0;
    let order = if numbered { "rowid" } else { columns.split(',').next().unwrap_or("1") };
    for direction in ["", "DESC"] {
        let Ok(mut select) = from.prepare(&format!("SELECT {columns} FROM {name} ORDER BY {order} {direction}")) else {
            return Ok((copied, false));
        };
        let Ok(mut rows) = select.query([]) else { return Ok((copied, false)) };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok((copied, direction.is_empty())),
                Err(_) => break,
            };
            let credible = match name {
                "stockade_journal" => matches!(RawRow::read(row), Ok(Some(_))),
                "bans" => is_credible(row, 1, 0),
                "bips" => is_credible(row, 0, 1),
                _ => true,
            };
            if !credible {
                continue;
            }
            let count = row.as_ref().column_count();
            let values = (0..count).map(|at| row.get_ref(at)).collect::<rusqlite::Result<Vec<_>>>()?;
            for (at, value) in (1..).zip(values) {
                insert.raw_bind_parameter(at, Cell::from(value))?;
            }
            match insert.raw_execute() {
                Ok(rows) => copied += u64::try_from(rows).unwrap_or(0),
                // A row that breaks the table's rules is one that damage has changed.
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((copied, false))
}

/// May this be a row of `bans` or `bips`, with these places of id and jail?
fn is_credible(row: &rusqlite::Row<'_>, id: usize, jail: usize) -> bool {
    let cell = |at: usize| row.get_ref(at).map_or(Cell::Null, Cell::from);
    is_name(cell(id))
        && is_name(cell(jail))
        && cell(2).real().is_some_and(|time| time > 0.0)
        && cell(3).real().is_some()
}

fn is_name(cell: Cell<'_>) -> bool {
    cell.text().is_some_and(|text| !text.is_empty() && !text.contains(|c: char| c.is_control()))
}

/// Takes journal rows, and last bans of addresses, from the pages of a file
/// whose tables are not known; returns their number.
fn salvage(old: &Path, to: &Connection) -> rusqlite::Result<u64> {
    let mut salvaged = 0;
    let columns = row::COLUMNS.split(',').count();
    let places = vec!["?"; columns].join(", ");
    let mut journal =
        to.prepare(&format!("INSERT OR IGNORE INTO stockade_journal({}) VALUES({places})", row::COLUMNS))?;
    // A page that is no longer in use may hold an older ban of the same address.
    let mut bips = to.prepare(
        "INSERT INTO bips(ip, jail, timeofban, bantime, bancount, data) VALUES(?, ?, ?, ?, ?, ?)
             ON CONFLICT(ip, jail) DO UPDATE SET timeofban = excluded.timeofban, bantime = excluded.bantime,
             bancount = excluded.bancount, data = excluded.data WHERE excluded.timeofban > bips.timeofban",
    )?;
    let mut failed = None;
    salvage::rows(old, &mut |number, values| {
        let mut cells: Vec<Cell<'_>> = values.iter().map(cell).collect();
        let insert = if cells.len() == columns {
            if let Some(seq) = cells.first_mut() {
                *seq = Cell::Int(number);
            }
            if !RawRow::is_whole(&cells) {
                return;
            }
            &mut journal
        } else {
            let [id, jail, Cell::Int(1..), Cell::Int(_) | Cell::Real(_), Cell::Int(_), _] = cells[..] else { return };
            let is_address = id.text().is_some_and(|id| FailureId::parse(id).net().is_some());
            if !is_address || !is_name(jail) {
                return;
            }
            &mut bips
        };
        let result = (1..)
            .zip(&cells)
            .try_for_each(|(at, cell)| insert.raw_bind_parameter(at, cell))
            .and_then(|()| insert.raw_execute());
        match result {
            Ok(rows) => salvaged += u64::try_from(rows).unwrap_or(0),
            Err(error) => failed = Some(error),
        }
    })
    .unwrap_or_default();
    // What is found has been projected, as far as it can be known.
    to.execute(
        "INSERT OR REPLACE INTO stockade_meta(key, value) SELECT 'projected', max(seq) FROM stockade_journal
             HAVING max(seq) IS NOT NULL",
        [],
    )?;
    failed.map_or(Ok(salvaged), Err)
}

/// A value as a column.
fn cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Int(n) => Cell::Int(*n),
        Value::Real(x) => Cell::Real(*x),
        Value::Text(text) => std::str::from_utf8(text).map_or(Cell::Blob(text), Cell::Text),
        Value::Blob(blob) => Cell::Blob(blob),
    }
}
