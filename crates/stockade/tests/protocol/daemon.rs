//! A daemon on a small tree in a folder of its own: ours, or the original.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stockade_wire::Value;
use stockade_wire::pickle::{Answer, Limits, read_answer, request};

/// What ends a request and an answer.
pub(crate) const END: &[u8] = b"<F2B_END_COMMAND>";

/// A running daemon; it ends when this is dropped.
pub(crate) struct Daemon {
    pub(crate) folder: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts ours on a tree.
    pub(crate) fn ours(folder: PathBuf) -> Daemon {
        Daemon::ours_with(folder, "")
    }

    /// The same with more options of all jails.
    pub(crate) fn ours_with(folder: PathBuf, defaults: &str) -> Daemon {
        write_tree(&folder, defaults);
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.args(["run", "--dry-run", "-c"]).arg(folder.join("etc"));
        Daemon::start(folder, command)
    }

    /// Starts ours in a network of its own, where actions run.
    pub(crate) fn ours_for_real(folder: PathBuf) -> Daemon {
        write_tree(&folder, "");
        let mut command = Command::new("unshare");
        command.args(["--net", env!("CARGO_BIN_EXE_stockade"), "run", "-c"]).arg(folder.join("etc"));
        Daemon::start(folder, command)
    }

    /// Starts ours where the groups of the system are those in a file of its folder.
    pub(crate) fn ours_with_groups(folder: PathBuf) -> Daemon {
        write_tree(&folder, "");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/group && exec \"$@\"").arg(folder.join("group"));
        command.args([env!("CARGO_BIN_EXE_stockade"), "run", "--dry-run", "-c"]).arg(folder.join("etc"));
        Daemon::start(folder, command)
    }

    /// Starts the original on a tree.
    pub(crate) fn theirs(folder: PathBuf, root: &Path) -> Daemon {
        write_tree(&folder, "");
        let mut command = Command::new("python3");
        command.arg(root.join("usr/bin/fail2ban-server")).arg("-c").arg(folder.join("etc")).args(["-f", "start"]);
        command.env("PYTHONPATH", packages(root));
        Daemon::start(folder, command)
    }

    fn start(folder: PathBuf, mut command: Command) -> Daemon {
        let out = std::fs::File::create(folder.join("out")).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap();
        let daemon = Daemon { folder, child };
        let until = Instant::now() + Duration::from_secs(30);
        let status = b"\x80\x04]\x8c\x06statusa.";
        while daemon.try_ask(status).is_none_or(|answer| memchr::memmem::find(&answer, b"api, web").is_none()) {
            assert!(Instant::now() < until, "it did not start: {}", daemon.words());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("run/s.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new conversation.
    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The answer to one pickled request, with its mark.
    pub(crate) fn try_ask(&self, pickle: &[u8]) -> Option<Vec<u8>> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        stream.write_all(&[pickle, END].concat()).ok()?;
        answer(&mut stream)
    }

    /// The answer to a request in the original's tongue.
    pub(crate) fn ask(&self, command: &[Value]) -> Answer {
        let bytes = self.try_ask(&request(command)).unwrap_or_else(|| panic!("no answer: {}", self.words()));
        read_answer(&bytes, Limits::default()).unwrap()
    }

    /// The answer to one of our own words.
    pub(crate) fn own(&self, word: &str, arguments: &serde_json::Value) -> serde_json::Value {
        let mut stream = self.connect();
        let line = serde_json::json!(["stockade", word, arguments]).to_string() + "\n";
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// What it said, once that is enough.
    pub(crate) fn words_with(&self, enough: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let words = self.words();
            if enough(&words) {
                return words;
            }
            assert!(Instant::now() < until, "it does not say enough: {words}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// What it said.
    pub(crate) fn words(&self) -> String {
        let mut text = String::new();
        for name in ["out", "own.log"] {
            if let Ok(file) = std::fs::File::open(self.folder.join(name)) {
                file.take(1 << 20).read_to_string(&mut text).unwrap_or_default();
            }
        }
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap_or_default();
        let until = Instant::now() + Duration::from_secs(20);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads up to the end marker; `None` if the other side hangs up first.
pub(crate) fn answer(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut part = [0_u8; 65_536];
    loop {
        match stream.read(&mut part) {
            Ok(n) if n > 0 => all.extend_from_slice(&part[..n]),
            _ => return None,
        }
        if all.ends_with(END) {
            return Some(all);
        }
    }
}

/// Where a root has its Python packages.
pub(crate) fn packages(root: &Path) -> PathBuf {
    root.join("usr/lib/python3/dist-packages")
}

/// A folder that is gone and made anew.
pub(crate) fn fresh(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stockade-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Two jails, one with an action that does nothing.
fn write_tree(folder: &Path, defaults: &str) {
    let home = folder.display();
    let files = [
        (
            "fail2ban.conf",
            format!(
                "[Definition]\nloglevel = INFO\nlogtarget = {home}/own.log\nsyslogsocket = auto\n\
                 socket = {home}/run/s.sock\npidfile = {home}/run/s.pid\ndbfile = {home}/db.sqlite3\n\
                 dbpurgeage = 1d\ndbmaxmatches = 10\n"
            ),
        ),
        (
            "jail.conf",
            format!(
                "[DEFAULT]\nbackend = polling\nusedns = no\nfindtime = 10m\nbantime = 1h\nmaxretry = 3\n\
                 logencoding = auto\nenabled = true\nfilter = %(__name__)s\n{defaults}\
                 [web]\nlogpath = {home}/web.log\nignoreip = 127.0.0.1/8 ::1 192.0.2.200\n\
                 [api]\nlogpath = {home}/api.log\naction = noop[name=api, port=\"http,https\"]\nbantime = 10m\n"
            ),
        ),
        (
            "filter.d/web.conf",
            "[Definition]\nfailregex = ^bad login of <F-USER>\\S+</F-USER> from <HOST>\\s*$\n            ^\\s*denied <ADDR>$\n\
             ignoreregex = trusted\ndatepattern = {^LN-BEG}\n"
                .to_owned(),
        ),
        ("filter.d/api.conf", "[Definition]\nfailregex = ^<HOST> refused\n".to_owned()),
        (
            "action.d/noop.conf",
            "[Definition]\nactionban = true <ip>\nactionunban = true <ip>\n[Init]\nname = default\n".to_owned(),
        ),
    ];
    for (name, text) in files {
        let path = folder.join("etc").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir_all(folder.join("run")).unwrap();
    for log in ["web.log", "api.log"] {
        std::fs::write(folder.join(log), "").unwrap();
    }
}
