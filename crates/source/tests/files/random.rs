//! Random histories of a log against a simple oracle: every complete line comes out exactly once and
//! in order, except where the documented table says that it may be lost.
//!
//! `STOCKADE_LONG=n` runs n times as many histories.
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use stockade_core::block::LineEnd;
use stockade_source::{Bounds, FileReader, Start};

/// Histories of the short form.
const HISTORIES: u64 = 400;
/// Steps of one history.
const STEPS: u32 = 120;

/// xorshift64*: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % u64::from(sides)) as u32
    }
}

/// What is demanded of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    /// Exactly once.
    Must,
    /// At most once: it was truncated away, or its file came and went unseen.
    May,
}

/// A line that was written whole.
#[derive(Clone, Debug)]
struct Line {
    due: Due,
    /// Its content of which file, in order of beginning.
    version: usize,
    /// Written when a successor had begun already, so it may come behind lines of that.
    late: bool,
    delivered: bool,
}

/// One content of one file: a new one begins by creation and by truncation.
struct Version {
    program: File,
    /// Number of an unfinished line.
    unfinished: Option<usize>,
    header: bool,
    /// Which file: truncation keeps it.
    inode: usize,
    deleted: bool,
    /// Was it at the path when the reader looked?
    seen: bool,
    /// The reader was replaced since this file left the path.
    forgotten: bool,
}

struct World {
    dice: Dice,
    dir: PathBuf,
    log: PathBuf,
    reader: FileReader,
    bounds: Bounds,
    /// The log's encoding is what it stands for.
    line_end: LineEnd,
    lines: Vec<Line>,
    versions: Vec<Version>,
    /// The version at the path, if there is a file.
    at_path: Option<usize>,
    /// The version that left the path last.
    before: Option<usize>,
    rotations: u32,
    /// Newest version of which something came out, and the newest line of each.
    newest: usize,
    last_of: Vec<usize>,
    /// Which version a generation was the fingerprint of, last.
    version_of: HashMap<u64, usize>,
    inodes: usize,
    history: Vec<String>,
}

#[test]
fn every_complete_line_comes_out_once_and_in_order() {
    let long: u64 = std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let dir = crate::tester::dir("random");
    let (mut lines, mut due) = (0, 0);
    for seed in 1..=HISTORIES * long {
        let dir = dir.join(seed.to_string());
        fs::create_dir(&dir).unwrap();
        let (l, d) = World::new(seed, dir.clone()).run(seed);
        lines += l;
        due += d;
        fs::remove_dir_all(&dir).unwrap();
    }
    println!("{} histories: {due} of {lines} lines had to come", HISTORIES * long);
    assert!(due * 2 > lines, "the oracle forgives too much: {due} of {lines}");
}

/// A text in the encoding that a line end stands for.
fn encoded(line_end: LineEnd, text: &str) -> Vec<u8> {
    match line_end {
        LineEnd::Byte => text.into(),
        LineEnd::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        LineEnd::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    }
}

/// A character, cut in two if it has two bytes.
fn halves(line_end: LineEnd, text: &str) -> (Vec<u8>, Vec<u8>) {
    let bytes = encoded(line_end, text);
    (bytes[..1].to_vec(), bytes[1..].to_vec())
}

fn decoded(line_end: LineEnd, bytes: &[u8]) -> String {
    let units = |unit: fn([u8; 2]) -> u16| {
        assert_eq!(bytes.len() % 2, 0);
        String::from_utf16(&bytes.chunks(2).map(|pair| unit([pair[0], pair[1]])).collect::<Vec<_>>()).unwrap()
    };
    match line_end {
        LineEnd::Byte => String::from_utf8(bytes.to_vec()).unwrap(),
        LineEnd::Utf16Le => units(u16::from_le_bytes),
        LineEnd::Utf16Be => units(u16::from_be_bytes),
    }
}

impl World {
    fn new(seed: u64, dir: PathBuf) -> World {
        let log = dir.join("a.log");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let block = [1, 5, 40, 400][dice.roll(4) as usize];
        let bounds = Bounds { block, line: 512 };
        let line_end = [LineEnd::Byte, LineEnd::Utf16Le, LineEnd::Byte, LineEnd::Utf16Be][seed as usize % 4];
        World {
            reader: FileReader::with_line_end(&log, Start::Head, bounds, line_end),
            line_end,
            dice,
            dir,
            log,
            bounds,
            lines: Vec::new(),
            versions: Vec::new(),
            at_path: None,
            before: None,
            rotations: 0,
            newest: 0,
            last_of: Vec::new(),
            version_of: HashMap::new(),
            inodes: 0,
            history: Vec::new(),
        }
    }

    fn run(mut self, seed: u64) -> (usize, usize) {
        for _ in 0..STEPS {
            let roll = self.dice.roll(100);
            if (54..80).contains(&roll) && self.dice.roll(3) > 0 {
                // Mostly the daemon is in time.
                self.read(usize::MAX);
            }
            match roll {
                0..40 => self.append(),
                40..48 => self.begin_line(),
                48..54 => self.late(),
                54..60 => self.rename(),
                60..63 => self.delete(),
                63..72 => self.create(),
                72..77 => self.truncate(),
                77..80 => self.restart(),
                80..90 => self.read(self.dice.0 as usize % 4),
                _ => self.look(),
            }
        }
        self.read(usize::MAX);
        let missing: Vec<_> =
            self.lines.iter().enumerate().filter(|(_, l)| l.due == Due::Must && !l.delivered).collect();
        assert!(missing.is_empty(), "seed {seed}: missing {missing:?}\n{}", self.history.join("\n"));
        (self.lines.len(), self.lines.iter().filter(|l| l.due == Due::Must).count())
    }

    /// Writes whole lines to the file at the path.
    fn append(&mut self) {
        let Some(version) = self.at_path else { return };
        for _ in 0..=self.dice.roll(3) {
            self.write_line(version, Due::Must, false);
        }
    }

    fn write_line(&mut self, version: usize, due: Due, late: bool) {
        let v = &mut self.versions[version];
        let number = match v.unfinished.take() {
            Some(number) => {
                let (_, half) = halves(self.line_end, "n");
                v.program.write_all(&[half, encoded(self.line_end, " end\n")].concat()).unwrap();
                self.lines[number].due = due;
                self.lines[number].late = late;
                number
            }
            None => {
                let number = self.lines.len();
                // In two bytes each of these holds the byte of a line feed, and is none.
                let one = if self.line_end == LineEnd::Byte { "x" } else { ["\u{a41}", "\u{410a}"][number % 2] };
                let padding = one.repeat(self.dice.roll(60) as usize);
                let text = if self.dice.roll(40) == 0 {
                    // Over the bound: left out.
                    self.lines.push(Line { due: Due::May, version, late, delivered: true });
                    format!("{number} {}\n", "y".repeat(self.bounds.line))
                } else {
                    self.lines.push(Line { due, version, late, delivered: false });
                    format!("{number} {padding}\n")
                };
                self.versions[version].program.write_all(&encoded(self.line_end, &text)).unwrap();
                number
            }
        };
        self.history.push(format!("line {number} to version {version}, {due:?}, late {late}"));
    }

    /// Begins a line without ending it.
    fn begin_line(&mut self) {
        let Some(version) = self.at_path else { return };
        let v = &mut self.versions[version];
        if v.unfinished.is_none() {
            let number = self.lines.len();
            let (half, _) = halves(self.line_end, "n");
            let begun = [encoded(self.line_end, &format!("{number} begu")), half].concat();
            v.program.write_all(&begun).unwrap();
            v.unfinished = Some(number);
            self.lines.push(Line { due: Due::May, version, late: false, delivered: false });
            self.history.push(format!("line {number} begun in {version}"));
        }
    }

    /// A program that was late to notice writes to the file that left the path.
    fn late(&mut self) {
        let Some(version) = self.before else { return };
        let v = &self.versions[version];
        let due = if v.seen && !v.forgotten { Due::Must } else { Due::May };
        self.write_line(version, due, self.at_path.is_some());
    }

    fn leave(&mut self) -> Option<usize> {
        let version = self.at_path.take()?;
        self.rotations += 1;
        if !self.versions[version].seen {
            self.give_up(|l| l.version == version);
        }
        // What left before that is no longer looked at for sure; what it holds already is.
        self.before = Some(version);
        Some(version)
    }

    fn rename(&mut self) {
        if let Some(version) = self.leave() {
            fs::rename(&self.log, self.dir.join(format!("a.log.{}", self.rotations))).unwrap();
            self.history.push(format!("version {version} renamed to .{}", self.rotations));
        }
    }

    fn delete(&mut self) {
        if let Some(version) = self.leave() {
            fs::remove_file(&self.log).unwrap();
            self.versions[version].deleted = true;
            self.history.push(format!("version {version} deleted"));
        }
    }

    fn create(&mut self) {
        if self.at_path.is_none() {
            File::create(&self.log).unwrap();
            self.inodes += 1;
            self.begin_version();
        }
    }

    fn truncate(&mut self) {
        let Some(version) = self.at_path else { return };
        self.versions[version].program.set_len(0).unwrap();
        self.give_up(|l| l.version == version);
        self.history.push(format!("version {version} truncated"));
        self.begin_version();
        let new = self.at_path.unwrap();
        self.versions[new].seen = self.versions[version].seen;
    }

    fn begin_version(&mut self) {
        let header = self.dice.roll(2) == 0;
        let mut program = crate::tester::writer(&self.log);
        if header {
            program.write_all(&encoded(self.line_end, "# the same first line\n")).unwrap();
        }
        let version = self.versions.len();
        self.versions.push(Version {
            program,
            unfinished: None,
            header,
            inode: self.inodes,
            deleted: false,
            seen: false,
            forgotten: false,
        });
        self.last_of.push(0);
        self.at_path = Some(version);
        self.history.push(format!("version {version} begun, header {header}"));
    }

    /// From now on these need not come.
    fn give_up(&mut self, which: impl Fn(&Line) -> bool) {
        self.lines.iter_mut().filter(|l| !l.delivered && which(l)).for_each(|l| l.due = Due::May);
    }

    /// The daemon ends and begins again, at the stored position.
    fn restart(&mut self) {
        let (generation, offset) = (self.reader.generation(), self.reader.offset());
        self.history.push(format!("restart at {generation:x} {offset}"));
        // Only the file that was being read and the one at the path are found again.
        let path = self.at_path;
        let kept = self.version_of.get(&generation).copied().filter(|v| !self.versions[*v].deleted);
        self.give_up(|l| Some(l.version) != path && Some(l.version) != kept);
        if let (Some(path), Some(kept)) = (path, kept) {
            let (new, old) = (&self.versions[path], &self.versions[kept]);
            if path != kept && new.inode == old.inode && new.header && old.header {
                // Truncated unseen, and begun with the same first line: it looks like the old content.
                self.give_up(|l| l.version == path);
            }
        }
        for (i, v) in self.versions.iter_mut().enumerate() {
            v.forgotten = Some(i) != path;
            v.seen &= Some(i) == path;
        }
        let start = Start::Resume { generation, offset };
        self.reader = FileReader::with_line_end(&self.log, start, self.bounds, self.line_end);
        self.seen();
    }

    fn look(&mut self) {
        self.reader.look();
        self.history.push("look".into());
        self.seen();
    }

    fn seen(&mut self) {
        if let Some(version) = self.at_path {
            self.versions[version].seen = true;
        }
    }

    /// Reads so many blocks.
    fn read(&mut self, blocks: usize) {
        self.history.push(format!("read {blocks}"));
        for _ in 0..blocks {
            let read = self.reader.read();
            self.seen();
            match read {
                Ok(Some(block)) => {
                    let generation = block.source.generation;
                    for line in decoded(self.line_end, &block.text).lines() {
                        self.deliver(line, generation);
                    }
                }
                Ok(None) => break,
                Err(_) => {}
            }
        }
    }

    fn deliver(&mut self, text: &str, generation: u64) {
        self.history.push(format!("  > {text}"));
        if text == "# the same first line" {
            return;
        }
        let story = || self.history.join("\n");
        let number: usize =
            text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{text}\n{}", story()));
        let line = &self.lines[number];
        assert!(!text.ends_with("begun"), "unfinished {text}\n{}", story());
        assert!(!line.delivered, "line {number} twice\n{}", story());
        let last = self.last_of[line.version];
        assert!(number >= last, "line {number} after {last}\n{}", story());
        assert!(line.version >= self.newest || line.late || line.due == Due::May, "line {number} is late\n{}", story());
        let version = line.version;
        self.newest = self.newest.max(version);
        self.last_of[version] = number;
        self.version_of.insert(generation, version);
        self.lines[number].delivered = true;
    }
}
