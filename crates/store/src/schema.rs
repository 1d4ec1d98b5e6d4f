//! The tables: the original's (version 4) and ours beside them.

use rusqlite::{Connection, OptionalExtension};

/// The schema version of the original that we read and write.
pub(crate) const VERSION: i64 = 4;

/// The original's five tables with their indices, one statement each.
///
/// Source: a file written by fail2ban's own `Fail2BanDb`; column order, types,
/// defaults, constraints and names of the indices are what readers rely on.
pub(crate) const THEIRS: &str = "
    CREATE TABLE IF NOT EXISTS fail2banDb(version INTEGER);
    CREATE TABLE IF NOT EXISTS jails(
        name TEXT NOT NULL UNIQUE,
        enabled INTEGER NOT NULL DEFAULT 1);
    CREATE INDEX IF NOT EXISTS jails_name ON jails(name);
    CREATE TABLE IF NOT EXISTS logs(
        jail TEXT NOT NULL,
        path TEXT,
        firstlinemd5 TEXT,
        lastfilepos INTEGER DEFAULT 0,
        FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE,
        UNIQUE(jail, path),
        UNIQUE(jail, path, firstlinemd5));
    CREATE INDEX IF NOT EXISTS logs_path ON logs(path);
    CREATE INDEX IF NOT EXISTS logs_jail_path ON logs(jail, path);
    CREATE TABLE IF NOT EXISTS bans(
        jail TEXT NOT NULL,
        ip TEXT,
        timeofban INTEGER NOT NULL,
        bantime INTEGER NOT NULL,
        bancount INTEGER NOT NULL default 1,
        data JSON,
        FOREIGN KEY(jail) REFERENCES jails(name));
    CREATE INDEX IF NOT EXISTS bans_jail_timeofban_ip ON bans(jail, timeofban);
    CREATE INDEX IF NOT EXISTS bans_jail_ip ON bans(jail, ip);
    CREATE INDEX IF NOT EXISTS bans_ip ON bans(ip);
    CREATE TABLE IF NOT EXISTS bips(
        ip TEXT NOT NULL,
        jail TEXT NOT NULL,
        timeofban INTEGER NOT NULL,
        bantime INTEGER NOT NULL,
        bancount INTEGER NOT NULL default 1,
        data JSON,
        PRIMARY KEY(ip, jail),
        FOREIGN KEY(jail) REFERENCES jails(name));
    CREATE INDEX IF NOT EXISTS bips_timeofban ON bips(timeofban);
    CREATE INDEX IF NOT EXISTS bips_ip ON bips(ip);
";

/// Our tables. The original ignores them, and its own repair carries them over.
///
/// Times are microseconds since the epoch. `stockade_journal.until` is NULL
/// where it is `time + bantime`; `bantime` is NULL for a permanent ban; `data`
/// is JSON as in `bans.data`; `sum` is a checksum over the row.
pub(crate) const OURS: &str = "
    CREATE TABLE IF NOT EXISTS stockade_meta(
        key TEXT PRIMARY KEY NOT NULL, value) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS stockade_journal(
        seq INTEGER PRIMARY KEY NOT NULL,
        kind INTEGER NOT NULL,
        jail TEXT NOT NULL,
        id TEXT NOT NULL,
        time INTEGER NOT NULL,
        bantime INTEGER,
        until INTEGER,
        count INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        data BLOB,
        origin INTEGER NOT NULL,
        source,
        place,
        why TEXT,
        sum INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS stockade_source(
        id INTEGER PRIMARY KEY NOT NULL,
        path TEXT NOT NULL,
        generation INTEGER NOT NULL,
        firstline TEXT,
        current INTEGER NOT NULL DEFAULT 0,
        UNIQUE(path, generation));
    CREATE TABLE IF NOT EXISTS stockade_watermark(
        jail TEXT NOT NULL,
        source INTEGER NOT NULL,
        place NOT NULL,
        PRIMARY KEY(jail, source)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS stockade_snapshot(
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        part INTEGER NOT NULL,
        data BLOB NOT NULL,
        sum INTEGER NOT NULL,
        PRIMARY KEY(name, version, part));
    CREATE TABLE IF NOT EXISTS stockade_snapshot_valid(
        name TEXT PRIMARY KEY NOT NULL,
        version INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS stockade_allow(
        jail TEXT NOT NULL,
        id TEXT NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY(jail, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS stockade_forget(
        after INTEGER NOT NULL,
        jail TEXT,
        id TEXT NOT NULL,
        done INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX IF NOT EXISTS stockade_forget_due ON stockade_forget(after) WHERE done = 0;
    CREATE TABLE IF NOT EXISTS stockade_lifted(
        net TEXT,
        time INTEGER NOT NULL,
        after INTEGER NOT NULL,
        applied INTEGER NOT NULL DEFAULT 0,
        told INTEGER NOT NULL DEFAULT 0);
";

/// Pragmas of each writing connection; `synchronous = FULL` makes a commit
/// durable, and checkpoints run when we say so, not inside a commit.
pub(crate) fn prepare_connection(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(std::time::Duration::from_millis(100))?;
    db.set_prepared_statement_cache_capacity(48);
    db.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 0; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;
         PRAGMA journal_size_limit = 4194304;",
    )
}

/// Makes whatever is missing. Must run inside a transaction.
pub(crate) fn create_missing(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(THEIRS)?;
    db.execute(
        "INSERT INTO fail2banDb(version) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM fail2banDb LIMIT 1)",
        [VERSION],
    )?;
    db.execute_batch(OURS)?;
    db.execute("INSERT OR IGNORE INTO stockade_meta(key, value) VALUES('format', 1)", [])?;
    Ok(())
}

/// Does a table of this name exist?
pub(crate) fn has_table(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    db.query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1", [name], |_| Ok(()))
        .optional()
        .map(|found| found.is_some())
}

/// The original's version number; `None` if the file is empty or not one of theirs.
pub(crate) fn version(db: &Connection) -> rusqlite::Result<Option<i64>> {
    if !has_table(db, "fail2banDb")? {
        return Ok(None);
    }
    db.query_row("SELECT version FROM fail2banDb LIMIT 1", [], |row| row.get(0)).optional()
}

/// Brings a file of version 1 to 3 to version 4, as the original does. Must run
/// inside a transaction with foreign keys off.
///
/// Version 1 has no uniqueness in `logs`, 2 no `bantime` and `bancount` in
/// `bans` (they become -2, unknown, and 1), 3 no `bips` (the last ban of each
/// address and jail).
pub(crate) fn upgrade(db: &Connection, version: i64) -> rusqlite::Result<()> {
    if version < 2 && has_table(db, "logs")? {
        db.execute_batch("ALTER TABLE logs RENAME TO stockade_old_logs; DROP INDEX IF EXISTS logs_path;")?;
        db.execute_batch(THEIRS)?;
        db.execute_batch(
            "INSERT OR REPLACE INTO logs SELECT jail, path, firstlinemd5, lastfilepos FROM stockade_old_logs
                 WHERE jail IS NOT NULL;
             DROP TABLE stockade_old_logs;",
        )?;
    }
    if version < 3 && has_table(db, "bans")? {
        db.execute_batch(
            "ALTER TABLE bans RENAME TO stockade_old_bans; DROP INDEX IF EXISTS bans_jail_timeofban_ip;
             DROP INDEX IF EXISTS bans_jail_ip; DROP INDEX IF EXISTS bans_ip;",
        )?;
        db.execute_batch(THEIRS)?;
        db.execute_batch(
            "INSERT INTO bans SELECT jail, ip, timeofban, -2, 1, data FROM stockade_old_bans WHERE jail IS NOT NULL;
             DROP TABLE stockade_old_bans;",
        )?;
    }
    db.execute_batch(THEIRS)?;
    if version < 4 {
        db.execute_batch(
            "INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data)
                 SELECT ip, jail, timeofban, bantime, bancount, data FROM bans
                 WHERE ip IS NOT NULL ORDER BY timeofban;
             UPDATE fail2banDb SET version = 4;",
        )?;
    }
    Ok(())
}
