//! Lines as sshd and syslog write them, with the time of now.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

/// One wrong password of a user that exists, in the file format of today's rsyslog, UTC.
///
/// `session` is the process id that sshd serves the connection with: lines with the same one are one session.
pub(crate) fn wrong_password(address: IpAddr, session: usize) -> String {
    format!("{} machine sshd[{session}]: Failed password for root from {address} port 4000 ssh2\n", stamp())
}

/// The time of now in RFC 3339 with microseconds.
fn stamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(now.as_secs() / 86_400);
    let second = now.as_secs() % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}+00:00",
        second / 3600,
        second / 60 % 60,
        second % 60,
        now.subsec_micros()
    )
}

/// Year, month and day of a day number since 1970.
fn civil(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = if leap { 366 } else { 365 };
        if day < length {
            let february = if leap { 29 } else { 28 };
            let mut month = 1;
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                if day < length {
                    break;
                }
                day -= length;
                month += 1;
            }
            return (year, month, day + 1);
        }
        day -= length;
        year += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn day_numbers_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
        assert_eq!(civil(20_818), (2026, 12, 31));
    }
}
