//! What `fail2ban-client` does with each command.
//!
//! Most words are sent as they are. `start`, `restart` and `reload` read the
//! tree here first, so that a mistake in it never reaches a server that runs.
//!
//! Source: fail2ban `client/fail2banclient.py`, behaviour and messages.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use stockade_config::DaemonOptions;
use stockade_wire::pickle::Answer;
use stockade_wire::{Command, Value};

use super::connection::{Connection, Trouble, in_words};
use super::options::Options;
use super::tree::{self, Purpose};
use super::voice::{Level, Voice};
use super::{background, words};
use crate::cli::term::say;
use crate::control::fail2ban::STOP_KEEPS;

/// How long a server that runs may take to answer `ping`.
const PING_SECS: f64 = 0.1;

/// What could not be done, in words for standard error.
pub(super) struct Failed(pub(super) String);

/// A client that knows where its server is.
pub(super) struct Client {
    pub(super) options: Options,
    pub(super) places: DaemonOptions,
    pub(super) voice: Voice,
}

impl Client {
    fn socket(&self) -> PathBuf {
        PathBuf::from(&self.places.socket)
    }

    /// Does what one command line says; true if all of it worked.
    pub(super) fn process(&mut self, words: &[String]) -> Result<bool, Failed> {
        let list: Vec<&str> = words.iter().map(String::as_str).collect();
        match list.as_slice() {
            ["start"] => {
                let Some(stream) = self.prepare() else { return Ok(false) };
                if self.options.background { self.start_with(stream) } else { super::server::in_foreground(self) }
            }
            ["restart"] => self.restart(),
            ["restart", rest @ ..] => self.reload(&[&["--restart"], rest].concat()),
            ["reload", rest @ ..] => self.reload(rest),
            ["ping", time, ..] => {
                let secs: f64 =
                    time.trim().parse().map_err(|_| Failed(format!("could not convert string to float: '{time}'")))?;
                // -1 means that there is none.
                let patience = if secs == -1.0 { None } else { Some(patience(secs)?) };
                Ok(self.send(&[typed(words)], true, patience))
            }
            _ => Ok(self.send(&[typed(words)], true, None)),
        }
    }

    /// Is anybody there?
    pub(super) fn ping(&self, patience: Option<Duration>) -> bool {
        let mut command: Command = vec!["ping".into()];
        command.extend(patience.map(|time| Value::Float(time.as_secs_f64())));
        self.send(&[command], false, patience)
    }

    /// Sends commands over one connection, and prints the answers if `show`.
    fn send(&self, commands: &[Command], show: bool, patience: Option<Duration>) -> bool {
        let mut connection = None;
        let mut good = true;
        for command in commands {
            let word = command.first().and_then(Value::as_str).unwrap_or_default();
            let asked = match &mut connection {
                Some(open) => Connection::ask(open, command),
                none => match Connection::open(&self.socket(), patience) {
                    Ok(open) => none.insert(open).ask(command),
                    Err(e) => Err(Trouble::Socket(e)),
                },
            };
            match asked {
                Ok(Answer::Result(result)) => {
                    if show || matches!(word, "echo" | "server-status") {
                        self.show(command, &result);
                    }
                }
                Ok(Answer::Refused(refusal)) => {
                    self.voice.say(Level::Error, format!("NOK: {}", refusal.args_repr()));
                    if show {
                        say(words::refusal(&refusal));
                    }
                    good = false;
                }
                Ok(Answer::Other(other)) => {
                    self.complain(show, || format!("the server answers '{word}' with {}", words::shown(&other)));
                    return false;
                }
                Err(Trouble::Answer(why)) => {
                    self.complain(show, || format!("the server's answer to '{word}' can't be read: {why}"));
                    return false;
                }
                Err(Trouble::Socket(error)) => {
                    if show || (word != "ping" && self.voice.is_verbose()) {
                        self.about_socket(&error, word == "ping");
                    }
                    return false;
                }
            }
        }
        good
    }

    fn show(&self, command: &[Value], result: &Value) {
        let said = words::answer(command, result);
        if said.odd {
            self.voice.line(Level::Warning, "fail2ban.client.beautifier", "Beautifier error. Please report the error");
            let text =
                format!("Beautify {} with {} failed", result.repr(), stockade_wire::value::command_repr(command));
            self.voice.line(Level::Error, "fail2ban.client.beautifier", &text);
        }
        say(said.text);
    }

    fn complain(&self, show: bool, text: impl FnOnce() -> String) {
        if show || self.voice.is_verbose() {
            self.voice.say(Level::Error, text());
        }
    }

    /// Says why the socket can't be used.
    fn about_socket(&self, error: &std::io::Error, only_error: bool) {
        let socket = &self.places.socket;
        let access = |wanted| rustix::fs::access(socket.as_str(), wanted).is_ok();
        let error = in_words(error);
        let text = if !access(rustix::fs::Access::EXISTS) {
            format!("Failed to access socket path: {socket}. Is fail2ban running?")
        } else if !access(rustix::fs::Access::WRITE_OK) {
            format!("Permission denied to socket: {socket}, (you must be root)")
        } else if only_error {
            error
        } else {
            format!("[{error}] Unable to contact server. Is it running?")
        };
        self.voice.say(Level::Error, text);
    }

    /// Checks that a server may be started, and reads what it shall run.
    pub(super) fn prepare(&self) -> Option<Vec<Command>> {
        if self.ping(Some(Duration::from_secs_f64(PING_SECS))) {
            self.voice.say(Level::Error, "Server already running");
            return None;
        }
        let read = tree::read(&self.options, &self.places, None, Purpose::Run, self.voice);
        if !read.good {
            return None;
        }
        // The service manager's socket is there before its server.
        let handed_over = std::env::var_os("LISTEN_FDS").is_some();
        if !self.options.force && !handed_over && self.socket().exists() {
            let text = "Fail2ban seems to be in unexpected state (not running but the socket exists)";
            self.voice.say(Level::Error, text);
            return None;
        }
        Some(read.stream)
    }

    /// Starts a server in the background and hands it the commands.
    pub(super) fn start_with(&self, stream: Vec<Command>) -> Result<bool, Failed> {
        if let Err(why) = background::start_server(&self.options, &self.places) {
            self.voice.say(Level::Error, format!("the server can't be started: {why}"));
            return Ok(false);
        }
        if !self.wait_for(true) {
            let socket = &self.places.socket;
            self.voice.say(
                Level::Error,
                format!("Could not start server: nobody answers at {socket}; its log says why. If an old socket file is in the way, -x removes it"),
            );
            return Ok(false);
        }
        let stream = Value::List(stream.into_iter().map(Value::List).collect());
        Ok(self.send(&[vec!["server-stream".into(), stream], vec!["server-status".into()]], false, None))
    }

    /// `restart`: what is banned stays so from the stop to the start.
    ///
    /// DIVERGENCE (restart-without-gap): the original stops first, which lifts all bans, and then finds out
    /// whether there is anything to start.
    fn restart(&mut self) -> Result<bool, Failed> {
        if !tree::read(&self.options, &self.places, None, Purpose::Run, self.voice).good {
            return Ok(false);
        }
        let announce = |options: &Options, step: &str| {
            if options.interactive {
                say(format!("  ## {step} ... "));
            }
        };
        announce(&self.options, "stop");
        self.stop_for_a_start();
        if !self.wait_for(false) {
            return Err(Failed("the server is asked to stop, but still answers".to_owned()));
        }
        if self.options.interactive {
            announce(&self.options, "load configuration");
            self.places = tree::places(&self.options).map_err(Failed)?;
            announce(&self.options, "start");
        }
        self.process(&["start".to_owned()])
    }

    /// Asks the server to end and to leave its bans in force; one that does not know this is just stopped.
    fn stop_for_a_start(&self) {
        let stop: Command = vec!["stop".into()];
        let keep = [&stop[..], &[STOP_KEEPS.into()]].concat();
        match Connection::open(&self.socket(), None).map(|mut open| open.ask(&keep)) {
            Ok(Ok(Answer::Result(result))) => self.show(&stop, &result),
            _ => drop(self.send(&[stop], true, None)),
        }
    }

    /// `reload [--restart] [--unban] [--if-exists] [JAIL|--all]`
    fn reload(&mut self, words: &[&str]) -> Result<bool, Failed> {
        let is_option = |word: &&&str| matches!(**word, "--restart" | "--unban" | "--if-exists");
        let options: Vec<Value> = words.iter().take_while(is_option).map(|word| Value::from(*word)).collect();
        let rest = words.get(options.len()..).unwrap_or_default();
        let jail = match rest {
            [] => "--all",
            [jail] => jail,
            more => {
                let list =
                    stockade_wire::value::command_repr(&more.iter().map(|w| Value::from(*w)).collect::<Vec<_>>());
                self.voice.say(Level::Error, format!("Unexpected argument(s) for reload: {list}"));
                return Ok(false);
            }
        };
        if !self.ping(None) {
            self.voice.say(Level::Error, "Could not find server");
            return Ok(false);
        }
        let only = (jail != "--all").then_some(jail);
        let read = tree::read(&self.options, &self.places, only, Purpose::Run, self.voice);
        if !read.good {
            return Ok(false);
        }
        if self.options.interactive {
            say("  ## reload ... ");
        }
        let stream = Value::List(read.stream.into_iter().map(Value::List).collect());
        Ok(self.send(&[vec!["reload".into(), jail.into(), Value::List(options), stream]], true, None))
    }

    /// Waits until a server answers, or until none does any more; false if it takes too long.
    pub(super) fn wait_for(&self, alive: bool) -> bool {
        let begin = Instant::now();
        let longest = Duration::try_from_secs_f64(self.options.wait_secs).unwrap_or_default();
        let mut pause = Duration::from_millis(5);
        loop {
            let answers = self.socket().exists() && self.ping(Some(pause.max(Duration::from_millis(20))));
            if answers == alive {
                return true;
            }
            if begin.elapsed() >= longest {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// A number of seconds as a time-out, as far as Python takes it.
fn patience(secs: f64) -> Result<Duration, Failed> {
    Duration::try_from_secs_f64(secs).map_err(|_| Failed("Timeout value out of range".to_owned()))
}

fn typed(words: &[String]) -> Command {
    words.iter().map(|word| Value::from(word.as_str())).collect()
}
