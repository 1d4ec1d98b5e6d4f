//! Questions about the past, beside the writer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Params, Row as SqlRow};
use stockade_core::{FailureId, JailName, Seq, SourceKey};

use crate::bans::{self, StoredBan};
use crate::data::Evidence;
use crate::error::Error;
use crate::file;
use crate::lift;
use crate::past::{self, Waiting};
use crate::row::{COLUMNS, Cell, RawRow, Row, sql_int};
use crate::schema;
use crate::sources;
use crate::write::Numbers;

/// A connection that only reads; opened in any thread or process, with the daemon alive or dead.
pub struct Reader {
    path: PathBuf,
    db: Connection,
    waiting: RefCell<Waiting>,
}

impl Reader {
    /// Opens the database for reading.
    ///
    /// # Errors
    /// If it can't be opened or has no journal of ours.
    pub fn open(path: &Path) -> Result<Reader, Error> {
        let db = file::open_read_only(path)?;
        let journal = schema::has_table(&db, "stockade_journal").map_err(|error| Error::sql(path, error))?;
        if !journal {
            return Err(Error::NoJournal { path: path.to_path_buf() });
        }
        Ok(Reader { path: path.to_path_buf(), db, waiting: RefCell::default() })
    }

    /// All decisions about `id` in any jail, newest first, at most `most`. Reads
    /// the whole journal: about a second for a million rows.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn history(&self, id: &FailureId, most: usize) -> Result<Vec<Row>, Error> {
        self.rows("WHERE id = ?1 ORDER BY seq DESC LIMIT ?2", (id.to_string(), limit(most)))
    }

    /// Hands the last ban of each id in each jail to `each`, living or not, as a
    /// start would take them up: what is not yet in the original's tables is seen, too.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn bans(&self, mut each: impl FnMut(StoredBan<'_>)) -> Result<u64, Error> {
        let mut read = || {
            let tx = self.db.unchecked_transaction()?;
            let numbers = Numbers::load(&tx)?;
            let mut waiting = lift::pending(&tx, "applied = 0")?;
            waiting.extend(lift::read_beside(&self.path));
            // One that was carried out has ended its bans in the rows. A later ban may be for
            // lines from before it: that one stands.
            let done = lift::pending(&tx, "applied = 1")?;
            bans::each(&tx, numbers, &waiting, &mut |mut ban| {
                let end = ban.end();
                ban.lifted |= done.iter().any(|lift| lift.covers(&ban.id) && end.is_some_and(|end| end <= lift.time));
                each(ban);
            })
        };
        read().map_err(|error| Error::sql(&self.path, error))
    }

    /// What all stored bans of one address tell together, of one jail or of all:
    /// the newest matched lines, oldest first and at most `matches_max`, and the
    /// sum of failures, without groups. `None` if there is no such ban.
    ///
    /// What is not yet in the original's tables is seen, too; the first question
    /// walks over all of that (some 100 ms for a million rows), later ones over
    /// what has come since.
    ///
    /// Source: fail2ban `server/database.py`, `getBansMerged`, for the tags
    /// `ipmatches`, `ipfailures` and their like.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn merged(&self, ip: &str, jail: Option<&JailName>, matches_max: usize) -> Result<Option<Evidence>, Error> {
        self.try_merged(ip, jail, matches_max).map_err(|error| Error::sql(&self.path, error))
    }

    fn try_merged(&self, ip: &str, jail: Option<&JailName>, matches_max: usize) -> rusqlite::Result<Option<Evidence>> {
        let tx = self.db.unchecked_transaction()?;
        let bans = past::bans_of(&tx, &mut self.waiting.borrow_mut(), ip, jail.map(JailName::as_str))?;
        if bans.is_empty() {
            return Ok(None);
        }
        let mut all = Evidence::default();
        for ban in bans.into_iter().rev() {
            let evidence = Evidence::read(&ban.data);
            // A row that does not say counts as one.
            let says = ban.data.windows(FAILURES.len()).any(|part| part == FAILURES);
            all.failures = all.failures.saturating_add(if says { evidence.failures } else { 1 });
            let room = matches_max.saturating_sub(all.matches.len());
            let mut older = evidence.matches;
            older.drain(..older.len().saturating_sub(room));
            older.append(&mut all.matches);
            all.matches = older;
        }
        Ok(Some(all))
    }

    /// How many decisions are not in the original's tables yet.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn backlog(&self) -> Result<u64, Error> {
        let numbers = Numbers::load(&self.db).map_err(|error| Error::sql(&self.path, error))?;
        Ok((numbers.last - numbers.projected).max(0).cast_unsigned())
    }

    /// What the last ban of `id` in `jail` was made of. A look-up by key, and a
    /// walk over what is not yet in the original's tables (some 100 ms for a million rows).
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn evidence(&self, jail: &JailName, id: &FailureId) -> Result<Evidence, Error> {
        let read = || {
            let tx = self.db.unchecked_transaction()?;
            let projected = Numbers::load(&tx)?.projected;
            let (jail, id) = (jail.as_str(), id.to_string());
            // What is not in the original's tables yet, is newer.
            let mut waiting = tx.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM stockade_journal
                 WHERE seq > ?3 AND kind = 1 AND jail = ?1 AND id = ?2 ORDER BY seq DESC LIMIT 1"
            ))?;
            let mut rows = waiting.query((jail, &id, projected))?;
            if let Some(raw) = rows.next()?.map(RawRow::read).transpose()?.flatten() {
                return Ok(Evidence::read(&raw.ban_data()));
            }
            let last = "SELECT data FROM bips WHERE jail = ?1 AND ip = ?2";
            let data = tx.prepare_cached(last)?.query_row((jail, &id), data_of).optional()?;
            Ok(data.map(|data| Evidence::read(&data)).unwrap_or_default())
        };
        read().map_err(|error| Error::sql(&self.path, error))
    }

    /// The newest decisions, newest first, at most `most`.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn recent(&self, most: usize) -> Result<Vec<Row>, Error> {
        self.rows("ORDER BY seq DESC LIMIT ?1", [limit(most)])
    }

    /// The decisions after `seq`, oldest first, at most `most`: for whoever
    /// follows the stream and has been away. If the first one is not the next
    /// number, older ones were pruned meanwhile.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn resume(&self, seq: Seq, most: usize) -> Result<Vec<Row>, Error> {
        self.rows("WHERE seq > ?1 ORDER BY seq LIMIT ?2", (sql_int(seq.0), limit(most)))
    }

    fn rows(&self, which: &str, params: impl Params) -> Result<Vec<Row>, Error> {
        self.try_rows(which, params).map_err(|error| Error::sql(&self.path, error))
    }

    fn try_rows(&self, which: &str, params: impl Params) -> rusqlite::Result<Vec<Row>> {
        let tx = self.db.unchecked_transaction()?;
        let numbers = Numbers::load(&tx)?;
        let sources: HashMap<i64, SourceKey> = sources::all(&tx)?;
        let mut select = tx.prepare(&format!("SELECT {COLUMNS} FROM stockade_journal {which}"))?;
        let mut rows = select.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            // A damaged row tells nothing that could be believed.
            let Some(raw) = RawRow::read(row)? else { continue };
            found.push(Row {
                announced: raw.seq <= numbers.announced,
                issued: raw.seq <= numbers.issued,
                decision: raw.decision(&sources),
            });
        }
        Ok(found)
    }
}

/// The name of the count in the column `data`.
const FAILURES: &[u8] = b"\"failures\"";

/// The bytes of the only column.
fn data_of(row: &SqlRow<'_>) -> rusqlite::Result<Vec<u8>> {
    Ok(Cell::from(row.get_ref(0)?).bytes().unwrap_or_default().to_vec())
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
