//! The actions of a jail, as commands describe them.

use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::python::{Seconds, items, seconds, words};

/// Seconds that a command may take.
const TIMEOUT: Seconds = Seconds::Whole(60);

/// What the original lists beside the properties: constants of its implementation.
const CONSTANTS: [&str; 4] = ["ESCAPE_CRE", "ESCAPE_VN_CRE", "banEpoch", "timeout"];

/// What an action of commands can be told to do.
pub(crate) const METHODS: [&str; 15] = [
    "ban",
    "clearAllParams",
    "consistencyCheck",
    "escapeTag",
    "executeCmd",
    "flush",
    "invalidateBanEpoch",
    "prolong",
    "reban",
    "reload",
    "replaceDynamicTags",
    "replaceTag",
    "start",
    "stop",
    "unban",
];

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
    /// Properties that every action of commands has, with their defaults.
    ///
    /// Source: fail2ban `server/action.py`, `CommandAction.clearAllParams`.
    pub(crate) const COMMANDS: [&str; 9] = [
        "actionban",
        "actioncheck",
        "actionflush",
        "actionreban",
        "actionreload",
        "actionrepair",
        "actionstart",
        "actionstop",
        "actionunban",
    ];

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

    /// Sets a property. `timeout` is a length of time; `bantime` can't be set.
    pub(crate) fn set(&mut self, name: &str, value: Value) -> Result<(), Exception> {
        let value = match name {
            "bantime" => return Ok(()),
            "timeout" => seconds(&value)?.value(),
            _ => value,
        };
        match self.properties.iter_mut().find(|(n, _)| n == name) {
            Some(slot) => slot.1 = value,
            None => self.properties.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// A property as clients get it, defaults included.
    pub(crate) fn get(&self, name: &str) -> Result<Value, Exception> {
        if let Some((_, value)) = self.properties.iter().find(|(n, _)| n == name) {
            return Ok(value.clone());
        }
        match name {
            "timeout" => Ok(TIMEOUT.value()),
            "banEpoch" => Ok(Value::Int(0)),
            _ if Self::COMMANDS.contains(&name) => Ok("".into()),
            _ => Err(Exception::builtin("AttributeError", format!("'CommandAction' object has no attribute '{name}'"))),
        }
    }

    /// Names of all properties, sorted, as the original lists them.
    pub(crate) fn names(&self) -> Vec<Value> {
        let own = self.properties.iter().map(|(name, _)| name.as_str());
        let mut names: Vec<&str> = own.chain(Self::COMMANDS).chain(CONSTANTS).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(Value::from).collect()
    }

    /// Sets pairs of name and value. A text is no list of pairs: Python takes its first letter for one.
    pub(crate) fn set_all(&mut self, pairs: &Value) -> Result<(), Exception> {
        if matches!(pairs, Value::Str(text) if !text.is_empty()) {
            return Err(Exception::builtin("IndexError", "string index out of range"));
        }
        for pair in items(Some(pairs)) {
            match items(Some(pair)) {
                [key, value, ..] => self.set(&words(key), value.clone())?,
                _ => return Err(Exception::missing_word()),
            }
        }
        Ok(())
    }
}
