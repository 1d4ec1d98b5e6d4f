//! A network namespace for each test, and an attacker in another one.
#![expect(clippy::disallowed_methods, reason = "namespaces and witnesses are made with the system's tools")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Runs the body of a test in its own network namespace, by starting this test
/// binary again for that one test. Without rights: loud under CI, else a skip.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os("STOCKADE_TEST_NAMESPACE").is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        body();
        return;
    }
    let possible = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|s| s.success()) {
        return stockade_original::skip(test, "no rights to make a network namespace");
    }
    let this = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["-n", "--"])
        .arg(this)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("STOCKADE_TEST_NAMESPACE", "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its namespace");
}

/// Runs a tool that must succeed; returns what it printed.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Address of the target on the attacker's link.
pub(crate) const TARGET4: &str = "10.0.0.1";
/// The same for IPv6.
pub(crate) const TARGET6: &str = "2001:db8:0::1";

/// A process in a namespace of its own, linked to ours, that can send from any
/// address of 10.9.0.0/16 and 2001:db8:9::/64.
pub(crate) struct Attacker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Attacker {
    pub(crate) fn start() -> Attacker {
        let mut attacker = Attacker::start_named("a0", "10.0.0");
        run("ip", &["addr", "add", "2001:db8::1/64", "dev", "a0", "nodad"]);
        for args in [
            "addr add 2001:db8::2/64 dev peer nodad",
            // Known neighbours: no first packet waits for its neighbour's address.
            "neigh replace 2001:db8::1 lladdr 02:00:00:00:00:01 dev peer",
            "route add local 10.9.0.0/16 dev lo",
            "-6 route add local 2001:db8:9::/64 dev lo",
            "-6 route add default via 2001:db8::1",
        ] {
            attacker.ip(args);
        }
        run("ip", &["neigh", "replace", "2001:db8::2", "lladdr", "02:00:00:00:00:02", "dev", "a0"]);
        run("ip", &["route", "add", "10.9.0.0/16", "via", "10.0.0.2"]);
        run("ip", &["-6", "route", "add", "2001:db8:9::/64", "via", "2001:db8::2"]);
        attacker.wait_for_link("2001:db8::2", TARGET6);
        attacker
    }

    /// A namespace on a link of that name, we as `.1`, it as `.2` of that network.
    pub(crate) fn start_named(link: &str, network: &str) -> Attacker {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new("unshare")
            .args(["-n", "--"])
            .arg(this)
            .args(["attacker_process", "--exact", "--nocapture", "--test-threads=1"])
            .env("STOCKADE_TEST_ATTACKER", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let pid = child.id().to_string();
        let mut attacker = Attacker { child, input, output };
        attacker.ask("hello");
        run("ip", &["link", "add", link, "type", "veth", "peer", "name", "peer", "netns", &pid]);
        run("ip", &["link", "set", link, "address", "02:00:00:00:00:01"]);
        run("ip", &["addr", "add", &format!("{network}.1/24"), "dev", link]);
        run("ip", &["link", "set", link, "up"]);
        for args in [
            "link set lo up",
            &format!("addr add {network}.2/24 dev peer"),
            "link set peer address 02:00:00:00:00:02",
            "link set peer up",
            &format!("neigh replace {network}.1 lladdr 02:00:00:00:00:01 dev peer"),
            &format!("route add default via {network}.1"),
        ] {
            attacker.ip(args);
        }
        run("ip", &["neigh", "replace", &format!("{network}.2"), "lladdr", "02:00:00:00:00:02", "dev", link]);
        attacker.wait_for_link(&format!("{network}.2"), &format!("{network}.1"));
        attacker
    }

    /// Waits until packets get through in both directions: links and addresses come up in the background.
    fn wait_for_link(&mut self, from: &str, to: &str) {
        let _listener = std::net::TcpListener::bind((to, 9)).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while self.connect(from, to, 9) != "open" {
            assert!(Instant::now() < end, "the link does not come up");
        }
    }

    /// Runs `ip` in the attacker's namespace.
    pub(crate) fn ip(&self, args: &str) -> String {
        let pid = self.child.id().to_string();
        let mut all = vec!["-t", &pid, "-n", "ip"];
        all.extend(args.split(' '));
        run("nsenter", &all)
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "attacker ended at {command}");
            if let Some(answer) = line.trim().strip_prefix("@") {
                return answer.to_owned();
            }
            // The test runner's own words stand in front of the first answer.
            if let Some((_, answer)) = line.trim().split_once("@") {
                return answer.to_owned();
            }
        }
    }

    /// Sends datagrams from an address.
    pub(crate) fn datagrams(&mut self, from: &str, to: &str, port: u16, number: u32) {
        assert_eq!(self.ask(&format!("udp {from} {to} {port} {number}")), format!("sent {number}"));
    }

    /// Tries to connect by TCP from an address: `open`, `refused` or `timeout`.
    pub(crate) fn connect(&mut self, from: &str, to: &str, port: u16) -> String {
        self.ask(&format!("tcp {from} {to} {port}"))
    }
}

/// Another process of this test binary in our namespace, which does what the test of that name does.
pub(crate) struct Daemon {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Daemon {
    /// Starts it and waits for the line `@ready`.
    pub(crate) fn start(test: &str) -> Daemon {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this)
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env("STOCKADE_TEST_DAEMON", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("@ready") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the daemon ended early");
        }
        Daemon { child, output }
    }

    /// Waits until a storm has made so many changes.
    pub(crate) fn wait_for_changes(&mut self, number: u32) {
        let mut line = String::new();
        for _ in 0..number {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the daemon ended early");
        }
    }

    /// In the daemon: says that it is ready and makes one change after the other until it is killed.
    pub(crate) fn storm(mut change: impl FnMut(u32)) -> ! {
        println!("@ready");
        for round in 0.. {
            change(round);
            println!("@change");
        }
        std::process::exit(0)
    }

    /// kill -9
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// In the daemon: says that it is ready and waits to be killed.
    pub(crate) fn ready() {
        println!("@ready");
        std::io::stdin().lines().for_each(drop);
    }

    /// Are we it?
    pub(crate) fn is_here() -> bool {
        std::env::var_os("STOCKADE_TEST_DAEMON").is_some()
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the attacker process does; called by a test of that name in each test binary.
pub(crate) fn attacker_process() {
    if std::env::var_os("STOCKADE_TEST_ATTACKER").is_none() {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wide = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wide).unwrap();
    let mut flood: Option<(Arc<AtomicBool>, std::thread::JoinHandle<u64>)> = None;
    let mut connection: Option<TcpStream> = None;
    let mut listener: Option<UdpSocket> = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["hello"] => {
                std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").unwrap();
                "hello".to_owned()
            }
            ["udp", from, to, port, number] => {
                let socket = UdpSocket::bind((from.parse::<IpAddr>().unwrap(), 0)).unwrap();
                let to = SocketAddr::new(to.parse().unwrap(), port.parse().unwrap());
                for _ in 0..number.parse::<u32>().unwrap() {
                    // A rejected datagram shows as an error at the next one.
                    socket.send_to(b"x", to).or_else(|_| socket.send_to(b"x", to)).unwrap();
                }
                format!("sent {number}")
            }
            ["flood", count, to, port] => {
                let count = count.parse().unwrap();
                let to = SocketAddr::new(to.parse().unwrap(), port.parse().unwrap());
                let stop = Arc::new(AtomicBool::new(false));
                let seen = Arc::clone(&stop);
                flood = Some((stop, std::thread::spawn(move || flood_from(count, to, &seen))));
                "started".to_owned()
            }
            ["stop"] => {
                let (stop, thread) = flood.take().unwrap();
                stop.store(true, Ordering::Relaxed);
                format!("{}", thread.join().unwrap())
            }
            ["tcp", from, to, port] => {
                match connect(from.parse().unwrap(), SocketAddr::new(to.parse().unwrap(), port.parse().unwrap())) {
                    Ok(stream) => {
                        connection = Some(stream);
                        "open".to_owned()
                    }
                    Err(word) => word.to_owned(),
                }
            }
            // Time that one datagram takes through our sending and the other side's receiving, in picoseconds.
            ["burst", from, to, port, number] => {
                let socket = UdpSocket::bind((from.parse::<IpAddr>().unwrap(), 0)).unwrap();
                socket.connect((to.parse::<IpAddr>().unwrap(), port.parse().unwrap())).unwrap();
                let number: u32 = number.parse().unwrap();
                let start = Instant::now();
                (0..number).for_each(|_| drop(socket.send(b"x")));
                format!("{}", start.elapsed().as_nanos() * 1000 / u128::from(number))
            }
            ["listen", port] => {
                listener = Some(UdpSocket::bind(("0.0.0.0", port.parse().unwrap())).unwrap());
                "listening".to_owned()
            }
            // Counts the datagrams up to one from the link's own address.
            ["seen"] => {
                let socket = listener.as_ref().unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let control: IpAddr = "10.0.0.2".parse().unwrap();
                let mut seen = 1;
                while socket.recv_from(&mut [0; 16]).unwrap().1.ip() != control {
                    seen += 1;
                }
                format!("{seen}")
            }
            ["talk", millis] => talk(connection.as_mut().unwrap(), millis.parse().unwrap()).to_owned(),
            other => panic!("{other:?}"),
        };
        println!("@{answer}");
    }
}

/// The addresses from which [`Attacker`] floods.
pub(crate) fn flood_address(number: u32) -> IpAddr {
    IpAddr::V4((u32::from_be_bytes([10, 9, 0, 0]) + number + 1).into())
}

fn flood_from(count: u32, to: SocketAddr, stop: &AtomicBool) -> u64 {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|i| UdpSocket::bind(SocketAddr::new(flood_address(i), 0)).unwrap()).collect();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for socket in &sockets {
            sent += u64::from(socket.send_to(b"x", to).is_ok());
        }
        // The rate of the stream: the test shares its processors with others.
        std::thread::sleep(Duration::from_millis(2));
    }
    sent
}

fn connect(from: IpAddr, to: SocketAddr) -> Result<TcpStream, &'static str> {
    use rustix::net::{AddressFamily, SocketType};
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(from, 0)).unwrap();
    // On a virtual link a refusal of the first packet arrives while the socket is still busy with sending
    // it, and counts for nothing; the second packet goes out after a second.
    let wait = Some(Duration::from_millis(1600));
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Send, wait).unwrap();
    match rustix::net::connect(&socket, &to) {
        Ok(()) => Ok(TcpStream::from(socket)),
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::HOSTUNREACH) => Err("refused"),
        Err(_) => Err("timeout"),
    }
}

/// Sends a byte to an echo service and waits so long for it: `alive`, `silent` or `ended`.
fn talk(stream: &mut TcpStream, millis: u64) -> &'static str {
    use std::io::Read;
    stream.set_read_timeout(Some(Duration::from_millis(millis))).unwrap();
    if stream.write_all(b"x").is_err() {
        return "ended";
    }
    match stream.read(&mut [0; 1]) {
        Ok(1) => "alive",
        Ok(_) => "ended",
        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => "silent",
        Err(_) => "ended",
    }
}

/// Counts the datagrams that get through to a port: a witness outside of our table.
pub(crate) struct Witness {
    seen: Arc<Mutex<HashMap<IpAddr, u64>>>,
    port: u16,
}

impl Witness {
    pub(crate) fn listen(port: u16) -> Witness {
        let socket = UdpSocket::bind(("::", port)).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20).unwrap();
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let count = Arc::clone(&seen);
        std::thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
                *count.lock().unwrap().entry(from.ip().to_canonical()).or_default() += 1;
            }
        });
        Witness { seen, port }
    }

    /// Datagrams that got through since the last call, by source. Everything sent before the call is counted.
    pub(crate) fn passed(&self, attacker: &mut Attacker) -> HashMap<IpAddr, u64> {
        let controls: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let end = Instant::now() + Duration::from_secs(20);
        for (control, to) in controls.iter().zip([TARGET4, TARGET6]) {
            attacker.datagrams(&control.to_string(), to, self.port, 1);
            while !self.seen.lock().unwrap().contains_key(control) {
                assert!(Instant::now() < end, "the control {control} does not get through");
                std::thread::yield_now();
            }
        }
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.retain(|from, _| !controls.contains(from));
        seen
    }
}

/// An echo service by TCP on both families.
pub(crate) fn echo_service(port: u16) {
    let listener = std::net::TcpListener::bind(("::", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                std::io::copy(&mut from, &mut to).ok();
            });
        }
    });
}
