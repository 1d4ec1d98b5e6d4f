//! The way out works when nothing else does, and the first steps are as the README says.

use std::{
    net::IpAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Dial, Machine, Program, Root, Stream, eventually};
use rustix::process::Signal;

use crate::{
    runner::{Stage, Story},
    scene::{SILENCE, Scene, Setting},
};

/// Where the daemon keeps its bans.
const DATABASE: &str = "/var/lib/stockade/stockade.sqlite3";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("way out: lift with the daemon dead", |stage| lift(stage, false)),
        Story::new("way out: lift with the daemon dead and the database damaged", |stage| lift(stage, true)),
        Story::new("way out: lift with the daemon alive", lift_alive),
        Story::new("way out: stop --lift, and the bans are back at the next start", stop_lift),
        Story::new("first steps: demo on a clean Debian 12", |stage| demo(stage, Root::Bookworm)),
        Story::new("first steps: demo on a clean Debian 13", |stage| demo(stage, Root::Trixie)),
        Story::new("first steps: README, word for word", readme).alone(),
    ]
}

/// Overwrites the middle of the database and everything beside it.
fn damage(machine: &Machine) -> Result<()> {
    machine.sh(&format!(
        "ls {DATABASE} >/dev/null && for file in {DATABASE}*; do \
         dd if=/dev/urandom of=$file bs=512 seek=1 count=40 conv=notrunc 2>/dev/null; done"
    ))?;
    Ok(())
}

fn lift(stage: &mut Stage<'_>, damaged: bool) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?.guarded("bantime = 1h", "")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    let addresses = Stream::probes(20);
    guard.ban("sshd", &addresses)?;
    guard.stop(Signal::KILL)?;
    machine.sh("rm -f /run/stockade/stockade.sock")?;
    if damaged {
        damage(machine)?;
    }
    let [one, other] = ["198.19.1.1", "198.19.1.2"].map(|text| text.parse::<IpAddr>());
    let (one, other) = (one?, other?);
    for address in [one, other] {
        ensure!(street.dial(address, 22, SILENCE)? == Dial::Silence, "the ban of {address} ended with the daemon");
    }
    let output = guard.client(&["lift", &one.to_string()])?;
    ensure!(street.dial(one, 22, SILENCE)? == Dial::Answered, "{one} is still blocked: {}", output.all());
    ensure!(street.dial(other, 22, SILENCE)? == Dial::Silence, "{other} was lifted as well");
    if !damaged {
        ensure!(output.code == 0, "exit code {}: {}", output.code, output.all());
        guard.start()?;
        ensure!(street.dial(one, 22, SILENCE)? == Dial::Answered, "{one} is banned again at the next start");
        ensure!(street.dial(other, 22, SILENCE)? == Dial::Silence, "{other} is free after the start");
        guard.stop(Signal::KILL)?;
    }
    let all = guard.client(&["lift"])?;
    ensure!(street.dial(other, 22, SILENCE)? == Dial::Answered, "{other} is still blocked after lifting everything");
    let rules = machine.sh("nft list ruleset")?;
    ensure!(!rules.contains("198.19."), "elements are left: {rules}");
    // Whatever became of the database: the next start works, and says what it found.
    guard.start()?;
    if damaged {
        let words = format!("{}\n{}\n{}", output.all(), all.all(), guard.words());
        ensure!(
            words.contains("damaged") || words.contains("set aside") || words.contains("corrupt"),
            "nothing is said about the damaged database: {words}"
        );
        ensure!(machine.sh(&format!("ls {DATABASE}*"))?.lines().count() >= 2, "the damaged file was not kept");
    }
    guard.ban("sshd", &[one])?;
    ensure!(street.dial(one, 22, SILENCE)? == Dial::Silence, "the guard does not ban after that");
    Ok(())
}

fn lift_alive(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?.guarded("bantime = 1h", "")?;
    let Scene { street, guard, .. } = &scene;
    let [one, other] = ["203.0.113.1", "203.0.113.2"].map(|text| text.parse::<IpAddr>());
    let (one, other) = (one?, other?);
    guard.ban("sshd", &[one, other])?;
    guard.client(&["lift", &one.to_string()])?.good("lift one")?;
    ensure!(street.dial(one, 22, SILENCE)? == Dial::Answered, "{one} is still blocked");
    ensure!(street.dial(other, 22, SILENCE)? == Dial::Silence, "{other} was lifted as well");
    guard.client(&["lift"])?.good("lift all")?;
    ensure!(street.dial(other, 22, SILENCE)? == Dial::Answered, "{other} is still blocked");
    let again = guard.client(&["lift", &one.to_string()])?;
    ensure!(again.code == 1, "lifting nobody: exit code {}: {}", again.code, again.all());
    Ok(())
}

fn stop_lift(stage: &mut Stage<'_>) -> Result<()> {
    let mut scene = Scene::set(stage, Setting::PLAIN)?.guarded("bantime = 1h", "")?;
    let Scene { street, guard, machine, .. } = &mut scene;
    let one: IpAddr = "203.0.113.1".parse()?;
    guard.ban("sshd", &[one])?;
    guard.client(&["stop", "--lift"])?.good("stop --lift")?;
    if let Some(daemon) = guard.daemon() {
        let code = daemon.ended()?;
        ensure!(code == 0, "the daemon ended with {code}");
    }
    ensure!(street.dial(one, 22, SILENCE)? == Dial::Answered, "{one} is still blocked after stop --lift");
    let folded = machine.sh(&format!("ls {DATABASE}*"))?;
    ensure!(folded.lines().count() == 1, "after a stop the one file is not whole: {folded}");
    guard.start()?;
    eventually("the ban to be back", || Ok(street.dial(one, 22, SILENCE)? == Dial::Silence))
        .map_err(|error| error.context(guard.words()))?;
    Ok(())
}

fn demo(stage: &mut Stage<'_>, root: Root) -> Result<()> {
    let setting = Setting { root, program: Program::Stockade, ..Setting::PLAIN };
    Scene::needs_stockade(stage, setting)?;
    let machine = Machine::start(root, stage.programs)?;
    let look = "nft list ruleset; ip -o link; ip -o addr; find /etc /var /tmp /root -newer /run/before ! -type d; ls -A /tmp /run";
    machine.sh("touch /run/before")?;
    let before = machine.sh(look)?;
    let start = Instant::now();
    let output = machine.run(&["stockade", "demo"])?;
    let took = start.elapsed();
    let said = output.all();
    ensure!(output.code == 0, "exit code {}: {said}", output.code);
    ensure!(said.contains("banned"), "no ban is seen: {said}");
    ensure!(took < Duration::from_secs(10), "it took {took:.1?}");
    let after = machine.sh(look)?;
    ensure!(before == after, "something is left:\n{before}\nafter:\n{after}");
    stage.figure(format!("{took:.1?}, {} lines, nothing left behind", said.lines().count()));
    Ok(())
}

/// The first commands of the README, run as they stand there, from the repository.
fn readme(stage: &mut Stage<'_>) -> Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository")?;
    let text = conformance::read_bounded(&top.join("README.md"));
    let commands =
        text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).context("commands in README.md")?;
    ensure!(commands.trim().lines().count() <= 2, "more than two commands to see a ban: {commands}");
    let look = || -> Result<String> {
        let output = Command::new("sh").args(["-c", "nft list ruleset; ip -o link"]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let before = look()?;
    let start = Instant::now();
    let output = Command::new("timeout").args(["60", "sh", "-ec", commands]).current_dir(top).output()?;
    let took = start.elapsed();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`{}`: {}: {said}", commands.trim(), output.status);
    ensure!(said.contains("banned"), "no ban is seen: {said}");
    ensure!(took < Duration::from_secs(10), "it took {took:.1?}");
    ensure!(before == look()?, "the demo changed the network outside");
    stage.figure(format!("`{}` (already built): {took:.1?}", commands.trim()));
    Ok(())
}
