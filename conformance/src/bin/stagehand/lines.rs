//! Lines as sshd and syslog write them, with the time of now.

use std::{
    fs::OpenOptions,
    io::Write as _,
    net::IpAddr,
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

/// One wrong password of a user that exists, in the file format of today's rsyslog, UTC.
///
/// `session` is the process id that sshd serves the connection with: lines with the same one are one session.
pub(crate) fn wrong_password(address: IpAddr, session: usize) -> String {
    format!("{} machine sshd[{session}]: Failed password for root from {address} port 4000 ssh2\n", stamp())
}

/// Appends lines of a busy machine without a failure in them, `rate` a second in groups of 10 ms, until it is killed.
pub(crate) fn noise(log: &str, rate: u32) -> Result<ExitCode> {
    let mut log = OpenOptions::new().append(true).open(log).with_context(|| format!("open {log}"))?;
    let start = Instant::now();
    for (group, number) in (1..).zip(0_u32..) {
        let stamp = stamp();
        let mut text = String::new();
        for line in 0..rate / 100 {
            let session = 20_000 + (number * 7 + line) % 10_000;
            let port = 1024 + (number + line) % 60_000;
            text.push_str(&match line % 4 {
                0 => format!(
                    "{stamp} machine sshd[{session}]: Connection from 198.51.100.{} port {port} on 10.66.0.2\n",
                    line % 250
                ),
                1 => format!("{stamp} machine CRON[{session}]: pam_unix(cron:session): session opened for user root\n"),
                2 => format!(
                    "{stamp} machine sshd[{session}]: Accepted publickey for bob from 192.0.2.{} port {port} ssh2\n",
                    line % 250
                ),
                _ => format!("{stamp} machine systemd-logind[700]: New session {number} of user bob.\n"),
            });
        }
        log.write_all(text.as_bytes())?;
        let due = Duration::from_millis(10) * group;
        // Pacing is the writer's work.
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(ExitCode::SUCCESS)
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
