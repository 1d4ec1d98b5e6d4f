//! The judge under virtual time.
//!
//! `scenarios/*.txt` say what an operator sees; `scenario.rs` runs them. The
//! other modules hold what is better said in code: bounds, a model kernel,
//! figures. Longer forms:
//!
//! | variable | what |
//! |---|---|
//! | `STOCKADE_LONG=n` | sizes of `bounds` and `speed` (50 is a million), events of `model` |
//! | `STOCKADE_SCENARIOS=FOLDER` | scenarios that `reference.py` wrote from an installed original |
//! | `STOCKADE_EXPRESSIONS=FILE` | what `expressions.py` wrote from Python |

mod bounds;
mod expressions;
mod model;
mod scenario;
mod speed;
mod table;
mod words;

use std::path::Path;

/// Every file in `tests/scenarios`.
#[test]
fn scenarios_come_out_as_written() {
    let run = run_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios"));
    assert!(run >= 200, "only {run} scenarios were found");
    println!("{run} scenarios");
}

/// Scenarios that `reference.py` wrote from the original, if a folder of them is
/// named by `STOCKADE_SCENARIOS`.
#[test]
fn random_scenarios_come_out_as_in_the_original() {
    match std::env::var_os("STOCKADE_SCENARIOS") {
        Some(folder) => println!("{} scenarios of the original", run_folder(Path::new(&folder))),
        None => println!("skipped: STOCKADE_SCENARIOS names no folder"),
    }
}

/// Runs all scenarios of a folder and returns their number.
#[track_caller]
fn run_folder(folder: &Path) -> usize {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("its entries too").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    files.sort();
    let (mut run, mut failed) = (0, Vec::new());
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = include_text(&path);
        for scenario in scenario::split(&text) {
            run += 1;
            if let Err(error) = scenario::run(&scenario) {
                failed.push(format!("{name}:{}: {}\n    in \"{}\"", error.line, error.what, scenario.title));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {run} scenarios failed:\n{}", failed.len(), failed.join("\n"));
    run
}

#[expect(clippy::disallowed_methods, reason = "our own small test files")]
fn include_text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a scenario file is text")
}
