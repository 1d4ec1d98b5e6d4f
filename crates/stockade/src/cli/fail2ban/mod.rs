//! `fail2ban-client`, `fail2ban-server` and `fail2ban-regex`: this program under the original's
//! names, for everything that is used to them.
//!
//! Links of these names to the one binary are enough; `stockade fail2ban-client
//! ...` does the same without a link.

mod background;
mod client;
pub(super) mod connection;
mod options;
mod prompt;
mod regex;
mod server;
mod table;
mod tree;
mod usage;
mod voice;
mod words;

use std::path::Path;
use std::process::ExitCode;

use super::term::say;
use client::{Client, Failed};
use options::{Dump, Options, Parsed};
use tree::Purpose;
use voice::{Level, Voice};

/// The one exit code of the original for whatever failed.
const FAILED: u8 = 255;

/// One of the original's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `fail2ban-client`
    Client,
    /// `fail2ban-server`
    Server,
    /// `fail2ban-regex`
    Regex,
}

impl Name {
    /// The program that a file's name means; `None` for ours.
    fn of(file: &str) -> Option<Name> {
        let name = Path::new(file).file_name()?.to_str()?;
        match name {
            "fail2ban-client" => Some(Name::Client),
            "fail2ban-server" => Some(Name::Server),
            "fail2ban-regex" => Some(Name::Regex),
            _ => None,
        }
    }
}

/// Runs as the original if this program was called by one of its names (or
/// with one as its first word); `None` if it was not.
pub(crate) fn by_name() -> Option<ExitCode> {
    let mut words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let name = words.first().and_then(|word| Name::of(word)).or_else(|| {
        words.remove(0);
        words.first().filter(|word| !word.contains('/')).and_then(|word| Name::of(word))
    })?;
    if name == Name::Regex {
        let caller = words.remove(0);
        return Some(regex::run(&caller, &words));
    }
    let caller = Path::new(&words.remove(0)).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Some(run(name, &caller, &words))
}

fn run(name: Name, caller: &str, words: &[String]) -> ExitCode {
    match prepare(name, caller, words) {
        Ok(Next::Ended(good)) => exit(good),
        Ok(Next::Work(mut client, rest)) => {
            let starts = rest.is_empty() || rest == ["start"];
            if name == Name::Server && starts && !client.options.interactive {
                return server::start(&client);
            }
            if client.options.interactive {
                return exit(prompt::converse(&mut client, &rest, caller));
            }
            if rest.is_empty() {
                usage::usage(caller);
                return ExitCode::from(FAILED);
            }
            match client.process(&rest) {
                Ok(good) => exit(good),
                Err(Failed(why)) => {
                    client.voice.say(Level::Error, why);
                    ExitCode::from(FAILED)
                }
            }
        }
        Err((voice, why)) => {
            // The server's program leaves it at what was printed.
            if name == Name::Client || why != NOT_READ {
                voice.say(Level::Error, why);
            }
            ExitCode::from(FAILED)
        }
    }
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Said after everything that stops the work while options are read.
const NOT_READ: &str = "Init of command line failed";

/// What is left to do when the options are read.
enum Next {
    /// Nothing; it went well or not.
    Ended(bool),
    /// These words.
    Work(Box<Client>, Vec<String>),
}

/// Reads the options and does what they ask for by themselves.
fn prepare(name: Name, caller: &str, words: &[String]) -> Result<Next, (Voice, &'static str)> {
    let (options, rest) = match options::parse(words) {
        Parsed::Work(options, rest) => (*options, rest),
        Parsed::Unknown => {
            usage::usage(caller);
            return Err((Voice::bare(), NOT_READ));
        }
        Parsed::Help => {
            usage::usage(caller);
            return Ok(Next::Ended(true));
        }
        Parsed::Version { short } => {
            usage::version(short);
            return Ok(Next::Ended(true));
        }
        Parsed::Seconds(seconds) => {
            say(seconds);
            return Ok(Next::Ended(true));
        }
        Parsed::NoTime(why) => {
            say(format!("ERROR: {why}"));
            return Err((Voice::bare(), NOT_READ));
        }
    };
    let voice = Voice::new(options.verbosity);
    let places = tree::places(&options).map_err(|why| {
        say(format!("ERROR: {why}"));
        (voice, NOT_READ)
    })?;
    voice.say(Level::Info, format!("Using socket file {}", places.socket));
    let (pidfile, level, target) = (&places.pidfile, places.loglevel.to_uppercase(), &places.logtarget);
    voice.say(Level::Info, format!("Using pid file {pidfile}, [{level}] logging to {target}"));
    let client = Client { options, places, voice };
    if let Some(dump) = client.options.dump {
        let good = show(&client, dump);
        if !client.options.test {
            return if good || name == Name::Server { Ok(Next::Ended(good)) } else { Err((voice, NOT_READ)) };
        }
    }
    if client.options.test {
        let read = tree::read(&client.options, &client.places, None, Purpose::Test, voice);
        if !read.good {
            return Err((voice, "ERROR: test configuration failed"));
        }
        if rest.is_empty() {
            say("OK: configuration test is successful");
            return Ok(Next::Ended(true));
        }
    }
    Ok(Next::Work(Box::new(client), rest))
}

/// `-d` and `--dp`
fn show(client: &Client, dump: Dump) -> bool {
    let read = tree::read(&client.options, &client.places, None, Purpose::Show, client.voice);
    if !read.whole {
        say("ERROR: The configuration stream failed because of the invalid syntax.");
    }
    for command in &read.stream {
        say(match dump {
            Dump::Plain => stockade_wire::value::command_repr(command),
            Dump::Pretty => stockade_wire::value::pretty(command),
        });
    }
    read.good
}

impl Client {
    /// For the daemon: the tree and options that were named.
    fn options(&self) -> &Options {
        &self.options
    }
}
