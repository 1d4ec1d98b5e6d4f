//! Which tree is meant, and where that tree's daemon has its places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use stockade_config::{CompileCheck, Diagnostic, LoadOptions, Overrides, Profile, Severity, TreeSource};
use stockade_core::matcher::Calendar;
use stockade_wire::Command;

/// Where our own settings are looked for when no folder is named.
const OWN_FOLDER: &str = "/etc/stockade";

/// Where one daemon has its things.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The control socket.
    pub(crate) socket: PathBuf,
    /// File with the process id, locked while the daemon lives.
    pub(crate) pidfile: PathBuf,
    /// The database; `None` keeps it in memory.
    pub(crate) database: Option<PathBuf>,
    /// Where the own log goes, as configured.
    pub(crate) logtarget: String,
    /// For the log target SYSLOG.
    pub(crate) syslogsocket: String,
    /// Which lines the log gets.
    pub(crate) loglevel: String,
    /// The folder of the tree.
    pub(crate) folder: PathBuf,
}

impl Places {
    /// The places of the daemon of that tree. Who is not root has places of
    /// their own, since those of the tree can't be written (a dry run).
    pub(crate) fn of(conf: Option<&Path>) -> Result<Places> {
        Tree::of(conf).places()
    }

    /// Is that value of `dbfile` no file?
    pub(crate) fn is_memory(dbfile: &str) -> bool {
        dbfile.eq_ignore_ascii_case("none") || dbfile == ":memory:"
    }

    /// The files of the tree that an operator may have changed.
    pub(crate) fn tree_files(&self) -> Vec<PathBuf> {
        let files = |folder: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
        };
        let folders = ["", "fail2ban.d", "jail.d", "filter.d", "action.d"];
        let all = folders.iter().flat_map(|folder| files(&self.folder.join(folder)));
        all.filter(|path| path.extension().is_some_and(|e| e == "conf" || e == "local")).collect()
    }

    /// Places for a watcher beside another guard: none of that guard's.
    pub(crate) fn in_the_shadow(&mut self) {
        let folder = own_folder();
        self.socket = folder.join("shadow.sock");
        self.pidfile = folder.join("shadow.pid");
        self.database = None;
        self.logtarget = "STDERR".to_owned();
    }
}

/// A folder of this user for what lives as long as a daemon.
fn own_folder() -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return "/run/stockade".into();
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    folder.join(format!("stockade-{}", user.as_raw()))
}

/// The socket of the daemon of that tree.
pub(crate) fn socket_of(conf: Option<&Path>) -> Result<PathBuf> {
    Ok(Places::of(conf)?.socket)
}

/// A configuration tree, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    source: TreeSource,
    /// Name of the folder, for messages.
    pub(crate) folder: PathBuf,
    own_places: bool,
    /// What the command line says in the tree's place.
    given: Overrides,
    /// The profile, if the name that we run under decides it.
    profile: Option<Profile>,
}

/// A tree that was read.
pub(crate) struct LoadedTree {
    /// All commands in order.
    pub(crate) stream: Vec<Command>,
    /// Jails that are left out, and why.
    pub(crate) broken: Vec<(String, String)>,
    /// What is wrong with jails, by their names, with file and line.
    pub(crate) faults: Vec<(String, String)>,
    /// Everything else that the operator should know, one line each.
    pub(crate) warnings: Vec<String>,
    /// What was compiled to try it: while it lives, staging with the same calendar has it already.
    _tried: Option<CompileCheck>,
}

impl LoadedTree {
    /// All jails that can't run, each with everything that is wrong with it:
    /// where the tree says so, else what `others` say.
    pub(crate) fn off(&self, others: &[(String, String)]) -> Vec<(String, String)> {
        let mut off: Vec<(String, String)> = Vec::new();
        for (jail, why) in self.broken.iter().chain(others) {
            if off.iter().any(|(name, _)| name == jail) {
                continue;
            }
            let faults: Vec<&str> =
                self.faults.iter().filter(|(name, _)| name == jail).map(|(_, f)| f.as_str()).collect();
            off.push((jail.clone(), if faults.is_empty() { why.clone() } else { faults.join("; ") }));
        }
        off
    }
}

impl Tree {
    /// The tree of that folder; without one, our own settings over the embedded tree.
    pub(crate) fn of(conf: Option<&Path>) -> Tree {
        let folder = conf.unwrap_or(Path::new(OWN_FOLDER)).to_owned();
        let source = match conf {
            Some(folder) => TreeSource::of_folder(folder),
            None if folder.is_dir() => TreeSource::Overlay(folder.clone()),
            None => TreeSource::Embedded,
        };
        let own_places = conf.is_none() && !rustix::process::geteuid().is_root();
        Tree { source, folder, own_places, given: Overrides::default(), profile: None }
    }

    /// The same tree with options of the command line, under one of fail2ban's names.
    pub(crate) fn under_fail2ban_name(mut self, given: Overrides) -> Tree {
        self.given = given;
        self.profile = Some(Profile::DropIn);
        self
    }

    /// Where it is read from.
    pub(crate) fn into_source(self) -> TreeSource {
        self.source
    }

    /// A complete tree of another making, whose places belong to that.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.source, TreeSource::Disk(_))
    }

    /// Where this tree's daemon has its things.
    pub(crate) fn places(&self) -> Result<Places> {
        if !self.folder_is_usable() && !self.is_all_given() {
            bail!("{} is not a folder; -c takes a folder with jail.conf or jail.local in it", self.folder.display());
        }
        let (daemon, _) = stockade_config::load_daemon_options(&self.source, &self.given);
        let mut places = Places {
            socket: daemon.socket.into(),
            pidfile: daemon.pidfile.into(),
            database: Some(daemon.dbfile.into()),
            logtarget: daemon.logtarget,
            syslogsocket: daemon.syslogsocket,
            loglevel: daemon.loglevel,
            folder: self.folder.clone(),
        };
        places.database.take_if(|file| Places::is_memory(&file.to_string_lossy()));
        if self.own_places {
            let folder = own_folder();
            places.socket = folder.join("stockade.sock");
            places.pidfile = folder.join("stockade.pid");
            places.database = None;
            places.logtarget = "STDERR".to_owned();
        }
        Ok(places)
    }

    /// Is there nothing that the tree would have to say? The original's client
    /// starts a server so, without telling where its tree is.
    fn is_all_given(&self) -> bool {
        let given = &self.given;
        [&given.socket, &given.pidfile, &given.loglevel, &given.logtarget, &given.syslogsocket]
            .iter()
            .all(|given| given.is_some())
    }

    fn folder_is_usable(&self) -> bool {
        matches!(self.source, TreeSource::Embedded) || self.folder.is_dir()
    }

    /// Compiles the tree, whatever is wrong in it.
    pub(crate) fn compile(&self) -> Result<stockade_config::Loaded> {
        self.compile_with(&CompileCheck::new(here()))
    }

    fn compile_with(&self, checker: &CompileCheck) -> Result<stockade_config::Loaded> {
        if !self.folder_is_usable() {
            bail!("{} is not a folder; -c takes a folder with jail.conf or jail.local in it", self.folder.display());
        }
        let options = LoadOptions {
            journal: stockade_config::journal_is_there(),
            checker: Some(checker),
            overrides: Some(&self.given),
            profile: self.profile,
            ..LoadOptions::default()
        };
        Ok(stockade_config::load(&self.source, &options))
    }

    /// Reads the tree. Fails if it can't be used at all, with every reason.
    pub(crate) fn load(&self) -> Result<LoadedTree> {
        self.load_with(&here())
    }

    /// The same for who will compile its filters with this calendar.
    pub(crate) fn load_with(&self, calendar: &Arc<Calendar>) -> Result<LoadedTree> {
        let tried = CompileCheck::new(Arc::clone(calendar));
        let loaded = self.compile_with(&tried)?;
        if loaded.refused {
            let errors = texts(&loaded.diagnostics, |d| d.severity == Severity::Error);
            bail!("the configuration can't be used: {}", errors.join("; "));
        }
        let broken = loaded
            .skipped
            .iter()
            .map(|jail| {
                let why =
                    texts(&loaded.diagnostics, |d| d.jail.as_deref() == Some(jail) && d.severity == Severity::Error);
                (jail.clone(), why.join("; "))
            })
            .collect();
        let fault = |d: &Diagnostic| d.severity == Severity::Error && d.jail.is_some();
        let faults = loaded.diagnostics.iter().filter(|d| fault(d));
        let faults = faults.map(|d| (d.jail.clone().unwrap_or_default(), d.to_string())).collect();
        let warnings = texts(&loaded.diagnostics, |d| d.severity >= Severity::Warning && !fault(d));
        Ok(LoadedTree { stream: loaded.stream, broken, faults, warnings, _tried: Some(tried) })
    }

    /// Commands that a client sent, with our own options of this tree laid over
    /// them: for the server, and for the jails that the commands make. What is
    /// wrong in the tree is the client's affair.
    pub(crate) fn overlaid(&self, mut stream: Vec<Command>) -> LoadedTree {
        let text = |command: &Command, n: usize| command.get(n).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        // Those of the server always come from its own tree.
        stream.retain(|c| !(text(c, 0) == "set" && text(c, 1).starts_with("stockade.")));
        let knows = stream.iter().any(|c| stockade_config::is_own(c));
        let made: Vec<String> = stream.iter().filter(|c| text(c, 0) == "add").map(|c| text(c, 1)).collect();
        let own: Vec<Command> = match self.compile() {
            Ok(loaded) if !loaded.refused => loaded.stream.into_iter().filter(|c| stockade_config::is_own(c)).collect(),
            _ => Vec::new(),
        };
        let of_server = |command: &Command| text(command, 1).starts_with("stockade.");
        let meant = own.into_iter().filter(|c| of_server(c) || (!knows && made.contains(&text(c, 1))));
        let starts = stream.iter().position(|c| text(c, 0) == "start").unwrap_or(stream.len());
        stream.splice(starts..starts, meant);
        LoadedTree { stream, broken: Vec::new(), faults: Vec::new(), warnings: Vec::new(), _tried: None }
    }

    /// The commands of a jail named `scan` that has nothing but this filter.
    pub(crate) fn filter(&self, call: &str, journal: bool) -> Result<Vec<Command>> {
        let (source, call) = match filter_file(call) {
            // A file that lies in a tree is read together with that tree's other files.
            Some((Some(tree), call)) => (TreeSource::Disk(tree), call),
            Some((None, call)) => (self.source.clone(), call),
            None => (self.source.clone(), call.to_owned()),
        };
        stockade_config::load_filter(&source, &call, journal).map_err(|problem| anyhow::anyhow!("{problem}"))
    }

    /// As [`Self::jail`]; `None` if the tree has no such jail.
    pub(crate) fn jail_if_there(&self, call: &str, journal: bool) -> Result<Option<Vec<Command>>> {
        stockade_config::load_jail(&self.source, call, journal).map_err(|p| anyhow::anyhow!("{p}"))
    }

    /// The commands of one jail of the tree, switched on or not; `call` may hold options for its filter.
    pub(crate) fn jail(&self, call: &str, journal: bool) -> Result<Vec<Command>> {
        self.jail_if_there(call, journal)?
            .ok_or_else(|| anyhow::anyhow!("{}", stockade_config::unknown_jail(&self.source, call)))
    }
}

/// The calendar of this place and year.
pub(crate) fn here() -> Arc<Calendar> {
    Calendar::new(jiff::tz::TimeZone::system(), jiff::Zoned::now().year())
}

/// A filter that is called by its file: the tree that the file lies in, and the call by name in that tree;
/// without such a tree by its whole path.
fn filter_file(call: &str) -> Option<(Option<PathBuf>, String)> {
    let (path, options) = call.split_at(call.find('[').unwrap_or(call.len()));
    let name = path.strip_suffix(".conf").or_else(|| path.strip_suffix(".local"))?;
    if !path.contains('/') {
        return None;
    }
    let whole = std::path::absolute(Path::new(name)).ok()?;
    let folder = whole.parent()?;
    if folder.file_name().is_some_and(|name| name == "filter.d") {
        let name = whole.file_name()?.to_str()?;
        return Some((Some(folder.parent()?.to_owned()), format!("{name}{options}")));
    }
    Some((None, format!("{}{options}", whole.to_str()?)))
}

/// Diagnostics that `wanted` chooses, as `file:line:column: message (help)`.
fn texts(diagnostics: &[Diagnostic], wanted: impl Fn(&Diagnostic) -> bool) -> Vec<String> {
    diagnostics.iter().filter(|d| wanted(d)).map(ToString::to_string).collect()
}
