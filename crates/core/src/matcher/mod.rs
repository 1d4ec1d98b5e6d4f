//! Lines to failures.
//!
//! A [`FilterSpec`] (plain data) is built to a [`Filter`] (immutable, shared);
//! a [`Matcher`] runs it over the blocks of one jail and keeps what depends on
//! the order of lines: which date template fits this log, the last date, the
//! buffer for `maxlines`, the sessions of `<F-MLFID>`. It asks nobody and
//! knows no clock: `(now, block) -> batch`.
//!
//! Source: fail2ban `server/filter.py`, `failregex.py`, `datedetector.py` and
//! what they use, followed step by step; where we differ the code says
//! `DIVERGENCE`.

mod buckets;
mod buffer;
mod data;
mod date;
mod decode;
mod duration;
mod filter;
mod find;
mod head;
mod known;
mod lines;
mod literals;
mod name;
mod needs;
mod notes;
mod overruns;
mod pattern;
mod scanner;
mod sessions;
mod skip;
mod snapshot;
mod tags;

pub use date::{Calendar, DateTemplate};
pub use decode::{Encoding, LINE_BYTES_MAX};
pub use filter::{DatePattern, Filter, FilterError, FilterSpec, MAXLINES_MAX, UseDns};
pub use lines::{Counters, DateRank, DateSeen, Hit, LineMode, LineReport, Matcher, Seen};
pub(crate) use name::{known_name, known_place};
pub use notes::{Level, NOTES_MAX, Note};
pub use overruns::Overrun;
pub use scanner::{Needles, Scan, Scanner};
pub use skip::FoundLine;
pub use snapshot::{SNAPSHOT_BYTES_MAX, SnapshotError};

#[cfg(test)]
mod tests;
