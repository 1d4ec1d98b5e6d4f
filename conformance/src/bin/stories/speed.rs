//! From a line in the log to the first dropped packet; a burst; and what the guard costs when nothing happens.

use std::{fmt::Write as _, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use conformance::{Logging, Machine, Program, Root, Stream, eventually, read_bounded};
use serde_json::Value;

use crate::{
    runner::{Stage, Story, best_of_three, scale},
    scene::{Scene, Setting},
};

/// One wrong password is enough, and nobody comes free while it is measured.
const AT_ONCE: &str = "maxretry = 1\nbantime = 1h";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("speed: 1,000 bans one after another", |stage| best_of_three(stage, one_by_one)).alone(),
        Story::new("speed: 300 bans one after another beside 10,000 lines a second", |stage| {
            best_of_three(stage, busy)
        })
        .alone(),
        Story::new("speed: 2,000 bans in one burst", |stage| best_of_three(stage, burst)).alone(),
        Story::new("theirs: speed: 20 bans one after another", theirs).alone(),
        Story::new("speed: idle with the embedded tree", idle).alone(),
    ]
}

/// A quantile of a measurement of our helper, as a time.
pub(crate) fn quantile(report: &Value, what: &str, name: &str) -> Result<Duration> {
    let micros = report.get(what).and_then(|row| row.get(name)).and_then(Value::as_u64);
    micros.map(Duration::from_micros).with_context(|| format!("{what} {name} in {report}"))
}

/// Runs our helper on the street against the machine's auth log and returns its report.
pub(crate) fn measure(scene: &Scene, words: &[&str], addresses: usize) -> Result<Value> {
    let list = Stream::probes(addresses).iter().fold(String::new(), |mut list, address| {
        writeln!(list, "{address}").ok();
        list
    });
    let (v4, v6) = (Machine::V4.to_string(), Machine::V6.to_string());
    let log = scene.machine.path("/var/log/auth.log");
    let mut command = scene.street.helper();
    command.args(words.first()).args([&v4, &v6]).arg(log).args(words.get(1..).unwrap_or_default());
    let output = conformance::feed(&mut command, &list)?;
    let text = output.good("measure").map_err(|error| error.context(scene.guard.words()))?;
    serde_json::from_str(&text).with_context(|| format!("the report {text}"))
}

fn one_by_one(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?;
    scene.machine.on_disk("/var/lib/stockade")?;
    let scene = scene.guarded(AT_ONCE, "")?;
    let own_log = scene.machine.path("/var/log/stockade.log").to_string_lossy().into_owned();
    let report = measure(&scene, &["one-by-one", &own_log], 1_000 * scale())?;
    let of = |what: &str, name: &str| quantile(&report, what, name);
    let (half, most) = (of("dropped", "p50_us")?, of("dropped", "p99_us")?);
    stage.figure(format!(
        "line written to packet dropped: p50 {half:.1?}, p99 {most:.1?}, at most {:.1?}",
        of("dropped", "max_us")?
    ));
    stage.figure(format!(
        "line written to ban announced, saved: p50 {:.1?}, p99 {:.1?}",
        of("announced", "p50_us")?,
        of("announced", "p99_us")?
    ));
    ensure!(half <= Duration::from_millis(2), "the median is above 2 ms");
    ensure!(most <= Duration::from_millis(10), "one of a hundred is above 10 ms");
    Ok(())
}

/// The same while the log takes 10,000 lines a second that mean nothing.
fn busy(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?;
    scene.machine.on_disk("/var/lib/stockade")?;
    let scene = scene.guarded(AT_ONCE, "")?;
    let own_log = scene.machine.path("/var/log/stockade.log").to_string_lossy().into_owned();
    let noise = scene.street.noise(10_000)?;
    let report = measure(&scene, &["one-by-one", &own_log], 300 * scale())?;
    drop(noise);
    let of = |name: &str| quantile(&report, "dropped", name);
    let (half, most) = (of("p50_us")?, of("p99_us")?);
    stage.figure(format!(
        "line written to packet dropped: p50 {half:.1?}, p99 {most:.1?}, at most {:.1?}",
        of("max_us")?
    ));
    ensure!(half <= Duration::from_millis(2), "the median is above 2 ms");
    ensure!(most <= Duration::from_millis(10), "one of a hundred is above 10 ms");
    Ok(())
}

/// The original in the same measurement: it shows that the measurement sees what it should.
fn theirs(stage: &mut Stage<'_>) -> Result<()> {
    let setting = Setting { program: Program::Fail2ban, root: Root::Trixie, ..Setting::PLAIN };
    let scene = Scene::set(stage, setting)?.guarded(AT_ONCE, "")?;
    let own_log = scene.machine.path("/var/log/fail2ban.log").to_string_lossy().into_owned();
    let report = measure(&scene, &["one-by-one", &own_log], 20)?;
    let of = |name: &str| quantile(&report, "dropped", name);
    stage.figure(format!(
        "the original, line written to packet dropped: p50 {:.1?}, at most {:.1?}",
        of("p50_us")?,
        of("max_us")?
    ));
    ensure!(of("p50_us")? > Duration::from_millis(20), "the original polls: this cannot be");
    Ok(())
}

fn burst(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?;
    scene.machine.on_disk("/var/lib/stockade")?;
    let scene = scene.guarded(AT_ONCE, "")?;
    let report = measure(&scene, &["burst", "1", "10"], 2_000)?;
    let last = quantile(&report, "dropped", "max_us")?;
    stage.figure(format!("2,000 wrong passwords in one write: all dropped after {last:.1?}"));
    ensure!(last <= Duration::from_millis(200), "above 0.2 s");
    Ok(())
}

/// Memory and wake-ups of the daemon with the journal as its source and nothing happening.
fn idle(stage: &mut Stage<'_>) -> Result<()> {
    let setting = Setting { root: Root::Trixie, logging: Logging::Journal, ..Setting::PLAIN };
    let mut scene = Scene::set(stage, setting)?;
    // No settings at all: the embedded tree as it is.
    scene.guard.start()?;
    let pid = scene.guard.pid().context("the guard's process")?;
    let mut last = switches(pid)?;
    eventually("the guard to come to rest after its start", || {
        thread::sleep(Duration::from_secs(1));
        let now = switches(pid)?;
        let quiet = now - last <= 2;
        last = now;
        Ok(quiet)
    })
    .or_else(|_| Ok::<_, anyhow::Error>(Duration::ZERO))?;
    let before = switches(pid)?;
    thread::sleep(Duration::from_secs(20));
    let woken = switches(pid)? - before;
    let memory = |pid: u32, name: &str| {
        let status = read_bounded(Path::new(&format!("/proc/{pid}/status")));
        let line = status.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let kilobytes = line.and_then(|line| line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().ok());
        kilobytes.with_context(|| format!("{name} of process {pid}"))
    };
    let resident = memory(pid, "VmRSS")?;
    let own = memory(pid, "RssAnon")?;
    let mut text = format!("resident {resident} kB (anonymous {own} kB), at most {} kB", memory(pid, "VmHWM")?);
    for child in children(pid) {
        let name = read_bounded(Path::new(&format!("/proc/{child}/comm")));
        write!(text, "; child {} {} kB", name.trim(), memory(child, "VmRSS")?)?;
    }
    stage.figure(text);
    stage.figure(format!("{woken} wake-ups of all threads in 20 s without an event"));
    ensure!(resident < 15_000, "resident memory is not below 15 MB");
    ensure!(woken <= 20, "it wakes up without cause");
    Ok(())
}

/// Voluntary context switches of all threads: how often the process went to sleep, so how often it was woken.
fn switches(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = read_bounded(&task?.path().join("status"));
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .flat_map(|task| {
            let text = read_bounded(&task.path().join("children"));
            text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}
