//! Our helper inside machines and on the street: it holds namespaces open, dials, and sends and watches packets.
#![forbid(unsafe_code)]

mod lines;
mod probe;
mod stream;

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, bind, connect, ipproto, socket, sockopt},
    process::{WaitOptions, wait},
};

/// The most that is read from standard input: a list of addresses.
const INPUT_BYTES_MAX: u64 = 16 << 20;

fn main() -> Result<ExitCode> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["init"] => init(),
        ["dial", from, to, port, millis] => {
            dial(from.parse()?, SocketAddr::new(to.parse()?, port.parse()?), Duration::from_millis(millis.parse()?))
        }
        ["talk", from, to, port] => talk(from.parse()?, SocketAddr::new(to.parse()?, port.parse()?)),
        ["noise", log, rate] => lines::noise(log, rate.parse()?),
        ["stream", v4, v6, port, rate] => {
            stream::run(&addresses()?, v4.parse()?, v6.parse()?, port.parse()?, rate.parse()?)
        }
        ["one-by-one", v4, v6, log, own_log] => {
            probe::one_by_one(&addresses()?, v4.parse()?, v6.parse()?, log, own_log)
        }
        ["burst", v4, v6, log, failures, secs] => {
            let limit = Duration::from_secs(secs.parse()?);
            probe::burst(&addresses()?, v4.parse()?, v6.parse()?, log, failures.parse()?, limit)
        }
        ["back", v4, v6, secs] => {
            probe::back(&addresses()?, v4.parse()?, v6.parse()?, Duration::from_secs(secs.parse()?))
        }
        _ => bail!("usage: stagehand init | dial | talk | noise | stream | one-by-one | burst | back (see its source)"),
    }
}

/// One address per line from standard input.
fn addresses() -> Result<Vec<IpAddr>> {
    let mut text = String::new();
    io::stdin().take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    text.lines().map(|line| line.parse().with_context(|| format!("address {line}"))).collect()
}

/// The first process of a machine: takes the status of every orphan, until it is killed.
fn init() -> Result<ExitCode> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGCHLD])?;
    for _ in signals.forever() {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit code 0: connected; 3: no answer in time or a rejection by the network; 4: refused.
fn dial(from: IpAddr, to: SocketAddr, limit: Duration) -> Result<ExitCode> {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
    bind(&socket, &SocketAddr::new(from, 0)).with_context(|| format!("use the address {from}"))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit))?;
    match connect(&socket, &to) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH) => {
            Ok(ExitCode::from(3))
        }
        Err(Errno::CONNREFUSED) => Ok(ExitCode::from(4)),
        Err(error) => Err(error).with_context(|| format!("connect to {to}")),
    }
}

/// Keeps a connection busy with single bytes until it is killed; says "ready" when it is open.
fn talk(from: IpAddr, to: SocketAddr) -> Result<ExitCode> {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
    bind(&socket, &SocketAddr::new(from, 0)).with_context(|| format!("use the address {from}"))?;
    connect(&socket, &to).with_context(|| format!("connect to {to}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    writeln!(io::stdout(), "ready")?;
    loop {
        stream.write_all(b"a")?;
        thread::sleep(Duration::from_millis(50));
    }
}
