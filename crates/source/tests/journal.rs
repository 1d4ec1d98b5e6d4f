//! The journal reader against a stand-in for `journalctl` that writes what a case wants.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use stockade_core::block::{Block, Position};
use stockade_core::time::Timestamp;
use stockade_source::{Error, Journal, JournalOptions, JournalStart, Mode, ReadyId, Watcher};

const PATIENCE: Duration = Duration::from_secs(20);

/// The stand-in: counts its runs, keeps its arguments and does what `behaviour` beside it says.
const STAND_IN: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 9
run=$(($(cat runs 2>/dev/null || echo 0) + 1))
echo $run > runs
echo "$*" > arguments.$run
echo $$ > pid
. ./behaviour
"#;

/// Written once, before anything is started: a file can't be run while another thread's child has it open.
fn stand_in() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("journalctl-{}", std::process::id()));
        fs::write(&path, STAND_IN).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    })
}

struct Case {
    dir: PathBuf,
    journal: Journal,
    watcher: Watcher,
    id: ReadyId,
    troubles: Vec<String>,
    notes: Vec<String>,
}

/// A reader whose child behaves as given; `files` are put beside it.
fn case(name: &str, behaviour: &str, files: &[(&str, Vec<u8>)], start: JournalStart, options: JournalOptions) -> Case {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{name}-{}", std::process::id()));
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("behaviour"), behaviour).unwrap();
    for (file, bytes) in files {
        fs::write(dir.join(file), bytes).unwrap();
    }
    let program = dir.join("journalctl");
    std::os::unix::fs::symlink(stand_in(), &program).unwrap();
    let journal = Journal::open(JournalOptions { program: Some(program), ..options }, start).unwrap();
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let id = watcher.add_fd(journal.as_fd()).unwrap();
    Case { dir, journal, watcher, id, troubles: Vec::new(), notes: Vec::new() }
}

impl Case {
    /// Blocks until so many lines came, woken by the journal's descriptor alone.
    #[track_caller]
    fn lines(&mut self, count: usize) -> Vec<Block> {
        let give_up = Instant::now() + PATIENCE;
        let mut blocks: Vec<Block> = Vec::new();
        while blocks.iter().map(|b| b.stamps.len()).sum::<usize>() < count {
            assert!(Instant::now() < give_up, "{:?} {:?} {:?}", text(&blocks), self.troubles, self.notes);
            self.watcher.wait(Some(Duration::from_secs(1))).unwrap();
            loop {
                match self.journal.read() {
                    Ok(Some(block)) => blocks.push(block),
                    Ok(None) => break,
                    Err(e) => self.troubles.push(e.to_string()),
                }
            }
            self.notes.extend(self.journal.take_notes().iter().map(ToString::to_string));
            self.watcher.again(self.id);
        }
        for block in &blocks {
            check_shape(block);
        }
        assert_eq!(blocks.iter().map(|b| b.stamps.len()).sum::<usize>(), count, "{:?}", text(&blocks));
        blocks
    }

    fn arguments(&self, run: u32) -> String {
        read(&self.dir.join(format!("arguments.{run}")))
    }
}

/// What stands in a file; nothing if it is not there.
fn read(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = fs::File::open(path) {
        file.take(1 << 20).read_to_string(&mut text).unwrap();
    }
    text
}

fn check_shape(block: &Block) {
    assert!(block.text.len() <= 256 << 10);
    let ends: Vec<u32> = block
        .text
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .map(|(i, _)| u32::try_from(i + 1).unwrap())
        .collect();
    assert_eq!(ends, block.stamps.iter().map(|s| s.end).collect::<Vec<_>>());
}

fn text(blocks: &[Block]) -> String {
    blocks.iter().map(|b| String::from_utf8_lossy(&b.text).into_owned()).collect()
}

/// One entry in export format.
fn entry(n: u64, message: &str) -> Vec<u8> {
    format!(
        "__CURSOR=s=f00;i={n:x};b=1;m=2;t={n};x=3\n__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP=5\n_UID={}\n\
         _HOSTNAME=h\nSYSLOG_IDENTIFIER=sshd\n_PID=7\nMESSAGE={message}\n\n",
        n * 1_000_000,
        n % 3,
    )
    .into_bytes()
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<u8> {
    range.flat_map(|n| entry(n, &format!("message {n}"))).collect()
}

fn expected(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|n| format!("h sshd[7]: message {n}\n")).collect()
}

#[test]
fn a_reader_that_left_another_one_meets_it_again() {
    let behaviour = "case $run in 1) cat all; exec sleep 1000;; 2) cat rest; exec sleep 1000;; esac";
    let files = [("all", entries(1..=9)), ("rest", entries(1..=9))];
    let mut shared = case("meets", behaviour, &files[..1], JournalStart::Tail, JournalOptions::default());
    fs::write(shared.dir.join("rest"), entries(9..=12)).unwrap();
    assert_eq!(text(&shared.lines(9)), expected(1..=9));
    let journal = shared.journal.fork().unwrap();
    let mut watcher = Watcher::new(Mode::Auto).unwrap();
    let id = watcher.add_fd(journal.as_fd()).unwrap();
    let (dir, troubles, notes) = (shared.dir.clone(), Vec::new(), Vec::new());
    let mut own = Case { dir, journal, watcher, id, troubles, notes };
    let cursor = |n: u64| -> Option<std::sync::Arc<str>> { Some(format!("s=f00;i={n:x};b=1;m=2;t={n};x=3").into()) };
    // It stands where the other one stands, and so at that limit.
    own.journal.set_limit(cursor(9));
    assert!(own.journal.is_at_limit());
    own.journal.set_limit(cursor(11));
    assert_eq!(text(&own.lines(2)), expected(10..=11));
    assert!(own.journal.is_at_limit());
    assert_eq!(own.journal.read().unwrap(), None);
    own.journal.set_limit(None);
    assert_eq!(own.journal.read().unwrap().map(|block| text(&[block])), Some(expected(12..=12)));
    assert!(own.arguments(2).contains("--cursor=s=f00;i=9"), "{}", own.arguments(2));
}

#[test]
fn entries_become_lines_with_time_and_cursor() {
    let files = [("out", entries(1..=3))];
    let start = JournalStart::Since(Timestamp::from_secs(1));
    let options =
        JournalOptions { matches: vec![vec!["A=b".into(), "+".into(), "C=d e".into()]], ..JournalOptions::default() };
    let mut c = case("lines", "cat out; exec sleep 60", &files, start, options);
    let blocks = c.lines(3);
    assert_eq!(text(&blocks), expected(1..=3));
    assert_eq!(blocks[0].stamps[0].time, Timestamp::from_secs(1));
    assert_eq!(&*blocks[0].stamps[0].cursor, "s=f00;i=1;b=1;m=2;t=1;x=3");
    assert!(!blocks[0].in_operation);
    assert_eq!(&*blocks[0].source.path, "systemd-journal A=b + C=d e");
    assert_eq!(blocks[0].source.generation, 0);
    let last = blocks.last().unwrap();
    assert_eq!(last.end, c.journal.position());
    assert!(matches!(&last.end, Position::Cursor { at, .. } if *at == Timestamp::from_secs(3)));
    let arguments = c.arguments(1);
    for word in ["--output=export", "--follow", "--no-tail", "--since=@1", "A=b + C=d e"] {
        assert!(arguments.contains(word), "{arguments}");
    }
}

#[test]
fn a_child_that_ends_is_started_again_behind_the_last_entry() {
    // The second run repeats the entry of the cursor, as `--cursor` does.
    let files = [("out1", entries(1..=3)), ("out2", entries(3..=5)), ("out3", entries(6..=6))];
    let behaviour = "cat out$run; [ $run = 3 ] && exec sleep 60; echo 'Broken \x1b[31m thing.' >&2; exit 3";
    let mut c = case("again", behaviour, &files, JournalStart::Tail, JournalOptions::default());
    assert_eq!(text(&c.lines(6)), expected(1..=6));
    assert!(c.arguments(1).contains("--lines=0"));
    assert!(c.arguments(2).contains("--cursor=s=f00;i=3;"), "{}", c.arguments(2));
    assert!(c.arguments(3).contains("--cursor=s=f00;i=5;"), "{}", c.arguments(3));
    assert_eq!(c.troubles[0], "journalctl ended, exit status: 3: Broken, [31m thing");
    assert!(c.notes.iter().any(|n| n.contains("started again")), "{:?}", c.notes);
}

#[test]
fn a_cursor_of_no_use_gives_way_to_the_time() {
    let behaviour = "case \"$*\" in *--cursor=*) echo 'Failed to seek to cursor: Invalid argument' >&2; exit 1;; esac
        cat out; exec sleep 60";
    let start = JournalStart::After { cursor: "nonsense".into(), at: Timestamp::from_secs(77), not_before: None };
    let mut c = case("cursor", behaviour, &[("out", entries(1..=1))], start, JournalOptions::default());
    c.lines(1);
    assert!(c.arguments(2).contains("--since=@77"));
    assert!(c.notes.iter().any(|n| n.contains("cursor is of no use")), "{:?}", c.notes);
}

#[test]
fn an_old_position_gives_way_to_the_time_window() {
    let at = Timestamp::from_secs;
    let start = JournalStart::After { cursor: "s=f00;i=1".into(), at: at(100), not_before: Some(at(500)) };
    let c = case("window", "exec sleep 60", &[], start, JournalOptions::default());
    let give_up = Instant::now() + PATIENCE;
    while !c.dir.join("pid").exists() && Instant::now() < give_up {
        std::thread::yield_now();
    }
    assert!(c.arguments(1).contains("--since=@500"));
}

#[test]
fn what_is_no_export_format_ends_the_child_and_costs_no_entry() {
    let mut broken = entries(1..=2);
    broken.extend_from_slice(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffX");
    let files = [("out1", broken), ("out2", entries(2..=4))];
    let behaviour = "cat out$run; exec sleep 60";
    let start = JournalStart::Since(Timestamp::default());
    let mut c = case("broken", behaviour, &files, start, JournalOptions::default());
    assert_eq!(text(&c.lines(4)), expected(1..=4));
    assert!(c.troubles[0].contains("wrote no export format"), "{:?}", c.troubles);
}

#[test]
fn hostile_values_stay_values() {
    let mut out = Vec::new();
    let forged = "x\n\n__CURSOR=forged\nMESSAGE=Failed password for root from 192.0.2.66\n\n";
    out.extend_from_slice(b"__CURSOR=s=f00;i=1\n__REALTIME_TIMESTAMP=1\nMESSAGE\n");
    out.extend_from_slice(&u64::try_from(forged.len()).unwrap().to_le_bytes());
    out.extend_from_slice(forged.as_bytes());
    out.extend_from_slice(b"\n\n");
    out.extend_from_slice(&entry(2, &"y".repeat(70_000)));
    out.extend_from_slice(&entry(3, "after"));
    let start = JournalStart::Since(Timestamp::default());
    let mut c = case("hostile", "cat out; exec sleep 60", &[("out", out)], start, JournalOptions::default());
    let got = text(&c.lines(2));
    let one_line = "x\\n\\n__CURSOR=forged\\nMESSAGE=Failed password for root from 192.0.2.66\\n\\n\n";
    assert_eq!(got, format!("{one_line}h sshd[7]: after\n"));
    assert!(c.notes.iter().any(|n| n == "1 journal entries left out: too large"), "{:?}", c.notes);
}

#[test]
fn entries_of_other_users_do_not_count_where_trust_is_asked_for() {
    let options = JournalOptions { trusted_uids: Some(vec![0]), ..JournalOptions::default() };
    let files = [(
        "out",
        [
            entries(1..=6),
            b"__CURSOR=s=f00;i=99\n__REALTIME_TIMESTAMP=1\nMESSAGE=no uid\n\n".to_vec(),
            b"__CURSOR=s=f00;i=9a\n__REALTIME_TIMESTAMP=1\n_TRANSPORT=kernel\nMESSAGE=k\n\n".to_vec(),
        ]
        .concat(),
    )];
    let start = JournalStart::Since(Timestamp::default());
    let mut c = case("trust", "cat out; exec sleep 60", &files, start, options);
    assert_eq!(text(&c.lines(3)), "h sshd[7]: message 3\nh sshd[7]: message 6\nk\n");
    assert!(c.notes.iter().any(|n| n.contains("5 journal entries left out")), "{:?}", c.notes);
}

#[test]
fn many_entries_come_in_bounded_blocks() {
    let files = [("out", entries(1..=20_000))];
    let start = JournalStart::Since(Timestamp::default());
    let mut c = case("many", "cat out; exec sleep 60", &files, start, JournalOptions::default());
    let blocks = c.lines(20_000);
    assert_eq!(text(&blocks), expected(1..=20_000));
    for pair in blocks.windows(2) {
        assert_eq!(pair[0].end, pair[1].begin);
    }
}

#[test]
fn entries_made_after_the_start_are_in_operation() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let files = [("out", [entries(1..=2), entry(now + 5, "new"), entry(now + 6, "newer")].concat())];
    let start = JournalStart::Since(Timestamp::default());
    let mut c = case("operation", "cat out; exec sleep 60", &files, start, JournalOptions::default());
    let blocks = c.lines(4);
    assert!(!blocks[0].in_operation);
    assert!(blocks.last().unwrap().in_operation);
    assert!(text(&blocks[blocks.len() - 1..]).contains("newer"));
}

#[test]
fn without_journalctl_there_is_a_clear_error() {
    let options = JournalOptions { program: Some("/nonexistent/journalctl".into()), ..JournalOptions::default() };
    let error = Journal::open(options.clone(), JournalStart::Tail).unwrap_err();
    assert!(matches!(error, Error::NoJournalctl { .. }), "{error}");
    assert!(Journal::probe(&options).is_err());
}

#[test]
fn the_child_ends_with_its_reader() {
    let c = case("end", "exec sleep 60", &[], JournalStart::Tail, JournalOptions::default());
    let give_up = Instant::now() + PATIENCE;
    let pid = loop {
        let pid = read(&c.dir.join("pid"));
        if pid.ends_with('\n') {
            break pid.trim().to_owned();
        }
        assert!(Instant::now() < give_up);
        std::thread::yield_now();
    };
    assert!(Path::new("/proc").join(&pid).exists());
    drop(c);
    assert!(!Path::new("/proc").join(&pid).exists());
}
