//! One incarnation of a log file: an open handle, its fingerprint, and whole lines from it.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::buffer::spare_capacity;
use sha1::{Digest, Sha1};
use stockade_core::block::LineEnd;

use super::{Bounds, access, md5};
use crate::note::Anew;
use crate::{Error, Result};

/// Bytes of the first line that make up the fingerprint.
const FIRST_BYTES: usize = 4096;
/// Bytes before the read position that are remembered, to see when they are replaced.
const TAIL_BYTES: usize = 64;
/// Bytes searched for a line end in one call, behind the first block without one.
const SCAN_BYTES: u64 = 16 << 20;
/// Bits of a generation that count new beginnings of one inode with an equal first line.
const EPOCH_MASK: u64 = 0xffff;
/// So many zeros at the beginning of a file are a hole.
const HOLE_MIN: usize = 16;
/// Bytes of zeros passed over at once, where they are not a hole for the file system.
const HOLE_READ: usize = 64 << 10;

/// Which inode a file is: device and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inode(u64, pub(crate) u64);

impl Inode {
    pub(crate) fn of(meta: &Metadata) -> Inode {
        Inode(meta.dev(), meta.ino())
    }
}

/// What changes when somebody writes: size, time of content, time of inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    size: u64,
    content: (i64, i64),
    inode: (i64, i64),
}

impl Seen {
    fn of(meta: &Metadata) -> Seen {
        Seen { size: meta.size(), content: (meta.mtime(), meta.mtime_nsec()), inode: (meta.ctime(), meta.ctime_nsec()) }
    }
}

/// What one attempt to read yields.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Whole lines from offset `begin` on.
    Lines { begin: u64, text: Vec<u8> },
    /// A line over the bound, passed over.
    Skipped { begin: u64, bytes: u64 },
    /// Nothing yet, but the end was not reached either: call again.
    Working,
    /// No whole line behind the position.
    End,
    /// What had been read is no longer there.
    Gone(Anew),
}

/// An open log file with its read position.
///
/// The position always is the start of a line. The handle outlives a rename
/// and a deletion, so the inode can't be given to another file meanwhile.
#[derive(Debug)]
pub(crate) struct Incarnation {
    file: File,
    line_end: LineEnd,
    inode: Inode,
    /// Time of birth in nanoseconds where the file system tells it, else 0.
    born: u128,
    /// The first line, or its first [`FIRST_BYTES`]; empty while it is not whole.
    first: Vec<u8>,
    /// Fingerprint; 0 while `first` is not known.
    generation: u64,
    /// Generation before this inode was begun anew.
    before: u64,
    pos: u64,
    /// No line end from `pos` to here.
    scanned: u64,
    /// Everything up to `pos` is zeros, and there may be more.
    in_hole: bool,
    /// The last bytes before `pos`.
    tail: Vec<u8>,
    seen: Option<Seen>,
    /// SHA-1 of the whole first line, once asked for.
    sha1: Option<String>,
}

impl Incarnation {
    /// Opens `path`, positioned at its beginning.
    pub(crate) fn open(path: &Path, line_end: LineEnd) -> Result<Incarnation> {
        let (file, meta) = access::open(path)?;
        let born = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
        let mut this = Incarnation {
            file,
            line_end,
            inode: Inode::of(&meta),
            born,
            first: Vec::new(),
            generation: 0,
            before: 0,
            pos: 0,
            scanned: 0,
            in_hole: false,
            tail: Vec::new(),
            seen: None,
            sha1: None,
        };
        this.learn_first().map_err(|source| Error::Io { what: "read", path: path.to_owned(), source })?;
        Ok(this)
    }

    /// Another reader of the same open file, standing at `offset`.
    pub(crate) fn fork(&self, offset: u64, line_max: usize) -> io::Result<Incarnation> {
        let mut fork = Incarnation {
            file: self.file.try_clone()?,
            line_end: self.line_end,
            inode: self.inode,
            born: self.born,
            first: self.first.clone(),
            generation: self.generation,
            before: self.before,
            pos: 0,
            scanned: 0,
            in_hole: false,
            tail: Vec::new(),
            seen: None,
            sha1: self.sha1.clone(),
        };
        fork.set_pos(offset, line_max)?;
        Ok(fork)
    }

    pub(crate) fn inode(&self) -> Inode {
        self.inode
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn pos(&self) -> u64 {
        self.pos
    }

    /// How lines end in it from now on; the position stays the start of a line.
    pub(crate) fn set_line_end(&mut self, line_end: LineEnd, line_max: usize) -> io::Result<()> {
        self.line_end = line_end;
        self.set_pos(self.pos, line_max)
    }

    /// How lines end in it.
    pub(crate) fn line_end(&self) -> LineEnd {
        self.line_end
    }

    /// Size of the file now, 0 if that can't be told.
    pub(crate) fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.size())
    }

    /// Is `generation` a fingerprint of this file? Then it is taken over with its epoch.
    pub(crate) fn recognise(&mut self, generation: u64) -> bool {
        let same = self.generation != 0 && generation & !EPOCH_MASK == self.generation & !EPOCH_MASK;
        if same {
            self.generation = generation;
        }
        same
    }

    /// Moves to the line that `offset` stands in (its start, looked for at most `line_max` back).
    pub(crate) fn set_pos(&mut self, offset: u64, line_max: usize) -> io::Result<()> {
        self.pos = self.line_start(offset, line_max)?;
        self.scanned = self.pos;
        self.load_tail()
    }

    /// Behind the last line end of the file.
    pub(crate) fn set_pos_to_end(&mut self, line_max: usize) -> io::Result<()> {
        self.set_pos(self.size(), line_max)
    }

    /// Begins this file at 0 again, as a new generation.
    pub(crate) fn begin_anew(&mut self) -> io::Result<()> {
        if self.generation != 0 {
            self.before = self.generation;
        }
        self.generation = 0;
        self.first.clear();
        self.sha1 = None;
        self.pos = 0;
        self.scanned = 0;
        self.in_hole = false;
        self.tail.clear();
        self.seen = None;
        self.learn_first()
    }

    /// SHA-1 of the first line with its line end, in hexadecimal; empty if it
    /// is not whole or longer than `line_max`.
    pub(crate) fn sha1_first_line(&mut self, line_max: usize) -> io::Result<String> {
        if let Some(known) = &self.sha1 {
            return Ok(known.clone());
        }
        let Some(line) = self.first_line(line_max)? else { return Ok(String::new()) };
        let hex: String = Sha1::digest(&line).iter().map(|b| format!("{b:02x}")).collect();
        self.sha1 = Some(hex.clone());
        Ok(hex)
    }

    /// Does fail2ban's hash of a first line (SHA-1, or MD5 of old) fit this file? An empty one fits
    /// a file without a whole first line.
    pub(crate) fn first_line_is(&mut self, hash: &str, line_max: usize) -> io::Result<bool> {
        let ours = match (hash.len(), self.first_line(line_max)?) {
            (32, Some(line)) => md5::hex(&line),
            _ => self.sha1_first_line(line_max)?,
        };
        Ok(ours.eq_ignore_ascii_case(hash))
    }

    /// The first line, if it is whole and within the bound.
    fn first_line(&self, line_max: usize) -> io::Result<Option<Vec<u8>>> {
        if self.first.last() == Some(&b'\n') {
            return Ok(Some(self.first.clone()));
        }
        let mut line = self.pread(0, line_max)?;
        Ok(memchr::memchr(b'\n', &line).map(|at| {
            line.truncate(at + 1);
            line
        }))
    }

    /// The next whole lines, at most [`Bounds::block`] bytes unless one line is longer, and none behind
    /// `limit` (the start of a line).
    pub(crate) fn read_lines(&mut self, bounds: &Bounds, limit: u64) -> io::Result<Piece> {
        let size = self.file.metadata()?.size();
        if size < self.pos {
            return Ok(Piece::Gone(Anew::Truncated));
        }
        let size = size.min(limit.max(self.pos));
        if size < self.scanned {
            self.scanned = self.pos;
        }
        if self.scanned - self.pos >= as_u64(self.piece(bounds)) {
            return self.scan_on(bounds);
        }
        let want = usize::try_from(size - self.pos).unwrap_or(usize::MAX).min(self.piece(bounds));
        let mut text = if want == 0 { Vec::new() } else { self.pread(self.pos, want)? };
        // The check comes after the read: what was replaced before or during it shows now.
        if let Some(how) = self.replaced()? {
            return Ok(Piece::Gone(how));
        }
        if text.first() == Some(&0) && (self.pos == 0 || self.in_hole) && self.skip_hole()? {
            return Ok(Piece::Working);
        }
        match self.line_end.last(&text) {
            Some(end) => {
                text.truncate(end);
                self.accept(text)
            }
            None => {
                self.scanned = self.line_end.aligned(self.pos + as_u64(text.len()));
                if text.len() < self.piece(bounds) { Ok(Piece::End) } else { self.scan_on(bounds) }
            }
        }
    }

    /// Bytes that are read at once: whole characters.
    fn piece(&self, bounds: &Bounds) -> usize {
        let least = self.line_end.bytes().len();
        bounds.block.max(least) / least * least
    }

    /// Looks further for the end of a line that is longer than a block.
    fn scan_on(&mut self, bounds: &Bounds) -> io::Result<Piece> {
        let stop = self.scanned.saturating_add(SCAN_BYTES);
        while self.scanned < stop {
            let piece = self.pread(self.scanned, self.piece(bounds))?;
            if let Some(how) = self.replaced()? {
                return Ok(Piece::Gone(how));
            }
            if piece.is_empty() {
                return Ok(Piece::End);
            }
            let Some(len) = self.line_end.first(&piece) else {
                let to = self.line_end.aligned(self.scanned + as_u64(piece.len()));
                if to == self.scanned {
                    return Ok(Piece::End);
                }
                self.scanned = to;
                continue;
            };
            let (begin, end) = (self.pos, self.scanned + as_u64(len));
            let bytes = end - begin;
            if bytes > as_u64(bounds.line) {
                self.learn_first()?;
                self.pos = end;
                self.scanned = end;
                self.load_tail()?;
                return Ok(Piece::Skipped { begin, bytes });
            }
            let text = self.pread(begin, usize::try_from(bytes).unwrap_or(bounds.line))?;
            if let Some(how) = self.replaced()? {
                return Ok(Piece::Gone(how));
            }
            if self.line_end.first(&text) != Some(text.len()) {
                return Ok(Piece::Gone(Anew::Rewritten));
            }
            return self.accept(text);
        }
        Ok(Piece::Working)
    }

    /// A writer that kept its offset over a truncation leaves a hole of zeros in front of its next
    /// line; it is passed over. Fewer zeros are text, which fail2ban keeps.
    fn skip_hole(&mut self) -> io::Result<bool> {
        if self.pos == 0 && self.pread(0, HOLE_MIN)? == [0; HOLE_MIN] {
            self.in_hole = true;
        }
        if !self.in_hole {
            return Ok(false);
        }
        // Without support by the file system the whole file is data.
        let data = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(self.pos)).unwrap_or(self.pos);
        self.pos = self.line_end.aligned(data.max(self.pos).min(self.size()));
        let zeros = self.pread(self.pos, HOLE_READ)?;
        let count = zeros.iter().take_while(|b| **b == 0).count();
        self.in_hole = count == zeros.len();
        // A zero may be half of the first character behind.
        self.pos = self.line_end.aligned(self.pos + as_u64(count));
        self.scanned = self.pos;
        self.learn_first()?;
        self.load_tail()?;
        Ok(true)
    }

    /// Takes whole lines as read.
    fn accept(&mut self, text: Vec<u8>) -> io::Result<Piece> {
        let begin = self.pos;
        if self.first.is_empty() {
            if begin == 0 { self.set_first(&text) } else { self.learn_first()? }
        }
        self.pos += as_u64(text.len());
        self.scanned = self.pos;
        match text.len().checked_sub(TAIL_BYTES).and_then(|from| text.get(from..)) {
            Some(last) => {
                self.tail.clear();
                self.tail.extend_from_slice(last);
            }
            None => {
                self.tail.extend_from_slice(&text);
                let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
                self.tail.drain(..surplus);
            }
        }
        Ok(Piece::Lines { begin, text })
    }

    /// Has what was read been replaced? Cheap while nothing was written.
    ///
    /// The bytes just before the position are compared every time, the first
    /// line whenever size or times changed.
    fn replaced(&mut self) -> io::Result<Option<Anew>> {
        let now = Seen::of(&self.file.metadata()?);
        if now.size < self.pos {
            return Ok(Some(Anew::Truncated));
        }
        if !self.tail.is_empty() {
            let mut room = [0; TAIL_BYTES];
            let (wanted, _) = room.split_at_mut(self.tail.len());
            let from = self.pos - as_u64(wanted.len());
            if !same_bytes(&self.file, from, wanted, &self.tail)? {
                return Ok(Some(Anew::Rewritten));
            }
        }
        if self.seen != Some(now) {
            if !self.first.is_empty() {
                let mut room = vec![0; self.first.len()];
                if !same_bytes(&self.file, 0, &mut room, &self.first)? {
                    return Ok(Some(Anew::Rewritten));
                }
            }
            self.seen = Some(now);
        }
        Ok(None)
    }

    /// Reads the first line if it is not known yet.
    fn learn_first(&mut self) -> io::Result<()> {
        if self.first.is_empty() {
            let head = self.pread(0, FIRST_BYTES)?;
            self.set_first(&head);
        }
        Ok(())
    }

    /// `head`: the file from 0 on. Does nothing if it holds no whole first line
    /// and is shorter than what a fingerprint takes.
    fn set_first(&mut self, head: &[u8]) {
        let cap = head.get(..FIRST_BYTES).unwrap_or(head);
        let first = match memchr::memchr(b'\n', cap) {
            Some(at) => cap.get(..=at).unwrap_or(cap),
            None if cap.len() == FIRST_BYTES => cap,
            None => return,
        };
        self.first = first.to_vec();
        let base = self.fingerprint();
        let again = self.before != 0 && self.before & !EPOCH_MASK == base;
        let epoch = if again { (self.before & EPOCH_MASK).wrapping_add(1) & EPOCH_MASK } else { 0 };
        self.generation = base | epoch;
    }

    /// 48 bits from inode number, time of birth and first line, shifted over the epoch; never 0.
    ///
    /// The device number is left out: it changes over a reboot (device mapper,
    /// NVMe, network file systems), and then lines would be counted twice.
    fn fingerprint(&self) -> u64 {
        let digest = Sha1::new()
            .chain_update(self.inode.1.to_le_bytes())
            .chain_update(self.born.to_le_bytes())
            .chain_update(&self.first)
            .finalize();
        let wide = digest.iter().take(6).fold(0, |acc, b| (acc << 8) | u64::from(*b));
        wide.max(1) << 16
    }

    fn load_tail(&mut self) -> io::Result<()> {
        let len = self.pos.min(as_u64(TAIL_BYTES));
        let len = usize::try_from(len).unwrap_or(TAIL_BYTES);
        self.tail = self.pread(self.pos - as_u64(len), len)?;
        Ok(())
    }

    /// The start of the line that `offset` stands in. If it is further back
    /// than `line_max`, that far back: the line is over the bound anyway.
    fn line_start(&self, offset: u64, line_max: usize) -> io::Result<u64> {
        let offset = self.line_end.aligned(offset);
        // Text of two-byte characters is full of single zeros.
        let zeros = if self.line_end == LineEnd::Byte { 1 } else { HOLE_MIN };
        let before = offset.saturating_sub(as_u64(zeros));
        if offset - before == as_u64(zeros) && self.pread(before, zeros)?.iter().all(|b| *b == 0) {
            // The end of a hole.
            return Ok(offset);
        }
        let mut end = offset;
        let floor = self.line_end.aligned(offset.saturating_sub(as_u64(line_max)));
        while end > floor {
            let from = end.saturating_sub(64 << 10).max(floor);
            let len = usize::try_from(end - from).unwrap_or(0);
            let piece = self.pread(from, len)?;
            if let Some(len) = self.line_end.last(&piece) {
                return Ok(from + as_u64(len));
            }
            end = from;
        }
        Ok(floor)
    }

    /// Up to `len` bytes at `offset`; fewer at the end of the file.
    pub(crate) fn pread(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = Vec::with_capacity(len);
        while buf.len() < len {
            let at = offset.saturating_add(as_u64(buf.len()));
            match rustix::io::pread(&self.file, spare_capacity(&mut buf), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // The allocator may have given more room than was asked for.
        buf.truncate(len);
        Ok(buf)
    }
}

/// Are the bytes at `offset` equal to `expected`? `room` is as long as that.
fn same_bytes(file: &File, offset: u64, room: &mut [u8], expected: &[u8]) -> io::Result<bool> {
    let mut done = 0;
    while let Some(rest) = room.get_mut(done..).filter(|r| !r.is_empty()) {
        match rustix::io::pread(file, rest, offset.saturating_add(as_u64(done))) {
            Ok(0) => return Ok(false),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(room == expected)
}

/// Lengths fit 64 bits on every machine that we run on.
pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
