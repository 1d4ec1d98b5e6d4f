//! The `data` column of `bans` and `bips`: evidence as JSON.

use std::sync::Arc;

use serde_json::Value;
use stockade_core::{Decision, FailureId, GroupValue, Net};

/// What a stored ban tells about its making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Counted failures; 0 for a manual ban.
    pub failures: u32,
    /// The last matched lines, oldest first; may be empty.
    pub matches: Vec<Box<str>>,
    /// Captured groups, sorted by name, without `ip`.
    pub groups: Vec<(Arc<str>, GroupValue)>,
    /// The address for firewalls where the id is something else.
    pub ip: Option<Net>,
}

impl Evidence {
    /// Reads the column as any version of fail2ban wrote it; what can't be
    /// understood is left out.
    ///
    /// Source: a match is a text, or a list of texts to be joined (date cut out
    /// of the line); groups are texts, numbers or lists.
    pub fn read(json: &[u8]) -> Self {
        let mut evidence = Evidence::default();
        let Ok(Value::Object(map)) = serde_json::from_slice::<Value>(json) else { return evidence };
        for (key, value) in map {
            match (key.as_str(), value) {
                ("matches", Value::Array(list)) => evidence.matches = list.iter().map(match_text).collect(),
                ("failures", value) => evidence.failures = number(&value),
                ("ip", value @ Value::String(_)) => evidence.ip = address(&value),
                (_, Value::Null) => {}
                (name, Value::Array(list)) => {
                    let list = list.iter().map(|v| plain(v).into_boxed_str()).collect();
                    evidence.groups.push((name.into(), GroupValue::List(list)));
                }
                (name, value) => evidence.groups.push((name.into(), GroupValue::Text(plain(&value).into()))),
            }
        }
        evidence.groups.sort_by(|a, b| a.0.cmp(&b.0));
        evidence
    }

    /// As [`Evidence::read`], without matches and groups. Of a column that is no
    /// JSON it may tell more than nothing.
    pub(crate) fn read_brief(json: &[u8]) -> Self {
        let plain = || Evidence { matches: Vec::new(), groups: Vec::new(), ..Evidence::read(json) };
        Skim(json).brief().unwrap_or_else(plain)
    }
}

/// A walk over JSON that builds nothing.
struct Skim<'a>(&'a [u8]);

impl<'a> Skim<'a> {
    /// Failures and address; `None` for anything unusual.
    fn brief(mut self) -> Option<Evidence> {
        let mut evidence = Evidence::default();
        self.take(b'{')?;
        if self.next()? == b'}' {
            return Some(evidence);
        }
        loop {
            let key = self.text()?;
            self.take(b':')?;
            let value = self.value()?;
            match key {
                b"failures" => evidence.failures = number(&serde_json::from_slice(value).ok()?),
                b"ip" => evidence.ip = address(&serde_json::from_slice(value).ok()?),
                _ if key.contains(&b'\\') => return None,
                _ => {}
            }
            match self.next()? {
                b',' => self.take(b',')?,
                b'}' => return Some(evidence),
                _ => return None,
            }
        }
    }

    /// The next byte that is no blank; stays before it.
    fn next(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.trim_ascii_start().split_first()?;
        self.0 = rest;
        (*first == wanted).then_some(())
    }

    /// A text as it is written, without its quotes.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let all = self.0;
        let mut from = 0;
        loop {
            let at = from + all.get(from..)?.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            if all.get(at) == Some(&b'"') {
                self.0 = all.get(at + 1..)?;
                return all.get(..at);
            }
            from = at + 2;
        }
    }

    /// Any value as it is written.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.next()?;
        let all = self.0;
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => drop(self.text()?),
                b'[' | b'{' => {
                    depth += 1;
                    self.0 = self.0.get(1..)?;
                }
                b']' | b'}' => {
                    depth = depth.checked_sub(1)?;
                    self.0 = self.0.get(1..)?;
                }
                b',' | b':' => self.0 = self.0.get(1..)?,
                _ => {
                    let end = self.0.iter().position(|b| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace())?;
                    self.0 = self.0.get(end..)?;
                }
            }
            if depth == 0 {
                return all.get(..all.len() - self.0.len());
            }
        }
    }
}

/// One match as text.
fn match_text(value: &Value) -> Box<str> {
    match value {
        Value::Array(parts) => parts.iter().map(plain).collect::<String>().into(),
        other => plain(other).into(),
    }
}

/// A text without its quotes, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The address that a text is.
fn address(value: &Value) -> Option<Net> {
    FailureId::parse(value.as_str()?).net()
}

/// A count that may be a float or out of range.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate, which is wanted")]
fn number(value: &Value) -> u32 {
    value.as_f64().unwrap_or(0.0) as u32
}

/// Writes the column for `decision` into `out` (cleared first), with the last
/// `matches_max` matches. The form is what the original's reader expects.
pub(crate) fn write(decision: &Decision, matches_max: usize, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"{\"matches\": [");
    let skip = decision.matches.len().saturating_sub(matches_max);
    for (n, line) in decision.matches.iter().skip(skip).enumerate() {
        if n > 0 {
            out.extend_from_slice(b", ");
        }
        text(line, out);
    }
    out.extend_from_slice(b"], \"failures\": ");
    out.extend_from_slice(decision.failures.to_string().as_bytes());
    if let Some(ip) = decision.ip {
        out.extend_from_slice(b", \"ip\": ");
        text(&ip.to_string(), out);
    }
    for (name, value) in decision.groups.iter() {
        if matches!(&**name, "matches" | "failures") || (&**name == "ip" && decision.ip.is_some()) {
            continue;
        }
        out.extend_from_slice(b", ");
        text(name, out);
        out.extend_from_slice(b": ");
        match value {
            GroupValue::Text(value) => text(value, out),
            GroupValue::List(list) => {
                out.push(b'[');
                for (n, item) in list.iter().enumerate() {
                    if n > 0 {
                        out.extend_from_slice(b", ");
                    }
                    text(item, out);
                }
                out.push(b']');
            }
        }
    }
    out.push(b'}');
}

/// A JSON string.
fn text(value: &str, out: &mut Vec<u8>) {
    // Writing to memory can't fail; a failure would leave an unreadable column, which reads as empty.
    serde_json::to_writer(out, value).unwrap_or_default();
}

/// The column of a ban that has no evidence but its count.
pub(crate) fn bare(failures: u32) -> Vec<u8> {
    format!("{{\"matches\": [], \"failures\": {failures}}}").into_bytes()
}

/// Has `decision` anything that [`bare`] would not tell?
pub(crate) fn is_bare(decision: &Decision) -> bool {
    decision.matches.is_empty() && decision.groups.is_empty() && decision.ip.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_look_sees_the_same_numbers() {
        for json in [
            r#"{"matches": [], "failures": 3}"#,
            r#"{"matches": ["a \"quoted\" }] line\\", ["x", "y", ""]], "failures": 5, "ip": "192.0.2.7", "user": "bob"}"#,
            r#" { "failures" : 2.9 , "ip" : null , "x": {"ip": "192.0.2.1", "failures": 9}, "l": [1, {"a": [2]}] } "#,
            r#"{"ip": "2001:db8::1", "failures": 1, "failures": 7}"#,
            r#"{"f\u0061ilures": 4, "ip": "\u0031.2.3.4"}"#,
            r#"{"failures": "six", "ip": 4, "a": true, "b": -1e5}"#,
            "{}",
            " { } ",
            "[]",
            "null",
            "",
        ] {
            let full = Evidence::read(json.as_bytes());
            let brief = Evidence::read_brief(json.as_bytes());
            assert_eq!((brief.failures, brief.ip), (full.failures, full.ip), "{json}");
            assert!(brief.matches.is_empty() && brief.groups.is_empty(), "{json}");
        }
    }
}
