//! Tallies and allowed addresses as bytes, to be stored with the watermarks.
//!
//! Layout, version 1; numbers are little-endian, `n` is a LEB128 number, a text
//! is `n` and its bytes:
//!
//! ```text
//! "STKJ" 1
//! n allowed:  text jail ("" is all), net
//! n jails:    text name, n tallies:
//!     id:     4 addr[4] prefix | 6 addr[16] prefix | 0 text
//!     first i64, last i64 (microseconds), retry f64, n failures, n earlier
//!     flag:   0, or 1 and: 0 | net, n matches (text), n groups (text name, 1 text | 2 n (text))
//! u64 FNV-1a of all before
//! ```

use std::cmp::Ordering;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Judge;
use super::jail::Jail;
use super::tally::{Detail, Stored, WEIGHTS, weight};
use crate::failure::GroupValue;
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::Timestamp;

/// A snapshot never grows beyond this by much: from here on tallies are stored
/// without their matches and groups.
pub const SNAPSHOT_DETAIL_BYTES_MAX: usize = 128 << 20;

/// The most tallies of one jail in a snapshot. The lowest counts are left out first, and among equals the oldest,
/// as where the table itself is full; making the snapshot must not hold up decisions.
pub const SNAPSHOT_TALLIES_MAX: usize = 65_536;

const MAGIC: &[u8; 5] = b"STKJ\x01";

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// They do not begin as one, or are of a version that is not known.
    Unknown,
    /// They end too early, are too long, or the checksum does not fit.
    Damaged,
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SnapshotError::Unknown => "not a snapshot of a known version",
            SnapshotError::Damaged => "the snapshot is damaged",
        })
    }
}

impl std::error::Error for SnapshotError {}

impl Judge {
    /// The tallies of all jails with `keepcounts`, and what is allowed.
    pub fn snapshot(&self) -> Vec<u8> {
        let kept: Vec<_> = self.jails.iter().filter(|jail| jail.spec.keepcounts).collect();
        encode(&self.allowed(), &kept, self.desk.now)
    }

    /// The tallies of one jail, if it has `keepcounts`; nothing about what is
    /// allowed. For daemons that save each jail together with its places in logs.
    pub fn snapshot_jail(&self, name: &JailName) -> Vec<u8> {
        let kept: Vec<_> = self.jails.iter().filter(|jail| jail.spec.keepcounts && jail.name() == name).collect();
        encode(&[], &kept, self.desk.now)
    }

    /// Takes up a snapshot: tallies of jails that exist and keep counts (what is
    /// too old goes with the next step), and what was allowed. Call it after the
    /// configuration and before the first batch. Returns the number of tallies.
    ///
    /// # Errors
    /// If the bytes are not a whole snapshot; nothing has changed then.
    pub fn load(&mut self, snapshot: &[u8]) -> Result<usize, SnapshotError> {
        let Some(body) = snapshot.strip_prefix(MAGIC) else { return Err(SnapshotError::Unknown) };
        let (_, sum) = snapshot.split_last_chunk::<8>().ok_or(SnapshotError::Damaged)?;
        let whole = snapshot.len() - sum.len();
        if snapshot.get(..whole).map(checksum) != Some(u64::from_le_bytes(*sum)) {
            return Err(SnapshotError::Damaged);
        }
        let body = body.get(..body.len() - sum.len()).unwrap_or_default();
        let (allowed, jails) = read_body(&mut Bytes(body)).ok_or(SnapshotError::Damaged)?;
        for (jail, net) in allowed {
            match jail {
                None => {
                    self.desk.allowed.insert(net);
                }
                Some(name) => {
                    if let Some(jail) = self.jails.iter_mut().find(|jail| *jail.name() == name) {
                        jail.rules.allowed.insert(net);
                    }
                }
            }
        }
        let mut count = 0;
        let mut room = self.desk.bounds.tallies.saturating_sub(self.jails.iter().map(|jail| jail.tallies.len()).sum());
        for (name, tallies) in jails {
            let Some(jail) = self.jails.iter_mut().find(|jail| *jail.name() == name && jail.spec.keepcounts) else {
                continue;
            };
            for tally in tallies.into_iter().take(room) {
                jail.tallies.restore(tally, jail.spec.findtime);
                count += 1;
                room -= 1;
            }
        }
        Ok(count)
    }
}

/// Allow list and tallies as bytes with their checksum.
fn encode(allowed: &[(Option<JailName>, Net)], kept: &[&Jail], now: Timestamp) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_len(&mut out, allowed.len());
    for (jail, net) in allowed {
        put_text(&mut out, jail.as_ref().map_or("", JailName::as_str));
        put_net(&mut out, *net);
    }
    put_len(&mut out, kept.len());
    for jail in kept {
        put_text(&mut out, jail.name().as_str());
        let (least, mut equal) = worth_keeping(jail, now);
        put_len(&mut out, jail.tallies.len().min(SNAPSHOT_TALLIES_MAX));
        for (id, tally) in jail.tallies.iter() {
            match weight(tally, now, jail.spec.findtime).cmp(&least) {
                Ordering::Less => continue,
                Ordering::Equal if equal == 0 => continue,
                Ordering::Equal => equal -= 1,
                Ordering::Greater => {}
            }
            put_id(&mut out, id);
            out.extend(tally.first.micros().to_le_bytes());
            out.extend(tally.last.micros().to_le_bytes());
            out.extend(tally.retry.to_le_bytes());
            put_number(&mut out, tally.failures.into());
            put_number(&mut out, tally.earlier.into());
            match tally.detail.as_deref().filter(|_| out.len() < SNAPSHOT_DETAIL_BYTES_MAX) {
                None => out.push(0),
                Some(detail) => put_detail(&mut out, detail),
            }
        }
    }
    let sum = checksum(&out);
    out.extend(sum.to_le_bytes());
    out
}

/// The lowest class of tallies that are kept, and how many of that class.
fn worth_keeping(jail: &Jail, now: Timestamp) -> (usize, u32) {
    let mut room = u32::try_from(SNAPSHOT_TALLIES_MAX).unwrap_or(u32::MAX);
    if jail.tallies.len() <= SNAPSHOT_TALLIES_MAX {
        return (0, u32::MAX);
    }
    let mut weights = [0; WEIGHTS];
    jail.tallies.weigh(0..jail.tallies.slot_count(), now, jail.spec.findtime, &mut weights);
    for (class, count) in weights.iter().enumerate().rev() {
        if *count >= room {
            return (class, room);
        }
        room -= count;
    }
    (0, u32::MAX)
}

/// FNV-1a, 64 bits: finds accidents, not enemies.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    put_number(out, len as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

fn put_net(out: &mut Vec<u8>, net: Net) {
    match net.addr() {
        std::net::IpAddr::V4(addr) => {
            out.push(4);
            out.extend(addr.octets());
        }
        std::net::IpAddr::V6(addr) => {
            out.push(6);
            out.extend(addr.octets());
        }
    }
    out.push(net.prefix());
}

fn put_id(out: &mut Vec<u8>, id: &FailureId) {
    match id {
        FailureId::Net(net) => put_net(out, *net),
        FailureId::Text(text) => {
            out.push(0);
            put_text(out, text);
        }
    }
}

fn put_detail(out: &mut Vec<u8>, detail: &Detail) {
    out.push(1);
    match detail.ip {
        None => out.push(0),
        Some(ip) => put_net(out, ip),
    }
    put_len(out, detail.matches.len());
    detail.matches.iter().for_each(|line| put_text(out, line));
    put_len(out, detail.groups.iter().count());
    for (name, value) in detail.groups.iter() {
        put_text(out, name);
        match value {
            GroupValue::Text(text) => {
                out.push(1);
                put_text(out, &text);
            }
            GroupValue::List(list) => {
                out.push(2);
                put_len(out, list.len());
                list.iter().for_each(|text| put_text(out, text));
            }
        }
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number of things that follow; each takes at least a byte.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_micros(i64::from_le_bytes(self.array()?)))
    }

    fn net_of(&mut self, kind: u8) -> Option<Net> {
        match kind {
            4 => {
                let addr = Ipv4Addr::from(self.array::<4>()?);
                Net::new(addr.into(), self.byte()?)
            }
            6 => {
                let addr = Ipv6Addr::from(self.array::<16>()?);
                Net::new(addr.into(), self.byte()?)
            }
            _ => None,
        }
    }

    fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| read(self)).collect()
    }
}

type Body = (Vec<(Option<JailName>, Net)>, Vec<(JailName, Vec<Stored>)>);

fn read_body(bytes: &mut Bytes<'_>) -> Option<Body> {
    let allowed = bytes.many(|b| {
        let jail = b.text()?;
        let kind = b.byte()?;
        Some(((!jail.is_empty()).then(|| JailName::new(jail)), b.net_of(kind)?))
    })?;
    let jails = bytes.many(|b| Some((JailName::new(b.text()?), b.many(read_tally)?)))?;
    bytes.0.is_empty().then_some((allowed, jails))
}

fn read_tally(bytes: &mut Bytes<'_>) -> Option<Stored> {
    let id = match bytes.byte()? {
        0 => FailureId::Text(bytes.text()?.into()),
        kind => FailureId::Net(bytes.net_of(kind)?),
    };
    let (first, last) = (bytes.time()?, bytes.time()?);
    let retry = f64::from_le_bytes(bytes.array()?);
    let failures = u32::try_from(bytes.number()?).ok()?;
    let earlier = u32::try_from(bytes.number()?).ok()?;
    let detail = match bytes.byte()? {
        0 => None,
        1 => Some(Box::new(read_detail(bytes)?)),
        _ => return None,
    };
    retry.is_finite().then_some(Stored { id, first, last, retry, failures, earlier, detail })
}

fn read_detail(bytes: &mut Bytes<'_>) -> Option<Detail> {
    let ip = match bytes.byte()? {
        0 => None,
        kind => Some(bytes.net_of(kind)?),
    };
    let matches = bytes.many(|b| b.text().map(Into::into))?;
    let groups = bytes.many(|b| {
        let name = b.text()?;
        let value = match b.byte()? {
            1 => GroupValue::Text(b.text()?.into()),
            2 => GroupValue::List(b.many(|b| b.text().map(Into::into))?),
            _ => return None,
        };
        Some((name, value))
    })?;
    Some(Detail { ip, matches, groups: groups.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Seq;
    use crate::judge::{Command, CommandId, Event, JailChange, JailSpec, Outputs};

    fn judge() -> Judge {
        let mut judge = Judge::new(1, Seq(0));
        let mut spec = JailSpec::new(JailName::new("sshd"));
        spec.ignoreself = false;
        judge.step(at(0), Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut Outputs::default());
        judge
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn run(judge: &mut Judge, command: Command) -> Outputs {
        let mut out = Outputs::default();
        judge.step(at(1), Event::Command { id: CommandId(1), command }, &mut out);
        out
    }

    fn attempt(judge: &mut Judge, id: &str, lines: &[&str]) -> Outputs {
        let matches = lines.iter().map(|line| (*line).into()).collect();
        run(judge, Command::Attempt { jail: JailName::new("sshd"), id: FailureId::parse(id), matches })
    }

    #[test]
    fn counts_and_allowed_addresses_survive() {
        let mut before = judge();
        attempt(&mut before, "192.0.2.1", &["one", "two"]);
        attempt(&mut before, "2001:db8::1", &[]);
        attempt(&mut before, "bob", &["x"]);
        let net = FailureId::parse("198.51.100.0/24").net().unwrap();
        run(&mut before, Command::Allow { jail: None, nets: vec![net] });
        run(&mut before, Command::Allow { jail: Some(JailName::new("sshd")), nets: vec![net] });
        let bytes = before.snapshot();

        let mut after = judge();
        assert_eq!(after.load(&bytes), Ok(3));
        assert_eq!(after.snapshot(), bytes);
        assert_eq!(after.allowed(), before.allowed());
        assert_eq!(after.why(&FailureId::parse("192.0.2.1")), before.why(&FailureId::parse("192.0.2.1")));
        let out = attempt(&mut after, "192.0.2.1", &["three", "four", "five"]);
        let ban = out.turn.decisions.first().unwrap();
        assert_eq!(ban.matches.len(), 5, "counts and lines go on where they were");
    }

    #[test]
    fn damaged_bytes_change_nothing() {
        let mut before = judge();
        attempt(&mut before, "192.0.2.1", &["one", "two"]);
        let bytes = before.snapshot();
        let mut after = judge();
        let empty = after.snapshot();
        for len in 0..bytes.len() {
            assert!(after.load(&bytes[..len]).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(after.load(&flipped).is_err(), "{at}");
            // With a checksum that fits: must not panic nor take much memory.
            let whole = flipped.len() - 8;
            let sum = checksum(&flipped[..whole]);
            flipped[whole..].copy_from_slice(&sum.to_le_bytes());
            let mut other = judge();
            if other.load(&flipped).is_err() {
                assert_eq!(other.snapshot(), empty, "{at}");
            }
        }
        assert_eq!(after.snapshot(), empty);
    }
}
