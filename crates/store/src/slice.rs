//! A bounded stretch of work, so that no write transaction is held long.

use std::time::{Duration, Instant};

/// The time after which a write transaction is closed and the rest waits for the
/// next one. Half of the promised 100 ms: the last step and the flush need the rest.
const SLICE: Duration = Duration::from_millis(50);

/// A running slice.
pub(crate) struct Slice {
    end: Instant,
    steps: u32,
}

impl Slice {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Slice { end: Instant::now() + SLICE, steps: 0 }
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
