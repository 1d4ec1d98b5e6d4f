//! An installed fail2ban to compare with, in one long-lived process.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use stockade_original::{Driver, Installed};

pub(crate) struct Original {
    pub(crate) version: String,
    /// Which Python runs it, such as `3.11`.
    pub(crate) python: String,
    pub(crate) installed: Installed,
    driver: Driver,
}

/// Both versions, or those that are there.
pub(crate) fn all(test: &str) -> Vec<Original> {
    stockade_original::both(test).into_iter().map(Original::start).collect()
}

/// The newer of the two.
pub(crate) fn newest(test: &str) -> Option<Original> {
    stockade_original::newest(test).map(Original::start)
}

impl Original {
    fn start(installed: Installed) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/original/driver.py");
        let mut driver = Driver::start(installed.python(script));
        let hello = driver.hear().unwrap();
        let version = hello["version"].as_str().unwrap().to_owned();
        let python = hello["python"].as_str().unwrap().to_owned();
        Original { version, python, installed, driver }
    }

    pub(crate) fn ask(&mut self, request: &Json) -> Json {
        self.driver.ask(request)
    }

    /// What its reader makes of a tree, as `-d` does.
    pub(crate) fn load(&mut self, folder: &Path) -> Json {
        self.ask(&json!({"op": "load", "dir": folder}))
    }

    /// Its own tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.installed.tree()
    }
}
