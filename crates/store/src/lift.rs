//! The way out while no daemon runs: bans lifted by hand do not come back at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use stockade_core::{FailureId, Net, Timestamp};

use crate::error::Error;
use crate::file;
use crate::options::Options;
use crate::slice::Slice;
use crate::sources::Sources;
use crate::write::{Numbers, Pen};

/// The most bytes of a side file that are read; it has some 30 per lift.
const SIDE_FILE_MAX: u64 = 1 << 20;

/// A lift made by [`mark_lifted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifted {
    /// Which addresses; `None`: all bans.
    pub net: Option<Net>,
    /// When.
    pub time: Timestamp,
}

impl Lifted {
    /// Is a ban of `id` lifted by it?
    pub fn covers(&self, id: &FailureId) -> bool {
        self.net.is_none_or(|net| id.net().is_some_and(|id| net.contains(id)))
    }
}

/// Where [`mark_lifted`] left its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// In the database; so many of its bans ended by it.
    Database(u64),
    /// In a file beside the database, which could not be written.
    Beside(PathBuf),
}

/// Ends all stored bans that `net` contains (`None`: all) as of `now`, while no daemon runs.
///
/// The rows stay as history, with a shortened ban time, so that the original
/// does not restore them either. Where the database is missing, damaged or held
/// by somebody, the mark goes to `NAME.lifted` beside it. The next start tells
/// of it ([`crate::Recovery::lifted`]).
///
/// # Errors
/// If neither the database nor the file beside it can be written.
pub fn mark_lifted(path: &Path, net: Option<Net>, now: Timestamp) -> Result<Marked, Error> {
    let lifted = Lifted { net, time: now };
    match in_database(path, &lifted) {
        Ok(bans) => Ok(Marked::Database(bans)),
        Err(_) => beside(path, &lifted).map(Marked::Beside),
    }
}

/// Writes the mark into the database and carries it out.
fn in_database(path: &Path, lifted: &Lifted) -> Result<u64, Error> {
    let sql = |error| Error::sql(path, error);
    let mut kept = file::Kept::open(path)?;
    let options = Options::default();
    let mut numbers = Numbers::load(&kept.db).map_err(sql)?;
    let mut on_disk = numbers;
    let (mut sources, mut damaged) = (Sources::default(), 0);
    let mut pen = Pen {
        options: &options,
        numbers: &mut numbers,
        on_disk: &mut on_disk,
        sources: &mut sources,
        brief: false,
        damaged: &mut damaged,
    };
    pen.transaction(&mut kept.db, |pen, tx, _| note(tx, lifted, pen.numbers.last)).map_err(sql)?;
    // From here on the next start knows; what follows makes it true for the original too.
    let bans = apply(&mut pen, &mut kept.db).unwrap_or(0);
    kept.close(&options);
    Ok(bans)
}

/// Notes a lift, made behind journal row `after`, that is yet to be carried out.
pub(crate) fn note(tx: &Connection, lifted: &Lifted, after: i64) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO stockade_lifted(net, time, after) VALUES(?1, ?2, ?3)",
        params![lifted.net.map(|net| net.to_string()), lifted.time.micros(), after],
    )?;
    Ok(())
}

/// Carries out all lifts that are not yet; returns the number of bans ended.
pub(crate) fn apply(pen: &mut Pen<'_>, db: &mut Connection) -> rusqlite::Result<u64> {
    let mut ended = 0;
    let waiting = pending(db, "applied = 0")?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut window = None;
    while pen.numbers.projected < pen.numbers.last {
        pen.catch_up(db, &mut window)?;
    }
    for lifted in &waiting {
        let mut from = Some(i64::MIN);
        while let Some(after) = from {
            let (next, count) = pen.transaction(db, |_, tx, slice| apply_slice(tx, lifted, after, slice))?;
            from = next;
            ended += count;
        }
    }
    pen.transaction(db, |_, tx, _| tx.execute("UPDATE stockade_lifted SET applied = 1 WHERE applied = 0", []))?;
    Ok(ended)
}

/// Ends the bans of one stretch of `bips`; returns where the next begins.
fn apply_slice(
    tx: &Connection,
    lifted: &Lifted,
    mut after: i64,
    slice: &Slice,
) -> rusqlite::Result<(Option<i64>, u64)> {
    let mut select = tx.prepare_cached(
        "SELECT rowid, ip FROM bips WHERE rowid > ?1 AND timeofban <= ?2
             AND (bantime < 0 OR timeofban + bantime > ?2) ORDER BY rowid LIMIT 500",
    )?;
    let mut end = tx.prepare_cached("UPDATE bips SET bantime = max(?2 - timeofban, 0) WHERE rowid = ?1")?;
    let now = lifted.time.secs();
    let mut ended = 0;
    loop {
        let standing: Vec<(i64, String)> = select
            .query_map(params![after, now], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let Some((last, _)) = standing.last() else { return Ok((None, ended)) };
        after = *last;
        for (rowid, id) in &standing {
            if lifted.covers(&FailureId::parse(id)) {
                end.execute(params![rowid, now])?;
                ended += 1;
            }
        }
        if slice.spent() {
            return Ok((Some(after), ended));
        }
    }
}

/// The lifts for which `condition` (`applied = 0`, `told = 0`) holds, oldest first.
pub(crate) fn pending(db: &Connection, condition: &str) -> rusqlite::Result<Vec<Lifted>> {
    let mut select = db.prepare(&format!("SELECT net, time FROM stockade_lifted WHERE {condition} ORDER BY time"))?;
    let mut rows = select.query([])?;
    let mut lifted = Vec::new();
    while let Some(row) = rows.next()? {
        let net: Option<String> = row.get(0)?;
        lifted.extend(read(net.as_deref(), row.get(1)?));
    }
    Ok(lifted)
}

/// A mark that can't be understood must not lift everything: it is left out.
pub(crate) fn read(net: Option<&str>, micros: i64) -> Option<Lifted> {
    let net = match net {
        None => None,
        Some(text) => Some(FailureId::parse(text).net()?),
    };
    Some(Lifted { net, time: Timestamp::from_micros(micros) })
}

/// The file beside the database.
fn side_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lifted");
    name.into()
}

/// Adds a line `MICROSECONDS NET` (or `all`) to the file beside the database.
fn beside(path: &Path, lifted: &Lifted) -> Result<PathBuf, Error> {
    let side = side_file(path);
    let net = lifted.net.map_or_else(|| "all".to_owned(), |net| net.to_string());
    let line = format!("{} {net}\n", lifted.time.micros());
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&side)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| Error::Io { path: side.clone(), source })?;
    Ok(side)
}

/// Lifts noted beside the database; lines that make no sense are left out.
pub(crate) fn read_beside(path: &Path) -> Vec<Lifted> {
    let mut text = String::new();
    let Ok(file) = File::open(side_file(path)) else { return Vec::new() };
    if file.take(SIDE_FILE_MAX).read_to_string(&mut text).is_err() {
        return Vec::new();
    }
    text.lines()
        .filter_map(|line| {
            let (micros, net) = line.split_once(' ')?;
            read((net != "all").then_some(net), micros.parse().ok()?)
        })
        .collect()
}

/// Removes the file beside the database; its lifts stand in the database now.
pub(crate) fn remove_beside(path: &Path) {
    fs::remove_file(side_file(path)).unwrap_or_default();
}
