//! Dates in log lines: which templates there are, which of them is taken for a
//! line, and what time it states.
//!
//! Source: fail2ban `server/datedetector.py`, `datetemplate.py`, `strptime.py`.

mod choice;
mod convert;
mod digits;
mod directives;
mod fast;
mod sketch;
mod survey;
mod template;
pub(crate) mod zones;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use jiff::tz::TimeZone;

pub(super) use choice::{Choice, Edge, Rank};
pub(super) use convert::{Bad, Clock};
use fast::{Place, Shape};
use sketch::Need;
pub(super) use survey::Survey;
use template::Fault;
pub(super) use template::Template;

use super::known::Known;

/// The patterns that are tried when a filter names none, in this order.
///
/// Each that is not bound to the line's begin is tried there first, see [`defaults`].
#[rustfmt::skip]
const DEFAULTS: [&str; 17] = [
    r"%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
    r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?",
    r"%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S",
    r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
    r"%m/%d/%ExY:%H:%M:%S",
    r"%m-%d-%ExY %k:%M:%S(?:\.%f)?",
    r"EPOCH",
    r"{^LN-BEG}%H:%M:%S",
    r"^<%m/%d/%Exy@%H:%M:%S>",
    r"%Exy%Exm%Exd  ?%H:%M:%S",
    r"%b %d, %ExY %I:%M:%S %p",
    r"^%b-%d-%Exy %k:%M:%S",
    r"%ExY%Exm%Exd(?:-|T|  ?)%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?",
    r"(?:%Z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    r"(?:%z )?(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?",
    r"TAI64N",
];

/// How filters for access logs find dates: behind the line's first bracket.
const BRACKETED: &str = r"^[^\[]*\[({DATE})";

/// Lists of templates by the `datepattern` that stands for each; kept by the filters.
type Written = BTreeMap<Box<str>, Weak<[Arc<Template>]>>;

/// What dates are judged by beside their text: the local zone and the year.
///
/// Made once by the daemon and shared by all filters, so that the default
/// templates, and all patterns of the same text, exist once.
#[derive(Debug)]
pub struct Calendar {
    zone: TimeZone,
    year: i16,
    defaults: OnceLock<Arc<[Arc<Template>]>>,
    /// The templates of each `datepattern` that some filter has.
    written: Mutex<Written>,
    known: Known,
}

impl Calendar {
    /// `zone` is the local zone, for dates that state none; `year` the current
    /// one: a template accepts years from 2000 to three years ahead of it.
    pub fn new(zone: TimeZone, year: i16) -> Arc<Self> {
        let (written, known) = (Mutex::default(), Known::default());
        Arc::new(Calendar { zone, year, defaults: OnceLock::new(), written, known })
    }

    /// The local zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The regexes of all filters.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// The default templates.
    fn defaults(&self) -> &Arc<[Arc<Template>]> {
        self.defaults.get_or_init(|| defaults(self.year))
    }
}

/// All 31 default templates: first those of [`DEFAULTS`] that are not bound to
/// the line's begin, bound to it and preferred; then all as they are.
fn defaults(year: i16) -> Arc<[Arc<Template>]> {
    let anchored = DEFAULTS.iter().filter(|pattern| !pattern.starts_with("{^LN-BEG}") && !pattern.starts_with('^'));
    let anchored = anchored.filter_map(|pattern| default(&format!("{{^LN-BEG}}{pattern}"), year));
    let plain = DEFAULTS.iter().filter_map(|pattern| default(pattern, year));
    anchored.map(Template::preferred).chain(plain).map(Arc::new).collect()
}

/// One default template, with a short way where there is one.
fn default(pattern: &str, year: i16) -> Option<Template> {
    let template = Template::make(pattern, year).ok()?;
    let bare = pattern.strip_prefix("{^LN-BEG}").unwrap_or(pattern);
    let index = DEFAULTS.iter().position(|p| *p == bare || *p == pattern)?;
    let begin = template.anchored;
    let template = template.with_need(Need::of(index, begin));
    let place = if begin { Place::Line } else { Place::Word };
    Some(with_short_way(template, index, place, year))
}

/// The template with a short way, if there is one for the default pattern of this index.
fn with_short_way(template: Template, index: usize, place: Place, year: i16) -> Template {
    let shape = match index {
        0 => Shape::Iso,
        1 => Shape::Syslog,
        4 => Shape::Access,
        _ => return template,
    };
    template.with_short_way(shape, place, directives::last_decade(year))
}

/// The date templates of one filter, in their first order.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    list: Arc<[Arc<Template>]>,
}

/// One template, as reports name it.
#[derive(Clone, Debug, PartialEq)]
pub struct DateTemplate {
    /// In words, such as `Day/MON/ExYear`.
    pub name: Arc<str>,
    /// The pattern with its `%` directives; `None` for epoch and TAI64N forms.
    pub pattern: Option<Arc<str>>,
    /// The regular expression in use.
    pub regex: Box<str>,
    /// What a hit weighs: 100 for defaults that are tried at the line's begin first, else 1.
    pub weight: f64,
}

impl Templates {
    /// The default templates.
    pub(super) fn default(calendar: &Calendar) -> Self {
        Templates { list: Arc::clone(calendar.defaults()) }
    }

    /// The templates of a `datepattern`: one pattern per line, blank lines left
    /// out. `{DEFAULT}` has an effect only if no other pattern is there, as in the original.
    ///
    /// # Errors
    /// Which pattern (counted from 0) has what fault.
    pub(super) fn parse(text: &str, calendar: &Calendar) -> Result<Self, (u32, Fault)> {
        let written = || calendar.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = written().get(text).and_then(Weak::upgrade) {
            return Ok(Templates { list });
        }
        let new = Self::read(text, calendar)?;
        let mut written = written();
        written.retain(|_, list| list.strong_count() > 0);
        written.insert(text.into(), Arc::downgrade(&new.list));
        Ok(new)
    }

    fn read(text: &str, calendar: &Calendar) -> Result<Self, (u32, Fault)> {
        let mut list: Vec<Arc<Template>> = Vec::new();
        let patterns = text.lines().map(str::trim).filter(|line| !line.is_empty());
        for (pattern, index) in patterns.zip(0..) {
            add(&mut list, pattern, calendar).map_err(|fault| (index, fault))?;
        }
        if list.is_empty() {
            return Ok(Self::default(calendar));
        }
        Ok(Templates { list: list.into() })
    }

    /// All templates as reports name them, in their first order.
    pub(super) fn describe(&self) -> Vec<DateTemplate> {
        let one = |t: &Arc<Template>| DateTemplate {
            name: Arc::clone(&t.name),
            pattern: t.pattern.clone(),
            regex: t.regex.clone(),
            weight: t.weight,
        };
        self.list.iter().map(one).collect()
    }

    /// Do both hold the same templates, so that a choice made with one fits the other?
    pub(super) fn same(&self, other: &Templates) -> bool {
        Arc::ptr_eq(&self.list, &other.list)
            || (self.list.len() == other.list.len()
                && self.list.iter().zip(other.list.iter()).all(|(a, b)| a.regex == b.regex && a.name == b.name))
    }

    /// A number that tells sets of templates apart, for snapshots.
    pub(super) fn fingerprint(&self) -> u64 {
        let bytes = self.list.iter().flat_map(|t| t.regex.bytes().chain([0]));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    fn get(&self, index: usize) -> Option<&Arc<Template>> {
        self.list.get(index)
    }
}

/// Adds what one pattern stands for to the list.
fn add(list: &mut Vec<Arc<Template>>, pattern: &str, calendar: &Calendar) -> Result<(), Fault> {
    let upper = if pattern.contains('%') { String::new() } else { pattern.to_uppercase() };
    // The defaults pass over what is there already; a single pattern given twice is a mistake.
    let lenient = !list.is_empty();
    let mut put = |template: Arc<Template>, lenient: bool| {
        if !list.iter().any(|t| t.name == template.name) {
            list.push(template);
        } else if !lenient {
            return Err(Fault {
                message: format!("the template {:?} is there already", template.name),
                position: None,
            });
        }
        Ok(())
    };
    if upper == "{DEFAULT}" {
        // Meant to add the defaults, but the original adds nothing here; an empty
        // list then stands for the defaults, so that it works alone, not beside others.
        return Ok(());
    }
    if upper == "{^LN-BEG}" {
        for template in calendar.defaults().iter().filter(|t| t.anchored) {
            put(Arc::clone(template), lenient)?;
        }
        return Ok(());
    }
    if upper.contains("{DATE}") || pattern.contains("{DATE}") {
        for (index, default) in DEFAULTS.into_iter().enumerate() {
            // Epoch and TAI64N have no pattern of directives; the original puts their names in the place.
            let inner = match default {
                "EPOCH" => "Epoch",
                pattern => template::unbound(pattern),
            };
            let whole = template::replace_tag(pattern, "{DATE}", inner);
            let mut template = Template::parse(&whole, calendar.year)?;
            if pattern == BRACKETED {
                template = with_short_way(template, index, Place::Bracket, calendar.year);
            }
            put(Arc::new(template), lenient)?;
        }
        return Ok(());
    }
    put(Arc::new(Template::parse(pattern, calendar.year)?), false)
}

#[cfg(test)]
mod tests;
