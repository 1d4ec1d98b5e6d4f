//! Lifts made while no daemon runs, and questions about the past.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test a failure is a panic, and it reads its own files"
)]

mod common;

use common::{Folder, at, ban, bans, decision, open, turn};
use stockade_core::{DecisionKind, FailureId, Net, Seq};
use stockade_store::{Marked, Marks, Reader, mark_lifted};

fn net(text: &str) -> Net {
    FailureId::parse(text).net().unwrap()
}

/// Ids of the bans that would be taken up again.
fn standing(store: &mut stockade_store::Store, secs: i64) -> Vec<String> {
    let mut ids = Vec::new();
    store.each_ban(|ban| ids.extend(ban.stands(at(secs)).then(|| ban.id.to_string()))).unwrap();
    ids.sort();
    ids
}

#[test]
fn a_lifted_network_does_not_come_back_but_stays_as_history() {
    for crash in [false, true] {
        let folder = Folder::new();
        let (mut store, _) = open(&folder.file());
        let all = vec![
            ban(1, "sshd", "192.0.2.1", 0, 600),
            ban(2, "sshd", "192.0.2.9", 0, -1),
            ban(3, "sshd", "198.51.100.1", 0, -1),
        ];
        store.commit(&[turn(all)], &Marks::default()).unwrap();
        if crash {
            drop(store)
        } else {
            store.close(at(1)).unwrap()
        }
        assert_eq!(mark_lifted(&folder.file(), Some(net("192.0.2.0/24")), at(100)).unwrap(), Marked::Database(2));
        for told in [true, false] {
            let (mut store, recovery) = open(&folder.file());
            assert_eq!(recovery.lifted.len(), usize::from(told), "told once");
            assert!(!recovery.foreign, "crash {crash}");
            assert_eq!(standing(&mut store, 101), ["198.51.100.1"]);
            assert_eq!(bans(&mut store).len(), 3);
            if crash { drop(store) } else { store.close(at(1)).unwrap() }
        }
    }
}

#[test]
fn a_lift_of_all_with_the_database_damaged_counts_all_the_same() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    store.commit(&[turn(vec![ban(1, "sshd", "192.0.2.1", 0, -1)])], &Marks::default()).unwrap();
    store.close(at(1)).unwrap();
    let whole = std::fs::read(folder.file()).unwrap();
    std::fs::write(folder.file(), b"nonsense".repeat(1_000)).unwrap();
    assert!(matches!(mark_lifted(&folder.file(), None, at(100)).unwrap(), Marked::Beside(_)));
    std::fs::write(folder.file(), whole).unwrap();
    let (mut store, recovery) = open(&folder.file());
    assert_eq!(recovery.lifted.len(), 1);
    assert!(standing(&mut store, 101).is_empty());
    let later = ban(2, "sshd", "192.0.2.1", 150, -1);
    store.commit(&[turn(vec![later])], &Marks::default()).unwrap();
    drop(store);
    let (mut store, recovery) = open(&folder.file());
    assert!(recovery.lifted.is_empty());
    assert_eq!(standing(&mut store, 200), ["192.0.2.1"], "a lift does not touch later bans");
}

#[test]
fn a_ban_made_after_a_lift_for_lines_from_before_it_stands() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    store.commit(&[turn(vec![ban(1, "sshd", "192.0.2.9", 0, 600)])], &Marks::default()).unwrap();
    store.close(at(1)).unwrap();
    assert_eq!(mark_lifted(&folder.file(), None, at(100)).unwrap(), Marked::Database(1));
    let (mut store, _) = open(&folder.file());
    // Read only now, as the daemon was down when they were written.
    store.commit(&[turn(vec![ban(2, "sshd", "192.0.2.1", 50, 600)])], &Marks::default()).unwrap();
    store.close(at(102)).unwrap();
    let mut all = Vec::new();
    let reader = Reader::open(&folder.file()).unwrap();
    reader.bans(|ban| all.push((ban.id.to_string(), ban.stands(at(103)), ban.lifted))).unwrap();
    all.sort();
    assert_eq!(all, [("192.0.2.1".to_owned(), true, false), ("192.0.2.9".to_owned(), false, true)]);
}

#[test]
fn the_past_can_be_asked_while_the_writer_works() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let all: Vec<_> = (1..=100).map(|n| ban(n, "sshd", &format!("192.0.2.{}", n % 10), 0, 600)).collect();
    store.commit(&[turn(all.clone())], &Marks { announced: Some(Seq(50)), ..Marks::default() }).unwrap();
    let reader = Reader::open(&folder.file()).unwrap();
    let history = reader.history(&FailureId::parse("192.0.2.3"), 5).unwrap();
    assert_eq!(history.iter().map(|row| row.decision.seq.0).collect::<Vec<_>>(), [93, 83, 73, 63, 53]);
    assert_eq!(history[0].decision, all[92]);
    assert!(!history[0].announced);
    store
        .commit(&[turn(vec![decision(101, DecisionKind::Lift, "sshd", "192.0.2.3", 9, 0)])], &Marks::default())
        .unwrap();
    assert_eq!(reader.recent(2).unwrap().iter().map(|row| row.decision.seq.0).collect::<Vec<_>>(), [101, 100]);
    let after = reader.resume(Seq(98), 2).unwrap();
    assert_eq!(after.iter().map(|row| row.decision.seq.0).collect::<Vec<_>>(), [99, 100]);
}
