//! The guides (`docs/guides`) say what happens: their files are made, their
//! commands run, and what these print is compared with what the page shows.
//!
//! A file is a code block behind a line with its name in backticks and a colon.
//! A block marked `console` holds commands behind `$ ` and what they print. A
//! block marked `sh` holds commands for the reader's own machine: here only
//! their words are checked.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test: it runs the program and stops at whatever is wrong"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of its own, with our program in the path.
struct Desk {
    folder: PathBuf,
    path: String,
}

impl Desk {
    fn new(name: &str) -> Desk {
        let folder = std::env::temp_dir().join(format!("stockade-guide-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_stockade")).parent().unwrap();
        Desk { folder, path: format!("{}:{}", program.display(), std::env::var("PATH").unwrap()) }
    }

    fn file(&self, name: &str, text: &str) {
        assert!(!name.starts_with('/') && !name.contains(".."), "{name}");
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// What a command prints.
    fn run(&self, command: &str) -> String {
        let done = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.folder) {
            println!("{} stays: {e}", self.folder.display());
        }
    }
}

/// A code block: what it is marked with, the file's name if it is one, its lines.
struct Block {
    mark: String,
    file: Option<String>,
    lines: Vec<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut inside, mut file) = (false, None);
    for line in text.lines() {
        if let Some(mark) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                blocks.push(Block { mark: mark.to_owned(), file: file.take(), lines: Vec::new() });
            }
        } else if inside {
            blocks.last_mut().unwrap().lines.push(line.to_owned());
        } else if let Some(name) = line.strip_prefix('`').and_then(|line| line.strip_suffix("`:")) {
            file = Some(name.to_owned());
        }
    }
    assert!(!inside, "a code block has no end");
    blocks
}

/// Runs the commands of a block, and gives the block as it should be.
fn run(desk: &Desk, block: &Block) -> String {
    let mut shown = String::new();
    for command in block.lines.iter().filter_map(|line| line.strip_prefix("$ ")) {
        shown.push_str(&format!("$ {command}\n{}", desk.run(command)));
    }
    shown
}

/// A command for the reader's machine: its subcommand is one of ours.
fn check_words(desk: &Desk, command: &str) {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("stockade"), "{command}");
    let subcommand = words.next().unwrap();
    let help = desk.run(&format!("stockade {subcommand} --help"));
    assert!(help.contains(&format!("Usage: stockade {subcommand}")), "{command}: {help}");
    let options = words.filter(|word| word.starts_with("--"));
    for option in options {
        assert!(help.contains(option), "{command}: there is no {option}");
    }
}

/// Every command of ours that a page names, in code blocks or in backticks: its words exist. Their number.
fn check_all_words(page: &Path, tasks: &str) -> usize {
    let text = std::fs::read_to_string(page).unwrap();
    let page = page.display();
    let desk = Desk::new(&format!("words-{}", page.to_string().replace('/', "-")));
    let code = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let blocks = blocks(&text).into_iter().flat_map(|block| block.lines);
    let lines = text.lines().filter(|line| !line.starts_with("```")).flat_map(code).chain(blocks);
    let mut commands = 0;
    for line in lines {
        let line = line.trim_start_matches(['#', '$', ' ']).replace("sudo ", "");
        if let Some(task) = line.strip_prefix("cargo xtask ").and_then(|rest| rest.split_whitespace().next()) {
            let known = !task.chars().all(|c| c.is_ascii_lowercase()) || tasks.contains(&format!("[\"{task}\""));
            assert!(known, "{page}: `{line}`: there is no such task");
            commands += 1;
            continue;
        }
        let mut words = line.split_whitespace();
        let ours = words.next() == Some("stockade");
        let Some(subcommand) = words.next().filter(|word| ours && word.chars().all(|c| c.is_ascii_lowercase())) else {
            continue;
        };
        let command: Vec<&str> =
            line.split(['[', '|', '>', '<', ',', ';']).next().unwrap().split_whitespace().collect();
        if help_lacks(&desk, subcommand) {
            panic!("{page}: `{line}`: there is no such command");
        }
        check_words(&desk, &command.join(" "));
        commands += 1;
    }
    println!("{page}: {commands} commands");
    commands
}

/// The pages of a folder and of those in it.
fn pages_in(folder: &Path, deep: bool, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && deep {
            pages_in(&path, deep, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
}

fn help_lacks(desk: &Desk, subcommand: &str) -> bool {
    !desk.run(&format!("stockade {subcommand} --help")).contains(&format!("Usage: stockade {subcommand}"))
}

#[test]
fn commands_on_all_pages_exist() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let tasks = std::fs::read_to_string(top.join("xtask/src/main.rs")).unwrap();
    let mut pages = Vec::new();
    pages_in(&top, false, &mut pages);
    pages_in(&top.join("docs"), true, &mut pages);
    for page in pages {
        let commands = check_all_words(&page, &tasks);
        let names_many = ["README.md", "moving.md", "operating.md"].iter().any(|name| page.ends_with(name));
        assert!(commands > 0 || !names_many, "{} names no command of ours", page.display());
    }
}

fn check(name: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/guides/{name}.md"));
    let text = std::fs::read_to_string(&page).unwrap();
    let desk = Desk::new(name);
    let mut commands = 0;
    for block in blocks(&text) {
        let lines: String = block.lines.iter().map(|line| format!("{line}\n")).collect();
        if let Some(file) = &block.file {
            desk.file(file, &lines);
            continue;
        }
        match block.mark.as_str() {
            "console" => {
                let got = run(&desk, &block);
                let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
                assert_eq!(trimmed(&got), trimmed(&lines), "{name}.md shows something else");
                commands += block.lines.iter().filter(|line| line.starts_with("$ ")).count();
            }
            "sh" => block.lines.iter().for_each(|line| check_words(&desk, line)),
            _ => {}
        }
    }
    println!("{name}: {commands} commands run");
    assert!(commands > 0, "{name}.md shows no command");
}

#[test]
fn web_server() {
    check("web-server");
}

#[test]
fn mail_server() {
    check("mail-server");
}

#[test]
fn behind_a_proxy() {
    check("behind-a-proxy");
}

#[test]
fn writing_a_filter() {
    check("writing-a-filter");
}

#[test]
fn each_guide_is_checked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides");
    let source = include_str!("guides.rs");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".md") else { continue };
        assert!(source.contains(&format!("check(\"{name}\")")), "{name}.md is run by no test");
    }
}
