//! Reads a configuration tree into the command stream.
//!
//! The entry is [`load`]: any fail2ban tree, our embedded one, or a folder laid
//! over it becomes the ordered commands that `fail2ban-client -d` prints, our
//! own options as further commands among them, and everything that is wrong
//! with file, line and column. Nothing is written and nothing is run.
//!
//! The stages, each a module of its own: bounded reading of files, one INI
//! file, files merged into a resource, `%(..)s`, calls with arguments, `<tag>`,
//! and the readers for the daemon, jails, filters and actions.
#![forbid(unsafe_code)]

mod action;
mod budget;
mod call;
mod check;
mod context;
mod daemon;
mod definition;
mod diagnostic;
pub mod duration;
mod embedded;
mod filter;
mod glob;
mod ignoreip;
mod ini;
mod interpolate;
mod jail;
mod lint;
mod load;
pub mod options;
mod ordered;
mod origin;
mod own;
mod recipe;
mod resource;
mod sections;
mod shell;
mod single;
mod success;
mod tags;
mod text;
mod tree;
mod values;

pub use call::option_list;
pub use check::CompileCheck;
pub use context::{FilterCheck, FilterFault, FilterTexts, MissingLogs};
pub use daemon::{DaemonOptions, Overrides};
pub use diagnostic::{Diagnostic, Severity};
pub use embedded::embedded_files;
pub use ignoreip::is_ignorable;
pub use load::{LoadOptions, Loaded, VERSION, load, load_daemon_options};
pub use origin::OriginRow;
pub use own::{Profile, is_own};
pub use single::{load_filter, load_jail, parse_call, unknown_jail};
pub use text::shell_words;
pub use tree::{MAX_FILE, MAX_TOTAL, TreeSource, journal_is_there};
