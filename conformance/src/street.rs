//! The network in front of a machine: attackers, packet streams and the witness.

use std::{
    net::IpAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    Machine, Output,
    bounded::read_bounded,
    machine::{child_of, end, finish, kill, wait_until_ready},
    wait::eventually,
};

/// How a try to log in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A password was asked for and refused.
    WrongPassword,
    /// The login succeeded.
    In,
    /// No answer to the connection in time: what a dropped packet looks like.
    TimedOut,
    /// The connection was closed by the other side, before or after its banner.
    Closed,
}

/// What became of a bare connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// It was accepted.
    Answered,
    /// Nothing came back in time: what a dropped packet looks like.
    Silence,
    /// It was refused, by the machine or by its packet filter.
    Rejected,
}

/// What the witness has seen since the street was built, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets of streams that left towards the machine.
    pub sent: u64,
    /// Answers of the machine to streams: one for each packet that came through its packet filter.
    pub answered: u64,
    /// TCP segments that the machine's own network stack was given, of anyone, after all packet filters.
    pub delivered: u64,
}

impl Counts {
    /// What was added since an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(earlier.sent),
            answered: self.answered.saturating_sub(earlier.answered),
            delivered: self.delivered.saturating_sub(earlier.delivered),
        }
    }
}

/// The street; it ends when it is dropped.
///
/// Attackers use any address of 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 and 2001:db8::/32; packet streams come
/// from 198.18.0.0/16 and 2001:db8:18::/48, single probes from 198.19.0.0/16 and 2001:db8:19::/48.
#[derive(Debug)]
pub struct Street {
    machine: Arc<Machine>,
    holder: Child,
    _words: std::io::BufReader<ChildStdout>,
}

impl Street {
    /// Joins a street to a machine.
    ///
    /// # Errors
    /// When the rights are lacking or `ip` or `nft` is missing.
    pub fn build(machine: &Arc<Machine>) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "sh", "-c"]);
        command.args([include_str!("street.sh"), "street.sh"]);
        command.arg(machine.init().to_string()).arg(machine.programs());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = command.spawn().context("start a street: setpriv, unshare")?;
        let words = wait_until_ready(&mut holder, "street")?;
        Ok(Self { machine: Arc::clone(machine), holder, _words: words })
    }

    /// The process whose network is the street.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The machine's address in the family of `from`.
    #[must_use]
    pub fn target(from: IpAddr) -> IpAddr {
        if from.is_ipv4() { Machine::V4 } else { Machine::V6 }
    }

    /// Tries one password over a connection of its own.
    ///
    /// # Errors
    /// When the client cannot be started or ends in a way that is none of [`Attempt`].
    pub fn attempt(&self, from: IpAddr, user: &str, password: &str) -> Result<Attempt> {
        // Banned in the middle of it, the client would wait for ever.
        let output = finish(&mut self.client(&["timeout", "10"], from, user, password, "true"))?;
        judge(&output)
    }

    /// Logs in with a password and stays until the returned process is ended.
    ///
    /// # Errors
    /// When the client cannot be started.
    pub fn stay(&self, from: IpAddr, user: &str, password: &str) -> Result<Session> {
        let mut command = self.client(&[], from, user, password, "echo here; exec sleep 1000");
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("start a session")?;
        let mut line = String::new();
        let mut words = std::io::BufReader::new(child.stdout.take().context("standard output of a session")?);
        std::io::BufRead::read_line(&mut words, &mut line)?;
        if line.trim() != "here" {
            end(&mut child);
            bail!("could not log in as {user} from {from}");
        }
        let client = child_of(child.id())?;
        Ok(Session { child, client })
    }

    fn client(&self, under: &[&str], from: IpAddr, user: &str, password: &str, line: &str) -> Command {
        let target = format!("{user}@{}", Self::target(from));
        let from = from.to_string();
        let options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "PubkeyAuthentication=no",
            "PreferredAuthentications=password",
            "NumberOfPasswordPrompts=1",
            "ConnectTimeout=2",
            "LogLevel=ERROR",
        ];
        let mut words = under.to_vec();
        words.extend(["sshpass", "-p", password, "ssh", "-b", &from]);
        words.extend(options.iter().flat_map(|option| ["-o", *option]));
        words.extend([target.as_str(), line]);
        self.machine.command_on_street(self.pid(), &words)
    }

    /// What becomes of a connection to `port` from `from` within `limit`.
    ///
    /// # Errors
    /// When the helper fails for another reason than a missing answer.
    pub fn dial(&self, from: IpAddr, port: u16, limit: Duration) -> Result<Dial> {
        let mut command = self.helper();
        command.args(["dial", &from.to_string(), &Self::target(from).to_string(), &port.to_string()]);
        command.arg(limit.as_millis().to_string());
        let output = finish(&mut command)?;
        match output.code {
            0 => Ok(Dial::Answered),
            3 => Ok(Dial::Silence),
            4 => Ok(Dial::Rejected),
            code => bail!("dial from {from} to port {port}: exit code {code}: {}", output.all()),
        }
    }

    /// Opens a connection and keeps sending single bytes over it, twenty a second, until it is dropped.
    ///
    /// # Errors
    /// When it is not accepted.
    pub fn talk(&self, from: IpAddr, port: u16) -> Result<Stream> {
        let mut command = self.helper();
        command.args(["talk", &from.to_string(), &Self::target(from).to_string(), &port.to_string()]);
        command.stdout(Stdio::piped());
        let mut child = command.spawn().context("start a connection")?;
        drop(wait_until_ready(&mut child, "connection")?);
        Ok(Stream { child })
    }

    /// Writes `rate` lines a second that mean nothing to the machine's auth log, until it is dropped.
    ///
    /// # Errors
    /// When the writer cannot be started.
    pub fn noise(&self, rate: u32) -> Result<Stream> {
        let mut command = self.helper();
        command.arg("noise").arg(self.machine.path("/var/log/auth.log")).arg(rate.to_string());
        Ok(Stream { child: command.spawn().context("start a writer of lines")? })
    }

    /// Our helper, in the street's network.
    #[must_use]
    pub fn helper(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--target", &self.pid().to_string(), "--net"]);
        command.arg(self.machine.programs().join("stagehand"));
        command.stdin(Stdio::null());
        command
    }

    /// Starts a stream of opening packets to port 22: `rate` packets a second in turn from the first `addresses`
    /// addresses of [`Stream::addresses`].
    ///
    /// # Errors
    /// When the sender cannot be started, or nothing of it is seen within 15 seconds.
    pub fn stream(&self, addresses: usize, rate: u32) -> Result<Stream> {
        let mut command = self.helper();
        command.args(["stream", &Machine::V4.to_string(), &Machine::V6.to_string(), "22", &rate.to_string()]);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().context("start a packet stream")?;
        let list: String = Stream::addresses(addresses).iter().map(|address| format!("{address}\n")).collect();
        let mut pipe = child.stdin.take().context("standard input of a packet stream")?;
        std::io::Write::write_all(&mut pipe, list.as_bytes())?;
        drop(pipe);
        let stream = Stream { child };
        let before = self.counts()?;
        eventually("the packet stream to flow", || Ok(self.counts()?.since(before).sent > u64::from(rate) / 20))?;
        Ok(stream)
    }

    /// What the witness has counted so far.
    ///
    /// # Errors
    /// When the witness cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        let delivered = delivered(&self.machine)?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--net", "nft", "-j", "list", "table", "inet", "witness"]);
        let text = finish(&mut command)?.good("read the witness")?;
        let value: serde_json::Value = serde_json::from_str(&text).context("the witness's answer")?;
        let counter = |name: &str| {
            let rows = value.get("nftables").and_then(serde_json::Value::as_array);
            rows.into_iter()
                .flatten()
                .filter_map(|row| row.get("counter"))
                .find(|counter| counter.get("name").and_then(serde_json::Value::as_str) == Some(name))
                .and_then(|counter| counter.get("packets"))
                .and_then(serde_json::Value::as_u64)
                .with_context(|| format!("the witness's counter {name}"))
        };
        Ok(Counts { sent: counter("sent")?, answered: counter("answered")?, delivered })
    }

    /// Lets nothing leave towards the machine, as before its network has come up.
    ///
    /// # Errors
    /// When the rule cannot be set.
    pub fn close(&self) -> Result<()> {
        self.gate("add rule inet gate closed oifname out drop")
    }

    /// Lets packets go to the machine again.
    ///
    /// # Errors
    /// When the rule cannot be removed.
    pub fn open(&self) -> Result<()> {
        self.gate("flush chain inet gate closed")
    }

    fn gate(&self, words: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid().to_string(), "--net", "nft", words]);
        finish(&mut command)?.good("move the gate").map(drop)
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}

/// A login that stays; it is ended when it is dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    client: u32,
}

impl Session {
    /// Whether the session still lives.
    ///
    /// # Errors
    /// When its process cannot be asked.
    pub fn alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What entered the machine is no child of ours: the client has to be ended itself.
        kill(self.client);
        end(&mut self.child);
    }
}

/// A running packet stream; it ends when it is dropped.
#[derive(Debug)]
pub struct Stream {
    child: Child,
}

impl Stream {
    /// The addresses a stream comes from, IPv4 and IPv6 in turn.
    #[must_use]
    pub fn addresses(count: usize) -> Vec<IpAddr> {
        addresses("198.18", "2001:db8:18:", count)
    }

    /// The addresses of single probes, IPv4 and IPv6 in turn.
    #[must_use]
    pub fn probes(count: usize) -> Vec<IpAddr> {
        addresses("198.19", "2001:db8:19:", count)
    }

    /// Whether the sender still lives.
    ///
    /// # Errors
    /// When its process cannot be asked.
    pub fn alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn addresses(v4: &str, v6: &str, count: usize) -> Vec<IpAddr> {
    (0..count)
        .filter_map(|number| {
            let host = number / 2;
            let text = if number % 2 == 0 {
                format!("{v4}.{}.{}", host / 250 + 1, host % 250 + 1)
            } else {
                format!("{v6}{host:x}::5")
            };
            text.parse().ok()
        })
        .collect()
}

fn judge(output: &Output) -> Result<Attempt> {
    let said = output.all();
    match output.code {
        0 => Ok(Attempt::In),
        5 => Ok(Attempt::WrongPassword),
        _ if said.contains("Permission denied") => Ok(Attempt::WrongPassword),
        124 => Ok(Attempt::TimedOut),
        _ if said.contains("timed out") => Ok(Attempt::TimedOut),
        _ if ["closed", "reset", "refused", "Not allowed at this time"].iter().any(|word| said.contains(word)) => {
            Ok(Attempt::Closed)
        }
        // What sshd says to those whom it turns away is not shown by every client.
        255 if said.trim().is_empty() => Ok(Attempt::Closed),
        code => bail!("a login ended strangely: exit code {code}: {}", said.trim()),
    }
}

/// Segments given to TCP in the machine: `Tcp: InSegs`, which counts both families and no dropped packet.
fn delivered(machine: &Machine) -> Result<u64> {
    let text = read_bounded(Path::new(&format!("/proc/{}/net/snmp", machine.init())));
    let mut rows = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (rows.next().context("/proc/net/snmp")?, rows.next().context("/proc/net/snmp")?);
    let pairs = names.split(' ').zip(values.split(' '));
    let value = pairs.into_iter().find(|(name, _)| *name == "InSegs").context("InSegs in /proc/net/snmp")?.1;
    let value = value.parse().context("InSegs in /proc/net/snmp")?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn stream_addresses_differ_and_alternate() {
        let addresses = Stream::addresses(2_000);
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 2_000);
        assert_eq!(addresses.iter().filter(|address| address.is_ipv4()).count(), 1_000);
    }

    #[test]
    fn a_login_is_judged_by_code_and_words() {
        let said = |code, err: &str| judge(&Output { code, out: String::new(), err: err.to_owned() });
        assert_eq!(said(5, "Permission denied").unwrap(), Attempt::WrongPassword);
        assert_eq!(said(255, "ssh: connect to host: Connection timed out").unwrap(), Attempt::TimedOut);
        assert_eq!(said(255, "Connection closed by 10.66.0.2 port 22").unwrap(), Attempt::Closed);
        assert!(said(127, "sshpass: not found").is_err());
    }
}
