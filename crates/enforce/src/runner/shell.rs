//! Runs one command text: `sh -c TEXT VALUE...`, in a process group of its own,
//! with bounds on time and on what is kept of its output.
//!
//! Source: fail2ban `server/utils.py`, `executeCmd`.

use std::collections::HashSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use stockade_core::text::repr;

use super::dynamic::Script;
use super::message::{LineLevel, Speaker};

/// How much of standard output and of standard error is kept, each; the rest is read and dropped.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// How many lines of each are told.
const OUTPUT_LINES_MAX: usize = 100;
/// How long a group has between SIGTERM and SIGKILL.
const MERCY: Duration = Duration::from_millis(200);
/// What an action's complaint is cut to where it is kept as a state.
const SAID_BYTES_MAX: usize = 300;

/// Where lines for the log go.
pub(super) type Tell<'a> = &'a dyn Fn(LineLevel, Speaker, String);

/// What came of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    /// Its exit code was among those that mean success.
    pub(super) success: bool,
    /// Its exit code, if it ended by itself.
    pub(super) code: Option<i32>,
    /// The first line that it wrote to standard error, cut to size.
    pub(super) said: String,
}

/// The number that ties the lines about one command together.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The process groups of commands under way.
#[derive(Default)]
pub(super) struct Groups {
    running: Mutex<HashSet<Pid>>,
    closed: AtomicBool,
}

impl Groups {
    fn all(&self) -> std::sync::MutexGuard<'_, HashSet<Pid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no command starts: every one fails at once.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Ends everything that still runs.
    pub(super) fn end_all(&self) {
        for signal in [Signal::TERM, Signal::KILL] {
            for group in self.all().iter() {
                // Who has gone meanwhile needs no signal.
                kill_process_group(*group, signal).ok();
            }
            if self.all().is_empty() {
                return;
            }
            std::thread::sleep(MERCY);
        }
    }
}

/// Runs a script and tells about it as the original does. `success` are the
/// exit codes that are no failure.
pub(super) fn execute(script: &Script, timeout_secs: f64, success: &[i32], groups: &Groups, tell: Tell<'_>) -> Ran {
    if script.text.is_empty() {
        tell(LineLevel::Debug, Speaker::Action, "Nothing to do".to_owned());
        return Ran { success: true, code: Some(0), said: String::new() };
    }
    if groups.closed.load(Ordering::Acquire) {
        return Ran::default();
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let say = |level, text: String| tell(level, Speaker::Utils, format!("{number:x} -- {text}"));
    let timeout = Duration::try_from_secs_f64(timeout_secs.max(0.0)).unwrap_or(Duration::MAX);
    let ended = run(script, timeout, groups);
    let Ended { status, output, complaint, in_time } = match ended {
        Ok(ended) => ended,
        Err(e) => {
            say(LineLevel::Error, format!("exec: {}", shown(script)));
            tell(LineLevel::Error, Speaker::Utils, format!("{} -- failed with {e}", shown(script)));
            return Ran::default();
        }
    };
    let code = status.code();
    let well = code.is_some_and(|code| success.contains(&code)) && in_time;
    let level = if well { LineLevel::Debug } else { LineLevel::Error };
    say(level, format!("exec: {}", shown(script)));
    if !in_time {
        say(LineLevel::Error, format!("timed out after {timeout_secs} seconds."));
    }
    for (what, bytes) in [("stdout", &output), ("stderr", &complaint)] {
        for line in String::from_utf8_lossy(bytes).lines().take(OUTPUT_LINES_MAX) {
            say(level, format!("{what}: {}", repr(line)));
        }
    }
    match (code, status.signal()) {
        (Some(code), _) if well => say(LineLevel::Debug, format!("returned successfully {code}")),
        (Some(code), _) if code > 128 => {
            say(LineLevel::Error, format!("killed with {} (return code: {code})", signal_name(code - 128)));
        }
        (Some(code), _) => {
            say(LineLevel::Error, format!("returned {code}"));
            if code == 127 {
                let text = "HINT on 127: a program of this command is not installed or not in the daemon's PATH; \
                            standard error above names it";
                tell(LineLevel::Info, Speaker::Utils, text.to_owned());
            }
        }
        (None, Some(signal)) => {
            say(LineLevel::Error, format!("killed with {} (return code: -{signal})", signal_name(signal)));
        }
        (None, None) => say(LineLevel::Error, "ended in an unknown way".to_owned()),
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let mut said = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    if said.len() > SAID_BYTES_MAX {
        let end = (0..=SAID_BYTES_MAX).rev().find(|end| said.is_char_boundary(*end)).unwrap_or(0);
        said.truncate(end);
    }
    Ran { success: well, code, said }
}

struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    complaint: Vec<u8>,
    in_time: bool,
}

fn run(script: &Script, timeout: Duration, groups: &Groups) -> io::Result<Ended> {
    #[expect(clippy::disallowed_methods, reason = "the one place where the tree's commands are started")]
    let mut command = Command::new("/bin/sh");
    let child = command
        .arg("-c")
        .arg(&script.text)
        .args(&script.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    groups.all().extend(group);
    let ended = Running { child, output: Vec::new(), complaint: Vec::new() }.wait(timeout);
    if let Some(group) = group {
        groups.all().remove(&group);
    }
    ended
}

/// A command under way.
struct Running {
    child: Child,
    output: Vec<u8>,
    complaint: Vec<u8>,
}

impl Running {
    fn wait(mut self, timeout: Duration) -> io::Result<Ended> {
        let until = Instant::now().checked_add(timeout);
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let mut in_time = self.until_end(until)?;
        if !in_time {
            if let Some(group) = group {
                // Who has gone meanwhile needs no signal.
                kill_process_group(group, Signal::TERM).ok();
                let ended = self.until_end(Some(Instant::now() + MERCY))?;
                kill_process_group(group, Signal::KILL).ok();
                if !ended {
                    self.until_end(None)?;
                }
            }
            in_time = false;
        }
        let status = self.child.wait()?;
        self.drain();
        let Running { output, complaint, .. } = self;
        Ok(Ended { status, output, complaint, in_time })
    }

    /// Reads what it writes until it ends; false if it has not by then. What
    /// it left running in the background is not waited for.
    fn until_end(&mut self, until: Option<Instant>) -> io::Result<bool> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Without process descriptors (Linux before 5.3) we look every 10 ms.
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let patience = match (&pidfd, left) {
                (Some(_), left) => left,
                (None, left) => Some(left.unwrap_or(Duration::MAX).min(Duration::from_millis(10))),
            };
            let patience = patience.and_then(|p| Timespec::try_from(p).ok());
            let (mut out, mut err) = (false, false);
            {
                let mut fds = Vec::new();
                let pipes = [self.child.stdout.as_ref().map(AsFd::as_fd), self.child.stderr.as_ref().map(AsFd::as_fd)];
                let ways: Vec<BorrowedFd<'_>> =
                    pipes.into_iter().flatten().chain(pidfd.as_ref().map(AsFd::as_fd)).collect();
                fds.extend(ways.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
                match poll(&mut fds, patience.as_ref()) {
                    Err(rustix::io::Errno::INTR) | Ok(_) => {}
                    Err(e) => return Err(e.into()),
                }
                let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
                if self.child.stdout.is_some() {
                    out = ready.next().unwrap_or(false);
                }
                if self.child.stderr.is_some() {
                    err = ready.next().unwrap_or(false);
                }
            }
            if out && !keep(self.child.stdout.as_mut(), &mut self.output) {
                self.child.stdout = None;
            }
            if err && !keep(self.child.stderr.as_mut(), &mut self.complaint) {
                self.child.stderr = None;
            }
        }
    }

    /// Takes what is still in the pipes, without waiting for more.
    fn drain(&mut self) {
        while let Some(pipe) = self.child.stdout.as_mut().filter(|pipe| is_ready(pipe.as_fd())) {
            if !keep(Some(pipe), &mut self.output) {
                break;
            }
        }
        while let Some(pipe) = self.child.stderr.as_mut().filter(|pipe| is_ready(pipe.as_fd())) {
            if !keep(Some(pipe), &mut self.complaint) {
                break;
            }
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
}

/// Reads once; false at the end of the pipe.
fn keep(from: Option<&mut impl Read>, into: &mut Vec<u8>) -> bool {
    let Some(from) = from else { return false };
    let mut piece = [0; 16 << 10];
    match from.read(&mut piece) {
        Ok(0) => false,
        Ok(n) => {
            let room = OUTPUT_BYTES_MAX.saturating_sub(into.len());
            into.extend(piece.iter().take(n.min(room)));
            true
        }
        Err(e) => e.kind() == io::ErrorKind::Interrupted,
    }
}

/// A script as the original shows it: its text, or the list of its words.
fn shown(script: &Script) -> String {
    if script.arguments.is_empty() {
        return script.text.clone();
    }
    let words = std::iter::once(&script.text).chain(&script.arguments).map(|word| repr(word));
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &Script, timeout: f64) -> (Ran, Vec<String>) {
        let lines = Mutex::new(Vec::new());
        let tell = |level: LineLevel, _: Speaker, text: String| {
            let text = text.split_once(" -- ").map_or(text.as_str(), |(_, text)| text).to_owned();
            lines.lock().unwrap().push(format!("{level:?} {text}"));
        };
        let ran = execute(script, timeout, &[0], &Groups::default(), &tell);
        (ran, lines.into_inner().unwrap())
    }

    #[test]
    fn the_status_of_the_last_command_decides() {
        assert!(told(&Script::plain("false\ntrue"), 10.0).0.success);
        let (ran, lines) = told(&Script::plain("echo a; echo \"b'\" >&2; exit 3"), 10.0);
        assert_eq!((ran.success, ran.code, ran.said.as_str()), (false, Some(3), "b'"));
        let expected = ["exec: echo a; echo \"b'\" >&2; exit 3", "stdout: 'a'", "stderr: \"b'\"", "returned 3"]
            .map(|l| format!("Error {l}"));
        assert_eq!(lines, expected);
        let (ran, lines) = told(&Script::plain("no-such-program-here"), 10.0);
        assert_eq!(ran.code, Some(127));
        assert!(lines.iter().any(|line| line.starts_with("Info ") || line.contains("HINT on 127")), "{lines:?}");
        let (ran, lines) = told(&Script::plain("kill -9 $$"), 10.0);
        assert_eq!(ran.code, None);
        assert_eq!(lines.last().unwrap(), "Error killed with SIGKILL (return code: -9)");
        let (_, lines) = told(&Script::plain("exit 143"), 10.0);
        assert_eq!(lines.last().unwrap(), "Error killed with SIGTERM (return code: 143)");
    }

    #[test]
    fn values_reach_the_command_byte_by_byte() {
        let script = Script {
            text: "a=$0 b=$1 \nprintf %s \"$a|$b\" >&2".into(),
            arguments: vec!["$(id) `x` '".into(), "\"\n;".into()],
        };
        let (ran, lines) = told(&script, 10.0);
        assert!(ran.success);
        assert_eq!(ran.said, "$(id) `x` '|\"");
        assert!(
            lines[0].contains(r#"exec: ['a=$0 b=$1 \nprintf %s "$a|$b" >&2', "$(id) `x` '", '"\n;']"#),
            "{lines:?}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_whole_group() {
        let begin = Instant::now();
        let (ran, lines) = told(&Script::plain("trap '' TERM; sleep 100 & sleep 100; sleep 100"), 0.1);
        assert!(!ran.success && begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        assert!(lines.contains(&"Error timed out after 0.1 seconds.".to_owned()), "{lines:?}");
        assert!(lines.last().unwrap().contains("killed with SIGKILL (return code: -9)"), "{lines:?}");
    }

    #[test]
    fn nothing_starts_once_the_groups_are_closed() {
        let groups = Groups::default();
        let script = Script::plain("true");
        assert!(execute(&script, 10.0, &[0], &groups, &|_, _, _| {}).success);
        groups.close();
        assert_eq!(execute(&script, 10.0, &[0], &groups, &|_, _, _| {}), Ran::default());
    }

    #[test]
    fn long_output_is_cut_and_what_runs_on_is_not_waited_for() {
        let begin = Instant::now();
        let (ran, lines) = told(&Script::plain("yes | head -c 1000000; sleep 2 & true"), 60.0);
        assert!(ran.success && begin.elapsed() < Duration::from_secs(30));
        assert!(lines.len() < OUTPUT_LINES_MAX + 5);
        told(&Script::plain("true"), 60.0);
    }
}
