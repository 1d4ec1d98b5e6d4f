//! Words on the terminal.

use std::io::{IsTerminal, Write};

/// Writes a line to standard output; ends the program quietly when nobody reads any more.
pub(crate) fn say(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{}", line.as_ref()).is_err() {
        std::process::exit(0);
    }
}

/// `1 ban`, `2 bans`.
pub(crate) fn count<N: std::fmt::Display + Copy + PartialEq + From<u8>>(n: N, word: &str) -> String {
    let s = if n == N::from(1) { "" } else { "s" };
    format!("{n} {word}{s}")
}

/// Writes a sentence; on a terminal it is broken between words, and goes on `indent` columns from the left.
pub(crate) fn say_folded(indent: usize, text: &str) {
    say(match width() {
        Some(columns) => folded(columns, indent, text),
        None => text.to_owned(),
    });
}

/// The text in lines of at most `columns`, broken at blanks; a word that is too long stands alone.
fn folded(columns: usize, indent: usize, text: &str) -> String {
    let mut out = String::new();
    let mut column = 0_usize;
    for (word, nth) in text.split(' ').zip(0..) {
        // What only a terminal sees takes no room; our own texts have no other sequences than these.
        let length = word.replace("\x1b[1m", "").replace("\x1b[33m", "").replace("\x1b[0m", "").chars().count();
        if nth > 0 && column.saturating_add(length) >= columns && column > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if nth > 0 {
            out.push(' ');
            column = column.saturating_add(1);
        }
        out.push_str(word);
        column = column.saturating_add(length);
    }
    out
}

/// Writes a line to standard error.
pub(crate) fn note(line: impl AsRef<str>) {
    drop(writeln!(std::io::stderr().lock(), "{}", line.as_ref()));
}

/// The words of a command are wrong: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An address or network.
pub(crate) fn net(text: &str) -> Result<stockade_core::Net, Usage> {
    match stockade_core::FailureId::parse(text) {
        stockade_core::FailureId::Net(net) => Ok(net),
        stockade_core::FailureId::Text(_) => {
            Err(Usage(format!("'{text}' is not an address or network such as 192.0.2.1 or 2001:db8::/32")))
        }
    }
}

/// Says what went wrong, with its causes, in one line.
pub(crate) fn complain(error: &anyhow::Error) {
    note(format!("stockade: {error:#}"));
}

/// Is somebody looking at standard output, with colours wanted?
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none()
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// The text, bold on a terminal.
pub(crate) fn bold(text: &str) -> String {
    if colours() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// The text as a warning on a terminal.
pub(crate) fn warn(text: &str) -> String {
    if colours() { format!("\x1b[33m{text}\x1b[0m") } else { text.to_owned() }
}

/// How many characters a line of the terminal holds; `None` if nobody looks at
/// standard output through one.
pub(crate) fn width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Rows under a head, columns as wide as needed, two blanks between them. The
/// first column is left-aligned, columns named in `right` are right-aligned.
pub(crate) fn table(head: &[&str], right: &[usize], rows: &[Vec<String>]) {
    table_below(head, right, rows, usize::MAX);
}

/// The same, but where the first cell is longer than `widest`, it has a line of
/// its own, and the rest of the row stands below.
pub(crate) fn table_below(head: &[&str], right: &[usize], rows: &[Vec<String>], widest: usize) {
    let lines = lines(head, right, rows, widest);
    for (n, line) in lines.iter().enumerate() {
        say(if n == 0 { bold(line) } else { line.clone() });
    }
}

fn lines(head: &[&str], right: &[usize], rows: &[Vec<String>], widest: usize) -> Vec<String> {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (n, (width, cell)) in widths.iter_mut().zip(row).enumerate() {
            let most = if n == 0 { widest } else { usize::MAX };
            *width = (*width).max(Some(cell.chars().count()).filter(|wide| *wide <= most).unwrap_or(0));
        }
    }
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            if i == 0 && cell.chars().count() > *width {
                text += cell;
                text += "\n";
                text += &" ".repeat(*width);
            } else if right.contains(&i) {
                text += &gap;
                text += cell;
            } else {
                text += cell;
                text += &gap;
            }
            text += "  ";
        }
        text.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    std::iter::once(&head).chain(rows).map(|cells| line(cells)).collect()
}

/// Seconds as people say them: the two largest units.
pub(crate) fn duration(secs: i64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = secs.max(0);
    let mut parts = Vec::new();
    for (unit, size) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_024 => format!("{n} B"),
        1_024..1_048_576 => format!("{} KiB", n / 1_024),
        _ => format!("{} MiB", n / 1_048_576),
    }
}

/// A point in time, local, to the second.
pub(crate) fn clock(epoch_secs: i64) -> String {
    jiff::Timestamp::from_second(epoch_secs)
        .map(|t| t.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_else(|_| "never".to_owned())
}

/// The same to the minute; the year only if it is another one than now.
pub(crate) fn short_clock(epoch_secs: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(epoch_secs) else { return "never".to_owned() };
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    let same = time.year() == jiff::Zoned::now().year();
    time.strftime(if same { "%m-%d %H:%M" } else { "%Y-%m-%d" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(folded(20, 4, "one two three four five six"), "one two three four\n    five six");
        assert_eq!(folded(10, 2, "a-word-that-is-too-long b"), "a-word-that-is-too-long\n  b");
        // Eleven columns to be seen: they fill a line of eleven, and are too many for ten.
        assert_eq!(folded(11, 0, "\x1b[1mbold\x1b[0m and on"), "\x1b[1mbold\x1b[0m and on");
        assert_eq!(folded(10, 0, "\x1b[1mbold\x1b[0m and on"), "\x1b[1mbold\x1b[0m and\non");
        assert_eq!(folded(80, 4, ""), "");
    }

    #[test]
    fn long_addresses_stand_above_their_row() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["192.0.2.1", "web", "7"]), row(["2001:db8:1234:5678::1", "sshd", "12"])];
        let shown = lines(&["ADDRESS", "JAIL", "N"], &[2], &rows, 18).join("\n");
        let expected = "ADDRESS    JAIL   N\n192.0.2.1  web    7\n2001:db8:1234:5678::1\n           sshd  12";
        assert_eq!(shown, expected);
        assert_eq!(lines(&["A"], &[], &[vec!["x".repeat(40)]], usize::MAX).last(), Some(&"x".repeat(40)));
    }

    #[test]
    fn durations_use_two_units() {
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_600), "1 h");
        assert_eq!(duration(3_700), "1 h 1 min");
        assert_eq!(duration(86_400 + 30), "1 d");
        assert_eq!(duration(2 * 86_400 + 7_230), "2 d 2 h");
    }
}
