//! What the words of `scan` do, without an original beside it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const LINE: &str = "2026-08-01 10:00:00 refused 192.0.2.7";

/// A folder of its own for one test.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("scan-{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn scan(folder: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["scan", "--json"])
        .args(words)
        .current_dir(folder)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .env("TZ", "UTC0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    std::str::from_utf8(&output.stdout).unwrap().lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// The rows without those that only say where a log begins.
#[track_caller]
fn check(folder: &Path, words: &[&str], input: &[u8], expected: &[Value]) {
    let output = scan(folder, words, input);
    let rows: Vec<Value> = rows(&output).into_iter().filter(|row| row.get("log").is_none()).collect();
    assert_eq!(rows, expected, "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn found(line: u64, time: i64) -> Value {
    json!({"line": line, "id": "192.0.2.7", "time": time, "regex": 0, "n": 1})
}

fn sum(lines: u64, matched: u64, ids: u64) -> Value {
    json!({"sum": {"lines": lines, "matched": matched, "ids": ids}})
}

const AT: i64 = 1_785_578_400;
const PATTERN: [&str; 2] = ["--failregex", "refused <HOST>$"];

#[test]
fn plain_packed_and_piped_logs_give_the_same() {
    let folder = folder("packed");
    let text = format!("{LINE}\nother\n{LINE}\n");
    std::fs::write(folder.join("a.log"), &text).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(text.as_bytes()).unwrap();
    std::fs::write(folder.join("b.gz"), gz.finish().unwrap()).unwrap();
    let expected = [found(1, AT), found(3, AT), sum(3, 2, 1)];
    check(&folder, &[&PATTERN[..], &["a.log"]].concat(), b"", &expected);
    check(&folder, &[&PATTERN[..], &["b.gz"]].concat(), b"", &expected);
    check(&folder, &[&PATTERN[..], &["-"]].concat(), text.as_bytes(), &expected);
    // Numbers of lines go on over several logs.
    check(
        &folder,
        &[&PATTERN[..], &["b.gz", "a.log"]].concat(),
        b"",
        &[found(1, AT), found(3, AT), found(4, AT), found(6, AT), sum(6, 4, 1)],
    );
    std::fs::write(folder.join("c.xz"), b"\xfd7zXZ\0").unwrap();
    let output = scan(&folder, &[&PATTERN[..], &["c.xz"]].concat(), b"");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("xz -dc c.xz | stockade scan -"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_last_line_without_its_end_is_taken_if_wanted() {
    let folder = folder("partial");
    check(&folder, &[&PATTERN[..], &["-"]].concat(), LINE.as_bytes(), &[sum(0, 0, 0)]);
    check(&folder, &[&PATTERN[..], &["--partial", "-"]].concat(), LINE.as_bytes(), &[found(1, AT), sum(1, 1, 1)]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn logs_of_two_bytes_per_character_are_read() {
    let folder = folder("utf16");
    // Its low byte alone would look like the end of a line.
    let text = format!("\u{a0a}\u{10a}\n{LINE}\r\nlast");
    let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let be: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    for (encoding, bytes) in [("utf-16", &le), ("UTF-16LE", &le), ("utf_16_be", &be)] {
        let words = [&PATTERN[..], &["--encoding", encoding]].concat();
        check(&folder, &[&words[..], &["-"]].concat(), bytes, &[found(2, AT), sum(2, 1, 1)]);
        check(&folder, &[&words[..], &["--partial", "-"]].concat(), bytes, &[found(2, AT), sum(3, 1, 1)]);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn lines_that_are_too_long_are_told_of_and_counted() {
    let folder = folder("long");
    let mut log = Vec::new();
    for bytes in [300_000, 3_000_000] {
        log.extend(vec![b'x'; bytes]);
        log.push(b'\n');
    }
    log.extend(format!("{LINE}\n").bytes());
    let output = scan(&folder, &[&PATTERN[..], &["-"]].concat(), &log);
    assert_eq!(rows(&output), [found(3, AT), sum(3, 1, 1)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("line 1: it has 300001 bytes") && said.contains("line 2:"), "{said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_journal_is_read_with_the_times_of_its_entries() {
    let folder = folder("journal");
    let program = folder.join("journalctl");
    let entry = |at: i64, text: &str| {
        format!(
            "__CURSOR=c{at}\\n__REALTIME_TIMESTAMP={at}000000\\n_HOSTNAME=h\\nSYSLOG_IDENTIFIER=x\\nMESSAGE={text}\\n\\n"
        )
    };
    let (one, two) = (entry(AT, "refused 192.0.2.7"), entry(AT + 5, "refused 192.0.2.7"));
    let script = format!("#!/bin/sh\necho \"$*\" >> arguments\ncase \"$*\" in *export*) printf '{one}{two}';; esac\n");
    std::fs::write(&program, script.replace(">> arguments", &format!(">> {}/arguments", folder.display()))).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let pattern = ["--failregex", "^\\s*h x: refused <HOST>$", "--journalmatch", "_COMM=x + UNIT=y"];
    check(
        &folder,
        &[&pattern[..], &["systemd-journal[journalflags=4]"]].concat(),
        b"",
        &[found(1, AT), found(2, AT + 5), sum(2, 2, 1)],
    );
    let arguments = std::fs::read_to_string(folder.join("arguments")).unwrap();
    let last = arguments.lines().last().unwrap();
    assert!(last.ends_with("--output=export _COMM=x + UNIT=y") && last.contains("--system"), "{last}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn wrong_words_end_with_2_and_what_is_missing_with_1() {
    let folder = folder("wrong");
    for (words, code, text) in [
        (&["--ban", "3,x", "-"][..], 2, "--ban takes three whole numbers"),
        (&["--usedns", "maybe", "-"], 2, "'maybe' is not one of yes"),
        (&["--encoding", "klingon", "-"], 2, "is not known"),
        (&["--tz", "Mars/Olympus", "-"], 2, "no time zone 'Mars/Olympus'"),
        (&["systemd-journal", "a.log"], 2, "one after the other"),
        (&["--jail", "shd", "-"], 1, "did you mean sshd?"),
        (&["absent.log"], 1, "absent.log can't be read"),
        (&["."], 1, "is a directory"),
        (&["--failregex", "x(", "-"], 1, "failregex 1: missing ), unterminated subpattern"),
    ] {
        let output = scan(&folder, words, b"");
        // With --json the error is JSON, too.
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(text) && said.lines().count() == 1, "{words:?}: {said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
