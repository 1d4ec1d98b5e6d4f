//! Command lines that need no server: options, dumps, tests, and what is said
//! where nobody answers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::Said;
use crate::original::{Original, all};
use crate::ours::Ours;
use crate::trees::{good, with};

/// One line of the table.
struct Row {
    /// Of the listed difference that it shows.
    id: Option<String>,
    server: bool,
    /// `=`, `<` or `~`, as the table says.
    mark: char,
    words: String,
}

fn table() -> Vec<Row> {
    let lines = include_str!("command_lines.txt").lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let at = line.find(['=', '<', '~']).unwrap();
            let (marks, rest) = line.split_at(at);
            let marks: Vec<&str> = marks.split(':').map(str::trim).filter(|mark| !mark.is_empty()).collect();
            Row {
                id: marks.iter().find(|mark| **mark != "server").map(|mark| (*mark).to_owned()),
                server: marks.contains(&"server"),
                mark: rest.chars().next().unwrap(),
                words: rest[1..].trim().to_owned(),
            }
        })
        .collect()
}

/// All trees of the table, by name.
fn trees(stock: &Path) -> BTreeMap<&'static str, PathBuf> {
    let bad_filter = "[web]\nfilter = none\n";
    let trees = BTreeMap::from([
        ("good", good("good")),
        ("missing", PathBuf::from("/nowhere/at/all")),
        ("unreadable", with("unreadable", "jail.local", "this is no section\n")),
        ("no-filter", with("no-filter", "jail.local", bad_filter)),
        ("all-bad", with("all-bad", "jail.local", &format!("{bad_filter}[api]\nfilter = none\n"))),
        ("lone-percent", with("lone-percent", "jail.local", "[web]\nmaxretry = 5%\n")),
        ("no-jail", with("no-jail", "jail.local", "[web]\nenabled = no\n[api]\nenabled = no\n")),
        ("nothing", crate::fresh_folder("nothing")),
        ("broken-main", with("broken-main", "fail2ban.local", "[Definition\nx\n")),
        ("bad-regex", with("bad-regex", "filter.d/web.local", "[Definition]\nfailregex = ^bad <HOST>(\n")),
        ("no-log", with("no-log", "jail.local", "[web]\nlogpath = /nowhere/at/all.log\n")),
        ("stale", good("stale")),
        ("stock", stock.join("fail2ban")),
        ("stock-all", stock.join("all")),
    ]);
    // A socket that nobody answers any more.
    drop(UnixListener::bind(trees["stale"].join("run/f2b.sock")).unwrap());
    trees
}

/// What does not lie in the programs' hands: times and process ids.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("]: ") {
        Some((head, tail)) if head.contains(" fail2ban") => format!("LOG {tail}"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The commands of a dump, without those that depend on the machine's log files.
fn commands(dump: &str) -> Vec<&str> {
    dump.lines().filter(|line| !line.contains("'addlogpath'")).collect()
}

/// How two answers to one row differ; `None` if they don't.
fn difference(row: &Row, theirs: &Said, ours: &Said) -> Option<String> {
    if theirs.code != ours.code {
        return Some("exit code".to_owned());
    }
    if theirs.out.is_empty() != ours.out.is_empty() {
        return Some("something on standard output".to_owned());
    }
    if row.mark == '=' && theirs.out != ours.out {
        return Some("standard output".to_owned());
    }
    if row.mark == '<' {
        let (theirs, ours) = (commands(&theirs.out), commands(&ours.out));
        let differ: Vec<&str> = theirs.iter().zip(&ours).filter(|(a, b)| a != b).map(|(a, _)| *a).collect();
        return (theirs.len() != ours.len() || !differ.is_empty())
            .then(|| format!("{} commands: {differ:?}", differ.len()));
    }
    if theirs.err.is_empty() != ours.err.is_empty() {
        return Some("something on standard error".to_owned());
    }
    (row.mark == '=' && plain(&theirs.err) != plain(&ours.err)).then(|| "standard error".to_owned())
}

fn compare(original: &mut Original, ours: &Ours, met: &mut BTreeSet<String>) -> Vec<String> {
    let stock = original.installed.tree();
    let copy = crate::fresh_folder("stock");
    assert!(std::process::Command::new("cp").arg("-rL").arg(&stock).arg(&copy).status().unwrap().success());
    assert!(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(copy.join("fail2ban"))
            .arg(copy.join("all"))
            .status()
            .unwrap()
            .success()
    );
    crate::trees::switch_all_on(&copy.join("all"));
    let trees = trees(&copy);
    let mut wrong = Vec::new();
    for row in table() {
        let mut words = row.words.clone();
        for (name, tree) in &trees {
            words = words.replace(&format!("{{{name}}}"), tree.to_str().unwrap());
        }
        let list: Vec<String> = words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let program = if row.server { "server" } else { "client" };
        let theirs = original.run(program, &list, "");
        let ours = ours.run(program, &list, "");
        match (difference(&row, &theirs, &ours), &row.id) {
            (None, _) => {}
            // The one action whose argument also replaces what IPv6 would get.
            (Some(what), None)
                if original.version == "1.0.2"
                    && what.starts_with("1 commands: ")
                    && what.contains("['blocktype?family=inet6', 'REJECT --reject-with icmp6-port-unreachable']") =>
            {
                met.insert("argument-over-condition".to_owned());
            }
            (Some(what), Some(id)) => {
                println!("{id}: {}: {what}\n theirs {theirs:?}\n ours   {ours:?}", row.words);
                met.insert(id.clone());
            }
            (Some(what), None) => {
                wrong.push(format!("{program} {}: {what}\n theirs {theirs:?}\n ours   {ours:?}", row.words));
            }
        }
    }
    for tree in trees.values().filter(|tree| tree.starts_with("/tmp") && !tree.starts_with(&copy)) {
        std::fs::remove_dir_all(tree).unwrap();
    }
    std::fs::remove_dir_all(copy).unwrap();
    wrong
}

#[test]
fn command_lines_without_a_server_end_as_the_originals() {
    let originals = all("command_lines_without_a_server_end_as_the_originals");
    let complete = originals.len() == 2;
    let ours = Ours::new();
    let mut met = BTreeSet::new();
    for mut original in originals {
        let wrong = compare(&mut original, &ours, &mut met);
        println!("{}: {} command lines", original.version, table().len());
        assert!(wrong.is_empty(), "{}: {}", original.version, wrong.join("\n"));
    }
    if complete {
        crate::listed(&met).finish(file!());
    }
}
