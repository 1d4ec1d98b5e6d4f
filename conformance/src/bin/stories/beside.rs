//! The same burst for the original and for ours: one stock tree, the stock action, the same attackers in one run.
//!
//! The short form takes few attackers, the long one (`cargo xtask long burst`) the 2,000 that the bar is about. What
//! has to be true at any speed is asserted: everybody is dropped, and the kernel holds the same addresses whoever put
//! them there. The times are figures, but for one: ours may not be slower than the original.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Machine, Program, Root, Stream};
use rustix::process::Signal;

use crate::{
    runner::{Stage, Story, scale},
    scene::{Scene, Setting},
    speed::{measure, quantile},
};

/// Attackers of the short form and of the long one.
const ATTACKERS: [usize; 2] = [100, 2_000];

/// The tree's own `maxretry`: that many wrong passwords come from each.
const FAILURES: &str = "5";

/// How long the slower program may take, in seconds.
const PATIENCE: u64 = 240;

/// A stock action, and what lists the addresses that it holds back.
struct Action {
    /// As `banaction` names it; Debian's own choice if it is empty.
    name: &'static str,
    /// Prints everything in which its addresses stand.
    listing: &'static str,
}

const ACTIONS: [Action; 3] = [
    Action { name: "", listing: "nft list table inet f2b-table" },
    Action { name: "iptables-multiport", listing: "iptables-save; ip6tables-save" },
    Action { name: "iptables-ipset-proto6", listing: "ipset save" },
];

pub(crate) fn stories() -> Vec<Story> {
    let story = |action: &'static Action| {
        let name = if action.name.is_empty() { "nftables" } else { action.name };
        Story::new(format!("burst beside the original: {name}, and the start after a crash"), |stage| {
            both(stage, action)
        })
        .alone()
    };
    ACTIONS.iter().map(story).collect()
}

/// What one program did.
struct Done {
    /// From the end of the log's writing to the last attacker's first dropped packet.
    burst: Duration,
    /// From the start of the process, after kill -9 and with an emptied kernel, to the same.
    back: Duration,
    /// What the kernel held after each of the two.
    held: [BTreeSet<String>; 2],
}

fn both(stage: &mut Stage<'_>, action: &Action) -> Result<()> {
    let [few, many] = ATTACKERS;
    let count = if scale() > 1 { many } else { few };
    let theirs = run(stage, action, count, false).context("the original")?;
    let ours = run(stage, action, count, true).context("ours")?;
    stage.figure(format!("{count} attackers, burst: {:.3?}, the original {:.3?}", ours.burst, theirs.burst));
    stage.figure(format!("{count} bans, back after kill -9: {:.3?}, the original {:.3?}", ours.back, theirs.back));
    let all: BTreeSet<String> = Stream::probes(count).iter().map(ToString::to_string).collect();
    for (who, done) in [("the original", &theirs), ("ours", &ours)] {
        for (when, held) in ["the burst", "the start"].iter().zip(&done.held) {
            let missing = all.difference(held).count();
            ensure!(missing == 0, "{who}: after {when} the kernel lacks {missing} of {count}");
            let strange: Vec<&String> = held.difference(&all).take(3).collect();
            ensure!(strange.is_empty(), "{who}: after {when} the kernel holds {strange:?} too");
        }
    }
    ensure!(ours.burst < theirs.burst && ours.back < theirs.back, "ours is slower than the original");
    Ok(())
}

/// One program on Debian's tree, in a machine of its own.
fn run(stage: &Stage<'_>, action: &Action, count: usize, ours: bool) -> Result<Done> {
    let setting = Setting { program: Program::Fail2ban, root: Root::Trixie, ..Setting::PLAIN };
    let scene = Scene::set(stage, setting)?;
    if ours {
        Scene::needs_stockade(stage, Setting::PLAIN)?;
        for name in ["fail2ban-client", "fail2ban-server"] {
            scene.machine.sh(&format!("ln -sf /run/stage/stockade /usr/bin/{name}"))?;
        }
    }
    scene.machine.on_disk("/var/lib/fail2ban")?;
    let banaction = if action.name.is_empty() { String::new() } else { format!("banaction = {}", action.name) };
    let mut scene = scene.guarded(&banaction, "")?;
    let report = measure(&scene, &["burst", FAILURES, &PATIENCE.to_string()], count)?;
    let burst = quantile(&report, "dropped", "max_us")?;
    let after_burst = held(&scene.machine, action)?;
    scene.guard.stop(Signal::KILL)?;
    scene.machine.sh("nft flush ruleset; ipset destroy; test -z \"$(nft list ruleset)\"")?;
    let back = back(&mut scene, count).map_err(|error| error.context(scene.guard.words()))?;
    Ok(Done { burst, back, held: [after_burst, held(&scene.machine, action)?] })
}

/// Starts the guard while everybody knocks; how long it takes until nobody gets in.
fn back(scene: &mut Scene, count: usize) -> Result<Duration> {
    let mut command = scene.street.helper();
    command.args(["back", &Machine::V4.to_string(), &Machine::V6.to_string(), &PATIENCE.to_string()]);
    let mut helper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the helper")?;
    let list: String = Stream::probes(count).iter().map(|address| format!("{address}\n")).collect();
    helper.stdin.take().context("standard input of the helper")?.write_all(list.as_bytes())?;
    let mut words = BufReader::new(helper.stdout.take().context("standard output of the helper")?);
    let mut line = String::new();
    words.read_line(&mut line)?;
    ensure!(line.trim() == "open", "the emptied kernel does not let everybody in: {line}");
    let start = SystemTime::now().duration_since(UNIX_EPOCH)?;
    scene.guard.launch()?;
    let mut last = String::new();
    words.take(1 << 10).read_to_string(&mut last)?;
    ensure!(helper.wait()?.success(), "not everybody was dropped again");
    Ok(Duration::from_micros(last.trim().parse().with_context(|| format!("a time: {last}"))?).saturating_sub(start))
}

/// The attackers' addresses in the kernel's sets and rules.
fn held(machine: &Machine, action: &Action) -> Result<BTreeSet<String>> {
    let text = machine.sh(action.listing)?;
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}'));
    let addresses = words.filter_map(|word| {
        let host = word.strip_suffix("/32").or_else(|| word.strip_suffix("/128")).unwrap_or(word);
        host.parse::<std::net::IpAddr>().ok()
    });
    Ok(addresses.map(|address| address.to_string()).collect())
}
