//! Opening a log, and who could read one that refuses us.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::{Error, Result};

/// Bound on `/etc/group`.
const GROUP_FILE_MAX: u64 = 4 << 20;
/// The group's bits of a file mode: read a file, enter a directory.
const GROUP_READ: u32 = 0o040;
const GROUP_ENTER: u32 = 0o010;

/// Turns the refusal of `path` into an error that names who could read it.
pub(crate) fn explain(path: &Path, cause: io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Missing { path: path.to_owned() },
        io::ErrorKind::PermissionDenied => {
            let (refused_by, group) = refuser(path);
            Error::Unreadable { path: path.to_owned(), refused_by, group }
        }
        _ => Error::Io { what: "open", path: path.to_owned(), source: cause },
    }
}

/// Opens a log for reading; anything but a regular file is refused.
/// Opening never blocks (a FIFO would, without `NONBLOCK`).
pub(crate) fn open(path: &Path) -> Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| explain(path, e.into()))?;
    let file = File::from(fd);
    let meta = file.metadata().map_err(|e| explain(path, e))?;
    match odd_kind(meta.file_type()) {
        None => Ok((file, meta)),
        Some(what) => Err(Error::NotAFile { path: path.to_owned(), what }),
    }
}

/// Could `path` be opened as a log now? For checks before anything is started.
///
/// # Errors
/// The same errors that a [`crate::FileReader`] would report.
pub fn probe(path: &Path) -> Result<()> {
    let file = open(path)?;
    drop(file);
    Ok(())
}

/// What a file is, if it is not a regular one.
pub(crate) fn odd_kind(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else {
        Some("not a regular file")
    }
}

/// The first thing on the way that refuses us, and the group that it lets in.
fn refuser(path: &Path) -> (PathBuf, Option<String>) {
    if let Ok(meta) = fs::metadata(path) {
        return (path.to_owned(), group_of(&meta, GROUP_READ));
    }
    // The topmost directory that can be seen, but whose content can't.
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    let mut last = None;
    for dir in above {
        match fs::metadata(dir) {
            Ok(meta) => last = Some((dir, meta)),
            Err(_) => break,
        }
    }
    match last {
        Some((dir, meta)) => (dir.to_owned(), group_of(&meta, GROUP_ENTER)),
        None => (path.to_owned(), None),
    }
}

fn group_of(meta: &Metadata, bit: u32) -> Option<String> {
    if meta.mode() & bit == 0 {
        return None;
    }
    let gid = meta.gid();
    Some(group_name(gid).unwrap_or_else(|| gid.to_string()))
}

/// Name of a group in `/etc/group` (other name services are not asked).
fn group_name(gid: u32) -> Option<String> {
    let file = File::open("/etc/group").ok()?;
    for line in BufReader::new(file.take(GROUP_FILE_MAX)).lines() {
        let line = line.ok()?;
        let mut fields = line.split(':');
        let name = fields.next()?;
        if fields.nth(1).and_then(|n| n.parse().ok()) == Some(gid) {
            return Some(name.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_zero_has_a_name() {
        assert_eq!(group_name(0).as_deref(), Some("root"));
        assert_eq!(group_name(4_000_000_000), None);
    }
}
