//! The program on a small tree of its own, in a network of its own.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
}

/// True, with a line that says so, where these tests can't run.
pub(crate) fn skipped(test: &str) -> bool {
    let possible = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    let skipped = !possible.is_ok_and(|status| status.success());
    if skipped {
        stockade_original::skip(test, "needs root, for a network of its own");
    }
    skipped
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The daemon and its folder.
pub(crate) struct Guard {
    pub(crate) home: PathBuf,
    child: Option<Child>,
}

impl Guard {
    /// Starts it with a jail `web` for bans by hand that has lists.
    pub(crate) fn start(jail: &str) -> Guard {
        Guard::start_with_actions(jail, None)
    }

    /// The same with the actions of an original's tree.
    pub(crate) fn start_with_actions(jail: &str, actions: Option<&Path>) -> Guard {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("stockade-lists-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&home));
        for folder in ["etc", "run", "lists"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        std::fs::set_permissions(home.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut guard = Guard { home, child: None };
        let at = guard.home.display().to_string();
        guard.write(
            "etc/fail2ban.local",
            &format!(
                "[Definition]\nlogtarget = {at}/own.log\nsocket = {at}/run/s.sock\npidfile = {at}/run/s.pid\n\
                 dbfile = {at}/db.sqlite3\n"
            ),
        );
        guard.jail(jail);
        if let Some(actions) = actions {
            std::os::unix::fs::symlink(actions, guard.home.join("etc/action.d")).unwrap();
        }
        guard.up();
        guard
    }

    /// Writes the tree's jail.
    pub(crate) fn jail(&self, more: &str) {
        let lists = self.home.join("lists");
        let text = format!(
            "[web]\nenabled = true\nfilter =\nbantime = 1h\nblacklist = {}/ip.<name>.blacklist\n{more}",
            lists.display()
        );
        self.write("etc/jail.local", &text);
    }

    /// Starts it (again).
    pub(crate) fn up(&mut self) {
        let out = File::create(self.home.join("out")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", env!("CARGO_BIN_EXE_stockade"), "run", "-c"]);
        command.arg(self.home.join("etc")).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        self.child = Some(command.spawn().unwrap());
        eventually("the daemon to start", || self.says("status").code == 0);
    }

    /// Ends it by a signal, and waits for its end.
    pub(crate) fn down(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
    }

    /// Our client with these words.
    pub(crate) fn says(&self, words: &str) -> Said {
        self.run("stockade", words)
    }

    /// The same under a name of the original's.
    pub(crate) fn says_as(&self, name: &str, words: &str) -> Said {
        self.run(name, words)
    }

    /// Our client with these words while no daemon runs, in a network that nobody else is in.
    pub(crate) fn says_alone(&self, words: &str) -> Said {
        let mut command = Command::new("unshare");
        command.args(["--net", env!("CARGO_BIN_EXE_stockade")]).args(words.split(' '));
        said(command.arg("-c").arg(self.home.join("etc")))
    }

    /// Runs a shell line in the daemon's network.
    pub(crate) fn inside(&self, line: &str) -> Said {
        let pid = self.read("run/s.pid").trim().to_owned();
        said(Command::new("nsenter").args(["--net", "-t", &pid, "sh", "-c", line]))
    }

    /// The daemon's network, which stays when the daemon ends.
    pub(crate) fn network(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.read("run/s.pid").trim())).unwrap()
    }

    /// Runs a shell line in a network that stayed; `stockade` is our client.
    pub(crate) fn in_network(&self, network: &File, line: &str) -> Said {
        use std::os::fd::AsRawFd;
        let net = format!("--net=/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
        let stockade =
            format!("stockade() {{ {} \"$@\" -c {}/etc; }};", env!("CARGO_BIN_EXE_stockade"), self.home.display());
        said(Command::new("nsenter").args([&net, "sh", "-c", &format!("{stockade} {line}")]))
    }

    /// What `doctor` finds, run in the daemon's network: lines with this id.
    pub(crate) fn doctor(&self, id: &str) -> Vec<String> {
        let etc = self.home.join("etc");
        let said = self.inside(&format!("{} doctor --json -c {}", env!("CARGO_BIN_EXE_stockade"), etc.display()));
        let all: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let all = all["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id);
        all.map(|finding| finding["what"].as_str().unwrap().to_owned()).collect()
    }

    fn run(&self, name: &str, words: &str) -> Said {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
        command.arg0(name).env("LANG", "C.UTF-8").current_dir(&self.home);
        let etc = self.home.join("etc").display().to_string();
        match name {
            "stockade" => command.args(words.split(' ')).args(["-c", &etc]),
            _ => command.args(["-c", &etc]).args(words.split(' ')),
        };
        said(&mut command)
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.join(name), text).unwrap();
    }

    /// A file below the home; empty if there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.join(name)).unwrap_or_default()
    }

    pub(crate) fn list(&self) -> PathBuf {
        self.home.join("lists/ip.web.blacklist")
    }

    /// The lines of the list.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.read("lists/ip.web.blacklist").lines().map(str::to_owned).collect()
    }

    /// Edits the `.keep` file as an editor does: written beside it, then moved.
    pub(crate) fn keep(&self, text: &str) {
        self.write("lists/.swap", text);
        std::fs::rename(self.home.join("lists/.swap"), self.home.join("lists/ip.web.blacklist.keep")).unwrap();
    }

    /// Who is banned, sorted.
    pub(crate) fn banned(&self) -> Vec<String> {
        let mut banned: Vec<String> =
            self.says("banned --plain").out.lines().filter(|l| !l.starts_with("nobody")).map(str::to_owned).collect();
        banned.sort();
        banned
    }

    /// Does the kernel drop its packets?
    pub(crate) fn holds(&self, address: &str) -> bool {
        self.says(&format!("why {address}")).out.contains("its packets are refused")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.read("own.log"));
            println!("{}", self.read("out"));
        }
        self.down(Signal::TERM);
        drop(std::fs::remove_dir_all(&self.home));
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout) + &text(&output.stderr) }
}

/// What a test looks at: mode bits.
pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
