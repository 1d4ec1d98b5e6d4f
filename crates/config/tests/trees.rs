//! Small trees, each a file in `trees/`: what it compiles to, what is found in
//! it, and how a start and a test end. The original must end the same way and
//! give the same commands. `golden/mod.rs` says how such a file looks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

#[path = "original/compare.rs"]
mod compare;
mod golden;
mod original;

use std::fmt::Write as _;
use std::fs;

use compare::Differences;
use golden::{cases, ends, run};
use serde_json::json;
use stockade_config::{LoadOptions, MissingLogs, TreeSource, load};
use stockade_wire::value::command_repr;

#[test]
fn small_trees_give_what_is_written_below_them() {
    let update = std::env::var_os("STOCKADE_UPDATE").is_some();
    let cases = cases();
    assert!(cases.len() > 40, "only {} trees", cases.len());
    for mut case in cases {
        let folder = case.unpack("ours");
        let loaded = run(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let place = folder.to_str().unwrap();
        let mut stream = String::new();
        for command in loaded.original() {
            writeln!(stream, "{}", command_repr(command).replace(place, "TREE")).unwrap();
        }
        let findings = loaded.diagnostics.iter().map(|d| d.to_string().replace(place, "TREE") + "\n");
        let found = [("stream", stream), ("findings", findings.collect()), ("ends", ends(&loaded))];
        if update {
            case.rewrite(&found);
            continue;
        }
        for (name, text) in found {
            assert_eq!(text, case.part(name), "{name} of {}", case.name);
        }
    }
}

#[test]
fn the_original_ends_the_same_way() {
    let mut differences = Differences::read();
    let originals = original::all("the_original_ends_the_same_way");
    let complete = originals.len() == 2;
    let mut failed: Vec<String> = Vec::new();
    for mut original in originals {
        // What takes the original for ever: it has no bounds.
        for case in cases().into_iter().filter(|case| case.name != "explosion") {
            let folder = case.unpack(&format!("theirs-{}", original.version));
            let theirs = original.load(&folder);
            let ours = run(&folder);
            let wrong = differences.compare(&theirs, &ours, &original.version.clone());
            if !wrong.is_empty() {
                failed.push(format!("{} {}: {}", original.version, case.name, wrong.join("\n")));
            }
            // A start, which wants the log files to be there.
            let theirs = original.ask(&json!({"op": "load", "dir": folder, "no_files": false}));
            let wrong = differences.compare(&theirs, &ours, &original.version.clone());
            if !wrong.is_empty() {
                failed.push(format!("{} {} at start: {}", original.version, case.name, wrong.join("\n")));
            }
            let refuse = LoadOptions { missing_logs: MissingLogs::Refuse, ..LoadOptions::default() };
            let ours = load(&TreeSource::Disk(folder.clone()), &refuse);
            if theirs["error"].is_string() && !ours.refused {
                let known = wrong.is_empty() && theirs["error"].as_str().unwrap().contains("Have not found");
                if !known {
                    failed.push(format!(
                        "{} {}: refused by the original only: {}",
                        original.version, case.name, theirs["error"]
                    ));
                }
            }
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    if complete {
        differences.finish(file!());
    }
}
