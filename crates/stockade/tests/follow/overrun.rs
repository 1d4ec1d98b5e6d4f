//! A pattern that takes too long on a line is told of with its file and line, and the jail goes on.

use crate::Daemon;

const FILTER: &str = "[Definition]\n\
    # Each repeat doubles the ways to match.\n\
    failregex = ^\\s*app: refused <HOST>$\n            ^\\s*app: (?:(a+)\\1?)+b <HOST>$\n";

#[test]
fn a_search_that_is_given_up_is_told_with_file_line_and_pattern() {
    let Some(daemon) = Daemon::with_filter("overrun", "", FILTER) else { return };
    let filter = daemon.path("conf/filter.d/app.conf");
    let slow = format!("app: {} 192.0.2.1", "a".repeat(60));
    daemon.until_said(&slow, &format!("[app] failregex 2 ({}:4) ran out of steps on a line of ", filter.display()));
    daemon.until_said(&slow, &format!("in {}, before byte ", daemon.path("app.log").display()));
    daemon.until_said(&slow, r"it is said once a day): ^\s*app: (?:(a+)\1?)+b ");
    daemon.until("192.0.2.2", "Ban");
}
