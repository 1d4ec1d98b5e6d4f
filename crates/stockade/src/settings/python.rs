//! What the original's commands make of the values that they are given: numbers,
//! times and truth as Python reads them, with Python's complaints.

use stockade_core::judge::formula::Number;
use stockade_core::judge::timespec::parse_number;
use stockade_wire::pickle::Exception;
use stockade_wire::value::{Value, repr_str};

/// A length of time, as whole as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seconds {
    /// Whole seconds.
    Whole(i64),
    /// With a fraction.
    Part(f64),
}

impl Seconds {
    /// The length in seconds.
    #[expect(clippy::cast_precision_loss, reason = "lengths of time are far below 2^53 seconds")]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Seconds::Whole(n) => n as f64,
            Seconds::Part(f) => f,
        }
    }

    /// As clients get it.
    pub(crate) fn value(self) -> Value {
        match self {
            Seconds::Whole(n) => Value::Int(n),
            Seconds::Part(f) => Value::Float(f),
        }
    }
}

/// A length of time as options spell it: numbers stay what they are.
pub(crate) fn seconds(value: &Value) -> Result<Seconds, Exception> {
    let text = match value {
        Value::Int(n) => return Ok(Seconds::Whole(*n)),
        Value::Bool(b) => return Ok(Seconds::Whole((*b).into())),
        Value::Float(f) if f.is_finite() => return Ok(Seconds::Part(*f)),
        other => words(other),
    };
    match parse_number(&text) {
        Ok(Number::Int(n)) => Ok(Seconds::Whole(i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX }))),
        Ok(Number::Float(f)) => Ok(Seconds::Part(f)),
        Err(_) if is_name(&text) => {
            Err(Exception::builtin("NameError", format!("name {} is not defined", repr_str(text.trim()))))
        }
        Err(e) => Err(Exception::builtin("SyntaxError", format!("'{text}' is not a time: {e}"))),
    }
}

fn is_name(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A whole number as Python's `int()` makes it.
pub(crate) fn int(value: &Value) -> Result<i64, Exception> {
    match value {
        Value::Int(n) => Ok(*n),
        Value::Bool(b) => Ok((*b).into()),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "int() cuts the fraction off; beyond the range it saturates"
        )]
        Value::Float(f) if f.is_finite() => Ok(*f as i64),
        Value::Str(text) => {
            let digits = text.trim();
            let plain = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            let well = plain.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
            let number = well.then(|| digits.replace('_', "").parse().ok()).flatten();
            let complaint = || Exception::value(format!("invalid literal for int() with base 10: {}", repr_str(text)));
            number.ok_or_else(complaint)
        }
        other => Err(Exception::builtin(
            "TypeError",
            format!("int() argument must be a string, a bytes-like object or a real number, not '{}'", kind(other)),
        )),
    }
}

/// A number with a fraction as Python's `float()` makes it.
pub(crate) fn float(value: &Value) -> Result<f64, Exception> {
    match value {
        Value::Float(f) => Ok(*f),
        Value::Str(text) => {
            let complaint = |_| Exception::value(format!("could not convert string to float: {}", repr_str(text)));
            text.trim().parse().map_err(complaint)
        }
        other => int(other).map(|n| Seconds::Whole(n).as_f64()),
    }
}

/// Truth as configuration files mean it.
pub(crate) fn boolean(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

/// Truth of any value: texts as configuration files mean them.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Str(text) => boolean(text),
        Value::Bool(b) => *b,
        Value::None => false,
        Value::Int(n) => *n != 0,
        Value::Float(f) => *f != 0.0,
        Value::Bytes(bytes) => !bytes.is_empty(),
        Value::List(items) | Value::Tuple(items) => !items.is_empty(),
        Value::Dict(pairs) => !pairs.is_empty(),
    }
}

/// A scalar as the text that a client would have typed.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        Value::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
        Value::None => "None".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Float(_) => value.repr(),
        Value::List(_) | Value::Tuple(_) | Value::Dict(_) => String::new(),
    }
}

/// The members of a list; none for anything else.
pub(crate) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_items).unwrap_or_default()
}

/// Python's name of a value's type.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "list",
        Value::Tuple(_) => "tuple",
        Value::Dict(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_python_s() {
        assert_eq!(int(&" +1_000 ".into()), Ok(1000));
        assert_eq!(int(&Value::Float(-2.7)), Ok(-2));
        assert_eq!(int(&"3.5".into()), Err(Exception::value("invalid literal for int() with base 10: '3.5'")));
        assert_eq!(int(&Value::None).unwrap_err().class, "TypeError");
        assert_eq!(seconds(&"10m".into()), Ok(Seconds::Whole(600)));
        assert_eq!(seconds(&"1.5h".into()), Ok(Seconds::Part(5400.0)));
        assert_eq!(seconds(&"foo".into()), Err(Exception::builtin("NameError", "name 'foo' is not defined")));
        assert_eq!(seconds(&"".into()).unwrap_err().class, "SyntaxError");
        assert!(truth(&"On".into()) && !truth(&"enabled".into()) && truth(&Value::Int(2)));
    }
}
