//! The matcher of one jail: blocks in, batches out.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use stockade_pattern::{Scratch, Slots};

use super::buffer::Line;
use super::date::{Bad, Choice};
use super::decode::LINE_BYTES_MAX;
use super::duration::duration;
use super::filter::Filter;
use super::notes::{Daily, Level, Note, Notes};
use super::overruns::{Overrun, Overruns};
use super::scanner::Sought;
use super::sessions::Sessions;
use crate::block::{Block, LineEnd, Position, Stamp};
use crate::failure::{Batch, Failure, GroupValue, Groups, Matches, Packer, Who};
use crate::id::FailureId;
use crate::jail::JailName;
use crate::text::repr;
use crate::time::{Span, Timestamp};

/// A last date older than this is not lent to a line without one.
const LAST_DATE: Span = Span::from_secs(60);
/// A date this far from the present is odd for a line that was just written.
pub(super) const ODD_DATE: Span = Span::from_secs(61);

/// How a line is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMode {
    /// Try every failregex and report each hit, as `fail2ban-regex` and the
    /// tests of filters do. Else the first one that hits decides.
    pub all: bool,
    /// Judge dates by the present and `findtime`. Off for old logs: each line counts at its own time.
    pub findtime: bool,
    /// Report hits whose address is not known yet, too.
    pub pending: bool,
    /// Sessions and date templates don't age, however the clock goes: reading an old log takes no time.
    pub ageless: bool,
    /// Keep what the patterns saw, in [`LineReport::seen`].
    pub show: bool,
}

impl LineMode {
    /// As the daemon does.
    pub const DAEMON: LineMode = LineMode { all: false, findtime: true, pending: false, ageless: false, show: false };
    /// Old logs: the daemon's hits, each at its own time.
    pub const SCAN: LineMode = LineMode { all: false, findtime: false, pending: false, ageless: true, show: false };
    /// Every failregex for itself.
    pub const ALL: LineMode = LineMode { all: true, findtime: false, pending: true, ageless: true, show: false };
}

/// The date found in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateSeen {
    /// What was cut, in bytes of the line; may be empty.
    pub span: Range<usize>,
    /// Index into [`Filter::date_templates`].
    pub template: usize,
    /// Its time; `None` if the text is no valid date.
    pub time: Option<Timestamp>,
}

/// One failregex that hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// 0-based index of the failregex.
    pub regex: u32,
    /// Who; `None` if it is not known yet (only with [`LineMode::pending`]).
    pub who: Option<Who>,
    /// The address, where the id is something else; text if it is no valid address.
    pub ip: Option<FailureId>,
    /// When; `None` if the line has no date and none could be lent.
    pub time: Option<Timestamp>,
    /// No failure by itself: the line only tells more of its session (only with [`LineMode::all`]).
    pub nofail: bool,
    /// All groups that are set, sorted by name.
    pub groups: Vec<(Arc<str>, GroupValue)>,
    /// The lines of the failure, oldest first, with their dates.
    pub matches: Vec<Box<str>>,
}

/// A [`Hit`] as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) regex: u32,
    pub(super) who: Option<Who>,
    pub(super) ip: Option<FailureId>,
    pub(super) time: Option<Timestamp>,
    pub(super) nofail: bool,
    /// Without those that say who failed, if [`Matcher::terse`] is set.
    pub(super) groups: Groups,
    pub(super) matches: Matches,
}

impl From<Found> for Hit {
    fn from(found: Found) -> Hit {
        let Found { regex, who, ip, time, nofail, groups, matches } = found;
        Hit { regex, who, ip, time, nofail, groups: groups.to_list(), matches: matches.into_vec() }
    }
}

/// All about one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineReport {
    /// The date found in the text.
    pub date: Option<DateSeen>,
    /// Left out because it is older than `findtime`.
    pub too_old: bool,
    /// The prefregex matched.
    pub prefregex: bool,
    /// Hits, in the order of the failregexes.
    pub hits: Vec<Hit>,
    /// The same, until somebody asks for [`LineReport::hits`].
    pub(super) found: Vec<Found>,
    /// 0-based indices of the ignoreregexes that hit.
    pub ignored: Vec<u32>,
    /// A pattern ran out of steps; whether it would have hit is not known.
    pub undecided: bool,
    /// What the patterns saw (only with [`LineMode::show`]).
    pub seen: Option<Box<Seen>>,
}

/// A line as the patterns saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Before the date, the date (its own or a lent one), behind the date.
    pub parts: [Box<str>; 3],
    /// What the prefregex saw, or the failregexes if there is none: with `maxlines` several lines.
    pub text: Box<str>,
}

/// How often and where one date template was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DateRank {
    /// Index into [`Filter::date_templates`].
    pub template: usize,
    /// How often it was taken.
    pub hits: u64,
    /// Where its last date began, in characters; `i32::MAX` before the first.
    pub distance: u32,
}

/// What a matcher has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines looked at.
    pub lines: u64,
    /// Failures reported.
    pub failures: u64,
    /// Hits that an ignoreregex took back.
    pub ignored: u64,
    /// Lines in which no date was found.
    pub undated: u64,
    /// Lines left out as older than `findtime`.
    pub too_old: u64,
    /// Searches that ran out of steps.
    pub exhausted: u64,
    /// Lines given up for an error (dates that cannot be, hits without any id).
    pub errors: u64,
    /// Lines with bytes that are no characters of the log's encoding.
    pub undecodable: u64,
    /// Lines over [`LINE_BYTES_MAX`], which were left out.
    pub long: u64,
}

/// A line divided at its date.
pub(super) struct Cut<'a> {
    pub(super) before: &'a str,
    pub(super) date: Cow<'a, str>,
    pub(super) behind: &'a str,
    /// `behind` with a line end, where the log has it so.
    pub(super) ended: Option<&'a str>,
    /// The line is known to be ASCII.
    pub(super) ascii: bool,
}

impl Cut<'_> {
    /// Does each literal that patterns may find in what is left stand in the line, too?
    ///
    /// So if nothing was cut from within, or no word was (see [`stockade_pattern::Hole`]).
    fn keeps_literals(&self) -> bool {
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || !b.is_ascii();
        match (self.before.as_bytes().last(), self.behind.as_bytes().first()) {
            (Some(left), Some(right)) => !word(left) && !word(right),
            _ => true,
        }
    }
}

/// How much of a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// All of it.
    Whole,
    /// All of it; its date is regular (see [`super::skip`]).
    Regular,
    /// Its date: it holds no literal that the patterns need. It is kept where lines are.
    Date,
}

impl LineReport {
    /// With its hits as they are shown.
    pub(super) fn shown(mut self) -> LineReport {
        self.hits = std::mem::take(&mut self.found).into_iter().map(Hit::from).collect();
        self
    }
}

/// A line without its end, and with it if that is a lone `\n`.
#[derive(Clone, Copy)]
struct Text<'a> {
    line: &'a str,
    ended: Option<&'a str>,
    /// It is known to be ASCII.
    ascii: bool,
}

impl<'a> Text<'a> {
    fn of(text: &'a str, ascii: bool) -> Text<'a> {
        let line = match text.as_bytes() {
            [.., last, b'\n'] if !matches!(last, b'\r' | b'\n') => text.get(..text.len() - 1).unwrap_or(text),
            _ => text.trim_end_matches(['\r', '\n']),
        };
        let ended = text.get(..line.len() + 1).filter(|t| t.ends_with('\n'));
        Text { line, ended, ascii }
    }
}

/// A line's time.
#[derive(Clone, Copy)]
pub(super) struct When {
    pub(super) time: Option<Timestamp>,
    /// The line itself has none.
    pub(super) missing: bool,
}

/// Finds failures in the lines of one jail. One line after the other; all
/// state that depends on their order is in here.
#[derive(Debug)]
pub struct Matcher {
    pub(super) jail: JailName,
    pub(super) filter: Arc<Filter>,
    epoch: u64,
    pub(super) choice: Choice,
    pub(super) sessions: Sessions,
    /// The last lines, for `maxlines` over 1.
    pub(super) buffer: Vec<Line>,
    /// By which needles it is known of them whether they matter.
    pub(super) sought: Option<Arc<Sought>>,
    /// The last date of any file of the jail, and its text.
    pub(super) last_date: Option<Timestamp>,
    pub(super) last_text: String,
    pub(super) notes: Notes,
    pub(super) counters: Counters,
    pub(super) scratch: Scratch,
    pub(super) slots: Slots,
    /// The groups of the prefregex while the failregexes are tried.
    pub(super) common: Slots,
    /// What the patterns see of the present line, where it is not seen in place.
    pub(super) text: String,
    pub(super) content: String,
    /// Patterns of the filter that ran out of steps.
    overruns: Overruns,
    /// Where the present line comes from, and the place behind it if that is a file.
    whence: Option<(Arc<str>, Option<u64>)>,
    /// Groups that say who failed are left out of what is found.
    pub(super) terse: bool,
    pub(super) packer: Packer,
    /// Room for what is found in the next line, and for its lines.
    found: Vec<Found>,
    pub(super) matched: Vec<Box<str>>,
}

impl Matcher {
    /// A matcher that has seen nothing yet. `epoch` is copied into its batches.
    pub fn new(jail: JailName, filter: Arc<Filter>, epoch: u64) -> Self {
        Matcher {
            jail,
            filter,
            epoch,
            choice: Choice::default(),
            sessions: Sessions::default(),
            buffer: Vec::new(),
            sought: None,
            last_date: None,
            last_text: String::new(),
            notes: Notes::default(),
            counters: Counters::default(),
            scratch: Scratch::new(),
            slots: Slots::new(),
            common: Slots::new(),
            text: String::new(),
            content: String::new(),
            overruns: Overruns::default(),
            whence: None,
            terse: false,
            packer: Packer::default(),
            found: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// The filter in use.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// Goes on with another filter, between two blocks.
    ///
    /// Kept, as the original keeps them over a reload: sessions, last date, line
    /// buffer, what was warned of today. The choice of date templates is kept if
    /// the templates are the same, else it starts anew. Which patterns ran out of
    /// steps is kept if the patterns are the same.
    pub fn swap(&mut self, filter: Arc<Filter>, epoch: u64) {
        let same = match (&self.filter.dates, &filter.dates) {
            (Some(old), Some(new)) => old.same(new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.choice = Choice::default();
        }
        if !same || !self.filter.same_patterns(&filter) {
            self.overruns.forget();
        }
        self.choice.forget_time();
        let over = self.buffer.len().saturating_sub(filter.maxlines);
        self.buffer.drain(..over);
        self.sought = None;
        self.filter = filter;
        self.epoch = epoch;
    }

    /// Finds the failures of one block, line by line.
    pub fn block(&mut self, now: Timestamp, block: &Block) -> Batch {
        let filter = Arc::clone(&self.filter);
        self.terse = true;
        let mut batch = self.empty_batch(block);
        for line in Lines::new(block, filter.encoding.line_end()) {
            batch.lines = batch.lines.saturating_add(1);
            let report = self.raw_line(&filter, now, block, &line, Care::Whole, LineMode::DAEMON);
            self.add_failures(now, block, &line, report, &mut batch.failures);
        }
        batch
    }

    /// What a block comes to if nothing is found in it.
    pub(super) fn empty_batch(&self, block: &Block) -> Batch {
        Batch {
            jail: self.jail.clone(),
            source: block.source.clone(),
            to: block.end.clone(),
            failures: Vec::new(),
            lines: 0,
            replay: block.replay,
            epoch: self.epoch,
        }
    }

    /// Decodes one line of a block and looks at it.
    pub(super) fn raw_line(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        block: &Block,
        line: &RawLine<'_>,
        care: Care,
        mode: LineMode,
    ) -> LineReport {
        let bytes = line.bytes;
        self.note_whence(block, line);
        if bytes.len() > LINE_BYTES_MAX {
            self.counters.long += 1;
            if self.notes.today(Daily::LongLine, now) {
                let text = format!(
                    "[{}] A line of {} bytes in {} is left out: cut, it could be made to end wherever its author wants.",
                    self.jail,
                    bytes.len(),
                    block.source
                );
                self.notes.say(Level::Warning, text);
            }
            return LineReport::default();
        }
        let stamp = line.stamp.map(|stamp| stamp.time);
        if let Some((text, ascii)) = line.text {
            return self.look(filter, now, Text::of(text, ascii), stamp, block.in_operation, mode, care);
        }
        let (text, whole) = filter.encoding.decode(bytes);
        if !whole {
            self.counters.undecodable += 1;
            self.notes.undecodable(&block.source.path, filter.encoding, bytes, now);
        }
        self.look(filter, now, Text::of(&text, false), stamp, block.in_operation, mode, care)
    }

    /// Keeps where a line comes from, for messages about it.
    fn note_whence(&mut self, block: &Block, line: &RawLine<'_>) {
        let end = match &block.begin {
            Position::Offset(begin) => Some(begin.saturating_add(u64::try_from(line.end).unwrap_or(0))),
            Position::Cursor { .. } => None,
        };
        match &mut self.whence {
            Some((source, at)) if Arc::ptr_eq(source, &block.source.path) => *at = end,
            whence => *whence = Some((Arc::clone(&block.source.path), end)),
        }
    }

    /// Adds what was found in a line of a block to its failures.
    pub(super) fn add_failures(
        &mut self,
        now: Timestamp,
        block: &Block,
        line: &RawLine<'_>,
        mut report: LineReport,
        failures: &mut Vec<Failure>,
    ) {
        // Mostly there is none or one, and taking it from the end costs least.
        report.found.reverse();
        while let Some(hit) = report.found.pop() {
            let Some(who) = hit.who else { continue };
            self.counters.failures += 1;
            failures.push(Failure {
                who,
                ip: hit.ip.as_ref().and_then(FailureId::net),
                time: hit.time.unwrap_or(now),
                regex: hit.regex,
                place: line.place(block),
                matches: hit.matches,
                groups: hit.groups,
            });
        }
        self.found = report.found;
    }

    /// Looks at one line of text (without its end).
    ///
    /// `stamp` is the time of a journal entry; without it the date is looked
    /// for in the text. `in_operation`: the line was just written, not found
    /// after a start.
    pub fn line(
        &mut self,
        now: Timestamp,
        text: &str,
        stamp: Option<Timestamp>,
        in_operation: bool,
        mode: LineMode,
    ) -> LineReport {
        let filter = Arc::clone(&self.filter);
        self.terse = false;
        self.look(&filter, now, Text { line: text, ended: None, ascii: false }, stamp, in_operation, mode, Care::Whole)
            .shown()
    }

    /// The way of a line through date, judgement of the date, and patterns.
    #[expect(clippy::too_many_arguments, reason = "the state of one line, passed once")]
    fn look(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        text: Text<'_>,
        stamp: Option<Timestamp>,
        in_operation: bool,
        mode: LineMode,
        care: Care,
    ) -> LineReport {
        let line = text.line;
        self.counters.lines += 1;
        let mut report = LineReport { found: std::mem::take(&mut self.found), ..LineReport::default() };
        let lent = mode.findtime && in_operation;
        let dated = match stamp {
            Some(time) => Ok(self.stamped(filter, text, time)),
            None => self.dated(filter, now, text, lent, mode.ageless, care, &mut report),
        };
        let (cut, mut when) = match dated {
            Ok(dated) => dated,
            Err(cause) => {
                self.counters.errors += 1;
                let text = format!("Failed to process line: {}, caught exception: {cause}", repr(line));
                self.notes.say(Level::Error, text);
                return report;
            }
        };
        if mode.findtime
            && let Some(time) = when.time
        {
            if in_operation {
                when.time = Some(self.not_odd(now, time, line));
            } else if time < now - filter.findtime {
                self.counters.too_old += 1;
                report.too_old = true;
                self.warn_old(filter, now, line);
                return report;
            }
        }
        let mut matters = care != Care::Date || !cut.keeps_literals();
        if filter.maxlines > 1 {
            self.keep(filter, &cut, matters);
            matters = self.awaits();
        }
        if matters {
            self.find(filter, now, &cut, when, mode, &mut report);
        }
        report
    }

    /// A journal entry: its time comes with it, and stands before its text.
    fn stamped<'a>(&mut self, filter: &Filter, text: Text<'a>, time: Timestamp) -> (Cut<'a>, When) {
        let shown = iso(filter, time);
        self.last_text.clone_from(&shown);
        self.last_date = Some(time);
        let cut = Cut { before: "", date: Cow::Owned(shown), behind: text.line, ended: text.ended, ascii: text.ascii };
        (cut, When { time: Some(time), missing: false })
    }

    /// Finds the date of a line and cuts it out; lends the last one or (if
    /// `lend_now`) the present to a line without.
    ///
    /// # Errors
    /// Why the line is given up.
    #[expect(clippy::too_many_arguments, reason = "the state of one line, passed once")]
    fn dated<'a>(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        text: Text<'a>,
        lend_now: bool,
        ageless: bool,
        care: Care,
        report: &mut LineReport,
    ) -> Result<(Cut<'a>, When), &'static str> {
        let line = text.line;
        let mut cut = Cut { before: "", date: Cow::Borrowed(""), behind: line, ended: text.ended, ascii: text.ascii };
        let mut time = None;
        let dated = filter.dates.as_ref().and_then(|templates| {
            let mut clock = filter.clock(now);
            if ageless {
                clock.wall = Timestamp::from_secs(0);
            }
            if care == Care::Regular
                && let Some(dated) = self.choice.look_regular(templates, line, &clock)
            {
                return Some(dated);
            }
            let (scratch, slots) = (&mut self.scratch, &mut self.slots);
            let lookup = self.choice.look(templates, scratch, slots, line, &clock);
            if let Some(template) = lookup.exhausted {
                report.undecided = true;
                let name = templates.describe().get(template).map(|t| Arc::clone(&t.name));
                self.overrun(now, "datepattern", template, name.as_deref().unwrap_or(""), line.len());
            }
            lookup.dated
        });
        let last = self.last_date.filter(|last| *last > now - LAST_DATE);
        if let Some(dated) = dated {
            let date = line.get(dated.cut.clone()).unwrap_or("");
            cut = Cut {
                before: line.get(..dated.cut.start).unwrap_or(""),
                date: Cow::Borrowed(date),
                behind: line.get(dated.cut.end..).unwrap_or(""),
                ended: text.ended.and_then(|t| t.get(dated.cut.end..)),
                ascii: text.ascii,
            };
            if date.is_empty() {
                // The template allows for no date, so none is missing.
                report.date = Some(DateSeen { span: dated.cut, template: dated.template, time: None });
                return Ok(match last {
                    Some(time) => (self.lend(text), When { time: Some(time), missing: false }),
                    None => (cut, When { time: Some(now), missing: false }),
                });
            }
            report.date = Some(DateSeen { span: dated.cut, template: dated.template, time: dated.time.ok() });
            match dated.time {
                Ok(found) => {
                    self.last_text.clear();
                    self.last_text.push_str(date);
                    self.last_date = Some(found);
                    return Ok((cut, When { time: Some(found), missing: false }));
                }
                Err(Bad::Unfit(cause)) => return Err(cause),
                Err(Bad::Invalid) => {
                    self.notes.say(Level::Error, format!("findFailure failed to parse timeText: {date}"));
                }
            }
        }
        self.counters.undated += 1;
        if let Some(last) = last {
            cut = self.lend(text);
            time = Some(last);
        } else if lend_now {
            time = Some(now);
        }
        Ok((cut, When { time, missing: true }))
    }

    /// The whole line with the last date before it.
    fn lend<'a>(&self, text: Text<'a>) -> Cut<'a> {
        Cut { before: "", date: Cow::Owned(self.last_text.clone()), behind: text.line, ended: text.ended, ascii: false }
    }

    /// A line that was just written happened now if its date is far from now.
    fn not_odd(&mut self, now: Timestamp, time: Timestamp, line: &str) -> Timestamp {
        let delta = time - now;
        if delta < ODD_DATE && Span::ZERO - delta < ODD_DATE {
            return time;
        }
        if self.notes.today(Daily::OddDate, now) {
            let jail = &self.jail;
            // Towards zero, as Python's int does.
            let secs = delta.micros() / 1_000_000;
            let problem = if (-3300..0).contains(&secs) { "latency" } else { "timezone" };
            let text = format!(
                "[{jail}] Detected a log entry {} {} the current time in operation mode. \
                 This looks like a {problem} problem. Treating such entries as if they just happened.",
                duration(secs.unsigned_abs()),
                if secs < 0 { "before" } else { "after" }
            );
            let which = format!("[{jail}] Please check a jail for a timing issue. Line with odd timestamp: {line}");
            self.notes.say(Level::Warning, text);
            self.notes.say(Level::Warning, which);
        }
        self.last_date = Some(now);
        now
    }

    /// Says once a day that old lines are left out.
    fn warn_old(&mut self, filter: &Filter, now: Timestamp, line: &str) {
        if self.notes.today(Daily::OldLine, now) {
            let jail = &self.jail;
            let text = format!(
                "[{jail}] Ignoring all log entries older than {}s; these are probably messages generated \
                 while fail2ban was not running.",
                filter.findtime.secs()
            );
            let which = format!("[{jail}] Please check a jail for a timing issue. Line with odd timestamp: {line}");
            self.notes.say(Level::Warning, text);
            self.notes.say(Level::Warning, which);
        }
    }

    /// Counts a search that ran out of steps, and says so of each pattern, with growing pauses.
    pub(super) fn overrun(&mut self, now: Timestamp, option: &'static str, index: usize, pattern: &str, bytes: usize) {
        self.counters.exhausted += 1;
        let Some(told) = self.overruns.count(now, &self.filter, (option, index), pattern) else { return };
        let whence = match &self.whence {
            Some((source, Some(end))) => format!(" in {source}, before byte {end}"),
            Some((source, None)) => format!(" in {source}"),
            None => String::new(),
        };
        let written = told.overrun.written.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let text = format!(
            "[{}] {option} {}{written} ran out of steps on a line of {bytes} bytes{whence}, so whether it hits is not \
             known ({} such searches since this was last said; silent about it for {} now): {pattern}",
            self.jail,
            index + 1,
            told.since,
            duration(told.pause.secs().unsigned_abs())
        );
        self.notes.say(Level::Error, text);
    }

    /// Patterns of the present filter that ran out of steps, in the order in which they first did.
    ///
    /// Kept over [`Matcher::swap`] to a filter with the same patterns.
    pub fn overruns(&self) -> Vec<Overrun> {
        self.overruns.list()
    }

    /// Takes what there is to log, in order.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many sessions are remembered at present.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How often each date template was taken, in their present order. Empty before the first line.
    pub fn date_ranks(&self) -> Vec<DateRank> {
        let ranks = self.choice.order.iter();
        ranks.map(|r| DateRank { template: r.template, hits: r.hits, distance: r.distance }).collect()
    }

    /// The lines that wait for others, for `maxlines` over 1, oldest first: without and with their date.
    pub fn waiting(&self) -> Vec<(Box<str>, Box<str>)> {
        self.buffer.iter().map(|line| (line.text.clone(), line.full.clone())).collect()
    }
}

/// The time as journal lines carry it: local, without zone, and a blank.
fn iso(filter: &Filter, time: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(time.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let at = filter.calendar.zone().to_datetime(at);
    let mut out = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    if time.subsec_micros() != 0 {
        out.push_str(&format!(".{:06}", time.subsec_micros()));
    }
    out.push(' ');
    out
}

/// The lines of a block, in order.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    at: usize,
    end: LineEnd,
    stamps: std::slice::Iter<'a, Stamp>,
}

/// One line of a block.
pub(super) struct RawLine<'a> {
    /// With its end.
    pub(super) bytes: &'a [u8],
    /// Offset behind it in the block.
    pub(super) end: usize,
    pub(super) stamp: Option<&'a Stamp>,
    /// As text, if that is known already, and whether it is ASCII.
    pub(super) text: Option<(&'a str, bool)>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(block: &'a Block, end: LineEnd) -> Self {
        Lines { rest: &block.text, at: 0, end, stamps: block.stamps.iter() }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = RawLine<'a>;

    fn next(&mut self) -> Option<RawLine<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let len = self.end.first(self.rest).unwrap_or(self.rest.len());
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        self.at += len;
        Some(RawLine { bytes, end: self.at, stamp: self.stamps.next(), text: None })
    }
}

impl RawLine<'_> {
    /// The place behind the line in its source.
    fn place(&self, block: &Block) -> Position {
        match (self.stamp, &block.begin) {
            (Some(stamp), _) => Position::Cursor { cursor: Arc::clone(&stamp.cursor), at: stamp.time },
            (None, Position::Offset(begin)) => {
                Position::Offset(begin.saturating_add(u64::try_from(self.end).unwrap_or(u64::MAX)))
            }
            (None, Position::Cursor { .. }) => block.end.clone(),
        }
    }
}
