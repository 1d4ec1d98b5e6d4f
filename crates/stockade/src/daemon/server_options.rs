//! Options of the daemon itself, put in force: the own log, the database's
//! bounds, IPv6.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stockade_core::Span;
use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::operator::Operator;
use super::store::StoreJob;
use crate::control::fail2ban::group;
use crate::log::{Aim, Level, Log, Opened};
use crate::settings::{Settings, boolean};

/// Under this name the settings know where the control socket is.
const SOCKET: &str = "socket";

/// What has to change, with everything opened that can fail.
#[derive(Default)]
pub(super) struct Change {
    level: Option<Level>,
    log: Option<Opened>,
    found_most: Option<u64>,
    keep: Option<(Span, usize)>,
    ipv6: Option<bool>,
    readers: bool,
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
    // DIVERGENCE (dbfile-while-running): the original changes it where there are no jails.
    if let (Some(_), true) = (old.server_text("dbfile"), old.server_text("dbfile") != new.server_text("dbfile")) {
        let text = "the database of a running server can't be changed: set dbfile in fail2ban.local and restart it";
        return Err(Exception::builtin("RuntimeError", text));
    }
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
    change.readers = differs("stockade.readers");
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
            operator.actions.set_max_matches(matches);
        }
        if self.readers
            && let Err(why) = let_readers_in(operator.settings())
        {
            reach.log.error(why);
        }
        if let Some(on) = self.ipv6 {
            reach.asker.allow_ipv6(on);
        }
    }
}

/// What holds at start goes into the settings, where clients ask for it: options
/// of the command line win over those of the tree. Returns what a reload of the
/// tree must not change.
pub(super) fn settle(settings: &mut Settings, places: &crate::places::Places) -> BTreeMap<String, Value> {
    let path = |path: &Path| Value::Str(path.to_string_lossy().into_owned());
    let held = [
        ("loglevel", places.loglevel.to_uppercase().into()),
        ("logtarget", places.logtarget.as_str().into()),
        ("syslogsocket", places.syslogsocket.as_str().into()),
        ("dbfile", places.database.as_deref().map_or(Value::None, path)),
        (SOCKET, path(&places.socket)),
    ];
    let mut pinned = BTreeMap::new();
    for (name, value) in held {
        if settings.server.insert(name.to_owned(), value.clone()).as_ref() != Some(&value) {
            pinned.insert(name.to_owned(), value);
        }
    }
    pinned
}

/// `stockade.readers`: the control socket's file is for root alone, or for root
/// and the group that may look.
///
/// # Errors
/// A text for the log: there is no such group, or the file can't be changed.
pub(super) fn let_readers_in(settings: &Settings) -> Result<(), String> {
    let Some(socket) = settings.server_text(SOCKET) else { return Ok(()) };
    let name = settings.server_text("stockade.readers").filter(|name| !name.is_empty());
    let (gid, mode) = match &name {
        None => (None, 0o700),
        Some(name) => {
            let group = group(Path::new("/etc/group"), name);
            let group = group.ok_or_else(|| format!("stockade.readers = {name}: there is no such group"))?;
            (Some(group.gid), 0o770)
        }
    };
    let fail = |e: std::io::Error| format!("the socket {socket} can't be opened to its readers: {e}");
    // First the group, so that the wrong one is never let in.
    if let Some(gid) = gid {
        std::os::unix::fs::chown(&socket, None, Some(gid)).map_err(fail)?;
    }
    std::fs::set_permissions(&socket, Permissions::from_mode(mode)).map_err(fail)
}
