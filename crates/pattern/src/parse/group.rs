//! `(...)` in all its forms.

use super::{Flags, GROUPS_MAX, Parser};
use crate::error::Error;
use crate::scan::Token;
use crate::tree::Node;
use crate::width::width;

/// Flag letters collected from `(?aimsux-imsx:...)`.
#[derive(Clone, Copy, Default)]
struct Letters {
    ignorecase: bool,
    multiline: bool,
    dotall: bool,
    verbose: bool,
    ascii: bool,
    unicode: bool,
}

/// What an opening parenthesis turned out to be.
enum Kind {
    Capture(Option<String>),
    Plain(Letters, Letters),
    Atomic,
}

/// A name as Python's `repr` shows it.
pub(super) fn quoted(name: &str) -> String {
    let quote = if name.contains('\'') && !name.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in name.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&match u32::from(c) {
                code @ 0..0x100 => format!("\\x{code:02x}"),
                code @ 0x100..0x1_0000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
    out
}

/// Python's `str.isprintable`, as far as the standard library knows it.
fn is_printable(c: char) -> bool {
    // A mark is printable in Python, and escaped by Rust only where it stands first.
    c == ' ' || !"a".chars().chain([c]).collect::<String>().escape_debug().any(|c| c == '{') || c == '{'
}

/// Python's `str.isidentifier`, with letters and numbers for the characters beyond ASCII.
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic()) && chars.all(|c| c == '_' || c.is_alphanumeric())
}

impl Parser {
    /// A group, assertion, flag group or comment; its opening parenthesis is already taken.
    pub(super) fn group(&mut self, flags: &mut Flags, depth: usize, first: bool) -> Result<Option<Node>, Error> {
        let start = self.scan.tell() - 1;
        let kind = if self.scan.take('?')? {
            let c = self.extension_token()?;
            match c {
                Token::Char('P') => {
                    if self.scan.take('<')? {
                        let name = self.scan.get_until('>', "group name")?;
                        self.check_name(&name)?;
                        Kind::Capture(Some(name))
                    } else if self.scan.take('=')? {
                        return self.named_backref(*flags).map(Some);
                    } else {
                        let c = self.extension_token()?;
                        return Err(self.scan.error(format!("unknown extension ?P{}", c.text()), c.len() + 2));
                    }
                }
                Token::Char(':') => Kind::Plain(Letters::default(), Letters::default()),
                Token::Char('#') => {
                    self.comment(start)?;
                    return Ok(None);
                }
                Token::Char('=') => return self.look(*flags, depth, start, false, false).map(Some),
                Token::Char('!') => return self.look(*flags, depth, start, true, false).map(Some),
                Token::Char('<') => {
                    let c = self.extension_token()?;
                    let negative = match c {
                        Token::Char('=') => false,
                        Token::Char('!') => true,
                        _ => {
                            let message = format!("unknown extension ?<{}", c.text());
                            return Err(self.scan.error(message, c.len() + 2));
                        }
                    };
                    return self.look(*flags, depth, start, negative, true).map(Some);
                }
                Token::Char('(') => return self.conditional(*flags, depth, start).map(Some),
                Token::Char('>') => Kind::Atomic,
                Token::Char('i' | 'L' | 'm' | 's' | 'x' | 'a' | 'u' | '-') => match self.flag_group(c)? {
                    Some((on, off)) => Kind::Plain(on, off),
                    None if first => {
                        *flags = self.flags;
                        return Ok(None);
                    }
                    None => {
                        let back = self.scan.tell() - start;
                        let message = "global flags not at the start of the expression";
                        return Err(self.scan.error(message, back));
                    }
                },
                _ => return Err(self.scan.error(format!("unknown extension ?{}", c.text()), c.len() + 1)),
            }
        } else {
            Kind::Capture(None)
        };
        self.body(kind, *flags, depth, start).map(Some)
    }

    fn extension_token(&mut self) -> Result<Token, Error> {
        match self.scan.get()? {
            Some(token) => Ok(token),
            None => Err(self.scan.error("unexpected end of pattern", 0)),
        }
    }

    fn body(&mut self, kind: Kind, flags: Flags, depth: usize, start: usize) -> Result<Node, Error> {
        let group = match &kind {
            Kind::Capture(name) => Some(self.open_group(name.as_deref())?),
            _ => None,
        };
        let mut inner = flags;
        if let Kind::Plain(on, off) = &kind {
            if on.ascii || on.unicode {
                inner.ascii = on.ascii;
            }
            inner.ignorecase = (flags.ignorecase || on.ignorecase) && !off.ignorecase;
            inner.multiline = (flags.multiline || on.multiline) && !off.multiline;
            inner.dotall = (flags.dotall || on.dotall) && !off.dotall;
            inner.verbose = (flags.verbose || on.verbose) && !off.verbose;
        }
        let body = self.alternatives(inner, depth + 1, false)?;
        self.close(start)?;
        Ok(match (kind, group) {
            (_, Some(group)) => {
                let width = width(&body, &self.groups);
                if let Some(slot) = self.groups.get_mut(group as usize) {
                    *slot = Some(width);
                }
                Node::Group(group, Box::new(body))
            }
            (Kind::Atomic, None) => Node::Atomic(Box::new(body)),
            // Kept as a list of its own, so that a quantifier behind it is never taken
            // for a repeat of its last item.
            (_, None) => Node::Concat(vec![body]),
        })
    }

    fn close(&mut self, start: usize) -> Result<(), Error> {
        if self.scan.take(')')? {
            return Ok(());
        }
        let back = self.scan.tell() - start;
        Err(self.scan.error("missing ), unterminated subpattern", back))
    }

    fn open_group(&mut self, name: Option<&str>) -> Result<u32, Error> {
        let index = self.groups.len();
        if index > GROUPS_MAX {
            return Err(self.scan.error("too many groups", 0));
        }
        let group = u32::try_from(index).unwrap_or(u32::MAX);
        self.groups.push(None);
        if let Some(name) = name {
            if let Some((_, known)) = self.names.iter().find(|(known, _)| known == name) {
                let message =
                    format!("redefinition of group name {} as group {group}; was group {known}", quoted(name));
                return Err(self.scan.error(message, name.chars().count() + 1));
            }
            self.names.push((name.to_owned(), group));
        }
        Ok(group)
    }

    fn check_name(&self, name: &str) -> Result<(), Error> {
        if is_identifier(name) {
            return Ok(());
        }
        let message = format!("bad character in group name {}", quoted(name));
        Err(self.scan.error(message, name.chars().count() + 1))
    }

    fn group_named(&self, name: &str) -> Result<u32, Error> {
        self.check_name(name)?;
        match self.names.iter().find(|(known, _)| known == name) {
            Some((_, group)) => Ok(*group),
            None => {
                let message = format!("unknown group name {}", quoted(name));
                Err(self.scan.error(message, name.chars().count() + 1))
            }
        }
    }

    fn is_open(&self, group: u32) -> bool {
        self.groups.get(group as usize).is_none_or(Option::is_none)
    }

    /// A look-behind may refer only to groups that were complete before it.
    pub(super) fn check_behind(&self, group: u32) -> Result<(), Error> {
        let Some(limit) = self.behind_groups else { return Ok(()) };
        if self.is_open(group) {
            return Err(self.scan.error("cannot refer to an open group", 0));
        }
        if group as usize >= limit {
            let message = "cannot refer to group defined in the same lookbehind subpattern";
            return Err(self.scan.error(message, 0));
        }
        Ok(())
    }

    fn named_backref(&mut self, flags: Flags) -> Result<Node, Error> {
        let name = self.scan.get_until(')', "group name")?;
        let group = self.group_named(&name)?;
        if self.is_open(group) {
            return Err(self.scan.error("cannot refer to an open group", name.chars().count() + 1));
        }
        self.check_behind(group)?;
        Ok(Node::Backref(group, flags.fold()))
    }

    fn comment(&mut self, start: usize) -> Result<(), Error> {
        loop {
            if self.scan.next.is_none() {
                let back = self.scan.tell() - start;
                return Err(self.scan.error("missing ), unterminated comment", back));
            }
            if self.scan.get()? == Some(Token::Char(')')) {
                return Ok(());
            }
        }
    }

    fn look(&mut self, flags: Flags, depth: usize, start: usize, negative: bool, behind: bool) -> Result<Node, Error> {
        let outer = self.behind_groups;
        if behind && outer.is_none() {
            self.behind_groups = Some(self.groups.len());
        }
        let body = self.alternatives(flags, depth + 1, false)?;
        self.behind_groups = outer;
        self.close(start)?;
        let behind = if behind {
            let width = width(&body, &self.groups);
            self.bad_behind |= width.min != width.max;
            Some(u32::try_from(width.min).unwrap_or(u32::MAX))
        } else {
            None
        };
        Ok(Node::Look { negative, behind, body: Box::new(body) })
    }

    fn conditional(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Node, Error> {
        if depth >= super::DEPTH_MAX {
            return Err(self.scan.error("pattern is nested too deeply", 0));
        }
        let name = self.scan.get_until(')', "group name")?;
        let back = name.chars().count() + 1;
        let group = if name.bytes().all(|b| b.is_ascii_digit()) {
            let group = name.parse().unwrap_or(u32::MAX);
            if group == 0 {
                return Err(self.scan.error("bad group number", back));
            }
            if group >= 1 << 30 {
                return Err(self.scan.error(format!("invalid group reference {}", trim_zeros(&name)), back));
            }
            if !self.tested.iter().any(|(known, _)| *known == group) {
                self.tested.push((group, self.scan.tell() - back));
            }
            group
        } else {
            self.group_named(&name)?
        };
        self.check_behind(group)?;
        let yes = self.sequence(&mut flags.clone(), depth + 1, false)?;
        let no = if self.scan.take('|')? {
            let no = self.sequence(&mut flags.clone(), depth + 1, false)?;
            if self.scan.next == Some(Token::Char('|')) {
                return Err(self.scan.error("conditional backref with more than two branches", 0));
            }
            no
        } else {
            Node::Concat(Vec::new())
        };
        self.close(start)?;
        Ok(Node::Cond { group, yes: Box::new(yes), no: Box::new(no) })
    }

    /// The letters of `(?i)`, `(?i:` or `(?i-m:`; none if they were for the whole pattern.
    fn flag_group(&mut self, c: Token) -> Result<Option<(Letters, Letters)>, Error> {
        let mut on = Letters::default();
        let mut c = c;
        if c != Token::Char('-') {
            loop {
                self.letter(c, &mut on)?;
                c = match self.scan.get()? {
                    None => return Err(self.scan.error("missing -, : or )", 0)),
                    Some(c) => c,
                };
                if matches!(c, Token::Char(')' | '-' | ':')) {
                    break;
                }
                self.known_letter(c, "missing -, : or )")?;
            }
        }
        if c == Token::Char(')') {
            self.flags.ignorecase |= on.ignorecase;
            self.flags.multiline |= on.multiline;
            self.flags.dotall |= on.dotall;
            self.flags.verbose |= on.verbose;
            self.flags.ascii |= on.ascii;
            self.wrote_ascii |= on.ascii;
            self.wrote_unicode |= on.unicode;
            return Ok(None);
        }
        let mut off = Letters::default();
        if c == Token::Char('-') {
            c = match self.scan.get()? {
                None => return Err(self.scan.error("missing flag", 0)),
                Some(c) => c,
            };
            self.known_letter(c, "missing flag")?;
            loop {
                if matches!(c, Token::Char('a' | 'u' | 'L')) {
                    let message = "bad inline flags: cannot turn off flags 'a', 'u' and 'L'";
                    return Err(self.scan.error(message, 0));
                }
                self.letter(c, &mut off)?;
                c = match self.scan.get()? {
                    None => return Err(self.scan.error("missing :", 0)),
                    Some(c) => c,
                };
                if c == Token::Char(':') {
                    break;
                }
                self.known_letter(c, "missing :")?;
            }
        }
        let both = (on.ignorecase && off.ignorecase)
            || (on.multiline && off.multiline)
            || (on.dotall && off.dotall)
            || (on.verbose && off.verbose);
        if both {
            return Err(self.scan.error("bad inline flags: flag turned on and off", 1));
        }
        Ok(Some((on, off)))
    }

    fn known_letter(&self, c: Token, otherwise: &str) -> Result<(), Error> {
        match c {
            Token::Char('i' | 'L' | 'm' | 's' | 'x' | 'a' | 'u') => Ok(()),
            Token::Char(c) if c.is_alphabetic() => Err(self.scan.error("unknown flag", 1)),
            _ => Err(self.scan.error(otherwise, c.len())),
        }
    }

    fn letter(&self, c: Token, letters: &mut Letters) -> Result<(), Error> {
        match c {
            Token::Char('i') => letters.ignorecase = true,
            Token::Char('m') => letters.multiline = true,
            Token::Char('s') => letters.dotall = true,
            Token::Char('x') => letters.verbose = true,
            Token::Char('a') => letters.ascii = true,
            Token::Char('u') => letters.unicode = true,
            _ => {
                let message = "bad inline flags: cannot use 'L' flag with a str pattern";
                return Err(self.scan.error(message, 0));
            }
        }
        if letters.ascii && letters.unicode {
            let message = "bad inline flags: flags 'a', 'u' and 'L' are incompatible";
            return Err(self.scan.error(message, 0));
        }
        Ok(())
    }
}

fn trim_zeros(digits: &str) -> &str {
    digits.trim_start_matches('0')
}
