//! Opening files that somebody else may have put there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file for reading. Opening never waits, as it would for a pipe.
///
/// # Errors
/// If it can't be opened, or is no plain file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::NONBLOCK)
}

/// Opens a file that only we or root can have written, for reading.
///
/// # Errors
/// If it can't be opened, is a link or no plain file, belongs to somebody else, or others may write it.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    let file = open_with(path, OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
    let meta = file.metadata()?;
    if is_foreign(meta.uid()) || meta.mode() & 0o022 != 0 {
        return Err(io::Error::other("somebody else owns it or may write it"));
    }
    Ok(file)
}

/// Is this user neither root nor who we are?
pub(crate) fn is_foreign(uid: u32) -> bool {
    uid != 0 && uid != rustix::process::geteuid().as_raw()
}

fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_opened_and_none_is_waited_for() {
        let folder = std::env::temp_dir().join(format!("stockade-plain-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, pipe, link) = (folder.join("file"), folder.join("pipe"), folder.join("link"));
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let mode = |bits| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap();
        mode(0o600);
        assert!(open(&file).is_ok() && open(&link).is_ok() && open_own(&file).is_ok());
        assert!(open(&pipe).is_err() && open(&folder).is_err() && open_own(&link).is_err());
        mode(0o666);
        assert!(open(&file).is_ok() && open_own(&file).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
