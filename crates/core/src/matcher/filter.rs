//! A filter as the configuration gives it, and as it is built.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::date::{Calendar, Clock, DateTemplate, Templates, zones};
use super::decode::Encoding;
use super::head::{Head, heads};
use super::needs::Needs;
use super::pattern::{Fault, Pattern};
use crate::block::LineEnd;
use crate::time::{Span, Timestamp};

/// What becomes of a host name that a line names: option `usedns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UseDns {
    /// Its addresses are asked for.
    Yes,
    /// The same, with a warning per name.
    #[default]
    Warn,
    /// `<HOST>` matches addresses only; other names yield nothing.
    No,
    /// The name itself is the id.
    Raw,
}

impl UseDns {
    /// Reads the option's value, in any case. `None` if it is unknown (the
    /// original then takes `no` and logs an error).
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "yes" => UseDns::Yes,
            "warn" => UseDns::Warn,
            "no" => UseDns::No,
            "raw" => UseDns::Raw,
            _ => return None,
        })
    }
}

/// Where a line's date comes from: option `datepattern`, or the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DatePattern {
    /// The 31 default templates.
    #[default]
    Default,
    /// The text of the option: one pattern per line.
    Text(String),
    /// Lines bring their time with them (journal); none is looked for in the text.
    Journal,
}

/// All options of a jail that say what a failure is. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    /// `prefregex`.
    pub prefregex: Option<String>,
    /// `failregex`, one pattern each.
    pub failregex: Vec<String>,
    /// `ignoreregex`, one pattern each.
    pub ignoreregex: Vec<String>,
    /// `datepattern`.
    pub datepattern: DatePattern,
    /// `maxlines`: how many lines a failregex sees at once; at least 1.
    pub maxlines: u32,
    /// `usedns`.
    pub usedns: UseDns,
    /// `logtimezone`.
    pub logtimezone: Option<String>,
    /// `logencoding`.
    pub encoding: Encoding,
    /// `findtime`, by which old lines are left out after a start.
    pub findtime: Span,
}

impl Default for FilterSpec {
    fn default() -> Self {
        FilterSpec {
            prefregex: None,
            failregex: Vec::new(),
            ignoreregex: Vec::new(),
            datepattern: DatePattern::Default,
            maxlines: 1,
            usedns: UseDns::Warn,
            logtimezone: None,
            encoding: Encoding::Utf8,
            findtime: Span::from_secs(600),
        }
    }
}

/// Most lines that `maxlines` may keep; more are refused, as each new line
/// searches the whole buffer.
pub const MAXLINES_MAX: u32 = 10_000;

/// Why a filter cannot be built. Nothing of it is in use then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The option at fault, as the configuration spells it.
    pub option: &'static str,
    /// Which of the option's patterns, counted from 0.
    pub index: u32,
    /// What is wrong.
    pub message: String,
    /// Where in the expanded pattern, in characters, if that is known.
    pub position: Option<usize>,
    /// The pattern with its tags expanded, or the option's value.
    pub pattern: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.option, self.index + 1, self.message)?;
        if let Some(position) = self.position {
            write!(f, " at position {position}")?;
        }
        write!(f, " in {:?}", self.pattern)
    }
}

impl std::error::Error for FilterError {}

/// A compiled filter. Immutable; shared by everything that runs it.
#[derive(Debug)]
pub struct Filter {
    pub(super) prefregex: Option<Pattern>,
    pub(super) failregex: Vec<Pattern>,
    /// Which failregexes can match a text at all, by its first byte.
    by_first: OnceLock<ByFirst>,
    pub(super) ignoreregex: Vec<Pattern>,
    /// `None`: lines bring their time with them.
    pub(super) dates: Option<Templates>,
    pub(super) calendar: Arc<Calendar>,
    pub(super) maxlines: usize,
    pub(super) usedns: UseDns,
    /// Minutes east that `logtimezone` names.
    pub(super) offset: Option<i32>,
    pub(super) encoding: Encoding,
    pub(super) findtime: Span,
    needs: OnceLock<Option<Needs>>,
    heads: OnceLock<Option<Vec<Head>>>,
    /// Where patterns are written: option, index, and file with line.
    origins: Vec<(&'static str, usize, Box<str>)>,
}

impl Filter {
    /// A raw line as text, in the log's encoding; broken bytes become U+FFFD.
    pub fn decode<'b>(&self, bytes: &'b [u8]) -> std::borrow::Cow<'b, str> {
        self.encoding.decode(bytes).0
    }

    /// How lines end in the log.
    pub fn line_end(&self) -> LineEnd {
        self.encoding.line_end()
    }

    /// Builds a filter.
    ///
    /// # Errors
    /// The first option that cannot be used: a pattern that does not compile or
    /// is empty, a failregex without any group that says who failed, a date
    /// pattern or zone that is none.
    pub fn compile(spec: &FilterSpec, calendar: &Arc<Calendar>) -> Result<Filter, FilterError> {
        let multiline = spec.maxlines > 1;
        if spec.maxlines == 0 || spec.maxlines > MAXLINES_MAX {
            return Err(FilterError {
                option: "maxlines",
                index: 0,
                message: format!("must be a number from 1 to {MAXLINES_MAX}"),
                position: None,
                pattern: spec.maxlines.to_string(),
            });
        }
        let build = |option: &'static str, index: usize, text: &str, multiline: bool| {
            Pattern::compile(text, spec.usedns, multiline, calendar.known())
                .map_err(|fault| refuse(option, index, fault))
        };
        let prefregex = match spec.prefregex.as_deref() {
            None | Some("") => None,
            Some(text) => Some(build("prefregex", 0, text, false)?),
        };
        let mut failregex = Vec::with_capacity(spec.failregex.len());
        for (index, text) in spec.failregex.iter().enumerate() {
            let pattern = build("failregex", index, text, multiline)?;
            if !pattern.names_somebody() && !prefregex.as_ref().is_some_and(Pattern::names_somebody) {
                let message = format!("No failure-id group in '{}'", pattern.text);
                return Err(refuse(
                    "failregex",
                    index,
                    Fault { message, position: None, pattern: pattern.text.as_ref().into() },
                ));
            }
            failregex.push(pattern);
        }
        let mut ignoreregex = Vec::with_capacity(spec.ignoreregex.len());
        for (index, text) in spec.ignoreregex.iter().enumerate() {
            ignoreregex.push(build("ignoreregex", index, text, false)?);
        }
        let dates = match &spec.datepattern {
            DatePattern::Default => Some(Templates::default(calendar)),
            DatePattern::Journal => None,
            DatePattern::Text(text) => {
                Some(Templates::parse(text, calendar).map_err(|(index, fault)| FilterError {
                    option: "datepattern",
                    index,
                    message: fault.message,
                    position: fault.position,
                    pattern: text.clone(),
                })?)
            }
        };
        let offset = match spec.logtimezone.as_deref() {
            None => None,
            Some(zone) => Some(zones::offset_minutes(zone).ok_or_else(|| FilterError {
                option: "logtimezone",
                index: 0,
                message: format!("Unknown or unsupported time zone: '{zone}'"),
                position: None,
                pattern: zone.to_owned(),
            })?),
        };
        Ok(Filter {
            prefregex,
            by_first: OnceLock::new(),
            failregex,
            ignoreregex,
            dates,
            calendar: Arc::clone(calendar),
            maxlines: usize::try_from(spec.maxlines).unwrap_or(1),
            usedns: spec.usedns,
            offset,
            encoding: spec.encoding,
            findtime: spec.findtime,
            needs: OnceLock::new(),
            heads: OnceLock::new(),
            origins: Vec::new(),
        })
    }

    /// The same filter, which can say of its patterns where they are written. `origin` is asked with an
    /// option and a pattern as it was given.
    #[must_use]
    pub fn with_origins<'o>(mut self, spec: &FilterSpec, origin: impl Fn(&str, &str) -> Option<&'o str>) -> Filter {
        let date = match &spec.datepattern {
            DatePattern::Text(text) => Some(text),
            DatePattern::Default | DatePattern::Journal => None,
        };
        let one = |option, text: Option<&'_ String>| text.map(|t| (option, 0, t.clone()));
        let many = |option, list: &[String]| {
            list.iter().enumerate().map(|(i, t)| (option, i, t.clone())).collect::<Vec<(&'static str, usize, String)>>()
        };
        let mut all: Vec<(&'static str, usize, String)> = Vec::new();
        all.extend(one("prefregex", spec.prefregex.as_ref()));
        all.extend(many("failregex", &spec.failregex));
        all.extend(many("ignoreregex", &spec.ignoreregex));
        all.extend(one("datepattern", date));
        let known =
            all.into_iter().filter_map(|(option, index, text)| Some((option, index, origin(option, &text)?.into())));
        self.origins = known.collect();
        self
    }

    /// Where a pattern is written, if that is known.
    pub(super) fn origin(&self, option: &str, index: usize) -> Option<&str> {
        // All date templates are of one option.
        let index = if option == "datepattern" { 0 } else { index };
        let known = self.origins.iter().find(|(o, i, _)| *o == option && *i == index);
        known.map(|(.., place)| &**place)
    }

    /// Which failregexes can match a text at all; worked out at the first call.
    pub(super) fn by_first(&self) -> &ByFirst {
        self.by_first.get_or_init(|| ByFirst::new(&self.failregex))
    }

    /// Are ignoreregexes tried before all else? So if they are few.
    pub(super) fn ignores_early(&self) -> bool {
        !self.ignoreregex.is_empty() && self.ignoreregex.len() + 2 < self.failregex.len()
    }

    /// What a line must contain to matter; worked out at the first call.
    pub(super) fn needs(&self) -> Option<&Needs> {
        self.needs.get_or_init(|| Needs::of(self)).as_ref()
    }

    /// How a text must begin to matter, where no literal is needed; worked out at the first call.
    pub(super) fn heads(&self) -> Option<&[Head]> {
        self.heads.get_or_init(|| heads(self)).as_deref()
    }

    /// What dates are judged by at `now`.
    pub(super) fn clock(&self, now: Timestamp) -> Clock<'_> {
        Clock { now, wall: now, zone: self.calendar.zone(), offset: self.offset }
    }

    /// The expanded failregexes, in order.
    pub fn failregex(&self) -> impl ExactSizeIterator<Item = &str> {
        self.failregex.iter().map(|p| &*p.text)
    }

    /// The expanded ignoreregexes, in order.
    pub fn ignoreregex(&self) -> impl ExactSizeIterator<Item = &str> {
        self.ignoreregex.iter().map(|p| &*p.text)
    }

    /// The expanded prefregex.
    pub fn prefregex(&self) -> Option<&str> {
        self.prefregex.as_ref().map(|p| &*p.text)
    }

    /// Has the other one the same expanded patterns? Dates are not looked at.
    pub(super) fn same_patterns(&self, other: &Filter) -> bool {
        self.prefregex() == other.prefregex()
            && self.failregex().eq(other.failregex())
            && self.ignoreregex().eq(other.ignoreregex())
    }

    /// The date templates in their first order; none for a journal.
    pub fn date_templates(&self) -> Vec<DateTemplate> {
        self.dates.as_ref().map(Templates::describe).unwrap_or_default()
    }
}

/// Indices of patterns by the first byte of a text that they may match; in order.
#[derive(Debug)]
pub(super) struct ByFirst {
    /// Number of the list for each byte.
    list: Vec<usize>,
    lists: Vec<Box<[u32]>>,
}

impl ByFirst {
    fn new(patterns: &[Pattern]) -> Self {
        let mut lists: Vec<Box<[u32]>> = Vec::new();
        let list = (0..=u8::MAX).map(|byte| {
            let may = patterns.iter().zip(0_u32..).filter(|(p, _)| p.may_begin(byte));
            let these: Box<[u32]> = may.map(|(_, index)| index).collect();
            lists.iter().position(|l| *l == these).unwrap_or_else(|| {
                lists.push(these);
                lists.len() - 1
            })
        });
        ByFirst { list: list.collect(), lists }
    }

    /// The patterns that may match `text`, none if it is empty.
    pub(super) fn of(&self, text: &str) -> &[u32] {
        let list = text.as_bytes().first().and_then(|byte| self.list.get(usize::from(*byte)));
        list.and_then(|at| self.lists.get(*at)).map_or(&[], |list| list)
    }
}

fn refuse(option: &'static str, index: usize, fault: Fault) -> FilterError {
    FilterError {
        option,
        index: u32::try_from(index).unwrap_or(u32::MAX),
        message: fault.message,
        position: fault.position,
        pattern: fault.pattern,
    }
}
