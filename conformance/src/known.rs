//! The differences from the original that are known and wanted: `conformance/known-differences.json`.
//!
//! A comparison reads the list, notes each difference that it meets, and fails at its end when one that it should
//! have met did not come up: it is gone, so its entry must go. Tests of crates that cannot import this one include
//! this file by its path. `cargo xtask tidy` checks the list itself.
#![allow(unreachable_pub, reason = "part of this crate, and of tests that include it")]

use std::collections::BTreeMap;

use serde_json::Value;

/// One entry.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name, as `DIVERGENCE (id)` in the code and tests have it.
    pub id: String,
    /// Files, from the top of the repository: sources that hold the mark, and tests that meet it.
    pub places: Vec<String>,
    /// Versions of the original that differ; all if empty.
    pub versions: Vec<String>,
    /// Why we differ.
    pub reason: String,
}

/// The list, and how often each entry was met.
#[derive(Clone, Debug)]
pub struct Differences {
    known: Vec<Known>,
    /// How often each was met, by id.
    pub met: BTreeMap<String, usize>,
}

impl Differences {
    /// The whole list.
    ///
    /// # Panics
    /// When the file is not written as it should be.
    #[must_use]
    pub fn read() -> Self {
        let text = include_str!("../known-differences.json");
        let list: Vec<Value> = serde_json::from_str(text).expect("known-differences.json is a list");
        let texts = |value: &Value| -> Vec<String> {
            let items = value.as_array().into_iter().flatten();
            items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let known = list.iter().map(|entry| {
            let field = |name: &str| entry.get(name).unwrap_or(&Value::Null);
            let known = Known {
                id: text(field("id")),
                places: texts(field("where")),
                versions: texts(field("versions")),
                reason: text(field("reason")),
            };
            assert!(!known.id.is_empty() && !known.places.is_empty(), "{entry} lacks id or where");
            assert!(known.reason.len() > 20, "{entry} has no reason");
            assert!(text(field("date")).len() == 10, "{entry} has no date");
            known
        });
        Self { known: known.collect(), met: BTreeMap::new() }
    }

    /// An entry, if it holds for this version of the original.
    #[must_use]
    pub fn find(&self, id: &str, version: &str) -> Option<&Known> {
        self.known.iter().find(|k| k.id == id && (k.versions.is_empty() || k.versions.iter().any(|v| v == version)))
    }

    /// Notes that a difference came up; false if it is not listed for this version.
    pub fn note(&mut self, id: &str, version: &str) -> bool {
        let listed = self.find(id, version).is_some();
        if listed {
            *self.met.entry(id.to_owned()).or_default() += 1;
        }
        listed
    }

    /// The end of a test; `place` is its `file!()`.
    ///
    /// # Panics
    /// When a difference that this test should meet did not come up.
    pub fn finish(&self, place: &str) {
        let here = self.known.iter().filter(|known| known.places.iter().any(|p| p == place));
        let gone: Vec<&str> = here.map(|known| &*known.id).filter(|id| !self.met.contains_key(*id)).collect();
        assert!(gone.is_empty(), "listed in conformance/known-differences.json, but not met by {place}: {gone:?}");
    }
}
