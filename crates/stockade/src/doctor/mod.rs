//! Everything that commonly goes wrong, checked, each with what to do.
//!
//! A check looks at one thing and adds a [`Finding`] for each fault. Nothing is
//! changed, no name is looked up, and what can't be looked at for lack of
//! rights is named in one finding. A healthy machine has no other.

mod daemon;
mod forged;
mod logs;
mod machine;
mod nginx;
mod services;
mod tree;

use std::path::{Path, PathBuf};

use stockade_core::Timestamp;
use stockade_core::matcher::Calendar;
use stockade_enforce::Services;

use crate::daemon::ignore_files::IgnoreFiles;
use crate::daemon::stage::{self, Ground, Stage};
use crate::places::{Places, Tree};
use crate::settings::Settings;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// Somebody may come through who should not, or decisions may be lost.
    Problem,
    /// Worth a look.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// A word for programs, the same in each version.
    pub(crate) id: &'static str,
    /// How bad it is.
    pub(crate) grade: Grade,
    /// What was seen.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) fix: String,
}

/// What the checks add to.
#[derive(Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    /// What could not be looked at for lack of rights.
    unseen: Vec<String>,
}

impl Findings {
    fn problem(&mut self, id: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(id, Grade::Problem, what.into(), fix.into());
    }

    fn warning(&mut self, id: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.add(id, Grade::Warning, what.into(), fix.into());
    }

    /// Notes that only root can look at this; returns whether that is why.
    fn unseen(&mut self, patient: &Patient, what: impl Into<String>) -> bool {
        let what = what.into();
        if !patient.is_root && !self.unseen.contains(&what) {
            self.unseen.push(what);
        }
        !patient.is_root
    }

    /// All of them, the worst first.
    fn into_list(mut self) -> Vec<Finding> {
        if !self.unseen.is_empty() {
            let unseen = std::mem::take(&mut self.unseen).join(", ");
            self.warning("not-looked", format!("not looked at, as only root can: {unseen}"), "sudo stockade doctor");
        }
        self.found.sort_by_key(|finding| finding.grade);
        self.found
    }

    fn add(&mut self, id: &'static str, grade: Grade, what: String, fix: String) {
        let finding = Finding { id, grade, what, fix };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }
}

/// What all checks look at.
struct Patient {
    places: Places,
    /// The configuration as it stands on the disk; `None` if it can't be used.
    stage: Option<Stage>,
    now: Timestamp,
    /// Who is not root sees less.
    is_root: bool,
    /// No folder was named.
    by_itself: bool,
}

/// Looks at everything; the worst first.
///
/// # Errors
/// If it is not clear which configuration is meant.
pub(crate) fn examine(conf: Option<&Path>) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Findings::default();
    let tree = Tree::of(conf);
    let places = tree.places()?;
    let stage = tree::check(&tree, &mut findings);
    let is_root = rustix::process::geteuid().is_root();
    let patient = Patient { places, stage, now: crate::daemon::now(), is_root, by_itself: conf.is_none() };
    daemon::check(&patient, &mut findings);
    logs::check(&patient, &mut findings);
    services::check(&patient, &mut findings);
    nginx::check(&patient, &mut findings);
    machine::check(&patient, &mut findings);
    Ok(findings.into_list())
}

impl Patient {
    /// Names of the jails that are enabled and can run.
    fn jails(&self) -> impl Iterator<Item = &str> {
        self.stage.iter().flat_map(|stage| &stage.jails).map(|jail| jail.spec.name.as_str())
    }
}

/// The tree's settings as the daemon would run them, with nothing enforced.
///
/// # Errors
/// Why the daemon would refuse them.
pub(crate) fn staged(settings: Settings) -> Result<Stage, String> {
    let ground = Ground {
        calendar: Calendar::new(jiff::tz::TimeZone::system(), jiff::Zoned::now().year()),
        services: Services::load(),
        dry_run: true,
        journal: stockade_config::journal_is_there(),
        saves: true,
        ignore_files: IgnoreFiles::default(),
    };
    let mut stage = stage::stage(settings, &ground, 1, &|_| None).strictly()?;
    stage.needs_logs();
    stage.strictly()
}

/// A small text file; empty if it can't be read.
fn read_small(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return String::new() };
    // What is longer is cut: nothing looked for stands behind a mebibyte.
    if file.take(1 << 20).read_to_end(&mut text).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The files of a folder, sorted; none if it can't be read.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files
}
