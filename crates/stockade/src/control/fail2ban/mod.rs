//! The original's tongue: what each command of its clients means, and how its
//! answers look.
//!
//! Source: fail2ban `server/transmitter.py`: the command words, the order in
//! which words are looked at, and the exceptions that answer wrong ones.

mod ask;
mod bans;
mod call;
mod change;
mod rights;

use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

pub(super) use ask::ask;
pub(crate) use bans::Bans;
pub(super) use bans::about_bans;
pub(super) use call::{call, is_call};
pub(super) use change::change;
pub(super) use rights::Rights;
pub(crate) use rights::group;

use crate::settings::{float, kind, words};

/// The version of the original whose commands and answers these are.
pub(crate) const VERSION: &str = stockade_config::VERSION;

/// A word that only we answer, with itself.
pub(crate) const WHO_WORD: &str = "stockade";

/// Behind `stop`: bans stay in force, whatever `stockade.onstop` says. No jail can have this name.
pub(crate) const STOP_KEEPS: &str = "--keep";

/// What a command gets, or why it gets nothing.
pub(super) type Answer = Result<Value, Exception>;

/// Who has to do with a command.
pub(super) enum Route {
    /// Nobody: this is the answer.
    Now(Answer),
    /// Those who look and change nothing.
    Ask,
    /// Who bans and unbans.
    Bans,
    /// The operator.
    Change,
    /// Nobody, after so many seconds.
    Sleep(f64),
    /// The whole daemon: it ends.
    Stop {
        /// What is banned stays so: a new one follows.
        keep: bool,
    },
}

/// Finds out who has to do with a command.
pub(super) fn route(request: &Value) -> Route {
    let command = match request {
        Value::List(items) | Value::Tuple(items) => items,
        // Python takes the first letter for the command.
        Value::Str(text) if !text.is_empty() => return Route::Now(Err(Exception::plain("Invalid command"))),
        Value::Str(_) => return Route::Now(Err(Exception::builtin("IndexError", "string index out of range"))),
        other => {
            let text = format!("'{}' object is not subscriptable", kind(other));
            return Route::Now(Err(Exception::builtin("TypeError", text)));
        }
    };
    let Some(word) = command.first() else { return Route::Now(Err(Exception::missing_word())) };
    match words(word).as_str() {
        "ping" => Route::Now(Ok("pong".into())),
        WHO_WORD if command.len() == 1 => Route::Now(Ok(WHO_WORD.into())),
        "version" => Route::Now(Ok(VERSION.into())),
        "server-status" => Route::Now(Ok("Server ready".into())),
        "echo" => Route::Now(Ok(Value::List(command.get(1..).unwrap_or_default().to_vec()))),
        "sleep" => match command.get(1).ok_or_else(Exception::missing_word).and_then(float) {
            Ok(seconds) if seconds >= 0.0 => Route::Sleep(seconds),
            Ok(_) => Route::Now(Err(Exception::value("sleep length must be non-negative"))),
            Err(e) => Route::Now(Err(e)),
        },
        "status" | "stats" | "statistic" | "statistics" | "banned" | "get" => Route::Ask,
        "stop" if command.len() == 1 => Route::Stop { keep: false },
        // Our own client says so before it starts a server anew.
        "stop" if command.get(1).is_some_and(|word| words(word) == STOP_KEEPS) => Route::Stop { keep: true },
        "unban" if command.len() == 1 => Route::Now(Err(Exception::plain("Invalid command"))),
        _ if bans::is_about_bans(command) => Route::Bans,
        "set" | "multi-set" | "add" | "start" | "stop" | "reload" | "server-stream" | "flushlogs" | "config-error" => {
            Route::Change
        }
        _ => Route::Now(Err(Exception::plain("Invalid command"))),
    }
}

/// An exception as Python's `repr` shows it, for the own log.
pub(super) fn shown(exception: &Exception) -> String {
    let args: Vec<String> = exception.args.iter().map(Value::repr).collect();
    format!("{}({})", exception.class, args.join(", "))
}
