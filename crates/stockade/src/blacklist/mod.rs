//! `blacklist = PATH`: a jail's present bans as a plain list that we write, and
//! `PATH.keep`, a plain list that the operator writes: who stands there is
//! banned for good.
//!
//! Here is what the two files look like and how they are read and written; who
//! does that when is `daemon::blacklists`.

mod keep;
mod list;

use std::path::{Path, PathBuf};

pub(crate) use keep::{Keep, Protected, read};
pub(crate) use list::{Standing, content, write};

/// Where a jail's two lists are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lists {
    /// Written by us.
    pub(crate) list: PathBuf,
    /// Written by the operator.
    pub(crate) keep: PathBuf,
}

impl Lists {
    /// What the option says for this jail; `None` if it says nothing.
    ///
    /// # Errors
    /// If the value can't be a file's path.
    pub(crate) fn of(option: &str, jail: &str) -> Option<Result<Lists, String>> {
        let option = option.trim();
        if option.is_empty() {
            return None;
        }
        if option.contains("<name>") && (jail.contains('/') || jail == "." || jail == "..") {
            return Some(Err(format!("blacklist = {option}: the jail's name can't be part of a path")));
        }
        let list = PathBuf::from(option.replace("<name>", jail));
        if !list.is_absolute() || list.file_name().is_none() || option.ends_with('/') {
            let why = "is no file's path from the root; write for example /var/lib/stockade/<name>.blacklist";
            return Some(Err(format!("blacklist = {option} {why}")));
        }
        Some(Ok(Lists { keep: beside(&list, ".keep"), list }))
    }

    /// Is one of these lists a file of the other ones, or are they the same?
    pub(crate) fn touch(&self, other: &Lists) -> bool {
        let (one, two) = (place(&self.list), place(&other.list));
        one == two || belongs_to(&one, &two) || belongs_to(&two, &one)
    }
}

/// Where a file is, however its folder was written.
fn place(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

/// Is it a file beside that list which we write, move or read?
fn belongs_to(file: &Path, list: &Path) -> bool {
    let Some(rest) = file.as_os_str().as_encoded_bytes().strip_prefix(list.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    matches!(rest, b".keep" | b".new" | b".old") || rest.starts_with(b".old.")
}

/// The path with something behind its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_names_two_files_for_each_jail() {
        let lists = Lists::of("/x/ip.<name>.blacklist", "sshd").unwrap().unwrap();
        assert_eq!(lists.list, Path::new("/x/ip.sshd.blacklist"));
        assert_eq!(lists.keep, Path::new("/x/ip.sshd.blacklist.keep"));
        assert_eq!(Lists::of(" ", "sshd"), None);
        for (option, jail) in [("x", "sshd"), ("/x/", "sshd"), ("/", "sshd"), ("/x/<name>", "../etc/passwd")] {
            assert!(Lists::of(option, jail).unwrap().is_err(), "{option} {jail}");
        }
    }

    #[test]
    fn lists_of_two_jails_are_apart() {
        let list = |path: &str| Lists::of(path, "sshd").unwrap().unwrap();
        for (other, touch) in [
            ("/tmp/l", true),
            ("/tmp/../tmp//l", true),
            ("/tmp/l.keep", true),
            ("/tmp/l.new", true),
            ("/tmp/l.old", true),
            ("/tmp/l.old.17", true),
            ("/tmp/l.older", false),
            ("/tmp/l2", false),
            ("/tmp/l.keep.keep", false),
            ("/l", false),
        ] {
            assert_eq!(list("/tmp/l").touch(&list(other)), touch, "{other}");
            assert_eq!(list(other).touch(&list("/tmp/l")), touch, "{other}");
        }
    }
}
