//! Talking to the daemon: one JSON line out, one JSON line back.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use stockade_wire::pickle::Answer;

use super::Common;
use super::fail2ban::connection::Connection;
use crate::control::fail2ban::WHO_WORD;
use crate::plain_file;

/// The longest answer that is read: a million bans fit.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// The tree that stockade guards with after a take-over.
pub(crate) const TAKEN_OVER: &str = "/etc/fail2ban";

/// Why there is no answer where fail2ban runs.
const FOREIGN: &str = "another guard (fail2ban?) is at that socket";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The same, where it is only asked whether stockade guards with another tree.
const ELSEWHERE_PATIENCE: Duration = Duration::from_secs(5);

/// From when on it is asked who does not answer.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// How long that answer is waited for: a daemon that is busy with the first question may not have
/// time for the second, and it must not wait for us meanwhile.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// Nobody answers at the socket.
#[derive(Debug)]
pub(crate) struct NoDaemon {
    socket: PathBuf,
    why: String,
    /// One answers with the tree that it took over.
    elsewhere: bool,
}

impl NoDaemon {
    fn new(socket: &Path, why: impl Into<String>) -> NoDaemon {
        NoDaemon { socket: socket.to_owned(), why: why.into(), elsewhere: false }
    }

    /// Does stockade guard all the same, with the tree that it took over?
    pub(crate) fn elsewhere(&self) -> bool {
        self.elsewhere
    }
}

impl fmt::Display for NoDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no daemon answers at {}: {}; ", self.socket.display(), self.why)?;
        if self.why == FOREIGN {
            return f.write_str("stop it before stockade takes its place, or watch beside it: stockade run --shadow");
        }
        if self.elsewhere {
            write!(f, "stockade guards with {TAKEN_OVER}: add -c {TAKEN_OVER}")
        } else if rustix::process::geteuid().is_root() {
            f.write_str("start one with `stockade run`")
        } else {
            f.write_str("one that root runs is asked with sudo")
        }
    }
}

impl std::error::Error for NoDaemon {}

/// Nobody answers where our own tree's daemon would be: does one with the tree that it took over?
pub(crate) fn or_elsewhere(mut error: anyhow::Error) -> anyhow::Error {
    let Some(nobody) = error.downcast_mut::<NoDaemon>() else { return error };
    nobody.elsewhere = is_elsewhere();
    error
}

/// Does stockade answer with the tree that it took over?
pub(crate) fn is_elsewhere() -> bool {
    let theirs = crate::places::socket_of(Some(Path::new(TAKEN_OVER))).and_then(|socket| Client::at(&socket));
    theirs
        .and_then(|mut client| {
            client.patience = ELSEWHERE_PATIENCE;
            client.ask("status", &json!({ "jail": null }))
        })
        .is_ok()
}

/// A connection to the daemon of one tree.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    /// How long an answer may take.
    patience: Duration,
}

impl Client {
    /// Connects to the daemon that `common` means.
    pub(crate) fn connect(common: &Common) -> Result<Client> {
        let socket = crate::places::socket_of(common.conf.as_deref())?;
        Client::at(&socket).map_err(|e| if common.conf.is_none() { or_elsewhere(e) } else { e })
    }

    /// Connects to the daemon at that socket.
    pub(crate) fn at(socket: &Path) -> Result<Client> {
        let stream = UnixStream::connect(socket).map_err(|e| {
            let why = match e.kind() {
                ErrorKind::NotFound => "there is no socket".to_owned(),
                ErrorKind::PermissionDenied => "permission denied (you must be root)".to_owned(),
                ErrorKind::ConnectionRefused => "the socket is dead".to_owned(),
                _ => e.to_string(),
            };
            NoDaemon::new(socket, why)
        })?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?.uid;
        if !rustix::process::geteuid().is_root() && plain_file::is_foreign(peer.as_raw()) {
            bail!("the daemon at {} is user {}'s, not root's and not yours", socket.display(), peer.as_raw());
        }
        Ok(Client { stream: BufReader::new(stream), socket: socket.to_owned(), patience: PATIENCE })
    }

    /// Waits for the first byte of an answer. Who is silent is asked who it is:
    /// fail2ban waits for the end of a request that it will never find.
    fn wait(&mut self) -> Result<()> {
        self.stream.get_ref().set_read_timeout(Some(SILENT_AFTER))?;
        let first = self.stream.fill_buf().map(<[u8]>::len);
        self.stream.get_ref().set_read_timeout(Some(self.patience))?;
        if first.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)) {
            let asked = Connection::open(&self.socket, Some(PROBE_PATIENCE)).ok();
            let answer = asked.and_then(|mut asked| asked.ask(&[WHO_WORD.into()]).ok());
            if matches!(answer, Some(Answer::Refused(why)) if why.args == ["Invalid command".into()]) {
                return Err(NoDaemon::new(&self.socket, FOREIGN).into());
            }
        }
        Ok(())
    }

    /// Asks for one of our own words, such as `status`.
    pub(crate) fn ask(&mut self, word: &str, args: &Value) -> Result<Value> {
        self.request(&json!(["stockade", word, args]))
    }

    /// Everybody who is banned, in one jail or in all, some at a time: a million is
    /// never in one answer. `plain` gives addresses only.
    pub(crate) fn banned(
        &mut self,
        jail: Option<&str>,
        plain: bool,
        mut page: impl FnMut(Vec<Value>) -> Result<()>,
    ) -> Result<()> {
        let mut from = Value::Null;
        loop {
            let mut answer = self.ask("banned", &json!({ "jail": jail, "plain": plain, "from": from }))?;
            if let Some(Value::Array(bans)) = answer.get_mut("bans").map(Value::take) {
                page(bans)?;
            }
            from = answer.get_mut("next").map(Value::take).unwrap_or_default();
            if from.is_null() {
                return Ok(());
            }
        }
    }

    fn request(&mut self, request: &Value) -> Result<Value> {
        let mut line = request.to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).context("the daemon hung up")?;
        self.wait()?;
        let mut answer = String::new();
        (&mut self.stream).take(ANSWER_BYTES_MAX).read_line(&mut answer).context("the daemon's answer broke off")?;
        if answer.is_empty() {
            bail!("the daemon hung up without an answer; its log says why");
        }
        let mut answer: Value = serde_json::from_str(&answer).context("the daemon's answer is not JSON")?;
        if let Some(error) = answer.get("error") {
            return Err(anyhow!("{}", error.as_str().unwrap_or("refused")));
        }
        Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default())
    }
}

/// The answer with everything that a terminal would obey escaped: it holds
/// attackers' text. Not for `--json`, where programs want what was there.
pub(crate) fn harmless(answer: Value) -> Value {
    match answer {
        Value::String(text) => {
            let mut shown = String::with_capacity(text.len());
            stockade_core::text::push_escaped(&mut shown, &text);
            Value::String(shown)
        }
        Value::Array(list) => list.into_iter().map(harmless).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, harmless(value))).collect(),
        other => other,
    }
}

/// One string of an answer; empty if it is missing.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// One number of an answer; 0 if it is missing.
pub(crate) fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or_default()
}

/// One list of an answer; empty if it is missing.
pub(crate) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
