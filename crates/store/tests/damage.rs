//! Damaged databases: the start goes on, and the bans are those of an undamaged one.
//!
//! Long form: `STOCKADE_LONG=n` damages n files instead of 50.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failure is a panic, the test changes files itself, and tells how many it damaged"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{Folder, at, ban, bans, decision, model, open, source, turn, watermark};
use stockade_core::{Decision, DecisionKind, Turn};
use stockade_store::{FirstLine, Marks, Note};

/// A small generator with a fixed sequence per seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Bans of several jails, some lifted, some prolonged.
fn decisions() -> Vec<Decision> {
    (1..=120)
        .map(|n| {
            let secs = i64::try_from(n).unwrap();
            let jail = if n % 3 == 0 { "web" } else { "sshd" };
            match n {
                50 => decision(n, DecisionKind::Lift, "sshd", "192.0.2.4", secs, 0),
                51 => decision(n, DecisionKind::Prolong, "web", "192.0.2.3", secs, 9_000),
                _ => ban(n, jail, &format!("192.0.2.{n}"), secs, if n % 10 == 0 { -1 } else { 600 }),
            }
        })
        .collect()
}

fn fill(path: &Path, crash: bool) {
    let (mut store, _) = open(path);
    let log = source("/var/log/auth.log", 1);
    let marks = Marks { firstlines: vec![FirstLine { source: log.clone(), hash: "abcd".into() }], ..Marks::default() };
    let first = Turn { decisions: decisions(), watermarks: vec![watermark("sshd", log, 500)] };
    store.commit(&[first], &marks).unwrap();
    while store.catch_up(at(0)).unwrap().more {}
    if crash {
        // The files of a process that died: with the WAL.
        for tail in ["", "-wal"] {
            let from = format!("{}{tail}", path.display());
            std::fs::copy(&from, format!("{from}.copy")).unwrap();
        }
        drop(store);
        for tail in ["", "-wal"] {
            let to = format!("{}{tail}", path.display());
            std::fs::rename(format!("{to}.copy"), &to).unwrap();
        }
    } else {
        store.close(at(0)).unwrap();
    }
}

#[test]
fn damage_neither_stops_the_start_nor_changes_the_bans() {
    let long: u64 = std::env::var("STOCKADE_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let folder = Folder::new();
    let whole = folder.0.join("whole");
    fill(&whole, false);
    let content = std::fs::read(&whole).unwrap();
    let expected = model(&decisions());
    let ever: BTreeSet<_> = decisions().iter().map(|ban| (ban.jail.to_string(), ban.id.to_string())).collect();
    let mut noticed = 0;
    let mut wrong = Vec::new();
    for seed in 0..long {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll(2);
        let mut damaged = content.clone();
        let mut places = Vec::new();
        let place = dice.roll(damaged.len());
        places.push(place);
        match seed % 4 {
            0 | 1 => damaged[place] ^= u8::try_from(1 + dice.roll(255)).unwrap(),
            2 => damaged.iter_mut().skip(place / 512 * 512).take(512).for_each(|byte| *byte = 0),
            _ => damaged.truncate(place),
        }
        let folder = Folder::new();
        std::fs::write(folder.file(), damaged).unwrap();
        let (mut store, recovery) = open(&folder.file());
        assert!(!recovery.foreign, "seed {seed}: nobody else was here");
        let found = bans(&mut store);
        let notes = store.take_notes();
        noticed += u64::from(!recovery.notes.is_empty() || !notes.is_empty());
        // What was cut off may be gone, a lift at the end too; nobody else may appear.
        let right = if seed % 4 == 3 { found.keys().all(|key| ever.contains(key)) } else { found == expected };
        if !right {
            let missing: Vec<_> =
                expected.iter().filter(|(key, value)| found.get(key) != Some(value)).take(3).collect();
            let extra: Vec<_> = found.iter().filter(|(key, value)| expected.get(key) != Some(value)).take(3).collect();
            wrong.push(format!(
                "seed {seed} at {places:?}: {} bans, missing {missing:?} extra {extra:?} {:?} {notes:?}",
                found.len(),
                recovery.notes
            ));
        }
        // It can be worked with.
        store.commit(&[turn(vec![ban(recovery.next.0, "sshd", "198.51.100.1", 200, 600)])], &Marks::default()).unwrap();
        while store.catch_up(at(0)).unwrap().more {}
        assert!(bans(&mut store).contains_key(&("sshd".into(), "198.51.100.1".into())), "seed {seed}");
        store.close(at(0)).unwrap();
    }
    eprintln!("{long} files of {} bytes damaged, noticed {noticed}, wrong {}", content.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_of_nonsense_is_set_aside_and_said_so() {
    let folder = Folder::new();
    std::fs::write(folder.file(), b"no database at all, ".repeat(500)).unwrap();
    let (mut store, recovery) = open(&folder.file());
    let [Note::Damaged { set_aside, .. }] = &recovery.notes[..] else { panic!("{:?}", recovery.notes) };
    let name = set_aside.file_name().unwrap().to_str().unwrap();
    let stamp = name.strip_prefix("bans.sqlite3.").unwrap();
    assert_eq!(stamp.len(), "20261122-144143".len());
    assert_eq!(std::fs::read(set_aside).unwrap(), b"no database at all, ".repeat(500));
    store.commit(&[turn(vec![ban(1, "sshd", "192.0.2.1", 0, 600)])], &Marks::default()).unwrap();
    assert_eq!(bans(&mut store).len(), 1);
}

#[test]
fn bans_taken_over_from_the_original_survive_a_lost_table_of_contents() {
    let folder = Folder::new();
    let (store, _) = open(&folder.file());
    store.close(at(0)).unwrap();
    let db = rusqlite::Connection::open(folder.file()).unwrap();
    // The original's own ban and one of ours.
    db.execute_batch(
        "INSERT INTO jails(name) VALUES('sshd');
         INSERT INTO bips VALUES('192.0.2.200', 'sshd', 1700000000, 600, 3, '{}');
         INSERT INTO bans VALUES('sshd', '192.0.2.200', 1700000000, 600, 3, '{}');",
    )
    .unwrap();
    drop(db);
    let (mut store, recovery) = open(&folder.file());
    assert!(recovery.foreign);
    store.commit(&[turn(vec![ban(1, "sshd", "192.0.2.1", 5, 600)])], &Marks::default()).unwrap();
    let before = bans(&mut store);
    assert_eq!(before.len(), 2);
    store.close(at(0)).unwrap();
    let mut content = std::fs::read(folder.file()).unwrap();
    content[..4_096].fill(0);
    std::fs::write(folder.file(), content).unwrap();
    let (mut store, recovery) = open(&folder.file());
    assert!(matches!(recovery.notes[..], [Note::Damaged { rescued: 2.., .. }]), "{:?}", recovery.notes);
    assert_eq!(bans(&mut store), before);
    assert_eq!(recovery.next.0, 2);
}
