//! The `%` directives of a `datepattern` and the regular expressions they stand for.
//!
//! Source: fail2ban `server/strptime.py` over Python's own `_strptime`, in the
//! C locale, which is what a daemon runs in.

/// Directive, name shown to operators, regular expression.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str)] = &[
    ("ExZ", "ExZone name", r"(?P<Z>[A-Z](?:[A-Z]{2,4})?)"),
    ("Exz", "ExZone offset", r"(?P<z>(?:[A-Z](?:[A-Z]{2,4})?)?[+-][01]\d(?::?\d{2})?|[A-Z](?:[A-Z]{2,4})?)"),
    ("Exd", "ExDay", r"(?P<d>[1-2]\d|0[1-9]|3[0-1])"),
    ("Exm", "ExMonth", r"(?P<m>0[1-9]|1[0-2])"),
    ("ExH", "Ex24hour", r"(?P<H>[0-1]\d|2[0-3])"),
    ("Exk", "%Exk", r" ?(?P<H>[0-1]?\d|2[0-3])"),
    ("Exl", "Ex%l", r" ?(?P<I>1[0-2]|\d)"),
    ("ExM", "ExMinute", r"(?P<M>[0-5]\d)"),
    ("ExS", "ExSecond", r"(?P<S>[0-5]\d|6[0-1])"),
    ("Exy", "ExYear2", r"(?P<y>\d{2})"),
    ("a", "DAY", r"(?P<a>mon|tue|wed|thu|fri|sat|sun)"),
    ("A", "DAYNAME", r"(?P<A>wednesday|thursday|saturday|tuesday|monday|friday|sunday)"),
    ("b", "MON", r"(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"),
    ("B", "MONTH", r"(?P<B>september|february|november|december|january|october|august|march|april|june|july|may)"),
    ("d", "Day", r"(?P<d>[1-2]\d|[0 ]?[1-9]|3[0-1])"),
    ("f", "Microseconds", r"(?P<f>[0-9]{1,6})"),
    ("G", "%G", r"(?P<G>\d\d\d\d)"),
    ("H", "24hour", r"(?P<H>[0-1]?\d|2[0-3])"),
    ("I", "12hour", r"(?P<I>1[0-2]|0[1-9]|[1-9])"),
    ("j", "Yearday", r"(?P<j>36[0-6]|3[0-5]\d|[1-2]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9])"),
    ("k", "%k", r" ?(?P<H>[0-2]?\d)"),
    ("l", "%l", r" ?(?P<I>1?\d)"),
    ("m", "Month", r"(?P<m>0?[1-9]|1[0-2])"),
    ("M", "Minute", r"(?P<M>[0-5]?\d)"),
    ("p", "AMPM", r"(?P<p>am|pm)"),
    ("S", "Second", r"(?P<S>[0-5]?\d|6[0-1])"),
    ("u", "%u", r"(?P<u>[1-7])"),
    ("U", "Yearweek", r"(?P<U>5[0-3]|[0-4]\d|\d)"),
    ("V", "%V", r"(?P<V>5[0-3]|0[1-9]|[1-4]\d|\d)"),
    ("w", "Weekday", r"(?P<w>[0-6])"),
    ("W", "Yearweek", r"(?P<W>5[0-3]|[0-4]\d|\d)"),
    ("y", "Year2", r"(?P<y>\d\d)"),
    ("Y", "Year", r"(?P<Y>\d{4})"),
    ("z", "Zone offset", r"(?P<z>Z|UTC|GMT|[+-][01]\d(?::?\d{2})?)"),
    ("Z", "Zone name", r"(?P<Z>Z|[A-Z]{3,5})"),
    ("%", "%", "%"),
    ("c", "%c", concat!(
        r"(?P<a>mon|tue|wed|thu|fri|sat|sun)\s+(?P<b>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\s+",
        r"(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])\s+",
        r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)\s+(?P<Y>\d\d\d\d)")),
    ("x", "%x", r"(?P<m>1[0-2]|0[1-9]|[1-9])/(?P<d>3[0-1]|[1-2]\d|0[1-9]|[1-9]| [1-9])/(?P<y>\d\d)"),
    ("X", "%X", r"(?P<H>2[0-3]|[0-1]\d|\d):(?P<M>[0-5]\d|\d):(?P<S>6[0-1]|[0-5]\d|\d)"),
];

/// A date pattern with its directives replaced.
pub(super) struct Expanded {
    /// The regular expression, without anchors or groups of our own.
    pub(super) regex: String,
    /// The pattern in words, as reports show it.
    pub(super) name: String,
    /// Does it name months, days or am/pm, so that case must not matter?
    pub(super) any_case: bool,
}

/// Replaces the directives of `pattern`; `year` is the current one, for `%ExY`.
///
/// # Errors
/// The text behind the first `%` that starts no known directive, with its place in bytes.
pub(super) fn expand(pattern: &str, year: i16) -> Result<Expanded, (String, usize)> {
    let mut out = Expanded { regex: String::new(), name: String::new(), any_case: false };
    let mut rest = pattern;
    while let Some((before, tail)) = rest.split_once('%') {
        out.regex.push_str(before);
        out.name.push_str(before);
        if let Some(after) = tail.strip_prefix("ExY") {
            out.regex.push_str(&format!(r"(?P<Y>{}\d)", decades(year)));
            out.name.push_str("ExYear");
            rest = after;
            continue;
        }
        let hit = TABLE.iter().find_map(|(key, name, regex)| Some((*key, *name, *regex, tail.strip_prefix(key)?)));
        let Some((key, name, regex, after)) = hit else {
            let shown: String = tail.chars().take(3).collect();
            return Err((shown, pattern.len() - tail.len() - 1));
        };
        out.any_case |= matches!(key, "a" | "A" | "b" | "B" | "p" | "c");
        out.regex.push_str(regex);
        out.name.push_str(name);
        rest = after;
    }
    out.regex.push_str(rest);
    out.name.push_str(rest);
    Ok(out)
}

/// The third digit of the last year of this century that a log line may have.
pub(super) fn last_decade(year: i16) -> u8 {
    let digit = (year.saturating_add(3) / 10).clamp(202, 209) % 10;
    b'0' + u8::try_from(digit).unwrap_or(2)
}

/// The first three digits of a year that a log line may have: from 2000 up to
/// three years from now.
fn decades(year: i16) -> String {
    let last = (year.saturating_add(3) / 10).max(202);
    let digits = |from: i16, to: i16| (from..=to).map(|d| (d % 10).to_string()).collect::<String>();
    if last < 210 {
        return format!("20[{}]", digits(200, last));
    }
    let centuries: Vec<String> =
        (20..=last / 10).map(|c| format!("{c}[{}]", digits(c * 10, (c * 10 + 9).min(last)))).collect();
    format!("(?:{})", centuries.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_window_reaches_three_years_ahead() {
        for (year, window) in [(2026, "20[012]"), (2027, "20[0123]"), (1970, "20[012]"), (2096, "20[0123456789]")] {
            assert_eq!(decades(year), window, "{year}");
        }
        assert_eq!(decades(2097), "(?:20[0123456789]|21[0])");
    }

    #[test]
    fn directives_are_replaced_and_named() {
        let e = expand("^%d/%b/%%x %ExH", 2026).unwrap();
        assert!(e.regex.starts_with(r"^(?P<d>") && e.regex.contains("/%x (?P<H>[0-1]"), "{}", e.regex);
        assert_eq!(e.name, "^Day/MON/%x Ex24hour");
        assert!(e.any_case);
        assert!(!expand("%Y-%m", 2026).unwrap().any_case);
    }

    #[test]
    fn unknown_directives_are_refused_with_their_place() {
        assert_eq!(expand("%Y %s", 2026).err(), Some(("s".to_owned(), 3)));
        assert_eq!(expand("%Exq", 2026).err(), Some(("Exq".to_owned(), 0)));
        assert_eq!(expand("100%", 2026).err(), Some((String::new(), 3)));
    }
}
