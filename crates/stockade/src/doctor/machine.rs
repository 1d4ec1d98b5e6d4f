//! The machine around: other guards, tools, room on the disk, the database.

use std::path::Path;

use stockade_store::Reader;

use super::services::processes;
use super::{Findings, Patient, files_of, read_small};
use crate::daemon::stage::Sources;

/// Less room than this beside the database is too little.
const ROOM_BYTES: u64 = 64 << 20;

/// Other programs that ban, by one of their command line's first two words.
const GUARDS: [&str; 6] = ["fail2ban-server", "sshguard", "crowdsec", "denyhosts", "denyhosts.py", "fail2ban-rs"];

/// Words at the beginning of a line that are the shell's own.
const BUILTINS: [&str; 23] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "echo", "printf",
    "exit", "true", "false", "test", "set", "export", "local", "return", "cd",
];

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    guards(findings);
    tools(patient, findings);
    database(patient, findings);
}

fn guards(findings: &mut Findings) {
    let own = std::fs::read_link("/proc/self/exe").ok();
    for folder in processes() {
        if std::fs::read_link(folder.join("exe")).ok() == own {
            continue;
        }
        let line = read_small(&folder.join("cmdline"));
        let mut words = line.split('\0').take(2).map(|word| word.rsplit('/').next().unwrap_or(word));
        if let Some(guard) = words.find_map(|word| GUARDS.iter().find(|guard| **guard == word)) {
            let what = format!("{guard} runs beside stockade: both ban, and neither knows what the other lifts");
            findings.warning("two-guards", what, "stop one of them; stockade import takes fail2ban's bans over");
        }
    }
}

fn tools(patient: &Patient, findings: &mut Findings) {
    let mut jails = patient.stage.iter().flat_map(|stage| &stage.jails);
    if jails.any(|jail| matches!(jail.sources, Sources::Journal(_))) && !is_there("journalctl") {
        let what = "a jail reads the journal, but there is no journalctl";
        findings.problem("tool-missing", what, "install systemd, or set backend = auto and a logpath");
    }
    for settings in patient.stage.iter().flat_map(|stage| &stage.settings.jails) {
        for action in &settings.actions {
            let Some(ban) = action.property("actionban") else { continue };
            let words = ban.lines().filter_map(|line| line.split_whitespace().next());
            for tool in words.filter(|word| is_program(word) && !is_there(word)) {
                let (action, jail) = (&action.name, &settings.name);
                let what = format!("action '{action}' of jail '{jail}' runs {tool}, which is not installed");
                findings.problem("tool-missing", what, format!("install {tool}, or choose another banaction"));
            }
        }
    }
}

/// A word that names a program and nothing of the shell's.
fn is_program(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+'))
        && word.chars().any(|c| c.is_ascii_alphabetic())
        && !BUILTINS.contains(&word)
}

fn is_there(tool: &str) -> bool {
    if tool.contains('/') {
        return Path::new(tool).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/usr/bin:/bin";
    path.split(':').any(|folder| Path::new(folder).join(tool).exists())
}

fn database(patient: &Patient, findings: &mut Findings) {
    let Some(path) = &patient.places.database else { return };
    let folder = path.parent().unwrap_or(Path::new("/"));
    if let Ok(room) = rustix::fs::statvfs(folder) {
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < ROOM_BYTES {
            let what = format!("{} has {} MiB left: soon no ban can be saved", folder.display(), free >> 20);
            findings.problem("disk-low", what, "make room there, or shorten dbpurgeage");
        }
    }
    let readable = std::fs::File::open(path).is_ok() || !path.exists();
    let hidden = !readable && findings.unseen(patient, path.display().to_string());
    if path.exists()
        && !hidden
        && let Err(e) = Reader::open(path)
    {
        let fix = "if it is damaged, the next start sets it aside and rebuilds it from what can be read";
        findings.problem("database", e.to_string(), fix);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for other in files_of(folder) {
        let other_name = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stamp = other_name.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.'));
        if stamp.is_some_and(|stamp| stamp.len() >= 8 && stamp.bytes().take(8).all(|b| b.is_ascii_digit())) {
            let what = format!("a damaged database was set aside as {}", other.display());
            findings.warning("database", what, "look for a failing disk or memory; then remove the file");
        }
    }
}
