//! A full disk and a read-only mount: protection goes on, and everything is saved once it can be.
//!
//! Each test starts itself again in a mount namespace of its own with a small
//! tmpfs; where that is not allowed it says that it skipped.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failure is a panic, namespaces are made by tools, and a skip says so"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Folder, at, ban, bans, model, open, turn};
use stockade_core::{Decision, Seq};
use stockade_store::{Error, Marks, Note, Options, Store};

/// Runs the test `name` again inside a namespace with a tmpfs of `size`; gives that folder to the inner run.
fn in_small_disk(name: &str, size: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("STOCKADE_SMALL_DISK") {
        return Some(folder.into());
    }
    let folder = Folder::new();
    let may = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIPPED: no mount namespace allowed here");
        return None;
    }
    let output = Command::new("unshare")
        .args([
            "-m",
            "sh",
            "-c",
            "mount -t tmpfs -o size=$1 none \"$2\" && exec \"$3\" --exact \"$4\" --nocapture",
            "sh",
        ])
        .arg(size)
        .arg(&folder.0)
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env("STOCKADE_SMALL_DISK", &folder.0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
    None
}

fn remount(folder: &Path, how: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(folder).status().unwrap();
    assert!(status.success());
}

/// `count` bans from number `from` on.
fn some(from: u64, count: u64) -> Vec<Decision> {
    (from..from + count).map(|n| ban(n, "sshd", &format!("10.1.{}.{}", n / 250, n % 250), 0, 600)).collect()
}

#[test]
fn a_full_disk_delays_saving_only() {
    let Some(folder) = in_small_disk("a_full_disk_delays_saving_only", "4m") else { return };
    let file = folder.join("bans.sqlite3");
    let ballast = folder.join("ballast");
    let (mut store, _) = open(&file);
    store.commit(&[turn(some(1, 10))], &Marks::default()).unwrap();
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let mut all = some(1, 10);
    let mut refused = 0;
    while refused < 20 {
        let next = some(u64::try_from(all.len()).unwrap() + 1, 50);
        match store.commit(&[turn(next.clone())], &Marks::default()) {
            Ok(()) => assert_eq!(refused, 0, "full once, it stays so"),
            Err(error) => {
                assert!(matches!(error, Error::Full { .. }), "{error:?}");
                assert!(error.retryable());
                refused += 1;
                let left = all.len() + 50 - usize::try_from(store.saved().0).unwrap();
                assert_eq!(store.degraded().unwrap().rows, left);
            }
        }
        all.extend(next);
    }
    assert!(store.catch_up(at(0)).is_err());
    std::fs::remove_file(&ballast).unwrap();
    while store.catch_up(at(0)).unwrap().more {}
    assert_eq!(store.degraded(), None);
    assert_eq!(store.saved(), Seq(u64::try_from(all.len()).unwrap()));
    assert_eq!(bans(&mut store), model(&all));
    drop(store);
    let (mut store, recovery) = open(&file);
    assert_eq!(recovery.notes, []);
    assert_eq!(bans(&mut store), model(&all));
}

#[test]
fn a_disk_full_from_the_start_hinders_no_start() {
    let Some(folder) = in_small_disk("a_disk_full_from_the_start_hinders_no_start", "1m") else { return };
    let file = folder.join("bans.sqlite3");
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap_err();
    let (mut store, recovery) = open(&file);
    assert!(recovery.notes.iter().any(|note| matches!(note, Note::Unwritable { .. })), "{:?}", recovery.notes);
    let all = some(recovery.next.0, 10);
    store.commit(&[turn(all.clone())], &Marks::default()).unwrap_err();
    std::fs::remove_file(&ballast).unwrap();
    while store.catch_up(at(0)).unwrap().more {}
    assert_eq!(store.degraded(), None);
    store.close(at(0)).unwrap();
    assert_eq!(bans(&mut open(&file).0), model(&all));
}

#[test]
fn a_read_only_mount_is_read_and_written_later() {
    let Some(folder) = in_small_disk("a_read_only_mount_is_read_and_written_later", "8m") else { return };
    for crash in [false, true] {
        let file = folder.join(format!("bans-{crash}.sqlite3"));
        let (mut store, _) = open(&file);
        let mut all = some(1, 10);
        store.commit(&[turn(all.clone())], &Marks::default()).unwrap();
        if crash {
            // A process that dies leaves its WAL and index behind.
            for tail in ["", "-wal", "-shm"] {
                let from = format!("{}{tail}", file.display());
                std::fs::copy(&from, format!("{from}.copy")).unwrap();
            }
            drop(store);
            for tail in ["", "-wal", "-shm"] {
                let to = format!("{}{tail}", file.display());
                std::fs::rename(format!("{to}.copy"), &to).unwrap();
            }
        } else {
            store.close(at(0)).unwrap();
        }
        // At a start.
        remount(&folder, "ro");
        let (mut store, recovery) = Store::open(&file, &Options::default()).unwrap();
        assert!(recovery.notes.iter().any(|note| matches!(note, Note::Unwritable { .. })), "{:?}", recovery.notes);
        assert_eq!(recovery.next, Seq(11), "crash {crash}");
        assert_eq!(bans(&mut store), model(&all), "crash {crash}");
        let more = some(11, 10);
        store.commit(&[turn(more.clone())], &Marks::default()).unwrap_err();
        assert_eq!(store.degraded().unwrap().rows, 10);
        all.extend(more);
        assert!(store.catch_up(at(0)).is_err());
        remount(&folder, "rw");
        while store.catch_up(at(0)).unwrap().more {}
        assert_eq!(store.degraded(), None);
        store.close(at(0)).unwrap();
        assert_eq!(bans(&mut open(&file).0), model(&all), "crash {crash}");
    }
}

#[test]
fn memory_for_unsaved_decisions_is_bounded() {
    let options = Options { unsaved_rows: 100, ..Options::default() };
    let (mut store, recovery) = Store::open(Path::new("/nonexistent/folder/bans.sqlite3"), &options).unwrap();
    assert_eq!(recovery.notes.len(), 2);
    let from = recovery.next.0;
    assert!(from > 1 << 40, "no number that may stand in the file");
    for n in 0..2 {
        let error = store.commit(&[turn(some(from + n * 50, 50))], &Marks::default()).unwrap_err();
        assert!(!matches!(error, Error::Overflow { .. }));
    }
    let error = store.commit(&[turn(some(from + 100, 1))], &Marks::default()).unwrap_err();
    assert!(matches!(error, Error::Overflow { waiting: 100 }), "{error:?}");
    assert_eq!(store.degraded().unwrap().rows, 100);
}
