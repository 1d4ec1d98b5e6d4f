//! The way of a log from its file to decisions, in one thread: read, scan, match, judge.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use stockade_core::judge::{Event, JailChange, JailSpec, Judge, Outputs, UseDns};
use stockade_core::matcher::{Filter, Matcher, Needles, Scanner};
use stockade_core::{BanTime, DecisionKind, JailName, Seq, Span, Timestamp};
use stockade_source::StreamReader;

/// How far a log goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each line is looked at by each jail.
    Plain,
    /// Lines that can't matter are passed over.
    Scanned,
    /// And the failures are counted and judged.
    Judged,
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Lines of the log.
    pub lines: u64,
    /// Failures of all jails.
    pub failures: u64,
    /// Bans of all jails.
    pub bans: u64,
}

/// The jails of one log.
pub struct Pipeline {
    matchers: Vec<Matcher>,
    scanner: Scanner,
    judge: Judge,
    outputs: Outputs,
    way: Way,
    now: Timestamp,
    /// What was found so far.
    pub sums: Sums,
    /// Who was banned, in order.
    pub banned: Vec<String>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("way", &self.way).field("sums", &self.sums).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// One jail for each filter; `maxretry` failures lead to a ban, whenever they were.
    pub fn new(filters: &[Arc<Filter>], way: Way, maxretry: u32, now: Timestamp) -> Pipeline {
        let mut judge = Judge::new(0, Seq(0));
        let mut outputs = Outputs::default();
        let mut matchers = Vec::new();
        for (n, filter) in filters.iter().enumerate() {
            let name = JailName::new(&format!("jail{n}"));
            let mut spec = JailSpec::new(name.clone());
            (spec.maxretry, spec.findtime) = (maxretry, Span::from_secs(10 * 365 * 86_400));
            (spec.bantime, spec.ignoreself, spec.usedns) = (BanTime::Permanent, false, UseDns::No);
            judge.step(now, Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut outputs);
            matchers.push(Matcher::new(name, Arc::clone(filter), 0));
        }
        Pipeline {
            matchers,
            scanner: Scanner::new(filters.to_vec()),
            judge,
            outputs,
            way,
            now,
            sums: Sums::default(),
            banned: Vec::new(),
        }
    }

    /// What its scanner looks for.
    pub fn needles(&self) -> Needles {
        self.scanner.needles()
    }

    /// Reads a log to its end.
    ///
    /// # Errors
    /// It can't be read.
    pub fn log(&mut self, path: &Path) -> Result<()> {
        let mut reader = StreamReader::new(File::open(path)?, "log");
        while let Some(block) = reader.read()? {
            let scan = (self.way != Way::Plain).then(|| self.scanner.scan(self.now, &block));
            let mut lines = 0;
            for matcher in &mut self.matchers {
                let batch = match &scan {
                    Some(scan) => matcher.scanned(&block, scan),
                    None => matcher.block(self.now, &block),
                };
                lines = u64::from(batch.lines);
                self.sums.failures += batch.failures.len() as u64;
                if self.way == Way::Judged {
                    self.judge.step(self.now, Event::Batch(batch), &mut self.outputs);
                    let bans = self.outputs.turn.decisions.iter().filter(|d| d.kind == DecisionKind::Ban);
                    let before = self.banned.len();
                    self.banned.extend(bans.map(|ban| ban.id.to_string()));
                    self.sums.bans += (self.banned.len() - before) as u64;
                    self.outputs.clear();
                }
                drop(matcher.take_notes());
            }
            self.sums.lines += lines;
        }
        Ok(())
    }
}
