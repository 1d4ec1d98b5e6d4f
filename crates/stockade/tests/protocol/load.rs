//! Many clients while the logs grow fast. `STOCKADE_LONG=n` sends n times as many commands.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stockade_wire::Value;
use stockade_wire::pickle::{Answer, Limits, read_answer, request};

use crate::daemon::{Daemon, END, answer, fresh};

const CLIENTS: usize = 200;
const COMMANDS: usize = 100;
/// Lines written every ten milliseconds.
const BURST: usize = 100;

/// What a client says in turn; `{id}` is an address of its own.
const TURNS: [&[&str]; 10] = [
    &["ping"],
    &["status"],
    &["status", "web"],
    &["get", "web", "banip", "--with-time"],
    &["set", "api", "banip", "{id}"],
    &["banned", "{id}"],
    &["set", "api", "unbanip", "{id}"],
    &["stats"],
    &["get", "web", "failregex"],
    &["banned"],
];

#[test]
fn two_hundred_clients_are_answered_while_ten_thousand_lines_a_second_come() {
    let daemon = Daemon::ours(fresh("load"));
    let commands = COMMANDS * std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (done, lines) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        scope.spawn(|| grow(&daemon, &done, &lines));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                scope.spawn({
                    let daemon = &daemon;
                    move || client(daemon, n, commands)
                })
            })
            .collect();
        let times = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        times
    });
    let took = began.elapsed();
    let written = lines.load(Ordering::Relaxed);
    // All lines are read, the one in a hundred that is a failure counts.
    let until = Instant::now() + Duration::from_secs(60);
    let failed = written / 100;
    while counted(&daemon) < failed {
        assert!(Instant::now() < until, "{} of {failed} failures were counted", counted(&daemon));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(counted(&daemon), failed);
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1_000];
    println!(
        "{} answers in {took:?} beside {written} lines ({:.0} a second): p50 {:?}, p99 {:?}, longest {:?}",
        times.len(),
        written as f64 / took.as_secs_f64(),
        at(500),
        at(990),
        at(1_000),
    );
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Appends lines at the stated rate until all clients are through.
fn grow(daemon: &Daemon, done: &AtomicBool, lines: &AtomicU64) {
    let mut log = std::fs::OpenOptions::new().append(true).open(daemon.folder.join("web.log")).unwrap();
    let began = Instant::now();
    let mut bursts = 0_u32;
    while !done.load(Ordering::Relaxed) {
        let mut text = String::new();
        for n in 0..BURST {
            let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
            let (a, b) = (bursts / 250 % 250, bursts % 250);
            text += &match n {
                0 => format!("{now} denied 10.7.{a}.{b}\n"),
                _ => format!("{now} session {bursts} opened for somebody at pts/{n}\n"),
            };
        }
        log.write_all(text.as_bytes()).unwrap();
        lines.fetch_add(BURST as u64, Ordering::Relaxed);
        bursts += 1;
        let next = began + Duration::from_millis(10) * bursts;
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}

/// One client's conversation; how long each answer took.
fn client(daemon: &Daemon, number: usize, commands: usize) -> Vec<Duration> {
    let mut stream = daemon.connect();
    let id = format!("192.0.{}.{}", 2 + number / 250, number % 250);
    let mut times = Vec::with_capacity(commands);
    for n in 0..commands {
        let words = TURNS[n % TURNS.len()].iter().map(|word| Value::from(word.replace("{id}", &id)));
        let words: Vec<Value> = words.collect();
        let began = Instant::now();
        stream.write_all(&[&request(&words)[..], END].concat()).unwrap();
        let bytes = answer(&mut stream).unwrap_or_else(|| panic!("{words:?} got no answer: {}", daemon.words()));
        times.push(began.elapsed());
        let answer = read_answer(&bytes, Limits::default());
        assert!(matches!(answer, Ok(Answer::Result(_))), "{words:?}: {answer:?}");
    }
    times
}

fn counted(daemon: &Daemon) -> u64 {
    let Answer::Result(Value::Dict(jails)) = daemon.ask(&["stats".into()]) else { panic!("no stats") };
    let (_, web) = jails.iter().find(|(name, _)| *name == "web".into()).unwrap();
    let total = web.as_items().and_then(|items| items[1].as_items()).and_then(|pair| pair[1].as_int());
    total.unwrap().try_into().unwrap()
}

/// What a status may take from the command to its end, with that many bans. The bar is of the program as it is shipped;
/// a busy machine can take its time between any two steps, so the fastest of some runs is held to it.
const STATUS_BANS: u32 = 100_000;
const STATUS_MAX: Duration = Duration::from_millis(10);

#[test]
fn a_status_with_a_hundred_thousand_bans_is_there_at_once() {
    let daemon = Daemon::ours(fresh("status"));
    for part in 0..STATUS_BANS / 1_000 {
        let ids = (0..1_000).map(|n| Value::from(format!("10.{}.{}.{}", part / 64, part % 64 * 4 + n / 250, n % 250)));
        let words: Vec<Value> = ["set", "web", "banip"].map(Value::from).into_iter().chain(ids).collect();
        assert_eq!(daemon.ask(&words), Answer::Result(1_000.into()));
    }
    let tree = daemon.folder.join("etc");
    let ways: [(&str, &[&str]); 3] = [
        ("stockade status", &["status", "-c"]),
        ("fail2ban-client status", &["fail2ban-client", "status", "-c"]),
        ("start to first word", &["--version", "-c"]),
    ];
    for (name, words) in ways {
        let mut times: Vec<Duration> = (0..40).map(|_| took(words, &tree)).collect();
        times.sort_unstable();
        println!(
            "{name} beside {STATUS_BANS} bans: fastest {:?}, median {:?}, slowest {:?}",
            times[0], times[20], times[39]
        );
        assert!(cfg!(debug_assertions) || times[0] < STATUS_MAX, "{name}: {:?}", times[0]);
    }
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

/// How long a command line takes.
fn took(words: &[&str], tree: &std::path::Path) -> Duration {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stockade"));
    match words {
        ["fail2ban-client", rest @ .., option] => command.args(["fail2ban-client", option]).arg(tree).args(rest),
        ["--version", ..] => command.arg("--version"),
        words => command.args(words).arg(tree),
    };
    let began = Instant::now();
    let output = command.output().unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{words:?}: {output:?}");
    took
}
