//! One filter, or one jail of a tree, alone: for whoever tries it on old logs.

use std::rc::Rc;
use std::sync::Arc;

use stockade_wire::Command;

use crate::call;
use crate::context::{Context, MissingLogs};
use crate::diagnostic::{Diagnostic, Problem, Severity};
use crate::ini::Cell;
use crate::interpolate::computed;
use crate::jail::{Failed, JailReader, is_enabled};
use crate::load::{VERSION, no_such_jail};
use crate::options::Scope;
use crate::own::{self, Profile};
use crate::resource::{Got, Reader, Resource};
use crate::tree::{Tree, TreeSource};

/// The commands of a jail named `scan` that has this filter and nothing else;
/// `call` is written as the option `filter` is, such as `sshd[mode=aggressive]`.
///
/// # Errors
/// What is wrong with the call or the filter.
pub fn load_filter(source: &TreeSource, call: &str, journal: bool) -> Result<Vec<Command>, Diagnostic> {
    let mut reader = Reader::new(Tree::new(source));
    let name: Arc<str> = "scan".into();
    let mut jails = Resource::default();
    let options = [("enabled", "true"), ("backend", backend(journal)), ("filter", call)];
    jails.add(&name, options.map(|(key, value)| (Arc::from(key), computed(Cell::text(value)))));
    let commands = commands(&mut jails, &name, &mut reader);
    commands.map_err(|failed| worst(failed, reader, || format!("the filter '{call}' can't be used")))
}

/// The commands of one jail of the tree, switched on or not. `call` is its name,
/// with options for its filter if wanted, such as `sshd[mode=aggressive]`.
/// Its lines come from a file, or (`journal`) from the journal, whatever its `backend` says.
///
/// `None`: the tree has no such jail.
///
/// # Errors
/// What is wrong with the call, the tree or the jail.
pub fn load_jail(source: &TreeSource, call: &str, journal: bool) -> Result<Option<Vec<Command>>, Diagnostic> {
    let mut reader = Reader::new(Tree::new(source));
    let unusable = || format!("the jail '{call}' can't be used");
    let parsed = call::parse(call).map_err(|what| problem(Problem::new(format!("{}: {what}", unusable()))))?;
    let Some(jails) = reader.resource("jail") else { return Ok(None) };
    let mut jails = Rc::unwrap_or_clone(jails);
    let name: Arc<str> = Arc::from(parsed.name.as_str());
    if !jails.section_names().any(|section| *section == name && &**section != "INCLUDES") {
        return Ok(None);
    }
    jails.defaults.put("fail2ban_version", computed(Cell::text(VERSION)));
    jails.defaults.put("fail2ban_confpath", computed(Cell::text(reader.tree.base())));
    let on = [("enabled", "true"), ("backend", backend(journal))];
    jails.add(&name, on.map(|(key, value)| (Arc::from(key), computed(Cell::text(value)))));
    if parsed.arguments.iter().next().is_some() {
        let filter = jails.get(&name, "filter", None, &reader.budget).map_err(problem)?;
        let mut filter = match filter {
            Got::Value(entry) => entry.value.as_text().unwrap_or("").to_owned(),
            Got::NoSection | Got::NoOption => String::new(),
        };
        for (key, value) in parsed.arguments.iter() {
            let quote = if value.contains('"') { '\'' } else { '"' };
            filter.push_str(&format!("[{key}={quote}{value}{quote}]"));
        }
        jails.add(&name, [(Arc::from("filter"), computed(Cell::text(&filter)))]);
    }
    let commands = commands(&mut jails, &name, &mut reader);
    commands.map(Some).map_err(|failed| worst(failed, reader, unusable))
}

/// What is wrong with a name that [`load_jail`] does not know, and what may be meant.
pub fn unknown_jail(source: &TreeSource, name: &str) -> Diagnostic {
    let mut reader = Reader::new(Tree::new(source));
    let jails = reader.resource("jail").unwrap_or_default();
    problem(no_such_jail(name, &jails))
}

fn backend(journal: bool) -> &'static str {
    if journal { "systemd" } else { "auto" }
}

fn problem(problem: Problem) -> Diagnostic {
    let Problem { at, message, help } = problem;
    let (file, line, column) = at.map_or((String::new(), 0, 0), |at| (at.file.to_string(), at.line, at.column));
    Diagnostic { severity: Severity::Error, jail: None, file, line, column, message, help }
}

fn commands(jails: &mut Resource, name: &Arc<str>, reader: &mut Reader) -> Result<Vec<Command>, Failed> {
    let context = Context { missing_logs: MissingLogs::Wait, journal: false, checker: None };
    let first = is_enabled(jails, name, reader)?.unwrap_or_default();
    let jail = JailReader::read(jails, name, &first, reader)?;
    let own = own::read(jails, name, Scope::Jail, Profile::DropIn, reader)?;
    Ok(jail.convert(&own, &context, reader)?.commands)
}

/// The gravest of all that was found.
fn worst(failed: Failed, mut reader: Reader, unusable: impl Fn() -> String) -> Diagnostic {
    if let Failed::Skipped(_, problem) | Failed::Fatal(problem) = failed {
        reader.findings.add(Severity::Error, None, problem);
    }
    let worst = reader.findings.into_list().into_iter().max_by_key(|finding| finding.severity);
    worst.unwrap_or_else(|| problem(Problem::new(unusable())))
}

/// `NAME[option=value, ...]` taken apart: the name, and the options in their order.
///
/// # Errors
/// What is wrong with its syntax, as the original says it.
pub fn parse_call(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let call = call::parse(text)?;
    let options = call.arguments.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    Ok((call.name.clone(), options.collect()))
}
