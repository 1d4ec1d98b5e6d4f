//! The daemon's own log, in the line format that fail2ban's readers expect.
//!
//! Lines are handed to a thread of their own through a bounded queue, so that a
//! slow disk or terminal never holds up a decision. At the bound (65,536 lines)
//! lines below WARNING are dropped; how many is said as soon as there is room.
//! Captured text is escaped before it is written: control characters and line
//! breaks become `\xNN`, so a log line is always one line.
//!
//! Source: the format of `fail2ban/helpers.py`, `getFailFormatter` (facts only):
//! `YYYY-MM-DD HH:MM:SS,mmm NAME(24) [PID]: LEVEL(7) MESSAGE`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::tz::TimeZone;
use stockade_core::text::push_escaped;

/// How many lines may wait for the writer; of WARNING and above twice as many.
const QUEUE_LINES_MAX: usize = 65_536;

/// How urgent a line is; ordered. Numbers are fail2ban's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// 5, shown as `HEAVY`.
    Heavydebug,
    /// 7, shown as `TRACE`.
    Tracedebug,
    /// 10.
    Debug,
    /// 18; fail2ban's own, between DEBUG and INFO.
    Msg,
    /// 20; the default threshold.
    Info,
    /// 25; bans and unbans.
    Notice,
    /// 30; we recovered, but look.
    Warning,
    /// 40; act now.
    Error,
    /// 50.
    Critical,
}

impl Level {
    /// The level of that name (any case) or number; `None` if there is none.
    pub(crate) fn parse(text: &str) -> Option<Level> {
        Some(match text.to_ascii_uppercase().as_str() {
            "CRITICAL" | "50" => Level::Critical,
            "ERROR" | "40" => Level::Error,
            "WARNING" | "30" => Level::Warning,
            "NOTICE" | "25" => Level::Notice,
            "INFO" | "20" => Level::Info,
            "MSG" | "18" => Level::Msg,
            "DEBUG" | "10" => Level::Debug,
            "TRACEDEBUG" | "7" => Level::Tracedebug,
            "HEAVYDEBUG" | "5" => Level::Heavydebug,
            _ => return None,
        })
    }

    /// As the log shows it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Level::Heavydebug => "HEAVY",
            Level::Tracedebug => "TRACE",
            Level::Debug => "DEBUG",
            Level::Msg => "MSG",
            Level::Info => "INFO",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        }
    }

    /// syslog's severity for it.
    fn severity(self) -> u8 {
        match self {
            Level::Critical => 2,
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Msg | Level::Info => 6,
            Level::Debug | Level::Tracedebug | Level::Heavydebug => 7,
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Appended to a file, which is opened anew on [`Log::reopen`].
    File(PathBuf),
    /// Standard output, full form.
    Stdout,
    /// Standard output without the time (something else adds one).
    Sysout,
    /// Standard error, full form.
    Stderr,
    /// The system logger at this socket, facility `daemon`.
    Syslog(PathBuf),
}

impl Target {
    /// Reads fail2ban's `logtarget`; reserved words are matched in any case.
    pub(crate) fn parse(text: &str, syslogsocket: &str) -> Target {
        let name = text.split_once('[').map_or(text, |(name, _)| name).trim();
        match name.to_ascii_uppercase().as_str() {
            "STDOUT" => Target::Stdout,
            "STDERR" => Target::Stderr,
            "SYSOUT" => Target::Sysout,
            "SYSLOG" => Target::Syslog(if syslogsocket == "auto" { "/dev/log".into() } else { syslogsocket.into() }),
            _ => Target::File(name.into()),
        }
    }
}

/// One line on its way to the writer.
struct Line {
    at: SystemTime,
    level: Level,
    logger: &'static str,
    text: String,
}

/// What the writer is to do next.
enum Job {
    Line(Line),
    Target(Target),
    Reopen,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    dropped: u64,
    busy: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    idle: Condvar,
    threshold: std::sync::atomic::AtomicU8,
}

/// A handle on the log; clones write to the same place.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

impl Log {
    /// Starts the writer.
    ///
    /// With `mirror` each line goes to standard error as well: somebody is
    /// looking at a daemon in the foreground.
    pub(crate) fn start(target: &Target, threshold: Level, mirror: bool) -> io::Result<Log> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            idle: Condvar::new(),
            threshold: (threshold as u8).into(),
        });
        let log = Log { shared };
        let writer = log.clone();
        let mut sink = Sink::open(target)?;
        let mut mirror = if mirror { Some(Sink::open(&Target::Stderr)?) } else { None };
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.write_all_day(&mut sink, mirror.as_mut()))?;
        Ok(log)
    }

    /// Writes a line, if its level is at or above the threshold. `logger` is
    /// fail2ban's name of the part that speaks, such as `fail2ban.actions`.
    pub(crate) fn line(&self, level: Level, logger: &'static str, text: impl Into<String>) {
        if (level as u8) < self.shared.threshold.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let line = Line { at: SystemTime::now(), level, logger, text: text.into() };
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let max = if level < Level::Warning { QUEUE_LINES_MAX } else { 2 * QUEUE_LINES_MAX };
        if queue.jobs.len() >= max {
            queue.dropped += 1;
            return;
        }
        queue.jobs.push_back(Job::Line(line));
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// INFO of the server itself.
    pub(crate) fn info(&self, text: impl Into<String>) {
        self.line(Level::Info, "fail2ban.server", text);
    }

    /// WARNING of the server itself.
    pub(crate) fn warning(&self, text: impl Into<String>) {
        self.line(Level::Warning, "fail2ban.server", text);
    }

    /// ERROR of the server itself.
    pub(crate) fn error(&self, text: impl Into<String>) {
        self.line(Level::Error, "fail2ban.server", text);
    }

    /// Changes which lines are written from now on.
    pub(crate) fn set_threshold(&self, level: Level) {
        self.shared.threshold.store(level as u8, std::sync::atomic::Ordering::Relaxed);
    }

    /// Writes to another place from now on. If it can't be opened the old one stays.
    pub(crate) fn set_target(&self, target: Target) {
        self.push(Job::Target(target));
    }

    /// Opens the file anew (after a rotation).
    pub(crate) fn reopen(&self) {
        self.push(Job::Reopen);
    }

    /// Waits until everything said so far is written.
    pub(crate) fn flush(&self) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while queue.busy || !queue.jobs.is_empty() {
            queue = self.shared.idle.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, job: Job) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_back(job);
        self.shared.wake.notify_one();
    }

    /// The writer's life.
    fn write_all_day(&self, sink: &mut Sink, mut mirror: Option<&mut Sink>) {
        let zone = TimeZone::system();
        let mut text = String::new();
        loop {
            let (jobs, dropped) = {
                let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.busy = false;
                while queue.jobs.is_empty() {
                    self.shared.idle.notify_all();
                    queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                queue.busy = true;
                (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.dropped))
            };
            for job in jobs {
                match job {
                    Job::Line(line) => {
                        sink.write(&line, &zone, &mut text);
                        if let Some(mirror) = mirror.as_deref_mut() {
                            mirror.write(&line, &zone, &mut text);
                        }
                    }
                    Job::Target(target) => sink.switch(&target, &zone),
                    Job::Reopen => sink.reopen(&zone),
                }
            }
            if dropped > 0 {
                sink.say(
                    Level::Warning,
                    format!("{dropped} log lines were dropped: they came faster than they could be written"),
                    &zone,
                );
            }
            sink.flush();
        }
    }
}

/// An open target.
enum Sink {
    File { path: PathBuf, file: io::BufWriter<File> },
    Std { target: Target },
    Syslog { socket: UnixDatagram, path: PathBuf },
}

impl Sink {
    fn open(target: &Target) -> io::Result<Sink> {
        Ok(match target {
            Target::File(path) => Sink::File { path: path.clone(), file: open_file(path)? },
            Target::Syslog(path) => Sink::Syslog { socket: UnixDatagram::unbound()?, path: path.clone() },
            Target::Stdout | Target::Sysout | Target::Stderr => Sink::Std { target: target.clone() },
        })
    }

    fn switch(&mut self, target: &Target, zone: &TimeZone) {
        self.flush();
        match Sink::open(target) {
            Ok(sink) => *self = sink,
            Err(e) => self.say(
                Level::Error,
                format!("log target {target:?} can't be opened: {e}; staying with the old one"),
                zone,
            ),
        }
    }

    fn reopen(&mut self, zone: &TimeZone) {
        if let Sink::File { path, .. } = self {
            let target = Target::File(path.clone());
            self.switch(&target, zone);
        }
    }

    fn say(&mut self, level: Level, text: String, zone: &TimeZone) {
        let line = Line { at: SystemTime::now(), level, logger: "fail2ban.server", text };
        self.write(&line, zone, &mut String::new());
    }

    /// Writes one line. An error has nobody to be told to: the line is lost.
    fn write(&mut self, line: &Line, zone: &TimeZone, text: &mut String) {
        text.clear();
        let with_time = !matches!(self, Sink::Syslog { .. } | Sink::Std { target: Target::Sysout });
        let padded = !matches!(self, Sink::Syslog { .. });
        if let Sink::Syslog { .. } = self {
            push(text, format_args!("<{}>", 3 * 8 + line.level.severity()));
        }
        if with_time {
            push_time(text, line.at, zone);
            text.push(' ');
        }
        let (pid, level) = (std::process::id(), line.level.shown());
        if padded {
            push(text, format_args!("{:<24}[{pid}]: {level:<7} ", line.logger));
        } else {
            push(text, format_args!("{}[{pid}]: {level} ", line.logger));
        }
        push_escaped(text, &line.text);
        match self {
            Sink::File { file, .. } => {
                text.push('\n');
                drop(file.write_all(text.as_bytes()));
            }
            Sink::Std { target: Target::Stderr } => {
                text.push('\n');
                drop(io::stderr().write_all(text.as_bytes()));
            }
            Sink::Std { .. } => {
                text.push('\n');
                drop(io::stdout().write_all(text.as_bytes()));
            }
            Sink::Syslog { socket, path } => drop(socket.send_to(text.as_bytes(), path)),
        }
    }

    fn flush(&mut self) {
        match self {
            Sink::File { file, .. } => drop(file.flush()),
            Sink::Std { .. } => drop(io::stdout().flush()),
            Sink::Syslog { .. } => {}
        }
    }
}

fn open_file(path: &Path) -> io::Result<io::BufWriter<File>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(io::BufWriter::new(OpenOptions::new().append(true).create(true).mode(0o640).open(path)?))
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    text.write_fmt(what).unwrap_or_default();
}

/// `YYYY-MM-DD HH:MM:SS,mmm` in local time.
fn push_time(text: &mut String, at: SystemTime, zone: &TimeZone) {
    let Ok(at) = jiff::Timestamp::try_from(at) else { return };
    let t = zone.to_datetime(at);
    push(
        text,
        format_args!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.millisecond()
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_columns_that_readers_expect() {
        let dir = std::env::temp_dir().join(format!("stockade-log-{}", std::process::id()));
        let path = dir.join("own.log");
        let log = Log::start(&Target::File(path.clone()), Level::Info, false).unwrap();
        log.line(Level::Notice, "fail2ban.actions", "[sshd] Ban 192.0.2.1");
        log.line(Level::Debug, "fail2ban.actions", "not shown");
        log.line(Level::Info, "fail2ban.filter", "a\nb\u{1b}[2J");
        log.flush();
        let mut text = String::new();
        io::Read::read_to_string(&mut File::open(&path).unwrap(), &mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let tail = format!("fail2ban.actions        [{}]: NOTICE  [sshd] Ban 192.0.2.1", std::process::id());
        assert!(lines[0].ends_with(&tail), "{text}");
        assert_eq!(lines[0].len(), 24 + tail.len(), "{text}");
        assert!(lines[1].ends_with("a\\x0ab\\x1b[2J"), "{text}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn targets_are_read_as_fail2ban_spells_them() {
        assert_eq!(Target::parse("stdout", "auto"), Target::Stdout);
        assert_eq!(Target::parse("SYSLOG[facility=auth]", "auto"), Target::Syslog("/dev/log".into()));
        assert_eq!(Target::parse("/var/log/x.log", "auto"), Target::File("/var/log/x.log".into()));
    }
}
