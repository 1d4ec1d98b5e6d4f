//! What a client calls by hand: a method of one action.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::JailName;
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::runner::{ActionId, ActionState, Values, Verb};

use super::effects::Effect;
use super::entry::ActionEntry;
use super::stage::entry_of;
use super::steps::What;
use super::{ActionsHandle, Job, Thread};

/// A call of an action's method.
pub(crate) struct Call {
    /// The action as it is configured, or a command of its own.
    pub(crate) spec: ActionSpec,
    pub(crate) verb: Verb,
    /// The tags' values.
    pub(crate) values: Values,
    /// It has nothing to do with the action's commands; only its name stands in messages.
    pub(crate) apart: bool,
}

/// Told how the call ended, once.
pub(crate) type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// The same where several hold it: the first tells.
#[derive(Clone)]
pub(super) struct Caller(Arc<Mutex<Option<Done>>>);

impl Caller {
    pub(super) fn tell(&self, result: Result<(), String>) {
        if let Some(done) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            done(result);
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

impl ActionsHandle {
    /// Runs an action's method behind everything else in its lane.
    pub(crate) fn call(&self, call: Call, done: Done) {
        if self.jobs.is_none() {
            return done(Err("this is a dry run: no command is run".to_owned()));
        }
        self.send(Job::Call(Box::new(call), done));
    }
}

impl Thread {
    pub(super) fn call(&mut self, call: Call, done: Done) {
        let Call { spec, verb, values, apart } = call;
        let jail = JailName::new(&spec.jail);
        let known = if apart { None } else { self.action_of(&jail, &spec.name) };
        let (key, action) = match known {
            Some(action) => (self.by_name.get(&jail).copied().unwrap_or(0), action),
            None => (0, self.prepare_call(spec, apart)),
        };
        let caller = Caller(Arc::new(Mutex::new(Some(done))));
        self.begin(key, What::Call { verb: Box::new(verb), values, caller, once: known.is_none() }, vec![action]);
    }

    /// An action that the kernel's thread carries out has its commands run in this one case: what they work on is
    /// there, under the same names.
    fn prepare_call(&mut self, spec: ActionSpec, apart: bool) -> ActionId {
        let number = ActionId::try_from(self.number()).unwrap_or(ActionId::MAX);
        let lane = self.lanes.number(&spec.name);
        let mut effect = Effect { spec, ..Effect::default() };
        if !apart {
            let started = effect.spec.families(self.ipv6).into_iter().map(|family| (Some(family.into()), 1));
            effect.state = ActionState { families: started.collect() };
        }
        self.actions.insert(number, ActionEntry { lane, asks: true, ..entry_of(effect) });
        self.prepare(number);
        number
    }
}
