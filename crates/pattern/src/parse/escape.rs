//! What stands behind a backslash.

use super::{Flags, Parser, class_node, literal};
use crate::error::Error;
use crate::scan::Token;
use crate::set::{Class, Member};
use crate::tree::{Anchor, Node};

/// Control characters with a letter of their own.
fn control(c: char) -> Option<u32> {
    Some(match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        '\\' => 92,
        _ => return None,
    })
}

/// `\d` and its like.
fn class(c: char) -> Option<(Class, bool)> {
    Some(match c {
        'd' => (Class::Digit, false),
        'D' => (Class::Digit, true),
        's' => (Class::Space, false),
        'S' => (Class::Space, true),
        'w' => (Class::Word, false),
        'W' => (Class::Word, true),
        _ => return None,
    })
}

fn is_octal(c: char) -> bool {
    matches!(c, '0'..='7')
}

fn is_hex(c: char) -> bool {
    c.is_ascii_hexdigit()
}

impl Parser {
    /// An escape outside of a class; the token itself is already taken.
    pub(super) fn escape(&mut self, c: char, flags: Flags) -> Result<Node, Error> {
        let anchor = match c {
            'A' => Some(Anchor::Start),
            'Z' => Some(Anchor::TextEnd),
            'b' => Some(Anchor::Boundary { ascii: flags.ascii }),
            'B' => Some(Anchor::NotBoundary { ascii: flags.ascii }),
            _ => None,
        };
        if let Some(anchor) = anchor {
            return Ok(Node::At(anchor));
        }
        if let Some((class, negated)) = class(c) {
            return Ok(class_node(class, negated, flags));
        }
        if let Some(code) = control(c) {
            return Ok(literal(code, flags));
        }
        if let Some(code) = self.coded(c)? {
            return Ok(literal(code, flags));
        }
        if c == '0' {
            let more = self.scan.get_while(2, is_octal)?;
            return Ok(literal(u32::from_str_radix(&more, 8).unwrap_or(0), flags));
        }
        if c.is_ascii_digit() {
            return self.number(c, flags);
        }
        if c.is_ascii_alphabetic() {
            return Err(self.scan.error(format!("bad escape \\{c}"), 2));
        }
        Ok(literal(u32::from(c), flags))
    }

    /// `\1` to `\99`, or three octal digits.
    fn number(&mut self, c: char, flags: Flags) -> Result<Node, Error> {
        let mut digits = String::from(c);
        if let Some(Token::Char(second @ '0'..='9')) = self.scan.next {
            self.scan.get()?;
            digits.push(second);
            if let (true, Some(Token::Char(third @ '0'..='7'))) = (is_octal(c) && is_octal(second), self.scan.next) {
                self.scan.get()?;
                digits.push(third);
                return self.octal(&digits).map(|code| literal(code, flags));
            }
        }
        let group: u32 = digits.parse().unwrap_or(0);
        let Some(width) = self.groups.get(group as usize) else {
            return Err(self.scan.error(format!("invalid group reference {group}"), digits.len()));
        };
        if width.is_none() {
            return Err(self.scan.error("cannot refer to an open group", digits.len() + 1));
        }
        self.check_behind(group)?;
        Ok(Node::Backref(group, flags.fold()))
    }

    fn octal(&self, digits: &str) -> Result<u32, Error> {
        let code = u32::from_str_radix(digits, 8).unwrap_or(0);
        if code > 0o377 {
            let message = format!("octal escape value \\{digits} outside of range 0-0o377");
            return Err(self.scan.error(message, digits.len() + 1));
        }
        Ok(code)
    }

    /// `\x..`, `\u....`, `\U........` and `\N{..}`.
    fn coded(&mut self, c: char) -> Result<Option<u32>, Error> {
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            'N' => return self.named().map(Some),
            _ => return Ok(None),
        };
        let hex = self.scan.get_while(digits, is_hex)?;
        if hex.len() != digits {
            return Err(self.scan.error(format!("incomplete escape \\{c}{hex}"), hex.len() + 2));
        }
        let code = u32::from_str_radix(&hex, 16).unwrap_or(u32::MAX);
        if code > 0x10_FFFF {
            return Err(self.scan.error(format!("bad escape \\{c}{hex}"), hex.len() + 2));
        }
        Ok(Some(code))
    }

    /// `\N{NAME}`: we carry no table of names.
    ///
    /// DIVERGENCE (named-characters): every name is refused as undefined.
    fn named(&mut self) -> Result<u32, Error> {
        if !self.scan.take('{')? {
            return Err(self.scan.error("missing {", 0));
        }
        let name = self.scan.get_until('}', "character name")?;
        let back = name.chars().count() + 4;
        Err(self.scan.error(format!("undefined character name {}", super::group::quoted(&name)), back))
    }

    /// An escape inside of a class; the token itself is already taken.
    pub(super) fn class_escape(&mut self, c: char) -> Result<Member, Error> {
        if let Some(code) = control(c) {
            return Ok(Member::Char(code));
        }
        if let Some((class, negated)) = class(c) {
            return Ok(Member::Class(class, negated));
        }
        if let Some(code) = self.coded(c)? {
            return Ok(Member::Char(code));
        }
        if is_octal(c) {
            let more = self.scan.get_while(2, is_octal)?;
            return self.octal(&format!("{c}{more}")).map(Member::Char);
        }
        if c.is_ascii_alphanumeric() {
            return Err(self.scan.error(format!("bad escape \\{c}"), 2));
        }
        Ok(Member::Char(u32::from(c)))
    }
}
