//! Writing answers: `(0, result)` or `(1, exception)`.

use super::exception::Exception;
use crate::value::Value;

/// A request as a pickle (protocol 4, without the end marker): the command's
/// words in a list. What the original's client would have turned into text, is.
pub fn request(command: &[Value]) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    let words = command.iter().map(|word| match word {
        Value::None | Value::Tuple(_) | Value::Bytes(_) => Value::Str(word.repr()),
        other => other.clone(),
    });
    push(&mut out, &Value::List(words.collect()));
    out.push(b'.');
    out
}

/// A successful answer as a pickle (protocol 4, without the end marker).
pub fn answer(result: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4, b'K', 0];
    push(&mut out, result);
    out.extend([0x86, b'.']);
    out
}

/// A refusal as a pickle (protocol 4, without the end marker).
pub fn failure(exception: &Exception) -> Vec<u8> {
    let mut out = vec![0x80, 4, b'K', 1];
    push_text(&mut out, exception.module);
    push_text(&mut out, exception.class);
    out.push(0x93);
    out.push(b'(');
    for arg in &exception.args {
        push(&mut out, arg);
    }
    out.extend([b't', b'R', 0x86, b'.']);
    out
}

/// A value that is no tuple of an answer: what the original sends when it could
/// not read a request, and while it is stopping.
pub fn bare(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    push(&mut out, value);
    out.push(b'.');
    out
}

fn push(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Int(n) => push_int(out, *n),
        Value::Float(f) => {
            out.push(b'G');
            out.extend(f.to_be_bytes());
        }
        Value::Str(text) => push_text(out, text),
        Value::Bytes(bytes) => {
            out.push(0x8e);
            out.extend((bytes.len() as u64).to_le_bytes());
            out.extend(bytes);
        }
        Value::List(items) => {
            out.extend([b']', b'(']);
            for item in items {
                push(out, item);
            }
            out.push(b'e');
        }
        Value::Tuple(items) => {
            out.push(b'(');
            for item in items {
                push(out, item);
            }
            out.push(b't');
        }
        Value::Dict(pairs) => {
            out.extend([b'}', b'(']);
            for (key, value) in pairs {
                push(out, key);
                push(out, value);
            }
            out.push(b'u');
        }
    }
}

fn push_int(out: &mut Vec<u8>, n: i64) {
    if let Ok(small) = i32::try_from(n) {
        out.push(b'J');
        out.extend(small.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(n.to_le_bytes());
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    if let Ok(short) = u8::try_from(text.len()) {
        out.extend([0x8c, short]);
    } else {
        out.push(0x8d);
        out.extend((text.len() as u64).to_le_bytes());
    }
    out.extend(text.as_bytes());
}
