//! Globs over paths: `*`, `?`, `[...]`; no `**`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Paths that one glob may yield; more are left out.
pub const GLOB_MATCHES_MAX: usize = 4096;

/// A path in which names may hold wildcards: `*` any run, `?` one byte, `[a-z]`, `[!a-z]` one of a set.
///
/// Wildcards never match a `/`, and no leading dot of a name. `**` is the same as `*`.
/// Source: Python's `glob`, which fail2ban uses for `logpath`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    pub(super) names: Vec<Name>,
}

/// One name of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Stands for itself.
    Plain(Vec<u8>),
    /// Holds wildcards.
    Wild(Vec<u8>),
}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// If the path is not absolute, or has no name at all.
    pub fn new(pattern: &str) -> Result<Glob> {
        let refuse = |why| Err(Error::BadGlob { pattern: pattern.to_owned(), why });
        if !pattern.starts_with('/') {
            return refuse("a log path begins with /");
        }
        let names: Vec<Name> = pattern.split('/').filter(|n| !n.is_empty() && *n != ".").map(Name::new).collect();
        if names.is_empty() {
            return refuse("it names no file");
        }
        Ok(Glob { text: pattern.to_owned(), names })
    }

    /// Does the text hold wildcards at all?
    pub fn is_wild(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }

    /// The pattern as given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Would this path be found by the glob, if it exists?
    pub fn matches(&self, path: &Path) -> bool {
        let mut names = self.names.iter();
        for part in path.components().skip(1) {
            match names.next() {
                Some(name) if name.matches(part.as_os_str().as_bytes()) => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// The existing paths that match, sorted; at most [`GLOB_MATCHES_MAX`].
    pub fn expand(&self) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        expand_from(Path::new("/"), &self.names, &mut found);
        found.into_iter().collect()
    }
}

fn expand_from(dir: &Path, names: &[Name], found: &mut BTreeSet<PathBuf>) {
    let Some((name, rest)) = names.split_first() else {
        found.insert(dir.to_owned());
        return;
    };
    match name {
        Name::Plain(plain) => {
            let path = dir.join(OsStr::from_bytes(plain));
            if found.len() < GLOB_MATCHES_MAX && path.symlink_metadata().is_ok() {
                expand_from(&path, rest, found);
            }
        }
        Name::Wild(_) => {
            for path in name.children(dir) {
                if found.len() >= GLOB_MATCHES_MAX {
                    return;
                }
                expand_from(&path, rest, found);
            }
        }
    }
}

impl Name {
    fn new(text: &str) -> Name {
        if Glob::is_wild(text) { Name::Wild(text.as_bytes().to_vec()) } else { Name::Plain(text.as_bytes().to_vec()) }
    }

    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Name::Plain(plain) => plain == name,
            Name::Wild(wild) => {
                (name.first() != Some(&b'.') || wild.first() == Some(&b'.')) && wild_matches(wild, name)
            }
        }
    }

    /// Existing names in `dir` that match, sorted, at most [`GLOB_MATCHES_MAX`].
    pub(super) fn children(&self, dir: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut out: Vec<PathBuf> = entries
            .filter_map(|e| e.ok())
            .filter(|e| self.matches(e.file_name().as_bytes()))
            .map(|e| e.path())
            .take(GLOB_MATCHES_MAX)
            .collect();
        out.sort();
        out
    }
}

/// Classic matching with one point of return: linear for one `*`, at worst quadratic.
fn wild_matches(mut wild: &[u8], mut name: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = wild {
            wild = rest;
            retry = Some((rest, name));
            continue;
        }
        let step = match (name.split_first(), one(wild)) {
            (Some((byte, name_rest)), Some((set, wild_rest))) if set.has(*byte) => Some((wild_rest, name_rest)),
            (None, None) => return true,
            _ => None,
        };
        match (step, &mut retry) {
            (Some(next), _) => (wild, name) = next,
            (None, Some((after_star, from))) => match from.split_first() {
                Some((_, later)) => {
                    *from = later;
                    (wild, name) = (after_star, later);
                }
                None => return false,
            },
            (None, None) => return false,
        }
    }
}

/// What one element of a pattern matches.
enum One<'p> {
    Byte(u8),
    Any,
    Set { negated: bool, members: &'p [u8] },
}

impl One<'_> {
    fn has(&self, byte: u8) -> bool {
        match self {
            One::Byte(b) => *b == byte,
            One::Any => true,
            One::Set { negated, members } => {
                let mut rest = *members;
                let mut found = false;
                while let Some((first, more)) = rest.split_first() {
                    if let [b'-', last, after @ ..] = more {
                        found |= (*first..=*last).contains(&byte);
                        rest = after;
                    } else {
                        found |= *first == byte;
                        rest = more;
                    }
                }
                found != *negated
            }
        }
    }
}

/// The first element of a pattern (no `*`) and what follows; `None` at its end.
fn one(wild: &[u8]) -> Option<(One<'_>, &[u8])> {
    let (first, rest) = wild.split_first()?;
    match first {
        b'?' => Some((One::Any, rest)),
        b'[' => Some(set(rest).unwrap_or((One::Byte(b'['), rest))),
        byte => Some((One::Byte(*byte), rest)),
    }
}

/// A set behind its `[`; `None` if nothing closes it. A `]` that comes first is a member.
fn set(text: &[u8]) -> Option<(One<'_>, &[u8])> {
    let (negated, text) = match text {
        [b'!', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let close = text.iter().skip(1).position(|b| *b == b']')? + 1;
    let (members, rest) = text.split_at_checked(close)?;
    Some((One::Set { negated, members }, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wild: &str, name: &str, expected: bool) {
        assert_eq!(Name::new(wild).matches(name.as_bytes()), expected, "{wild} {name}");
    }

    #[test]
    fn names_match_as_in_pythons_glob() {
        for name in ["web-1.log", "web-.log", "web-a.b.log"] {
            check("web-*.log", name, true);
        }
        check("web-*.log", "web-1.log.1", false);
        check("*", ".hidden", false);
        check(".*", ".hidden", true);
        check("*a*b*c", "xxaxxbxxbc", true);
        check("*a*b*c", "xxaxxcxxb", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("[0-9]x", "7x", true);
        check("[!0-9]x", "7x", false);
        check("[]a]x", "]x", true);
        check("[a-]x", "-x", true);
        check("[ax", "[ax", true);
        check("**", "anything", true);
    }

    #[test]
    fn paths_match_name_by_name() {
        let glob = Glob::new("/srv/*/log/web-*.log").unwrap();
        assert!(glob.matches(Path::new("/srv/a/log/web-1.log")));
        assert!(!glob.matches(Path::new("/srv/a/b/log/web-1.log")));
        assert!(!glob.matches(Path::new("/srv/a/log")));
        assert!(Glob::new("relative/*").is_err());
        assert!(Glob::new("//").is_err());
    }
}
