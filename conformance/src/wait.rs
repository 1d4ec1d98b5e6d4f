//! Waiting for things to become true, with a deadline: the only way in which stories pass time.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Polls `condition` until it is true and returns how long that took.
///
/// # Errors
/// When `limit` passes first; the message names `what` was waited for.
pub fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if condition()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(STEP);
    }
}

/// Like [`within`], with 15 seconds, for things that only have to happen.
///
/// # Errors
/// When 15 seconds pass first.
pub fn eventually(what: &str, condition: impl FnMut() -> Result<bool>) -> Result<Duration> {
    within(Duration::from_secs(15), what, condition)
}
