//! Answers as the original's client prints them.
//!
//! Source: fail2ban `client/beautifier.py`, the texts that other programs parse.
//! What the answer's shape does not allow is printed as Python would show it,
//! after a complaint, as there.

use stockade_wire::Value;
use stockade_wire::pickle::Refusal;

use super::table;

/// An answer in words.
pub(super) struct Said {
    /// For standard output.
    pub(super) text: String,
    /// The answer had a shape that nobody expected.
    pub(super) odd: bool,
}

/// The answer has not the shape that the words need.
#[derive(Debug)]
pub(super) struct Odd;

/// What there is of the text when the answer turns out odd.
enum Draft<'a> {
    Answer(&'a Value),
    Text(String),
    Lines(Vec<String>),
}

impl Draft<'_> {
    fn push(&mut self, more: &str) {
        if let Draft::Text(text) = self {
            text.push_str(more);
        }
    }

    fn add(&mut self, line: String) {
        if let Draft::Lines(lines) = self {
            lines.push(line);
        }
    }

    fn show(self) -> String {
        match self {
            Draft::Answer(value) => shown(value),
            Draft::Text(text) => text,
            Draft::Lines(lines) => lines.join("\n"),
        }
    }

    /// As Python's `repr` has it.
    fn repr(self) -> String {
        match self {
            Draft::Answer(value) => value.repr(),
            Draft::Text(text) => Value::Str(text).repr(),
            Draft::Lines(lines) => Value::List(lines.into_iter().map(Value::Str).collect()).repr(),
        }
    }
}

/// A result in words.
pub(super) fn answer(command: &[Value], result: &Value) -> Said {
    let mut draft = Draft::Answer(result);
    match fill(&mut draft, command, result) {
        Ok(()) => Said { text: draft.show(), odd: false },
        Err(Odd) => Said { text: draft.repr() + &result.repr(), odd: true },
    }
}

/// A refusal in words.
pub(super) fn refusal(refusal: &Refusal) -> String {
    let first = || refusal.args.first().map(shown).unwrap_or_default();
    match refusal.class.as_str() {
        "UnknownJailException" => format!("Sorry but the jail '{}' does not exist", first()),
        "IndexError" => "Sorry but the command is invalid".to_owned(),
        "DuplicateJailException" => format!("The jail '{}' already exists", first()),
        _ => refusal.to_string(),
    }
}

fn fill(draft: &mut Draft<'_>, command: &[Value], result: &Value) -> Result<(), Odd> {
    let word = |n: usize| command.get(n).and_then(Value::as_str).unwrap_or_default();
    match word(0) {
        "ping" => *draft = Draft::Text(format!("Server replied: {}", text(result)?)),
        "version" => {}
        "start" => *draft = Draft::Text("Jail started".to_owned()),
        "stop" if *result == Value::None => {
            *draft = Draft::Text(if command.len() == 1 { "Shutdown successful" } else { "Jail stopped" }.to_owned());
        }
        "stop" => {}
        "add" => *draft = Draft::Text(format!("Added jail {}", text(result)?)),
        "flushlogs" => *draft = Draft::Text(format!("logs: {}", text(result)?)),
        "echo" => *draft = Draft::Text(joined(" ", result)?),
        "status" => status(draft, command, result)?,
        "stats" | "statistics" => *draft = Draft::Text(table::stats(result)?),
        _ if command.len() < 2 => {}
        _ => about_server(draft, command, result)?,
    }
    Ok(())
}

fn about_server(draft: &mut Draft<'_>, command: &[Value], result: &Value) -> Result<(), Odd> {
    let begin = |draft: &mut Draft<'_>, words: &str| *draft = Draft::Text(words.to_owned());
    match command.get(1).and_then(Value::as_str).unwrap_or_default() {
        "syslogsocket" => {
            begin(draft, "Current syslog socket is:\n");
            draft.push(&format!("`- {}", text(result)?));
        }
        "logtarget" => {
            begin(draft, "Current logging target is:\n");
            draft.push(&format!("`- {}", text(result)?));
        }
        "loglevel" => {
            begin(draft, "Current logging level is ");
            draft.push(&level(result).repr());
        }
        "dbfile" | "dbpurgeage" if *result == Value::None => begin(draft, "Database currently disabled"),
        "dbfile" => {
            begin(draft, "Current database file is:\n");
            draft.push(&format!("`- {}", text(result)?));
        }
        "dbpurgeage" => {
            begin(draft, "Current database purge age is:\n");
            draft.push(&format!("`- {}seconds", whole(result)?));
        }
        _ if command.len() < 3 => {}
        _ => about_jail(draft, command, result)?,
    }
    Ok(())
}

fn about_jail(draft: &mut Draft<'_>, command: &[Value], result: &Value) -> Result<(), Odd> {
    let word = |n: usize| command.get(n).and_then(Value::as_str).unwrap_or_default();
    let jail = command.get(1).map(shown).unwrap_or_default();
    let begin = |draft: &mut Draft<'_>, words: &str| *draft = Draft::Text(words.to_owned());
    match word(2) {
        "logpath" | "addlogpath" | "dellogpath" => {
            branches(draft, result, "No file is currently monitored", "Current monitored log file(s):\n", false)?;
        }
        "logencoding" => {
            begin(draft, "Current log encoding is set to:\n");
            draft.push(text(result)?);
        }
        "journalmatch" | "addjournalmatch" | "deljournalmatch" => {
            if length(result)? == 0 {
                begin(draft, "No journal match filter set");
            } else {
                begin(draft, "Current match filter:\n");
                let terms: Result<Vec<String>, Odd> = members(result)?.iter().map(|term| joined(" ", term)).collect();
                draft.push(&terms?.join(" + "));
            }
        }
        "datepattern" => {
            begin(draft, "Current date pattern set to: ");
            draft.push(&match result {
                Value::None => "Not set/required".to_owned(),
                pair => match (item(pair, 0)?, pair) {
                    (Value::None, pair) => shown(&item(pair, 1)?),
                    (first, Value::Tuple(pair)) if pair.len() == 2 => {
                        format!("{} ({})", shown(&first), pair.get(1).map(shown).unwrap_or_default())
                    }
                    _ => return Err(Odd),
                },
            });
        }
        "ignoreip" | "addignoreip" | "delignoreip" => {
            let head = "These IP addresses/networks are ignored:\n";
            branches(draft, result, "No IP address/network is ignored", head, false)?;
        }
        "failregex" | "addfailregex" | "delfailregex" | "ignoreregex" | "addignoreregex" | "delignoreregex" => {
            let head = "The following regular expression are defined:\n";
            branches(draft, result, "No regular expression is defined", head, true)?;
        }
        "actions" if length(result)? == 0 => begin(draft, &format!("No actions for jail {jail}")),
        "actions" => {
            begin(draft, &format!("The jail {jail} has the following actions:\n"));
            draft.push(&joined(", ", result)?);
        }
        kind @ ("actionproperties" | "actionmethods") => {
            let kind = kind.trim_start_matches("action");
            let name = shown(command.get(3).ok_or(Odd)?);
            if length(result)? == 0 {
                begin(draft, &format!("No {kind} for jail {jail} action {name}"));
            } else {
                begin(draft, &format!("The jail {jail} action {name} has the following {kind}:\n"));
                draft.push(&joined(", ", result)?);
            }
        }
        "banip" if word(0) == "get" && matches!(result, Value::List(_)) => {
            let between = match (command.len(), word(3)) {
                (..=3, _) => " ",
                (_, "--with-time") => "\n",
                (_, other) => other,
            };
            *draft = Draft::Text(joined(between, result)?);
        }
        _ => {}
    }
    Ok(())
}

/// A list as the leaves of a tree, numbered or not.
fn branches(draft: &mut Draft<'_>, result: &Value, none: &str, head: &str, numbered: bool) -> Result<(), Odd> {
    let count = length(result)?;
    if count == 0 {
        *draft = Draft::Text(none.to_owned());
        return Ok(());
    }
    *draft = Draft::Text(head.to_owned());
    for (n, leaf) in members(result)?.iter().enumerate() {
        let (twig, end) = if n + 1 == count { ("`- ", "") } else { ("|- ", "\n") };
        let number = if numbered { format!("[{n}]: ") } else { String::new() };
        draft.push(&format!("{twig}{number}{}{end}", text(leaf)?));
    }
    Ok(())
}

fn status(draft: &mut Draft<'_>, command: &[Value], result: &Value) -> Result<(), Odd> {
    let all = command.get(1).and_then(Value::as_str) == Some("--all");
    if let Some(jail) = command.get(1).filter(|_| !all) {
        *draft = Draft::Lines(vec![format!("Status for the jail: {}", shown(jail))]);
        return jail_status(draft, result, "");
    }
    let mut rows = members(result)?;
    let jails = if all { rows.pop().ok_or(Odd)? } else { Value::None };
    let jails = match jails {
        Value::Dict(jails) => jails,
        Value::None => Vec::new(),
        _ => return Err(Odd),
    };
    *draft = Draft::Lines(vec!["Status".to_owned()]);
    for (n, row) in rows.iter().enumerate() {
        let twig = if jails.is_empty() && n + 1 == rows.len() { "`-" } else { "|-" };
        draft.add(format!("{twig} {}:\t{}", shown(&item(row, 0)?), leaf(&item(row, 1)?)));
    }
    if jails.is_empty() {
        return Ok(());
    }
    draft.add("`- Status for the jails:".to_owned());
    for (n, (name, jail)) in jails.iter().enumerate() {
        let last = n + 1 == jails.len();
        draft.add(format!("   {} Jail: {}", if last { "`-" } else { "|-" }, shown(name)));
        jail_status(draft, jail, if last { "      " } else { "   |  " })?;
    }
    Ok(())
}

fn jail_status(draft: &mut Draft<'_>, result: &Value, before: &str) -> Result<(), Odd> {
    let parts = members(result)?;
    for (n, part) in parts.iter().enumerate() {
        let (twig, stem) = if n + 1 == parts.len() { ("`-", "   ") } else { ("|-", "|  ") };
        draft.add(format!("{before}{twig} {}", shown(&item(part, 0)?)));
        let rows = members(&item(part, 1)?)?;
        for (m, row) in rows.iter().enumerate() {
            let twig = if m + 1 == rows.len() { "`-" } else { "|-" };
            let value = leaf(&item(row, 1)?);
            draft.add(format!("{before}{stem}{twig} {}:\t{value}", shown(&item(row, 0)?)));
        }
    }
    Ok(())
}

/// A value at the end of a branch: lists become their members with blanks between.
fn leaf(value: &Value) -> String {
    match value {
        Value::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => shown(other),
    }
}

/// Names of levels that are answered as numbers.
fn level(value: &Value) -> Value {
    let Value::Int(n) = value else { return value.clone() };
    let name = match n {
        50 => "CRITICAL",
        40 => "ERROR",
        30 => "WARNING",
        25 => "NOTICE",
        20 => "INFO",
        18 => "MSG",
        10 => "DEBUG",
        7 => "TRACEDEBUG",
        5 => "HEAVYDEBUG",
        0 => "NOTSET",
        other => return Value::Str(format!("Level {other}")),
    };
    Value::Str(name.to_owned())
}

/// Python's `str`.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => other.repr(),
    }
}

/// A text that is one.
fn text(value: &Value) -> Result<&str, Odd> {
    value.as_str().ok_or(Odd)
}

/// Python's `%i`.
#[expect(clippy::cast_possible_truncation, reason = "saturates far beyond any time")]
fn whole(value: &Value) -> Result<i64, Odd> {
    match value {
        Value::Int(n) => Ok(*n),
        Value::Float(f) => Ok(*f as i64),
        Value::Bool(b) => Ok((*b).into()),
        _ => Err(Odd),
    }
}

fn length(value: &Value) -> Result<usize, Odd> {
    members(value).map(|members| members.len())
}

/// What Python's `for` goes through.
pub(super) fn members(value: &Value) -> Result<Vec<Value>, Odd> {
    match value {
        Value::List(items) | Value::Tuple(items) => Ok(items.clone()),
        Value::Str(text) => Ok(text.chars().map(|c| Value::Str(c.to_string())).collect()),
        Value::Dict(pairs) => Ok(pairs.iter().map(|(key, _)| key.clone()).collect()),
        _ => Err(Odd),
    }
}

/// Python's `value[n]`.
pub(super) fn item(value: &Value, n: usize) -> Result<Value, Odd> {
    match value {
        Value::Dict(_) => Err(Odd),
        other => members(other)?.get(n).cloned().ok_or(Odd),
    }
}

/// Python's `between.join(value)`.
fn joined(between: &str, value: &Value) -> Result<String, Odd> {
    let members = members(value)?;
    let texts: Result<Vec<&str>, Odd> = members.iter().map(text).collect();
    Ok(texts?.join(between))
}
