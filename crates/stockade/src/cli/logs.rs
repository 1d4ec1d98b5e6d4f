//! Logs that are read once: files, compressed or not, standard input, the journal.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use stockade_core::matcher::{Encoding, LINE_BYTES_MAX};
use stockade_core::{Block, LineEnd, Timestamp};
use stockade_source::{History, JournalOptions, Note, StreamReader};

use super::term;

/// The word for the journal, and what its options are written behind.
const JOURNAL: &str = "systemd-journal";

/// Beginnings of compressed files that are not read here, and what unpacks them.
const OTHER_PACKERS: [(&[u8], &str); 3] =
    [(b"\xfd7zXZ", "xz -dc"), (b"BZh", "bzip2 -dc"), (b"\x28\xb5\x2f\xfd", "zstd -dc")];

/// Does this word name the journal?
pub(crate) fn is_journal(word: &Path) -> bool {
    word.to_str().is_some_and(|word| word == JOURNAL || word.starts_with("systemd-journal["))
}

/// Rotated logs of one name from the oldest to the newest: `a.log.2.gz`, `a.log.1`, `a.log`.
/// Other lists stay as they are.
pub(crate) fn oldest_first(mut logs: Vec<PathBuf>) -> Vec<PathBuf> {
    let keys: Option<Vec<(String, u64)>> = logs.iter().map(|log| rotation(log.to_str()?)).collect();
    let Some(keys) = keys else { return logs };
    let Some((first, _)) = keys.first() else { return logs };
    if keys.iter().all(|(base, _)| base == first) {
        logs.sort_by_key(|log| std::cmp::Reverse(log.to_str().and_then(rotation).map_or(0, |(_, age)| age)));
    }
    logs
}

/// The name without the marks of rotation, and how old it must be: 0 is the present log.
fn rotation(name: &str) -> Option<(String, u64)> {
    let plain = [".gz", ".xz", ".bz2", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let numbered =
        plain.rsplit_once('.').and_then(|(base, n)| Some((base, n.parse::<u64>().ok().filter(|n| *n < 10_000)?)));
    let dated = plain
        .rsplit_once('-')
        .and_then(|(base, day)| Some((base, day.parse::<u64>().ok().filter(|_| day.len() == 8)?)));
    Some(match (numbered, dated) {
        (Some((base, n)), _) => (base.to_owned(), n),
        // A later day is younger.
        (None, Some((base, day))) => (base.to_owned(), 100_000_000 - day),
        (None, None) => (plain.to_owned(), 0),
    })
}

/// A log while it is read.
pub(crate) struct LogReader {
    source: Source,
    block: Option<Block>,
    /// Bytes and stamps of the block that were handed out.
    at: usize,
    stamps: usize,
    /// 1-based number of the last line that was handed out or left out.
    pub(crate) line: u64,
}

enum Source {
    Stream(Box<StreamReader<Box<dyn Read>>>),
    Journal(Box<History>),
}

/// One line as it stands in the log.
pub(crate) struct LogLine<'a> {
    /// 1-based.
    pub(crate) number: u64,
    /// With its end.
    pub(crate) bytes: &'a [u8],
    /// The time of a journal entry.
    pub(crate) stamp: Option<Timestamp>,
}

/// How a log is to be read.
pub(crate) struct Manner<'a> {
    /// Take a last line without line end?
    pub(crate) partial: bool,
    /// Where lines end.
    pub(crate) encoding: Encoding,
    /// Which entries of the journal; one alternative each.
    pub(crate) journalmatch: &'a [Vec<String>],
}

impl LogReader {
    /// Opens `-` (standard input), `systemd-journal[options]` or a file.
    ///
    /// # Errors
    /// It can't be read, or is no log.
    pub(crate) fn open(log: &Path, manner: &Manner<'_>, progress: &Rc<Progress>) -> Result<LogReader> {
        let show = log.display();
        if is_journal(log) {
            let options = journal_options(&log.to_string_lossy(), manner.journalmatch)?;
            let history = History::open(options, None).map_err(|e| anyhow!("{show} can't be read: {e}"))?;
            return Ok(LogReader::of(Source::Journal(Box::new(history))));
        }
        let input: Box<dyn Read> = if log == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            let mut file = File::open(log).with_context(|| format!("{show} can't be read"))?;
            if file.metadata().with_context(|| format!("{show} can't be read"))?.is_dir() {
                bail!("{show} is a directory; name the log files in it");
            }
            let mut head = Vec::with_capacity(6);
            Read::by_ref(&mut file).take(6).read_to_end(&mut head).with_context(|| format!("{show} can't be read"))?;
            if let Some((_, unpack)) = OTHER_PACKERS.iter().find(|(magic, _)| head.starts_with(magic)) {
                bail!("{show} is packed in a way that is not read here; use `{unpack} {show} | stockade scan -`");
            }
            let whole = std::io::Cursor::new(head.clone()).chain(file);
            let counted = Counted { input: whole, progress: Rc::clone(progress) };
            if head.starts_with(&[0x1f, 0x8b]) {
                Box::new(flate2::read::MultiGzDecoder::new(counted))
            } else {
                Box::new(counted)
            }
        };
        let end = manner.encoding.line_end();
        let input: Box<dyn Read> =
            if manner.partial { Box::new(Ended { input, end, kept: Vec::new(), over: false }) } else { input };
        let reader = StreamReader::new(input, &show.to_string()).with_line_end(end);
        Ok(LogReader::of(Source::Stream(Box::new(reader))))
    }

    fn of(source: Source) -> LogReader {
        LogReader { source, block: None, at: 0, stamps: 0, line: 0 }
    }

    /// All lines up to the end of the next block, if none of them was handed out before, none is too long,
    /// and a byte ends each. Whoever takes them adds their number to [`LogReader::line`].
    ///
    /// # Errors
    /// Reading failed.
    pub(crate) fn whole_block(&mut self) -> Result<Option<&Block>> {
        self.fill()?;
        let plain = match &self.source {
            Source::Stream(reader) => reader.line_end() == LineEnd::Byte,
            Source::Journal(_) => false,
        };
        let block = self.block.as_ref().filter(|block| plain && self.at == 0 && block.text.len() <= LINE_BYTES_MAX);
        self.at = block.map_or(self.at, |block| block.text.len());
        Ok(block)
    }

    /// Reads a block if all of the present one was handed out; none at the end.
    fn fill(&mut self) -> Result<()> {
        while self.block.as_ref().is_none_or(|block| self.at >= block.text.len()) {
            (self.at, self.stamps) = (0, 0);
            self.block = match &mut self.source {
                Source::Stream(reader) => reader.read().map_err(|e| anyhow!("{e}"))?,
                Source::Journal(history) => history.read().map_err(|e| anyhow!("{e}"))?,
            };
            if let Source::Stream(reader) = &mut self.source {
                for note in reader.take_notes() {
                    self.line += u64::from(matches!(note, Note::LongLine { .. }));
                    term::note(format!("stockade: line {}: {note}", self.line));
                }
            }
            if self.block.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next line; `None` at the end. Lines over [`LINE_BYTES_MAX`] are left out, counted and told of.
    ///
    /// # Errors
    /// Reading failed.
    pub(crate) fn next(&mut self) -> Result<Option<LogLine<'_>>> {
        self.fill()?;
        let Some(block) = &self.block else { return Ok(None) };
        let rest = block.text.get(self.at..).unwrap_or_default();
        let stamp = block.stamps.get(self.stamps);
        let len = match (&self.source, stamp) {
            (Source::Journal(_), Some(stamp)) => (stamp.end as usize).saturating_sub(self.at).max(1),
            (Source::Journal(_), None) => rest.len(),
            (Source::Stream(reader), _) => reader.line_end().first(rest).unwrap_or(rest.len()),
        };
        self.at += len;
        self.stamps += 1;
        self.line += 1;
        Ok(Some(LogLine { number: self.line, bytes: rest.get(..len).unwrap_or(rest), stamp: stamp.map(|s| s.time) }))
    }

    /// Entries of the journal that were left out, or bytes of a last line that was not whole, in words.
    pub(crate) fn remark(&self) -> Option<String> {
        match &self.source {
            Source::Journal(history) if history.left_out() > 0 => {
                Some(format!("{} entries of the journal were too large or had no time", history.left_out()))
            }
            Source::Stream(reader) if reader.unfinished() > 0 => Some(format!(
                "the last line of {} has no line end yet and was left out (--partial takes it)",
                reader.key().path
            )),
            _ => None,
        }
    }
}

/// What `systemd-journal[...]` says.
fn journal_options(word: &str, journalmatch: &[Vec<String>]) -> Result<JournalOptions> {
    crate::daemon::journal_options(word, journalmatch.to_vec()).map_err(|e| anyhow!("{word}: {e}"))
}

/// Is a line too long to be looked at?
pub(crate) fn is_too_long(bytes: &[u8]) -> bool {
    bytes.len() > LINE_BYTES_MAX
}

/// A stream to which a missing last line end is added.
struct Ended<R> {
    input: R,
    end: LineEnd,
    /// The last bytes, and what is to be added.
    kept: Vec<u8>,
    over: bool,
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if !self.over {
            let n = self.input.read(buf)?;
            if n > 0 {
                self.kept.extend_from_slice(buf.get(..n).unwrap_or_default());
                let surplus = self.kept.len().saturating_sub(4) & !1;
                self.kept.drain(..surplus);
                return Ok(n);
            }
            self.over = true;
            let whole = self.kept.is_empty() || self.kept.ends_with(self.end.bytes());
            self.kept = if whole { Vec::new() } else { self.end.bytes().to_vec() };
        }
        let n = self.kept.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), self.kept.get(..n)) {
            to.copy_from_slice(from);
        }
        self.kept.drain(..n);
        Ok(n)
    }
}

/// A file whose bytes are counted as they are read.
struct Counted<R> {
    input: R,
    progress: Rc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(buf)?;
        self.progress.add(u64::try_from(n).unwrap_or(0));
        Ok(n)
    }
}

/// A bar on a terminal, for what takes longer than half a second.
pub(crate) struct Progress {
    /// Bytes of all files; 0 if not known.
    size: u64,
    shown: bool,
    began: Instant,
    read: std::cell::Cell<u64>,
    next: std::cell::Cell<Instant>,
}

/// Cells of the bar.
const BAR: u64 = 30;
/// Between two looks of it.
const EVERY: Duration = Duration::from_millis(200);

impl Progress {
    /// For these logs. Nothing is shown unless standard error is a terminal.
    pub(crate) fn of(logs: &[PathBuf]) -> Rc<Progress> {
        let size = logs.iter().map(|log| std::fs::metadata(log).map_or(0, |meta| meta.len())).sum();
        let now = Instant::now();
        Rc::new(Progress {
            size,
            shown: std::io::stderr().is_terminal(),
            began: now,
            read: std::cell::Cell::new(0),
            next: std::cell::Cell::new(now + Duration::from_millis(500)),
        })
    }

    fn add(&self, bytes: u64) {
        self.read.set(self.read.get() + bytes);
        let now = Instant::now();
        if self.shown && now >= self.next.get() {
            self.next.set(now + EVERY);
            drop(write!(std::io::stderr(), "\r{}\x1b[K", self.bar(now.duration_since(self.began))));
        }
    }

    fn bar(&self, took: Duration) -> String {
        let read = self.read.get();
        if self.size == 0 {
            return format!("{} read", term::bytes(read));
        }
        let (read, size) = (read.min(self.size), self.size);
        let full = read.saturating_mul(BAR) / size;
        let cells: String = (0..BAR).map(|n| if n < full { '#' } else { '-' }).collect();
        let left = took.as_secs_f64() * approximate(size - read) / approximate(read.max(1));
        format!("[{cells}] {:3}% of {}, {:.0} s left", read.saturating_mul(100) / size, term::bytes(size), left)
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if self.shown && self.next.get().duration_since(self.began) > Duration::from_millis(500) {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

/// For a ratio that is shown.
#[expect(clippy::cast_precision_loss, reason = "a rounded number is enough here")]
fn approximate(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], expected: &[&str]) {
        let sorted = oldest_first(given.iter().map(PathBuf::from).collect());
        assert_eq!(sorted, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn rotated_logs_come_oldest_first_and_others_as_given() {
        check(&["a.log", "a.log.1", "a.log.2.gz", "a.log.10.gz"], &["a.log.10.gz", "a.log.2.gz", "a.log.1", "a.log"]);
        check(&["a-20260101", "a", "a-20251231.gz"], &["a-20251231.gz", "a-20260101", "a"]);
        check(&["b.log", "a.log", "b.log.1"], &["b.log", "a.log", "b.log.1"]);
        check(&["10.0.0.1.log", "10.0.0.2.log"], &["10.0.0.1.log", "10.0.0.2.log"]);
    }
}
