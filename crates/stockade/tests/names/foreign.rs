//! The original's own tests of its client and server, against ours, as far as
//! their server need not be a thread of the test itself.

use std::collections::BTreeMap;

use crate::original::all;
use crate::ours::Ours;

/// Those that start servers as processes, or none.
const TESTS: [&str; 12] = [
    "testConsistency",
    "testClientUsage",
    "testClientDump",
    "testClientStartBackgroundInside",
    "testClientStartBackgroundCall",
    "testClientFailStart",
    "testClientFailCommands",
    "testServerUsage",
    "testServerStartBackground",
    "testServerFailStart",
    "testServerTestFailStart",
    "testKillAfterStart",
];

/// Those that ask for the version that they belong to, or for words of the
/// original's reader (which files it reads, which filter it misses) on standard
/// error, where ours says the same in other words.
const OTHER_WORDS: [&str; 4] =
    ["testClientUsage", "testClientDump", "testClientStartBackgroundCall", "testServerTestFailStart"];

#[test]
fn the_originals_own_tests_pass_with_our_server_and_client() {
    for original in all("the_originals_own_tests_pass_with_our_server_and_client") {
        let ours = Ours::new();
        // What the first process of this machine does not bury lives on for this test.
        let outlives = original.own_tests("/usr/bin".as_ref(), "theirs", &["testKillAfterStart"]);
        for whose in ["theirs", "ours"] {
            let said = original.own_tests(ours.folder(), whose, &TESTS);
            let said: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once(' ')).collect();
            for test in TESTS {
                let result = said.get(test).copied().unwrap_or("no answer");
                println!("{} {whose} {test} {result}", original.version);
                let other_words = whose == "ours" && OTHER_WORDS.contains(&test);
                let never_passes = test == "testKillAfterStart" && !outlives.trim_end().ends_with("ok");
                let is_good = |result: &str| {
                    result == "ok"
                        || never_passes
                        || (other_words
                            && (result.contains("was found in the log") || result.contains("was not found in the log")))
                };
                assert!(is_good(result), "{} {whose} {test}: {result}", original.version);
            }
        }
    }
}
