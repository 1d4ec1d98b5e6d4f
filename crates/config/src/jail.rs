//! One jail: its section, its filter and its actions become commands.
//!
//! Source: fail2ban `client/jailreader.py`; what happens without log files as
//! in its newest version.

use std::path::Path;
use std::sync::Arc;

use stockade_wire::value::repr_str;
use stockade_wire::{Command, Value};

use crate::action::ActionCall;
use crate::call;
use crate::context::{Context, MissingLogs};
use crate::definition::{Definition, convert};
use crate::diagnostic::{Problem, Severity, Spot};
use crate::filter::{fill, origins, set};
use crate::glob::glob;
use crate::ini::{Cell, Entry};
use crate::interpolate::computed;
use crate::lint;
use crate::options::{FILTER, JAIL, OptionRow};
use crate::ordered::Ordered;
use crate::own::OwnValues;
use crate::resource::{Got, Reader, Resource};
use crate::success::Success;
use crate::text::{json_texts, nearest, words};
use crate::tree::join;

/// Why a jail gives no commands.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The jail is left out, the others run; what the command stream says of it.
    Skipped(String, Problem),
    /// The original refuses the whole configuration.
    Fatal(Problem),
    /// The daemon would refuse it; already among the findings.
    Found(String),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Failed::Fatal(problem)
    }
}

/// One action of a jail.
enum JailAction {
    Commands(Box<ActionCall>),
    Python(Command),
}

/// A jail whose options have been read.
pub(crate) struct JailReader {
    name: Arc<str>,
    options: Ordered<Entry>,
    filter: Option<Definition>,
    success: Success,
    actions: Vec<JailAction>,
}

/// The commands of one jail.
#[derive(Debug)]
pub(crate) struct JailCommands {
    pub(crate) commands: Vec<Command>,
    /// `stockade.logpath`: patterns, with head or tail.
    pub(crate) patterns: Vec<(String, String)>,
}

/// Reads the options that `rows` name. Missing ones get their reader default.
fn read_options<'a>(
    jail: &Resource,
    section: &str,
    rows: impl Iterator<Item = &'a OptionRow>,
    reader: &mut Reader,
) -> Result<Ordered<Entry>, Problem> {
    let mut options = Ordered::default();
    for row in rows {
        let mut entry = match jail.get(section, row.name, None, &reader.budget)? {
            Got::Value(entry) => entry,
            Got::NoOption | Got::NoSection => match row.default {
                Some(default) => computed(Cell::text(default)),
                None => continue,
            },
        };
        lint::check_option(row, &entry, section, &mut reader.findings);
        convert(row, &mut entry, |problem| {
            let mut problem = problem;
            problem.message += "; the jail cannot start";
            reader.findings.add(Severity::Error, Some(section), problem);
        });
        options.put(row.name, entry);
    }
    Ok(options)
}

/// Is the jail switched on? Reads what the original reads for every section.
pub(crate) fn is_enabled(
    jail: &Resource,
    section: &str,
    reader: &mut Reader,
) -> Result<Option<Ordered<Entry>>, Problem> {
    let first = ["enabled", "backend", "filter"];
    let rows = first.iter().filter_map(|name| JAIL.iter().find(|row| row.name == *name));
    let options = read_options(jail, section, rows, reader)?;
    let enabled = matches!(options.get("enabled"), Some(Entry { value: Cell::Bool(true), .. }));
    Ok(enabled.then_some(options))
}

fn text_of<'a>(options: &'a Ordered<Entry>, name: &str) -> &'a str {
    options.get(name).and_then(|entry| entry.value.as_text()).unwrap_or("")
}

impl JailReader {
    /// Reads a jail that is switched on.
    pub(crate) fn read(
        jail: &mut Resource,
        name: &Arc<str>,
        first: &Ordered<Entry>,
        reader: &mut Reader,
    ) -> Result<Self, Failed> {
        let (mut filter, success) = Self::read_filter(jail, name, first, reader)?.unzip();
        let rows = JAIL.iter().chain(FILTER);
        let options = read_options(jail, name, rows, reader)?;
        if let Some(filter) = &mut filter {
            filter.read(&options, false, reader)?;
        }
        let mut this = JailReader {
            name: Arc::clone(name),
            options,
            filter,
            success: success.unwrap_or_default(),
            actions: Vec::new(),
        };
        this.read_actions(reader)?;
        Ok(this)
    }

    fn read_filter(
        jail: &mut Resource,
        name: &Arc<str>,
        first: &Ordered<Entry>,
        reader: &mut Reader,
    ) -> Result<Option<(Definition, Success)>, Failed> {
        let text = text_of(first, "filter");
        let spot = first.get("filter").and_then(|entry| entry.origin.name_spot());
        if text.is_empty() && spot.is_some() {
            // Written so on purpose: a jail for bans by hand.
            return Ok(None);
        }
        if text.is_empty() {
            let problem = Problem::new("no filter is set, so only manual bans will happen").at(spot);
            let others = jail.sections.iter().take(5_000).filter(|(other, _)| !other.starts_with("KNOWN/"));
            let others = others.filter(|(other, table)| *other != name && table.contains("filter"));
            let names = others.map(|(other, _)| other.as_ref());
            let near = if reader.findings.worth_a_search() { nearest(name, names) } else { None };
            let problem = problem.help(match near {
                Some(near) => format!("set filter = NAME; or is the jail [{near}] meant?"),
                None => "set filter = NAME".to_owned(),
            });
            reader.findings.add(Severity::Warning, Some(name), problem);
            return Ok(None);
        }
        let call = call::parse(text).map_err(|what| {
            let said = format!("Invalid filter definition {}: {what}", repr_str(text));
            let problem = Problem::new(format!("the filter '{text}' is not written properly: {what}"));
            Failed::Skipped(said, problem.at(spot.clone()).help("write NAME[option=value, option=\"value\"]"))
        })?;
        let Some(resource) = reader.resource(&join("filter.d", &absolute(&call.name))) else {
            let said = format!("Unable to read the filter {}", repr_str(&call.name));
            return Err(Failed::Skipped(said, lint::no_such_file("filter", &call.name, reader).at(spot)));
        };
        refuse_broken(&resource, "filter", &call.name, &spot)?;
        let mut init: Ordered<Entry> = Ordered::default();
        for (key, value) in call.arguments.iter() {
            init.insert(key, computed(Cell::Text(value.clone())));
        }
        if call.arguments.get("logtype").is_none_or(|v| v.is_empty()) && !resource.has_own("Definition", "logtype") {
            let journal = text_of(first, "backend").starts_with("systemd");
            init.put("logtype", computed(Cell::text(if journal { "journal" } else { "file" })));
        }
        let success = Success::read(&resource, &call, &init, reader)?;
        let mut filter = Definition::new(resource, FILTER, init);
        filter.read(first, true, reader)?;
        let combined = filter.combined(&[], &reader.budget, |problem| {
            reader.findings.add(Severity::Error, Some(name), problem);
        })?;
        let known = combined.iter().filter(|(key, _)| !key.starts_with("known/"));
        jail.add(name, known.map(|(key, entry)| (Arc::from(format!("known/{key}")), entry.clone())));
        Ok(Some((filter, success)))
    }

    fn read_actions(&mut self, reader: &mut Reader) -> Result<(), Failed> {
        let entry = self.options.get("action").cloned();
        let text = text_of(&self.options, "action").to_owned();
        let spot = entry.as_ref().and_then(|entry| entry.origin.name_spot());
        let Some(calls) = call::split(&text) else {
            return Err(Failed::Fatal(Problem::new("the list of actions is too long").at(spot)));
        };
        for written in calls {
            let call = call::parse(written).map_err(|what| {
                let said = format!("Invalid action definition {}: {what}", repr_str(written));
                let problem = Problem::new(format!("the action '{written}' is not written properly: {what}"));
                Failed::Skipped(said, problem.at(spot.clone()).help("write NAME[option=value, option=\"value\"]"))
            })?;
            if let Some(stem) = call.name.strip_suffix(".py") {
                self.actions.push(JailAction::Python(self.python(&call, stem, reader)));
                continue;
            }
            let Some(resource) = reader.resource(&join("action.d", &absolute(&call.name))) else {
                let said = format!("Unable to read action {}", repr_str(&call.name));
                return Err(Failed::Skipped(said, lint::no_such_file("action", &call.name, reader).at(spot)));
            };
            refuse_broken(&resource, "action", &call.name, &spot)?;
            let mut action = ActionCall::new(resource, &call, &self.name);
            action.read(&self.options, reader).map_err(|mut problem| {
                problem.message = format!("action '{written}': {}", problem.message);
                problem.at(spot.clone())
            })?;
            self.actions.push(JailAction::Commands(Box::new(action)));
        }
        if self.actions.is_empty() {
            let problem = Problem::new("no action is set, so bans have no effect").at(spot);
            reader.findings.add(Severity::Warning, Some(&self.name), problem.help("set action or banaction"));
        }
        Ok(())
    }

    /// The command for an action written in Python.
    fn python(&self, call: &call::Call, stem: &str, reader: &Reader) -> Command {
        let arguments = call.arguments.iter().filter(|(key, _)| &***key != "actname");
        let file = join(&join(reader.tree.base(), "action.d"), &call.name);
        let name = call.arguments.get("actname").map_or(crate::resource::without_ending(&call.name), AsRef::as_ref);
        debug_assert!(!stem.is_empty() || call.name == ".py", "stripped above");
        vec![
            "set".into(),
            self.name.as_ref().into(),
            "addaction".into(),
            name.into(),
            file.into(),
            json_texts(arguments.map(|(key, value)| (&**key, &**value))).into(),
        ]
    }

    /// The jail's commands, without the one that starts it.
    pub(crate) fn convert(
        mut self,
        own: &OwnValues,
        context: &Context<'_>,
        reader: &mut Reader,
    ) -> Result<JailCommands, Failed> {
        let name = Arc::clone(&self.name);
        let mut stream: Vec<Command> = Vec::new();
        let mut combined = Ordered::default();
        if let Some(filter) = &mut self.filter {
            combined = filter.combined(&[], &reader.budget, |problem| {
                let mut problem = problem;
                problem.message += "; the jail cannot start";
                reader.findings.add(Severity::Error, Some(&name), problem);
            })?;
            fill(&mut stream, &combined, &name)?;
        }
        fill(&mut stream, &self.options, &name)?;
        let filter = self.filter.as_ref().map(|_| combined);
        let entry = |option: &str| self.options.get(option).or_else(|| filter.as_ref().and_then(|f| f.get(option)));
        let origins = origins(entry, &name);
        lint::check_filter(filter.as_ref(), &self.options, &name, context, &mut reader.findings);
        for problem in self.success.faults(context) {
            reader.findings.add(Severity::Warning, Some(&name), problem);
        }
        let mut backend = text_of(&self.options, "backend").to_owned();
        let patterns = if backend.starts_with("systemd") { Vec::new() } else { self.patterns() };
        let first = own.iter().any(|(name, value)| *name == "stockade.journalfirst" && *value == Cell::Bool(true));
        if context.journal && first && backend == "auto" && self.options.contains("journalmatch") {
            backend = "systemd".to_owned();
        }
        let mut paths = Vec::new();
        for (key, entry) in self.options.iter() {
            match &**key {
                "logpath" => {
                    if !backend.starts_with("systemd") {
                        backend =
                            self.log_files(entry, backend, &mut paths, first && !context.journal, context, reader)?;
                    }
                }
                "ignoreip" => {
                    crate::ignoreip::check(entry, &name, &mut reader.findings);
                    let mut command: Command = vec!["set".into(), name.as_ref().into(), "addignoreip".into()];
                    command.extend(words(entry.value.as_text().unwrap_or("")).map(Value::from));
                    stream.push(command);
                }
                "action" | "filter" | "enabled" | "backend" | "skip_if_nologs" | "systemd_if_nologs" => {}
                key if FILTER.iter().any(|row| row.name == key) => {}
                key => stream.push(set(&name, key, &entry.value)),
            }
        }
        stream.append(&mut paths);
        let mut names: Vec<String> = Vec::new();
        for action in &mut self.actions {
            match action {
                JailAction::Python(command) => stream.push(command.clone()),
                JailAction::Commands(action) => {
                    let (mut commands, options) = action.commands(&name, &reader.budget, |problem| {
                        reader.findings.add(Severity::Error, Some(&name), problem);
                    })?;
                    lint::check_action(action.name(), &options, &name, &mut reader.findings);
                    if names.iter().any(|n| n == action.name()) {
                        let problem =
                            Problem::new(format!("two actions are called '{}'; the jail cannot start", action.name()));
                        let problem = problem.at(self.options.get("action").and_then(|e| e.origin.name_spot()));
                        reader.findings.add(
                            Severity::Error,
                            Some(&name),
                            problem.help("give one of them actname=\"..\""),
                        );
                    }
                    names.push(action.name().to_owned());
                    stream.append(&mut commands);
                }
            }
        }
        stream.insert(0, vec!["add".into(), name.as_ref().into(), backend.into()]);
        stream.extend(origins);
        stream.extend(self.success.command(&name));
        Ok(JailCommands { commands: stream, patterns })
    }

    /// The lines of `logpath`: pattern, and where to begin.
    fn patterns(&self) -> Vec<(String, String)> {
        let lines = text_of(&self.options, "logpath").split('\n');
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap_or((line, "head")));
        pairs.filter(|(p, _)| !p.is_empty()).map(|(p, w)| (p.to_owned(), w.to_owned())).collect()
    }

    /// Finds the log files; gives the backend, which may have changed.
    /// With `no_journal` it does not change to one that is not there.
    fn log_files(
        &self,
        entry: &Entry,
        backend: String,
        paths: &mut Vec<Command>,
        no_journal: bool,
        context: &Context<'_>,
        reader: &mut Reader,
    ) -> Result<String, Failed> {
        let name = &*self.name;
        let value = entry.value.as_text().unwrap_or("");
        let reads = self.filter.as_ref().and_then(|filter| filter.own_word("log", &reader.budget));
        let mut offset = 0;
        for line in value.split('\n') {
            let spot = entry.origin.spot(value, offset);
            offset += line.len() + 1;
            let (pattern, place) = line.rsplit_once(' ').unwrap_or((line, "head"));
            lint::check_logpath(line, pattern, place, &spot, name, &mut reader.findings);
            if reads.as_deref() == Some("access") {
                lint::check_access_log(pattern, &spot, name, &mut reader.findings);
            }
            let found = glob(pattern);
            if found.is_empty() && !pattern.is_empty() {
                let problem = Problem::new(format!("no file matches '{pattern}'")).at(spot.clone());
                reader.findings.add(Severity::Note, Some(name), problem);
            }
            for path in found {
                if Path::new(&path).exists() {
                    lint::check_log_file((&path, path != pattern), &spot, name, &mut reader.findings);
                    let command = ["set", name, "addlogpath", &path, place];
                    paths.push(command.map(Value::from).to_vec());
                } else {
                    let problem = Problem::new(format!("'{path}' is a link that leads nowhere; it is left out"));
                    reader.findings.add(Severity::Warning, Some(name), problem.at(spot.clone()));
                }
            }
        }
        if !paths.is_empty() {
            return Ok(backend);
        }
        self.without_logs(entry.origin.name_spot(), backend, no_journal, context, reader)
    }

    fn without_logs(
        &self,
        spot: Option<Spot>,
        backend: String,
        no_journal: bool,
        context: &Context<'_>,
        reader: &mut Reader,
    ) -> Result<String, Failed> {
        let name = &*self.name;
        let is_on = |option: &str| matches!(self.options.get(option), Some(Entry { value: Cell::Bool(true), .. }));
        let may_switch = !no_journal && backend.starts_with("auto");
        if may_switch && is_on("systemd_if_nologs") && self.options.contains("journalmatch") {
            let problem = Problem::new("none of its log files is there; the journal is read instead").at(spot);
            reader.findings.add(Severity::Warning, Some(name), problem);
            return Ok("systemd".to_owned());
        }
        if is_on("skip_if_nologs") {
            let said = format!("Have not found any log file for '{name}' jail.");
            let problem =
                Problem::new("none of its log files is there, and skip_if_nologs is set: the jail is left out");
            return Err(Failed::Skipped(said, problem.at(spot)));
        }
        let problem = Problem::new("none of its log files is there").at(spot);
        match context.missing_logs {
            MissingLogs::Refuse => {
                Err(Failed::Fatal(problem.help("correct logpath, or set skip_if_nologs = true or backend = systemd")))
            }
            MissingLogs::Wait => {
                let mut problem = problem.help("correct logpath, or set backend = systemd if it logs to the journal");
                problem.message += "; the jail waits for them";
                reader.findings.add(Severity::Warning, Some(name), problem);
                Ok(backend)
            }
        }
    }
}

/// Files with mistakes in them are not used at all.
fn refuse_broken(resource: &Resource, what: &str, name: &str, spot: &Option<Spot>) -> Result<(), Failed> {
    if !resource.broken {
        return Ok(());
    }
    let problem = Problem::new(format!("the {what} '{name}' cannot be read because of the errors above"));
    Err(Failed::Fatal(problem.at(spot.clone())))
}

/// A name that begins with `./` is meant from the working directory.
fn absolute(name: &str) -> String {
    match (name.starts_with("./"), std::env::current_dir()) {
        (true, Ok(folder)) => {
            let path = folder.join(name);
            let parts = path.components().filter(|part| !matches!(part, std::path::Component::CurDir));
            parts.collect::<std::path::PathBuf>().to_string_lossy().into_owned()
        }
        _ => name.to_owned(),
    }
}
