//! Those who look outside so that nobody else has to wait: host names, and
//! (through the action runner) ignore commands.
//!
//! Four threads share one bounded queue; a question that finds it full is
//! answered at once with "nothing", as the judge's own bound says. Answers are
//! remembered for five minutes, failures too, at most 1,000 names.
//!
//! Source: fail2ban's cache of names, `server/ipdns.py`: 1,000 entries, 5 minutes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_core::judge::{Answer, Ask, AskId, Event, Question};

use super::actions::ActionsHandle;
use super::judge::{JudgeControl, JudgeInbox};

const THREADS: usize = 4;
const WAITING_MAX: usize = 4_096;
const CACHE_MAX: usize = 1_000;
const CACHE_FOR: Duration = Duration::from_secs(300);

#[derive(Default)]
struct State {
    waiting: VecDeque<(AskId, Box<str>)>,
    known: HashMap<Box<str>, (Instant, Vec<IpAddr>)>,
}

/// Takes the judge's questions.
#[derive(Clone)]
pub(crate) struct Asker {
    shared: Arc<(Mutex<State>, Condvar)>,
    /// Option `allowipv6`: do names have IPv6 addresses at all?
    ipv6: Arc<AtomicBool>,
    judge: Arc<JudgeInbox>,
    actions: ActionsHandle,
}

impl Asker {
    /// Starts the threads.
    pub(crate) fn start(judge: Arc<JudgeInbox>, actions: ActionsHandle) -> io::Result<Asker> {
        let asker = Asker { shared: Arc::default(), ipv6: Arc::new(true.into()), judge, actions };
        for n in 0..THREADS {
            let asker = asker.clone();
            std::thread::Builder::new().name(format!("asker {n}")).spawn(move || asker.work())?;
        }
        Ok(asker)
    }

    /// Option `allowipv6`.
    pub(crate) fn allow_ipv6(&self, on: bool) {
        if self.ipv6.swap(on, Ordering::Relaxed) != on {
            self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).known.clear();
        }
    }

    /// Forgets the names that were looked up.
    pub(crate) fn forget(&self) {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).known.clear();
    }

    /// Takes one question; the answer comes as an event.
    pub(crate) fn ask(&self, ask: Ask) {
        match ask.question {
            Question::Addresses { name } => {
                let mut state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((at, addresses)) = state.known.get(&name)
                    && at.elapsed() < CACHE_FOR
                {
                    let addresses = addresses.clone();
                    drop(state);
                    self.answer(ask.id, Answer::Addresses(addresses));
                } else if state.waiting.len() >= WAITING_MAX {
                    drop(state);
                    self.answer(ask.id, Answer::Addresses(Vec::new()));
                } else {
                    state.waiting.push_back((ask.id, name));
                    self.shared.1.notify_one();
                }
            }
            // Commands belong to the action runner.
            Question::IgnoreCommand { jail, command, about } => self.actions.ask(ask.id, jail, command, about),
        }
    }

    fn answer(&self, id: AskId, answer: Answer) {
        self.judge.control(JudgeControl::Event(Event::Answer { id, answer }));
    }

    fn work(&self) {
        loop {
            let (id, name) = {
                let mut state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                loop {
                    if let Some(next) = state.waiting.pop_front() {
                        break next;
                    }
                    state = self.shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let mut addresses = look_up(&name);
            if !self.ipv6.load(Ordering::Relaxed) {
                addresses.retain(IpAddr::is_ipv4);
            }
            let mut state = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.known.len() >= CACHE_MAX {
                state.known.retain(|_, (at, _)| at.elapsed() < CACHE_FOR);
                if state.known.len() >= CACHE_MAX {
                    state.known.clear();
                }
            }
            state.known.insert(name, (Instant::now(), addresses.clone()));
            drop(state);
            self.answer(id, Answer::Addresses(addresses));
        }
    }
}

/// All addresses of a name, through the system's resolver; none if it has none.
fn look_up(name: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> =
        (name, 0).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default();
    found.sort_unstable();
    found.dedup();
    found
}
