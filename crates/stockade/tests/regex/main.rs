//! `fail2ban-regex` by name, beside the original's: the same words, the same output, the same exit code.
//!
//! Where it lies unpacked is said by `STOCKADE_F2B_ROOT_110`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test: it writes files, runs both, and stops at whatever differs"
)]

mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What our test tree holds.
const TREE: &[(&str, &str)] = &[
    (
        "jail.conf",
        "[DEFAULT]\nusedns = no\n[web]\nfilter = web\nlogpath = /dev/null\naction =\n\
         [lines]\nfilter = two[mode=b]\nlogpath = /dev/null\naction =\n\
         [broken]\nfilter = absent\nlogpath = /dev/null\naction =\n",
    ),
    (
        "filter.d/web.conf",
        "[Definition]\nfailregex = ^\\s*bad login of <F-USER>\\S+</F-USER> from <HOST>\n    ^\\s*denied <HOST>$\n\
         ignoreregex = trusted\ndatepattern = ^%%Y-%%m-%%d %%H:%%M:%%S\n",
    ),
    (
        "filter.d/two.conf",
        "[INCLUDES]\nbefore = words.conf\n[Definition]\nfailregex = ^ a <mode><SKIPLINES>^ b <HOST>$\nmaxlines = 3\n\
         [Init]\nmode = x\n",
    ),
    ("filter.d/words.conf", "[DEFAULT]\n_n = 1\n"),
    (
        "filter.d/talk.conf",
        "[Definition]\nprefregex = ^<F-MLFID>\\s*s\\d</F-MLFID>: <F-CONTENT>.+</F-CONTENT>$\n\
         failregex = ^<F-NOFAIL>connect</F-NOFAIL> from <HOST>$\n    ^fail <F-USER>\\w+</F-USER>$\n\
         \u{20}   ^<F-NOFAIL><F-MLFFORGET>bye</F-MLFFORGET></F-NOFAIL>$\n",
    ),
    ("filter.d/bad.conf", "[Definition]\nfailregex = ^x( <HOST>\n"),
    ("filter.d/nobody.conf", "[Definition]\nfailregex = ^x$\n"),
    ("lone.conf", "[Definition]\nfailregex = ^\\s*lone <HOST>$\n"),
    (
        "a.log",
        "# a comment\n2026-11-22 14:44:10 bad login of bob from 192.0.2.9\n\n2026-11-22 14:44:11 denied 192.0.2.10\n\
         2026-11-22 14:44:12 trusted bad login of x from 192.0.2.11\n2026-11-22 14:44:12 hello\n\
         Nov 22 14:44:13 denied 2001:db8::1\nno date denied 192.0.2.12\n2026-11-22 14:44:14 denied example.invalid\n\
         2026-02-30 14:44:14 denied 192.0.2.13\n2026-11-22 14:44:15 no line end",
    ),
    (
        "lines.log",
        "2026-11-22 14:44:10 a b\n2026-11-22 14:44:11 z\n2026-11-22 14:44:12 b 192.0.2.9\n2026-11-22 14:44:13 a b\n\
         2026-11-22 14:44:14 b 192.0.2.10\n2026-11-22 14:44:15 b 192.0.2.11\n2026-11-22 14:44:16 y\n",
    ),
    (
        "talk.log",
        "2026-11-22 14:44:10 s1: fail bob\n2026-11-22 14:44:11 s1: connect from 192.0.2.9\n\
         2026-11-22 14:44:12 s1: fail eve\n2026-11-22 14:44:13 s1: bye\n2026-11-22 14:44:14 s2: connect from 192.0.2.8\n\
         2026-11-22 14:44:15 s2: bye\n2026-11-22 14:44:16 s3: fail tom\n2026-11-22 14:44:17 other\n",
    ),
];

/// A folder with the test tree.
fn tree() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("regex-{}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(folder.join("filter.d")).unwrap();
    for (name, text) in TREE {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let many: String = (0..25).map(|n| format!("2026-11-22 14:44:10 hello {n}\n")).collect();
    std::fs::write(folder.join("many.log"), many).unwrap();
    std::fs::write(folder.join("latin.log"), b"2026-11-22 14:44:10 bad login of b\xf6b from 192.0.2.9\n").unwrap();
    folder
}

/// One call, its words as a shell would see them.
struct Case {
    words: Vec<String>,
    shown: String,
}

/// Words between single quotes or blanks; `\n` in quotes is a line end, `ROOT` the original's tree.
fn case(line: &str, root: &Path) -> Case {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let root = root.join("etc/fail2ban");
    let known = |w: String| w.replace("\\n", "\n").replace("ROOT", root.to_str().unwrap());
    Case { words: words.into_iter().map(known).collect(), shown: line.to_owned() }
}

/// What both sides may say differently: times, versions, how they were called.
fn plain(bytes: &[u8], called: &str) -> String {
    let text = String::from_utf8_lossy(bytes).replace(called, "fail2ban-regex");
    let text = text.replace("1.1.2.1", "VERSION").replace("1.1.2.dev1", "VERSION").replace("1.1.0", "VERSION");
    let lines = text.lines().map(|line| {
        let line = line.trim_end();
        if line.starts_with("[processed in ") { "[processed]" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn run(program: &mut Command, folder: &Path, words: &[String]) -> Output {
    program.args(words).current_dir(folder).env("TZ", "UTC0").env("LC_ALL", "C.UTF-8").output().unwrap()
}

#[test]
fn output_and_exit_codes_are_the_originals() {
    let Some(root) = std::env::var_os("STOCKADE_F2B_ROOT_110").map(PathBuf::from) else {
        println!("SKIPPED: STOCKADE_F2B_ROOT_110 names no unpacked fail2ban");
        return;
    };
    let folder = tree();
    let ours = folder.join("fail2ban-regex");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stockade"), &ours).unwrap();
    let script = root.join("usr/bin/fail2ban-regex");
    let mut faults = Vec::new();
    let mut count = 0;
    for line in table::CASES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let case = case(line, &root);
        count += 1;
        let theirs = run(
            Command::new("python3")
                .arg("-B")
                .arg(&script)
                .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages")),
            &folder,
            &case.words,
        );
        let mine = run(&mut Command::new(&ours), &folder, &case.words);
        let help = case.words.iter().any(|w| w == "-h" || w == "--help") || theirs.status.code() == Some(255);
        let (a, b) = (plain(&mine.stdout, ours.to_str().unwrap()), plain(&theirs.stdout, script.to_str().unwrap()));
        // The prose of the help is our own.
        let prose = help && b.starts_with("Usage:");
        let same_out = a == b || prose && a.lines().next() == b.lines().next();
        let (e, f) = (plain(&mine.stderr, ours.to_str().unwrap()), plain(&theirs.stderr, script.to_str().unwrap()));
        // What the original gives up with a traceback ends with 1 there.
        let crash = f.contains("Traceback");
        let same_code = mine.status.code() == theirs.status.code() || crash && mine.status.code() == Some(255);
        if !(same_out || crash) || !same_code || !(e == f || crash) {
            faults.push(format!(
                "== {}\n-- ours {:?}\n{a}\n{e}\n-- theirs {:?}\n{b}\n{f}",
                case.shown,
                mine.status.code(),
                theirs.status.code()
            ));
        }
    }
    println!("{count} calls, {} differ", faults.len());
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
