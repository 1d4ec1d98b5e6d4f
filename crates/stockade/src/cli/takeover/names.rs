//! The programs' names: `fail2ban-client` and its like become links to this program, and what lay there is kept.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The names, and where they are looked for.
const NAMES: [&str; 3] = ["fail2ban-client", "fail2ban-server", "fail2ban-regex"];
const FOLDERS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];
/// What the kept files end in.
const KEPT: &str = ".original";

/// One name that is or will be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) path: PathBuf,
    kept: PathBuf,
}

/// What has such a name on this machine and is not ours yet.
pub(super) fn theirs() -> Vec<Name> {
    found(|path, kept| path.exists() && !kept.exists() && !is_ours(path))
}

/// What is ours and has an original to give the name back to.
pub(super) fn ours() -> Vec<Name> {
    found(|_, kept| kept.exists())
}

fn found(wanted: impl Fn(&Path, &Path) -> bool) -> Vec<Name> {
    let mut all: Vec<Name> = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        // /bin may be a link to /usr/bin.
        let Ok(real) = std::fs::canonicalize(folder) else { continue };
        if !folders.contains(&real) {
            folders.push(real);
        }
    }
    for path in folders.iter().flat_map(|folder| NAMES.iter().map(move |name| folder.join(name))) {
        let mut kept = path.clone().into_os_string();
        kept.push(KEPT);
        let kept = PathBuf::from(kept);
        if wanted(&path, &kept) {
            all.push(Name { path, kept });
        }
    }
    all
}

fn is_ours(path: &Path) -> bool {
    let own = std::env::current_exe().ok();
    std::fs::canonicalize(path).ok().is_some_and(|real| Some(&real) == own.as_ref())
}

impl Name {
    /// Can it be changed? Nothing is left of the trial.
    pub(super) fn try_out(&self) -> Result<()> {
        let trial = self.beside(".trial");
        drop(std::fs::remove_file(&trial));
        symlink(&self.path, &trial)
            .and_then(|()| std::fs::remove_file(&trial))
            .with_context(|| format!("the name {} can't be changed", self.path.display()))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut beside = self.path.clone().into_os_string();
        beside.push(ending);
        PathBuf::from(beside)
    }

    /// The file is kept beside, and the name leads to this program.
    pub(super) fn take(&self) -> Result<()> {
        let own = std::env::current_exe().context("where this program lies")?;
        let what = || format!("the name {}", self.path.display());
        // Never a moment without a program of that name: the link is made beside and then moved over it.
        std::fs::hard_link(&self.path, &self.kept)
            .or_else(|error| match error.kind() {
                ErrorKind::AlreadyExists => Ok(()),
                _ => std::fs::copy(&self.path, &self.kept).map(drop),
            })
            .with_context(what)?;
        let beside = self.beside(".new");
        drop(std::fs::remove_file(&beside));
        symlink(own, &beside).with_context(what)?;
        std::fs::rename(&beside, &self.path).with_context(what)
    }

    /// The name leads to its own program again, if it was taken.
    pub(super) fn give_back(&self) -> Result<()> {
        match std::fs::rename(&self.kept, &self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.path.exists() => Ok(()),
            result => result.with_context(|| format!("the name {}", self.path.display())),
        }
    }
}
