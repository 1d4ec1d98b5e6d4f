//! The control socket: who may connect, how requests and answers travel, and
//! what each word does.

pub(crate) mod answers;
pub(crate) mod desk;
mod import;
pub(crate) mod server;

use serde_json::{Value, json};

/// A refusal in the tongue of the one who asked.
fn refusal(json: bool, text: &str) -> Vec<u8> {
    if json { line(&json!({ "error": text })) } else { pickled(stockade_wire::pickle::failure(&exception(text))) }
}

/// An answer in our own tongue.
fn line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string();
    text.push('\n');
    text.into_bytes()
}

/// An answer in the original's tongue.
fn pickled(mut pickle: Vec<u8>) -> Vec<u8> {
    pickle.extend_from_slice(server::END_MARKER);
    pickle
}

fn exception(text: &str) -> stockade_wire::pickle::Exception {
    stockade_wire::pickle::Exception::builtin("Exception", text)
}
