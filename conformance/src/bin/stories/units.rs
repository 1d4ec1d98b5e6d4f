//! A takeover on a machine that systemd runs: said before, told to programs, refused with a reason, cut off half-way.
//! Each time either guard stands.
//!
//! systemd itself can't run in a machine of ours: `systemctl` is imitated, and what it was told is noted.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use conformance::{Dial, Logging, Machine, Output, Root, Sshd, SshdOptions, Street, eventually};
use serde_json::Value;

use crate::{
    runner::{Stage, Story},
    scene::SILENCE,
};

/// What `systemctl` does here. A file in /root/units is a unit that is known; what it is told in the words of
/// /root/systemctl.fails it refuses.
const SYSTEMCTL: &str = "#!/bin/sh
echo \"$*\" >> /root/calls
if [ \"$1\" = cat ]; then test -e \"/root/units/$2\"; exit; fi
[ \"$*\" = \"$(cat /root/systemctl.fails 2>/dev/null)\" ] && { echo refused >&2; exit 1; }
case \"$1 $3\" in
'disable fail2ban.service') fail2ban-client ping >/dev/null 2>&1 && fail2ban-client stop ;;
'enable fail2ban.service') fail2ban-client ping >/dev/null 2>&1 || fail2ban-client start ;;
'disable stockade-takeover.service') stockade stop -c /etc/fail2ban ;;
'enable stockade-takeover.service')
    setsid stockade run -c /etc/fail2ban > /root/ours.log 2>&1 < /dev/null &
    for i in $(seq 300); do stockade status -c /etc/fail2ban && exit 0; sleep 0.1; done
    exit 1 ;;
*) echo \"unknown: $*\" >&2; exit 1 ;;
esac >/dev/null 2>&1
exit 0
";

/// Puts it where systemd's would lie, and says that systemd runs; these units are known.
pub(crate) fn imitate_systemd(machine: &Machine, known: &[&str]) -> Result<()> {
    machine.sh("mkdir -p /run/systemd/system /root/units; rm -f /usr/bin/systemctl")?;
    machine.write("/usr/bin/systemctl", SYSTEMCTL)?;
    machine.sh("chmod +x /usr/bin/systemctl")?;
    known.iter().try_for_each(|unit| machine.write(&format!("/root/units/{unit}"), ""))
}

const BANNED: &str = "203.0.113.66";

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::new("takeover: by systemd's units: said before, told to programs, refused, cut off half-way", units)]
}

/// A machine on which fail2ban has banned somebody.
struct House {
    machine: std::sync::Arc<Machine>,
    street: Street,
}

impl House {
    fn takeover(&self, words: &str) -> Result<Output> {
        self.machine.sh(": > /root/calls")?;
        self.machine.run(&["sh", "-c", &format!("stockade takeover {words}")])
    }

    /// What `systemctl` was told since, one call a line.
    fn calls(&self) -> Vec<String> {
        self.machine.read("/root/calls").lines().map(str::to_owned).collect()
    }

    fn is_refused(&self, words: &str, why: &str) -> Result<()> {
        let output = self.takeover(words)?;
        ensure!(output.code == 1 && output.all().contains(why), "{words}: {}: {}", output.code, output.all());
        Ok(())
    }

    /// Who guards, whose are the names, and is the banned address out?
    fn stands(&self, who: &str) -> Result<()> {
        let running = self.machine.run(&["sh", "-c", "readlink /proc/$(cat /run/fail2ban/fail2ban.pid)/exe"])?.out;
        ensure!(running.contains(who), "{running} guards instead of {who}");
        let names = self.machine.run(&["readlink", "/usr/bin/fail2ban-client"])?.out;
        ensure!(names.contains("stockade") == (who == "stockade"), "fail2ban-client leads to '{names}' with {who}");
        let kept = self.machine.run(&["test", "-e", "/usr/bin/fail2ban-client.original"])?.code == 0;
        ensure!(kept == (who == "stockade"), "the original's program is in the wrong place with {who}");
        let list = self.machine.sh("fail2ban-client get sshd banip")?;
        ensure!(list.contains(BANNED), "{who} has lost the ban: {list}");
        ensure!(self.street.dial(BANNED.parse()?, 22, SILENCE)? == Dial::Silence, "the ban is not in force with {who}");
        let bridge = self.machine.sh("nft list tables")?;
        ensure!(!bridge.contains("bridge"), "the table of the way over is still there: {bridge}");
        Ok(())
    }
}

fn units(stage: &mut Stage<'_>) -> Result<()> {
    let machine = Machine::start(Root::Trixie, stage.programs)?;
    let street = Street::build(&machine)?;
    let _log = Logging::File.start(&machine)?;
    let _sshd = Sshd::start(&machine, SshdOptions { pam: false, penalties: false })?;
    machine.write(
        "/etc/fail2ban/jail.local",
        "[DEFAULT]\nbanaction = nftables\nbantime = 2h\n[sshd]\nenabled = true\nbackend = polling\nlogpath = /var/log/auth.log\n",
    )?;
    machine.write("/etc/fail2ban/action.d/nftables.local", "[Init]\nblocktype = drop\n")?;
    imitate_systemd(&machine, &["fail2ban.service"])?;
    machine.sh("mkdir -p /run/fail2ban; fail2ban-client start >/dev/null 2>&1")?;
    machine.sh(&format!("fail2ban-client set sshd banip {BANNED}"))?;
    let house = House { machine, street };
    let banned: IpAddr = BANNED.parse()?;
    eventually("the original's ban", || Ok(house.street.dial(banned, 22, SILENCE)? == Dial::Silence))
        .with_context(|| house.machine.sh("tail -20 /var/log/fail2ban.log; nft list ruleset").unwrap_or_default())?;
    house.stands("python")?;

    // No unit of ours: nothing is touched.
    house.is_refused("", "systemd knows no stockade-takeover.service, and nothing is changed")?;
    ensure!(house.calls() == ["cat stockade-takeover.service"], "{:?}", house.calls());
    house.stands("python")?;
    house.machine.sh("touch /root/units/stockade-takeover.service")?;

    // Said, not done.
    let plan = house.takeover("--dry-run --json")?.good("the plan")?;
    let plan: Value = serde_json::from_str(&plan).context("the plan is no JSON")?;
    let steps: Vec<&str> =
        plan.get("plan").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for step in ["disable --now fail2ban", "/usr/bin/fail2ban-client becomes a link", "enable --now stockade-takeover"]
    {
        ensure!(steps.iter().any(|said| said.contains(step)), "'{step}' is not in the plan {steps:?}");
    }
    ensure!(house.calls().iter().all(|call| call.starts_with("cat ")), "a dry run did {:?}", house.calls());
    house.stands("python")?;

    // A tree that can't be used is refused while the old guard stands.
    house.machine.write("/etc/fail2ban/jail.d/broken.local", "[sshd]\nfailregex = ^(x <HOST>$\n")?;
    house.is_refused("", "nothing is changed")?;
    house.stands("python")?;
    house.machine.sh("rm /etc/fail2ban/jail.d/broken.local")?;

    // It comes.
    let done = house.takeover("--json")?.good("takeover")?;
    let done: Value = serde_json::from_str(&done).context("the answer is no JSON")?;
    let number = |key: &str| done.get(key).and_then(Value::as_u64);
    ensure!(number("bans") == Some(1) && done.get("way") == Some(&Value::from("over")), "takeover --json: {done}");
    house.stands("stockade")?;
    house.is_refused("", "stockade runs in the place of fail2ban already")?;

    // And back.
    let back = house.takeover("--back --json")?.good("the way back")?;
    ensure!(back.contains("\"way\":\"back\""), "takeover --back --json: {back}");
    house.stands("python")?;
    house.is_refused("--back", "fail2ban runs already")?;
    // The table may be that of a way back which still waits for fail2ban's bans.
    house.machine.sh("nft add table inet stockade-bridge")?;
    house.is_refused("--back", "still holds who was banned")?;
    house.machine.sh("nft delete table inet stockade-bridge")?;

    // Nobody runs: it is started all the same, and has the ban from the database.
    house.machine.sh("fail2ban-client stop >/dev/null")?;
    eventually("the original to end", || Ok(house.machine.run(&["fail2ban-client", "ping"])?.code != 0))?;
    let said = house.takeover("--dry-run")?.good("the plan")?;
    ensure!(said.contains("fail2ban does not run: nothing to stop"), "the plan: {said}");
    house.takeover("")?.good("takeover with nobody there")?;
    // The machine would start both of them next time.
    let off = "disable --now fail2ban.service";
    ensure!(house.calls().iter().any(|call| call == off), "it stays enabled: {:?}", house.calls());
    house.stands("stockade")?;

    // A takeover that is killed half-way: the next one ends it, and meanwhile the ban holds.
    house.takeover("--back")?.good("the way back")?;
    for delay in ["0.05", "0.3", "0.8"] {
        house.machine.run(&["timeout", "-s", "KILL", delay, "stockade", "takeover"])?;
        ensure!(house.street.dial(banned, 22, SILENCE)? == Dial::Silence, "killed after {delay} s, the ban is gone");
        let again = house.takeover("")?;
        ensure!(
            again.code == 0 || again.all().contains("already"),
            "the takeover after one that was killed after {delay} s: {}",
            again.all()
        );
        house.stands("stockade")?;
        house.takeover("--back")?.good("the way back")?;
    }
    stage.figure("killed at three moments, the ban held each time and the next takeover ended it");
    Ok(())
}
