//! Many failures at once: past a rate their `Found` lines are counted instead of
//! written. Only where option `stockade.foundlines` says so.

use std::time::{Duration, Instant};

use super::{Level, Line};

/// Over which time the rate is taken, and how often the sum is said.
const WINDOW: Duration = Duration::from_secs(1);

/// Lines that were not written, of one jail.
struct Untold {
    jail: String,
    lines: u64,
    last: String,
}

/// Counts `Found` lines of the present window.
#[derive(Default)]
pub(super) struct Storm {
    began: Option<Instant>,
    lines: u64,
    untold: Vec<Untold>,
}

impl Storm {
    /// May this line be written? `most` is how many per second may, 0 for all.
    pub(super) fn may(&mut self, most: u64, jail: &str, text: &str, now: Instant) -> bool {
        if most == 0 {
            return true;
        }
        if self.began.is_none_or(|began| now.duration_since(began) >= WINDOW) && self.untold.is_empty() {
            self.began = Some(now);
            self.lines = 0;
        }
        self.lines += 1;
        if self.lines <= most {
            return true;
        }
        match self.untold.iter_mut().find(|untold| untold.jail == jail) {
            Some(untold) => {
                untold.lines += 1;
                text.clone_into(&mut untold.last);
            }
            None => self.untold.push(Untold { jail: jail.to_owned(), lines: 1, last: text.to_owned() }),
        }
        false
    }

    /// When a sum has to be said, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.began.filter(|_| !self.untold.is_empty()).map(|began| began + WINDOW)
    }

    /// The sums of a window that is over.
    pub(super) fn sums(&mut self, now: Instant, at: std::time::SystemTime) -> Vec<Line> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.began = None;
        let line = |untold: Untold| {
            let Untold { jail, lines, last } = untold;
            let text = format!("[{jail}] {lines} further failures within a second are counted; the last: {last}");
            Line { at, level: Level::Info, logger: "stockade.log", text }
        };
        std::mem::take(&mut self.untold).into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_rate_failures_are_summed_up() {
        let mut storm = Storm::default();
        let (start, at) = (Instant::now(), std::time::SystemTime::now());
        let kept = (0..1_000).filter(|n| storm.may(10, "sshd", &format!("Found {n}"), start)).count();
        assert_eq!(kept, 10);
        assert!(storm.sums(start, at).is_empty());
        let sums = storm.sums(start + WINDOW, at);
        assert_eq!(sums.len(), 1);
        assert!(sums[0].text.starts_with("[sshd] 990 further failures") && sums[0].text.ends_with("Found 999"));
        assert!(storm.may(10, "sshd", "Found 1", start + WINDOW) && storm.due().is_none());
        assert!((0..1_000).all(|_| storm.may(0, "sshd", "Found", start)));
    }
}
