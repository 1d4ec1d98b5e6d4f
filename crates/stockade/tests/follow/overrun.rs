//! A pattern that takes too long on a line is told of with its file and line, and the jail goes on.

use std::time::{Duration, Instant};

use crate::Daemon;

/// Lines for it hold what follows the repeats, too: a line without that is not searched.
const FILTER: &str = "[Definition]\n\
    # Each repeat doubles the ways to match.\n\
    failregex = ^\\s*app: refused <HOST>$\n            ^\\s*app: (?:(a+)\\1?)+b <HOST>$\n";

#[test]
fn a_search_that_is_given_up_is_told_with_file_line_and_pattern() {
    let Some(daemon) = Daemon::with_filter("overrun", "", FILTER) else { return };
    let filter = daemon.path("conf/filter.d/app.conf");
    let slow = format!("app: {}- b c 192.0.2.1", "a".repeat(60));
    daemon.until_said(&slow, &format!("[app] failregex 2 ({}:4) ran out of steps on a line of ", filter.display()));
    daemon.until_said(&slow, &format!("in {}, before byte ", daemon.path("app.log").display()));
    daemon.until_said(&slow, r"silent about it for 1m now): ^\s*app: (?:(a+)\1?)+b ");
    daemon.until("192.0.2.2", "Ban");
}

#[test]
fn status_and_doctor_show_a_pattern_that_is_given_up_until_it_is_mended() {
    let Some(daemon) = Daemon::with_filter("overruns", "", FILTER) else { return };
    let filter = daemon.path("conf/filter.d/app.conf");
    daemon.until("192.0.2.2", "Ban");
    assert_eq!(daemon.ask(&["status", "app"])["overruns"], serde_json::json!([]));
    let slow = format!("app: {}- b c 192.0.2.1", "a".repeat(60));
    let told = |place: u32| format!("[app] failregex 2 ({}:{place}) ran out of steps on a line of ", filter.display());
    daemon.until_said(&slow, &told(4));
    let status = daemon.ask(&["status"]);
    let shown = status["jails"].as_array().unwrap().iter().find(|jail| jail["name"] == "app").unwrap();
    assert!(shown["exhausted"].as_u64() >= Some(1), "{shown}");
    assert_eq!(shown["exhausted"], shown["overruns"][0]["searches"]);
    assert_eq!((&shown["overruns"][0]["option"], &shown["overruns"][0]["number"]), (&"failregex".into(), &2.into()));
    assert_eq!(shown["overruns"][0]["written"], format!("{}:4", filter.display()));
    let found = daemon.ask(&["doctor"]);
    let ids: Vec<&str> = found["findings"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    assert!(ids.contains(&"out-of-steps"), "{found}");
    // Another pattern in its place, as bad as the first one: told at once, and counted for itself.
    std::fs::write(&filter, FILTER.replace(")+b", ")+c").replace("# Each", "# So it is.\n# Each")).unwrap();
    daemon.tell(&["reload"]);
    daemon.until_said(&slow, &told(5));
    assert_eq!(daemon.ask(&["status", "app"])["overruns"].as_array().map(Vec::len), Some(1));
    std::fs::write(&filter, FILTER.replace("(?:(a+)\\1?)+b", "a+b")).unwrap();
    daemon.tell(&["reload"]);
    let end = Instant::now() + Duration::from_secs(30);
    while daemon.ask(&["status", "app"])["exhausted"] != 0 {
        assert!(Instant::now() < end, "still shown");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
