//! The dates of a whole block, read at once for lines that nothing else needs.

use std::sync::Arc;

use super::convert::{Clock, Field};
use super::fast::Place;
use super::template::Template;
use crate::time::{Span, Timestamp};

/// What the lines of a text have as their dates, if all are of one template.
///
/// A line is *regular* if the template's short way reads its date and that is
/// a valid time. On a regular line the template's search finds just that,
/// whatever else the line holds.
#[derive(Debug)]
pub(in super::super) struct Survey {
    /// None for a journal, whose entries bring their time with them.
    template: Option<Arc<Template>>,
    now: Timestamp,
    offset: Option<i32>,
    /// Number of all lines.
    pub(in super::super) lines: u32,
    /// Lines that are not regular, in order, line ends included.
    pub(in super::super) odd: Vec<(u32, u32)>,
    /// The earliest and the latest time of the regular lines.
    pub(in super::super) times: Option<(Timestamp, Timestamp)>,
    /// Where each regular line begins, and where it goes on behind its date, if it begins with that.
    /// Empty if nobody asked for it.
    pub(in super::super) ends: Vec<(u32, Option<u32>)>,
}

/// A date that was read, for comparison with that of the next line. Places
/// are counted from where the date is sought.
#[derive(Default)]
struct Last<'t> {
    /// All up to two bytes behind the date; empty if nothing was read yet.
    head: &'t [u8],
    /// Where its seconds are.
    seconds: usize,
    /// Where it begins and ends.
    start: usize,
    end: usize,
    /// The zone that it states.
    zone: Option<&'t [u8]>,
    /// The time of its minute.
    minute: Timestamp,
}

impl Survey {
    /// Reads the dates of all lines; `None` if the template has no short way. Notes where they end, if `headed`.
    pub(in super::super) fn of(
        text: &[u8],
        template: &Arc<Template>,
        clock: &Clock<'_>,
        headed: bool,
    ) -> Option<Survey> {
        template.fast()?;
        let mut survey = Survey {
            template: Some(Arc::clone(template)),
            now: clock.now,
            offset: clock.offset,
            lines: 0,
            odd: Vec::new(),
            times: None,
            ends: Vec::new(),
        };
        let mut last = Last::default();
        let bracket = template.fast()?.place == Place::Bracket;
        let mut from = 0;
        while from < text.len() {
            let rest = text.get(from..).unwrap_or_default();
            let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = rest.get(..len).unwrap_or_default();
            survey.lines += 1;
            let repeats = survey.repeats(&mut last, line, bracket);
            let cut = if repeats { Some((last.start, last.end)) } else { survey.read(line, &mut last, clock) };
            match cut {
                None => survey.odd.push((u32::try_from(from).ok()?, u32::try_from(from + len).ok()?)),
                Some((start, end)) if headed => {
                    let first = start == 0 && !bracket;
                    let end = if first { Some(u32::try_from(from + end).ok()?) } else { None };
                    survey.ends.push((u32::try_from(from).ok()?, end));
                }
                Some(_) => {}
            }
            from += len;
        }
        Some(survey)
    }

    /// That of journal entries: their number, the earliest and the latest time.
    pub(in super::super) fn of_journal(lines: u32, times: Option<(Timestamp, Timestamp)>) -> Survey {
        Survey {
            template: None,
            now: Timestamp::default(),
            offset: None,
            lines,
            odd: Vec::new(),
            times,
            ends: Vec::new(),
        }
    }

    /// Was it made with this template and this clock? Zones are the same for all of a calendar.
    pub(in super::super) fn is_of(&self, template: &Arc<Template>, clock: &Clock<'_>) -> bool {
        self.template.as_ref().is_some_and(|own| Arc::ptr_eq(own, template))
            && self.now == clock.now
            && self.offset == clock.offset
    }

    fn note(&mut self, time: Timestamp) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
    }

    /// Has the line the same date as the last one, but for the seconds?
    ///
    /// The short way looks at no byte beyond the two behind a date.
    #[inline]
    fn repeats<'t>(&mut self, last: &mut Last<'t>, line: &'t [u8], bracket: bool) -> bool {
        if last.head.is_empty() {
            return false;
        }
        let from = if bracket {
            let Some(at) = memchr::memchr(b'[', line) else { return false };
            at + 1
        } else {
            0
        };
        let Some(head) = line.get(from..from + last.head.len()) else { return false };
        same(head, last.head) || self.differs_in_seconds(last, head)
    }

    fn differs_in_seconds<'t>(&mut self, last: &mut Last<'t>, head: &'t [u8]) -> bool {
        let (Some((minute, tail)), Some((last_minute, last_tail))) =
            (head.split_at_checked(last.seconds), last.head.split_at_checked(last.seconds))
        else {
            return false;
        };
        let ([tens @ b'0'..=b'5', ones @ b'0'..=b'9', behind @ ..], [_, _, last_behind @ ..]) = (tail, last_tail)
        else {
            return false;
        };
        if minute != last_minute || behind != last_behind {
            return false;
        }
        let seconds = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
        self.note(last.minute + Span::from_secs(seconds));
        last.head = head;
        true
    }

    /// Where in a line the date is sought.
    fn place(&self, line: &[u8]) -> Option<usize> {
        if self.template.as_ref()?.fast()?.place == Place::Bracket {
            Some(memchr::memchr(b'[', line)? + 1)
        } else {
            Some(0)
        }
    }

    /// Reads a date that is another one, which begins and ends there.
    fn read<'t>(&mut self, line: &'t [u8], last: &mut Last<'t>, clock: &Clock<'_>) -> Option<(usize, usize)> {
        let line = line.without_end();
        let found = self.template.as_ref()?.fast()?.find(line, &(0..line.len()))?;
        let from = self.place(line)?;
        let (seconds, _) = found.fields.extent(Field::Second)?;
        let this = Last {
            head: line.get(from..found.cut.end + 2).unwrap_or_default(),
            seconds: seconds - from,
            start: found.cut.start - from,
            end: found.cut.end - from,
            zone: found.fields.extent(Field::Zone).and_then(|(start, end)| line.get(start..end)),
            minute: last.minute,
        };
        let same = (this.seconds, this.end, this.zone) == (last.seconds, last.end, last.zone)
            && !last.head.is_empty()
            && this.head.get(..this.seconds) == last.head.get(..last.seconds);
        if same {
            let text = line.get(seconds..seconds + 2)?;
            let number = text.iter().fold(0_i64, |sum, b| sum * 10 + i64::from(b.saturating_sub(b'0')));
            self.note(last.minute + Span::from_secs(number));
            *last = this;
            return Some((found.cut.start, found.cut.end));
        }
        *last = Last::default();
        let time = |text: &[u8]| -> Option<Timestamp> {
            let text = std::str::from_utf8(text).ok()?;
            self.template.as_ref()?.time(text, &found, clock).ok()
        };
        let date = line.get(..found.cut.end)?;
        let at = time(date)?;
        let minute = std::str::from_utf8(date).ok().and_then(|date| {
            let template = self.template.as_ref()?;
            template.minute(date, &found, seconds, clock)
        });
        if let Some(minute) = minute {
            *last = Last { minute, ..this };
        }
        self.note(at);
        Some((found.cut.start, found.cut.end))
    }
}

/// Are two pieces of the same length equal? For pieces so short that a call would cost more than the look.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    let (mut ones, mut others) = (one.chunks_exact(8), other.chunks_exact(8));
    let differ = |(a, b): (&[u8], &[u8])| a.first_chunk::<8>() != b.first_chunk::<8>();
    if ones.by_ref().zip(others.by_ref()).any(differ) {
        return false;
    }
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(a), Some(b)) => a == b,
        _ => ones.remainder() == others.remainder(),
    }
}

/// A line without its end.
trait Ended {
    fn without_end(&self) -> &[u8];
}

impl Ended for [u8] {
    fn without_end(&self) -> &[u8] {
        let keep = self.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
        self.get(..keep).unwrap_or_default()
    }
}
