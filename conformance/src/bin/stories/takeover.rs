//! Changing places with a running fail2ban: over, back and over again, and nobody who is banned gets through.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Counts, Daemon, Logging, Machine, Root, Sshd, SshdOptions, Stream, Street, eventually, within};

use crate::runner::{Stage, Story, scale};
use crate::units::imitate_systemd;

/// How many addresses are banned in the short form; the long one has ten times as many.
const BANNED: u32 = 2_000;
/// How many of them keep sending, and how fast.
const SENDING: usize = 1_000;
const RATE: u32 = 5_000;

/// Ten changes that people make to the stock tree.
const LOCAL: &[(&str, &str)] = &[
    (
        "jail.local",
        "[DEFAULT]\nbantime = 2h\nfindtime = 20m\nmaxretry = 4\nbantime.increment = true\n\
         ignoreip = 127.0.0.1/8 ::1 192.0.2.0/28\nbanaction = nftables-multiport\n\
         banaction_allports = nftables-allports\n\n\
         [sshd]\nenabled = true\nbackend = polling\nlogpath = /var/log/auth.log\nmode = aggressive\nport = 22,2222\n\n\
         [recidive]\nenabled = true\nbackend = polling\n\n\
         [nginx-http-auth]\nenabled = true\nbackend = polling\nlogpath = /var/log/nginx/error.log\n\n\
         [shop]\nenabled = true\nbackend = polling\nfilter = shop\nport = http,https\nlogpath = /var/log/shop.log\n",
    ),
    ("filter.d/shop.conf", "[Definition]\nfailregex = ^ \\S+ login of \\S+ failed from <HOST>$\n"),
    ("action.d/nftables.local", "[Init]\nblocktype = drop\n"),
    ("fail2ban.local", "[DEFAULT]\ndbpurgeage = 7d\nloglevel = INFO\n"),
];

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("takeover: over, back and over again under a stream from banned addresses", over_and_back),
        Story::new("takeover: a step that fails, and who guarded before guards on", a_step_that_fails),
    ]
}

/// How many are banned where steps fail.
const FEW: u32 = 60;

/// A machine with the stock tree and those changes, whose fail2ban runs.
struct Theirs {
    machine: Arc<Machine>,
    street: Street,
    _log: Daemon,
    _sshd: Sshd,
}

impl Theirs {
    fn start(stage: &Stage<'_>) -> Result<Theirs> {
        let machine = Machine::start(Root::Trixie, stage.programs)?;
        let street = Street::build(&machine)?;
        let log = Logging::File.start(&machine)?;
        let sshd = Sshd::start(&machine, SshdOptions { pam: false, penalties: false })?;
        for (path, text) in LOCAL {
            machine.write(&format!("/etc/fail2ban/{path}"), text)?;
        }
        machine.sh("mkdir -p /var/log/nginx /run/fail2ban
             touch /var/log/nginx/error.log /var/log/shop.log /var/log/fail2ban.log
             fail2ban-client start >/dev/null 2>&1")?;
        Ok(Theirs { machine, street, _log: log, _sshd: sshd })
    }
}

fn a_step_that_fails(stage: &mut Stage<'_>) -> Result<()> {
    let theirs = Theirs::start(stage)?;
    let (machine, street) = (&theirs.machine, &theirs.street);
    imitate_systemd(machine, &["fail2ban.service", "stockade-takeover.service"])?;
    let banned = fill(machine, FEW)?;
    let before = bans(machine)?;
    let stream = street.stream(usize::try_from(FEW)?, RATE)?;
    let start = street.counts()?;
    let steps = [
        ("takeover", "disable --now fail2ban.service", "everything is as it was before"),
        ("takeover", "enable --now stockade-takeover.service", "everything is as it was before"),
        ("takeover", "", ""),
        ("takeover --back", "enable --now fail2ban.service", "everything is as it was before"),
        ("takeover --back", "", ""),
    ];
    let mut original = true;
    for (words, fails, says) in steps {
        machine.write("/root/systemctl.fails", fails)?;
        let counts = street.counts()?;
        let said = machine.sh(&format!("stockade {words} 2>&1 || echo FAILED"))?;
        let what = || format!("{words} with failing `{fails}`: {said}");
        ensure!(said.contains("FAILED") != fails.is_empty() && said.contains(says), "{}", what());
        original = original != fails.is_empty();
        let ours = machine.sh("readlink /usr/bin/fail2ban-client || :")?.contains("stockade");
        ensure!(ours != original, "the names are not as they should be: {}", what());
        let runs = machine.sh("fail2ban-client get sshd banip | wc -w")?;
        ensure!(runs.trim().parse::<usize>()? >= banned - 1, "it lists {} bans: {}", runs.trim(), what());
        let now = bans(machine)?;
        ensure!(before.iter().all(|ban| now.contains(ban)), "bans are lost: {}", what());
        let tables = machine.sh("nft list tables")?;
        ensure!(!tables.contains("bridge"), "the table that held the bans is still there: {}", what());
        none_through(street.counts()?.since(counts), &what())?;
    }
    ensure!(original, "fail2ban guards at the end");
    // A name that can't be changed is found before anybody stops.
    machine.sh("mount --bind /usr/bin /usr/bin && mount -o remount,ro,bind /usr/bin")?;
    let said = machine.sh("stockade takeover 2>&1 || echo FAILED")?;
    machine.sh("umount --lazy /usr/bin")?;
    ensure!(said.contains("FAILED") && said.contains("nothing is changed"), "a read-only /usr/bin: {said}");
    ensure!(machine.sh("fail2ban-client ping")?.contains("pong"), "it was stopped: {said}");
    stage.figure(format!(
        "{banned} bans, {} packets of banned addresses, 0 came through",
        street.counts()?.since(start).sent
    ));
    machine.sh("fail2ban-client stop >/dev/null 2>&1; nft flush ruleset")?;
    let open = street.counts()?;
    within(Duration::from_secs(20), "the control to leak", || Ok(street.counts()?.since(open).delivered > 100))?;
    drop(stream);
    Ok(())
}

fn over_and_back(stage: &mut Stage<'_>) -> Result<()> {
    let many = BANNED * if scale() > 1 { 10 } else { 1 };
    let theirs = Theirs::start(stage)?;
    let (machine, street) = (&theirs.machine, &theirs.street);
    let banned = fill(machine, many)?;
    // Three of four failures: what was counted must count.
    let half: IpAddr = "203.0.113.200".parse()?;
    for _ in 0..3 {
        fails(machine, half)?;
    }
    eventually("the original to count", || {
        Ok(machine.sh("fail2ban-client status shop")?.contains("Total failed:\t3"))
    })?;
    let before = bans(machine)?;
    ensure!(before.len() == banned, "{} bans in the original's database instead of {banned}", before.len());

    let stream = street.stream(SENDING, RATE)?;
    let mut last = street.counts()?;
    within(Duration::from_secs(60), "all bans to be in the kernel", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = street.counts()?;
        let passed = now.since(last);
        last = now;
        Ok(passed.sent > u64::try_from(SENDING)? && passed.delivered == 0)
    })?;
    let start = street.counts()?;
    for (number, words) in ["takeover", "takeover --back", "takeover"].iter().enumerate() {
        let begin = Instant::now();
        let counts = street.counts()?;
        let said =
            machine.sh(&format!("stockade {words} 2>&1")).with_context(|| format!("takeover number {number}"))?;
        let passed = street.counts()?.since(counts);
        stage.figure(format!(
            "{words}: {:.1?}, {} packets sent, {} came through",
            begin.elapsed(),
            passed.sent,
            passed.delivered
        ));
        none_through(passed, &said)?;
        let now = bans(machine)?;
        let lost: Vec<&String> = before.iter().filter(|ban| !now.contains(ban)).collect();
        ensure!(
            lost.is_empty(),
            "{} bans are lost or count otherwise after `{words}`: {:?}\n{said}",
            lost.len(),
            lost.first()
        );
        let runs = machine.sh("fail2ban-client get sshd banip | wc -w")?;
        ensure!(runs.trim().parse::<usize>()? >= banned - 1, "after `{words}` it lists {} bans: {said}", runs.trim());
        if number == 0 {
            // Who forgets the tree is told of it.
            let asked = machine.sh("stockade status 2>&1 || :")?;
            ensure!(asked.contains("add -c /etc/fail2ban"), "without the tree `status` says: {asked}");
            // One more failure is the fourth.
            fails(machine, half)?;
            eventually("the fourth failure to ban", || {
                Ok(machine.sh("stockade banned -c /etc/fail2ban")?.contains(&half.to_string()))
            })
            .with_context(|| machine.sh("tail -20 /var/log/fail2ban.log").unwrap_or_default())?;
        }
    }
    none_through(street.counts()?.since(start), "between the takeovers")?;
    let tables = machine.sh("nft list tables")?;
    ensure!(!tables.contains("bridge"), "the table that held the bans is still there: {tables}");
    ensure!(
        machine.sh("readlink /usr/bin/fail2ban-client")?.contains("stockade"),
        "the name does not lead to stockade"
    );
    // The control: when nobody guards, the same stream is delivered.
    machine.sh("fail2ban-client stop >/dev/null 2>&1; nft flush ruleset")?;
    let open = street.counts()?;
    within(Duration::from_secs(20), "the control to leak", || Ok(street.counts()?.since(open).delivered > 100))?;
    drop(stream);
    stage.figure(format!(
        "{banned} bans, {} packets of banned addresses in all, 0 came through",
        open.since(start).sent
    ));
    Ok(())
}

/// Bans the stream's addresses, and others up to `many`; how many there are then.
fn fill(machine: &Machine, many: u32) -> Result<usize> {
    let mut all: Vec<String> =
        Stream::addresses(SENDING.min(usize::try_from(many)?)).iter().map(ToString::to_string).collect();
    let more = many.saturating_sub(u32::try_from(all.len())?);
    all.extend((0..more).map(|n| format!("100.{}.{}.{}", 64 + n / 65_536, n / 256 % 256, n % 256)));
    let file = all.join("\n");
    machine.write("/root/addresses", &file)?;
    // Twice, one of them: its count must be two from then on.
    let first = all.first().context("an address")?;
    machine.sh(&format!("fail2ban-client set sshd banip {first} && fail2ban-client set sshd unbanip {first}"))?;
    machine.sh("xargs -n 500 fail2ban-client set sshd banip < /root/addresses >/dev/null")?;
    machine.sh("fail2ban-client set recidive banip 198.51.100.250")?;
    let elements =
        "nft list set inet f2b-table addr-set-sshd; nft list set inet f2b-table addr6-set-sshd 2>/dev/null || :";
    // It starts a shell for each: 40 a second on a quiet machine.
    within(Duration::from_secs(u64::from(many / 4 + 120)), "the original to ban everybody", || {
        std::thread::sleep(Duration::from_millis(500));
        let text = machine.sh(elements)?;
        Ok(all.last().is_some_and(|last| text.contains(last.as_str())) && text.matches(',').count() + 2 >= all.len())
    })?;
    Ok(all.len() + 1)
}

/// One failure in the log of the shop.
fn fails(machine: &Machine, from: IpAddr) -> Result<()> {
    let now = machine.sh("date '+%Y-%m-%d %H:%M:%S'")?;
    machine.append("/var/log/shop.log", &format!("{} www login of bob failed from {from}\n", now.trim()))
}

/// Jail, id, begin, ban time and count of all bans, as the database's own table has them.
fn bans(machine: &Machine) -> Result<Vec<String>> {
    let script = "import sqlite3; [print(*row) for row in sqlite3.connect('/var/lib/fail2ban/fail2ban.sqlite3')\
         .execute('select jail, ip, timeofban, bantime, bancount from bips order by jail, ip')]";
    let mut rows = Vec::new();
    // A guard that has just started may be ahead of the table.
    within(Duration::from_secs(30), "the database", || {
        rows = machine.run(&["python3", "-c", script])?.good("the database")?.lines().map(str::to_owned).collect();
        Ok(!rows.is_empty())
    })?;
    Ok(rows)
}

fn none_through(counts: Counts, said: &str) -> Result<()> {
    ensure!(counts.sent > 1_000, "the stream stood still: {counts:?}");
    ensure!(counts.delivered == 0, "{} packets of banned addresses came through: {said}", counts.delivered);
    Ok(())
}
