//! The reference of all options: `docs/configuration.md`, whose tables are made
//! from the tables in the code, and the manual page made from that page. Fails
//! when one is out of date. `STOCKADE_UPDATE=1` (`cargo xtask docs`) writes both.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use stockade_config::options::{ACTION, DAEMON, FILTER, JAIL, Kind, OWN, OptionRow, Scope, THREAD};

/// A page and the manual page made from it.
const PAGES: [(&str, &str, &str); 1] = [("docs/configuration.md", "dist/man/stockade.conf.5", "STOCKADE.CONF")];

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> String {
    fs::File::open(place(name)).and_then(std::io::read_to_string).unwrap_or_default()
}

#[test]
fn the_reference_of_options_is_up_to_date() {
    for (page, manual, title) in PAGES {
        let old = read(page);
        let new = with_tables(&old);
        let roff = roff(&new, title);
        if std::env::var_os("STOCKADE_UPDATE").is_some() {
            fs::write(place(page), new).unwrap();
            fs::write(place(manual), roff).unwrap();
            continue;
        }
        assert!(old == new, "{page} is out of date: run `cargo xtask docs`");
        assert!(read(manual) == roff, "{manual} is out of date: run `cargo xtask docs`");
    }
}

#[test]
fn every_option_says_what_it_does_and_stands_once() {
    let rows = [DAEMON, THREAD, JAIL, FILTER, ACTION].concat();
    for row in &rows {
        assert!(row.doc.len() > 10, "{} says nothing", row.name);
        let same = rows.iter().filter(|other| other.name == row.name && other.scope == row.scope);
        assert_eq!(same.count(), 1, "{} stands twice", row.name);
    }
    for row in OWN {
        assert!(row.name.starts_with("stockade.") && row.doc.len() > 10, "{}", row.name);
        assert!(matches!(row.scope, Scope::Daemon | Scope::Jail), "{} is in no file", row.name);
        for default in [row.drop_in, row.own] {
            match row.kind {
                Kind::Choice(choices) => assert!(choices.contains(&default), "{}: {default}", row.name),
                Kind::Bool => assert!(["true", "false"].contains(&default), "{}: {default}", row.name),
                _ => {}
            }
        }
    }
}

/// The page with its tables made anew, between their marks.
fn with_tables(page: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in page.lines() {
        if line == "<!-- end -->" {
            inside = false;
        }
        if !inside {
            writeln!(out, "{line}").unwrap();
        }
        if let Some(name) = line.strip_prefix("<!-- options: ").and_then(|rest| rest.strip_suffix(" -->")) {
            inside = true;
            out.push_str(&table(name));
        }
    }
    assert!(!inside, "a table has no end");
    out
}

fn table(name: &str) -> String {
    let rows = match name {
        "daemon" => [DAEMON, THREAD].concat(),
        "jail" => JAIL.to_vec(),
        "filter" => FILTER.to_vec(),
        "action" => ACTION.to_vec(),
        "own" => return own_table(),
        other => panic!("no table is called {other}"),
    };
    let mut out = String::from("\n| option | value | default | what it does |\n|---|---|---|---|\n");
    for row in rows {
        let section = if row.command == "set thread" { " (in `[Thread]`)" } else { "" };
        writeln!(out, "| `{}` | {} | {} | {}{section} |", row.name, value(row.kind), default(&row), cell(row.doc))
            .unwrap();
    }
    out + "\n"
}

fn own_table() -> String {
    let mut out =
        String::from("\n| option | file | value | drop-in | own | what it does |\n|---|---|---|---|---|---|\n");
    for row in OWN {
        let file = if row.scope == Scope::Daemon { "fail2ban.conf" } else { "jail.conf" };
        let shown = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let (drop_in, own) = (shown(row.drop_in), shown(row.own));
        writeln!(out, "| `{}` | {file} | {} | {drop_in} | {own} | {} |", row.name, value(row.kind), cell(row.doc))
            .unwrap();
    }
    out + "\n"
}

/// Text that can stand in a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn default(row: &OptionRow) -> String {
    let text = match row.default {
        Some(text) if !text.is_empty() => text,
        _ => row.otherwise,
    };
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn value(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Int => "number".to_owned(),
        Kind::Time => "time".to_owned(),
        Kind::Lines => "lines".to_owned(),
        Kind::Words => "words".to_owned(),
        Kind::Call => "name[..]".to_owned(),
        Kind::Command => "shell command".to_owned(),
        Kind::Choice(choices) => choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", "),
    }
}

/// A manual page from the little of Markdown that our pages use: headings,
/// paragraphs, tables and code.
fn roff(page: &str, title: &str) -> String {
    let mut out = format!(
        ".\\\" Made by `cargo xtask docs` from docs/configuration.md.\n.TH {title} 5 \"\" stockade \"File formats\"\n\
         .SH NAME\nstockade.conf \\- the configuration of stockade: jail.conf, fail2ban.conf, filters and actions\n"
    );
    let mut code = false;
    let mut header = Vec::new();
    let mut paragraph = false;
    for line in page.lines().skip(1) {
        if line.starts_with("```") {
            code = !code;
            out.push_str(if code { ".PP\n.RS 4\n.nf\n" } else { ".fi\n.RE\n" });
        } else if code {
            writeln!(out, "{}", text(line)).unwrap();
        } else if line.starts_with("<!--") || line.starts_with("|---") {
            continue;
        } else if let Some(heading) = line.strip_prefix("## ") {
            writeln!(out, ".SH \"{}\"", text(&heading.to_uppercase())).unwrap();
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            let row = row.replace("\\|", "\u{1}");
            let cells: Vec<String> = row.split(" | ").map(|cell| cell.trim().replace('\u{1}', "|")).collect();
            if header.is_empty() {
                header = cells;
            } else {
                entry(&mut out, &header, &cells);
            }
        } else if line.is_empty() {
            header.clear();
            paragraph = false;
        } else {
            if !paragraph {
                out.push_str(".PP\n");
                paragraph = true;
            }
            writeln!(out, "{}", text(line)).unwrap();
        }
    }
    out.push_str(".SH \"SEE ALSO\"\n.BR stockade (1)\n");
    out
}

/// One row of a table: the first cell in bold, the last below it, the others named.
fn entry(out: &mut String, header: &[String], cells: &[String]) {
    let last = cells.len() - 1;
    writeln!(out, ".TP\n\\fB{}\\fR", text(&cells[0])).unwrap();
    writeln!(out, "{}", text(&cells[last])).unwrap();
    let between = header.iter().zip(cells).skip(1).take(last.saturating_sub(1));
    let facts: Vec<String> = between.filter(|(_, cell)| !cell.is_empty()).map(|(h, c)| format!("{h}: {c}")).collect();
    if !facts.is_empty() {
        writeln!(out, ".br\n{}", text(&facts.join("; "))).unwrap();
    }
}

/// Text as roff wants it, without the marks of Markdown.
fn text(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    // [label](link) is its label.
    while let Some((before, after)) = rest.split_once("](") {
        let (lead, label) = before.rsplit_once('[').unwrap_or((before, ""));
        write!(plain, "{lead}{label}").unwrap();
        rest = after.split_once(')').map_or("", |(_, tail)| tail);
    }
    plain.push_str(rest);
    let escaped = plain.replace('\\', "\\e").replace('`', "").replace('-', "\\-").replace('\'', "\\(aq");
    let escaped = escaped.replace("*drop\\-in*", "drop\\-in").replace("*own*", "own");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}
