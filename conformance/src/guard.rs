//! The program under test: stockade, or the original as a cross-check of the harness itself.

use std::{net::IpAddr, sync::Arc};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::{Daemon, Machine, Output, wait::eventually};

/// Which program guards the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Ours, over its embedded tree.
    Stockade,
    /// The original, over Debian's tree.
    Fail2ban,
}

/// A guard in a machine, running or not.
///
/// What it did is read from its own log, whose lines are the same in both programs.
#[derive(Debug)]
pub struct Guard {
    machine: Arc<Machine>,
    program: Program,
    daemon: Option<Daemon>,
}

impl Guard {
    /// A guard that is not running yet.
    #[must_use]
    pub fn new(machine: &Arc<Machine>, program: Program) -> Self {
        Self { machine: Arc::clone(machine), program, daemon: None }
    }

    /// Writes the operator's own settings, in the dialect that both programs read.
    ///
    /// # Errors
    /// When the machine's disk refuses.
    pub fn configure(&self, jail_local: &str) -> Result<()> {
        let place = match self.program {
            Program::Stockade => "/etc/stockade/jail.local",
            Program::Fail2ban => "/etc/fail2ban/jail.local",
        };
        self.machine.write(place, jail_local)
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within 15 seconds; its own words are in the message.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let waited = eventually("the guard to answer", || {
            if let Some(daemon) = &mut self.daemon {
                ensure!(daemon.alive()?, "the guard ended at its start");
            }
            Ok(self.answers())
        });
        waited.map(drop).map_err(|error| error.context(self.words()))
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let line = match self.program {
            Program::Stockade => "exec stockade run",
            Program::Fail2ban => "mkdir -p /run/fail2ban; exec fail2ban-server -xf start",
        };
        self.launch_line(line)
    }

    /// Starts it by a shell line of one's own that ends in `exec`, and does not wait.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn launch_line(&mut self, line: &str) -> Result<()> {
        self.daemon = Some(Daemon::start(&self.machine, "guard", line)?);
        Ok(())
    }

    /// What the guard wrote to its standard output and error, last 30 lines.
    #[must_use]
    pub fn words(&self) -> String {
        let text = format!("{}{}", self.machine.read("/var/log/guard.out"), self.log());
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default();
        format!("the guard said:\n  {}", tail.join("\n  "))
    }

    /// Whether its control socket answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        let words: &[&str] = match self.program {
            Program::Stockade => &["status"],
            Program::Fail2ban => &["ping"],
        };
        self.client(words).is_ok_and(|output| output.code == 0)
    }

    /// Runs the guard's own client.
    ///
    /// # Errors
    /// When it cannot be started; a failing command is not an error here.
    pub fn client(&self, words: &[&str]) -> Result<Output> {
        let client = match self.program {
            Program::Stockade => "stockade",
            Program::Fail2ban => "fail2ban-client",
        };
        let mut line = vec![client];
        line.extend(words);
        self.machine.run(&line)
    }

    /// Its own log, from the first start of the machine on.
    #[must_use]
    pub fn log(&self) -> String {
        self.machine.read(match self.program {
            Program::Stockade => "/var/log/stockade.log",
            Program::Fail2ban => "/var/log/fail2ban.log",
        })
    }

    /// How many lines of its log say `words` of this address in this jail, as in `[sshd] Found 192.0.2.1`.
    #[must_use]
    pub fn said(&self, jail: &str, words: &str, address: IpAddr) -> usize {
        let wanted = format!("[{jail}] {words} {address}");
        self.log()
            .lines()
            .filter(|line| {
                line.split_once(&wanted).is_some_and(|(_, rest)| rest.chars().next().is_none_or(|next| next == ' '))
            })
            .count()
    }

    /// Failures seen.
    #[must_use]
    pub fn found(&self, jail: &str, address: IpAddr) -> usize {
        self.said(jail, "Found", address)
    }

    /// Bans made.
    #[must_use]
    pub fn bans(&self, jail: &str, address: IpAddr) -> usize {
        self.said(jail, "Ban", address)
    }

    /// Bans addresses by hand and waits until the command is through.
    ///
    /// # Errors
    /// When the guard refuses.
    pub fn ban(&self, jail: &str, addresses: &[IpAddr]) -> Result<()> {
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let output = match self.program {
            Program::Stockade => {
                self.machine.run_with_input(&["stockade", "ban", "--jail", jail, "-"], &list.join("\n"))?
            }
            Program::Fail2ban => {
                let mut words = vec!["set", jail, "banip"];
                words.extend(list.iter().map(String::as_str));
                self.client(&words)?
            }
        };
        output.good("ban by hand").map(drop)
    }

    /// Lifts the ban of one address in one jail.
    ///
    /// # Errors
    /// When the guard refuses.
    pub fn unban(&self, jail: &str, address: IpAddr) -> Result<()> {
        let address = address.to_string();
        let words: &[&str] = match self.program {
            Program::Stockade => &["unban", "--jail", jail, &address],
            Program::Fail2ban => &["set", jail, "unbanip", &address],
        };
        self.client(words)?.good("unban").map(drop)
    }

    /// Ends it with a signal and waits for that; the exit code as a shell reports it.
    ///
    /// # Errors
    /// When it is not running or does not end.
    pub fn stop(&mut self, signal: Signal) -> Result<i32> {
        let mut daemon = self.daemon.take().ok_or_else(|| anyhow::anyhow!("the guard is not running"))?;
        daemon.stop(signal)
    }

    /// The running process, seen from outside.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// The running process itself.
    pub fn daemon(&mut self) -> Option<&mut Daemon> {
        self.daemon.as_mut()
    }

    /// Which program it is.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }
}
