//! All bans of one id that are kept, whether they are in the original's tables yet or not.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use rusqlite::{Connection, OptionalExtension};
use stockade_core::DecisionKind;

use crate::row::{COLUMNS, Cell, RawRow};
use crate::write::Numbers;

/// One ban of the id.
pub(crate) struct PastBan {
    pub(crate) jail: Box<str>,
    /// Whole seconds.
    time: i64,
    /// As in the column `data` of `bans`.
    pub(crate) data: Box<[u8]>,
}

/// Which rows of the journal wait to be projected, by their ids: the journal's only key is its numbers, and each
/// row is walked over once, not again for every question. 16 bytes a row.
#[derive(Default)]
pub(crate) struct Waiting {
    state: RandomState,
    /// Up to here the journal was walked over.
    upto: i64,
    /// Hash of the id and number of each ban and lift, by number.
    rows: Vec<(u32, i64)>,
}

impl Waiting {
    /// Numbers of the rows that wait and may be of `id`.
    fn of(&mut self, db: &Connection, numbers: Numbers, id: &str) -> rusqlite::Result<Vec<i64>> {
        if numbers.last < self.upto {
            // Another journal.
            (self.upto, self.rows) = (0, Vec::new());
        }
        let done = self.rows.partition_point(|(_, seq)| *seq <= numbers.projected);
        self.rows.drain(..done);
        let mut select =
            db.prepare_cached("SELECT seq, id FROM stockade_journal WHERE seq > ?1 AND kind IN (1, 5) ORDER BY seq")?;
        let mut rows = select.query([self.upto.max(numbers.projected)])?;
        while let Some(row) = rows.next()? {
            let (seq, id) = (row.get(0)?, Cell::from(row.get_ref(1)?));
            self.rows.push((hash(&self.state, id.text().unwrap_or_default()), seq));
            self.upto = seq;
        }
        self.upto = self.upto.max(numbers.last);
        let wanted = hash(&self.state, id);
        Ok(self.rows.iter().filter(|(hash, _)| *hash == wanted).map(|(_, seq)| *seq).collect())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a part of a hash is a hash")]
fn hash(state: &RandomState, id: &str) -> u32 {
    state.hash_one(id) as u32
}

/// Every ban of `id`, of one jail or of all, as `bans` will have them once all is projected, oldest first.
pub(crate) fn bans_of(
    db: &Connection,
    waiting: &mut Waiting,
    id: &str,
    jail: Option<&str>,
) -> rusqlite::Result<Vec<PastBan>> {
    let wanted = |name: &str| jail.is_none_or(|jail| jail == name);
    let numbers = Numbers::load(db)?;
    let mut bans = Vec::new();
    let mut select = db.prepare_cached("SELECT jail, timeofban, data FROM bans WHERE ip = ?1 ORDER BY rowid")?;
    let mut rows = select.query([id])?;
    while let Some(row) = rows.next()? {
        let Some(jail) = Cell::from(row.get_ref(0)?).text().filter(|name| wanted(name)) else { continue };
        let time = Cell::from(row.get_ref(1)?).int().unwrap_or_default();
        bans.push(PastBan { jail: jail.into(), time, data: Cell::from(row.get_ref(2)?).bytes().unwrap_or(b"").into() });
    }
    let mut forgets = db
        .prepare_cached("SELECT after, jail FROM stockade_forget WHERE done = 0 AND id = ?1 ORDER BY after, rowid")?
        .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(i64, Option<String>)>>>()?
        .into_iter()
        .peekable();
    let mut select = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM stockade_journal WHERE seq = ?1 AND id = ?2 AND kind IN (1, 5)"
    ))?;
    let half_done = HalfDone::load(db, numbers)?;
    for seq in waiting.of(db, numbers, id)? {
        let mut rows = select.query((seq, id))?;
        let Some(raw) = rows.next()?.map(RawRow::read).transpose()?.flatten() else { continue };
        if !wanted(raw.jail) || half_done.as_ref().is_some_and(|window| window.has(&raw)) {
            continue;
        }
        while let Some((_, jail)) = forgets.next_if(|(after, _)| *after < raw.seq) {
            forget(&mut bans, jail.as_deref());
        }
        match raw.kind {
            DecisionKind::Ban => bans.push(PastBan {
                jail: raw.jail.into(),
                time: raw.time.secs_rounded(),
                data: raw.ban_data().into_owned().into(),
            }),
            DecisionKind::Lift => forget(&mut bans, Some(raw.jail)),
            _ => {}
        }
    }
    for (_, jail) in forgets {
        forget(&mut bans, jail.as_deref());
    }
    bans.sort_by_key(|ban| ban.time);
    Ok(bans)
}

/// A [window](crate::window) of which a part is in the original's tables.
struct HalfDone {
    end: i64,
    /// Address, jail and number of the last row that was brought over; rows are taken in this order.
    upto: (Box<str>, Box<str>, i64),
}

impl HalfDone {
    fn load(db: &Connection, numbers: Numbers) -> rusqlite::Result<Option<HalfDone>> {
        let upto = db
            .prepare_cached("SELECT id, jail, seq FROM stockade_journal WHERE seq = ?1 AND ?2 > ?3")?
            .query_row([numbers.window_at, numbers.window_end, numbers.projected], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        Ok(upto.map(|upto| HalfDone { end: numbers.window_end, upto }))
    }

    /// Was this row brought over?
    fn has(&self, row: &RawRow<'_>) -> bool {
        let (id, jail, seq) = &self.upto;
        row.seq <= self.end && (row.id, row.jail, row.seq) <= (&**id, &**jail, *seq)
    }
}

/// Drops those of one jail, or all.
fn forget(bans: &mut Vec<PastBan>, jail: Option<&str>) {
    bans.retain(|ban| jail.is_some_and(|jail| *ban.jail != *jail));
}

impl RawRow<'_> {
    /// The column `data` that a ban gets in the original's tables.
    pub(crate) fn ban_data(&self) -> Cow<'_, [u8]> {
        self.data.map_or_else(|| crate::data::bare(self.failures).into(), Cow::Borrowed)
    }
}
