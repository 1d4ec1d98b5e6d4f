//! What listens on this machine, and whether a jail guards it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Findings, Patient, files_of, read_small};

/// A program that strangers try, by the name of its process; how the jails
/// that guard it begin.
const GUARDED: &[(&str, &[&str])] = &[
    ("sshd", &["sshd"]),
    ("dropbear", &["dropbear"]),
    ("master", &["postfix"]),
    ("exim4", &["exim"]),
    ("exim", &["exim"]),
    ("dovecot", &["dovecot"]),
    ("nginx", &["nginx"]),
    ("apache2", &["apache", "php-url-fopen"]),
    ("httpd", &["apache", "php-url-fopen"]),
    ("caddy", &["caddy"]),
    ("haproxy", &["haproxy"]),
    ("traefik", &["traefik"]),
    ("vsftpd", &["vsftpd"]),
    ("proftpd", &["proftpd"]),
    ("pure-ftpd", &["pure-ftpd"]),
    ("couriertcpd", &["courier"]),
    ("mysqld", &["mysqld"]),
    ("mariadbd", &["mysqld", "mariadb"]),
    ("postgres", &["postgresql"]),
    ("named", &["named"]),
    ("asterisk", &["asterisk"]),
    ("grafana", &["grafana"]),
    ("vaultwarden", &["vaultwarden"]),
    ("gitea", &["gitea"]),
    ("forgejo", &["forgejo", "gitea"]),
    ("pveproxy", &["proxmox"]),
];

/// At these levels sshd tells of no failure.
const QUIET: [&str; 3] = ["QUIET", "FATAL", "ERROR"];

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    let listeners = listeners();
    findings.unseen(patient, "which programs listen");
    for (program, ports) in &listeners.open {
        let Some((_, jails)) = GUARDED.iter().find(|(name, _)| name == program) else { continue };
        let guards = |jail: &str| jails.iter().any(|guard| jail.starts_with(guard));
        if patient.stage.is_some() && !patient.jails().any(guards) {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            let what = format!("{program} listens on port {} for everybody, and no jail guards it", ports.join(", "));
            let jail = jails.first().unwrap_or(&"");
            let fix =
                format!("switch a jail on whose name begins with {jail}: [NAME] and enabled = true in jail.local");
            findings.warning("unguarded", what, fix);
        }
    }
    if listeners.open.contains_key("sshd") {
        sshd(findings);
    }
    if listeners.six && ipv6_is_off(patient) {
        let what = "services listen on IPv6, but allowipv6 = no: nobody is banned there";
        findings.problem("ipv6-open", what, "remove allowipv6 = no from fail2ban.local");
    }
    repeats(findings);
}

fn ipv6_is_off(patient: &Patient) -> bool {
    let set = patient.stage.as_ref().and_then(|stage| stage.settings.server_text("allowipv6"));
    set.is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "no" | "false" | "off" | "0"))
}

/// sshd's own settings that hide failures.
fn sshd(findings: &mut Findings) {
    let mut files = files_of(Path::new("/etc/ssh/sshd_config.d"));
    files.push("/etc/ssh/sshd_config".into());
    // The first value that sshd meets is the one that counts.
    for file in files {
        for line in read_small(&file).lines() {
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("LogLevel")) {
                continue;
            }
            let level = words.next().unwrap_or_default().to_ascii_uppercase();
            if QUIET.contains(&level.as_str()) {
                let what = format!("{}: LogLevel {level}: sshd logs no failed log-ins", file.display());
                findings.problem("sshd-quiet", what, "set LogLevel INFO (or VERBOSE) and reload sshd");
            }
            return;
        }
    }
}

/// A syslog daemon that sums repeated lines up hides failures.
fn repeats(findings: &mut Findings) {
    let mut files = files_of(Path::new("/etc/rsyslog.d"));
    files.push("/etc/rsyslog.conf".into());
    for file in files {
        for line in read_small(&file).lines() {
            let mut words = line.split_whitespace();
            let is = |word: Option<&str>, text: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(text));
            if is(words.next(), "$RepeatedMsgReduction") && is(words.next(), "on") {
                let what =
                    format!("{}: repeated lines are summed up in the logs, so failures are missed", file.display());
                findings.problem("repeats-hidden", what, "set $RepeatedMsgReduction off and restart rsyslog");
            }
        }
    }
}

/// Who listens where for strangers.
#[derive(Default)]
struct Listeners {
    /// Ports by the name of the process.
    open: BTreeMap<String, BTreeSet<u16>>,
    /// Does anybody listen on IPv6?
    six: bool,
}

fn listeners() -> Listeners {
    let mut sockets: BTreeMap<u64, u16> = BTreeMap::new();
    let mut listeners = Listeners::default();
    for (file, six) in [("/proc/net/tcp", false), ("/proc/net/tcp6", true)] {
        for line in read_small(Path::new(file)).lines().skip(1) {
            if let Some((inode, port)) = listening(line) {
                sockets.insert(inode, port);
                listeners.six |= six;
            }
        }
    }
    for folder in processes() {
        for fd in files_of(&folder.join("fd")) {
            let Ok(target) = std::fs::read_link(&fd) else { continue };
            let target = target.to_string_lossy();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')?.parse().ok());
            if let Some(port) = inode.and_then(|inode: u64| sockets.get(&inode)) {
                let name = read_small(&folder.join("comm")).trim().to_owned();
                listeners.open.entry(name).or_default().insert(*port);
            }
        }
    }
    listeners
}

/// The folders of all processes.
pub(super) fn processes() -> Vec<PathBuf> {
    let is_number = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
    };
    files_of(Path::new("/proc")).into_iter().filter(is_number).collect()
}

/// Inode and port of a line of `/proc/net/tcp` that is a listener not bound to loopback.
fn listening(line: &str) -> Option<(u64, u16)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = words.get(1)?.split_once(':')?;
    let loopback = (address.ends_with("7F") && address.len() == 8) || address == "00000000000000000000000001000000";
    if *words.get(3)? != "0A" || loopback {
        return None;
    }
    Some((words.get(9)?.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_for_strangers_are_told_from_others() {
        let line = |at: &str, state: &str| format!("   0: {at}:0016 00000000:0000 {state} 0:0 00:0 0 0 0 4711 1");
        assert_eq!(listening(&line("00000000", "0A")), Some((4711, 22)));
        assert_eq!(listening(&line("0100007F", "0A")), None);
        assert_eq!(listening(&line("00000000", "01")), None);
        assert_eq!(listening(&line("00000000000000000000000001000000", "0A")), None);
    }
}
