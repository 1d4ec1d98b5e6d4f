//! A jail that runs and gets a log back goes on where it stopped: no line counts twice.

use crate::Daemon;

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
