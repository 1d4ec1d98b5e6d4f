//! The pattern's text as tokens: one character, or a backslash with what follows it.

use crate::error::Error;

/// One token of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Char(char),
    Escape(char),
}

impl Token {
    /// Length in characters.
    pub(crate) fn len(self) -> usize {
        match self {
            Token::Char(_) => 1,
            Token::Escape(_) => 2,
        }
    }

    /// Adds the token as it was written.
    pub(crate) fn write(self, out: &mut String) {
        match self {
            Token::Char(c) => out.push(c),
            Token::Escape(c) => {
                out.push('\\');
                out.push(c);
            }
        }
    }

    /// The token as it was written.
    pub(crate) fn text(self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// A reader with one token of look-ahead, like CPython's `Tokenizer`, whose
/// error positions it reproduces.
pub(crate) struct Scan {
    chars: Vec<char>,
    /// Index behind `next`.
    index: usize,
    pub(crate) next: Option<Token>,
}

impl Scan {
    pub(crate) fn new(pattern: &str) -> Result<Scan, Error> {
        let mut scan = Scan { chars: pattern.chars().collect(), index: 0, next: None };
        scan.advance()?;
        Ok(scan)
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.next = match self.chars.get(self.index) {
            None => None,
            Some('\\') => match self.chars.get(self.index + 1) {
                None => {
                    let at = self.chars.len() - 1;
                    return Err(Error::at("bad escape (end of pattern)".into(), at, &self.chars));
                }
                Some(c) => Some(Token::Escape(*c)),
            },
            Some(c) => Some(Token::Char(*c)),
        };
        self.index += self.next.map_or(0, Token::len);
        Ok(())
    }

    /// Takes the next token if it is this character.
    pub(crate) fn take(&mut self, c: char) -> Result<bool, Error> {
        let hit = self.next == Some(Token::Char(c));
        if hit {
            self.advance()?;
        }
        Ok(hit)
    }

    /// Takes the next token.
    pub(crate) fn get(&mut self) -> Result<Option<Token>, Error> {
        let this = self.next;
        self.advance()?;
        Ok(this)
    }

    /// Takes up to `most` unescaped characters that satisfy `is`.
    pub(crate) fn get_while(&mut self, most: usize, is: fn(char) -> bool) -> Result<String, Error> {
        let mut out = String::new();
        for _ in 0..most {
            match self.next {
                Some(Token::Char(c)) if is(c) => out.push(c),
                _ => break,
            }
            self.advance()?;
        }
        Ok(out)
    }

    /// Takes everything up to a terminator, which is taken too.
    pub(crate) fn get_until(&mut self, terminator: char, what: &str) -> Result<String, Error> {
        let mut out = String::new();
        loop {
            let token = self.get()?;
            let Some(token) = token else {
                if out.is_empty() {
                    return Err(self.error(format!("missing {what}"), 0));
                }
                let back = out.chars().count();
                return Err(self.error(format!("missing {terminator}, unterminated name"), back));
            };
            if token == Token::Char(terminator) {
                if out.is_empty() {
                    return Err(self.error(format!("missing {what}"), 1));
                }
                return Ok(out);
            }
            token.write(&mut out);
        }
    }

    /// Index of the next token.
    pub(crate) fn tell(&self) -> usize {
        self.index - self.next.map_or(0, Token::len)
    }

    /// Goes to an index.
    pub(crate) fn seek(&mut self, index: usize) -> Result<(), Error> {
        self.index = index;
        self.advance()
    }

    /// An error `back` characters before the next token.
    pub(crate) fn error(&self, message: impl Into<String>, back: usize) -> Error {
        self.error_at(message, self.tell().saturating_sub(back))
    }

    /// An error at an index.
    pub(crate) fn error_at(&self, message: impl Into<String>, position: usize) -> Error {
        Error::at(message.into(), position, &self.chars)
    }
}
