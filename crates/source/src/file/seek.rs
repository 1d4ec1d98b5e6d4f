//! Half-interval search for the first line of a time window.

use std::io;

use stockade_core::block::LineEnd;
use stockade_core::time::Timestamp;

use super::FileReader;
use super::incarnation::{Incarnation, as_u64};
use crate::Result;

/// Bytes read at one probe.
const PROBE_BYTES: usize = 64 << 10;
/// Lines of a probe that are asked for their date before the probe is given up.
const PROBE_LINES: usize = 6;
/// Intervals up to this are searched line by line.
const LINEAR_BYTES: u64 = 32 << 10;

impl FileReader {
    /// Moves the position forward to the first line not older than `since`, and returns it.
    ///
    /// `date` tells when a line (with its line end) was written, `None` if it can't. In a log whose
    /// dates never fall, the new position is the first line of the window, or before it where lines
    /// carry no date; never behind it. It is not moved over a line without evidence that an older
    /// line stands at or behind it. About 20 to 200 lines are dated.
    /// Source: fail2ban `server/filter.py`, `FileFilter.seekToTime`.
    ///
    /// # Errors
    /// If the file can't be read; the position is unchanged.
    pub fn seek_time(&mut self, since: Timestamp, mut date: impl FnMut(&[u8]) -> Option<Timestamp>) -> Result<u64> {
        let line_max = self.bounds.line;
        // A rotated rest is read whole; its successor is found by reading.
        if let Some(current) = &mut self.current {
            let done = search(current, since, &mut date).and_then(|to| current.set_pos(to, line_max));
            done.map_err(|e| self.io("read", e))?;
        }
        Ok(self.offset())
    }
}

/// The offset to begin at, between the position and the end of the file.
fn search(file: &Incarnation, since: Timestamp, date: &mut dyn FnMut(&[u8]) -> Option<Timestamp>) -> io::Result<u64> {
    // Every line before `low` is older (or has no date); nothing is claimed about `high`.
    let (mut low, mut high) = (file.pos(), file.size());
    while high.saturating_sub(low) > LINEAR_BYTES {
        let middle = low + (high - low) / 2;
        match probe(file, middle, high, since, date)? {
            Some(older_to) if older_to > low => low = older_to,
            _ => high = middle,
        }
    }
    walk(file, low, high, since, date)
}

/// Dates the first lines at `middle`: the end of the last one that is older than `since`.
fn probe(
    file: &Incarnation,
    middle: u64,
    high: u64,
    since: Timestamp,
    date: &mut dyn FnMut(&[u8]) -> Option<Timestamp>,
) -> io::Result<Option<u64>> {
    let line_end = file.line_end();
    let from = line_end.aligned(middle.saturating_sub(1));
    let bytes = file.pread(from, PROBE_BYTES)?;
    let mut at = from;
    let mut lines = line_end.lines(&bytes);
    // What stands before the first line end belongs to a line that began earlier.
    at += as_u64(lines.next().map_or(0, <[u8]>::len));
    for line in lines.take(PROBE_LINES) {
        let end = at + as_u64(line.len());
        if at >= high || !is_whole(line_end, line) {
            break;
        }
        if let Some(time) = date(line) {
            return Ok((time < since).then_some(end));
        }
        at = end;
    }
    Ok(None)
}

/// From `low` line by line to the first that is not older.
fn walk(
    file: &Incarnation,
    low: u64,
    high: u64,
    since: Timestamp,
    date: &mut dyn FnMut(&[u8]) -> Option<Timestamp>,
) -> io::Result<u64> {
    let len = usize::try_from(high.saturating_sub(low)).unwrap_or(0);
    let bytes = file.pread(low, len.saturating_add(PROBE_BYTES))?;
    let (mut begin, mut at) = (low, low);
    let line_end = file.line_end();
    for line in line_end.lines(&bytes) {
        if at >= high || !is_whole(line_end, line) {
            break;
        }
        at += as_u64(line.len());
        match date(line) {
            Some(time) if time < since => begin = at,
            Some(_) => break,
            None => {}
        }
    }
    Ok(begin)
}

/// Has the line its end?
fn is_whole(line_end: LineEnd, line: &[u8]) -> bool {
    line_end.first(line).is_some()
}
