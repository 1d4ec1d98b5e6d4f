//! `ignoreip = file:PATH`: a list that changes is in force without a reload, however it is written.

use crate::Daemon;

#[test]
fn a_list_that_changes_is_in_force() {
    let Some(daemon) = Daemon::start("ignore-file", "ignoreip = file:{here}/list") else { return };
    daemon.until("192.0.2.7", "Ignore");
    // Written in place, then another file in its stead.
    std::fs::write(daemon.path("list"), "192.0.2.8 # no longer .7\n").unwrap();
    daemon.until("192.0.2.7", "Ban");
    daemon.until("192.0.2.8", "Ignore");
    std::fs::write(daemon.path("new"), "192.0.2.9\n").unwrap();
    std::fs::rename(daemon.path("new"), daemon.path("list")).unwrap();
    daemon.until("192.0.2.8", "Ban");
    daemon.until("192.0.2.9", "Ignore");
}

/// A list that can't be read any more goes on as it was, through a reload, too; and that shows.
#[test]
fn a_list_that_cant_be_read_stays_in_force() {
    let Some(daemon) = Daemon::start("ignore-bad", "ignoreip = file:{here}/list") else { return };
    daemon.until("192.0.2.7", "Ignore");
    // A comment in another encoding is no reason to leave the rest out.
    std::fs::write(daemon.path("list"), b"192.0.2.8 # caf\xe9\n192.0.2.9\n192.0.2.10\n").unwrap();
    daemon.until("192.0.2.8", "Ignore");
    std::fs::remove_file(daemon.path("list")).unwrap();
    std::fs::create_dir(daemon.path("list")).unwrap();
    daemon.until_said("nothing", "it is not a plain file");
    daemon.until("192.0.2.9", "Ignore");
    daemon.tell(&["reload"]);
    daemon.until("192.0.2.10", "Ignore");
    let status = daemon.says(&["status"]);
    assert!(status.contains("list: it is not a plain file; its last content"), "{status}");
    std::fs::remove_dir(daemon.path("list")).unwrap();
    std::fs::write(daemon.path("list"), "192.0.2.11\n").unwrap();
    daemon.until("192.0.2.11", "Ignore");
    assert!(!daemon.says(&["status"]).contains("not a plain file"));
}

/// Editors empty a file and then write it: in between nobody is at the mercy of his own failures.
#[test]
fn a_list_counts_once_it_has_come_to_rest() {
    let Some(daemon) = Daemon::start("ignore-rest", "ignoreip = file:{here}/list") else { return };
    daemon.until("192.0.2.7", "Ignore");
    for _ in 0..10 {
        std::fs::write(daemon.path("list"), "").unwrap();
        for _ in 0..3 {
            daemon.fail("192.0.2.7");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        std::fs::write(daemon.path("list"), "192.0.2.7\n").unwrap();
    }
    daemon.until("192.0.2.20", "Ban");
    assert_eq!(daemon.times("Ban 192.0.2.7"), 0);
}
