//! The stock mail action that the original has in Python, without Python.
//!
//! Source: fail2ban `action.d/smtp.py`: its options, its subjects, and what a
//! mail tells; the wording is ours.

use std::time::{SystemTime, UNIX_EPOCH};

use super::message::{LineLevel, Speaker, Values, Verb};
use super::shell::Tell;
use super::smtp::{self, base64};
use crate::actions::{ActionSpec, is_true};

/// Lines longer than this are not sent as they are.
const LINE_BYTES_MAX: usize = 900;

/// `smtp.py` of one jail.
#[derive(Debug)]
pub(super) struct MailAction {
    jail: String,
    host: String,
    user: String,
    password: String,
    sendername: String,
    sender: String,
    dest: String,
    matches: String,
    idle: Values,
}

/// Can an action written in Python be carried out?
///
/// # Errors
/// If not, why, and what to use instead.
pub fn check(spec: &ActionSpec) -> Result<(), String> {
    match &spec.python {
        None => Ok(()),
        Some((file, arguments)) => MailAction::new(spec, file, arguments, Values::default()).map(drop),
    }
}

impl MailAction {
    pub(super) fn new(spec: &ActionSpec, file: &str, arguments: &str, idle: Values) -> Result<MailAction, String> {
        let name = file.rsplit('/').next().unwrap_or(file);
        if name != "smtp.py" {
            return Err(format!(
                "{file} is an action written in Python, and only smtp.py is carried out here; write it as a command: \
                 an action file with actionban = {name} ... <ip>"
            ));
        }
        let options: serde_json::Value = match arguments.trim() {
            "" => serde_json::Value::Object(serde_json::Map::new()),
            text => serde_json::from_str(text).map_err(|e| format!("smtp.py: its arguments are no JSON: {e}"))?,
        };
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in options.as_object().into_iter().flatten() {
            let known = ["host", "ssl", "user", "password", "sendername", "sender", "dest", "matches"];
            // What the configuration adds to every action.
            let common = ["name", "actname", "jailname", "family", "port", "protocol", "chain", "bantime"];
            if !known.contains(&name.as_str()) && !common.contains(&name.as_str()) {
                return Err(format!("smtp.py has no option '{name}'; it has: {}", known.join(", ")));
            }
            let text = match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => continue,
                other => other.to_string(),
            };
            found.push((name.clone(), text));
        }
        let option = |name: &str, default: &str| {
            found.iter().find(|(n, _)| n == name).map_or_else(|| default.to_owned(), |(_, value)| value.clone())
        };
        if is_true(&option("ssl", "")) {
            return Err("smtp.py: ssl is not spoken here; let a mail server on this host (host = localhost:25) pass \
                        mails on, or use the action sendmail"
                .to_owned());
        }
        let matches = option("matches", "");
        if !matches!(matches.as_str(), "" | "matches" | "ipmatches" | "ipjailmatches") {
            return Err(format!("smtp.py: matches = {matches} is none of matches, ipmatches, ipjailmatches"));
        }
        Ok(MailAction {
            jail: spec.jail.to_string(),
            host: option("host", "localhost"),
            user: option("user", ""),
            password: option("password", ""),
            sendername: option("sendername", "Fail2Ban"),
            sender: option("sender", "fail2ban"),
            dest: option("dest", "root"),
            matches,
            idle,
        })
    }

    /// Mails what the verb says; other verbs have nothing to do.
    pub(super) fn carry_out(&mut self, verb: &Verb, values: &Values, tell: Tell<'_>) -> Result<(), String> {
        let own = super::names::own_name();
        let jail = self.jail.clone();
        let (subject, text) = match verb {
            Verb::Start => (format!("{jail}: started on {own}"), format!("The jail {jail} runs on {own} now.\n")),
            Verb::Stop => (format!("{jail}: stopped on {own}"), format!("The jail {jail} on {own} was stopped.\n")),
            Verb::Ban | Verb::Reban if values.get("restored").is_none_or(|restored| restored == "0") => {
                let ip = values.get("ip").unwrap_or_default();
                (format!("{jail}: banned {ip} from {own}"), self.story(ip, values))
            }
            Verb::Renew { spec, .. } => {
                let Some((file, arguments)) = &spec.python else { return Ok(()) };
                *self = MailAction::new(spec, file, arguments, std::mem::take(&mut self.idle))?;
                return Ok(());
            }
            _ => return Ok(()),
        };
        let sent = self.send(&format!("[Fail2Ban] {subject}"), &text, &own);
        match &sent {
            Ok(refused) if refused.is_empty() => {
                tell(LineLevel::Debug, Speaker::Mail, format!("Email '{subject}' successfully sent"));
            }
            Ok(refused) => tell(
                LineLevel::Warning,
                Speaker::Mail,
                format!("Email to '{}' failed to following recipients: {}", self.dest, refused.join("; ")),
            ),
            Err(why) => tell(
                LineLevel::Error,
                Speaker::Mail,
                format!("Error sending mail to host '{}' from '{}' to '{}': {why}", self.host, self.sender, self.dest),
            ),
        }
        sent.map(drop)
    }

    fn story(&self, ip: &str, values: &Values) -> String {
        let seconds = self.idle.get("bantime").unwrap_or_default();
        let failures = values.get("failures").unwrap_or_default();
        let mut text = format!(
            "{ip} is banned in the jail {} for {seconds} seconds, after {failures} failed attempts.\n",
            self.jail
        );
        if !self.matches.is_empty() {
            let of = match self.matches.as_str() {
                "ipjailmatches" => format!("Lines about {ip} in {}", self.jail),
                "ipmatches" => format!("Lines about {ip} in all jails"),
                _ => "Lines that led to it".to_owned(),
            };
            text.push_str(&format!("\n{of}:\n{}\n", values.get(&self.matches).unwrap_or_default()));
        }
        text
    }

    fn send(&self, subject: &str, text: &str, own: &str) -> Result<Vec<String>, String> {
        let own_name = if own.is_empty() { "localhost" } else { own };
        let (charset, encoding, body) = if text.is_ascii() && text.lines().all(|line| line.len() < LINE_BYTES_MAX) {
            ("us-ascii", "7bit", text.replace('\r', ""))
        } else {
            let coded = base64(text.as_bytes());
            let lines = coded.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned());
            ("utf-8", "base64", lines.collect::<Vec<_>>().join("\n"))
        };
        let content = format!(
            "Content-Type: text/plain; charset=\"{charset}\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: {encoding}\nSubject: {}\nFrom: {} <{}>\nTo: {}\nDate: {}\n\n{body}\n",
            header(subject),
            header(&self.sendername),
            header(&self.sender),
            header(&self.dest),
            date(SystemTime::now()),
        );
        smtp::send(&smtp::Mail {
            host: &self.host,
            login: (!self.user.is_empty() && !self.password.is_empty()).then_some((&self.user, &self.password)),
            from: &self.sender,
            to: self.dest.split(", ").collect(),
            own_name,
            content: &content,
        })
    }
}

/// A text in a mail's head: one line, and ASCII (RFC 2047).
fn header(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    if line.is_ascii() { line } else { format!("=?utf-8?b?{}?=", base64(line.as_bytes())) }
}

/// RFC 5322, section 3.3, in universal time.
fn date(at: SystemTime) -> String {
    let secs = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"].get((days % 7) as usize).copied().unwrap_or("Thu");
    // The civil calendar from days, in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let name = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let year = year + era * 400 + u64::from(month >= 10);
    let month = name.get(month as usize).copied().unwrap_or("Jan");
    format!("{weekday}, {day:02} {month} {year} {:02}:{:02}:{:02} -0000", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    fn spec(file: &str, arguments: &str) -> ActionSpec {
        let python = Some((file.to_owned(), arguments.to_owned()));
        ActionSpec { jail: "sshd".into(), name: "smtp".into(), properties: Vec::new(), python }
    }

    /// A mail server for one mail; returns what it was told.
    fn server() -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut said = Vec::new();
            socket.write_all(b"220 mail.example ESMTP\r\n").unwrap();
            let lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let mut data = false;
            for line in lines {
                let line = line.unwrap();
                let answer: &str = match line.split(' ').next().unwrap() {
                    "." if data => {
                        data = false;
                        "250 taken\r\n"
                    }
                    _ if data => "",
                    "EHLO" => "250-mail.example\r\n250-SIZE 1000000\r\n250 AUTH LOGIN PLAIN\r\n",
                    "AUTH" => "235 welcome\r\n",
                    "DATA" => {
                        data = true;
                        "354 go on\r\n"
                    }
                    "RCPT" if line.contains("nobody") => "550 no such user\r\n",
                    "QUIT" => "221 bye\r\n",
                    _ => "250 ok\r\n",
                };
                said.push(line.clone());
                socket.write_all(answer.as_bytes()).unwrap();
                if line == "QUIT" {
                    break;
                }
            }
            said
        });
        (port, thread)
    }

    #[test]
    fn a_ban_is_mailed_with_its_lines() {
        let (port, thread) = server();
        let arguments = format!(
            r#"{{"host": "127.0.0.1:{port}", "user": "u", "password": "p", "dest": "root, nobody", "matches": "matches"}}"#
        );
        let mut idle = Values::default();
        idle.tag("bantime", "600");
        let mut mail = MailAction::new(&spec("/x/smtp.py", &arguments), "/x/smtp.py", &arguments, idle).unwrap();
        let mut values = Values::default();
        values.tag("ip", "192.0.2.1");
        values.tag("failures", "3");
        values.tag("matches", "first\n.second\r\nDATA\n~! touch x");
        let lines = std::sync::Mutex::new(Vec::new());
        let tell = |level: LineLevel, _: Speaker, text: String| lines.lock().unwrap().push((level, text));
        mail.carry_out(&Verb::Ban, &values, &tell).unwrap();
        let said = thread.join().unwrap();
        assert!(said.contains(&"AUTH PLAIN AHUAcA==".to_owned()), "{said:?}");
        assert!(said.contains(&"RCPT TO:<root>".to_owned()) && said.contains(&"MAIL FROM:<fail2ban>".to_owned()));
        let own = super::super::names::own_name();
        assert!(said.contains(&format!("Subject: [Fail2Ban] sshd: banned 192.0.2.1 from {own}")), "{said:?}");
        assert!(said.contains(&"..second".to_owned()) && said.contains(&"To: root, nobody".to_owned()), "{said:?}");
        let lines = lines.into_inner().unwrap();
        assert!(lines[0].0 == LineLevel::Warning && lines[0].1.contains("nobody: 550 no such user"), "{lines:?}");
    }

    #[test]
    fn a_restored_ban_is_not_mailed_and_a_dead_server_is_named() {
        let mut mail =
            MailAction::new(&spec("smtp.py", "{}"), "smtp.py", r#"{"host": "127.0.0.1:1"}"#, Values::default())
                .unwrap();
        let mut values = Values::default();
        values.tag("restored", "1");
        mail.carry_out(&Verb::Ban, &values, &|_, _, _| {}).unwrap();
        let why = mail.carry_out(&Verb::Start, &values, &|_, _, _| {}).unwrap_err();
        assert!(why.contains("can't connect to the mail server 127.0.0.1:1"), "{why}");
    }

    #[test]
    fn what_can_not_be_carried_out_is_refused_with_a_way_on() {
        assert!(check(&spec("/a/badips.py", "{}")).unwrap_err().contains("badips.py"));
        assert!(check(&spec("/a/smtp.py", r#"{"ssl": true}"#)).unwrap_err().contains("localhost:25"));
        assert!(check(&spec("/a/smtp.py", r#"{"ssl": "False", "bantime": 600}"#)).is_ok());
        assert!(check(&spec("/a/smtp.py", r#"{"hosts": "x"}"#)).unwrap_err().contains("no option 'hosts'"));
    }

    #[test]
    fn dates_and_headers_are_as_mail_wants_them() {
        let at = |secs| date(UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 -0000");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 -0000");
        assert_eq!(at(1_795_379_025), "Sun, 22 Nov 2026 20:23:45 -0000");
        assert_eq!(header("a\nBcc: x"), "a Bcc: x");
        assert_eq!(header("ä"), "=?utf-8?b?w6Q=?=");
    }
}
