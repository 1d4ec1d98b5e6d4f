//! One date template: a pattern made into a regular expression with a group 1
//! (what is cut from the line), its bounds, and how its match is read.
//!
//! Source: fail2ban `server/datetemplate.py`.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

use super::convert::{self, Bad, Clock, Field, Fields};
use super::directives;
use super::fast::{Fast, Place, Shape};
use super::sketch::{Need, Sketch};
use super::zones;
use crate::time::{Span, Timestamp};

/// How a match becomes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// By named groups.
    Fields,
    /// Seconds since the epoch in this group; `long`: or milli- or microseconds.
    Epoch { group: usize, long: bool },
    /// A TAI64N label.
    Tai64n,
}

/// How the left side of a template is bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// At a word's begin.
    Word,
    /// At the line's begin, behind at most two characters that belong to no word.
    Line,
    /// Nowhere in particular.
    Free,
}

/// A compiled date template; immutable, shared by all jails that use it.
#[derive(Debug)]
pub(in super::super) struct Template {
    /// What reports show, unique within a detector.
    pub(super) name: Arc<str>,
    /// The pattern as written, if it was one of `%` directives.
    pub(super) pattern: Option<Arc<str>>,
    /// The whole regular expression.
    pub(super) regex: Box<str>,
    /// Bound to the begin or the end of the line: found once, the search is over.
    pub(super) anchored: bool,
    /// Factor of the weight by which templates bubble up.
    pub(super) weight: f64,
    reading: Reading,
    /// A short way for the commonest spelling.
    fast: Option<Fast>,
    /// What a line must have, if that is known.
    need: Option<Need>,
    program: OnceLock<Option<Program>>,
}

/// The part that is built on first use.
#[derive(Debug)]
struct Program {
    regex: Regex,
    /// Which field each group fills.
    fields: Box<[(Field, usize)]>,
}

/// A match, in bytes of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The whole match.
    pub(super) span: Range<usize>,
    /// What is cut from the line; may be empty.
    pub(super) cut: Range<usize>,
    /// Its parts.
    pub(super) fields: Fields,
}

/// The step budget of a search ran out.
pub(super) struct Exhausted;

/// Why a date pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Fault {
    pub(in super::super) message: String,
    /// In bytes of the pattern, where known.
    pub(in super::super) position: Option<usize>,
}

impl Template {
    /// The template of one line of `datepattern`, other than `{DEFAULT}`, `{^LN-BEG}` and those with `{DATE}`.
    ///
    /// # Errors
    /// An unknown directive, or a regular expression that does not compile.
    pub(super) fn parse(pattern: &str, year: i16) -> Result<Template, Fault> {
        let template = Self::make(pattern, year)?;
        match Regex::new(&template.regex, Flags::default()) {
            Ok(_) => Ok(template),
            Err(e) => Err(Fault {
                message: format!("{} in the regular expression {:?}", e.message, template.regex),
                position: None,
            }),
        }
    }

    /// As [`Template::parse`], without trying whether the result compiles.
    pub(super) fn make(pattern: &str, year: i16) -> Result<Template, Fault> {
        let key = if pattern.contains('%') { pattern.to_owned() } else { pattern.to_uppercase() };
        if key.contains("EPOCH") {
            if let Some((expanded, long)) = epoch_inside(pattern) {
                return Ok(Self::custom_epoch(pattern, &expanded, long));
            }
            match key.as_str() {
                "EPOCH" => return Ok(Self::epoch(false)),
                "LEPOCH" => return Ok(Self::epoch(true)),
                "{^LN-BEG}EPOCH" | "^EPOCH" => return Ok(Self::epoch_at_begin(false)),
                "{^LN-BEG}LEPOCH" | "^LEPOCH" => return Ok(Self::epoch_at_begin(true)),
                _ => {}
            }
        }
        match key.as_str() {
            "TAI64N" => return Ok(Self::tai64n(Begin::Free)),
            "{^LN-BEG}TAI64N" | "^TAI64N" => return Ok(Self::tai64n(Begin::Line)),
            "{NONE}" => return Self::fields("{UNB}^", year),
            _ => {}
        }
        Self::fields(pattern, year)
    }

    /// A template of `%` directives.
    fn fields(pattern: &str, year: i16) -> Result<Template, Fault> {
        let (body, free) = match pattern.strip_prefix("{UNB}") {
            Some(body) => (body, true),
            None => (pattern, false),
        };
        let (body, begin) = match body.strip_prefix("{^LN-BEG}") {
            _ if free => (body, Begin::Free),
            Some(body) => (body, Begin::Line),
            None => (body, Begin::Word),
        };
        let expanded = directives::expand(body, year).map_err(|(what, at)| Fault {
            message: format!("unknown directive %{what} (a plain percent sign is written %%)"),
            position: Some(at + (pattern.len() - body.len())),
        })?;
        let regex = if expanded.any_case { format!("(?iu){}", expanded.regex) } else { expanded.regex };
        Ok(Self::bound(expanded.name, Some(pattern), &regex, begin, !free, Reading::Fields))
    }

    /// Epoch seconds where logs have them: at the line's begin, in square
    /// brackets there, or in an audit record.
    fn epoch(long: bool) -> Template {
        let head = r"((?:^|(?P<square>(?<=^\[))|(?P<selinux>(?<=\baudit\()))";
        let tail = r")(?:(?(selinux)(?=:\d+\)))|(?(square)(?=\])))";
        let regex = format!("{head}{}{tail}", epoch_number(long));
        Self::bound(epoch_name(long), None, &regex, Begin::Free, true, Reading::Epoch { group: 1, long })
    }

    /// Epoch seconds at the line's begin.
    fn epoch_at_begin(long: bool) -> Template {
        let number = epoch_number(long);
        let regex = format!(r"((?P<square>(?<=^\[))?{number})(?(square)(?=\]))");
        Self::bound(epoch_name(long), None, &regex, Begin::Line, true, Reading::Epoch { group: 1, long })
    }

    /// A pattern with `{EPOCH}` inside, already replaced; its first own group is what is cut, else all of it.
    fn custom_epoch(pattern: &str, expanded: &str, long: bool) -> Template {
        let regex = if has_group(pattern) { expanded.to_owned() } else { format!("({expanded})") };
        Self::bound(pattern.to_owned(), None, &regex, Begin::Word, true, Reading::Epoch { group: 2, long })
    }

    /// TAI64N labels.
    fn tai64n(begin: Begin) -> Template {
        Self::bound("TAI64N".to_owned(), None, "@[0-9a-f]{24}", begin, true, Reading::Tai64n)
    }

    /// Adds group 1 and the bounds.
    fn bound(name: String, pattern: Option<&str>, regex: &str, begin: Begin, end: bool, reading: Reading) -> Template {
        let mut name = name;
        let regex = regex.trim();
        let (flags, mut regex) = cut_flags(regex);
        let bound_begin = begin != Begin::Free && !bound_at_begin(&regex);
        let bound_end = end && !bound_at_end(&regex);
        if !has_group(&regex) {
            regex = wrap(&regex);
        }
        let mut anchored = false;
        if bound_begin {
            if begin == Begin::Line {
                anchored = true;
                regex = format!(r"^(?:\W{{0,2}})?{regex}");
                if !name.starts_with("{^LN-BEG}") {
                    name = format!("{{^LN-BEG}}{name}");
                }
            } else {
                regex = format!(r"(?=^|\b|\W){regex}");
            }
        }
        if bound_end {
            regex.push_str(r"(?=\b|\W|$)");
        }
        anchored |= line_begin(&regex) || line_end(&regex);
        let regex = format!("{flags}{}", drop_stars(&regex));
        Template {
            name: name.into(),
            pattern: pattern.map(Arc::from),
            regex: regex.into(),
            anchored,
            weight: 1.0,
            reading,
            fast: None,
            need: None,
            program: OnceLock::new(),
        }
    }

    /// The same template, preferred over others once it has been seen.
    pub(super) fn preferred(self) -> Template {
        Template { weight: 100.0, ..self }
    }

    /// The same template with a short way for its commonest spelling.
    pub(super) fn with_short_way(self, shape: Shape, place: Place, decade: u8) -> Template {
        Template { fast: Some(Fast { shape, place, decade }), ..self }
    }

    /// The short way, if there is one.
    pub(super) fn fast(&self) -> Option<Fast> {
        self.fast
    }

    /// The same template, tried only where this is.
    pub(super) fn with_need(self, need: Option<Need>) -> Template {
        Template { need, ..self }
    }

    /// What a line must have for this template to match, if that is known.
    pub(super) fn need(&self) -> Option<Need> {
        self.need
    }

    /// The program, compiled at the first call; `None` if it does not compile
    /// (excluded for patterns that came through [`Template::parse`]).
    fn program(&self) -> Option<&Program> {
        let build = || {
            let regex = Regex::new(&self.regex, Flags::default()).ok()?;
            let fields = match self.reading {
                Reading::Fields => {
                    let mut named: Vec<(usize, Field)> = Vec::new();
                    for (name, group) in regex.group_names() {
                        named.extend(Field::of_group(name).map(|field| (*group, field)));
                    }
                    named.sort_by_key(|(group, _)| *group);
                    named.into_iter().map(|(group, field)| (field, group)).collect()
                }
                Reading::Epoch { group, .. } => [(Field::Epoch, group)].into(),
                Reading::Tai64n => [(Field::Epoch, 1)].into(),
            };
            Some(Program { regex, fields })
        };
        self.program.get_or_init(build).as_ref()
    }

    /// Searches `window` of `line` as Python's `search` with `pos` and `endpos` does.
    pub(super) fn search(
        &self,
        scratch: &mut Scratch,
        slots: &mut Slots,
        line: &str,
        window: Range<usize>,
    ) -> Result<Option<Found>, Exhausted> {
        match self.short_way(line, &window) {
            Some(found) => Ok(Some(found)),
            None => self.long_way(scratch, slots, line, window),
        }
    }

    /// What [`Template::search`] finds, if the date is of the commonest spelling; else nothing is said.
    pub(super) fn short_way(&self, line: &str, window: &Range<usize>) -> Option<Found> {
        self.fast?.find(line.as_bytes(), window)
    }

    /// As [`Template::short_way`] on a whole line of which something is known.
    pub(super) fn short_way_by(&self, sketch: &Sketch, line: &str) -> Option<Found> {
        self.fast?.find_by_clock(line, sketch.first_clock(self.need?)?)
    }

    /// Is its time a matter of the text that is cut alone, and of the clock?
    pub(super) fn is_plain(&self) -> bool {
        self.fast.is_some()
    }

    /// Is there a short way?
    #[cfg(test)]
    pub(super) fn has_short_way(&self) -> bool {
        self.fast.is_some()
    }

    /// [`Template::search`] by the regular expression.
    pub(super) fn long_way(
        &self,
        scratch: &mut Scratch,
        slots: &mut Slots,
        line: &str,
        window: Range<usize>,
    ) -> Result<Option<Found>, Exhausted> {
        let Some(program) = self.program() else { return Ok(None) };
        match program.regex.search(scratch, line, window, slots) {
            Outcome::Match => {}
            Outcome::NoMatch => return Ok(None),
            Outcome::Exhausted => return Err(Exhausted),
        }
        let Some(span) = slots.get(0) else { return Ok(None) };
        let cut = slots.get(1).unwrap_or(span.start..span.start);
        let mut fields = Fields::default();
        for (field, group) in &program.fields {
            if let Some(at) = slots.get(*group) {
                fields.set(*field, at.start, at.end);
            }
        }
        // DIVERGENCE (zone-word-gives-up-line): an upper-case word in front of a syslog date that names no
        // known zone (`ERROR Aug 12 ..`) makes the original give up the line
        // with an exception; here the template does not match.
        if let Some(word) = fields.text(Field::ZoneName, line)
            && word.bytes().all(|b| b.is_ascii_uppercase())
            && zones::offset_minutes(word).is_none()
        {
            return Ok(None);
        }
        Ok(Some(Found { span, cut, fields }))
    }

    /// The time of the minute of a match whose seconds are two digits at this place. Nothing where times
    /// within a minute do not differ as their seconds do: the year may be guessed by the second.
    pub(super) fn minute(&self, line: &str, found: &Found, seconds: usize, clock: &Clock<'_>) -> Option<Timestamp> {
        let mut text = line.get(..found.cut.end)?.to_owned();
        let mut with = |digits: &str| {
            text.replace_range(text.get(seconds..seconds + 2).map(|_| seconds..seconds + 2)?, digits);
            self.time(&text, found, clock).ok()
        };
        let (first, last) = (with("00")?, with("59")?);
        (last - first == Span::from_secs(59)).then_some(first)
    }

    /// The time that a match of this template states.
    pub(super) fn time(&self, line: &str, found: &Found, clock: &Clock<'_>) -> Result<Timestamp, Bad> {
        match self.reading {
            Reading::Fields => convert::time(line, &found.fields, clock),
            Reading::Epoch { long, .. } => {
                convert::epoch(found.fields.text(Field::Epoch, line).ok_or(Bad::Invalid)?, long)
            }
            Reading::Tai64n => convert::tai64n(found.fields.text(Field::Epoch, line).ok_or(Bad::Invalid)?),
        }
    }
}

fn epoch_name(long: bool) -> String {
    if long { "LongEpoch" } else { "Epoch" }.to_owned()
}

fn epoch_number(long: bool) -> &'static str {
    if long { r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?" } else { r"\d{10,11}\b(?:\.\d{3,6})?" }
}

/// `pattern` with each unescaped `{EPOCH}` or `{LEPOCH}` replaced, if it has one, and whether numbers may be long.
fn epoch_inside(pattern: &str) -> Option<(String, bool)> {
    let long = pattern.to_uppercase().contains("LEPOCH");
    let number = format!("({})", epoch_number(long));
    let out = replace_tag(&replace_tag(pattern, "{LEPOCH}", &number), "{EPOCH}", &number);
    (out != pattern).then_some((out, long))
}

/// Replaces each `tag`, in any case, that has no backslash before it.
pub(super) fn replace_tag(text: &str, tag: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len() + with.len());
    let mut rest = text;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let here = rest.get(..tag.len()).is_some_and(|head| head.eq_ignore_ascii_case(tag));
        let step = if here && before != Some('\\') {
            out.push_str(with);
            before = Some('}');
            tag.len()
        } else {
            out.push(c);
            before = Some(c);
            c.len_utf8()
        };
        rest = rest.get(step..).unwrap_or("");
    }
    out
}

/// The pattern to stand inside another one for `{DATE}`: without its own bounds.
pub(super) fn unbound(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix("{UNB}").unwrap_or(pattern);
    let pattern = pattern.strip_prefix("{^LN-BEG}").unwrap_or(pattern);
    let pattern = ["(^|\\b|\\W)", "(?:^|\\b|\\W)"].iter().find_map(|p| pattern.strip_prefix(p)).unwrap_or(pattern);
    pattern.strip_suffix(r"(?=\b|\W|$)").unwrap_or(pattern)
}

/// Is there a capture group without a name? Escaped parentheses and conditionals do not count.
fn has_group(regex: &str) -> bool {
    let bytes = regex.as_bytes();
    let at = |i: usize| bytes.get(i).copied();
    (0..bytes.len()).any(|i| {
        let before = i.checked_sub(1).and_then(at);
        let conditional = before == Some(b'?') && i.checked_sub(2).and_then(at) == Some(b'(');
        at(i) == Some(b'(') && before != Some(b'\\') && !conditional && at(i + 1) != Some(b'?')
    })
}

/// `(?letters)` at the start: the whole of it and the rest.
fn leading_flags(regex: &str) -> (&str, &str) {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let Some((letters, after)) = regex.strip_prefix("(?").and_then(|t| t.split_once(')')) else { return ("", regex) };
    if letters.is_empty() || !letters.chars().all(word) {
        return ("", regex);
    }
    regex.split_at_checked(regex.len() - after.len()).unwrap_or(("", regex))
}

/// Makes all of it group 1, a leading `^` and a trailing `$` excepted.
fn wrap(regex: &str) -> String {
    let (flags, rest) = leading_flags(regex);
    let (caret, rest) = match rest.strip_prefix('^') {
        Some(rest) => ("^", rest),
        None => ("", rest),
    };
    let (more, rest) = leading_flags(rest);
    let (body, dollar) = match rest.strip_suffix('$') {
        Some(body) => (body, "$"),
        None => (rest, ""),
    };
    format!("{flags}{caret}{more}({body}){dollar}")
}

/// Cuts the first group of global flags, wherever it stands: the flags and the rest.
fn cut_flags(regex: &str) -> (String, String) {
    let mut from = 0;
    while let Some(at) = regex.get(from..).and_then(|t| t.find("(?")).map(|at| at + from) {
        let escaped = at > 0 && regex.as_bytes().get(at - 1) == Some(&b'\\');
        let group = regex.get(at..).and_then(super::super::tags::flag_group);
        if let (Some((letters, after)), false) = (group, escaped) {
            let head = regex.get(..at).unwrap_or("");
            return (format!("(?{letters})"), format!("{head}{after}"));
        }
        from = at + 2;
    }
    (String::new(), regex.to_owned())
}

/// Every way to strip parentheses off the start, from none to all.
fn without_parens(text: &str) -> impl Iterator<Item = &str> {
    let parens = text.bytes().take_while(|b| *b == b'(').count();
    (0..=parens).filter_map(move |n| text.get(n..))
}

/// Says the left end itself how it is bound?
fn bound_at_begin(regex: &str) -> bool {
    without_parens(regex).any(|text| {
        let bound = |t: &str| {
            t.starts_with('^')
                || t.starts_with("(^")
                || t.starts_with("(?:^")
                || t.trim_start_matches('(').starts_with("**")
        };
        bound(text) || bound(leading_flags(text).1)
    })
}

/// Says the right end itself how it is bound?
fn bound_at_end(regex: &str) -> bool {
    let unescaped = |head: &str| !head.ends_with('\\');
    let plain = ["$", "$)", r"\b", r"\s"];
    plain.iter().any(|tail| regex.strip_suffix(tail).is_some_and(unescaped))
        || regex.trim_end_matches(')').strip_suffix("**").is_some_and(unescaped)
}

/// Is the finished expression bound to the line's begin?
fn line_begin(regex: &str) -> bool {
    let bound = |text: &str| {
        let inner = text.strip_prefix("(?:^").or_else(|| text.strip_prefix("(^"));
        text.starts_with('^') || inner.is_some_and(|t| !t.starts_with('|'))
    };
    bound(regex) || bound(leading_flags(regex).1)
}

/// Is the finished expression bound to the line's end?
fn line_end(regex: &str) -> bool {
    let free = |head: &str| !head.ends_with('\\') && !head.ends_with('|');
    ["$", "$)"].iter().any(|tail| regex.strip_suffix(tail).is_some_and(free))
}

/// Removes the stars that ask for no bound.
fn drop_stars(regex: &str) -> String {
    let mut out = regex.to_owned();
    let start = without_parens(regex).find_map(|text| {
        let stars = |t: &str| {
            let t = t.trim_start_matches('(');
            t.starts_with("**").then_some(t.len())
        };
        stars(text).or_else(|| stars(leading_flags(text).1))
    });
    if let Some(len) = start {
        let at = regex.len() - len;
        out.replace_range(at..at + 2, "");
    }
    let body = out.trim_end_matches(')');
    if let Some(head) = body.strip_suffix("**")
        && !head.ends_with('\\')
    {
        let at = head.len();
        out.replace_range(at..at + 2, "");
    }
    out
}
