//! Values as the original's commands and answers carry them, and the texts
//! that they print as: one JSON line, or what Python's `repr` writes.

mod json;
mod pretty;
mod python;
#[cfg(test)]
mod tests;

pub use pretty::pretty;

/// One command of the stream: its first item is the command word.
pub type Command = Vec<Value>;

/// What a command or an answer may hold; nothing else is ever decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Python's `None`, JSON's `null`.
    None,
    /// A truth value.
    Bool(bool),
    /// A whole number; larger ones are refused by decoders.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Str(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A tuple; JSON writes it as an array.
    Tuple(Vec<Value>),
    /// Pairs in the order in which they came; JSON turns keys into text.
    Dict(Vec<(Value, Value)>),
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is a whole one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// As one line of JSON. Numbers that JSON cannot hold become `null`, bytes
    /// that are no UTF-8 get U+FFFD.
    pub fn json(&self) -> String {
        let mut out = String::new();
        json::write(&mut out, self);
        out
    }

    /// As Python's `repr` writes it, which is what `fail2ban-client -d` prints.
    pub fn repr(&self) -> String {
        let mut out = String::new();
        python::write(&mut out, self);
        out
    }
}

/// A text as Python's `repr` writes it: quoted, with escapes.
pub fn repr_str(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    stockade_core::text::write_repr(&mut out, text);
    out
}

/// A command as one line of JSON: an array.
pub fn command_json(command: &[Value]) -> String {
    let mut out = String::new();
    json::write_items(&mut out, command);
    out
}

/// A command as `fail2ban-client -d` prints it: a Python list.
pub fn command_repr(command: &[Value]) -> String {
    let mut out = String::new();
    python::write_items(&mut out, '[', command, "]");
    out
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<f64> for Value {
    fn from(f: f64) -> Self {
        Value::Float(f)
    }
}
