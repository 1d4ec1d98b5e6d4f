use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const SUCCESS: &str = "^ login of \\S+ from <ADDR>$";

fn watch() -> Watch {
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
    Watch::new(&[SUCCESS.to_owned()], &FilterSpec::default(), None, &calendar).unwrap().unwrap()
}

fn line(what: &str) -> String {
    format!("2026-11-22 10:00:00 {what}\n")
}

fn successes(who: &str, count: usize) -> String {
    line(&format!("login of carol from {who}")).repeat(count)
}

/// A log in a folder of its own, which goes with it.
struct Log(PathBuf);

impl Log {
    fn new(text: &str) -> Log {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("stockade-relay-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("access.log"), text).unwrap();
        Log(folder)
    }

    fn path(&self) -> String {
        self.0.join("access.log").to_str().unwrap().to_owned()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What a log of this text says.
fn relay(text: &[String]) -> Option<(String, String)> {
    let log = Log::new(&text.concat());
    let path = &*log.path();
    let found = watch().look(path, Timestamp::from_secs(1_795_348_800)).relay(path);
    found.map(|(net, seen)| (net.to_string(), seen.replace(path, "LOG")))
}

#[test]
fn a_private_address_with_most_successes_is_a_relay() {
    let (who, seen) = relay(&[successes("172.17.0.1", 6), successes("192.168.1.7", 4)]).unwrap();
    assert_eq!(who, "172.17.0.1");
    assert_eq!(seen, "6 of the last 10 successful lines in LOG are from it, too");
    assert_eq!(relay(&[successes("fd00::1", 9), successes("198.51.100.4", 2)]).unwrap().0, "fd00::1");
}

#[test]
fn forged_successes_shield_no_public_address() {
    assert_eq!(relay(&[successes("203.0.113.66", 1_000)]), None);
    assert_eq!(relay(&[successes("2001:db8::66", 1_000), successes("10.0.0.1", 400)]), None);
}

#[test]
fn half_of_the_successes_or_a_few_of_them_tell_nothing() {
    assert_eq!(relay(&[successes("10.0.0.1", 5), successes("10.0.0.2", 5)]), None);
    assert_eq!(relay(&[successes("10.0.0.1", 4)]), None);
    assert_eq!(relay(&[]), None);
}

#[test]
fn failures_do_not_bury_the_successes_before_them() {
    let flood = line("wrong password of carol from 10.0.0.1").repeat(100_000);
    assert!(flood.len() > 4 * STEP_BYTES);
    let (who, seen) = relay(&[successes("10.0.0.1", 20), flood]).unwrap();
    assert_eq!((who.as_str(), seen.starts_with("20 of the last 20 ")), ("10.0.0.1", true));
}

#[test]
fn a_line_that_lies_across_two_reads_counts_once() {
    // Lines of all lengths, so that some begin in one piece and end in the other.
    let padding: Vec<String> = (0..30_000).map(|n| line(&"x".repeat(n % 101))).collect();
    let log: Vec<String> = padding.chunks(1_000).flat_map(|some| [some.concat(), successes("10.0.0.1", 1)]).collect();
    assert!(log.concat().len() > 2 * STEP_BYTES);
    let (_, seen) = relay(&log).unwrap();
    assert_eq!(seen, "30 of the last 30 successful lines in LOG are from it, too");
}

#[test]
fn after_a_rotation_the_older_file_is_asked_too() {
    let log = Log::new(&line("wrong password of carol from 10.0.0.1"));
    std::fs::write(log.0.join("access.log.1"), successes("10.0.0.1", 30)).unwrap();
    let path = &*log.path();
    let seen = watch().look(path, Timestamp::from_secs(1_795_348_800));
    assert_eq!(seen.relay(path).unwrap().0.to_string(), "10.0.0.1");
}

/// Opening a pipe waits for somebody who writes, and the jail waits with it.
#[test]
fn a_pipe_in_the_place_of_the_older_file_holds_nobody_up() {
    let log = Log::new(&successes("10.0.0.1", 30));
    let pipe = log.0.join("access.log.1");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let (path, (done, found)) = (log.path(), std::sync::mpsc::channel());
    std::thread::spawn(move || done.send(watch().look(&path, Timestamp::from_secs(1_795_348_800))));
    let found = found.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(found.relay("/log").unwrap().0.to_string(), "10.0.0.1");
}

#[test]
fn private_is_what_no_stranger_can_have() {
    let is = |text: &str| is_private(FailureId::parse(text).net().unwrap());
    for private in ["10.1.2.3", "172.31.255.255", "192.168.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "fd12::1"] {
        assert!(is(private), "{private}");
    }
    for public in
        ["11.0.0.1", "172.32.0.1", "100.128.0.1", "203.0.113.1", "2001:db8::1", "::2", "0.0.0.0/0", "8.0.0.0/5"]
    {
        assert!(!is(public), "{public}");
    }
}

#[test]
fn a_filter_without_patterns_watches_nothing() {
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
    assert!(Watch::new(&[], &FilterSpec::default(), None, &calendar).unwrap().is_none());
    assert!(Watch::new(&["(".to_owned()], &FilterSpec::default(), None, &calendar).is_err());
}
