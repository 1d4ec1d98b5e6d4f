//! What lines are tried with: from the options and the word REGEX, told as they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use stockade_config::TreeSource;
use stockade_core::matcher::{Calendar, DatePattern, Encoding, Filter, FilterError, FilterSpec, UseDns};
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};
use stockade_wire::Command;
use stockade_wire::value::{Value, repr_str};

use super::options::Options;
use super::{Failed, tell};
use crate::places::Tree;
use crate::settings::Settings;

/// The original's own folder, if `-c` names no other.
const FOLDER: &str = "/etc/fail2ban";
/// Lines of one kind that are printed, if nothing else is said.
const LINES_SHOWN: usize = 20;
/// Characters of a text in the head of the report.
const HEAD_CHARS: usize = 53;

/// What lines are tried with.
pub(super) struct Rules {
    pub(super) filter: Arc<Filter>,
    /// As they were written.
    pub(super) failregex: Vec<String>,
    /// As they were written.
    pub(super) ignoreregex: Vec<String>,
    pub(super) usedns: UseDns,
    pub(super) maxlines: u32,
    /// Was it said how lines are dated?
    pub(super) dated: bool,
    /// Do lines come from the journal?
    pub(super) journal: bool,
    pub(super) journalmatch: Vec<String>,
    /// This many lines of one kind are too many to print.
    pub(super) limit: usize,
    pub(super) encoding: Encoding,
    /// As it was given.
    pub(super) encoding_name: String,
    /// Messages of this level and above are printed.
    pub(super) level: i64,
}

/// Rules while they are read.
struct Reading<'o> {
    options: &'o Options,
    spec: FilterSpec,
    calendar: Arc<Calendar>,
    maxlines_set: bool,
    dated: bool,
    journal: bool,
    journalmatch: Option<Vec<String>>,
}

impl Rules {
    /// Reads them, and tells so.
    pub(super) fn read(options: &Options) -> Result<Rules, Failed> {
        let level = level(options.log_level.as_deref().unwrap_or("critical"))?;
        let encoding_name = options.encoding.clone().unwrap_or_else(|| "UTF-8".to_owned());
        let encoding = Encoding::parse(&encoding_name).map_err(Failed::error)?;
        let usedns = match options.usedns.as_deref().filter(|how| !how.is_empty()) {
            _ if options.raw => UseDns::Raw,
            None => UseDns::Warn,
            Some(how) => UseDns::parse(how).unwrap_or(UseDns::No),
        };
        let mut words = options.words.iter();
        let (log, regex, ignore) = (words.next(), words.next(), words.next());
        let mut reading = Reading {
            options,
            spec: FilterSpec { usedns, ..FilterSpec::default() },
            calendar: Calendar::new(TimeZone::system(), jiff::Zoned::now().year()),
            maxlines_set: false,
            dated: false,
            journal: log.is_some_and(|log| log.starts_with("systemd-journal")),
            journalmatch: options.journalmatch.as_deref().map(shell_words),
        };
        if options.maxlines < 0 {
            return Err(Failed::error("maxlines must be integer greater than zero"));
        }
        if options.maxlines > 0 {
            reading.maxlines(options.maxlines)?;
        }
        if let Some(zone) = options.timezone.as_deref().filter(|zone| !zone.is_empty()) {
            reading.spec.logtimezone = Some(zone.to_owned());
            reading.compile()?;
        }
        if let Some(pattern) = options.datepattern.as_deref().filter(|pattern| !pattern.is_empty()) {
            reading.datepattern(pattern)?;
        }
        reading.regex(regex.map_or("", String::as_str))?;
        reading.compile()?;
        if let Some(ignore) = ignore {
            tell(options, format!("Use ignoreregex line : {}", short(ignore)));
            reading.spec.ignoreregex.push(ignore.clone());
        }
        // Entries of the journal bring their time, unless a pattern was asked for.
        if reading.journal {
            reading.spec.datepattern = DatePattern::Journal;
        }
        let filter = Arc::new(reading.compile()?);
        let limit = usize::try_from(options.maxlines).ok().filter(|n| *n > 0).unwrap_or(LINES_SHOWN);
        let Reading { spec, dated, journal, journalmatch, .. } = reading;
        Ok(Rules {
            filter,
            failregex: spec.failregex,
            ignoreregex: spec.ignoreregex,
            usedns,
            maxlines: spec.maxlines,
            dated,
            journal,
            journalmatch: journalmatch.unwrap_or_default(),
            limit,
            encoding,
            encoding_name,
            level,
        })
    }
}

impl Reading<'_> {
    fn compile(&self) -> Result<Filter, Failed> {
        Filter::compile(&self.spec, &self.calendar).map_err(|e| Failed::error(in_its_words(&e)))
    }

    fn maxlines(&mut self, lines: i64) -> Result<(), Failed> {
        if std::mem::replace(&mut self.maxlines_set, true) {
            return Ok(());
        }
        self.spec.maxlines = u32::try_from(lines).map_err(|_| Failed::error("maxlines is out of range"))?;
        tell(self.options, format!("Use         maxlines : {lines}"));
        Ok(())
    }

    fn datepattern(&mut self, pattern: &str) -> Result<(), Failed> {
        if std::mem::replace(&mut self.dated, true) {
            return Ok(());
        }
        self.spec.datepattern = DatePattern::Text(pattern.to_owned());
        let dates = FilterSpec { datepattern: self.spec.datepattern.clone(), ..FilterSpec::default() };
        let filter = Filter::compile(&dates, &self.calendar).map_err(|e| Failed::error(in_its_words(&e)))?;
        let templates = filter.date_templates();
        let name = match templates.as_slice() {
            [first] | [first, _] => &first.name,
            _ => "Default Detectors",
        };
        tell(self.options, format!("Use      datepattern : {pattern} : {name}"));
        Ok(())
    }

    /// The word REGEX: a jail, a filter, or a failregex.
    fn regex(&mut self, value: &str) -> Result<(), Failed> {
        if is_like_a_name(value) {
            let (name, options) = stockade_config::parse_call(value).map_err(|what| {
                Failed(format!("ERROR: Wrong filter name or options: {what}\n       while parsing: {value}"))
            })?;
            if let Some(folder) = self.options.config.as_ref().filter(|folder| !folder.is_dir()) {
                let shown = folder.display();
                return Err(Failed(format!(
                    "ERROR: Wrong filter name or options: Base configuration directory {shown} does not exist\n       \
                     while parsing: {value}"
                )));
            }
            let source = self.source();
            let is_file = name.contains('/') || name.ends_with(".conf") || name.ends_with(".local");
            let jail = if is_file { Ok(None) } else { stockade_config::load_jail(&source, value, self.journal) };
            if let Some(loaded) = jail.transpose() {
                tell(self.options, format!("Use             jail : {name}"));
                if !options.is_empty() {
                    tell(self.options, format!("Use jail/flt options : {}", dict(&options)));
                }
                let stream =
                    loaded.map_err(|_| Failed::error(format!("Failed to get jail for {}", repr_str(value))))?;
                let backend = ("backend".to_owned(), if self.journal { "systemd" } else { "auto" }.to_owned());
                return self.take(&stream, &[options, vec![backend]].concat(), value);
            }
            if let Some(file) = self.filter_file(&name, &source) {
                return self.filter(&file, &options, value);
            }
        }
        tell(self.options, format!("Use   failregex line : {}", short(value)));
        self.spec.failregex.push(value.to_owned());
        Ok(())
    }

    /// The tree that names are looked up in.
    fn source(&self) -> TreeSource {
        match &self.options.config {
            Some(folder) if folder.file_name().is_some_and(|name| name == "filter.d") => {
                TreeSource::Disk(folder.parent().unwrap_or(folder).to_owned())
            }
            Some(folder) => TreeSource::Disk(folder.clone()),
            None if Path::new(FOLDER).is_dir() => TreeSource::Disk(FOLDER.into()),
            None => Tree::of(None).into_source(),
        }
    }

    /// Where the filter of this name stands.
    fn filter_file(&self, name: &str, source: &TreeSource) -> Option<FilterFile> {
        let TreeSource::Disk(tree) = source else {
            let file = format!("filter.d/{name}.conf");
            let here = stockade_config::embedded_files().any(|path| path == file);
            return here.then(|| FilterFile::Named(name.to_owned(), PathBuf::new()));
        };
        let base = self.options.config.clone().unwrap_or_else(|| FOLDER.into());
        let tail: String = name.chars().rev().take(6).collect();
        let tries: &[&str] = if tail.contains('.') { &[""] } else { &["", ".conf", ".local"] };
        for ending in tries {
            let file = format!("{name}{ending}");
            let path = Path::new(&file);
            let (path, folder) = match path.parent().and_then(Path::to_str) {
                Some("filter.d") => (tree.join(path), base.clone()),
                _ if !file.contains('/') => (tree.join("filter.d").join(path), base.clone()),
                _ => (path.to_owned(), path.parent().unwrap_or(path).to_owned()),
            };
            if !path.is_file() {
                continue;
            }
            let bare = !tail.contains('.') && !name.contains('/');
            let in_tree = folder == base || folder.file_name().is_some_and(|f| f == "filter.d") || bare;
            if !in_tree {
                return Some(FilterFile::Foreign(path));
            }
            let tree = if folder.file_name().is_some_and(|f| f == "filter.d") {
                folder.parent().unwrap_or(&folder).to_owned()
            } else {
                folder
            };
            let stem = path.file_stem()?.to_str()?.to_owned();
            return Some(FilterFile::Named(stem, tree));
        }
        None
    }

    fn filter(&mut self, file: &FilterFile, options: &[(String, String)], value: &str) -> Result<(), Failed> {
        let call = value.find('[').and_then(|at| value.get(at..)).unwrap_or("");
        let (source, name) = match file {
            FilterFile::Named(name, tree) => {
                tell(self.options, format!("Use      filter file : {name}, basedir: {}", tree.display()));
                let source = if tree.as_os_str().is_empty() { self.source() } else { TreeSource::Disk(tree.clone()) };
                (source, name.clone())
            }
            FilterFile::Foreign(path) => {
                tell(self.options, format!("Use      filter file : {}", path.display()));
                let whole = std::path::absolute(path).unwrap_or_else(|_| path.clone()).with_extension("");
                (self.source(), whole.to_string_lossy().into_owned())
            }
        };
        if !options.is_empty() {
            tell(self.options, format!("Use   filter options : {}", dict(options)));
        }
        let stream =
            stockade_config::load_filter(&source, &format!("{name}{call}"), self.journal).map_err(|problem| {
                let failed = format!("ERROR: failed to load filter {value}");
                let absent = problem.file.is_empty() && problem.line == 0;
                Failed(if absent { failed } else { format!("Wrong config file: {problem}\n{failed}") })
            })?;
        self.take(&stream, options, value)
    }

    /// Takes what a jail's or filter's commands say.
    fn take(&mut self, stream: &[Command], given: &[(String, String)], value: &str) -> Result<(), Failed> {
        let settings = Settings::default().staged(stream).map_err(|e| Failed::error(format!("{value}: {e}")))?;
        let Some(jail) = settings.jails.into_iter().next().map(Arc::unwrap_or_clone) else { return Ok(()) };
        if self.options.verbose > 1 {
            self.tell_real_options(jail.datepattern.as_deref(), given);
        }
        if let Some(lines) = jail.maxlines {
            self.maxlines(lines)?;
        }
        if let Some(pattern) = &jail.datepattern {
            self.datepattern(pattern)?;
        }
        self.spec.prefregex = jail.prefregex.filter(|text| !text.is_empty());
        self.spec.failregex = jail.failregex;
        self.spec.ignoreregex = jail.ignoreregex;
        if self.journalmatch.is_none() {
            let alternatives = (!jail.journalmatch.is_empty()).then_some(jail.journalmatch);
            self.journalmatch = alternatives.map(|all| all.join(&"+".to_owned()));
        }
        Ok(())
    }

    fn tell_real_options(&self, datepattern: Option<&str>, given: &[(String, String)]) {
        let mut shown: Vec<(&str, Value)> = vec![
            ("logtype", if self.journal { "journal" } else { "file" }.into()),
            ("datepattern", datepattern.map_or(Value::None, Value::from)),
        ];
        for (key, value) in given {
            match shown.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = value.as_str().into(),
                None => shown.push((key, value.as_str().into())),
            }
        }
        let pairs: Vec<String> =
            shown.iter().map(|(key, value)| format!("{}: {}", repr_str(key), value.repr())).collect();
        tell(self.options, format!("Real  filter options : {{{}}}", pairs.join(", ")));
    }
}

/// A filter that was found by its name.
enum FilterFile {
    /// In a tree: its name and the tree's folder; no folder means our own tree.
    Named(String, PathBuf),
    /// A file somewhere else.
    Foreign(PathBuf),
}

/// Is this a word that may name a jail or filter?
fn is_like_a_name(value: &str) -> bool {
    let Ok(regex) = Regex::new(r"(?ms)^/{0,3}[\w/_\-.]+(?:\[.*\])?$", Flags::default()) else { return false };
    regex.search(&mut Scratch::new(), value, 0..value.len(), &mut Slots::new()) == Outcome::Match
}

/// Why a filter can't be built, as the original says it.
fn in_its_words(error: &FilterError) -> String {
    match error.option {
        "datepattern" => format!(
            "Failed to set datepattern {} (may be an invalid format or unescaped percent char): {}",
            repr_str(&error.pattern),
            error.message
        ),
        "failregex" | "ignoreregex" | "prefregex" if error.position.is_some() => {
            let at = error.position.map_or_else(String::new, |at| format!(" at position {at}"));
            format!("Unable to compile regular expression '{}':\n{}{at}", error.pattern, error.message)
        }
        _ => error.message.clone(),
    }
}

/// A log level by name or number, as Python counts them.
fn level(text: &str) -> Result<i64, Failed> {
    let known = [
        ("critical", 50),
        ("fatal", 50),
        ("error", 40),
        ("warning", 30),
        ("warn", 30),
        ("notice", 25),
        ("info", 20),
        ("msg", 18),
        ("debug", 10),
        ("tracedebug", 7),
        ("heavydebug", 5),
        ("notset", 0),
    ];
    let lower = text.to_lowercase();
    let named = known.iter().find(|(name, _)| *name == lower).map(|(_, level)| *level);
    named.or_else(|| text.parse().ok()).ok_or_else(|| Failed::error(format!("Invalid log level {}", repr_str(text))))
}

/// Words as a shell cuts them; as they stand if quotes are left open.
fn shell_words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => out.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    out
}

/// Pairs as Python shows a dictionary.
fn dict(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}: {}", repr_str(key), repr_str(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// The beginning of a long text.
pub(super) fn short(text: &str) -> String {
    if text.chars().count() <= HEAD_CHARS {
        return text.to_owned();
    }
    text.chars().take(HEAD_CHARS - 3).chain("...".chars()).collect()
}
