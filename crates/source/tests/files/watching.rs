//! When a watcher wakes, and when it does not.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::tester::{append, dir, writer};
use stockade_source::{FileReader, Glob, Mode, Start, Watcher};

const PATIENCE: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(30);

/// Waits until nothing happens any more.
fn settle(watcher: &mut Watcher) {
    while !watcher.wait(Some(QUIET)).unwrap().is_empty() {}
}

#[test]
fn only_the_file_that_changed_is_reported() {
    let dir = dir("watch-which");
    let (a, b) = (dir.join("a.log"), dir.join("b.log"));
    append(&a, "x\n");
    append(&b, "x\n");
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let (id_a, id_b) = (watcher.add_file(&a), watcher.add_file(&b));
    assert_eq!(watcher.wait(Some(PATIENCE)).unwrap(), [id_a, id_b]);
    settle(&mut watcher);
    append(&b, "y\n");
    assert_eq!(watcher.wait(Some(PATIENCE)).unwrap(), [id_b]);
    settle(&mut watcher);
    // Names beside it are nobody's business.
    append(&dir.join("c.log"), "y\n");
    fs::remove_file(dir.join("c.log")).unwrap();
    assert!(watcher.wait(Some(QUIET)).unwrap().is_empty());
    watcher.remove(id_b);
    append(&b, "z\n");
    assert!(watcher.wait(Some(QUIET)).unwrap().is_empty());
    append(&a, "z\n");
    assert_eq!(watcher.wait(Some(PATIENCE)).unwrap(), [id_a]);
}

#[test]
fn a_watcher_without_polled_paths_has_no_timer() {
    let dir = dir("watch-idle");
    append(&dir.join("a.log"), "x\n");
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let present = watcher.add_file(dir.join("a.log"));
    let missing = watcher.add_file(dir.join("no/such/b.log"));
    assert!(!watcher.is_polled(present) && !watcher.is_polled(missing));
    settle(&mut watcher);
    // It sleeps until it is woken: the waker is the only one who can end this.
    let waker = watcher.waker();
    let thread = std::thread::spawn(move || watcher.wait(None).unwrap());
    waker.wake();
    assert!(thread.join().unwrap().is_empty());
}

#[test]
fn a_reminder_comes_in_time_and_once() {
    let dir = dir("watch-remind");
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let id = watcher.add_file(dir.join("a.log"));
    settle(&mut watcher);
    let at = Instant::now() + QUIET;
    watcher.remind(id, Some(at));
    assert_eq!(watcher.wait(Some(PATIENCE)).unwrap(), [id]);
    assert!(Instant::now() >= at);
    assert!(watcher.wait(Some(QUIET)).unwrap().is_empty());
}

#[test]
fn a_storm_of_events_is_gathered() {
    let dir = dir("watch-storm");
    let log = dir.join("a.log");
    append(&log, "x\n");
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    watcher.add_file(&log);
    settle(&mut watcher);
    let began = Instant::now();
    let writer = std::thread::spawn(move || (0..3000).for_each(|_| append(&log, "x\n")));
    let mut reports = 0_u128;
    while !writer.is_finished() {
        reports += u128::from(!watcher.wait(Some(QUIET)).unwrap().is_empty());
    }
    writer.join().unwrap();
    let ceiling = began.elapsed().as_micros() / 500 + 2;
    assert!(reports <= ceiling, "{reports} reports, {ceiling} at most");
}

#[test]
fn events_that_the_kernel_had_no_room_for_are_made_up_for() {
    let mut limit = String::new();
    let file = fs::File::open("/proc/sys/fs/inotify/max_queued_events").unwrap();
    file.take(32).read_to_string(&mut limit).unwrap();
    let limit: u32 = limit.trim().parse().unwrap();
    if limit > 100_000 {
        println!("skipped: the kernel has room for {limit} events");
        return;
    }
    let dir = dir("watch-overflow");
    let [a, b, c] = ["a.log", "b.log", "c.log"].map(|name| dir.join(name));
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let ids = [&a, &b, &c].map(|path| watcher.add_file(path));
    settle(&mut watcher);
    // In turn, so that the kernel can't merge them.
    let (mut a, mut b) = (writer(&a), writer(&b));
    for _ in 0..limit {
        a.write_all(b"x\n").unwrap();
        b.write_all(b"x\n").unwrap();
    }
    append(&c, "unheard\n");
    let mut ready = Vec::new();
    while !ready.contains(&ids[2]) {
        let more = watcher.wait(Some(PATIENCE)).unwrap();
        assert!(!more.is_empty(), "the last line was slept through");
        ready.extend(more);
    }
    // c.log was made while nobody heard it, and is watched nevertheless.
    settle(&mut watcher);
    append(&c, "heard\n");
    assert_eq!(watcher.wait(Some(PATIENCE)).unwrap(), [ids[2]]);
}

/// Another thread renames, replaces, links and writes as fast as it can. Whatever the moment at which
/// the watcher walks the path, it must not sleep through the last line.
#[test]
fn no_change_is_slept_through() {
    let long: u32 = std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for round in 0..25 * long {
        let dir = dir("watch-race");
        let deep = dir.join("one/two");
        fs::create_dir_all(&deep).unwrap();
        let log = deep.join("a.log");
        let mut watcher = Watcher::new(Mode::Auto).unwrap();
        let id = watcher.add_file(&log);
        let mut reader = FileReader::open(&log, Start::Head);
        let path = dir.clone();
        let writer = std::thread::spawn(move || {
            let mut dice = round.wrapping_mul(2_654_435_761) | 1;
            for n in 0..40 {
                dice ^= dice << 13;
                dice ^= dice >> 17;
                dice ^= dice << 5;
                let log = path.join("one/two/a.log");
                match dice % 8 {
                    0 => drop(fs::rename(&log, path.join(format!("one/two/a.log.{n}")))),
                    1 => drop(fs::rename(path.join("one/two"), path.join(format!("one/old{n}")))),
                    2 => drop(fs::rename(path.join("one"), path.join(format!("old{n}")))),
                    3 => drop(fs::remove_file(&log)),
                    4 => {
                        fs::create_dir_all(path.join("real")).unwrap();
                        drop(fs::remove_file(&log));
                        drop(std::os::unix::fs::symlink(path.join("real/b.log"), &log));
                    }
                    5 => std::thread::yield_now(),
                    _ => {}
                }
                fs::create_dir_all(path.join("one/two")).unwrap();
                append(&log, "line\n");
            }
            append(&path.join("one/two/a.log"), "the end\n");
        });
        let give_up = Instant::now() + PATIENCE;
        let mut ended = false;
        while !ended {
            assert!(Instant::now() < give_up, "round {round}: the last line was slept through");
            for ready in watcher.wait(Some(Duration::from_secs(1))).unwrap() {
                assert_eq!(ready, id);
                loop {
                    match reader.read() {
                        Ok(Some(block)) => ended |= block.text.ends_with(b"the end\n"),
                        Ok(None) => break,
                        Err(_) => {}
                    }
                }
            }
        }
        writer.join().unwrap();
        // And what comes later is not slept through either.
        settle(&mut watcher);
        append(&log, "more\n");
        assert_eq!(watcher.wait(Some(PATIENCE)).unwrap(), [id], "round {round}");
    }
}

#[test]
fn new_matches_of_a_glob_are_found() {
    for mode in [Mode::Auto, Mode::Polling] {
        let dir = dir(&format!("watch-glob-{mode:?}"));
        let glob = Glob::new(&format!("{}/site-*/log/web-[0-9].log", dir.display())).unwrap();
        let mut watcher = Watcher::new(mode).unwrap();
        watcher.set_poll_interval(Duration::from_millis(2));
        let id = watcher.add_glob(glob.clone());
        let expect = |watcher: &mut Watcher, names: &[&str]| {
            let give_up = Instant::now() + PATIENCE;
            let mut found: Vec<String> = Vec::new();
            while found.len() < names.len() && Instant::now() < give_up {
                assert!(watcher.wait(Some(PATIENCE)).unwrap().iter().all(|i| *i == id));
                let new = watcher.new_files(id);
                found.extend(new.iter().map(|p| p.strip_prefix(&dir).unwrap().display().to_string()));
            }
            assert_eq!(found, names, "{mode:?}");
        };
        let make = |name: &str| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            append(&path, "x\n");
        };
        make("site-a/log/web-1.log");
        expect(&mut watcher, &["site-a/log/web-1.log"]);
        make("site-a/log/web-2.log");
        make("site-a/log/other.log");
        expect(&mut watcher, &["site-a/log/web-2.log"]);
        make("site-b/log/web-1.log");
        expect(&mut watcher, &["site-b/log/web-1.log"]);
        let moved = dir.join("site-b/log/web-3.log");
        fs::rename(dir.join("site-b/log/web-1.log"), &moved).unwrap();
        expect(&mut watcher, &["site-b/log/web-3.log"]);
        assert!(glob.matches(&moved) && !glob.matches(Path::new("/site-b/log/web-3.log")));
    }
}
