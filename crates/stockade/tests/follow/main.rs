//! A daemon follows a log of a jail with options of its own, and its log tells what came of it.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails loudly")]

mod again;
mod encodings;
mod ignore_file;
mod lines;
mod overrun;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// The filter of the jail `app`.
pub(crate) const FILTER: &str = "[Definition]\nfailregex = ^\\s*app: refused <HOST>$\n";

/// How a text is written into a log.
pub(crate) type Encode = fn(&str) -> Vec<u8>;

/// A daemon in a network of its own; it goes with this value.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
    /// How a text is written into the jail's log.
    encode: Encode,
}

impl Daemon {
    /// A daemon whose jail `app` bans at the first failure. `{here}` in its `options` is its folder.
    /// Nothing if no namespace can be made.
    pub(crate) fn start(name: &str, options: &str) -> Option<Daemon> {
        Daemon::with_filter(name, options, FILTER)
    }

    /// The same with another filter.
    pub(crate) fn with_filter(name: &str, options: &str, filter: &str) -> Option<Daemon> {
        Daemon::with(name, options, filter, "None")
    }

    /// The same with a database, too: `{here}` is its folder.
    pub(crate) fn with(name: &str, options: &str, filter: &str, dbfile: &str) -> Option<Daemon> {
        if !rustix::process::geteuid().is_root() {
            stockade_original::skip(name, "a network namespace needs root");
            return None;
        }
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(folder.join("conf/filter.d")).unwrap();
        let put = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
        let here = folder.display();
        put(
            "conf/fail2ban.local",
            format!(
                "[Definition]\nsocket = {here}/s\npidfile = {here}/p\ndbfile = {}\nlogtarget = {here}/own.log\n",
                dbfile.replace("{here}", &here.to_string())
            ),
        );
        put(
            "conf/jail.local",
            format!(
                "[sshd]\nenabled = false\n[app]\nenabled = true\nbackend = polling\nfilter = app\nport = 0:65535\n\
                 maxretry = 1\nlogpath = {here}/app.log\n{}\n",
                options.replace("{here}", &here.to_string())
            ),
        );
        put("conf/filter.d/app.conf", filter.to_owned());
        put("list", "192.0.2.7\n".to_owned());
        put("app.log", String::new());
        let child = Command::new("unshare")
            .args(["--net", env!("CARGO_BIN_EXE_stockade"), "run", "-c"])
            .arg(folder.join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Daemon { child, folder, encode: |text| text.into() })
    }

    /// The same daemon, whose jail's log is written so from now on.
    pub(crate) fn writing(mut self, encode: Encode) -> Daemon {
        self.encode = encode;
        self
    }

    /// A file of its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Tells the daemon something, as the original's client does; it has to succeed.
    #[track_caller]
    pub(crate) fn tell(&self, words: &[&str]) {
        let client = Command::new(env!("CARGO_BIN_EXE_stockade"))
            .arg0("fail2ban-client")
            .arg("-c")
            .arg(self.path("conf"))
            .args(words)
            .output()
            .unwrap();
        assert!(client.status.success(), "{words:?}: {}", String::from_utf8_lossy(&client.stderr));
    }

    /// What one of our own commands says of this daemon, as JSON.
    #[track_caller]
    pub(crate) fn ask(&self, words: &[&str]) -> serde_json::Value {
        let conf = self.path("conf");
        let run = Command::new(env!("CARGO_BIN_EXE_stockade")).args(words).arg("--json").arg("-c").arg(conf).output();
        serde_json::from_slice(&run.unwrap().stdout).unwrap()
    }

    /// What our own client says.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let mut client = Command::new(env!("CARGO_BIN_EXE_stockade"));
        let client = client.args(words).arg("-c").arg(self.path("conf"));
        let output = client.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Lets the address fail once.
    pub(crate) fn fail(&self, address: &str) {
        self.line(&format!("app: refused {address}"));
    }

    /// Writes a line of now into the jail's log.
    fn line(&self, line: &str) {
        let mut log = std::fs::OpenOptions::new().append(true).open(self.path("app.log")).unwrap();
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        log.write_all(&(self.encode)(&format!("{now} {line}\n"))).unwrap();
    }

    /// How often the daemon's log says that.
    pub(crate) fn times(&self, said: &str) -> usize {
        read(&self.path("own.log")).matches(said).count()
    }

    /// Lets the address fail again and again until the daemon's log says that of it.
    #[track_caller]
    pub(crate) fn until(&self, address: &str, said: &str) {
        self.until_said(&format!("app: refused {address}"), &format!("{said} {address}"));
    }

    /// Lets a line appear again and again until the daemon's log says that.
    #[track_caller]
    pub(crate) fn until_said(&self, line: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while !read(&self.path("own.log")).contains(wanted) {
            assert!(Instant::now() < end, "no '{wanted}' in\n{}", read(&self.path("own.log")));
            self.line(line);
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
