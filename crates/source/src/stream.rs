//! Anything that is read once from its beginning: standard input, a compressed log.

use std::io::{self, Read};
use std::sync::Arc;

use stockade_core::block::{Block, LineEnd, Position, SourceKey};

use crate::file::Bounds;
use crate::note::{Note, Notes};
use crate::{Error, Result};

/// Cuts a stream into blocks of whole lines. Offsets count from its beginning; generation is 0.
///
/// A last line without line end is left out, as fail2ban does it, and counted by [`Self::unfinished`].
#[derive(Debug)]
pub struct StreamReader<R> {
    input: R,
    name: Arc<str>,
    bounds: Bounds,
    line_end: LineEnd,
    /// Bytes read and not handed out.
    buf: Vec<u8>,
    offset: u64,
    /// Length so far of a line that is over the bound.
    skipping: Option<u64>,
    ended: bool,
    notes: Notes,
}

impl<R: Read> StreamReader<R> {
    /// A reader that calls itself `name`.
    pub fn new(input: R, name: &str) -> StreamReader<R> {
        Self::with_bounds(input, name, Bounds::default())
    }

    /// As [`Self::new`], with other bounds.
    pub fn with_bounds(input: R, name: &str, bounds: Bounds) -> StreamReader<R> {
        let bounds = bounds.sane();
        StreamReader {
            input,
            name: name.into(),
            bounds,
            line_end: LineEnd::Byte,
            buf: Vec::new(),
            offset: 0,
            skipping: None,
            ended: false,
            notes: Notes::default(),
        }
    }

    /// The same reader for a log whose lines end so.
    #[must_use]
    pub fn with_line_end(mut self, line_end: LineEnd) -> Self {
        self.line_end = line_end;
        self
    }

    /// How its lines end.
    pub fn line_end(&self) -> LineEnd {
        self.line_end
    }

    /// Path (the name) and generation (0), as blocks carry them.
    pub fn key(&self) -> SourceKey {
        SourceKey { path: self.name.clone(), generation: 0 }
    }

    /// Bytes of a last line without line end; known at the end of the stream.
    pub fn unfinished(&self) -> u64 {
        self.skipping.unwrap_or(0) + crate::file::as_u64(self.buf.len())
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// The next whole lines; `None` at the end of the stream. Blocks as those of
    /// [`crate::FileReader::read`]. Waits for input as `R` does.
    ///
    /// # Errors
    /// If the stream fails; what was read before is not lost.
    pub fn read(&mut self) -> Result<Option<Block>> {
        loop {
            if let Some(end) = self.line_end.last(&self.buf) {
                if let Some(block) = self.cut(end) {
                    return Ok(Some(block));
                }
                continue;
            }
            if self.ended {
                return Ok(None);
            }
            if self.buf.len() > self.bounds.line {
                let so_far = self.skipping.unwrap_or(0) + crate::file::as_u64(self.buf.len());
                // Of two-byte characters half of one may stand at the end.
                let odd = if self.line_end == LineEnd::Byte { 0 } else { self.buf.len() % 2 };
                self.skipping = Some(so_far - crate::file::as_u64(odd));
                self.buf.drain(..self.buf.len() - odd);
            }
            let wanted = self.bounds.block.saturating_sub(self.buf.len()).max(self.bounds.block / 4).max(1);
            let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
            let path = || (&*self.name).into();
            // All at once: a buffer that grows is copied each time.
            self.buf.reserve(usize::try_from(wanted).unwrap_or(0));
            match self.input.by_ref().take(wanted).read_to_end(&mut self.buf) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Io { what: "read", path: path(), source }),
            }
        }
    }

    /// Hands out `buf[..end]`, which are whole lines (the first may be the rest of one that is left out).
    fn cut(&mut self, end: usize) -> Option<Block> {
        let first = self.line_end.first(&self.buf).unwrap_or(end);
        let head = self.skipping.unwrap_or(0) + crate::file::as_u64(first);
        if head > crate::file::as_u64(self.bounds.line) {
            self.skipping = None;
            self.notes.push(Note::LongLine { path: (&*self.name).into(), offset: self.offset, bytes: head });
            self.buf.drain(..first);
            self.offset += head;
            return None;
        }
        // Lines over the bound further on, and what is over a block, wait for the next round.
        let mut good = first;
        // Lines that end within the bound of one line from here on are short enough, all at once.
        while good < end {
            let reach = end.min(good.saturating_add(self.bounds.line)).min(self.bounds.block);
            match self.buf.get(good..reach).and_then(|part| self.line_end.last(part)) {
                Some(len) => good += len,
                None => break,
            }
        }
        let rest = self.buf.split_off(good);
        let text = std::mem::replace(&mut self.buf, rest);
        let begin = self.offset;
        self.offset += crate::file::as_u64(text.len());
        Some(Block {
            source: self.key(),
            begin: Position::Offset(begin),
            end: Position::Offset(self.offset),
            text: text.into_boxed_slice(),
            stamps: Box::default(),
            in_operation: false,
            replay: false,
        })
    }
}
