//! Boxes: a Debian root for each side, in which tools are stand-ins that write
//! down how they were called.
#![expect(clippy::disallowed_methods, reason = "tests start the original and make namespaces")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

/// Names one side's run inside of its box.
pub(super) const INSIDE: &str = "STOCKADE_ACTIONS_BOX";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A folder that both sides of one comparison see as `/stage`.
pub(super) struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// With stand-ins for these tools; all if it is `None`.
    pub(super) fn new(tools: Option<&str>) -> Stage {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("stockade-box-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("place")).unwrap();
        for (name, text) in [
            ("box.sh", include_str!("box.sh")),
            ("shell.sh", include_str!("shell.sh")),
            ("stub.sh", include_str!("stub.sh")),
            ("tools", tools.unwrap_or(include_str!("tools"))),
            ("theirs.py", include_str!("theirs.py")),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        for script in ["shell.sh", "stub.sh"] {
            let run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(folder.join(script), run).unwrap();
        }
        fs::copy(std::env::current_exe().unwrap(), folder.join("ours")).unwrap();
        Stage { folder }
    }

    /// Runs something in a fresh box and returns what it printed.
    pub(super) fn run(&self, root: &Path, words: &[&str], input: &str) -> String {
        let mut child = Command::new("timeout")
            .args(["600", "unshare", "-m", "-n", "-p", "-u", "--fork", "--kill-child", "sh"])
            .arg(self.folder.join("box.sh"))
            .arg(self.folder.join("place"))
            .arg(root)
            .arg(&self.folder)
            .args(words)
            .env_clear()
            .env("PATH", "/stubs:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/root")
            .env(INSIDE, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(input.is_empty(), "a box has no input");
        let mut text = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{words:?} in {}: {status}: {text}", root.display());
        text
    }

    /// What the original's reader makes of these actions of its own tree.
    pub(super) fn specs(&self, root: &Path, actions: &[(String, Value)]) -> Vec<Value> {
        let mut file = fs::File::create(self.folder.join("wanted")).unwrap();
        for (name, options) in actions {
            writeln!(file, "{}", json!([name, options])).unwrap();
        }
        let script = "exec python3 /stage/theirs.py specs /etc/fail2ban < /stage/wanted";
        let answer = self.run(root, &["/bin/dash", "-c", script], "");
        answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What both sides did: theirs, ours.
    pub(super) fn both(&self, root: &Path, test: &str, jobs: &[Value]) -> (Vec<Value>, Vec<Value>) {
        let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
        fs::write(self.folder.join("jobs"), lines).unwrap();
        let begin = std::time::Instant::now();
        let theirs = self.run(root, &["python3", "/stage/theirs.py", "run", "/stage/jobs"], "");
        let took = begin.elapsed();
        let theirs = theirs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let words = ["/stage/ours", test, "--exact", "--nocapture", "--test-threads=1"];
        let begin = std::time::Instant::now();
        let ours = self.run(root, &words, "");
        println!("{} jobs: theirs took {took:.1?}, ours {:.1?}", jobs.len(), begin.elapsed());
        let ours =
            ours.lines().filter_map(|line| line.strip_prefix("BOX ")).map(|line| serde_json::from_str(line).unwrap());
        (theirs, ours.collect())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}
