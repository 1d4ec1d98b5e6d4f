//! Running programs step by step, with words about the progress and an end to patience.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// The top folder of the repository.
pub(crate) fn top() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Whether a CI runs us: then nothing may be left out.
pub(crate) fn under_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Prints a line for the one who waits.
pub(crate) fn say(text: &str) {
    // Nobody is left to tell when the output is closed.
    writeln!(io::stdout(), "{text}").ok();
}

/// The text of a file, at most 16 MiB of it.
pub(crate) fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(16 << 20).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command of cargo, the same one that started us.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words);
    command
}

/// Runs a program to its end in its own process group, and kills the group when `limit` passes.
///
/// Each line of its standard output goes through `line`; standard error goes where ours goes.
///
/// # Errors
/// When it cannot be started or takes longer than `limit`.
pub(crate) fn run(what: &str, command: &mut Command, limit: Duration, mut line: impl FnMut(&str)) -> Result<bool> {
    use std::os::unix::process::CommandExt as _;
    let start = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("{what}: start {command:?}"))?;
    let output = BufReader::new(child.stdout.take().context("the standard output of a program")?);
    let (sender, receiver) = mpsc::sync_channel(1024);
    let reader = thread::spawn(move || {
        for text in output.split(b'\n') {
            let Ok(text) = text else { break };
            if sender.send(String::from_utf8_lossy(&text).into_owned()).is_err() {
                break;
            }
        }
    });
    let timed_out = loop {
        match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(text) => line(&text),
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
        }
    };
    if timed_out {
        let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
        child.wait()?;
        bail!("{what} took longer than {} s and was stopped", limit.as_secs());
    }
    let status = child.wait()?;
    if reader.join().is_err() {
        bail!("{what}: reading its output failed");
    }
    Ok(status.success())
}

/// Runs a program as one named step and says how long it took.
///
/// # Errors
/// When it fails, cannot be started or takes longer than `limit`.
pub(crate) fn step(what: &str, command: &mut Command, limit: Duration) -> Result<()> {
    say(&format!("==> {what}"));
    let start = Instant::now();
    if !run(what, command, limit, say)? {
        bail!("{what} failed");
    }
    say(&format!("    {what}: {:.0} s", start.elapsed().as_secs_f32()));
    Ok(())
}

/// The standard output of a program that has to succeed.
///
/// # Errors
/// When it fails or cannot be started.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
