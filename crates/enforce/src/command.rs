//! Runs a firewall tool: by its arguments, never through a shell, with bounds on time and output.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::error::Error;

/// A tool that takes longer is killed; a million lines for `ipset restore` take 7 s.
const SECONDS_MAX: i64 = 60;
/// What a tool may print; `iptables-save` of a large foreign ruleset is longer than anything of ours.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How much of its complaints is kept.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;
/// Where the tools are, whatever our own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `program` with `arguments`, writes `input` to it and returns what it printed.
///
/// # Errors
///
/// It can't be started, runs too long, prints more than 64 MiB, or exits with
/// another code than 0; then [`Error::why`] has its own words.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    run_and_tell(program, arguments, input).1
}

/// The same, with the number of the process; 0 if it could not be started.
pub(crate) fn run_and_tell(program: &str, arguments: &[&str], input: &str) -> (u32, Result<String, Error>) {
    let mut number = 0;
    let result = run_process(program, arguments, input, &mut number);
    (number, result)
}

fn run_process(program: &str, arguments: &[&str], input: &str, number: &mut u32) -> Result<String, Error> {
    let what = format!("run {program} {}", arguments.join(" "));
    #[expect(clippy::disallowed_methods, reason = "the one place where firewall tools are started")]
    let mut command = Command::new(program);
    let mut child = command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| {
            let lacks_feature = e.kind() == ErrorKind::NotFound;
            Error { lacks_feature, ..Error::new(&what, e.to_string(), format!("install {program}")) }
        })?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    *number = child.id();
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    // Three pipes at once need three hands; each ends when the tool ends or is killed.
    let (output, complaint, in_time) = std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A tool that ends early breaks the pipe; its exit code says why.
                stdin.write_all(input.as_bytes()).ok();
            }
        });
        let output = scope.spawn(move || read_all(stdout, OUTPUT_BYTES_MAX));
        let complaint = scope.spawn(move || read_all(stderr, COMPLAINT_BYTES_MAX));
        let in_time = pid.is_none_or(ends_in_time);
        if !in_time {
            child.kill().ok();
        }
        (output.join().unwrap_or_default(), complaint.join().unwrap_or_default(), in_time)
    });
    let status = child.wait().map_err(|e| Error::new(&what, e.to_string(), ""))?;
    if !in_time {
        return Err(Error { retryable: true, ..Error::new(what, format!("took longer than {SECONDS_MAX} s"), "") });
    }
    let (output, whole) = output;
    if status.success() && !whole {
        return Err(Error::new(what, format!("printed more than {OUTPUT_BYTES_MAX} bytes"), ""));
    }
    if status.success() {
        return Ok(output);
    }
    let said = complaint.0.lines().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned();
    Err(Error::new(what, format!("{status}: {said}"), ""))
}

fn ends_in_time(pid: rustix::process::Pid) -> bool {
    // Without process descriptors (Linux before 5.3) there is no limit but the tool's own.
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let limit = Timespec { tv_sec: SECONDS_MAX, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.is_ok_and(|n| n > 0),
        }
    }
}

/// Reads up to a bound and throws the rest away, so that the writer never blocks; says whether that is all.
fn read_all(from: Option<impl Read>, bytes_max: u64) -> (String, bool) {
    let Some(mut from) = from else { return (String::new(), true) };
    let mut bytes = Vec::new();
    let read = from.by_ref().take(bytes_max).read_to_end(&mut bytes);
    let rest = read.and_then(|_| std::io::copy(&mut from, &mut std::io::sink()));
    (String::from_utf8_lossy(&bytes).into_owned(), rest.is_ok_and(|rest| rest == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure_are_handed_back() {
        assert_eq!(run("cat", &[], "one\ntwo").unwrap(), "one\ntwo");
        let long = "x".repeat(1_000_000);
        assert_eq!(run("cat", &[], &long).unwrap().len(), 1_000_000);
        let error = run("ls", &["/does/not/exist; true"], "").unwrap_err();
        assert!(error.why.contains("/does/not/exist; true"), "{error}");
        let error = run("no-such-tool", &[], "").unwrap_err();
        assert!(error.help == "install no-such-tool" && error.lacks_feature, "{error:?}");
        // A tool that reads nothing of a long input.
        assert_eq!(run("true", &[], &long).unwrap(), "");
    }

    #[test]
    fn cut_output_is_no_output() {
        let bytes = |more: u64| (OUTPUT_BYTES_MAX + more).to_string();
        let error = run("head", &["-c", &bytes(1), "/dev/zero"], "").unwrap_err();
        assert_eq!(error.why, format!("printed more than {OUTPUT_BYTES_MAX} bytes"));
        assert_eq!(run("head", &["-c", &bytes(0), "/dev/zero"], "").unwrap().len() as u64, OUTPUT_BYTES_MAX);
    }
}
