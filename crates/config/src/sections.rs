//! Sections of `jail.conf` that hardly do what their author meant.

use std::collections::HashSet;
use std::sync::Arc;

use crate::diagnostic::{Problem, Severity};
use crate::ini::Table;
use crate::options::{FILTER, JAIL, OLD_JAILS};
use crate::resource::{Reader, Resource};
use crate::text::{lower, nearest, truth};

/// No more sections than this are looked at as what may have been meant.
const MAX_SECTIONS: usize = 5_000;

/// Findings about sections under a name that no jail has.
pub(crate) fn check(jails: &Resource, reader: &mut Reader) {
    let mentioned = mentioned_sections(jails);
    let names: Vec<&Arc<str>> = jails.section_names().filter(|name| &***name != "INCLUDES").collect();
    for name in names {
        let Some(table) = jails.sections.get(name) else { continue };
        if !renamed(name, table, jails, reader) {
            without_jail(name, table, jails, &mentioned, reader);
        }
    }
}

/// A section under the old name of a jail.
fn renamed(name: &str, table: &Table, jails: &Resource, reader: &mut Reader) -> bool {
    let Some((_, new)) = OLD_JAILS.iter().find(|(old, _)| *old == name) else { return false };
    let spot = table.iter().find_map(|(_, entry)| entry.origin.name_spot());
    if spot.is_none() || table.contains("filter") || !jails.sections.contains(new) {
        return false;
    }
    let problem = Problem::new(format!("no jail is called '{name}' any more")).at(spot);
    reader.findings.add(Severity::Warning, Some(name), problem.help(format!("rename the section to [{new}]")));
    true
}

/// A section that sets options of a jail, but makes none and changes none.
fn without_jail(name: &str, table: &Table, jails: &Resource, mentioned: &HashSet<String>, reader: &mut Reader) {
    let of_a_jail = |key: &str| JAIL.iter().chain(FILTER).any(|row| row.name == key);
    let own = || table.iter().filter(|(key, entry)| !key.starts_with("known/") && !entry.origin.file.is_empty());
    let Some((_, first)) = own().find(|(key, _)| of_a_jail(key)) else { return };
    // What has one of these is a jail, even if it is off.
    if ["enabled", "filter", "logpath", "action", "journalmatch"].iter().any(|key| table.contains(key)) {
        return;
    }
    let on_for_all = jails.defaults.get("enabled").and_then(|entry| entry.value.as_text()).is_some_and(truth);
    if on_for_all || mentioned.contains(lower(name).as_ref()) {
        return;
    }
    let jail = |other: &&Arc<str>| {
        let table = jails.sections.get(other);
        table.is_some_and(|table| ["enabled", "filter", "logpath"].iter().any(|key| table.contains(key)))
    };
    let jails = jails.section_names().take(MAX_SECTIONS).filter(jail).map(AsRef::as_ref);
    let near = if reader.findings.worth_a_search() { nearest(name, jails) } else { None };
    let problem = Problem::new(format!("there is no jail '{name}', so what [{name}] sets has no effect"));
    let problem = problem.at(first.origin.name_spot()).help(match near {
        Some(near) => format!("did you mean [{near}]?"),
        None => "correct the name, or set enabled and filter to make a jail of it".to_owned(),
    });
    reader.findings.add(Severity::Warning, Some(name), problem);
}

/// Sections that some value refers to as `%(section/option)s`.
fn mentioned_sections(jails: &Resource) -> HashSet<String> {
    let tables = std::iter::once(&jails.defaults).chain(jails.sections.iter().map(|(_, table)| table));
    let values = tables.flat_map(Table::iter).filter_map(|(_, entry)| entry.value.as_text());
    let references = values.flat_map(|value| value.split("%(").skip(1));
    let sections = references.filter_map(|rest| rest.split_once(')')?.0.split_once('/').map(|(section, _)| section));
    sections.map(|section| lower(section).into_owned()).collect()
}
