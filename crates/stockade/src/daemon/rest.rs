//! A file that people write counts once it has come to rest: editors and copies write in pieces,
//! and some empty it or move it away first.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// It has come to rest once it has not changed for so long.
pub(super) const CALM: Duration = Duration::from_millis(250);
/// One that has gone is gone after so long.
pub(super) const GONE: Duration = Duration::from_secs(2);
/// How often one that was of no use is looked at again, whether it has changed or not.
pub(super) const AGAIN_EVERY: Duration = Duration::from_secs(60);

/// What changes when a file does: inode, length, time of change.
pub(super) type Look = Option<(u64, u64, i64, i64)>;

/// How a file looks now; `None` if it is not there.
pub(super) fn look(path: &Path) -> Look {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// How long a look has to last before it counts.
pub(super) fn patience(look: Look) -> Duration {
    if look.is_none() { GONE } else { CALM }
}

/// Waits for one file to come to rest.
#[derive(Debug, Default)]
pub(super) struct Rest {
    looked: Look,
    until: Option<Instant>,
}

impl Rest {
    /// The file may have changed: when to come again, or `None` if it is to be read now.
    pub(super) fn wait(&mut self, path: &Path, now: Instant) -> Option<Instant> {
        let there = look(path);
        match self.until.filter(|_| there == self.looked) {
            Some(until) if until <= now => self.until = None,
            Some(_) => {}
            None => (self.looked, self.until) = (there, Some(now + patience(there))),
        }
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_has_not_changed_for_a_while() {
        let path = std::env::temp_dir().join(format!("stockade-rest-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let (mut rest, now) = (Rest::default(), Instant::now());
        assert_eq!(rest.wait(&path, now), Some(now + CALM));
        // News of the same change make it neither sooner nor later.
        assert_eq!(rest.wait(&path, now + CALM / 2), Some(now + CALM));
        std::fs::write(&path, "").unwrap();
        assert_eq!(rest.wait(&path, now + CALM), Some(now + CALM * 2));
        assert_eq!(rest.wait(&path, now + CALM * 2), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(rest.wait(&path, now), Some(now + GONE));
        assert_eq!(rest.wait(&path, now + GONE), None);
        assert_eq!(rest.wait(&path, now + GONE), Some(now + GONE * 2));
    }
}
