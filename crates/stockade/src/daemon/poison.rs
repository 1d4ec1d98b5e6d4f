//! Notes, outside of this process, of what each jail is looking at: a line that ends the process does
//! so three times at most. A process that is killed while it happens to look at some line is no such line:
//! only one that was being looked at by itself at two ends is left out.
//!
//! | what a start finds in the notes | what it does |
//! |---|---|
//! | nothing under way | nothing |
//! | a jail was looking at a block | lines of that part of the log are noted one by one, for that jail |
//! | a jail was looking at a single line so | that line is a suspect; it is noted by itself again |
//! | a jail was looking at that suspect again | that line is left out for that jail, and the log says so |
//!
//! The notes are records of fixed size in a file beside the pid file, where they outlive the process but
//! cost no disk: two small writes into memory for each block and jail.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use stockade_core::{Block, JailName, Position};

use crate::log::Log;

/// Bytes of one record.
const RECORD_BYTES: usize = 48;
/// Parts and lines of logs that are remembered from earlier processes; beyond that the oldest are forgotten.
const KEPT_MAX: usize = 64;
/// Begins each record, with its kind behind.
const MAGIC: u32 = 0x5702_0001;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// These lines are being looked at, or were when a process ended.
    Block = 1,
    /// This line is being looked at by itself.
    Line = 2,
    /// This line is left out.
    LeftOut = 3,
    /// This line was being looked at by itself when a process ended.
    Suspect = 4,
}

/// A part of a log, as one jail sees it. Names are kept as hashes, so that records are of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    jail: u64,
    /// Path and generation; of a journal's single line its cursor.
    source: u64,
    /// Offsets, or microseconds of a journal's entries; `to` lies behind the part.
    from: u64,
    to: u64,
}

impl Part {
    fn overlaps(&self, other: &Part) -> bool {
        (self.jail, self.source) == (other.jail, other.source) && self.from < other.to && other.from < self.to
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    kind: Kind,
    part: Part,
}

impl Record {
    fn bytes(self) -> [u8; RECORD_BYTES] {
        let kind = (u64::from(MAGIC) << 32) | self.kind as u64;
        let words = [kind, self.part.jail, self.part.source, self.part.from, self.part.to];
        let mut out = [0; RECORD_BYTES];
        let all = words.into_iter().chain([sum(&words)]);
        for (place, word) in out.chunks_exact_mut(8).zip(all) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Nothing if there is none, or only half of one.
    fn parse(bytes: &[u8]) -> Option<Record> {
        let (words, _) = bytes.as_chunks::<8>();
        let &[kind, jail, source, from, to, check] = words else { return None };
        let words = [kind, jail, source, from, to].map(u64::from_le_bytes);
        if sum(&words) != u64::from_le_bytes(check) {
            return None;
        }
        let [kind, jail, source, from, to] = words;
        let all = [Kind::Block, Kind::Line, Kind::LeftOut, Kind::Suspect];
        let kind = all.into_iter().find(|known| kind == (u64::from(MAGIC) << 32) | *known as u64)?;
        Some(Record { kind, part: Part { jail, source, from, to } })
    }
}

/// FNV-1a over bytes: the same in each process and version.
fn hash(parts: &[&[u8]]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    parts.iter().flat_map(|part| part.iter().chain(&[0xff])).fold(0xcbf2_9ce4_8422_2325, step)
}

fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| hash(&[&word.to_le_bytes(), &sum.to_le_bytes()]))
}

/// The notes of all jails.
#[derive(Clone)]
pub(crate) struct Poison(Arc<Shared>);

struct Shared {
    /// `None`: nothing can be noted here.
    file: Option<(File, PathBuf)>,
    /// What earlier processes left, in its places of the file.
    kept: Mutex<Vec<Option<Record>>>,
    /// The place of each jail's own record.
    places: Mutex<HashMap<JailName, u64>>,
    log: Log,
}

/// Where the notes of a daemon with this pid file lie.
pub(crate) fn place(pidfile: &Path) -> PathBuf {
    pidfile.with_extension("noted")
}

impl Poison {
    /// Takes up what an earlier process noted at this path.
    pub(crate) fn open(path: &Path, log: &Log) -> Poison {
        let (file, kept) = match read(path) {
            Ok((file, kept)) => (Some((file, path.to_owned())), kept),
            Err(e) => {
                let what = "a line that ends the daemon would not be known at the next start";
                log.warning(format!("{} can't be written ({e}): {what}", path.display()));
                (None, Vec::new())
            }
        };
        Poison(Arc::new(Shared { file, kept: Mutex::new(kept), places: Mutex::default(), log: log.clone() }))
    }

    /// Notes nothing and knows nothing.
    #[cfg(test)]
    pub(crate) fn none(log: &Log) -> Poison {
        Poison(Arc::new(Shared { file: None, kept: Mutex::default(), places: Mutex::default(), log: log.clone() }))
    }

    /// The notes of one jail. Of one jail there is one writer at a time.
    pub(crate) fn of(&self, jail: &JailName) -> Noted {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let next = places.len();
        let place = *places.entry(jail.clone()).or_insert((KEPT_MAX + next) as u64);
        Noted { shared: Arc::clone(&self.0), name: jail.clone(), jail: hash(&[jail.as_str().as_bytes()]), place }
    }

    /// The process ends in order: the file goes, unless there are lines to be left out.
    pub(crate) fn close(&self) {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, path)) = self.0.file.as_ref().filter(|_| kept.iter().all(Option::is_none))
            && let Err(e) = std::fs::remove_file(path)
        {
            self.0.log.warning(format!("{} can't be removed: {e}", path.display()));
        }
    }
}

/// Reads the notes and puts what was under way to what is kept.
fn read(path: &Path) -> io::Result<(File, Vec<Option<Record>>)> {
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
    let file = options.open(path)?;
    // A jail has one record, and there are not many jails.
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len().min(1 << 20)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    let mut kept: Vec<Record> = Vec::new();
    for mut record in bytes.chunks(RECORD_BYTES).filter_map(Record::parse) {
        if record.kind == Kind::Line {
            record.kind = Kind::Suspect;
            if let Some(known) = kept.iter_mut().find(|known| **known == record) {
                known.kind = Kind::LeftOut;
                continue;
            }
        }
        if !kept.contains(&record) {
            kept.push(record);
        }
    }
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    kept.drain(..surplus);
    let mut all: Vec<u8> = kept.iter().flat_map(|record| record.bytes()).collect();
    all.resize(KEPT_MAX * RECORD_BYTES, 0);
    file.write_all_at(&all, 0)?;
    file.set_len(all.len() as u64)?;
    Ok((file, kept.into_iter().map(Some).collect()))
}

/// How a part of a log is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// As always.
    Usual,
    /// Each line is noted by itself: an earlier process ended in here.
    LineByLine,
}

/// The notes of one jail.
pub(crate) struct Noted {
    shared: Arc<Shared>,
    name: JailName,
    jail: u64,
    place: u64,
}

impl Noted {
    /// Notes that this block is looked at now, and says how it is to be looked at.
    pub(crate) fn begin(&self, block: &Block) -> Care {
        let part = self.part(block);
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a journal the line that is left out is named by its cursor, not by its place.
        let journal = matches!(block.begin, Position::Cursor { .. });
        let concerns = |record: &Record| match record.kind {
            Kind::LeftOut | Kind::Suspect if journal => record.part.jail == self.jail,
            _ => record.part.overlaps(&part),
        };
        if kept.iter().flatten().any(concerns) {
            return Care::LineByLine;
        }
        drop(kept);
        self.write(Some(Record { kind: Kind::Block, part }));
        Care::Usual
    }

    /// Notes that this one line is looked at now; `false` if it is to be left out.
    pub(crate) fn begin_line(&self, line: &Block) -> bool {
        let part = self.part_of_line(line);
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = kept.iter().flatten().any(|record| *record == Record { kind: Kind::LeftOut, part });
        drop(kept);
        if left_out {
            let at = match &line.begin {
                Position::Offset(at) => format!("at byte {at} "),
                Position::Cursor { .. } => String::new(),
            };
            self.shared.log.error(format!(
                "[{}] The line {at}of {} is left out ({} bytes): the daemon ended twice while it looked at it. Please \
                 report it together with that line",
                self.name,
                line.source,
                line.text.len()
            ));
            return false;
        }
        self.write(Some(Record { kind: Kind::Line, part }));
        true
    }

    /// The line has been looked at, and is none that ends a process.
    pub(crate) fn end_line(&self, line: &Block) {
        self.write(None);
        let suspect = Record { kind: Kind::Suspect, part: self.part_of_line(line) };
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, record) in kept.iter_mut().enumerate().filter(|(_, record)| **record == Some(suspect)) {
            *record = None;
            self.write_at(place as u64, None);
        }
    }

    /// What was noted has been looked at; what comes of it is on its way, which may take its time.
    pub(crate) fn pause(&self) {
        self.write(None);
    }

    /// The block has been looked at.
    pub(crate) fn end(&self, block: &Block, care: Care) {
        self.write(None);
        if care == Care::Usual {
            return;
        }
        let part = self.part(block);
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, record) in kept.iter_mut().enumerate() {
            if let Some(Record { kind: Kind::Block, part: known }) = record
                && part.overlaps(known)
            {
                // What lies behind this block is still to come.
                let rest = Part { from: part.to, ..*known };
                *record = (rest.from < rest.to).then_some(Record { kind: Kind::Block, part: rest });
                self.write_at(place as u64, *record);
            }
        }
    }

    fn part(&self, block: &Block) -> Part {
        let source = hash(&[block.source.path.as_bytes(), &block.source.generation.to_le_bytes()]);
        let (from, to) = match (&block.begin, &block.end) {
            (Position::Offset(from), Position::Offset(to)) => (*from, *to),
            _ => {
                let time = |at: Option<i64>| u64::try_from(at.unwrap_or(0)).unwrap_or(0);
                let times = || block.stamps.iter().map(|stamp| stamp.time.micros());
                (time(times().min()), time(times().max()).saturating_add(1))
            }
        };
        Part { jail: self.jail, source, from, to }
    }

    fn part_of_line(&self, line: &Block) -> Part {
        let mut part = self.part(line);
        if let Some(stamp) = line.stamps.first() {
            part.source = hash(&[line.source.path.as_bytes(), stamp.cursor.as_bytes()]);
        }
        part
    }

    fn write(&self, record: Option<Record>) {
        self.write_at(self.place, record);
    }

    /// A note that can't be written is none; the line is looked at all the same.
    fn write_at(&self, place: u64, record: Option<Record>) {
        let bytes = record.map_or([0; RECORD_BYTES], Record::bytes);
        if let Some((file, _)) = &self.shared.file {
            file.write_all_at(&bytes, place * RECORD_BYTES as u64).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use stockade_core::{Stamp, Timestamp};

    use super::super::actor::tests::block;
    use super::*;
    use crate::log::{Aim, Level};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stockade-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).unwrap_or_default();
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn log(folder: &Path) -> Log {
        let aim = Aim::parse(&folder.join("own.log").to_string_lossy(), "auto").unwrap();
        Log::start(&aim, Level::Info, false).unwrap()
    }

    fn entry(cursor: &str, micros: i64) -> Block {
        let place = |at: i64| Position::Cursor { cursor: cursor.into(), at: Timestamp::from_micros(at) };
        let stamp = Stamp { end: 2, time: Timestamp::from_micros(micros), cursor: cursor.into() };
        Block { begin: place(micros - 1), end: place(micros), stamps: [stamp].into(), ..block(0, "a\n") }
    }

    #[test]
    fn a_line_that_ends_the_process_twice_is_left_out() {
        let folder = folder("poison");
        let (path, log) = (folder.join("p.noted"), log(&folder));
        let (jail, other) = (JailName::new("a"), JailName::new("b"));
        let lines = block(100, "one\ntwo\n");
        // A process that ends does not come to `end`.
        let first = Poison::open(&path, &log);
        assert_eq!(first.of(&jail).begin(&lines), Care::Usual);
        let fine = block(0, "fine\n");
        assert_eq!(first.of(&other).begin(&fine), Care::Usual);
        first.of(&other).end(&fine, Care::Usual);

        let second = Poison::open(&path, &log);
        assert_eq!(second.of(&other).begin(&lines), Care::Usual);
        second.of(&other).end(&lines, Care::Usual);
        let noted = second.of(&jail);
        assert_eq!(noted.begin(&block(104, "two\nthree\n")), Care::LineByLine);
        assert_eq!(noted.begin(&block(108, "three\n")), Care::Usual);
        assert!(noted.begin_line(&block(104, "two\n")));

        let again = Poison::open(&path, &log);
        let noted = again.of(&jail);
        assert_eq!(noted.begin(&lines), Care::LineByLine);
        assert!(noted.begin_line(&block(100, "one\n")));
        noted.end_line(&block(100, "one\n"));
        assert!(noted.begin_line(&block(104, "two\n")));

        for _ in 0..2 {
            // It stays so over any number of ends.
            let third = Poison::open(&path, &log);
            let noted = third.of(&jail);
            assert_eq!(noted.begin(&lines), Care::LineByLine);
            assert!(noted.begin_line(&block(100, "one\n")));
            noted.end_line(&block(100, "one\n"));
            assert!(!noted.begin_line(&block(104, "two\n")));
            noted.end(&lines, Care::LineByLine);
            assert_eq!(noted.begin(&block(100, "one\n")), Care::Usual);
            noted.end(&block(100, "one\n"), Care::Usual);
            assert!(third.of(&other).begin_line(&block(104, "two\n")));
            third.of(&other).end(&lines, Care::Usual);
            third.close();
            assert!(path.exists());
        }
        log.flush();
        let mut told = String::new();
        File::open(folder.join("own.log")).unwrap().take(1 << 20).read_to_string(&mut told).unwrap();
        assert!(told.contains("[a] The line at byte 104 of /log is left out (4 bytes)"), "{told}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_a_killed_process_happened_to_look_at_counts() {
        let folder = folder("poison-killed");
        let (path, log) = (folder.join("p.noted"), log(&folder));
        let jail = JailName::new("a");
        let lines = block(100, "one\ntwo\n");
        assert_eq!(Poison::open(&path, &log).of(&jail).begin(&lines), Care::Usual);
        assert!(Poison::open(&path, &log).of(&jail).begin_line(&block(100, "one\n")));
        let third = Poison::open(&path, &log);
        let noted = third.of(&jail);
        assert!(noted.begin_line(&block(100, "one\n")));
        noted.end_line(&block(100, "one\n"));
        assert!(noted.begin_line(&block(104, "two\n")));
        // Killed once more, at another line, and while the judge takes its time.
        let fourth = Poison::open(&path, &log);
        let noted = fourth.of(&jail);
        for line in [block(100, "one\n"), block(104, "two\n")] {
            assert!(noted.begin_line(&line));
            noted.end_line(&line);
        }
        noted.pause();
        assert!(Poison::open(&path, &log).of(&jail).begin_line(&block(104, "two\n")));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_part_that_was_passed_whole_is_forgotten() {
        let folder = folder("poison-passed");
        let (path, log) = (folder.join("p.noted"), log(&folder));
        let jail = JailName::new("a");
        let lines = block(100, "one\ntwo\n");
        assert_eq!(Poison::open(&path, &log).of(&jail).begin(&lines), Care::Usual);
        let second = Poison::open(&path, &log);
        let noted = second.of(&jail);
        for line in [block(100, "one\n"), block(104, "two\n")] {
            assert_eq!(noted.begin(&line), Care::LineByLine);
            assert!(noted.begin_line(&line));
            noted.end(&line, Care::LineByLine);
        }
        assert_eq!(noted.begin(&lines), Care::Usual);
        noted.end(&lines, Care::Usual);
        second.close();
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_entry_of_the_journal_is_known_by_its_cursor() {
        let folder = folder("poison-journal");
        let (path, log) = (folder.join("p.noted"), log(&folder));
        let jail = JailName::new("a");
        assert_eq!(Poison::open(&path, &log).of(&jail).begin(&entry("c1", 5_000)), Care::Usual);
        for _ in 0..2 {
            assert!(Poison::open(&path, &log).of(&jail).begin_line(&entry("c1", 5_000)));
        }
        let third = Poison::open(&path, &log);
        let noted = third.of(&jail);
        assert_eq!(noted.begin(&entry("c1", 5_000)), Care::LineByLine);
        assert!(!noted.begin_line(&entry("c1", 5_000)));
        assert!(noted.begin_line(&entry("c2", 5_000)));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn half_a_record_and_anything_else_is_none() {
        let part = Part { jail: 1, source: 2, from: 3, to: 4 };
        for kind in [Kind::Block, Kind::Line, Kind::LeftOut, Kind::Suspect] {
            let record = Record { kind, part };
            let bytes = record.bytes();
            assert_eq!(Record::parse(&bytes), Some(record));
            for at in 0..RECORD_BYTES {
                let mut broken = bytes;
                broken[at] ^= 1;
                assert_eq!(Record::parse(&broken), None);
                assert_eq!(Record::parse(&bytes[..at]), None);
            }
        }
        assert_eq!(Record::parse(&[0; RECORD_BYTES]), None);
    }
}
