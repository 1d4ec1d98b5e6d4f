//! The sources that journal rows and watermarks refer to by number.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use stockade_core::SourceKey;

/// Numbers of the sources already written, so that a commit need not look them up.
#[derive(Default)]
pub(crate) struct Sources {
    ids: HashMap<SourceKey, i64>,
}

/// Above this many sources the oldest unused ones are dropped from the file.
const KEPT_MAX: i64 = 10_000;

impl Sources {
    /// The number of `source`, which is made if it is new.
    pub(crate) fn id(&mut self, db: &Connection, source: &SourceKey) -> rusqlite::Result<i64> {
        if let Some(id) = self.ids.get(source) {
            return Ok(*id);
        }
        let generation = source.generation.cast_signed();
        let mut find = db.prepare_cached("SELECT id FROM stockade_source WHERE path = ?1 AND generation = ?2")?;
        let id = match find.query_row(params![&*source.path, generation], |row| row.get(0)).optional()? {
            Some(id) => id,
            None => {
                db.prepare_cached("INSERT INTO stockade_source(path, generation) VALUES(?1, ?2)")?
                    .execute(params![&*source.path, generation])?;
                db.last_insert_rowid()
            }
        };
        if self.ids.len() >= usize::try_from(KEPT_MAX).unwrap_or(usize::MAX) {
            self.ids.clear();
        }
        self.ids.insert(source.clone(), id);
        Ok(id)
    }

    /// Forgets what was learnt: the transaction that wrote it was undone.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
    }

    /// Drops the oldest sources that no watermark needs, beyond the bound.
    pub(crate) fn trim(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let dropped = db.execute(
            "DELETE FROM stockade_source
                 WHERE id <= (SELECT max(id) FROM stockade_source) - ?1 AND current = 0
                 AND id NOT IN (SELECT source FROM stockade_watermark)",
            [KEPT_MAX],
        )?;
        if dropped > 0 {
            self.clear();
        }
        Ok(())
    }
}

/// All sources by number, for reading rows.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<HashMap<i64, SourceKey>> {
    let mut select = db.prepare("SELECT id, path, generation FROM stockade_source")?;
    let rows = select.query_map([], |row| {
        let path: String = row.get(1)?;
        let generation: i64 = row.get(2)?;
        Ok((row.get(0)?, SourceKey { path: path.into(), generation: generation.cast_unsigned() }))
    })?;
    rows.collect()
}
