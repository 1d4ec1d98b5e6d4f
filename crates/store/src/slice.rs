//! A bounded stretch of work, so that no write transaction is held long.

use std::time::{Duration, Instant};

/// The time after which a write transaction is closed and the rest waits for the
/// next one. Less than half of the promised 100 ms: the last step and the flush need the rest.
const SLICE: Duration = Duration::from_millis(40);

/// The same for work behind the scenes while commits come in, which wait for it.
const BRIEF: Duration = Duration::from_millis(10);

/// The time that a commit may spend on the original's tables: single bans go
/// there at once, and a burst is acknowledged first and brought there later.
const SHORT: Duration = Duration::from_millis(2);

/// A running slice.
pub(crate) struct Slice {
    end: Instant,
    steps: u32,
}

impl Slice {
    /// Starts now.
    pub(crate) fn start(brief: bool) -> Self {
        Slice { end: Instant::now() + if brief { BRIEF } else { SLICE }, steps: 0 }
    }

    /// Starts a short one now, that ends at the latest when this one does.
    pub(crate) fn short(&self) -> Self {
        Slice { end: self.end.min(Instant::now() + SHORT), steps: 0 }
    }

    /// Is the time over?
    pub(crate) fn spent(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Counts one small step and looks at the clock at every 16th.
    pub(crate) fn spent_by_one(&mut self) -> bool {
        self.steps = self.steps.wrapping_add(1);
        self.steps.is_multiple_of(16) && self.spent()
    }
}
