//! Lengths of time as the tree writes them: `1h 30m`, `-1`, `1d+3h`.
//!
//! Source: fail2ban `server/mytime.py`, `str2seconds`. The original evaluates
//! the text as a Python expression; here it is a sum of products of numbers.

use std::fmt;

/// A number of seconds that keeps whether it was written as a whole number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seconds {
    /// Whole seconds.
    Int(i64),
    /// With a fraction, or made from months or years.
    Float(f64),
}

impl Seconds {
    /// As a number with fraction.
    #[expect(clippy::cast_precision_loss, reason = "times of interest fit 53 bits")]
    pub fn as_f64(self) -> f64 {
        match self {
            Seconds::Int(n) => n as f64,
            Seconds::Float(f) => f,
        }
    }

    /// Truncated to whole seconds, as the original does for `bantime`.
    #[expect(clippy::cast_possible_truncation, reason = "float casts saturate, which is what we want")]
    pub fn trunc(self) -> i64 {
        match self {
            Seconds::Int(n) => n,
            Seconds::Float(f) => f as i64,
        }
    }
}

impl fmt::Display for Seconds {
    /// As Python prints the number, which is what `--str2sec` shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Seconds::Int(n) => stockade_wire::Value::Int(*n).repr(),
            Seconds::Float(x) => stockade_wire::Value::Float(*x).repr(),
        })
    }
}

/// Longest text that is read.
const MAX_LENGTH: usize = 1_000;

/// Reads a length of time.
///
/// # Errors
/// What is wrong with the text.
pub fn seconds(text: &str) -> Result<Seconds, String> {
    if text.len() > MAX_LENGTH {
        return Err("it is too long".to_owned());
    }
    let tokens = tokens(without_comment(text))?;
    if tokens.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let value = parser.sum()?;
    match parser.tokens.get(parser.at) {
        None => Ok(value),
        Some(token) => Err(format!("'{token}' is not expected there")),
    }
}

/// What stands before a `#`: to Python, which evaluates the text, the rest of
/// that line is a comment. More lines behind it are an error there and here.
fn without_comment(text: &str) -> &str {
    match text.split_once('#') {
        Some((before, comment)) if !comment.contains('\n') => before,
        _ => text,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Number(Seconds),
    /// Factor of a unit; binds to the number before it.
    Unit(Seconds),
    Sign(char),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Number(n) | Token::Unit(n) => n.fmt(f),
            Token::Sign(c) => write!(f, "{c}"),
        }
    }
}

fn unit(word: &str) -> Option<Seconds> {
    Some(Seconds::Int(match word {
        "s" | "ss" | "se" | "sec" | "second" | "seconds" => 1,
        "m" | "mm" | "mi" | "min" | "minute" | "minutes" => 60,
        "h" | "hh" | "ho" | "hou" | "hour" | "hours" => 3_600,
        "d" | "dd" | "da" | "day" | "days" => 86_400,
        "w" | "ww" | "we" | "wee" | "week" | "weeks" => 604_800,
        "mo" | "mon" | "month" | "months" => return Some(Seconds::Float(2_629_800.0)),
        "y" | "yy" | "ye" | "yea" | "year" | "years" => return Some(Seconds::Float(31_557_600.0)),
        _ => return None,
    }))
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = crate::text::strip(text);
    while let Some(c) = rest.chars().next() {
        if crate::text::is_space(c) {
            rest = rest.trim_start_matches(crate::text::is_space);
        } else if c.is_ascii_digit() || c == '.' {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            tokens.push(Token::Number(number(word)?));
            rest = tail;
        } else if c.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            let unit = unit(&word.to_lowercase()).ok_or_else(|| format!("'{word}' is no unit"))?;
            if !matches!(tokens.last(), Some(Token::Number(_))) {
                return Err(format!("a number is missing before '{word}'"));
            }
            tokens.push(Token::Unit(unit));
            rest = tail;
        } else if "+-*/()".contains(c) {
            tokens.push(Token::Sign(c));
            rest = rest.get(1..).unwrap_or("");
        } else {
            return Err(format!("'{c}' is not expected there"));
        }
    }
    Ok(tokens)
}

fn number(word: &str) -> Result<Seconds, String> {
    let bad = || format!("'{word}' is no number");
    if word.starts_with('_') || word.ends_with('_') || word.contains("__") || word.contains("_.") || word.contains("._")
    {
        return Err(bad());
    }
    let plain = word.replace('_', "");
    if plain.contains('.') {
        return plain.parse().map(Seconds::Float).map_err(|_| bad());
    }
    if plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|b| b != b'0') {
        return Err(format!("'{word}' begins with a zero"));
    }
    plain.parse().map(Seconds::Int).map_err(|_| bad())
}

/// How deep brackets may nest.
const MAX_DEPTH: u32 = 50;

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

impl Parser {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn takes(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    /// Terms joined by `+`, `-` or nothing.
    fn sum(&mut self) -> Result<Seconds, String> {
        let mut value = self.product()?;
        loop {
            if self.takes('+') {
                value = combine(value, self.product()?, i64::checked_add, |a, b| a + b)?;
            } else if self.takes('-') {
                value = combine(value, self.product()?, i64::checked_sub, |a, b| a - b)?;
            } else if matches!(self.peek(), Some(Token::Number(_))) {
                value = combine(value, self.product()?, i64::checked_add, |a, b| a + b)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Seconds, String> {
        let mut value = self.factor()?;
        loop {
            if let Some(Token::Unit(unit)) = self.peek() {
                self.at += 1;
                value = combine(value, unit, i64::checked_mul, |a, b| a * b)?;
            } else if self.takes('*') {
                value = combine(value, self.factor()?, i64::checked_mul, |a, b| a * b)?;
            } else if self.takes('/') {
                let by = self.factor()?.as_f64();
                if by == 0.0 {
                    return Err("it divides by zero".to_owned());
                }
                value = Seconds::Float(value.as_f64() / by);
            } else {
                return Ok(value);
            }
        }
    }

    fn factor(&mut self) -> Result<Seconds, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deep".to_owned());
        }
        let value = if self.takes('-') {
            match self.factor()? {
                Seconds::Int(n) => Ok(Seconds::Int(-n)),
                Seconds::Float(f) => Ok(Seconds::Float(-f)),
            }
        } else if self.takes('+') {
            self.factor()
        } else if self.takes('(') {
            let value = self.sum()?;
            if self.takes(')') { Ok(value) } else { Err("a bracket is not closed".to_owned()) }
        } else {
            match self.peek() {
                Some(Token::Number(n)) => {
                    self.at += 1;
                    Ok(n)
                }
                Some(token) => Err(format!("'{token}' is not expected there")),
                None => Err("it ends too early".to_owned()),
            }
        };
        self.depth -= 1;
        value
    }
}

fn combine(
    a: Seconds,
    b: Seconds,
    whole: fn(i64, i64) -> Option<i64>,
    float: fn(f64, f64) -> f64,
) -> Result<Seconds, String> {
    match (a, b) {
        (Seconds::Int(x), Seconds::Int(y)) => whole(x, y).map(Seconds::Int).ok_or("it is too large".to_owned()),
        _ => Ok(Seconds::Float(float(a.as_f64(), b.as_f64()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_original_reads_them() {
        for (text, shown) in [
            ("1d12h", "129600"),
            ("1h 2m 3s", "3723"),
            ("1m30", "90"),
            ("1d 12", "86412"),
            ("2d+3h", "183600"),
            ("1h*2", "7200"),
            ("1.5h", "5400.0"),
            ("1mo", "2629800.0"),
            ("1year-6mo", "15778800.0"),
            ("5M", "300"),
            ("-1", "-1"),
            ("1 000", "1"),
            ("1_000", "1000"),
            ("(1h+30m)*2", "10800"),
            ("3600/2", "1800.0"),
        ] {
            assert_eq!(seconds(text).map(|s| s.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for text in ["inf", "foo", "", "010", "0x10", "1h,30m", "1h-", "((1)", "m"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(seconds(&"-".repeat(900)).is_err());
    }
}
