//! Logs through both, row by row.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use stockade_original::{Driver, Installed};

use crate::generate::{Random, date, mutate};

/// Local zones, as both sides read them.
const ZONES: &[&str] = &["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "NPT-5:45"];
/// The present of a scan: all over the year, and near its turn.
const NOWS: &[i64] = &[1_755_000_000, 1_767_225_500, 1_767_139_300, 1_774_745_900, 1_772_300_000, 1_785_542_400];
const MODES: &[&str] = &["normal", "ddos", "extra", "aggressive"];
/// Filters that keep sessions or several lines.
const OFTEN: &[&str] = &["sshd", "mongodb-auth", "exim", "slapd", "postfix", "dovecot"];
const PATTERNS: &[&str] = &["{^LN-BEG}", "%Y-%m-%d %H:%M:%S\n%b %d %H:%M:%S", "{DATE}", "{NONE}", "EPOCH\n{^LN-BEG}"];

/// What was compared.
#[derive(Default)]
struct Totals {
    rows: usize,
    bans: usize,
    already: usize,
    lines: u64,
    cut: usize,
    refused: usize,
}

/// Compares so many generated logs.
pub(crate) fn run(installed: &Installed, logs: u64, seed: u64) {
    let mut original =
        Driver::start(installed.python(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scan/original.py")));
    let names: Vec<String> = original
        .ask(&json!({"list": "filters"}))
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap().to_owned())
        .collect();
    let samples = installed.logs();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("scan-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut totals = Totals::default();
    for n in 0..logs {
        let mut random = Random::new(seed.wrapping_mul(9_000_011).wrapping_add(n));
        let name = if random.one_in(3) { *random.pick(OFTEN) } else { random.pick(&names).as_str() };
        let Ok(text) = std::fs::read_to_string(samples.join(name)) else { continue };
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).collect();
        if lines.is_empty() {
            continue;
        }
        one(&mut original, installed, &folder, &mut random, name, &lines, &mut totals, &format!("log {n} of {name}"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let Totals { rows, bans, already, lines, cut, refused } = totals;
    println!(
        "{logs} logs, {lines} lines, {rows} failures, {bans} bans, {already} of them already banned; \
         {cut} logs compared up to a line that one of both gives up or an hour that exists twice, {refused} filters refused by both"
    );
    assert!(rows as u64 * 20 > lines, "too few failures to mean anything");
    assert!(bans > 0 && already > 0, "no bans");
}

/// One log, or several of one jail.
#[expect(clippy::too_many_arguments, reason = "the state of a run, passed once")]
fn one(
    original: &mut Driver,
    installed: &Installed,
    folder: &Path,
    random: &mut Random,
    name: &str,
    samples: &[&str],
    totals: &mut Totals,
    what: &str,
) {
    let (zone, now) = (*random.pick(ZONES), *random.pick(NOWS));
    let journal = random.one_in(8);
    let partial = random.one_in(4);
    let mut paths = Vec::new();
    for part in 0..=random.below(3) {
        let path = folder.join(format!("part{part}"));
        std::fs::write(&path, log(random, samples, now, zone, journal)).unwrap();
        paths.push(path);
    }
    let mut question = json!({
        "zone": zone, "now": now, "logs": paths, "journal": journal, "partial": partial,
        "all": random.one_in(4), "groups": random.one_in(2),
        "usedns": *random.pick(&["no", "no", "raw"]),
    });
    let mut words: Vec<String> = ["scan", "--json", "-c"].map(str::to_owned).into();
    words.push(installed.tree().to_str().unwrap().to_owned());
    let word = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    if random.one_in(4) && name != "zzz" && has_jail(installed, name) {
        question["jail"] = name.into();
        words.extend(word(&["--jail", name]));
    } else {
        let call = if random.one_in(2) { format!("{name}[mode={}]", random.pick(MODES)) } else { name.to_owned() };
        words.extend(word(&["--filter", &call]));
        question["filter"] = call.into();
    }
    if random.one_in(5) {
        let ignore = *random.pick(&["192\\.0\\.2", "root", "from <HOST> port \\d*7", "a.*e.*i$"]);
        question["ignoreregex"] = json!([ignore]);
        words.extend(word(&["--ignoreregex", ignore]));
    }
    if random.one_in(6) && !journal {
        let pattern = *random.pick(PATTERNS);
        question["datepattern"] = pattern.into();
        words.extend(word(&["--datepattern", pattern]));
    }
    if !random.one_in(4) {
        let ban = [random.below(4) + 1, *random.pick(&[60, 600, 100_000]), *random.pick(&[60, 3_600, 10_000_000])];
        question["ban"] = json!(ban);
        words.extend(word(&["--ban", &format!("{},{},{}", ban[0], ban[1], ban[2])]));
    }
    words.extend(word(&["--tz", zone, "--now", &now.to_string(), "--usedns", question["usedns"].as_str().unwrap()]));
    for (key, flag) in
        [("all", "--all"), ("groups", "--groups"), ("partial", "--partial"), ("journal", "--journal-lines")]
    {
        if question[key] == true {
            words.push(flag.to_owned());
        }
    }
    words.extend(paths.iter().map(|p| p.to_str().unwrap().to_owned()));
    compare(original, &question, &words, totals, what);
}

/// Has the stock tree a jail of this name?
fn has_jail(installed: &Installed, name: &str) -> bool {
    let text = std::fs::read_to_string(installed.tree().join("jail.conf")).unwrap();
    text.lines().any(|line| line == format!("[{name}]"))
}

/// Lines of one log.
fn log(random: &mut Random, samples: &[&str], now: i64, zone: &str, journal: bool) -> Vec<u8> {
    let local = TimeZone::posix(zone).unwrap();
    let mut out = Vec::new();
    let mut at = random.below(samples.len());
    // Bans need the same attacker again and again.
    let same = random.one_in(3);
    for _ in 0..random.below(60) + 5 {
        if !same || random.one_in(6) {
            at = if random.one_in(4) { random.below(samples.len()) } else { (at + 1) % samples.len() };
        }
        let sample = samples[at];
        let line = match random.below(10) {
            0..=5 if !journal => mutate(random, sample, now, &local),
            6 if !journal => format!("{} {sample}", date(random, now, &local)),
            _ => sample.to_owned(),
        };
        out.extend_from_slice(line.replace('\n', " ").as_bytes());
        if random.one_in(40) {
            out.extend_from_slice(random.pick::<&[u8]>(&[b"\xff", b"\xe2\x82", b"\0", b"\r"]));
        }
        out.extend_from_slice(if random.one_in(30) { b"\r\n" } else { b"\n" });
    }
    if random.one_in(4) {
        // DIVERGENCE (lone-carriage-return): for the original a lone carriage return ends a last line.
        while matches!(out.last(), Some(b'\n' | b'\r')) {
            out.pop();
        }
    }
    out
}

/// Runs both and compares row by row.
#[track_caller]
fn compare(original: &mut Driver, question: &Value, words: &[String], totals: &mut Totals, what: &str) {
    let theirs = original.ask(question);
    let theirs = theirs.as_array().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_stockade")).args(words).output().unwrap();
    if let Some(why) = theirs.first().and_then(|row| row.get("refused")) {
        let refused = done.stdout.starts_with(b"{\"error\":") && done.status.code() == Some(1);
        assert!(refused, "{what}: we take what it refuses: {why}");
        totals.refused += 1;
        return;
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let rows = String::from_utf8(done.stdout).unwrap();
    let mut ours: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    ours.retain(|row| row.get("log").is_none());
    // Behind a line that one side gives up, dates and sessions may differ.
    let given_up = theirs.last().filter(|row| row.get("error").is_some()).map(|row| row["line"].as_u64().unwrap());
    let overrun = said.lines().find(|l| l.contains("ran out of steps")).map(|l| {
        let number = l.strip_prefix("stockade: line ").and_then(|l| l.split(':').next()).unwrap();
        number.parse::<u64>().unwrap()
    });
    // In the hour that exists twice in autumn the C library's choice hangs on what it was asked before.
    let zone = TimeZone::posix(question["zone"].as_str().unwrap()).unwrap();
    let twice = theirs.iter().find(|row| row["time"].as_f64().is_some_and(|at| is_ambiguous(&zone, at)));
    let twice = twice.map(|row| row["line"].as_u64().unwrap());
    let end = given_up.into_iter().chain(overrun).chain(twice).min();
    let before = |rows: &[Value]| -> Vec<Value> {
        let kept = rows.iter().filter(|row| end.is_none_or(|end| row["line"].as_u64().is_some_and(|line| line < end)));
        kept.cloned().collect()
    };
    let (ours, theirs) = (before(&ours), before(theirs));
    totals.cut += usize::from(end.is_some());
    for (n, row) in theirs.iter().enumerate() {
        assert!(
            ours.get(n).is_some_and(|ours| same(ours, row)),
            "{what}: row {n}\nours   {}\ntheirs {row}\n{question}\n{words:?}\n{said}",
            ours.get(n).unwrap_or(&Value::Null)
        );
        totals.rows += usize::from(row.get("id").is_some());
        totals.bans += usize::from(row.get("ban").is_some());
        totals.already += usize::from(row.get("already").is_some());
        totals.lines += row["sum"]["lines"].as_u64().unwrap_or(0);
    }
    assert_eq!(ours.len(), theirs.len(), "{what}: we say more: {:?}\n{question}\n{said}", ours.last());
}

/// Does the local time of this second exist twice?
fn is_ambiguous(zone: &TimeZone, secs: f64) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "dates of logs")]
    let at = zone.to_datetime(jiff::Timestamp::from_second(secs as i64).unwrap());
    zone.to_ambiguous_timestamp(at).is_ambiguous()
}

/// Equal, but for how a whole number is written; before 1970 the C library has no summer time.
fn same(ours: &Value, theirs: &Value) -> bool {
    let (Some(ours), Some(theirs)) = (ours.as_object(), theirs.as_object()) else { return false };
    ours.len() == theirs.len()
        && ours.iter().all(|(key, value)| match (key.as_str(), theirs.get(key)) {
            ("time", Some(other)) => match (value.as_f64(), other.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() < 1e-6 || a < 0.0 && b < 0.0,
                (a, b) => a == b,
            },
            (_, Some(other)) => value == other,
            (_, None) => false,
        })
}
