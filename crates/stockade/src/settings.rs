//! What the daemon is told to be: the state that commands change.
//!
//! A tree compiles to a stream of commands; boot, reload and a manual `set` run
//! it over a copy of the [`Settings`] (the stage). Nothing outside sees the copy
//! until it has been compiled and committed as a whole, so a failing command
//! leaves everything as it was.
//!
//! Source: the commands and their effects are those of fail2ban's
//! `server/transmitter.py` and `server/server.py`.

use std::collections::BTreeMap;
use std::fmt;

use stockade_core::JailName;
use stockade_core::judge::timespec::parse_seconds;
use stockade_wire::value::Value;

/// Everything commands can set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Options of the server by name (`loglevel`, `logtarget`, `dbpurgeage`, ...), as given.
    pub(crate) server: BTreeMap<String, Value>,
    /// In the order in which they were added.
    pub(crate) jails: Vec<JailSettings>,
    /// Jails that the tree could not make, with the reason.
    pub(crate) broken: Vec<String>,
}

/// One jail as commands describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JailSettings {
    pub(crate) name: String,
    pub(crate) backend: String,
    pub(crate) started: bool,
    pub(crate) usedns: Option<String>,
    pub(crate) prefregex: Option<String>,
    pub(crate) failregex: Vec<String>,
    pub(crate) ignoreregex: Vec<String>,
    pub(crate) maxlines: Option<i64>,
    pub(crate) datepattern: Option<String>,
    /// One alternative each, of `FIELD=value` words.
    pub(crate) journalmatch: Vec<Vec<String>>,
    pub(crate) maxretry: Option<i64>,
    pub(crate) maxmatches: Option<i64>,
    /// Seconds.
    pub(crate) findtime: Option<f64>,
    /// Seconds; negative is for ever.
    pub(crate) bantime: Option<f64>,
    /// `bantime.*` options by their last word, as given.
    pub(crate) bantime_extra: BTreeMap<String, Value>,
    pub(crate) ignoreself: Option<bool>,
    pub(crate) ignoreip: Vec<String>,
    pub(crate) ignorecommand: Option<String>,
    pub(crate) ignorecache: Option<String>,
    pub(crate) logencoding: Option<String>,
    pub(crate) logtimezone: Option<String>,
    /// Paths with `head` or `tail`.
    pub(crate) logpath: Vec<(String, String)>,
    pub(crate) actions: Vec<ActionSettings>,
    /// Patterns of files that may appear, with `head` or `tail`.
    pub(crate) patterns: Vec<(String, String)>,
    /// Our own options, without the `stockade.` in front.
    pub(crate) own: BTreeMap<String, String>,
}

/// One action of a jail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ActionSettings {
    pub(crate) name: String,
    /// File and JSON arguments of an action written in Python.
    pub(crate) python: Option<(String, String)>,
    /// In the order in which they were first set.
    pub(crate) properties: Vec<(String, Value)>,
}

impl ActionSettings {
    /// A property as text.
    pub(crate) fn property(&self, name: &str) -> Option<String> {
        self.properties.iter().find(|(n, _)| n == name).map(|(_, v)| words(v))
    }

    /// The action as the other rooms know it.
    pub(crate) fn spec(&self, jail: &str) -> stockade_enforce::actions::ActionSpec {
        stockade_enforce::actions::ActionSpec {
            jail: jail.into(),
            name: self.name.as_str().into(),
            properties: self.properties.iter().map(|(name, value)| (name.clone(), words(value))).collect(),
            python: self.python.clone(),
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        match self.properties.iter_mut().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = value,
            None => self.properties.push((name.to_owned(), value)),
        }
    }
}

impl JailSettings {
    /// Its name as the other rooms know it.
    pub(crate) fn jail(&self) -> JailName {
        JailName::new(&self.name)
    }

    /// One of our own options.
    pub(crate) fn own(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str)
    }
}

/// Why a command is refused; nothing has changed then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// The command's words, for the message.
    pub(crate) command: String,
    /// What was wrong.
    pub(crate) why: String,
}

impl Refusal {
    fn of(command: &[Value], why: String) -> Refusal {
        Refusal { command: command.iter().take(4).map(words).collect::<Vec<_>>().join(" "), why }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.why)
    }
}

impl std::error::Error for Refusal {}

type Done = Result<(), String>;

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

    /// The jail of that name.
    pub(crate) fn jail(&self, name: &str) -> Option<&JailSettings> {
        self.jails.iter().find(|j| j.name == name)
    }

    /// An option of the server as text.
    pub(crate) fn server_text(&self, name: &str) -> Option<String> {
        self.server.get(name).filter(|v| **v != Value::None).map(words)
    }

    /// Runs one command that changes settings.
    fn run(&mut self, command: &[Value]) -> Done {
        let list: Vec<String> = command.iter().map(words).collect();
        let words: Vec<&str> = list.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["config-error", text, ..] => {
                self.broken.push((*text).to_owned());
                Ok(())
            }
            ["add", name, rest @ ..] => self.add(name, rest.first().copied().unwrap_or("auto")),
            ["start", name] => {
                self.jail_mut(name)?.started = true;
                Ok(())
            }
            [
                "set",
                option @ ("loglevel" | "logtarget" | "syslogsocket" | "allowipv6" | "dbfile" | "dbmaxmatches"
                | "dbpurgeage" | "thread"),
                ..,
            ] => {
                self.server.insert((*option).to_owned(), command.get(2).cloned().unwrap_or(Value::None));
                Ok(())
            }
            ["set", option, value] if option.starts_with("stockade.") => {
                self.server.insert((*option).to_owned(), Value::Str((*value).to_owned()));
                Ok(())
            }
            ["set", name, option, rest @ ..] => {
                let jail = self.jail_mut(name)?;
                set_jail(jail, option, rest, command.get(3))
            }
            ["multi-set", name, option @ ("addfailregex" | "addignoreregex"), ..] => {
                let jail = self.jail_mut(name)?;
                for value in items(command.get(3)) {
                    let text = self::words(value);
                    set_jail(jail, option, &[&text], Some(value))?;
                }
                Ok(())
            }
            ["multi-set", name, "action", action, ..] => {
                let action = action_mut(self.jail_mut(name)?, action)?;
                for pair in items(command.get(4)) {
                    if let [key, value] = items(Some(pair)) {
                        action.set(&self::words(key), value.clone());
                    }
                }
                Ok(())
            }
            [word, ..] => Err(format!("'{word}' is not a command that changes settings")),
            [] => Err("the command is empty".to_owned()),
        }
    }

    fn add(&mut self, name: &str, backend: &str) -> Done {
        if name.is_empty() || name == "--all" {
            return Err(format!("'{name}' can't be the name of a jail"));
        }
        if self.jail(name).is_some() {
            return Err(format!("the jail '{name}' already exists"));
        }
        let known = ["auto", "polling", "pyinotify", "systemd"];
        let kind = backend.split_once('[').map_or(backend, |(kind, _)| kind).trim();
        if !known.contains(&kind) {
            return Err(format!("unknown backend '{kind}'; known are {}", known.join(", ")));
        }
        self.jails.push(JailSettings { name: name.to_owned(), backend: backend.to_owned(), ..JailSettings::default() });
        Ok(())
    }

    fn jail_mut(&mut self, name: &str) -> Result<&mut JailSettings, String> {
        self.jails.iter_mut().find(|j| j.name == name).ok_or_else(|| format!("there is no jail '{name}'"))
    }
}

/// `set JAIL OPTION VALUE..`
fn set_jail(jail: &mut JailSettings, option: &str, rest: &[&str], raw: Option<&Value>) -> Done {
    if option == "addignoreip" && rest.is_empty() {
        return Ok(());
    }
    let first = rest.first().copied().ok_or_else(|| format!("'{option}' needs a value"))?;
    let owned = || Some(first.to_owned());
    match option {
        "usedns" => jail.usedns = owned(),
        "prefregex" => jail.prefregex = owned(),
        "addfailregex" => jail.failregex.push(first.to_owned()),
        "addignoreregex" => jail.ignoreregex.push(first.to_owned()),
        "delfailregex" => remove(&mut jail.failregex, first)?,
        "delignoreregex" => remove(&mut jail.ignoreregex, first)?,
        "maxlines" => jail.maxlines = Some(int(option, first)?),
        "datepattern" => jail.datepattern = owned(),
        "addjournalmatch" => jail.journalmatch.push(rest.iter().map(|w| (*w).to_owned()).collect()),
        "deljournalmatch" => jail.journalmatch.retain(|m| m.iter().map(String::as_str).ne(rest.iter().copied())),
        "maxretry" => jail.maxretry = Some(int(option, first)?),
        "maxmatches" => jail.maxmatches = Some(int(option, first)?),
        "findtime" => jail.findtime = Some(time(option, first)?),
        "bantime" => jail.bantime = Some(time(option, first)?.trunc()),
        "ignoreself" => jail.ignoreself = Some(boolean(first)),
        "addignoreip" => jail.ignoreip.extend(rest.iter().map(|w| (*w).to_owned())),
        "delignoreip" => jail.ignoreip.retain(|w| !rest.contains(&w.as_str())),
        "ignorecommand" => jail.ignorecommand = owned(),
        "ignorecache" => jail.ignorecache = owned(),
        "logencoding" => jail.logencoding = owned(),
        "logtimezone" => jail.logtimezone = owned(),
        "addlogpath" => {
            let tail = rest.get(1).copied().unwrap_or("head");
            if !matches!(tail, "head" | "tail") {
                return Err(format!("'{tail}' is neither 'head' nor 'tail'"));
            }
            jail.logpath.retain(|(path, _)| path != first);
            jail.logpath.push((first.to_owned(), tail.to_owned()));
        }
        "dellogpath" => jail.logpath.retain(|(path, _)| path != first),
        "idle" => jail.started = !matches!(first, "on"),
        "addaction" => {
            if jail.actions.iter().any(|a| a.name == first) {
                return Err(format!("the action '{first}' already exists"));
            }
            let python =
                rest.get(1).map(|file| ((*file).to_owned(), rest.get(2).copied().unwrap_or_default().to_owned()));
            jail.actions.push(ActionSettings { name: first.to_owned(), python, properties: Vec::new() });
        }
        "delaction" => jail.actions.retain(|a| a.name != first),
        "action" => {
            let (Some(property), Some(value)) = (rest.get(1), rest.get(2)) else {
                return Err("an action's property needs a name and a value".to_owned());
            };
            action_mut(jail, first)?.set(property, Value::Str((*value).to_owned()));
        }
        _ => {
            if let Some(extra) = option.strip_prefix("bantime.") {
                jail.bantime_extra.insert(extra.to_owned(), raw.cloned().unwrap_or(Value::None));
            } else if option == "stockade.logpath" {
                jail.patterns.push((first.to_owned(), rest.get(1).copied().unwrap_or("head").to_owned()));
            } else if let Some(own) = option.strip_prefix("stockade.") {
                jail.own.insert(own.to_owned(), first.to_owned());
            } else {
                return Err(format!("a jail has no option '{option}'"));
            }
        }
    }
    Ok(())
}

fn action_mut<'j>(jail: &'j mut JailSettings, name: &str) -> Result<&'j mut ActionSettings, String> {
    let jail_name = &jail.name;
    let missing = format!("the jail '{jail_name}' has no action '{name}'");
    jail.actions.iter_mut().find(|a| a.name == name).ok_or(missing)
}

fn remove(list: &mut Vec<String>, index: &str) -> Done {
    let index: usize = index.parse().map_err(|_| format!("'{index}' is not an index"))?;
    if index < list.len() {
        list.remove(index);
    }
    Ok(())
}

fn int(option: &str, text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("{option} = '{text}' is not a whole number"))
}

fn time(option: &str, text: &str) -> Result<f64, String> {
    parse_seconds(text).map_err(|e| format!("{option} = '{text}' is not a time: {e}"))
}

/// True as configuration files mean it.
pub(crate) fn boolean(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

/// A scalar as the text that a client would have typed.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
        Value::None => "None".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) => String::new(),
    }
}

/// The members of a list; none for anything else.
fn items(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::List(list) | Value::Tuple(list)) => list,
        _ => &[],
    }
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
        assert_eq!((jail.maxretry, jail.findtime, jail.started), (Some(3), Some(600.0), true));
        assert_eq!(jail.ignoreip, ["127.0.0.1/8", "::1"]);
        assert_eq!(jail.actions[0].property("port").as_deref(), Some("ssh"));
    }

    #[test]
    fn a_failing_command_names_itself_and_changes_nothing() {
        let before = Settings::default().staged(&[command(&["add", "a"])]).unwrap();
        let stream = [command(&["add", "b"]), command(&["set", "b", "maxretry", "abc"])];
        let refusal = before.staged(&stream).unwrap_err();
        assert_eq!(refusal.to_string(), "set b maxretry abc: maxretry = 'abc' is not a whole number");
        assert!(before.jail("b").is_none());
        assert!(before.staged(&[command(&["add", "a"])]).is_err());
        assert!(before.staged(&[command(&["add", "c", "gamin"])]).is_err());
    }
}
