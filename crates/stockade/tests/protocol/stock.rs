//! The stock tree of each version with all its jails, in whole machines: the
//! original's client starts the server by its usual name, asks everything that
//! can be asked of every jail, and goes through a table of changes. Their server
//! and ours, their client and ours say the same.
//!
//! Actions are the tree's own, with real tools on kernels' tables of their own.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::both::{Concerns, Pattern, known, words_in};
use crate::daemon::fresh;

/// The table of changes; `J` is each of the few jails, `A` their action.
const STEPS: &str = include_str!("stock.jsonl");
/// Jails that the table goes through: journal and files, with a prefregex and without, one that lets in.
const FEW: [&str; 4] = ["sshd", "apache-auth", "pass2allow-ftp", "postfix"];

/// Listed differences, by their ids in `conformance/known-differences.json`.
const LISTED: [(&str, Concerns); 9] = [
    ("protocol-version", Concerns::Steps(r#"^\["(client|raw)", "version"\]$"#)),
    ("auto-watches", Concerns::Texts("polling", "pyinotify")),
    ("stats-frame", Concerns::Steps(r#"^\["client", "stats"\]$"#)),
    ("protocol-prefregex-is-checked", Concerns::Steps(r#""(sshd|apache-auth|postfix)", "prefregex""#)),
    ("protocol-reload-forgets", Concerns::Steps(r#"^\["raw", "get", ".+", "maxlines"\]$"#)),
    ("restart-keeps-counters", Concerns::Steps(r#"^\["client", "status", ".+", "short"\]$"#)),
    ("protocol-102-all", Concerns::Steps(r#"^\["(client|ours|raw)", "(status", "--all|stats)"#)),
    ("protocol-102-flavor", Concerns::Steps(r#"^\["(client|raw)", "status", "[a-z0-9-]+", "stats"\]$"#)),
    ("protocol-102-ipv6", Concerns::Texts("::){1,7}", ":){1,7}")),
];

/// What came back to each question, in order.
type Answers = Vec<(String, String)>;

/// Runs everything in both machines and fails on every difference that is not listed, and on a listed one that is none.
pub(crate) fn compare(version: &str, root: &Path) {
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| machine(version, root, false));
        let ours = machine(version, root, true);
        (theirs.join().unwrap(), ours)
    });
    assert_eq!(theirs.len(), ours.len(), "{version}: not as many answers");
    let list = known::Differences::read();
    let listed: Vec<_> = LISTED.iter().filter(|(id, _)| list.find(id, version).is_some()).collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut failures, mut equal) = (Vec::new(), 0);
    for ((words, a), (other, b)) in theirs.iter().zip(&ours) {
        assert_eq!(words, other, "{version}: the two went different ways");
        if a == b {
            equal += 1;
            continue;
        }
        let found: Vec<_> = listed.iter().filter(|(_, concerns)| concerns.explains(words, a, b)).collect();
        match found.first() {
            Some((id, _)) => *seen.entry(id).or_default() += 1,
            None => failures.push(format!("{words}\n  theirs {a}\n  ours   {b}")),
        }
    }
    for answers in [&theirs, &ours] {
        logs_were_heard(answers);
        let differ = clients_differ(answers).into_iter();
        let unknown = differ.filter(|(words, a, b)| !listed.iter().any(|(_, concerns)| concerns.explains(words, a, b)));
        failures.extend(unknown.map(|(words, a, b)| format!("{words}\n  their client {a}\n  our client   {b}")));
    }
    for (id, _) in listed.iter().filter(|(id, _)| !seen.contains_key(id)) {
        failures.push(format!("{id} is listed and no longer differs"));
    }
    println!("{version}: {} answers of the stock tree, {equal} equal, listed: {seen:?}", theirs.len());
    assert!(failures.is_empty(), "{} differences with {version}:\n{}", failures.len(), failures.join("\n"));
}

/// The log came out where it was sent to, and files that were moved away got nothing more.
fn logs_were_heard(answers: &[(String, String)]) {
    let of = |what: &str| -> Vec<&str> {
        let these = answers.iter().filter(|(words, _)| words.starts_with(what));
        these.map(|(_, answer)| answer.as_str()).collect()
    };
    assert_eq!(of("[\"syslog\"").iter().filter(|text| text.contains("Ban 198.51.100.")).count(), 3);
    assert!(of("[\"journal\"]").iter().all(|text| text.contains("Ban 198.51.100.")));
    assert_eq!(of("[\"file\"]"), ["1"]);
    assert_eq!(of("[\"rotated\"]"), ["[1,1,0]"]);
    assert!(of("[\"signalled\"]").iter().any(|text| text.starts_with("[1,1,")));
}

/// Where our client says something else than theirs about the same server.
fn clients_differ(answers: &[(String, String)]) -> Vec<(String, String, String)> {
    let pairs = answers.iter().zip(answers.iter().skip(1));
    let same_words = |a: &str, b: &str| {
        let rest = b.strip_prefix(r#"["ours""#);
        rest.is_some_and(|rest| a.strip_prefix(r#"["client""#) == Some(rest))
    };
    let asked_twice = pairs.filter(|((a, _), (b, _))| same_words(a, b));
    let differ = asked_twice.filter(|((_, a), (_, b))| a != b);
    differ.map(|((words, a), (_, b))| (words.clone(), a.clone(), b.clone())).collect()
}

/// One machine from its start to its end: what was asked and what came back.
fn machine(version: &str, root: &Path, ours: bool) -> Answers {
    let folder = fresh(&format!("stock-{}-{version}", if ours { "ours" } else { "theirs" }));
    let (programs, place) = (folder.join("programs"), folder.join("place"));
    std::fs::create_dir_all(programs.join("bin")).unwrap();
    std::fs::create_dir_all(&place).unwrap();
    let program = programs.join("bin/stockade");
    std::fs::copy(env!("CARGO_BIN_EXE_stockade"), &program).unwrap();
    for name in ["fail2ban-client", "fail2ban-server"] {
        std::fs::hard_link(&program, programs.join("bin").join(name)).unwrap();
    }
    for name in ["drive.py", "stock.py"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol").join(name);
        std::fs::copy(from, programs.join(name)).unwrap();
    }
    // Whoever comes first in a machine puts our server in the place of theirs, or doesn't.
    let ours = if ours { "ln -sf /run/stage/bin/fail2ban-server /usr/bin/fail2ban-server\n" } else { "" };
    let first = programs.join("stagehand");
    std::fs::write(&first, format!("#!/bin/sh\n{ours}exec /usr/bin/python3 -B /run/stage/stock.py\n")).unwrap();
    std::fs::set_permissions(&first, std::fs::Permissions::from_mode(0o755)).unwrap();
    let steps: Vec<Value> = STEPS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let task = json!({ "few": FEW, "steps": steps }).to_string();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]);
    command.args(["--kill-child", "sh", "-c", include_str!("../../../../conformance/src/machine.sh"), "machine.sh"]);
    command.arg(root).arg(&place).arg(&programs);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{version}: the machine ended with {}", output.status);
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| *line != "ready").map(normal).collect()
}

/// A question and its answer without what must differ: times, process ids, a second more or less of a ban.
fn normal(line: &str) -> (String, String) {
    let line: Value = serde_json::from_str(line).unwrap();
    let changing = Pattern::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d+)?|\[\d+\]: |\+ \d+ =");
    (words_in(&line["words"]), changing.hide(&line["result"].to_string()))
}
