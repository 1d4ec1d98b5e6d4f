//! A jail's filter, and the commands that carry filter options.
//!
//! Source: fail2ban `client/filterreader.py`.

use stockade_wire::{Command, Value};

use crate::diagnostic::Problem;
use crate::ini::{Cell, Entry};
use crate::ordered::Ordered;
use crate::text::shell_words;

/// Adds the commands of `options` to `stream`. What regexes depend on goes to
/// its beginning.
pub(crate) fn fill(stream: &mut Vec<Command>, options: &Ordered<Entry>, jail: &str) -> Result<(), Problem> {
    let mut first = 0;
    for (key, entry) in options.iter() {
        let value = &entry.value;
        if *value == Cell::None {
            continue;
        }
        match &**key {
            "failregex" | "ignoreregex" => {
                let regexes = value.as_text().unwrap_or("").split('\n').filter(|line| !line.is_empty());
                let mut regexes: Vec<Value> = regexes.map(Value::from).collect();
                let verb = format!("add{key}");
                if regexes.len() > 1 {
                    stream.push(vec!["multi-set".into(), jail.into(), verb.into(), Value::List(regexes)]);
                } else if let Some(regex) = regexes.pop() {
                    stream.push(vec!["set".into(), jail.into(), verb.into(), regex]);
                }
            }
            "usedns" | "maxlines" | "prefregex" => {
                let place = if &**key == "usedns" { 0 } else { first };
                stream.insert(place.min(stream.len()), set(jail, key, value));
                first += 1;
            }
            "journalmatch" => {
                for line in value.as_text().unwrap_or("").split('\n').filter(|line| !line.is_empty()) {
                    let words = shell_words(line).map_err(|what| {
                        Problem::new(format!("journalmatch '{line}': {what}")).at(entry.origin.name_spot())
                    })?;
                    let mut command: Command = vec!["set".into(), jail.into(), "addjournalmatch".into()];
                    command.extend(words.into_iter().map(Value::from));
                    stream.push(command);
                }
            }
            // The original asks whether the name is a part of this word.
            key if "datepattern".contains(key) => stream.push(set(jail, key, value)),
            _ => {}
        }
    }
    Ok(())
}

/// `set JAIL OPTION VALUE`.
pub(crate) fn set(jail: &str, option: &str, value: &Cell) -> Command {
    vec!["set".into(), jail.into(), option.into(), to_value(value)]
}

pub(crate) fn to_value(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => Value::Str(text.to_string()),
        Cell::Int(n) => Value::Int(*n),
        Cell::Bool(b) => Value::Bool(*b),
        Cell::None => Value::None,
    }
}
