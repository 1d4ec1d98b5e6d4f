//! From a tree to the command stream.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use stockade_wire::{Command, Value};

use crate::context::{Context, FilterCheck, MissingLogs};
use crate::daemon::{self, DaemonOptions, Overrides};
use crate::diagnostic::{Diagnostic, Problem, Severity};
use crate::ini::{Cell, Entry, shorten};
use crate::interpolate::computed;
use crate::jail::{Failed, JailCommands, JailReader, is_enabled};
use crate::lint::{self, NameCheck};
use crate::options::Scope;
use crate::origin::{self, OriginRow};
use crate::own::{self, OwnValues, Profile, is_own};
use crate::resource::{Got, Reader, Resource};
use crate::text::nearest;
use crate::tree::{Tree, TreeSource};

/// How to load.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// What `%(fail2ban_version)s` becomes; the version we behave as if empty.
    pub version: &'a str,
    /// The profile; `None` takes `stockade.profile`, else drop-in for a complete tree.
    pub profile: Option<Profile>,
    /// Refuse everything because of one broken jail? `None` takes `stockade.strict`.
    pub strict: Option<bool>,
    /// Only this jail (a reload of one).
    pub only: Option<&'a str>,
    /// What to do where log files are missing.
    pub missing_logs: MissingLogs,
    /// Is there a journal that can be read? See [`crate::journal_is_there`].
    pub journal: bool,
    /// Options of the command line.
    pub overrides: Option<&'a Overrides>,
    /// Tries the regexes; without it they are not looked at.
    pub checker: Option<&'a dyn FilterCheck>,
}

impl fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LoadOptions");
        shown.field("version", &self.version).field("profile", &self.profile).field("strict", &self.strict);
        shown.field("only", &self.only).field("missing_logs", &self.missing_logs).field("journal", &self.journal);
        shown.field("overrides", &self.overrides).field("checker", &self.checker.is_some()).finish()
    }
}

/// What becomes of a broken jail where the others run.
const LEFT_OUT: &str = "; the jail is off, and its bans stay until they end";

/// The version that we behave as.
pub const VERSION: &str = "1.1.2.dev1";

/// A tree compiled to commands.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All commands in order, our own (see [`is_own`]) among them. Empty if refused.
    pub stream: Vec<Command>,
    /// Everything that was found, in the order of reading; if refused the errors, and how many warnings there are.
    pub diagnostics: Vec<Diagnostic>,
    /// The whole configuration cannot be used: exit code 255, a running daemon
    /// stays as it is.
    pub refused: bool,
    /// Names of the jails that start, in order.
    pub jails: Vec<String>,
    /// Names of the enabled jails that are left out because something is wrong.
    pub skipped: Vec<String>,
    /// The profile whose defaults hold.
    pub profile: Option<Profile>,
    /// What the daemon must know before it runs any command.
    pub daemon: DaemonOptions,
    /// One broken jail breaks all (`stockade.strict`).
    pub strict: bool,
    tables: Resource,
}

impl Loaded {
    /// The commands that the original knows: what `-d` prints.
    pub fn original(&self) -> impl Iterator<Item = &Command> {
        self.stream.iter().filter(|command| !is_own(command))
    }

    /// Can it be started, as the original judges: not refused, and not all jails broken?
    pub fn is_startable(&self) -> bool {
        !self.refused && (self.skipped.is_empty() || !self.jails.is_empty())
    }

    /// Will a start succeed? Where one broken jail breaks all, that also needs
    /// that the daemon takes what every jail says.
    pub fn can_start(&self) -> bool {
        self.is_startable() && !(self.strict && self.daemon_refuses())
    }

    /// Does it pass `-t`, which forgives no jail?
    ///
    /// DIVERGENCE (test-tries-values): the original does not try regexes, dates
    /// and other values in a test; a start then fails because of them.
    pub fn passes_test(&self) -> bool {
        !self.refused && self.skipped.is_empty() && !self.daemon_refuses()
    }

    /// Is there an error in a jail that is in the stream all the same?
    fn daemon_refuses(&self) -> bool {
        let mut errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        errors.any(|d| d.jail.as_ref().is_none_or(|jail| self.jails.contains(jail)))
    }

    /// Are there errors of any kind, also those that the original sees only when it starts?
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// All options that `jail` sees and where each was written; `None` if there is no such section.
    pub fn origin(&self, jail: &str) -> Option<Vec<OriginRow>> {
        origin::rows(&self.tables, jail)
    }
}

/// Reads a whole tree. Never fails: what is wrong is in
/// [`Loaded::diagnostics`], and [`Loaded::refused`] says whether it matters.
pub fn load(source: &TreeSource, options: &LoadOptions<'_>) -> Loaded {
    let mut reader = Reader::new(Tree::new(source));
    let mut loaded = Loaded::default();
    if let Err(problem) = load_into(&mut loaded, source, options, &mut reader) {
        reader.findings.add(Severity::Error, None, problem);
        loaded.refused = true;
    }
    if loaded.refused {
        loaded.stream.clear();
        let problem = Problem::new("nothing of this configuration is used because of the errors above");
        reader.findings.add(Severity::Error, None, problem.help("a daemon that runs goes on as it is"));
    }
    loaded.diagnostics = if loaded.refused { reader.findings.into_errors() } else { reader.findings.into_list() };
    loaded
}

/// Only the daemon's own options: where its socket is, and so on. For clients.
pub fn load_daemon_options(source: &TreeSource, overrides: &Overrides) -> (DaemonOptions, Vec<Diagnostic>) {
    let mut reader = Reader::new(Tree::new(source));
    let resource = reader.resource("fail2ban").unwrap_or_default();
    let options = match daemon::read(&resource, overrides, &mut reader) {
        Ok((options, _)) => options,
        Err(problem) => {
            reader.findings.add(Severity::Error, None, problem);
            DaemonOptions::default()
        }
    };
    (options, reader.findings.into_list())
}

fn load_into(
    loaded: &mut Loaded,
    source: &TreeSource,
    options: &LoadOptions<'_>,
    reader: &mut Reader,
) -> Result<(), Problem> {
    if !reader.tree.is_there() {
        let problem = Problem::new(format!("the folder '{}' is not there", reader.tree.base()));
        return Err(problem.help("name another with -c"));
    }
    let daemon = read_daemon(loaded, source, options, reader);
    let strict = match daemon {
        Ok(strict) => strict,
        Err(problem) => {
            reader.findings.add(Severity::Error, None, problem);
            loaded.refused = true;
            true
        }
    };
    loaded.strict = strict;
    let Some(jails) = reader.resource("jail") else {
        return Err(missing("jail", reader, "make a jail.local"));
    };
    loaded.refused |= jails.broken;
    let mut jails = Rc::unwrap_or_clone(jails);
    let version = if options.version.is_empty() { VERSION } else { options.version };
    jails.defaults.put("fail2ban_version", computed(Cell::text(version)));
    jails.defaults.put("fail2ban_confpath", computed(Cell::text(reader.tree.base())));
    own::check_names(&jails, Scope::Jail, reader);
    let names_check = NameCheck::new(&jails);
    names_check.check("DEFAULT", &jails.defaults, &mut reader.findings);
    let context = Context { missing_logs: options.missing_logs, journal: options.journal, checker: options.checker };
    let names: Vec<Arc<str>> = match options.only {
        None => jails.section_names().filter(|name| &***name != "INCLUDES").cloned().collect(),
        Some(only) if jails.sections.contains(only) => vec![Arc::from(only)],
        Some(only) => return Err(no_such_jail(only, &jails)),
    };
    let profile = loaded.profile.unwrap_or(Profile::DropIn);
    let mut read: Vec<(Arc<str>, ReadJail)> = Vec::new();
    for name in &names {
        match is_enabled(&jails, name, reader) {
            // Where one broken jail is left out, a switch in neither position breaks its jail.
            Ok(None) => {
                let unclear = unclear_switch(&jails, name, reader).filter(|_| !strict);
                read.extend(unclear.map(|why| (Arc::clone(name), Err(Failed::Found(why)))));
            }
            Ok(Some(first)) => {
                read.push((Arc::clone(name), read_jail(&mut jails, name, &first, profile, &names_check, reader)))
            }
            Err(problem) => read.push((Arc::clone(name), Err(Failed::Fatal(problem)))),
        }
    }
    let mut starts: Vec<Command> = Vec::new();
    for (name, jail) in read {
        let converted = jail.and_then(|(jail, own)| {
            let JailCommands { commands, patterns } = jail.convert(&own, &context, reader)?;
            // What the daemon would refuse need not be tried where one broken jail is left out.
            match reader.findings.error_in(&name).filter(|_| !strict).map(str::to_owned) {
                Some(message) => Err(Failed::Found(message)),
                None => Ok((commands, patterns, own)),
            }
        });
        match converted {
            Ok((mut commands, patterns, own)) => {
                loaded.stream.append(&mut commands);
                loaded.stream.extend(own::jail_commands(&name, &own));
                loaded.stream.extend(patterns.into_iter().map(|(pattern, place)| {
                    ["set", &name, "stockade.logpath", &pattern, &place].map(Value::from).to_vec()
                }));
                starts.push(["start", &name].map(Value::from).to_vec());
                loaded.jails.push(name.to_string());
            }
            Err(failed) => {
                let said = match failed {
                    Failed::Found(message) => message,
                    Failed::Skipped(said, problem) => {
                        reader.findings.add(Severity::Error, Some(&name), problem);
                        said
                    }
                    Failed::Fatal(mut problem) => {
                        loaded.refused |= strict;
                        let said = problem.message.clone();
                        problem.message += if strict { "; everything is refused" } else { LEFT_OUT };
                        reader.findings.add(Severity::Error, Some(&name), problem);
                        said
                    }
                };
                let text = format!("Jail '{name}' skipped, because of wrong configuration: {said}");
                loaded.stream.push(["config-error", &text].map(Value::from).to_vec());
                loaded.skipped.push(name.to_string());
            }
        }
    }
    loaded.stream.append(&mut starts);
    crate::sections::check(&jails, reader);
    loaded.tables = jails;
    Ok(())
}

/// What stands for `enabled`, if it is neither true nor false.
fn unclear_switch(jails: &Resource, name: &str, reader: &Reader) -> Option<String> {
    let Ok(Got::Value(entry)) = jails.get(name, "enabled", None, &reader.budget) else { return None };
    let text = entry.value.as_text().unwrap_or("");
    (!lint::is_switch(text)).then(|| format!("enabled = '{}' is neither true nor false", shorten(text)))
}

/// A jail that was read, with our own options, or why it could not be.
type ReadJail = Result<(JailReader, OwnValues), Failed>;

/// Reads one jail up to its commands.
fn read_jail(
    jails: &mut Resource,
    name: &Arc<str>,
    first: &crate::ordered::Ordered<Entry>,
    profile: Profile,
    names: &NameCheck,
    reader: &mut Reader,
) -> ReadJail {
    if let Some(table) = jails.sections.get(name) {
        names.check(name, table, &mut reader.findings);
    }
    if name.chars().count() > 25 {
        let problem = Problem::new("the name is longer than 25 characters; firewalls may cut or refuse it");
        reader.findings.add(Severity::Warning, Some(name), problem);
    }
    let jail = JailReader::read(jails, name, first, reader)?;
    let own = own::read(jails, name, Scope::Jail, profile, reader)?;
    Ok((jail, own))
}

/// Reads fail2ban.conf; says whether one broken jail breaks all.
fn read_daemon(
    loaded: &mut Loaded,
    source: &TreeSource,
    options: &LoadOptions<'_>,
    reader: &mut Reader,
) -> Result<bool, Problem> {
    let resource = reader
        .resource("fail2ban")
        .ok_or_else(|| missing("fail2ban", reader, "make a fail2ban.local (an empty [Definition] is enough)"))?;
    loaded.refused |= resource.broken;
    own::check_names(&resource, Scope::Daemon, reader);
    if let Some(table) = resource.sections.get("Definition") {
        NameCheck::new(&resource).check("Definition", table, &mut reader.findings);
    }
    let overrides = Overrides::default();
    let (daemon, mut stream) = daemon::read(&resource, options.overrides.unwrap_or(&overrides), reader)?;
    let by_tree = if matches!(source, TreeSource::Disk(_)) { Profile::DropIn } else { Profile::Own };
    let mut values = own::read(&resource, "Definition", Scope::Daemon, options.profile.unwrap_or(by_tree), reader)?;
    let is = |values: &OwnValues, name: &str, wanted: &Cell| values.iter().any(|(n, v)| *n == name && v == wanted);
    let configured = if is(&values, "stockade.profile", &Cell::text("own")) { Profile::Own } else { Profile::DropIn };
    let profile = options.profile.unwrap_or(configured);
    if profile != options.profile.unwrap_or(by_tree) {
        values = own::read(&resource, "Definition", Scope::Daemon, profile, reader)?;
    }
    loaded.profile = Some(profile);
    loaded.daemon = daemon;
    stream.extend(own::daemon_commands(&values));
    loaded.stream = stream;
    Ok(options.strict.unwrap_or(is(&values, "stockade.strict", &Cell::Bool(true))))
}

/// What to say where a whole resource is not there, or none of its files can be read.
fn missing(name: &str, reader: &Reader, help: &str) -> Problem {
    let base = reader.tree.base();
    if reader.tree.files_of(name).is_empty() {
        let problem = Problem::new(format!("there is no {name}.conf or {name}.local in '{base}'"));
        return problem.help(format!("{help}, or name another folder with -c"));
    }
    Problem::new(format!("the settings of '{name}' in '{base}' cannot be read because of the errors above"))
}

pub(crate) fn no_such_jail(only: &str, jails: &Resource) -> Problem {
    let problem = Problem::new(format!("there is no jail '{only}'"));
    match nearest(only, jails.section_names().map(AsRef::as_ref)) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem,
    }
}
