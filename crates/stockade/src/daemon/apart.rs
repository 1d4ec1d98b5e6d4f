//! A jail that fell behind its log's other readers, and reads it for itself.
//!
//! Its own reader begins where the shared one stood, goes as fast as the jail
//! does, and ends where it meets the shared one: there the jail joins again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stockade_core::matcher::Scanner;
use stockade_source::FileReader;

use super::actor::{Actor, Reads};
use super::flow::{Came, SourceRun, Turns};
use super::pool::Pool;
use crate::log::Log;

/// One jail's own way through a log.
pub(crate) struct Apart {
    actor: Arc<Actor>,
    shared: Weak<SourceRun>,
    own: Mutex<Own>,
    turns: Turns,
    /// Bytes up to the shared reader.
    behind: AtomicU64,
    /// As the shared reader's lines were judged when the jail left.
    in_operation: bool,
    pool: Pool,
    log: Log,
}

struct Own {
    reader: FileReader,
    scanner: Scanner,
}

impl Apart {
    /// The jail goes on with this reader.
    pub(crate) fn new(
        actor: &Arc<Actor>,
        shared: &Arc<SourceRun>,
        reader: FileReader,
        in_operation: bool,
        pool: Pool,
        log: Log,
    ) -> Arc<Apart> {
        let scanner = Scanner::new(vec![actor.filter()]);
        Arc::new(Apart {
            actor: Arc::clone(actor),
            shared: Arc::downgrade(shared),
            own: Mutex::new(Own { reader, scanner }),
            turns: Turns::default(),
            behind: AtomicU64::new(0),
            in_operation,
            pool,
            log,
        })
    }

    /// Whose way it is.
    pub(crate) fn actor(&self) -> &Arc<Actor> {
        &self.actor
    }

    /// Bytes up to the shared reader, as last seen.
    pub(crate) fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// Reads no more; a job under way ends first.
    pub(crate) fn close(&self) {
        self.turns.close();
        drop(self.own.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn submit(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.pool.submit(Box::new(move || this.turn()));
    }

    /// One read job.
    fn turn(self: Arc<Self>) {
        let came = if self.turns.is_closed() { Came::Nothing } else { self.read_block() };
        if self.turns.go_on(came == Came::Block) {
            self.submit();
        }
    }

    fn read_block(self: &Arc<Self>) -> Came {
        let Some(shared) = self.shared.upgrade() else { return Came::Nothing };
        if !self.actor.has_room(|| {
            let this: Weak<Apart> = Arc::downgrade(self);
            this
        }) {
            return Came::NoRoom;
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((generation, offset)) = shared.place() else { return Came::Nothing };
        own.reader.set_limit(Some((generation, offset)));
        let read = own.reader.read();
        let notes = own.reader.take_notes();
        drop(notes); // The shared reader has told of it already.
        match read {
            Ok(Some(mut block)) => {
                block.in_operation = self.in_operation;
                if own.reader.is_late(&block) {
                    super::flow::mark_late(&mut block);
                }
                if !own.scanner.is_for(std::iter::once(&self.actor.filter())) {
                    own.scanner = Scanner::new(vec![self.actor.filter()]);
                }
                let left = if own.reader.generation() == generation {
                    offset.saturating_sub(own.reader.offset())
                } else {
                    own.reader.lag_bytes().saturating_add(offset)
                };
                self.behind.store(left, Ordering::Relaxed);
                let scan = own.scanner.scan(super::now(), &block);
                drop(own);
                self.actor.block(Arc::new(block), Arc::new(scan));
                Came::Block
            }
            Ok(None) => {
                let here = (own.reader.generation(), own.reader.offset());
                if shared.join_again(self, here) { Came::Nothing } else { Came::NoRoom }
            }
            Err(e) => {
                self.log.warning(format!("{}, read apart for jail '{}': {e}", shared.name, self.actor.jail()));
                Came::Nothing
            }
        }
    }
}

impl Reads for Apart {
    fn kick(self: Arc<Self>) {
        if self.turns.begin() {
            self.submit();
        }
    }
}
