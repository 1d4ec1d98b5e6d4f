//! fail2ban's own database class on our file and we on its, in turn.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a failure is a panic, the original is a Python program, and a skip says so"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::{Folder, T0, at, ban, bans, decision, open, source, turn, watermark};
use stockade_core::{DecisionKind, JailName, Turn};
use stockade_original::{Installed, both};
use stockade_store::{FirstLine, Marks, Note};

/// What each script begins with.
const PRELUDE: &str = r"
import sys, json, logging
logging.disable(logging.CRITICAL)
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.ticket import FailTicket
from fail2ban.server.mytime import MyTime

class Actions:
    def getBanTime(self): return 600

class Jail:
    def __init__(self, name): self.name = name; self.actions = Actions()
    def getMaxBanTime(self): return -1

class Log:
    def __init__(self, path, pos, md5): self.a = (path, pos, md5)
    def getFileName(self): return self.a[0]
    def getPos(self): return self.a[1]
    def getHash(self): return self.a[2]

T0 = 1700000000
sshd, web = Jail('sshd'), Jail('web')
def ban(jail, ip, secs, bantime, count=1, matches=(), **data):
    t = FailTicket(ip, T0 + secs, list(matches), data=dict(data))
    t.setBanTime(bantime); t.setBanCount(count)
    db.addBan(jail, t)
def current(jail, secs):
    tickets = db.getCurrentBans(jail=jail, fromtime=T0 + secs)
    return sorted([str(t.getID()), int(t.getTime()) - T0, t.getBanTime(), t.getBanCount(), t.getAttempt()] for t in tickets)
db = Fail2BanDb(sys.argv[1])
";

/// Runs a script with the original's class; returns what it prints.
#[track_caller]
fn original(installed: &Installed, file: &Path, script: &str) -> String {
    let output = Command::new("python3")
        .arg("-c")
        .arg(format!("{PRELUDE}{script}\ndb.close()"))
        .arg(file)
        .env("PYTHONPATH", installed.packages())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The ids of our bans.
fn ids(store: &mut stockade_store::Store) -> BTreeSet<String> {
    bans(store).into_keys().map(|(_, id)| id).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn each_takes_up_what_the_other_left() {
    for installed in both("each_takes_up_what_the_other_left") {
        for crash in [false, true] {
            there_and_back_twice(&installed, crash);
        }
    }
}

/// `crash`: ours does not close the file, so that the original finds it in WAL mode.
fn there_and_back_twice(installed: &Installed, crash: bool) {
    let folder = Folder::new();
    let file = folder.file();
    let leave = |store: stockade_store::Store| if crash { drop(store) } else { store.close(at(10)).unwrap() };
    original(
        installed,
        &file,
        "
db.addJail(sshd); db.addJail(web)
ban(sshd, '192.0.2.1', 0, 600, 2, ['a line', ['', 'date', ' rest \u{e4}']], failures=5, user='root', users={'x'})
ban(sshd, '2001:db8::1', 0, -1)
ban(web, 'some user', 0, 700.25)
db.addLog(sshd, Log('/var/log/auth.log', 4000, 'aaaa'))
db.updateJournal(web, 'systemd-journal', T0 + 0.5, '2023-11-14T22:13:20.500000 ')
",
    );
    let (mut store, recovery) = open(&file);
    assert_eq!(recovery.notes, [Note::TakenOver]);
    assert!(recovery.foreign);
    assert_eq!(ids(&mut store), set(&["192.0.2.1", "2001:db8::1", "some user"]));
    store
        .each_ban(|ban| {
            let evidence = ban.evidence();
            match ban.id.to_string().as_str() {
                "192.0.2.1" => {
                    assert_eq!((ban.count, evidence.failures), (2, 5));
                    assert_eq!(evidence.matches, ["a line".into(), Box::from("date rest \u{e4}")]);
                    assert_eq!(evidence.groups.len(), 2);
                }
                "some user" => assert_eq!(ban.end().unwrap(), at(0) + stockade_core::Span::from_secs_f64(700.25)),
                _ => {}
            }
        })
        .unwrap();
    let mut positions = recovery.positions.clone();
    positions.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(positions.len(), 2);
    assert_eq!((&*positions[1].path, positions[0].position), ("systemd-journal", 4000.0));
    assert!((positions[1].position - 1_700_000_000.5).abs() < 1e-6);
    let log = source("/var/log/auth.log", 5);
    let first = Turn {
        decisions: vec![
            ban(1, "sshd", "192.0.2.2", 1, 600),
            ban(2, "sshd", "192.0.2.3", 2, 600),
            decision(3, DecisionKind::Lift, "sshd", "192.0.2.1", 3, 0),
        ],
        watermarks: vec![watermark("sshd", log.clone(), 5_000)],
    };
    let marks = Marks {
        firstlines: vec![FirstLine { source: log.clone(), hash: "aaaa".into() }],
        jails: Some(vec![JailName::new("sshd"), JailName::new("web")]),
        ..Marks::default()
    };
    store.commit(&[first], &marks).unwrap();
    leave(store);

    let seen = original(
        installed,
        &file,
        "
print(json.dumps(current(sshd, 10)), json.dumps(current(web, 10)))
print(db.addLog(sshd, Log('/var/log/auth.log', 0, 'aaaa')))
t = db.getBansMerged(ip='192.0.2.2', jail=sshd)
print(t.getMatches()[1], t.getData('user'), t.getAttempt())
print(list(db.getBan('192.0.2.2', sshd)), list(db.getBan('192.0.2.1', sshd)))
ban(sshd, '192.0.2.4', 20, 600)
ban(sshd, '192.0.2.3', 30, 900, 2)
db.delBan(sshd, '192.0.2.2')
db.updateLog(sshd, Log('/var/log/auth.log', 7000, 'aaaa'))
",
    );
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines[0],
        r#"[["192.0.2.2", 1, 600, 1, 3], ["192.0.2.3", 2, 600, 1, 3], ["2001:db8::1", 0, -1, 1, 0]] [["some user", 0, 700.25, 1, 0]]"#
    );
    assert_eq!(lines[1], "5000");
    assert_eq!(lines[2], "second line root 3");
    assert_eq!(lines[3], "[(1, 1700000001, 600)] []");

    let (mut store, recovery) = open(&file);
    assert!(recovery.foreign, "crash {crash}");
    assert_eq!(recovery.notes, [Note::Foreign]);
    assert_eq!(ids(&mut store), set(&["192.0.2.3", "192.0.2.4", "2001:db8::1", "some user"]));
    assert_eq!(bans(&mut store)[&("sshd".into(), "192.0.2.3".into())], (T0 + 30, 900, 2));
    assert!(recovery.watermarks.is_empty(), "theirs wins");
    assert!(recovery.positions.iter().any(|place| (place.position - 7000.0).abs() < 0.5));
    // A log is known by its first line at once, a place only when lines came.
    let known = Marks { firstlines: vec![FirstLine { source: log.clone(), hash: "aaaa".into() }], ..Marks::default() };
    store.commit(&[], &known).unwrap();
    let noted =
        rusqlite::Connection::open(&file).unwrap().query_row("SELECT lastfilepos FROM logs", [], |row| row.get(0));
    assert_eq!(noted, Ok(7_000), "our old place is back");
    let second = Turn {
        decisions: vec![ban(4, "web", "192.0.2.0/24", 40, 600)],
        watermarks: vec![watermark("sshd", log, 9_000)],
    };
    store.commit(&[second], &Marks::default()).unwrap();
    leave(store);

    let seen = original(
        installed,
        &file,
        "
print(json.dumps([r[0] for r in current(sshd, 50)]), json.dumps([r[0] for r in current(web, 50)]))
print(db.addLog(sshd, Log('/var/log/auth.log', 0, 'aaaa')))
cur = db._db.cursor(); cur.execute('PRAGMA integrity_check'); print(cur.fetchall())
cur.execute('PRAGMA foreign_key_check'); print(cur.fetchall())
db.purge()
",
    );
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], r#"["192.0.2.3", "192.0.2.4", "2001:db8::1"] ["192.0.2.0/24", "some user"]"#);
    assert_eq!(lines[1..], ["9000", "[('ok',)]", "[]"]);
    let (store, recovery) = open(&file);
    assert!(recovery.foreign);
    store.close(at(60)).unwrap();
    let (_, recovery) = open(&file);
    assert!(!recovery.foreign);
}

#[test]
fn the_original_merely_looking_is_no_foreign_period() {
    for installed in both("the_original_merely_looking_is_no_foreign_period") {
        let folder = Folder::new();
        let (mut store, _) = open(&folder.file());
        store.commit(&[turn(vec![ban(1, "sshd", "192.0.2.1", 0, 600)])], &Marks::default()).unwrap();
        store.close(at(0)).unwrap();
        original(&installed, &folder.file(), "print(current(sshd, 0))");
        let (_, recovery) = open(&folder.file());
        assert!(!recovery.foreign);
    }
}

#[test]
fn our_new_database_has_the_originals_tables() {
    for installed in both("our_new_database_has_the_originals_tables") {
        let folder = Folder::new();
        let theirs = folder.0.join("theirs");
        original(&installed, &theirs, "");
        let ours = folder.file();
        open(&ours).0.close(at(0)).unwrap();
        assert_eq!(shape(&theirs), shape(&ours));
    }
}

/// All tables, columns, indices and references, without our own.
fn shape(file: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(file).unwrap();
    let text = |sql: &str| -> Vec<String> {
        let mut select = db.prepare(sql).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let cells = (0..columns).map(|at| format!("{:?}", row.get::<_, rusqlite::types::Value>(at).unwrap()));
            found.push(cells.collect::<Vec<_>>().join(" "));
        }
        found
    };
    let mut shape =
        text("SELECT type, name, tbl_name FROM sqlite_master WHERE tbl_name NOT LIKE 'stockade%' ORDER BY name");
    for table in ["fail2banDb", "jails", "logs", "bans", "bips"] {
        for pragma in ["table_info", "index_list", "foreign_key_list"] {
            shape.extend(text(&format!("SELECT * FROM pragma_{pragma}('{table}')")));
        }
        shape.extend(text(&format!(
            "SELECT l.name, i.* FROM pragma_index_list('{table}') l, pragma_index_info(l.name) i ORDER BY l.name, i.seqno"
        )));
    }
    shape.push(text("SELECT version FROM fail2banDb").concat());
    shape
}

/// A database as fail2ban of schema `version` (1 to 3) left it.
fn old(path: &Path, version: i64) {
    let db = rusqlite::Connection::open(path).unwrap();
    let unique = if version >= 2 { ", UNIQUE(jail, path), UNIQUE(jail, path, firstlinemd5)" } else { "" };
    let times = if version >= 3 { "bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1, " } else { "" };
    db.execute_batch(&format!(
        "CREATE TABLE fail2banDb(version INTEGER);
         INSERT INTO fail2banDb VALUES({version});
         CREATE TABLE jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
         CREATE INDEX jails_name ON jails(name);
         CREATE TABLE logs(jail TEXT NOT NULL, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER DEFAULT 0,
             FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE{unique});
         CREATE INDEX logs_path ON logs(path);
         CREATE TABLE bans(jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, {times}data JSON,
             FOREIGN KEY(jail) REFERENCES jails(name));
         CREATE INDEX bans_jail_ip ON bans(jail, ip);
         CREATE INDEX bans_ip ON bans(ip);
         INSERT INTO jails(name) VALUES('sshd'), ('web');
         INSERT INTO logs VALUES('sshd', '/var/log/auth.log', 'abcd', 400);"
    ))
    .unwrap();
    let times = if version >= 3 { "600, 2, " } else { "" };
    for (jail, ip, time) in [("sshd", "192.0.2.1", "20.25"), ("sshd", "192.0.2.1", "10"), ("web", "2001:db8::1", "30")]
    {
        let time = format!("1700000000 + {time}");
        let data = r#"{"matches": ["one", ["a", "b"]], "failures": 4}"#;
        db.execute(&format!("INSERT INTO bans VALUES('{jail}', '{ip}', {time}, {times}'{data}')"), []).unwrap();
    }
}

/// The content of all tables of the original.
fn content(file: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(file).unwrap();
    let mut content = Vec::new();
    for select in [
        "SELECT * FROM fail2banDb",
        "SELECT * FROM jails ORDER BY name",
        "SELECT * FROM logs ORDER BY jail, path",
        "SELECT * FROM bans ORDER BY jail, ip, timeofban",
        "SELECT * FROM bips ORDER BY jail, ip",
    ] {
        let mut select = db.prepare(select).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            content.push((0..columns).map(|at| format!("{:?} ", row.get_ref(at).unwrap())).collect());
        }
    }
    content
}

#[test]
fn old_versions_are_imported_and_upgraded() {
    for version in 1..=3 {
        let folder = Folder::new();
        let file = folder.file();
        old(&file, version);
        let before = std::fs::read(&file).unwrap();
        let mut found = Vec::new();
        let imported = stockade_store::import(&file, |ban| {
            let evidence = ban.evidence();
            assert_eq!((evidence.failures, evidence.matches.len()), (4, 2));
            found.push((ban.id.to_string(), ban.time.micros(), ban.bantime.is_some(), ban.count));
        })
        .unwrap();
        found.sort();
        let count = if version == 3 { 2 } else { 1 };
        assert_eq!(
            found,
            [
                ("192.0.2.1".into(), 1_700_000_020_250_000, version == 3, count),
                ("2001:db8::1".into(), 1_700_000_030_000_000, version == 3, count)
            ]
        );
        assert_eq!((imported.version, imported.bans, imported.positions.len()), (version, 2, 1));
        assert_eq!(std::fs::read(&file).unwrap(), before, "only read");

        let (mut store, recovery) = open(&file);
        let [Note::Upgraded { from, backup }, Note::TakenOver] = &recovery.notes[..] else {
            panic!("{:?}", recovery.notes)
        };
        assert_eq!(*from, version);
        assert!(backup.exists());
        assert_eq!(recovery.positions.len(), 1);
        assert_eq!(bans(&mut store).len(), 2);
        store.close(at(0)).unwrap();
        for installed in both("old_versions_are_imported_and_upgraded") {
            let theirs = folder.0.join("theirs");
            old(&theirs, version);
            original(&installed, &theirs, "");
            assert_eq!(content(&file), content(&theirs), "version {version}");
            std::fs::remove_file(&theirs).unwrap();
        }
    }
}

#[test]
fn a_newer_version_is_left_alone() {
    let folder = Folder::new();
    let file = folder.file();
    open(&file).0.close(at(0)).unwrap();
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute_batch("UPDATE fail2banDb SET version = 5").unwrap();
    db.close().unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = stockade_store::Store::open(&file, &stockade_store::Options::default()).err().unwrap();
    assert!(error.to_string().contains("version 5"), "{error}");
    assert!(!error.retryable());
    assert_eq!(std::fs::read(&file).unwrap(), before);
    stockade_store::import(&file, |_| {}).unwrap_err();
}
