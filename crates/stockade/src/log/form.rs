//! What a line looks like.

use std::fmt::Write as _;
use std::time::SystemTime;

use jiff::tz::TimeZone;
use stockade_core::text::push_escaped;

use super::{Level, Line};

/// The form of a target's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Begin with the time?
    pub(super) time: bool,
    /// Pad the logger's name and the level?
    pub(super) padding: bool,
    /// The operator's own form, if there is one; then the others do not count.
    pub(super) fields: Vec<Piece>,
}

/// A piece of an operator's own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it is.
    Text(String),
    /// `%(name)-24s`
    Field {
        /// What is shown.
        name: Field,
        /// At least so many characters.
        width: usize,
        /// Blanks behind the value and not before it?
        left: bool,
        /// At most so many characters.
        most: Option<usize>,
    },
}

/// What a line has to show. Names are Python's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Asctime,
    Name,
    Process,
    Levelname,
    Levelno,
    Message,
    Created,
    Msecs,
    /// The last part of the logger's name.
    Module,
}

/// Reads Python's `%` format of a log line.
///
/// # Errors
/// A field that is not known or never ends.
pub(super) fn fields(format: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = format;
    while let Some((text, field)) = rest.split_once('%') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if let Some(behind) = field.strip_prefix('%') {
            pieces.push(Piece::Text("%".to_owned()));
            rest = behind;
            continue;
        }
        let inner = field.strip_prefix('(').and_then(|f| f.split_once(')'));
        let (name, spec) = inner.ok_or("a '%' must be followed by (NAME) or by another '%'")?;
        let name = match name {
            "asctime" => Field::Asctime,
            "name" => Field::Name,
            "process" => Field::Process,
            "levelname" => Field::Levelname,
            "levelno" => Field::Levelno,
            "message" => Field::Message,
            "created" => Field::Created,
            "msecs" => Field::Msecs,
            "module" => Field::Module,
            other => {
                return Err(format!(
                    "%({other}) is not known; use asctime, name, process, levelname, levelno, message, created, msecs \
                     or module"
                ));
            }
        };
        let end = spec.find(|c: char| c.is_ascii_alphabetic()).ok_or("a field must end in 's' or 'd'")?;
        let (numbers, behind) = spec.split_at(end);
        let (width, most) = numbers.split_once('.').map_or((numbers, None), |(w, m)| (w, Some(m)));
        let number = |text: &str| text.parse::<usize>().unwrap_or(0).min(256);
        pieces.push(Piece::Field {
            name,
            width: number(width.trim_start_matches(['-', '0', ' ', '+'])),
            left: width.contains('-'),
            most: most.map(number).filter(|_| behind.starts_with('s')),
        });
        rest = behind.get(1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

/// What stands before the message of the last line, and what it was made of:
/// of many lines said at once it is the same.
#[derive(Debug, Default)]
pub(super) struct Head {
    of: Option<(SystemTime, Level, &'static str)>,
    text: String,
}

impl Form {
    /// Appends a line, without its end. Captured text is escaped.
    pub(super) fn write(&self, line: &Line, zone: &TimeZone, head: &mut Head, text: &mut String) {
        if !self.fields.is_empty() {
            self.fields.iter().for_each(|piece| piece.write(line, zone, text));
            return;
        }
        let of = Some((line.at, line.level, line.logger));
        if head.of != of {
            head.of = of;
            head.text.clear();
            self.head(line, zone, &mut head.text);
        }
        text.push_str(&head.text);
        push_escaped(text, &line.text);
    }

    fn head(&self, line: &Line, zone: &TimeZone, text: &mut String) {
        if self.time {
            push_time(text, line.at, zone);
            text.push(' ');
        }
        let (pid, level) = (std::process::id(), line.level.shown());
        if self.padding {
            push(text, format_args!("{:<24}[{pid}]: {level:<7} ", line.logger));
        } else {
            push(text, format_args!("{}[{pid}]: {level} ", line.logger));
        }
    }
}

impl Piece {
    fn write(&self, line: &Line, zone: &TimeZone, text: &mut String) {
        let (name, width, left, most) = match self {
            Piece::Text(piece) => return text.push_str(piece),
            Piece::Field { name, width, left, most } => (name, *width, *left, *most),
        };
        let mut value = String::new();
        let since = || line.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match name {
            Field::Asctime => push_time(&mut value, line.at, zone),
            Field::Name => value.push_str(line.logger),
            Field::Process => push(&mut value, format_args!("{}", std::process::id())),
            Field::Levelname => value.push_str(line.level.shown()),
            Field::Levelno => push(&mut value, format_args!("{}", line.level.number())),
            Field::Message => push_escaped(&mut value, &line.text),
            Field::Created => push(&mut value, format_args!("{:.6}", since().as_secs_f64())),
            Field::Msecs => push(&mut value, format_args!("{}", since().subsec_millis())),
            Field::Module => value.push_str(line.logger.rsplit('.').next().unwrap_or_default()),
        }
        if let Some(most) = most {
            value = value.chars().take(most).collect();
        }
        if left {
            push(text, format_args!("{value:<width$}"));
        } else {
            push(text, format_args!("{value:>width$}"));
        }
    }
}

pub(super) fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    text.write_fmt(what).unwrap_or_default();
}

/// `YYYY-MM-DD HH:MM:SS,mmm` in local time.
fn push_time(text: &mut String, at: SystemTime, zone: &TimeZone) {
    let Ok(at) = jiff::Timestamp::try_from(at) else { return };
    let t = zone.to_datetime(at);
    let (year, month, day) = (t.year(), t.month(), t.day());
    let (hour, minute, second, milli) = (t.hour(), t.minute(), t.second(), t.millisecond());
    push(text, format_args!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{milli:03}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_said_at_once_differ_where_they_should() {
        let form = Form { time: true, padding: false, fields: Vec::new() };
        let at = SystemTime::UNIX_EPOCH;
        let (info, notice) = (Level::Info, Level::Notice);
        let (mut head, mut text) = (Head::default(), String::new());
        for (at, level, logger) in [(at, info, "a"), (at, info, "a"), (at, notice, "a"), (at, notice, "b")] {
            form.write(&Line { at, level, logger, text: "x".into() }, &TimeZone::UTC, &mut head, &mut text);
            text.push('\n');
        }
        let later = at + std::time::Duration::from_millis(7);
        form.write(
            &Line { at: later, level: notice, logger: "b", text: "y".into() },
            &TimeZone::UTC,
            &mut head,
            &mut text,
        );
        let pid = std::process::id();
        let line = |millis: u32, rest: &str| {
            format!("1970-01-01 00:00:00,{millis:03} {}", rest.replace('P', &pid.to_string()))
        };
        let wanted =
            [line(0, "a[P]: INFO x"), line(0, "a[P]: INFO x"), line(0, "a[P]: NOTICE x"), line(0, "b[P]: NOTICE x")];
        assert_eq!(text, wanted.join("\n") + "\n" + &line(7, "b[P]: NOTICE y"));
    }

    #[test]
    fn an_operator_s_own_form_is_python_s() {
        let line =
            Line { at: SystemTime::UNIX_EPOCH, level: Level::Notice, logger: "fail2ban.actions", text: "a\nb".into() };
        let form = |format: &str| {
            let form = Form { time: true, padding: true, fields: fields(format).unwrap() };
            let mut text = String::new();
            form.write(&line, &TimeZone::UTC, &mut Head::default(), &mut text);
            text
        };
        assert_eq!(form("%(asctime)s|%(levelname)-8s|%(message)s"), "1970-01-01 00:00:00,000|NOTICE  |a\\x0ab");
        assert_eq!(form("100%% %(module)10.3s %(levelno)d"), "100%        act 25");
        assert!(fields("%(asctime").is_err() && fields("%s").is_err());
    }
}
