//! An installed fail2ban: its client in one long-lived process, its server in the foreground.
//!
//! Both run inside their own Debian root (read only, entered with `chroot` in a
//! mount namespace), where `/tmp` is this machine's, so that sockets and trees
//! have the same names on both sides.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use stockade_original::{Driver, Installed};

use crate::Said;

/// How long anything may take to start or stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// One version.
pub(crate) struct Original {
    pub(crate) version: String,
    pub(crate) installed: Installed,
    driver: Driver,
}

/// Both versions, or those that are there.
pub(crate) fn all(test: &str) -> Vec<Original> {
    stockade_original::both(test).into_iter().map(Original::start).collect()
}

/// Is there none to compare with, and so perhaps not what such tests need?
pub(crate) fn none(test: &str) -> bool {
    stockade_original::newest(test).is_none()
}

/// A Python program inside the root.
fn python(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--propagation", "private", "sh", "-c"]);
    command.arg("mount --bind /tmp \"$0/tmp\" && mount --bind /proc \"$0/proc\" && exec chroot \"$0\" /usr/bin/python3 -B \"$@\"").arg(root).args(words);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
    command
}

impl Original {
    fn start(installed: Installed) -> Original {
        let place = crate::fresh_folder("driver");
        let script = place.join("driver.py");
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names/driver.py"), &script).unwrap();
        let words = [script.to_str().unwrap(), "/usr/lib/python3/dist-packages"];
        let mut driver = Driver::start(python(&installed.root, &words));
        let hello = driver.hear().unwrap();
        std::fs::remove_dir_all(place).unwrap();
        let version = hello["version"].as_str().unwrap().to_owned();
        Original { version, installed, driver }
    }

    /// Runs its client with these words.
    pub(crate) fn client(&mut self, words: &[String]) -> Said {
        self.run("client", words, "")
    }

    /// Runs its client as if it were in that folder, where it looks for a server to start.
    pub(crate) fn client_in(&mut self, folder: &Path, words: &[String]) -> Said {
        self.request("client", folder, words, "")
    }

    /// Runs one of its programs, `client` or `server`, to its end.
    pub(crate) fn run(&mut self, program: &str, words: &[String], stdin: &str) -> Said {
        self.request(program, Path::new("/usr/bin"), words, stdin)
    }

    fn request(&mut self, program: &str, folder: &Path, words: &[String], stdin: &str) -> Said {
        let request = json!({"program": program, "folder": folder, "argv": words, "stdin": stdin});
        let answer = self.driver.ask(&request);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Said { code: i32::try_from(answer["code"].as_i64().unwrap()).unwrap(), out: text("out"), err: text("err") }
    }

    /// Runs its own tests against the programs in that folder; see `foreign.py`.
    pub(crate) fn own_tests(&self, folder: &Path, client: &str, tests: &[&str]) -> String {
        let place = crate::fresh_folder("foreign");
        let script = place.join("foreign.py");
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names/foreign.py"), &script).unwrap();
        let packages = "/usr/lib/python3/dist-packages";
        let mut words = vec![script.to_str().unwrap(), packages, folder.to_str().unwrap(), client];
        words.extend(tests);
        let output = python(&self.installed.root, &words).stdin(Stdio::null()).output().unwrap();
        std::fs::remove_dir_all(place).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// One of its programs, not started yet.
    pub(crate) fn command(&self, program: &str, words: &[String]) -> Command {
        let program = format!("/usr/bin/fail2ban-{program}");
        let words: Vec<&str> = std::iter::once(program.as_str()).chain(words.iter().map(String::as_str)).collect();
        python(&self.installed.root, &words)
    }

    /// Starts its server on a good tree, and waits until its jails run.
    pub(crate) fn server(&mut self, tree: &Path) -> Server {
        let words = ["-c", tree.to_str().unwrap(), "-f", "-x", "start"].map(str::to_owned);
        let child = self.command("server", &words).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let server = Server::when_it_answers(child, &tree.join("run/f2b.sock"));
        let words = ["-c", tree.to_str().unwrap(), "status"].map(str::to_owned);
        let begin = Instant::now();
        while !self.client(&words).out.contains("api, web") {
            assert!(begin.elapsed() < PATIENCE, "the jails of {} do not start", tree.display());
        }
        server
    }
}

/// A server in the foreground, theirs or ours; it ends with this value.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Waits until the socket takes connections.
    pub(crate) fn when_it_answers(mut child: Child, socket: &Path) -> Server {
        let begin = Instant::now();
        while UnixStream::connect(socket).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server of {} ended with {status}", socket.display());
            }
            assert!(begin.elapsed() < PATIENCE, "no server answers at {}", socket.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { child }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until it has ended by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "the server goes on and on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
