//! Commands that change something. Settings go through stage and commit: a
//! command or stream that fails has changed nothing.
//!
//! Source: fail2ban `server/transmitter.py` and `server/server.py`.
//! DIVERGENCE (protocol-reload-is-whole): a `reload` or `server-stream` that fails in the middle leaves
//! everything as it was, where the original goes on with what is left.

use stockade_wire::pickle::Exception;
use stockade_wire::value::{Value, repr_str};

use super::Answer;
use crate::daemon::operator::{Anew, Operator};
use crate::log::Level;
use crate::settings::{JailSettings, SERVER, Settings, asked_by_set, items, jail_option, words};

/// The answer to a command that changes something.
pub(in crate::control) fn change(operator: &mut Operator, command: &[Value]) -> Answer {
    let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
    match word(0)?.as_str() {
        "set" | "multi-set" => set(operator, command),
        "add" => {
            let name = word(1)?;
            settings(operator, command)?;
            Ok(name.into())
        }
        "start" => settings(operator, command).map(|()| Value::None),
        "stop" => {
            if word(1)? == "--all" {
                let next = Settings { jails: Vec::new(), ..operator.settings().clone() };
                return operator.apply(next, &[], &Anew::Nothing).map(|()| Value::None);
            }
            settings(operator, command).map(|()| Value::None)
        }
        "reload" => reload(operator, command),
        "server-stream" => stream(operator, command),
        "flushlogs" => Ok(operator.reach.log.reopen().into()),
        "config-error" => {
            operator.reach.log.line(Level::Error, "fail2ban.transmitter", word(1)?);
            Ok(Value::None)
        }
        _ => Err(Exception::plain("Invalid command")),
    }
}

/// Runs one command that changes settings.
fn settings(operator: &mut Operator, command: &[Value]) -> Result<(), Exception> {
    let next = operator.settings().staged(&[command.to_vec()]).map_err(|refusal| refusal.exception)?;
    operator.apply(next, &[], &Anew::Nothing)
}

fn set(operator: &mut Operator, command: &[Value]) -> Answer {
    let word = |n: usize| command.get(n).map(words).ok_or_else(Exception::missing_word);
    let multiple = word(0)? == "multi-set";
    let name = word(1)?;
    if SERVER.contains(&name.as_str()) {
        return set_server(operator, &name, command);
    }
    if name.starts_with("stockade.") {
        return Err(Exception::plain(format!("{name} is set in fail2ban.conf or fail2ban.local, and nowhere else")));
    }
    let option = word(2)?;
    let rest = command.get(3..).unwrap_or_default();
    match option.as_str() {
        "addlogpath" => log_is_there(operator.settings().jail(&name), rest)?,
        "addaction" | "delaction" | "action" | "ignorecommand" => may_change_actions(operator)?,
        _ => {}
    }
    settings(operator, command)?;
    if multiple {
        return Ok(Value::Bool(true));
    }
    if option == "addaction" {
        return word(3).map(Value::from);
    }
    let Some(asked) = asked_by_set(&option) else { return Ok(Value::None) };
    let posted = operator.board.read();
    jail_option(posted.settings.known(&name)?, posted.filter(&name), asked, rest)
}

fn set_server(operator: &mut Operator, name: &str, command: &[Value]) -> Answer {
    settings(operator, command)?;
    let now = operator.settings();
    let value = |name: &str| now.server.get(name).cloned().unwrap_or(Value::None);
    Ok(match name {
        "thread" => Value::None,
        "dbmaxmatches" | "dbpurgeage" if !now.has_database() => Value::None,
        "logtarget" => match value(name) {
            Value::Str(text) => text.split('[').next().unwrap_or_default().trim().into(),
            other => other,
        },
        name => value(name),
    })
}

/// A log that is added by hand must be there.
fn log_is_there(jail: Option<&JailSettings>, rest: &[Value]) -> Result<(), Exception> {
    let (Some(jail), Some(path)) = (jail, rest.first().map(words)) else { return Ok(()) };
    if jail.reads_journal() || rest.len() > 2 || jail.logpath.iter().any(|(known, _)| *known == path) {
        return Ok(());
    }
    let Err(e) = std::fs::File::open(&path) else { return Ok(()) };
    let class = match e.kind() {
        std::io::ErrorKind::NotFound => "FileNotFoundError",
        std::io::ErrorKind::PermissionDenied => "PermissionError",
        std::io::ErrorKind::IsADirectory => "IsADirectoryError",
        _ => "OSError",
    };
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let args = vec![Value::Int(e.raw_os_error().unwrap_or(0).into()), text.into(), path.into()];
    Err(Exception { module: "builtins", class, args })
}

/// `stockade.actioncommands`: may clients say what root runs?
pub(super) fn may_change_actions(operator: &Operator) -> Result<(), Exception> {
    if actions_are_fixed(operator.settings()) {
        return Err(Exception::builtin(
            "PermissionError",
            "actions can't be changed while the daemon runs: stockade.actioncommands = false in fail2ban.conf",
        ));
    }
    Ok(())
}

fn actions_are_fixed(settings: &Settings) -> bool {
    settings.server_text("stockade.actioncommands").is_some_and(|text| !crate::settings::boolean(&text))
}

/// `reload NAME OPTIONS STREAM`
fn reload(operator: &mut Operator, command: &[Value]) -> Answer {
    let name = command.get(1).map(words).ok_or_else(Exception::missing_word)?;
    let options: Vec<String> = items(command.get(2)).iter().map(words).collect();
    let has = |option: &str| options.iter().any(|o| o == option);
    let only = (name != "--all").then_some(name.as_str());
    if let Some(name) = only
        && !has("--if-exists")
    {
        operator.settings().known(name)?;
    }
    let stream = commands(command.get(3))?;
    let what = only.map_or_else(|| "all jails".to_owned(), |name| format!("jail {name}"));
    operator.reach.log.info(format!("Reload {what}"));
    let stream = with_own_options(operator, stream)?;
    let next = operator.settings().reloaded(only, &stream).map_err(|refusal| refusal.exception)?;
    put_in_force(operator, next, only)?;
    // What is unbanned for good is so only once the new configuration holds.
    if has("--unban") && only.is_none_or(|name| operator.settings().jail(name).is_some()) {
        operator.unban_all(only).map_err(|why| Exception::builtin("RuntimeError", why))?;
    }
    operator.reach.log.info("Reload finished.");
    Ok("OK".into())
}

/// `server-stream STREAM`
fn stream(operator: &mut Operator, command: &[Value]) -> Answer {
    let stream = commands(command.get(1))?;
    let stream = with_own_options(operator, stream)?;
    let next = operator.settings().staged(&stream).map_err(|refusal| refusal.exception)?;
    put_in_force(operator, next, None)?;
    Ok(Value::None)
}

fn commands(stream: Option<&Value>) -> Result<Vec<Vec<Value>>, Exception> {
    let stream = stream.ok_or_else(Exception::missing_word)?;
    let bad = || Exception::builtin("TypeError", "a stream is a list of commands");
    let list = stream.as_items().ok_or_else(bad)?;
    list.iter().map(|command| command.as_items().map(<[Value]>::to_vec).ok_or_else(bad)).collect()
}

/// Puts a stream's settings in force, unless its reader left a jail that runs out by mistake: then nothing changes.
/// What was off by mistake before and is so still keeps its bans.
///
/// DIVERGENCE (protocol-left-out-refuses): the original deletes such a jail, lifts its bans and answers OK.
fn put_in_force(operator: &mut Operator, mut next: Settings, only: Option<&str>) -> Result<(), Exception> {
    let complaints = std::mem::take(&mut next.broken);
    for complaint in &complaints {
        operator.reach.log.line(Level::Error, "fail2ban.transmitter", complaint.clone());
    }
    let about = |name: &str| {
        let meant = only.is_none_or(|only| only == name) && next.jail(name).is_none();
        complaints.iter().filter(|_| meant).find(|text| text.contains(&repr_str(name)))
    };
    if let Some(complaint) = operator.settings().jails.iter().find_map(|jail| about(&jail.name)) {
        return Err(Exception::builtin("RuntimeError", format!("nothing has changed: {complaint}")));
    }
    let off = operator.off().iter();
    let held = off.filter_map(|(name, _)| Some((name.clone(), about(name)?.clone()))).collect::<Vec<_>>();
    operator.apply(next, &held, &only.map_or(Anew::All, |name| Anew::Jail(name.to_owned())))
}

/// A stream of a client that knows nothing of our own options gets those of the
/// server's own tree; those of the server itself always come from there.
fn with_own_options(operator: &Operator, mut stream: Vec<Vec<Value>>) -> Result<Vec<Vec<Value>>, Exception> {
    let word = |command: &[Value], n: usize| command.get(n).map(words).unwrap_or_default();
    let of_server = |command: &[Value]| word(command, 0) == "set" && word(command, 1).starts_with("stockade.");
    let of_jail = |command: &[Value]| word(command, 0) == "set" && word(command, 2).starts_with("stockade.");
    stream.retain(|command| !of_server(command));
    let knows = stream.iter().any(|command| of_jail(command));
    let own = match operator.tree.load() {
        Ok(tree) => tree.stream,
        Err(e) => {
            operator.reach.log.warning(format!("our own options keep their defaults: {e:#}"));
            return Ok(stream);
        }
    };
    if actions_are_fixed(operator.settings()) && actions(&stream) != actions(&own) {
        may_change_actions(operator)?;
    }
    let added: Vec<String> = stream.iter().filter(|c| word(c, 0) == "add").map(|command| word(command, 1)).collect();
    let wanted =
        |command: &Vec<Value>| of_server(command) || (!knows && of_jail(command) && added.contains(&word(command, 1)));
    let more: Vec<Vec<Value>> = own.into_iter().filter(wanted).collect();
    stream.extend(more);
    Ok(stream)
}

/// All commands of a stream that say what root runs.
fn actions(stream: &[Vec<Value>]) -> Vec<&[Value]> {
    let is_one = |command: &&Vec<Value>| {
        let option = command.get(2).map(words).unwrap_or_default();
        matches!(option.as_str(), "addaction" | "action" | "ignorecommand")
    };
    stream.iter().filter(is_one).map(Vec::as_slice).collect()
}
