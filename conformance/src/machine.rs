//! One machine: a Debian root in mount, process, network, host-name and control-group namespaces of its own.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Programs, bounded::read_bounded, wait::eventually};

/// Which Debian the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Debian 12: OpenSSH 9.2, fail2ban 1.0.2.
    Bookworm,
    /// Debian 13: OpenSSH 10.0, fail2ban 1.1.0.
    Trixie,
}

impl Root {
    /// The folder of the root: from `STOCKADE_F2B_ROOT_102` or `STOCKADE_F2B_ROOT_110`, which `cargo xtask test` sets.
    ///
    /// # Errors
    /// When the variable is not set or does not name a Debian root.
    pub fn folder(self) -> Result<PathBuf> {
        let variable = match self {
            Self::Bookworm => "STOCKADE_F2B_ROOT_102",
            Self::Trixie => "STOCKADE_F2B_ROOT_110",
        };
        let folder = env::var_os(variable).with_context(|| format!("{variable} is not set: run `cargo xtask test`"))?;
        let folder = PathBuf::from(folder);
        ensure!(folder.join("etc/debian_version").is_file(), "{} is no Debian root ({variable})", folder.display());
        Ok(folder)
    }
}

/// What a command in a machine said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output, invalid UTF-8 replaced.
    pub out: String,
    /// Standard error, invalid UTF-8 replaced.
    pub err: String,
}

impl Output {
    /// Standard output and error in one text.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// The standard output of a command that has to succeed.
    ///
    /// # Errors
    /// When the exit code is not 0.
    pub fn good(self, what: &str) -> Result<String> {
        ensure!(self.code == 0, "{what}: exit code {}: {}", self.code, self.all().trim());
        Ok(self.out)
    }
}

/// A running machine; everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Machine {
    holder: Child,
    init: u32,
    place: PathBuf,
    group: Option<PathBuf>,
    programs: PathBuf,
    _words: BufReader<ChildStdout>,
}

impl Machine {
    /// The machine's IPv4 address as the street sees it.
    pub const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 66, 0, 2));
    /// The machine's IPv6 address as the street sees it.
    pub const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 2));

    /// Starts a machine on a root, with no service running in it yet.
    ///
    /// # Errors
    /// When the rights for namespaces and mounts are lacking, or a tool is missing.
    pub fn start(root: Root, programs: &Programs) -> Result<Arc<Self>> {
        let folder = root.folder()?;
        let place = programs.next_place()?;
        let group = own_control_group(&place);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c"]);
        // The control group has to be entered before its namespace is made: it is the root that the machine sees.
        command.arg(
            "if [ -n \"$1\" ]; then echo $$ > \"$1/cgroup.procs\"; fi; shift; \
             exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child sh -c \"$@\"",
        );
        command.arg("sh").arg(group.as_deref().unwrap_or(Path::new("")));
        command.args([include_str!("machine.sh"), "machine.sh"]);
        command.arg(&folder).arg(&place).arg(programs.place());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = command.spawn().context("start a machine: setpriv, unshare")?;
        let words = wait_until_ready(&mut holder, "machine")?;
        let init = child_of(holder.id())?;
        let machine = Self { holder, init, place, group, programs: programs.place().to_owned(), _words: words };
        if programs.place().join("stockade").is_file() {
            machine.sh("ln -sf /run/stage/stockade /usr/bin/stockade")?;
        }
        Ok(Arc::new(machine))
    }

    /// The process id of the machine's init, seen from outside.
    #[must_use]
    pub fn init(&self) -> u32 {
        self.init
    }

    /// The folder of the programs that are also seen inside, under `/run/stage`.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Where a file of the machine is seen from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// The text of a file in the machine; empty if there is none.
    #[must_use]
    pub fn read(&self, inside: &str) -> String {
        read_bounded(&self.path(inside))
    }

    /// Writes a file in the machine, with the folders above it.
    ///
    /// # Errors
    /// When the machine's disk refuses.
    pub fn write(&self, inside: &str, text: &str) -> Result<()> {
        let path = self.path(inside);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {inside} in the machine"))
    }

    /// Appends to a file in the machine in one write, as a log writer does.
    ///
    /// # Errors
    /// When the file cannot be opened or written.
    pub fn append(&self, inside: &str, text: &str) -> Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path(inside))
            .with_context(|| format!("open {inside} in the machine"))?;
        file.write_all(text.as_bytes()).with_context(|| format!("append to {inside} in the machine"))
    }

    /// A command that will run inside the machine, not started yet.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        self.entered(&[], words)
    }

    /// A command that sees the machine's files and processes, but stands in another network.
    #[must_use]
    pub fn command_on_street(&self, street: u32, words: &[&str]) -> Command {
        self.entered(&[format!("--net=/proc/{street}/ns/net")], words)
    }

    fn entered(&self, network: &[String], words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--target", &self.init.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd"]);
        if network.is_empty() {
            command.arg("--net");
        }
        command.args(network).arg("--").args(words);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8").env("HOME", "/root");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end.
    ///
    /// # Errors
    /// When it cannot be started; a failing command is not an error here.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        finish(&mut self.command(words))
    }

    /// Runs a shell line inside that has to succeed, and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn sh(&self, line: &str) -> Result<String> {
        self.run(&["sh", "-c", line])?.good(line)
    }

    /// Runs a command inside that reads `input` from its standard input.
    ///
    /// # Errors
    /// When it cannot be started or fed.
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Result<Output> {
        feed(&mut self.command(words), input)
    }

    /// Puts a folder of the machine on the real disk, where a sync costs what it costs, instead of in memory.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn on_disk(&self, inside: &str) -> Result<()> {
        let name = self.place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outside = format!("/run/stage/{name}{}", inside.replace('/', "-"));
        self.sh(&format!("mkdir -p {outside} {inside} && mount --bind {outside} {inside}")).map(drop)
    }
}

/// Runs a command to its end with `input` as its standard input.
///
/// # Errors
/// When it cannot be started or fed; a failing command is not an error here.
pub fn feed(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("standard input of a command")?;
    let text = input.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    match writer.join() {
        Ok(Ok(())) => {}
        // A program may answer without reading all of its input.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        Ok(Err(error)) => return Err(error).context("feed a command"),
        Err(_) => bail!("feeding a command panicked"),
    }
    Ok(into_output(&output))
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.holder);
        // The namespaces go with their last process; the folders are empty by then.
        drop(eventually("the machine's processes to end", || {
            Ok(self.group.as_deref().is_none_or(remove_control_groups))
        }));
        drop(fs::remove_dir(&self.place));
    }
}

/// Runs a command to its end and gathers what it said.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn finish(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    Ok(into_output(&output))
}

fn into_output(output: &process::Output) -> Output {
    Output {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Kills a process by its number, if it still lives.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

/// Kills a child of ours and takes its status.
pub(crate) fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// Waits for the line "ready" of a script; its pipe has to stay open as long as the script lives.
pub(crate) fn wait_until_ready(holder: &mut Child, what: &str) -> Result<BufReader<ChildStdout>> {
    let mut words = BufReader::new(holder.stdout.take().context("standard output of a script")?);
    let mut line = String::new();
    words.read_line(&mut line)?;
    if line.trim() != "ready" {
        end(holder);
        bail!("the {what} could not be built (root and namespaces are needed; its complaint stands above)");
    }
    Ok(words)
}

/// The first child of a process, seen from outside.
pub(crate) fn child_of(parent: u32) -> Result<u32> {
    let mut found = None;
    eventually("a started process to appear", || {
        let children = read_bounded(Path::new(&format!("/proc/{parent}/task/{parent}/children")));
        found = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
        Ok(found.is_some())
    })?;
    found.context("a started process")
}

/// A control group for the machine, so that services in it have unit names; none where the system has no such tree.
fn own_control_group(place: &Path) -> Option<PathBuf> {
    let mounts = read_bounded(Path::new("/proc/self/mounts"));
    let tree = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, folder, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })?;
    let own = read_bounded(Path::new("/proc/self/cgroup"));
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let group = tree.join(own).join(format!("stockade-{}", place.file_name()?.to_string_lossy()));
    fs::create_dir(&group).ok()?;
    Some(group)
}

/// Removes a control group with those below it; true when it is gone.
fn remove_control_groups(group: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                remove_control_groups(&entry.path());
            }
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}
