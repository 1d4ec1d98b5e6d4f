//! The self-lockout guard: who must not be banned, as the machine stands now.
//!
//! Asked right before failures are handed to the judge, at most once a second,
//! so that a quiet machine is never asked at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_core::judge::{Event, ProtectedAs, Protection, ServerSpec};
use stockade_core::{Net, Span};
use stockade_enforce::guard::{Guard, Reason};

use super::judge::{JudgeControl, JudgeInbox};

/// How old the list may be when failures are judged.
const FRESH_FOR: Duration = Duration::from_secs(1);

struct State {
    guard: Guard,
    looked: Option<Instant>,
    told: Vec<Protection>,
}

/// Keeps the judge's list of protected addresses fresh.
#[derive(Clone)]
pub(crate) struct GuardHandle {
    judge: Arc<JudgeInbox>,
    state: Arc<Mutex<State>>,
    dbpurgeage: Span,
}

impl GuardHandle {
    /// A guard that has not looked yet.
    pub(crate) fn new(judge: Arc<JudgeInbox>, dbpurgeage: Span) -> GuardHandle {
        let state = State { guard: Guard::new(), looked: None, told: Vec::new() };
        GuardHandle { judge, state: Arc::new(Mutex::new(state)), dbpurgeage }
    }

    /// Looks again, if the last look is too old, and tells the judge what is new.
    pub(crate) fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_some_and(|at| at.elapsed() < FRESH_FOR) {
            return;
        }
        let list: Vec<Protection> = state.guard.collect().into_iter().map(protection).collect();
        let first = state.looked.is_none();
        if first || state.told != list {
            let own = list.iter().filter(|p| p.reason == ProtectedAs::Own).map(|p| p.net.addr()).collect();
            let server = ServerSpec { own, dbpurgeage: Some(self.dbpurgeage), bounds: None };
            self.judge.control(JudgeControl::Event(Event::Server(server)));
            self.judge.control(JudgeControl::Event(Event::Protected(list.clone())));
            state.told = list;
        }
        state.looked = Some(Instant::now());
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
