//! From a line in a log to the first dropped packet, measured from the attacker's side of the wire.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use conformance::packet;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, RecvFlags, SocketType, ipproto, recv, socket, sockopt},
};

use crate::{lines, stream::Sender};

/// An answer takes some 50 microseconds; without one after this time the packet was dropped.
const ANSWER: Duration = Duration::from_millis(5);

/// How long a ban may take before the measurement gives up.
const LIMIT: Duration = Duration::from_secs(10);

/// The pause between two probes of one address, so that the machine has a core to work on.
const PAUSE: Duration = Duration::from_micros(50);

/// The longest pause between two rounds of probes of all addresses.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Sends probes to port 22 and sees their answers.
struct Prober {
    sender: Sender,
    v4: OwnedFd,
    v6: OwnedFd,
    target_v4: IpAddr,
    target_v6: IpAddr,
}

impl Prober {
    fn open(v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        let raw = |family| -> Result<OwnedFd> {
            let socket = socket(family, SocketType::RAW, Some(ipproto::TCP)).context("open a raw socket")?;
            sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20)?;
            Ok(socket)
        };
        Ok(Self {
            sender: Sender::open()?,
            v4: raw(AddressFamily::INET)?,
            v6: raw(AddressFamily::INET6)?,
            target_v4: v4.into(),
            target_v6: v6.into(),
        })
    }

    fn send(&self, from: IpAddr, port: u16) -> Result<()> {
        let to = if from.is_ipv4() { self.target_v4 } else { self.target_v6 };
        let packet = packet::syn(from, to, port, 22).context("a probe of one family")?;
        self.sender.send(&packet, to)
    }

    /// The source port of the next answered probe, or none when `limit` passes.
    fn answer(&self, limit: Duration) -> Result<Option<u16>> {
        let end = Instant::now() + limit;
        loop {
            for (socket, v4) in [(&self.v4, true), (&self.v6, false)] {
                let mut bytes = [0_u8; 128];
                if let Ok((length, _)) = recv(socket, &mut bytes, RecvFlags::DONTWAIT) {
                    let ports = bytes.get(..length).and_then(|packet| packet::ports(packet, v4));
                    if let Some((22, port)) = ports {
                        return Ok(Some(port));
                    }
                    continue;
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut sockets = [PollFd::new(&self.v4, PollFlags::IN), PollFd::new(&self.v6, PollFlags::IN)];
            poll(&mut sockets, Some(&Timespec::try_from(left)?))?;
        }
    }

    /// Waits until both families know the way: the first packets find out who the neighbour is.
    fn find_the_way(&self, addresses: &[IpAddr]) -> Result<()> {
        for v4 in [true, false] {
            let Some(address) = addresses.iter().find(|address| address.is_ipv4() == v4) else { continue };
            let start = Instant::now();
            while !self.passes(*address, 1024)? {
                ensure!(start.elapsed() < LIMIT, "{address} gets no answer before its ban");
            }
        }
        Ok(())
    }

    /// Whether a probe from `from` is answered.
    fn passes(&self, from: IpAddr, port: u16) -> Result<bool> {
        self.send(from, port)?;
        let end = Instant::now() + ANSWER;
        while let Some(answered) = self.answer(end.saturating_duration_since(Instant::now()))? {
            if answered == port {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The guard's own log, read as it grows.
struct OwnLog {
    file: File,
    text: String,
}

impl OwnLog {
    fn open(path: &str) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("open {path}"))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, text: String::new() })
    }

    fn wait_for(&mut self, words: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let mut bytes = Vec::new();
            (&self.file).take(1 << 20).read_to_end(&mut bytes)?;
            self.text.push_str(&String::from_utf8_lossy(&bytes));
            if self.text.contains(words) {
                self.text.clear();
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "no line \"{words}\" in the guard's own log");
            thread::sleep(PAUSE);
        }
    }
}

/// One wrong password from each address in turn: writes the line, then probes until the first packet is dropped.
pub(crate) fn one_by_one(
    addresses: &[IpAddr],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    log: &str,
    own_log: &str,
) -> Result<ExitCode> {
    let prober = Prober::open(v4, v6)?;
    prober.find_the_way(addresses)?;
    let mut log = OpenOptions::new().append(true).open(log).with_context(|| format!("open {log}"))?;
    let mut own_log = OwnLog::open(own_log)?;
    let (mut dropped, mut announced, mut port) = (Vec::new(), Vec::new(), 1024_u16);
    for (session, address) in (10_000..).zip(addresses) {
        let mut next_port = || {
            port = if port > 60_000 { 1024 } else { port + 1 };
            port
        };
        ensure!(prober.passes(*address, next_port())?, "{address} gets no answer before its ban");
        let line = lines::wrong_password(*address, session);
        let start = Instant::now();
        log.write_all(line.as_bytes())?;
        loop {
            let sent = start.elapsed();
            // A second silent probe rules out that the first was merely lost.
            if !prober.passes(*address, next_port())? && !prober.passes(*address, next_port())? {
                dropped.push(sent);
                break;
            }
            ensure!(sent < LIMIT, "{address} was not banned within {LIMIT:?}");
            thread::sleep(PAUSE);
        }
        own_log.wait_for(&format!("Ban {address}"))?;
        announced.push(start.elapsed().saturating_sub(ANSWER * 2));
    }
    report(&[("dropped", &dropped), ("announced", &announced)])
}

/// Wrong passwords from all addresses in one write, `failures` from each in turn, then probes until nobody is answered.
pub(crate) fn burst(
    addresses: &[IpAddr],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    log: &str,
    failures: usize,
    limit: Duration,
) -> Result<ExitCode> {
    let prober = Prober::open(v4, v6)?;
    prober.find_the_way(addresses)?;
    let ports = marked(addresses)?;
    let free = round(&prober, &ports, Instant::now())?.1.len();
    ensure!(free == ports.len(), "only {free} of {} addresses get an answer before the burst", ports.len());
    let line = |(session, address): (usize, &IpAddr)| lines::wrong_password(*address, session);
    let text: String = (0..failures).flat_map(|_| (10_000..).zip(addresses).map(line)).collect();
    let mut log = OpenOptions::new().append(true).open(log).with_context(|| format!("open {log}"))?;
    log.write_all(text.as_bytes())?;
    let start = Instant::now();
    report(&[("dropped", &until_silent(&prober, &ports, start, limit)?)])
}

/// Probes until nobody is answered any more; says `open` as soon as everybody was answered once, and at the end when
/// the last one was found silent, in microseconds since 1970, so that others can say what it is to be counted from.
pub(crate) fn back(addresses: &[IpAddr], v4: Ipv4Addr, v6: Ipv6Addr, limit: Duration) -> Result<ExitCode> {
    let prober = Prober::open(v4, v6)?;
    prober.find_the_way(addresses)?;
    let ports = marked(addresses)?;
    let start = Instant::now();
    while !round(&prober, &ports, start)?.0.is_empty() {
        ensure!(start.elapsed() < LIMIT, "not everybody gets an answer");
    }
    writeln!(io::stdout(), "open")?;
    let (start, clock) = (Instant::now(), SystemTime::now());
    let last = until_silent(&prober, &ports, start, limit)?.into_iter().max().unwrap_or_default();
    writeln!(io::stdout(), "{}", (clock + last).duration_since(UNIX_EPOCH)?.as_micros())?;
    Ok(ExitCode::SUCCESS)
}

/// Each address with a source port of its own.
fn marked(addresses: &[IpAddr]) -> Result<Vec<Marked>> {
    let ports: Vec<Marked> = (2_000..60_000).zip(addresses.iter().copied()).collect();
    ensure!(ports.len() == addresses.len(), "too many addresses");
    Ok(ports)
}

/// Probes until nobody is answered; when each probe was sent that stayed without an answer.
fn until_silent(prober: &Prober, ports: &[Marked], start: Instant, limit: Duration) -> Result<Vec<Duration>> {
    let mut dropped = Vec::new();
    let mut left = ports.to_vec();
    while !left.is_empty() {
        let (silent, answered) = round(prober, &left, start)?;
        dropped.extend(silent);
        left = answered;
        if left.is_empty() {
            // Nobody may get through again: this also finds those that were merely unlucky.
            left = round(prober, ports, start)?.1;
        }
        ensure!(start.elapsed() < limit, "{} addresses were not banned within {limit:?}", left.len());
        // The longer it takes, the less often is looked: the machine has the cores for its work.
        thread::sleep((start.elapsed() / 20).min(PAUSE_MAX));
    }
    Ok(dropped)
}

/// An address under test with the source port that its probes come from.
type Marked = (u16, IpAddr);

/// One probe from each; the times at which the silent ones were sent, and those that were answered.
fn round(prober: &Prober, left: &[Marked], start: Instant) -> Result<(Vec<Duration>, Vec<Marked>)> {
    let mut answered = vec![false; usize::from(u16::MAX) + 1];
    let mut sent = Vec::new();
    let mut take = |limit: Duration| -> Result<bool> {
        let port = prober.answer(limit)?;
        if let Some(place) = port.and_then(|port| answered.get_mut(usize::from(port))) {
            *place = true;
        }
        Ok(port.is_some())
    };
    for (port, address) in left {
        sent.push(start.elapsed());
        prober.send(*address, *port)?;
        while take(Duration::ZERO)? {}
    }
    while take(ANSWER)? {}
    let was = |port: u16| answered.get(usize::from(port)).copied().unwrap_or(false);
    let silent = left.iter().zip(&sent).filter(|((port, _), _)| !was(*port)).map(|(_, sent)| *sent).collect();
    Ok((silent, left.iter().copied().filter(|(port, _)| was(*port)).collect()))
}

/// Prints one JSON line: for each name the count and the quantiles in microseconds.
fn report(rows: &[(&str, &[Duration])]) -> Result<ExitCode> {
    let mut words = Vec::new();
    for (name, times) in rows {
        let mut micros: Vec<u128> = times.iter().map(Duration::as_micros).collect();
        micros.sort_unstable();
        let quantile = |percent: usize| micros.get((micros.len() * percent / 100).min(micros.len().saturating_sub(1)));
        let (Some(half), Some(most), Some(last)) = (quantile(50), quantile(99), micros.last()) else {
            bail!("nothing was measured");
        };
        words.push(format!(
            "\"{name}\":{{\"count\":{},\"p50_us\":{half},\"p99_us\":{most},\"max_us\":{last}}}",
            micros.len()
        ));
    }
    writeln!(io::stdout(), "{{{}}}", words.join(","))?;
    Ok(ExitCode::SUCCESS)
}
