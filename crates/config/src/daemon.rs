//! `fail2ban.conf`: the options of the daemon itself.
//!
//! Source: fail2ban `client/fail2banreader.py` and `client/fail2bancmdline.py`.

use stockade_wire::{Command, Value};

use crate::definition::convert;
use crate::diagnostic::{Problem, Severity};
use crate::filter::to_value;
use crate::ini::{Cell, Entry};
use crate::interpolate::computed;
use crate::lint;
use crate::options::{DAEMON, LEVELS, THREAD};
use crate::ordered::Ordered;
use crate::resource::{Got, Reader, Resource};
use crate::text::nearest;

/// Options of the command line; they win over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `-s`, `--socket`
    pub socket: Option<String>,
    /// `-p`, `--pidfile`
    pub pidfile: Option<String>,
    /// `--loglevel`
    pub loglevel: Option<String>,
    /// `--logtarget`
    pub logtarget: Option<String>,
    /// `--syslogsocket`
    pub syslogsocket: Option<String>,
}

/// What a daemon must know before it runs any command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonOptions {
    /// Path of the control socket.
    pub socket: String,
    /// Path of the file with the process id.
    pub pidfile: String,
    /// Name or number of the log level.
    pub loglevel: String,
    /// Where the own log goes.
    pub logtarget: String,
    /// Socket for the target `SYSLOG`.
    pub syslogsocket: String,
    /// Path of the database; `None` (as text) switches it off.
    pub dbfile: String,
}

/// The daemon's options and the commands that carry them.
///
/// # Errors
/// References that lead nowhere, an unknown log level.
pub(crate) fn read(
    resource: &Resource,
    overrides: &Overrides,
    reader: &mut Reader,
) -> Result<(DaemonOptions, Vec<Command>), Problem> {
    let mut values: Ordered<Entry> = Ordered::default();
    for row in DAEMON {
        let given = match row.name {
            "socket" => &overrides.socket,
            "pidfile" => &overrides.pidfile,
            "loglevel" => &overrides.loglevel,
            "logtarget" => &overrides.logtarget,
            "syslogsocket" => &overrides.syslogsocket,
            _ => &None,
        };
        let found = match given {
            Some(text) => Got::Value(computed(Cell::text(text))),
            None => resource.get("Definition", row.name, None, &reader.budget)?,
        };
        let mut entry = match (found, row.default) {
            (Got::Value(entry), _) => entry,
            (Got::NoOption, Some(default)) | (Got::NoSection, Some(default)) => computed(Cell::text(default)),
            (Got::NoSection, None) => computed(Cell::None),
            (Got::NoOption, None) => continue,
        };
        lint::check_option(row, &entry, "Definition", &mut reader.findings);
        convert(row, &mut entry, |problem| reader.findings.add(Severity::Error, None, problem));
        values.put(row.name, entry);
    }
    let text = |name: &str| values.get(name).and_then(|e| e.value.as_text()).unwrap_or("").to_owned();
    let options = DaemonOptions {
        socket: text("socket"),
        pidfile: text("pidfile"),
        loglevel: text("loglevel"),
        logtarget: text("logtarget"),
        syslogsocket: text("syslogsocket"),
        dbfile: text("dbfile"),
    };
    check_level(&options.loglevel).map_err(|p| p.at(values.get("loglevel").and_then(|e| e.origin.name_spot())))?;
    let mut stream: Vec<Command> = Vec::new();
    if let Some(thread) = read_thread(resource, reader)? {
        stream.push(vec!["set".into(), "thread".into(), thread]);
    }
    for name in ["syslogsocket", "loglevel", "logtarget", "allowipv6", "dbfile", "dbmaxmatches", "dbpurgeage"] {
        if let Some(entry) = values.get(name) {
            stream.push(vec!["set".into(), name.into(), to_value(&entry.value)]);
        }
    }
    Ok((options, stream))
}

fn read_thread(resource: &Resource, reader: &mut Reader) -> Result<Option<Value>, Problem> {
    let mut pairs = Vec::new();
    for row in THREAD {
        if let Got::Value(mut entry) = resource.get("Thread", row.name, None, &reader.budget)? {
            convert(row, &mut entry, |problem| reader.findings.add(Severity::Error, None, problem));
            pairs.push((row.name.into(), to_value(&entry.value)));
        }
    }
    Ok((!pairs.is_empty()).then_some(Value::Dict(pairs)))
}

/// Is it the name or number of a log level?
fn check_level(level: &str) -> Result<(), Problem> {
    let more = ["FATAL", "WARN", "NOTSET", "MSG"];
    let upper = level.to_uppercase();
    let number = !level.is_empty() && level.chars().all(|c| c.is_ascii_digit());
    if number || LEVELS.contains(&upper.as_str()) || more.contains(&upper.as_str()) {
        return Ok(());
    }
    let problem = Problem::new(format!("'{level}' is no log level"));
    Err(match nearest(level, LEVELS.iter().copied()) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem.help(format!("one of {}", LEVELS.join(", "))),
    })
}
