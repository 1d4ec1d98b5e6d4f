//! The runner's own process: takes orders, keeps the actions, runs lanes.
//!
//! A lane is a thread; its runs never overlap and keep their order, and lanes
//! run beside each other. When the daemon is gone no new command starts, and
//! what runs has a moment to end.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::action::{CommandAction, Hands, Report};
use super::mail::MailAction;
use super::message::{self, ActionId, ActionState, LineLevel, News, Order, RunId, Speaker, Values, Verb};
use super::names::Names;
use super::shell;

/// How many lanes there may be; a further one shares the last.
const LANES_MAX: u32 = 256;

/// How long commands under way have when the daemon is gone.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// One action, of either kind.
enum Prepared {
    Command(Box<CommandAction>),
    Mail(Box<MailAction>),
    /// Can't be carried out at all, and why.
    Refused(String),
}

/// One thing to do in a lane.
struct Run {
    id: RunId,
    action: ActionId,
    verb: Verb,
    values: Values,
    quiet: bool,
}

struct Shared {
    actions: Mutex<HashMap<ActionId, Arc<Mutex<Prepared>>>>,
    news: Mutex<UnixStream>,
    names: Names,
    groups: shell::Groups,
    busy: AtomicUsize,
}

/// Serves the daemon at the other end of `socket` until it is gone.
///
/// # Errors
/// If the socket can't be read, or what comes from it is damaged.
pub fn serve(socket: UnixStream) -> io::Result<()> {
    let shared = Arc::new(Shared {
        actions: Mutex::default(),
        news: Mutex::new(socket.try_clone()?),
        names: Names::default(),
        groups: shell::Groups::default(),
        busy: AtomicUsize::new(0),
    });
    let mut lanes: HashMap<u32, Sender<Run>> = HashMap::new();
    let mut orders = BufReader::new(socket);
    let result = loop {
        match message::read::<Order>(&mut orders) {
            Ok(Some(Order::Prepare { action, spec, state, idle, ipv6 })) => {
                let prepared = match &spec.python {
                    None => Prepared::Command(Box::new(CommandAction::new(spec, &state, idle, ipv6))),
                    Some((file, arguments)) => match MailAction::new(&spec, file, arguments, idle) {
                        Ok(mail) => Prepared::Mail(Box::new(mail)),
                        Err(why) => Prepared::Refused(why),
                    },
                };
                shared.actions().insert(action, Arc::new(Mutex::new(prepared)));
            }
            Ok(Some(Order::Run { id, lane, action, verb, values, quiet })) => {
                let run = Run { id, action, verb, values, quiet };
                let lane = lane.min(LANES_MAX - 1);
                if let Some(ways) = lanes.get(&lane) {
                    drop(ways.send(run));
                    continue;
                }
                let (sender, runs) = channel();
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("lane {lane}")).spawn(move || shared.lane(&runs))?;
                drop(sender.send(run));
                lanes.insert(lane, sender);
            }
            Ok(None) => break Ok(()),
            // A daemon that was killed resets the connection.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    shared.actions().clear();
    shared.groups.close();
    let until = Instant::now() + LAST_MOMENT;
    while shared.busy.load(Ordering::Acquire) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    shared.groups.end_all();
    result
}

impl Shared {
    fn actions(&self) -> std::sync::MutexGuard<'_, HashMap<ActionId, Arc<Mutex<Prepared>>>> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news(&self, news: &News) {
        let mut socket = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        // If the daemon has gone, the main loop notices.
        message::write(&mut *socket, news).ok();
    }

    /// A lane's life.
    fn lane(&self, runs: &Receiver<Run>) {
        for run in runs {
            let Some(action) = self.actions().get(&run.action).cloned() else {
                self.done(run.id, Err("the action is not known".to_owned()), Report::default(), ActionState::default());
                continue;
            };
            self.busy.fetch_add(1, Ordering::AcqRel);
            let mut action = action.lock().unwrap_or_else(PoisonError::into_inner);
            let (result, report) = self.carry_out(&mut action, &run);
            let state = match &*action {
                Prepared::Command(command) => command.state(),
                Prepared::Mail(_) | Prepared::Refused(_) => ActionState::default(),
            };
            drop(action);
            if run.verb == Verb::Forget {
                self.actions().remove(&run.action);
            }
            self.busy.fetch_sub(1, Ordering::AcqRel);
            self.done(run.id, result, report, state);
        }
    }

    fn carry_out(&self, action: &mut Prepared, run: &Run) -> (Result<(), String>, Report) {
        let tell = |level: LineLevel, speaker: Speaker, text: String| {
            let level = if run.quiet { LineLevel::Debug } else { level };
            self.news(&News::Line { level, speaker, text });
        };
        match action {
            Prepared::Refused(why) => (Err(why.clone()), Report::default()),
            Prepared::Mail(mail) => (mail.carry_out(&run.verb, &run.values, &tell), Report::default()),
            Prepared::Command(command) => {
                let mut execute =
                    |script: &_, secs: f64, success: &[i32]| shell::execute(script, secs, success, &self.groups, &tell);
                let mut rest = |tag: &str, values: &Values| self.names.value(tag, values);
                let mut hands = Hands { run: &mut execute, rest: &mut rest, tell: &tell };
                command.carry_out(&run.verb, &run.values, &mut hands)
            }
        }
    }

    fn done(&self, id: RunId, result: Result<(), String>, report: Report, state: ActionState) {
        let Report { said, broken, commands, .. } = report;
        self.news(&News::Done { id, result, said, broken, commands, state });
    }
}
