//! A resource: all files that together make `jail`, `fail2ban`, one filter or
//! one action, merged into one set of tables.
//!
//! Source: fail2ban `client/configparserinc.py` and `client/configreader.py`.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::budget::Budget;
use crate::diagnostic::{Findings, Problem, Severity, Spot};
use crate::ini::{Cell, Entry, IniFile, Table};
use crate::ordered::Ordered;
use crate::text::{is_word, nearest};
use crate::tree::{Tree, Unreadable, join};

/// What a look-up found.
#[derive(Debug)]
pub(crate) enum Got {
    /// The value after interpolation.
    Value(Entry),
    /// There is no such section.
    NoSection,
    /// The section does not have it, and the defaults neither.
    NoOption,
}

/// Include chains longer than this are refused.
const MAX_CHAIN: usize = 60;
/// A resource of more files than this is refused.
const MAX_FILES: usize = 5_000;

/// Merged tables. Sections called `KNOWN/x` hold what was overwritten in `x`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resource {
    pub(crate) defaults: Table,
    pub(crate) sections: Ordered<Table>,
    /// The files, in the order in which they were merged.
    pub(crate) files: Vec<Arc<str>>,
    /// One of the files is not written properly, for which the original
    /// refuses the whole configuration. The findings say what.
    pub(crate) broken: bool,
}

impl Resource {
    /// Lays a file over what is there.
    fn merge(&mut self, file: &IniFile) {
        for (key, entry) in file.defaults.iter() {
            self.defaults.insert(key, entry.clone());
        }
        for (name, table) in file.sections.iter() {
            let renamed;
            let (name, table) = match split_condition(name) {
                Some((base, condition)) => {
                    renamed = with_condition(table, condition);
                    (Arc::from(base), &renamed)
                }
                None => (Arc::clone(name), table),
            };
            match self.sections.get_mut(&name) {
                None => self.sections.insert(&name, table.clone()),
                Some(old) => {
                    let mut known = Vec::new();
                    for (key, entry) in old.iter().filter(|(key, _)| table.contains(key)) {
                        known.push((Arc::clone(key), entry.clone()));
                    }
                    for (key, entry) in table.iter() {
                        old.insert(key, entry.clone());
                    }
                    self.add(&format!("KNOWN/{name}"), known);
                }
            }
        }
    }

    /// Sets options of a section, which is made if it is not there.
    pub(crate) fn add(&mut self, section: &str, options: impl IntoIterator<Item = (Arc<str>, Entry)>) {
        if !self.sections.contains(section) {
            self.sections.put(section, Table::default());
        }
        if let Some(table) = self.sections.get_mut(section) {
            for (key, entry) in options {
                table.insert(&key, entry);
            }
        }
    }

    /// Section names as a jail list sees them, in order.
    pub(crate) fn section_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sections.keys().filter(|name| !name.starts_with("KNOWN/"))
    }

    /// Does the section itself (not the defaults) have the option?
    pub(crate) fn has_own(&self, section: &str, option: &str) -> bool {
        self.sections.get(section).is_some_and(|table| table.contains(option))
    }
}

/// `name?condition` split before the question mark, if the name is one word.
pub(crate) fn split_condition(key: &str) -> Option<(&str, &str)> {
    let at = key.find(|c| !is_word(c))?;
    let (base, condition) = (key.get(..at)?, key.get(at..)?);
    (at > 0 && condition.starts_with('?') && condition.len() > 1).then_some((base, condition))
}

fn with_condition(table: &Table, condition: &str) -> Table {
    let mut renamed = Table::default();
    for (key, entry) in table.iter() {
        renamed.put(&format!("{key}{condition}"), entry.clone());
    }
    renamed
}

/// Reads files and resources, each only once.
pub(crate) struct Reader {
    pub(crate) tree: Tree,
    pub(crate) budget: Budget,
    pub(crate) findings: Findings,
    files: HashMap<String, Result<Rc<IniFile>, Unreadable>>,
    includes: HashMap<String, Vec<String>>,
    resources: HashMap<String, Option<Rc<Resource>>>,
}

impl Reader {
    pub(crate) fn new(tree: Tree) -> Self {
        Reader {
            tree,
            budget: Budget::default(),
            findings: Findings::default(),
            files: HashMap::new(),
            includes: HashMap::new(),
            resources: HashMap::new(),
        }
    }

    /// The resource `name`, or `None` if there is nothing readable of that name.
    pub(crate) fn resource(&mut self, name: &str) -> Option<Rc<Resource>> {
        if let Some(known) = self.resources.get(name) {
            return known.clone();
        }
        let resource = self.read_resource(name).map(Rc::new);
        self.resources.insert(name.to_owned(), resource.clone());
        resource
    }

    fn read_resource(&mut self, name: &str) -> Option<Resource> {
        let listed = self.tree.files_of(name);
        if listed.is_empty() {
            return None;
        }
        let mut all = Vec::new();
        let mut resource = Resource::default();
        if let Err(problem) = self.expand_all(&listed, &[], &mut all) {
            self.findings.add(Severity::Error, None, problem);
            resource.broken = true;
        }
        for path in &all {
            if let Ok(file) = self.file(path) {
                resource.broken |= !file.problems.is_empty();
                resource.files.push(path.as_str().into());
                resource.merge(&file);
            }
        }
        let mut whole = !resource.files.is_empty() || resource.broken;
        for path in &listed {
            let Err(why) = self.file(path) else { continue };
            let lost = matches!(why, Unreadable::NotUtf8(_));
            whole &= !lost;
            if why == Unreadable::TooLarge {
                continue;
            }
            let severity = if lost { Severity::Error } else { Severity::Warning };
            self.findings.add(severity, None, unreadable(path, why));
        }
        whole.then_some(resource)
    }

    /// One parsed file.
    fn file(&mut self, path: &str) -> Result<Rc<IniFile>, Unreadable> {
        if let Some(known) = self.files.get(path) {
            return known.clone();
        }
        let parsed = self.tree.read(path).map(|text| Rc::new(crate::ini::parse(&text, &Arc::from(path))));
        if let Ok(file) = &parsed {
            for problem in &file.problems {
                self.findings.add(Severity::Error, None, problem.clone());
            }
        }
        self.files.insert(path.to_owned(), parsed.clone());
        parsed
    }

    /// Each path with its own `.local` behind it and all its includes around it.
    fn expand_all(&mut self, paths: &[String], chain: &[String], out: &mut Vec<String>) -> Result<(), Problem> {
        let mut with_local: Vec<String> = Vec::new();
        for path in paths {
            with_local.push(path.clone());
            let local = format!("{}.local", without_ending(path));
            if !paths.contains(&local) && self.tree.is_file(&local) {
                let local = self.tree.canonical(&local);
                if !with_local.contains(&local) && !paths.contains(&local) {
                    with_local.push(local);
                }
            }
        }
        let key = with_local.join("\u{1}");
        if let Some(known) = self.includes.get(&key) {
            out.extend_from_slice(known);
            return Ok(());
        }
        let mut list = Vec::new();
        for path in &with_local {
            self.expand(path, chain, &mut list)?;
            if list.len() > MAX_FILES {
                let problem = Problem::new(format!("includes lead to more than {MAX_FILES} files"));
                return Err(problem.at(Some(Spot::file(path))));
            }
        }
        out.extend_from_slice(&list);
        self.includes.insert(key, list);
        Ok(())
    }

    /// One file between what it includes before and after itself.
    fn expand(&mut self, path: &str, chain: &[String], out: &mut Vec<String>) -> Result<(), Problem> {
        if chain.len() > MAX_CHAIN {
            let problem = Problem::new(format!("a chain of more than {MAX_CHAIN} includes"));
            let first = chain.first().map_or(path, String::as_str);
            return Err(problem.at(Some(Spot::file(first))).help("does a file include itself under another spelling?"));
        }
        let file = match self.file(path) {
            Ok(file) => file,
            Err(why @ Unreadable::TooLarge) => return Err(unreadable(path, why)),
            Err(why) => {
                let listed = chain.is_empty() && matches!(why, Unreadable::NotUtf8(_));
                if !listed && (!matches!(why, Unreadable::Missing(_)) || path.ends_with('/')) {
                    self.findings.add(Severity::Warning, None, unreadable(path, why));
                }
                return Ok(());
            }
        };
        let before = self.included(path, &file, "before", chain)?;
        let after = self.included(path, &file, "after", chain)?;
        out.extend(before);
        out.push(path.to_owned());
        out.extend(after);
        Ok(())
    }

    fn included(&mut self, path: &str, file: &IniFile, option: &str, chain: &[String]) -> Result<Vec<String>, Problem> {
        let mut list = Vec::new();
        let Some(table) = file.sections.get("INCLUDES") else { return Ok(list) };
        if !table.contains(option) && !file.defaults.contains(option) {
            return Ok(list);
        }
        let mut alone = Resource { defaults: file.defaults.clone(), ..Resource::default() };
        for (name, table) in file.sections.iter() {
            alone.sections.insert(name, table.clone());
        }
        let Got::Value(entry) = alone.get("INCLUDES", option, None, &self.budget)? else { return Ok(list) };
        let folder = path.rfind('/').and_then(|at| path.get(..at)).unwrap_or("");
        let Cell::Text(value) = entry.value else { return Ok(list) };
        let mut offset = 0;
        for name in value.split('\n') {
            let spot = entry.origin.spot(&value, offset);
            offset += name.len() + 1;
            let wanted = self.tree.canonical(&join(folder, name));
            if chain.contains(&wanted) {
                continue;
            }
            if !name.is_empty() && !self.tree.is_file(&wanted) && !is_optional(&wanted) {
                let problem = no_such_include(&self.tree, &wanted).at(spot);
                self.findings.add(Severity::Warning, None, problem);
            }
            let mut deeper = chain.to_vec();
            deeper.push(path.to_owned());
            self.expand_all(&[wanted], &deeper, &mut list)?;
        }
        Ok(list)
    }
}

/// Local files are included in case they are there.
fn is_optional(path: &str) -> bool {
    path.ends_with(".local")
}

/// What to say of an include that is not there.
fn no_such_include(tree: &Tree, path: &str) -> Problem {
    let problem = Problem::new(format!("the included file '{path}' is not there; it is left out"));
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let beside = tree.files_in(folder);
    match nearest(name, beside.iter().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem.help("correct the name, or remove it; a file that may be absent is called NAME.local"),
    }
}

/// Python's `os.path.splitext(path)[0]`.
pub(crate) fn without_ending(path: &str) -> &str {
    let start = path.rfind('/').map_or(0, |at| at + 1);
    let name = path.get(start..).unwrap_or("");
    let dots = name.len() - name.trim_start_matches('.').len();
    match name.get(dots..).and_then(|n| n.rfind('.')) {
        Some(at) => path.get(..start + dots + at).unwrap_or(path),
        None => path,
    }
}

/// What to say about a file that cannot be read.
fn unreadable(path: &str, why: Unreadable) -> Problem {
    let spot = Some(Spot::file(path));
    match why {
        Unreadable::Missing(_) if path.ends_with('/') => {
            Problem::new("an include names no file").at(spot).help("remove the empty line after before/after")
        }
        Unreadable::Missing(kind) => Problem::new(format!("cannot be opened ({kind}); it is left out")).at(spot),
        Unreadable::Denied => Problem::new("no permission to read this file; its settings are not used")
            .at(spot)
            .help("make it readable for the user that runs this"),
        Unreadable::Folder => Problem::new("this is a directory, but a file is meant; it is left out")
            .at(spot)
            .help("a folder of files to be merged is called NAME.d"),
        Unreadable::Special => Problem::new("this is a pipe, socket or device, not a file; it is left out").at(spot),
        Unreadable::TooLarge => {
            let most = crate::tree::MAX_FILE >> 20;
            Problem::new(format!("larger than {most} MiB, or all files together too large: not read"))
                .at(spot)
                .help("is this really a configuration file?")
        }
        Unreadable::NotUtf8(offset) => Problem::new(format!("not valid UTF-8 at byte {offset}; it cannot be used"))
            .at(spot)
            .help("convert the file to UTF-8"),
    }
}
