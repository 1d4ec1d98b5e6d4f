//! Lengths of time as options spell them: `10m`, `1h 30m`, `1d12h`, `3600*2`.
//!
//! Source: fail2ban `server/mytime.py`, `str2seconds`. A unit directly behind a
//! digit or a blank becomes a factor, numbers that then stand next to each
//! other are added, and the rest is arithmetic (here [`super::formula`], which
//! knows numbers, operators and parentheses only).

use super::formula::{self, Error, Number};

/// A month: a twelfth of 365.25 days.
const MONTH: &str = "*2629800.0";
/// A year of 365.25 days.
const YEAR: &str = "*31557600.0";

/// The value of `text` in seconds; negative values are values (`-1` is how
/// options say "permanent").
///
/// Positions in errors refer to the text after its units were replaced.
///
/// # Errors
/// For an unknown unit, a malformed number, an empty text, a division by zero.
pub fn parse_seconds(text: &str) -> Result<f64, Error> {
    Ok(parse_number(text)?.as_f64())
}

/// The same, whole where Python's arithmetic stays whole: clients see the difference.
///
/// # Errors
/// As [`parse_seconds`].
pub fn parse_number(text: &str) -> Result<Number, Error> {
    // To Python, which evaluates the text, the rest of a last line is a comment.
    let text = text.split_once('#').filter(|(_, comment)| !comment.contains('\n')).map_or(text, |(before, _)| before);
    formula::parse_constant(&spell_out(text))
}

/// `text` with its units replaced by factors and blanks between numbers by `+`.
fn spell_out(text: &str) -> String {
    // `1d12h` is `1d 12h`.
    let mut parted = String::with_capacity(text.len() * 2);
    let mut last = ' ';
    for c in text.trim().chars() {
        if c.is_ascii_digit() && last.is_ascii_alphabetic() {
            parted.push(' ');
        }
        parted.push(c);
        last = c;
    }
    let mut factored = String::with_capacity(parted.len() * 2);
    let mut rest = parted.as_str();
    let mut last = '(';
    while let Some(c) = rest.chars().next() {
        let word_end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(word_end);
        if c.is_ascii_alphabetic()
            && (last.is_ascii_digit() || last.is_whitespace())
            && let Some(factor) = factor(word)
        {
            factored.push_str(factor);
            last = '0';
            rest = tail;
            continue;
        }
        factored.push(c);
        last = c;
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    // Numbers next to each other are added. Like the pattern it mirrors, a
    // digit that ended one pair does not begin the next: `1 2 3` is refused.
    let mut summed = String::with_capacity(factored.len() + 8);
    let mut chars = factored.chars().peekable();
    let mut may_pair = false;
    while let Some(c) = chars.next() {
        if !c.is_ascii_whitespace() {
            may_pair = c.is_ascii_digit();
            summed.push(c);
            continue;
        }
        let mut blanks = String::from(c);
        while let Some(c) = chars.next_if(char::is_ascii_whitespace) {
            blanks.push(c);
        }
        match chars.peek().copied() {
            Some(next) if may_pair && next.is_ascii_digit() => {
                summed.push('+');
                summed.push(next);
                chars.next();
            }
            _ => summed.push_str(&blanks),
        }
        may_pair = false;
    }
    summed
}

fn factor(unit: &str) -> Option<&'static str> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "s" | "ss" | "se" | "sec" | "second" | "seconds" => "*1",
        "m" | "mm" | "mi" | "min" | "minute" | "minutes" => "*60",
        "h" | "hh" | "ho" | "hou" | "hour" | "hours" => "*3600",
        "d" | "dd" | "da" | "day" | "days" => "*86400",
        "w" | "ww" | "we" | "wee" | "week" | "weeks" => "*604800",
        "mo" | "mon" | "month" | "months" => MONTH,
        "y" | "yy" | "ye" | "yea" | "year" | "years" => YEAR,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: f64) {
        match parse_seconds(text) {
            Ok(value) => assert!((value - expected).abs() < 1e-6, "{text}: {value}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn lengths_of_time_add_up() {
        for (text, expected) in [
            ("600", 600.0),
            ("-1", -1.0),
            ("10m", 600.0),
            ("1h 30m", 5400.0),
            ("1d12h", 129_600.0),
            ("1h+30min", 5400.0),
            ("1hour+30min", 5400.0),
            ("0d 1h 30m", 5400.0),
            ("1year-6mo", 15_778_800.0),
            ("6 months", 15_778_800.0),
            ("2.5h", 9000.0),
            ("1mm", 60.0),
            ("5w", 3_024_000.0),
            ("3600*2", 7200.0),
            ("1h 2m 3s", 3723.0),
            ("1m30", 90.0),
            ("1d 12", 86_412.0),
            ("2d+3h", 183_600.0),
            ("1h*2", 7200.0),
            ("1.5h", 5400.0),
            ("1mo", 2_629_800.0),
            ("5M", 300.0),
            ("1 000", 1.0),
            ("1_000", 1000.0),
            ("(1h+1m)*2", 7320.0),
            ("1 H", 3600.0),
            ("7 / 2", 3.5),
            ("  10m ", 600.0),
            ("10m # ten minutes", 600.0),
            ("1d/2h", 86_400.0 / 2.0 * 3600.0),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn every_spelling_of_a_unit_is_known() {
        for (spellings, seconds) in [
            ("s ss se sec second seconds", 1.0),
            ("m mm mi min minute minutes", 60.0),
            ("h hh ho hou hour hours", 3600.0),
            ("d dd da day days", 86_400.0),
            ("w ww we wee week weeks", 604_800.0),
            ("mo mon month months", 2_629_800.0),
            ("y yy ye yea year years", 31_557_600.0),
        ] {
            for unit in spellings.split(' ') {
                check(&format!("3{unit}"), 3.0 * seconds);
                check(&format!("3 {}", unit.to_uppercase()), 3.0 * seconds);
            }
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in [
            "", " ", "inf", "nan", "foo", "h", "010", "0x10", "1e5", "1h,30m", "1 2 3", "ten", "1hh1hx", "(1)h",
            "ban.Time", "1é",
        ] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
