//! The lines that a ban was made of are there for whoever asks, as long as it stands.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Daemon, FILTER};

const ADDRESS: &str = "192.0.2.9";

/// Waits until `why` says that the ban is saved and holds; its lines.
#[track_caller]
fn lines(daemon: &Daemon) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let why = daemon.ask(&["why", ADDRESS]);
        if why.pointer("/bans/0/state").is_some_and(|state| state == "holds") {
            let lines = why.pointer("/bans/0/matches").and_then(Value::as_array).unwrap().iter();
            return lines.map(|line| line.as_str().unwrap().to_owned()).collect();
        }
        assert!(Instant::now() < end, "{why}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn without_a_database_file_a_ban_keeps_its_lines() {
    for (name, dbfile) in [("no-database", "None"), ("memory", ":memory:"), ("file", "{here}/db")] {
        let Some(daemon) = Daemon::with(name, "", FILTER, dbfile) else { return };
        daemon.until(ADDRESS, "Ban");
        let lines = lines(&daemon);
        assert!(lines.first().is_some_and(|line| line.contains(ADDRESS)), "{dbfile}: {lines:?}");
    }
}

#[test]
fn an_action_that_comes_later_is_told_the_lines_of_standing_bans() {
    let Some(daemon) = Daemon::with("later-action", "", FILTER, "{here}/db") else { return };
    daemon.until(ADDRESS, "Ban");
    assert!(!lines(&daemon).is_empty());
    let told = daemon.path("told");
    let action = format!("[Definition]\nactionban = printf '%%s\\n' \"<ip> says <matches>\" >> {}\n", told.display());
    std::fs::create_dir_all(daemon.path("conf/action.d")).unwrap();
    std::fs::write(daemon.path("conf/action.d/tell.conf"), action).unwrap();
    let jail = daemon.path("conf/jail.local");
    let text = std::fs::read_to_string(&jail).unwrap();
    std::fs::write(&jail, format!("{text}action = tell\n")).unwrap();
    daemon.tell(&["reload"]);
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        if text.ends_with('\n') {
            assert!(text.starts_with(&format!("{ADDRESS} says ")) && text.contains("app: refused"), "{text:?}");
            return;
        }
        assert!(Instant::now() < end, "the action was not run");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
