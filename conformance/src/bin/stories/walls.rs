//! The walls of the native unit, as far as they can be put up without systemd: what it may not write, which
//! rights it has lost, and what it tells the service manager.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use conformance::{Daemon, Dial, Logging, Machine, Root, Sshd, SshdOptions, Street, eventually, within};
use rustix::process::Signal;

use crate::{
    runner::{Stage, Story},
    scene::SILENCE,
};

/// The unit itself says what is to be imitated.
const UNIT: &str = include_str!("../../../../dist/systemd/stockade.service");

/// Listens as the service manager does, one message a line.
const LISTENER: &str = "import os, socket\n\
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
    s.bind('/run/notify')\n\
    while True:\n\
    \x20   print(s.recv(4096).decode().replace('\\n', ' '), flush=True)\n";

pub(crate) fn stories() -> Vec<Story> {
    let on = |name: &str, root: Root| {
        Story::new(format!("packages: behind the native unit's walls on {name}"), move |stage| walls(stage, root))
    };
    vec![on("Debian 12", Root::Bookworm), on("Debian 13", Root::Trixie)]
}

/// The value of one option of the unit.
fn option(name: &str) -> Result<&'static str> {
    let value = UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.with_context(|| format!("the unit has no {name}"))
}

fn walls(stage: &mut Stage<'_>, root: Root) -> Result<()> {
    let machine = Machine::start(root, stage.programs)?;
    let street = Street::build(&machine)?;
    let _log = Logging::File.start(&machine)?;
    let _sshd = Sshd::start(&machine, SshdOptions { pam: false, penalties: false })?;
    for wall in ["ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectHome=read-only"] {
        ensure!(UNIT.lines().any(|line| line == wall), "the unit has no {wall}: this story imitates something else");
    }
    let rights: Vec<String> = option("CapabilityBoundingSet")?
        .split_whitespace()
        .map(|right| format!("+{}", right.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let rights = format!("-all,{}", rights.join(","));
    let writable: Vec<&str> =
        option("ReadWritePaths")?.split_whitespace().map(|path| path.trim_start_matches('-')).collect();
    let writable = format!("/var/lib/stockade /run/stockade {}", writable.join(" "));
    machine.write("/run/listener.py", LISTENER)?;
    let _listener = Daemon::start(&machine, "listener", "exec python3 /run/listener.py")?;
    eventually("the listener", || Ok(machine.run(&["test", "-S", "/run/notify"])?.code == 0))?;
    machine.sh("mkdir -p /var/lib/stockade /run/stockade && touch /run/xtables.lock")?;
    // As systemd does it: everything is read-only but what is named, /tmp is its own, rights are gone for good.
    let line = format!(
        "exec unshare --mount sh -c 'mount --make-rprivate / && \
         for place in {writable}; do mount --bind $place $place; done && \
         mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && cd / && \
         NOTIFY_SOCKET=/run/notify WATCHDOG_USEC=1000000 exec setpriv --no-new-privs --bounding-set={rights} \
         --inh-caps={rights} stockade run'"
    );
    let mut daemon = Daemon::start(&machine, "guard", &line)?;
    let said = || machine.read("/var/log/listener.out");
    within(Duration::from_secs(20), "READY=1 at the service manager's socket", || Ok(said().contains("READY=1")))
        .with_context(|| machine.read("/var/log/guard.out"))?;
    within(Duration::from_secs(10), "three signs of life", || Ok(said().matches("WATCHDOG=1").count() >= 3))?;

    let pid = machine.sh("cat /run/stockade/*.pid")?;
    let status = machine.sh(&format!("grep -e CapEff -e CapBnd -e NoNewPrivs /proc/{}/status", pid.trim()))?;
    // CAP_DAC_READ_SEARCH is 2, CAP_NET_ADMIN is 12.
    ensure!(status.matches("0000000000001004").count() == 2, "it has other rights than the unit says: {status}");
    ensure!(status.contains("NoNewPrivs:\t1"), "it may gain rights: {status}");
    let inside = format!("nsenter --target {} --mount touch", pid.trim());
    for place in ["/etc/x", "/usr/x", "/var/lib/x", "/root/x"] {
        ensure!(machine.run(&["sh", "-c", &format!("{inside} {place}")])?.code != 0, "{place} can be written");
    }

    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..5 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("the ban", || Ok(machine.sh("stockade banned")?.contains(&attacker.to_string())))
        .with_context(|| machine.read("/var/log/stockade.log"))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "behind its walls it bans nobody");
    let why = machine.sh(&format!("stockade why {attacker}"))?;
    ensure!(why.contains("holds") && why.contains("its packets are refused"), "why says {why}");
    machine.sh(&format!("stockade unban {attacker} && stockade reload && stockade ban {attacker}"))?;
    let log = machine.read("/var/log/stockade.log");
    let errors: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARNING ")).collect();
    ensure!(errors.is_empty(), "it complains: {errors:#?}");
    daemon.stop(Signal::TERM)?;
    ensure!(said().contains("STOPPING=1"), "it does not say that it stops: {}", said());
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "a stop by the service manager lifts the ban");
    stage.figure(format!(
        "{} signs of life in all; rights {}",
        said().matches("WATCHDOG=1").count(),
        option("CapabilityBoundingSet")?
    ));
    Ok(())
}
