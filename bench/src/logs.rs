//! Logs that are the same on every machine: who attacks is known, so that what
//! a guard found can be checked.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;

/// A small generator of numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins anew; two seeds give two sequences.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `n`; 0 if `n` is.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.number() % (n as u64).max(1)).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    ///
    /// # Panics
    /// If there is none.
    #[expect(clippy::indexing_slicing, reason = "below keeps within")]
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// How a log writes dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// `Aug 12 10:11:12`
    Syslog,
    /// `2025-08-12T10:11:12.123456+00:00`
    Iso,
}

/// What a log is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Lines, about.
    pub lines: u64,
    /// How many of 1000 lines come from attackers.
    pub attack_per_mille: u32,
    /// Different attackers.
    pub attackers: usize,
    /// Seconds since 1970 of the first line, in UTC.
    pub start: i64,
    /// Lines of one second.
    pub lines_a_second: u64,
    /// How dates are written, where the log leaves a choice.
    pub stamp: Stamp,
    /// Another seed, another log.
    pub seed: u64,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish {
            lines: 100_000,
            attack_per_mille: 100,
            attackers: 200,
            start: 1_767_225_600,
            lines_a_second: 20,
            stamp: Stamp::Syslog,
            seed: 1,
        }
    }
}

/// What each attacker did: lines that any guard should count, by address.
pub type Truth = BTreeMap<Ipv4Addr, u64>;

const BAD_USERS: [&str; 16] = [
    "root",
    "admin",
    "test",
    "oracle",
    "ubuntu",
    "user",
    "guest",
    "postgres",
    "git",
    "ftpuser",
    "mysql",
    "www",
    "deploy",
    "pi",
    "support",
    "minecraft",
];
const USERS: [&str; 8] = ["ana", "boris", "chen", "dora", "emil", "fatma", "goran", "hana"];
const PAGES: [&str; 8] = [
    "/",
    "/index.html",
    "/css/main.css",
    "/js/app.js",
    "/img/logo.svg",
    "/api/items?page=3",
    "/news/2026/01/",
    "/login",
];
const PROBES: [&str; 8] = [
    "/phpmyadmin/index.php",
    "/wp-login.php",
    "/pma/scripts/setup.php",
    "/admin/phpmyadmin/",
    "/mysqladmin/",
    "/roundcube/",
    "/cgi-bin/test.cgi",
    "/vtiger/",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "curl/8.14.1",
    "-",
];

/// The text of a time, made once for each second.
struct Clock {
    at: i64,
    text: String,
    format: &'static str,
}

impl Clock {
    fn new(format: &'static str) -> Clock {
        Clock { at: i64::MIN, text: String::new(), format }
    }

    fn text(&mut self, at: i64) -> &str {
        if at != self.at {
            let time = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            self.text = time.to_zoned(jiff::tz::TimeZone::UTC).strftime(self.format).to_string();
            self.at = at;
        }
        &self.text
    }
}

/// An attacker's address: of the range set aside for tests of devices.
fn attacker(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xc612_0000 + u32::try_from(n % 0x2_0000).unwrap_or(0))
}

/// Somebody else's: of a range for documentation.
fn friend(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xc000_0200 + u32::try_from(n % 256).unwrap_or(0))
}

/// Writes a log of sshd, cron, sudo and others, as a small server's `auth.log` is. Returns who failed how often.
///
/// Each attack is one connection with one wrong password of a user who exists or does not.
///
/// # Errors
/// It can't be written.
pub fn auth(wish: &Wish, out: &mut impl Write) -> io::Result<Truth> {
    let mut random = Random::new(wish.seed);
    let mut clock = Clock::new(match wish.stamp {
        Stamp::Syslog => "%b %e %H:%M:%S",
        Stamp::Iso => "%Y-%m-%dT%H:%M:%S.104233+00:00",
    });
    let mut truth = Truth::new();
    let (mut lines, mut bad) = (0_u64, 0_u64);
    while lines < wish.lines {
        let at = wish.start + i64::try_from(lines / wish.lines_a_second.max(1)).unwrap_or(0);
        let head = format!("{} web1", clock.text(at));
        let (pid, port) = (1000 + random.below(60_000), 1024 + random.below(60_000));
        if bad * 1000 < u64::from(wish.attack_per_mille) * lines {
            // A few do most of the work.
            let n = if random.one_in(2) { random.below(wish.attackers / 20) } else { random.below(wish.attackers) };
            let from = attacker(n);
            let n = ssh_attack(&mut random, &head, pid, port, from, out)?;
            (lines, bad) = (lines + n, bad + n);
            *truth.entry(from).or_default() += 1;
        } else {
            lines += everyday(&mut random, &head, pid, port, out)?;
        }
    }
    Ok(truth)
}

fn ssh_attack(
    random: &mut Random,
    head: &str,
    pid: usize,
    port: usize,
    from: Ipv4Addr,
    out: &mut impl Write,
) -> io::Result<u64> {
    let user = *random.pick(&BAD_USERS);
    let p = format!("{head} sshd[{pid}]:");
    match random.below(3) {
        0 => {
            writeln!(out, "{p} Invalid user {user} from {from} port {port}")?;
            writeln!(out, "{p} Failed password for invalid user {user} from {from} port {port} ssh2")?;
            writeln!(out, "{p} Connection closed by invalid user {user} {from} port {port} [preauth]")?;
            Ok(3)
        }
        1 => {
            writeln!(
                out,
                "{p} pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={from}  user=root"
            )?;
            writeln!(out, "{p} Failed password for root from {from} port {port} ssh2")?;
            writeln!(out, "{p} Received disconnect from {from} port {port}:11: Bye Bye [preauth]")?;
            writeln!(out, "{p} Disconnected from authenticating user root {from} port {port} [preauth]")?;
            Ok(4)
        }
        _ => {
            writeln!(out, "{p} Failed password for root from {from} port {port} ssh2")?;
            writeln!(out, "{p} Connection closed by authenticating user root {from} port {port} [preauth]")?;
            Ok(2)
        }
    }
}

/// What a server writes while nobody attacks: mostly cron, some administration, now and then a login.
fn everyday(random: &mut Random, head: &str, pid: usize, port: usize, out: &mut impl Write) -> io::Result<u64> {
    let user = *random.pick(&USERS);
    let number = random.below(30_000);
    match random.below(24) {
        0 => {
            let p = format!("{head} sshd[{pid}]:");
            let from = friend(number);
            writeln!(
                out,
                "{p} Accepted publickey for {user} from {from} port {port} ssh2: ED25519 SHA256:q2xJ0n{number:05}vWc1mUuX0Zr3o5i9yTn7bKqPpLs"
            )?;
            writeln!(out, "{p} pam_unix(sshd:session): session opened for user {user}(uid=1000) by (uid=0)")?;
            writeln!(out, "{head} systemd-logind[611]: New session {number} of user {user}.")?;
            writeln!(out, "{p} pam_unix(sshd:session): session closed for user {user}")?;
            writeln!(out, "{head} systemd-logind[611]: Removed session {number}.")?;
            Ok(5)
        }
        1..=4 => {
            writeln!(
                out,
                "{head} sudo:    {user} : TTY=pts/1 ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/systemctl status job-{number}"
            )?;
            writeln!(
                out,
                "{head} sudo: pam_unix(sudo:session): session opened for user root(uid=0) by {user}(uid=1000)"
            )?;
            writeln!(out, "{head} sudo: pam_unix(sudo:session): session closed for user root")?;
            Ok(3)
        }
        5..=8 => {
            writeln!(out, "{head} systemd[1]: Started session-{number}.scope - Session {number} of User {user}.")?;
            Ok(1)
        }
        _ => {
            writeln!(
                out,
                "{head} CRON[{pid}]: pam_unix(cron:session): session opened for user root(uid=0) by root(uid=0)"
            )?;
            writeln!(out, "{head} CRON[{pid}]: pam_unix(cron:session): session closed for user root")?;
            Ok(2)
        }
    }
}

/// Writes an access log of a web server. Attackers ask for programs that are not there.
///
/// # Errors
/// It can't be written.
pub fn access(wish: &Wish, out: &mut impl Write) -> io::Result<Truth> {
    let mut random = Random::new(wish.seed);
    let mut clock = Clock::new("%d/%b/%Y:%H:%M:%S +0000");
    let mut truth = Truth::new();
    let mut bad = 0;
    for line in 0..wish.lines {
        let at = wish.start + i64::try_from(line / wish.lines_a_second.max(1)).unwrap_or(0);
        let time = clock.text(at);
        let size = 150 + random.below(30_000);
        let agent = *random.pick(&AGENTS);
        if bad * 1000 < u64::from(wish.attack_per_mille) * line {
            bad += 1;
            let from = attacker(random.below(wish.attackers));
            let page = *random.pick(&PROBES);
            writeln!(out, "{from} - - [{time}] \"GET {page} HTTP/1.1\" 404 153 \"-\" \"{agent}\"")?;
            *truth.entry(from).or_default() += 1;
        } else {
            let (from, page) = (friend(size), *random.pick(&PAGES));
            let status = if random.one_in(40) { 404 } else { 200 };
            writeln!(
                out,
                "{from} - - [{time}] \"GET {page} HTTP/2.0\" {status} {size} \"https://www.example.org/\" \"{agent}\""
            )?;
        }
    }
    Ok(truth)
}
