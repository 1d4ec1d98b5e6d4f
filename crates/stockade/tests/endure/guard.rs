//! A daemon in a network namespace of its own: its tree, its log, its figures.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_store::Reader;

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
    folder: PathBuf,
    logs: PathBuf,
    child: Option<Child>,
    started: i64,
    read: u64,
    log: String,
}

impl Guard {
    /// Writes the tree. `theirs` is an unpacked configuration of the original.
    pub(crate) fn new(folder: &Path, blocks: Blocks, theirs: Option<&Path>) -> Guard {
        Guard::with_logs(folder, folder, blocks, theirs)
    }

    /// The same with its logs and all that is made anew at each start in another folder.
    pub(crate) fn with_logs(folder: &Path, logs: &Path, blocks: Blocks, theirs: Option<&Path>) -> Guard {
        let (home, at) = (folder.display(), logs.display());
        let banaction = match blocks {
            Blocks::Own => "action = stockade[port=\"0:65535\", protocol=all, name=%(__name__)s]",
            Blocks::Stock => "action = nftables[type=allports, name=%(__name__)s, protocol=tcp]",
        };
        let daemon = format!(
            "[Definition]\nloglevel = INFO\nlogtarget = {at}/own.log\nsyslogsocket = auto\nsocket = {at}/s.sock\n\
             pidfile = {at}/s.pid\ndbfile = {home}/bans.sqlite3\ndbpurgeage = 1d\ndbmaxmatches = 10\n"
        );
        let jails = format!(
            "[DEFAULT]\nbackend = polling\nusedns = no\nbantime = 7d\nmaxretry = 1\nfilter = web\n\
             bantime.increment = false\nmaxmatches = 5\n{banaction}\n[web]\nenabled = true\nlogpath = {at}/web.log\n\
             [short]\nenabled = true\nlogpath = {at}/short.log\n"
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
            std::fs::write(logs.join(log), "").unwrap();
        }
        Guard { folder: folder.to_owned(), logs: logs.to_owned(), child: None, started: 0, read: 0, log: String::new() }
    }

    /// Says how long bans of the jail `short` last.
    pub(crate) fn short_bantime(&self, secs: i64) {
        let path = self.folder.join("etc/jail.d/short.local");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("[short]\nbantime = {secs}\n")).unwrap();
    }

    /// Says how many failures lead to a ban.
    pub(crate) fn maxretry(&self, count: u32) {
        let path = self.folder.join("etc/jail.d/retry.local");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("[DEFAULT]\nmaxretry = {count}\n")).unwrap();
    }

    /// Starts it and waits until it says this; milliseconds from its start.
    pub(crate) fn start_until(&mut self, words: &str) -> i64 {
        self.launch(&[]);
        self.wait_for(words, Duration::from_secs(120))
    }

    /// Starts it with more variables.
    pub(crate) fn launch(&mut self, variables: &[(&str, &str)]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.envs(variables.iter().copied());
        self.spawn(command);
    }

    /// Starts it by another program.
    pub(crate) fn launch_under(&mut self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.args(arguments).arg(env!("CARGO_BIN_EXE_stockade"));
        self.spawn(command);
    }

    fn spawn(&mut self, mut command: Command) {
        // The number of an earlier process must not be taken for its own.
        for old in ["own.log", "s.pid"] {
            drop(std::fs::remove_file(self.logs.join(old)));
        }
        (self.read, self.log) = (0, String::new());
        let out = std::fs::File::create(self.logs.join("out")).unwrap();
        command.args(["run", "-c"]).arg(self.folder.join("etc")).env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.started = jiff::Timestamp::now().as_millisecond();
        self.child = Some(command.spawn().unwrap());
    }

    /// Has it died by itself?
    pub(crate) fn is_dead(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until it says this in its log; when, in milliseconds from its start.
    pub(crate) fn wait_for(&mut self, words: &str, patience: Duration) -> i64 {
        let until = Instant::now() + patience;
        let mut long = 0;
        loop {
            if !self.is_busy_talking(&mut long) {
                self.read_log();
            }
            if let Some(at) = self.said(words) {
                return at;
            }
            assert!(Instant::now() < until, "it never said '{words}': {}", self.last_words());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// When it said this, if it did.
    pub(crate) fn said(&self, words: &str) -> Option<i64> {
        let line = self.log.lines().find(|line| line.contains(words))?;
        let time = line.get(..23)?.replace(',', ".").replace(' ', "T") + "Z";
        Some(time.parse::<jiff::Timestamp>().ok()?.as_millisecond() - self.started)
    }

    /// Is it saying so much that reading along would take time from it?
    fn is_busy_talking(&self, before: &mut u64) -> bool {
        let long = std::fs::metadata(self.logs.join("own.log")).map_or(0, |meta| meta.len());
        let grown = long.saturating_sub(std::mem::replace(before, long));
        grown > 1 << 16
    }

    /// Takes what is new in its log; of the many lines about single bans only the last are kept.
    fn read_log(&mut self) {
        let Ok(mut file) = std::fs::File::open(self.logs.join("own.log")) else { return };
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
        let file = std::fs::File::open(self.logs.join("out")).unwrap();
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
        let mut stream = UnixStream::connect(self.logs.join("s.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all((json!(["stockade", word, arguments]).to_string() + "\n").as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer.get("ok").unwrap_or_else(|| panic!("{word}: {answer}")).clone()
    }

    /// Writes lines into the log of the jail `web`.
    pub(crate) fn write(&self, lines: &str) {
        let mut log = std::fs::OpenOptions::new().append(true).open(self.logs.join("web.log")).unwrap();
        log.write_all(lines.as_bytes()).unwrap();
    }

    /// Everybody who is banned; the daemon tells them some at a time.
    pub(crate) fn banned(&self) -> BTreeSet<String> {
        let (mut all, mut from) = (BTreeSet::new(), Value::Null);
        loop {
            let answer = self.ask("banned", &json!({ "plain": true, "from": from }));
            let bans = answer["bans"].as_array().unwrap().iter();
            all.extend(bans.map(|ban| ban["id"].as_str().unwrap().to_owned()));
            from = answer["next"].clone();
            if from.is_null() {
                return all;
            }
        }
    }

    /// Everybody of whose new ban it told since it was started.
    pub(crate) fn announced(&mut self) -> Vec<String> {
        self.read_log();
        let news = self.log.lines().filter_map(|line| line.split_once("] Ban "));
        news.map(|(_, address)| address.trim().to_owned()).collect()
    }

    /// How many decisions are not in the original's tables yet.
    pub(crate) fn backlog(&self) -> u64 {
        Reader::open(&self.folder.join("bans.sqlite3")).unwrap().backlog().unwrap()
    }

    /// How many bans the database has.
    pub(crate) fn stored(&self) -> u64 {
        Reader::open(&self.folder.join("bans.sqlite3")).unwrap().bans(|_| {}).unwrap()
    }

    /// Writes a line about `address` and waits until its ban is saved, in the kernel and announced.
    pub(crate) fn ban_by_line(&mut self, address: &str) -> Duration {
        let begin = Instant::now();
        self.write(&format!("{address} refused\n"));
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
            // By its own number: it may have been started by another program.
            let pid = std::fs::File::open(self.logs.join("s.pid")).ok().and_then(|file| {
                let mut text = String::new();
                file.take(32).read_to_string(&mut text).ok()?;
                rustix::process::Pid::from_raw(text.trim().parse().ok()?)
            });
            if let Some(pid) = pid.filter(|_| matches!(child.try_wait(), Ok(None))) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
            }
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

/// The tests before and after a kill compare with everybody, not with the first page of an answer.
#[test]
fn everybody_is_told_of_however_many_pages_there_are() {
    crate::in_namespace("guard::everybody_is_told_of_however_many_pages_there_are", || {
        let folder = crate::fresh("pages");
        let mut guard = Guard::new(&folder, Blocks::Own, None);
        guard.start_until("INFO    ready");
        let all: Vec<String> = (0..10_500).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string()).collect();
        for part in all.chunks(3_500) {
            guard.ask("ban", &json!({ "jail": "web", "addresses": part }));
        }
        guard.ask("ban", &json!({ "jail": "short", "addresses": ["192.0.2.1"] }));
        let banned = guard.banned();
        assert!(banned.contains("192.0.2.1") && all.iter().all(|address| banned.contains(address)));
        assert_eq!(banned.len(), all.len() + 1);
        guard.kill();
        std::fs::remove_dir_all(folder).unwrap();
    });
}
