//! File patterns as Python's `glob` reads them: `*`, `?` and `[..]` within one
//! part of the path, hidden files only where asked for, no `**`.

use std::fs;
use std::path::Path;

/// More files than this of one pattern are left out.
const MAX_FOUND: usize = 50_000;

/// All paths that match, in the order of the folders' entries. Links that lead
/// nowhere are included.
pub(crate) fn glob(pattern: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(pattern, false, &mut found);
    found
}

fn has_magic(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Does something stand there, be it a broken link?
fn is_there(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Python's `os.path.split`.
fn split(path: &str) -> (&str, &str) {
    let at = path.rfind('/').map_or(0, |at| at + 1);
    let (head, tail) = path.split_at(at);
    let trimmed = head.trim_end_matches('/');
    (if trimmed.is_empty() { head } else { trimmed }, tail)
}

fn collect(pattern: &str, only_folders: bool, found: &mut Vec<String>) {
    let (folder, name) = split(pattern);
    if !has_magic(pattern) {
        if name.is_empty() && Path::new(folder).is_dir() || !name.is_empty() && is_there(pattern) {
            found.push(pattern.to_owned());
        }
        return;
    }
    let mut folders = Vec::new();
    if !folder.is_empty() && folder != pattern && has_magic(folder) {
        collect(folder, true, &mut folders);
    } else {
        folders.push(folder.to_owned());
    }
    for folder in folders {
        let inside = |name: &str| crate::tree::join(&folder, name);
        if has_magic(name) {
            let entries = fs::read_dir(if folder.is_empty() { "." } else { &folder }).into_iter().flatten();
            for entry in entries.filter_map(Result::ok) {
                let Ok(entry_name) = entry.file_name().into_string() else { continue };
                if only_folders && !entry.path().is_dir() || entry_name.starts_with('.') && !name.starts_with('.') {
                    continue;
                }
                if matches(name, &entry_name) && found.len() < MAX_FOUND {
                    found.push(inside(&entry_name));
                }
            }
        } else if name.is_empty() {
            if Path::new(&folder).is_dir() {
                found.push(inside(""));
            }
        } else if is_there(&inside(name)) {
            found.push(inside(name));
        }
    }
}

/// Python's `fnmatch` for one name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on if the last `*` has to take one more character.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('?') => Some(p + 1),
            Some('[') => match class(&pattern, p, name.get(n).copied().unwrap_or('\0')) {
                Some((true, next)) => Some(next),
                Some((false, _)) => None,
                None => (name.get(n) == Some(&'[')).then_some(p + 1),
            },
            Some(c) => (name.get(n) == Some(c)).then_some(p + 1),
            None => None,
        };
        match (step, retry) {
            (Some(next), _) => {
                p = next;
                n += 1;
            }
            (None, Some((after, at))) => {
                retry = Some((after, at + 1));
                p = after;
                n = at + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

/// Reads `[..]` at `at`: does it hold `c`, and where does it end? `None` if it
/// is never closed and so stands for itself.
fn class(pattern: &[char], at: usize, c: char) -> Option<(bool, usize)> {
    let mut start = at + 1;
    let negated = pattern.get(start) == Some(&'!');
    if negated {
        start += 1;
    }
    let first = usize::from(pattern.get(start) == Some(&']'));
    let end = start + first + pattern.get(start + first..)?.iter().position(|c| *c == ']')?;
    let set = pattern.get(start..end)?;
    let mut inside = false;
    let mut n = 0;
    while let Some(low) = set.get(n) {
        match (set.get(n + 1), set.get(n + 2)) {
            (Some('-'), Some(high)) => {
                inside |= (*low..=*high).contains(&c);
                n += 3;
            }
            _ => {
                inside |= *low == c;
                n += 1;
            }
        }
    }
    Some((inside != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_python() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("a[!b-d]?", "aex", true),
            ("a[!b-d]?", "acx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
