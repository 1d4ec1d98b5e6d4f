//! The list that the operator writes.

use std::fmt::Write as _;
use std::time::Instant;

use rustix::process::Signal;

use crate::{Guard, eventually, skipped};

#[test]
fn who_stands_in_the_list_is_banned_for_good() {
    if skipped("who_stands_in_the_list_is_banned_for_good") {
        return;
    }
    let guard = Guard::start("ignoreip = 192.0.2.200 203.0.113.0/24\n");
    guard.keep(
        "# my own\r\n\r\n192.0.2.1\r\n192.0.2.1 # again\n  2001:db8::1\t; six\n198.51.100.77/24\nwho is this\n\
         2001:db8:5::/48\n192.0.2.200\n203.0.113.7\n203.0.0.0/16\n0.0.0.0/0",
    );
    let all = ["192.0.2.1", "198.51.100.0/24", "2001:db8:5::/48", "2001:db8::1"];
    eventually("all banned", || guard.banned() == all);
    eventually("all in the list", || guard.lines() == all);
    for (address, line) in [("192.0.2.1", 3), ("2001:db8::1", 5), ("198.51.100.9", 6)] {
        let why = guard.says(&format!("why {address}"));
        assert!(why.out.contains(&format!("kept by {}.keep:{line}", guard.list().display())), "{why:?}");
        assert!(why.out.contains("its packets are refused"), "{why:?}");
    }
    let status = guard.says("status web").out;
    for (line, what) in [
        (7, "'who is this' is no address or network; the line is left out"),
        (9, "192.0.2.200 is not banned: ignoreip names it"),
        (10, "203.0.113.7 is not banned: 203.0.113.0/24: ignoreip names it"),
        (11, "203.0.0.0/16 is not banned: 203.0.113.0/24: ignoreip names it"),
        (12, "'0.0.0.0/0' is everybody; the line is left out"),
    ] {
        assert!(status.contains(&format!("blacklist.keep:{line}: {what}")), "{line}: {status}");
        assert!(guard.read("own.log").contains(&format!("blacklist.keep:{line}: {what}")), "{line}");
    }
    assert!(guard.says("status").out.contains("blacklist.keep:7"), "the operator sees it");

    // An unban names the line, and who is unbanned by other means is banned again.
    let unban = guard.says("unban 192.0.2.1");
    assert!(unban.code == 1 && unban.out.contains("blacklist.keep:3: remove the line"), "{unban:?}");
    assert_eq!(guard.says_as("fail2ban-client", "unban 192.0.2.1").out, "1\n");
    eventually("banned again", || guard.holds("192.0.2.1"));
    assert!(guard.read("own.log").contains("had been unbanned, but is kept"));

    // A line more, a line less, and the address that a filter banned as well.
    guard.says("ban --jail web 192.0.2.50");
    guard.keep("192.0.2.50\n2001:db8::1\n");
    eventually("the new list holds", || guard.banned() == ["192.0.2.50", "2001:db8::1"]);
    assert!(guard.says("why 192.0.2.50").out.contains("until     somebody lifts it"));
    guard.keep("2001:db8::1\n");
    eventually("one less", || guard.banned() == ["2001:db8::1"]);

    // A list that can't be read lets nobody in; one that is gone does.
    let keep = guard.home.join("lists/ip.web.blacklist.keep");
    std::fs::remove_file(&keep).unwrap();
    std::fs::create_dir(&keep).unwrap();
    eventually("it is told", || guard.says("status web").out.contains("is not a plain file"));
    assert_eq!(guard.banned(), ["2001:db8::1"]);
    std::fs::remove_dir(&keep).unwrap();
    eventually("nobody is kept", || guard.banned().is_empty());
}

#[test]
fn what_is_kept_outlives_restarts_and_follows_edits_meanwhile() {
    if skipped("what_is_kept_outlives_restarts_and_follows_edits_meanwhile") {
        return;
    }
    let mut guard = Guard::start("");
    guard.says("ban --jail web --time -1 192.0.2.99");
    guard.keep("192.0.2.1\n192.0.2.2\n");
    eventually("banned", || guard.banned().len() == 3);
    guard.down(Signal::KILL);
    guard.keep("192.0.2.2\n192.0.2.3\n");
    guard.up();
    eventually("as the list says now", || guard.banned() == ["192.0.2.2", "192.0.2.3", "192.0.2.99"]);
    assert!(guard.holds("192.0.2.2") && guard.holds("192.0.2.3"));
    guard.down(Signal::TERM);
    guard.up();
    assert_eq!(guard.banned(), ["192.0.2.2", "192.0.2.3", "192.0.2.99"]);
    eventually("the line is told", || guard.says("why 192.0.2.3").out.contains("kept by"));
    // Stored bans are cut to the jail's own time; these are not, and nobody had to ban them anew.
    assert!(guard.says("why 192.0.2.3").out.contains("until     somebody lifts it"));
    assert!(!guard.read("own.log").contains("had been unbanned"));

    // ignoreip wins, as soon as it is read.
    guard.jail("ignoreip = 192.0.2.2\n");
    guard.says("reload");
    eventually("not banned any more", || guard.banned() == ["192.0.2.3", "192.0.2.99"]);
    // So does the operator's own allow.
    guard.says("allow 192.0.2.3");
    eventually("told", || guard.says("status web").out.contains("192.0.2.3 is not banned: stockade allow"));
    assert_eq!(guard.banned(), ["192.0.2.99"]);
    guard.says("disallow 192.0.2.3");
    guard.keep("192.0.2.3 # once more\n");
    eventually("banned again", || guard.banned() == ["192.0.2.3", "192.0.2.99"]);
    // Without the option nobody is kept; who was banned by hand stays.
    guard.write("etc/jail.local", "[web]\nenabled = true\nfilter =\nbantime = 1h\n");
    guard.says("reload");
    eventually("nobody kept", || guard.banned() == ["192.0.2.99"]);
}

#[test]
fn a_jail_that_comes_back_keeps_whom_it_kept() {
    if skipped("a_jail_that_comes_back_keeps_whom_it_kept") {
        return;
    }
    let guard = Guard::start("");
    guard.keep("192.0.2.1\n");
    eventually("banned", || guard.banned() == ["192.0.2.1"]);
    let jails = guard.read("etc/jail.local");
    guard.write("etc/jail.local", "[other]\nenabled = true\nfilter =\nbantime = 1h\n");
    assert_eq!(guard.says("reload").code, 0);
    eventually("the jail is gone", || guard.says("status web").code != 0);
    guard.write("etc/jail.local", &jails);
    assert_eq!(guard.says("reload").code, 0);
    eventually("the line is told", || guard.says("why 192.0.2.1").out.contains("kept by"));
    assert!(guard.says("why 192.0.2.1").out.contains("until     somebody lifts it"));
    // Nobody had to ban it anew, as if its stored ban had had an end.
    assert!(!guard.read("own.log").contains("had been unbanned"));
}

/// 10,000 lines, from the file to the kernel and back; `STOCKADE_LONG=10` makes it a million.
#[test]
fn a_long_list_takes_reasonable_time() {
    if skipped("a_long_list_takes_reasonable_time") {
        return;
    }
    let mut guard = Guard::start("");
    let many = 100_000 * std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(0_u32);
    let many = many.max(10_000);
    let text = (0..many).fold(String::new(), |mut text, n| {
        writeln!(text, "{}", std::net::Ipv4Addr::from(0x0b00_0000 + n)).unwrap();
        text
    });
    let count = |guard: &Guard| guard.says("status --json").out.matches(&format!("\"banned_now\":{many},")).count();
    let began = Instant::now();
    guard.keep(&text);
    eventually("all banned", || count(&guard) == 1);
    println!("{many} lines banned in {:?}", began.elapsed());
    eventually("all in the list", || guard.lines().len() == many as usize);
    println!("{many} lines in the list in {:?}", began.elapsed());
    guard.down(Signal::KILL);
    let began = Instant::now();
    guard.up();
    assert_eq!(count(&guard), 1, "who was kept is banned at once");
    println!("{many} lines: start after a crash in {:?}", began.elapsed());
    let began = Instant::now();
    guard.keep("11.0.0.1\n");
    eventually("all others unbanned", || guard.says("status --json").out.contains("\"banned_now\":1,"));
    println!("{many} lines removed in {:?}", began.elapsed());
}
