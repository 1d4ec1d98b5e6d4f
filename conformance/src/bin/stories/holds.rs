//! Bans hold: whatever happens to the guard, no packet of a banned address comes through.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Counts, Guard, Machine, Program, Root, Stream, Street, eventually, within};
use rustix::process::Signal;

use crate::{
    runner::{Stage, Story, scale},
    scene::{Scene, Setting},
};

/// How many banned addresses keep sending.
const ADDRESSES: usize = 1_000;

/// How many packets a second they send together.
const RATE: u32 = 20_000;

/// The setting of these stories: bans that outlast them.
const BANTIME: &str = "bantime = 1h";

/// What happens to the guard while the stream flows.
type Event = fn(&Machine, &Street, &mut Guard) -> Result<()>;

pub(crate) fn stories() -> Vec<Story> {
    let mut stories = vec![
        Story::new("holds: control: without a guard the witness counts every packet", control),
        Story::new("theirs: holds: a restart of the original leaks", theirs),
    ];
    stories.push(Story::new("holds: restart by fail2ban's client, in fail2ban's tree", by_fail2bans_client));
    let events: [(&str, Event); 8] = [
        ("restart", |_, _, guard| guard.client(&["restart"])?.good("restart").map(drop)),
        ("reload", |_, _, guard| guard.client(&["reload"])?.good("reload").map(drop)),
        ("reload of a broken configuration", broken_reload),
        ("SIGTERM and start", |_, _, guard| {
            guard.stop(Signal::TERM)?;
            guard.start()
        }),
        ("kill -9 and start", |_, _, guard| {
            guard.stop(Signal::KILL)?;
            guard.start()
        }),
        ("foreign flush", |machine, _, guard| foreign(machine, guard, "nft flush ruleset")),
        ("foreign flush by iptables-restore", |machine, _, guard| {
            foreign(machine, guard, "printf '*filter\\nCOMMIT\\n' | iptables-restore")
        }),
        ("ten restarts by signal", |_, _, guard| {
            for _ in 0..10 * scale() {
                guard.stop(Signal::TERM)?;
                guard.start()?;
            }
            Ok(())
        }),
    ];
    for (name, event) in events {
        stories.push(Story::new(format!("holds: {name}"), move |stage| holds(stage, Setting::PLAIN, event)));
    }
    let newer = Setting { root: Root::Trixie, ..Setting::PLAIN };
    stories.push(Story::new("holds: foreign flush by the nft of debian 13", move |stage| {
        holds(stage, newer, |machine, _, guard| foreign(machine, guard, "nft flush ruleset"))
    }));
    stories.push(Story::new("holds: foreign deletion of our table", |stage| {
        holds(stage, Setting::PLAIN, |machine, _, guard| foreign(machine, guard, "nft delete table inet stockade || :"))
    }));
    stories.push(Story::new("holds: emptied kernel and start, as at a reboot", reboot));
    stories.push(Story::new("holds: emptied kernel while the guard is dead, repaired at start", emptied));
    stories
}

fn settled(street: &Street) -> Result<()> {
    // Packets under way when the last rule came are through; then a whole pass over all addresses goes by.
    let pass = Duration::from_secs_f64(f64::from(u32::try_from(ADDRESSES)?) / f64::from(RATE));
    let start = street.counts()?;
    within(Duration::from_secs(5), "the stream to go round", || {
        Ok(street.counts()?.since(start).sent > u64::try_from(ADDRESSES)? && pass > Duration::ZERO)
    })?;
    Ok(())
}

fn control(stage: &mut Stage<'_>) -> Result<()> {
    let setting = Setting { program: Program::Fail2ban, ..Setting::PLAIN };
    let Scene { machine, street, .. } = &Scene::set(stage, setting)?;
    let before = street.counts()?;
    let stream = street.stream(ADDRESSES, RATE)?;
    settled(street)?;
    drop(stream);
    // The last answers are still on their way.
    let few_missing = || {
        let counts = street.counts()?.since(before);
        Ok(counts.sent.saturating_sub(counts.answered) * 1000 <= counts.sent)
    };
    within(Duration::from_secs(3), "the witness to have seen every packet", few_missing)?;
    let counts = street.counts()?.since(before);
    ensure!(counts.delivered >= counts.answered, "fewer segments delivered than answered: {counts:?}");
    machine.sh("nft flush ruleset")?;
    ensure!(street.counts()?.since(before) == counts, "a flush in the machine reaches the witness");
    stage.figure(format!("control: {} packets sent, {} counted by the witness", counts.sent, counts.answered));
    Ok(())
}

fn holds(stage: &mut Stage<'_>, setting: Setting, event: Event) -> Result<()> {
    let Scene { machine, street, guard, .. } = &mut Scene::set(stage, setting)?.guarded(BANTIME, "")?;
    let stream = banned_stream(street, guard)?;

    let before = street.counts()?;
    let start = Instant::now();
    event(machine, street, guard).map_err(|error| error.context(guard.words()))?;
    let took = start.elapsed();
    settled(street)?;
    let counts = street.counts()?.since(before);
    drop(stream);
    stage.figure(format!(
        "{} packets from {ADDRESSES} banned addresses while it took {took:.1?}: {} reached the witness",
        counts.sent, counts.answered
    ));
    none_through(counts, guard)?;
    ensure!(guard.answers(), "the guard does not answer afterwards");
    leaks_without(stage, machine, street, guard)
}

/// Bans the stream's addresses and starts it; from here on nothing may come through.
fn banned_stream(street: &Street, guard: &Guard) -> Result<Stream> {
    let addresses: Vec<IpAddr> = Stream::addresses(ADDRESSES);
    guard.ban("sshd", &addresses).map_err(|error| error.context(guard.words()))?;
    let stream = street.stream(ADDRESSES, RATE)?;
    let mut quiet = street.counts()?;
    within(Duration::from_secs(5), "all bans to be in the kernel", || {
        thread::sleep(Duration::from_millis(100));
        let now = street.counts()?;
        let passed = now.since(quiet);
        quiet = now;
        Ok(passed.sent > u64::try_from(ADDRESSES)? && passed.answered == 0)
    })?;
    Ok(stream)
}

fn none_through(counts: Counts, guard: &Guard) -> Result<()> {
    ensure!(counts.sent > u64::try_from(ADDRESSES)?, "the stream stood still");
    ensure!(
        counts.answered == 0 && counts.delivered == 0,
        "{} packets of banned addresses came through ({} segments delivered): {}",
        counts.answered,
        counts.delivered,
        guard.words()
    );
    Ok(())
}

/// The control of the same run: when everything is lifted, the same stream is counted again.
fn leaks_without(stage: &mut Stage<'_>, machine: &Machine, street: &Street, guard: &mut Guard) -> Result<()> {
    guard.client(&["lift"])?.good("lift")?;
    let before = street.counts()?;
    let stream = street.stream(ADDRESSES, RATE)?;
    settled(street)?;
    drop(stream);
    let counts = street.counts()?.since(before);
    ensure!(
        counts.answered > 0,
        "after the lift nothing comes through: {}",
        machine.sh("nft list ruleset | head -50")?
    );
    stage.figure(format!("control after the lift: {} of {} counted", counts.answered, counts.sent));
    Ok(())
}

fn broken_reload(machine: &Machine, _: &Street, guard: &mut Guard) -> Result<()> {
    machine.write("/etc/stockade/jail.local", "[sshd]\nenabled = true\nfailregex = ^(unclosed <HOST>$\n")?;
    let output = guard.client(&["reload"])?;
    ensure!(output.code != 0, "a broken configuration is accepted: {}", output.all());
    Ok(())
}

/// Someone else's tool empties the packet filter; the guard has to notice and to repair, if it was hit at all.
fn foreign(machine: &Machine, guard: &Guard, line: &str) -> Result<()> {
    machine.sh(line)?;
    eventually("our table to stand", || Ok(machine.sh("nft list tables")?.contains("stockade")))
        .map_err(|error| error.context(guard.words()))
        .map(drop)
}

/// The kernel starts empty, the guard starts before the network comes up, as its unit says.
fn reboot(stage: &mut Stage<'_>) -> Result<()> {
    let Scene { machine, street, guard, .. } = &mut Scene::set(stage, Setting::PLAIN)?.guarded(BANTIME, "")?;
    let stream = banned_stream(street, guard)?;
    street.close()?;
    guard.stop(Signal::KILL)?;
    empty(machine)?;
    let before = street.counts()?;
    let start = Instant::now();
    guard.start()?;
    let took = start.elapsed();
    street.open()?;
    settled(street)?;
    drop(stream);
    let counts = street.counts()?.since(before);
    stage.figure(format!(
        "ready {took:.0?} after an empty start; {} packets then, {} came through",
        counts.sent, counts.answered
    ));
    none_through(counts, guard)
}

/// Nobody guards an emptied kernel until the start: how long that start takes is measured on the stream itself.
fn emptied(stage: &mut Stage<'_>) -> Result<()> {
    let Scene { machine, street, guard, .. } = &mut Scene::set(stage, Setting::PLAIN)?.guarded(BANTIME, "")?;
    let stream = banned_stream(street, guard)?;
    guard.stop(Signal::KILL)?;
    empty(machine)?;
    let before = street.counts()?;
    settled(street)?;
    let leaked = street.counts()?.since(before);
    ensure!(leaked.answered > 0, "an empty kernel lets nothing through: the witness is blind");
    let before = street.counts()?;
    guard.start()?;
    let at_ready = street.counts()?;
    settled(street)?;
    drop(stream);
    let open = Duration::from_secs_f64(f64::from(u32::try_from(at_ready.since(before).answered)?) / f64::from(RATE));
    let after = street.counts()?.since(at_ready);
    stage.figure(format!(
        "control: {} of {} counted while nobody guards; {open:.0?} open from process start to the last packet; \
         {} after ready",
        leaked.answered, leaked.sent, after.answered
    ));
    none_through(after, guard)
}

/// Removes every table, whoever owns it: what a reboot does.
fn empty(machine: &Machine) -> Result<()> {
    machine.sh("nft flush ruleset")?;
    let left = machine.sh("nft list tables")?;
    ensure!(!left.contains("stockade"), "the table of a dead guard survives: {left}");
    Ok(())
}

/// The program under fail2ban's names on the tree of Debian's package, its bans made by the stock action.
fn by_fail2bans_client(stage: &mut Stage<'_>) -> Result<()> {
    let Scene { machine, street, .. } = &Scene::set(stage, Setting { root: Root::Trixie, ..Setting::PLAIN })?;
    for name in ["fail2ban-client", "fail2ban-server"] {
        machine.sh(&format!("ln -sf /run/stage/stockade /usr/bin/{name}"))?;
    }
    machine.write("/etc/fail2ban/jail.local", &format!("[DEFAULT]\n{BANTIME}\nignoreip =\nignoreself = false\n"))?;
    machine.sh("fail2ban-client start")?;
    let mut ban = String::from("fail2ban-client set sshd banip");
    for address in Stream::addresses(ADDRESSES) {
        ban.push_str(&format!(" {address}"));
    }
    machine.sh(&ban)?;
    let stream = street.stream(ADDRESSES, RATE)?;
    let delivered = |before: Counts| -> Result<u64> {
        settled(street)?;
        // The stock action rejects, which the witness takes for answers: only what is delivered counts here.
        Ok(street.counts()?.since(before).delivered)
    };
    eventually("all bans to be in the kernel", || Ok(delivered(street.counts()?)? == 0))?;
    let before = street.counts()?;
    let start = Instant::now();
    for _ in 0..3 * scale() {
        machine.sh("fail2ban-client restart")?;
    }
    let (took, through) = (start.elapsed(), delivered(before)?);
    let sent = street.counts()?.since(before).sent;
    stage.figure(format!("{sent} packets from {ADDRESSES} banned addresses in {took:.1?}: {through} came through"));
    ensure!(through == 0, "{through} packets came through while fail2ban's client restarted the guard");
    machine.sh("fail2ban-client stop")?;
    let after = delivered(street.counts()?)?;
    drop(stream);
    ensure!(after > 0, "a stop lifts no ban: {after} packets came through");
    stage.figure(format!("{after} came through after its stop"));
    Ok(())
}

fn theirs(stage: &mut Stage<'_>) -> Result<()> {
    let setting = Setting { program: Program::Fail2ban, root: Root::Trixie, ..Setting::PLAIN };
    let Scene { street, guard, .. } = &mut Scene::set(stage, setting)?.guarded(BANTIME, "")?;
    let addresses = Stream::addresses(20);
    guard.ban("sshd", &addresses)?;
    let stream = street.stream(20, 2_000)?;
    let mut last = street.counts()?;
    // The original's bans are rejections, which the witness would count as answers: only delivery counts here.
    eventually("the original's bans to be in the kernel", || {
        thread::sleep(Duration::from_millis(100));
        let now = street.counts()?;
        let passed = now.since(last);
        last = now;
        Ok(passed.sent > 20 && passed.delivered == 0)
    })?;
    let before = street.counts()?;
    guard.stop(Signal::TERM)?;
    guard.start().context("start the original again")?;
    let counts = street.counts()?.since(before);
    drop(stream);
    ensure!(counts.delivered > 0, "the original leaks nothing at a restart: {counts:?}");
    stage.figure(format!("{} packets sent during a restart, {} came through", counts.sent, counts.delivered));
    Ok(())
}
