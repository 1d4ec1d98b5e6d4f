//! The operator's own list: one address or network a line; `#` and `;` begin a comment.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use stockade_core::{FailureId, Net};

use crate::plain_file;

/// The largest list that is read.
const BYTES_MAX: u64 = 256 << 20;
/// The longest line that is looked at.
const LINE_BYTES_MAX: u64 = 1_024;
/// How much of a bad line is shown.
const SHOWN_CHARS: usize = 60;
/// How many bad lines are remembered; further ones are counted.
const BAD_MAX: usize = 100;

/// What stands in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Addresses and networks, each with the line that names it first, from 1.
    pub(crate) nets: BTreeMap<Net, u32>,
    /// Lines that are neither, and why; the first ones.
    pub(crate) bad: Vec<(u32, String)>,
    /// How many there are.
    pub(crate) bad_total: u64,
}

/// Reads a list; one that is not there is empty.
///
/// # Errors
/// If it can't be read, is no plain file, or may be written by others than its
/// owner's group: then nothing of it counts.
pub(crate) fn read(path: &Path) -> io::Result<Keep> {
    let file = match plain_file::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) => {
            return Ok(Keep::default());
        }
        opened => opened?,
    };
    let meta = file.metadata()?;
    if meta.mode() & 0o002 != 0 || plain_file::is_foreign(meta.uid()) {
        return Err(io::Error::other("others than root may write it; make it root's, chmod o-w"));
    }
    if meta.len() > BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB", BYTES_MAX >> 20)));
    }
    parse(BufReader::new(file.take(BYTES_MAX)))
}

fn parse(mut reader: impl BufRead) -> io::Result<Keep> {
    let mut keep = Keep::default();
    let mut line = Vec::new();
    let mut number: u32 = 0;
    loop {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(keep);
        }
        number = number.saturating_add(1);
        let whole = line.ends_with(b"\n") || reader.fill_buf()?.is_empty();
        if !whole {
            reader.skip_until(b'\n')?;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.split(['#', ';']).next().unwrap_or_default().trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
        if text.is_empty() {
            continue;
        }
        match FailureId::parse(text) {
            FailureId::Net(net) if net.prefix() == 0 => keep.bad(number, text, "is everybody"),
            FailureId::Net(net) => drop(keep.nets.entry(net).or_insert(number)),
            FailureId::Text(_) => keep.bad(number, text, "is no address or network"),
        }
    }
}

impl Keep {
    fn bad(&mut self, line: u32, text: &str, why: &str) {
        self.bad_total += 1;
        if self.bad.len() < BAD_MAX {
            let mut shown = String::new();
            let cut: String = text.chars().take(SHOWN_CHARS).collect();
            stockade_core::text::push_escaped(&mut shown, &cut);
            self.bad.push((line, format!("'{shown}' {why}; the line is left out")));
        }
    }

    /// What is wrong in the list, as lines `FILE:LINE: why`.
    pub(crate) fn complaints(&self, file: &Path) -> Vec<String> {
        let mut all: Vec<String> =
            self.bad.iter().map(|(line, why)| format!("{}:{line}: {why}", file.display())).collect();
        let more = self.bad_total.saturating_sub(all.len() as u64);
        if more > 0 {
            all.push(format!("{}: {more} more lines are no addresses or networks", file.display()));
        }
        all
    }
}

/// Networks that a list can't have banned, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Protected {
    by_length: BTreeMap<(bool, u8), BTreeMap<Net, String>>,
}

impl Protected {
    /// Adds one; the first reason counts.
    pub(crate) fn add(&mut self, net: Net, why: &str) {
        let same = self.by_length.entry((net.is_ipv4(), net.prefix())).or_default();
        same.entry(net).or_insert_with(|| why.to_owned());
    }

    /// Why `net` can't be banned as a whole, if it can't.
    pub(crate) fn why_not(&self, net: Net) -> Option<String> {
        for ((four, prefix), nets) in &self.by_length {
            if *four != net.is_ipv4() {
                continue;
            }
            let found = if *prefix <= net.prefix() {
                Net::new(net.addr(), *prefix).and_then(|wider| nets.get_key_value(&wider))
            } else {
                nets.range(net..).next().filter(|(inside, _)| net.contains(**inside))
            };
            if let Some((inside, why)) = found {
                return Some(if *inside == net { why.clone() } else { format!("{inside}: {why}") });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        FailureId::parse(text).net().unwrap()
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let text = "\u{feff}# mine\r\n\r\n192.0.2.1\r\n 192.0.2.9/24 ; all\n2001:db8::1 # six\n192.0.2.1\nno way\n\
                    0.0.0.0/0\n192.0.2.1 192.0.2.2\n::ffff:198.51.100.7\n2001:db8:1::/48";
        let keep = parse(text.as_bytes()).unwrap();
        let expected =
            [("192.0.2.1", 3), ("192.0.2.0/24", 4), ("2001:db8::1", 5), ("198.51.100.7", 10), ("2001:db8:1::/48", 11)];
        assert_eq!(keep.nets, expected.map(|(text, line)| (net(text), line)).into());
        assert_eq!(keep.bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(
            keep.complaints(Path::new("/k"))[0],
            "/k:7: 'no way' is no address or network; the line is left out"
        );
    }

    #[test]
    fn a_line_without_end_is_one_bad_line() {
        let text = format!("{}\n192.0.2.1\n", "x".repeat(5_000));
        let keep = parse(text.as_bytes()).unwrap();
        assert_eq!((keep.bad_total, keep.nets.len()), (1, 1));
        assert_eq!(keep.nets.values().next(), Some(&2));
    }

    #[test]
    fn what_touches_a_protected_network_is_told() {
        let mut protected = Protected::default();
        protected.add(net("192.0.2.0/24"), "ignoreip");
        protected.add(net("198.51.100.7"), "its own");
        protected.add(net("2001:db8::1"), "its own");
        for (text, refused) in [
            ("192.0.2.1", true),
            ("192.0.0.0/16", true),
            ("192.0.3.0/24", false),
            ("198.51.100.0/24", true),
            ("198.51.101.0/24", false),
            ("198.51.100.8", false),
            ("2001:db8::/64", true),
            ("2001:db8:1::/64", false),
        ] {
            assert_eq!(protected.why_not(net(text)).is_some(), refused, "{text}");
        }
        assert_eq!(protected.why_not(net("198.51.100.0/24")).unwrap(), "198.51.100.7: its own");
    }
}
