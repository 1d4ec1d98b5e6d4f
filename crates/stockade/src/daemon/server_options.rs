//! Options of the daemon itself, put in force: the own log, the database's
//! bounds, IPv6.

use stockade_core::Span;
use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::operator::Operator;
use super::store::StoreJob;
use crate::log::{Aim, Level, Log, Opened};
use crate::settings::{Settings, boolean};

/// What has to change, with everything opened that can fail.
#[derive(Default)]
pub(super) struct Change {
    level: Option<Level>,
    log: Option<Opened>,
    found_most: Option<u64>,
    keep: Option<(Span, usize)>,
    ipv6: Option<bool>,
}

/// `dbpurgeage` as it is set, or a day.
pub(super) fn purge_age(settings: &Settings) -> Span {
    let secs = settings.server_text("dbpurgeage");
    let secs = secs.and_then(|text| stockade_core::judge::timespec::parse_seconds(&text).ok());
    Span::from_secs_f64(secs.unwrap_or(86_400.0))
}

/// `dbmaxmatches` as it is set, or 10.
pub(super) fn max_matches(settings: &Settings) -> usize {
    let number = settings.server_text("dbmaxmatches").and_then(|text| text.trim().parse().ok());
    number.unwrap_or(stockade_store::Options::default().dbmaxmatches)
}

/// `stockade.foundlines`: lines about failures per second; 0 is all.
pub(super) fn found_most(settings: &Settings) -> u64 {
    settings.server_text("stockade.foundlines").and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// `allowipv6`: only a clear no is one.
pub(super) fn ipv6(settings: &Settings) -> bool {
    settings.server_text("allowipv6").is_none_or(|text| text.eq_ignore_ascii_case("auto") || boolean(&text))
}

/// Finds what differs, and opens the next log.
pub(super) fn stage(old: &Settings, new: &Settings) -> Result<Change, Exception> {
    let mut change = Change::default();
    let differs = |name: &str| old.server.get(name) != new.server.get(name);
    if differs("loglevel") {
        change.level = new.server_text("loglevel").and_then(|text| Level::parse(&text));
    }
    let target = new.server_text("logtarget");
    let to_syslog = target.as_deref().is_some_and(|text| text.to_uppercase().starts_with("SYSLOG"));
    if let Some(target) = target.filter(|_| differs("logtarget") || differs("syslogsocket") && to_syslog) {
        let socket = new.server_text("syslogsocket").unwrap_or_else(|| "auto".to_owned());
        let opened = Aim::parse(&target, &socket).and_then(|aim| Log::open(&aim).map_err(|e| e.to_string()));
        change.log = Some(opened.map_err(|_| {
            let what = if differs("logtarget") { "log target" } else { "syslog socket" };
            Exception::plain(format!("Failed to change {what}"))
        })?);
    }
    if differs("stockade.foundlines") {
        change.found_most = Some(found_most(new));
    }
    if differs("dbpurgeage") || differs("dbmaxmatches") {
        change.keep = Some((purge_age(new), max_matches(new)));
    }
    if differs("allowipv6") {
        change.ipv6 = Some(ipv6(new));
    }
    Ok(change)
}

impl Change {
    /// Puts it in force.
    pub(super) fn commit(self, operator: &Operator) {
        let reach = &operator.reach;
        if let Some(level) = self.level {
            reach.log.set_threshold(level);
        }
        if let Some(opened) = self.log {
            reach.log.switch(opened);
        }
        if let Some(most) = self.found_most {
            reach.log.set_found_most(most);
        }
        if let Some((age, matches)) = self.keep {
            reach.store.send(StoreJob::Keep(age, matches));
            operator.guard.set_purge_age(age);
        }
        if let Some(on) = self.ipv6 {
            reach.asker.allow_ipv6(on);
        }
    }
}

/// What holds at start goes into the settings, where clients ask for it:
/// options of the command line win over those of the tree.
pub(super) fn settle(settings: &mut Settings, places: &crate::places::Places) {
    let mut put = |name: &str, value: Value| drop(settings.server.insert(name.to_owned(), value));
    put("loglevel", places.loglevel.to_uppercase().into());
    put("logtarget", places.logtarget.as_str().into());
    put("syslogsocket", places.syslogsocket.as_str().into());
    let database = places.database.as_ref().map(|path| path.to_string_lossy().into_owned());
    put("dbfile", database.map_or(Value::None, Value::Str));
}
