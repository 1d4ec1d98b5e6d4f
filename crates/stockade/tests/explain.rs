//! `stockade regex`: what it says of lines and patterns.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails loudly")]

use std::process::{Command, Output};

use serde_json::{Value, json};

fn regex(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stockade")).arg("regex").args(words).env("TZ", "UTC0").output().unwrap()
}

fn rows(words: &[&str]) -> Vec<Value> {
    let output = regex(&[&["--json"], words].concat());
    std::str::from_utf8(&output.stdout).unwrap().lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

const HIT: &str = "2026-11-22 14:44:10 app: login of bob from 192.0.2.9 failed";
const NEAR: &str = "2026-11-22 14:44:11 app: login of eve from 192.0.2.8 Failed";
const PATTERN: &str = r"^\s*app: login of <F-USER>\S+</F-USER> from <HOST> failed$";

/// The value at a path such as `near/stopped` of the only row that has its first key.
#[track_caller]
fn only(rows: &[Value], path: &str) -> Value {
    let key = path.split('/').next().unwrap();
    let mut found = rows.iter().filter(|row| row.get(key).is_some());
    let row = found.next().unwrap_or_else(|| panic!("no row has {key}: {rows:#?}"));
    row.pointer(&format!("/{path}")).cloned().unwrap_or_else(|| panic!("{path} is not in {row}"))
}

#[test]
fn each_part_of_a_line_is_named() {
    let rows = rows(&[PATTERN, HIT]);
    assert_eq!(
        only(&rows, "marks"),
        json!([
            {"name": "date", "from": 0, "to": 19},
            {"name": "user", "from": 34, "to": 37},
            {"name": "ip4", "from": 43, "to": 52},
        ])
    );
    assert_eq!((only(&rows, "id"), only(&rows, "time")), (json!("192.0.2.9"), json!(1_795_358_650)));
    assert!(rows.iter().all(|row| row.get("lint").is_none()), "{rows:#?}");
}

#[test]
fn a_near_miss_says_where_it_stopped() {
    let rows = rows(&[PATTERN, NEAR]);
    let near = only(&rows, "near");
    assert_eq!((near.get("stopped"), near.get("matched")), (Some(&json!("failed")), Some(&json!([19, 53]))));
    assert_eq!(regex(&[PATTERN, NEAR]).status.code(), Some(1));
}

#[test]
fn lines_that_miss_in_the_same_way_are_told_of_once() {
    let others =
        ["2026-11-22 14:44:12 app: login of mallory from 192.0.2.7 Failed", "2026-11-22 14:44:13 app: basket 7"];
    let all: Vec<Value> = rows(&[PATTERN, NEAR, others[1], others[0], "2026-11-22 14:44:14 app: basket 12"]);
    let missed: Vec<_> = all.iter().filter(|row| row.get("missed").is_some()).collect();
    let told = |row: &Value| (row["missed"].clone(), row["alike"].clone());
    assert_eq!(missed.iter().map(|row| told(row)).collect::<Vec<_>>(), [(json!(1), json!(2)), (json!(2), json!(2))]);
}

#[test]
fn risky_patterns_are_told_of() {
    let lints = |pattern: &str, line: &str| -> Vec<String> {
        let all = rows(&[pattern, line]);
        all.iter().filter_map(|row| Some(row.get("lint")?.as_str()?.to_owned())).collect()
    };
    assert_eq!(lints("from <HOST> failed", HIT), ["unanchored"]);
    assert_eq!(lints("^.* from <HOST> failed", HIT), ["greedy"]);
    // Nothing that is said before the address can name another when fixed words end the line.
    assert_eq!(lints(r"^.* from <HOST> failed(?: \[\w+\])?$", HIT), [""; 0]);
    assert_eq!(lints("^.* from <HOST> failed.*$", HIT), ["greedy"]);
    assert_eq!(lints("^.*? from <HOST>", HIT), ["open end"]);
    assert_eq!(lints(PATTERN, "no date"), ["undated"]);
    let opened = "2026-11-22 14:44:10 app: session opened for bob from 192.0.2.9";
    assert_eq!(lints(r"^\s*app: (?:login failed|session \w+) for \S+ from <HOST>$", opened), ["innocent"]);
    let text = only(&rows(&[r"^\s*app: (?:login failed|session \w+) for \S+ from <HOST>$", opened]), "lint");
    assert_eq!(text, json!("innocent"));
}

#[test]
fn people_get_plain_text_when_nobody_looks() {
    let output = regex(&[PATTERN, HIT, NEAR]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in ["line 1: failregex 1 finds 192.0.2.9", "^^^ user", "stops at failed", "2 lines, 1 matched"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    let output = regex(&["nowhere-filter", HIT]);
    assert_eq!(output.status.code(), Some(1));
}
