//! `stockade doctor`: prepared faults, each found with its fix; nothing on a healthy machine.

use anyhow::{Context as _, Result, ensure};
use conformance::{Guard, Machine, Sshd};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    runner::{Stage, Story},
    scene::{Scene, Setting},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::new("doctor: prepared faults, and a healthy machine", faults)]
}

/// One fault: what brings it about, what doctor calls it, a word of the fix, and what takes it away.
struct Fault {
    prepare: &'static str,
    id: &'static str,
    fix: &'static str,
    undo: &'static str,
}

const fn fault(prepare: &'static str, id: &'static str, fix: &'static str, undo: &'static str) -> Fault {
    Fault { prepare, id, fix, undo }
}

/// The settings of a healthy machine.
const GOOD: &str = "cat > /etc/stockade/jail.local <<END\n[sshd]\nenabled = true\nlogpath = /var/log/auth.log\nEND\n\
    stockade reload";

/// Each begins and ends on the same healthy machine.
const FAULTS: &[Fault] = &[
    fault("touch -d '+5 seconds' /etc/stockade/jail.local", "not-reloaded", "reload", GOOD),
    fault(
        "printf '[sshd]\\nenabled = true\\nfailregex = ^(x <HOST>$\\n' > /etc/stockade/jail.local",
        "config",
        "correct the line",
        GOOD,
    ),
    fault("printf '[sshd]\\nenabled = true\\nbantime = soon\\n' > /etc/stockade/jail.local", "config", "10m", GOOD),
    fault("printf '[sshd]\\nenabled = false\\n' > /etc/stockade/jail.local", "no-jails", "enabled = true", GOOD),
    fault(
        "printf '[sshd]\\nenabled = true\\nignoreip = 0.0.0.0/0\\n' > /etc/stockade/jail.local",
        "ignore-wide",
        "small networks",
        GOOD,
    ),
    fault(
        "printf '[sshd]\\nenabled = true\\nlogpath = /var/log/none.log\\n' > /etc/stockade/jail.local",
        "log-unreadable",
        "logpath",
        GOOD,
    ),
    fault("chmod o+w /var/log/auth.log", "log-forgeable", "chmod", "chmod o-w /var/log/auth.log"),
    fault("touch -d '2 days ago' /var/log/auth.log", "log-silent", "logpath", "touch /var/log/auth.log"),
    fault("touch -d '+1 day' /var/log/auth.log", "clock", "clock", "touch /var/log/auth.log"),
    fault(
        "for i in $(seq 30); do echo \"no date in line $i\"; done > /var/log/x.log; \
         printf '[sshd]\\nenabled = true\\nlogpath = /var/log/x.log\\n' > /etc/stockade/jail.local",
        "no-dates",
        "datepattern",
        GOOD,
    ),
    fault(
        "date -u -d '2 hours ago' '+%Y-%m-%dT%H:%M:%S+00:00 h sshd[1]: Server listening' > /var/log/x.log; \
         printf '[sshd]\\nenabled = true\\nlogpath = /var/log/x.log\\n' > /etc/stockade/jail.local",
        "zone",
        "logtimezone",
        GOOD,
    ),
    fault(
        "for i in $(seq 50 -1 0); do date -u -d \"$i hours ago\" '+%Y-%m-%dT%H:%M:%S+00:00 h cron[1]: nothing'; done \
         > /var/log/x.log; printf '[sshd]\\nenabled = true\\nlogpath = /var/log/x.log\\n' > /etc/stockade/jail.local",
        "filter-idle",
        "regex",
        GOOD,
    ),
    fault(
        "for i in $(seq 12); do date -u \"+%Y-%m-%dT%H:%M:%S+00:00 h sshd[$i]: Failed password for root from 10.0.0.5 \
         port 4000 ssh2\"; done > /var/log/x.log; \
         printf '[sshd]\\nenabled = true\\nlogpath = /var/log/x.log\\n' > /etc/stockade/jail.local",
        "one-source",
        "ignoreip",
        GOOD,
    ),
    fault(
        "for i in $(seq 9); do date -u \"+%Y-%m-%dT%H:%M:%S+00:00 h sshd[$i]: Accepted password for carol from 10.0.0.5 \
         port 4000 ssh2\"; done > /var/log/x.log; date -u '+%Y-%m-%dT%H:%M:%S+00:00 h sshd[99]: Failed password for \
         root from 10.0.0.5 port 4000 ssh2' >> /var/log/x.log; \
         printf '[sshd]\\nenabled = true\\nlogpath = /var/log/x.log\\n' > /etc/stockade/jail.local",
        "one-source",
        "mod_remoteip",
        GOOD,
    ),
    fault(
        "cp /bin/sleep /tmp/fail2ban-server; /tmp/fail2ban-server 60 >/dev/null 2>&1 & \
         for i in $(seq 100); do pidof fail2ban-server && break; done",
        "two-guards",
        "stop one",
        "kill $(pidof fail2ban-server)",
    ),
    fault(
        "cp $(readlink -f /usr/bin/python3) /tmp/nginx; \
         /tmp/nginx -c 'import socket; s = socket.create_server((\"\", 8080)); open(\"/tmp/ready\", \"w\"); s.accept()' \
         >/dev/null 2>&1 & while [ ! -e /tmp/ready ]; do :; done",
        "unguarded",
        "nginx",
        "kill $(pidof nginx)",
    ),
    fault(
        "mkdir -p /etc/ssh/sshd_config.d; echo 'LogLevel QUIET' > /etc/ssh/sshd_config.d/q.conf",
        "sshd-quiet",
        "INFO",
        "rm /etc/ssh/sshd_config.d/q.conf",
    ),
    fault(
        "mkdir -p /etc/rsyslog.d; echo '$RepeatedMsgReduction on' > /etc/rsyslog.d/r.conf",
        "repeats-hidden",
        "off",
        "rm /etc/rsyslog.d/r.conf",
    ),
    fault(
        "printf '[DEFAULT]\\nallowipv6 = no\\n' > /etc/stockade/fail2ban.local; \
         /usr/bin/python3 -c 'import socket; s = socket.create_server((\"::\", 8081), family=socket.AF_INET6); \
         open(\"/tmp/six\", \"w\"); s.accept()' >/dev/null 2>&1 & echo $! > /tmp/six.pid; \
         while [ ! -e /tmp/six ]; do :; done",
        "ipv6-open",
        "allowipv6",
        "kill $(cat /tmp/six.pid); rm /etc/stockade/fail2ban.local; stockade reload",
    ),
    fault(
        "mkdir -p /etc/stockade/action.d; printf '[Definition]\\nactionban = nosuchtool <ip>\\n' \
         > /etc/stockade/action.d/x.conf; \
         printf '[sshd]\\nenabled = true\\naction = x\\n' > /etc/stockade/jail.local",
        "tool-missing",
        "nosuchtool",
        "rm /etc/stockade/action.d/x.conf; cat > /etc/stockade/jail.local <<END\n[sshd]\nenabled = true\n\
         logpath = /var/log/auth.log\nEND\nstockade reload",
    ),
    fault("mount -t tmpfs -o size=8m none /var/lib/stockade", "disk-low", "room", "umount /var/lib/stockade"),
    fault(
        "touch /var/lib/stockade/stockade.sqlite3.20260101-000000",
        "database",
        "disk",
        "rm /var/lib/stockade/stockade.sqlite3.20260101-000000",
    ),
];

/// What doctor finds: ids with their fixes.
fn found(machine: &Machine) -> Result<Vec<(String, String)>> {
    let output = machine.run(&["stockade", "doctor", "--json"])?;
    let json: Value = serde_json::from_str(&output.out).with_context(|| format!("doctor said: {}", output.all()))?;
    let rows = json.get("findings").and_then(Value::as_array).context("doctor gives no findings")?;
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list: Vec<_> = rows.iter().map(|row| (text(row, "id"), text(row, "fix"))).collect();
    ensure!(output.code == i32::from(!list.is_empty()), "exit code {} with {} findings", output.code, list.len());
    Ok(list)
}

fn is_healthy(machine: &Machine, when: &str) -> Result<()> {
    let list = found(machine)?;
    ensure!(list.is_empty(), "{when}, doctor finds {list:?}");
    Ok(())
}

fn is_found(machine: &Machine, id: &str, fix: &str) -> Result<()> {
    let list = found(machine)?;
    ensure!(list.iter().any(|(there, how)| there == id && how.contains(fix)), "{id} with '{fix}' is not in {list:?}");
    Ok(())
}

fn faults(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?.guarded("", "logpath = /var/log/auth.log")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    street.attempt("203.0.113.10".parse()?, Sshd::USER, "wrong")?;
    is_healthy(machine, "on a healthy machine")?;
    for fault in FAULTS {
        machine.sh(fault.prepare).with_context(|| format!("prepare {}", fault.id))?;
        is_found(machine, fault.id, fault.fix)?;
        machine.sh(fault.undo).with_context(|| format!("undo {}", fault.id))?;
        is_healthy(machine, &format!("after {} was mended", fault.id))?;
    }
    let more = dead_or_dry(guard, machine)?;
    is_healthy(machine, "at the end")?;
    stage.figure(format!("{} prepared faults found, each gone when mended", FAULTS.len() + more));
    Ok(())
}

/// Faults of the daemon itself; the number of them.
fn dead_or_dry(guard: &mut Guard, machine: &Machine) -> Result<usize> {
    guard.stop(Signal::TERM)?;
    is_found(machine, "not-running", "start")?;
    guard.launch_line("exec stockade run --dry-run")?;
    conformance::eventually("the dry run to answer", || Ok(guard.answers()))?;
    is_found(machine, "not-enforced", "root")?;
    guard.stop(Signal::TERM)?;
    machine.sh("mv /var/lib/stockade/stockade.sqlite3 /tmp/kept; echo rubbish > /var/lib/stockade/stockade.sqlite3")?;
    is_found(machine, "database", "rebuilds")?;
    machine.sh("mv /tmp/kept /var/lib/stockade/stockade.sqlite3")?;
    guard.start()?;
    Ok(3)
}
