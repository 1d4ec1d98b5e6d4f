//! Counting over old logs: the failure counter alone, each failure at its own time.

use super::table::Seeded;
use super::tally::{Added, Limits, Tallies};
use crate::failure::{Groups, Matches};
use crate::id::FailureId;
use crate::time::{Span, Timestamp};

/// Counts failures as a jail does, for logs of the past.
///
/// The clock is each failure's own time, so it may go back: what an earlier, later
/// dated failure made too old stays forgotten. Nobody is ignored and a ban changes
/// nothing; whoever asks keeps the bans. It holds one tally per id that failed
/// within `findtime`, and has no other bound.
#[derive(Debug)]
pub struct Recount {
    tallies: Tallies,
    maxretry: f64,
    limits: Limits,
}

/// Failures that are enough for a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enough {
    /// When the ban would begin: the latest time that a failure of this count claims.
    pub time: Timestamp,
    /// Failures counted.
    pub failures: u32,
}

impl Recount {
    /// Nothing counted yet. `maxretry` 0 counts as 1.
    pub fn new(maxretry: u32, findtime: Span) -> Self {
        Recount {
            tallies: Tallies::new(Seeded::new(0)),
            maxretry: f64::from(maxretry.max(1)),
            limits: Limits { findtime, maxmatches: 0, bytes: 0 },
        }
    }

    /// Counts one failure; `Some` if that is enough, and then counting begins anew.
    pub fn count(&mut self, time: Timestamp, id: &FailureId) -> Option<Enough> {
        self.tallies.sweep_all(time, self.limits.findtime);
        let added = Added { time, ip: None, count: 1, matches: Matches::default(), groups: Groups::default() };
        if self.tallies.count(time, id, added, self.limits) < self.maxretry {
            return None;
        }
        let tally = self.tallies.remove(id)?;
        Some(Enough { time: tally.last, failures: tally.failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failures: &[(i64, u8)], expected: &[(usize, i64, u32)]) {
        let mut recount = Recount::new(3, Span::from_secs(600));
        let mut got = Vec::new();
        for (n, (time, host)) in failures.iter().enumerate() {
            let id = FailureId::from(std::net::IpAddr::from([192, 0, 2, *host]));
            if let Some(enough) = recount.count(Timestamp::from_secs(*time), &id) {
                got.push((n, enough.time.secs(), enough.failures));
            }
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn enough_failures_within_findtime_are_told_and_counting_begins_anew() {
        check(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)], &[(2, 2, 3), (5, 5, 3)]);
        check(&[(0, 1), (300, 1), (950, 1), (951, 1)], &[]);
    }

    #[test]
    fn what_a_later_date_made_too_old_stays_forgotten() {
        // The failure of another host at 1000 forgets those at 0 and 1, though the clock goes back.
        check(&[(0, 1), (1, 1), (1_000, 2), (2, 1)], &[]);
        check(&[(0, 1), (1, 1), (500, 2), (2, 1)], &[(3, 2, 3)]);
    }
}
