//! What is kept of a jail so that a restart goes on counting where it stopped:
//! the matcher's and the judge's state together with the places in the logs
//! that they belong to.
//!
//! Encoding (all numbers little-endian): version byte 1; number of places as
//! u32; per place path, generation u64, kind byte 0 with offset u64 or kind
//! byte 1 with cursor and microseconds i64; then both states. Texts and states
//! are preceded by their length as u32. What does not decode is not used: the
//! jail then starts from its watermarks with empty counts.

use stockade_core::{JailName, Position, SourceKey, Timestamp, Watermark};

const VERSION: u8 = 1;
/// More places than any jail has.
const PLACES_MAX: u32 = 65_536;

/// A jail's state as it was saved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Up to where each source had been counted.
    pub(crate) places: Vec<(SourceKey, Position)>,
    /// The matcher's own.
    pub(crate) matcher: Vec<u8>,
    /// The judge's own.
    pub(crate) judge: Vec<u8>,
}

/// Encodes a jail's state.
pub(crate) fn encode(places: &[Watermark], matcher: &[u8], judge: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend(u32::try_from(places.len()).unwrap_or(0).to_le_bytes());
    for mark in places {
        push(&mut out, mark.source.path.as_bytes());
        out.extend(mark.source.generation.to_le_bytes());
        match &mark.to {
            Position::Offset(offset) => {
                out.push(0);
                out.extend(offset.to_le_bytes());
            }
            Position::Cursor { cursor, at } => {
                out.push(1);
                push(&mut out, cursor.as_bytes());
                out.extend(at.micros().to_le_bytes());
            }
        }
    }
    push(&mut out, matcher);
    push(&mut out, judge);
    out
}

/// Decodes a jail's state; `None` if it is damaged or of another version.
pub(crate) fn decode(bytes: &[u8]) -> Option<Saved> {
    let mut input = bytes;
    if take::<1>(&mut input)? != [VERSION] {
        return None;
    }
    let count = u32::from_le_bytes(take(&mut input)?);
    if count > PLACES_MAX {
        return None;
    }
    let mut places = Vec::new();
    for _ in 0..count {
        let path = text(&mut input)?;
        let generation = u64::from_le_bytes(take(&mut input)?);
        let position = match take::<1>(&mut input)? {
            [0] => Position::Offset(u64::from_le_bytes(take(&mut input)?)),
            [1] => {
                let cursor = text(&mut input)?;
                Position::Cursor {
                    cursor: cursor.into(),
                    at: Timestamp::from_micros(i64::from_le_bytes(take(&mut input)?)),
                }
            }
            _ => return None,
        };
        places.push((SourceKey { path: path.into(), generation }, position));
    }
    let matcher = part(&mut input)?.to_vec();
    let judge = part(&mut input)?.to_vec();
    input.is_empty().then_some(Saved { places, matcher, judge })
}

/// The jail that a snapshot's name belongs to.
pub(crate) fn jail_of(name: &str) -> Option<JailName> {
    name.strip_prefix("jail/").map(JailName::new)
}

fn push(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
    out.extend(part);
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn part<'i>(input: &mut &'i [u8]) -> Option<&'i [u8]> {
    let len = usize::try_from(u32::from_le_bytes(take(input)?)).ok()?;
    let (head, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(head)
}

fn text<'i>(input: &mut &'i [u8]) -> Option<&'i str> {
    std::str::from_utf8(part(input)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_damage_is_refused() {
        let mark = |path: &str, to| Watermark {
            jail: JailName::new("sshd"),
            source: SourceKey { path: path.into(), generation: 9 },
            to,
        };
        let marks = [
            mark("/var/log/auth.log", Position::Offset(77)),
            mark("systemd-journal", Position::Cursor { cursor: "s=1;i=2".into(), at: Timestamp::from_micros(5) }),
        ];
        let bytes = encode(&marks, b"matcher", b"judge");
        let saved = decode(&bytes).unwrap();
        assert_eq!(saved.places.len(), 2);
        assert_eq!((saved.matcher.as_slice(), saved.judge.as_slice()), (&b"matcher"[..], &b"judge"[..]));
        for end in 0..bytes.len() {
            assert_eq!(decode(bytes.get(..end).unwrap()), None, "cut at {end}");
        }
        assert_eq!(jail_of("jail/sshd"), Some(JailName::new("sshd")));
    }
}
