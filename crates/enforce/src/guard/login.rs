//! From where somebody is logged in: the login records of the system (`utmp`),
//! the sessions of systemd-logind, and, since newer systems have neither, the
//! sshd processes that serve a logged-in user, with the peers of their sockets.
//!
//! A connection without a successful login never counts, else wrong passwords
//! would protect those who try them.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::{fs, str};

use crate::diag::Connection;
use crate::owner::{comm, pids, read_bounded, sockets_of};

/// Login records are read up to this size (20,000 of them).
const UTMP_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bound for a session file of logind, a command line, an environment.
const SMALL_BYTES_MAX: u64 = 256 * 1024;
/// Sessions of logind that are looked at.
const SESSIONS_MAX: usize = 4096;
/// How far up the ancestors of this process are followed.
const ANCESTORS_MAX: usize = 64;

/// Size of a `struct utmp` of glibc and the place of its address: the size of
/// two fields differs between machines.
const UTMP: (usize, usize) = if cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))
{
    (400, 360)
} else {
    (384, 348)
};
const UTMP_USER_PROCESS: i16 = 7;

/// All (address, user) that are logged in now.
pub(super) fn logins(connections: &[Connection]) -> BTreeSet<(IpAddr, String)> {
    let mut found = BTreeSet::new();
    if let Some(records) =
        read_bounded("/run/utmp", UTMP_BYTES_MAX).or_else(|| read_bounded("/var/run/utmp", UTMP_BYTES_MAX))
    {
        found.extend(utmp_logins(&records, alive));
    }
    let sessions = fs::read_dir("/run/systemd/sessions").into_iter().flatten().flatten().take(SESSIONS_MAX);
    for entry in sessions {
        let text = entry.path().to_str().and_then(|p| read_bounded(p, SMALL_BYTES_MAX)).unwrap_or_default();
        found.extend(session_login(&String::from_utf8_lossy(&text), alive));
    }
    found.extend(sshd_logins(connections));
    found
}

fn alive(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// Reads records of the type "user process" whose process is alive.
fn utmp_logins(records: &[u8], alive: impl Fn(u32) -> bool) -> Vec<(IpAddr, String)> {
    let (size, addr_at) = UTMP;
    let read = |record: &[u8]| {
        let kind = i16::from_ne_bytes(*record.first_chunk()?);
        let pid = u32::from_ne_bytes(*record.get(4..)?.first_chunk()?);
        if kind != UTMP_USER_PROCESS || !alive(pid) {
            return None;
        }
        let text = |from: usize, to: usize| {
            let field = record.get(from..to)?;
            str::from_utf8(field.split(|b| *b == 0).next()?).ok()
        };
        let raw: [u8; 16] = *record.get(addr_at..)?.first_chunk()?;
        let (head, tail) = raw.split_first_chunk::<4>()?;
        let addr = match (*head, tail.iter().all(|b| *b == 0)) {
            ([0, 0, 0, 0], true) => text(76, 332)?.parse().ok()?,
            (v4, true) => IpAddr::V4(Ipv4Addr::from(v4)),
            _ => IpAddr::V6(Ipv6Addr::from(raw)),
        };
        Some((addr.to_canonical(), text(44, 76)?.to_owned()))
    };
    records.chunks_exact(size).filter_map(read).collect()
}

/// Reads a file of logind's, lines of the form `NAME=value`.
fn session_login(text: &str, alive: impl Fn(u32) -> bool) -> Option<(IpAddr, String)> {
    let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let leader = fields.get("LEADER").and_then(|pid| pid.parse().ok())?;
    if fields.get("STATE") == Some(&"closing") || fields.get("REMOTE") != Some(&"1") || !alive(leader) {
        return None;
    }
    let addr: IpAddr = fields.get("REMOTE_HOST")?.parse().ok()?;
    Some((addr.to_canonical(), fields.get("USER").or(fields.get("UID")).copied().unwrap_or_default().to_owned()))
}

/// The peers of sshd processes that serve a logged-in user.
fn sshd_logins(connections: &[Connection]) -> Vec<(IpAddr, String)> {
    let mut found = Vec::new();
    if connections.is_empty() {
        return found;
    }
    let peers: HashMap<String, IpAddr> =
        connections.iter().map(|c| (format!("socket:[{}]", c.inode), c.peer)).collect();
    for pid in pids() {
        if !matches!(comm(pid).as_str(), "sshd" | "sshd-session") || !is_systems_sshd(pid) {
            continue;
        }
        let title = read_bounded(&format!("/proc/{pid}/cmdline"), SMALL_BYTES_MAX).unwrap_or_default();
        let title = String::from_utf8_lossy(&title);
        let Some(user) = logged_in_user(title.split('\0').next().unwrap_or(""), uid_of(pid)) else { continue };
        found.extend(sockets_of(pid).filter_map(|link| peers.get(&link)).map(|addr| (*addr, user.clone())));
    }
    found
}

/// The user that an sshd process serves, from its title; `None` before the login has succeeded.
///
/// sshd writes `user@pts/0` or `user@notty` once a session is open. Before the
/// login there are `user [priv]` (as root) and `user [net]` (as another user);
/// a login without a session (port forwarding) has a process with the bare
/// name, running as that user.
fn logged_in_user(title: &str, uid: Option<u32>) -> Option<String> {
    let rest = title.strip_prefix("sshd: ").or_else(|| title.strip_prefix("sshd-session: "))?;
    // A user name may hold an `@`, a terminal's name may not.
    if let Some((user, terminal)) = rest.rsplit_once('@') {
        let is_terminal = terminal.split(',').all(|t| t == "notty" || t.starts_with("pts/") || t.starts_with("tty"));
        return if is_terminal && !user.is_empty() { Some(user.to_owned()) } else { None };
    }
    let bare = !rest.is_empty() && !rest.contains(['[', ' ', '/']);
    if bare && uid.is_some_and(|uid| uid != 0) { Some(rest.to_owned()) } else { None }
}

/// Titles can be chosen by anybody, programs owned by root can't.
fn is_systems_sshd(pid: u32) -> bool {
    let exe = format!("/proc/{pid}/exe");
    let name = fs::read_link(&exe).ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    // A program replaced by an upgrade is shown with a suffix.
    name.is_some_and(|n| n.starts_with("sshd")) && fs::metadata(&exe).is_ok_and(|m| m.uid() == 0)
}

fn uid_of(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid())
}

/// Where the login came from that started this process: its environment or that of an ancestor.
pub(super) fn starter() -> Option<IpAddr> {
    let mut pid = std::process::id();
    for _ in 0..ANCESTORS_MAX {
        let environment = read_bounded(&format!("/proc/{pid}/environ"), SMALL_BYTES_MAX).unwrap_or_default();
        if let Some(addr) = ssh_client(&environment) {
            return Some(addr);
        }
        pid = parent_of(pid).filter(|p| *p > 1)?;
    }
    None
}

/// The first word of `SSH_CONNECTION` or `SSH_CLIENT`.
fn ssh_client(environment: &[u8]) -> Option<IpAddr> {
    let mut variables = environment.split(|b| *b == 0).filter_map(|v| str::from_utf8(v).ok());
    variables.find_map(|variable| {
        let value = variable.strip_prefix("SSH_CONNECTION=").or_else(|| variable.strip_prefix("SSH_CLIENT="))?;
        Some(value.split(' ').next()?.parse::<IpAddr>().ok()?.to_canonical())
    })
}

/// The fourth field of `/proc/PID/stat`, behind the name in parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = read_bounded(&format!("/proc/{pid}/stat"), SMALL_BYTES_MAX)?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(title: &str, uid: u32, expected: Option<&str>) {
        assert_eq!(logged_in_user(title, Some(uid)).as_deref(), expected, "{title}");
    }

    #[test]
    fn only_a_successful_login_has_a_user() {
        check("sshd: root@pts/0", 0, Some("root"));
        check("sshd-session: alice@notty", 1000, Some("alice"));
        check("sshd: alice@pts/1,pts/2", 1000, Some("alice"));
        check("sshd: alice@example.org@pts/1", 1000, Some("alice@example.org"));
        check("sshd: alice", 1000, Some("alice"));
        check("sshd: root", 0, None);
        check("sshd: alice [priv]", 0, None);
        check("sshd: alice [net]", 105, None);
        check("sshd: unknown [net]", 105, None);
        check("sshd: [accepted]", 0, None);
        check("sshd: evil@example.org [net]", 105, None);
        check("sshd: evil@notty [net]", 105, None);
        check("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", 0, None);
        check("bash", 1000, None);
    }

    fn record(kind: i16, pid: u32, user: &str, host: &str, addr: &[u8]) -> Vec<u8> {
        let mut record = vec![0; UTMP.0];
        let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &kind.to_ne_bytes());
        put(4, &pid.to_ne_bytes());
        put(44, user.as_bytes());
        put(76, host.as_bytes());
        put(UTMP.1, addr);
        record
    }

    #[test]
    fn login_records_are_read() {
        let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let mut file = Vec::new();
        file.extend(record(7, 10, "alice", "host.example.org", &[192, 0, 2, 1]));
        file.extend(record(7, 11, "bob", "", &v6.octets()));
        file.extend(record(7, 12, "carol", "192.0.2.3", &[]));
        file.extend(record(7, 13, "dead", "", &[192, 0, 2, 4]));
        file.extend(record(8, 10, "gone", "", &[192, 0, 2, 5]));
        file.extend(record(7, 10, "local", "", &[]));
        file.extend([7; 100]);
        let found: Vec<String> = utmp_logins(&file, |pid| pid < 13).iter().map(|(a, u)| format!("{u} {a}")).collect();
        assert_eq!(found, ["alice 192.0.2.1", "bob 2001:db8::7", "carol 192.0.2.3"]);
    }

    #[test]
    fn sessions_of_logind_are_read() {
        let text =
            "# private\nUID=1000\nUSER=alice\nACTIVE=1\nSTATE=active\nREMOTE=1\nREMOTE_HOST=192.0.2.1\nLEADER=5\n";
        let read = |text: &str| session_login(text, |pid| pid == 5).map(|(a, u)| format!("{u} {a}"));
        assert_eq!(read(text).as_deref(), Some("alice 192.0.2.1"));
        assert_eq!(read(&text.replace("active", "closing")), None);
        assert_eq!(read(&text.replace("LEADER=5", "LEADER=6")), None);
        assert_eq!(read(&text.replace("192.0.2.1", "example.org")), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn the_starting_login_is_in_the_environment() {
        let environment = b"HOME=/root\0XSSH_CLIENT=192.0.2.9 1 2\0SSH_CONNECTION=2001:db8::5 50000 2001:db8::1 22\0";
        assert_eq!(ssh_client(environment), Some("2001:db8::5".parse().unwrap()));
        assert_eq!(ssh_client(b"SSH_CLIENT=::ffff:192.0.2.5 5 22"), Some("192.0.2.5".parse().unwrap()));
        assert_eq!(ssh_client(b"SSH_CLIENT="), None);
        assert_eq!(
            parent_of(std::process::id()),
            rustix::process::getppid().map(|p| p.as_raw_nonzero().get().unsigned_abs())
        );
    }
}
