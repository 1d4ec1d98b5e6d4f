//! The line-order state of a matcher as bytes, to go on after a restart.
//!
//! Form (all numbers little endian): the magic `SDM1`; a length-prefixed part
//! each for last date, sessions, line buffer and date choice; at the end FNV-1a
//! of all before it. Texts are a `u32` length and UTF-8.

use std::borrow::Cow;
use std::fmt;

use super::buffer::Line;
use super::data::{Data, Part};
use super::date::{Choice, Edge, Rank};
use super::lines::Matcher;
use super::name::Name;
use super::sessions::Sessions;
use crate::id::FailureId;
use crate::time::Timestamp;

const MAGIC: &[u8; 4] = b"SDM1";
/// Largest snapshot that is read back or made; what does not fit is left out.
pub const SNAPSHOT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most items of any list in a snapshot.
const ITEMS_MAX: u32 = 100_000;

/// Why a snapshot is not used. The matcher is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// Not a snapshot, or of another version.
    Foreign,
    /// Cut off or changed.
    Damaged,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SnapshotError::Foreign => "not a matcher's snapshot of this version",
            SnapshotError::Damaged => "a damaged matcher's snapshot",
        })
    }
}

impl std::error::Error for SnapshotError {}

impl Matcher {
    /// Sessions, date choice, line buffer and last date, as bytes for [`Matcher::restore`].
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.time(self.last_date);
        out.text(&self.last_text);
        let sessions: Vec<_> = self.sessions.iter().collect();
        out.count(sessions.len());
        for (id, session) in sessions {
            out.text(id);
            out.time(Some(session.until));
            out.data(session.data().unwrap_or(&Data::default()));
        }
        out.count(self.buffer.len());
        for line in &self.buffer {
            out.text(&line.text);
            out.text(&line.full);
        }
        let templates = self.filter().dates.as_ref().map_or(0, super::date::Templates::fingerprint);
        out.number(templates);
        out.choice(&self.choice);
        if out.0.len() + 8 > SNAPSHOT_BYTES_MAX {
            // Hostile lines only; without sessions the worst is a failure less.
            let mut small = Writer(MAGIC.to_vec());
            small.time(self.last_date);
            small.text("");
            small.count(0);
            small.count(0);
            small.number(0);
            small.choice(&Choice::default());
            out = small;
        }
        let sum = checksum(&out.0);
        out.number(sum);
        out.0
    }

    /// Goes on where [`Matcher::snapshot`] was taken. What belongs to other date
    /// templates than those in use is left out.
    ///
    /// # Errors
    /// The bytes are no snapshot; nothing has changed then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if bytes.len() > SNAPSHOT_BYTES_MAX || !bytes.starts_with(MAGIC) {
            return Err(SnapshotError::Foreign);
        }
        let body = bytes.len().checked_sub(8).and_then(|at| bytes.split_at_checked(at));
        let Some((body, sum)) = body else { return Err(SnapshotError::Damaged) };
        if Reader(sum).number() != Some(checksum(body)) {
            return Err(SnapshotError::Damaged);
        }
        let mut read = Reader(body.get(MAGIC.len()..).unwrap_or_default());
        let Some(state) = State::read(&mut read).filter(|_| read.0.is_empty()) else {
            return Err(SnapshotError::Damaged);
        };
        self.last_date = state.last_date;
        self.last_text = state.last_text.into();
        self.sessions = state.sessions;
        let over = state.buffer.len().saturating_sub(self.filter().maxlines);
        self.buffer = state.buffer.into_iter().skip(over).collect();
        let templates = self.filter().dates.as_ref();
        let fits = templates.is_some_and(|t| t.fingerprint() == state.templates && state.choice.fits(t));
        if fits {
            self.choice = state.choice;
        }
        Ok(())
    }
}

/// All that a snapshot holds.
struct State {
    last_date: Option<Timestamp>,
    last_text: Box<str>,
    sessions: Sessions,
    buffer: Vec<Line>,
    templates: u64,
    choice: Choice,
}

impl State {
    fn read(from: &mut Reader<'_>) -> Option<State> {
        let last_date = from.time()?;
        let last_text = from.text()?;
        let mut sessions = Sessions::default();
        for _ in 0..from.count()? {
            let id: Box<str> = from.text()?;
            let until = from.time()??;
            let data = from.data()?;
            sessions.add(&id, data, until);
        }
        let mut buffer = Vec::new();
        for _ in 0..from.count()? {
            buffer.push(Line { text: from.text()?, full: from.text()?, matters: true });
        }
        let templates = from.number()?;
        let choice = from.choice()?;
        Some(State { last_date, last_text, sessions, buffer, templates, choice })
    }
}

/// FNV-1a over 64 bits: finds accidents, not attackers.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn count(&mut self, n: usize) {
        self.0.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn place(&mut self, n: usize) {
        self.number(u64::try_from(n).unwrap_or(u64::MAX));
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn time(&mut self, time: Option<Timestamp>) {
        self.option(time, |w, t| w.0.extend_from_slice(&t.micros().to_le_bytes()));
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.count(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    fn data(&mut self, data: &Data) {
        self.count(data.groups().count());
        for (name, value) in data.groups() {
            self.text(name.text());
            match value {
                Part::Text(text) => {
                    self.0.push(1);
                    self.text(text);
                }
                Part::Tuple(parts) => {
                    self.0.push(2);
                    self.count(parts.len());
                    for part in parts {
                        self.option(part.as_deref(), Self::text);
                    }
                }
            }
        }
        self.texts(data.users());
        self.texts(data.matches.iter().map(|text| &**text));
        self.texts(data.nofail_matches.iter().map(|text| &**text));
        self.flag(data.pending);
        self.option(data.ip.as_ref(), |w, ip| w.text(&ip.to_string()));
    }

    fn edge(&mut self, edge: Edge) {
        self.number(u64::from(edge.at));
        for c in [edge.before, edge.behind] {
            self.option(c, |w, c| w.number(u64::from(u32::from(c))));
        }
    }

    fn choice(&mut self, choice: &Choice) {
        self.count(choice.order.len());
        for rank in &choice.order {
            self.place(rank.template);
            self.number(rank.hits);
            self.time(rank.used);
            self.number(u64::from(rank.distance));
        }
        self.count(choice.matched.len());
        for n in &choice.matched {
            self.number(*n);
        }
        self.option(choice.last, Self::place);
        self.place(choice.first_unused);
        self.edge(choice.edges.0);
        self.edge(choice.edges.1);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn place(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn count(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes).filter(|n| *n <= ITEMS_MAX)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.bytes::<1>()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<Box<str>> {
        let len = usize::try_from(self.bytes().map(u32::from_le_bytes)?).ok()?;
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(head).ok().map(Box::from)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn time(&mut self) -> Option<Option<Timestamp>> {
        self.option(|r| r.bytes().map(|b| Timestamp::from_micros(i64::from_le_bytes(b))))
    }

    fn texts(&mut self) -> Option<Vec<Box<str>>> {
        (0..self.count()?).map(|_| self.text()).collect()
    }

    fn data(&mut self) -> Option<Data> {
        let mut data = Data::default();
        for _ in 0..self.count()? {
            let name = Name::of(&self.text()?);
            match self.bytes::<1>()? {
                [1] => data.set(&name, &Part::Text(&self.text()?)),
                [2] => {
                    let parts = (0..self.count()?).map(|_| self.option(Self::text));
                    let owned = |part: Option<Box<str>>| part.map(|text| Cow::Owned(text.into_string()));
                    data.set(&name, &Part::Tuple(parts.map(|part| part.map(owned)).collect::<Option<_>>()?));
                }
                _ => return None,
            }
        }
        for user in self.texts()? {
            data.add_user(Some(Cow::Borrowed(&*user)));
        }
        data.matches = self.texts()?;
        data.nofail_matches = self.texts()?;
        data.pending = self.flag()?;
        data.ip = self.option(Self::text)?.map(|text| FailureId::parse(&text));
        Some(data)
    }

    fn edge(&mut self) -> Option<Edge> {
        let at = self.small()?;
        let mut character = || self.option(|r| r.small().and_then(char::from_u32));
        Some(Edge { at, before: character()?, behind: character()? })
    }

    fn choice(&mut self) -> Option<Choice> {
        let mut choice = Choice::default();
        for _ in 0..self.count()? {
            let (template, hits, used) = (self.place()?, self.number()?, self.time()?);
            choice.order.push(Rank { template, hits, used, distance: self.small()? });
        }
        choice.matched = (0..self.count()?).map(|_| self.number()).collect::<Option<_>>()?;
        choice.last = self.option(Self::place)?;
        choice.first_unused = self.place()?;
        choice.edges = (self.edge()?, self.edge()?);
        Some(choice)
    }
}
