//! `status` and `banned`.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, harmless, list, number, text};
use super::term::{self, say};
use super::{Common, Exit};

pub(crate) const STATUS_EXAMPLES: &str = "Examples:\n  \
    stockade status            all jails, the firewall and the database\n  \
    stockade status sshd       one jail with its logs and bans\n  \
    stockade status --json     the same for programs";

pub(crate) const BANNED_EXAMPLES: &str = "Examples:\n  \
    stockade banned                  every ban with its jail and end\n  \
    stockade banned sshd             of one jail\n  \
    stockade banned --plain          addresses only, one a line";

/// Words of `status`.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// Only this jail, with its logs and bans
    jail: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Words of `banned`.
#[derive(Args)]
pub(crate) struct BannedArgs {
    /// Only this jail
    jail: Option<String>,
    /// Addresses only, one a line
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    common: Common,
}

/// Shows the daemon or one jail.
pub(crate) fn status(args: &StatusArgs) -> Result<Exit> {
    let answer = Client::connect(&args.common)?.ask("status", &json!({ "jail": args.jail }))?;
    if args.common.json {
        say(answer.to_string());
        return Ok(Exit::Done);
    }
    let answer = harmless(answer);
    match &args.jail {
        None => show_daemon(&answer),
        Some(_) => show_jail(&answer),
    }
    Ok(Exit::Done)
}

fn show_daemon(status: &Value) {
    let since = term::clock(number(status, "since"));
    say(format!("stockade {}, process {}, since {since}", text(status, "version"), number(status, "pid")));
    for part in ["firewall", "database"] {
        if let Some(part_status) = status.get(part) {
            let (what, state) = (text(part_status, "what"), text(part_status, "state"));
            let state =
                if part_status.get("ok") == Some(&Value::Bool(true)) { state.to_owned() } else { term::warn(state) };
            say(format!("{:<10}{what}: {state}", format!("{part}:")));
        }
    }
    for problem in list(status, "problems") {
        say(term::warn(&format!("problem:  {}", problem.as_str().unwrap_or_default())));
    }
    for jail in list(status, "jails") {
        for words in overruns(jail) {
            say(term::warn(&format!("problem:  [{}] {words}", text(jail, "name"))));
        }
    }
    for complaint in list(status, "lists") {
        say(term::warn(&format!("list:     {}", complaint.as_str().unwrap_or_default())));
    }
    say("");
    let rows: Vec<Vec<String>> = list(status, "jails")
        .iter()
        .map(|jail| {
            vec![
                text(jail, "name").to_owned(),
                number(jail, "failed_now").to_string(),
                number(jail, "failed_total").to_string(),
                number(jail, "banned_now").to_string(),
                number(jail, "banned_total").to_string(),
                text(jail, "state").to_owned(),
            ]
        })
        .collect();
    term::table(&["JAIL", "FAILING", "FAILURES", "BANNED", "BANS", "STATE"], &[1, 2, 3, 4], &rows);
    show_withheld(status);
}

fn show_jail(jail: &Value) {
    say(format!("{}: {}", term::bold(text(jail, "name")), text(jail, "state")));
    let settings = jail.get("settings").cloned().unwrap_or_default();
    say(format!(
        "  rule:     {} failures within {} ban for {}",
        number(&settings, "maxretry"),
        term::duration(number(&settings, "findtime")),
        bantime(number(&settings, "bantime"))
    ));
    say(format!(
        "  failures: {} in all, {} being counted",
        number(jail, "failed_total"),
        match number(jail, "failed_now") {
            1 => "1 address".to_owned(),
            n => format!("{n} addresses"),
        }
    ));
    say(format!("  bans:     {} in all, {} now", number(jail, "banned_total"), number(jail, "banned_now")));
    for source in list(jail, "sources") {
        say(format!("  log:      {} ({})", text(source, "path"), text(source, "state")));
    }
    for words in overruns(jail) {
        say(term::warn(&format!("  pattern:  {words}")));
    }
    for action in list(jail, "actions") {
        let (commands, failures) = (number(action, "commands"), number(action, "failures"));
        let mut line = format!("  action:   {}: {commands} commands run", text(action, "name"));
        if number(action, "waiting") > 0 {
            line += &format!(", {} steps wait", number(action, "waiting"));
        }
        say(line);
        if failures > 0 {
            let trouble = text(action, "trouble");
            let now = if trouble.is_empty() { "not the last time".to_owned() } else { format!("now: {trouble}") };
            say(term::warn(&format!("            failed {failures} times, {now}")));
        }
        if !text(action, "said").is_empty() {
            say(term::warn(&format!("            ended well but wrote to standard error: {}", text(action, "said"))));
        }
    }
    if let Some(lists) = jail.get("blacklist") {
        show_lists(lists);
    }
    show_withheld(jail);
    let bans = list(jail, "bans");
    if !bans.is_empty() {
        say("");
        ban_table(bans, false);
    }
    if jail.get("bans_left_out") == Some(&Value::Bool(true)) {
        say(format!("and more: stockade banned {}", text(jail, "name")));
    }
}

/// The patterns of a jail that ran out of steps, each in words.
pub(crate) fn overruns(jail: &Value) -> impl Iterator<Item = String> {
    list(jail, "overruns").iter().map(|overrun| {
        let written = match text(overrun, "written") {
            "" => String::new(),
            place => format!(" ({place})"),
        };
        let times = match number(overrun, "searches") {
            1 => "once".to_owned(),
            n => format!("{n} times, last"),
        };
        format!(
            "{} {}{written} ran out of steps {times} at {}, so whether it hits such lines is not known",
            text(overrun, "option"),
            number(overrun, "number"),
            term::clock(number(overrun, "last"))
        )
    })
}

fn show_lists(lists: &Value) {
    if lists.get("path").and_then(Value::as_str).is_some() {
        let written = match lists.get("written").and_then(Value::as_i64) {
            Some(at) => format!("{} addresses, written {}", number(lists, "bans"), term::clock(at)),
            None => "not written yet".to_owned(),
        };
        say(format!("  list:     {} ({written})", text(lists, "path")));
        say(format!("  kept:     {} ({} banned for good by it)", text(lists, "keep"), number(lists, "kept")));
    }
    for complaint in list(lists, "complaints").iter().take(COMPLAINTS_MAX) {
        say(term::warn(&format!("            {}", complaint.as_str().unwrap_or_default())));
    }
    let more = list(lists, "complaints").len().saturating_sub(COMPLAINTS_MAX);
    if more > 0 {
        say(term::warn(&format!("            and {more} more like these")));
    }
}

fn show_withheld(status: &Value) {
    let withheld = list(status, "withheld");
    if !withheld.is_empty() {
        say("");
        for one in withheld {
            say(term::warn(&format!("withheld: {} in {}: {}", text(one, "id"), text(one, "jail"), text(one, "why"))));
        }
    }
}

/// Lists bans.
pub(crate) fn banned(args: &BannedArgs) -> Result<Exit> {
    let mut client = Client::connect(&args.common)?;
    let jail = args.jail.as_deref();
    if args.common.json {
        let mut first = true;
        client.banned(jail, args.plain, |page| {
            for ban in page {
                say(format!("{}{ban}", if first { "{\"bans\":[" } else { "," }));
                first = false;
            }
            Ok(())
        })?;
        say(if first { "{\"bans\":[]}" } else { "]}" });
        return Ok(Exit::Done);
    }
    if args.plain {
        client.banned(jail, true, |page| {
            for ban in page.into_iter().map(harmless) {
                say(text(&ban, "id"));
            }
            Ok(())
        })?;
        return Ok(Exit::Done);
    }
    let mut bans = Vec::new();
    client.banned(jail, false, |page| {
        bans.extend(page.into_iter().map(harmless));
        Ok(())
    })?;
    bans.sort_by_key(|ban| (text(ban, "jail").to_owned(), number(ban, "time")));
    if bans.is_empty() {
        say("nobody is banned");
    } else {
        ban_table(&bans, true);
    }
    Ok(Exit::Done)
}

fn ban_table(bans: &[Value], with_jail: bool) {
    let width = term::width();
    let compact = width.is_some_and(|width| width < FULL_WIDTH);
    let clock = if compact { term::short_clock } else { term::clock };
    let mut head = vec!["ADDRESS", "SINCE", "UNTIL", "FAILURES", "BANS", "HOLDS"];
    if with_jail {
        head.insert(1, "JAIL");
    }
    let rows: Vec<Vec<String>> = bans
        .iter()
        .map(|ban| {
            let until = match ban.get("end").and_then(Value::as_i64) {
                Some(end) => clock(end),
                None => "for ever".to_owned(),
            };
            let mut row = vec![
                text(ban, "id").to_owned(),
                clock(number(ban, "time")),
                until,
                number(ban, "failures").to_string(),
                number(ban, "count").to_string(),
                text(ban, "state").to_owned(),
            ];
            if with_jail {
                row.insert(1, text(ban, "jail").to_owned());
            }
            row
        })
        .collect();
    let right = if with_jail { [4, 5] } else { [3, 4] };
    if compact {
        term::table_below(&head, &right, &rows, ADDRESS_WIDTH);
    } else {
        term::table(&head, &right, &rows);
    }
}

/// How much of what is wrong with a list is shown.
const COMPLAINTS_MAX: usize = 10;

/// From this width on a terminal takes the widest table of bans as it is.
const FULL_WIDTH: usize = 112;

/// On narrower ones longer addresses have a line of their own.
const ADDRESS_WIDTH: usize = 18;

/// A ban time in words.
pub(crate) fn bantime(secs: i64) -> String {
    if secs < 0 { "ever".to_owned() } else { term::duration(secs) }
}
