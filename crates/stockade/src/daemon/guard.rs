//! The self-lockout guard: who must not be banned, as the machine stands now.
//!
//! Asked right before failures are handed to the judge, so that a login of just
//! now counts and a quiet machine is never asked at all. A look takes a fraction
//! of a millisecond; looks take at most a twentieth of the time.
//!
//! What one jail's log says of a proxy in front of its service ([`crate::relay`])
//! is kept for a day: a flood of failures through that proxy must not make it look
//! like an attacker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_core::judge::{Event, ProtectedAs, Protection, ServerSpec};
use stockade_core::{Net, Span};
use stockade_enforce::guard::{Guard, Reason};

use super::judge::{JudgeControl, JudgeInbox};

/// The list is used for this many times as long as it took to make.
const USED_FOR: u32 = 20;
/// So long a relay is one after its log last said so.
const RELAY_FOR: Duration = Duration::from_secs(86_400);
/// At most so many are known; the oldest goes.
const RELAYS_MAX: usize = 1_000;

struct State {
    guard: Guard,
    /// Relays, and until when they are; the oldest first.
    relays: Vec<(Protection, Instant)>,
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
        let state = State { guard: Guard::new(), relays: Vec::new(), until: None, told: Vec::new(), dbpurgeage };
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

    /// A log says of this address that it forwards for others. Is that news?
    pub(crate) fn relay(&self, relay: Protection) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ProtectedAs::Relay { jail, .. } = &relay.reason else { return false };
        let until = Instant::now() + RELAY_FOR;
        let same = |known: &Protection| {
            known.net == relay.net && matches!(&known.reason, ProtectedAs::Relay { jail: other, .. } if other == jail)
        };
        if let Some((_, known)) = state.relays.iter_mut().find(|(known, _)| same(known)) {
            *known = until;
            return false;
        }
        if state.relays.len() >= RELAYS_MAX {
            state.relays.remove(0);
        }
        state.relays.push((relay, until));
        // What was told is old now.
        state.until = None;
        drop(state);
        self.refresh();
        true
    }

    /// Looks again, if the last look is too old, and tells the judge what is new.
    pub(crate) fn refresh(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if state.until.is_some_and(|until| began < until) {
            return;
        }
        let by_nature = state.guard.collect().into_iter().map(protection);
        state.relays.retain(|(_, until)| began < *until);
        let list: Vec<Protection> = by_nature.chain(state.relays.iter().map(|(relay, _)| relay.clone())).collect();
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
