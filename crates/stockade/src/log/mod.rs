//! The daemon's own log, in the line format that fail2ban's readers expect.
//!
//! Lines are handed to a thread of their own through a bounded queue, so that a
//! slow disk or terminal never holds up a decision. At the bound (65,536 lines)
//! lines below WARNING that come in masses, about single bans and failures, are
//! dropped; how many is said as soon as there is room. Of all others twice as
//! many may wait, so that what a start or a repair says is not lost among them.
//! Captured text is escaped before it is written: control characters and line
//! breaks become `\xNN`, so a log line is always one line.
//!
//! Source: the format of `fail2ban/helpers.py`, `getFailFormatter` (facts only):
//! `YYYY-MM-DD HH:MM:SS,mmm NAME(24) [PID]: LEVEL(7) MESSAGE`.

mod form;
mod level;
mod sink;
mod storm;
mod target;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use jiff::tz::TimeZone;

pub(crate) use level::Level;
use sink::Sink;
use storm::Storm;
pub(crate) use target::{Aim, Target};

/// How many lines may wait for the writer: of those that come in masses; of all others twice as many.
const QUEUE_LINES_MAX: usize = 65_536;

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
    /// A counted failure of this jail: past a rate it is summed up.
    Found(Line, String),
    Switch(Box<Sink>),
    Reopen,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    dropped: u64,
    busy: bool,
}

impl Queue {
    /// Takes a line if there is room for one of its level and kind.
    fn push(&mut self, level: Level, one_of_many: bool, job: Job) {
        let max = if one_of_many && level < Level::Warning { QUEUE_LINES_MAX } else { 2 * QUEUE_LINES_MAX };
        if self.jobs.len() >= max {
            self.dropped += 1;
        } else {
            self.jobs.push_back(job);
        }
    }
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    idle: Condvar,
    threshold: AtomicU8,
    /// Lines about failures per second; 0 is all.
    found_most: AtomicU64,
    /// Where lines go at present.
    aim: Mutex<Aim>,
}

/// A handle on the log; clones write to the same place.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

/// A target that was opened and not yet put to use.
pub(crate) struct Opened(Sink);

impl Log {
    /// Starts the writer.
    ///
    /// With `mirror` each line goes to standard error as well: somebody is
    /// looking at a daemon in the foreground. The folder of a file is made.
    pub(crate) fn start(aim: &Aim, threshold: Level, mirror: bool) -> io::Result<Log> {
        if let Target::File(path) = &aim.target
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder)?;
        }
        let mut sink = Sink::open(aim)?;
        let mut mirror = if mirror { Some(Sink::open(&Aim::stderr())?) } else { None };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            idle: Condvar::new(),
            threshold: (threshold as u8).into(),
            found_most: 0.into(),
            aim: Mutex::new(aim.clone()),
        });
        let log = Log { shared };
        let writer = log.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.write_all_day(&mut sink, mirror.as_mut()))?;
        Ok(log)
    }

    /// Writes a line, if its level is at or above the threshold. `logger` is
    /// fail2ban's name of the part that speaks, such as `fail2ban.actions`.
    pub(crate) fn line(&self, level: Level, logger: &'static str, text: impl Into<String>) {
        if self.wants(level) {
            self.queue(level, false, Job::Line(Line { at: SystemTime::now(), level, logger, text: text.into() }));
        }
    }

    /// Writes many lines, in their order; most at the cost of one.
    pub(crate) fn lines(&self, lines: Vec<(Level, &'static str, String)>) {
        let (at, mut wanted) = (SystemTime::now(), lines);
        wanted.retain(|(level, ..)| self.wants(*level));
        if wanted.is_empty() {
            return;
        }
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for (level, logger, text) in wanted {
            queue.push(level, true, Job::Line(Line { at, level, logger, text }));
        }
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Writes the line about a counted failure, or sums it up with others in a storm.
    pub(crate) fn found(&self, level: Level, logger: &'static str, jail: &str, text: String) {
        if self.wants(level) {
            let line = Line { at: SystemTime::now(), level, logger, text };
            self.queue(level, true, Job::Found(line, jail.to_owned()));
        }
    }

    fn wants(&self, level: Level) -> bool {
        level as u8 >= self.shared.threshold.load(Ordering::Relaxed)
    }

    fn queue(&self, level: Level, one_of_many: bool, job: Job) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(level, one_of_many, job);
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
        self.shared.threshold.store(level as u8, Ordering::Relaxed);
    }

    /// Changes how many lines about failures are written per second; 0 is all.
    pub(crate) fn set_found_most(&self, lines: u64) {
        self.shared.found_most.store(lines, Ordering::Relaxed);
    }

    /// Opens another place to write to, for [`Log::switch`].
    pub(crate) fn open(aim: &Aim) -> io::Result<Opened> {
        Sink::open(aim).map(Opened)
    }

    /// Writes to another place from now on.
    pub(crate) fn switch(&self, opened: Opened) {
        let name = opened.0.aim.name.clone();
        *self.shared.aim.lock().unwrap_or_else(PoisonError::into_inner) = opened.0.aim.clone();
        self.push(Job::Switch(Box::new(opened.0)));
        self.info(format!("Changed logging target to {name} for stockade v{}", env!("CARGO_PKG_VERSION")));
    }

    /// Where lines go at present.
    pub(crate) fn aim(&self) -> Aim {
        self.shared.aim.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `flushlogs`: a file is opened anew (after a rotation). Returns what the
    /// original's clients are told.
    pub(crate) fn reopen(&self) -> &'static str {
        let aim = self.aim();
        self.push(Job::Reopen);
        if matches!(aim.target, Target::File(_)) {
            self.info(format!("rollover performed on {}", aim.name));
        } else {
            self.info(format!("flush performed on {}", aim.name));
        }
        if aim.rolls_over() { "rolled over" } else { "flushed" }
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

    /// The next jobs and how many lines were dropped; none when `until` has come.
    fn wait(&self, until: Option<Instant>) -> (VecDeque<Job>, u64) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.busy = false;
        while queue.jobs.is_empty() {
            self.shared.idle.notify_all();
            queue = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => self.shared.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        queue.busy = true;
        (std::mem::take(&mut queue.jobs), std::mem::take(&mut queue.dropped))
    }

    /// The writer's life.
    fn write_all_day(&self, sink: &mut Sink, mut mirror: Option<&mut Sink>) {
        let zone = TimeZone::system();
        let mut text = String::new();
        let mut storm = Storm::default();
        loop {
            let (jobs, dropped) = self.wait(storm.due());
            let sums = storm.sums(Instant::now(), SystemTime::now()).into_iter().map(Job::Line);
            for job in sums.chain(jobs) {
                let line = match job {
                    Job::Line(line) => line,
                    Job::Found(line, jail) => {
                        let most = self.shared.found_most.load(Ordering::Relaxed);
                        if !storm.may(most, &jail, &line.text, Instant::now()) {
                            continue;
                        }
                        line
                    }
                    Job::Switch(next) => {
                        sink.flush();
                        *sink = *next;
                        continue;
                    }
                    Job::Reopen => {
                        sink.reopen(&zone);
                        continue;
                    }
                };
                sink.write(&line, &zone, &mut text);
                if let Some(mirror) = mirror.as_deref_mut() {
                    mirror.write(&line, &zone, &mut text);
                }
            }
            if dropped > 0 {
                let words = format!("{dropped} log lines were dropped: they came faster than they could be written");
                sink.say(Level::Warning, words, &zone);
            }
            sink.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_in_masses_leave_room_for_others() {
        let mut queue = Queue::default();
        let line = || Job::Line(Line { at: SystemTime::now(), level: Level::Info, logger: "", text: String::new() });
        for _ in 0..=QUEUE_LINES_MAX {
            queue.push(Level::Notice, true, line());
        }
        assert_eq!((queue.jobs.len(), queue.dropped), (QUEUE_LINES_MAX, 1));
        queue.push(Level::Info, false, line());
        queue.push(Level::Warning, true, line());
        assert_eq!((queue.jobs.len(), queue.dropped), (QUEUE_LINES_MAX + 2, 1));
    }

    #[test]
    fn a_line_has_the_columns_that_readers_expect() {
        let dir = std::env::temp_dir().join(format!("stockade-log-{}", std::process::id()));
        let path = dir.join("own.log");
        let log = Log::start(&Aim::parse(&path.to_string_lossy(), "auto").unwrap(), Level::Info, false).unwrap();
        log.line(Level::Notice, "fail2ban.actions", "[sshd] Ban 192.0.2.1");
        log.line(Level::Debug, "fail2ban.actions", "not shown");
        log.line(Level::Info, "fail2ban.filter", "a\nb\u{1b}[2J");
        log.flush();
        let mut text = String::new();
        io::Read::read_to_string(&mut std::fs::File::open(&path).unwrap(), &mut text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let tail = format!("fail2ban.actions        [{}]: NOTICE  [sshd] Ban 192.0.2.1", std::process::id());
        assert!(lines[0].ends_with(&tail), "{text}");
        assert_eq!(lines[0].len(), 24 + tail.len(), "{text}");
        assert!(lines[1].ends_with("a\\x0ab\\x1b[2J"), "{text}");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
