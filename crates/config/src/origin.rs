//! Where each effective option of a jail was written.

use crate::budget::Budget;
use crate::ini::Cell;
use crate::resource::{Got, Resource};

/// One effective option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRow {
    /// Its name.
    pub option: String,
    /// Its value after interpolation, or as written where that fails.
    pub value: String,
    /// The file that set it; empty if it is computed.
    pub file: String,
    /// 1-based line of its name; 0 if it is computed.
    pub line: u32,
}

/// All options that a jail sees, its filter's included, sorted by name.
pub(crate) fn rows(resource: &Resource, jail: &str) -> Option<Vec<OriginRow>> {
    let table = resource.sections.get(jail)?;
    let budget = Budget::default();
    let mut rows: Vec<OriginRow> = Vec::new();
    let own = table.iter().filter(|(key, _)| !key.starts_with("known/"));
    let inherited = resource.defaults.iter().filter(|(key, _)| !table.contains(key));
    for (key, raw) in own.chain(inherited) {
        let value = match resource.get(jail, key, None, &budget) {
            Ok(Got::Value(entry)) => entry.value,
            _ => raw.value.clone(),
        };
        rows.push(row(key, &value, &raw.origin));
    }
    for (key, entry) in table.iter() {
        let Some(option) = key.strip_prefix("known/") else { continue };
        if !table.contains(option) && !resource.defaults.contains(option) {
            rows.push(row(option, &entry.value, &entry.origin));
        }
    }
    rows.sort_by(|a, b| a.option.cmp(&b.option));
    Some(rows)
}

fn row(option: &str, value: &Cell, origin: &crate::ini::Origin) -> OriginRow {
    OriginRow {
        option: option.to_owned(),
        value: value.to_text().map(|t| t.to_string()).unwrap_or_default(),
        file: origin.file.to_string(),
        line: origin.line,
    }
}
