//! Points in time, lengths of time, and how long a ban lasts.

use std::fmt;
use std::ops::{Add, Sub};

/// A point in time: microseconds since the Unix epoch, UTC, may be negative.
///
/// Log lines mostly carry whole seconds; epoch formats and the journal keep
/// their fractions. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A length of time in microseconds, may be negative. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

const MICROS: i64 = 1_000_000;

impl Timestamp {
    /// The largest representable time; stands for "never".
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(MICROS))
    }

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// From seconds with a fraction, rounded to the nearest microsecond.
    #[expect(clippy::cast_possible_truncation, reason = "float casts saturate, which is what we want")]
    pub fn from_secs_f64(secs: f64) -> Self {
        Timestamp((secs * 1e6).round() as i64)
    }

    /// Whole seconds, rounded towards minus infinity.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Microseconds within the second, `0..1_000_000`.
    pub const fn subsec_micros(self) -> i64 {
        self.0.rem_euclid(MICROS)
    }

    /// Seconds with the fraction.
    #[expect(clippy::cast_precision_loss, reason = "times of this age fit 53 bits")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whole seconds, rounded half to even as Python's `round` does.
    ///
    /// Source: fail2ban stores `timeofban` as `int(round(time))`.
    pub const fn secs_rounded(self) -> i64 {
        let floor = self.secs();
        let rest = self.subsec_micros();
        if rest > MICROS / 2 || (rest == MICROS / 2 && floor % 2 != 0) { floor + 1 } else { floor }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// From whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Span(secs.saturating_mul(MICROS))
    }

    /// From microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Span(micros)
    }

    /// From seconds with a fraction, rounded to the nearest microsecond.
    #[expect(clippy::cast_possible_truncation, reason = "float casts saturate, which is what we want")]
    pub fn from_secs_f64(secs: f64) -> Self {
        Span((secs * 1e6).round() as i64)
    }

    /// Whole seconds, rounded towards minus infinity.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds with the fraction.
    #[expect(clippy::cast_precision_loss, reason = "spans of interest fit 53 bits")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// As a [`std::time::Duration`]; a negative span gives zero.
    pub fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_micros(u64::try_from(self.0).unwrap_or(0))
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(rhs.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, rhs: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(rhs.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, rhs: Timestamp) -> Span {
        Span(self.0.saturating_sub(rhs.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, rhs: Span) -> Span {
        Span(self.0.saturating_add(rhs.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, rhs: Span) -> Span {
        Span(self.0.saturating_sub(rhs.0))
    }
}

/// How long a ban lasts. fail2ban's `-1` is [`BanTime::Permanent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BanTime {
    /// Until somebody lifts it.
    Permanent,
    /// This long, counted from the time of the last counted failure.
    For(Span),
}

impl BanTime {
    /// The end of a ban that began at `start`; [`Timestamp::MAX`] if it has none.
    pub fn end(self, start: Timestamp) -> Timestamp {
        match self {
            BanTime::Permanent => Timestamp::MAX,
            BanTime::For(span) => start + span,
        }
    }

    /// As fail2ban writes it: seconds, `-1` for a permanent ban.
    pub fn secs(self) -> i64 {
        match self {
            BanTime::Permanent => -1,
            BanTime::For(span) => span.secs(),
        }
    }

    /// From fail2ban's number of seconds: any negative number is permanent.
    pub fn from_secs_f64(secs: f64) -> Self {
        if secs < 0.0 { BanTime::Permanent } else { BanTime::For(Span::from_secs_f64(secs)) }
    }
}

impl fmt::Display for BanTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BanTime::Permanent => f.write_str("permanent"),
            BanTime::For(span) => write!(f, "{} s", span.secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_half_to_even() {
        for (micros, secs) in [(1_500_000, 2), (2_500_000, 2), (2_500_001, 3), (2_499_999, 2), (-500_000, 0)] {
            assert_eq!(Timestamp::from_micros(micros).secs_rounded(), secs, "{micros}");
        }
    }

    #[test]
    fn a_permanent_ban_has_no_end() {
        assert_eq!(BanTime::Permanent.end(Timestamp::from_secs(5)), Timestamp::MAX);
        assert_eq!(BanTime::from_secs_f64(-1.0), BanTime::Permanent);
        assert_eq!(BanTime::from_secs_f64(2.5).end(Timestamp::from_secs(1)).micros(), 3_500_000);
    }
}
