//! The services of a machine: sshd, the journal, rsyslog, and any other program in the background.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Machine,
    bounded::read_bounded,
    machine::{child_of, end, kill},
    wait::eventually,
};

/// A program running in the background of a machine; it is killed when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pid: u32,
    name: String,
}

impl Daemon {
    /// Starts a shell line that ends in `exec PROGRAM`; what it says goes to `/var/log/NAME.out` in the machine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(machine: &Machine, name: &str, line: &str) -> Result<Self> {
        let group = format!("/sys/fs/cgroup/system.slice/{name}.service");
        let line = format!(
            "{{ mkdir -p {group} && echo $$ > {group}/cgroup.procs; }} 2>/dev/null; \
             exec >>/var/log/{name}.out 2>&1; {line}"
        );
        let mut command = machine.command(&["sh", "-c", &line]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let pid = child_of(child.id())?;
        Ok(Self { child, pid, name: name.to_owned() })
    }

    /// Its process id, seen from outside the machine.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When its process cannot be asked.
    pub fn alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal and waits for the end; the exit code as a shell reports it.
    ///
    /// # Errors
    /// When it has not ended after 15 seconds.
    pub fn stop(&mut self, signal: rustix::process::Signal) -> Result<i32> {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw).context("a process id")?;
        rustix::process::kill_process(pid, signal).with_context(|| format!("signal {}", self.name))?;
        self.ended()
    }

    /// Waits for the end; the exit code as a shell reports it.
    ///
    /// # Errors
    /// When it has not ended after 15 seconds.
    pub fn ended(&mut self) -> Result<i32> {
        let mut code = None;
        eventually(&format!("{} to end", self.name), || {
            code = self.child.try_wait()?;
            Ok(code.is_some())
        })?;
        Ok(code.and_then(|status| status.code()).unwrap_or(-1))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.pid);
        }
        end(&mut self.child);
    }
}

/// Where the machine's services log to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// The systemd journal, in memory; no auth log.
    Journal,
    /// rsyslog into `/var/log/auth.log`; no journal.
    File,
}

impl Logging {
    /// Starts the log service and waits until it takes lines.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(self, machine: &Machine) -> Result<Daemon> {
        match self {
            Self::Journal => {
                machine.write(
                    "/etc/systemd/journald.conf.d/story.conf",
                    "[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToSyslog=no\nRateLimitIntervalSec=0\n",
                )?;
                let daemon = Daemon::start(machine, "systemd-journald", "exec /usr/lib/systemd/systemd-journald")?;
                eventually("journald", || Ok(machine.path("/run/systemd/journal/dev-log").exists()))?;
                machine.sh("ln -sf /run/systemd/journal/dev-log /dev/log")?;
                Ok(daemon)
            }
            Self::File => {
                let daemon = Daemon::start(machine, "rsyslog", "exec /usr/sbin/rsyslogd -n")?;
                eventually("rsyslog", || Ok(machine.path("/dev/log").exists()))?;
                machine.sh("logger -p auth.info -t story up")?;
                eventually("a line in auth.log", || Ok(machine.read("/var/log/auth.log").contains("story: up")))?;
                Ok(daemon)
            }
        }
    }
}

/// How sshd is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SshdOptions {
    /// Passwords go through PAM, as Debian ships it: slower, with PAM's own lines in the log.
    pub pam: bool,
    /// OpenSSH 10's own penalties for sources that fail, as shipped; older ones have none.
    pub penalties: bool,
}

/// A running sshd, with the user `alice` whose password is [`Sshd::PASSWORD`].
#[derive(Debug)]
pub struct Sshd {
    _daemon: Daemon,
}

impl Sshd {
    /// The user that exists.
    pub const USER: &str = "alice";
    /// The password that is right.
    pub const PASSWORD: &str = "correct horse";

    /// Starts sshd and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(machine: &Machine, options: SshdOptions) -> Result<Self> {
        machine.sh("id alice >/dev/null 2>&1 || useradd --create-home --shell /bin/sh alice")?;
        let output = machine.run_with_input(&["chpasswd"], &format!("{}:{}\n", Self::USER, Self::PASSWORD))?;
        ensure!(output.code == 0, "chpasswd: {}", output.all());
        let version = machine.run(&["ssh", "-V"])?.all();
        let mut settings = String::from("PasswordAuthentication yes\nMaxStartups 100\n");
        settings.push_str(if options.pam { "UsePAM yes\n" } else { "UsePAM no\n" });
        if !options.penalties && !version.contains("OpenSSH_9.2") {
            settings.push_str("PerSourcePenalties no\n");
        }
        machine.write("/etc/ssh/sshd_config.d/story.conf", &settings)?;
        let daemon = Daemon::start(machine, "ssh", "exec /usr/sbin/sshd -D")?;
        // Port 22 in the machine's table of listening sockets, state 0A.
        let sockets = PathBuf::from(format!("/proc/{}/net/tcp", machine.init()));
        eventually("sshd to listen", || Ok(read_bounded(&sockets).contains(":0016 00000000:0000 0A")))
            .map_err(|error| error.context(machine.read("/var/log/ssh.out")))?;
        Ok(Self { _daemon: daemon })
    }
}
