//! From the captured parts of a date to a point in time.
//!
//! Source: fail2ban `server/strptime.py`, `reGroupDictStrptime`: fractions are
//! dropped, a date without a year is of this year or, if that lies more than a
//! day ahead, of the last one; a date without month and day is today or
//! yesterday.

use jiff::civil;
use jiff::tz::TimeZone;

use super::zones;
use crate::time::Timestamp;

/// What a named group of a date template means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Year2,
    Month,
    MonthName,
    Day,
    Hour,
    Hour12,
    AmPm,
    Minute,
    Second,
    Weekday,
    WeekdayName,
    YearDay,
    WeekSunday,
    WeekMonday,
    Zone,
    ZoneName,
    /// The number of an epoch format.
    Epoch,
}

/// How many fields there are.
const FIELDS: usize = 18;

impl Field {
    /// The field that a group of this name fills, if any.
    pub(super) fn of_group(name: &str) -> Option<Field> {
        Some(match name {
            "Y" => Field::Year,
            "y" => Field::Year2,
            "m" => Field::Month,
            "b" | "B" => Field::MonthName,
            "d" => Field::Day,
            "H" => Field::Hour,
            "I" => Field::Hour12,
            "p" => Field::AmPm,
            "M" => Field::Minute,
            "S" => Field::Second,
            "w" => Field::Weekday,
            "a" | "A" => Field::WeekdayName,
            "j" => Field::YearDay,
            "U" => Field::WeekSunday,
            "W" => Field::WeekMonday,
            "z" => Field::Zone,
            "Z" => Field::ZoneName,
            _ => return None,
        })
    }
}

/// Where each field stands in the line, in bytes. Of two groups of one meaning the later one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields([Option<(u32, u32)>; FIELDS]);

impl Fields {
    /// Notes a field.
    pub(super) fn set(&mut self, field: Field, start: usize, end: usize) {
        if let (Some(slot), Ok(start), Ok(end)) =
            (self.0.get_mut(field as usize), u32::try_from(start), u32::try_from(end))
        {
            *slot = Some((start, end));
        }
    }

    /// Where a field stands, if the line has it.
    pub(super) fn extent(&self, field: Field) -> Option<(usize, usize)> {
        let (start, end) = (*self.0.get(field as usize)?)?;
        Some((usize::try_from(start).ok()?, usize::try_from(end).ok()?))
    }

    /// The text of a field, if the line has it.
    pub(super) fn text<'t>(&self, field: Field, line: &'t str) -> Option<&'t str> {
        let (start, end) = self.extent(field)?;
        line.get(start..end)
    }
}

/// What is known beside the line.
pub(in super::super) struct Clock<'a> {
    /// The present that dates are judged by.
    pub(in super::super) now: Timestamp,
    /// The clock on the wall, by which templates come out of use.
    pub(in super::super) wall: Timestamp,
    /// The local zone.
    pub(in super::super) zone: &'a TimeZone,
    /// Minutes east that `logtimezone` names, for dates without a zone of their own.
    pub(in super::super) offset: Option<i32>,
}

/// Why a text that matched a template is no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Bad {
    /// A field out of its range, 30 February and the like: the line counts as undated.
    Invalid,
    /// The parts cannot make a date at all (a month without a day): the original
    /// gives up the whole line.
    Unfit(&'static str),
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The time of the date whose fields are `fields` of `line`.
pub(super) fn time(line: &str, fields: &Fields, clock: &Clock<'_>) -> Result<Timestamp, Bad> {
    let number = |field| fields.text(field, line).map(number).transpose();
    let stated_year = match (number(Field::Year)?, number(Field::Year2)?) {
        (Some(year), _) => Some(year),
        (None, Some(year)) => Some(if year <= 2000 { year + 2000 } else { year }),
        (None, None) => None,
    };
    let hour = match number(Field::Hour)? {
        Some(hour) => hour,
        None => hour12(number(Field::Hour12)?, fields.text(Field::AmPm, line))?,
    };
    let minute = number(Field::Minute)?.unwrap_or(0);
    let second = number(Field::Second)?.unwrap_or(0);
    let mut month = number(Field::Month)?;
    if let Some(name) = fields.text(Field::MonthName, line) {
        month = Some(index(&MONTHS, name)? + 1);
    }
    let mut day = number(Field::Day)?;
    let offset = stated_offset(line, fields)?.or(clock.offset);

    let mut local_now = None;
    let mut local_now = || *local_now.get_or_insert_with(|| local(clock.now, clock.zone));
    let assumed_year = stated_year.is_none();
    let mut year = stated_year.unwrap_or_else(|| i32::from(local_now().year()));
    if month.is_none() || day.is_none() {
        let yearday = match number(Field::YearDay)? {
            Some(yearday) => Some(yearday),
            None => week_day(line, fields, year)?,
        };
        if let Some(yearday) = yearday {
            let first = date(year, 1, 1)?;
            let found = first.checked_add(jiff::Span::new().days(i64::from(yearday) - 1)).map_err(|_| Bad::Invalid)?;
            year = i32::from(found.year());
            (month, day) = (Some(i32::from(found.month())), Some(i32::from(found.day())));
        }
    }
    let mut assumed_today = false;
    let (month, day) = match (month, day) {
        (Some(month), Some(day)) => (month, day),
        (None, None) => {
            assumed_today = true;
            (i32::from(local_now().month()), i32::from(local_now().day()))
        }
        _ => return Err(Bad::Unfit("a month without a day, or a day without a month")),
    };
    let mut moment = date(year, month, day)?.to_datetime(time_of_day(hour, minute, second)?);
    if let Some(minutes) = offset {
        moment = moment.checked_sub(jiff::Span::new().minutes(minutes)).map_err(|_| Bad::Invalid)?;
    }
    // Both comparisons set a UTC reading against the local one where a zone was
    // applied, and so are off by the zone; the original does the same.
    if assumed_today && moment > local_now() {
        moment = moment.checked_sub(jiff::Span::new().days(1)).map_err(|_| Bad::Invalid)?;
    }
    if assumed_year && local_now().checked_add(jiff::Span::new().days(1)).is_ok_and(|tomorrow| moment > tomorrow) {
        moment = date(year - 1, month, day)?.to_datetime(moment.time());
    }
    let zone = if offset.is_some() { &TimeZone::UTC } else { clock.zone };
    let at = zone.to_ambiguous_timestamp(moment).compatible().map_err(|_| Bad::Invalid)?;
    Ok(Timestamp::from_secs(at.as_second()))
}

/// The local wall clock at `now`.
fn local(now: Timestamp, zone: &TimeZone) -> civil::DateTime {
    let now = jiff::Timestamp::from_microsecond(now.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zone.to_datetime(now)
}

/// A number of at most four digits; `%d` may bring a leading blank.
fn number(text: &str) -> Result<i32, Bad> {
    let digits = text.trim_start_matches(' ');
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return unicode_number(digits);
    }
    Ok(digits.bytes().fold(0, |sum, b| sum * 10 + i32::from(b - b'0')))
}

/// `\d` also matches digits of other scripts, and Python reads them.
fn unicode_number(digits: &str) -> Result<i32, Bad> {
    if digits.is_empty() || digits.chars().count() > 4 {
        return Err(Bad::Invalid);
    }
    digits.chars().try_fold(0, |sum, c| Ok(sum * 10 + super::digits::value(c).ok_or(Bad::Invalid)?))
}

/// Place of a name in a list; the first three letters decide where the line has only these.
fn index(names: &[&str], name: &str) -> Result<i32, Bad> {
    let name = name.to_lowercase();
    let found = names.iter().position(|full| *full == name || full.get(..3) == Some(name.as_str()));
    found.and_then(|at| i32::try_from(at).ok()).ok_or(Bad::Invalid)
}

/// Hour of a 12-hour clock; without am or pm it is taken for am.
fn hour12(hour: Option<i32>, ampm: Option<&str>) -> Result<i32, Bad> {
    let Some(hour) = hour else { return Ok(0) };
    match ampm.map(str::to_lowercase).as_deref() {
        None | Some("am") => Ok(if hour == 12 { 0 } else { hour }),
        Some("pm") => Ok(if hour == 12 { 12 } else { hour + 12 }),
        Some(_) => Err(Bad::Invalid),
    }
}

/// Minutes east that the line itself states.
fn stated_offset(line: &str, fields: &Fields) -> Result<Option<i32>, Bad> {
    let Some(zone) = fields.text(Field::ZoneName, line).or_else(|| fields.text(Field::Zone, line)) else {
        return Ok(None);
    };
    zones::offset_minutes(zone).map(Some).ok_or(Bad::Invalid)
}

/// Day of the year from a week number and a weekday, if the line has both; may lie outside the year.
fn week_day(line: &str, fields: &Fields, year: i32) -> Result<Option<i32>, Bad> {
    let (week, monday_first) = match (fields.text(Field::WeekSunday, line), fields.text(Field::WeekMonday, line)) {
        (_, Some(week)) => (number(week)?, true),
        (Some(week), None) => (number(week)?, false),
        (None, None) => return Ok(None),
    };
    let mut weekday = match (fields.text(Field::Weekday, line), fields.text(Field::WeekdayName, line)) {
        (Some(digit), _) => (number(digit)? + 6) % 7,
        (None, Some(name)) => index(&WEEKDAYS, name)?,
        (None, None) => return Ok(None),
    };
    let mut first = i32::from(date(year, 1, 1)?.weekday().to_monday_zero_offset());
    if !monday_first {
        first = (first + 1) % 7;
        weekday = (weekday + 1) % 7;
    }
    let head = (7 - first) % 7;
    Ok(Some(if week == 0 { 1 + weekday - first } else { 1 + head + 7 * (week - 1) + weekday }))
}

/// A day of the years 1 to 9999.
fn date(year: i32, month: i32, day: i32) -> Result<civil::Date, Bad> {
    if year < 1 {
        return Err(Bad::Invalid);
    }
    let (year, month, day) = (i16::try_from(year), i8::try_from(month), i8::try_from(day));
    let (Ok(year), Ok(month), Ok(day)) = (year, month, day) else { return Err(Bad::Invalid) };
    civil::Date::new(year, month, day).map_err(|_| Bad::Invalid)
}

/// A time of day without leap seconds.
fn time_of_day(hour: i32, minute: i32, second: i32) -> Result<civil::Time, Bad> {
    let (hour, minute, second) = (i8::try_from(hour), i8::try_from(minute), i8::try_from(second));
    let (Ok(hour), Ok(minute), Ok(second)) = (hour, minute, second) else { return Err(Bad::Invalid) };
    civil::Time::new(hour, minute, second, 0).map_err(|_| Bad::Invalid)
}

/// Time of an epoch number. `long` numbers of 13 to 15 characters (or with a
/// point) are milliseconds, of 16 and more microseconds.
pub(super) fn epoch(text: &str, long: bool) -> Result<Timestamp, Bad> {
    let plain: String;
    let text = if text.is_ascii() {
        text
    } else {
        plain = text
            .chars()
            .map(|c| match super::digits::value(c) {
                Some(digit) => u32::try_from(digit).ok().and_then(|d| char::from_digit(d, 10)).unwrap_or(c),
                None => c,
            })
            .collect();
        &plain
    };
    let value: f64 = text.parse().map_err(|_| Bad::Invalid)?;
    let scale = match text.len() {
        0..13 => 1.0,
        _ if !long => 1.0,
        16.. if !text.contains('.') => 1e6,
        _ => 1e3,
    };
    Ok(Timestamp::from_secs_f64(value / scale))
}

/// Time of a TAI64N label `@` and 24 hex digits: the low part of the seconds as
/// they stand, without leap seconds, as the original reads them.
pub(super) fn tai64n(text: &str) -> Result<Timestamp, Bad> {
    let digits = text.get(2..17).ok_or(Bad::Invalid)?;
    i64::from_str_radix(digits, 16).map(Timestamp::from_secs).map_err(|_| Bad::Invalid)
}
