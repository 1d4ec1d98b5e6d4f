//! Going into the background without `fork`: this program starts itself once
//! more, and the new process leaves the session and the terminal.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use stockade_config::DaemonOptions;

use super::options::{DETACHED, Options};

/// The longest complaint of a start that is passed on.
const COMPLAINT_BYTES_MAX: u64 = 64 << 10;

/// The last thing that a process in the background writes to whoever started it.
const READY: &[u8] = b"\0";

/// Starts a server as the original's client does: it goes into the background
/// by itself, runs nothing yet, and waits for the commands. Returns once it
/// answers or has failed.
///
/// # Errors
/// Why there is no server.
pub(super) fn start_server(options: &Options, places: &DaemonOptions) -> Result<(), String> {
    let mut command = ourselves().map_err(|e| format!("this program can't be started anew: {e}"))?;
    command
        .arg0("fail2ban-server")
        .args(["--async", "-b", "-c"])
        .arg(std::path::absolute(&options.conf).unwrap_or_else(|_| options.conf.clone()));
    command.args(["-s", &places.socket, "-p", &places.pidfile]);
    if options.force {
        command.arg("-x");
    }
    if options.verbosity > 0 {
        command.arg(format!("-{}", "v".repeat(usize::try_from(options.verbosity).unwrap_or(1))));
    }
    command.args(["--loglevel", &places.loglevel, "--logtarget", &places.logtarget]);
    command.args(["--syslogsocket", &places.syslogsocket]);
    let status = command.stdin(Stdio::null()).status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
}

/// Starts this very command line once more, in the background; what it has to
/// complain about until it is ready goes to our standard error. Returns once
/// it is ready (or has failed, with how it ended).
pub(super) fn detach() -> io::Result<Option<ExitStatus>> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let mut command = ourselves()?;
    command.arg0(name).arg(DETACHED).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut complaint = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        pipe.take(COMPLAINT_BYTES_MAX).read_to_end(&mut complaint)?;
    }
    let ready = complaint.strip_suffix(READY).is_some();
    let complaint = String::from_utf8_lossy(complaint.strip_suffix(READY).unwrap_or(&complaint)).into_owned();
    if !complaint.is_empty() {
        crate::cli::term::note(complaint.trim_end());
    }
    if ready { Ok(None) } else { child.wait().map(Some) }
}

/// The process in the background, and whoever waits for it in [`detach`].
#[derive(Clone)]
pub(super) struct Background {
    /// Where that one listens, until it has heard enough.
    listener: Arc<Mutex<Option<OwnedFd>>>,
}

impl Background {
    /// Leaves the session and terminal of whoever started us. Our standard error
    /// leads nowhere from now on, and so does that of all whom we start.
    pub(super) fn enter() -> io::Result<Background> {
        // It fails only for who leads a session already.
        rustix::process::setsid().ok();
        let listener = rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)?;
        let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stderr(nowhere)?;
        Ok(Background { listener: Arc::new(Mutex::new(Some(listener))) })
    }

    /// Everything works: whoever waits may go.
    pub(super) fn is_ready(&self) {
        if let Some(listener) = self.take() {
            rustix::io::write(&listener, READY).unwrap_or_default();
        }
    }

    /// It failed: what is said on standard error is heard again, if somebody still listens.
    pub(super) fn failed(&self) {
        if let Some(listener) = self.take() {
            rustix::stdio::dup2_stderr(listener).unwrap_or_default();
        }
    }

    fn take(&self) -> Option<OwnedFd> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[expect(clippy::disallowed_methods, reason = "starts this very program anew")]
fn ourselves() -> io::Result<Command> {
    // Without /proc only the name that we were called by is left.
    let program = std::env::current_exe().or_else(|e| std::env::args_os().next().map(Into::into).ok_or(e))?;
    Ok(Command::new(program))
}
