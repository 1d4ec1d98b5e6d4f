//! The small trees in `trees/`, each one file.
//!
//! A file has parts headed `==> NAME`: `about`, the files of the tree, then
//! `stream`, `findings`, `ends` and `theirs`. `about` is `GROUP: TITLE` and puts
//! the tree on the page `docs/errors.md`. `STOCKADE_UPDATE=1` writes the last
//! four anew; read the difference before you commit it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use stockade_config::{CompileCheck, LoadOptions, Loaded, TreeSource, load};
use stockade_core::matcher::Calendar;

pub(crate) struct Case {
    pub(crate) name: String,
    path: PathBuf,
    /// Parts in order: heading and text.
    parts: Vec<(String, String)>,
}

/// Parts that are no file of the tree.
const RESULTS: [&str; 5] = ["about", "stream", "findings", "ends", "theirs"];

pub(crate) fn read(path: &Path) -> String {
    std::io::read_to_string(fs::File::open(path).unwrap()).unwrap()
}

pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let case = |path: PathBuf| {
        let mut parts: Vec<(String, String)> = Vec::new();
        for line in read(&path).split_inclusive('\n') {
            match line.strip_prefix("==> ") {
                Some(head) => parts.push((head.trim_end().to_owned(), String::new())),
                None => {
                    if let Some((_, text)) = parts.last_mut() {
                        text.push_str(line);
                    }
                }
            }
        }
        Case { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), path, parts }
    };
    paths.into_iter().map(case).collect()
}

impl Case {
    /// Writes the files of the tree into a folder of their own.
    pub(crate) fn unpack(&self, purpose: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stockade-tree-{}-{purpose}-{}", std::process::id(), self.name));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in self.parts.iter().filter(|(name, _)| !RESULTS.contains(&name.as_str())) {
            let path = folder.join(name);
            if let Some(target) = name.strip_suffix('/') {
                fs::create_dir_all(folder.join(target)).unwrap();
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = text.replace("TREE", folder.to_str().unwrap()).replace("\\xff", "\u{fffd}");
            // The one bad byte that a text file cannot hold.
            let bytes: Vec<u8> =
                text.replace('\u{fffd}', "\u{1}").bytes().map(|b| if b == 1 { 0xff } else { b }).collect();
            fs::write(path, bytes).unwrap();
        }
        if !self.parts.iter().any(|(name, _)| name.starts_with("fail2ban.")) && self.name != "no-fail2ban-conf" {
            fs::write(folder.join("fail2ban.conf"), "[Definition]\n").unwrap();
        }
        folder
    }

    pub(crate) fn part(&self, name: &str) -> &str {
        self.parts.iter().find(|(n, _)| n == name).map_or("", |(_, text)| text)
    }

    /// The files of the tree, without the folders.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let parts = self.parts.iter().filter(|(name, _)| !RESULTS.contains(&name.as_str()) && !name.ends_with('/'));
        parts.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Puts new texts into parts, those that were empty at the end.
    pub(crate) fn rewrite(&mut self, new: &[(&str, String)]) {
        for (name, text) in new {
            match self.parts.iter_mut().find(|(n, _)| n == name) {
                Some((_, old)) => old.clone_from(text),
                None => self.parts.push(((*name).to_owned(), text.clone())),
            }
        }
        let text: String = self.parts.iter().map(|(name, text)| format!("==> {name}\n{text}")).collect();
        fs::write(&self.path, text).unwrap();
    }
}

pub(crate) fn run(folder: &Path) -> Loaded {
    let check = CompileCheck::new(Calendar::new(jiff::tz::TimeZone::UTC, 2026));
    let options = LoadOptions { checker: Some(&check), ..LoadOptions::default() };
    load(&TreeSource::Disk(folder.to_owned()), &options)
}

/// Exit codes of a start and of `-t`.
pub(crate) fn ends(loaded: &Loaded) -> String {
    let code = |good: bool| if good { 0 } else { 255 };
    format!("start {} test {}\n", code(loaded.can_start()), code(loaded.passes_test()))
}
