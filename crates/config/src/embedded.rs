//! The tree that is part of the program: the files of `etc/`.

include!(concat!(env!("OUT_DIR"), "/embedded_files.rs"));

/// An embedded file by its path below `etc/`: its own name and its text.
pub(crate) fn find(path: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(name, _)| *name == path).copied()
}

/// Paths of all embedded files below the tree's root, sorted.
pub fn embedded_files() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}
