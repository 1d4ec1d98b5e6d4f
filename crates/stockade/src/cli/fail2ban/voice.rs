//! What goes to standard error, in the original's layout: panels and scripts
//! look for its words there.

use std::io::Write;
use std::time::SystemTime;

pub(super) use crate::log::Level;

/// Speaks on standard error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voice {
    /// How many `-v` more than `-q` there were.
    verbosity: i32,
    /// Before the options are known only the text is written.
    bare: bool,
}

impl Voice {
    /// For what goes wrong while options are read.
    pub(super) fn bare() -> Voice {
        Voice { verbosity: 0, bare: true }
    }

    /// As loud as the options ask for.
    pub(super) fn new(verbosity: i32) -> Voice {
        Voice { verbosity, bare: false }
    }

    /// Did they ask for more words (`-v`)?
    pub(super) fn is_verbose(self) -> bool {
        self.verbosity > 0
    }

    /// One line of the client itself.
    pub(super) fn say(self, level: Level, text: impl AsRef<str>) {
        self.line(level, "fail2ban", text.as_ref());
    }

    /// One line; `part` is who speaks, such as `fail2ban.configreader`.
    pub(super) fn line(self, level: Level, part: &str, text: &str) {
        let wanted = match self.verbosity {
            ..=-1 => Level::Error,
            0 => Level::Warning,
            1 => Level::Info,
            2 => Level::Debug,
            _ => Level::Heavydebug,
        };
        if level < wanted {
            return;
        }
        let mut shown = String::with_capacity(text.len());
        stockade_core::text::push_escaped(&mut shown, text);
        let line = if self.bare {
            shown
        } else {
            let pid = std::process::id();
            let name = level.shown();
            match self.verbosity {
                ..=1 => format!("{} {part:<24}[{pid}]: {name:<7} {shown}", now()),
                2 => format!(" {} {pid:X} {name:<5.5} {shown}", now()),
                _ => format!(" {} {pid:X} {part:<25.25} {name:<5.5} {shown}", now()),
            }
        };
        drop(writeln!(std::io::stderr().lock(), "{line}"));
    }
}

/// Local time as log lines have it.
fn now() -> String {
    let zoned = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
    format!("{},{:03}", zoned.strftime("%Y-%m-%d %H:%M:%S"), zoned.millisecond())
}
