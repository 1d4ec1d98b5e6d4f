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
                ("ip", Value::String(text)) => evidence.ip = FailureId::parse(&text).net(),
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
