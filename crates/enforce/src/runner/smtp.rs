//! Hands one mail to a mail server: plain SMTP, with AUTH PLAIN or LOGIN.
//!
//! Source: RFC 5321 (SMTP), RFC 4954 (AUTH), RFC 4616 (PLAIN). TLS is not spoken.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// The longest line of an answer.
const LINE_BYTES_MAX: u64 = 4_096;
/// The most lines of one answer.
const LINES_MAX: usize = 100;

/// One mail and its way.
pub(super) struct Mail<'a> {
    /// `host` or `host:port`.
    pub(super) host: &'a str,
    /// Name and password, if the server wants them.
    pub(super) login: Option<(&'a str, &'a str)>,
    /// The envelope's sender.
    pub(super) from: &'a str,
    /// The envelope's recipients.
    pub(super) to: Vec<&'a str>,
    /// Our own name.
    pub(super) own_name: &'a str,
    /// Head and body; lines end with `\n`.
    pub(super) content: &'a str,
}

/// Hands the mail over. Returns the recipients that the server refused.
///
/// # Errors
/// If the server can't be reached, refuses the sender, the login, the mail, or
/// all recipients; in words for the operator.
pub(super) fn send(mail: &Mail<'_>) -> Result<Vec<String>, String> {
    let fail = |what: &str, e: io::Error| format!("{what} {}: {e}", mail.host);
    let socket = connect(mail.host).map_err(|e| fail("can't connect to the mail server", e))?;
    let writer = socket.try_clone().map_err(|e| fail("can't talk to", e))?;
    let mut talk = Talk { reader: BufReader::new(socket), writer, host: mail.host };
    talk.expect(None, 220)?;
    let offers = match talk.say(&format!("EHLO {}", mail.own_name))? {
        (250, lines) => lines,
        _ => {
            talk.expect(Some(&format!("HELO {}", mail.own_name)), 250)?;
            Vec::new()
        }
    };
    if let Some((user, password)) = mail.login {
        talk.log_in(user, password, &offers)?;
    }
    talk.expect(Some(&format!("MAIL FROM:<{}>", mail.from)), 250)?;
    let mut refused = Vec::new();
    for to in &mail.to {
        let (code, lines) = talk.say(&format!("RCPT TO:<{to}>"))?;
        if !matches!(code, 250 | 251) {
            refused.push(format!("{to}: {code} {}", lines.join(" ")));
        }
    }
    if refused.len() == mail.to.len() {
        return Err(format!("{} refuses all recipients: {}", mail.host, refused.join("; ")));
    }
    talk.expect(Some("DATA"), 354)?;
    let mut text = String::with_capacity(mail.content.len() + 64);
    for line in mail.content.lines() {
        if line.starts_with('.') {
            text.push('.');
        }
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push('.');
    talk.expect(Some(&text), 250)?;
    // It has the mail; how it says good-bye doesn't matter.
    talk.say("QUIT").ok();
    Ok(refused)
}

fn connect(host: &str) -> io::Result<TcpStream> {
    let bracket_ends = host.ends_with(']');
    let with_port = if !bracket_ends && host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:25")
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in with_port.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_TIME) {
            Ok(socket) => {
                socket.set_read_timeout(Some(ANSWER_TIME))?;
                socket.set_write_timeout(Some(ANSWER_TIME))?;
                return Ok(socket);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

struct Talk<'a> {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    host: &'a str,
}

impl Talk<'_> {
    /// Says a line and wants this answer.
    fn expect(&mut self, line: Option<&str>, code: u16) -> Result<Vec<String>, String> {
        let (got, lines) = match line {
            Some(line) => self.say(line)?,
            None => self.hear()?,
        };
        if got == code {
            return Ok(lines);
        }
        let word = line.and_then(|line| line.split(['\r', '\n']).next()).unwrap_or("our connection");
        Err(format!("{} answers {got} {} to {word:.80}", self.host, lines.join(" ")))
    }

    fn say(&mut self, line: &str) -> Result<(u16, Vec<String>), String> {
        let sent = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.write_all(b"\r\n"));
        sent.map_err(|e| format!("{} takes no more: {e}", self.host))?;
        self.hear()
    }

    fn hear(&mut self) -> Result<(u16, Vec<String>), String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            io::Read::take(&mut self.reader, LINE_BYTES_MAX)
                .read_line(&mut line)
                .map_err(|e| format!("{} does not answer: {e}", self.host))?;
            let strange = || format!("{} answers in a strange way: {:.80}", self.host, line.trim_end());
            let code: u16 = line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
            lines.push(line.get(4..).unwrap_or_default().trim_end().to_owned());
            match line.as_bytes().get(3) {
                Some(b'-') if lines.len() < LINES_MAX => {}
                Some(b'-') => return Err(strange()),
                _ => return Ok((code, lines)),
            }
        }
    }

    fn log_in(&mut self, user: &str, password: &str, offers: &[String]) -> Result<(), String> {
        let ways = offers.iter().find_map(|line| {
            let mut words = line.split([' ', '=']);
            words.next().filter(|word| word.eq_ignore_ascii_case("AUTH"))?;
            Some(words.map(str::to_ascii_uppercase).collect::<Vec<_>>())
        });
        let ways = ways.unwrap_or_default();
        let host = self.host;
        let refused = |code: u16, lines: &[String]| {
            format!("Failed to authenticate with host '{host}' user '{user}': {code} {}", lines.join(" "))
        };
        if ways.iter().any(|way| way == "PLAIN") {
            let words = base64(format!("\0{user}\0{password}").as_bytes());
            let (code, lines) = self.say(&format!("AUTH PLAIN {words}"))?;
            return if code == 235 { Ok(()) } else { Err(refused(code, &lines)) };
        }
        if ways.iter().any(|way| way == "LOGIN") {
            self.expect(Some("AUTH LOGIN"), 334)?;
            self.expect(Some(&base64(user.as_bytes())), 334)?;
            let (code, lines) = self.say(&base64(password.as_bytes()))?;
            return if code == 235 { Ok(()) } else { Err(refused(code, &lines)) };
        }
        Err(format!(
            "{} offers no way to log in that we know (PLAIN or LOGIN); it offers: {}",
            self.host,
            ways.join(" ")
        ))
    }
}

/// RFC 4648, with padding, in one line.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().chain([0, 0].iter()).take(3).fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        for n in 0..4_usize {
            let place = 18 - 6 * n;
            let letter = LETTERS.get(((word >> place) & 63) as usize).copied().unwrap_or(b'=');
            out.push(if n <= group.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[255, 254]), "//4=");
    }
}
