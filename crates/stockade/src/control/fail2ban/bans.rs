//! Commands about single bans: `banip`, `unbanip`, `unban`, `attempt`.
//!
//! They pass the operator by, and several are under way at a time, so that one
//! write to the disk is enough for all that wait for it.

use std::sync::Arc;
use std::sync::mpsc::channel;

use stockade_core::judge::{Command, Outcome};
use stockade_core::{FailureId, JailName, Origin};
use stockade_store::Forget;
use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::Answer;
use crate::daemon::board::Board;
use crate::daemon::judge::{JudgeControl, JudgeInbox};
use crate::daemon::store::StoreHandle;
use crate::log::Log;
use crate::settings::words;

/// Whom bans by hand need.
#[derive(Clone)]
pub(crate) struct Bans {
    pub(crate) judge: Arc<JudgeInbox>,
    pub(crate) store: StoreHandle,
    pub(crate) board: Board,
    pub(crate) log: Log,
}

/// Is it a command about single bans?
pub(super) fn is_about_bans(command: &[Value]) -> bool {
    let word = |n: usize| command.get(n).map(words).unwrap_or_default();
    match word(0).as_str() {
        "unban" => true,
        "set" => matches!(word(2).as_str(), "banip" | "unbanip" | "attempt"),
        _ => false,
    }
}

/// The answer to such a command.
pub(in crate::control) fn about_bans(desk: &Bans, command: &[Value]) -> Answer {
    let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
    if word(0)? == "unban" {
        return unban_everywhere(desk, command.get(1..).unwrap_or_default());
    }
    let (name, option) = (word(1)?, word(2)?);
    let rest = command.get(3..).unwrap_or_default();
    match option.as_str() {
        "banip" => ban(desk, &name, rest),
        "unbanip" => unban(desk, &name, rest),
        _ => attempt(desk, &name, rest),
    }
}

impl Bans {
    /// Runs a command and waits for what came of it.
    fn command(&self, command: Command) -> Result<Outcome, String> {
        let (sender, receiver) = channel();
        self.judge.control(JudgeControl::Command(command, Box::new(move |outcome| drop(sender.send(outcome)))));
        receiver.recv().map_err(|_| "the daemon is stopping".to_owned())
    }

    /// Who is unbanned is forgotten on the disk, banned or not, before that is
    /// said. What was lifted is there with its decision already.
    fn forget(&self, jail: Option<&JailName>, ids: &[FailureId], absent: &[FailureId]) {
        self.store.forget(ids.iter().map(|id| Forget { jail: jail.cloned(), id: id.clone() }).collect());
        if !absent.is_empty() {
            self.store.sync();
        }
    }
}

fn gone(jail: &str) -> Exception {
    Exception::builtin("RuntimeError", format!("the jail '{jail}' has not been started"))
}

fn stopping(why: String) -> Exception {
    Exception::builtin("RuntimeError", why)
}

fn number(n: u64) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn targets(rest: &[Value]) -> Vec<FailureId> {
    rest.iter().map(|word| FailureId::parse(&words(word))).collect()
}

fn ban(desk: &Bans, name: &str, rest: &[Value]) -> Answer {
    desk.board.read().settings.known(name)?;
    let (jail, ids) = (JailName::new(name), targets(rest));
    let command = Command::Ban { jail, ids, bantime: None, force: false, origin: Origin::Manual };
    match desk.command(command).map_err(stopping)? {
        Outcome::Banned { new, withheld, .. } => {
            for (id, why) in withheld {
                desk.log.warning(format!("[{name}] {id} is not banned: {why}"));
            }
            Ok(number(new))
        }
        _ => Err(gone(name)),
    }
}

fn unban(desk: &Bans, name: &str, rest: &[Value]) -> Answer {
    let report = rest.first().map(words).ok_or_else(Exception::missing_word)? == "--report-absent";
    let wanted = rest.get(usize::from(report)..).unwrap_or_default();
    let jail = desk.board.read().settings.known(name)?.jail();
    let ids = targets(wanted);
    let command = Command::Unban { jail: Some(jail.clone()), targets: ids.clone() };
    let Outcome::Unbanned { count, absent } = desk.command(command).map_err(stopping)? else {
        return Err(gone(name));
    };
    desk.forget(Some(&jail), &ids, &absent);
    if report && !absent.is_empty() {
        let missing: Vec<Value> =
            wanted.iter().filter(|word| absent.contains(&FailureId::parse(&words(word)))).cloned().collect();
        return Err(Exception::value(format!("not banned: {}", Value::List(missing).repr())));
    }
    Ok(number(count))
}

fn unban_everywhere(desk: &Bans, rest: &[Value]) -> Answer {
    let all = matches!(rest, [only] if words(only) == "--all");
    if all {
        let outcome = desk.command(Command::UnbanAll { jail: None }).map_err(stopping)?;
        return Ok(match outcome {
            Outcome::Unbanned { count, .. } => number(count),
            _ => Value::Int(0),
        });
    }
    let ids = targets(rest);
    let command = Command::Unban { jail: None, targets: ids.clone() };
    let Outcome::Unbanned { count, absent } = desk.command(command).map_err(stopping)? else {
        return Ok(Value::Int(0));
    };
    desk.forget(None, &ids, &absent);
    Ok(number(count))
}

fn attempt(desk: &Bans, name: &str, rest: &[Value]) -> Answer {
    let Some((id, lines)) = rest.split_first() else {
        return Err(Exception::builtin("TypeError", "an attempt needs an address"));
    };
    desk.board.read().settings.known(name)?;
    let matches = lines.iter().map(|line| words(line).into()).collect();
    let command = Command::Attempt { jail: JailName::new(name), id: FailureId::parse(&words(id)), matches };
    match desk.command(command).map_err(stopping)? {
        Outcome::Attempted(counted) => Ok(Value::Int(counted.into())),
        _ => Err(gone(name)),
    }
}
