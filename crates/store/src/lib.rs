//! Decisions, bans, history and places in logs through stops and crashes.
//!
//! One SQLite file, which is also a valid fail2ban database (schema 4): one row
//! per decision is appended to `stockade_journal`, durable when
//! [`Store::commit`] returns; the original's tables are a projection of it,
//! brought up in the same transaction while little waits, else by
//! [`Store::catch_up`]. Where the original has changed its tables between two
//! runs of ours, its word counts. While the disk fails, [`Store::degraded`]
//! says so and decisions wait in memory.
//!
//! Nothing in here decides anything: whether a stored ban is taken up again is
//! the judge's affair.
#![forbid(unsafe_code)]

mod audit;
mod bans;
mod damage;
mod data;
mod error;
mod export;
mod file;
mod import;
mod lift;
mod marks;
mod options;
mod past;
mod project;
mod purge;
mod reader;
mod recovery;
mod row;
mod salvage;
mod schema;
mod slice;
mod sources;
mod store;
mod unsaved;
mod window;
mod write;

pub use bans::StoredBan;
pub use data::Evidence;
pub use error::Error;
pub use export::export;
pub use import::{Imported, import};
pub use lift::{Lifted, Marked, mark_lifted};
pub use marks::{Allow, FirstLine, Forget, Marks, Snapshot};
pub use options::{Options, Trace};
pub use reader::Reader;
pub use recovery::{Note, Recovery, TheirPosition};
pub use row::Row;
pub use store::{Degraded, Store, Waiting};
