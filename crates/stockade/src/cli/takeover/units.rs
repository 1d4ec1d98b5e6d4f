//! Units of systemd, where that runs the machine; else the daemons are started by themselves.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The original's unit, and ours for its tree.
pub(super) const THEIRS: &str = "fail2ban.service";
pub(super) const OURS: &str = "stockade-takeover.service";

/// Does systemd run this machine?
pub(super) fn are_there() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Does systemd know a unit of that name?
pub(super) fn known(unit: &str) -> bool {
    run("systemctl", &["cat", unit]).is_ok()
}

/// Stops a unit, and it stays off at the next start of the machine.
pub(super) fn off(unit: &str) -> Result<()> {
    run("systemctl", &["disable", "--now", unit])
}

/// Starts a unit, now and at each start of the machine.
pub(super) fn on(unit: &str) -> Result<()> {
    run("systemctl", &["enable", "--now", unit])
}

/// Starts the original's program in the background.
pub(super) fn start_original(conf: &Path) -> Result<()> {
    let conf = conf.to_string_lossy();
    run("fail2ban-client", &["-c", &conf, "start"])
}

/// Starts this program in the background, in the original's place.
pub(super) fn start_stockade(conf: &Path) -> Result<()> {
    let own = std::env::current_exe().context("where this program lies")?;
    let conf = conf.to_string_lossy();
    run(&own.to_string_lossy(), &["fail2ban-server", "-c", &conf, "-b", "start"])
}

/// Runs a program to its end; its words only if it fails.
#[expect(clippy::disallowed_methods, reason = "fixed words, nothing captured; the operator's command, not the daemon")]
fn run(program: &str, words: &[&str]) -> Result<()> {
    let what = || format!("{program} {}", words.join(" "));
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    // A daemon that stays keeps what it inherits: its words go to a file, not into a pipe that never ends.
    let out = rustix::fs::memfd_create("words", rustix::fs::MemfdFlags::CLOEXEC).map(std::fs::File::from)?;
    command.stdout(out.try_clone()?).stderr(out.try_clone()?);
    let status = command.status().with_context(what)?;
    if status.success() {
        return Ok(());
    }
    let mut said = vec![0; 2_000];
    let length = std::os::unix::fs::FileExt::read_at(&out, &mut said, 0).unwrap_or(0);
    said.truncate(length);
    bail!("{}: {status}: {}", what(), String::from_utf8_lossy(&said).trim())
}
