//! Lengths of time in the original's words.

/// A length of time in words: its largest unit and at most two more, rounded.
///
/// Source: fail2ban `server/mytime.py`, `seconds2str`.
pub(super) fn duration(secs: u64) -> String {
    type Units = &'static [(u64, char)];
    // From this many seconds on: round to this unit, then split by these.
    const SCALES: [(u64, u64, Units); 4] = [
        (31_536_000, 86_400, &[(365, 'y'), (7, 'w'), (1, 'd')]),
        (604_800, 3_600, &[(168, 'w'), (24, 'd'), (1, 'h')]),
        (86_400, 60, &[(1_440, 'd'), (60, 'h'), (1, 'm')]),
        (3_595, 10, &[(360, 'h'), (6, 'm')]),
    ];
    const SHORT: Units = &[(60, 'm'), (1, 's')];
    let (mut rest, units) = match SCALES.iter().find(|(from, ..)| secs >= *from) {
        Some((_, unit, units)) => (round(secs, *unit), *units),
        None => (secs, SHORT),
    };
    let mut parts = Vec::new();
    for (size, name) in units {
        if rest >= *size {
            parts.push(format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0".to_owned() } else { parts.join(" ") }
}

/// `n / unit`, halves to even.
fn round(n: u64, unit: u64) -> u64 {
    let (whole, rest) = (n / unit, n % unit);
    if rest * 2 > unit || (rest * 2 == unit && whole % 2 == 1) { whole + 1 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_rounded_to_three_units() {
        for (secs, words) in [
            (86_400 * 390, "1y 3w 4d"),
            (86_400 * 368, "1y 3d"),
            (86_400 * 2 + 3_600 * 7 + 60 * 15, "2d 7h 15m"),
            (86_400 * 2 + 3_599, "2d 1h"),
            (3_595, "1h"),
            (3_590, "59m 50s"),
            (61, "1m 1s"),
            (59, "59s"),
            (0, "0"),
        ] {
            assert_eq!(duration(secs), words, "{secs}");
        }
    }
}
