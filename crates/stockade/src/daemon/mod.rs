//! The daemon: who runs beside whom, and the order of start and stop.

pub(crate) mod actions;
pub(crate) mod actor;
mod apart;
mod arrow;
mod asker;
pub(crate) mod blacklists;
pub(crate) mod board;
mod boot;
mod door;
pub(crate) mod flow;
mod guard;
pub(crate) mod ignore_files;
mod inbox;
pub(crate) mod judge;
pub(crate) mod kernel;
mod launch;
mod notify;
pub(crate) mod operator;
mod poison;
mod pool;
mod rest;
mod restore;
pub(crate) mod room;
mod server_options;
mod snapshot;
pub(crate) mod stage;
pub(crate) mod store;
mod watch;

use std::time::{SystemTime, UNIX_EPOCH};

use stockade_core::Timestamp;
use stockade_core::judge::LogLine;

use crate::log::Level;

pub(crate) use launch::{Ended, Launch, launch};
pub(crate) use stage::journal_options;

/// The present.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A line of the judge as the log takes it.
fn say(line: &LogLine, zone: &jiff::tz::TimeZone) -> (Level, &'static str, String) {
    use stockade_core::judge::Level as From;
    let level = match line.level {
        From::Debug => Level::Debug,
        From::Msg => Level::Msg,
        From::Info => Level::Info,
        From::Notice => Level::Notice,
        From::Warning => Level::Warning,
        From::Error => Level::Error,
    };
    (level, line.logger.name(), line.message(zone))
}

/// A matcher's level as the log has it.
fn level(level: stockade_core::matcher::Level) -> Level {
    match level {
        stockade_core::matcher::Level::Error => Level::Error,
        stockade_core::matcher::Level::Warning => Level::Warning,
    }
}

/// A source's level as the log has it.
fn source_level(level: stockade_source::Level) -> Level {
    match level {
        stockade_source::Level::Debug => Level::Debug,
        stockade_source::Level::Msg => Level::Msg,
        stockade_source::Level::Info => Level::Info,
        stockade_source::Level::Warning => Level::Warning,
        stockade_source::Level::Error => Level::Error,
    }
}

/// A number that nobody can guess, for hash tables and dice.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
