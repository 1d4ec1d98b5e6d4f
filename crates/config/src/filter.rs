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

/// Options of patterns.
const PATTERNS: [&str; 4] = ["prefregex", "failregex", "ignoreregex", "datepattern"];

/// The commands that tell where the patterns of a jail are written: `set JAIL stockade.origin OPTION FILE:LINE ..`,
/// one place for each pattern of the option, or one for all. Patterns that are computed have none.
pub(crate) fn origins<'a>(entry: impl Fn(&str) -> Option<&'a Entry>, jail: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    for option in PATTERNS {
        let Some((entry, value)) = entry(option).and_then(|e| Some((e, e.value.as_text()?))) else { continue };
        let lines = value.split('\n').zip(0..).filter(|(line, _)| !line.is_empty());
        let spot = |nth| entry.origin.line_spot(value, nth).or_else(|| entry.origin.name_spot());
        let spots: Option<Vec<Value>> =
            lines.map(|(_, nth)| spot(nth).map(|spot| format!("{}:{}", spot.file, spot.line).into())).collect();
        let Some(mut spots) = spots.filter(|spots| !spots.is_empty()) else { continue };
        let one = matches!(option, "prefregex" | "datepattern");
        if one || spots.iter().all(|spot| Some(spot) == spots.first()) {
            spots.truncate(1);
        }
        let mut command: Command = ["set", jail, "stockade.origin", option].map(Value::from).to_vec();
        command.extend(spots);
        commands.push(command);
    }
    commands
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
