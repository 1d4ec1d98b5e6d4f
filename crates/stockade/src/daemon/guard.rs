//! The self-lockout guard: who must not be banned, as the machine stands now.
//!
//! Asked right before failures are handed to the judge, so that a login of just
//! now counts and a quiet machine is never asked at all. A look takes a fraction
//! of a millisecond; looks take at most a twentieth of the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use stockade_core::judge::{Event, ProtectedAs, Protection, ServerSpec};
use stockade_core::{Net, Span};
use stockade_enforce::guard::{Guard, Reason};

use super::judge::{JudgeControl, JudgeInbox};

/// The list is used for this many times as long as it took to make.
const USED_FOR: u32 = 20;

struct State {
    guard: Guard,
    /// When the list gets too old.
    until: Option<Instant>,
    told: Vec<Protection>,
    dbpurgeage: Span,
}

/// Keeps the judge's list of protected addresses fresh.
#[derive(Clone)]
pub(crate) struct GuardHandle {
    judge: Arc<JudgeInbox>,
    state: Arc<Mutex<State>>,
}

impl GuardHandle {
    /// A guard that has not looked yet.
    pub(crate) fn new(judge: Arc<JudgeInbox>, dbpurgeage: Span) -> GuardHandle {
        let state = State { guard: Guard::new(), until: None, told: Vec::new(), dbpurgeage };
        GuardHandle { judge, state: Arc::new(Mutex::new(state)) }
    }

    /// Ended bans are remembered so long from now on.
    pub(crate) fn set_purge_age(&self, dbpurgeage: Span) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.dbpurgeage = dbpurgeage;
        // What was told is old now.
        state.until = None;
        drop(state);
        self.refresh();
    }

    /// Who must not be banned, as of the last look.
    pub(crate) fn protected(&self) -> Vec<Protection> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }

    /// Looks again, if the last look is too old, and tells the judge what is new.
    pub(crate) fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if state.until.is_some_and(|until| began < until) {
            return;
        }
        let list: Vec<Protection> = state.guard.collect().into_iter().map(protection).collect();
        let first = state.until.is_none();
        if first || state.told != list {
            let own = list.iter().filter(|p| p.reason == ProtectedAs::Own).map(|p| p.net.addr()).collect();
            let server = ServerSpec { own, dbpurgeage: Some(state.dbpurgeage), bounds: None };
            self.judge.control(JudgeControl::Event(Event::Server(server)));
            self.judge.control(JudgeControl::Event(Event::Protected(list.clone())));
            state.told = list;
        }
        state.until = Some(Instant::now() + began.elapsed() * USED_FOR);
    }
}

fn protection((net, reason): (Net, Reason)) -> Protection {
    let reason = match reason {
        Reason::Own => ProtectedAs::Own,
        Reason::Loopback => ProtectedAs::Loopback,
        Reason::Gateway => ProtectedAs::Gateway,
        Reason::Resolver => ProtectedAs::Resolver,
        Reason::Starter => ProtectedAs::Login("whoever started stockade".into()),
        Reason::Login { user } => ProtectedAs::Login(user.into()),
    };
    Protection { net, reason }
}
