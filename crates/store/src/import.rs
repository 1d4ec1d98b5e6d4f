//! Bans from databases of fail2ban, old versions too, which are only read.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use stockade_core::{FailureId, JailName, Timestamp};

use crate::bans::{StoredBan, stored_bantime};
use crate::error::Error;
use crate::file;
use crate::recovery::TheirPosition;
use crate::row::{Cell, count};
use crate::schema;

/// What [`import`] found beside the bans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// The schema version of the file, 1 to 4.
    pub version: i64,
    /// Number of bans handed out.
    pub bans: u64,
    /// Places in logs.
    pub positions: Vec<TheirPosition>,
}

/// Hands the last ban of each address and jail in a fail2ban database to `each`.
/// The file is not changed, and may lie on a medium that can't be written.
///
/// Source: versions 1 to 3 have no last bans, versions 1 and 2 no ban times:
/// these are unknown ([`StoredBan::bantime`] is `None`), as after fail2ban's own upgrade.
///
/// # Errors
/// If the file can't be read, is no fail2ban database, or is of a newer version.
pub fn import(path: &Path, mut each: impl FnMut(StoredBan<'_>)) -> Result<Imported, Error> {
    let sql = |error| Error::sql(path, error);
    let db = file::open_read_only(path)?;
    let Ok(version) = schema::version(&db) else {
        // A file in WAL mode needs a folder that can be written, unless it is said that nobody writes.
        return read(&open_immutable(path)?, path, &mut each);
    };
    if version.is_none() {
        return Err(Error::NotFail2ban { path: path.to_path_buf() });
    }
    db.execute_batch("BEGIN").map_err(sql)?;
    read(&db, path, &mut each)
}

fn open_immutable(path: &Path) -> Result<Connection, Error> {
    let mut uri = String::from("file:");
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags).map_err(|error| Error::sql(path, error))
}

fn read(db: &Connection, path: &Path, each: &mut dyn FnMut(StoredBan<'_>)) -> Result<Imported, Error> {
    let sql = |error| Error::sql(path, error);
    let version = schema::version(db).map_err(sql)?;
    let Some(version) = version.filter(|version| *version >= 1) else {
        return Err(Error::NotFail2ban { path: path.to_path_buf() });
    };
    if version > schema::VERSION {
        return Err(Error::TooNew { path: path.to_path_buf(), version });
    }
    let bans = read_bans(db, version, each).map_err(sql)?;
    let positions = read_positions(db).map_err(sql)?;
    Ok(Imported { version, bans, positions })
}

fn read_bans(db: &Connection, version: i64, each: &mut dyn FnMut(StoredBan<'_>)) -> rusqlite::Result<u64> {
    // Beside max(), the other columns are those of the row that has it.
    let (table, select) = match version {
        4 => ("bips", "SELECT jail, ip, timeofban, bantime, bancount, data FROM bips"),
        3 => ("bans", "SELECT jail, ip, max(timeofban), bantime, bancount, data FROM bans GROUP BY jail, ip"),
        _ => ("bans", "SELECT jail, ip, max(timeofban), -2, 1, data FROM bans GROUP BY jail, ip"),
    };
    if !schema::has_table(db, table)? {
        return Ok(0);
    }
    let mut given = 0;
    let mut select = db.prepare(select)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let cell = |at: usize| row.get_ref(at).map(Cell::from);
        let (Some(jail), Some(id), Some(time)) = (cell(0)?.text(), cell(1)?.text(), cell(2)?.real()) else { continue };
        if id.is_empty() {
            continue;
        }
        each(StoredBan {
            jail: JailName::new(jail),
            id: FailureId::parse(id),
            time: Timestamp::from_secs_f64(time),
            bantime: stored_bantime(cell(3)?),
            count: cell(4)?.int().map_or(1, count),
            lifted: false,
            data: cell(5)?.bytes().unwrap_or_default(),
        });
        given += 1;
    }
    Ok(given)
}

fn read_positions(db: &Connection) -> rusqlite::Result<Vec<TheirPosition>> {
    if !schema::has_table(db, "logs")? {
        return Ok(Vec::new());
    }
    let mut select = db.prepare("SELECT jail, path, firstlinemd5, lastfilepos FROM logs")?;
    let mut rows = select.query([])?;
    let mut positions = Vec::new();
    while let Some(row) = rows.next()? {
        let cell = |at: usize| row.get_ref(at).map(Cell::from);
        let (Some(jail), Some(path)) = (cell(0)?.text(), cell(1)?.text()) else { continue };
        positions.push(TheirPosition {
            jail: JailName::new(jail),
            path: path.into(),
            firstline: cell(2)?.text().unwrap_or_default().into(),
            position: cell(3)?.real().unwrap_or(0.0),
        });
    }
    Ok(positions)
}
