//! The list of present bans: written whole beside its place, then put there.

use std::fs::{File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::beside;

/// Nobody but root reads a list of whom a machine has banned.
const MODE: u32 = 0o600;

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
    /// Was there another file, which lies in `PATH.old` now?
    pub(crate) set_aside: bool,
}

/// Puts these lines, which are sorted, in the place of `path`. Whoever reads it
/// meanwhile sees the old list or the new one, and a power cut leaves one of
/// them. A symbolic link there is replaced, never followed. Nothing is written
/// if `before` still stands and says the same.
///
/// # Errors
/// If it can't be written; the old list stands.
pub(crate) fn write(path: &Path, lines: &[String], before: Option<Standing>) -> io::Result<Written> {
    let content = hash(lines);
    let there = std::fs::symlink_metadata(path).ok();
    if let (Some(before), Some(meta)) = (before, &there)
        && before == (Standing { content, file: mark(meta) })
    {
        return Ok(Written { standing: before, set_aside: false });
    }
    if there.as_ref().is_some_and(Metadata::is_dir) {
        return Err(io::Error::other("a folder is in its place"));
    }
    let set_aside = there.is_some_and(|meta| is_of_others(&meta));
    if set_aside {
        let old = beside(path, ".old");
        std::fs::remove_file(&old).unwrap_or_default();
        // Readers find a list all the time, where the file system can do that.
        std::fs::hard_link(path, &old).or_else(|_| std::fs::rename(path, &old))?;
    }
    let next = beside(path, ".new");
    match std::fs::remove_file(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let put = fill(&next, lines).and_then(|standing| {
        std::fs::rename(&next, path)?;
        Ok(standing)
    });
    let file = match put {
        Ok(file) => file,
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

/// A file that stood there before us, as recipes have made it. Ours can be
/// read by nobody else.
fn is_of_others(meta: &Metadata) -> bool {
    meta.is_file() && meta.len() > 0 && meta.mode() & 0o777 != MODE
}

fn mark(meta: &Metadata) -> (u64, u64, u64, i64, i64) {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())
}

fn hash(lines: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for line in lines {
        hasher.write(line.as_bytes());
        hasher.write_u8(b'\n');
    }
    hasher.finish()
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
        let first = write(&path, &lines(&["192.0.2.1"]), None).unwrap();
        assert!(!first.set_aside);
        assert_eq!((text(&path), text(&other)), ("192.0.2.1\n".into(), "not a list\n".into()));
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o600);

        // The same again writes nothing; what somebody else put there is replaced.
        let again = write(&path, &lines(&["192.0.2.1"]), Some(first.standing)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), meta.ino());
        std::fs::write(&path, "").unwrap();
        write(&path, &lines(&["192.0.2.1"]), Some(again.standing)).unwrap();
        assert_eq!(text(&path), "192.0.2.1\n");

        // A list of a recipe is kept beside.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "192.0.2.7\n192.0.2.7\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(write(&path, &lines(&["192.0.2.2"]), None).unwrap().set_aside);
        assert_eq!(
            (text(&path), text(&folder.join("list.old"))),
            ("192.0.2.2\n".into(), "192.0.2.7\n192.0.2.7\n".into())
        );

        // A trap beside it is removed, not written through.
        symlink(&other, folder.join("list.new")).unwrap();
        write(&path, &[], None).unwrap();
        assert_eq!((text(&path), text(&other)), (String::new(), "not a list\n".into()));

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, &[], None).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
