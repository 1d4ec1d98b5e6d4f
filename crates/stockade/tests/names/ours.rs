//! Our program under the original's names, in a network of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Said;

/// A folder with our program under the original's names, where the original's
/// root sees it, too; it goes with this value.
pub(crate) struct Ours {
    folder: PathBuf,
}

impl Ours {
    /// Makes the folder.
    pub(crate) fn new() -> Ours {
        let folder = crate::fresh_folder("bin");
        let program = folder.join("stockade");
        std::fs::copy(env!("CARGO_BIN_EXE_stockade"), &program).unwrap();
        for name in ["fail2ban-client", "fail2ban-server"] {
            std::fs::hard_link(&program, folder.join(name)).unwrap();
        }
        Ours { folder }
    }

    /// Where the programs are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of the programs, `client` or `server`, not started yet.
    pub(crate) fn command(&self, program: &str, words: &[String]) -> Command {
        let mut command = Command::new("unshare");
        command
            .arg("--net")
            .arg(self.folder.join(format!("fail2ban-{program}")))
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8");
        command
    }

    /// Runs the client with these words.
    pub(crate) fn client(&self, words: &[String]) -> Said {
        self.run("client", words, "")
    }

    /// Runs one of the programs to its end.
    pub(crate) fn run(&self, program: &str, words: &[String], stdin: &str) -> Said {
        let mut command = self.command(program, words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // It need not read all of it.
        drop(pipe.write_all(stdin.as_bytes()));
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}
