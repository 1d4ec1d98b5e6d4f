//! Finding the end of a pickle while it is still coming in, and refusing early
//! what can't become one: a stream of rubbish costs no memory.

use super::read::{Limits, ReadError};

/// Looks over a growing buffer, opcode by opcode, and keeps its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Skimmer {
    at: usize,
    values: usize,
}

impl Skimmer {
    /// The offset behind the pickle's STOP, or `None` if it has not come yet.
    /// `bytes` is the whole buffer each time; only its end may have grown.
    ///
    /// # Errors
    /// An opcode that is never read, a text or a number of values beyond the limits.
    pub fn advance(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<usize>, ReadError> {
        loop {
            let Some((&opcode, rest)) = bytes.get(self.at..).and_then(<[u8]>::split_first) else { return Ok(None) };
            let length = |width: usize| {
                rest.get(..width).map(|part| part.iter().rev().fold(0_u64, |n, byte| (n << 8) | u64::from(*byte)))
            };
            let (width, text) = match opcode {
                b'.' => return Ok(Some(self.at + 1)),
                b'U' | 0x8c | b'C' | 0x8a => (1, true),
                b'T' | b'X' | b'B' => (4, true),
                0x8d | 0x8e => (8, true),
                0x95 | b'G' => (8, false),
                b'J' | b'r' | b'j' => (4, false),
                b'M' => (2, false),
                0x80 | b'K' | b'q' | b'h' => (1, false),
                b'N'
                | 0x88
                | 0x89
                | b']'
                | b'}'
                | b')'
                | b'('
                | b'a'
                | b'e'
                | b's'
                | b'u'
                | b'l'
                | b't'
                | 0x94
                | 0x85..=0x87 => (0, false),
                _ => return Err(ReadError::Forbidden { opcode, at: self.at }),
            };
            let Some(n) = length(width) else { return Ok(None) };
            let behind = if text { usize::try_from(n).unwrap_or(usize::MAX) } else { 0 };
            if behind > limits.text_bytes {
                return Err(ReadError::TooLarge("bytes of text"));
            }
            if !(text || width == 0 || bytes.len() > self.at + width) {
                return Ok(None);
            }
            self.values += 1;
            // Each value brings a few opcodes that are none.
            if self.values / 4 > limits.values {
                return Err(ReadError::TooLarge("values"));
            }
            self.at += 1 + width + behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        let pickle = b"\x80\x05\x95\x14\0\0\0\0\0\0\0]\x94(\x8c\x04ping\x94G\x3f\xb9\x99\x99\x99\x99\x99\x9ae.rest";
        let end = pickle.len() - 4;
        let mut skimmer = Skimmer::default();
        for n in 0..end {
            assert_eq!(skimmer.advance(&pickle[..n], Limits::default()), Ok(None), "{n}");
        }
        assert_eq!(skimmer.advance(pickle, Limits::default()), Ok(Some(end)));
        assert_eq!(Skimmer::default().advance(pickle, Limits::default()), Ok(Some(end)));
    }

    #[test]
    fn what_can_not_become_a_request_is_refused_at_once() {
        let refused = |bytes: &[u8]| Skimmer::default().advance(bytes, Limits::default()).unwrap_err();
        assert_eq!(refused(b"\x80\x02cos\n"), ReadError::Forbidden { opcode: b'c', at: 2 });
        assert_eq!(refused(b"xxxx"), ReadError::Forbidden { opcode: b'x', at: 0 });
        assert_eq!(refused(b"\x80\x04X\xff\xff\xff\x7f"), ReadError::TooLarge("bytes of text"));
        let few = Limits { values: 10, ..Limits::default() };
        assert_eq!(Skimmer::default().advance(&[b'N'; 100], few), Err(ReadError::TooLarge("values")));
    }
}
