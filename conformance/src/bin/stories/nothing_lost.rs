//! Nothing is lost: rotation, crashes, the operator's own decisions; and old logs tell the same.

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use conformance::{Attempt, Dial, Machine, Sshd, Stream, eventually, within};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    runner::{Stage, Story, scale},
    scene::{SILENCE, Scene, Setting},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("nothing lost: rotation by rename under attack", |stage| rotation(stage, RENAME)),
        Story::new("nothing lost: rotation by copy and truncation under attack", |stage| rotation(stage, TRUNCATE)),
        Story::new("nothing lost: failures while the guard is stopped", stopped),
        Story::new("nothing lost: kill -9 in a storm of bans", storm),
        Story::new("nothing lost: unbanned stays unbanned, allowed stays allowed", operator),
        Story::new("nothing lost: why and scan tell what happened", told),
    ]
}

const RENAME: &str = "mv /var/log/auth.log /var/log/auth.log.1; kill -HUP $(pidof rsyslogd)";
const TRUNCATE: &str = "cp /var/log/auth.log /var/log/auth.log.1; : > /var/log/auth.log";

fn rotation(stage: &mut Stage<'_>, rotate: &str) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 4", "")?;
    let Scene { street, guard, machine, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for number in 1..=4_usize {
        ensure!(guard.bans("sshd", attacker) == 0, "banned before wrong password {number}");
        ensure!(street.attempt(attacker, Sshd::USER, "wrong")? == Attempt::WrongPassword, "attempt {number}");
        eventually(&format!("failure {number}"), || Ok(guard.found("sshd", attacker) >= number))
            .map_err(|error| error.context(guard.words()))?;
        ensure!(guard.found("sshd", attacker) == number, "{number} failures counted otherwise: {}", guard.words());
        machine.sh(rotate)?;
    }
    eventually("the ban", || Ok(guard.bans("sshd", attacker) == 1)).map_err(|error| error.context(guard.words()))?;
    stage.figure("rotated after each of 4 wrong passwords; each counted once");
    Ok(())
}

fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 3", "")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    street.attempt(attacker, Sshd::USER, "wrong")?;
    eventually("the first failure", || Ok(guard.found("sshd", attacker) == 1))?;
    guard.stop(Signal::TERM)?;
    street.attempt(attacker, Sshd::USER, "wrong")?;
    machine.sh(RENAME)?;
    guard.start()?;
    eventually("the second failure", || Ok(guard.found("sshd", attacker) == 2))?;
    ensure!(guard.bans("sshd", attacker) == 0, "banned after two failures");
    // A decision takes the place in the log to the disk with it; the counts before it must be there, too.
    guard.client(&["ban", "203.0.113.99"])?.good("ban of somebody else")?;
    guard.stop(Signal::KILL)?;
    street.attempt(attacker, Sshd::USER, "wrong")?;
    guard.start()?;
    eventually("the ban for failures before, between and after", || Ok(guard.bans("sshd", attacker) == 1))
        .map_err(|error| error.context(guard.words()))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Silence, "banned, but not silent");
    Ok(())
}

/// Lines of sshd for addresses, each of a session of its own.
fn lines(machine: &Machine, addresses: &[IpAddr], session: usize) -> Result<String> {
    let now = machine.sh("date -u +%Y-%m-%dT%H:%M:%S.%6N+00:00")?;
    let mut text = String::new();
    for (session, address) in (session..).zip(addresses) {
        writeln!(
            text,
            "{} machine sshd[{session}]: Failed password for root from {address} port 4000 ssh2",
            now.trim()
        )?;
    }
    Ok(text)
}

/// The addresses that the guard lists as banned.
fn banned(scene: &Scene) -> Result<BTreeSet<IpAddr>> {
    let text = scene.guard.client(&["banned", "--plain"])?.good("banned")?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn storm(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 1\nbantime = 1h", "")?;
    scene.machine.sh("mkdir -p /var/lib/stockade")?;
    let rounds = 15 * scale();
    let all = Stream::probes(rounds * 40);
    let mut pause = Duration::from_millis(1);
    for (round, addresses) in all.chunks(40).enumerate() {
        let text = lines(&scene.machine, addresses, 10_000 + round * 40)?;
        scene.machine.append("/var/log/auth.log", &text)?;
        // Moments from right after the line to well after the ban.
        thread::sleep(pause);
        pause = if pause > Duration::from_millis(60) { Duration::from_millis(1) } else { pause.mul_f32(1.6) };
        scene.guard.stop(Signal::KILL)?;
        let announced: BTreeSet<IpAddr> =
            addresses.iter().copied().filter(|address| scene.guard.bans("sshd", *address) > 0).collect();
        scene.guard.start()?;
        let kept = banned(&scene)?;
        ensure!(announced.is_subset(&kept), "round {round}: announced bans are gone after a crash");
    }
    let everyone: BTreeSet<IpAddr> = all.iter().copied().collect();
    eventually("every attacker to be banned", || Ok(banned(&scene)? == everyone)).with_context(|| {
        let missing = everyone.len().saturating_sub(banned(&scene).map(|kept| kept.len()).unwrap_or_default());
        format!("{missing} of {} are missing: {}", everyone.len(), scene.guard.words())
    })?;
    stage.figure(format!("{rounds} crashes, {} bans, none lost", everyone.len()));
    Ok(())
}

fn operator(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 2", "")?;
    let [unbanned, allowed] = ["203.0.113.10", "203.0.113.11"].map(|text| text.parse::<IpAddr>());
    let (unbanned, allowed) = (unbanned?, allowed?);
    let Scene { street, guard, .. } = &mut scene;
    for _ in 0..2 {
        street.attempt(unbanned, Sshd::USER, "wrong")?;
    }
    eventually("the ban", || Ok(guard.bans("sshd", unbanned) == 1)).map_err(|error| error.context(guard.words()))?;
    guard.client(&["unban", &unbanned.to_string()])?.good("unban")?;
    guard.client(&["allow", &allowed.to_string()])?.good("allow")?;
    for signal in [Signal::KILL, Signal::TERM] {
        guard.stop(signal)?;
        guard.start()?;
        ensure!(street.dial(unbanned, 22, SILENCE)? == Dial::Answered, "the unbanned address is banned again");
        for _ in 0..3 {
            street.attempt(allowed, Sshd::USER, "wrong")?;
        }
        let marker: IpAddr = if signal == Signal::KILL { "203.0.113.21" } else { "203.0.113.22" }.parse()?;
        for _ in 0..2 {
            street.attempt(marker, Sshd::USER, "wrong")?;
        }
        eventually("the ban of someone later in the log", || Ok(guard.bans("sshd", marker) == 1))
            .map_err(|error| error.context(guard.words()))?;
        ensure!(guard.bans("sshd", allowed) == 0, "an allowed address is banned: {}", guard.words());
    }
    guard.client(&["disallow", &allowed.to_string()])?.good("disallow")?;
    for _ in 0..2 {
        street.attempt(allowed, Sshd::USER, "wrong")?;
    }
    eventually("the ban after disallow", || Ok(guard.bans("sshd", allowed) == 1))
        .map_err(|error| error.context(guard.words()))?;
    Ok(())
}

fn told(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 3", "")?;
    let Scene { street, guard, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..3 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("the ban", || Ok(guard.bans("sshd", attacker) == 1)).map_err(|error| error.context(guard.words()))?;
    let text = guard.client(&["why", &attacker.to_string()])?.good("why")?;
    for word in ["Failed password", "/var/log/auth.log", "sshd"] {
        ensure!(text.contains(word), "`why` does not show {word}: {text}");
    }
    let json: Value = serde_json::from_str(&guard.client(&["why", "--json", &attacker.to_string()])?.good("why")?)?;
    ensure!(json.is_object(), "`why --json` is no object: {json}");
    let nobody = guard.client(&["why", "203.0.113.200"])?;
    ensure!(nobody.code == 1 || nobody.all().contains("not banned"), "why of nobody: {}", nobody.all());
    // The same log read afterwards: the same failures and the same ban.
    let output = guard.client(&["scan", "--jail", "sshd", "--json", "/var/log/auth.log"])?;
    let scanned = output.good("scan")?;
    ensure!(scanned.contains(&attacker.to_string()), "scan does not find the attacker: {scanned}");
    within(Duration::from_secs(1), "status", || Ok(guard.client(&["status", "sshd"])?.code == 0))?;
    stage.figure(format!("why: {} lines", text.lines().count()));
    Ok(())
}
