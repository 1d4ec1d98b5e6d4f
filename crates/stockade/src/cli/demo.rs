//! `demo`: a ban, seen happening, in namespaces of its own.
//!
//! The program starts itself three times: as a machine with a toy login service
//! and a real daemon, and as an attacker in a network namespace of its own,
//! joined by a pair of virtual cables. Attempts are real TCP connections from
//! real addresses; the ban is in a real kernel. All of it goes with the last
//! process, and nothing outside is touched.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::json;
use stockade_core::Net;
use stockade_enforce::link;

use super::client::{Client, number, text};
use super::term::{self, say};
use super::{Common, Exit};

/// Addresses set aside for documentation, so that nobody is meant.
const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const PORT: u16 = 22;
/// How long the attacker waits for an answer.
const PATIENCE: Duration = Duration::from_millis(700);

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade demo          as root, or as a user where users may make namespaces\n  \
    stockade demo --json   what happened, for programs; exit code 0 if the ban worked";

/// Words of `demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// The part that this process plays; it is not for people
    #[arg(long, hide = true, value_name = "PART")]
    part: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Plays the demo.
pub(crate) fn demo(args: &DemoArgs) -> Result<Exit> {
    match args.part.as_deref() {
        None => stage(args),
        Some("machine") => machine(args.common.json),
        Some("attacker") => attacker(),
        Some(part) => bail!("there is no part '{part}'"),
    }
}

/// Starts this program again inside namespaces of its own.
fn stage(args: &DemoArgs) -> Result<Exit> {
    let root = rustix::process::geteuid().is_root();
    let mut command = in_namespaces(root, &["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args([std::env::current_exe()?.as_os_str(), "demo".as_ref(), "--part".as_ref(), "machine".as_ref()]);
    if args.common.json {
        command.arg("--json");
    }
    let status = command.status().context("the demo needs the program 'unshare' (Debian package util-linux)")?;
    match status.code() {
        Some(0) => Ok(Exit::Done),
        _ if root => bail!("the demo did not end well ({status})"),
        _ => {
            bail!("the demo did not end well ({status}); this system may not let users make namespaces: try it as root")
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "fixed words, nothing captured; the demo is not the daemon")]
fn in_namespaces(root: bool, namespaces: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    if !root {
        command.arg("--map-root-user");
    }
    command.args(namespaces).arg("--");
    command
}

/// The attacker's process, as the machine holds it.
struct Attacker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Attacker {
    /// Starts it in a network of its own and joins that to ours.
    fn start() -> Result<Attacker> {
        let mut command = in_namespaces(true, &["--net"]);
        command.args([std::env::current_exe()?.as_os_str(), "demo".as_ref(), "--part".as_ref(), "attacker".as_ref()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().context("the attacker has no ears")?;
        let answers = BufReader::new(child.stdout.take().context("the attacker has no voice")?);
        let mut attacker = Attacker { child, orders, answers };
        attacker.hear()?;
        link::veth("machine0", "attacker0", attacker.child.id()).context("the two networks could not be joined")?;
        link::add_address("machine0", Net::host(IpAddr::V4(MACHINE)), 24)?;
        link::up("machine0")?;
        attacker.order("ready")?;
        Ok(attacker)
    }

    fn order(&mut self, order: &str) -> Result<String> {
        writeln!(self.orders, "{order}")?;
        self.hear()
    }

    fn hear(&mut self) -> Result<String> {
        let mut answer = String::new();
        if (&mut self.answers).take(4_096).read_line(&mut answer)? == 0 {
            bail!("the attacker's process ended");
        }
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The attacker's own process: does what it is told, a line at a time.
fn attacker() -> Result<Exit> {
    say("here");
    for order in std::io::stdin().lock().lines() {
        let order = order?;
        if order == "ready" {
            for address in [ATTACKER, NEIGHBOUR] {
                link::add_address("attacker0", Net::host(IpAddr::V4(address)), 24)?;
            }
            link::up("attacker0")?;
            say("ready");
        } else if let Some(from) = order.strip_prefix("try ") {
            let from = from.parse().context("not an address")?;
            say(match attempt(from) {
                Ok(answer) => answer,
                Err(e) => format!("no answer ({e})"),
            });
        }
    }
    Ok(Exit::Done)
}

/// One log-in attempt from one address; the service's answer.
fn attempt(from: Ipv4Addr) -> Result<String> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
    match rustix::net::connect(&socket, &SocketAddr::from((MACHINE, PORT))) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    wait(&socket, PollFlags::OUT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"root 123456\n")?;
    let mut answer = String::new();
    BufReader::new(stream).take(256).read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

fn wait(socket: &OwnedFd, flags: PollFlags) -> Result<()> {
    let until = rustix::event::Timespec::try_from(PATIENCE).map_err(|_| anyhow!("time"))?;
    let mut fds = [PollFd::new(socket, flags)];
    if poll(&mut fds, Some(&until))? == 0 {
        bail!("timed out after {} ms", PATIENCE.as_millis());
    }
    match rustix::net::sockopt::socket_error(socket)? {
        Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The toy service: every password is wrong, and the log says so as sshd's would.
fn serve(listener: &TcpListener, log: &Path, stop: &AtomicBool) -> Result<()> {
    for connection in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut connection = connection?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let peer = connection.peer_addr()?;
        let mut words = String::new();
        BufReader::new(connection.try_clone()?).take(256).read_line(&mut words)?;
        let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let line =
            format!("{now} demo sshd[{0}]: Failed password for root from {1} port {0} ssh2\n", peer.port(), peer.ip());
        std::fs::OpenOptions::new().append(true).create(true).open(log)?.write_all(line.as_bytes())?;
        connection.write_all(b"wrong password\n")?;
    }
    Ok(())
}

/// A folder that goes when the demo ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The machine's part: service, daemon, attacker, and the words about it.
fn machine(json: bool) -> Result<Exit> {
    let began = Instant::now();
    let scratch = Scratch(std::env::temp_dir().join(format!(
        "stockade-demo-{}-{}",
        std::process::id(),
        jiff::Timestamp::now().as_nanosecond()
    )));
    let dir = &scratch.0;
    std::fs::create_dir(dir).context("no room for the demo's files")?;
    let log = dir.join("auth.log");
    std::fs::write(&log, "")?;
    link::up("lo")?;
    let tell = |line: String| if json { term::note(line) } else { say(line) };
    tell("A machine, an attacker, and nothing else: networks of their own, gone in ten seconds.\n".to_owned());
    let mut attacker = Attacker::start()?;
    let listener = TcpListener::bind((MACHINE, PORT)).context("the toy service could not start")?;
    let stop = Arc::new(AtomicBool::new(false));
    {
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        std::thread::spawn(move || serve(&listener, &log, &stop));
    }
    let mut daemon = Daemon::start(dir, &log)?;
    let mut client = daemon.wait()?;
    tell("$ stockade run       # sshd: 5 wrong passwords in 10 minutes ban for an hour\n".to_owned());
    let mut tried = 0;
    while tried < 5 {
        let answer = attacker.order(&format!("try {ATTACKER}"))?;
        tried += 1;
        tell(format!("{ATTACKER} tries password {tried}: {answer}"));
        if answer != "wrong password" {
            bail!("the toy service did not answer the attacker: {answer}");
        }
    }
    let seconds = daemon.until_banned(&mut client)?;
    tell(format!("\n  {}\n", term::bold(&format!("banned {seconds:.3} s later"))));
    let blocked = attacker.order(&format!("try {ATTACKER}"))?;
    tell(format!("{ATTACKER} tries once more: {}", term::warn(&blocked)));
    let neighbour = attacker.order(&format!("try {NEIGHBOUR}"))?;
    tell(format!("{NEIGHBOUR}, who did nothing: {neighbour}"));
    let why = client.ask("why", &json!({ "id": ATTACKER.to_string() }))?;
    tell(format!("\n$ stockade why {ATTACKER}\n{}", text(&why, "summary")));
    if let Some(kernel) = why.get("kernel").and_then(serde_json::Value::as_str) {
        tell(format!("kernel: {kernel}"));
    }
    let lifted = client.ask("unban", &json!({ "addresses": [ATTACKER.to_string()] }))?;
    let after = attacker.order(&format!("try {ATTACKER}"))?;
    tell(format!("\n$ stockade unban {ATTACKER}\n{ATTACKER} tries again: {after}"));
    stop.store(true, Ordering::Relaxed);
    let held = blocked.starts_with("no answer") && neighbour == "wrong password";
    let worked = held && number(&lifted, "changed") == 1 && after == "wrong password";
    tell(format!("\nThat was {:.1} s. For this machine: stockade run", began.elapsed().as_secs_f64()));
    if json {
        say(json!({ "banned_after": tried, "ban_seconds": seconds, "blocked": blocked, "neighbour": neighbour,
            "after_unban": after, "worked": worked })
        .to_string());
    }
    if !worked {
        bail!("the ban did not work here; the daemon's log was:\n{}", daemon.log());
    }
    Ok(Exit::Done)
}

/// The real daemon on a tree of three lines.
struct Daemon {
    child: Child,
    dir: PathBuf,
}

impl Daemon {
    #[expect(clippy::disallowed_methods, reason = "starts this very program, with fixed words")]
    fn start(dir: &Path, log: &Path) -> Result<Daemon> {
        let show = |path: &Path| path.display().to_string();
        let places = format!(
            "[DEFAULT]\nsocket = {0}/stockade.sock\npidfile = {0}/stockade.pid\ndbfile = {0}/stockade.sqlite3\n\
             logtarget = {0}/stockade.log\n",
            show(dir)
        );
        std::fs::write(dir.join("fail2ban.local"), places)?;
        let jail = format!("[DEFAULT]\nbantime = 1h\n\n[sshd]\nbackend = polling\nlogpath = {}\n", show(log));
        std::fs::write(dir.join("jail.local"), jail)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["run".as_ref(), "-c".as_ref(), dir.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Daemon { child, dir: dir.to_owned() })
    }

    /// Waits until it answers.
    fn wait(&mut self) -> Result<Client> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Ok(mut client) = Client::at(&self.dir.join("stockade.sock"))
                && client.ask("status", &json!({})).is_ok()
            {
                return Ok(client);
            }
            if Instant::now() > until || self.child.try_wait()?.is_some() {
                bail!("the daemon did not start; its log was:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Seconds until the attacker's ban is in force.
    fn until_banned(&self, client: &mut Client) -> Result<f64> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let why = client.ask("why", &json!({ "id": ATTACKER.to_string() }))?;
            if why.get("banned") == Some(&serde_json::Value::Bool(true)) {
                return Ok(began.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("the attacker was not banned; the daemon's log was:\n{}", self.log())
    }

    fn log(&self) -> String {
        let mut text = String::new();
        if let Ok(file) = std::fs::File::open(self.dir.join("stockade.log")) {
            drop(file.take(1 << 20).read_to_string(&mut text));
        }
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
