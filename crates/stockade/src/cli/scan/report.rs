//! What a scan tells: JSON lines, or a table for people.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use stockade_core::judge::Recount;
use stockade_core::matcher::Hit;
use stockade_core::{BanTime, FailureId, GroupValue, Timestamp};

use super::rules::Thresholds;
use crate::cli::term::{self, say};

/// Rows of the table for people.
const ROWS_MAX: usize = 50;
/// Groups that are shown elsewhere, or of no use outside.
const HIDDEN: [&str; 10] = ["matches", "ip", "user", "users", "fid", "ip4", "ip6", "dns", "nofail-matches", "mlfid"];

/// Everything found so far.
pub(super) struct Report {
    json: bool,
    groups: bool,
    bans: Option<Bans>,
    /// Lines seen, whole logs before the present one included.
    pub(super) lines: u64,
    /// Failures found.
    pub(super) matched: u64,
    seen: HashMap<String, Seen>,
}

/// What is known of one id.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// In which order ids came.
    order: usize,
    failures: u64,
    bans: u64,
    last: Option<Timestamp>,
}

/// Who would have been banned.
struct Bans {
    recount: Recount,
    bantime: BanTime,
    until: HashMap<String, Timestamp>,
}

impl Report {
    pub(super) fn new(json: bool, groups: bool, ban: Option<Thresholds>) -> Report {
        let bans = ban.map(|(maxretry, findtime, bantime)| Bans {
            recount: Recount::new(maxretry, findtime),
            bantime,
            until: HashMap::new(),
        });
        Report { json, groups, bans, lines: 0, matched: 0, seen: HashMap::new() }
    }

    /// A further log begins. Numbers of lines go on, as if all were one.
    pub(super) fn begin(&self, log: &str) {
        if self.json {
            say(json!({ "log": log, "after": self.lines }).to_string());
        }
    }

    /// One failure, in the present line.
    pub(super) fn hit(&mut self, hit: &Hit, id: &FailureId) {
        self.matched += 1;
        let shown = id.to_string();
        let order = self.seen.len();
        let seen = self.seen.entry(shown.clone()).or_insert(Seen { order, ..Seen::default() });
        seen.failures += 1;
        seen.last = seen.last.max(hit.time);
        if self.json {
            say(self.hit_json(hit, &shown).to_string());
        }
        if let Some(time) = hit.time {
            self.count(time, id, &shown);
        }
    }

    fn hit_json(&self, hit: &Hit, id: &str) -> Value {
        let mut out = Map::new();
        out.insert("line".into(), json!(self.lines));
        out.insert("id".into(), json!(id));
        out.insert("time".into(), hit.time.map_or(Value::Null, epoch));
        out.insert("regex".into(), json!(hit.regex));
        if let Some(ip) = hit.ip.as_ref().map(ToString::to_string).filter(|ip| ip != id) {
            out.insert("ip".into(), json!(ip));
        }
        for name in ["user", "users"] {
            if let Some((_, value)) = hit.groups.iter().find(|(n, _)| &**n == name) {
                out.insert(name.into(), group(value));
            }
        }
        out.insert("n".into(), json!(hit.matches.len()));
        if self.groups {
            let shown = hit.groups.iter().filter(|(name, _)| !HIDDEN.contains(&&**name));
            let groups: Map<String, Value> = shown.map(|(name, value)| (name.to_string(), group(value))).collect();
            if !groups.is_empty() {
                out.insert("g".into(), Value::Object(groups));
            }
        }
        Value::Object(out)
    }

    /// Counts a failure at its own time, and tells of the ban that it leads to.
    fn count(&mut self, time: Timestamp, id: &FailureId, shown: &str) {
        let Some(bans) = &mut self.bans else { return };
        let Some(enough) = bans.recount.count(time, id) else { return };
        let already = bans.until.get(shown).is_some_and(|end| *end > enough.time);
        if !already {
            bans.until.insert(shown.to_owned(), bans.bantime.end(enough.time));
            if let Some(seen) = self.seen.get_mut(shown) {
                seen.bans += 1;
            }
        }
        if self.json {
            let mut out = json!({
                "ban": shown, "line": self.lines, "time": epoch(enough.time), "fails": enough.failures,
            });
            if already && let Some(map) = out.as_object_mut() {
                map.insert("already".into(), json!(true));
            }
            say(out.to_string());
        }
    }

    /// The sum, and for people the table.
    pub(super) fn end(&self) {
        if self.json {
            say(json!({ "sum": { "lines": self.lines, "matched": self.matched, "ids": self.seen.len() } }).to_string());
            return;
        }
        let mut rows: Vec<(&String, &Seen)> = self.seen.iter().collect();
        rows.sort_by_key(|(_, seen)| (std::cmp::Reverse(seen.bans > 0), std::cmp::Reverse(seen.failures), seen.order));
        let row = |(id, seen): &(&String, &Seen)| {
            let mut who = String::new();
            stockade_core::text::push_escaped(&mut who, id);
            let last = seen.last.map_or_else(|| "no date".to_owned(), |at| term::clock(at.secs()));
            vec![who, seen.failures.to_string(), seen.bans.to_string(), last]
        };
        let shown: Vec<Vec<String>> = rows.iter().take(ROWS_MAX).map(row).collect();
        if !shown.is_empty() {
            term::table(&["WHO", "FAILURES", "BANS", "LAST"], &[1, 2], &shown);
            if rows.len() > shown.len() {
                say(format!("... and {} more (--json shows all)", rows.len() - shown.len()));
            }
            say("");
        }
        let bans: u64 = rows.iter().map(|(_, seen)| seen.bans).sum();
        let banned = if self.bans.is_some() { format!(", {}", term::count(bans, "ban")) } else { String::new() };
        let by = if rows.len() == 1 { "1 address".to_owned() } else { format!("{} addresses", rows.len()) };
        let (lines, failures) = (term::count(self.lines, "line"), term::count(self.matched, "failure"));
        say(format!("{lines}, {failures} by {by}{banned}"));
    }
}

fn group(value: &GroupValue) -> Value {
    match value {
        GroupValue::Text(text) => json!(text),
        GroupValue::List(list) => json!(list),
    }
}

/// Seconds, with a fraction only where there is one.
pub(crate) fn epoch(time: Timestamp) -> Value {
    if time.subsec_micros() == 0 { json!(time.secs()) } else { json!(time.as_secs_f64()) }
}
