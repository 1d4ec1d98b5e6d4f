//! The list that we write.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::guard::mode;
use crate::{Guard, eventually, skipped};

#[test]
fn the_list_is_who_is_banned() {
    if skipped("the_list_is_who_is_banned") {
        return;
    }
    let mut guard = Guard::start("");
    eventually("an empty list", || guard.list().exists());
    assert_eq!((mode(&guard.list()), guard.lines().len()), (0o600, 0));
    guard.says("ban --jail web 192.0.2.10 192.0.2.9 2001:db8::1 198.51.100.0/24");
    let all = ["192.0.2.10", "192.0.2.9", "198.51.100.0/24", "2001:db8::1"];
    eventually("all in the list", || guard.lines() == all);
    assert_eq!(mode(&guard.list()), 0o600);
    guard.says("unban 192.0.2.9");
    eventually("one less", || guard.lines() == ["192.0.2.10", "198.51.100.0/24", "2001:db8::1"]);

    // Whoever removes it gets it back with the next ban; a start writes it, too.
    std::fs::remove_file(guard.list()).unwrap();
    guard.says("ban --jail web 192.0.2.1");
    eventually("it is back", || guard.lines().len() == 4);
    guard.down(Signal::KILL);
    guard.write("lists/ip.web.blacklist", "");
    guard.up();
    eventually("the same after a crash", || guard.lines().len() == 4);

    // A link in its place is replaced, and what it leads to is as it was.
    guard.write("precious", "mine\n");
    std::fs::remove_file(guard.list()).unwrap();
    std::os::unix::fs::symlink(guard.home.join("precious"), guard.list()).unwrap();
    guard.says("unban 192.0.2.1");
    eventually("the link is gone", || guard.list().symlink_metadata().unwrap().is_file());
    assert_eq!((guard.read("precious").as_str(), guard.lines().len()), ("mine\n", 3));

    // A stop that lifts bans leaves an empty list.
    guard.says("stop --lift");
    guard.down(Signal::TERM);
    assert_eq!(guard.lines(), Vec::<String>::new());
}

#[test]
fn the_list_of_a_recipe_is_set_aside() {
    if skipped("the_list_of_a_recipe_is_set_aside") {
        return;
    }
    let mut guard = Guard::start("");
    guard.down(Signal::TERM);
    std::fs::remove_file(guard.list()).unwrap();
    guard.write("lists/ip.web.blacklist", "192.0.2.1\n192.0.2.1\n2001:db8::1\nnonsense\n");
    guard.up();
    let old = guard.home.join("lists/ip.web.blacklist.old");
    eventually("the old one beside", || old.exists());
    eventually("it is told", || guard.says("status web").out.contains("import --jail web"));
    let import = format!("import --jail web {}", old.display());
    let first = guard.says(&import);
    assert!(first.out.contains("2 bans imported, 1 stood already"), "{first:?}");
    assert!(first.out.contains("blacklist.old:4: 'nonsense' is no address"), "{first:?}");
    let second = guard.says(&import);
    assert!(second.out.contains("0 bans imported, 3 stood already"), "{second:?}");
    eventually("who was imported is in the list", || guard.lines() == ["192.0.2.1", "2001:db8::1"]);
}

/// A mistyped path: whatever stands there belongs to somebody, however it looks.
#[test]
fn whatever_stands_there_is_set_aside_and_nothing_is_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    if skipped("whatever_stands_there_is_set_aside_and_nothing_is_overwritten") {
        return;
    }
    let mut guard = Guard::start("");
    guard.says("ban --jail web 192.0.2.1");
    eventually("in the list", || guard.lines() == ["192.0.2.1"]);
    guard.down(Signal::TERM);
    guard.write("lists/ip.web.blacklist.old", "older\n");
    guard.write("lists/ip.web.blacklist", "password = x\n");
    std::fs::set_permissions(guard.list(), std::fs::Permissions::from_mode(0o600)).unwrap();
    guard.up();
    eventually("the list is written", || guard.lines() == ["192.0.2.1"]);
    assert_eq!(guard.read("lists/ip.web.blacklist.old"), "older\n");
    assert_eq!(guard.read("lists/ip.web.blacklist.old.1"), "password = x\n");
    eventually("it is told", || guard.says("status web").out.contains("blacklist.old.1"));
    // Our own list is known, also as it stood before a crash with other bans than now.
    guard.down(Signal::KILL);
    guard.says_alone("lift 192.0.2.1");
    guard.up();
    eventually("the list is written", || guard.lines().is_empty());
    assert!(!guard.home.join("lists/ip.web.blacklist.old.2").exists());
    assert!(!guard.says("status web").out.contains("blacklist.old"));
}

#[test]
fn without_a_database_our_own_list_is_known_again() {
    if skipped("without_a_database_our_own_list_is_known_again") {
        return;
    }
    let mut guard = Guard::start("");
    guard.down(Signal::TERM);
    let server = guard.read("etc/fail2ban.local");
    guard.write("etc/fail2ban.local", &format!("{server}dbfile = None\n").replacen("dbfile = /", "# /", 1));
    guard.up();
    guard.says("ban --jail web 192.0.2.1 2001:db8::/64");
    eventually("in the list", || guard.lines().len() == 2);
    guard.down(Signal::KILL);
    assert_eq!(guard.lines().len(), 2);
    guard.up();
    eventually("nobody is banned", || guard.lines().is_empty());
    assert!(!guard.home.join("lists/ip.web.blacklist.old").exists());
}

#[test]
fn no_jails_list_is_a_file_of_another_jails() {
    if skipped("no_jails_list_is_a_file_of_another_jails") {
        return;
    }
    let guard = Guard::start("");
    let lists = guard.home.join("lists").display().to_string();
    guard.keep("192.0.2.1\n");
    let jail = |name: &str, list: &str| {
        format!("[{name}]\nenabled = true\nfilter =\nbantime = 1h\nblacklist = {lists}/{list}\n")
    };
    let own = "ip.web.blacklist";
    let others = [("b", format!("{own}.keep")), ("c", format!("../lists/{own}.new")), ("d", format!("{own}.old.2"))];
    let text = others.iter().fold(jail("web", own), |text, (name, list)| text + &jail(name, list));
    guard.write("etc/jail.local", &text);
    assert_eq!(guard.says("reload").code, 0);
    eventually("who is kept is banned", || guard.banned() == ["192.0.2.1"]);
    for (name, _) in others {
        let status = guard.says(&format!("status {name}")).out;
        assert!(status.contains("jail 'web'") && status.contains("write <name>"), "{name}: {status}");
    }
    assert_eq!(guard.read("lists/ip.web.blacklist.keep"), "192.0.2.1\n");
}

#[test]
fn a_storm_of_bans_writes_the_list_once_a_second() {
    if skipped("a_storm_of_bans_writes_the_list_once_a_second") {
        return;
    }
    let guard = Guard::start("");
    let addresses: Vec<String> = (0..2_000_u32).map(|n| format!("198.51.{}.{}", n / 250, n % 250)).collect();
    let (mut files, began) = (BTreeSet::new(), Instant::now());
    let mut parts = addresses.chunks(40);
    while began.elapsed() < Duration::from_secs(3) {
        if let Some(part) = parts.next() {
            guard.says(&format!("ban --jail web {}", part.join(" ")));
        }
        if let Ok(meta) = guard.list().metadata() {
            files.insert((meta.ino(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    let rounds = began.elapsed().as_secs() + 2;
    assert!(files.len() as u64 <= rounds, "{} lists in {:?}", files.len(), began.elapsed());
    for part in parts {
        guard.says(&format!("ban --jail web {}", part.join(" ")));
    }
    eventually("all in the list", || guard.lines().len() == addresses.len());
    assert!(guard.lines().is_sorted());
}
