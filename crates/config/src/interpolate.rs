//! `%(name)s`: values that mention other values.
//!
//! Source: Python's `BasicInterpolation`, and fail2ban `client/configparserinc.py`
//! for the forms with a section.

use std::collections::HashMap;
use std::sync::Arc;

use crate::budget::Budget;
use crate::diagnostic::Problem;
use crate::ini::{Cell, Entry, Origin, Table, shorten};
use crate::resource::{Got, Resource};
use crate::text::{is_word, lower, nearest};

/// Nested references deeper than this are refused.
const MAX_DEPTH: u32 = 10;

/// Values supplied by the caller of a definition; names in lower case.
pub(crate) type Vars = HashMap<String, Entry>;

/// Where references are looked up, first to last.
struct Scope<'a> {
    resource: &'a Resource,
    section: &'a str,
    /// References with a section that were found on the way.
    own: Vec<(String, Cell)>,
    vars: Option<&'a Vars>,
    table: Option<&'a Table>,
    budget: &'a Budget,
}

impl Resource {
    /// The value of `option` in `section` (falling back to the defaults), with
    /// `vars` above both.
    ///
    /// # Errors
    /// A reference that leads nowhere, a lone `%`, too deep nesting.
    pub(crate) fn get(
        &self,
        section: &str,
        option: &str,
        vars: Option<&Vars>,
        budget: &Budget,
    ) -> Result<Got, Problem> {
        let table = self.sections.get(section);
        if table.is_none() && section != "DEFAULT" {
            return Ok(Got::NoSection);
        }
        let option = lower(option);
        let found = vars.and_then(|v| v.get(option.as_ref()));
        let found = found.or_else(|| table.and_then(|t| t.get(&option))).or_else(|| self.defaults.get(&option));
        let Some(entry) = found else { return Ok(Got::NoOption) };
        let Some(raw) = entry.value.to_text() else { return Ok(Got::Value(entry.clone())) };
        if !raw.contains('%') {
            let value = Cell::Text(raw);
            return Ok(Got::Value(Entry { value, origin: Arc::clone(&entry.origin) }));
        }
        let mut scope = Scope { resource: self, section, own: Vec::new(), vars, table, budget };
        let mut out = String::with_capacity(raw.len());
        scope.expand(&raw, 1, &mut out).map_err(|(problem, offset)| {
            let mut problem = problem.at(entry.origin.spot(&raw, offset));
            problem.message = format!("option '{option}' in [{section}]: {}", problem.message);
            problem
        })?;
        Ok(Got::Value(Entry { value: Cell::text(&out), origin: Arc::clone(&entry.origin) }))
    }
}

impl Scope<'_> {
    fn lookup(&self, name: &str) -> Option<Cell> {
        if name == "__name__" {
            return Some(Cell::text(self.section));
        }
        if let Some((_, value)) = self.own.iter().find(|(key, _)| key == name) {
            return Some(value.clone());
        }
        if let Some(entry) = self.vars.and_then(|vars| vars.get(name)) {
            return Some(entry.value.to_text().map_or(Cell::None, Cell::Text));
        }
        let entry = self.table.and_then(|table| table.get(name)).or_else(|| self.resource.defaults.get(name));
        entry.map(|entry| entry.value.clone())
    }

    /// Appends `raw` with all references replaced. On error also the offset in
    /// `raw` of the reference that failed.
    fn expand(&mut self, raw: &str, depth: u32, out: &mut String) -> Result<(), (Problem, usize)> {
        if depth > MAX_DEPTH {
            let problem = Problem::new(format!("references are nested deeper than {MAX_DEPTH}: a circle?"));
            return Err((problem.help("%(known/NAME)s reaches only the one value before this file's"), 0));
        }
        self.budget.spend(raw.len()).map_err(|p| (p, 0))?;
        let mark = self.own.len();
        if raw.contains('/') {
            self.add_qualified(raw);
        }
        let mut rest = raw;
        while let Some(at) = rest.find('%') {
            out.push_str(rest.get(..at).unwrap_or(""));
            rest = rest.get(at..).unwrap_or("");
            let offset = raw.len() - rest.len();
            if let Some(tail) = rest.strip_prefix("%%") {
                out.push('%');
                rest = tail;
                continue;
            }
            let Some(inner) = rest.strip_prefix("%(") else {
                let problem = Problem::new("a lone '%': it must be followed by '%' or '('");
                return Err((problem.help("write %% for one percent sign"), offset));
            };
            let end =
                inner.find(')').filter(|end| *end > 0 && inner.get(end + 1..).is_some_and(|t| t.starts_with('s')));
            let Some(end) = end else {
                let problem = Problem::new(format!("'{}' is no reference", shorten(rest)));
                return Err((problem.help("write %(NAME)s"), offset));
            };
            let written = inner.get(..end).unwrap_or("");
            rest = inner.get(end + 2..).unwrap_or("");
            let name = lower(written);
            let value = match self.lookup(&name) {
                Some(Cell::Text(value)) => value,
                Some(_) => {
                    let problem = Problem::new(format!("'%({written})s' refers to a value that is no text"));
                    return Err((problem.help("the original cannot use it either: write the value out"), offset));
                }
                None => return Err((self.unknown(written), offset)),
            };
            if value.contains('%') {
                self.expand(&value, depth + 1, out).map_err(|(problem, _)| (problem, offset))?;
            } else {
                self.budget.spend(value.len()).map_err(|p| (p, offset))?;
                out.push_str(&value);
            }
            self.budget.check_length(out.len()).map_err(|p| (p, offset))?;
        }
        out.push_str(rest);
        self.own.truncate(mark);
        Ok(())
    }

    /// Finds the values of all references of the form `%(section/option)s`.
    fn add_qualified(&mut self, raw: &str) {
        for (written, split) in qualified(raw) {
            let (section, option) = (written.get(..split).unwrap_or(""), written.get(split + 1..).unwrap_or(""));
            if self.lookup(written).is_some() {
                continue;
            }
            let kind = lower(section);
            let sections = &self.resource.sections;
            let found = match kind.as_ref() {
                "default" => None,
                "known" => sections.get(&format!("KNOWN/{}", self.section)).and_then(|t| t.get(option)),
                _ => match sections.get(section) {
                    Some(table) => table.get(option),
                    None => continue,
                },
            };
            if let Some(entry) = found.or_else(|| self.resource.defaults.get(option)) {
                self.own.push((written.to_owned(), entry.value.clone()));
            }
        }
    }

    /// The message for a reference that leads nowhere.
    fn unknown(&self, written: &str) -> Problem {
        let problem = Problem::new(format!("'%({written})s' leads nowhere: there is no option of that name"));
        let name = lower(written);
        if let Some((section, option)) = written.split_once('/') {
            if section == "known" {
                return problem.help(format!("'{option}' had no value before this file; 'known' needs one"));
            }
            if written != name {
                return problem.help("section and option must be written in lower case in a reference");
            }
            return match self.resource.sections.get(section) {
                None => problem.help(format!("there is no section [{section}] here")),
                Some(_) => problem.help(format!("[{section}] has no '{option}', and the defaults neither")),
            };
        }
        let table = self.table.into_iter().flat_map(|t| t.keys());
        let known = table.chain(self.resource.defaults.keys()).map(AsRef::as_ref);
        let vars = self.vars.into_iter().flat_map(|v| v.keys().map(String::as_str));
        match nearest(&name, known.chain(vars)) {
            Some(near) => problem.help(format!("did you mean %({near})s?")),
            None => problem.help("set it in this section or in [DEFAULT]"),
        }
    }
}

/// All `section/option` that stand as `%(section/option)s` in `raw`, each with
/// the offset of its slash.
fn qualified(raw: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        while let Some(at) = rest.find("%(") {
            let inner = rest.get(at + 2..)?;
            rest = inner;
            let slash =
                inner.find(|c| !is_word(c) && c != '-').filter(|n| *n > 0 && inner.get(*n..*n + 1) == Some("/"));
            let end = slash.and_then(|n| inner.get(n + 1..)?.find(')').filter(|e| *e > 0).map(|e| (n, n + 1 + e)));
            if let Some((slash, end)) = end
                && inner.get(end + 1..).is_some_and(|t| t.starts_with('s'))
            {
                rest = inner.get(end + 2..).unwrap_or("");
                return Some((inner.get(..end)?, slash));
            }
        }
        None
    })
}

/// An entry that was computed and not written in a file.
pub(crate) fn computed(value: Cell) -> Entry {
    Entry { value, origin: Origin::computed() }
}
