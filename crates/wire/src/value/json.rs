//! Values as JSON.

use super::Value;

/// Writes `value` without line breaks.
pub(super) fn write(out: &mut String, value: &Value) {
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(f) => out.push_str(&serde_json::Value::from(*f).to_string()),
        Value::Str(text) => write_str(out, text),
        Value::Bytes(bytes) => write_str(out, &String::from_utf8_lossy(bytes)),
        Value::List(items) | Value::Tuple(items) => write_items(out, items),
        Value::Dict(pairs) => {
            out.push('{');
            for (n, (key, value)) in pairs.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                match key {
                    Value::Str(text) => write_str(out, text),
                    other => write_str(out, &other.repr()),
                }
                out.push(':');
                write(out, value);
            }
            out.push('}');
        }
    }
}

/// Writes an array.
pub(super) fn write_items(out: &mut String, items: &[Value]) {
    out.push('[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn write_str(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
