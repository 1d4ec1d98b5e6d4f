//! What a server's answer says, for clients.

use crate::value::Value;

/// A server's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `(0, result)`
    Result(Value),
    /// `(1, exception)`
    Refused(Refusal),
    /// Something else: the server could not read the request or write its answer.
    Other(Value),
}

/// An exception as the server names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Where its class is at home, such as `builtins`.
    pub module: String,
    /// Its class, such as `ValueError`.
    pub class: String,
    /// What it was made with.
    pub args: Vec<Value>,
}

impl Refusal {
    /// Its arguments as Python prints a tuple.
    pub fn args_repr(&self) -> String {
        match (self.class.as_str(), self.args.as_slice()) {
            ("JSONDecodeError", [Value::Str(_), Value::Str(_), Value::Int(_)]) => {
                Value::Tuple(vec![self.to_string().into()]).repr()
            }
            // The file's name is not among them, though it was made with it.
            (class, [Value::Int(_), Value::Str(_), _, ..]) if class.ends_with("Error") => {
                Value::Tuple(self.args.iter().take(2).cloned().collect()).repr()
            }
            _ => Value::Tuple(self.args.clone()).repr(),
        }
    }
}

impl std::fmt::Display for Refusal {
    /// As Python's `str` has it, which is what the original's client prints.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_file_error = self.class.ends_with("Error") && matches!(self.args.first(), Some(Value::Int(_)));
        match self.args.as_slice() {
            [] => Ok(()),
            [one] if matches!(self.class.as_str(), "KeyError" | "UnknownJailException") => f.write_str(&one.repr()),
            [Value::Str(one)] => f.write_str(one),
            [one] => f.write_str(&one.repr()),
            [number, Value::Str(text)] if is_file_error => write!(f, "[Errno {}] {text}", number.repr()),
            [number, Value::Str(text), file, ..] if is_file_error => {
                write!(f, "[Errno {}] {text}: {}", number.repr(), file.repr())
            }
            [Value::Str(text), place] if self.class == "SyntaxError" => match place.as_items() {
                Some([Value::Str(file), Value::Int(line), ..]) => write!(f, "{text} ({file}, line {line})"),
                _ => f.write_str(text),
            },
            [Value::Str(text), Value::Str(json), Value::Int(at)] if self.class == "JSONDecodeError" => {
                let before: Vec<char> = json.chars().take(usize::try_from(*at).unwrap_or(0)).collect();
                let line = before.iter().filter(|c| **c == '\n').count() + 1;
                let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
                write!(f, "{text}: line {line} column {column} (char {at})")
            }
            more => f.write_str(&Value::Tuple(more.to_vec()).repr()),
        }
    }
}
