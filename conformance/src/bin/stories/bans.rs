//! What a ban is: it ends on time, by hand, per jail and per port, and it ends what was established before.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Attempt, Daemon, Dial, Root, Sshd, Street, eventually, within};
use serde_json::Value;

use crate::{
    runner::{Stage, Story},
    scene::{SILENCE, Scene, Setting},
};

/// A second jail over the same log for another port.
const SECOND_JAIL: &str =
    "[again]\nenabled = true\nfilter = sshd\nport = 2222\nlogpath = /var/log/auth.log\nmaxretry = 1\n";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("bans: expiry on time", expiry),
        Story::new("bans: unban by hand", unban),
        Story::new("bans: two jails, two ports", two_ports),
        Story::new("bans: two jails, one port", one_port),
        Story::new("bans: a network", network),
        Story::new("bans: a published container port", container),
        Story::new("bans: an established connection ends", established),
        Story::new("bans: longer each time (bantime.increment)", increment),
        Story::new("bans: penalties of sshd itself are failures", penalties),
    ]
}

/// Whether a dropped packet is what a connection from `from` meets.
fn silent(street: &Street, from: IpAddr, port: u16) -> Result<bool> {
    Ok(street.dial(from, port, SILENCE)? == Dial::Silence)
}

fn expiry(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 1\nbantime = 10s", "")?;
    let Scene { street, guard, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    let by_hand: [IpAddr; 2] = ["203.0.113.11".parse()?, "2001:db8:1::11".parse()?];
    street.attempt(attacker, Sshd::USER, "wrong")?;
    guard.ban("sshd", &by_hand)?;
    eventually("the ban", || Ok(guard.bans("sshd", attacker) > 0)).map_err(|error| error.context(guard.words()))?;
    let listed: Value = serde_json::from_str(&guard.client(&["banned", "--json"])?.good("banned")?)?;
    let rows = listed.get("bans").and_then(Value::as_array).context("bans")?;
    let mut waiting = Vec::new();
    for address in [attacker].into_iter().chain(by_hand) {
        let row = rows.iter().find(|row| row.get("id").and_then(Value::as_str) == Some(&address.to_string()));
        let row = row.with_context(|| format!("{address} in {listed}"))?;
        let end = row.get("end").and_then(Value::as_f64).with_context(|| format!("the end of {row}"))?;
        ensure!(silent(street, address, 22)?, "{address} is not banned");
        waiting.push((address, end));
    }
    let mut worst: f64 = 0.0;
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for (address, end) in waiting {
            let asked = now()?;
            if street.dial(address, 22, Duration::from_millis(60))? == Dial::Answered {
                let late = asked - end;
                worst = if late.abs() > worst.abs() { late } else { worst };
                // The listed end is the whole second before the end, and a try takes a moment.
                ensure!(
                    (-0.1..=1.25).contains(&late),
                    "the ban of {address} ended {late:+.2} s from its time: {}",
                    guard.words()
                );
            } else {
                ensure!(asked < end + 2.0, "the ban of {address} does not end: {}", guard.words());
                still.push((address, end));
            }
        }
        waiting = still;
    }
    for address in [attacker].into_iter().chain(by_hand) {
        eventually("the unban to be announced", || Ok(guard.said("sshd", "Unban", address) == 1))?;
    }
    ensure!(street.attempt(attacker, Sshd::USER, Sshd::PASSWORD)? == Attempt::In, "afterwards the login fails");
    stage.figure(format!("three bans ended at most {worst:+.2} s from their time (ends are whole seconds)"));
    Ok(())
}

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn unban(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 2", "")?;
    let Scene { street, guard, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    for _ in 0..2 {
        street.attempt(attacker, Sshd::USER, "wrong")?;
    }
    eventually("the ban", || Ok(guard.bans("sshd", attacker) > 0)).map_err(|error| error.context(guard.words()))?;
    ensure!(silent(street, attacker, 22)?, "banned, but answered");
    guard.unban("sshd", attacker)?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Answered, "unbanned, but not answered");
    ensure!(guard.said("sshd", "Unban", attacker) == 1, "the unban is not in the log: {}", guard.words());
    // One more wrong password is one failure, not a ban at once: the count began anew.
    street.attempt(attacker, Sshd::USER, "wrong")?;
    eventually("the new failure", || Ok(guard.found("sshd", attacker) == 3))?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Answered, "banned again by old failures");
    ensure!(guard.client(&["unban", &attacker.to_string()])?.code == 1, "an unban of nobody is not refused");
    Ok(())
}

fn two_ports(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?
        .guarded("maxretry = 1", &format!("port = ssh\nprotocol = tcp\n{SECOND_JAIL}"))?;
    let Scene { street, guard, machine, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    ensure!(street.dial(attacker, 2222, SILENCE)? == Dial::Rejected, "port 2222 is not merely closed");
    street.attempt(attacker, Sshd::USER, "wrong")?;
    eventually("both bans", || Ok(guard.bans("sshd", attacker) == 1 && guard.bans("again", attacker) == 1))
        .map_err(|error| error.context(guard.words()))?;
    ensure!(silent(street, attacker, 22)? && silent(street, attacker, 2222)?, "a banned port answers");
    let other = street.dial(attacker, 80, SILENCE)?;
    ensure!(other == Dial::Rejected, "a port of no jail met {other:?}: {}", machine.sh("nft list ruleset")?);
    guard.unban("sshd", attacker)?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Answered, "port 22 stays blocked");
    ensure!(silent(street, attacker, 2222)?, "unbanned in one jail, free in the other");
    guard.unban("again", attacker)?;
    ensure!(street.dial(attacker, 2222, SILENCE)? == Dial::Rejected, "port 2222 stays blocked");
    Ok(())
}

fn one_port(stage: &mut Stage<'_>) -> Result<()> {
    let jail = SECOND_JAIL.replace("2222", "ssh");
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 1", &jail)?;
    let Scene { street, guard, .. } = &scene;
    let attacker: IpAddr = "2001:db8:1::10".parse()?;
    let attempt = street.attempt(attacker, Sshd::USER, "wrong")?;
    ensure!(matches!(attempt, Attempt::WrongPassword | Attempt::Closed), "the attempt ended with {attempt:?}");
    eventually("both bans", || Ok(guard.bans("sshd", attacker) == 1 && guard.bans("again", attacker) == 1))
        .map_err(|error| error.context(guard.words()))?;
    guard.unban("sshd", attacker)?;
    ensure!(silent(street, attacker, 22)?, "one of two bans lifted, and the port is open");
    guard.unban("again", attacker)?;
    ensure!(street.dial(attacker, 22, SILENCE)? == Dial::Answered, "both bans lifted, and the port is closed");
    Ok(())
}

fn network(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("bantime = 1h", "")?;
    let Scene { street, guard, .. } = &scene;
    for (network, inside, outside) in
        [("203.0.113.128/25", "203.0.113.200", "203.0.113.7"), ("2001:db8:5::/48", "2001:db8:5:1::1", "2001:db8:6::1")]
    {
        let (inside, outside): (IpAddr, IpAddr) = (inside.parse()?, outside.parse()?);
        guard.client(&["ban", "--jail", "sshd", network])?.good("ban a network")?;
        ensure!(silent(street, inside, 22)?, "{inside} of {network} is answered");
        ensure!(street.dial(outside, 22, SILENCE)? == Dial::Answered, "{outside}, not of {network}, is blocked");
        guard.client(&["unban", network])?.good("unban a network")?;
        ensure!(street.dial(inside, 22, SILENCE)? == Dial::Answered, "{inside} stays blocked");
    }
    Ok(())
}

/// A container behind the machine, published as port 8080: banned by the port that is dialled or by its own.
fn container(stage: &mut Stage<'_>) -> Result<()> {
    let jails = SECOND_JAIL.replace("2222", "8080") + &SECOND_JAIL.replace("2222", "80").replace("again", "inside");
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 1", &jails)?;
    let Scene { street, guard, machine, .. } = &scene;
    machine.sh("ip netns add web && ip link add w0 type veth peer name c0 netns web && \
         ip addr add 172.18.0.1/24 dev w0 && ip link set w0 up && \
         ip -n web addr add 172.18.0.2/24 dev c0 && ip -n web link set c0 up && ip -n web link set lo up && \
         ip -n web route add default via 172.18.0.1 && echo 1 > /proc/sys/net/ipv4/ip_forward && \
         nft 'table ip published { chain in { type nat hook prerouting priority dstnat; \
         iifname eth0 tcp dport 8080 dnat to 172.18.0.2:80; }; }'")?;
    let _web = Daemon::start(machine, "web", "exec ip netns exec web python3 -m http.server 80")?;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    eventually("the published port to answer", || Ok(street.dial(attacker, 8080, SILENCE)? == Dial::Answered))?;
    for jail in ["again", "inside"] {
        guard.ban(jail, &[attacker])?;
        ensure!(silent(street, attacker, 8080)?, "banned in {jail}, but the container answers");
        ensure!(street.dial("203.0.113.11".parse()?, 8080, SILENCE)? == Dial::Answered, "someone else is blocked");
        guard.unban(jail, attacker)?;
        ensure!(street.dial(attacker, 8080, SILENCE)? == Dial::Answered, "unbanned in {jail}, but still blocked");
    }
    Ok(())
}

fn established(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("bantime = 1h", "")?;
    let Scene { street, guard, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    let mut talker = street.talk(attacker, 22)?;
    let flows = || -> Result<u64> {
        let before = street.counts()?;
        let start = std::time::Instant::now();
        within(Duration::from_secs(2), "half a second", || Ok(start.elapsed() > Duration::from_millis(500)))?;
        Ok(street.counts()?.since(before).delivered)
    };
    let open = flows()?;
    ensure!(open >= 5, "an open connection delivers only {open} segments in half a second");
    guard.ban("sshd", &[attacker])?;
    eventually("the connection to fall silent", || Ok(flows()? == 0)).map_err(|error| error.context(guard.words()))?;
    ensure!(talker.alive()?, "the connection was closed instead of silenced");
    stage.figure(format!("{open} segments in 0.5 s before the ban, 0 after it"));
    Ok(())
}

fn increment(stage: &mut Stage<'_>) -> Result<()> {
    let scene =
        Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 1\nbantime = 2\nbantime.increment = true", "")?;
    let Scene { street, guard, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    let mut times = Vec::new();
    for round in 1..=3_usize {
        street.attempt(attacker, Sshd::USER, "wrong")?;
        eventually("the ban", || Ok(guard.bans("sshd", attacker) == round))
            .map_err(|error| error.context(guard.words()))?;
        let listed: Value = serde_json::from_str(&guard.client(&["banned", "--json"])?.good("banned")?)?;
        let row = listed.get("bans").and_then(|rows| rows.get(0)).with_context(|| format!("a ban in {listed}"))?;
        let field = |name: &str| row.get(name).and_then(Value::as_i64).with_context(|| format!("{name} of {row}"));
        times.push(field("end")? - field("time")?);
        eventually("the ban to end", || Ok(street.dial(attacker, 22, Duration::from_millis(100))? == Dial::Answered))
            .map_err(|error| error.context(guard.words()))?;
    }
    stage.figure(format!("bans of {times:?} s"));
    ensure!(times == [2, 4, 8], "the original bans for 2, 4 and 8 s, not {times:?}");
    Ok(())
}

/// OpenSSH 10 itself turns away who failed: those connections count, so the address is banned all the same.
fn penalties(stage: &mut Stage<'_>) -> Result<()> {
    let sshd = conformance::SshdOptions { pam: false, penalties: true };
    let setting = Setting { root: Root::Trixie, sshd, ..Setting::PLAIN };
    let scene = Scene::set(stage, setting)?.guarded("maxretry = 7", "")?;
    let Scene { street, guard, machine, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    let (mut wrong, mut turned_away) = (0, 0);
    while guard.bans("sshd", attacker) == 0 {
        match street.attempt(attacker, Sshd::USER, "wrong")? {
            Attempt::WrongPassword => wrong += 1,
            Attempt::Closed => turned_away += 1,
            Attempt::TimedOut => break,
            Attempt::In => anyhow::bail!("a wrong password is right"),
        }
        ensure!(
            wrong + turned_away < 12,
            "not banned after {wrong} wrong passwords and {turned_away} rejections: {}",
            machine.read("/var/log/auth.log")
        );
        let tried = wrong + turned_away;
        eventually("the failure", || Ok(guard.found("sshd", attacker) >= tried))
            .map_err(|error| error.context(machine.read("/var/log/auth.log")).context(guard.words()))?;
    }
    eventually("the ban", || Ok(guard.bans("sshd", attacker) == 1)).map_err(|error| error.context(guard.words()))?;
    ensure!(turned_away > 0, "sshd turned nobody away: the story tells nothing");
    ensure!(wrong + turned_away == 7, "banned after {wrong} wrong passwords and {turned_away} rejections, not 7");
    stage.figure(format!("banned after {wrong} wrong passwords and {turned_away} rejections by sshd"));
    Ok(())
}
