//! Values as Python's `repr` writes them.

use stockade_core::text::{write_repr, write_repr_bytes};

use super::Value;

/// Writes `value` as Python source.
pub(super) fn write(out: &mut String, value: &Value) {
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(f) => out.push_str(&float(*f)),
        Value::Str(text) => write_repr(out, text),
        Value::Bytes(bytes) => write_repr_bytes(out, bytes),
        Value::List(items) => write_items(out, '[', items, "]"),
        Value::Tuple(items) => write_items(out, '(', items, if items.len() == 1 { ",)" } else { ")" }),
        Value::Dict(pairs) => {
            out.push('{');
            for (n, (key, value)) in pairs.iter().enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                write(out, key);
                out.push_str(": ");
                write(out, value);
            }
            out.push('}');
        }
    }
}

/// Writes items between brackets.
pub(super) fn write_items(out: &mut String, open: char, items: &[Value], close: &str) {
    out.push(open);
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
    out.push_str(close);
}

/// A float in its shortest form that reads back the same, with an exponent
/// below 1e-4 and from 1e16 on.
fn float(f: f64) -> String {
    if f.is_nan() {
        return "nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let sci = format!("{f:e}");
    let (mantissa, exponent) = sci.split_once('e').unwrap_or((&sci, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{f}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
