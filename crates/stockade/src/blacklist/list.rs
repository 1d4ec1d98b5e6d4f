//! The list of present bans: written whole beside its place, then put there.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stockade_core::FailureId;

use super::beside;
use crate::plain_file;

/// Nobody but root reads a list of whom a machine has banned.
const MODE: u32 = 0o600;

/// How many files are set aside for one list; then somebody has to look at them.
const OLD_MAX: u32 = 100;

/// The longest file that may be a list of ours.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// A list as it was last written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    content: u64,
    /// Device, inode, length and time of the last change.
    file: (u64, u64, u64, i64, i64),
}

/// What became of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// As it stands now.
    pub(crate) standing: Standing,
    /// Where another file lies now that was in its place.
    pub(crate) set_aside: Option<PathBuf>,
}

/// Puts these lines, which are sorted, in the place of `path`. Whoever reads it
/// meanwhile sees the old list or the new one, and a power cut leaves one of
/// them. A symbolic link there is replaced, never followed. Nothing is written
/// if `before` still stands and says the same. A file there that is neither
/// `before` nor of one of these contents (see [`content`]) is somebody else's,
/// and is set aside, whatever it looks like. Where no contents are known (`None`)
/// it is ours if nobody else may read it and its lines are addresses.
///
/// # Errors
/// If it can't be written; what was there stands.
pub(crate) fn write(
    path: &Path,
    lines: &[String],
    before: Option<Standing>,
    ours: Option<&Vec<u64>>,
) -> io::Result<Written> {
    let content = content(lines);
    let there = std::fs::symlink_metadata(path).ok();
    if let (Some(before), Some(meta)) = (before, &there)
        && before == (Standing { content, file: mark(meta) })
    {
        return Ok(Written { standing: before, set_aside: None });
    }
    if there.as_ref().is_some_and(|meta| !meta.is_file() && !meta.is_symlink()) {
        return Err(io::Error::other("a folder or a device is in its place"));
    }
    let own = |meta: &Metadata| before.is_some_and(|before| before.file == mark(meta));
    let foreign = there.filter(|meta| meta.is_file() && meta.len() > 0 && !own(meta));
    let foreign = match (foreign, ours) {
        (None, _) => false,
        (Some(meta), _) if meta.mode() & 0o777 != MODE => true,
        (Some(_), Some(ours)) => !ours.contains(&content_of(path)?),
        (Some(_), None) => !has_addresses_only(path)?,
    };
    let next = beside(path, ".new");
    match std::fs::remove_file(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let put = fill(&next, lines).and_then(|file| {
        // Not before the new list is whole: a disk that is full must not fill up with names of the old one.
        let set_aside = if foreign { Some(put_aside(path)?) } else { None };
        std::fs::rename(&next, path)?;
        Ok((file, set_aside))
    });
    let (file, set_aside) = match put {
        Ok(put) => put,
        Err(e) => {
            std::fs::remove_file(&next).unwrap_or_default();
            return Err(e);
        }
    };
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(Written { standing: Standing { content, file: mark(&file.metadata()?) }, set_aside })
}

/// Gives the file a name that nobody has: `PATH.old`, `PATH.old.1` and so on.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 0..OLD_MAX {
        let old = match number {
            0 => beside(path, ".old"),
            n => beside(path, &format!(".old.{n}")),
        };
        // Readers find a list all the time, where the file system can do that.
        let moved = std::fs::hard_link(path, &old).or_else(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Err(e),
            _ => renameat_with(CWD, path, CWD, &old, RenameFlags::NOREPLACE).map_err(io::Error::from),
        });
        match moved {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| old),
        }
    }
    Err(io::Error::other(format!("another file is in its place, and {OLD_MAX} were set aside; move those away")))
}

fn fill(next: &Path, lines: &[String]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(MODE);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = BufWriter::with_capacity(1 << 16, options.open(next)?);
    for line in lines {
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(file)
}

fn mark(meta: &Metadata) -> (u64, u64, u64, i64, i64) {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())
}

/// By what a list of these lines is known again, in a later process, too.
pub(crate) fn content(lines: &[String]) -> u64 {
    lines.iter().fold(FNV_BASIS, |sum, line| fnv(fnv(sum, line.as_bytes()), b"\n"))
}

/// The same of a file; of one that is too long to be a list that of nothing.
fn content_of(path: &Path) -> io::Result<u64> {
    let (mut file, mut sum, mut part) = (plain_file::open(path)?.take(LIST_BYTES_MAX), FNV_BASIS, vec![0; 1 << 16]);
    loop {
        match file.read(&mut part)? {
            0 if file.limit() == 0 => return Ok(FNV_BASIS),
            0 => return Ok(sum),
            n => sum = fnv(sum, part.get(..n).unwrap_or_default()),
        }
    }
}

/// Is each line an address or a network?
fn has_addresses_only(path: &Path) -> io::Result<bool> {
    let mut lines = BufReader::new(plain_file::open(path)?.take(LIST_BYTES_MAX)).split(b'\n');
    let is_one = |line: Vec<u8>| std::str::from_utf8(&line).is_ok_and(|text| FailureId::parse(text).net().is_some());
    while let Some(line) = lines.next().transpose()? {
        if !is_one(line) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Source: FNV-1a of 64 bits. Nobody gains by a list that looks like ours: it would only be replaced.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "reads what was written just now")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn lines(all: &[&str]) -> Vec<String> {
        all.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_list_is_replaced_whole_and_no_link_is_followed() {
        let folder = std::env::temp_dir().join(format!("stockade-blacklist-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, other) = (folder.join("list"), folder.join("other"));
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();

        std::fs::write(&other, "not a list\n").unwrap();
        symlink(&other, &path).unwrap();
        let first = write(&path, &lines(&["192.0.2.1"]), None, Some(&vec![])).unwrap();
        assert_eq!(first.set_aside, None);
        assert_eq!((text(&path), text(&other)), ("192.0.2.1\n".into(), "not a list\n".into()));
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o600);

        // The same again writes nothing; what somebody else put there is replaced.
        let again = write(&path, &lines(&["192.0.2.1"]), Some(first.standing), Some(&vec![])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), meta.ino());
        std::fs::write(&path, "").unwrap();
        write(&path, &lines(&["192.0.2.1"]), Some(again.standing), Some(&vec![])).unwrap();
        assert_eq!(text(&path), "192.0.2.1\n");

        // What another process of ours has written is known, and everything else is kept beside.
        let known = content(&lines(&["192.0.2.1"]));
        assert_eq!(write(&path, &lines(&["192.0.2.2"]), None, Some(&vec![1, known])).unwrap().set_aside, None);
        for (n, (old, mode)) in [("192.0.2.7\n", 0o644), ("192.0.2.1\n", 0o644), ("key\n", 0o600)].iter().enumerate() {
            std::fs::write(&path, old).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
            let name = if n == 0 { "list.old".to_owned() } else { format!("list.old.{n}") };
            let written = write(&path, &lines(&["192.0.2.2"]), None, Some(&vec![known])).unwrap();
            assert_eq!(written.set_aside, Some(folder.join(&name)));
            assert_eq!((text(&path), text(&folder.join(&name))), ("192.0.2.2\n".into(), (*old).into()));
        }

        // Nothing is set aside for a list that can't be written.
        std::fs::write(&path, "key\n").unwrap();
        std::fs::create_dir(folder.join("list.new")).unwrap();
        assert!(write(&path, &lines(&["192.0.2.2"]), None, Some(&vec![known])).is_err());
        assert!(text(&path) == "key\n" && !folder.join("list.old.3").exists());
        std::fs::remove_dir(folder.join("list.new")).unwrap();

        // Where nothing is known of an earlier process a list of addresses that nobody else may read is ours.
        for (old, set_aside) in [("key\n", true), ("192.0.2.7\n2001:db8::/64\n", false), ("192.0.2.7\nkey\n", true)] {
            std::fs::write(&path, old).unwrap();
            let written = write(&path, &lines(&["192.0.2.2"]), None, None).unwrap();
            assert_eq!(written.set_aside.is_some(), set_aside, "{old}");
        }

        // A trap beside it is removed, not written through.
        symlink(&other, folder.join("list.new")).unwrap();
        write(&path, &[], None, Some(&vec![content(&lines(&["192.0.2.2"]))])).unwrap();
        assert_eq!((text(&path), text(&other)), (String::new(), "not a list\n".into()));

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, &[], None, Some(&vec![content(&lines(&["192.0.2.2"]))])).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
