//! A daemon in a network namespace of its own: its tree, its log, its figures.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How a jail blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// By our own table.
    Own,
    /// By the original's stock nftables action, carried out by us.
    Stock,
}

/// A tree, and the daemon on it.
pub(crate) struct Guard {
    pub(crate) folder: PathBuf,
    child: Option<Child>,
    started: i64,
    read: u64,
    log: String,
}

impl Guard {
    /// Writes the tree. `theirs` is an unpacked configuration of the original.
    pub(crate) fn new(folder: &Path, blocks: Blocks, theirs: Option<&Path>) -> Guard {
        let home = folder.display();
        let banaction = match blocks {
            Blocks::Own => "action = stockade[port=\"0:65535\", protocol=all, name=%(__name__)s]",
            Blocks::Stock => "action = nftables[type=allports, name=%(__name__)s, protocol=tcp]",
        };
        let daemon = format!(
            "[Definition]\nloglevel = INFO\nlogtarget = {home}/own.log\nsyslogsocket = auto\nsocket = {home}/s.sock\n\
             pidfile = {home}/s.pid\ndbfile = {home}/bans.sqlite3\ndbpurgeage = 1d\ndbmaxmatches = 10\n"
        );
        let jails = format!(
            "[DEFAULT]\nbackend = polling\nusedns = no\nbantime = 7d\nmaxretry = 1\nfilter = web\n\
             bantime.increment = false\nmaxmatches = 5\n{banaction}\n[web]\nenabled = true\nlogpath = {home}/web.log\n\
             [short]\nenabled = true\nlogpath = {home}/short.log\n"
        );
        let filter = "[Definition]\nfailregex = ^<HOST> refused\ndatepattern = {NONE}\n".to_owned();
        let (own, complete) = match blocks {
            Blocks::Own => ("local", false),
            Blocks::Stock => ("conf", true),
        };
        let etc = folder.join("etc");
        for name in ["filter.d", "action.d"] {
            std::fs::create_dir_all(etc.join(name)).unwrap();
        }
        std::fs::write(etc.join(format!("fail2ban.{own}")), daemon).unwrap();
        std::fs::write(etc.join(format!("jail.{own}")), jails).unwrap();
        std::fs::write(etc.join("filter.d/web.conf"), filter).unwrap();
        if complete {
            let action = theirs.unwrap().join("action.d/nftables.conf");
            std::fs::copy(action, etc.join("action.d/nftables.conf")).unwrap();
        }
        for log in ["web.log", "short.log"] {
            std::fs::write(folder.join(log), "").unwrap();
        }
        Guard { folder: folder.to_owned(), child: None, started: 0, read: 0, log: String::new() }
    }

    /// Says how long bans of the jail `short` last.
    pub(crate) fn short_bantime(&self, secs: i64) {
        let path = self.folder.join("etc/jail.d/short.local");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("[short]\nbantime = {secs}\n")).unwrap();
    }

    /// Starts it and waits until it says this; milliseconds from its start.
    pub(crate) fn start_until(&mut self, words: &str) -> i64 {
        drop(std::fs::remove_file(self.folder.join("own.log")));
        (self.read, self.log) = (0, String::new());
        let out = std::fs::File::create(self.folder.join("out")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.args(["run", "-c"]).arg(self.folder.join("etc")).env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.started = jiff::Timestamp::now().as_millisecond();
        self.child = Some(command.spawn().unwrap());
        self.wait_for(words, Duration::from_secs(120))
    }

    /// Waits until it says this in its log; when, in milliseconds from its start.
    pub(crate) fn wait_for(&mut self, words: &str, patience: Duration) -> i64 {
        let until = Instant::now() + patience;
        loop {
            self.read_log();
            if let Some(at) = self.said(words) {
                return at;
            }
            assert!(Instant::now() < until, "it never said '{words}': {}", self.last_words());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// When it said this, if it did.
    pub(crate) fn said(&self, words: &str) -> Option<i64> {
        let line = self.log.lines().find(|line| line.contains(words))?;
        let time = line.get(..23)?.replace(',', ".").replace(' ', "T") + "Z";
        Some(time.parse::<jiff::Timestamp>().ok()?.as_millisecond() - self.started)
    }

    /// Takes what is new in its log; of the many lines about single bans only the last are kept.
    fn read_log(&mut self) {
        let Ok(mut file) = std::fs::File::open(self.folder.join("own.log")) else { return };
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut new = Vec::new();
        file.take(64 << 20).read_to_end(&mut new).unwrap();
        let whole = new.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        for line in String::from_utf8_lossy(&new[..whole]).lines().filter(|line| !line.contains("Restore Ban")) {
            self.log.push_str(line);
            self.log.push('\n');
        }
    }

    fn last_words(&self) -> String {
        let mut out = String::new();
        let file = std::fs::File::open(self.folder.join("out")).unwrap();
        file.take(1 << 16).read_to_string(&mut out).unwrap();
        out + self.log.get(self.log.len().saturating_sub(4_000)..).unwrap_or_default()
    }

    /// A figure of its process in kilobytes.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let mut text = String::new();
        let file = std::fs::File::open(format!("/proc/{pid}/status")).unwrap();
        file.take(1 << 16).read_to_string(&mut text).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The answer to one of its own words.
    pub(crate) fn ask(&self, word: &str, arguments: &Value) -> Value {
        let mut stream = UnixStream::connect(self.folder.join("s.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all((json!(["stockade", word, arguments]).to_string() + "\n").as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Writes a line about `address` and waits until its ban is saved, in the kernel and announced.
    pub(crate) fn ban_by_line(&mut self, address: &str) -> Duration {
        let mut log = std::fs::OpenOptions::new().append(true).open(self.folder.join("web.log")).unwrap();
        let begin = Instant::now();
        writeln!(log, "{address} refused").unwrap();
        let words = format!("Ban {address}");
        while self.said(&words).is_none() {
            assert!(begin.elapsed() < Duration::from_secs(20), "no '{words}': {}", self.last_words());
            std::thread::park_timeout(Duration::from_micros(100));
            self.log.clear();
            self.read_log();
        }
        begin.elapsed()
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kill();
    }
}
