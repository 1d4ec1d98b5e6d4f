//! Why a pattern is refused.

use std::fmt;

/// A pattern that is not valid, in Python's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, as `re.error.msg` says it.
    pub message: String,
    /// Where, in characters from the start of the pattern; none where Python gives none.
    pub position: Option<usize>,
    /// Line and column (both from 1), if the pattern has a newline.
    pub(crate) place: Option<(usize, usize)>,
}

impl Error {
    /// An error at a character of the pattern.
    pub(crate) fn at(message: String, position: usize, pattern: &[char]) -> Error {
        let place = pattern.contains(&'\n').then(|| {
            let before = pattern.get(..position).unwrap_or(pattern);
            let line = before.iter().filter(|c| **c == '\n').count() + 1;
            let column = match before.iter().rposition(|c| *c == '\n') {
                Some(newline) => position - newline,
                None => position + 1,
            };
            (line, column)
        });
        Error { message, position: Some(position), place }
    }

    /// An error of the pattern as a whole.
    pub(crate) fn whole(message: &str) -> Error {
        Error { message: message.to_owned(), position: None, place: None }
    }
}

impl fmt::Display for Error {
    /// The text of Python's `re.error`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(position) = self.position {
            write!(f, " at position {position}")?;
        }
        if let Some((line, column)) = self.place {
            write!(f, " (line {line}, column {column})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
