//! Commit, stop, crash, start: what was saved is there again.

mod common;

use std::sync::Arc;

use common::{Folder, T0, at, ban, bans, decision, model, open, source, turn, watermark};
use stockade_core::{Decision, DecisionKind, FailureId, JailName, Net, Origin, Position, Seq, Turn, Watermark};
use stockade_store::{Allow, FirstLine, Marks, Note, Options, Reader, Snapshot, Store, export, import};

#[test]
fn a_new_database_is_empty_and_says_so() {
    let folder = Folder::new();
    let (mut store, recovery) = open(&folder.file());
    assert_eq!(recovery.next, Seq(1));
    assert_eq!(recovery.notes, [Note::Created]);
    assert!(!recovery.foreign);
    assert!(bans(&mut store).is_empty());
    store.close(at(0)).unwrap();
    let (_, recovery) = open(&folder.file());
    assert_eq!(recovery.notes, []);
    assert!(!recovery.foreign);
}

#[test]
fn bans_come_back_after_a_stop_and_after_a_crash() {
    for crash in [false, true] {
        let folder = Folder::new();
        let (mut store, _) = open(&folder.file());
        let all = vec![
            ban(1, "sshd", "192.0.2.1", 0, 600),
            ban(2, "sshd", "2001:db8::1", 1, -1),
            ban(3, "web", "192.0.2.0/24", 2, 60),
            ban(4, "web", "some user", 3, 60),
            decision(5, DecisionKind::Unban, "web", "some user", 63, 60),
            decision(6, DecisionKind::Lift, "sshd", "2001:db8::1", 64, 60),
        ];
        store.commit(&[turn(all.clone())], &Marks::default()).unwrap();
        assert_eq!(store.saved(), Seq(6));
        assert_eq!(bans(&mut store), model(&all));
        if crash {
            drop(store);
        } else {
            store.close(at(100)).unwrap();
            assert!(!folder.0.join("bans.sqlite3-wal").exists());
        }
        let (mut store, recovery) = open(&folder.file());
        assert_eq!(recovery.next, Seq(7), "crash {crash}");
        assert_eq!(bans(&mut store), model(&all), "crash {crash}");
        assert!(!recovery.foreign);
        assert_eq!(recovery.notes, []);
        let mut seen = 0;
        store
            .each_ban(|ban| {
                let evidence = ban.evidence();
                assert_eq!(evidence.failures, 3);
                assert_eq!(evidence.matches.len(), 2);
                assert_eq!(evidence.groups.len(), 2);
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, 3);
    }
}

#[test]
fn open_rows_are_whole_decisions_again() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let mut rows = vec![
        ban(1, "sshd", "192.0.2.1", 0, 600),
        ban(2, "sshd", "user@host", 1, -1),
        decision(3, DecisionKind::Withhold, "sshd", "192.0.2.9", 2, 600),
        ban(4, "sshd", "192.0.2.4", 3, 600),
        ban(5, "sshd", "192.0.2.5", 3, 600),
    ];
    rows[1].ip = Some(Net::host("192.0.2.77".parse().unwrap()));
    rows[2].origin = Origin::Peer { node: "east".into(), seq: 99 };
    rows[3].end = at(5_000);
    rows[3].matches = Arc::from([]);
    rows[3].groups = Arc::from([]);
    rows[4].origin = Origin::Log {
        source: source("systemd-journal _COMM=sshd", 0),
        place: Position::Cursor { cursor: "s=ab;i=1".into(), at: at(1) },
    };
    let marks = Marks { announced: Some(Seq(2)), issued: Some(Seq(1)), ..Marks::default() };
    store.commit(&[turn(rows.clone())], &marks).unwrap();
    drop(store);
    let (_, recovery) = open(&folder.file());
    let found: Vec<_> = recovery.open_rows.iter().map(|row| row.decision.clone()).collect();
    assert_eq!(found, rows[1..]);
    assert_eq!(recovery.open_rows.iter().map(|row| row.announced).collect::<Vec<_>>(), [true, false, false, false]);
}

#[test]
fn a_commit_repeated_changes_nothing() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let all = vec![ban(1, "sshd", "192.0.2.1", 0, 600), ban(2, "sshd", "192.0.2.2", 0, 600)];
    for _ in 0..2 {
        store.commit(&[turn(all.clone())], &Marks::default()).unwrap();
    }
    store.close(at(0)).unwrap();
    let db = rusqlite::Connection::open(folder.file()).unwrap();
    let count: i64 = db.query_row("SELECT count(*) FROM bans", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn places_states_and_allowed_addresses_come_back() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let log = source("/var/log/auth.log", u64::MAX);
    let big: Box<[u8]> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let marks = Marks {
        firstlines: vec![FirstLine { source: log.clone(), hash: "abc".into() }],
        snapshots: vec![
            Snapshot { name: "matcher/sshd".into(), data: Box::from(*b"state") },
            Snapshot { name: "judge/sshd".into(), data: big.clone() },
        ],
        allow: vec![
            Allow { jail: None, id: FailureId::parse("192.0.2.0/24"), since: Some(at(1)) },
            Allow { jail: Some(JailName::new("sshd")), id: FailureId::parse("192.0.2.7"), since: Some(at(2)) },
        ],
        ..Marks::default()
    };
    let journal = Watermark {
        jail: JailName::new("mail"),
        source: source("systemd-journal", 0),
        to: Position::Cursor { cursor: "s=1;x".into(), at: at(5) },
    };
    let first = Turn { decisions: vec![], watermarks: vec![watermark("sshd", log.clone(), 500), journal.clone()] };
    store.commit(&[first], &marks).unwrap();
    let second = Turn { decisions: vec![], watermarks: vec![watermark("sshd", log.clone(), 900)] };
    let marks = Marks {
        snapshots: vec![Snapshot { name: "matcher/sshd".into(), data: Box::from(*b"new") }],
        allow: vec![Allow { jail: None, id: FailureId::parse("192.0.2.0/24"), since: None }],
        ..Marks::default()
    };
    store.commit(&[second], &marks).unwrap();
    drop(store);
    let (store, recovery) = open(&folder.file());
    let mut watermarks = recovery.watermarks;
    watermarks.sort_by(|a, b| b.jail.cmp(&a.jail));
    assert_eq!(watermarks, [watermark("sshd", log.clone(), 900), journal]);
    assert_eq!(recovery.positions, []);
    assert_eq!(recovery.firstlines.len(), 1);
    assert_eq!(recovery.snapshots.len(), 2);
    assert_eq!(recovery.snapshots[0].data, big);
    assert_eq!(*recovery.snapshots[1].data, *b"new");
    assert_eq!(recovery.allowed.len(), 1);
    store.close(at(9)).unwrap();
    let db = rusqlite::Connection::open(folder.file()).unwrap();
    let rows: Vec<(String, String, String, f64)> = db
        .prepare("SELECT jail, path, firstlinemd5, lastfilepos FROM logs ORDER BY jail")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "small number")]
    let journal_time = (T0 + 5) as f64;
    assert_eq!(
        rows,
        [
            ("mail".into(), "systemd-journal".into(), "2023-11-14T22:13:25 ".into(), journal_time),
            ("sshd".into(), "/var/log/auth.log".into(), "abc".into(), 900.0),
        ]
    );
}

#[test]
fn forgetting_takes_bans_and_history_whether_projected_or_not() {
    let folder = Folder::new();
    let options = Options::default();
    let (mut store, _) = Store::open(&folder.file(), &options).unwrap();
    let many: Vec<_> = (1..=20_000).map(|n| ban(n, "sshd", &format!("10.0.{}.{}", n / 250, n % 250), 0, 600)).collect();
    store.commit(&[turn(many)], &Marks::default()).unwrap();
    store.forget(None, &FailureId::parse("10.0.0.1")).unwrap();
    store.forget(Some(&JailName::new("sshd")), &FailureId::parse("10.0.0.2")).unwrap();
    store.forget(Some(&JailName::new("other")), &FailureId::parse("10.0.0.3")).unwrap();
    store.commit(&[turn(vec![ban(20_001, "web", "10.0.0.1", 5, 60)])], &Marks::default()).unwrap();
    let before = bans(&mut store);
    assert!(!before.contains_key(&("sshd".into(), "10.0.0.1".into())));
    assert!(!before.contains_key(&("sshd".into(), "10.0.0.2".into())));
    assert!(before.contains_key(&("sshd".into(), "10.0.0.3".into())));
    assert!(before.contains_key(&("web".into(), "10.0.0.1".into())));
    assert_eq!(before.len(), 19_999);
    drop(store);
    let (mut store, recovery) = open(&folder.file());
    assert!(recovery.pending > 0, "else this test shows nothing");
    assert_eq!(bans(&mut store), before);
    while store.catch_up(at(9)).unwrap().more {}
    assert_eq!(bans(&mut store), before);
    store.close(at(9)).unwrap();
    assert_eq!(bans(&mut open(&folder.file()).0), before);
}

#[test]
fn what_an_address_did_is_told_whether_projected_or_not() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let ids: Vec<String> = (0..40).map(|n| format!("10.0.{}.{n}", n % 3)).collect();
    let mut rows: Vec<Decision> = Vec::new();
    for n in 1..=30_000_u64 {
        let id = &ids[usize::try_from(n * 7 % 40).unwrap()];
        let jail = ["sshd", "web", "mail"][usize::try_from(n / 40 % 3).unwrap()];
        // A few of very many, so that there is something to merge and something to walk over.
        let secs = i64::try_from(n).unwrap();
        let mut row = match n % 200 {
            0..40 => ban(n, jail, id, secs, 600),
            40 => decision(n, DecisionKind::Lift, jail, id, secs, 600),
            41..80 => decision(n, DecisionKind::Unban, jail, id, secs, 600),
            _ => ban(n, jail, &format!("192.168.{}.{}", n / 250 % 250, n % 250), secs, 600),
        };
        row.matches = Arc::from([Box::from(format!("{n} a")), Box::from(format!("{n} b"))]);
        if n % 5 == 0 {
            (row.matches, row.groups, row.failures) = (Arc::default(), Arc::default(), 7);
        }
        rows.push(row);
    }
    store.commit(&[turn(rows.clone())], &Marks::default()).unwrap();
    let reader = Reader::open(&folder.file()).unwrap();
    assert!(reader.merged(&ids[5], None, 5).unwrap().is_some());
    // One more round while all of that waits, with something to forget in between.
    store.forget(None, &FailureId::parse(&ids[5])).unwrap();
    store.forget(Some(&JailName::new("web")), &FailureId::parse(&ids[6])).unwrap();
    let more: Vec<_> =
        (0..10).map(|n| ban(30_001 + n, "web", &ids[5], 40_000 + i64::try_from(n).unwrap(), 60)).collect();
    store.commit(&[turn(more.clone())], &Marks::default()).unwrap();
    let forgotten = |row: &Decision| {
        row.seq.0 <= 30_000
            && (row.id.to_string() == ids[5] || (row.id.to_string() == ids[6] && row.jail.as_str() == "web"))
    };
    rows.retain(|row| !forgotten(row));
    rows.extend(more);

    let mut of_id: std::collections::HashMap<String, Vec<&Decision>> = std::collections::HashMap::new();
    for row in &rows {
        of_id.entry(row.id.to_string()).or_default().push(row);
    }
    // In the plainest way.
    let expected = |id: &str, jail: Option<&str>| {
        let mut bans: Vec<&Decision> = Vec::new();
        for row in &of_id[id] {
            match row.kind {
                DecisionKind::Ban => bans.push(row),
                DecisionKind::Lift => bans.retain(|ban| ban.jail != row.jail),
                _ => {}
            }
        }
        bans.retain(|ban| jail.is_none_or(|jail| ban.jail.as_str() == jail));
        let lines: Vec<Box<str>> = bans.iter().flat_map(|ban| ban.matches.to_vec()).collect();
        let newest = lines[lines.len().saturating_sub(5)..].to_vec();
        (!bans.is_empty()).then(|| (newest, bans.iter().map(|ban| ban.failures).sum::<u32>()))
    };
    let check = |when: &str| {
        for id in &ids[..8] {
            for jail in [None, Some("sshd"), Some("web")] {
                let name = jail.map(JailName::new);
                let found = reader.merged(id, name.as_ref(), 5).unwrap();
                let found = found.map(|all| (all.matches, all.failures));
                assert_eq!(found, expected(id, jail), "{when}: {id} {jail:?}");
            }
            let last = of_id[id].iter().rev().find(|row| row.jail.as_str() == "sshd");
            if let Some(last) = last.filter(|last| last.kind == DecisionKind::Ban) {
                let found = reader.evidence(&last.jail, &last.id).unwrap();
                assert_eq!((&found.matches[..], found.failures), (&last.matches[..], last.failures), "{when}: {id}");
            }
        }
    };
    let backlog = reader.backlog().unwrap();
    assert!(backlog > 20_000, "else this test shows nothing: {backlog}");
    check("all waits");
    let (mut steps, mut half_done) = (0, 0);
    while store.catch_up(at(9)).unwrap().more {
        steps += 1;
        let db = rusqlite::Connection::open(folder.file()).unwrap();
        let window = "SELECT count(*) FROM stockade_meta WHERE key = 'window_at' AND value > 0";
        half_done += db.query_row(window, [], |row| row.get::<_, i64>(0)).unwrap();
        if steps < 4 || reader.backlog().unwrap() == 0 {
            check(&format!("after {steps} steps"));
        }
    }
    assert_eq!(reader.backlog().unwrap(), 0);
    assert!(half_done > 0, "never was a window half done");
    check("all is projected");
}

#[test]
fn jails_are_enabled_exactly_as_told() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    store.set_jails(&[JailName::new("a"), JailName::new("b")]).unwrap();
    store.set_jails(&[JailName::new("b"), JailName::new("c")]).unwrap();
    store.close(at(0)).unwrap();
    let db = rusqlite::Connection::open(folder.file()).unwrap();
    let rows: Vec<(String, i64)> = db
        .prepare("SELECT name, enabled FROM jails ORDER BY name")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows, [("a".into(), 0), ("b".into(), 1), ("c".into(), 1)]);
}

#[test]
fn memory_databases_work_and_leave_nothing() {
    for name in [":memory:", "None"] {
        let (mut store, recovery) = open(std::path::Path::new(name));
        assert_eq!(recovery.next, Seq(1));
        let all = vec![ban(1, "sshd", "192.0.2.1", 0, 600)];
        store.commit(&[turn(all.clone())], &Marks::default()).unwrap();
        assert_eq!(bans(&mut store), model(&all));
        assert!(!store.catch_up(at(0)).unwrap().more);
        store.close(at(0)).unwrap();
        assert!(!std::path::Path::new(name).exists());
    }
}

#[test]
fn what_is_exported_is_a_database_of_the_originals_that_can_be_imported() {
    let folder = Folder::new();
    let (mut store, _) = open(&folder.file());
    let all = vec![
        ban(1, "sshd", "192.0.2.1", 0, 600),
        ban(2, "web", "2001:db8::/32", 1, -1),
        ban(3, "web", "some user", 1, 60),
        decision(4, DecisionKind::Lift, "web", "some user", 2, 60),
    ];
    store.commit(&[turn(all.clone())], &Marks::default()).unwrap();
    let out = folder.0.join("out.sqlite3");
    // Beside the daemon that goes on writing.
    let reader = Reader::open(&folder.file()).unwrap();
    let given = export(&out, |each| reader.bans(each)).unwrap();
    assert_eq!(given, 2);
    assert!(export(&out, |each| reader.bans(each)).is_err(), "an existing file must not be touched");
    let mut found = Vec::new();
    let imported = import(&out, |ban| {
        found.push((ban.jail.to_string(), ban.id.to_string(), ban.time.secs(), ban.bantime, ban.count));
        assert_eq!(ban.evidence().matches.len(), 2);
    })
    .unwrap();
    assert_eq!((imported.version, imported.bans), (4, 2));
    found.sort_by_key(|(jail, ..)| jail.clone());
    let expected =
        |ban: &Decision| (ban.jail.to_string(), ban.id.to_string(), ban.time.secs(), Some(ban.bantime), ban.count);
    assert_eq!(found, all[..2].iter().map(expected).collect::<Vec<_>>());
    let db = rusqlite::Connection::open(&out).unwrap();
    let ours: i64 =
        db.query_row("SELECT count(*) FROM sqlite_master WHERE name LIKE 'stockade%'", [], |row| row.get(0)).unwrap();
    assert_eq!(ours, 0);
}
