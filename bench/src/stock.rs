//! Filters of a configuration tree, as the matcher takes them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use stockade_config::{TreeSource, load_filter};
use stockade_core::Span;
use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterSpec, UseDns};
use stockade_wire::{Command, Value};

/// One filter of a tree.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name of its file, without `.conf`.
    pub name: String,
    /// Its options.
    pub spec: FilterSpec,
}

/// The options of one filter of the tree in a folder, which has a `filter.d`.
///
/// # Errors
/// The filter does not load.
pub fn filter(tree: &Path, name: &str) -> Result<Named> {
    let stream = load_filter(&TreeSource::of_folder(tree), name, false).map_err(|e| anyhow!("filter {name}: {e}"))?;
    Ok(Named { name: name.to_owned(), spec: spec(&stream) })
}

/// All filters of the tree that have failregexes, by name.
///
/// # Errors
/// The folder can't be read.
pub fn filters(tree: &Path) -> Result<Vec<Named>> {
    let folder = tree.join("filter.d");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".conf").map(str::to_owned));
    }
    names.sort();
    // Common parts of other filters don't load for themselves.
    let all = names.iter().filter_map(|name| filter(tree, name).ok());
    Ok(all.filter(|named| !named.spec.failregex.is_empty()).collect())
}

/// Compiles a filter for the zone UTC.
///
/// # Errors
/// A pattern is wrong.
pub fn compile(spec: &FilterSpec, calendar: &Arc<Calendar>) -> Result<Arc<Filter>> {
    Filter::compile(spec, calendar).map(Arc::new).map_err(|e| anyhow!("{e}"))
}

/// What the commands of one jail say of its filter.
fn spec(stream: &[Command]) -> FilterSpec {
    // Names cost a look-up per address, which is not what is measured here.
    let mut spec =
        FilterSpec { usedns: UseDns::No, findtime: Span::from_secs(10 * 365 * 86_400), ..FilterSpec::default() };
    for command in stream {
        let [Value::Str(set), _, Value::Str(option), value, ..] = command.as_slice() else { continue };
        let text = || if let Value::Str(text) = value { text.clone() } else { String::new() };
        match (&**set, &**option) {
            ("set" | "multi-set", "addfailregex") => spec.failregex.extend(texts(command)),
            ("set" | "multi-set", "addignoreregex") => spec.ignoreregex.extend(texts(command)),
            ("set", "prefregex") => spec.prefregex = Some(text()),
            ("set", "datepattern") => spec.datepattern = DatePattern::Text(text()),
            ("set", "maxlines") => {
                if let Value::Int(lines) = value {
                    spec.maxlines = u32::try_from(*lines).unwrap_or(1);
                }
            }
            _ => {}
        }
    }
    spec
}

/// All texts behind the third word of a command, those of lists too.
fn texts(command: &Command) -> Vec<String> {
    let mut out = Vec::new();
    for value in command.iter().skip(3) {
        match value {
            Value::Str(text) => out.push(text.clone()),
            Value::List(list) => {
                out.extend(list.iter().filter_map(|v| if let Value::Str(t) = v { Some(t.clone()) } else { None }));
            }
            _ => {}
        }
    }
    out
}
