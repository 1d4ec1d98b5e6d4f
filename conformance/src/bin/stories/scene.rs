//! The usual scene of a story: a machine with a log and sshd, a street in front of it, and a guard.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use conformance::{Daemon, Guard, Logging, Machine, Program, Root, Sshd, SshdOptions, Street};

use crate::runner::Stage;

/// How long a dropped connection is waited for before it counts as dropped.
pub(crate) const SILENCE: Duration = Duration::from_millis(1200);

/// What the scene is made of.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) program: Program,
    pub(crate) root: Root,
    pub(crate) logging: Logging,
    pub(crate) sshd: SshdOptions,
}

impl Setting {
    /// Ours on Debian 12 with rsyslog: the quickest to start.
    pub(crate) const PLAIN: Self = Self {
        program: Program::Stockade,
        root: Root::Bookworm,
        logging: Logging::File,
        sshd: SshdOptions { pam: false, penalties: false },
    };
}

/// A scene with everything running but the guard.
pub(crate) struct Scene {
    pub(crate) guard: Guard,
    pub(crate) street: Street,
    _sshd: Sshd,
    _log: Daemon,
    setting: Setting,
    pub(crate) machine: Arc<Machine>,
}

impl Scene {
    /// Sets the scene.
    pub(crate) fn set(stage: &Stage<'_>, setting: Setting) -> Result<Self> {
        Self::needs_stockade(stage, setting)?;
        let machine = Machine::start(setting.root, stage.programs)?;
        let street = Street::build(&machine)?;
        let log = setting.logging.start(&machine)?;
        let sshd = Sshd::start(&machine, setting.sshd)?;
        let guard = Guard::new(&machine, setting.program);
        Ok(Self { guard, street, _sshd: sshd, _log: log, setting, machine })
    }

    /// Refuses to tell of ours when it was not built.
    pub(crate) fn needs_stockade(stage: &Stage<'_>, setting: Setting) -> Result<()> {
        let there = setting.program != Program::Stockade || stage.programs.place().join("stockade").is_file();
        ensure!(there, "there is no stockade to test: build it first");
        Ok(())
    }

    /// Starts the guard with `defaults` for all jails and `sshd` for its own.
    ///
    /// Ours finds the log by itself; the original is told.
    pub(crate) fn guarded(mut self, defaults: &str, sshd: &str) -> Result<Self> {
        self.configure(defaults, sshd)?;
        self.guard.start()?;
        Ok(self)
    }

    /// Writes the operator's settings.
    pub(crate) fn configure(&self, defaults: &str, sshd: &str) -> Result<()> {
        let source = match (self.setting.program, self.setting.logging) {
            (Program::Stockade, _) => "",
            (Program::Fail2ban, Logging::Journal) => "backend = systemd\n",
            (Program::Fail2ban, Logging::File) => "backend = polling\nlogpath = /var/log/auth.log\n",
        };
        self.guard.configure(&format!("[DEFAULT]\n{defaults}\n[sshd]\nenabled = true\n{source}{sshd}\n"))
    }
}
