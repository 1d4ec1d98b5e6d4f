//! A database for fail2ban, made anew from bans of ours.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, params};

use crate::bans::StoredBan;
use crate::error::Error;
use crate::schema;

/// Writes the bans that `bans` hands to its argument into a new database of the
/// original's schema 4, and into nothing else: no table of ours is in it. The
/// file appears under its name when it is whole, readable by its owner only.
///
/// # Errors
/// If `path` exists already or can't be written, or what `bans` says.
pub fn export(
    path: &Path,
    bans: impl FnOnce(&mut dyn FnMut(StoredBan<'_>)) -> Result<u64, Error>,
) -> Result<u64, Error> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    if path.symlink_metadata().is_ok() {
        return Err(io(std::io::ErrorKind::AlreadyExists.into()));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(part)
        .map_err(|source| Error::Io { path: part.to_path_buf(), source })?;
    let done = write(part, bans).and_then(|given| {
        std::fs::rename(part, path).map_err(io)?;
        Ok(given)
    });
    if done.is_err() {
        // What is not whole is of no use to anybody; a leftover is told by its name.
        drop(std::fs::remove_file(part));
    }
    done
}

fn write(path: &Path, bans: impl FnOnce(&mut dyn FnMut(StoredBan<'_>)) -> Result<u64, Error>) -> Result<u64, Error> {
    let sql = |error| Error::sql(path, error);
    let mut db = Connection::open(path).map_err(sql)?;
    let tx = db.transaction().map_err(sql)?;
    tx.execute_batch(schema::THEIRS).map_err(sql)?;
    tx.execute("INSERT INTO fail2banDb(version) VALUES(?1)", [schema::VERSION]).map_err(sql)?;
    let mut trouble = None;
    let given = bans(&mut |ban| {
        if trouble.is_none() {
            trouble = put(&tx, &ban).err();
        }
    })?;
    if let Some(error) = trouble {
        return Err(sql(error));
    }
    tx.commit().map_err(sql)?;
    db.close().map_err(|(_, error)| sql(error))?;
    Ok(given)
}

fn put(db: &Connection, ban: &StoredBan<'_>) -> rusqlite::Result<()> {
    let (jail, id) = (ban.jail.as_str(), ban.id.to_string());
    let data = String::from_utf8_lossy(ban.data);
    let bantime = ban.bantime.map_or(-2, stockade_core::BanTime::secs);
    db.prepare_cached("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)")?.execute([jail])?;
    for table in ["bans", "bips"] {
        let insert =
            format!("INSERT INTO {table}(jail, ip, timeofban, bantime, bancount, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
        db.prepare_cached(&insert)?.execute(params![jail, id, ban.time.secs_rounded(), bantime, ban.count, data])?;
    }
    Ok(())
}
