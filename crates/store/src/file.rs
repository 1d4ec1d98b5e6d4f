//! The file itself: opening, telling who wrote last, giving it back whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::Error;
use crate::options::Options;
use crate::recovery::Note;
use crate::schema;

/// How long a start waits for another program that holds the file.
const OPEN_WAIT: Duration = Duration::from_secs(5);

/// Files up to this size are checked wholly at each start; it costs some 3 ms per MiB.
const CHECKED_WHOLLY: u64 = 16 << 20;

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Was the file last used in WAL mode, that is by us and not closed?
    wal: bool,
    /// Grows with each write of a program that does not use WAL.
    changes: i64,
}

/// Reads the first page's fields; `None` if there is no file or it is empty.
fn header(path: &Path) -> io::Result<Option<Header>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut page = [0; 32];
    match file.read_exact(&mut page) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [.., a, b, c, d, _, _, _, _] = page;
    Ok(Some(Header {
        wal: page.get(18) == Some(&2) || page.get(19) == Some(&2),
        changes: u32::from_be_bytes([a, b, c, d]).into(),
    }))
}

/// An opened, current database.
pub(crate) struct Opened {
    pub(crate) db: Connection,
    pub(crate) notes: Vec<Note>,
    /// Has the original written since we closed it, or is it its own?
    pub(crate) foreign: bool,
}

/// A database in memory.
pub(crate) fn in_memory() -> rusqlite::Result<Connection> {
    let db = Connection::open_in_memory()?;
    schema::prepare_connection(&db)?;
    schema::create_missing(&db)?;
    Ok(db)
}

/// Opens `path` for writing, makes or upgrades what is needed, and finds out who wrote last.
pub(crate) fn open(path: &Path, options: &Options) -> Result<Opened, Error> {
    let sql = |error| Error::sql(path, error);
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let new = header(path).map_err(io)?.is_none();
    options.step("open");
    if new {
        make_private(path)?;
    }
    let mut db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(sql)?;
    if db.is_readonly("main").map_err(sql)? {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        return Err(sql(rusqlite::Error::SqliteFailure(code, Some("may only be read".into()))));
    }
    schema::prepare_connection(&db).map_err(sql)?;
    db.busy_timeout(OPEN_WAIT).map_err(sql)?;
    if new {
        // Lets space be given back to the disk; has an effect only before the first table is made.
        db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(sql)?;
    }
    // Reading also undoes what a crash in the middle of a write outside WAL mode has left, so the header counts only now.
    let version = schema::version(&db).map_err(sql)?;
    let before = header(path).map_err(io)?;
    if let Some(version) = version.filter(|version| *version > schema::VERSION) {
        return Err(Error::TooNew { path: path.to_path_buf(), version });
    }
    check(&db, path, before).map_err(sql)?;
    // If another program holds the file, this may stay as it is: slower, else the same.
    let _mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(sql)?;
    let mut notes = Vec::new();
    match version {
        Some(from) if from < schema::VERSION => {
            let backup = set_aside_name(path);
            copy_whole(&db, path, &backup)?;
            upgrade(&mut db, from).map_err(sql)?;
            notes.push(Note::Upgraded { from, backup });
        }
        Some(_) => {}
        None => notes.push(Note::Created),
    }
    let ours = schema::has_table(&db, "stockade_journal").map_err(sql)?;
    let mut foreign = false;
    if version.is_some() && !ours {
        foreign = true;
        notes.push(Note::TakenOver);
    }
    if !ours || version.is_none() {
        options.step("create");
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        schema::create_missing(&tx).map_err(sql)?;
        tx.commit().map_err(sql)?;
    } else if let Some(header) = before
        && !header.wal
        && !closed_at(&db).map_err(sql)?.contains(&header.changes)
    {
        foreign = true;
        notes.push(Note::Foreign);
    }
    db.busy_timeout(Duration::from_millis(100)).map_err(sql)?;
    Ok(Opened { db, notes, foreign })
}

/// A database opened for a short work that is not the daemon's, and left in the mode in which it was.
pub(crate) struct Kept {
    pub(crate) db: Connection,
    path: PathBuf,
    /// Was it closed by us, with nobody writing since?
    closed: bool,
}

impl Kept {
    /// Opens an existing database; our tables are made if they are missing.
    pub(crate) fn open(path: &Path) -> Result<Kept, Error> {
        let sql = |error| Error::sql(path, error);
        let before = header(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags).map_err(sql)?;
        schema::prepare_connection(&db).map_err(sql)?;
        db.busy_timeout(Duration::from_secs(1)).map_err(sql)?;
        check(&db, path, before).map_err(sql)?;
        let version = schema::version(&db).map_err(sql)?;
        if version != Some(schema::VERSION) {
            return Err(Error::NoJournal { path: path.to_path_buf() });
        }
        let mut closed = false;
        if schema::has_table(&db, "stockade_journal").map_err(sql)? {
            let changes = before.filter(|header| !header.wal).map(|header| header.changes);
            let marks = closed_at(&db).map_err(sql)?;
            closed = changes.is_some_and(|changes| marks.contains(&changes));
        } else {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
            schema::create_missing(&tx).map_err(sql)?;
            tx.commit().map_err(sql)?;
        }
        Ok(Kept { db, path: path.to_path_buf(), closed })
    }

    /// Closes it; if it was as we had left it, it counts so again.
    pub(crate) fn close(self, options: &Options) {
        if self.closed {
            note_closed(&self.db, &self.path, options).unwrap_or_default();
        }
    }
}

/// Opens `path` for reading only, with whatever is readable.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, Error> {
    let sql = |error| Error::sql(path, error);
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(sql)?;
    db.busy_timeout(Duration::from_millis(500)).map_err(sql)?;
    Ok(db)
}

/// Makes an empty file that only its owner can read, as fail2ban's umask does.
fn make_private(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(source) => {
            let full = source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded;
            let code = if full { rusqlite::ffi::SQLITE_FULL } else { rusqlite::ffi::SQLITE_CANTOPEN };
            let why = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(source.to_string()));
            Err(Error::sql(path, why))
        }
    }
}

/// Finds damage: wholly in small files; in larger ones what reading all bans will find by itself.
fn check(db: &Connection, path: &Path, header: Option<Header>) -> rusqlite::Result<()> {
    if header.is_none() || !is_small(path) {
        return Ok(());
    }
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(damage(&verdict)) }
}

/// Is the file so small that a start can look at all of it?
pub(crate) fn is_small(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.len() <= CHECKED_WHOLLY)
}

/// An error that says that the content is damaged.
pub(crate) fn damage(what: &str) -> rusqlite::Error {
    let what = what.replace('\n', " ");
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(what))
}

fn upgrade(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    db.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON")?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::upgrade(&tx, from)?;
    tx.commit()?;
    db.execute_batch("PRAGMA legacy_alter_table = OFF; PRAGMA foreign_keys = ON")
}

/// Copies the whole content of an opened database to another file.
fn copy_whole(db: &Connection, path: &Path, to: &Path) -> Result<(), Error> {
    let text = to.to_string_lossy();
    db.execute("VACUUM INTO ?1", [&*text]).map(|_| ()).map_err(|error| Error::sql(path, error))
}

/// `NAME.YYYYmmdd-HHMMSS` in UTC, as the original names what it sets aside; with
/// `-1`, `-2`.. behind it if that exists already.
pub(crate) fn set_aside_name(path: &Path) -> PathBuf {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let stamp = crate::project::stamp(i64::try_from(secs).unwrap_or(0));
    let name = |tail: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{stamp}{tail}"));
        PathBuf::from(name)
    };
    let first = name("");
    if !first.exists() {
        return first;
    }
    (1..1_000).map(|n| name(&format!("-{n}"))).find(|path| !path.exists()).unwrap_or(first)
}

/// Folds the WAL in, leaves WAL mode and notes the change counter, so that the
/// one file is whole and a later writer shows. Another open reader may prevent
/// that for a while; then the file stays in WAL mode, still complete with its `-wal`.
pub(crate) fn hand_back(db: &mut Connection, path: &Path, options: &Options) -> rusqlite::Result<bool> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        options.step("checkpoint");
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        // Leaving WAL mode is one write by itself, and nobody but us may have made it.
        if let Ok(Some(now)) = header(path) {
            mark_closed(db, "closing", now.changes + 1)?;
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        options.step("journal_mode");
        let mode: rusqlite::Result<String> = db.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0));
        match mode {
            Ok(mode) if mode == "delete" => break,
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= end {
            return Ok(false);
        }
    }
    note_closed(db, path, options)?;
    Ok(true)
}

/// Notes the change counter of a file that is not in WAL mode, as it is after this very write.
pub(crate) fn note_closed(db: &Connection, path: &Path, options: &Options) -> rusqlite::Result<()> {
    // Each write in this mode adds one to the counter, this one too.
    for _ in 0..3 {
        let Ok(Some(now)) = header(path) else { return Ok(()) };
        let expected = now.changes + 1;
        options.step("closed");
        mark_closed(db, "closed", expected)?;
        if header(path).ok().flatten().map(|header| header.changes) == Some(expected) {
            break;
        }
    }
    Ok(())
}

/// Notes that the change counter has this value if only we have written; see [`closed_at`].
fn mark_closed(db: &Connection, key: &str, changes: i64) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO stockade_meta(key, value) VALUES(?1, ?2)", rusqlite::params![key, changes])
        .map(|_| ())
}

/// The values of the change counter that the file may have if nobody has written since we closed it.
fn closed_at(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    db.prepare("SELECT value FROM stockade_meta WHERE key IN ('closed', 'closing')")?
        .query_map([], |row| row.get(0))?
        .collect()
}
