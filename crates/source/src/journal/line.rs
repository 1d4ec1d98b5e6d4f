//! The line that is made of a journal entry.

use super::export::{Entry, Field};

/// Appends `HOST IDENT[PID]: MESSAGE` and a line end; absent parts are left out.
///
/// Line ends inside become backslash and `n`, so that an entry is one line whatever it holds.
/// Source: fail2ban `server/filtersystemd.py`, `formatJournalEntry`, and python-systemd's
/// `DEFAULT_CONVERTERS` (which make numbers of pids).
pub(crate) fn append(entry: &Entry, out: &mut Vec<u8>) {
    if let Some(host) = present(entry, Field::Hostname) {
        push(out, host);
        out.push(b' ');
    }
    if let Some(ident) = present(entry, Field::Identifier).or_else(|| present(entry, Field::Comm)) {
        push(out, ident);
        let pid = pid(entry, Field::SyslogPid).or_else(|| pid(entry, Field::Pid));
        if let Some(pid) = &pid {
            out.push(b'[');
            push(out, pid);
            out.push(b']');
        }
        out.extend_from_slice(b": ");
        if pid.is_none() && ident == b"kernel" {
            let micros = number(entry, Field::SourceMonotonic).or_else(|| number(entry, Field::Monotonic)).unwrap_or(0);
            out.extend_from_slice(format!("[{:5}.{:06}] ", micros / 1_000_000, micros % 1_000_000).as_bytes());
        }
    }
    push(out, entry.message());
    out.push(b'\n');
}

/// A value that is not empty.
fn present(entry: &Entry, field: Field) -> Option<&[u8]> {
    entry.get(field).filter(|v| !v.is_empty())
}

fn number(entry: &Entry, field: Field) -> Option<u64> {
    std::str::from_utf8(entry.get(field)?).ok()?.trim().parse().ok()
}

/// A pid as Python's `int` would show it; as it is if it is no number; `None` if it is absent or 0.
fn pid(entry: &Entry, field: Field) -> Option<Vec<u8>> {
    let raw = present(entry, field)?;
    match std::str::from_utf8(raw).ok().and_then(|t| decimal(t).or_else(|| prefixed(t))) {
        Some(0) => None,
        Some(n) => Some(n.to_string().into_bytes()),
        None => Some(raw.to_vec()),
    }
}

/// Python's `int(text)`: blanks around, a sign, single underscores between digits.
fn decimal(text: &str) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = signed(text);
    let n = digits_of(digits, 10)?;
    Some(if negative { -n } else { n })
}

/// Python's `int(text, 0)` for the forms with a prefix.
fn prefixed(text: &str) -> Option<i128> {
    let (negative, digits) = signed(text.trim());
    let (head, rest) = digits.split_at_checked(2)?;
    let radix = match head {
        "0x" | "0X" => 16,
        "0o" | "0O" => 8,
        "0b" | "0B" => 2,
        _ => return None,
    };
    let n = digits_of(rest.strip_prefix('_').unwrap_or(rest), radix)?;
    Some(if negative { -n } else { n })
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn digits_of(text: &str, radix: u32) -> Option<i128> {
    let lone = |c: char| !c.is_digit(radix) && c != '_';
    if text.is_empty() || text.starts_with('_') || text.ends_with('_') || text.contains("__") || text.contains(lone) {
        return None;
    }
    i128::from_str_radix(&text.replace('_', ""), radix).ok()
}

/// Appends with line ends escaped.
fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((line, more)) = memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at)) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\\n");
        rest = more.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::super::export::Parser;
    use super::*;

    #[track_caller]
    fn check(fields: &str, expected: &str) {
        let mut parser = Parser::new();
        parser.room().extend_from_slice(fields.replace(' ', "\n").replace('~', " ").as_bytes());
        parser.room().extend_from_slice(b"\n\n");
        let entry = parser.next_entry().unwrap().unwrap();
        let mut out = Vec::new();
        append(entry, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{expected}\n"), "{fields}");
    }

    #[test]
    fn lines_are_made_as_fail2ban_makes_them() {
        check("_HOSTNAME=h SYSLOG_IDENTIFIER=sshd _PID=12 MESSAGE=hello", "h sshd[12]: hello");
        check("_HOSTNAME=h SYSLOG_IDENTIFIER=sshd SYSLOG_PID=7 _PID=12 MESSAGE=x", "h sshd[7]: x");
        check("_HOSTNAME=h _COMM=cron _PID=12 MESSAGE=x", "h cron[12]: x");
        check("_HOSTNAME=h SYSLOG_IDENTIFIER= _COMM=cron MESSAGE=x", "h cron: x");
        check("_HOSTNAME=h _PID=12 MESSAGE=x", "h x");
        check("SYSLOG_IDENTIFIER=a MESSAGE=x", "a: x");
        check("_HOSTNAME=h SYSLOG_IDENTIFIER=a", "h a: ");
        check("MESSAGE=only", "only");
    }

    #[test]
    fn pids_are_numbers_where_python_reads_one() {
        for (raw, shown) in [
            ("0x12", "[18]"),
            ("012", "[12]"),
            ("0o17", "[15]"),
            ("1_0", "[10]"),
            ("+5", "[5]"),
            ("12a", "[12a]"),
            ("_1", "[_1]"),
            ("0", ""),
        ] {
            check(&format!("SYSLOG_IDENTIFIER=a SYSLOG_PID={raw} MESSAGE=x"), &format!("a{shown}: x"));
        }
        check("SYSLOG_IDENTIFIER=a SYSLOG_PID=0 _PID=3 MESSAGE=x", "a[3]: x");
    }

    #[test]
    fn the_kernel_gets_its_clock() {
        check(
            "_HOSTNAME=h SYSLOG_IDENTIFIER=kernel _SOURCE_MONOTONIC_TIMESTAMP=123456000 __MONOTONIC_TIMESTAMP=5 MESSAGE=x",
            "h kernel: [  123.456000] x",
        );
        check("SYSLOG_IDENTIFIER=kernel __MONOTONIC_TIMESTAMP=5 MESSAGE=x", "kernel: [    0.000005] x");
        check("SYSLOG_IDENTIFIER=kernel _PID=1 MESSAGE=x", "kernel[1]: x");
        check("SYSLOG_IDENTIFIER=kernels MESSAGE=x", "kernels: x");
    }

    #[test]
    fn an_entry_is_one_line_whatever_it_holds() {
        let mut parser = Parser::new();
        let message = b"a\nFailed password for root from 192.0.2.66\n";
        parser.room().extend_from_slice(b"MESSAGE\n");
        parser.room().extend_from_slice(&(message.len() as u64).to_le_bytes());
        parser.room().extend_from_slice(message);
        parser.room().extend_from_slice(b"\n\n");
        let mut out = Vec::new();
        append(parser.next_entry().unwrap().unwrap(), &mut out);
        assert_eq!(out, b"a\\nFailed password for root from 192.0.2.66\\n\n");
    }
}
