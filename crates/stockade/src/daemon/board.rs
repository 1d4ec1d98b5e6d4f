//! What the operator has set up, for everyone who wants to show it.

use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::judge::JailSpec;
use stockade_core::matcher::Filter;
use stockade_enforce::stock::StockAction;

use super::actor::Actor;
use super::flow::SourceRun;
use super::ignore_files::IgnoreFiles;
use crate::settings::Settings;

/// One jail that runs.
pub(crate) struct JailBoard {
    /// Its options.
    pub(crate) spec: JailSpec,
    /// What it looks for.
    pub(crate) filter: Arc<Filter>,
    /// Its matcher.
    pub(crate) actor: Arc<Actor>,
    /// What it reads.
    pub(crate) sources: Vec<Arc<SourceRun>>,
    /// Does it read anything at all?
    pub(crate) reads: bool,
    /// Does it do anything about a ban at all?
    pub(crate) blocks: bool,
    /// Are its bans in our own table?
    pub(crate) table: bool,
    /// Its stock firewall actions, carried out without a shell.
    pub(crate) stock: Vec<StockAction>,
}

/// One configuration, as it is in force.
#[derive(Default)]
pub(crate) struct Posted {
    /// In their order.
    pub(crate) jails: Vec<JailBoard>,
    /// Jails that are off, with the reason.
    pub(crate) off: Vec<(String, String)>,
    /// When the tree was read.
    pub(crate) loaded: stockade_core::Timestamp,
    /// Filters of jails that were never told to start.
    pub(crate) waiting: Vec<(String, Arc<Filter>)>,
    /// Everything that commands have set.
    pub(crate) settings: Arc<Settings>,
    /// What the files of `ignoreip = file:PATH` name.
    pub(crate) ignore_files: IgnoreFiles,
}

impl JailBoard {
    /// Are its bans in the kernel, by our own hand?
    pub(crate) fn is_native(&self) -> bool {
        self.table || !self.stock.is_empty()
    }
}

impl Posted {
    /// The jail of that name, if it runs.
    pub(crate) fn running(&self, name: &str) -> Option<&JailBoard> {
        self.jails.iter().find(|jail| jail.spec.name.as_str() == name)
    }

    /// What the jail of that name looks for; `None` while it is off.
    pub(crate) fn filter(&self, name: &str) -> Option<&Filter> {
        let off = self.off.iter().any(|(off, _)| off == name);
        let running = self.running(name).filter(|_| !off).map(|jail| &jail.filter);
        let waiting = || self.waiting.iter().find(|(waiting, _)| waiting == name).map(|(_, filter)| filter);
        running.or_else(waiting).map(Arc::as_ref)
    }
}

/// Where the present configuration is posted. Readers keep what they took.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Arc<Posted>>>);

impl Board {
    /// Replaces what is posted.
    pub(crate) fn post(&self, posted: Posted) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(posted);
    }

    /// What is posted now.
    pub(crate) fn read(&self) -> Arc<Posted> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
