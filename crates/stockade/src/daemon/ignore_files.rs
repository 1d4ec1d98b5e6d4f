//! The files of `ignoreip = file:PATH`: what each names. One that can't be read any more goes on
//! as it was, through every reload, and whoever asks for the status is told.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stockade_core::judge::Event;
use stockade_core::{FailureId, Net};

use super::judge::{JudgeControl, JudgeInbox};
use super::watch::Changed;
use crate::log::Log;

/// The largest file that is read.
const BYTES_MAX: u64 = 16 << 20;

/// What one file names.
#[derive(Default)]
struct Known {
    /// As it was last read; `None` if it never could be.
    nets: Option<Arc<[Net]>>,
    /// Why it can't be read now; empty if it can.
    trouble: String,
    /// Was that said?
    told: bool,
}

/// All of them; copies are one and the same.
#[derive(Clone, Default)]
pub(crate) struct IgnoreFiles(Arc<Mutex<BTreeMap<Arc<str>, Known>>>);

impl IgnoreFiles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom a file names now, or named when it last could be read; nobody if it never could.
    pub(super) fn nets(&self, path: &Arc<str>) -> Arc<[Net]> {
        self.read(path);
        self.lock().get(path).and_then(|known| known.nets.clone()).unwrap_or_default()
    }

    /// What is done when one has changed: the judge goes by it, or the log says why not.
    pub(super) fn follow(&self, judge: Arc<JudgeInbox>, log: Log) -> Changed {
        let files = self.clone();
        Arc::new(move |path: &Arc<str>| {
            files.read(path);
            let mut all = files.lock();
            let known = all.entry(Arc::clone(path)).or_default();
            if let Some(nets) = known.nets.clone().filter(|_| known.trouble.is_empty()) {
                judge.control(JudgeControl::Event(Event::FileSet { path: Arc::clone(path), nets }));
                return true;
            }
            if !std::mem::replace(&mut known.told, true) {
                log.warning(known.complaint(path));
            }
            false
        })
    }

    /// Forgets all but these.
    pub(super) fn retain(&self, files: &[Arc<str>]) {
        self.lock().retain(|path, _| files.contains(path));
    }

    /// What the operator should know.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let all = self.lock();
        all.iter().filter(|(_, known)| !known.trouble.is_empty()).map(|(path, known)| known.complaint(path)).collect()
    }

    fn read(&self, path: &Arc<str>) {
        let read = read(Path::new(&**path));
        let mut all = self.lock();
        let known = all.entry(Arc::clone(path)).or_default();
        match read {
            Ok(nets) => *known = Known { nets: Some(nets.into()), ..Known::default() },
            Err(e) => {
                let trouble = e.to_string();
                known.told &= known.trouble == trouble;
                known.trouble = trouble;
            }
        }
    }
}

impl Known {
    fn complaint(&self, path: &str) -> String {
        let effect = match &self.nets {
            Some(_) => "its last content stays in force",
            None => "it names nobody until it can be read",
        };
        format!("ignoreip = file:{path}: {}; {effect}", self.trouble)
    }
}

/// Words between blanks and commas; `#` and `;` begin a comment. Other words are left out.
fn read(path: &Path) -> io::Result<Vec<Net>> {
    let file = crate::plain_file::open(path)?;
    if file.metadata()?.len() > BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB", BYTES_MAX >> 20)));
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split([' ', '\t', ',', '\u{feff}'])).filter(|word| !word.is_empty());
    Ok(words.filter_map(|word| FailureId::parse(word).net()).collect())
}
