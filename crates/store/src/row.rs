//! One row of the journal: a decision with its checksum.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Row as SqlRow};
use stockade_core::{
    BanTime, Decision, DecisionKind, FailureId, JailName, Origin, Position, Seq, SourceKey, Span, Timestamp,
};

use crate::data::{self, Evidence};

/// A decision as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was decided.
    pub decision: Decision,
    /// Was it announced (own log, event streams) before the last commit?
    pub announced: bool,
    /// Were its commands given out before the last commit?
    pub issued: bool,
}

/// The columns in the order in which rows are written and read.
pub(crate) const COLUMNS: &str =
    "seq, kind, jail, id, time, bantime, until, count, failures, data, origin, source, place, why, sum";

/// Number of columns without the checksum.
const CELLS: usize = 14;

/// One column's value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Int(n) => ValueRef::Integer(*n),
            Cell::Real(x) => ValueRef::Real(*x),
            Cell::Text(t) => ValueRef::Text(t.as_bytes()),
            Cell::Blob(b) => ValueRef::Blob(b),
        }))
    }
}

impl<'a> From<ValueRef<'a>> for Cell<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(n) => Cell::Int(n),
            ValueRef::Real(x) => Cell::Real(x),
            // Text that is no UTF-8 can only come from damage; as a blob it never equals what was written.
            ValueRef::Text(t) => std::str::from_utf8(t).map_or(Cell::Blob(t), Cell::Text),
            ValueRef::Blob(b) => Cell::Blob(b),
        }
    }
}

impl<'a> Cell<'a> {
    pub(crate) fn int(self) -> Option<i64> {
        match self {
            Cell::Int(n) => Some(n),
            _ => None,
        }
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            Cell::Text(t) => Some(t),
            _ => None,
        }
    }

    /// A number of either kind.
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch fit 53 bits")]
    pub(crate) fn real(self) -> Option<f64> {
        match self {
            Cell::Int(n) => Some(n as f64),
            Cell::Real(x) => Some(x),
            _ => None,
        }
    }

    /// The bytes of a text or blob.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Cell::Text(t) => Some(t.as_bytes()),
            Cell::Blob(b) => Some(b),
            _ => None,
        }
    }
}

/// Checksum over cells; any change of a single word changes it.
///
/// Not against people: it finds what a failing disk or a crash of another
/// program's writes has changed.
pub(crate) fn checksum(cells: &[Cell<'_>]) -> i64 {
    let mut sum = Sum(0x5374_6f63_6b61_6465);
    for cell in cells {
        match cell {
            Cell::Null => sum.word(1),
            Cell::Int(n) => {
                sum.word(2);
                sum.word(n.cast_unsigned());
            }
            Cell::Real(x) => {
                sum.word(3);
                sum.word(x.to_bits());
            }
            Cell::Text(t) => {
                sum.word(4);
                sum.bytes(t.as_bytes());
            }
            Cell::Blob(b) => {
                sum.word(5);
                sum.bytes(b);
            }
        }
    }
    sum.0.cast_signed()
}

/// A running checksum: each step is a bijection of the state for a given word, and of the word for a given state.
struct Sum(u64);

impl Sum {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(last));
    }
}

/// The number that stands for a kind in the journal; never reused for another.
fn kind_code(kind: DecisionKind) -> i64 {
    match kind {
        DecisionKind::Ban => 1,
        DecisionKind::Restore => 2,
        DecisionKind::Prolong => 3,
        DecisionKind::Unban => 4,
        DecisionKind::Lift => 5,
        DecisionKind::Repeal => 6,
        DecisionKind::Withhold => 7,
    }
}

/// The kind of a number.
fn kind_of(code: i64) -> Option<DecisionKind> {
    Some(match code {
        1 => DecisionKind::Ban,
        2 => DecisionKind::Restore,
        3 => DecisionKind::Prolong,
        4 => DecisionKind::Unban,
        5 => DecisionKind::Lift,
        6 => DecisionKind::Repeal,
        7 => DecisionKind::Withhold,
        _ => return None,
    })
}

/// A number as SQLite keeps it; beyond its range (never reached by counting) the largest.
pub(crate) fn sql_int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A bounded count from the file.
pub(crate) fn count(n: i64) -> u32 {
    u32::try_from(n.max(0)).unwrap_or(u32::MAX)
}

/// Writes one row with `insert`, a statement with one parameter for each of
/// [`COLUMNS`]. `source` is the source's id for a decision that a log line made.
pub(crate) fn write(
    insert: &mut CachedStatement<'_>,
    decision: &Decision,
    source: Option<i64>,
    matches_max: usize,
    json: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let id = decision.id.to_string();
    let place_text;
    let (origin, source, place) = match &decision.origin {
        Origin::Log { place, .. } => {
            place_text = place_as_text(place);
            (1, source.map_or(Cell::Null, Cell::Int), place_cell(place, &place_text))
        }
        Origin::Manual => (2, Cell::Null, Cell::Null),
        Origin::Restored => (3, Cell::Null, Cell::Null),
        Origin::Expired => (4, Cell::Null, Cell::Null),
        Origin::Config => (5, Cell::Null, Cell::Null),
        Origin::Peer { node, seq } => (6, Cell::Text(node), Cell::Int(sql_int(*seq))),
        Origin::Aggregate => (7, Cell::Null, Cell::Null),
    };
    let data = if data::is_bare(decision) {
        Cell::Null
    } else {
        data::write(decision, matches_max, json);
        Cell::Blob(json)
    };
    let cells: [Cell<'_>; CELLS] = [
        Cell::Int(sql_int(decision.seq.0)),
        Cell::Int(kind_code(decision.kind)),
        Cell::Text(decision.jail.as_str()),
        Cell::Text(&id),
        Cell::Int(decision.time.micros()),
        match decision.bantime {
            BanTime::Permanent => Cell::Null,
            BanTime::For(span) => Cell::Int(span.micros()),
        },
        if decision.bantime.end(decision.time) == decision.end { Cell::Null } else { Cell::Int(decision.end.micros()) },
        Cell::Int(decision.count.into()),
        Cell::Int(decision.failures.into()),
        data,
        Cell::Int(origin),
        source,
        place,
        if decision.why.is_empty() { Cell::Null } else { Cell::Text(&decision.why) },
    ];
    for (index, cell) in (1..).zip(&cells) {
        insert.raw_bind_parameter(index, cell)?;
    }
    insert.raw_bind_parameter(CELLS + 1, checksum(&cells))?;
    insert.raw_execute()?;
    Ok(())
}

/// A row as it stands in the file, not yet made into a decision.
pub(crate) struct RawRow<'a> {
    pub(crate) seq: i64,
    pub(crate) kind: DecisionKind,
    pub(crate) jail: &'a str,
    pub(crate) id: &'a str,
    pub(crate) time: Timestamp,
    pub(crate) bantime: BanTime,
    pub(crate) end: Timestamp,
    pub(crate) count: u32,
    pub(crate) failures: u32,
    pub(crate) data: Option<&'a [u8]>,
    origin: Option<i64>,
    source: Cell<'a>,
    place: Cell<'a>,
    why: Option<&'a str>,
}

impl<'a> RawRow<'a> {
    /// Reads a row selected as [`COLUMNS`]; `None` if its checksum does not fit.
    pub(crate) fn read(row: &'a SqlRow<'_>) -> rusqlite::Result<Option<Self>> {
        let mut cells = [Cell::Null; CELLS];
        for (index, cell) in cells.iter_mut().enumerate() {
            *cell = row.get_ref(index)?.into();
        }
        if Cell::from(row.get_ref(CELLS)?).int() != Some(checksum(&cells)) {
            return Ok(None);
        }
        Ok(Self::from_cells(&cells))
    }

    /// Are these the columns of a row, with the right checksum at the end?
    pub(crate) fn is_whole(cells: &[Cell<'_>]) -> bool {
        matches!(cells.split_last(), Some((sum, rest)) if rest.len() == CELLS && sum.int() == Some(checksum(rest)))
    }

    fn from_cells(cells: &[Cell<'a>; CELLS]) -> Option<Self> {
        let [seq, kind, jail, id, time, bantime, until, counted, failures, data, origin, source, place, why] = *cells;
        let time = Timestamp::from_micros(time.int()?);
        let bantime = bantime.int().map_or(BanTime::Permanent, |n| BanTime::For(Span::from_micros(n)));
        Some(RawRow {
            seq: seq.int()?,
            kind: kind_of(kind.int()?)?,
            jail: jail.text()?,
            id: id.text()?,
            time,
            bantime,
            end: until.int().map_or_else(|| bantime.end(time), Timestamp::from_micros),
            count: count(counted.int()?),
            failures: count(failures.int()?),
            data: data.bytes(),
            origin: origin.int(),
            source,
            place,
            why: why.text(),
        })
    }

    /// The whole decision. A source that is no longer known gets the path `?`.
    pub(crate) fn decision(&self, sources: &HashMap<i64, SourceKey>) -> Decision {
        let evidence = self.data.map(Evidence::read).unwrap_or_default();
        Decision {
            seq: Seq(self.seq.max(0).cast_unsigned()),
            kind: self.kind,
            jail: JailName::new(self.jail),
            id: FailureId::parse(self.id),
            ip: evidence.ip,
            time: self.time,
            bantime: self.bantime,
            end: self.end,
            count: self.count,
            failures: self.failures,
            matches: evidence.matches.into(),
            groups: evidence.groups.into(),
            origin: self.origin(sources),
            why: self.why.unwrap_or_default().into(),
        }
    }

    fn origin(&self, sources: &HashMap<i64, SourceKey>) -> Origin {
        match self.origin {
            Some(1) => {
                let source = self.source.int().and_then(|id| sources.get(&id));
                let source = source.cloned().unwrap_or_else(|| SourceKey { path: "?".into(), generation: 0 });
                let place = read_place(self.place).unwrap_or(Position::Offset(0));
                Origin::Log { source, place }
            }
            Some(3) => Origin::Restored,
            Some(4) => Origin::Expired,
            Some(5) => Origin::Config,
            Some(6) => Origin::Peer {
                node: Arc::from(self.source.text().unwrap_or("?")),
                seq: self.place.int().unwrap_or(0).max(0).cast_unsigned(),
            },
            Some(7) => Origin::Aggregate,
            _ => Origin::Manual,
        }
    }
}

/// `MICROS CURSOR` for a place in the journal, else empty.
pub(crate) fn place_as_text(place: &Position) -> String {
    match place {
        Position::Offset(_) => String::new(),
        Position::Cursor { cursor, at } => format!("{} {cursor}", at.micros()),
    }
}

/// The column for a place; `text` is [`place_as_text`] of it.
pub(crate) fn place_cell<'a>(place: &Position, text: &'a str) -> Cell<'a> {
    match place {
        Position::Offset(offset) => Cell::Int(sql_int(*offset)),
        Position::Cursor { .. } => Cell::Text(text),
    }
}

/// The place that a column stands for.
pub(crate) fn read_place(cell: Cell<'_>) -> Option<Position> {
    match cell {
        Cell::Int(offset) => Some(Position::Offset(offset.max(0).cast_unsigned())),
        Cell::Text(text) => {
            let (at, cursor) = text.split_once(' ')?;
            Some(Position::Cursor { cursor: cursor.into(), at: Timestamp::from_micros(at.parse().ok()?) })
        }
        _ => None,
    }
}
