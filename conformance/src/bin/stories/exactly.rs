//! Banned after exactly `maxretry` wrong passwords, not before; and nobody else.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use conformance::{Attempt, Dial, Guard, Logging, Program, Root, Sshd, SshdOptions, Street, eventually, within};

use crate::{
    runner::{Stage, Story},
    scene::{SILENCE, Scene, Setting},
};

pub(crate) fn stories() -> Vec<Story> {
    let plain = SshdOptions { pam: false, penalties: false };
    let with_pam = SshdOptions { pam: true, penalties: false };
    let with_penalties = SshdOptions { pam: false, penalties: true };
    let mut stories = Vec::new();
    for (name, root, logging, sshd) in [
        ("debian 12, journal", Root::Bookworm, Logging::Journal, plain),
        ("debian 12, rsyslog", Root::Bookworm, Logging::File, plain),
        ("debian 12, rsyslog, pam", Root::Bookworm, Logging::File, with_pam),
        ("debian 13, journal", Root::Trixie, Logging::Journal, plain),
        ("debian 13, journal, pam", Root::Trixie, Logging::Journal, with_pam),
        ("debian 13, journal, penalties", Root::Trixie, Logging::Journal, with_penalties),
        ("debian 13, rsyslog", Root::Trixie, Logging::File, plain),
        ("debian 13, rsyslog, penalties", Root::Trixie, Logging::File, with_penalties),
    ] {
        let setting = Setting { program: Program::Stockade, root, logging, sshd };
        stories.push(Story::new(format!("exactly maxretry: {name}"), move |stage| exactly(stage, setting)));
    }
    // The same told of the original shows that the machine, its services and the attackers are real.
    let theirs = Setting { program: Program::Fail2ban, root: Root::Trixie, logging: Logging::File, sshd: plain };
    stories.push(Story::new("theirs: exactly maxretry: debian 13, rsyslog", move |stage| exactly(stage, theirs)));
    stories
}

/// An attacker: where from, as whom.
struct Attacker {
    from: IpAddr,
    user: &'static str,
}

fn exactly(stage: &mut Stage<'_>, setting: Setting) -> Result<()> {
    let scene = Scene::set(stage, setting)?.guarded("maxretry = 3", "")?;
    let (guard, street) = (&scene.guard, &scene.street);

    let mut attackers = vec![
        Attacker { from: "203.0.113.10".parse()?, user: Sshd::USER },
        Attacker { from: "203.0.113.11".parse()?, user: "nobody-here" },
        Attacker { from: "2001:db8:1::10".parse()?, user: Sshd::USER },
        Attacker { from: "2001:db8:2::11".parse()?, user: "nobody-here" },
    ];
    if setting.program == Program::Fail2ban {
        // The original counts a wrong password of an unknown user twice.
        attackers.retain(|attacker| attacker.user == Sshd::USER);
    }
    let mut slowest = Duration::ZERO;
    for attacker in &attackers {
        let banned = one_attacker(street, guard, attacker, 3)
            .with_context(|| format!("{} as {}", attacker.from, attacker.user))
            .map_err(|error| error.context(guard.words()))?;
        slowest = slowest.max(banned);
    }
    for stranger in ["203.0.113.77", "2001:db8:7::77"] {
        let attempt = street.attempt(stranger.parse()?, Sshd::USER, Sshd::PASSWORD)?;
        ensure!(attempt == Attempt::In, "{stranger}, who did nothing, does not get in: {attempt:?}");
    }
    stage.figure(format!(
        "{} attackers banned at the third wrong password each; login refused to ban announced: at most {slowest:.0?}",
        attackers.len()
    ));
    Ok(())
}

/// Wrong passwords up to the ban; returns the time from the last refusal to the announced ban.
fn one_attacker(street: &Street, guard: &Guard, attacker: &Attacker, maxretry: usize) -> Result<Duration> {
    let mut banned = Duration::ZERO;
    for number in 1..=maxretry {
        ensure!(guard.bans("sshd", attacker.from) == 0, "banned before wrong password {number}");
        let dial = street.dial(attacker.from, 22, SILENCE)?;
        ensure!(dial == Dial::Answered, "a connection before wrong password {number} met {dial:?}");
        let attempt = street.attempt(attacker.from, attacker.user, "wrong")?;
        ensure!(attempt == Attempt::WrongPassword, "wrong password {number} ended with {attempt:?}");
        if number == maxretry {
            banned = within(Duration::from_secs(10), "the ban", || Ok(guard.bans("sshd", attacker.from) > 0))?;
        }
        eventually(&format!("failure {number} in the guard's log"), || {
            Ok(guard.found("sshd", attacker.from) >= number)
        })?;
        let found = guard.found("sshd", attacker.from);
        ensure!(found == number, "{number} wrong passwords were counted as {found} failures");
    }
    match guard.program() {
        Program::Stockade => {
            let dial = street.dial(attacker.from, 22, SILENCE)?;
            ensure!(dial == Dial::Silence, "banned, but a connection met {dial:?}");
        }
        // The original announces first and acts then, and Debian's action rejects instead of dropping.
        Program::Fail2ban => {
            eventually("a connection to be rejected", || {
                Ok(street.dial(attacker.from, 22, SILENCE)? == Dial::Rejected)
            })?;
        }
    }
    ensure!(guard.bans("sshd", attacker.from) == 1, "banned more than once");
    Ok(banned)
}
