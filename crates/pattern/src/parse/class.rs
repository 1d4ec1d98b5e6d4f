//! `[...]`

use super::{Flags, Parser, literal};
use crate::error::Error;
use crate::scan::Token;
use crate::set::{Member, class_set};
use crate::tree::Node;

impl Parser {
    /// A class; its opening bracket is already taken.
    pub(super) fn class(&mut self, flags: Flags) -> Result<Node, Error> {
        let here = self.scan.tell() - 1;
        let mut members: Vec<Member> = Vec::new();
        let negated = self.scan.take('^')?;
        loop {
            let this = self.class_token(here)?;
            if this == Token::Char(']') && !members.is_empty() {
                break;
            }
            let low = self.class_member(this)?;
            if !self.scan.take('-')? {
                members.push(low);
                continue;
            }
            let that = self.class_token(here)?;
            if that == Token::Char(']') {
                members.push(low);
                members.push(Member::Char(u32::from('-')));
                break;
            }
            let high = self.class_member(that)?;
            match (low, high) {
                (Member::Char(low), Member::Char(high)) if low <= high => {
                    members.push(Member::Range(low, high));
                }
                _ => {
                    let message = format!("bad character range {}-{}", this.text(), that.text());
                    return Err(self.scan.error(message, this.len() + 1 + that.len()));
                }
            }
        }
        let mut unique: Vec<Member> = Vec::new();
        for member in members {
            if !unique.contains(&member) {
                unique.push(member);
            }
        }
        if let ([Member::Char(c)], false) = (unique.as_slice(), negated) {
            return Ok(literal(*c, flags));
        }
        Ok(Node::Set(class_set(&unique, negated, flags.fold(), flags.ascii)))
    }

    fn class_token(&mut self, here: usize) -> Result<Token, Error> {
        match self.scan.get()? {
            Some(token) => Ok(token),
            None => {
                let back = self.scan.tell() - here;
                Err(self.scan.error("unterminated character set", back))
            }
        }
    }

    fn class_member(&mut self, token: Token) -> Result<Member, Error> {
        match token {
            Token::Char(c) => Ok(Member::Char(u32::from(c))),
            Token::Escape(c) => self.class_escape(c),
        }
    }
}
