//! What a start finds in the database.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use rusqlite::Connection;
use stockade_core::{FailureId, JailName, Seq, SourceKey, Timestamp, Watermark};

use crate::lift::Lifted;
use crate::marks::{Allow, FirstLine, Snapshot};
use crate::project;
use crate::row::{COLUMNS, Cell, RawRow, Row, checksum, read_place};
use crate::sources;
use crate::write::Numbers;

/// Most rows of [`Recovery::open_rows`]; older ones count as announced and issued.
const OPEN_ROWS_MAX: i64 = 100_000;

/// Everything that a start needs except the bans themselves, which
/// [`crate::Store::each_ban`] streams.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The number for the next decision.
    pub next: Seq,
    /// Where each jail goes on reading; where the original has read further
    /// meanwhile, [`Recovery::positions`] has the place instead.
    pub watermarks: Vec<Watermark>,
    /// Places that the original noted and that are not ours: taken over, or from the time it ran in between.
    pub positions: Vec<TheirPosition>,
    /// First lines of the current file of each path.
    pub firstlines: Vec<FirstLine>,
    /// Opaque states, by name.
    pub snapshots: Vec<Snapshot>,
    /// The operator's allow list; `since` is always set.
    pub allowed: Vec<Allow>,
    /// Decisions that were not yet announced, or whose commands were not yet given out, oldest first.
    pub open_rows: Vec<Row>,
    /// Lifts made while no daemon ran; their bans are not handed out.
    pub lifted: Vec<Lifted>,
    /// Did the original write into the file since we closed it (or is it its own file)?
    pub foreign: bool,
    /// Number of journal rows that were not in the original's tables; they count all the same.
    pub pending: u64,
    /// What the operator should be told.
    pub notes: Vec<Note>,
    /// Our own places that the original's replace: jail, number of the source.
    pub(crate) superseded: Vec<(String, i64)>,
}

/// A place in a log that fail2ban noted.
#[derive(Clone, Debug, PartialEq)]
pub struct TheirPosition {
    /// Whose.
    pub jail: JailName,
    /// The file, or `systemd-journal`.
    pub path: Box<str>,
    /// Hash of the first line (SHA-1, or MD5 of old versions, hexadecimal); may be empty.
    pub firstline: Box<str>,
    /// Byte offset of the next unread line; for the journal the time of the last entry in seconds.
    pub position: f64,
}

/// Something about the database that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// There was no database; a new one was made.
    Created,
    /// The database is fail2ban's own; its bans and positions are taken over.
    TakenOver,
    /// fail2ban has written into our database since it was closed.
    Foreign,
    /// An old version was brought up to date.
    Upgraded {
        /// The version that it had.
        from: i64,
        /// A copy from before.
        backup: PathBuf,
    },
    /// The file was damaged; it was set aside and a new one made from what could be read.
    Damaged {
        /// What was wrong with it.
        what: Box<str>,
        /// Where the damaged file is now.
        set_aside: PathBuf,
        /// Rows of all tables that could be read.
        rescued: u64,
    },
    /// Single rows were damaged; each was corrected from another copy or left out.
    DamagedRows {
        /// How many.
        rows: u64,
    },
    /// The file can't be written: decisions are kept in memory until it can be.
    Unwritable {
        /// Why.
        why: Box<str>,
    },
    /// The file can't even be read: bans made before are not known.
    Unreadable {
        /// Why.
        why: Box<str>,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Created => write!(f, "new database made"),
            Note::TakenOver => write!(f, "bans and positions of fail2ban taken over from its database"),
            Note::Foreign => {
                write!(f, "fail2ban has used the database meanwhile: its bans, unbans and positions count")
            }
            Note::Upgraded { from, backup } => {
                write!(f, "database brought from version {from} to 4, old one kept as {}", backup.display())
            }
            Note::Damaged { what, set_aside, rescued } => write!(
                f,
                "database was damaged ({what}): set aside as {}, {rescued} rows rescued into a new one",
                set_aside.display()
            ),
            Note::DamagedRows { rows } => write!(f, "{rows} damaged rows in the database corrected or left out"),
            Note::Unwritable { why } => write!(f, "bans are not saved, only kept in memory: {why}"),
            Note::Unreadable { why } => write!(f, "earlier bans are not known: {why}"),
        }
    }
}

impl Recovery {
    /// Reads everything. Damage in our own tables shows as an error, so that
    /// the file is set aside; rows that do not make sense are left out.
    pub(crate) fn read(db: &Connection, numbers: Numbers) -> rusqlite::Result<Recovery> {
        let mut recovery = Recovery {
            next: Seq(numbers.last.cast_unsigned() + 1),
            pending: (numbers.last - numbers.projected).max(0).cast_unsigned(),
            ..Recovery::default()
        };
        let sources = sources::all(db)?;
        recovery.read_places(db, &sources)?;
        recovery.read_firstlines(db, &sources)?;
        recovery.read_snapshots(db)?;
        recovery.read_allowed(db)?;
        recovery.read_open_rows(db, numbers, &sources)?;
        Ok(recovery)
    }

    /// Compares each `logs` row with what we would have written there.
    fn read_places(&mut self, db: &Connection, sources: &HashMap<i64, SourceKey>) -> rusqlite::Result<()> {
        let mut ours: HashMap<(String, String), usize> = HashMap::new();
        let mut select = db.prepare(
            "SELECT w.jail, w.source, w.place, s.firstline, s.current FROM stockade_watermark w
                 LEFT JOIN stockade_source s ON s.id = w.source",
        )?;
        let mut rows = select.query([])?;
        let (mut expected, mut numbers) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let jail: String = row.get(0)?;
            let number: i64 = row.get(1)?;
            let source = sources.get(&number);
            let (Some(source), Some(to)) = (source, read_place(row.get_ref(2)?.into())) else { continue };
            let firstline: Option<String> = row.get(3)?;
            let current = row.get::<_, Option<i64>>(4)? == Some(1) || to_is_cursor(&to);
            if current && let Some(theirs) = project::theirs(&source.path, firstline.as_deref(), &to) {
                ours.insert((jail.clone(), theirs.0.to_owned()), self.watermarks.len());
                expected.push((self.watermarks.len(), theirs.1, theirs.2));
            }
            self.watermarks.push(Watermark { jail: JailName::new(&jail), source: source.clone(), to });
            numbers.push((jail, number));
        }
        let mut select = db.prepare("SELECT jail, path, firstlinemd5, lastfilepos FROM logs WHERE path IS NOT NULL")?;
        let mut rows = select.query([])?;
        let mut replaced = Vec::new();
        while let Some(row) = rows.next()? {
            let (jail, path): (String, String) = (row.get(0)?, row.get(1)?);
            let firstline: String = row.get::<_, Option<String>>(2)?.unwrap_or_default();
            let position = Cell::from(row.get_ref(3)?);
            let index = ours.get(&(jail.clone(), path.clone()));
            let same = expected
                .iter()
                .any(|(at, hash, place)| Some(at) == index && *hash == firstline && place.real() == position.real());
            if same {
                continue;
            }
            replaced.extend(index.copied());
            self.superseded.extend(index.and_then(|at| numbers.get(*at)).cloned());
            self.positions.push(TheirPosition {
                jail: JailName::new(&jail),
                path: path.into(),
                firstline: firstline.into(),
                position: position.real().unwrap_or(0.0),
            });
        }
        let mut index = 0;
        self.watermarks.retain(|_| {
            index += 1;
            !replaced.contains(&(index - 1))
        });
        Ok(())
    }

    fn read_firstlines(&mut self, db: &Connection, sources: &HashMap<i64, SourceKey>) -> rusqlite::Result<()> {
        let mut select =
            db.prepare("SELECT id, firstline FROM stockade_source WHERE current = 1 AND firstline IS NOT NULL")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let hash: String = row.get(1)?;
            if let Some(source) = sources.get(&row.get(0)?) {
                self.firstlines.push(FirstLine { source: source.clone(), hash: hash.into() });
            }
        }
        Ok(())
    }

    fn read_snapshots(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut select = db.prepare(
            "SELECT s.name, s.data, s.sum FROM stockade_snapshot s
                 JOIN stockade_snapshot_valid v ON v.name = s.name AND v.version = s.version ORDER BY s.name, s.part",
        )?;
        let mut rows = select.query([])?;
        let mut current: Option<(String, Vec<u8>)> = None;
        let mut damaged = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let part = row.get_ref(1)?.as_bytes().unwrap_or_default();
            if Cell::from(row.get_ref(2)?).int() != Some(checksum(&[Cell::Blob(part)])) {
                damaged.push(name.clone());
            }
            match &mut current {
                Some((at, data)) if *at == name => data.extend_from_slice(part),
                _ => self.snapshots.extend(current.replace((name, part.to_vec())).map(snapshot)),
            }
        }
        self.snapshots.extend(current.map(snapshot));
        self.snapshots.retain(|snapshot| !damaged.iter().any(|name| **name == *snapshot.name));
        Ok(())
    }

    fn read_allowed(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut select = db.prepare("SELECT jail, id, time FROM stockade_allow ORDER BY jail, id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (jail, id): (String, String) = (row.get(0)?, row.get(1)?);
            self.allowed.push(Allow {
                jail: (!jail.is_empty()).then(|| JailName::new(&jail)),
                id: FailureId::parse(&id),
                since: Some(Timestamp::from_micros(row.get(2)?)),
            });
        }
        Ok(())
    }

    fn read_open_rows(
        &mut self,
        db: &Connection,
        numbers: Numbers,
        sources: &HashMap<i64, SourceKey>,
    ) -> rusqlite::Result<()> {
        let from = numbers.announced.min(numbers.issued).max(numbers.last.saturating_sub(OPEN_ROWS_MAX));
        let mut select = db.prepare(&format!("SELECT {COLUMNS} FROM stockade_journal WHERE seq > ?1 ORDER BY seq"))?;
        let mut rows = select.query([from])?;
        while let Some(row) = rows.next()? {
            let Some(raw) = RawRow::read(row)? else { continue };
            self.open_rows.push(Row {
                announced: raw.seq <= numbers.announced,
                issued: raw.seq <= numbers.issued,
                decision: raw.decision(sources),
            });
        }
        Ok(())
    }
}

/// Is it a place in the systemd journal?
fn to_is_cursor(place: &stockade_core::Position) -> bool {
    matches!(place, stockade_core::Position::Cursor { .. })
}

fn snapshot((name, data): (String, Vec<u8>)) -> Snapshot {
    Snapshot { name: name.into(), data: data.into() }
}
