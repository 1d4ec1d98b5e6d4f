//! A jail that runs and gets a log back goes on where it stopped: no line counts twice.

use crate::Daemon;

/// A second jail over the same log.
const BESIDE: &str = "[beside]\nenabled = true\nbackend = polling\nfilter = app\nport = 0:65535\nmaxretry = 1\n\
     logpath = {here}/app.log\n";

#[test]
fn lines_that_another_jail_read_meanwhile_are_not_missed() {
    let Some(daemon) = Daemon::start("meanwhile", BESIDE) else { return };
    let until = |jail: &str, address: &str| {
        daemon.until_said(&format!("app: refused {address}"), &format!("[{jail}] Ban {address}"));
    };
    until("app", "192.0.2.7");
    daemon.tell(&["set", "app", "idle", "on"]);
    until("beside", "192.0.2.8");
    assert_eq!(daemon.times("[app] Found 192.0.2.8"), 0, "an idle jail reads");
    daemon.tell(&["set", "app", "idle", "off"]);
    // Its lines keep their order: what came before this was seen before it.
    until("app", "192.0.2.9");
    assert_eq!(daemon.times("[app] Ban 192.0.2.8"), 1, "a line between idle on and off is missed");
    for (jail, address) in [("app", "192.0.2.7"), ("app", "192.0.2.8"), ("beside", "192.0.2.8")] {
        let written = std::fs::read_to_string(daemon.path("app.log")).unwrap().matches(address).count();
        let found = daemon.times(&format!("[{jail}] Found {address}"));
        assert!((1..=written).contains(&found), "{jail}: {found} failures of {address} in {written} lines");
    }
}

#[test]
fn a_log_that_comes_back_is_not_read_again() {
    let Some(daemon) = Daemon::start("again", "") else { return };
    daemon.until("192.0.2.7", "Ban");
    let conf = daemon.path("conf/jail.local");
    let text = std::fs::read_to_string(&conf).unwrap();
    let here = daemon.path("app.log").display().to_string();
    std::fs::write(daemon.path("other.log"), "").unwrap();
    let away: [&dyn Fn(); 2] = [
        &|| {
            daemon.tell(&["set", "app", "idle", "on"]);
            daemon.tell(&["set", "app", "idle", "off"]);
        },
        &|| {
            std::fs::write(&conf, text.replace(&here, &daemon.path("other.log").display().to_string())).unwrap();
            daemon.tell(&["reload"]);
            std::fs::write(&conf, &text).unwrap();
            daemon.tell(&["reload"]);
        },
    ];
    for (away, address) in away.iter().zip(["192.0.2.8", "192.0.2.9"]) {
        away();
        // Whatever was read again came before this.
        daemon.until(address, "Ban");
        let written = std::fs::read_to_string(daemon.path("app.log")).unwrap().matches("192.0.2.7").count();
        let found = daemon.times("Found 192.0.2.7");
        assert!((1..=written).contains(&found), "{found} failures in {written} lines");
    }
}

/// The jail is far behind what was read of its log when that is taken away: all of it counts, and once.
#[test]
fn what_waits_when_a_log_goes_counts_once() {
    use std::fmt::Write as _;
    // Patterns that look at each line for long before the one that matches.
    let slow = ('a'..='c').fold(String::new(), |mut text, end| {
        writeln!(text, "            ^\\s*app: refused (?:[a-z]+ )*(?:[a-z]+ )*<HOST>[{end}x]$").unwrap();
        text
    });
    let filter = format!("[Definition]\nfailregex =\n{slow}            ^\\s*app: refused (?:[a-z]+ )*<HOST>$\n");
    let Some(daemon) = Daemon::with_filter("again-late", "", &filter) else { return };
    let conf = daemon.path("conf/jail.local");
    let text = std::fs::read_to_string(&conf).unwrap();
    daemon.until("192.0.2.7", "Found");
    let here = daemon.path("app.log").display().to_string();
    std::fs::write(daemon.path("other.log"), "").unwrap();
    let words = "a bc def ghij klmno ".repeat(8);
    let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let lines = format!("{now} app: refused {words}192.0.2.8\n").repeat(20_000);
    let mut log = std::fs::OpenOptions::new().append(true).open(daemon.path("app.log")).unwrap();
    std::io::Write::write_all(&mut log, lines.as_bytes()).unwrap();
    let failures = || {
        let status: serde_json::Value = serde_json::from_str(&daemon.says(&["status", "app", "--json"])).unwrap();
        status.get("failed_total").unwrap().as_u64().unwrap()
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let before = failures();
    while failures() == before {
        assert!(std::time::Instant::now() < end, "nothing of it is read");
    }
    std::fs::write(&conf, text.replace(&here, &daemon.path("other.log").display().to_string())).unwrap();
    daemon.tell(&["reload"]);
    let late = failures();
    std::fs::write(&conf, &text).unwrap();
    daemon.tell(&["reload"]);
    daemon.until("192.0.2.9", "Found");
    let written = std::fs::read_to_string(daemon.path("app.log")).unwrap().lines().count();
    let counted = || usize::try_from(failures()).unwrap();
    while counted() < written {
        assert!(std::time::Instant::now() < end, "{} of {written} lines are counted", counted());
    }
    assert_eq!(counted(), written, "{late} were counted when the log was away");
}
