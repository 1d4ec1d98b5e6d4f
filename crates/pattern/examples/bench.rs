//! How long searches take, on a mix of ssh server lines.
//!
//! `bench` runs patterns and lines of its own: for each line the prefix
//! pattern, then the failure patterns whose first bytes fit the content, in
//! order. `bench PATTERNS LINES` reads both from files, one per line, and
//! times each pattern on the lines it matches.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::time::Instant;

use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

const HOST: &str = concat!(
    r"(?:\[?(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})",
    r"|(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):)))\]?|(?P<dns>[\w\-.^_]*\w))"
);
const PREFIX: &str = concat!(
    r"^(?P<mlfid>(?:\[\])?\s*(?:<[^.]+\.[^.]+>\s+)?(?:\S+\s+)?(?:kernel:\s?\[ *\d+\.\d+\]:?\s+)?(?:@vserver_\S+\s+)?",
    r"(?:(?:(?:\[\d+\])?:\s+[\[\(]?sshd(?:-session)?(?:\(\S+\))?[\]\)]?:?|[\[\(]?sshd(?:-session)?(?:\(\S+\))?[\]\)]?:?",
    r"(?:\[\d+\])?:?)\s+)?(?:\[ID \d+ \S+\]\s+)?)(?:(?:error|fatal): (?:PAM: )?)?(?P<content>.+)$"
);
const FAILURES: &[&str] = &[
    r"^[aA]uthentication (?:failure|error|failed) for (?P<user>.*) from HOST( via \S+)?(?: (?:port \d+|on \S+|\[preauth\])){0,3}\s*$",
    r"^User not known to the authentication service for (?P<user>.*) from HOST(?: (?:port \d+|on \S+|\[preauth\])){0,3}\s*$",
    r"^Failed (?:<unused>|(?P<new>new guess)|\b(?!publickey)\S+) for (?P<bad>invalid user )?(?P<user>(?P<plain>\S+)|(?(bad)(?:(?! from ).)*?|[^:]+)) from HOST(?: (?:port \d+|on \S+)){0,2}(?: ssh\d*)?(?(plain): |(?:(?:(?! from ).)*)$)",
    r"^(?:ROOT|root) LOGIN REFUSED FROM HOST",
    r"^[iI](?:llegal|nvalid) user (?P<user>.*?) from HOST(?: (?:port \d+|on \S+|\[preauth\])){0,3}\s*$",
    r"^User (?P<user>\S+|.*?) from HOST not allowed because (?:not listed in AllowUsers|none of user's groups are listed in AllowGroups)(?: (?:port \d+|on \S+|\[preauth\])){0,3}\s*$",
    r"^pam_[a-z]+\(sshd:auth\):\s+authentication failure;(?:\s+(?:(?:logname|e?uid|tty)=\S*)){0,4}\s+ruser=(?P<alt>\S*)\s+rhost=HOST(?:\s+user=(?P<user>\S*))?(?: (?:port \d+|on \S+|\[preauth\])){0,3}\s*$",
    r"^maximum authentication attempts exceeded for (?:invalid user )?(?P<user>.*) from HOST(?: (?:port \d+|on \S+)){0,2}(?: ssh\d*)?(?: \[preauth\])?\s*$",
    r"^Received disconnect from HOST(?: (?:port \d+|on \S+)){0,2}:\s*(?:3: .*Auth fail|14: No supported authentication)",
    r"^Received (?P<bye>disconnect) from HOST(?: (?:port \d+|on \S+)){0,2}:\s*11:",
    r"^(?P<closed>Connection closed|Disconnected)(?: (?:by|from))?(?: (?:invalid|authenticating) user (?P<user>\S+|.*?))? HOST(?: (?:port \d+|on \S+|\[preauth\])){0,3}\s*$",
    r"^(?P<good>Accepted \w+) for (?P<user>\S+) from HOST(?:\s|$)",
    r"^Did not receive identification string from HOST",
];

/// Lines of a made-up host, a different one for each number.
fn lines(count: usize) -> Vec<String> {
    let users = ["root", "admin", "test", "oracle", "ubuntu", "git", "postgres", "ftpuser", "deploy", "pi"];
    let mut state = 12345u64;
    let mut random = move |n: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % n
    };
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let user = users.get(usize::try_from(random(10)).unwrap_or(0)).copied().unwrap_or("root");
        let ip = format!("{}.{}.{}.{}", 1 + random(220), random(256), random(256), 1 + random(254));
        let port = 1024 + random(60000);
        let text = match random(100) {
            0..35 => format!("Failed password for {user} from {ip} port {port} ssh2"),
            35..50 => format!("Failed password for invalid user {user}{} from {ip} port {port} ssh2", random(99)),
            50..65 => format!("Invalid user {user}{} from {ip} port {port}", random(99)),
            65..77 => format!(
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user={user}"
            ),
            77..85 => format!("Received disconnect from {ip} port {port}:11: Bye Bye [preauth]"),
            85..95 => format!("Connection closed by authenticating user {user} {ip} port {port} [preauth]"),
            95..98 => format!("Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:abc"),
            _ => format!("User {user} from {ip} not allowed because not listed in AllowUsers"),
        };
        out.push(format!(" web{} sshd[{}]: {text}\n", random(9), 1000 + random(30000)));
    }
    out
}

#[expect(clippy::print_stdout, reason = "an example reports on its output")]
fn mix() -> Result<(), Box<dyn std::error::Error>> {
    let prefix = Regex::new(PREFIX, Flags::default())?;
    let content = prefix.group_names().iter().find(|(name, _)| &**name == "content").map_or(0, |(_, group)| *group);
    let failures = FAILURES.iter().map(|pattern| Regex::new(&pattern.replace("HOST", HOST), Flags::default()));
    let failures = failures.collect::<Result<Vec<_>, _>>()?;
    let mut by_byte: Vec<Vec<&Regex>> = vec![Vec::new(); 256];
    for regex in &failures {
        let first = regex.first_bytes();
        for (byte, list) in (0..=u8::MAX).zip(&mut by_byte) {
            if first.is_none_or(|set| set.has(byte)) {
                list.push(regex);
            }
        }
    }
    let lines = lines(4000);
    let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
    let mut prefix_best = f64::MAX;
    let mut all_best = f64::MAX;
    for _ in 0..std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(21) {
        let start = Instant::now();
        for line in &lines {
            let outcome = prefix.search(&mut scratch, black_box(line), 0..line.len(), &mut slots);
            assert_eq!(outcome, Outcome::Match, "{line}");
        }
        prefix_best = prefix_best.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let mut hits = 0;
        for line in &lines {
            prefix.search(&mut scratch, black_box(line), 0..line.len(), &mut slots);
            let Some(text) = slots.get(content).and_then(|span| line.get(span.start..)) else { continue };
            let first = text.bytes().next().map_or(0, usize::from);
            let list = by_byte.get(first).map_or(&[][..], Vec::as_slice);
            let hit = |regex: &&&Regex| regex.search(&mut scratch, text, 0..text.len(), &mut slots) == Outcome::Match;
            hits += usize::from(list.iter().find(hit).is_some());
        }
        all_best = all_best.min(start.elapsed().as_secs_f64());
        assert_eq!(hits, lines.len());
    }
    let per_line = |seconds: f64| seconds * 1e9 / 4000.0;
    println!(
        "prefix {:.0} ns, prefix and failure patterns {:.0} ns per line",
        per_line(prefix_best),
        per_line(all_best)
    );
    Ok(())
}

fn read(path: &str) -> std::io::Result<Vec<String>> {
    BufReader::new(File::open(path)?.take(1 << 30)).lines().collect()
}

#[expect(clippy::print_stdout, reason = "an example reports on its output")]
fn each(patterns: &str, lines: &str) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<String> = read(lines)?.into_iter().map(|line| line + "\n").collect();
    let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
    let (mut sum, mut count) = (0.0, 0.0);
    for pattern in read(patterns)? {
        let Ok(regex) = Regex::new(&pattern, Flags::default()) else { continue };
        let mut find = |text: &String| regex.search(&mut scratch, text, 0..text.len(), &mut slots);
        let texts: Vec<&String> = lines.iter().filter(|text| find(text) == Outcome::Match).take(1000).collect();
        if texts.len() < 20 {
            continue;
        }
        let rounds = 1 + 20_000 / texts.len();
        let mut best = f64::MAX;
        for _ in 0..7 {
            let start = Instant::now();
            for _ in 0..rounds {
                for text in &texts {
                    assert_eq!(find(black_box(text)), Outcome::Match);
                }
            }
            let taken = start.elapsed().as_secs_f64() * 1e9;
            best = best.min(taken / f64::from(u32::try_from(rounds * texts.len()).unwrap_or(u32::MAX)));
        }
        sum += best;
        count += 1.0;
        println!("{best:6.0} ns  {:5} texts  {}", texts.len(), pattern.chars().take(150).collect::<String>());
    }
    println!("{:6.0} ns  mean of {count} patterns", sum / count);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [patterns, lines] => each(patterns, lines),
        _ => mix(),
    }
}
