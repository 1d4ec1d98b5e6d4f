//! Our own options, `stockade.*`, which the original ignores.

use stockade_wire::{Command, Value};

use crate::diagnostic::{Problem, Severity};
use crate::filter::{set, to_value};
use crate::ini::Cell;
use crate::options::{Kind, OWN, OwnRow, SHORT, Scope};
use crate::resource::{Got, Reader, Resource};
use crate::text::nearest;

/// Our own options of a jail, converted.
pub(crate) type OwnValues = Vec<(&'static str, Cell)>;

/// Which defaults hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Those of the original.
    DropIn,
    /// Ours.
    Own,
}

impl Profile {
    /// The default of an option in this profile.
    pub fn default_of(self, row: &OwnRow) -> &'static str {
        match self {
            Profile::DropIn => row.drop_in,
            Profile::Own => row.own,
        }
    }
}

impl OwnRow {
    /// The option of this name, in any case of letters.
    pub fn find(name: &str) -> Option<&'static OwnRow> {
        OWN.iter().find(|row| row.name.eq_ignore_ascii_case(name))
    }

    /// A written value as a command carries it: a truth value, or a text.
    ///
    /// # Errors
    /// What should be written instead.
    pub fn value(&self, text: &str) -> Result<Value, String> {
        check(self, text).map(|cell| to_value(&cell))
    }
}

/// Is it a command that only we know, left out of what `-d` prints?
pub fn is_own(command: &[Value]) -> bool {
    let word = |n: usize| command.get(n).and_then(Value::as_str).unwrap_or("");
    word(0) == "set" && (word(1).starts_with("stockade.") || word(2).starts_with("stockade."))
}

/// The own options of one section, defaults filled in.
pub(crate) fn read(
    resource: &Resource,
    section: &str,
    scope: Scope,
    profile: Profile,
    reader: &mut Reader,
) -> Result<OwnValues, Problem> {
    let mut values = OwnValues::new();
    for row in OWN.iter().filter(|row| row.scope == scope) {
        let default = profile.default_of(row);
        let short = SHORT.iter().find(|(_, name)| *name == row.name).map(|(short, _)| *short);
        let got = match (resource.get(section, row.name, None, &reader.budget)?, short) {
            (Got::NoOption, Some(short)) => resource.get(section, short, None, &reader.budget)?,
            (got, _) => got,
        };
        let cell = match got {
            Got::Value(entry) => {
                let text = entry.value.as_text().unwrap_or("");
                check(row, text).unwrap_or_else(|help| {
                    let problem = match row.kind {
                        Kind::Path => {
                            Problem::new(format!("{} = '{text}' is no file's path, so there is none", row.name))
                        }
                        _ => Problem::new(format!("{} = '{text}' is not known; '{default}' holds", row.name)),
                    };
                    let problem = problem.at(entry.origin.spot(text, 0)).help(help);
                    reader.findings.add(Severity::Warning, (scope == Scope::Jail).then_some(section), problem);
                    plain(row, default)
                })
            }
            Got::NoOption | Got::NoSection => plain(row, default),
        };
        values.push((row.name, cell));
    }
    Ok(values)
}

/// A default, which the table guarantees to be right.
fn plain(row: &OwnRow, text: &str) -> Cell {
    check(row, text).unwrap_or(Cell::None)
}

/// The value of `text` for the option, or what it should be.
fn check(row: &OwnRow, text: &str) -> Result<Cell, String> {
    let lower = text.to_lowercase();
    match row.kind {
        Kind::Bool => match lower.as_str() {
            "1" | "on" | "true" | "yes" => Ok(Cell::Bool(true)),
            "0" | "off" | "false" | "no" => Ok(Cell::Bool(false)),
            _ => Err("write true or false".to_owned()),
        },
        Kind::Choice(choices) => match choices.iter().find(|c| **c == lower) {
            Some(choice) => Ok(Cell::text(choice)),
            None => Err(format!("one of {}", choices.join(", "))),
        },
        Kind::Path if !text.is_empty() && (!text.starts_with('/') || text.ends_with('/')) => {
            Err("write a file's path from the root, as in /var/lib/stockade/<name>.blacklist".to_owned())
        }
        _ => Ok(Cell::text(text)),
    }
}

/// `set J stockade.X V` for each value.
pub(crate) fn jail_commands(jail: &str, values: &OwnValues) -> impl Iterator<Item = Command> {
    values.iter().map(move |(name, value)| set(jail, name, value))
}

/// `set stockade.X V` for each value.
pub(crate) fn daemon_commands(values: &OwnValues) -> impl Iterator<Item = Command> {
    values.iter().map(|(name, value)| vec!["set".into(), (*name).into(), to_value(value)])
}

/// Names that begin with `stockade.` but are none of ours, or stand in the wrong file.
pub(crate) fn check_names(resource: &Resource, scope: Scope, reader: &mut Reader) {
    let tables = std::iter::once(("DEFAULT", &resource.defaults));
    let sections = resource.sections.iter().map(|(name, table)| (&**name, table));
    for (section, table) in tables.chain(sections).filter(|(name, _)| !name.starts_with("KNOWN/")) {
        for (key, entry) in table.iter().filter(|(key, _)| key.starts_with("stockade.")) {
            let row = OWN.iter().find(|row| row.name == &**key);
            if row.is_some_and(|row| row.scope == scope) {
                continue;
            }
            let problem = Problem::new(format!("option '{key}' in [{section}] has no effect here"));
            let help = match (row, nearest(key, OWN.iter().map(|row| row.name))) {
                (Some(row), _) if row.scope == Scope::Daemon => "it belongs into fail2ban.conf or .local".to_owned(),
                (Some(_), _) => "it belongs into jail.conf or .local".to_owned(),
                (None, Some(near)) => format!("did you mean {near}?"),
                (None, None) => "there is no such option".to_owned(),
            };
            reader.findings.add(Severity::Warning, None, problem.at(entry.origin.name_spot()).help(help));
        }
    }
}
