//! Bad input: each with its message (what, where, what to do) and its exit code, and nothing that worked stops.

use std::{fmt::Write as _, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use conformance::{Daemon, Dial, Guard, Output, Root, Sshd, eventually};
use rustix::process::Signal;

use crate::{
    runner::{Stage, Story},
    scene::{SILENCE, Scene, Setting},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("bad input: the table, beside a running guard", table),
        Story::new("bad input: at the start", at_the_start),
        Story::new("bad input: state directory full, read-only, missing", state_directory),
        Story::new("bad input: a damaged database at the start", damaged_database),
        Story::new("bad input: no nftables in the kernel", no_nftables),
        Story::new("bad input: a live fail2ban on its socket", live_fail2ban),
        Story::new("bad input: no rights", no_rights),
    ]
}

/// One row: settings to write first (if any), a command, its exit code, and words that its answer has to hold.
struct Row {
    name: &'static str,
    jail_local: Option<&'static str>,
    command: &'static str,
    code: i32,
    says: &'static [&'static str],
}

/// What the running guard was started with.
const GOOD: &str = "[DEFAULT]\nmaxretry = 3\nbantime = 1h\n[sshd]\nenabled = true\n";

const ROWS: &[Row] = &[
    row("no word", "stockade", 2, &["Usage"]),
    row("unknown word", "stockade frobnicate", 2, &["frobnicate"]),
    row("unknown option", "stockade status --frobnicate", 2, &["--frobnicate"]),
    row("unknown option of run", "stockade run --frobnicate", 2, &["--frobnicate"]),
    row("no address", "stockade ban", 2, &["ADDRESS"]),
    row("not an address", "stockade ban 300.1.2.3", 2, &["300.1.2.3"]),
    row("an address of a loopback", "stockade ban 127.0.0.1", 1, &["127.0.0.1"]),
    row("everybody", "stockade ban 0.0.0.0/0", 1, &["0.0.0.0/0"]),
    row("a time that is none", "stockade ban 203.0.113.5 --time soon", 2, &["soon"]),
    row("a jail that is not there", "stockade ban 203.0.113.5 --jail nowhere", 1, &["nowhere"]),
    row("status of a jail that is not there", "stockade status nowhere", 1, &["nowhere"]),
    row("unban of nobody", "stockade unban 203.0.113.5", 1, &["203.0.113.5"]),
    row("why of no address", "stockade why not/an/address", 1, &["not/an/address"]),
    row("scan of a log that is not there", "stockade scan --jail sshd /var/log/none.log", 1, &["/var/log/none.log"]),
    row("scan for a jail that is not there", "stockade scan --jail nowhere /var/log/auth.log", 1, &["nowhere"]),
    row("no daemon of another tree", "stockade status -c /etc/fail2ban", 3, &["fail2ban.sock"]),
    row("a tree that is not there", "stockade status -c /etc/none", 1, &["/etc/none"]),
    row("a second daemon", "timeout 5 stockade run", 1, &["/run/stockade/"]),
    Row {
        name: "a regex that does not compile",
        jail_local: Some("[sshd]\nenabled = true\nfailregex = ^(unclosed <HOST>$\n"),
        command: "stockade reload",
        code: 1,
        says: &["jail.local", "unclosed"],
    },
    Row {
        name: "a regex without an address",
        jail_local: Some("[mine]\nenabled = true\nfilter =\nfailregex = ^nothing here$\nlogpath = /var/log/auth.log\n"),
        command: "stockade reload",
        code: 1,
        says: &["nothing here"],
    },
    Row {
        name: "a bantime that is none",
        jail_local: Some("[DEFAULT]\nbantime = soon\n[sshd]\nenabled = true\n"),
        command: "stockade reload",
        code: 1,
        says: &["bantime", "soon"],
    },
    Row {
        name: "a line that is no option",
        jail_local: Some("[sshd]\nenabled = true\nthis is no option\n"),
        command: "stockade reload",
        code: 1,
        says: &["jail.local", "3"],
    },
    Row {
        name: "a filter that is not there",
        jail_local: Some("[mine]\nenabled = true\nfilter = nowhere\nlogpath = /var/log/auth.log\n"),
        command: "stockade reload",
        code: 1,
        says: &["nowhere"],
    },
    Row {
        name: "an address of ignoreip that is none",
        jail_local: Some("[DEFAULT]\nignoreip = 300.1.2.3/99\n[sshd]\nenabled = true\n"),
        command: "stockade reload",
        code: 0,
        says: &["jail.local:2", "300.1.2.3/99", "left out"],
    },
];

const fn row(name: &'static str, command: &'static str, code: i32, says: &'static [&'static str]) -> Row {
    Row { name, jail_local: None, command, code, says }
}

fn table(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?;
    let Scene { street, guard, machine, .. } = &mut scene;
    guard.configure(GOOD)?;
    guard.start()?;
    let banned: IpAddr = "203.0.113.1".parse()?;
    guard.ban("sshd", &[banned])?;
    let (mut wrong, mut shown) = (String::new(), Vec::new());
    for row in ROWS {
        if let Some(jail_local) = row.jail_local {
            guard.configure(jail_local)?;
        }
        let output = machine.run(&["sh", "-c", row.command])?;
        for complaint in judge(row, &output) {
            writeln!(wrong, "{}: {complaint}\n    `{}` said: {}", row.name, row.command, output.all().trim())?;
        }
        shown.push(format!("{}: {} | {}", row.name, output.code, output.all().lines().next().unwrap_or_default()));
        if row.jail_local.is_some() {
            guard.configure(GOOD)?;
            guard.client(&["reload"])?.good("reload of what was good")?;
        }
        if !guard.answers() || street.dial(banned, 22, SILENCE)? != Dial::Silence {
            writeln!(wrong, "{}: the guard that ran before does not guard any more", row.name)?;
        }
    }
    // It still counts and bans as before.
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..3 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("a ban after all that", || Ok(guard.bans("sshd", attacker) == 1))
        .map_err(|error| error.context(guard.words()))?;
    ensure!(wrong.is_empty(), "{wrong}");
    for line in shown {
        stage.figure(line);
    }
    Ok(())
}

/// What is wrong with an answer.
fn judge(row: &Row, output: &Output) -> Vec<String> {
    let said = output.all();
    let mut wrong = Vec::new();
    if output.code != row.code {
        wrong.push(format!("exit code {} instead of {}", output.code, row.code));
    }
    wrong.extend(row.says.iter().filter(|word| !said.contains(*word)).map(|word| format!("does not name {word}")));
    if said.contains("panicked") || said.contains("RUST_BACKTRACE") {
        wrong.push("panics".to_owned());
    }
    if row.code != 2 && said.lines().count() > 4 {
        wrong.push(format!("takes {} lines to say it", said.lines().count()));
    }
    wrong
}

/// One broken jail or log must not keep the others from starting.
fn at_the_start(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?;
    let Scene { street, guard, machine, .. } = &mut scene;
    guard.configure(
        "[DEFAULT]\nmaxretry = 1\n\
         [broken]\nenabled = true\nfilter = sshd\nfailregex = ^(unclosed <HOST>$\nlogpath = /var/log/auth.log\n\
         [nofilter]\nenabled = true\nfilter = nowhere\nlogpath = /var/log/auth.log\n\
         [nolog]\nenabled = true\nfilter = sshd\nlogpath = /var/log/later.log\n\
         [sshd]\nenabled = true\n",
    )?;
    guard.start()?;
    let words = guard.words();
    for word in ["broken", "nofilter", "nowhere", "/var/log/later.log"] {
        ensure!(words.contains(word), "nothing is said about {word}: {words}");
    }
    let attacker: IpAddr = "203.0.113.10".parse()?;
    street.attempt(attacker, Sshd::USER, "wrong")?;
    eventually("the ban in the good jail", || Ok(guard.bans("sshd", attacker) == 1))
        .map_err(|error| error.context(guard.words()))?;
    // The log that was missing appears, and its jail finds it by itself.
    let late: IpAddr = "203.0.113.12".parse()?;
    let line = machine.read("/var/log/auth.log");
    let line = line.lines().find(|line| line.contains("Failed password")).context("a line of sshd")?;
    machine.append("/var/log/later.log", &format!("{}\n", line.replace("203.0.113.10", "203.0.113.12")))?;
    eventually("the ban from a log that appeared later", || Ok(guard.bans("nolog", late) == 1))
        .map_err(|error| error.context(guard.words()))?;
    Ok(())
}

/// Protection goes on when the disk does not.
fn state_directory(stage: &mut Stage<'_>) -> Result<()> {
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for (what, prepare) in [
        (
            "full",
            "mount -t tmpfs -o size=16k tmpfs /var/lib/stockade; cat /dev/zero > /var/lib/stockade/filler 2>/dev/null; :",
        ),
        ("read-only", "mount -t tmpfs -o ro tmpfs /var/lib/stockade"),
        ("a file", "rmdir /var/lib/stockade; : > /var/lib/stockade"),
    ] {
        let mut scene = Scene::set(stage, Setting::PLAIN)?;
        scene.configure("maxretry = 1\nbantime = 1h", "")?;
        let Scene { street, guard, machine, .. } = &mut scene;
        machine.sh("mkdir -p /var/lib/stockade")?;
        machine.sh(prepare)?;
        guard.start().with_context(|| format!("state directory {what}"))?;
        street.attempt(attacker, Sshd::USER, "wrong")?;
        eventually("a dropped connection", || Ok(street.dial(attacker, 22, SILENCE)? == Dial::Silence))
            .with_context(|| format!("state directory {what}"))
            .map_err(|error| error.context(guard.words()))?;
        let words = format!("{}{}", guard.words(), guard.client(&["status"])?.all());
        ensure!(words.contains("/var/lib/stockade"), "{what}: the state directory is not named: {words}");
    }
    // It fills up while the guard runs: bans go on, and nothing of it is lost when there is room again.
    let mut scene = Scene::set(stage, Setting::PLAIN)?;
    scene.configure("maxretry = 1\nbantime = 1h", "")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    machine.sh("mkdir -p /var/lib/stockade; mount -t tmpfs -o size=4m tmpfs /var/lib/stockade")?;
    guard.start()?;
    machine.sh("cat /dev/zero > /var/lib/stockade/filler 2>/dev/null; :")?;
    street.attempt(attacker, Sshd::USER, "wrong")?;
    eventually("a dropped connection", || Ok(street.dial(attacker, 22, SILENCE)? == Dial::Silence))
        .map_err(|error| error.context(guard.words()))?;
    machine.sh("rm /var/lib/stockade/filler")?;
    eventually("the ban to be saved when there is room again", || {
        guard.stop(Signal::KILL)?;
        guard.start()?;
        let listed = guard.client(&["banned", "--plain"])?.all();
        Ok(listed.contains(&attacker.to_string()))
    })
    .map_err(|error| error.context(guard.words()))?;
    stage.figure("full, read-only, a file in its place, full while running: banned each time");
    Ok(())
}

fn damaged_database(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?;
    scene.configure("maxretry = 1\nbantime = 1h", "")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for (what, line) in [
        ("empty", ": > $db"),
        ("not a database", "echo nonsense > $db"),
        ("cut short", "truncate -s 5000 $db"),
        ("overwritten", "dd if=/dev/urandom of=$db bs=1024 seek=1 count=30 conv=notrunc 2>/dev/null"),
    ] {
        guard.start().context(what)?;
        guard.ban("sshd", &["198.51.100.1".parse()?])?;
        guard.stop(Signal::TERM)?;
        machine.sh(&format!("db=/var/lib/stockade/stockade.sqlite3; {line}"))?;
        guard.start().with_context(|| format!("database {what}"))?;
        street.attempt(attacker, Sshd::USER, "wrong")?;
        eventually("a dropped connection", || Ok(street.dial(attacker, 22, SILENCE)? == Dial::Silence))
            .with_context(|| format!("database {what}"))
            .map_err(|error| error.context(guard.words()))?;
        guard.client(&["lift"])?;
        guard.stop(Signal::TERM)?;
        machine.sh("rm -rf /var/lib/stockade")?;
    }
    Ok(())
}

fn no_nftables(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?;
    scene.configure("maxretry = 1\nbantime = 1h", "")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    machine.write("/root/no_netfilter.py", include_str!("../../no_netfilter.py"))?;
    // Debian's iptables is nftables underneath; where the kernel has none of that, the old one is in use.
    machine.sh("update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null; \
         update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null")?;
    guard.launch_line("exec python3 /root/no_netfilter.py stockade run")?;
    eventually("the guard to answer", || Ok(guard.answers())).map_err(|error| error.context(guard.words()))?;
    let status = guard.client(&["status"])?.all();
    ensure!(status.contains("iptables"), "the status does not say what it falls back to: {status}");
    for attacker in ["203.0.113.10", "2001:db8:1::10"] {
        let attacker: IpAddr = attacker.parse()?;
        street.attempt(attacker, Sshd::USER, "wrong")?;
        eventually("a dropped connection", || Ok(street.dial(attacker, 22, SILENCE)? == Dial::Silence))
            .map_err(|error| error.context(guard.words()))?;
    }
    guard.stop(Signal::TERM)?;
    machine.sh(
        "update-alternatives --auto iptables >/dev/null; rm /usr/sbin/iptables-legacy /usr/sbin/xtables-legacy-multi",
    )?;
    guard.launch_line("exec python3 /root/no_netfilter.py stockade run")?;
    eventually("the guard to answer", || Ok(guard.answers())).map_err(|error| error.context(guard.words()))?;
    let status = guard.client(&["status"])?.all();
    ensure!(status.contains("dry run"), "without any packet filter it does not say that it is a dry run: {status}");
    Ok(())
}

fn live_fail2ban(stage: &mut Stage<'_>) -> Result<()> {
    let setting = Setting { program: conformance::Program::Fail2ban, root: Root::Trixie, ..Setting::PLAIN };
    Scene::needs_stockade(stage, Setting::PLAIN)?;
    let scene = Scene::set(stage, setting)?.guarded("maxretry = 3", "")?;
    let Scene { guard, machine, .. } = &scene;
    let output = machine.run(&["timeout", "5", "stockade", "run", "-c", "/etc/fail2ban"])?;
    let said = output.all();
    ensure!(output.code == 1, "exit code {}: {said}", output.code);
    ensure!(said.contains("fail2ban.sock"), "the socket is not named: {said}");
    ensure!(said.contains("--shadow"), "the way beside it is not named: {said}");
    ensure!(guard.answers(), "the original does not answer any more: {}", guard.words());
    stage.figure(said.lines().next().unwrap_or_default());
    Ok(())
}

/// A user without rights gets a dry run that says what it cannot read and who could.
fn no_rights(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?;
    let Scene { machine, street, .. } = &scene;
    let user = "exec setpriv --reuid=alice --regid=alice --clear-groups env HOME=/home/alice XDG_RUNTIME_DIR=/tmp ";
    let mut daemon = Daemon::start(machine, "dry", &format!("{user} stockade run"))?;
    let said = || machine.read("/var/log/dry.out");
    eventually("words about the dry run", || Ok(said().contains("dry run"))).map_err(|error| error.context(said()))?;
    eventually("the log that cannot be read and the group that could", || {
        Ok(said().contains("/var/log/auth.log") && said().contains("adm"))
    })
    .map_err(|error| error.context(said()))?;
    ensure!(daemon.alive()?, "it ended: {}", said());
    daemon.stop(Signal::TERM)?;
    // With the group it reads, decides and bans nobody.
    let user = user.replace("--clear-groups", "--groups=adm");
    let mut daemon = Daemon::start(machine, "dry2", &format!("{user} stockade run"))?;
    let said = || machine.read("/var/log/dry2.out");
    eventually("words about the dry run", || Ok(said().contains("dry run"))).map_err(|error| error.context(said()))?;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..6 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("the ban that would be", || Ok(said().contains(&format!("Ban {attacker}"))))
        .map_err(|error| error.context(said()))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Answered, "a dry run blocks");
    let code = daemon.stop(Signal::TERM)?;
    stage.figure(format!("exit code {code} after SIGTERM"));
    // Others may not command the guard.
    let guard = Guard::new(machine, conformance::Program::Stockade);
    let mut guard = guard;
    guard.configure(GOOD)?;
    guard.start()?;
    let refused =
        machine.run(&["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "stockade", "unban", "--all"])?;
    ensure!(refused.code != 0, "anyone may unban: {}", refused.all());
    Ok(())
}
