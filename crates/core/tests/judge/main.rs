//! The judge under virtual time.
//!
//! `scenarios/*.txt` say what an operator sees; `scenario.rs` runs them. The
//! other modules hold what is better said in code: bounds, portions, parking.

mod bounds;
mod scenario;
mod words;

use std::path::Path;

/// Every file in `tests/scenarios`, and how many scenarios it holds.
#[test]
fn scenarios_come_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    files.sort();
    let (mut run, mut failed) = (0, Vec::new());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = include_text(&path);
        for scenario in scenario::split(&text) {
            run += 1;
            if let Err(error) = scenario::run(&scenario) {
                failed.push(format!("{name}:{}: {}\n    in \"{}\"", error.line, error.what, scenario.title));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {run} scenarios failed:\n{}", failed.len(), failed.join("\n"));
    assert!(run >= 100, "only {run} scenarios were found");
    println!("{run} scenarios");
}

#[expect(clippy::disallowed_methods, reason = "our own small test files")]
fn include_text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a scenario file is text")
}
