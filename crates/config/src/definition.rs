//! What filters and actions have in common: a file with `[Definition]` and
//! `[Init]`, called by a jail with arguments.
//!
//! Source: fail2ban `client/configreader.py`, `DefinitionInitConfigReader`;
//! arguments against conditional options as in its newest version.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::budget::Budget;
use crate::diagnostic::{Problem, Severity};
use crate::ini::{Cell, Entry, shorten};
use crate::interpolate::{Vars, computed};
use crate::options::{Kind, OptionRow};
use crate::ordered::Ordered;
use crate::resource::{Got, Reader, Resource, split_condition};
use crate::tags::substitute;
use crate::text::{int, is_space, is_word, lower, nearest, truth};

/// One call of a filter or an action by a jail.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) resource: Rc<Resource>,
    rows: &'static [OptionRow],
    /// Names of the arguments as the jail gave them.
    arguments: Vars,
    /// Arguments, then what `[Init]` adds.
    pub(crate) init: Ordered<Entry>,
    options: Ordered<Entry>,
    vars: Vars,
    /// Answers to tags; kept although the jail's options become more, as the original does.
    cache: HashMap<String, Option<Arc<str>>>,
}

impl Definition {
    pub(crate) fn new(resource: Rc<Resource>, rows: &'static [OptionRow], init: Ordered<Entry>) -> Self {
        let arguments = lower_keys(&init);
        Definition {
            resource,
            rows,
            arguments,
            init,
            options: Ordered::default(),
            vars: Vars::new(),
            cache: HashMap::new(),
        }
    }

    /// Reads the options with those of the jail above them; with `all` also
    /// those without a meaning of their own.
    pub(crate) fn read(&mut self, jail: &Ordered<Entry>, all: bool, reader: &mut Reader) -> Result<(), Problem> {
        let mut vars = lower_keys(jail);
        vars.extend(lower_keys(&self.init));
        let given = |name: &str| jail.contains(name) || self.init.contains(name);
        let mut options = Ordered::default();
        for row in self.rows.iter().filter(|row| !given(row.name)) {
            match self.resource.get("Definition", row.name, Some(&vars), &reader.budget)? {
                Got::Value(entry) => options.put(row.name, entry),
                Got::NoOption => {}
                Got::NoSection => options.put(row.name, computed(Cell::None)),
            }
        }
        if !self.resource.sections.contains("Definition") {
            let file = self.resource.files.first().map(|f| crate::diagnostic::Spot::file(f));
            let problem = Problem::new("has no section [Definition], so nothing in it is used").at(file);
            let near = nearest("Definition", self.resource.sections.keys().map(AsRef::as_ref));
            let problem = problem.help(match near {
                Some(near) => format!("[{near}] is meant as [Definition]?"),
                None => "put the options below a line [Definition]".to_owned(),
            });
            // The original goes on with a filter that finds nothing, or an action that does nothing.
            reader.findings.add(Severity::Warning, None, problem);
        }
        self.vars = vars;
        self.read_init(&reader.budget)?;
        if all && let Some(table) = self.resource.sections.get("Definition") {
            for key in table.keys() {
                if options.contains(key) {
                    continue;
                }
                if let Got::Value(entry) = self.resource.get("Definition", key, None, &reader.budget)? {
                    options.insert(key, entry);
                }
            }
        }
        self.options = options;
        Ok(())
    }

    /// Adds the options of `[Init]` that are no arguments.
    fn read_init(&mut self, budget: &Budget) -> Result<(), Problem> {
        let Some(table) = self.resource.sections.get("Init") else { return Ok(()) };
        for key in table.keys() {
            let own = |key: &str| match self.resource.get("Init", key, None, budget) {
                Ok(Got::Value(entry)) => Ok(entry),
                Ok(_) => Ok(computed(Cell::None)),
                Err(problem) => Err(problem),
            };
            let mut value = None;
            if !key.starts_with("known/") {
                let entry = own(key)?;
                self.init.put(&format!("known/{key}"), entry.clone());
                value = Some(entry);
            }
            if self.init.contains(key) {
                continue;
            }
            let argument = split_condition(key).and_then(|(base, _)| self.arguments.get(base));
            let entry = match (argument, value) {
                (Some(argument), _) => argument.clone(),
                (None, Some(entry)) => entry,
                (None, None) => own(key)?,
            };
            self.init.insert(key, entry);
        }
        Ok(())
    }

    /// An option that only the file itself gives a meaning, as the call sets it or the file has it.
    pub(crate) fn own_word(&self, name: &str, budget: &Budget) -> Option<String> {
        let of_file = || match self.resource.get("Definition", name, None, budget) {
            Ok(Got::Value(entry)) => Some(entry),
            Ok(Got::NoOption | Got::NoSection) | Err(_) => None,
        };
        self.init.get(name).cloned().or_else(of_file)?.value.as_text().map(str::to_owned)
    }

    /// All options after substitution of tags, converted to their types.
    pub(crate) fn combined(
        &mut self,
        never: &[&str],
        budget: &Budget,
        mut complain: impl FnMut(Problem),
    ) -> Result<Ordered<Entry>, Problem> {
        let mut table = self.options.clone();
        for (key, entry) in self.init.iter() {
            table.insert(key, entry.clone());
        }
        let mut ignore: HashSet<String> = never.iter().map(|n| (*n).to_owned()).collect();
        ignore.extend(table.keys().filter_map(|key| Some(split_condition(key)?.0.to_owned())));
        let (resource, vars, cache) = (&self.resource, &self.vars, &mut self.cache);
        let mut out = substitute(&table, &ignore, budget, |tag| {
            if let Some(known) = cache.get(tag) {
                return Ok(known.clone());
            }
            let found = lookup(resource, tag, vars, budget)?;
            cache.insert(tag.to_owned(), found.clone());
            Ok(found)
        })?;
        for row in self.rows {
            if let Some(entry) = out.get_mut(row.name) {
                convert(row, entry, &mut complain);
            }
        }
        Ok(out)
    }
}

/// Names as they are looked up: in lower case.
fn lower_keys(options: &Ordered<Entry>) -> Vars {
    options.iter().map(|(key, entry)| (lower(key).into_owned(), entry.clone())).collect()
}

/// Gives an entry the type of its row. A bad number becomes nothing, which the
/// server will refuse.
pub(crate) fn convert(row: &OptionRow, entry: &mut Entry, mut complain: impl FnMut(Problem)) {
    let Cell::Text(text) = &entry.value else { return };
    let new = match row.kind {
        Kind::Bool => Cell::Bool(truth(text)),
        Kind::Int => match int(text) {
            Some(n) => Cell::Int(n),
            None => {
                let problem = Problem::new(format!("'{}' is no whole number, {} needs one", shorten(text), row.name));
                let problem = match text.split_once(['#', ';']) {
                    Some((number, _)) if int(number).is_some() => {
                        problem.help("a comment must stand on a line of its own, or begin with ' ;'")
                    }
                    _ => problem,
                };
                complain(problem.at(entry.origin.spot(text, 0)));
                Cell::None
            }
        },
        _ => return,
    };
    entry.value = new;
}

/// What a tag stands for that is in no table of the call itself.
fn lookup(resource: &Resource, tag: &str, vars: &Vars, budget: &Budget) -> Result<Option<Arc<str>>, Problem> {
    if let Some((section, option)) = qualified(tag) {
        let places: Vec<String> = match lower(section).as_ref() {
            "known" => vec!["KNOWN/Definition".to_owned(), "Definition".to_owned()],
            "default" => vec!["DEFAULT".to_owned()],
            _ => vec![section.to_owned()],
        };
        for place in places {
            if let Got::Value(entry) = resource.get(&place, option, None, budget)? {
                return Ok(entry.value.to_text());
            }
        }
    }
    match resource.get("Definition", tag, Some(vars), budget)? {
        Got::Value(entry) => Ok(entry.value.to_text()),
        _ => Ok(None),
    }
}

/// `section/option` taken apart.
fn qualified(tag: &str) -> Option<(&str, &str)> {
    let (section, option) = tag.split_once('/')?;
    let plain = !section.is_empty() && section.chars().all(|c| is_word(c) || c == '-');
    let option_fits = !option.is_empty() && !option.chars().any(|c| is_space(c) || c == '>');
    (plain && option_fits).then_some((section, option))
}
