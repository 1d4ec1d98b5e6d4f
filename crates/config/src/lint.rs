//! Findings beyond the original's: things that are allowed but hardly meant.

use std::collections::HashSet;

use crate::context::{Context, FilterTexts};
use crate::diagnostic::{Findings, Problem, Severity, Spot};
use crate::ini::{Cell, Entry, Table};
use crate::options::{ACTION, DAEMON, FILTER, JAIL, Kind, OLD_JAILS, OLD_OPTIONS, OptionRow, SHORT};
use crate::ordered::Ordered;
use crate::resource::{Reader, Resource};
use crate::text::{lower, nearest};

/// Is it a known word for true or false? An empty value is meant as false.
pub(crate) fn is_switch(value: &str) -> bool {
    let known = ["1", "on", "true", "yes", "0", "off", "false", "no", ""];
    known.contains(&value.to_lowercase().as_str())
}

/// Findings about one value of a known option.
pub(crate) fn check_option(row: &OptionRow, entry: &Entry, section: &str, findings: &mut Findings) {
    let Some(value) = entry.value.as_text() else { return };
    let jail = (section != "Definition").then_some(section);
    let spot = || entry.origin.spot(value, 0);
    match row.kind {
        Kind::Bool => {
            if is_switch(value) {
                return;
            }
            let off = if row.name == "enabled" { ": the jail is off" } else { "" };
            let shown = crate::ini::shorten(value);
            let problem = Problem::new(format!("{} = '{shown}' counts as false{off}", row.name));
            let problem = match nearest(value, ["true", "false", "yes", "no", "on", "off"]) {
                _ if value.contains('\n') => {
                    problem.help("the lines below it are indented, so they became part of the value")
                }
                Some(near) => problem.help(format!("did you mean {near}?")),
                None => problem.help("write true or false"),
            };
            findings.add(Severity::Warning, jail, problem.at(spot()));
        }
        Kind::Choice(choices) if row.name == "usedns" && !choices.contains(&value.to_lowercase().as_str()) => {
            let problem = Problem::new(format!("usedns = '{value}' is unknown and counts as 'no'"));
            findings.add(Severity::Warning, jail, problem.at(spot()).help(format!("one of {}", choices.join(", "))));
        }
        Kind::Time => {
            if let Err(what) = crate::duration::seconds(value) {
                let shown = crate::ini::shorten(value);
                let mut problem = Problem::new(format!("{} = '{shown}' is no length of time: {what}", row.name));
                if jail.is_some() {
                    problem.message += "; the jail cannot start";
                }
                problem = problem.help(match value.contains('\n') {
                    true => "the lines below it are indented, so they became part of the value",
                    false => "write for example 90, 10m or 1d 12h",
                });
                findings.add(Severity::Error, jail, problem.at(spot()));
            } else if let Some(at) = value.find('#') {
                let shown = crate::ini::shorten(value.get(at..).unwrap_or(""));
                let problem =
                    Problem::new(format!("{}: '{shown}' is a comment here, but would not be elsewhere", row.name));
                let help = "put a comment on a line of its own";
                findings.add(Severity::Note, jail, problem.at(entry.origin.spot(value, at)).help(help));
            }
        }
        _ => {}
    }
    if let Some((what, help)) = crate::values::refused(row.name, value).filter(|_| jail.is_some()) {
        let shown = crate::ini::shorten(value);
        let problem = Problem::new(format!("{} = '{shown}': {what}; the jail cannot start", row.name));
        findings.add(Severity::Error, jail, problem.at(spot()).help(help));
    }
    if row.kind != Kind::Command && value.contains('&') {
        check_entities(row.name, entry, jail, findings);
    }
}

/// HTML entities that came along with text pasted from a web page.
fn check_entities(name: &str, entry: &Entry, jail: Option<&str>, findings: &mut Findings) {
    let Some(value) = entry.value.as_text() else { return };
    for (entity, meant) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&"), ("&#39;", "'"), ("&nbsp;", " ")]
    {
        if let Some(at) = value.find(entity) {
            let problem = Problem::new(format!("{name} holds {entity}, which a web page shows as '{meant}'"));
            let problem = problem.at(entry.origin.spot(value, at)).help(format!("write {meant} instead"));
            findings.add(Severity::Warning, jail, problem);
        }
    }
}

/// More names than this in one section are not looked at.
const MAX_NAMES: usize = 300;

/// Looks for options that seem misspelt.
pub(crate) struct NameCheck {
    /// Names that are mentioned as `%(name)s` or `%(section/name)s` anywhere.
    mentioned: HashSet<String>,
}

impl NameCheck {
    /// Notes what the values of a resource mention.
    pub(crate) fn new(resource: &Resource) -> Self {
        let mut mentioned = HashSet::new();
        let tables = std::iter::once(&resource.defaults).chain(resource.sections.iter().map(|(_, table)| table));
        for (_, entry) in tables.flat_map(Table::iter) {
            let mut rest = entry.value.as_text().unwrap_or("");
            while let Some(at) = rest.find("%(") {
                rest = rest.get(at + 2..).unwrap_or("");
                let end = rest.char_indices().take(100).find(|(_, c)| *c == ')').map(|(at, _)| at);
                if let Some(name) = end.and_then(|end| rest.get(..end)) {
                    mentioned.insert(lower(name.rsplit('/').next().unwrap_or(name)).into_owned());
                }
            }
        }
        NameCheck { mentioned }
    }

    /// Findings about the names in one section.
    pub(crate) fn check(&self, section: &str, table: &Table, findings: &mut Findings) {
        let jail = (section != "DEFAULT" && section != "Definition").then_some(section);
        let rows = || if section == "Definition" { DAEMON.iter().chain(&[]) } else { JAIL.iter().chain(FILTER) };
        for (key, entry) in table.iter().take(MAX_NAMES) {
            let own = key.starts_with("stockade.") || SHORT.iter().any(|(short, _)| *short == &**key);
            if own || key.starts_with("known/") || rows().any(|row| row.name == &**key) {
                continue;
            }
            let spot = entry.origin.name_spot();
            let renamed =
                OLD_OPTIONS.iter().find(|(old, _)| *old == &**key).map(|(_, new)| format!("it is called {new}"));
            let help = match renamed {
                Some(help) => help,
                None if self.mentioned.contains(&**key) => continue,
                None => match nearest(key, rows().map(|row| row.name)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => continue,
                },
            };
            let problem = Problem::new(format!("option '{key}' is unknown and has no effect")).at(spot);
            findings.add(Severity::Warning, jail, problem.help(help));
        }
    }
}

/// What to say of a filter or action that is not there.
pub(crate) fn no_such_file(what: &str, name: &str, reader: &Reader) -> Problem {
    let folder = format!("{what}.d");
    let names = reader.tree.names_in(&folder);
    if !reader.tree.files_of(&format!("{folder}/{name}")).is_empty() {
        return Problem::new(format!(
            "the {what} '{name}' cannot be read because of the errors above; the jail is left out"
        ));
    }
    let problem = Problem::new(format!("there is no {what} '{name}' in {folder}; the jail is left out"));
    let trimmed = crate::text::strip(name);
    if trimmed != name && names.iter().any(|n| n == trimmed) {
        return problem.help("remove the blank before the bracket");
    }
    if let Some((_, new)) = OLD_JAILS.iter().find(|(old, new)| *old == name && names.iter().any(|n| n == new)) {
        return problem.help(format!("it is called {new} now"));
    }
    if let Some(stem) = name.strip_suffix(".conf") {
        return problem.help(format!("write {stem}, without .conf"));
    }
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem.help(format!("make {folder}/{name}.conf, or correct the name")),
    }
}

/// Findings about regexes: entities, and what the matcher says of them.
pub(crate) fn check_filter(
    filter: Option<&Ordered<Entry>>,
    jail: &Ordered<Entry>,
    name: &str,
    context: &Context<'_>,
    findings: &mut Findings,
) {
    let entry = |option: &str| jail.get(option).or_else(|| filter.and_then(|f| f.get(option)));
    for row in FILTER {
        if let Some(entry) = entry(row.name) {
            check_option(row, entry, name, findings);
        }
    }
    let Some(checker) = context.checker else { return };
    let text = |option: &str| entry(option).and_then(|e| e.value.as_text()).filter(|t| !t.is_empty());
    let lines = |option: &str| text(option).unwrap_or("").split('\n').filter(|l| !l.is_empty()).collect::<Vec<_>>();
    let texts = FilterTexts {
        usedns: text("usedns"),
        prefregex: text("prefregex"),
        failregex: lines("failregex"),
        ignoreregex: lines("ignoreregex"),
        maxlines: match entry("maxlines").map(|e| &e.value) {
            Some(Cell::Int(n)) => u32::try_from(*n).ok(),
            _ => None,
        },
        datepattern: text("datepattern"),
        logtimezone: text("logtimezone"),
    };
    for fault in checker.check(&texts) {
        let entry = entry(fault.option);
        let value = entry.and_then(|e| e.value.as_text()).unwrap_or("");
        let place = fault.position.map(|at| format!(" at character {}", at + 1)).unwrap_or_default();
        let mut problem = Problem::new(format!("{}: {}{place}; the jail cannot start", fault.option, fault.message));
        if matches!(fault.option, "failregex" | "ignoreregex" | "datepattern" | "prefregex") {
            let numbered = value.split('\n').zip(0..).filter(|(line, _)| !line.is_empty());
            let (regex, line) = numbered.clone().nth(fault.index).unwrap_or((value, 0));
            let number = if numbered.count() > 1 { format!(" {}", fault.index + 1) } else { String::new() };
            problem.message =
                format!("{}{number}: {}{place}; the jail cannot start: {regex}", fault.option, fault.message);
            problem = problem.at(entry.and_then(|e| e.origin.line_spot(value, line)));
        }
        let problem = problem.at(entry.and_then(|e| e.origin.name_spot()));
        let severity = if fault.warning { Severity::Warning } else { Severity::Error };
        findings.add(severity, Some(name), problem);
    }
}

/// Findings about one line of `logpath`.
pub(crate) fn check_logpath(
    line: &str,
    pattern: &str,
    place: &str,
    spot: &Option<Spot>,
    jail: &str,
    findings: &mut Findings,
) {
    let mut add = |severity, message: String, help: &str| {
        findings.add(severity, Some(jail), Problem::new(message).at(spot.clone()).help(help));
    };
    if place != "head" && place != "tail" {
        let message = format!("'{place}' behind the blank is neither head nor tail; the jail cannot start");
        add(
            Severity::Error,
            message,
            "write one path per line; a path with a blank in it needs head or tail behind it",
        );
    } else if pattern.ends_with(' ') {
        add(
            Severity::Warning,
            format!("'{line}' has two blanks before {place}, so the path ends in a blank"),
            "use one",
        );
    }
    if pattern.contains(',') && pattern.contains(", ") || pattern.split(',').filter(|p| p.starts_with('/')).count() > 1
    {
        add(Severity::Warning, format!("'{line}' is taken as one path"), "write each path on a line of its own");
    }
}

/// A filter of ours that says `log = access` finds nothing in an error log.
pub(crate) fn check_access_log(pattern: &str, spot: &Option<Spot>, jail: &str, findings: &mut Findings) {
    if pattern.ends_with("error.log") || pattern.ends_with("error_log") {
        let problem =
            Problem::new(format!("'{pattern}' is an error log, and the filter reads access logs: it finds nothing"));
        let help = "set logpath to the access log; or add [log=error] to the filter if you trust your clients: \
                    they can write whole lines of an error log about anybody";
        findings.add(Severity::Warning, Some(jail), problem.at(spot.clone()).help(help));
    }
}

/// Findings about a log that is there. Whoever may write in a folder can make a
/// directory that a pattern matches: that must not switch a jail off.
pub(crate) fn check_log_file(
    (path, is_pattern): (&str, bool),
    spot: &Option<Spot>,
    jail: &str,
    findings: &mut Findings,
) {
    if !std::path::Path::new(path).is_dir() {
        return;
    }
    if is_pattern {
        let problem = Problem::new(format!("'{path}' is a directory; the other files are read without it"));
        findings.add(Severity::Warning, Some(jail), problem.at(spot.clone()));
    } else {
        let problem =
            Problem::new(format!("'{path}' is a directory, but a log file is meant; the jail cannot read it"));
        findings.add(Severity::Error, Some(jail), problem.at(spot.clone()).help(format!("write {path}/*.log")));
    }
}

/// Findings about the commands of an action.
pub(crate) fn check_action(action: &str, options: &Ordered<Entry>, jail: &str, findings: &mut Findings) {
    for row in ACTION {
        let Some(entry) = options.get(row.name) else { continue };
        let Some(text) = entry.value.as_text() else { continue };
        if text.contains('&') {
            check_entities(row.name, entry, Some(jail), findings);
        }
        if row.kind == Kind::Command {
            crate::shell::check(row.name, text, |line, message, help| {
                let problem = Problem::new(format!("action '{action}': {message}")).at(line_of(entry, line));
                findings.add(Severity::Warning, Some(jail), problem.help(help));
            });
        }
    }
    check_recipe(action, options, jail, findings);
}

/// Findings about commands of an action that belong together.
fn check_recipe(action: &str, options: &Ordered<Entry>, jail: &str, findings: &mut Findings) {
    let text = |option: &str| options.get(option).and_then(|entry| entry.value.as_text()).unwrap_or_default();
    let families = text("families");
    let texts = crate::recipe::Texts {
        start: text("actionstart"),
        stop: text("actionstop"),
        ban: text("actionban"),
        unban: text("actionunban"),
        one_family: options.contains("actionban?family=inet6") || !(families.is_empty() || families.contains("inet6")),
    };
    crate::recipe::check(&texts, |(option, line), message, help| {
        let spot = options.get(option).and_then(|entry| line_of(entry, line));
        let problem = Problem::new(format!("action '{action}': {message}")).at(spot);
        findings.add(Severity::Warning, Some(jail), problem.help(help));
    });
}

/// Where a line of a value stands, else where its option does.
fn line_of(entry: &Entry, line: usize) -> Option<Spot> {
    let value = entry.value.as_text().unwrap_or_default();
    entry.origin.line_spot(value, line).or_else(|| entry.origin.name_spot())
}
