//! Longer bans for known offenders (`bantime.increment`).

use super::formula::{Error, Names, Number};
use super::spec::Increment;
use crate::time::{BanTime, Span};

/// One failure of an id with `count` earlier bans counts as this many; the flag
/// says whether `maxretry` cut it.
///
/// Source: fail2ban `server/observer.py`, `failureFound`: 2, 3, 5, 9 .. for
/// 1, 2, 3, 4 .. earlier bans.
pub(super) fn counts_as(count: u32, maxretry: u32) -> (f64, bool) {
    let grown = f64::from(1u32 << count.min(20)) / 2.0 + 1.0;
    let maxretry = f64::from(maxretry);
    if maxretry < grown { (maxretry, true) } else { (grown, false) }
}

/// The ban time of an id with `count` earlier bans (at least 1); `chance` in
/// `0.0..1.0` decides about `rndtime`.
///
/// Source: fail2ban `server/jail.py`, `setBanTimeExtra`.
pub(super) fn bantime(increment: &Increment, jail: Span, count: u32, chance: f64) -> Result<BanTime, Error> {
    let time = number(jail);
    let factor = increment.factor.unwrap_or(Number::Int(1));
    let mut seconds = match multiplier(&increment.multipliers, count) {
        Some(multiplier) => time.as_f64() * factor.as_f64() * multiplier,
        None => {
            let value = match &increment.formula {
                Some(formula) => formula.value(&Names { time, count, factor })?.as_f64(),
                None => time.as_f64() * f64::from(1u32 << count.min(20)) * factor.as_f64(),
            };
            value.max(time.as_f64())
        }
    };
    if let Some(maxtime) = increment.maxtime {
        seconds = seconds.min(maxtime.as_secs_f64());
    }
    if let Some(rndtime) = increment.rndtime {
        seconds += chance * rndtime.as_secs_f64();
    }
    if !seconds.is_finite() {
        return Err(Error { position: None, message: "the ban time is not a finite number".into() });
    }
    // Only exactly -1 means "permanent" to the original; any other negative
    // time would be a ban that ended before it began.
    Ok(if seconds == -1.0 { BanTime::Permanent } else { BanTime::For(Span::from_secs_f64(seconds.max(0.0))) })
}

/// Whole seconds stay whole for the formula's arithmetic.
fn number(span: Span) -> Number {
    if span.micros() % 1_000_000 == 0 { Number::Int(span.secs().into()) } else { Number::Float(span.as_secs_f64()) }
}

/// The one for `count`, the last one for more; `None` if there are none.
#[expect(clippy::cast_precision_loss, reason = "multipliers are small; Python multiplies them with a float as well")]
fn multiplier(multipliers: &[i64], count: u32) -> Option<f64> {
    let at = usize::try_from(count).unwrap_or(usize::MAX);
    multipliers.get(at).or(multipliers.last()).map(|m| *m as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::formula::{Formula, parse_constant};

    const COUNTS: [u32; 8] = [1, 2, 3, 4, 5, 10, 20, 25];

    /// engine.md 4.1, the table for bantime 600.
    #[track_caller]
    fn check(increment: &Increment, expected: &[f64]) {
        for (count, expected) in COUNTS.iter().zip(expected) {
            let time = bantime(increment, Span::from_secs(600), *count, 0.0).unwrap();
            let BanTime::For(time) = time else { panic!("permanent") };
            assert!((time.as_secs_f64() - expected).abs() < 0.001, "{count}: {time:?} {expected}");
        }
    }

    fn factor(text: &str) -> Increment {
        Increment { factor: Some(parse_constant(text).unwrap()), ..Increment::default() }
    }

    #[test]
    fn ban_times_grow_as_in_the_original() {
        check(
            &Increment::default(),
            &[1200.0, 2400.0, 4800.0, 9600.0, 19200.0, 614_400.0, 629_145_600.0, 629_145_600.0],
        );
        check(&factor("2"), &[2400.0, 4800.0, 9600.0, 19200.0, 38400.0, 1_228_800.0, 1_258_291_200.0, 1_258_291_200.0]);
        check(&factor("0.5"), &[600.0, 1200.0, 2400.0, 4800.0, 9600.0, 307_200.0, 314_572_800.0, 314_572_800.0]);
        check(
            &Increment { multipliers: vec![1, 2, 4, 8, 16, 32, 64], ..Increment::default() },
            &[1200.0, 2400.0, 4800.0, 9600.0, 19200.0, 38400.0, 38400.0, 38400.0],
        );
        check(
            &Increment { multipliers: vec![1, 5, 30, 60, 300, 720, 1440, 2880], ..Increment::default() },
            &[3000.0, 18000.0, 36000.0, 180_000.0, 432_000.0, 1_728_000.0, 1_728_000.0, 1_728_000.0],
        );
        let capped = Increment { maxtime: Some(Span::from_secs(3_024_000)), ..Increment::default() };
        check(&capped, &[1200.0, 2400.0, 4800.0, 9600.0, 19200.0, 614_400.0, 3_024_000.0, 3_024_000.0]);
        let text = "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)";
        let exponential = Increment { formula: Some(Formula::parse(text).unwrap()), ..factor("2.0 / 2.885385") };
        check(&exponential, &[1200.001, 2400.006, 4800.018, 9600.047]);
    }

    #[test]
    fn multipliers_may_shorten_and_a_formula_may_not() {
        let shorter = Increment { multipliers: vec![1, 1], ..factor("0.5") };
        check(&shorter, &[300.0]);
        let formula = Increment { formula: Some(Formula::parse("1").unwrap()), ..Increment::default() };
        check(&formula, &[600.0]);
    }

    #[test]
    fn chance_is_added_after_the_limit() {
        let increment = Increment {
            maxtime: Some(Span::from_secs(1000)),
            rndtime: Some(Span::from_secs(100)),
            ..Increment::default()
        };
        let time = bantime(&increment, Span::from_secs(600), 1, 0.5).unwrap();
        assert_eq!(time, BanTime::For(Span::from_secs(1050)));
    }

    #[test]
    fn a_formula_without_a_value_is_an_error() {
        let increment =
            Increment { formula: Some(Formula::parse("1 / (ban.Count - 1)").unwrap()), ..Increment::default() };
        assert!(bantime(&increment, Span::from_secs(600), 1, 0.0).is_err());
        assert!(bantime(&increment, Span::from_secs(600), 2, 0.0).is_ok());
    }

    #[test]
    fn known_offenders_count_more() {
        let counts: Vec<_> = (1..=5).map(|count| counts_as(count, 100)).collect();
        assert_eq!(counts, [(2.0, false), (3.0, false), (5.0, false), (9.0, false), (17.0, false)]);
        assert_eq!(counts_as(4, 5), (5.0, true));
        assert_eq!(counts_as(3, 5), (5.0, false), "equal is shown with its fraction, as Python's min does");
        assert_eq!(counts_as(99, u32::MAX), (524_289.0, false));
    }
}
