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
