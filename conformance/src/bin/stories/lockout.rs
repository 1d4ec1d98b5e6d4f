//! Nobody is locked out by mistake: those who are logged in, the machine's own addresses, its gateway and resolver.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use conformance::{Attempt, Dial, Guard, Logging, Root, Sshd, SshdOptions, eventually};
use serde_json::Value;

use crate::{
    runner::{Stage, Story},
    scene::{SILENCE, Scene, Setting},
};

pub(crate) fn stories() -> Vec<Story> {
    let pam = SshdOptions { pam: true, penalties: false };
    let debian_13 = Setting { root: Root::Trixie, logging: Logging::Journal, ..Setting::PLAIN };
    vec![
        Story::new("lockout: wrong passwords from an address that is logged in: debian 12, rsyslog", |stage| {
            logged_in(stage, Setting::PLAIN)
        }),
        Story::new("lockout: wrong passwords from an address that is logged in: debian 13, journal", move |stage| {
            logged_in(stage, debian_13)
        }),
        Story::new("lockout: wrong passwords from an address that is logged in: debian 12, pam", move |stage| {
            logged_in(stage, Setting { sshd: pam, ..Setting::PLAIN })
        }),
        Story::new("lockout: own addresses, gateway, resolver", own_addresses),
        Story::new("lockout: a forged line in the journal does not count", forged),
        Story::new("lockout: an attacker's user name does not choose the victim", victim),
    ]
}

/// Whether `status` says that this address's ban is withheld.
fn withheld(guard: &Guard, address: IpAddr) -> Result<bool> {
    let status: Value = serde_json::from_str(&guard.client(&["status", "--json"])?.good("status")?)?;
    let rows = status.get("withheld").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(rows.iter().any(|row| row.get("id").and_then(Value::as_str) == Some(&address.to_string())))
}

fn logged_in(stage: &mut Stage<'_>, setting: Setting) -> Result<()> {
    let scene = Scene::set(stage, setting)?.guarded("maxretry = 3", "")?;
    let Scene { street, guard, .. } = &scene;
    for address in ["203.0.113.20", "2001:db8:2::20"] {
        let address: IpAddr = address.parse()?;
        let mut session = street.stay(address, Sshd::USER, Sshd::PASSWORD)?;
        for number in 1..=5 {
            let attempt = street.attempt(address, "root", "wrong")?;
            ensure!(
                attempt == Attempt::WrongPassword,
                "wrong password {number} of {address} ended with {attempt:?}, its session {}: {}",
                if session.alive()? { "lives" } else { "is dead" },
                guard.words()
            );
        }
        eventually("the ban to be withheld", || withheld(guard, address))
            .map_err(|error| error.context(guard.words()))?;
        ensure!(guard.bans("sshd", address) == 0, "{address} is logged in and was banned: {}", guard.words());
        ensure!(session.alive()?, "the session of {address} ended");
        ensure!(street.dial(address, 22, SILENCE)? == Dial::Answered, "{address} is not answered");
        let why = guard.client(&["why", &address.to_string()])?.all();
        ensure!(why.contains("login of alice"), "`why` does not say why not: {why}");
        drop(session);
    }
    // Without a session the same address is an attacker like any other.
    let address: IpAddr = "203.0.113.20".parse()?;
    eventually("the ban after the session has ended", || {
        street.attempt(address, "root", "wrong")?;
        Ok(guard.bans("sshd", address) > 0)
    })
    .map_err(|error| error.context(guard.words()))?;
    Ok(())
}

fn own_addresses(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?;
    // The resolver does not answer; nothing may wait for it.
    scene.machine.write("/etc/resolv.conf", "nameserver 203.0.113.53\n")?;
    let scene = scene.guarded("maxretry = 1\nignoreself = false\nignoreip =", "")?;
    let Scene { guard, machine, .. } = &scene;
    let protected = ["127.0.0.1", "::1", "10.66.0.2", "fd66::2", "10.66.0.1", "fd66::1", "203.0.113.53"];
    let attacker = "203.0.113.99";
    for address in protected.iter().chain([&attacker]) {
        let line = format!("Failed password for root from {address} port 4000 ssh2");
        machine.run(&["logger", "-p", "auth.info", "-t", "sshd", "--id", &line])?.good("logger")?;
    }
    // Lines keep their order: when the last is answered by a ban, all before it have been judged.
    let attacker = attacker.parse()?;
    eventually("the ban of the last line", || Ok(guard.bans("sshd", attacker) > 0))
        .map_err(|error| error.context(guard.words()))?;
    for address in protected {
        let banned = guard.bans("sshd", address.parse()?);
        ensure!(banned == 0, "{address} was banned: {}", guard.words());
    }
    let rules = machine.sh("nft list ruleset")?;
    for address in protected {
        ensure!(!rules.contains(&format!(" {address} ")), "{address} is in the kernel: {rules}");
    }
    // Who forgets such a ban is told that it is forgotten, and nobody speaks of it any more.
    let gateway = "10.66.0.1";
    ensure!(withheld(guard, gateway.parse()?)?, "the gateway's ban is not shown as withheld");
    let unban = guard.client(&["unban", gateway])?.good("unban of a withheld ban")?;
    ensure!(unban.contains("is forgotten"), "{unban}");
    ensure!(!withheld(guard, gateway.parse()?)?, "the gateway's ban is still withheld");
    stage.figure(format!("{} protected addresses, none banned", protected.len()));
    Ok(())
}

/// A local user can write to the journal, but not as sshd's unit or program.
fn forged(stage: &mut Stage<'_>) -> Result<()> {
    let setting = Setting { root: Root::Trixie, logging: Logging::Journal, ..Setting::PLAIN };
    let scene = Scene::set(stage, setting)?.guarded("maxretry = 1", "")?;
    let Scene { guard, machine, street, .. } = &scene;
    let victim: IpAddr = "203.0.113.66".parse()?;
    let line = format!("Failed password for root from {victim} port 4000 ssh2");
    let logger = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "logger", "-t", "sshd", &line];
    machine.run(&logger)?.good("logger")?;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    street.attempt(attacker, Sshd::USER, "wrong")?;
    eventually("the ban of a real attacker", || Ok(guard.bans("sshd", attacker) > 0))
        .map_err(|error| error.context(guard.words()))?;
    ensure!(guard.found("sshd", victim) == 0, "a forged line counts: {}", guard.words());
    Ok(())
}

/// The name that an attacker gives holds everything that a log line of sshd holds.
fn victim(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("maxretry = 3", "")?;
    let Scene { guard, street, .. } = &scene;
    let attacker: IpAddr = "203.0.113.10".parse()?;
    let victim: IpAddr = "203.0.113.66".parse()?;
    for name in ["root from 203.0.113.66 port 22 ssh2", "x rhost=203.0.113.66", "[203.0.113.66]:22 on [10.66.0.2]:22"] {
        street.attempt(attacker, name, "wrong")?;
    }
    eventually("the ban of the attacker", || Ok(guard.bans("sshd", attacker) > 0))
        .map_err(|error| error.context(guard.words()))?;
    ensure!(guard.found("sshd", victim) == 0, "the attacker chose who fails: {}", guard.words());
    Ok(())
}
