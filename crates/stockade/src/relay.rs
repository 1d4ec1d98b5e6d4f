//! Who brings most of a log's successful lines? If it is one private address, others stand behind it.
//!
//! A proxy, a bridge of containers or a router in front of a service makes all its
//! clients look like one. Who bans it bans them all. Such an address is told from
//! an attacker by what the log says of those who got what they wanted: lines that
//! the filter's `stockade.success` matches ([`Watch`]). They are looked at only
//! when somebody with a private address has failed, from the newest line
//! backwards. A public address is never spared: lines of success are no shield for
//! a stranger.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_core::matcher::{Calendar, Filter, FilterError, FilterSpec, LineMode, Matcher, Scanner, UseDns};
use stockade_core::{Batch, Block, FailureId, JailName, Net, Position, SourceKey, Timestamp, Who};
use stockade_source::{History, JournalOptions};

use crate::plain_file;

/// Bytes read at once.
const STEP_BYTES: usize = 1 << 20;
/// So far back a log is read at most: a flood of failures may have pushed the others that far away.
const REACH_BYTES: u64 = 64 << 20;
/// No more successful lines than about so many are looked for.
const ENOUGH: u64 = 100;
/// Fewer tell nothing.
const LEAST: u64 = 5;
/// Entries of the journal that are looked at.
const ENTRIES: u32 = 5_000;

/// Addresses that no stranger on the internet can have: RFC 1918, shared address space, loopback, link-local, and
/// their like in IPv6.
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1",
];

/// Can no stranger on the internet have this address?
pub(crate) fn is_private(net: Net) -> bool {
    PRIVATE.iter().filter_map(|text| FailureId::parse(text).net()).any(|private| private.contains(net))
}

/// What a log is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// Its failregexes are the patterns of success.
    success: Arc<Filter>,
    /// If lines come from the journal: from which part.
    journal: Option<Box<JournalOptions>>,
}

impl Watch {
    /// By the patterns of success, in a log that a filter of this spec reads; `None` if there are no patterns.
    ///
    /// # Errors
    /// A pattern that can't be used.
    pub(crate) fn new(
        patterns: &[String],
        spec: &FilterSpec,
        journal: Option<&JournalOptions>,
        calendar: &Arc<Calendar>,
    ) -> Result<Option<Watch>, FilterError> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let spec = FilterSpec {
            prefregex: None,
            failregex: patterns.to_vec(),
            ignoreregex: Vec::new(),
            maxlines: 1,
            usedns: UseDns::No,
            ..spec.clone()
        };
        let success = Arc::new(Filter::compile(&spec, calendar)?);
        Ok(Some(Watch { success, journal: journal.cloned().map(Box::new) }))
    }

    /// Looks through the newest lines of a source, which is a path unless this is about the journal.
    pub(crate) fn look(&self, source: &str, now: Timestamp) -> Successes {
        let mut count = Count::new(Arc::clone(&self.success), now);
        match &self.journal {
            Some(options) => count.journal(options),
            None => {
                count.file(Path::new(source));
                // Just after a rotation the log itself has little to tell.
                let rotated = PathBuf::from(format!("{source}.1"));
                if count.seen.all < ENOUGH {
                    count.file(&rotated);
                }
            }
        }
        count.seen
    }
}

/// Successful lines, by who they are about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Successes {
    all: u64,
    by: HashMap<Net, u64>,
}

impl Successes {
    /// The private address that brought most of them, and what is to be said of that.
    pub(crate) fn relay(&self, log: &str) -> Option<(Net, Box<str>)> {
        let (net, count) = self.by.iter().find(|(_, count)| **count > self.all / 2)?;
        if self.all < LEAST || !is_private(*net) {
            return None;
        }
        let log = if log.starts_with('/') { log } else { "the journal" };
        Some((*net, format!("{count} of the last {} successful lines in {log} are from it, too", self.all).into()))
    }
}

/// A look under way.
struct Count {
    matcher: Matcher,
    scanner: Scanner,
    now: Timestamp,
    left: u64,
    seen: Successes,
}

impl Count {
    fn new(success: Arc<Filter>, now: Timestamp) -> Count {
        let matcher = Matcher::new(JailName::new("success"), Arc::clone(&success), 0);
        let scanner = Scanner::new(vec![success]);
        Count { matcher, scanner, now, left: REACH_BYTES, seen: Successes::default() }
    }

    /// Reads a file from its end towards its beginning. One that can't be read has nothing to tell.
    fn file(&mut self, path: &Path) {
        // Whoever may write the log's folder may have put a pipe there.
        let Ok(file) = plain_file::open(path) else { return };
        let mut end = file.metadata().map_or(0, |meta| meta.len());
        // The rest of a line whose beginning is still to be read.
        let mut rest: Vec<u8> = Vec::new();
        while end > 0 && self.left > 0 && self.seen.all < ENOUGH {
            let length = STEP_BYTES.min(usize::try_from(end).unwrap_or(usize::MAX));
            let begin = end.saturating_sub(length as u64);
            let mut text = vec![0; length];
            if file.read_exact_at(&mut text, begin).is_err() {
                return;
            }
            text.append(&mut rest);
            let whole = if begin == 0 { 0 } else { memchr::memchr(b'\n', &text).map_or(text.len(), |at| at + 1) };
            let lines = text.split_off(whole);
            // A line longer than what is read at once tells nothing.
            rest = if text.len() <= STEP_BYTES { text } else { Vec::new() };
            self.lines(path.to_string_lossy().into(), begin, lines);
            (end, self.left) = (begin, self.left.saturating_sub(length as u64));
        }
    }

    fn journal(&mut self, options: &JournalOptions) {
        let Ok(mut history) = History::newest(options.clone(), ENTRIES) else { return };
        while let Ok(Some(block)) = history.read() {
            self.block(&block);
        }
    }

    fn lines(&mut self, path: Arc<str>, begin: u64, text: Vec<u8>) {
        let end = begin.saturating_add(text.len() as u64);
        self.block(&Block {
            source: SourceKey { path, generation: 0 },
            begin: Position::Offset(begin),
            end: Position::Offset(end),
            text: text.into_boxed_slice(),
            stamps: Box::default(),
            in_operation: false,
            replay: false,
        });
    }

    fn block(&mut self, block: &Block) {
        let scan = self.scanner.scan(self.now, block);
        let (_, found) = self.matcher.scanned_lines(block, &scan, LineMode::SCAN);
        for hit in found.iter().flat_map(|line| &line.report.hits) {
            let id = match &hit.who {
                Some(Who::Id(id)) => hit.ip.as_ref().unwrap_or(id),
                Some(Who::Name(_)) | None => continue,
            };
            if let Some(net) = id.net() {
                self.seen.all += 1;
                *self.seen.by.entry(net).or_default() += 1;
            }
        }
    }
}

/// The addresses that the failures of a batch are about, in order.
pub(crate) fn addresses(batch: &Batch) -> impl Iterator<Item = Net> + '_ {
    batch.failures.iter().filter_map(|failure| match &failure.who {
        Who::Id(id) => failure.ip.or(id.net()),
        Who::Name(_) => None,
    })
}

#[cfg(test)]
mod tests;
