//! `ignoreip = file:PATH`: a list that changes is in force without a reload, however it is written.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails loudly")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon in a network of its own; it goes with this value.
struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start() -> Daemon {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ignore-file-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(folder.join("conf/filter.d")).unwrap();
        let put = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        let here = folder.display();
        put(
            "conf/fail2ban.local",
            format!("[Definition]\nsocket = {here}/s\npidfile = {here}/p\ndbfile = None\nlogtarget = {here}/own.log\n"),
        );
        put(
            "conf/jail.local",
            format!(
                "[sshd]\nenabled = false\n[app]\nenabled = true\nbackend = polling\nfilter = app\nport = 0:65535\n\
                 maxretry = 1\nlogpath = {here}/app.log\nignoreip = file:{here}/list\n"
            ),
        );
        put("conf/filter.d/app.conf", "[Definition]\nfailregex = ^\\s*app: refused <HOST>$\n".to_owned());
        put("list", "192.0.2.7\n".to_owned());
        put("app.log", String::new());
        let child = Command::new("unshare")
            .args(["--net", env!("CARGO_BIN_EXE_stockade"), "run", "-c"])
            .arg(folder.join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Daemon { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Lets the address fail again and again until the daemon's log says that of it.
    #[track_caller]
    fn until(&self, address: &str, said: &str) {
        let wanted = format!("{said} {address}");
        let end = Instant::now() + PATIENCE;
        while !read(&self.path("own.log")).contains(&wanted) {
            assert!(Instant::now() < end, "no '{wanted}' in\n{}", read(&self.path("own.log")));
            let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
            let mut log = std::fs::OpenOptions::new().append(true).open(self.path("app.log")).unwrap();
            writeln!(log, "{now} app: refused {address}").unwrap();
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_list_that_changes_is_in_force() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: a network namespace needs root");
        return;
    }
    let daemon = Daemon::start();
    daemon.until("192.0.2.7", "Ignore");
    // Written in place, then another file in its stead.
    std::fs::write(daemon.path("list"), "192.0.2.8 # no longer .7\n").unwrap();
    daemon.until("192.0.2.7", "Ban");
    daemon.until("192.0.2.8", "Ignore");
    std::fs::write(daemon.path("new"), "192.0.2.9\n").unwrap();
    std::fs::rename(daemon.path("new"), daemon.path("list")).unwrap();
    daemon.until("192.0.2.8", "Ban");
    daemon.until("192.0.2.9", "Ignore");
}
