//! Which places of the file system say something about a path.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::glob::{Glob, Name};

/// Symbolic links followed for one path, as in the kernel.
const LINKS_MAX: usize = 40;
/// Directories watched for one glob.
const GLOB_DIRS_MAX: usize = 256;

/// What an event must be about to matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Anything about the inode itself.
    Itself,
    /// This name in the directory.
    Name(OsString),
    /// Names in the directory that match.
    Wild(Name),
}

/// One place to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) path: PathBuf,
    pub(super) interest: Interest,
    /// The log file itself, not a directory.
    pub(super) is_log: bool,
}

impl Point {
    fn dir(path: &Path, interest: Interest) -> Point {
        Point { path: path.to_owned(), interest, is_log: false }
    }
}

/// The places that matter for a log file: each directory on the way (it may be
/// moved), each symbolic link (it may be switched), the name itself, and the
/// file. Where something is missing, the directory it will appear in is last.
pub(super) fn of_file(path: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    let mut todo: Vec<OsString> = names_of(path);
    todo.reverse();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let there = here.join(&name);
        let meta = std::fs::symlink_metadata(&there);
        let is_last = todo.is_empty();
        match meta {
            Ok(meta) if meta.is_symlink() && links < LINKS_MAX => {
                links += 1;
                points.push(Point::dir(&here, Interest::Name(name)));
                let Ok(target) = std::fs::read_link(&there) else { break };
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                todo.extend(names_of(&target).into_iter().rev());
            }
            Ok(meta) if !is_last && meta.is_dir() => {
                here = there;
                points.push(Point::dir(&here, Interest::Itself));
            }
            Ok(_) if is_last => {
                points.push(Point::dir(&here, Interest::Name(name)));
                points.push(Point { path: there, interest: Interest::Itself, is_log: true });
            }
            _ => {
                points.push(Point::dir(&here, Interest::Name(name)));
                break;
            }
        }
    }
    points
}

/// The places where a new match of a glob can appear.
pub(super) fn of_glob(glob: &Glob) -> Vec<Point> {
    let mut points = Vec::new();
    let mut dirs = vec![PathBuf::from("/")];
    for name in &glob.names {
        let mut deeper = Vec::new();
        for dir in &dirs {
            match name {
                Name::Plain(plain) => {
                    let plain: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(plain.as_slice());
                    let there = dir.join(plain);
                    if there.is_dir() {
                        points.push(Point::dir(&there, Interest::Itself));
                        deeper.push(there);
                    } else {
                        points.push(Point::dir(dir, Interest::Name(plain.to_owned())));
                    }
                }
                Name::Wild(_) => {
                    points.push(Point::dir(dir, Interest::Wild(name.clone())));
                    deeper.extend(name.children(dir).into_iter().filter(|p| p.is_dir()));
                }
            }
        }
        deeper.truncate(GLOB_DIRS_MAX);
        dirs = deeper;
    }
    points
}

/// The names of a path, with `..`; a relative one is taken from the working directory.
fn names_of(path: &Path) -> Vec<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// The name of the file system if other machines may write to it unnoticed.
///
/// Source: magic numbers of `statfs(2)` and the kernel's headers.
pub(super) fn remote_file_system(path: &Path) -> Option<&'static str> {
    let kind = u64::try_from(rustix::fs::statfs(path).ok()?.f_type).ok()? & 0xffff_ffff;
    Some(match kind {
        0x6969 => "NFS",
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => "SMB",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x786f_4256 => "vboxsf",
        0xbacb_acbc => "vmhgfs",
        _ => return None,
    })
}
