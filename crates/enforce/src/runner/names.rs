//! Names that a tag asks for: the host's own, and those of banned addresses.
//!
//! Looked up only for tags that occur, in the lane that needs them, through
//! `getent`, which asks whatever this host asks; remembered for five minutes.
//!
//! Source: fail2ban `server/ipdns.py`: `getHostname`, `ipToName`.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::message::Values;

/// How many names are remembered.
const NAMES_MAX: usize = 1_000;
/// For how long.
const NAMES_FOR: Duration = Duration::from_secs(300);
/// No host has a longer name.
const NAME_BYTES_MAX: u64 = 4_096;

/// Names that were asked for.
#[derive(Default)]
pub(super) struct Names {
    known: Mutex<HashMap<String, (Instant, String)>>,
}

impl Names {
    /// The value of a tag that costs a look-up; `None` for all other tags.
    pub(super) fn value(&self, tag: &str, values: &Values) -> Option<String> {
        match tag {
            "sh-hostname" => Some(own_name()),
            "fq-hostname" => {
                let own = own_name();
                Some(self.remembered(&format!("own {own}"), || full_name(&own)))
            }
            "ip-host" => {
                // What is no address has no name; the original says so in its own way.
                let ip: Option<std::net::IpAddr> = values.get("ip")?.parse().ok();
                let name = ip.map(|ip| ip.to_string()).map(|ip| self.remembered(&ip, || name_of(&ip)));
                Some(name.filter(|name| !name.is_empty()).unwrap_or_else(|| "None".to_owned()))
            }
            _ => None,
        }
    }

    fn remembered(&self, key: &str, ask: impl FnOnce() -> String) -> String {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, name)) = known().get(key)
            && at.elapsed() < NAMES_FOR
        {
            return name.clone();
        }
        let name = ask();
        let mut known = known();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(key.to_owned(), (Instant::now(), name.clone()));
        name
    }
}

/// The host's name as the kernel has it.
pub(super) fn own_name() -> String {
    let mut name = String::new();
    if let Ok(file) = std::fs::File::open("/proc/sys/kernel/hostname") {
        file.take(NAME_BYTES_MAX).read_to_string(&mut name).ok();
    }
    name.trim().to_owned()
}

/// The full form of the host's name: one that begins with it, else the first known.
fn full_name(own: &str) -> String {
    let answer = crate::command::run("getent", &["ahosts", own], "").unwrap_or_default();
    let names: Vec<&str> = answer.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let longer = names.iter().find(|name| name.strip_prefix(own).is_some_and(|tail| tail.starts_with('.')));
    longer.or(names.first()).map_or_else(|| own.to_owned(), |name| (*name).to_owned())
}

/// The name of an address; empty if it has none.
fn name_of(ip: &str) -> String {
    let answer = crate::command::run("getent", &["hosts", ip], "").unwrap_or_default();
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_where_a_tag_wants_one() {
        let names = Names::default();
        let mut values = Values::default();
        values.tag("ip", "127.0.0.1");
        assert_eq!(names.value("ip-host", &values).as_deref(), Some("localhost"));
        assert_eq!(names.value("ip", &values), None);
        assert!(names.value("fq-hostname", &values).is_some());
        assert_eq!(names.value("sh-hostname", &values), Some(own_name()));
        let mut text = Values::default();
        text.tag("ip", "bob; rm");
        assert_eq!(names.value("ip-host", &text).as_deref(), Some("None"));
    }
}
