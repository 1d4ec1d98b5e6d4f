//! Reads `etc/samples/NAME.log`.
//!
//! ```text
//! # a remark
//! #: mode=aggressive              from here on the filter has these options, and knows no older line
//! #~ quoted carol                 clients choose "carol" in the next line; how the service writes such text
//! #= -                            nothing comes of the next line ...
//! #= + 192.0.2.1                  ... or no failure, but a success of this address (stockade.success)
//! #= 192.0.2.1 2026-11-22T10:00:00Z carol     ... or this address, time and user (* is any or none)
//! ```
//!
//! What a service does with text of clients: `any` writes it as it is, but a line
//! break as `#012`; `raw` line breaks, too; `tabbed` a tab behind each; `word`
//! takes no blanks, `cut` ends it at a colon, `quoted` puts a backslash before quotes and backslashes,
//! `hex` writes them as `\x22`, `uri` as `%22`, `csv` doubles quotes, `json` is JSON.
//! With a `?` behind it another text may make the line harmless; without, the failure
//! must stay. With a `~` it must stay up to 200 letters: of such a name more is not followed,
//! because a log may have cut the line off before the address. With `?+` it must stay if the
//! text is only long. With `:63` behind that it takes 63 bytes at most.

use jiff::Timestamp;

/// What must come of a line.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) id: String,
    /// Seconds since the epoch.
    pub(crate) time: i64,
    /// `*`: any or none.
    pub(crate) user: String,
}

/// What a service does with text of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Any,
    Raw,
    Tabbed,
    Word,
    Cut,
    Quoted,
    Hex,
    Uri,
    Csv,
    Json,
}

/// How far names are followed where a log may cut the line off before the address.
const FOLLOWED_CHARS: usize = 200;

/// A piece of a line that clients choose.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) writing: Writing,
    /// Another text may make the line harmless.
    pub(crate) decides: bool,
    /// A text that is only long does not make it harmless.
    pub(crate) long_stays: bool,
    /// Up to so many letters the failure must stay.
    pub(crate) followed_chars: usize,
    /// What the service takes of it.
    pub(crate) bytes_max: usize,
    pub(crate) text: String,
}

/// A line and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// 1-based, in the file.
    pub(crate) number: usize,
    pub(crate) line: String,
    pub(crate) expected: Option<Expected>,
    /// Who got what he wanted.
    pub(crate) success: Option<String>,
    pub(crate) fields: Vec<Field>,
}

/// Lines that one matcher reads, one after another.
#[derive(Debug)]
pub(crate) struct Part {
    /// `mode=aggressive`, or empty.
    pub(crate) options: String,
    pub(crate) samples: Vec<Sample>,
}

impl Part {
    /// The filter with this part's options.
    pub(crate) fn call(&self, name: &str) -> String {
        if self.options.is_empty() { name.to_owned() } else { format!("{name}[{}]", self.options) }
    }
}

/// All parts of a filter's samples.
pub(crate) fn read(name: &str) -> Vec<Part> {
    let path = crate::etc().join(format!("samples/{name}.log"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut parts = vec![Part { options: String::new(), samples: Vec::new() }];
    let (mut expected, mut success, mut fields) = (None, None, Vec::new());
    for (line, number) in text.lines().zip(1..) {
        let at = || format!("{name}.log:{number}: {line}");
        if let Some(options) = line.strip_prefix("#: ") {
            parts.push(Part { options: options.to_owned(), samples: Vec::new() });
        } else if let Some(field) = line.strip_prefix("#~ ") {
            fields.push(self::field(field).unwrap_or_else(|| panic!("{}", at())));
        } else if let Some(who) = line.strip_prefix("#= + ") {
            assert!(expected.is_none(), "{}", at());
            expected = Some(None);
            success = Some(who.to_owned());
        } else if let Some(note) = line.strip_prefix("#= ") {
            assert!(expected.is_none(), "{}", at());
            expected = Some(self::expected(note).unwrap_or_else(|| panic!("{}", at())));
        } else if !line.starts_with('#') && !line.is_empty() {
            let expected = expected.take().unwrap_or_else(|| panic!("nothing is said of {}", at()));
            let fields = std::mem::take(&mut fields);
            for field in &fields {
                assert!(line.contains(&field.text), "{:?} is not in {}", field.text, at());
            }
            let (line, success) = (line.to_owned(), success.take());
            parts.last_mut().unwrap().samples.push(Sample { number, line, expected, success, fields });
        }
    }
    assert!(expected.is_none() && fields.is_empty(), "{name}.log ends before its last line");
    parts.retain(|part| !part.samples.is_empty());
    parts
}

/// `-`, or an address, a time and a user. The outer `None`: it is neither.
fn expected(note: &str) -> Option<Option<Expected>> {
    if note == "-" {
        return Some(None);
    }
    let (id, rest) = note.split_once(' ')?;
    let (time, user) = rest.split_once(' ')?;
    let time = time.parse::<Timestamp>().ok()?.as_second();
    Some(Some(Expected { id: id.to_owned(), time, user: user.to_owned() }))
}

fn field(note: &str) -> Option<Field> {
    let (writing, text) = note.split_once(' ')?;
    let (writing, bytes_max) = match writing.split_once(':') {
        Some((writing, most)) => (writing, most.parse().ok()?),
        None => (writing, usize::MAX),
    };
    let (writing, followed_chars) = match writing.strip_suffix('~') {
        Some(writing) => (writing, FOLLOWED_CHARS),
        None => (writing, usize::MAX),
    };
    let (writing, long_stays) = match writing.strip_suffix('+') {
        Some(writing) => (writing, true),
        None => (writing, false),
    };
    let (writing, decides) = match writing.strip_suffix('?') {
        Some(writing) => (writing, true),
        None => (writing, false),
    };
    let writing = match writing {
        "any" => Writing::Any,
        "raw" => Writing::Raw,
        "tabbed" => Writing::Tabbed,
        "word" => Writing::Word,
        "cut" => Writing::Cut,
        "quoted" => Writing::Quoted,
        "hex" => Writing::Hex,
        "uri" => Writing::Uri,
        "csv" => Writing::Csv,
        "json" => Writing::Json,
        _ => return None,
    };
    Some(Field { writing, decides, long_stays, followed_chars, bytes_max, text: text.to_owned() })
}

/// What the journal has of a line of syslog: everything but the date.
pub(crate) fn without_syslog_date(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Nov 22 ")?;
    rest.split_once(' ').map(|(_, rest)| rest)
}
