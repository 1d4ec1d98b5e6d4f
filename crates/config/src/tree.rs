//! Where the files of a configuration come from, read with bounds.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::embedded;

/// Which files make up the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeSource {
    /// A complete tree in a folder, such as `/etc/fail2ban`.
    Disk(PathBuf),
    /// The tree that is part of the program.
    Embedded,
    /// The files of a folder laid over the embedded tree. Its `fail2ban.conf`
    /// (and everything in `jail.d`, `*.local` and so on) is merged over ours;
    /// of the other folders a `NAME.conf` replaces ours, a `NAME.local` is merged.
    Overlay(PathBuf),
}

impl TreeSource {
    /// How a folder is to be read: with a `jail.conf` it is a complete tree,
    /// without one it is laid over the embedded tree.
    pub fn of_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        if folder.join("jail.conf").exists() { TreeSource::Disk(folder) } else { TreeSource::Overlay(folder) }
    }
}

/// Largest file that is read.
pub const MAX_FILE: u64 = 4 << 20;
/// All files of one run together.
pub const MAX_TOTAL: u64 = 64 << 20;

/// Path prefix of embedded files.
pub(crate) const BUILTIN: &str = "builtin:";

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is not there (any more), or a link leads nowhere or round in circles.
    Missing(io::ErrorKind),
    /// No permission.
    Denied,
    /// A folder stands in its place.
    Folder,
    /// A pipe, socket or device stands in its place.
    Special,
    /// Larger than [`MAX_FILE`], or all files together larger than [`MAX_TOTAL`].
    TooLarge,
    /// Not valid UTF-8; the offset of the first bad byte.
    NotUtf8(usize),
}

/// One [`TreeSource`] opened for reading.
#[derive(Debug)]
pub(crate) struct Tree {
    base: String,
    disk: bool,
    embedded: bool,
    read: Cell<u64>,
}

impl Tree {
    pub(crate) fn new(source: &TreeSource) -> Self {
        let (base, disk, embedded) = match source {
            TreeSource::Disk(path) => (path.to_string_lossy().into_owned(), true, false),
            TreeSource::Embedded => (BUILTIN.to_owned(), false, true),
            TreeSource::Overlay(path) => (path.to_string_lossy().into_owned(), true, true),
        };
        Tree { base: base.trim_end_matches('/').to_owned(), disk, embedded, read: Cell::new(0) }
    }

    /// The folder as configured, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Is the folder there at all?
    pub(crate) fn is_there(&self) -> bool {
        !self.disk || Path::new(if self.base.is_empty() { "/" } else { &self.base }).exists()
    }

    /// The files that make up `name` (`jail`, `filter.d/sshd`), in the order
    /// in which they are merged, without what they include.
    pub(crate) fn files_of(&self, name: &str) -> Vec<String> {
        let stem = join(&self.base, name);
        let mut files = Vec::new();
        let top = name == "jail" || name == "fail2ban";
        if self.embedded && self.disk && top && embedded::find(&format!("{name}.conf")).is_some() {
            files.push(format!("{BUILTIN}/{name}.conf"));
        }
        let folder = format!("{stem}.d");
        let mut add = |path: String| {
            if let Some(found) = self.locate(&path).map(|place| place.name(&path))
                && !files.contains(&found)
            {
                files.push(found);
            }
        };
        for ending in [".conf", ".local"] {
            add(format!("{stem}{ending}"));
            for file in self.list(&folder, ending) {
                add(file);
            }
        }
        files
    }

    /// Names of the definitions in `folder` (`filter.d`, `action.d`), sorted.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let path = join(&self.base, folder);
        let mut names: Vec<String> = Vec::new();
        for ending in [".conf", ".local", ".py"] {
            for file in self.list(&path, ending) {
                let name = file.rsplit('/').next().unwrap_or(&file);
                let name = if ending == ".py" { name } else { name.strip_suffix(ending).unwrap_or(name) };
                names.push(name.to_owned());
            }
        }
        if self.embedded {
            let inside = embedded::FILES.iter().filter_map(|(path, _)| path.strip_prefix(folder)?.strip_prefix('/'));
            names.extend(inside.filter_map(|name| name.strip_suffix(".conf")).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        names
    }

    /// Names of the visible files of a folder that end as configuration files do, sorted.
    pub(crate) fn files_in(&self, folder: &str) -> Vec<String> {
        let endings = [".conf", ".local"];
        let listed = endings.iter().flat_map(|ending| self.list(folder, ending));
        let mut names: Vec<String> = listed.filter_map(|file| Some(file.rsplit_once('/')?.1.to_owned())).collect();
        if let Some(inside) = folder.strip_prefix(BUILTIN) {
            let inside = normal(inside);
            let paths = embedded::FILES.iter().filter_map(|(path, _)| path.rsplit_once('/').or(Some(("", path))));
            names.extend(paths.filter(|(above, _)| *above == inside).map(|(_, name)| name.to_owned()));
        }
        names
    }

    /// Visible files of a folder with this ending, sorted by their bytes.
    fn list(&self, folder: &str, ending: &str) -> Vec<String> {
        if !self.disk {
            return Vec::new();
        }
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let wanted = names.filter(|name| name.ends_with(ending) && !name.starts_with('.')).take(100_000);
        let mut paths: Vec<String> = wanted.map(|name| format!("{folder}/{name}")).collect();
        paths.sort();
        paths
    }

    /// Does a regular file (or a link to one) stand there?
    pub(crate) fn is_file(&self, path: &str) -> bool {
        match self.locate(path) {
            Some(Place::Disk(path)) => Path::new(&path).is_file(),
            Some(Place::Builtin(..)) => true,
            None => false,
        }
    }

    /// The name under which a path is read and shown: that of the embedded
    /// file where the folder has none.
    pub(crate) fn canonical(&self, path: &str) -> String {
        self.locate(path).map_or_else(|| path.to_owned(), |place| place.name(path))
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, path: &str) -> Result<String, Unreadable> {
        match self.locate(path) {
            None => Err(missing(path)),
            Some(Place::Builtin(_, text)) => Ok(text.to_owned()),
            Some(Place::Disk(path)) => {
                let bytes = read_bounded(Path::new(&path), MAX_FILE.min(MAX_TOTAL.saturating_sub(self.read.get())))?;
                self.read.set(self.read.get().saturating_add(bytes.len() as u64));
                String::from_utf8(bytes).map_err(|e| Unreadable::NotUtf8(e.utf8_error().valid_up_to()))
            }
        }
    }

    fn locate(&self, path: &str) -> Option<Place> {
        if let Some(inner) = path.strip_prefix(BUILTIN) {
            let inner = normal(inner);
            if let Some((name, text)) = embedded::find(&inner) {
                return Some(Place::Builtin(name, text));
            }
            let path = format!("{}/{inner}", self.base);
            return (self.disk && self.embedded && Path::new(&path).exists()).then_some(Place::Disk(path));
        }
        if self.disk && Path::new(path).exists() {
            return Some(Place::Disk(path.to_owned()));
        }
        if !self.embedded {
            return None;
        }
        let inner = normal(path.strip_prefix(&self.base)?.strip_prefix('/')?);
        embedded::find(&inner).map(|(name, text)| Place::Builtin(name, text))
    }
}

/// Where a path leads.
enum Place {
    Disk(String),
    Builtin(&'static str, &'static str),
}

impl Place {
    fn name(&self, asked: &str) -> String {
        match self {
            Place::Disk(path) if asked.starts_with(BUILTIN) => path.clone(),
            Place::Disk(_) => asked.to_owned(),
            Place::Builtin(name, _) => format!("{BUILTIN}/{name}"),
        }
    }
}

/// Python's `os.path.join` for two parts.
pub(crate) fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') || path.starts_with(BUILTIN) {
        path.to_owned()
    } else if folder.is_empty() || folder.ends_with('/') {
        format!("{folder}{path}")
    } else {
        format!("{folder}/{path}")
    }
}

/// A path inside the embedded tree without empty parts, `.` and `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn missing(path: &str) -> Unreadable {
    match fs::metadata(path) {
        Ok(_) => Unreadable::Missing(io::ErrorKind::NotFound),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Unreadable::Denied,
        Err(e) => Unreadable::Missing(e.kind()),
    }
}

/// Reads a regular file of at most `limit` bytes; never waits for a pipe.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Unreadable> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
    let refused = |e: io::Error| match e.kind() {
        io::ErrorKind::PermissionDenied => Unreadable::Denied,
        io::ErrorKind::IsADirectory => Unreadable::Folder,
        io::ErrorKind::NotFound => Unreadable::Missing(e.kind()),
        kind if path.is_file() => Unreadable::Missing(kind),
        kind if path.exists() => {
            let _ = kind;
            Unreadable::Special
        }
        kind => Unreadable::Missing(kind),
    };
    let file = opened.map_err(refused)?;
    let meta = file.metadata().map_err(refused)?;
    if meta.is_dir() {
        return Err(Unreadable::Folder);
    }
    if !meta.is_file() {
        return Err(Unreadable::Special);
    }
    if meta.len() > limit {
        return Err(Unreadable::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    let read = file.take(limit + 1).read_to_end(&mut bytes).map_err(refused)?;
    if read as u64 > limit { Err(Unreadable::TooLarge) } else { Ok(bytes) }
}

/// Does this host keep a systemd journal that could be read?
pub fn journal_is_there() -> bool {
    let kept = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        entries.take(1_000).any(|entry| entry.path().is_dir())
    };
    Path::new("/run/systemd/journal").is_dir() && (kept("/run/log/journal") || kept("/var/log/journal"))
}
