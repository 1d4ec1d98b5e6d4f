//! Patterns that ran out of steps: how often, and when it is said again.

use std::sync::Arc;

use super::filter::Filter;
use crate::time::{Span, Timestamp};

/// How long nothing more is said of such a pattern: after the first time, the second, and all later ones.
const PAUSES: [Span; 3] = [Span::from_secs(60), Span::from_secs(600), Span::from_secs(3600)];

/// A pattern that ran out of steps since it is in use. Whether it hits those lines is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// `failregex`, `ignoreregex`, `prefregex` or `datepattern`.
    pub option: &'static str,
    /// Its 0-based index; of a `datepattern` into [`Filter::date_templates`].
    pub index: usize,
    /// The pattern.
    pub pattern: Arc<str>,
    /// File and line where it is written, if that is known.
    pub written: Option<Arc<str>>,
    /// How many searches ran out; at least 1.
    pub searches: u64,
    /// When the last one did.
    pub last: Timestamp,
}

/// What is to be said of a search that ran out, after a pause.
pub(super) struct Told<'a> {
    pub(super) overrun: &'a Overrun,
    /// Searches since it was last said.
    pub(super) since: u64,
    /// How long nothing more is said of it.
    pub(super) pause: Span,
}

/// The patterns of one filter that ran out; each has one entry.
#[derive(Debug, Default)]
pub(super) struct Overruns(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    overrun: Overrun,
    /// `searches` when it was last said.
    told: u64,
    quiet_until: Option<Timestamp>,
    /// How often it was said.
    times: usize,
}

impl Overruns {
    /// Counts one search; what is to be said of it, if it is time.
    pub(super) fn count(
        &mut self,
        now: Timestamp,
        filter: &Filter,
        (option, index): (&'static str, usize),
        pattern: &str,
    ) -> Option<Told<'_>> {
        let known = self.0.iter().position(|e| (e.overrun.option, e.overrun.index) == (option, index));
        let at = known.unwrap_or_else(|| {
            let overrun = Overrun { option, index, pattern: pattern.into(), written: None, searches: 0, last: now };
            self.0.push(Entry { overrun, told: 0, quiet_until: None, times: 0 });
            self.0.len() - 1
        });
        let entry = self.0.get_mut(at)?;
        entry.overrun.searches += 1;
        entry.overrun.last = now;
        if entry.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        let pause = PAUSES.get(entry.times).or(PAUSES.last()).copied()?;
        entry.times += 1;
        // The same pattern may have moved in its file.
        entry.overrun.written = filter.origin(option, index).map(Arc::from);
        entry.quiet_until = Some(now + pause);
        let since = entry.overrun.searches - std::mem::replace(&mut entry.told, entry.overrun.searches);
        Some(Told { overrun: &entry.overrun, since, pause })
    }

    /// Other patterns come: what these did is forgotten.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// All of them, in the order in which they first ran out.
    pub(super) fn list(&self) -> Vec<Overrun> {
        self.0.iter().map(|entry| entry.overrun.clone()).collect()
    }
}
