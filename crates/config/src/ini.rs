//! One file of the INI dialect.
//!
//! Source: the format that Python's `configparser` reads in strict mode with
//! `;` as the only sign of an inline comment.

use std::sync::Arc;

use crate::diagnostic::{Problem, Spot};
use crate::ordered::Ordered;
use crate::text::{is_space, lower, rstrip, strip};

/// More options than this in one file are refused.
const MAX_OPTIONS: usize = 200_000;

/// A value as it stands in a table. Files hold texts only; the other kinds
/// come from a filter whose options have been injected into its jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Text(Arc<str>),
    Int(i64),
    Bool(bool),
    None,
}

impl Cell {
    pub(crate) fn text(text: &str) -> Self {
        Cell::Text(text.into())
    }

    /// Python's `str(value)`; `None` stays without text.
    pub(crate) fn to_text(&self) -> Option<Arc<str>> {
        match self {
            Cell::Text(text) => Some(Arc::clone(text)),
            Cell::Int(n) => Some(n.to_string().into()),
            Cell::Bool(b) => Some(if *b { "True" } else { "False" }.into()),
            Cell::None => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Where a value was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) file: Arc<str>,
    /// Line of the option's name.
    pub(crate) line: u32,
    /// Line and column at which each line of the value begins.
    parts: Box<[(u32, u32)]>,
}

impl Origin {
    /// An origin for values that were computed, not written.
    pub(crate) fn computed() -> Arc<Self> {
        Arc::new(Origin { file: "".into(), line: 0, parts: Box::default() })
    }

    /// The place of byte `offset` of the raw value `value`.
    pub(crate) fn spot(&self, value: &str, offset: usize) -> Option<Spot> {
        if self.file.is_empty() {
            return None;
        }
        let before = value.get(..offset).unwrap_or(value);
        let nth = before.bytes().filter(|b| *b == b'\n').count();
        let inside = before.rsplit('\n').next().unwrap_or("").chars().count();
        let (line, column) = self.parts.get(nth).copied().unwrap_or((self.line, 1));
        let column = column.saturating_add(u32::try_from(inside).unwrap_or(u32::MAX));
        Some(Spot { file: Arc::clone(&self.file), line, column })
    }

    /// Where line `nth` of a value begins. Nothing if `value` has not as many
    /// lines as were written, because references brought more of them.
    pub(crate) fn line_spot(&self, value: &str, nth: usize) -> Option<Spot> {
        let (line, column) = self.parts.get(nth).copied().filter(|_| value.split('\n').count() == self.parts.len())?;
        (!self.file.is_empty()).then(|| Spot { file: Arc::clone(&self.file), line, column })
    }

    /// The place of the option's name.
    pub(crate) fn name_spot(&self) -> Option<Spot> {
        let known = !self.file.is_empty();
        known.then(|| Spot { file: Arc::clone(&self.file), line: self.line, column: 1 })
    }
}

/// A raw value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Cell,
    pub(crate) origin: Arc<Origin>,
}

/// Options of one section.
pub(crate) type Table = Ordered<Entry>;

/// One parsed file.
#[derive(Debug, Default)]
pub(crate) struct IniFile {
    pub(crate) defaults: Table,
    pub(crate) sections: Ordered<Table>,
    /// What could not be read; a file with problems is refused by the original.
    pub(crate) problems: Vec<Problem>,
}

/// Values that are still growing.
struct Open {
    section: Arc<str>,
    option: Arc<str>,
    line: u32,
    lines: Vec<(String, u32, u32)>,
}

struct Parser<'a> {
    file: &'a Arc<str>,
    out: IniFile,
    section: Option<Arc<str>>,
    open: Option<Open>,
    options: usize,
}

/// Parses `text`, the content of the file shown as `file`.
pub(crate) fn parse(text: &str, file: &Arc<str>) -> IniFile {
    let text: std::borrow::Cow<'_, str> =
        if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() };
    let mut parser = Parser { file, out: IniFile::default(), section: None, open: None, options: 0 };
    let mut indent = 0;
    let mut number = 0;
    for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
        number += 1;
        let (value, comment) = without_comment(line);
        if value.is_empty() {
            if !comment && let Some(open) = &mut parser.open {
                open.lines.push((String::new(), number, 1));
            }
            continue;
        }
        let own_indent = line.chars().take_while(|c| is_space(*c)).count();
        let column = u32::try_from(own_indent + 1).unwrap_or(u32::MAX);
        if let Some(open) = &mut parser.open
            && own_indent > indent
        {
            open.lines.push((value.to_owned(), number, column));
            continue;
        }
        indent = own_indent;
        if parser.line(value, number, column).is_none() {
            break;
        }
    }
    parser.close();
    parser.out
}

/// The line without comments and blanks around, and whether it had a comment.
fn without_comment(line: &str) -> (&str, bool) {
    let stripped = strip(line);
    if stripped.starts_with(['#', ';']) {
        return ("", true);
    }
    let mut before = '\n';
    for (at, c) in line.char_indices() {
        if c == ';' && (at == 0 || is_space(before)) {
            return (strip(line.get(..at).unwrap_or("")), true);
        }
        before = c;
    }
    (stripped, false)
}

impl Parser<'_> {
    fn spot(&self, line: u32, column: u32) -> Option<Spot> {
        Some(Spot { file: Arc::clone(self.file), line, column })
    }

    /// Takes a line that continues nothing. `None` ends the file.
    fn line(&mut self, value: &str, number: u32, column: u32) -> Option<()> {
        if let Some(header) = header(value) {
            self.close();
            if header != "DEFAULT" {
                if self.out.sections.contains(header) {
                    let problem = Problem::new(format!("section [{header}] stands twice in this file"))
                        .help("merge the two; a section may only be repeated in another file");
                    self.out.problems.push(problem.at(self.spot(number, column)));
                } else {
                    self.out.sections.put(header, Table::default());
                }
            }
            self.section = Some(header.into());
            return Some(());
        }
        let Some(section) = self.section.clone() else {
            let mut problem = Problem::new("text before the first [section] header");
            if value.starts_with('\u{feff}') {
                problem = problem.help("the file begins with a byte order mark; save it as UTF-8 without one");
            } else if value.starts_with('[') {
                problem = problem.help("a header ends with ]");
            } else {
                problem = problem.help("begin with a line such as [sshd] or [DEFAULT]");
            }
            self.out.problems.push(problem.at(self.spot(number, column)));
            return None;
        };
        let split = value.find(['=', ':']).and_then(|at| Some((value.get(..at)?, value.get(at + 1..)?)));
        let Some((name, rest)) = split.filter(|(name, _)| !rstrip(name).is_empty()) else {
            self.close();
            let problem = Problem::new(format!("'{}' is no option: it needs NAME = VALUE", shorten(value)))
                .help("indent it if it continues the line above, or begin it with # if it is a comment");
            self.out.problems.push(problem.at(self.spot(number, column)));
            return Some(());
        };
        self.close();
        self.options += 1;
        if self.options > MAX_OPTIONS {
            let problem = Problem::new(format!("more than {MAX_OPTIONS} options in one file"));
            self.out.problems.push(problem.at(self.spot(number, column)));
            return None;
        }
        let option: Arc<str> = lower(rstrip(name)).as_ref().into();
        let table = if &*section == "DEFAULT" { Some(&self.out.defaults) } else { self.out.sections.get(&section) };
        if let Some(first) = table.and_then(|table| table.get(&option)) {
            let first = first.origin.line;
            let problem = Problem::new(format!("option '{option}' stands twice in [{section}], first in line {first}"))
                .help("remove one of them; a later file may set it again, this one may not");
            self.out.problems.push(problem.at(self.spot(number, column)));
        }
        let gap = name.chars().count() + 1 + rest.chars().take_while(|c| is_space(*c)).count();
        let start = column.saturating_add(u32::try_from(gap).unwrap_or(u32::MAX));
        let lines = vec![(strip(rest).to_owned(), number, start)];
        self.open = Some(Open { section, option, line: number, lines });
        Some(())
    }

    /// Ends the value that is being read.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let parts = open.lines.iter().map(|(_, line, column)| (*line, *column)).collect();
        let texts: Vec<&str> = open.lines.iter().map(|(text, _, _)| text.as_str()).collect();
        let value = Cell::text(rstrip(&texts.join("\n")));
        let origin = Arc::new(Origin { file: Arc::clone(self.file), line: open.line, parts });
        let table = if &*open.section == "DEFAULT" {
            Some(&mut self.out.defaults)
        } else {
            self.out.sections.get_mut(&open.section)
        };
        if let Some(table) = table {
            table.insert(&open.option, Entry { value, origin });
        }
    }
}

/// The name in a section header: everything up to the last `]`.
fn header(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('[')?;
    let name = inner.get(..inner.rfind(']')?)?;
    (!name.is_empty()).then_some(name)
}

/// At most 40 characters of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push_str("..");
    }
    short
}
