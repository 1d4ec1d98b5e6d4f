//! Option `logtarget`: where lines go, and in which form.
//!
//! Source: fail2ban `server/server.py`, `setLogTarget`: the reserved words, the
//! arguments in brackets, and what is left out for which target.

use std::path::PathBuf;

use super::form::Form;
use crate::settings::{arguments, boolean};

/// The system logger's usual socket.
const SYSLOG_SOCKET: &str = "/dev/log";
/// syslog's facility `daemon`.
const DAEMON: u8 = 3;

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Appended to a file, which is opened anew after a rotation.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard output without the time (something else adds one).
    Sysout,
    /// Standard error.
    Stderr,
    /// The system logger at this socket, with this facility.
    Syslog(PathBuf, u8),
    /// The systemd journal; bare messages.
    Journal,
}

/// A target as `logtarget` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    /// Where to.
    pub(crate) target: Target,
    /// Its name without the arguments, as `get logtarget` shows it.
    pub(crate) name: String,
    /// How lines look there.
    pub(super) form: Form,
}

impl Aim {
    /// Reads `NAME[option=value, ...]`; reserved names are matched in any case
    /// (SYSTEMD-JOURNAL as it stands), anything else is a file. Options:
    /// `datetime`, `padding` (on or off), `format` (Python's `%(name)s` fields),
    /// `facility` (for SYSLOG).
    ///
    /// # Errors
    /// A format that can't be used.
    pub(crate) fn parse(text: &str, syslogsocket: &str) -> Result<Aim, String> {
        let (name, options) = match text.split_once('[') {
            Some((name, rest)) => (name.trim(), arguments(rest)),
            None => (text.trim(), Vec::new()),
        };
        let option = |wanted: &str| options.iter().find(|(n, _)| n == wanted).map(|(_, value)| value.as_str());
        let target = match name.to_ascii_uppercase().as_str() {
            "STDOUT" => Target::Stdout,
            "STDERR" => Target::Stderr,
            "SYSOUT" => Target::Sysout,
            "SYSTEMD-JOURNAL" => Target::Journal,
            "SYSLOG" => {
                let socket = if syslogsocket == "auto" { SYSLOG_SOCKET } else { syslogsocket };
                Target::Syslog(socket.into(), option("facility").and_then(facility).unwrap_or(DAEMON))
            }
            _ => Target::File(name.into()),
        };
        let syslog = matches!(target, Target::Syslog(..));
        let flag = |name: &str, default: bool| option(name).map_or(default, |text| text != "0" && boolean(text));
        let mut form = Form {
            time: flag("datetime", !(syslog || target == Target::Sysout)),
            padding: flag("padding", !syslog),
            fields: Vec::new(),
        };
        if let Some(format) = option("format").filter(|format| !format.is_empty()) {
            form.fields = super::form::fields(format).map_err(|why| format!("format = {format}: {why}"))?;
        }
        Ok(Aim { target, name: name.to_owned(), form })
    }

    /// Standard error in its usual form.
    pub(crate) fn stderr() -> Aim {
        let form = Form { time: true, padding: true, fields: Vec::new() };
        Aim { target: Target::Stderr, name: "STDERR".to_owned(), form }
    }

    /// Does `flushlogs` open it anew (else it only says so)?
    pub(crate) fn rolls_over(&self) -> bool {
        !["STDERR", "STDOUT", "SYSLOG", "SYSTEMD-JOURNAL"].contains(&self.name.as_str())
    }
}

/// syslog's number of a facility.
fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] =
        ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
    let name = name.to_ascii_lowercase();
    if let Some(local) = name.strip_prefix("local").and_then(|n| n.parse::<u8>().ok()).filter(|n| *n < 8) {
        return Some(16 + local);
    }
    NAMES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_fail2ban_spells_them() {
        let target = |text: &str| Aim::parse(text, "auto").unwrap().target;
        assert_eq!(target("stdout"), Target::Stdout);
        assert_eq!(target("SYSLOG[facility=auth]"), Target::Syslog("/dev/log".into(), 4));
        assert_eq!(target("SYSLOG[facility=local3]"), Target::Syslog("/dev/log".into(), 19));
        assert_eq!(target("/var/log/x.log"), Target::File("/var/log/x.log".into()));
        let aim = Aim::parse("SYSOUT[datetime=on, format=\"%(levelname)s %(message)s\"]", "auto").unwrap();
        assert_eq!((aim.name.as_str(), aim.form.time, aim.form.fields.len()), ("SYSOUT", true, 3));
        assert!(Aim::parse("STDOUT[format=\"%(color)s\"]", "auto").is_err());
        assert!(aim.rolls_over() && !Aim::stderr().rolls_over());
    }
}
