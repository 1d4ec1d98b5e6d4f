//! The bans that a start takes up again, streamed.

use std::collections::HashMap;

use rusqlite::Connection;
use stockade_core::{BanTime, DecisionKind, FailureId, JailName, Timestamp};

use crate::data::Evidence;
use crate::lift::Lifted;
use crate::row::{COLUMNS, Cell, RawRow, count};
use crate::write::Numbers;

/// The last ban of one id in one jail, living or not.
#[derive(Debug)]
pub struct StoredBan<'a> {
    /// In which jail.
    pub jail: JailName,
    /// Who.
    pub id: FailureId,
    /// When it began; whole seconds if it comes from the original's tables.
    pub time: Timestamp,
    /// How long it lasts; `None` if not known (databases of old versions say -2):
    /// the jail's own ban time is meant.
    pub bantime: Option<BanTime>,
    /// How often this id was banned in this jail, this ban included.
    pub count: u32,
    /// Was it lifted while no daemon ran? Then it is history only.
    pub lifted: bool,
    pub(crate) data: &'a [u8],
}

impl StoredBan<'_> {
    /// The stored end; `None` if the ban time is not known. [`Timestamp::MAX`] if it has none.
    pub fn end(&self) -> Option<Timestamp> {
        self.bantime.map(|bantime| bantime.end(self.time))
    }

    /// May it still stand at `now`, as far as stored? (The jail's options may shorten it.)
    ///
    /// Source: fail2ban restores rows with `timeofban + bantime > now or bantime <= -1`.
    pub fn stands(&self, now: Timestamp) -> bool {
        !self.lifted && self.end().is_none_or(|end| end > now)
    }

    /// Failures, matches and groups; parsed at each call.
    pub fn evidence(&self) -> Evidence {
        Evidence::read(self.data)
    }

    /// Failures and address without matches and groups, in a tenth of the time.
    pub fn brief(&self) -> Evidence {
        Evidence::read_brief(self.data)
    }
}

/// What the journal says about one (jail, id) beyond what is in `bips`.
#[derive(Clone, Copy)]
enum Pending {
    /// The row of this number is its last ban, with this end if it was moved.
    Ban { seq: i64, time: Timestamp, moved: Option<Timestamp> },
    /// Its ban in `bips` ends then.
    Moved(Timestamp),
    /// Nothing is known of it any more.
    Gone,
}

/// Journal rows not yet in the original's tables.
#[derive(Default)]
struct Overlay {
    pending: HashMap<(JailName, Box<str>), Pending>,
    /// Ids forgotten in all jails, and behind which row.
    forgotten: HashMap<Box<str>, i64>,
    /// Up to this row, what stands in `bips` wins if it is newer.
    theirs_until: i64,
}

/// Hands every stored ban to `each`, one per (jail, id), in the file's order.
pub(crate) fn each(
    db: &Connection,
    numbers: Numbers,
    lifted: &[Lifted],
    each: &mut dyn FnMut(StoredBan<'_>),
) -> rusqlite::Result<u64> {
    let mut names = Names::default();
    let mut overlay = Overlay::read(db, numbers, &mut names)?;
    let mut given = 0;
    let mut select = db.prepare("SELECT jail, ip, timeofban, bantime, bancount, data FROM bips")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (Cell::Text(jail), Cell::Text(id)) = (Cell::from(row.get_ref(0)?), Cell::from(row.get_ref(1)?)) else {
            continue;
        };
        let Some(time) = Cell::from(row.get_ref(2)?).real().map(Timestamp::from_secs_f64) else { continue };
        let jail = names.get(jail);
        let stored = stored_bantime(row.get_ref(3)?.into());
        if id.is_empty() {
            continue;
        }
        let Some(bantime) = overlay.after(&jail, id, time, stored) else { continue };
        let id = FailureId::parse(id);
        each(StoredBan {
            lifted: is_lifted(lifted, &id, time),
            jail,
            id,
            time,
            bantime,
            count: Cell::from(row.get_ref(4)?).int().map_or(1, count),
            data: Cell::from(row.get_ref(5)?).bytes().unwrap_or_default(),
        });
        given += 1;
    }
    drop(rows);
    if !overlay.pending.is_empty() {
        given += overlay.bans(db, numbers, lifted, &mut names, each)?;
    }
    Ok(given)
}

impl Overlay {
    fn read(db: &Connection, numbers: Numbers, names: &mut Names) -> rusqlite::Result<Overlay> {
        let mut overlay = Overlay { theirs_until: numbers.theirs_until, ..Overlay::default() };
        let mut forgets = db
            .prepare("SELECT after, jail, id FROM stockade_forget WHERE done = 0 ORDER BY after, rowid")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<(i64, Option<String>, String)>>>()?
            .into_iter()
            .peekable();
        let mut select = db.prepare(&format!("SELECT {COLUMNS} FROM stockade_journal WHERE seq > ?1 ORDER BY seq"))?;
        let mut rows = select.query([numbers.projected])?;
        while let Some(row) = rows.next()? {
            let Some(raw) = RawRow::read(row)? else { continue };
            while let Some((after, jail, id)) = forgets.next_if(|(after, ..)| *after < raw.seq) {
                overlay.forget(after, jail, id, names);
            }
            let key = (names.get(raw.jail), Box::from(raw.id));
            match raw.kind {
                DecisionKind::Ban => {
                    overlay.pending.insert(key, Pending::Ban { seq: raw.seq, time: raw.time, moved: None });
                }
                DecisionKind::Prolong => {
                    let entry = overlay.pending.entry(key).or_insert(Pending::Moved(raw.end));
                    match entry {
                        Pending::Ban { moved, .. } => *moved = Some(raw.end),
                        Pending::Moved(end) => *end = raw.end,
                        Pending::Gone => {}
                    }
                }
                DecisionKind::Lift => {
                    overlay.pending.insert(key, Pending::Gone);
                }
                DecisionKind::Restore | DecisionKind::Unban | DecisionKind::Repeal | DecisionKind::Withhold => {}
            }
        }
        for (after, jail, id) in forgets {
            overlay.forget(after, jail, id, names);
        }
        Ok(overlay)
    }

    fn forget(&mut self, after: i64, jail: Option<String>, id: String, names: &mut Names) {
        match jail {
            Some(jail) => {
                self.pending.insert((names.get(&jail), id.into()), Pending::Gone);
            }
            None => {
                self.forgotten.insert(id.into(), after);
            }
        }
    }

    /// The ban time of a row of `bips`, if the row still counts.
    fn after(
        &mut self,
        jail: &JailName,
        id: &str,
        time: Timestamp,
        stored: Option<BanTime>,
    ) -> Option<Option<BanTime>> {
        if self.pending.is_empty() && self.forgotten.is_empty() {
            return Some(stored);
        }
        if self.forgotten.contains_key(id) {
            return None;
        }
        let key = (jail.clone(), Box::from(id));
        match self.pending.get(&key) {
            None => Some(stored),
            Some(Pending::Moved(end)) => Some(Some(ban_to(time, *end))),
            Some(Pending::Gone) => None,
            Some(Pending::Ban { seq, time: ours, .. }) => {
                let theirs_wins = *seq <= self.theirs_until && time > *ours;
                if theirs_wins {
                    self.pending.remove(&key);
                    return Some(stored);
                }
                None
            }
        }
    }

    /// Hands out the bans that only the journal has.
    fn bans(
        &self,
        db: &Connection,
        numbers: Numbers,
        lifted: &[Lifted],
        names: &mut Names,
        each: &mut dyn FnMut(StoredBan<'_>),
    ) -> rusqlite::Result<u64> {
        let mut given = 0;
        let mut select =
            db.prepare(&format!("SELECT {COLUMNS} FROM stockade_journal WHERE seq > ?1 AND kind = 1 ORDER BY seq"))?;
        let mut rows = select.query([numbers.projected])?;
        while let Some(row) = rows.next()? {
            let Some(raw) = RawRow::read(row)? else { continue };
            let jail = names.get(raw.jail);
            let forgotten = self.forgotten.get(raw.id).is_some_and(|after| raw.seq <= *after);
            let moved = match self.pending.get(&(jail.clone(), Box::from(raw.id))) {
                Some(Pending::Ban { seq, moved, .. }) if *seq == raw.seq && !forgotten => *moved,
                _ => continue,
            };
            let data = &*raw.ban_data();
            let id = FailureId::parse(raw.id);
            each(StoredBan {
                lifted: is_lifted(lifted, &id, raw.time),
                jail,
                id,
                time: raw.time,
                bantime: Some(moved.map_or(raw.bantime, |end| ban_to(raw.time, end))),
                count: raw.count,
                data,
            });
            given += 1;
        }
        Ok(given)
    }
}

/// The ban time of a ban from `time` to `end`.
fn ban_to(time: Timestamp, end: Timestamp) -> BanTime {
    if end == Timestamp::MAX { BanTime::Permanent } else { BanTime::For(end - time) }
}

/// The column `bantime`: -2 is not known, other negative numbers are permanent.
pub(crate) fn stored_bantime(cell: Cell<'_>) -> Option<BanTime> {
    match cell.real() {
        None => None,
        Some(-2.0) => None,
        Some(secs) => Some(BanTime::from_secs_f64(secs)),
    }
}

/// Was a ban of `id` from `time` lifted while no daemon ran?
fn is_lifted(lifted: &[Lifted], id: &FailureId, time: Timestamp) -> bool {
    lifted.iter().any(|lift| time <= lift.time && lift.covers(id))
}

/// Jail names already seen, so that each is made once.
#[derive(Default)]
struct Names {
    names: HashMap<Box<str>, JailName>,
    last: Option<JailName>,
}

impl Names {
    fn get(&mut self, name: &str) -> JailName {
        if let Some(last) = &self.last
            && last.as_str() == name
        {
            return last.clone();
        }
        let jail = self.names.entry(name.into()).or_insert_with(|| JailName::new(name)).clone();
        self.last = Some(jail.clone());
        jail
    }
}
