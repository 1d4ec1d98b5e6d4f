//! An open target.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::tz::TimeZone;
use stockade_core::text::push_escaped;

use super::form::{Head, push};
use super::target::{Aim, Target};
use super::{Level, Line};

/// Where the journal takes entries.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// An open target and its form.
pub(super) struct Sink {
    pub(super) aim: Aim,
    end: End,
    head: Head,
}

enum End {
    File(io::BufWriter<File>),
    Stdout,
    Stderr,
    Socket { socket: UnixDatagram, path: PathBuf },
}

impl Sink {
    /// Opens a target, and sees to it that it can be written.
    pub(super) fn open(aim: &Aim) -> io::Result<Sink> {
        let end = match &aim.target {
            Target::File(path) => End::File(open_file(path)?),
            Target::Stdout | Target::Sysout => End::Stdout,
            Target::Stderr => End::Stderr,
            Target::Syslog(path, _) => socket(path)?,
            Target::Journal => socket(Path::new(JOURNAL_SOCKET))?,
        };
        Ok(Sink { aim: aim.clone(), end, head: Head::default() })
    }

    /// Opens a file anew; the old one stays if that fails.
    pub(super) fn reopen(&mut self, zone: &TimeZone) {
        self.flush();
        match Sink::open(&self.aim) {
            Ok(sink) => *self = sink,
            Err(e) => {
                let text = format!("the log {} can't be opened anew: {e}; the old file stays in use", self.aim.name);
                self.say(Level::Error, text, zone);
            }
        }
    }

    pub(super) fn say(&mut self, level: Level, text: String, zone: &TimeZone) {
        let line = Line { at: SystemTime::now(), level, logger: "fail2ban.server", text };
        self.write(&line, zone, &mut String::new());
    }

    /// Writes one line. An error has nobody to be told to: the line is lost.
    pub(super) fn write(&mut self, line: &Line, zone: &TimeZone, text: &mut String) {
        text.clear();
        match &self.aim.target {
            Target::Journal => {
                push(text, format_args!("PRIORITY={}\nSYSLOG_IDENTIFIER=fail2ban\n", line.level.journal_priority()));
                push(text, format_args!("LOGGER={}\nMESSAGE=", line.logger));
                // Without line breaks, so the simple form will do.
                push_escaped(text, &line.text);
            }
            Target::Syslog(_, facility) => {
                push(text, format_args!("<{}>", facility * 8 + line.level.severity()));
                self.aim.form.write(line, zone, &mut self.head, text);
            }
            _ => self.aim.form.write(line, zone, &mut self.head, text),
        }
        if !matches!(self.aim.target, Target::Syslog(..)) {
            text.push('\n');
        }
        match &mut self.end {
            End::File(file) => drop(file.write_all(text.as_bytes())),
            End::Stderr => drop(io::stderr().write_all(text.as_bytes())),
            End::Stdout => drop(io::stdout().write_all(text.as_bytes())),
            End::Socket { socket, path } => drop(socket.send_to(text.as_bytes(), path)),
        }
    }

    pub(super) fn flush(&mut self) {
        match &mut self.end {
            End::File(file) => drop(file.flush()),
            End::Stdout => drop(io::stdout().flush()),
            End::Stderr | End::Socket { .. } => {}
        }
    }
}

fn socket(path: &Path) -> io::Result<End> {
    if !std::fs::metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a socket"));
    }
    let socket = UnixDatagram::unbound()?;
    // A logger that does not keep up must not hold us up for ever.
    socket.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
    Ok(End::Socket { socket, path: path.to_owned() })
}

fn open_file(path: &Path) -> io::Result<io::BufWriter<File>> {
    Ok(io::BufWriter::new(OpenOptions::new().append(true).create(true).mode(0o640).open(path)?))
}
