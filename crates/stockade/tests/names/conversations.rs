//! Our client and the original's, each with a real server of its own on the
//! same tree: what they print and how they end is the same, command by command.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Said;
use crate::original::all;
use crate::ours::Ours;
use crate::trees::good;

/// A command and the listed difference it shows.
pub(crate) struct Row {
    pub(crate) id: Option<String>,
    pub(crate) words: String,
}

/// The table.
pub(crate) fn table() -> Vec<Row> {
    let lines = include_str!("commands.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let row = |line: &str| match line.split_once(": ") {
        Some((id, words)) if !id.contains([' ', '"']) => Row { id: Some(id.to_owned()), words: words.to_owned() },
        _ => Row { id: None, words: line.to_owned() },
    };
    lines.map(row).collect()
}

/// The words of a line for the server of that tree.
pub(crate) fn words_for(tree: &Path, line: &str) -> Vec<String> {
    let tree = tree.to_str().unwrap();
    let mut words = vec!["-c".to_owned(), tree.to_owned()];
    words.extend(shell_words(&line.replace("DIR", tree)));
    words
}

/// Words between blanks; single and double quotes keep blanks together.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What was said, without what differs between any two runs.
pub(crate) fn plain(said: &Said, tree: &Path) -> Said {
    let text = |text: &str| {
        let text = text.replace(tree.to_str().unwrap(), "DIR");
        let lines = text.lines().map(|line| match line.split_once("]: ") {
            Some((head, tail)) if head.contains(" fail2ban") => format!("LOG {tail}"),
            _ => without_times(line),
        });
        lines.map(|line| line + "\n").collect()
    };
    Said { code: said.code, out: text(&said.out), err: text(&said.err) }
}

/// `2026-11-22 14:45:03` becomes `TIME`.
fn without_times(line: &str) -> String {
    let shape = "dddd-dd-dd dd:dd:dd";
    let fits = |text: &str| {
        text.len() == shape.len()
            && text.chars().zip(shape.chars()).all(|(c, s)| if s == 'd' { c.is_ascii_digit() } else { c == s })
    };
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if rest.get(..shape.len()).is_some_and(fits) {
            out.push_str("TIME");
            rest = &rest[shape.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

#[test]
fn our_client_says_to_a_real_server_what_the_originals_client_says() {
    let ours = Ours::new();
    let mut met: BTreeSet<String> = BTreeSet::new();
    let originals = all("our_client_says_to_a_real_server_what_the_originals_client_says");
    let complete = originals.len() == 2;
    for mut original in originals {
        let (their_tree, our_tree) = (good("theirs"), good("ours"));
        let mut their_server = original.server(&their_tree);
        let mut our_server = original.server(&our_tree);
        let mut wrong = Vec::new();
        for row in table() {
            let theirs = plain(&original.client(&words_for(&their_tree, &row.words)), &their_tree);
            let ours = plain(&ours.client(&words_for(&our_tree, &row.words)), &our_tree);
            match (theirs == ours, &row.id) {
                (true, _) => {}
                (false, Some(id)) => drop(met.insert(id.clone())),
                (false, None) => wrong.push(format!("{}\n theirs {theirs:?}\n ours   {ours:?}", row.words)),
            }
        }
        println!("{}: {} commands", original.version, table().len());
        assert!(wrong.is_empty(), "{}: {}", original.version, wrong.join("\n"));
        assert_eq!((their_server.ended(), our_server.ended()), (Some(0), Some(0)));
        for tree in [their_tree, our_tree] {
            std::fs::remove_dir_all(tree).unwrap();
        }
    }
    if complete {
        crate::listed(&met).finish(file!());
    }
}
