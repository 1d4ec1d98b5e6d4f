//! What is wrong in a tree, where, and what to do.

use std::fmt;
use std::sync::Arc;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// It works, but probably not as meant.
    Warning,
    /// A jail or the whole configuration cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The jail that is affected; `None` if all are.
    pub jail: Option<String>,
    /// The file; empty if no file is to blame. Files of the embedded tree begin with `builtin:`.
    pub file: String,
    /// 1-based line; 0 if no line is to blame.
    pub line: u32,
    /// 1-based column in characters; 0 if unknown.
    pub column: u32,
    /// What is wrong and what happens because of it.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: SEVERITY: MESSAGE (HELP)`, parts that are unknown left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
                if self.column > 0 {
                    write!(f, "{}:", self.column)?;
                }
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity)?;
        if let Some(jail) = &self.jail {
            write!(f, "[{jail}] ")?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Spot {
    /// A file as a whole.
    pub(crate) fn file(path: &str) -> Self {
        Spot { file: path.into(), line: 0, column: 0 }
    }
}

/// Why something could not be read; becomes a [`Diagnostic`] once it is known
/// whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) at: Option<Spot>,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Problem { at: None, message: message.into(), help: String::new() }
    }

    pub(crate) fn at(mut self, spot: Option<Spot>) -> Self {
        self.at = self.at.or(spot);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// All findings of one run. Repeated ones are kept once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Diagnostic>,
}

/// As many warnings are still shown behind errors that make everything be refused.
const WARNINGS_SHOWN: usize = 3;

/// No more findings than this are kept; errors find as much room again behind all others.
const MAX_FINDINGS: usize = 2_000;

impl Findings {
    pub(crate) fn add(&mut self, severity: Severity, jail: Option<&str>, problem: Problem) {
        let (file, line, column) = match problem.at {
            Some(spot) => (spot.file.to_string(), spot.line, spot.column),
            None => (String::new(), 0, 0),
        };
        let message = problem.message;
        let new =
            Diagnostic { severity, jail: jail.map(str::to_owned), file, line, column, message, help: problem.help };
        let most = if severity == Severity::Error { 2 * MAX_FINDINGS } else { MAX_FINDINGS };
        if self.list.len() < most && !self.list.contains(&new) {
            self.list.push(new);
        }
    }

    /// The first error found in a jail, in words.
    pub(crate) fn error_in(&self, jail: &str) -> Option<&str> {
        let mut errors = self.list.iter().filter(|d| d.severity == Severity::Error);
        errors.find(|d| d.jail.as_deref() == Some(jail)).map(|d| d.message.as_str())
    }

    /// Is it worth to look for near spellings? After many findings nobody reads them.
    pub(crate) fn worth_a_search(&self) -> bool {
        self.list.len() < 100
    }

    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// The errors first; of much else only how much there is. Where an error makes everything be refused (a section's
    /// bracket is missing), most of it is a consequence, and nobody finds the cause behind it.
    pub(crate) fn into_errors(self) -> Vec<Diagnostic> {
        let (mut errors, rest): (Vec<_>, Vec<_>) =
            self.list.into_iter().partition(|found| found.severity == Severity::Error);
        if rest.len() <= WARNINGS_SHOWN {
            errors.extend(rest);
        } else {
            let count = rest.len();
            errors.push(Diagnostic {
                severity: Severity::Warning,
                jail: None,
                file: String::new(),
                line: 0,
                column: 0,
                message: format!("{count} warnings are not shown while there are errors"),
                help: "correct those first; most of the rest may come of them".to_owned(),
            });
        }
        errors
    }
}
