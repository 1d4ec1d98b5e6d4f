//! The package: installed with one command it guards the machine, and when it is purged nothing of it is left.

use std::{
    env, fs,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Dial, Guard, Logging, Machine, Program, Root, Sshd, SshdOptions, Street, eventually};
use rustix::process::Signal;

use crate::{
    runner::{Stage, Story},
    scene::SILENCE,
};

/// The exposure that the native unit keeps below, in tenths as systemd counts them.
const EXPOSURE_MAX: u32 = 19;

/// What is compared before and after: every path, and what is in the files of `/etc`. Logs, caches and dpkg's own
/// memory are not part of it, nor are the copies that `groupadd` keeps.
const LISTING: &str = "\
    find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /root -o -path /mnt \
        -o -path /var/cache -o -path /var/lib/dpkg -o -path /run/stage -o -path '/var/log/*' \\) -prune -o -print | \
        grep -v -e '^/run/\\(sshd\\|rsyslog\\|utmp\\)' -e '^/var/lib/systemd$' -e '^/etc/.*-$' | sort; \
    find /run/stockade /var/lib/stockade /var/log/stockade* 2>/dev/null; \
    find /etc -xdev -type f ! -name '*-' -exec sha256sum {} + | sort";

pub(crate) fn stories() -> Vec<Story> {
    let on = |name: &str, root: Root| {
        Story::new(format!("packages: installed, one ban, purged on {name}"), move |stage| installed(stage, root))
    };
    vec![
        on("Debian 12", Root::Bookworm),
        on("Debian 13", Root::Trixie),
        Story::new("packages: removed after a takeover, and fail2ban has the machine again", removed_after_a_takeover),
        Story::new("packages: the rpm, installed by rpm itself, one ban, an upgrade, removed", rpm),
    ]
}

/// The package of that kind that was built.
fn package(kind: &str) -> Result<PathBuf> {
    let folder = env::var_os("STOCKADE_PACKAGES").map(PathBuf::from);
    let folder = folder.context("STOCKADE_PACKAGES is not set: run `cargo xtask test`")?;
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = entries.flatten().map(|entry| entry.path());
    let found = found.find(|path| path.extension().is_some_and(|ending| ending == kind));
    found.with_context(|| format!("there is no .{kind} in {}", folder.display()))
}

fn installed(stage: &mut Stage<'_>, root: Root) -> Result<()> {
    let machine = Machine::start(root, stage.programs)?;
    machine.sh("rm -f /usr/bin/stockade")?;
    let street = Street::build(&machine)?;
    let _log = Logging::File.start(&machine)?;
    let _sshd = Sshd::start(&machine, SshdOptions { pam: false, penalties: false })?;
    fs::copy(package("deb")?, machine.path("/root/stockade.deb")).context("bring the package into the machine")?;
    let before = machine.sh(LISTING)?;
    let start = Instant::now();
    machine.sh("dpkg -i /root/stockade.deb")?;
    // With systemd the installation starts it; here nothing may be started but by hand.
    machine.sh("/etc/init.d/stockade start")?;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..5 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("the first ban", || Ok(machine.sh("stockade banned")?.contains(&attacker.to_string())))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "the first ban bans nobody");
    stage.figure(format!(
        "{:.1} s from `dpkg -i` and `/etc/init.d/stockade start` to the first ban",
        start.elapsed().as_secs_f32()
    ));
    let why = machine.sh(&format!("stockade why {attacker}"))?;
    ensure!(why.contains("sshd"), "why says {why}");

    units(stage, &machine)?;

    // A second installation takes the place of the first without a gap.
    machine.sh("dpkg -i /root/stockade.deb && /etc/init.d/stockade restart")?;
    eventually("the daemon after an upgrade", || Ok(machine.run(&["stockade", "status"])?.code == 0))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "an upgrade lifts the ban");
    machine.sh("test -s /etc/stockade/jail.local && dpkg --verify stockade")?;

    machine.sh("dpkg --remove stockade")?;
    let dial = street.dial(attacker, 22, Duration::from_secs(2))?;
    ensure!(dial == Dial::Answered, "the package is removed, but its ban stays: {dial:?}");
    let tables = machine.sh("nft list tables")?;
    ensure!(!tables.contains("stockade"), "the package is removed, but its table stays: {tables}");
    machine.sh("dpkg --purge stockade")?;
    let after = machine.sh(LISTING)?;
    let left: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    let gone: Vec<&str> = before.lines().filter(|line| !after.lines().any(|new| new == *line)).collect();
    ensure!(left.is_empty(), "left behind after the purge: {left:#?}");
    ensure!(gone.is_empty(), "taken away by the purge, though it was there before: {gone:#?}");
    Ok(())
}

/// Removed while it guards in the place of fail2ban, which guards on; and where fail2ban can't start.
fn removed_after_a_takeover(stage: &mut Stage<'_>) -> Result<()> {
    let machine = Machine::start(Root::Trixie, stage.programs)?;
    machine.sh("rm -f /usr/bin/stockade")?;
    let street = Street::build(&machine)?;
    let _log = Logging::File.start(&machine)?;
    let _sshd = Sshd::start(&machine, SshdOptions { pam: false, penalties: false })?;
    for kind in ["deb", "rpm"] {
        let place = machine.path(&format!("/root/stockade.{kind}"));
        fs::copy(package(kind)?, place).context("bring the package into the machine")?;
    }
    let ways = [
        ("dpkg -i /root/stockade.deb", "dpkg --purge stockade"),
        ("rpm --initdb; rpm --nodeps -i /root/stockade.rpm", "rpm --nodeps -e stockade"),
    ];
    let tree = "[DEFAULT]\nbanaction = nftables\nbantime = 2h\n\
                [sshd]\nenabled = true\nbackend = polling\nlogpath = /var/log/auth.log\n";
    machine.write("/etc/fail2ban/jail.local", tree)?;
    machine.write("/etc/fail2ban/action.d/nftables.local", "[Init]\nblocktype = drop\n")?;
    machine.sh("mkdir -p /run/fail2ban; fail2ban-client start >/dev/null 2>&1")?;
    let names = "cd /usr/bin; ls -l fail2ban-* | cut -d ' ' -f 1; sha256sum fail2ban-*";
    let before = machine.sh(names)?;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    let rounds = [(true, ""), (false, ""), (false, " --keep-names")];
    for ((install, remove), (starts, keep)) in ways.iter().flat_map(|way| rounds.map(|round| (way, round))) {
        let program = if keep.is_empty() { "/usr/bin/fail2ban-client.original" } else { "/usr/bin/fail2ban-client" };
        machine.sh("fail2ban-client ping >/dev/null 2>&1 || fail2ban-client start >/dev/null 2>&1")?;
        machine.sh(&format!("{install}; stockade takeover{keep}"))?;
        let kept = machine.sh(&format!("cat {program}"))?;
        machine.sh(&format!("fail2ban-client set sshd banip {attacker}"))?;
        eventually("the ban", || Ok(street.dial(attacker, 22, SILENCE)? == Dial::Silence))?;
        if !starts {
            machine.sh(&format!("printf '#!/bin/sh\nexit 1\n' > {program}"))?;
        }
        let said = machine.sh(&format!("{remove} 2>&1"))?;
        if !starts {
            machine.write("/usr/bin/fail2ban-client", &kept)?;
        }
        let after = machine.sh(names)?;
        ensure!(after == before, "fail2ban's programs are not as they were: {after}, not {before}: {said}");
        let runs = machine.sh("fail2ban-client ping 2>/dev/null || :")?.contains("pong");
        ensure!(runs == starts, "fail2ban runs: {runs}: {said}");
        if starts {
            let held = street.dial(attacker, 22, SILENCE)? == Dial::Silence;
            ensure!(held, "the ban is lost on the way back: {said}");
            machine.sh(&format!("fail2ban-client set sshd unbanip {attacker}"))?;
        }
        eventually("nobody to be banned", || Ok(street.dial(attacker, 22, SILENCE)? == Dial::Answered))
            .with_context(|| format!("fail2ban runs: {runs}; {said}"))?;
    }
    Ok(())
}

/// The other package, by the real rpm. Its dependencies are names that Debian's packages do not give themselves.
fn rpm(stage: &mut Stage<'_>) -> Result<()> {
    const RPM: &str = "rpm --nodeps";
    let machine = Machine::start(Root::Trixie, stage.programs)?;
    machine.sh("rm -f /usr/bin/stockade")?;
    let street = Street::build(&machine)?;
    let _log = Logging::File.start(&machine)?;
    let _sshd = Sshd::start(&machine, SshdOptions { pam: false, penalties: false })?;
    fs::copy(package("rpm")?, machine.path("/root/stockade.rpm")).context("bring the package into the machine")?;
    machine.sh("command -v rpm").context("the root has no rpm: cargo xtask test builds it anew")?;
    // The database of rpm is made by its first use.
    machine.sh("rpm --initdb; rpm --checksig --nosignature /root/stockade.rpm")?;
    let before = machine.sh(LISTING)?;
    let start = Instant::now();
    let said = machine.run(&["sh", "-c", &format!("{RPM} -i /root/stockade.rpm")])?;
    ensure!(said.code == 0 && !said.all().contains("failed"), "rpm -i: {}", said.all());
    machine.sh("rpm -V --nodeps stockade")?;
    let files = machine.sh("rpm -ql stockade")?;
    for file in ["/usr/bin/stockade", "/usr/lib/systemd/system/stockade.service", "/etc/stockade/jail.local"] {
        ensure!(files.lines().any(|line| line == file), "{file} is not in the package: {files}");
    }
    for file in files.lines() {
        machine.sh(&format!("test -e '{file}'"))?;
    }
    let mut guard = Guard::new(&machine, Program::Stockade);
    guard.start()?;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..5 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("the first ban", || Ok(machine.sh("stockade banned")?.contains(&attacker.to_string())))?;
    stage.figure(format!("{:.1} s from `rpm -i` and a start to the first ban", start.elapsed().as_secs_f32()));

    machine.sh("echo '# mine' >> /etc/stockade/jail.local")?;
    machine.sh(&format!("{RPM} -U --replacepkgs /root/stockade.rpm"))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "an upgrade lifts the ban");
    machine.sh("grep -q '# mine' /etc/stockade/jail.local").context("an upgrade takes the operator's settings away")?;

    // With the daemon dead only the script can lift; rpm runs it in a network of its own.
    guard.stop(Signal::KILL)?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "a dead daemon holds no ban");
    machine.sh(&format!("{RPM} -e stockade"))?;
    let dial = street.dial(attacker, 22, Duration::from_secs(2))?;
    ensure!(dial == Dial::Answered, "the package is removed, but its ban stays: {dial:?}");
    let tables = machine.sh("nft list tables")?;
    ensure!(!tables.contains("stockade"), "the package is removed, but its table stays: {tables}");
    // What the operator changed is kept, and so is what rpm knows nothing of: bans, log, group.
    machine.sh(
        "test -e /etc/stockade/jail.local.rpmsave && rm -r /etc/stockade /var/lib/stockade /var/log/stockade.log",
    )?;
    machine.sh("groupdel stockade")?;
    let after = machine.sh(LISTING)?;
    // Folders that a package of the distribution owns where rpm is at home.
    let shared = ["/usr/share/man/man1", "/usr/share/man/man5", "/usr/share/zsh/site-functions"];
    let rpms_own = |line: &&str| !line.contains("/var/lib/rpm") && !shared.contains(line);
    let left: Vec<&str> =
        after.lines().filter(rpms_own).filter(|line| !before.lines().any(|old| old == *line)).collect();
    ensure!(left.is_empty(), "left behind after the removal: {left:#?}");
    Ok(())
}

/// What systemd says of the two units, with the program in its place.
fn units(stage: &mut Stage<'_>, machine: &Machine) -> Result<()> {
    for unit in ["stockade", "stockade-takeover"] {
        let path = format!("/usr/lib/systemd/system/{unit}.service");
        let verified = machine.run(&["systemd-analyze", "verify", "--man=no", &path])?;
        let said: Vec<String> = verified.all().lines().filter(|l| l.contains("stockade")).map(str::to_owned).collect();
        ensure!(verified.code == 0 && said.is_empty(), "systemd-analyze verify {unit}: {}", verified.all());
        let limit = if unit == "stockade" { EXPOSURE_MAX } else { 100 };
        let threshold = format!("--threshold={limit}");
        let security = machine.run(&["systemd-analyze", "security", "--offline=true", &threshold, &path])?;
        let overall = security.all().lines().find(|line| line.contains("Overall exposure")).unwrap_or("").to_owned();
        ensure!(security.code == 0, "{unit} is open to more than it needs: {overall}");
        let level = overall.split_once(": ").map_or("", |(_, level)| level).split(' ').next().unwrap_or("").to_owned();
        stage.figure(format!("{unit}.service: exposure {level}"));
    }
    Ok(())
}
