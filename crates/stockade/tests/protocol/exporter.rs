//! The Prometheus exporter that dashboards are made with, as far as it talks to
//! the socket: requests as its encoder writes them (protocol 2, texts as ASCII),
//! answers as its decoder takes them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use stockade_original::{newest, older};
use stockade_wire::Value;
use stockade_wire::pickle::{Answer, Limits, read_answer};

use crate::daemon::{Daemon, END, fresh};

/// A request as the exporter's encoder writes it: a mark, texts, a list. Each
/// opcode is written by itself.
fn send(stream: &mut UnixStream, command: &[&str]) {
    stream.write_all(b"\x80\x02").unwrap();
    stream.write_all(b"(").unwrap();
    for word in command {
        stream.write_all(&[b'U', u8::try_from(word.len()).unwrap()]).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
    }
    stream.write_all(b"l.").unwrap();
    stream.write_all(END).unwrap();
}

/// It reads 1 KiB at a time, and takes each part for a full one.
fn receive(stream: &mut UnixStream) -> Value {
    let mut data = Vec::new();
    while memchr::memmem::find(&data, END).is_none() {
        let mut part = [0_u8; 1_024];
        assert!(stream.read(&mut part).unwrap() > 0, "the daemon hung up");
        data.extend_from_slice(&part);
    }
    match read_answer(&data, Limits::default()) {
        Ok(Answer::Result(value)) => value,
        other => panic!("{other:?}"),
    }
}

/// The item of a list of tuples that has this place; its second member.
fn second(value: &Value, at: usize) -> &Value {
    let Value::List(items) = value else { panic!("{value:?} is no list") };
    let Value::Tuple(pair) = &items[at] else { panic!("{:?} is no tuple", items[at]) };
    &pair[1]
}

/// One look of the exporter: each figure by its metric and jail.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scrape {
    figures: BTreeMap<(&'static str, String), i64>,
    version: String,
}

impl Scrape {
    /// Asks as the exporter does, over a connection of its own.
    fn of(daemon: &Daemon) -> Scrape {
        let mut stream = daemon.connect();
        let mut ask = |command: &[&str]| {
            send(&mut stream, command);
            receive(&mut stream)
        };
        let mut scrape = Scrape::default();
        let whole = |value: &Value| value.as_int().unwrap();
        scrape.put("f2b_up", "", i64::from(ask(&["ping", "100"]) == "pong".into()));
        scrape.version = ask(&["version"]).as_str().unwrap().to_owned();
        let status = ask(&["status"]);
        scrape.put("f2b_jail_count", "", whole(second(&status, 0)));
        for jail in second(&status, 1).as_str().unwrap().split(", ") {
            let answer = ask(&["status", jail]);
            let (filter, actions) = (second(&answer, 0), second(&answer, 1));
            scrape.put("f2b_jail_failed_current", jail, whole(second(filter, 0)));
            scrape.put("f2b_jail_failed_total", jail, whole(second(filter, 1)));
            scrape.put("f2b_jail_banned_current", jail, whole(second(actions, 0)));
            scrape.put("f2b_jail_banned_total", jail, whole(second(actions, 1)));
            scrape.put("f2b_config_jail_ban_time", jail, whole(&ask(&["get", jail, "bantime"])));
            scrape.put("f2b_config_jail_find_time", jail, whole(&ask(&["get", jail, "findtime"])));
            scrape.put("f2b_config_jail_max_retries", jail, whole(&ask(&["get", jail, "maxretry"])));
        }
        scrape
    }

    fn put(&mut self, metric: &'static str, jail: &str, figure: i64) {
        self.figures.insert((metric, jail.to_owned()), figure);
    }

    /// All figures of a metric, by jail.
    fn metric(&self, metric: &str) -> BTreeMap<&str, i64> {
        let these = self.figures.iter().filter(|((name, _), _)| *name == metric);
        these.map(|((_, jail), figure)| (jail.as_str(), *figure)).collect()
    }

    fn sum(&self, metric: &str) -> i64 {
        self.metric(metric).values().sum()
    }

    /// How much a metric has grown since an earlier look, by jail.
    fn increase<'s>(&'s self, before: &Scrape, metric: &str) -> BTreeMap<&'s str, i64> {
        let before = before.metric(metric);
        self.metric(metric).into_iter().map(|(jail, now)| (jail, now - before.get(jail).unwrap_or(&0))).collect()
    }
}

/// The questions of its dashboard and of alerts that people share, answered from two looks.
fn panels(before: &Scrape, now: &Scrape) -> Vec<(&'static str, String)> {
    let top = now.metric("f2b_jail_banned_current").into_iter().max_by_key(|(_, figure)| *figure);
    vec![
        ("f2b_up", format!("{:?}", now.metric("f2b_up"))),
        ("f2b_jail_count", format!("{:?}", now.metric("f2b_jail_count"))),
        ("sum(f2b_jail_banned_current)", now.sum("f2b_jail_banned_current").to_string()),
        ("sum(f2b_jail_failed_current)", now.sum("f2b_jail_failed_current").to_string()),
        ("f2b_jail_banned_current by jail", format!("{:?}", now.metric("f2b_jail_banned_current"))),
        ("topk(1, f2b_jail_banned_current)", format!("{top:?}")),
        ("increase(f2b_jail_banned_total)", format!("{:?}", now.increase(before, "f2b_jail_banned_total"))),
        ("increase(f2b_jail_failed_total)", format!("{:?}", now.increase(before, "f2b_jail_failed_total"))),
        ("f2b_config_jail_ban_time", format!("{:?}", now.metric("f2b_config_jail_ban_time"))),
        ("f2b_config_jail_find_time", format!("{:?}", now.metric("f2b_config_jail_find_time"))),
        ("f2b_config_jail_max_retries", format!("{:?}", now.metric("f2b_config_jail_max_retries"))),
    ]
}

/// Bans and failures between two looks; both looks.
fn looks(daemon: &Daemon) -> (Scrape, Scrape) {
    let before = Scrape::of(daemon);
    let mut stream = daemon.connect();
    let mut ask = |command: &[&str], expected: i64| {
        send(&mut stream, command);
        assert_eq!(receive(&mut stream), expected.into(), "{command:?}");
    };
    ask(&["set", "web", "banip", "192.0.2.1", "192.0.2.2", "2001:db8::1"], 3);
    ask(&["set", "api", "banip", "192.0.2.1"], 1);
    ask(&["set", "web", "attempt", "192.0.2.9"], 1);
    ask(&["set", "web", "unbanip", "192.0.2.2"], 1);
    ask(&["set", "api", "maxretry", "9"], 9);
    // The original bans in a thread that looks now and then.
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let now = Scrape::of(daemon);
        if now.sum("f2b_jail_banned_total") == 4 || Instant::now() > until {
            return (before, now);
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn end(daemon: Daemon) {
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_exporter_shows_what_it_shows_of_the_original() {
    let ours = Daemon::ours(fresh("exporter"));
    let (before, now) = looks(&ours);
    assert_eq!(now.sum("f2b_jail_banned_current"), 3, "{now:?}");
    assert_eq!((now.figures.len(), now.sum("f2b_up")), (16, 1));
    assert_eq!(now.metric("f2b_config_jail_max_retries"), BTreeMap::from([("api", 9), ("web", 3)]));
    for (version, find) in [("1.1.0", newest as fn(&str) -> _), ("1.0.2", older)] {
        let Some(installed) = find("the_exporter_shows_what_it_shows_of_the_original") else { continue };
        let theirs = Daemon::theirs(fresh(&format!("exporter-{version}")), &installed.root);
        let (their_before, their_now) = looks(&theirs);
        assert_eq!(their_now.version, version);
        assert_eq!(their_before.figures, before.figures, "{version}");
        assert_eq!(their_now.figures, now.figures, "{version}");
        let (theirs_shown, shown) = (panels(&their_before, &their_now), panels(&before, &now));
        assert_eq!(theirs_shown, shown, "{version}");
        println!("{version}: {} figures and {} panels equal", now.figures.len(), shown.len());
        end(theirs);
    }
    end(ours);
}
