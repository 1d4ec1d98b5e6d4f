//! The original and ours on one tree and one database in turn, there and back twice: bans, counts and places in the
//! logs are carried, and what the other did in between counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use conformance::{Guard, Machine, Program, Root, within};
use rustix::process::Signal;

use crate::runner::{Stage, Story};

/// Two jails: `shop` bans for long, `till` for three seconds and longer each time.
const LOCAL: &[(&str, &str)] = &[
    (
        "jail.local",
        "[DEFAULT]\nbackend = polling\nfindtime = 1h\nmaxretry = 3\nbantime.increment = true\n\
         banaction = nftables-multiport\nfilter = shop\nport = http\n\n[sshd]\nenabled = false\n\n\
         [shop]\nenabled = true\nbantime = 1h\nlogpath = /var/log/shop.log\n\n\
         [till]\nenabled = true\nbantime = 3\nlogpath = /var/log/till.log\n",
    ),
    ("filter.d/shop.conf", "[Definition]\nfailregex = ^ \\S+ login of \\S+ failed from <HOST>$\n"),
];

/// Who runs, and how it ends. The original is told: killed, it has not noted its place in a log that is silent since.
const TURNS: [(Program, End); 5] = [
    (Program::Fail2ban, End::Told),
    (Program::Stockade, End::Killed),
    (Program::Fail2ban, End::Told),
    (Program::Stockade, End::Told),
    (Program::Fail2ban, End::Told),
];

/// In how many of them somebody is banned anew when the last ban is over: the last one takes 12 seconds.
const REGULAR: u8 = 3;

/// How long the original may take for a thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a turn ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// `fail2ban-client stop`.
    Told,
    /// kill -9, and the kernel is emptied.
    Killed,
}

pub(crate) fn stories() -> Vec<Story> {
    [(Root::Trixie, "1.1.0"), (Root::Bookworm, "1.0.2")]
        .into_iter()
        .map(|(root, version)| {
            Story::new(
                format!("turns: fail2ban {version} and ours on one database, there and back twice"),
                move |stage| there_and_back(stage, root),
            )
        })
        .collect()
}

/// A row of the database's own table of bans: begin, ban time, count.
type Row = (i64, i64, i64);

/// What has to be true, whoever runs.
#[derive(Default)]
struct Truth {
    /// Banned in `shop`.
    banned: BTreeSet<IpAddr>,
    /// How often `Found` has to stand in the log for an address in `shop`.
    found: BTreeMap<IpAddr, usize>,
    /// The rows of all that were banned when the last turn ended.
    rows: BTreeMap<String, Row>,
}

fn there_and_back(stage: &mut Stage<'_>, root: Root) -> Result<()> {
    let machine = Machine::start(root, stage.programs)?;
    ensure!(stage.programs.place().join("stockade").is_file(), "there is no stockade to test: build it first");
    for (path, text) in LOCAL {
        machine.write(&format!("/etc/fail2ban/{path}"), text)?;
    }
    machine.sh("mkdir -p /run/fail2ban /var/lib/fail2ban && touch /var/log/shop.log /var/log/till.log")?;
    let mut truth = Truth::default();
    for (number, (program, end)) in (0_u8..).zip(TURNS) {
        turn(&machine, &mut truth, number, program, end).with_context(|| {
            let log = machine.read("/var/log/fail2ban.log");
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            format!("turn {number}, {program:?}; the log ends with\n  {}\nfound", tail.join("\n  "))
        })?;
    }
    stage.figure(format!(
        "{} turns: {} bans of {} held, {} failures counted once each",
        TURNS.len(),
        truth.banned.len(),
        truth.rows.len(),
        truth.found.values().sum::<usize>()
    ));
    Ok(())
}

/// One program's time on the tree: what it finds, what it does, and what it leaves.
fn turn(machine: &Arc<Machine>, truth: &mut Truth, number: u8, program: Program, end: End) -> Result<()> {
    let address = |host: u8| IpAddr::from([192, 0, 2, 10 * number + host]);
    // Nobody runs while two of three failures are written.
    let between = address(1);
    fails(machine, truth, "shop", between, 2)?;
    // The log, the socket and the client are the original's, whoever runs.
    let mut guard = Guard::new(machine, Program::Fail2ban);
    guard.launch_line(match program {
        Program::Fail2ban => "exec fail2ban-server -xf start",
        Program::Stockade => "exec stockade run -c /etc/fail2ban",
    })?;
    within(PATIENCE, "the guard to answer", || Ok(guard.answers())).map_err(|error| error.context(guard.words()))?;
    holds(machine, &guard, truth)?;
    match program {
        Program::Fail2ban => not_asked(machine)?,
        Program::Stockade => counts(machine)?,
    }

    // The third failure bans: the two from before were seen.
    fails(machine, truth, "shop", between, 1)?;
    truth.banned.insert(between);
    holds(machine, &guard, truth)?;
    // A ban by hand, one lifted that the other program had made, and one made again that had been lifted.
    let by_hand = address(2);
    client(&guard, &["set", "shop", "banip", &by_hand.to_string()])?;
    truth.banned.insert(by_hand);
    if let Some(earlier) = number.checked_sub(1) {
        let lifted = IpAddr::from([192, 0, 2, 10 * earlier + 1]);
        client(&guard, &["set", "shop", "unbanip", &lifted.to_string()])?;
        truth.banned.remove(&lifted);
    }
    if let Some(earlier) = number.checked_sub(2) {
        let again = IpAddr::from([192, 0, 2, 10 * earlier + 1]);
        client(&guard, &["set", "shop", "banip", &again.to_string()])?;
        truth.banned.insert(again);
    }
    // Longer each time: the count is carried from one to the other.
    let regular: IpAddr = "198.51.100.7".parse()?;
    if number < REGULAR {
        fails(machine, truth, "till", regular, 3)?;
        let times = i64::from(number) + 1;
        within(PATIENCE, "the count of a ban", || {
            let row = rows(machine)?.remove(&format!("till {regular}"));
            Ok(row.is_some_and(|(_, bantime, count)| (bantime, count) == (3 << number, times)))
        })
        .with_context(|| format!("{:?}", rows(machine)))?;
        let ended = || Ok(guard.said("till", "Unban", regular) == usize::from(number) + 1);
        within(PATIENCE, "its end", ended)?;
    }
    // Two failures that lead to nothing, and may not be seen a second time.
    fails(machine, truth, "shop", address(3), 2)?;
    holds(machine, &guard, truth)?;
    // Who is killed notes nothing more: it may take its time before that.
    if matches!(end, End::Killed) {
        within(PATIENCE, "the places in the logs to be noted", || Ok(unread(machine)?.is_empty()))
            .with_context(|| format!("{:?}", unread(machine)))?;
    }
    match end {
        End::Told => {
            client(&guard, &["stop"])?;
            let code = guard.daemon().context("the guard's process")?.ended()?;
            ensure!(code == 0, "it ended with {code}");
        }
        End::Killed => {
            guard.stop(Signal::KILL)?;
            machine.sh("nft flush ruleset")?;
        }
    }
    let left = unread(machine)?;
    ensure!(left.is_empty(), "the places in the logs are not at their ends: {left:?}");
    truth.rows = rows(machine)?;
    Ok(())
}

/// Who is banned, in its answers, in the kernel and in the database; and how often each failure was seen.
fn holds(machine: &Machine, guard: &Guard, truth: &Truth) -> Result<()> {
    let (mut listed, mut elements) = (BTreeSet::new(), BTreeSet::new());
    within(PATIENCE, "the bans", || {
        listed = client(guard, &["get", "shop", "banip"])?.split_whitespace().filter_map(|w| w.parse().ok()).collect();
        let set = machine.sh("nft list set inet f2b-table addr-set-shop 2>/dev/null || :")?;
        let words = set.split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}'));
        elements = words.filter_map(|word| word.parse::<IpAddr>().ok()).collect();
        Ok(listed == truth.banned && elements == truth.banned)
    })
    .with_context(|| format!("{:?} are to be banned, it says {listed:?}, the kernel {elements:?}", truth.banned))?;
    for (address, wanted) in &truth.found {
        let seen = || guard.found("shop", *address) + guard.found("till", *address);
        within(PATIENCE, "the failures", || Ok(seen() >= *wanted))?;
        ensure!(seen() == *wanted, "{wanted} failures of {address} were seen {} times", seen());
    }
    let now = rows(machine)?;
    for (name, row) in &truth.rows {
        let address = name.strip_prefix("shop ").and_then(|text| text.parse::<IpAddr>().ok());
        if address.is_some_and(|address| truth.banned.contains(&address)) && now.get(name) != Some(row) {
            anyhow::bail!("{name} was {row:?} (begin, ban time, count), and is {:?}", now.get(name));
        }
    }
    Ok(())
}

/// Our own client beside the original: it is not kept waiting, and says who answers there.
fn not_asked(machine: &Machine) -> Result<()> {
    let output = machine.run(&["timeout", "60", "stockade", "status", "-c", "/etc/fail2ban"])?;
    ensure!(output.code == 3, "our client beside the original: exit code {}: {}", output.code, output.all());
    Ok(())
}

/// A ban that was taken up again counts as often as the database says.
fn counts(machine: &Machine) -> Result<()> {
    let listed = machine.sh("stockade banned --json -c /etc/fail2ban")?;
    let listed: serde_json::Value = serde_json::from_str(&listed).with_context(|| listed.clone())?;
    let rows = rows(machine)?;
    let bans = listed.get("bans").and_then(serde_json::Value::as_array).context("bans")?;
    ensure!(!bans.is_empty(), "nobody is banned");
    for ban in bans {
        let text = |key: &str| ban.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let stored = rows.get(&format!("{} {}", text("jail"), text("id"))).map(|(_, _, count)| *count);
        let count = ban.get("count").and_then(serde_json::Value::as_i64);
        ensure!(count.is_some() && count == stored, "{ban} counts {count:?}, in the database {stored:?}");
    }
    Ok(())
}

fn client(guard: &Guard, words: &[&str]) -> Result<String> {
    guard.client(words)?.good(&words.join(" "))
}

/// Failures in the log of a jail.
fn fails(machine: &Machine, truth: &mut Truth, jail: &str, from: IpAddr, times: usize) -> Result<()> {
    let now = machine.sh("date '+%Y-%m-%d %H:%M:%S'")?;
    let line = format!("{} www login of bob failed from {from}\n", now.trim());
    machine.append(&format!("/var/log/{jail}.log"), &line.repeat(times))?;
    *truth.found.entry(from).or_default() += times;
    Ok(())
}

/// The database's own table of bans, by jail and id.
fn rows(machine: &Machine) -> Result<BTreeMap<String, Row>> {
    let mut all = BTreeMap::new();
    for line in query(machine, "select jail, ip, timeofban, bantime, bancount from bips")?.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [jail, id, begin, bantime, count] = words.as_slice() else { continue };
        all.insert(format!("{jail} {id}"), (begin.parse()?, bantime.parse()?, count.parse()?));
    }
    Ok(all)
}

/// Logs whose place in the database's own table is not their end: path, place, length.
fn unread(machine: &Machine) -> Result<Vec<(String, u64, u64)>> {
    let mut unread = Vec::new();
    for line in query(machine, "select path, lastfilepos from logs")?.lines() {
        let (path, place) = line.split_once(' ').context("a path and a place")?;
        let (place, length) = (place.parse()?, std::fs::metadata(machine.path(path))?.len());
        if place != length {
            unread.push((path.to_owned(), place, length));
        }
    }
    Ok(unread)
}

fn query(machine: &Machine, query: &str) -> Result<String> {
    let script = format!(
        "import sqlite3; [print(*row) for row in sqlite3.connect('/var/lib/fail2ban/fail2ban.sqlite3', timeout=20)\
         .execute('{query}')]"
    );
    machine.run(&["python3", "-c", &script])?.good("the database")
}
