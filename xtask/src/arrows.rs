//! Which crate may import which: the drawing of the house, checked.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::steps;

/// Each crate with the crates of ours that it may import, and, where it has to stay pure, with all others.
///
/// ARCHITECTURE.md shows the same table. Development dependencies are free: tests may look from outside.
const ARROWS: [Arrows; 8] = [
    Arrows {
        from: "stockade-pattern",
        ours: &[],
        others: Some(&["aho-corasick", "memchr", "regex-automata", "regex-syntax"]),
    },
    Arrows {
        from: "stockade-core",
        ours: &["stockade-pattern"],
        others: Some(&["aho-corasick", "hashbrown", "jiff", "memchr", "regex-automata", "regex-syntax"]),
    },
    Arrows { from: "stockade-wire", ours: &["stockade-core"], others: Some(&["serde_json"]) },
    Arrows { from: "stockade-config", ours: &["stockade-core", "stockade-wire"], others: None },
    Arrows { from: "stockade-source", ours: &["stockade-core"], others: None },
    Arrows { from: "stockade-store", ours: &["stockade-core"], others: None },
    Arrows { from: "stockade-enforce", ours: &["stockade-core"], others: None },
    Arrows {
        from: "stockade",
        ours: &[
            "stockade-pattern",
            "stockade-core",
            "stockade-wire",
            "stockade-config",
            "stockade-source",
            "stockade-store",
            "stockade-enforce",
        ],
        others: None,
    },
];

/// What one crate may import.
struct Arrows {
    from: &'static str,
    /// Crates of ours.
    ours: &'static [&'static str],
    /// All other crates, or none where they are free.
    others: Option<&'static [&'static str]>,
}

/// Checks every crate under `crates/` against the table.
///
/// # Errors
/// Names the crate and the import that the table does not have, or a crate that is missing from it.
pub(crate) fn check() -> Result<()> {
    let text = steps::output(&mut steps::cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&text).context("the answer of cargo metadata")?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("packages of cargo metadata")?;
    let mut wrong = Vec::new();
    for package in packages {
        let name = text_of(package, "name")?;
        if !text_of(package, "manifest_path")?.contains("/crates/") {
            continue;
        }
        let imports = package.get("dependencies").and_then(Value::as_array).context("dependencies of a package")?;
        let imports = imports
            .iter()
            .filter(|import| import.get("kind").is_none_or(Value::is_null))
            .map(|import| text_of(import, "name"))
            .collect::<Result<Vec<&str>>>()?;
        wrong.extend(against_the_arrows(name, &imports));
    }
    ensure!(wrong.is_empty(), "imports that the house does not have:\n  {}", wrong.join("\n  "));
    Ok(())
}

fn text_of<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("{key} in cargo metadata"))
}

/// What is wrong with the imports of one crate.
fn against_the_arrows(name: &str, imports: &[&str]) -> Vec<String> {
    let Some(arrows) = ARROWS.iter().find(|arrows| arrows.from == name) else {
        return vec![format!("{name} is not in the table of xtask/src/arrows.rs")];
    };
    imports
        .iter()
        .filter(|import| {
            let is_ours = import.starts_with("stockade");
            let allowed = if is_ours { Some(arrows.ours) } else { arrows.others };
            allowed.is_some_and(|allowed| !allowed.contains(*import))
        })
        .map(|import| format!("{name} imports {import}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_against_the_drawing_is_found() {
        assert_eq!(against_the_arrows("stockade-core", &["stockade-store"]), ["stockade-core imports stockade-store"]);
        assert_eq!(against_the_arrows("stockade-core", &["serde"]), ["stockade-core imports serde"]);
        assert!(against_the_arrows("stockade-core", &["stockade-pattern", "jiff"]).is_empty());
        assert_eq!(against_the_arrows("stockade-new", &[]).len(), 1);
    }

    #[test]
    fn the_crates_keep_to_the_drawing() {
        check().unwrap();
    }
}
