//! From the bytes of a line to its text.
//!
//! Source: fail2ban `server/filter.py`, `FileContainer.decode_line`: strictly
//! first, then with U+FFFD in the place of what does not decode.

use std::borrow::Cow;
use std::fmt;

use crate::block::LineEnd;

/// Longest line that is looked at, in bytes with its end; longer ones are left out.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// How the bytes of a log become text: option `logencoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// UTF-8; also `auto`.
    #[default]
    Utf8,
    /// ASCII: any other byte is no character.
    Ascii,
    /// ISO 8859-1: each byte is the character of its number.
    Latin1,
    /// ISO 8859-15, which has the euro sign.
    Latin9,
    /// Windows-1252.
    Windows1252,
    /// UTF-16, low byte first. A byte order mark at the beginning is left out.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

/// Where ISO 8859-15 differs from ISO 8859-1.
const LATIN9: [(u8, char); 8] =
    [(0xa4, '€'), (0xa6, 'Š'), (0xa8, 'š'), (0xb4, 'Ž'), (0xb8, 'ž'), (0xbc, 'Œ'), (0xbd, 'œ'), (0xbe, 'Ÿ')];
/// Bytes 0x80 to 0x9f of Windows-1252; U+FFFD where there is no character.
const WINDOWS1252: [char; 32] = [
    '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}', '\u{fffd}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
];

impl Encoding {
    /// The encoding of this name, as Python spells it (case, `-` and `_` do not matter).
    ///
    /// # Errors
    /// A text for the operator if the encoding is unknown or not supported.
    pub fn parse(name: &str) -> Result<Self, String> {
        let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
        Ok(match plain.to_ascii_lowercase().as_str() {
            "" | "auto" | "utf8" | "utf8sig" | "u8" | "utf" | "cp65001" => Encoding::Utf8,
            "ascii" | "usascii" | "646" | "ansix3.41968" => Encoding::Ascii,
            "latin1" | "latin" | "l1" | "iso88591" | "88591" | "cp819" => Encoding::Latin1,
            "latin9" | "l9" | "iso885915" => Encoding::Latin9,
            "cp1252" | "windows1252" | "1252" => Encoding::Windows1252,
            "utf16" | "utf16le" | "u16" => Encoding::Utf16Le,
            "utf16be" => Encoding::Utf16Be,
            _ => {
                return Err(format!(
                    "logencoding {name:?} is not known; use utf-8, utf-16le, utf-16be, ascii, latin-1, iso8859-15 or \
                     cp1252"
                ));
            }
        })
    }

    /// How lines end in it.
    pub fn line_end(self) -> LineEnd {
        match self {
            Encoding::Utf16Le => LineEnd::Utf16Le,
            Encoding::Utf16Be => LineEnd::Utf16Be,
            _ => LineEnd::Byte,
        }
    }

    /// The text of `bytes` and whether all of them were characters.
    pub(super) fn decode(self, bytes: &[u8]) -> (Cow<'_, str>, bool) {
        if let Encoding::Utf16Le | Encoding::Utf16Be = self {
            let (text, whole) = self.pairs(bytes);
            return (Cow::Owned(text), whole);
        }
        if let Ok(text) = std::str::from_utf8(bytes)
            && (self == Encoding::Utf8 || bytes.is_ascii())
        {
            return (Cow::Borrowed(text), true);
        }
        match self {
            Encoding::Utf8 => (String::from_utf8_lossy(bytes), false),
            _ => {
                let mut whole = true;
                let text = bytes.iter().map(|b| {
                    let c = self.character(*b);
                    whole &= c != '\u{fffd}';
                    c
                });
                let text: String = text.collect();
                (Cow::Owned(text), whole)
            }
        }
    }

    /// The text of units of two bytes; a lone byte at the end, and halves of pairs, are no characters.
    fn pairs(self, bytes: &[u8]) -> (String, bool) {
        let (units, rest) = bytes.as_chunks::<2>();
        let unit = if self == Encoding::Utf16Le { u16::from_le_bytes } else { u16::from_be_bytes };
        let units = units.iter().map(|pair| unit(*pair));
        let mut whole = rest.is_empty();
        let text: String = char::decode_utf16(units)
            .map(|c| {
                whole &= c.is_ok();
                c.unwrap_or('\u{fffd}')
            })
            .skip_while(|c| *c == '\u{feff}')
            .chain((!rest.is_empty()).then_some('\u{fffd}'))
            .collect();
        (text, whole)
    }

    /// The character of one byte in the encodings of one byte per character.
    fn character(self, b: u8) -> char {
        match self {
            Encoding::Ascii | Encoding::Utf8 if b >= 0x80 => '\u{fffd}',
            Encoding::Latin9 => LATIN9.iter().find(|(byte, _)| *byte == b).map_or(char::from(b), |(_, c)| *c),
            Encoding::Windows1252 => {
                let high = b.checked_sub(0x80).and_then(|at| WINDOWS1252.get(usize::from(at)));
                high.copied().unwrap_or(char::from(b))
            }
            _ => char::from(b),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Ascii => "ascii",
            Encoding::Latin1 => "latin-1",
            Encoding::Latin9 => "iso8859-15",
            Encoding::Windows1252 => "cp1252",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encoding: Encoding, bytes: &[u8], text: &str, whole: bool) {
        let (got, got_whole) = encoding.decode(bytes);
        assert_eq!((&*got, got_whole), (text, whole), "{encoding} {bytes:?}");
    }

    #[test]
    fn bytes_that_are_no_characters_are_replaced() {
        check(Encoding::Utf8, "aé€".as_bytes(), "aé€", true);
        check(Encoding::Utf8, b"a\xffb\xe2\x82c", "a\u{fffd}b\u{fffd}c", false);
        check(Encoding::Utf8, b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}", false);
        check(Encoding::Ascii, "é".as_bytes(), "\u{fffd}\u{fffd}", false);
        check(Encoding::Latin1, b"\xe9\x80", "é\u{80}", true);
        check(Encoding::Latin9, b"\xa4\xe9", "€é", true);
        check(Encoding::Windows1252, b"\x80\x81\xe9", "€\u{fffd}é", false);
        check(Encoding::Latin1, "é".as_bytes(), "Ã©", true);
        check(Encoding::Utf16Le, b"a\0\xac\x20\x3d\xd8\x00\xde", "a€😀", true);
        check(Encoding::Utf16Be, b"\xfe\xff\0a\x20\xac", "a€", true);
        check(Encoding::Utf16Le, b"\x3d\xd8a\0b", "\u{fffd}a\u{fffd}", false);
    }

    #[test]
    fn names_are_those_of_python() {
        assert_eq!(Encoding::parse("UTF-8"), Ok(Encoding::Utf8));
        assert_eq!(Encoding::parse("auto"), Ok(Encoding::Utf8));
        assert_eq!(Encoding::parse("Latin_1"), Ok(Encoding::Latin1));
        assert_eq!(Encoding::parse("utf-16LE"), Ok(Encoding::Utf16Le));
        assert_eq!(Encoding::parse("UTF_16_BE"), Ok(Encoding::Utf16Be));
        assert!(Encoding::parse("klingon").unwrap_err().contains("not known"));
    }
}
