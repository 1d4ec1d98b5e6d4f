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
