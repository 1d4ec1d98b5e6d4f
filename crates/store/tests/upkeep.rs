//! Purging, bounds, other programs in the way, damage while running.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failure is a panic, and the test changes files itself"
)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Folder, at, ban, bans, model, open, turn};
use rusqlite::Connection;
use stockade_core::{Decision, JailName, Seq, Span};
use stockade_store::{Marks, Note, Options, Store};

const DAY: i64 = 86_400;

fn number(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn done(seq: u64) -> Marks {
    Marks { announced: Some(Seq(seq)), issued: Some(Seq(seq)), ..Marks::default() }
}

#[test]
fn purging_follows_the_originals_rules() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    store.set_jails(&[JailName::new("sshd")]).unwrap();
    let all = vec![
        ban(1, "sshd", "192.0.2.1", -DAY - 1_700, 600),
        ban(2, "sshd", "192.0.2.2", -DAY - 1_801, 600),
        ban(3, "sshd", "192.0.2.3", -9 * DAY, -1),
        ban(4, "sshd", "192.0.2.4", -DAY + 10, 6_000),
        ban(5, "gone", "192.0.2.5", -9 * DAY, 600),
        ban(6, "empty", "192.0.2.6", -10, 600),
    ];
    store.commit(&[turn(all)], &done(6)).unwrap();
    store.set_jails(&[JailName::new("sshd")]).unwrap();
    assert!(!store.catch_up(at(0)).unwrap().more, "the first hour nothing is purged");
    assert_eq!(bans(&mut store).len(), 6);
    while store.catch_up(at(3_601)).unwrap().more {}
    // The clock of the purge was one hour later.
    let left: Vec<String> = bans(&mut store).into_keys().map(|(_, id)| id).collect();
    assert_eq!(left, ["192.0.2.6", "192.0.2.3", "192.0.2.4"]);
    store.purge(at(0));
    while store.catch_up(at(0)).unwrap().more {}
    store.close(at(0)).unwrap();
    assert_eq!(number(&folder.file(), "SELECT count(*) FROM bans"), 1);
    assert_eq!(number(&folder.file(), "SELECT count(*) FROM jails WHERE name = 'gone'"), 0);
    assert_eq!(number(&folder.file(), "SELECT enabled FROM jails WHERE name = 'empty'"), 0);
}

#[test]
fn kept_and_gone_at_the_originals_very_seconds() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let all = vec![ban(1, "sshd", "192.0.2.1", -DAY - 1_700, 600), ban(2, "sshd", "192.0.2.2", -DAY - 1_801, 600)];
    store.commit(&[turn(all)], &done(2)).unwrap();
    store.purge(at(0));
    while store.catch_up(at(0)).unwrap().more {}
    let left: Vec<String> = bans(&mut store).into_keys().map(|(_, id)| id).collect();
    assert_eq!(left, ["192.0.2.1"]);
}

#[test]
fn the_journal_keeps_its_bounds_and_gives_space_back() {
    let folder = Folder::new();
    let options = Options { journal_rows: 1_000, dbpurgeage: Span::from_secs(DAY), ..Options::default() };
    let (mut store, _) = Store::open(&folder.file(), &options).unwrap();
    let many: Vec<Decision> =
        (1..=30_000).map(|n| ban(n, "sshd", &format!("10.2.{}.{}", n / 250, n % 250), -9 * DAY, 60)).collect();
    store.commit(&[turn(many)], &done(29_500)).unwrap();
    while store.catch_up(at(0)).unwrap().more {}
    store.purge(at(0));
    while store.catch_up(at(0)).unwrap().more {}
    assert!(bans(&mut store).is_empty());
    store.close(at(0)).unwrap();
    let size = folder.file().metadata().unwrap().len();
    assert!(size < 9 << 20, "{size} bytes");
    assert_eq!(number(&folder.file(), "SELECT count(*) FROM stockade_journal"), 1_000);
    assert_eq!(number(&folder.file(), "SELECT min(seq) FROM stockade_journal"), 29_001);
    let (mut store, recovery) = open(&folder.file());
    assert_eq!((recovery.next, recovery.open_rows.len()), (Seq(30_001), 500));
    // Rows that are not yet announced stay, whatever the bound.
    store.purge(at(0));
    while store.catch_up(at(0)).unwrap().more {}
    store.close(at(0)).unwrap();
    assert_eq!(number(&folder.file(), "SELECT max(seq) - min(seq) + 1 FROM stockade_journal"), 1_000);
}

#[test]
fn the_number_goes_on_when_all_rows_are_old() {
    let folder = Folder::new();
    let options = Options { journal_age: Span::from_secs(60), ..Options::default() };
    let (mut store, _) = Store::open(&folder.file(), &options).unwrap();
    let many: Vec<Decision> = (1..=500).map(|n| ban(n, "sshd", "192.0.2.1", 0, 60)).collect();
    store.commit(&[turn(many)], &done(500)).unwrap();
    store.purge(at(DAY));
    while store.catch_up(at(DAY)).unwrap().more {}
    store.close(at(DAY)).unwrap();
    assert!(number(&folder.file(), "SELECT count(*) FROM stockade_journal") < 200);
    assert_eq!(open(&folder.file()).1.next, Seq(501));
}

#[test]
fn another_program_that_holds_the_file_only_delays() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let all = vec![ban(1, "sshd", "192.0.2.1", 0, 600), ban(2, "sshd", "192.0.2.2", 0, 600)];
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&[turn(all[..1].to_vec())], &Marks::default()).unwrap_err();
    assert!(error.retryable() && error.to_string().contains("held by another program"), "{error}");
    assert_eq!(store.degraded().unwrap().rows, 1);
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&[turn(all[1..].to_vec())], &Marks::default()).unwrap();
    assert_eq!(store.degraded(), None);
    drop(store);
    assert_eq!(bans(&mut open(&folder.file()).0), model(&all));
}

#[test]
fn damage_while_running_is_repaired_and_told() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let mut all: Vec<Decision> =
        (1..=400).map(|n| ban(n, "sshd", &format!("10.3.{}.{}", n / 200, n % 200), 0, 600)).collect();
    store.commit(&[turn(all.clone())], &Marks::default()).unwrap();
    while store.catch_up(at(0)).unwrap().more {}
    store.close(at(0)).unwrap();
    let (mut store, _) = open(&folder.file());
    // Something writes zeros over the pages of the indices of `bips`.
    let pages: Vec<i64> = {
        let db = Connection::open(folder.file()).unwrap();
        let mut select =
            db.prepare("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'bips' AND type = 'index'").unwrap();
        select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut content = std::fs::read(folder.file()).unwrap();
    for page in pages {
        let start = usize::try_from((page - 1) * 4_096).unwrap();
        content[start..start + 4_096].fill(0);
    }
    std::fs::write(folder.file(), content).unwrap();
    let more = ban(401, "sshd", "198.51.100.1", 1, 600);
    store.commit(&[turn(vec![more.clone()])], &Marks::default()).unwrap();
    while store.catch_up(at(0)).unwrap().more {}
    all.push(more);
    let notes = store.take_notes();
    assert!(matches!(notes[..], [Note::Damaged { .. }]), "{notes:?}");
    assert_eq!(bans(&mut store), model(&all));
    store.close(at(0)).unwrap();
    assert_eq!(bans(&mut open(&folder.file()).0), model(&all));
}

#[test]
fn a_large_commit_is_cut_into_short_transactions() {
    let folder = Folder::new();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let trace: stockade_store::Trace = {
        let steps = Arc::clone(&steps);
        Arc::new(move |step| {
            if step != "row" {
                steps.lock().unwrap().push(step);
            }
        })
    };
    let options = Options { trace: Some(trace), ..Options::default() };
    let (mut store, _) = Store::open(&folder.file(), &options).unwrap();
    let many: Vec<Decision> =
        (1..=150_000).map(|n| ban(n, "sshd", &format!("10.{}.{}.1", n / 250, n % 250), 0, 60)).collect();
    steps.lock().unwrap().clear();
    store.commit(&[turn(many)], &Marks::default()).unwrap();
    let steps = steps.lock().unwrap();
    let transactions = steps.iter().filter(|step| **step == "begin").count();
    assert!(transactions > 1, "{transactions}");
    assert_eq!(steps.iter().filter(|step| **step == "marks").count(), 1, "marks go with the last one");
    assert_eq!(store.saved(), Seq(150_000));
}
