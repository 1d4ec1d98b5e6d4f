//! A bounded, incremental parser of the journal's export format.
//!
//! Source: systemd's "Journal Export Formats": fields as `NAME=value` lines, or as `NAME`, a 64-bit
//! little-endian length, that many bytes and a line end; an empty line ends an entry. The children
//! that write it are ours, the values are anybody's.

use stockade_core::time::Timestamp;

/// Bytes of one message that are kept, and of all messages of one entry.
pub(crate) const MESSAGE_MAX: usize = 64 << 10;
/// Bytes of any other field that are kept.
const FIELD_MAX: usize = 1 << 10;
/// Bytes of a field name.
const NAME_MAX: usize = 64;
/// A length beyond this is no length: journald's own bound is 768 MiB.
const LENGTH_MAX: u64 = 1 << 30;

/// The fields that are needed to make a line, in no particular order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Cursor,
    Realtime,
    Monotonic,
    SourceRealtime,
    SourceMonotonic,
    Hostname,
    Identifier,
    Comm,
    SyslogPid,
    Pid,
    Uid,
    Transport,
    Message,
}

/// Number of single-valued fields.
const FIELDS: usize = 12;

impl Field {
    fn of(name: &[u8]) -> Option<Field> {
        Some(match name {
            b"__CURSOR" => Field::Cursor,
            b"__REALTIME_TIMESTAMP" => Field::Realtime,
            b"__MONOTONIC_TIMESTAMP" => Field::Monotonic,
            b"_SOURCE_REALTIME_TIMESTAMP" => Field::SourceRealtime,
            b"_SOURCE_MONOTONIC_TIMESTAMP" => Field::SourceMonotonic,
            b"_HOSTNAME" => Field::Hostname,
            b"SYSLOG_IDENTIFIER" => Field::Identifier,
            b"_COMM" => Field::Comm,
            b"SYSLOG_PID" => Field::SyslogPid,
            b"_PID" => Field::Pid,
            b"_UID" => Field::Uid,
            b"_TRANSPORT" => Field::Transport,
            b"MESSAGE" => Field::Message,
            _ => return None,
        })
    }

    fn max(self) -> usize {
        if self == Field::Message { MESSAGE_MAX } else { FIELD_MAX }
    }
}

/// One journal entry, as far as it is needed. Buffers are reused from entry to entry.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Values of the single-valued fields, the first where an entry has several.
    values: [Option<Vec<u8>>; FIELDS],
    /// All messages, joined by a blank.
    message: Vec<u8>,
    messages: usize,
    /// A needed field was over its bound.
    pub(crate) too_large: bool,
    any: bool,
}

impl Entry {
    /// The value of a field, if present.
    pub(crate) fn get(&self, field: Field) -> Option<&[u8]> {
        self.values.get(field as usize)?.as_deref()
    }

    /// The messages, joined by a blank; empty if there is none.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// When the entry was made: by its source if that is known, else when journald got it.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        let micros = |field| std::str::from_utf8(self.get(field)?).ok()?.trim().parse().ok();
        micros(Field::SourceRealtime).or_else(|| micros(Field::Realtime)).map(Timestamp::from_micros)
    }

    fn set(&mut self, field: Field, value: &[u8]) {
        if value.len() > field.max() {
            self.too_large = true;
            return;
        }
        if field == Field::Message {
            if self.message.len() + value.len() >= MESSAGE_MAX && self.messages > 0 {
                self.too_large = true;
                return;
            }
            if self.messages > 0 {
                self.message.push(b' ');
            }
            self.messages += 1;
            self.message.extend_from_slice(value);
        } else if let Some(slot) = self.values.get_mut(field as usize) {
            slot.get_or_insert_with(|| value.to_vec());
        }
    }

    fn clear(&mut self) {
        self.values.fill(None);
        self.message.clear();
        self.messages = 0;
        self.too_large = false;
        self.any = false;
    }
}

/// Where the parser stands between two pieces of input.
#[derive(Debug)]
enum State {
    /// At the start of a field.
    Field,
    /// In a text field that is too long or not needed: up to its line end.
    SkipLine,
    /// In a needed binary value of this length.
    Value { field: Field, left: usize },
    /// In any other binary value: so many bytes, then a line end.
    SkipValue { left: u64 },
}

/// The input is not what `journalctl -o export` writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Takes bytes as they come and yields entries.
///
/// Holds at most one unfinished field (64 KiB and a little) beside what was fed last and one entry.
#[derive(Debug)]
pub(crate) struct Parser {
    input: Vec<u8>,
    at: usize,
    state: State,
    entry: Entry,
    /// The entry was handed out and has to be cleared first.
    done: bool,
}

impl Parser {
    pub(crate) fn new() -> Parser {
        Parser { input: Vec::new(), at: 0, state: State::Field, entry: Entry::default(), done: false }
    }

    /// The buffer that more input is to be appended to. What was used is given up first.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        self.input.drain(..self.at);
        self.at = 0;
        &mut self.input
    }

    /// The next whole entry, or `None` until there is more input.
    pub(crate) fn next_entry(&mut self) -> Result<Option<&Entry>, Damaged> {
        if std::mem::take(&mut self.done) {
            self.entry.clear();
        }
        while let Some(ended) = self.step()? {
            if ended {
                self.done = true;
                return Ok(Some(&self.entry));
            }
        }
        Ok(None)
    }

    /// One step: `None` if it needs more input, `Some(true)` at the end of an entry.
    fn step(&mut self) -> Result<Option<bool>, Damaged> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        match self.state {
            State::Field => {
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    if rest.len() > NAME_MAX + 1 + MESSAGE_MAX {
                        self.note_long_line()?;
                        self.at = self.input.len();
                        self.state = State::SkipLine;
                    }
                    return Ok(None);
                };
                let line = rest.get(..end).unwrap_or_default();
                if line.is_empty() {
                    self.at += 1;
                    return Ok(Some(self.entry.any));
                }
                if let Some(equals) = memchr::memchr(b'=', line) {
                    let (name, value) = line.split_at(equals);
                    if equals > NAME_MAX {
                        return Err(Damaged);
                    }
                    self.entry.any = true;
                    if let Some(field) = Field::of(name) {
                        self.entry.set(field, value.get(1..).unwrap_or_default());
                    }
                    self.at += end + 1;
                    return Ok(Some(false));
                }
                self.binary(end)
            }
            State::SkipLine => match memchr::memchr(b'\n', rest) {
                Some(end) => {
                    self.at += end + 1;
                    self.state = State::Field;
                    Ok(Some(false))
                }
                None => {
                    self.at = self.input.len();
                    Ok(None)
                }
            },
            State::Value { field, left } => {
                let Some((value, after)) = rest.split_at_checked(left) else { return Ok(None) };
                match after.first() {
                    None => Ok(None),
                    Some(b'\n') => {
                        self.entry.set(field, value);
                        self.at += left + 1;
                        self.state = State::Field;
                        Ok(Some(false))
                    }
                    Some(_) => Err(Damaged),
                }
            }
            State::SkipValue { left } => {
                let have = rest.len();
                match usize::try_from(left).ok().and_then(|left| Some((left, rest.get(left)?))) {
                    Some((left, b'\n')) => {
                        self.at += left + 1;
                        self.state = State::Field;
                        Ok(Some(false))
                    }
                    Some(_) => Err(Damaged),
                    None => {
                        self.at += have;
                        self.state = State::SkipValue { left: left - u64::try_from(have).unwrap_or(left) };
                        Ok(None)
                    }
                }
            }
        }
    }

    /// The head of a binary field: its name ends `end` bytes further on.
    fn binary(&mut self, end: usize) -> Result<Option<bool>, Damaged> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let name = rest.get(..end).unwrap_or_default();
        if end > NAME_MAX || !name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_') {
            return Err(Damaged);
        }
        let Some(length) = rest.get(end + 1..).and_then(|r| r.first_chunk::<8>()) else { return Ok(None) };
        let length = u64::from_le_bytes(*length);
        if length > LENGTH_MAX {
            return Err(Damaged);
        }
        self.entry.any = true;
        self.state = match (Field::of(name), usize::try_from(length)) {
            (Some(field), Ok(left)) if left <= field.max() => State::Value { field, left },
            (needed, _) => {
                self.entry.too_large |= needed.is_some();
                State::SkipValue { left: length }
            }
        };
        self.at += end + 9;
        Ok(Some(false))
    }

    /// A text field beyond all bounds: does it matter?
    fn note_long_line(&mut self) -> Result<(), Damaged> {
        let head = self.input.get(self.at..).unwrap_or_default();
        let head = head.get(..=NAME_MAX).unwrap_or(head);
        let equals = memchr::memchr(b'=', head).ok_or(Damaged)?;
        self.entry.any = true;
        self.entry.too_large |= head.get(..equals).and_then(Field::of).is_some();
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> Vec<u8> {
        format!("{name}={value}\n").into_bytes()
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        let mut out = format!("{name}\n").into_bytes();
        out.extend((value.len() as u64).to_le_bytes());
        out.extend(value);
        out.push(b'\n');
        out
    }

    /// Feeds `stream` in pieces of `size` bytes; shows each entry's message, `!` if it is too large.
    fn messages(stream: &[u8], size: usize) -> Result<Vec<String>, Damaged> {
        let mut parser = Parser::new();
        let mut out = Vec::new();
        for piece in stream.chunks(size) {
            parser.room().extend_from_slice(piece);
            while let Some(entry) = parser.next_entry()? {
                let mark = if entry.too_large { "!" } else { "" };
                out.push(format!("{mark}{}", String::from_utf8_lossy(entry.message())));
            }
        }
        Ok(out)
    }

    #[track_caller]
    fn check(stream: &[u8], expected: &[&str]) {
        for size in [1, 2, 7, 64, 4096, 1 << 20] {
            let got = messages(stream, size);
            assert_eq!(
                got.as_deref(),
                Ok(expected.iter().map(|s| s.to_string()).collect::<Vec<_>>().as_slice()),
                "{size}"
            );
        }
    }

    #[test]
    fn text_and_binary_fields_make_entries() {
        let stream = [
            text("__CURSOR", "s=1;i=1"),
            text("MESSAGE", "a=b"),
            b"\n".to_vec(),
            binary("_OTHER", b"\n\nMESSAGE=forged\n\n"),
            binary("MESSAGE", b"two\nlines"),
            b"\n\n".to_vec(),
            text("MESSAGE", "x"),
            text("MESSAGE", "y"),
            b"\n".to_vec(),
            text("UNIT", "no message"),
            b"\n".to_vec(),
        ]
        .concat();
        check(&stream, &["a=b", "two\nlines", "x y", ""]);
    }

    #[test]
    fn large_values_are_passed_over_and_marked_if_needed() {
        let big = vec![b'x'; MESSAGE_MAX + 1];
        let stream = [
            binary("COREDUMP", &vec![0; 300_000]),
            text("MESSAGE", "kept"),
            b"\n".to_vec(),
            binary("MESSAGE", &big),
            b"\n".to_vec(),
            text("MESSAGE", std::str::from_utf8(&[big.as_slice(); 3].concat()).unwrap()),
            b"\n".to_vec(),
            text("NOT_NEEDED", std::str::from_utf8(&[big.as_slice(); 3].concat()).unwrap()),
            text("MESSAGE", "last"),
            b"\n".to_vec(),
        ]
        .concat();
        for size in [977, 4096, 1 << 20] {
            assert_eq!(messages(&stream, size).unwrap(), ["kept", "!", "!", "last"], "{size}");
        }
    }

    #[test]
    fn what_no_journalctl_writes_is_refused() {
        let mut lie = b"MESSAGE\n".to_vec();
        lie.extend(u64::MAX.to_le_bytes());
        for stream in
            [lie, b"no field at all\n12345678".to_vec(), [&b"MESSAGE\n"[..], &3u64.to_le_bytes(), b"abcd\n"].concat()]
        {
            for size in [1, 5, 4096] {
                assert_eq!(messages(&stream, size), Err(Damaged));
            }
        }
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut parser = Parser::new();
        parser.room().extend_from_slice(b"COREDUMP=");
        for _ in 0..1000 {
            parser.room().extend_from_slice(&[b'A'; 10_000]);
            assert_eq!(parser.next_entry().map(|e| e.is_some()), Ok(false));
            assert!(parser.input.len() <= MESSAGE_MAX + NAME_MAX + 20_000);
        }
    }

    /// Random streams, whole and mutated, mean the same in whatever pieces they come.
    #[test]
    fn pieces_make_no_difference() {
        let mut seed = 0x9e37_79b9_u32;
        let mut roll = move |sides: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed % sides
        };
        let long: u32 = std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        let names = ["MESSAGE", "__CURSOR", "_COMM", "_OTHER", "COREDUMP"];
        let mut damaged = 0;
        for _ in 0..400 * long {
            let mut stream = Vec::new();
            for _ in 0..roll(30) {
                let name = names[roll(5) as usize];
                let len = [3, 40, 1100, MESSAGE_MAX + 2, MESSAGE_MAX + 90][(roll(200) as usize).saturating_sub(195)];
                let letters = 3 + roll(2);
                let value: Vec<u8> = (0..len).map(|_| b"ab=\n"[roll(letters) as usize]).collect();
                if value.contains(&b'\n') {
                    stream.extend(binary(name, &value));
                } else {
                    stream.extend(text(name, std::str::from_utf8(&value).unwrap()));
                }
                if roll(3) == 0 {
                    stream.push(b'\n');
                }
                if roll(100) == 0 {
                    stream.extend_from_slice(b"MESSAGE\n\0\0\0\xff\xff");
                }
            }
            for _ in 0..roll(3) * roll(2) {
                let at = roll(stream.len().max(1) as u32) as usize;
                if let Some(byte) = stream.get_mut(at) {
                    *byte = roll(256) as u8;
                }
            }
            let whole = outcome(&stream, usize::MAX);
            damaged += u32::from(whole.1);
            for size in [1 + roll(7) as usize, 64, 4096] {
                assert_eq!(outcome(&stream, size), whole, "{:?}", String::from_utf8_lossy(&stream));
            }
        }
        assert!(damaged > 10 * long && damaged < 200 * long, "{damaged}");
    }

    /// What comes before the damage, and whether there is any.
    fn outcome(stream: &[u8], size: usize) -> (Vec<(bool, Vec<u8>)>, bool) {
        let mut parser = Parser::new();
        let mut out = Vec::new();
        for piece in stream.chunks(size.min(stream.len().max(1))) {
            parser.room().extend_from_slice(piece);
            loop {
                match parser.next_entry() {
                    Ok(Some(entry)) => {
                        // Of an entry that is too large nothing is used.
                        let message = if entry.too_large { Vec::new() } else { entry.message().to_vec() };
                        out.push((entry.too_large, message));
                    }
                    Ok(None) => break,
                    Err(Damaged) => return (out, true),
                }
            }
        }
        (out, false)
    }
}
