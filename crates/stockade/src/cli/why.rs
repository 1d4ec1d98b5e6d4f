//! `why ADDRESS`.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, harmless, list, number, text};
use super::term::{self, say};
use super::{Common, Exit};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade why 192.0.2.1           lines, counts, decisions, and what the kernel does with it now\n  \
    stockade why 192.0.2.1 --json    the same for programs\n\n\
    Exit code 0 if the address is banned, 1 if it is not.";

/// How many lines of an earlier ban are shown.
const LINES_SHOWN: usize = 3;

/// Words of `why`.
#[derive(Args)]
pub(crate) struct WhyArgs {
    /// An address, a network, or another id that a jail counts
    address: String,
    #[command(flatten)]
    common: Common,
}

/// Explains.
pub(crate) fn why(args: &WhyArgs) -> Result<Exit> {
    let answer = Client::connect(&args.common)?.ask("why", &json!({ "id": args.address }))?;
    let banned = answer.get("banned") == Some(&Value::Bool(true));
    if args.common.json {
        say(answer.to_string());
    } else {
        show(&harmless(answer));
    }
    Ok(if banned { Exit::Done } else { Exit::Refused })
}

fn show(answer: &Value) {
    term::say_folded(4, &format!("{}: {}", term::bold(text(answer, "id")), text(answer, "summary")));
    for ban in list(answer, "bans") {
        say("");
        let as_part = match text(ban, "id") {
            id if id == text(answer, "id") => String::new(),
            id => format!(" as part of {id}"),
        };
        say(format!("banned in {}{as_part}", term::bold(text(ban, "jail"))));
        say(format!("  since     {}", term::clock(number(ban, "time"))));
        match ban.get("end").and_then(Value::as_i64) {
            Some(end) => {
                say(format!("  until     {} ({} in all)", term::clock(end), term::duration(number(ban, "bantime"))))
            }
            None => say("  until     somebody lifts it"),
        }
        term::say_folded(12, &format!("  because   {}", text(ban, "because")));
        say(format!("  state     {}", text(ban, "state")));
        for action in list(ban, "actions") {
            term::say_folded(12, &format!("  action    {}", action.as_str().unwrap_or_default()));
        }
        show_lines("  line      ", list(ban, "matches"));
    }
    for one in list(answer, "withheld") {
        say(term::warn(&format!("\nwithheld in {}: {}", text(one, "jail"), text(one, "why"))));
    }
    for one in list(answer, "counting") {
        say(format!(
            "\ncounted in {}: {} of {} failures within {}, the last at {}",
            term::bold(text(one, "jail")),
            number(one, "failures"),
            number(one, "maxretry"),
            term::duration(number(one, "findtime")),
            term::clock(number(one, "last"))
        ));
        show_lines("  line      ", list(one, "matches"));
    }
    let allowed = list(answer, "allowed");
    if !allowed.is_empty() {
        say("");
    }
    for rule in allowed {
        say(format!("allowed: {}", rule.as_str().unwrap_or_default()));
    }
    if let Some(kernel) = answer.get("kernel").and_then(Value::as_str) {
        say("");
        term::say_folded(8, &format!("kernel: {kernel}"));
    }
    if let Some(logs) = answer.get("logs").filter(|logs| !logs.is_null()) {
        show_logs(logs);
    }
    if list(answer, "bans").is_empty() {
        for jail in list(answer, "off") {
            say(term::warn(&format!("\njail {} is off: {}", text(jail, "jail"), text(jail, "why"))));
        }
    }
    let history = list(answer, "history");
    if !history.is_empty() {
        say("\nhistory, newest first");
        for row in history {
            let because = text(row, "why");
            let tail = if because.is_empty() { String::new() } else { format!(": {because}") };
            say(format!(
                "  {}  {:<9} {}{tail}",
                term::clock(number(row, "time")),
                text(row, "kind"),
                text(row, "jail")
            ));
            // Who was banned and is not any more: the evidence that the journal keeps.
            if list(answer, "bans").is_empty() {
                let lines = list(row, "matches");
                let shown = lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default();
                show_lines("    line    ", shown);
            }
        }
    }
}

/// Lines of a log; the same one several times stands once.
fn show_lines(head: &str, lines: &[Value]) {
    for run in lines.chunk_by(|a, b| a == b) {
        let line = run.first().and_then(Value::as_str).unwrap_or_default();
        let times = if run.len() > 1 { format!(" ({} times)", run.len()) } else { String::new() };
        term::say_folded(head.chars().count(), &format!("{head}{line}{times}"));
    }
}

/// What the logs say of somebody who is not banned.
fn show_logs(logs: &Value) {
    let found = list(logs, "found");
    for one in found {
        let (lines, failures) = (number(one, "lines"), number(one, "failures"));
        say("");
        let mut sentence = format!(
            "{} for {}: {lines} {} it",
            text(one, "path"),
            term::bold(text(one, "jail")),
            if lines == 1 { "line names" } else { "lines name" },
        );
        // The verdict on the last line says nothing more where each is a failure, or the only one is none.
        sentence += &match (lines, failures) {
            (1, 1) => ", a failure".to_owned(),
            (lines, failures) if lines == failures => ", all of them failures".to_owned(),
            (1, _) => format!("; {}", text(one, "verdict")),
            (_, 0) => format!(", none of them a failure; the last one: {}", text(one, "verdict")),
            (_, 1) => format!(", 1 of them a failure; the last one: {}", text(one, "verdict")),
            (_, n) => format!(", {n} of them failures; the last one: {}", text(one, "verdict")),
        };
        term::say_folded(4, &sentence);
        if one.get("last").is_some() {
            term::say_folded(12, &format!("  line      {}", text(one, "last")));
        }
    }
    let names = |key: &str| list(logs, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let (searched, journal) = (names("searched"), names("journal"));
    if found.is_empty() && !searched.is_empty() {
        say(format!("\nno line names it at the end of {searched}"));
    }
    let left_out = number(logs, "left_out");
    if left_out > 0 {
        say(format!("\nnot looked through: {left_out} further logs, which would have taken too long"));
    }
    if !journal.is_empty() {
        say(format!("\nnot looked through: the journal, which {journal} reads; see `journalctl -g ADDRESS`"));
    }
}
