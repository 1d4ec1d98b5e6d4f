//! The control socket: who may connect, how requests and answers travel, and
//! what each word does.

pub(crate) mod answers;
pub(crate) mod desk;
pub(crate) mod fail2ban;
mod import;
mod logs_about;
pub(crate) mod server;

use serde_json::{Value, json};
use stockade_wire::pickle::{self, Exception};

/// A refusal in the tongue of the one who asked.
pub(crate) fn refusal(json: bool, text: &str) -> Vec<u8> {
    if json { line(&json!({ "error": text })) } else { unreadable(text) }
}

/// An answer in our own tongue.
fn line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string();
    text.push('\n');
    text.into_bytes()
}

/// An answer in the original's tongue.
pub(crate) fn pickled(answer: &Result<stockade_wire::Value, Exception>) -> Vec<u8> {
    marked(match answer {
        Ok(value) => pickle::answer(value),
        Err(exception) => pickle::failure(exception),
    })
}

/// What the original says to a request that it can't read.
fn unreadable(why: &str) -> Vec<u8> {
    marked(pickle::bare(&format!("ERROR: {why}").into()))
}

/// What the original says while it ends.
fn shutting_down() -> Vec<u8> {
    marked(pickle::bare(&stockade_wire::Value::List(vec!["SHUTDOWN".into()])))
}

fn marked(mut pickle: Vec<u8>) -> Vec<u8> {
    pickle.extend_from_slice(server::END_MARKER);
    pickle
}
