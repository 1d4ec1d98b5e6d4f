//! The Prometheus exporter that dashboards are made with, as far as it talks to
//! the socket: requests as its encoder writes them (protocol 2, texts as ASCII),
//! answers as its decoder takes them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

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

#[test]
fn the_exporter_gets_what_its_dashboard_shows() {
    let daemon = Daemon::ours(fresh("exporter"));
    let mut stream = daemon.connect();
    let mut ask = |command: &[&str]| {
        send(&mut stream, command);
        receive(&mut stream)
    };
    assert_eq!(ask(&["set", "web", "banip", "192.0.2.1", "192.0.2.2"]), 2.into());
    assert_eq!(ask(&["set", "web", "attempt", "192.0.2.9"]), 1.into());
    // f2b_up, f2b_version
    assert_eq!(ask(&["ping", "100"]), "pong".into());
    assert!(matches!(ask(&["version"]), Value::Str(version) if version.starts_with("1.")));
    // f2b_jail_count, and the names that all others are asked by
    let status = ask(&["status"]);
    assert_eq!((second(&status, 0), second(&status, 1)), (&2.into(), &"api, web".into()));
    // f2b_jail_failed_current, _failed_total, _banned_current, _banned_total
    let jail = ask(&["status", "web"]);
    let (filter, actions) = (second(&jail, 0), second(&jail, 1));
    let figures = [second(filter, 0), second(filter, 1), second(actions, 0), second(actions, 1)];
    assert_eq!(figures, [&1.into(), &1.into(), &2.into(), &2.into()]);
    // f2b_config_jail_ban_time, _find_time, _max_retries
    assert_eq!(ask(&["get", "web", "bantime"]), 3_600.into());
    assert_eq!(ask(&["get", "web", "findtime"]), 600.into());
    assert_eq!(ask(&["get", "web", "maxretry"]), 3.into());
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}
