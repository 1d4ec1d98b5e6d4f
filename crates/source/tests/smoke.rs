//! The public face in its simplest uses.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_source::{Error, FileReader, Journal, JournalOptions, JournalStart, Mode, Start, Watcher};

fn dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("smoke-{name}-{}", std::process::id()));
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn drain(reader: &mut FileReader) -> String {
    let mut out = Vec::new();
    while let Some(block) = reader.read().unwrap() {
        out.extend_from_slice(&block.text);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_log_is_followed_through_its_life() {
    let dir = dir("life");
    let log = dir.join("a.log");
    let mut reader = FileReader::open(&log, Start::Head);
    assert!(matches!(reader.read(), Err(Error::Missing { .. })));
    assert!(reader.read().unwrap().is_none());
    append(&log, "one\ntwo");
    assert_eq!(drain(&mut reader), "one\n");
    append(&log, "\nthree\n");
    assert_eq!(drain(&mut reader), "two\nthree\n");
    let generation = reader.generation();
    append(&log, "last words\n");
    fs::rename(&log, dir.join("a.log.1")).unwrap();
    append(&dir.join("a.log.1"), "late\n");
    append(&log, "new\n");
    assert_eq!(drain(&mut reader), "last words\nlate\nnew\n");
    assert_ne!(reader.generation(), generation);
    append(&dir.join("a.log.1"), "later\n");
    assert_eq!(drain(&mut reader), "later\n");
    fs::write(&log, "x\n").unwrap();
    assert_eq!(drain(&mut reader), "x\n");
}

#[test]
fn a_watcher_wakes_for_what_happens() {
    let dir = dir("watch");
    let log = dir.join("a.log");
    for mode in [Mode::Auto, Mode::Polling] {
        fs::remove_file(&log).ok();
        let mut watcher = Watcher::new(mode).unwrap();
        let id = watcher.add_file(&log);
        let wait = |w: &mut Watcher| w.wait(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(wait(&mut watcher), [id]);
        append(&log, "x\n");
        assert_eq!(wait(&mut watcher), [id], "{mode:?}");
        while !watcher.wait(Some(Duration::from_millis(20))).unwrap().is_empty() {}
        append(&log, "y\n");
        assert_eq!(wait(&mut watcher), [id], "{mode:?}");
    }
}

#[test]
fn a_journal_is_read_from_its_child() {
    use std::os::unix::fs::PermissionsExt;
    let dir = dir("journal");
    let program = dir.join("journalctl");
    let script = "#!/bin/sh\nprintf '__CURSOR=s=a;i=1\\n__REALTIME_TIMESTAMP=5000000\\n_HOSTNAME=h\\n_COMM=c\\nMESSAGE=m\\n\\n'\nexec sleep 100\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let options = JournalOptions { program: Some(program), ..JournalOptions::default() };
    let mut journal = Journal::open(options, JournalStart::Tail).unwrap();
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let id = watcher.add_fd(journal.as_fd()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let block = loop {
        assert!(Instant::now() < deadline);
        assert_eq!(watcher.wait(Some(Duration::from_secs(10))).unwrap(), [id]);
        if let Some(block) = journal.read().unwrap() {
            break block;
        }
        watcher.again(id);
    };
    assert_eq!(&*block.text, b"h c: m\n");
    assert_eq!(block.stamps[0].time.secs(), 5);
    assert_eq!(&*block.stamps[0].cursor, "s=a;i=1");
}
