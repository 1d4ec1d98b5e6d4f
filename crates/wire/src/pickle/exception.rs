//! Exceptions as the original's server answers them.

use std::fmt;

use crate::value::Value;

/// An exception as the client knows it: it rebuilds the class by its name, so
/// only names that exist there may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// `builtins`, `fail2ban.exceptions` or `fail2ban.server.failregex`.
    pub module: &'static str,
    /// Such as `ValueError` or `UnknownJailException`.
    pub class: &'static str,
    /// What it is called with.
    pub args: Vec<Value>,
}

impl Exception {
    /// One of Python's own, with a text.
    pub fn builtin(class: &'static str, text: impl Into<Value>) -> Self {
        Exception { module: "builtins", class, args: vec![text.into()] }
    }

    /// One of the original's own, with a text.
    pub fn of_fail2ban(class: &'static str, text: impl Into<Value>) -> Self {
        Exception { module: "fail2ban.exceptions", class, args: vec![text.into()] }
    }

    /// Python's plain `Exception`.
    pub fn plain(text: impl Into<Value>) -> Self {
        Exception::builtin("Exception", text)
    }

    /// Python's `ValueError`.
    pub fn value(text: impl Into<Value>) -> Self {
        Exception::builtin("ValueError", text)
    }

    /// There is no jail of that name.
    pub fn unknown_jail(name: &str) -> Self {
        Exception::of_fail2ban("UnknownJailException", name)
    }

    /// There is a jail of that name already.
    pub fn duplicate_jail(name: &str) -> Self {
        Exception::of_fail2ban("DuplicateJailException", name)
    }

    /// A word is missing.
    pub fn missing_word() -> Self {
        Exception::builtin("IndexError", "list index out of range")
    }

    /// A regular expression can't be used.
    pub fn regex(text: impl Into<Value>) -> Self {
        Exception { module: "fail2ban.server.failregex", class: "RegexException", args: vec![text.into()] }
    }
}

impl fmt::Display for Exception {
    /// For our own log and clients: what is wrong, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |n: usize| self.args.get(n).and_then(Value::as_str).unwrap_or_default();
        match self.class {
            "UnknownJailException" => write!(f, "there is no jail '{}'", text(0)),
            "DuplicateJailException" => write!(f, "the jail '{}' already exists", text(0)),
            "IndexError" => f.write_str("a word is missing"),
            "FileNotFoundError" | "PermissionError" | "IsADirectoryError" | "OSError" => {
                write!(f, "{}: {}", text(2), text(1))
            }
            _ => match text(0).strip_prefix("invalid literal for int() with base 10: ") {
                Some(word) => write!(f, "{word} is not a whole number"),
                None => f.write_str(text(0)),
            },
        }
    }
}

impl std::error::Error for Exception {}
