//! All clients behind one address: a proxy is not banned for what one of them does, and nobody hides behind that.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use conformance::{Guard, Machine, eventually};

use crate::{
    runner::{Stage, Story},
    scene::{Scene, Setting},
};

const LOG: &str = "/var/log/nginx/access.log";
const JAIL: &str = "nginx-http-auth";

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::new("proxy: what brings most of a log's successes is not banned, strangers with successes are", proxy)]
}

/// Lines of the web server about an address: so many pages served, so many wrong passwords after them.
fn visits(machine: &Machine, from: &str, served: usize, refused: usize) -> Result<()> {
    let now = machine.sh("date '+%d/%b/%Y:%H:%M:%S %z'")?;
    let line = |user: &str, status: u32| {
        format!("{from} - {user} [{}] \"GET /admin HTTP/1.1\" {status} 179 \"-\" \"probe/1.0\"\n", now.trim())
    };
    machine.append(LOG, &(line("-", 200).repeat(served) + &line("root", 401).repeat(refused)))
}

fn is_banned(guard: &Guard, jail: &str, who: &str) -> Result<()> {
    let who: IpAddr = who.parse()?;
    let banned = eventually(&format!("the ban of {who} in {jail}"), || Ok(guard.bans(jail, who) > 0));
    banned.map(drop).map_err(|error| error.context(guard.words()))
}

fn proxy(stage: &mut Stage<'_>) -> Result<()> {
    let scene = Scene::set(stage, Setting::PLAIN)?;
    scene.machine.sh(&format!("mkdir -p /var/log/nginx; : > {LOG}"))?;
    let web = format!("\n[{JAIL}]\nenabled = true\nlogpath = {LOG}\n");
    let scene = scene.guarded("maxretry = 3", &web)?;
    let Scene { guard, machine, .. } = &scene;
    let (proxy, forger, neighbour) = ("172.17.0.1", "203.0.113.66", "192.168.7.7");

    // Many are served through the proxy, a stranger asks for pages to look innocent, a machine of the own network fails.
    visits(machine, proxy, 60, 0)?;
    visits(machine, forger, 40, 0)?;
    for address in [proxy, neighbour, forger] {
        visits(machine, address, 0, 4)?;
    }
    is_banned(guard, JAIL, forger)?;
    is_banned(guard, JAIL, neighbour)?;
    ensure!(guard.bans(JAIL, proxy.parse()?) == 0, "the proxy is banned: {}", guard.words());
    let why = guard.client(&["why", proxy])?.all();
    ensure!(why.contains("forwards for others: 60 of the last 100 successful lines"), "why says: {why}");
    let doctor = guard.client(&["doctor"])?.all();
    for words in ["forwards for others", "mod_remoteip", "ignoreip"] {
        ensure!(doctor.contains(words), "doctor does not say '{words}': {doctor}");
    }

    // A flood of failures through the proxy buries the successes, and a reload comes: it stays what it is.
    visits(machine, proxy, 0, 5_000)?;
    guard.client(&["reload"])?.good("reload")?;
    visits(machine, proxy, 0, 20)?;
    // A stranger may have most of the successes, and is banned all the same.
    let loud = "203.0.113.77";
    visits(machine, loud, 2_000, 4)?;
    is_banned(guard, JAIL, loud)?;
    ensure!(guard.bans(JAIL, proxy.parse()?) == 0, "a flood makes the proxy be banned: {}", guard.words());
    let said =
        guard.log().lines().filter(|line| line.contains("WARNING") && line.contains("forwards for others")).count();
    ensure!((1..=3).contains(&said), "the log tells {said} times of the proxy: {}", guard.words());

    // What one log shows is no shield elsewhere.
    for _ in 0..4 {
        let line = format!("Failed password for root from {proxy} port 4000 ssh2");
        machine.run(&["logger", "-p", "auth.info", "-t", "sshd", "--id", &line])?.good("logger")?;
    }
    is_banned(guard, "sshd", proxy)?;
    stage.figure("the proxy stays in its jail, banned are: a stranger with 40 and one with 2,000 successes, a neighbour with none, and the proxy itself in another jail");
    Ok(())
}
