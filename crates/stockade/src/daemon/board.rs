//! What the operator has set up, for everyone who wants to show it.

use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::judge::JailSpec;

use super::actor::Actor;
use super::flow::SourceRun;

/// One jail that runs.
pub(crate) struct JailBoard {
    /// Its options.
    pub(crate) spec: JailSpec,
    /// Its matcher.
    pub(crate) actor: Arc<Actor>,
    /// What it reads.
    pub(crate) sources: Vec<Arc<SourceRun>>,
    /// Does it read anything at all?
    pub(crate) reads: bool,
    /// Does it do anything about a ban at all?
    pub(crate) blocks: bool,
    /// Are its bans in the kernel, by our own hand?
    pub(crate) native: bool,
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
