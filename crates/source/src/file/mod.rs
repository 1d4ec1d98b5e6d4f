//! A log file by path, through rotation, truncation and absence.
//!
//! The bytes of a log can move away under its reader. What a [`FileReader`] does:
//!
//! | event | result |
//! |---|---|
//! | appended | the new lines |
//! | incomplete last line | left, its position kept, until its line end is there |
//! | renamed, another file created | the old file is read on until the new one has content, then to its end, then the new one from 0; lines that come into the old one within [`LINGER`] are still read |
//! | truncated | the new content from 0, as a new generation |
//! | truncated and grown beyond the position | the same: the bytes before the position and the first line are compared |
//! | copied and truncated | the same; lines written between the last read and the truncation are only in the copy and lost |
//! | first line changed | the whole file from 0, as fail2ban does |
//! | deleted | the handle is read on until another file appears |
//! | two rotations between two looks | the file that was never at the path when we looked is lost |
//! | a line over [`LINE_BYTES_MAX`] | left out and counted: cut, it could be made to end wherever its author wants |
//! | replaced while nobody watched | the rest of the old file is looked for beside it (same inode and first line) and read first |
//!
//! A reader holds one descriptor per log, at most [`HANDLES_MAX`] for a short while around rotations.

mod access;
mod incarnation;
mod md5;
mod seek;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_core::block::{Block, LineEnd, Position, SourceKey};

pub use self::access::probe;
pub(crate) use self::incarnation::as_u64;
use self::incarnation::{Incarnation, Inode, Piece};
use crate::note::{Anew, Note, Notes};
use crate::{Error, Result};

/// Bytes of whole lines in one block, unless a single line is longer.
pub const BLOCK_BYTES: usize = 256 << 10;
/// The longest line that is delivered, line end included; longer ones are left out and counted.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// How long a rotated file is still looked at for lines of writers that were late to notice.
pub const LINGER: Duration = Duration::from_secs(60);
/// Successors of the current file that are held open while it is being read.
const NEXT_MAX: usize = 4;
/// Rotated files that are still looked at.
const LATE_MAX: usize = 2;
/// Descriptors that one reader may hold.
pub const HANDLES_MAX: usize = 1 + NEXT_MAX + LATE_MAX;
/// Files beside the log that are looked at to find one that was rotated meanwhile.
const SIBLINGS_MAX: usize = 256;

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of the file.
    Head,
    /// Behind the last whole line. A file that appears later is read from its beginning.
    Tail,
    /// Where a [`FileReader`] stood.
    Resume {
        /// As [`SourceKey::generation`] said.
        generation: u64,
        /// Offset of the next unread line.
        offset: u64,
    },
    /// Where fail2ban stood: a row of its table `logs`.
    ResumeLegacy {
        /// `firstlinemd5`: 40 hexadecimal digits of SHA-1, 32 of MD5 (from Python 2), or empty.
        first_line_hash: String,
        /// `lastfilepos`.
        offset: u64,
    },
}

/// Sizes that bound one read. [`Bounds::default`] is what the daemon uses; tests make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of whole lines in one block; at least 1.
    pub block: usize,
    /// The longest line that is delivered; at least as long as a block.
    pub line: usize,
}

impl Bounds {
    /// The same with what must hold: no bound is 0, and a block never holds a line over the bound.
    pub(crate) fn sane(self) -> Bounds {
        let block = self.block.max(1);
        Bounds { block, line: self.line.max(block) }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { block: BLOCK_BYTES, line: LINE_BYTES_MAX }
    }
}

/// A rotated file that may still get lines.
#[derive(Debug)]
struct Late {
    file: Incarnation,
    until: Instant,
}

/// Reads one log file, by path.
///
/// Source: fail2ban `server/filter.py`, `FileContainer`, which opens the file
/// anew for each read. DIVERGENCE (rotated-file-drained): they are drained (profiles,
/// "lines written to a renamed file before we switched").
#[derive(Debug)]
pub struct FileReader {
    path: PathBuf,
    name: Arc<str>,
    bounds: Bounds,
    line_end: LineEnd,
    linger: Duration,
    /// Not used up before the file was there for the first time.
    start: Option<Start>,
    /// The rotated file was looked for while the log was missing.
    searched: bool,
    current: Option<Incarnation>,
    next: VecDeque<Incarnation>,
    late: Vec<Late>,
    in_operation: bool,
    /// The file at the path could not be opened yet.
    passed_over: bool,
    /// Generation and offset where reading stops.
    limit: Option<(u64, u64)>,
    trouble: Option<Error>,
    /// The trouble was handed out by `read`.
    told: bool,
    notes: Notes,
}

impl FileReader {
    /// A reader of `path`. Never fails: what is wrong now is told by [`Self::trouble`] and by the
    /// next [`Self::read`], and the file is read as soon as that is over.
    pub fn open(path: impl Into<PathBuf>, start: Start) -> FileReader {
        Self::with_bounds(path, start, Bounds::default())
    }

    /// As [`Self::open`], with other bounds.
    pub fn with_bounds(path: impl Into<PathBuf>, start: Start, bounds: Bounds) -> FileReader {
        Self::with_line_end(path, start, bounds, LineEnd::Byte)
    }

    /// As [`Self::with_bounds`], of a log whose lines end in another way.
    pub fn with_line_end(path: impl Into<PathBuf>, start: Start, bounds: Bounds, line_end: LineEnd) -> FileReader {
        let path = path.into();
        let mut this = FileReader {
            name: path.to_string_lossy().into(),
            path,
            bounds: bounds.sane(),
            line_end,
            linger: LINGER,
            in_operation: start == Start::Tail,
            start: Some(start),
            searched: false,
            current: None,
            next: VecDeque::new(),
            late: Vec::new(),
            passed_over: false,
            limit: None,
            trouble: None,
            told: false,
            notes: Notes::default(),
        };
        this.look();
        this
    }

    /// Another reader of the same files, standing at a place that this one has passed: for a jail that
    /// fell behind. It shares the open files, rotated ones included, but no position. `None` if this
    /// reader no longer holds that generation open; then [`Start::Resume`] may find it.
    ///
    /// # Errors
    /// If there are no descriptors left, or the file can't be read.
    pub fn fork(&self, generation: u64, offset: u64) -> Result<Option<FileReader>> {
        let files = self.late.iter().map(|l| &l.file).chain(&self.current).chain(&self.next);
        let mut rest = files.skip_while(|f| generation == 0 || f.generation() != generation);
        let Some(first) = rest.next() else { return Ok(None) };
        let line = self.bounds.line;
        let copy = |f: &Incarnation, at| f.fork(at, line).map_err(|e| self.io("duplication", e));
        let current = copy(first, offset)?;
        let next = rest.map(|f| copy(f, 0)).collect::<Result<_>>()?;
        Ok(Some(FileReader {
            path: self.path.clone(),
            name: self.name.clone(),
            bounds: self.bounds,
            line_end: self.line_end,
            linger: self.linger,
            start: None,
            searched: true,
            current: Some(current),
            next,
            late: Vec::new(),
            in_operation: false,
            passed_over: false,
            limit: None,
            trouble: None,
            told: true,
            notes: Notes::default(),
        }))
    }

    /// Another reader of the same path from a start of its own, for where [`Self::fork`] knows no such file.
    pub fn again(&self, start: Start) -> FileReader {
        Self::with_line_end(self.path.clone(), start, self.bounds, self.line_end)
    }

    /// Stops reading at this place (the start of a line): [`Self::read`] yields `None` there, until the
    /// limit is lifted or moved. For a reader that is to meet the position of another one.
    pub fn set_limit(&mut self, limit: Option<(u64, u64)>) {
        self.limit = limit;
    }

    /// Lines end so from now on: the log's encoding was set anew.
    ///
    /// # Errors
    /// If the file can't be read; the new lines end so all the same.
    pub fn set_line_end(&mut self, line_end: LineEnd) -> Result<()> {
        if self.line_end == line_end {
            return Ok(());
        }
        self.line_end = line_end;
        let line = self.bounds.line;
        let late = self.late.iter_mut().map(|late| &mut late.file);
        let all = late.chain(&mut self.current).chain(&mut self.next);
        let done: Vec<io::Result<()>> = all.map(|file| file.set_line_end(line_end, line)).collect();
        done.into_iter().collect::<io::Result<()>>().map_err(|e| self.io("read", e))
    }

    /// How long rotated files are still looked at, instead of [`LINGER`].
    pub fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What keeps the file from being read, if anything does.
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// What happened since the last call; at most 64 and one that counts the rest.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// Fingerprint of the file that is read now: 64 bits from inode number, time of birth (where
    /// known) and first line, with a count of new beginnings in its low 16 bits. Stays the same over
    /// renames and restarts; 0 while there is no whole first line (and so no position but 0).
    ///
    /// While the file is missing, generation and offset are those it was to be resumed at.
    pub fn generation(&self) -> u64 {
        match (&self.current, &self.start) {
            (Some(current), _) => current.generation(),
            (None, Some(Start::Resume { generation, .. })) => *generation,
            (None, _) => 0,
        }
    }

    /// Path and generation, as blocks carry them.
    pub fn key(&self) -> SourceKey {
        SourceKey { path: self.name.clone(), generation: self.generation() }
    }

    /// Offset of the next unread line.
    pub fn offset(&self) -> u64 {
        match (&self.current, &self.start) {
            (Some(current), _) => current.pos(),
            (None, Some(Start::Resume { offset, .. } | Start::ResumeLegacy { offset, .. })) => *offset,
            (None, _) => 0,
        }
    }

    /// [`Self::offset`] as a position.
    pub fn position(&self) -> Position {
        Position::Offset(self.offset())
    }

    /// Has the end been reached once (or was the start [`Start::Tail`])?
    pub fn in_operation(&self) -> bool {
        self.in_operation
    }

    /// Bytes that wait to be read, an unfinished last line included.
    pub fn lag_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |c| c.size().saturating_sub(c.pos()));
        self.next.iter().map(Incarnation::size).fold(current, u64::saturating_add)
    }

    /// SHA-1 of the first line with its line end in hexadecimal, as fail2ban's table `logs` keeps it
    /// in `firstlinemd5`; empty if there is no whole first line (or none within the bound).
    ///
    /// # Errors
    /// If the file can't be read; nothing changes.
    pub fn sha1_first_line(&mut self) -> Result<String> {
        let line_max = self.bounds.line;
        let got = self.current.as_mut().map_or(Ok(String::new()), |c| c.sha1_first_line(line_max));
        got.map_err(|e| self.io("read", e))
    }

    /// When [`Self::look`] wants to be called even if nothing happens: the end of the linger time
    /// of a rotated file, whose handle is closed then. `None` if never.
    pub fn next_look(&self) -> Option<Instant> {
        self.late.iter().map(|l| l.until).min()
    }

    /// Sees what stands at the path now: opens a new file there beside the one that is being read,
    /// and closes rotated files whose time is over. [`Self::read`] does it too; worth calling on
    /// each event while reads are held up, so that no file of several rotations is missed.
    pub fn look(&mut self) {
        let now = Instant::now();
        self.late.retain(|l| l.until > now);
        match std::fs::metadata(&self.path) {
            Err(e) => {
                self.set_trouble(access::explain(&self.path, e));
                self.resume_without_successor();
            }
            Ok(meta) => match access::odd_kind(meta.file_type()) {
                Some(what) => self.set_trouble(Error::NotAFile { path: self.path.clone(), what }),
                None if self.newest() == Some(Inode::of(&meta)) => self.clear_trouble(),
                None => self.open_new(),
            },
        }
    }

    /// The next whole lines: at most [`BLOCK_BYTES`], unless a single line is longer.
    ///
    /// A block may be empty: the position moved over a line that was left out, or a very long line
    /// is still being searched for its end; call again. `None`: nothing now, wait for an event.
    /// Blocks of one generation never overlap and follow each other. Blocks of a rotated file that
    /// got late lines carry its older generation; they do not move [`Self::position`].
    ///
    /// # Errors
    /// Each trouble once when it begins, then `None` while it lasts; it never costs a line of a
    /// file that is open already.
    pub fn read(&mut self) -> Result<Option<Block>> {
        self.look();
        if let Some(block) = self.read_late()? {
            return Ok(Some(block));
        }
        // A file that is rewritten faster than it can be begun gives way after a few attempts.
        for _ in 0..NEXT_MAX + 4 {
            // Seen before the old file is read: a writer that has begun the new file is done with the old one.
            let successor_begun = self.next.len() > 1 || self.next.front().is_some_and(|n| n.size() > 0);
            let Some(current) = self.current.as_mut() else { return self.nothing() };
            let limit = self.limit.filter(|(generation, _)| *generation == current.generation()).map(|(_, at)| at);
            if limit.is_some_and(|at| current.pos() >= at) {
                return self.nothing();
            }
            match current.read_lines(&self.bounds, limit.unwrap_or(u64::MAX)) {
                Ok(Piece::End) if successor_begun => self.switch(),
                Ok(Piece::End) => {
                    if self.next.front().is_some_and(|n| n.size() > 0) {
                        continue;
                    }
                    if std::mem::take(&mut self.passed_over) {
                        // There was no room for it before.
                        self.look();
                        continue;
                    }
                    self.in_operation = true;
                    return self.nothing();
                }
                Ok(Piece::Gone(how)) => self.begin_anew(how)?,
                Ok(piece) => {
                    let key = self.key();
                    return Ok(Some(self.block(key, self.offset(), piece)));
                }
                Err(e) => return Err(self.io("read", e)),
            }
        }
        let key = self.key();
        Ok(Some(self.block(key, self.offset(), Piece::Working)))
    }

    /// Did this block, the last one that was read, come late into a rotated file? Its end is no place to
    /// resume from: that would be behind its successor's lines.
    pub fn is_late(&self, block: &Block) -> bool {
        block.source.generation != self.generation()
    }

    /// Late lines of rotated files.
    fn read_late(&mut self) -> Result<Option<Block>> {
        for i in 0..self.late.len() {
            let Some(late) = self.late.get_mut(i) else { break };
            match late.file.read_lines(&self.bounds, u64::MAX) {
                // A rotated file that is truncated or rewritten is no longer our business.
                Ok(Piece::End | Piece::Gone(_)) => {}
                Ok(piece) => {
                    let key = SourceKey { path: self.name.clone(), generation: late.file.generation() };
                    let end = late.file.pos();
                    return Ok(Some(self.block(key, end, piece)));
                }
                Err(e) => return Err(self.io("read", e)),
            }
        }
        Ok(None)
    }

    /// Makes a block of a piece that is not [`Piece::End`] or [`Piece::Gone`].
    fn block(&mut self, source: SourceKey, end: u64, piece: Piece) -> Block {
        let (begin, text) = match piece {
            Piece::Lines { begin, text } => (begin, text),
            Piece::Skipped { begin, bytes } => {
                self.notes.push(Note::LongLine { path: self.path.clone(), offset: begin, bytes });
                (begin, Vec::new())
            }
            Piece::Working | Piece::End | Piece::Gone(_) => (end, Vec::new()),
        };
        Block {
            source,
            begin: Position::Offset(begin),
            end: Position::Offset(end),
            text: text.into_boxed_slice(),
            stamps: Box::default(),
            in_operation: self.in_operation,
            replay: false,
        }
    }

    /// The answer when there is no line: a trouble that was not told yet, or nothing.
    fn nothing(&mut self) -> Result<Option<Block>> {
        if self.told {
            return Ok(None);
        }
        self.told = true;
        let Some(trouble) = &self.trouble else { return Ok(None) };
        Err(match trouble {
            Error::Missing { path } => Error::Missing { path: path.clone() },
            Error::Unreadable { path, refused_by, group } => {
                Error::Unreadable { path: path.clone(), refused_by: refused_by.clone(), group: group.clone() }
            }
            Error::NotAFile { path, what } => Error::NotAFile { path: path.clone(), what },
            other => Error::Io { what: "open", path: self.path.clone(), source: io::Error::other(other.to_string()) },
        })
    }

    /// Inode of the newest file that is open.
    fn newest(&self) -> Option<Inode> {
        self.next.back().or(self.current.as_ref()).map(Incarnation::inode)
    }

    /// Another file stands at the path: opens it.
    fn open_new(&mut self) {
        self.passed_over = self.next.len() >= NEXT_MAX;
        if self.passed_over {
            return;
        }
        let mut new = match Incarnation::open(&self.path, self.line_end) {
            Ok(new) => new,
            Err(e) => return self.set_trouble(e),
        };
        self.clear_trouble();
        if self.newest() == Some(new.inode()) {
            return;
        }
        if self.next.iter().any(|n| n.inode() == new.inode()) {
            // Back at the path before it was read: its turn comes, and then it is seen again.
            self.passed_over = true;
            return;
        }
        if let Some(at) = self.late.iter().position(|l| l.file.inode() == new.inode()) {
            // Moved away and back again: it goes on where it was left.
            new = self.late.swap_remove(at).file;
        }
        if let Some(old) = &self.current {
            let (size, pos) = (new.size(), old.pos());
            let (inode, old_inode) = (new.inode().1, old.inode().1);
            self.notes.push(Note::Rotated {
                path: self.path.clone(),
                how: Anew::Replaced,
                size,
                pos,
                inode,
                old_inode,
            });
            if old.inode() == new.inode() {
                // Moved away and back while we were still in it; what came in between is read as late lines.
                let between: Vec<_> = self.next.drain(..).filter(|n| n.size() > 0).collect();
                between.into_iter().for_each(|n| self.keep_late(n));
            } else {
                self.next.push_back(new);
            }
            return;
        }
        let start = self.start.take().unwrap_or(Start::Head);
        match self.begin(&mut new, &start) {
            Ok(Some(rest)) => {
                self.current = Some(rest);
                self.next.push_back(new);
            }
            Ok(None) => self.current = Some(new),
            Err(source) => {
                self.start = Some(start);
                return self.set_trouble(Error::Io { what: "read", path: self.path.clone(), source });
            }
        }
        let pos = self.offset();
        let hash = self.sha1_first_line().unwrap_or_default();
        self.notes.push(Note::Added { path: self.path.clone(), pos, hash });
    }

    /// The log is missing: was it just rotated away?
    fn resume_without_successor(&mut self) {
        let Some(Start::Resume { generation, offset }) = self.start else { return };
        if self.current.is_some() || generation == 0 || std::mem::replace(&mut self.searched, true) {
            return;
        }
        if let Some((rotated, mut rest)) = self.find_rotated(generation)
            && rest.set_pos(offset.min(rest.size()), self.bounds.line).is_ok()
        {
            self.notes.push(Note::Found { path: self.path.clone(), rotated, pos: rest.pos() });
            self.current = Some(rest);
            self.start = None;
        }
    }

    /// Applies the start rule to the first file; returns the rotated file that comes before it.
    fn begin(&mut self, new: &mut Incarnation, start: &Start) -> io::Result<Option<Incarnation>> {
        let line_max = self.bounds.line;
        match start {
            Start::Head => {}
            Start::Tail => new.set_pos_to_end(line_max)?,
            Start::Resume { generation: 0, .. } => {}
            Start::Resume { generation, offset } => {
                if new.recognise(*generation) {
                    if *offset <= new.size() { new.set_pos(*offset, line_max)? } else { new.begin_anew()? }
                } else if let Some((rotated, mut rest)) = self.find_rotated(*generation) {
                    rest.set_pos((*offset).min(rest.size()), line_max)?;
                    self.notes.push(Note::Found { path: self.path.clone(), rotated, pos: rest.pos() });
                    return Ok(Some(rest));
                } else {
                    self.notes.push(Note::Unknown { path: self.path.clone() });
                }
            }
            Start::ResumeLegacy { first_line_hash, offset } => {
                // fail2ban: the stored position if the hashes are equal (both may be empty), else 0.
                if new.first_line_is(first_line_hash, line_max)? {
                    if *offset <= new.size() {
                        new.set_pos(*offset, line_max)?;
                    }
                } else {
                    self.notes.push(Note::Unknown { path: self.path.clone() });
                }
            }
        }
        Ok(None)
    }

    /// Looks beside the log for the file of that generation, under a name that begins with the log's.
    fn find_rotated(&self, generation: u64) -> Option<(PathBuf, Incarnation)> {
        // Beside the file itself if the path is a link.
        let real = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let stem = real.file_name()?.as_encoded_bytes();
        let dir = std::fs::read_dir(real.parent()?).ok()?;
        let siblings = dir
            .filter_map(|entry| entry.ok())
            .filter(|e| {
                let name = e.file_name();
                let name = name.as_encoded_bytes();
                name.len() > stem.len() && name.starts_with(stem)
            })
            .take(SIBLINGS_MAX);
        for entry in siblings {
            if let Ok(mut file) = Incarnation::open(&entry.path(), self.line_end)
                && file.recognise(generation)
            {
                return Some((entry.path(), file));
            }
        }
        None
    }

    /// The current file is done: its successor becomes current.
    fn switch(&mut self) {
        let Some(next) = self.next.pop_front() else { return };
        let Some(old) = self.current.replace(next) else { return };
        let unfinished = old.size().saturating_sub(old.pos());
        self.notes.push(Note::Drained { path: self.path.clone(), unfinished });
        self.keep_late(old);
    }

    fn keep_late(&mut self, file: Incarnation) {
        if self.late.len() >= LATE_MAX {
            self.late.remove(0);
        }
        self.late.push(Late { file, until: Instant::now() + self.linger });
    }

    /// The current file was truncated or rewritten in place.
    fn begin_anew(&mut self, how: Anew) -> Result<()> {
        let path = self.path.clone();
        if let Some(current) = &mut self.current {
            let (size, pos, inode) = (current.size(), current.pos(), current.inode().1);
            self.notes.push(Note::Rotated { path, how, size, pos, inode, old_inode: inode });
            let done = current.begin_anew();
            return done.map_err(|e| self.io("read", e));
        }
        Ok(())
    }

    fn set_trouble(&mut self, trouble: Error) {
        if matches!(trouble, Error::Missing { .. }) && self.start == Some(Start::Tail) {
            // Whatever is in it when it appears is new.
            self.start = Some(Start::Head);
        }
        if !self.trouble.as_ref().is_some_and(|t| t.same_as(&trouble)) {
            self.trouble = Some(trouble);
            self.told = false;
        }
    }

    fn clear_trouble(&mut self) {
        if self.trouble.take().is_some() && self.told {
            self.notes.push(Note::Back { path: self.path.clone() });
        }
        self.told = true;
    }

    fn io(&self, what: &'static str, source: io::Error) -> Error {
        Error::Io { what, path: self.path.clone(), source }
    }
}
