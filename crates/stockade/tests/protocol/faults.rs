//! A reload that is stopped at any of its commands has changed nothing
//! (protocol-reload-is-whole, protocol-left-out-refuses).

use stockade_wire::Value;
use stockade_wire::pickle::Answer;

use crate::daemon::{Daemon, fresh};

fn words(list: &[&str]) -> Vec<Value> {
    list.iter().map(|word| Value::from(*word)).collect()
}

/// Everything that clients can see: all options, counts, bans and actions of all
/// jails, and the options of the server.
fn observable(daemon: &Daemon) -> Vec<String> {
    const OPTIONS: [&str; 24] = [
        "logpath",
        "logencoding",
        "journalmatch",
        "ignoreself",
        "ignoreip",
        "ignorecommand",
        "ignorecache",
        "prefregex",
        "failregex",
        "ignoreregex",
        "usedns",
        "findtime",
        "datepattern",
        "logtimezone",
        "maxmatches",
        "maxretry",
        "maxlines",
        "bantime",
        "banned",
        "actions",
        "bantime.increment",
        "bantime.maxtime",
        "stockade.guard",
        "stockade.onstop",
    ];
    const ACTION: [&str; 6] = ["actionban", "actionunban", "actionstart", "timeout", "name", "port"];
    let mut requests = vec![words(&["status", "--all"]), words(&["stats"]), words(&["banned"])];
    for option in ["loglevel", "logtarget", "syslogsocket", "thread", "dbfile", "dbmaxmatches", "dbpurgeage"] {
        requests.push(words(&["get", option]));
    }
    for jail in ["web", "api", "extra"] {
        requests.extend(OPTIONS.iter().map(|option| words(&["get", jail, option])));
        requests.push(words(&["get", jail, "banip", "--with-time"]));
        for action in ["noop", "more"] {
            requests.push(words(&["get", jail, "actionproperties", action]));
            requests.extend(ACTION.iter().map(|property| words(&["get", jail, "action", action, property])));
        }
    }
    requests.iter().map(|request| format!("{request:?} {:?}", daemon.ask(request))).collect()
}

/// The stream of another configuration: one jail changed in every way, one gone,
/// one new.
fn other_configuration(daemon: &Daemon) -> Vec<Vec<Value>> {
    let home = daemon.folder.display().to_string();
    let log = format!("{home}/api.log");
    let lines: Vec<Vec<&str>> = vec![
        vec!["set", "loglevel", "NOTICE"],
        vec!["set", "dbpurgeage", "3d"],
        vec!["set", "dbmaxmatches", "3"],
        vec!["add", "web", "polling"],
        vec!["set", "web", "usedns", "warn"],
        vec!["set", "web", "prefregex", "^<F-CONTENT>.+</F-CONTENT>$"],
        vec!["set", "web", "maxlines", "2"],
        vec!["set", "web", "addfailregex", "^other <HOST>"],
        vec!["set", "web", "addignoreregex", "^nothing"],
        vec!["set", "web", "datepattern", "%Y-%m-%d %H:%M:%S"],
        vec!["set", "web", "maxretry", "9"],
        vec!["set", "web", "maxmatches", "9"],
        vec!["set", "web", "findtime", "1d"],
        vec!["set", "web", "bantime", "2d"],
        vec!["set", "web", "bantime.increment", "true"],
        vec!["set", "web", "bantime.maxtime", "5w"],
        vec!["set", "web", "ignorecommand", ""],
        vec!["set", "web", "ignoreself", "false"],
        vec!["set", "web", "addignoreip", "198.51.100.0/24"],
        vec!["set", "web", "ignorecache", "key=\"<ip>\", max-count=3, max-time=1m"],
        vec!["set", "web", "logtimezone", "UTC+0200"],
        vec!["set", "web", "logencoding", "ascii"],
        vec!["set", "web", "addlogpath", &log, "tail"],
        vec!["set", "web", "addaction", "more"],
        vec!["set", "web", "action", "more", "actionban", "true more"],
        vec!["set", "web", "action", "more", "timeout", "5"],
        vec!["add", "extra", "polling"],
        vec!["set", "extra", "addfailregex", "^extra <HOST>"],
        vec!["set", "extra", "addlogpath", &log, "head"],
        vec!["start", "web"],
        vec!["start", "extra"],
    ];
    lines.iter().map(|line| words(line)).collect()
}

fn reload(name: &str, stream: &[Vec<Value>]) -> Vec<Value> {
    let commands = stream.iter().map(|command| Value::List(command.clone())).collect();
    vec!["reload".into(), name.into(), Value::List(Vec::new()), Value::List(commands)]
}

#[test]
fn a_reload_that_fails_anywhere_changes_nothing() {
    let daemon = Daemon::ours(fresh("faults"));
    for jail in ["web", "api"] {
        let ban = ["set", jail, "banip", "192.0.2.1", "192.0.2.2", "2001:db8::/32"];
        assert_eq!(daemon.ask(&words(&ban)), Answer::Result(3.into()));
    }
    assert_eq!(daemon.ask(&words(&["set", "web", "attempt", "192.0.2.9"])), Answer::Result(1.into()));
    let before = observable(&daemon);
    let stream = other_configuration(&daemon);
    let faults = [
        words(&["set", "web", "addfailregex", "("]),
        words(&["set", "nobody", "maxretry", "1"]),
        words(&["set", "loglevel", "LOUD"]),
        words(&["add", "odd", "gamin"]),
        words(&["set", "logtarget", "/nowhere/at/all.log"]),
        words(&["frobnicate"]),
    ];
    let mut tried = 0;
    for at in 0..=stream.len() {
        for fault in &faults {
            // A jail must be there for a regex that is none; the whole is refused either way.
            let mut broken = stream.clone();
            broken.insert(at, fault.clone());
            let answer = daemon.ask(&reload("--all", &broken));
            assert!(matches!(answer, Answer::Refused(_)), "{fault:?} at {at}: {answer:?}");
            tried += 1;
        }
        let after = observable(&daemon);
        let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!(changed.is_empty(), "a fault at {at} changed {changed:#?}");
    }
    // The same stream without a fault does change everything.
    assert_eq!(daemon.ask(&reload("--all", &stream)), Answer::Result("OK".into()));
    let after = observable(&daemon);
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    println!("{tried} faults changed none of {} answers; the reload itself changed {changed}", before.len());
    assert!(changed > 60, "only {changed} answers changed");
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_foreign_stream_keeps_our_own_options() {
    let folder = fresh("overlay");
    let daemon = Daemon::ours_with(folder, "stockade.guard = off\nstockade.onstop = keep\n");
    let own = |option: &str| daemon.ask(&words(&["get", "web", option]));
    assert_eq!(own("stockade.guard"), Answer::Result("off".into()));
    let mut stream = other_configuration(&daemon);
    stream.retain(|command| command[0] != "set".into() || command[1] == "web".into());
    assert_eq!(daemon.ask(&reload("web", &stream)), Answer::Result("OK".into()));
    assert_eq!(daemon.ask(&words(&["get", "web", "maxretry"])), Answer::Result(9.into()));
    assert_eq!(own("stockade.guard"), Answer::Result("off".into()));
    assert_eq!(own("stockade.onstop"), Answer::Result("keep".into()));
    // What the server itself is to be comes from its own tree only.
    let set = daemon.ask(&words(&["set", "stockade.actioncommands", "true"]));
    assert!(matches!(set, Answer::Refused(_)), "{set:?}");
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_stream_that_leaves_a_running_jail_out_by_mistake_changes_nothing() {
    let daemon = Daemon::ours(fresh("held"));
    assert_eq!(daemon.ask(&words(&["set", "web", "banip", "192.0.2.1"])), Answer::Result(1.into()));
    let before = observable(&daemon);
    let error =
        words(&["config-error", "Jail 'web' skipped, because of wrong configuration: Unable to read action 'x'"]);
    let mut whole = other_configuration(&daemon);
    whole.retain(|command| command.get(1) != Some(&"web".into()));
    whole.push(error.clone());
    for (name, stream) in [("web", vec![error]), ("--all", whole)] {
        let answer = daemon.ask(&reload(name, &stream));
        let Answer::Refused(why) = &answer else { panic!("{answer:?}") };
        let why = format!("{why:?}");
        assert!(why.contains("nothing has changed") && why.contains("action 'x'"), "{why}");
        let after = observable(&daemon);
        let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!(changed.is_empty(), "{changed:#?}");
    }
    let answer = daemon.own("status", &serde_json::json!({ "jail": "web" }));
    assert_eq!(answer["ok"]["bans"][0]["bantime"], 3_600, "{answer}");
    assert!(!answer["ok"]["state"].as_str().unwrap().starts_with("OFF"), "{answer}");
    let folder = daemon.folder.clone();
    drop(daemon);
    std::fs::remove_dir_all(folder).unwrap();
}
