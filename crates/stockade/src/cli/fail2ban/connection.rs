//! One connection to a server that speaks the original's protocol.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use stockade_wire::Value;
use stockade_wire::pickle::{self, Answer, Limits};

use crate::control::server::{CLOSE_MARKER, END_MARKER};

/// The longest answer that is read: a million bans fit.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What an answer may weigh once it is read.
const LIMITS: Limits = Limits { values: 8_000_000, text_bytes: ANSWER_BYTES_MAX, depth: 64 };

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::cli) enum Trouble {
    /// The socket is to blame.
    Socket(io::Error),
    /// The answer can't be understood.
    Answer(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Socket(error)
    }
}

/// A connection; dropping it says goodbye.
pub(in crate::cli) struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Connects; `patience` bounds the wait for each part of an answer.
    pub(in crate::cli) fn open(socket: &Path, patience: Option<Duration>) -> io::Result<Connection> {
        let stream = UnixStream::connect(socket)?;
        // Zero would mean for ever.
        let patience = patience.map(|time| time.max(Duration::from_micros(1)));
        stream.set_read_timeout(patience)?;
        stream.set_write_timeout(patience)?;
        Ok(Connection { stream })
    }

    /// Sends one command and waits for its answer.
    pub(in crate::cli) fn ask(&mut self, command: &[Value]) -> Result<Answer, Trouble> {
        let mut request = pickle::request(command);
        request.extend_from_slice(END_MARKER);
        self.stream.write_all(&request)?;
        let mut answer = Vec::new();
        let mut part = vec![0_u8; 65_536];
        loop {
            let n = match self.stream.read(&mut part) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if n == 0 {
                return Err(Trouble::Socket(io::Error::from_raw_os_error(rustix::io::Errno::CONNRESET.raw_os_error())));
            }
            answer.extend(part.iter().take(n));
            if let Some(pickle) = answer.strip_suffix(END_MARKER) {
                return pickle::read_answer(pickle, LIMITS).map_err(|e| Trouble::Answer(e.to_string()));
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Err(Trouble::Answer(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let goodbye = [CLOSE_MARKER, END_MARKER].concat();
        drop(self.stream.write_all(&goodbye));
        drop(self.stream.shutdown(std::net::Shutdown::Both));
    }
}

/// A socket's error as Python words it.
pub(in crate::cli) fn in_words(error: &io::Error) -> String {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
        return "timed out".to_owned();
    }
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("[Errno {number}] {text}")
}
