//! One jail as commands describe it, and what `set JAIL` does to it.
//!
//! Source: fail2ban `server/transmitter.py`, `__commandSet`, and the setters
//! behind it: the checks, their order and their complaints are those.

use std::collections::BTreeMap;

use stockade_core::judge::{IgnoreCache, formula};
use stockade_core::matcher::Encoding;
use stockade_core::{FailureId, JailName, Span};
use stockade_wire::pickle::Exception;
use stockade_wire::value::{Value, repr_str};

use super::Done;
use super::action::ActionSettings;
use super::python::{Seconds, int, seconds, truth, words};

/// One jail as commands describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JailSettings {
    pub(crate) name: String,
    pub(crate) backend: String,
    /// Was it told to start? Before that it only exists.
    pub(crate) started: bool,
    /// It stays, but reads nothing.
    pub(crate) idle: bool,
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
    pub(crate) findtime: Option<Seconds>,
    /// Seconds; negative is for ever.
    pub(crate) bantime: Option<f64>,
    /// `bantime.*` options by their last word, as given.
    pub(crate) bantime_extra: BTreeMap<String, Value>,
    pub(crate) ignoreself: Option<bool>,
    pub(crate) ignoreip: Vec<String>,
    pub(crate) ignorecommand: Option<String>,
    pub(crate) ignorecache: Option<IgnoreCache>,
    pub(crate) logencoding: Option<String>,
    pub(crate) logtimezone: Option<String>,
    /// Paths with `head` or `tail`.
    pub(crate) logpath: Vec<(String, String)>,
    pub(crate) actions: Vec<ActionSettings>,
    /// Patterns of files that may appear, with `head` or `tail`.
    pub(crate) patterns: Vec<(String, String)>,
    /// Where patterns are written: option, pattern, file and line.
    pub(crate) origins: Vec<(String, String, String)>,
    /// `stockade.success`: patterns of successful lines.
    pub(crate) success: Vec<String>,
    /// Our own options, without the `stockade.` in front.
    pub(crate) own: BTreeMap<String, String>,
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

    /// `backend` without its arguments.
    pub(crate) fn backend_kind(&self) -> &str {
        self.backend.split_once('[').map_or(self.backend.as_str(), |(kind, _)| kind).trim()
    }

    /// Does it read the journal? Files and journal each ignore the other's commands.
    pub(crate) fn reads_journal(&self) -> bool {
        self.backend_kind() == "systemd"
    }

    /// The action of that name.
    pub(crate) fn action(&self, name: &str) -> Result<&ActionSettings, Exception> {
        self.actions.iter().find(|a| a.name == name).ok_or_else(|| no_action(name))
    }

    /// The same, to be changed.
    pub(super) fn action_mut(&mut self, name: &str) -> Result<&mut ActionSettings, Exception> {
        self.actions.iter_mut().find(|a| a.name == name).ok_or_else(|| no_action(name))
    }

    /// Where the patterns of an option stand, which were set just before.
    fn take_origins(&mut self, option: &str, places: &[Value]) {
        let patterns: Vec<&String> = match option {
            "failregex" => self.failregex.iter().collect(),
            "ignoreregex" => self.ignoreregex.iter().collect(),
            "prefregex" => self.prefregex.iter().collect(),
            _ => self.datepattern.iter().collect(),
        };
        let (true, Some(first)) = (places.len() == 1 || places.len() == patterns.len(), places.first()) else { return };
        let places = places.iter().chain(std::iter::repeat(first));
        let told = patterns.into_iter().zip(places);
        let told: Vec<_> = told.map(|(pattern, place)| (option.to_owned(), pattern.clone(), words(place))).collect();
        self.origins.retain(|(known, ..)| known != option);
        self.origins.extend(told);
    }

    /// Where a pattern of an option is written, if a file says so.
    pub(crate) fn origin(&self, option: &str, pattern: &str) -> Option<&str> {
        let known = self.origins.iter().find(|(o, p, _)| o == option && p == pattern);
        known.map(|(.., place)| place.as_str())
    }

    /// `set JAIL OPTION VALUE..`
    pub(super) fn set(&mut self, option: &str, rest: &[Value]) -> Done {
        let first = || rest.first().ok_or_else(Exception::missing_word);
        let text = || first().map(words);
        match option {
            "idle" => self.idle = idle(first()?)?,
            "usedns" => self.usedns = Some(usedns(first()?)),
            "prefregex" => self.prefregex = Some(text()?),
            "addfailregex" => self.failregex.push(text()?),
            "addignoreregex" => self.ignoreregex.push(text()?),
            "delfailregex" => remove(&mut self.failregex, int(first()?)?),
            "delignoreregex" => remove(&mut self.ignoreregex, int(first()?)?),
            "maxlines" => self.maxlines = Some(maxlines(int(first()?)?)?),
            "datepattern" => self.datepattern = Some(text()?),
            "addjournalmatch" if self.may_read_journal() => self.journalmatch.extend(alternatives(rest)),
            "deljournalmatch" if self.may_read_journal() => self.forget_journalmatch(rest)?,
            "maxretry" => self.maxretry = Some(int(first()?)?),
            "maxmatches" => self.maxmatches = Some(int(first()?)?),
            "findtime" => self.findtime = Some(seconds(first()?)?),
            "bantime" => self.bantime = Some(seconds(first()?)?.as_f64().trunc()),
            "ignoreself" => self.ignoreself = Some(truth(first()?)),
            "addignoreip" => self.ignore(rest),
            "delignoreip" => self.ignore_no_more(&text()?)?,
            "ignorecommand" => self.ignorecommand = Some(text()?),
            "ignorecache" => self.ignorecache = ignorecache(&text()?)?,
            "logencoding" => self.logencoding = Some(encoding(text()?)?),
            "logtimezone" => self.logtimezone = Some(text()?),
            "addlogpath" => self.add_log(&text()?, rest)?,
            "dellogpath" => {
                let path = text()?;
                self.logpath.retain(|(p, _)| *p != path);
            }
            "addjournalmatch" | "deljournalmatch" => {}
            "addaction" => self.add_action(&text()?, rest)?,
            "delaction" => {
                let name = text()?;
                self.action(&name)?;
                self.actions.retain(|a| a.name != name);
            }
            "action" => {
                let (name, property) = (text()?, rest.get(1).ok_or_else(Exception::missing_word)?);
                let action = self.action_mut(&name)?;
                action.set(&words(property), rest.get(2).ok_or_else(Exception::missing_word)?.clone())?;
            }
            "stockade.origin" => self.take_origins(&text()?, rest.get(1..).unwrap_or_default()),
            "stockade.success" => self.success = rest.iter().map(words).collect(),
            "stockade.logpath" => {
                let place = rest.get(1).map_or_else(|| "head".to_owned(), words);
                let pattern = text()?;
                if !self.patterns.iter().any(|(p, _)| *p == pattern) {
                    self.patterns.push((pattern, place));
                }
            }
            _ => {
                if let Some(extra) = option.strip_prefix("bantime.") {
                    self.set_increment(extra, first()?)?;
                } else if let Some(own) = option.strip_prefix("stockade.") {
                    self.own.insert(own.to_owned(), text()?);
                } else {
                    return Err(no_option(option));
                }
            }
        }
        Ok(())
    }

    /// With `auto` only the stage knows what will be read.
    fn may_read_journal(&self) -> bool {
        matches!(self.backend_kind(), "systemd" | "auto")
    }

    fn forget_journalmatch(&mut self, rest: &[Value]) -> Done {
        let wanted: Vec<String> = rest.iter().map(words).collect();
        let Some(at) = self.journalmatch.iter().position(|m| *m == wanted) else {
            let list = Value::List(rest.to_vec());
            return Err(Exception::value(format!("Match {} not found", list.repr())));
        };
        self.journalmatch.remove(at);
        Ok(())
    }

    fn ignore(&mut self, rest: &[Value]) {
        for word in rest.iter().map(words).filter(|word| !word.is_empty()) {
            let id = FailureId::parse(&word);
            if !self.ignoreip.iter().any(|known| FailureId::parse(known) == id) {
                self.ignoreip.push(word);
            }
        }
    }

    fn ignore_no_more(&mut self, word: &str) -> Done {
        let id = FailureId::parse(word);
        match self.ignoreip.iter().position(|known| FailureId::parse(known) == id) {
            Some(at) => drop(self.ignoreip.remove(at)),
            None => return Err(Exception::value("list.remove(x): x not in list")),
        }
        Ok(())
    }

    fn add_log(&mut self, path: &str, rest: &[Value]) -> Done {
        let place = match rest.get(1).map(|word| words(word).to_lowercase()) {
            None => "head".to_owned(),
            Some(word) if rest.len() == 2 && (word == "head" || word == "tail") => word,
            Some(_) if rest.len() == 2 => return Err(Exception::value("File option must be 'head' or 'tail'")),
            Some(_) => return Err(Exception::value("Only one file can be added at a time")),
        };
        // A path that is read already keeps its place.
        if !self.reads_journal() && !self.logpath.iter().any(|(known, _)| known == path) {
            self.logpath.push((path.to_owned(), place));
        }
        Ok(())
    }

    fn add_action(&mut self, name: &str, rest: &[Value]) -> Done {
        if self.actions.iter().any(|a| a.name == name) {
            return Err(Exception::value(format!("Action {name} already exists")));
        }
        let python = match rest {
            [_, file, arguments, ..] => Some((words(file), words(arguments))),
            [_, _] => return Err(Exception::missing_word()),
            _ => None,
        };
        self.actions.push(ActionSettings { name: name.to_owned(), python, properties: Vec::new() });
        Ok(())
    }

    fn set_increment(&mut self, name: &str, value: &Value) -> Done {
        let text = words(value);
        if *value == Value::None || text.is_empty() && matches!(value, Value::Str(_)) {
            self.bantime_extra.remove(name);
            if name == "increment" {
                self.bantime_extra.insert(name.to_owned(), Value::Bool(false));
            }
            return Ok(());
        }
        let not_an_expression =
            |e: formula::Error| Exception::builtin("SyntaxError", format!("bantime.{name} = '{text}': {e}"));
        let value = match name {
            "increment" => Value::Bool(truth(value)),
            "maxtime" | "rndtime" => seconds(value)?.value(),
            "factor" => {
                formula::parse_constant(&text).map_err(not_an_expression)?;
                value.clone()
            }
            "formula" => {
                formula::Formula::parse(&text).map_err(not_an_expression)?;
                value.clone()
            }
            "multipliers" => {
                for word in text.split(' ') {
                    int(&word.into())?;
                }
                value.clone()
            }
            _ => value.clone(),
        };
        self.bantime_extra.insert(name.to_owned(), value);
        Ok(())
    }
}

/// The original's complaint about an option of `set JAIL` that is none.
pub(super) fn no_option(option: &str) -> Exception {
    Exception::plain(format!("Invalid command {} (no set action or not yet implemented)", repr_str(option)))
}

fn no_action(name: &str) -> Exception {
    Exception::builtin("KeyError", format!("Invalid Action name: {name}"))
}

fn idle(value: &Value) -> Result<bool, Exception> {
    match words(value).as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Exception::plain("Invalid idle option, must be 'on' or 'off'")),
    }
}

fn usedns(value: &Value) -> String {
    let text = match value {
        Value::Bool(true) => "yes".to_owned(),
        other => words(other).to_lowercase(),
    };
    if matches!(text.as_str(), "yes" | "warn" | "no" | "raw") { text } else { "no".to_owned() }
}

fn maxlines(lines: i64) -> Result<i64, Exception> {
    if lines > 0 { Ok(lines) } else { Err(Exception::value("maxlines must be integer greater than zero")) }
}

fn encoding(name: String) -> Result<String, Exception> {
    match Encoding::parse(&name) {
        Ok(_) => Ok(name),
        Err(why) if why.contains("not supported") => Err(Exception::builtin("LookupError", why)),
        Err(_) => Err(Exception::builtin("LookupError", format!("unknown encoding: {name}"))),
    }
}

/// Words with `+` between alternatives.
fn alternatives(rest: &[Value]) -> Vec<Vec<String>> {
    let list: Vec<String> = rest.iter().map(words).collect();
    list.split(|word| word == "+").map(<[String]>::to_vec).collect()
}

/// `key="<ip>", max-count=100, max-time=5m`; nothing switches the cache off.
fn ignorecache(text: &str) -> Result<Option<IgnoreCache>, Exception> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let options = super::arguments(text);
    let get = |name: &str| options.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let key = get("key").ok_or_else(|| Exception::builtin("KeyError", "key"))?;
    let count = get("max-count").map_or(Ok(100), |text| int(&text.into()))?;
    let time = get("max-time").map_or(Ok(Seconds::Whole(300)), |text| seconds(&text.into()))?;
    Ok(Some(IgnoreCache {
        key: key.into(),
        count_max: u32::try_from(count.max(0)).unwrap_or(u32::MAX),
        time_max: Span::from_secs_f64(time.as_f64()),
    }))
}

/// Removes by index as Python does: from the end if negative; none if there is none.
fn remove(list: &mut Vec<String>, index: i64) {
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let at = if index < 0 { index.saturating_add(length) } else { index };
    if let Ok(at) = usize::try_from(at)
        && at < list.len()
    {
        list.remove(at);
    }
}
