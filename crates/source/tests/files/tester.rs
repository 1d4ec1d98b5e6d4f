//! One case over every way to read a file: as a case is run, its steps change the log, and the lines
//! that come out are compared. Modelled on ripgrep's `SearcherTester`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_core::block::{Block, Position};
use stockade_source::{Bounds, FileReader, Mode, Note, ReadyId, Start, Watcher};

/// The longest a case waits for lines.
const PATIENCE: Duration = Duration::from_secs(20);

/// An empty directory of this name for this process.
pub(crate) fn dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Appends to a file, making it if needed.
pub(crate) fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Appends and keeps the handle, as a program does that logs.
pub(crate) fn writer(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

/// A log under test.
pub(crate) struct Case {
    pub(crate) dir: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) reader: FileReader,
    pub(crate) notes: Vec<Note>,
    pub(crate) bounds: Bounds,
    watcher: Watcher,
    id: ReadyId,
    got: Vec<u8>,
    pub(crate) last: Option<Block>,
    what: String,
}

/// Runs a case in each way: inotify and polling, small and usual blocks.
/// `start` begins with the file as `before` left it.
pub(crate) fn check(name: &str, before: &[&str], start: &Start, steps: impl Fn(&mut Case)) {
    for mode in [Mode::Auto, Mode::Polling] {
        for block in [1, 7, 64, 256 << 10] {
            let what = format!("{name}, {mode:?}, blocks of {block}");
            let dir = dir(&format!("{name}-{mode:?}-{block}"));
            let log = dir.join("a.log");
            for text in before {
                append(&log, text);
            }
            let bounds = Bounds { block, line: block.max(1 << 10) };
            let mut watcher = Watcher::new(mode).unwrap();
            watcher.set_poll_interval(Duration::from_millis(4));
            let id = watcher.add_file(&log);
            let reader = FileReader::with_bounds(&log, start.clone(), bounds);
            let (notes, got) = (Vec::new(), Vec::new());
            let mut case = Case { dir: dir.clone(), log, reader, notes, bounds, watcher, id, got, last: None, what };
            steps(&mut case);
            case.nothing_more();
            fs::remove_dir_all(&dir).ok();
        }
    }
}

impl Case {
    /// Appends to the log.
    pub(crate) fn append(&self, text: &str) {
        append(&self.log, text);
    }

    /// Path of a rotated log.
    pub(crate) fn rotated(&self, n: u32) -> PathBuf {
        self.dir.join(format!("a.log.{n}"))
    }

    /// Waits until exactly these bytes came since the last call, woken by nothing but the watcher.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let give_up = Instant::now() + PATIENCE;
        while self.got.len() < text.len() && Instant::now() < give_up {
            for id in self.watcher.wait(Some(Duration::from_secs(1))).unwrap() {
                assert_eq!(id, self.id);
                self.drain();
            }
        }
        let got = std::mem::take(&mut self.got);
        assert_eq!(String::from_utf8_lossy(&got), text, "{}", self.what);
    }

    /// Reads until nothing comes.
    pub(crate) fn drain(&mut self) {
        loop {
            let read = self.reader.read();
            self.notes.extend(self.reader.take_notes());
            match read {
                Ok(Some(block)) => self.take(block),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        self.watcher.remind(self.id, self.reader.next_look());
    }

    /// Are there no lines left, whoever asks?
    #[track_caller]
    pub(crate) fn nothing_more(&mut self) {
        self.drain();
        assert_eq!(String::from_utf8_lossy(&self.got), "", "{}", self.what);
    }

    /// Has something with this text been noted since the last such question?
    #[track_caller]
    pub(crate) fn noted(&mut self, text: &str) {
        let texts: Vec<String> = self.notes.drain(..).map(|n| n.to_string()).collect();
        assert!(texts.iter().any(|t| t.contains(text)), "{}: {texts:?}", self.what);
    }

    /// Forgets the reader and begins another where it stood.
    pub(crate) fn restart(&mut self) {
        let (generation, offset) = (self.reader.generation(), self.reader.offset());
        self.restart_at(Start::Resume { generation, offset });
    }

    /// Forgets the reader and begins another.
    pub(crate) fn restart_at(&mut self, start: Start) {
        self.watcher.remove(self.id);
        self.reader = FileReader::with_bounds(&self.log, start, self.bounds);
        self.id = self.watcher.add_file(&self.log);
        self.last = None;
    }

    /// Checks a block against the one before, and keeps its text.
    fn take(&mut self, block: Block) {
        let offset = |p: &Position| match p {
            Position::Offset(offset) => *offset,
            Position::Cursor { .. } => panic!("a cursor from a file"),
        };
        let (begin, end) = (offset(&block.begin), offset(&block.end));
        let what = &self.what;
        if !block.text.is_empty() {
            assert_eq!(end - begin, block.text.len() as u64, "{what}");
            assert_eq!(block.text.last(), Some(&b'\n'), "{what}");
            let lines = block.text.iter().filter(|b| **b == b'\n').count();
            assert!(
                block.text.len() <= self.bounds.block || lines == 1,
                "{what}: {lines} lines in {}",
                block.text.len()
            );
            assert_ne!(block.source.generation, 0, "{what}");
        }
        // The reader's own position is where a block ends that is not late.
        assert!(self.reader.is_late(&block) || self.reader.offset() == end, "{what}");
        if let Some(last) = &self.last
            && last.source == block.source
        {
            assert_eq!(offset(&last.end), begin, "{what}");
        }
        self.got.extend_from_slice(&block.text);
        self.last = Some(block);
    }
}
