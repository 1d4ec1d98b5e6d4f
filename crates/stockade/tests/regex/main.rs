//! `fail2ban-regex` by name, beside the original's: the same words, the same output, the same exit code.
//!
//! Where it lies unpacked is said by `STOCKADE_F2B_ROOT_110`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: it writes files, runs both, and stops at whatever differs"
)]

mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use stockade_original::{Driver, Installed, newest};

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
         Nov 22 14:44:13 denied 2001:db8::1\nno date denied 192.0.2.12\n2026-11-22 14:44:15 no line end",
    ),
    ("odd.log", "2026-02-30 14:44:14 denied 192.0.2.13\nno date denied 192.0.2.12\n"),
    ("names.log", "2026-11-22 14:44:14 denied example.invalid\n2026-11-22 14:44:14 denied 192.0.2.13\n"),
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

/// Words between single quotes or blanks; `\n` in quotes is a line end, `ROOT` the original's tree.
fn words(line: &str, stock: &Path) -> Vec<String> {
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
    let known = |w: String| w.replace("\\n", "\n").replace("ROOT", stock.to_str().unwrap());
    words.into_iter().map(known).collect()
}

/// What both sides may say differently: how long it took, versions, how they were called. The original's
/// newest version reads one more form of a date, as we do.
fn plain(text: &str, called: &str) -> String {
    let text = text.replace(called, "fail2ban-regex").replace("1.1.2.1", "VERSION");
    let text = text.replace("1.1.2.dev1", "VERSION").replace("1.1.0", "VERSION");
    let text = text.replace("(?:-|T|  ?)", "(?:T|  ?)").replace("Ex24hour:?ExMinute:?", "Ex24hourExMinute");
    let text = text.replace("%ExH:?%ExM:?%ExS", "%ExH%ExM%ExS").replace("):?(?P<", ")(?P<");
    let lines = text.lines().map(|line| {
        let line = line.trim_end();
        if line.starts_with("[processed in ") { "[processed]" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What one side said.
#[derive(Debug)]
struct Said {
    code: Option<i64>,
    out: String,
    err: String,
}

/// The original, its modules loaded once.
fn original(installed: &Installed, folder: &Path) -> Driver {
    let mut command = installed.python(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regex/original.py"));
    command.arg(CALLED).current_dir(folder).envs(ENVIRONMENT);
    Driver::start(command)
}

fn theirs(original: &mut Driver, words: &[String]) -> Said {
    let answer = original.ask(&serde_json::json!(words));
    let text = |key: &str| plain(answer[key].as_str().unwrap(), CALLED);
    Said { code: answer["code"].as_i64(), out: text("out"), err: text("err") }
}

/// What the original thinks it was called as.
const CALLED: &str = "/original/fail2ban-regex";
const ENVIRONMENT: [(&str, &str); 2] = [("TZ", "UTC0"), ("LC_ALL", "C.UTF-8")];

fn ours(program: &Path, folder: &Path, words: &[String]) -> Said {
    let done = Command::new(program).args(words).current_dir(folder).envs(ENVIRONMENT).output().unwrap();
    let text = |bytes: &[u8]| plain(&String::from_utf8_lossy(bytes), program.to_str().unwrap());
    Said { code: done.status.code().map(i64::from), out: text(&done.stdout), err: text(&done.stderr) }
}

/// Both sides, where they differ line by line.
fn compared(ours: &Said, theirs: &Said) -> String {
    let mut out = format!("codes {:?} and {:?}\n", ours.code, theirs.code);
    for (name, ours, theirs) in [("out", &ours.out, &theirs.out), ("err", &ours.err, &theirs.err)] {
        let (mut a, mut b) = (ours.lines(), theirs.lines());
        loop {
            match (a.next(), b.next()) {
                (None, None) => break,
                (a, b) if a == b => {}
                (a, b) => {
                    out.push_str(&format!("{name}\n  ours   {}\n  theirs {}\n", a.unwrap_or("-"), b.unwrap_or("-")))
                }
            }
        }
    }
    out
}

/// Is it the same to whoever called?
fn same(ours: &Said, theirs: &Said) -> bool {
    // What the original gives up with a traceback, we refuse with its usual code.
    if theirs.err.contains("Traceback") {
        return ours.code == Some(255);
    }
    // The prose of the help is our own.
    let help = ours.out == theirs.out
        || theirs.out.starts_with("Usage:") && ours.out.lines().next() == theirs.out.lines().next();
    help && ours.code == theirs.code && ours.err == theirs.err
}

#[test]
fn output_and_exit_codes_are_the_originals() {
    let Some(installed) = newest("output_and_exit_codes_are_the_originals") else { return };
    let folder = tree();
    let program = folder.join("fail2ban-regex");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stockade"), &program).unwrap();
    let mut original = original(&installed, &folder);
    let (mut faults, mut count, mut known) = (Vec::new(), 0, 0);
    for line in table::CASES.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (line, differs) = match line.strip_prefix('~') {
            Some(line) => (line.trim(), true),
            None => (line, false),
        };
        let words = words(line, &installed.tree());
        let (mine, theirs) = (ours(&program, &folder, &words), theirs(&mut original, &words));
        count += 1;
        known += usize::from(differs);
        if same(&mine, &theirs) == differs {
            let what = if differs { "no longer differs" } else { "differs" };
            faults.push(format!("== {line} {what}\n{}", compared(&mine, &theirs)));
        }
    }
    println!("{count} calls, {known} differ as listed, {} others", faults.len());
    drop(original);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
