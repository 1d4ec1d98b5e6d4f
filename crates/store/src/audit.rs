//! The last bans against the journal: what damage has changed is put right.
//!
//! Each row of the journal carries a checksum, so what it says can be relied
//! on; `bips` has none. Bans on which the original has had its say since, and
//! those whose journal rows are pruned, can't be checked and stay as they are.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, params};
use stockade_core::{BanTime, DecisionKind, FailureId, Timestamp};

use crate::data;
use crate::lift::Lifted;
use crate::project;
use crate::row::{COLUMNS, Cell, RawRow};
use crate::write::Numbers;

/// How much may be put right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The file's structure is sound: values of single columns only. A row that
    /// is missing was deleted by somebody.
    Rows,
    /// The file was damaged: rows may be missing or strange.
    Journal,
    /// Its rows were picked out of its pages: what only `bips` knows is all that is left of it.
    Pages,
}

/// Id and jail.
type Key = (String, String);

/// The last ban of one id in one jail as the journal has it; `None`: forgotten.
type State = HashMap<Key, Option<Ban>>;

struct Ban {
    time: i64,
    bantime: BanTime,
    count: u32,
    data: Vec<u8>,
}

/// Puts `bips` right where it differs from the journal; returns the number of
/// rows changed. Must run inside a transaction; rows that are not projected yet are left out.
pub(crate) fn run(tx: &Connection, numbers: Numbers, trust: Trust) -> rusqlite::Result<u64> {
    let (state, gaps) = state(tx, numbers)?;
    if gaps && trust == Trust::Rows {
        return Ok(0);
    }
    let mut changed = 0;
    let mut seen: HashSet<Key> = HashSet::new();
    let mut wrong: Vec<(i64, Option<Key>)> = Vec::new();
    let oldest = oldest_time(tx, numbers)?;
    {
        let mut select = tx.prepare("SELECT rowid, ip, jail, timeofban, bantime, bancount FROM bips")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let cell = |at: usize| row.get_ref(at).map(Cell::from);
            let rowid = cell(0)?.int().unwrap_or(0);
            let (Some(id), Some(jail)) = (cell(1)?.text(), cell(2)?.text()) else {
                wrong.push((rowid, None));
                continue;
            };
            let key = (id.to_owned(), jail.to_owned());
            match state.get(&key) {
                Some(Some(ban)) => {
                    let same = cell(3)?.int() == Some(ban.time)
                        && cell(4)?.real() == project::bantime_cell(ban.bantime).real()
                        && cell(5)?.int() == Some(ban.count.into());
                    // With rows missing the journal may not know the last word.
                    if !same && !gaps {
                        wrong.push((rowid, Some(key.clone())));
                    }
                    seen.insert(key);
                }
                Some(None) if gaps => {}
                Some(None) => wrong.push((rowid, None)),
                None => {
                    let known = cell(3)?.int().is_none_or(|time| oldest.is_none_or(|oldest| time < oldest));
                    if !known && trust != Trust::Pages && !in_history(tx, id, jail)? {
                        wrong.push((rowid, None));
                    }
                }
            }
        }
    }
    for (rowid, key) in wrong {
        match key.and_then(|key| state.get(&key)).and_then(Option::as_ref) {
            Some(ban) => {
                tx.execute(
                    "UPDATE bips SET timeofban = ?2, bantime = ?3, bancount = ?4, data = ?5 WHERE rowid = ?1",
                    params![rowid, ban.time, project::bantime_cell(ban.bantime), ban.count, ban.data],
                )?;
            }
            None if trust != Trust::Rows => {
                tx.execute("DELETE FROM bips WHERE rowid = ?1", [rowid])?;
            }
            None => continue,
        }
        changed += 1;
    }
    if trust != Trust::Rows {
        let history = tx.prepare("SELECT 1 FROM bans LIMIT 1")?.exists([])?;
        for ((id, jail), ban) in &state {
            let Some(ban) = ban else { continue };
            if seen.contains(&(id.clone(), jail.clone())) || purged(ban, numbers) {
                continue;
            }
            // The row that lifted it may be among the missing ones; a lift takes the history, too.
            if gaps && history && !in_history(tx, id, jail)? {
                continue;
            }
            tx.execute("INSERT OR IGNORE INTO jails(name) VALUES(?1)", [jail])?;
            tx.execute(
                "INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data)
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                params![id, jail, ban.time, project::bantime_cell(ban.bantime), ban.count, ban.data],
            )?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// Does `bans` know this id in this jail?
fn in_history(tx: &Connection, id: &str, jail: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM bans WHERE jail = ?2 AND ip = ?1 LIMIT 1")?.exists([id, jail])
}

/// May it be missing because it was purged?
fn purged(ban: &Ban, numbers: Numbers) -> bool {
    match ban.bantime {
        BanTime::Permanent => false,
        BanTime::For(span) => ban.time.saturating_add(span.secs().saturating_mul(3)) < numbers.purged,
    }
}

/// Bans from this time on must be in the journal; `None`: any may be missing there.
fn oldest_time(tx: &Connection, numbers: Numbers) -> rusqlite::Result<Option<i64>> {
    let mut select =
        tx.prepare("SELECT max(time) FROM (SELECT time FROM stockade_journal WHERE seq > ?1 ORDER BY seq LIMIT 16)")?;
    let micros: Option<i64> = select.query_row([numbers.theirs_until], |row| row.get(0))?;
    let first: Option<i64> = tx.query_row("SELECT min(seq) FROM stockade_journal", [], |row| row.get(0))?;
    if first == Some(1) && numbers.foreign == 0 {
        return Ok(Some(i64::MIN));
    }
    Ok(micros.map(|micros| Timestamp::from_micros(micros).secs_rounded()))
}

/// What the journal says after the last word of the original, and whether rows are missing in it.
fn state(tx: &Connection, numbers: Numbers) -> rusqlite::Result<(State, bool)> {
    let mut state = State::new();
    let forgets: Vec<(i64, Option<String>, String)> = tx
        .prepare("SELECT after, jail, id FROM stockade_forget WHERE done = 1 ORDER BY after, rowid")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let lifts: Vec<(i64, Option<String>, i64)> = tx
        .prepare("SELECT after, net, time FROM stockade_lifted WHERE applied = 1 ORDER BY after, rowid")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut forgets = forgets.into_iter().peekable();
    let mut lifts = lifts.into_iter().peekable();
    let (mut gaps, mut before) = (false, None);
    let mut select =
        tx.prepare(&format!("SELECT {COLUMNS} FROM stockade_journal WHERE seq > ?1 AND seq <= ?2 ORDER BY seq"))?;
    let mut rows = select.query([numbers.theirs_until, numbers.projected])?;
    loop {
        let row = rows.next()?;
        let raw = match row {
            Some(row) => match RawRow::read(row)? {
                Some(raw) => Some(raw),
                None => {
                    gaps = true;
                    continue;
                }
            },
            None => None,
        };
        if let Some(raw) = &raw {
            gaps |= before.is_some_and(|before| raw.seq != before + 1);
            before = Some(raw.seq);
        }
        let seq = raw.as_ref().map_or(i64::MAX, |raw| raw.seq);
        while let Some((_, jail, id)) = forgets.next_if(|(after, ..)| *after < seq) {
            forget(&mut state, jail, id);
        }
        while let Some((_, net, time)) = lifts.next_if(|(after, ..)| *after < seq) {
            if let Some(lifted) = crate::lift::read(net.as_deref(), time) {
                lift(&mut state, &lifted);
            }
        }
        let Some(raw) = raw else {
            gaps |= before.is_some_and(|before| before < numbers.projected);
            return Ok((state, gaps));
        };
        let key = (raw.id.to_owned(), raw.jail.to_owned());
        match raw.kind {
            DecisionKind::Ban => {
                let data = raw.data.map_or_else(|| data::bare(raw.failures), <[u8]>::to_vec);
                let ban = Ban { time: raw.time.secs_rounded(), bantime: raw.bantime, count: raw.count, data };
                state.insert(key, Some(ban));
            }
            DecisionKind::Prolong => {
                if let Some(Some(ban)) = state.get_mut(&key) {
                    ban.bantime = match raw.end {
                        Timestamp::MAX => BanTime::Permanent,
                        end => BanTime::For(stockade_core::Span::from_secs(end.secs_rounded() - ban.time)),
                    };
                }
            }
            DecisionKind::Lift => {
                state.insert(key, None);
            }
            DecisionKind::Restore | DecisionKind::Unban | DecisionKind::Repeal | DecisionKind::Withhold => {}
        }
    }
}

fn forget(state: &mut State, jail: Option<String>, id: String) {
    match jail {
        Some(jail) => {
            state.insert((id, jail), None);
        }
        None => state.iter_mut().filter(|(key, _)| key.0 == id).for_each(|(_, ban)| *ban = None),
    }
}

/// As [`crate::lift::apply`] does in `bips`.
fn lift(state: &mut State, lifted: &Lifted) {
    let now = lifted.time.secs();
    for ((id, _), ban) in state.iter_mut() {
        let Some(ban) = ban else { continue };
        let stands = match ban.bantime {
            BanTime::Permanent => true,
            BanTime::For(span) => ban.time.saturating_add(span.secs()) > now,
        };
        if stands && ban.time <= now && lifted.covers(&FailureId::parse(id)) {
            ban.bantime = BanTime::For(stockade_core::Span::from_secs((now - ban.time).max(0)));
        }
    }
}
