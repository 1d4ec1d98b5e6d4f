//! The running daemon, as it sees itself.

use serde_json::{Value, json};
use stockade_core::judge::RELAY;
use stockade_enforce::stock::{Families, Here};

use super::{Findings, Patient};
use crate::cli::client::{Client, NoDaemon, list, number, or_elsewhere, text};
use crate::cli::status::overruns;
use crate::daemon::stage;

/// A jail this many bytes behind does not keep up.
const LAG_BYTES: i64 = 16 << 20;

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    let socket = &patient.places.socket;
    let answer = Client::at(socket).and_then(|mut client| client.ask("status", &json!({ "jail": null })));
    let status = match answer {
        Ok(status) => status,
        // Who asks as somebody else looks for a daemon of their own; root's may run all the same.
        Err(e) if findings.unseen(patient, format!("whether root's daemon runs and holds its bans ({e:#})")) => return,
        Err(e) => {
            let e = if patient.by_itself { or_elsewhere(e) } else { e };
            let fix = "start it: systemctl start stockade (or stockade run)";
            match e.downcast_ref::<NoDaemon>() {
                Some(nobody) if nobody.elsewhere() => {
                    findings.problem("not-running", format!("{e:#}"), "ask with the tree that is in use");
                }
                _ => findings.problem("not-running", format!("no daemon guards this machine: {e:#}"), fix),
            }
            return;
        }
    };
    enforcement(&status, findings);
    rules(patient, &status, findings);
    jails(&status, findings);
    if let Some(loaded) = status.get("loaded").and_then(Value::as_f64) {
        stale(patient, loaded, findings);
    }
}

fn enforcement(status: &Value, findings: &mut Findings) {
    let firewall = status.get("firewall").unwrap_or(&Value::Null);
    if status.get("dry_run") == Some(&Value::Bool(true)) {
        let what = format!("nobody is banned, this is a dry run: {}", text(firewall, "why"));
        findings.problem("not-enforced", what, "run the daemon as root, on a kernel with nftables or iptables");
    } else if firewall.get("ok") != Some(&Value::Bool(true)) {
        let what = format!("bans are not all in force: {}", text(firewall, "state"));
        let fix = "the daemon tries again each second; its log says what the kernel refuses";
        findings.problem("not-enforced", what, fix);
    }
    let repairs = number(firewall, "repairs");
    if repairs > 0 {
        let what = format!("another program removed our rules {repairs} times; they were put back");
        let fix = "find what flushes the firewall: a script, nft -f, a firewall manager";
        findings.warning("foreign-changes", what, fix);
    }
    let database = status.get("database").unwrap_or(&Value::Null);
    if database.get("ok") != Some(&Value::Bool(true)) {
        let what = format!("decisions are kept in memory only: {}", text(database, "state"));
        let fix = "make room on the disk, or give the folder its rights back; nothing is lost until the daemon ends";
        findings.problem("not-saved", what, fix);
    }
    // Those about the jails' own lists are found in the tree.
    let lists = list(status, "lists").iter().filter_map(Value::as_str);
    for complaint in lists.filter(|complaint| complaint.starts_with("ignoreip = file:")) {
        findings.warning("list", complaint, "let root read it; it is read again by itself");
    }
    for problem in list(status, "problems").iter().filter_map(Value::as_str) {
        if problem.contains("wrote to standard error") {
            let fix = "its last command hides what failed before: join them with &&, or put the firewall command last";
            findings.warning("hidden-error", problem, fix);
            continue;
        }
        findings.problem("ban-failed", problem, "it is tried again; the daemon's log has the command's own words");
    }
}

/// Rules that match nothing, or less than was meant, as the machine's tables stand now.
fn rules(patient: &Patient, status: &Value, findings: &mut Findings) {
    let Some(stage) = &patient.stage else { return };
    let families = |jail: &str| {
        let of_jail = list(status, "jails").iter().find(|row| text(row, "name") == jail);
        let has = |family| of_jail.and_then(|row| row.get("banned_families")?.get(family)?.as_bool()).unwrap_or(false);
        Families { inet4: has("inet4"), inet6: has("inet6") }
    };
    let here = Here::new();
    for action in stage::stock_actions(&stage.settings) {
        for found in here.findings(&action, families(action.jail.as_str())) {
            let what = format!("action '{}' of jail '{}': {}", found.action, found.jail, found.what);
            match found.blocks_nothing {
                true => findings.problem("cant-match", what, found.help),
                false => findings.warning("cant-match", what, found.help),
            }
        }
    }
}

fn jails(status: &Value, findings: &mut Findings) {
    for jail in list(status, "jails") {
        let (name, state) = (text(jail, "name"), text(jail, "state"));
        if state.starts_with("OFF") {
            findings.problem("jail-off", format!("jail '{name}' is {state}"), "correct it, then stockade reload");
        }
        let sources = list(jail, "sources");
        let bad: Vec<&Value> = sources.iter().filter(|s| s.get("ok") != Some(&Value::Bool(true))).collect();
        if !sources.is_empty() && bad.len() == sources.len() {
            let all: Vec<String> = bad.iter().map(|s| format!("{} ({})", text(s, "path"), text(s, "state"))).collect();
            let fix = "set logpath to where the service logs, or backend = systemd if it logs to the journal";
            findings.problem("log-unreadable", format!("jail '{name}' reads nothing: {}", all.join(", ")), fix);
        }
        let lag: i64 = sources.iter().map(|source| number(source, "lag_bytes")).sum();
        if lag > LAG_BYTES {
            let what = format!("jail '{name}' is {} MiB behind its logs", lag >> 20);
            let fix = "it catches up by itself; if it doesn't, `stockade regex` shows what its patterns cost";
            findings.warning("lagging", what, fix);
        }
        for words in overruns(jail) {
            let fix =
                "anchor it and give each repeat one way to match; `stockade regex` counts a pattern's steps on a line";
            findings.warning("out-of-steps", format!("jail '{name}': {words}"), fix);
        }
    }
    for withheld in list(status, "withheld") {
        let (id, jail, why) = (text(withheld, "id"), text(withheld, "jail"), text(withheld, "why"));
        let what = format!("'{jail}' withholds the ban of {id}: {why}");
        let fix = if why.starts_with(RELAY) {
            super::logs::RELAY_FIX.to_owned()
        } else if why.starts_with("live login") {
            format!("if it is yours: stockade allow {id}; else end that session, and it is banned")
        } else {
            format!("this machine needs that address: if all is well, stockade unban {id} forgets the ban")
        };
        findings.warning("withheld", what, fix);
    }
}

/// Was the tree changed after the daemon read it?
fn stale(patient: &Patient, loaded: f64, findings: &mut Findings) {
    let changed = patient.places.tree_files().into_iter().filter_map(|path| {
        let time = path.metadata().ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some((time.as_secs_f64(), path))
    });
    let newest = changed.max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((_, path)) = newest.filter(|(time, _)| *time > loaded) {
        let what = format!("{} was changed after the daemon read it", path.display());
        findings.warning("not-reloaded", what, "stockade reload (a mistake in it changes nothing)");
    }
}
