//! The control socket before and after there is anybody behind it.
//!
//! A server that the original's client starts comes up empty: it answers `ping`
//! and the like at once, and the tree's commands arrive as a request. The first
//! request that needs more than that is handed to the main thread, which starts
//! the daemon with it; requests that come meanwhile wait (at most 64, further
//! ones are refused). Then the front desk takes over, on the same connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use stockade_wire::pickle::{Exception, Limits, read};
use stockade_wire::{Command, Value};

use super::boot::Wake;
use crate::control::desk::{End, FrontDesk};
use crate::control::fail2ban::WHO_WORD;
use crate::control::server::{Desk, Peer, ReplyTo, Request, Socket, SocketPlace, Waker, serve};
use crate::control::{pickled, refusal};
use crate::log::Log;

/// How many requests may wait for the daemon to start.
const WAITING_MAX: usize = 64;

/// The socket's thread.
pub(super) struct Door {
    desk: Sender<Result<FrontDesk, Exception>>,
    wake: Waker,
    ended: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    place: SocketPlace,
}

impl Door {
    /// Starts to serve the socket. What an empty server is asked goes to `main`.
    pub(super) fn open(socket: Option<Socket>, main: Sender<Wake>, log: Log) -> Result<Door> {
        let socket = socket.context("the control socket is taken already")?;
        let place = socket.place();
        let wake = Waker::new()?;
        let ended = Arc::new(AtomicBool::new(false));
        let (desk, admitted) = channel();
        let (wake_there, ended_there) = (wake.clone(), Arc::clone(&ended));
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            let mut entrance = Entrance {
                desk: None,
                turned_away: None,
                admitted,
                main,
                starting: false,
                waiting: Vec::new(),
                log: log.clone(),
            };
            let ended = || ended_there.load(Ordering::Relaxed);
            if let Err(e) = serve(&socket, &wake_there, &mut entrance, &ended) {
                log.error(format!("the control socket failed: {e}"));
            }
        })?;
        Ok(Door { desk, wake, ended, thread: Mutex::new(Some(thread)), place })
    }

    /// From now on this desk answers.
    pub(super) fn admit(&self, desk: FrontDesk) {
        drop(self.desk.send(Ok(desk)));
        self.wake.wake();
    }

    /// Nobody will: whoever waits, and whoever comes yet, is told why.
    pub(super) fn turn_away(&self, why: Exception) {
        drop(self.desk.send(Err(why)));
        self.wake.wake();
    }

    /// Makes room for another daemon; connections that there are stay.
    pub(super) fn leave(&self) {
        self.place.leave();
    }

    /// Is the socket the service manager's?
    pub(super) fn is_handed_over(&self) -> bool {
        self.place.is_handed_over()
    }

    /// Ends the thread as soon as every answer has been sent.
    pub(super) fn close(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.wake.wake();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(thread.join());
        }
    }
}

/// The commands that a daemon begins with, and who waits for them to be done.
pub(crate) struct First {
    /// The commands; none if the daemon is to start with nothing.
    pub(super) stream: Vec<Command>,
    /// Where they came from, if they did.
    pub(super) sent: Option<Sent>,
}

/// A stream as it was sent.
pub(super) struct Sent {
    reply: ReplyTo,
    done: Value,
}

impl Sent {
    /// All of it was done.
    pub(super) fn done(self) {
        self.reply.send(pickled(&Ok(self.done)));
    }

    /// It was refused.
    pub(super) fn refused(self, why: Exception) {
        self.reply.send(pickled(&Err(why)));
    }
}

enum Held {
    Line(String),
    Pickle(Vec<u8>),
}

/// Answers at the socket until the front desk does.
struct Entrance {
    desk: Option<FrontDesk>,
    turned_away: Option<Exception>,
    admitted: Receiver<Result<FrontDesk, Exception>>,
    main: Sender<Wake>,
    /// The main thread is at it.
    starting: bool,
    waiting: Vec<(Peer, Held, ReplyTo)>,
    log: Log,
}

impl Desk for Entrance {
    fn woken(&mut self) {
        match self.admitted.try_recv() {
            Ok(Ok(desk)) => self.desk = Some(desk),
            Ok(Err(why)) => self.turned_away = Some(why),
            Err(_) => {}
        }
        if self.desk.is_some() || self.turned_away.is_some() {
            for (peer, held, reply) in std::mem::take(&mut self.waiting) {
                match &held {
                    Held::Line(line) => self.request(peer, Request::Line(line), reply),
                    Held::Pickle(pickle) => self.request(peer, Request::Pickle(pickle), reply),
                }
            }
        }
        if let Some(desk) = &mut self.desk {
            desk.woken();
        }
    }

    fn refused(&mut self, peer: Peer, why: &str) {
        match &mut self.desk {
            Some(desk) => desk.refused(peer, why),
            None => {
                let Peer { pid, uid, .. } = peer;
                let text = format!("refused a request of process {pid} (user {uid}): {why}; nothing of it was run");
                self.log.warning(text);
            }
        }
    }

    fn request(&mut self, peer: Peer, request: Request<'_>, reply: ReplyTo) {
        if let Some(desk) = &mut self.desk {
            desk.request(peer, request, reply);
            return;
        }
        if !peer.is_root() {
            // Who else may look is only known once there are settings.
            reply.send(refusal(matches!(request, Request::Line(_)), "the server is empty; only root may speak to it"));
            return;
        }
        match (request, &self.turned_away) {
            (Request::Line(_), Some(why)) => reply.send(refusal(true, &why.to_string())),
            (Request::Line(_), None) if !self.starting => {
                let text = "the server is empty: it waits for its configuration; send it with `fail2ban-client reload`";
                reply.send(refusal(true, text));
            }
            (Request::Line(line), None) => self.hold(peer, Held::Line(line.to_owned()), reply),
            (Request::Pickle(pickle), _) => match read(pickle, Limits::default()) {
                Ok(Value::List(command) | Value::Tuple(command)) => self.command(peer, &command, pickle, reply),
                Ok(_) => reply.send(pickled(&Err(Exception::plain("Invalid command")))),
                Err(e) => {
                    reply.send(refusal(false, &e.to_string()));
                    self.refused(peer, &e.to_string());
                }
            },
        }
    }
}

impl Entrance {
    fn command(&mut self, peer: Peer, command: &[Value], pickle: &[u8], reply: ReplyTo) {
        let say = |reply: ReplyTo, value: Value| reply.send(pickled(&Ok(value)));
        let row = |name: &str, value: Value| Value::Tuple(vec![name.into(), value]);
        let word = command.first().and_then(Value::as_str).unwrap_or_default();
        match (word, command.len()) {
            ("ping", _) => say(reply, "pong".into()),
            (WHO_WORD, 1) => say(reply, WHO_WORD.into()),
            ("version", _) => say(reply, stockade_config::VERSION.into()),
            ("server-status", _) => say(reply, "Server ready".into()),
            ("echo", _) => say(reply, Value::List(command.get(1..).unwrap_or_default().to_vec())),
            _ if self.turned_away.is_some() => {
                reply.send(pickled(&self.turned_away.clone().map_or(Ok(Value::None), Err)))
            }
            _ if self.starting => self.hold(peer, Held::Pickle(pickle.to_vec()), reply),
            ("status", 1) => {
                say(reply, Value::List(vec![row("Number of jail", 0.into()), row("Jail list", "".into())]));
            }
            ("banned", 1) => say(reply, Value::List(Vec::new())),
            ("stop", 1) => {
                let done = move || say(reply, Value::None);
                drop(self.main.send(Wake::End(End::Stop { lift: true }, Box::new(done))));
            }
            ("server-stream", _) => self.start(command.get(1), Sent { reply, done: Value::None }),
            ("reload", _) => self.start(command.get(3), Sent { reply, done: "OK".into() }),
            _ => {
                self.starting = true;
                drop(self.main.send(Wake::First(First { stream: Vec::new(), sent: None })));
                self.hold(peer, Held::Pickle(pickle.to_vec()), reply);
            }
        }
    }

    fn start(&mut self, stream: Option<&Value>, sent: Sent) {
        let commands = stream.and_then(Value::as_items).unwrap_or_default();
        let stream: Option<Vec<Command>> = commands.iter().map(|c| c.as_items().map(<[Value]>::to_vec)).collect();
        let Some(stream) = stream else {
            sent.refused(Exception::builtin("TypeError", "a stream is a list of commands"));
            return;
        };
        self.starting = true;
        drop(self.main.send(Wake::First(First { stream, sent: Some(sent) })));
    }

    fn hold(&mut self, peer: Peer, held: Held, reply: ReplyTo) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push((peer, held, reply));
        } else {
            let json = matches!(held, Held::Line(_));
            reply.send(refusal(json, "the server is starting, and too many requests wait for that already"));
        }
    }
}

#[cfg(test)]
mod tests {
    use stockade_wire::pickle;

    use super::*;
    use crate::log::{Aim, Level};

    #[test]
    fn who_waits_for_a_start_that_is_refused_is_told_so_and_who_comes_later_too() {
        let path = std::env::temp_dir().join(format!("stockade-door-{}.log", std::process::id()));
        let log = Log::start(&Aim::parse(&path.to_string_lossy(), "auto").unwrap(), Level::Info, false).unwrap();
        let ((main, _wakes), (desk, admitted)) = (channel(), channel());
        let mut entrance =
            Entrance { desk: None, turned_away: None, admitted, main, starting: true, waiting: Vec::new(), log };
        let root = Peer { pid: 1, uid: 0, gid: 0 };
        let asked = pickle::request(&["get".into(), "sshd".into(), "ignoreip".into()]);
        let (reply, early) = ReplyTo::kept();
        entrance.request(root, Request::Pickle(&asked), reply);
        let (reply, line) = ReplyTo::kept();
        entrance.request(root, Request::Line("[\"stockade\",\"status\",{}]"), reply);
        assert!(early().is_empty() && line().is_empty(), "the start is not over yet");
        let why = Exception::plain("no such jail");
        desk.send(Err(why.clone())).unwrap();
        entrance.woken();
        let refused = vec![Some(pickled(&Err(why)))];
        assert_eq!(early(), refused);
        assert_eq!(line().len(), 1);
        let (reply, late) = ReplyTo::kept();
        entrance.request(root, Request::Pickle(&asked), reply);
        assert_eq!(late(), refused);
        drop(std::fs::remove_file(path));
    }
}
