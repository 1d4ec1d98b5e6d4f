//! Catching up with a large backlog in an order that keeps the indices' pages together.
//!
//! The original's tables have four indices over the address. Bans come in any
//! order of addresses, so that nearly every row touches four pages of its own,
//! all of which go through the WAL. Taken in windows of 100,000 rows and
//! within a window by address, rows share pages, which is several times faster.
//! Rows of the same address and jail keep their order, so the outcome is the same.

use rusqlite::{Connection, OptionalExtension};

use crate::project::{self, Writer};
use crate::row::{COLUMNS, RawRow};
use crate::slice::Slice;
use crate::write::Numbers;

/// Rows of a window; its keys take some 6 MB of memory and 50 ms to read.
const ROWS: i64 = 100_000;

/// The same while commits come in, which wait for the reading.
const ROWS_BRIEF: i64 = 20_000;

/// The backlog from which on windows are used.
pub(crate) const BACKLOG_MIN: i64 = 10_000;

/// The rows of a window, in the order in which they are brought over.
pub(crate) struct Window {
    order: Vec<Key>,
    next: usize,
}

/// Address, jail, number.
type Key = (Box<str>, Box<str>, i64);

impl Window {
    /// Reads the rows after the last projected one, or of the window in which
    /// the last run stopped; `None` if plain order is needed, because something
    /// is to be forgotten soon or the original has run in between.
    pub(crate) fn load(db: &Connection, numbers: &mut Numbers, brief: bool) -> rusqlite::Result<Option<Window>> {
        if numbers.window_end <= numbers.projected {
            let pause = project::next_forget(db)?.unwrap_or(i64::MAX);
            let nth = |n: i64| -> rusqlite::Result<Option<i64>> {
                db.prepare_cached("SELECT seq FROM stockade_journal WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2")?
                    .query_row([numbers.projected, n - 1], |row| row.get(0))
                    .optional()
            };
            // Numbers may have gaps, so rows are counted.
            let enough = nth(BACKLOG_MIN)?.is_some_and(|seq| seq <= pause);
            if numbers.projected < numbers.theirs_until || !enough {
                return Ok(None);
            }
            let end = nth(if brief { ROWS_BRIEF } else { ROWS })?.unwrap_or(numbers.last).min(pause);
            numbers.window_end = end;
            numbers.window_at = 0;
        }
        let mut select =
            db.prepare_cached("SELECT id, jail, seq FROM stockade_journal WHERE seq > ?1 AND seq <= ?2")?;
        let mut order = select
            .query_map([numbers.projected, numbers.window_end], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<Key>>>()?;
        order.sort_unstable();
        let next = match numbers.window_at {
            0 => 0,
            // If the row was lost to damage, doing its neighbours twice is the lesser evil.
            seq => order.iter().position(|key| key.2 == seq).map_or(0, |at| at + 1),
        };
        Ok(Some(Window { order, next }))
    }

    /// Brings rows over until the slice is spent; true if the window is done. Must run inside a transaction.
    pub(crate) fn run(
        &mut self,
        tx: &Connection,
        numbers: &mut Numbers,
        damaged: &mut u64,
        slice: &mut Slice,
    ) -> rusqlite::Result<bool> {
        let mut select = tx.prepare_cached(&format!("SELECT {COLUMNS} FROM stockade_journal WHERE seq = ?1"))?;
        let mut writer = Writer::new(tx, false)?;
        while let Some((_, _, seq)) = self.order.get(self.next) {
            let mut rows = select.query([seq])?;
            if let Some(row) = rows.next()? {
                match RawRow::read(row)? {
                    Some(raw) => writer.apply(&raw)?,
                    None => *damaged += 1,
                }
            }
            numbers.window_at = *seq;
            self.next += 1;
            if slice.spent_by_one() {
                break;
            }
        }
        let done = self.next >= self.order.len();
        if done {
            numbers.projected = numbers.window_end;
            numbers.window_end = 0;
            numbers.window_at = 0;
        }
        Ok(done)
    }
}
