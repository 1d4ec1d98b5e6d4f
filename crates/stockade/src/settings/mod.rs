//! What the daemon is told to be: the state that commands change.
//!
//! A tree compiles to a stream of commands; boot, reload and a manual `set` run
//! it over a copy of the [`Settings`] (the stage). Nothing outside sees the copy
//! until it has been compiled and committed as a whole, so a failing command
//! leaves everything as it was.
//!
//! Source: the commands and their effects are those of fail2ban's
//! `server/transmitter.py` and `server/server.py`.

mod action;
mod jail;
mod python;
mod show;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use stockade_wire::pickle::Exception;
use stockade_wire::value::{Value, command_repr, repr_str};

use crate::log::Level;

pub(crate) use action::{ActionSettings, METHODS};
pub(crate) use jail::JailSettings;
use jail::no_option;
pub(crate) use python::{Seconds, boolean, float, items, kind, words};
pub(crate) use show::{asked_by_set, jail_option};

/// Options of the server that `set` and `get` know by their bare names.
pub(crate) const SERVER: [&str; 8] =
    ["loglevel", "logtarget", "syslogsocket", "allowipv6", "thread", "dbfile", "dbmaxmatches", "dbpurgeage"];

/// Everything commands can set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Options of the server by name (`loglevel`, `logtarget`, `dbpurgeage`, ...), checked.
    pub(crate) server: BTreeMap<String, Value>,
    /// In the order in which they were added.
    pub(crate) jails: Vec<Arc<JailSettings>>,
    /// What the reader of the tree had to complain about while it made the stream.
    pub(crate) broken: Vec<String>,
}

/// Why a command is refused; nothing has changed then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// The command's words, for the message.
    pub(crate) command: String,
    /// What was wrong, as the original says it.
    pub(crate) exception: Exception,
}

impl Refusal {
    fn of(command: &[Value], exception: Exception) -> Refusal {
        Refusal { command: command.iter().take(4).map(words).collect::<Vec<_>>().join(" "), exception }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.exception)
    }
}

impl std::error::Error for Refusal {}

type Done = Result<(), Exception>;

impl Settings {
    /// Runs a stream of commands on a copy and returns it.
    pub(crate) fn staged(&self, stream: &[Vec<Value>]) -> Result<Settings, Refusal> {
        let mut next = self.clone();
        for command in stream {
            next.run(command).map_err(|why| Refusal::of(command, why))?;
        }
        Ok(next)
    }

    /// The same, but a jail with a command that fails is left out, with the
    /// reason; what concerns no jail must not fail.
    pub(crate) fn staged_as_far_as_possible(
        &self,
        stream: &[Vec<Value>],
    ) -> Result<(Settings, Vec<(String, String)>), Refusal> {
        let mut next = self.clone();
        let mut broken: Vec<(String, String)> = Vec::new();
        for command in stream {
            let jail = command.get(1).map(words).unwrap_or_default();
            if broken.iter().any(|(name, _)| *name == jail) {
                continue;
            }
            if let Err(why) = next.run(command) {
                let refusal = Refusal::of(command, why);
                if next.jail(&jail).is_none() {
                    return Err(refusal);
                }
                next.jails.retain(|j| j.name != jail);
                broken.push((jail, refusal.to_string()));
            }
        }
        Ok((next, broken))
    }

    /// `reload`: the jails named (all if `None`) are made anew by the stream;
    /// those that it does not start (again) are gone afterwards. Jails that
    /// stay keep their place in the order.
    pub(crate) fn reloaded(&self, only: Option<&str>, stream: &[Vec<Value>]) -> Result<Settings, Refusal> {
        let affected = |name: &str| only.is_none_or(|only| only == name);
        let mut next = self.clone();
        next.broken.clear();
        next.jails.retain(|jail| !affected(&jail.name));
        let mut next = next.staged(stream)?;
        next.jails.retain(|jail| jail.started || !affected(&jail.name) || self.jail(&jail.name).is_none());
        let place = |name: &str| self.jails.iter().position(|jail| jail.name == name).unwrap_or(usize::MAX);
        next.jails.sort_by_key(|jail| place(&jail.name));
        Ok(next)
    }

    /// The jail of that name.
    pub(crate) fn jail(&self, name: &str) -> Option<&JailSettings> {
        self.jails.iter().find(|j| j.name == name).map(Arc::as_ref)
    }

    /// The same, for clients.
    pub(crate) fn known(&self, name: &str) -> Result<&JailSettings, Exception> {
        self.jail(name).ok_or_else(|| Exception::unknown_jail(name))
    }

    /// An option of the server as text.
    pub(crate) fn server_text(&self, name: &str) -> Option<String> {
        self.server.get(name).filter(|v| **v != Value::None).map(words)
    }

    /// Is there a database, as far as it was said?
    pub(crate) fn has_database(&self) -> bool {
        self.server_text("dbfile").is_some_and(|path| !path.eq_ignore_ascii_case("none"))
    }

    /// Runs one command that changes settings.
    fn run(&mut self, command: &[Value]) -> Done {
        let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
        match word(0)?.as_str() {
            "config-error" => self.broken.push(word(1)?),
            "add" => self.add(&word(1)?, &command.get(2).map_or_else(|| "auto".to_owned(), words))?,
            "start" => {
                let jail = self.jail_mut(&word(1)?)?;
                jail.started = true;
                jail.idle = false;
            }
            "stop" => {
                let name = word(1)?;
                self.known(&name)?;
                self.jails.retain(|jail| jail.name != name);
            }
            "set" => {
                let name = word(1)?;
                if SERVER.contains(&name.as_str()) {
                    return self.set_server(&name, command.get(2).ok_or_else(Exception::missing_word)?);
                }
                if name.starts_with("stockade.") {
                    self.server.insert(name, Value::Str(word(2)?));
                    return Ok(());
                }
                let option = word(2)?;
                let rest = command.get(3..).unwrap_or_default();
                if rest.is_empty() && !matches!(option.as_str(), "addignoreip" | "addjournalmatch") {
                    return Err(if is_option(&option) { Exception::missing_word() } else { no_option(&option) });
                }
                if !is_option(&option) {
                    return Err(no_option(&option));
                }
                self.jail_mut(&name)?.set(&option, rest)?;
            }
            "multi-set" => {
                let (name, option) = (word(1)?, word(2)?);
                match option.as_str() {
                    "addfailregex" | "addignoreregex" => {
                        let list = items(Some(command.get(3).ok_or_else(Exception::missing_word)?));
                        let jail = self.jail_mut(&name)?;
                        for value in list {
                            jail.set(&option, std::slice::from_ref(value))?;
                        }
                    }
                    "action" => {
                        let (action, pairs) = (word(3)?, command.get(4).ok_or_else(Exception::missing_word)?);
                        self.jail_mut(&name)?.action_mut(&action)?.set_all(pairs)?;
                    }
                    _ => {
                        let mut single = command.to_vec();
                        if let Some(first) = single.first_mut() {
                            *first = "set".into();
                        }
                        return self.run(&single);
                    }
                }
            }
            _ => return Err(Exception::plain("Invalid command")),
        }
        Ok(())
    }

    fn add(&mut self, name: &str, backend: &str) -> Done {
        if name == "--all" {
            return Err(Exception::plain("Reserved name '--all'"));
        }
        if name.is_empty() {
            return Err(Exception::value("a jail needs a name"));
        }
        if self.jail(name).is_some() {
            return Err(Exception::duplicate_jail(name));
        }
        let kind = backend.split_once('[').map_or(backend, |(kind, _)| kind).trim().to_lowercase();
        if !["auto", "polling", "pyinotify", "systemd"].contains(&kind.as_str()) {
            return Err(Exception::value(format!(
                "Unknown backend {kind}. Must be among ['pyinotify', 'polling', 'systemd'] or 'auto'"
            )));
        }
        let jail = JailSettings { name: name.to_owned(), backend: backend.to_owned(), ..JailSettings::default() };
        self.jails.push(Arc::new(jail));
        Ok(())
    }

    fn jail_mut(&mut self, name: &str) -> Result<&mut JailSettings, Exception> {
        let jail = self.jails.iter_mut().find(|j| j.name == name);
        jail.map(Arc::make_mut).ok_or_else(|| Exception::unknown_jail(name))
    }

    fn set_server(&mut self, name: &str, value: &Value) -> Done {
        let value = match name {
            "loglevel" => {
                let level = words(value).to_uppercase();
                if Level::parse(&level).is_none() {
                    return Err(Exception::value(format!("Invalid log level {}", repr_str(&level))));
                }
                Value::Str(level)
            }
            "dbmaxmatches" if self.has_database() => Value::Int(python::int(value)?),
            "dbpurgeage" if self.has_database() => python::seconds(value)?.value(),
            // Without a database nothing of it is kept.
            "dbmaxmatches" | "dbpurgeage" => return Ok(()),
            "dbfile" => return self.set_database(words(value)),
            "thread" => return self.set_thread(value),
            "allowipv6" => value.clone(),
            _ => Value::Str(words(value)),
        };
        self.server.insert(name.to_owned(), value);
        Ok(())
    }

    fn set_database(&mut self, path: String) -> Done {
        let now = self.server_text("dbfile").filter(|path| !path.eq_ignore_ascii_case("none"));
        let next = (!path.eq_ignore_ascii_case("none")).then_some(path);
        if now == next {
            return Ok(());
        }
        if !self.jails.is_empty() {
            return Err(Exception::builtin("RuntimeError", "Cannot change database when there are jails present"));
        }
        self.server.insert("dbfile".to_owned(), next.map_or(Value::None, Value::Str));
        Ok(())
    }

    fn set_thread(&mut self, value: &Value) -> Done {
        let Value::Dict(pairs) = value else {
            let text = format!("'{}' object has no attribute 'items'", kind(value));
            return Err(Exception::builtin("AttributeError", text));
        };
        for (name, size) in pairs {
            if words(name) != "stacksize" {
                return Err(Exception::builtin("KeyError", format!("unknown option {}", name.repr())));
            }
            let size = python::int(size)?;
            if size != 0 && size < 32 {
                return Err(Exception::value(format!("size not valid: {} bytes", size.saturating_mul(1024))));
            }
            self.server.insert("thread".to_owned(), Value::Int(size));
        }
        Ok(())
    }
}

/// Is it an option of `set JAIL`?
fn is_option(option: &str) -> bool {
    const OPTIONS: [&str; 30] = [
        "idle",
        "ignoreself",
        "addignoreip",
        "delignoreip",
        "ignorecommand",
        "ignorecache",
        "addlogpath",
        "dellogpath",
        "logencoding",
        "addjournalmatch",
        "deljournalmatch",
        "prefregex",
        "addfailregex",
        "delfailregex",
        "addignoreregex",
        "delignoreregex",
        "usedns",
        "findtime",
        "datepattern",
        "logtimezone",
        "maxmatches",
        "maxretry",
        "maxlines",
        "bantime",
        "attempt",
        "banip",
        "unbanip",
        "addaction",
        "delaction",
        "action",
    ];
    OPTIONS.contains(&option) || option.starts_with("bantime.") || option.starts_with("stockade.")
}

/// `name=value, name="value"`: the arguments of an option, in order.
pub(crate) fn arguments(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t', '\n']);
    while let Some((name, value)) = rest.split_once('=') {
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (taken, behind) = match quote {
            Some(quote) => value.get(1..).and_then(|v| v.split_once(quote)).unwrap_or((value, "")),
            None => value.split_once([',', ']']).unwrap_or((value, "")),
        };
        found.push((name.trim().to_owned(), taken.trim().to_owned()));
        rest = behind.trim_start_matches([' ', ',', '\t', '\n', ']', '[']);
    }
    found
}

/// A command for the own log: as the original shows it, cut where it gets long.
pub(crate) fn shown(command: &[Value]) -> String {
    const CHARS_MAX: usize = 300;
    let mut text = command_repr(command);
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text += "...";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<Value> {
        words.iter().map(|w| Value::Str((*w).to_owned())).collect()
    }

    #[test]
    fn a_stream_builds_a_jail() {
        let stream = [
            command(&["add", "sshd", "polling"]),
            command(&["set", "sshd", "maxretry", "3"]),
            command(&["set", "sshd", "findtime", "10m"]),
            command(&["set", "sshd", "addignoreip", "127.0.0.1/8", "::1"]),
            command(&["set", "sshd", "addaction", "fw"]),
            command(&["set", "sshd", "action", "fw", "port", "ssh"]),
            command(&["start", "sshd"]),
        ];
        let settings = Settings::default().staged(&stream).unwrap();
        let jail = settings.jail("sshd").unwrap();
        assert_eq!((jail.maxretry, jail.findtime, jail.started), (Some(3), Some(Seconds::Whole(600)), true));
        assert_eq!(jail.ignoreip, ["127.0.0.1/8", "::1"]);
        assert_eq!(jail.actions[0].property("port").as_deref(), Some("ssh"));
    }

    #[test]
    fn a_failing_command_names_itself_and_changes_nothing() {
        let before = Settings::default().staged(&[command(&["add", "a"])]).unwrap();
        let stream = [command(&["add", "b"]), command(&["set", "b", "maxretry", "abc"])];
        let refusal = before.staged(&stream).unwrap_err();
        assert_eq!(refusal.to_string(), "set b maxretry abc: 'abc' is not a whole number");
        assert!(before.jail("b").is_none());
        assert!(before.staged(&[command(&["add", "a"])]).is_err());
        assert!(before.staged(&[command(&["add", "c", "gamin"])]).is_err());
    }

    #[test]
    fn a_reload_makes_jails_anew_and_drops_what_it_does_not_start() {
        let jail = |name: &str, retry: &str| {
            [command(&["add", name]), command(&["set", name, "maxretry", retry]), command(&["start", name])]
        };
        let before = Settings::default().staged(&[jail("a", "1"), jail("b", "2"), jail("c", "3")].concat()).unwrap();
        let names = |settings: &Settings| settings.jails.iter().map(|j| j.name.clone()).collect::<Vec<_>>();
        let after = before.reloaded(None, &[jail("d", "4"), jail("c", "5"), jail("a", "6")].concat()).unwrap();
        assert_eq!(names(&after), ["a", "c", "d"]);
        assert_eq!(after.jail("c").unwrap().maxretry, Some(5));
        let one = before.reloaded(Some("b"), &jail("b", "7")).unwrap();
        assert_eq!((names(&one), one.jail("b").unwrap().maxretry), (names(&before), Some(7)));
        let gone = before.reloaded(Some("b"), &[]).unwrap();
        assert_eq!(names(&gone), ["a", "c"]);
        assert!(before.reloaded(None, &[command(&["set", "a", "maxretry", "1"])]).is_err());
    }

    #[test]
    fn complaints_come_in_the_original_s_order() {
        let settings = Settings::default().staged(&[command(&["add", "j"])]).unwrap();
        let complaint = |words: &[&str]| settings.staged(&[command(words)]).unwrap_err().exception;
        assert_eq!(complaint(&["set", "nope", "maxretry"]), Exception::missing_word());
        assert_eq!(complaint(&["set", "nope", "maxretry", "3"]), Exception::unknown_jail("nope"));
        assert_eq!(complaint(&["set", "nope", "foo", "3"]), no_option("foo"));
        assert_eq!(complaint(&["set", "j", "delaction", "x"]).class, "KeyError");
        assert_eq!(complaint(&["add", "j"]), Exception::duplicate_jail("j"));
        assert_eq!(complaint(&["set", "loglevel", "loud"]), Exception::value("Invalid log level 'LOUD'"));
    }

    #[test]
    fn arguments_are_split_with_their_quotes() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let found = arguments(r#"key="<ip>, <F-USER>", max-count=10, max-time = 5m"#);
        assert_eq!(found, [pair("key", "<ip>, <F-USER>"), pair("max-count", "10"), pair("max-time", "5m")]);
    }
}
