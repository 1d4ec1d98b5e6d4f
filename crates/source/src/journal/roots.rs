//! The directories that hold journals.
//!
//! `journalctl --follow` watches only those that were there when it started: if persistent storage
//! begins later (`/var/log/journal` is made while we run), it never sees it. So we look ourselves,
//! and start it again.

use std::fs::{self, DirEntry};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::JournalOptions;
use crate::watch::{Mode, Watcher};
use crate::{Error, Result};

/// Where journald keeps journals: `systemd-journald.service(8)`.
const ROOTS: [&str; 2] = ["/run/log/journal", "/var/log/journal"];
/// Directories and files looked at to find a journal.
const LOOK_MAX: usize = 256;

/// Watches the directories that `journalctl` reads by default.
#[derive(Debug)]
pub(super) struct Roots {
    paths: Vec<PathBuf>,
    watcher: Watcher,
    /// Device and inode of each when the child was started.
    known: Vec<Option<(u64, u64)>>,
}

impl Roots {
    /// None for options that name their own place: `journalctl` fails if that is missing, and is retried.
    pub(super) fn of(options: &JournalOptions) -> Result<Option<Roots>> {
        let own_place = options.path.is_some() || !options.files.is_empty();
        if own_place || options.program.is_some() || options.flags.is_some_and(|f| f & 2 != 0) {
            return Ok(None);
        }
        Roots::watching(ROOTS.map(PathBuf::from).to_vec()).map(Some)
    }

    fn watching(paths: Vec<PathBuf>) -> Result<Roots> {
        let mut watcher = Watcher::new(Mode::Auto)?;
        for path in &paths {
            watcher.add_file(path);
        }
        let mut this = Roots { paths, watcher, known: Vec::new() };
        this.changed();
        Ok(this)
    }

    /// Readable when one of them may have changed; `None` without inotify.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.inotify_fd()
    }

    /// Has a directory appeared or been replaced since the last call?
    pub(super) fn changed(&mut self) -> bool {
        // Only empties the queue: what counts is what is there.
        self.watcher.wait(Some(Duration::ZERO)).ok();
        let now: Vec<_> = self.paths.iter().map(|p| fs::metadata(p).ok().map(|m| (m.dev(), m.ino()))).collect();
        let new = now.iter().zip(&self.known).any(|(now, known)| now.is_some() && now != known);
        self.known = now;
        new
    }

    /// Why no system journal can be read, if so.
    pub(super) fn trouble(&self) -> Option<Error> {
        let mut refused = None;
        for file in self.paths.iter().flat_map(|p| entries(p)).flat_map(|d| entries(&d.path())) {
            let path = file.path();
            if path.extension().is_none_or(|e| e != "journal") {
                continue;
            }
            if rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_ok() {
                if file.file_name().as_encoded_bytes().starts_with(b"system") {
                    return None;
                }
            } else {
                refused = Some(path);
            }
        }
        let (said, group) = match refused {
            Some(path) => (format!("{} can't be read", path.display()), Some("systemd-journal".to_owned())),
            None => {
                let paths: Vec<_> = self.paths.iter().map(|p| p.display().to_string()).collect();
                (format!("there are no journal files in {}", paths.join(" and ")), None)
            }
        };
        Some(Error::NoJournal { said, group })
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|e| e.ok()).take(LOOK_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_appears_is_noticed_once() {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
        let root = dir.join(format!("roots-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::remove_dir_all(&root).ok();
        let mut roots = Roots::watching(vec![root.clone()]).unwrap();
        assert!(!roots.changed());
        assert!(roots.trouble().unwrap().to_string().contains("no journal files"));
        fs::create_dir_all(root.join("id")).unwrap();
        assert!(roots.changed());
        assert!(!roots.changed());
        fs::write(root.join("id/system.journal"), "").unwrap();
        assert!(roots.trouble().is_none());
        fs::remove_dir_all(&root).unwrap();
        assert!(!roots.changed());
    }
}
