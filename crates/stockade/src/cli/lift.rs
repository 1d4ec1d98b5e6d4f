//! `lift`: the way out that needs no daemon.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};
use stockade_core::{JailName, Net, Span};
use stockade_enforce::stock::Stock;
use stockade_enforce::{Held, OnClose, SetOp};
use stockade_store::{Marked, Reader};

use super::client::{Client, harmless, list, number, text};
use super::term::{self, say};
use super::{Common, Exit};
use crate::blacklist::{self, Lists};
use crate::control::desk::SUSPENDED;
use crate::daemon::stage::stock_actions;
use crate::places::{Places, Tree};
use crate::settings::Settings;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade lift 192.0.2.1    let this address in again, now\n  \
    stockade lift              remove everything stockade put into the kernel\n\n\
    Works with the daemon dead, its socket gone or its database damaged. A daemon\n\
    started later is told, and does not ban these addresses again for what is past.";

/// The database keeps whole seconds, rounded; a ban of just now must be covered.
const ROUNDING: Span = Span::from_secs(1);

/// How many lines of one `.keep` file are named.
const KEPT_TOLD_MAX: usize = 10;

/// How many copies of one rule are looked for.
const COPIES_MAX: usize = 16;

/// Words of `lift`.
#[derive(Args)]
pub(crate) struct LiftArgs {
    /// An address or network [default: everything]
    address: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Lifts.
pub(crate) fn lift(args: &LiftArgs) -> Result<Exit> {
    let target = args.address.as_deref().map(term::net).transpose()?;
    let places = Places::of(args.common.conf.as_deref())?;
    if let Ok(mut client) = Client::at(&places.socket) {
        let request = match &args.address {
            Some(address) => json!({ "addresses": [address] }),
            None => json!({ "all": true }),
        };
        let answer = client.ask("lift", &request).context("the daemon is alive, but did not lift")?;
        return told(args, number(&answer, "changed"), "by the daemon", &harmless(answer));
    }
    let settings = settings_of(&Tree::of(args.common.conf.as_deref()));
    // Who is banned is asked before the database is told.
    let from_stock = settings.as_ref().map_err(|e| anyhow!("{e:#}")).and_then(|s| lift_from_stock(s, &places, target));
    let marked = match &places.database {
        Some(database) if database.exists() => mark(database, target),
        _ => true,
    };
    let table = stockade_enforce::Options::default().table;
    let removed = stockade_enforce::lift(&table, target).context("nothing was removed from the kernel")?;
    for net in &removed.covered_by {
        term::note(format!(
            "stockade: the network {net} is still banned and holds this address; lift it too if you mean it"
        ));
    }
    let mut changed = if target.is_none() { u64::from(removed.found) } else { removed.elements as u64 };
    let mut all_done = marked;
    match from_stock {
        Ok(lifted) => changed += lifted,
        Err(e) => {
            term::note(format!("stockade: sets and chains of the tree's own actions were not looked at: {e:#}"));
            all_done = false;
        }
    }
    for kept in settings.iter().flat_map(|settings| kept_by_lists(settings, target)) {
        term::note(format!("stockade: {kept}"));
    }
    let exit =
        told(args, i64::try_from(changed).unwrap_or(i64::MAX), "from the kernel, without a daemon", &Value::Null)?;
    Ok(if all_done { exit } else { Exit::Refused })
}

/// What the tree says, as far as it can be used.
fn settings_of(tree: &Tree) -> Result<Settings> {
    let loaded = tree.load()?;
    let staged = Settings::default().staged_as_far_as_possible(&loaded.stream);
    Ok(staged.map_err(|e| anyhow!("the configuration can't be used: {e}"))?.0)
}

/// Which `.keep` files of the jails will have somebody of these banned again, in words.
fn kept_by_lists(settings: &Settings, target: Option<Net>) -> Vec<String> {
    let mut all = Vec::new();
    for jail in settings.jails.iter().filter(|jail| jail.started) {
        let Some(Ok(lists)) = jail.own("blacklist").and_then(|option| Lists::of(option, &jail.name)) else { continue };
        let Ok(keep) = blacklist::read(&lists.keep) else { continue };
        let file = lists.keep.display();
        match target {
            None if keep.nets.is_empty() => {}
            None => all.push(format!(
                "{file} keeps {}: a daemon started later bans them again; remove the lines that are a mistake",
                keep.nets.len()
            )),
            Some(target) => {
                let touched = keep.nets.iter().filter(|(net, _)| net.contains(target) || target.contains(**net));
                let told = |(net, line): (&Net, &u32)| {
                    format!("{file}:{line} keeps {net}: a daemon started later bans it again; remove the line")
                };
                all.extend(touched.take(KEPT_TOLD_MAX).map(told));
            }
        }
    }
    all
}

/// Lifts from the sets and chains of the tree's stock actions, as far as bans stand there:
/// one address from each, or all by stopping the actions. How many were found.
fn lift_from_stock(settings: &Settings, places: &Places, target: Option<Net>) -> Result<u64> {
    let actions = stock_actions(settings);
    let jails: BTreeSet<JailName> = actions.iter().map(|action| action.jail.clone()).collect();
    if jails.is_empty() {
        return Ok(0);
    }
    let now = crate::daemon::now();
    let mut stock = Stock::new();
    // No ban is known to it yet, so nothing is set up that is not there.
    for (jail, action, e) in stock.set_actions(now, actions, |_| Vec::new()) {
        term::note(format!("stockade: action '{action}' of jail {jail}: {e}"));
    }
    let mut found: BTreeSet<(JailName, bool)> = BTreeSet::new();
    let mut failed = None;
    match (target, &places.database) {
        (Some(net), _) => {
            for jail in &jails {
                // A rule may stand there several times.
                for _ in 0..COPIES_MAX {
                    let there = stock.take_over(jail, net);
                    if there == Ok(false) {
                        break;
                    }
                    if there == Ok(true) {
                        found.insert((jail.clone(), net.is_ipv4()));
                    }
                    let refused = stock.apply(now, &[SetOp::Unban { jail: jail.clone(), net }]).failed;
                    let error = there.err().or(refused.into_iter().next().map(|(_, e)| e));
                    if error.is_some() {
                        failed = failed.or(error);
                        break;
                    }
                }
            }
        }
        (None, Some(database)) if database.exists() => {
            // One ban that stands is enough to know that an action was started.
            let mut known: BTreeSet<(JailName, bool)> = BTreeSet::new();
            Reader::open(database)?.bans(|ban| {
                let Some(net) = ban.id.net().filter(|_| ban.stands(now) && jails.contains(&ban.jail)) else { return };
                let side = (ban.jail.clone(), net.is_ipv4());
                if known.contains(&side) {
                    return;
                }
                match stock.take_over(&ban.jail, net) {
                    Ok(false) => {}
                    Ok(true) => {
                        if stock.verify(&ban.jail, net) == Ok(Held::Held) {
                            known.insert(side.clone());
                        }
                        found.insert(side);
                    }
                    Err(e) => failed = failed.take().or(Some(e)),
                }
            })?;
        }
        (None, _) => {}
    }
    let close = if target.is_some() { OnClose::Keep } else { OnClose::Lift };
    stock.close(close).map_err(|e| anyhow!("{e}"))?;
    match failed {
        Some(e) => Err(anyhow!("{e}")),
        None => Ok(found.len() as u64),
    }
}

/// Tells the database, so that the next start does not ban again.
fn mark(database: &Path, target: Option<Net>) -> bool {
    match stockade_store::mark_lifted(database, target, crate::daemon::now() + ROUNDING) {
        Ok(Marked::Database(_)) => true,
        Ok(Marked::Beside(note)) => {
            term::note(format!(
                "stockade: the database {} is missing, damaged or in use; the lift is noted in {}, \
                 which a daemon started later reads",
                database.display(),
                note.display()
            ));
            true
        }
        Err(e) => {
            term::note(format!("stockade: the database could not be told: {e}; a daemon started later bans again"));
            false
        }
    }
}

fn told(args: &LiftArgs, changed: i64, how: &str, answer: &Value) -> Result<Exit> {
    let exit = if changed > 0 || args.address.is_none() { Exit::Done } else { Exit::Refused };
    let (results, kept) = (list(answer, "results"), list(answer, "kept"));
    if args.common.json {
        say(json!({ "changed": changed, "how": how, "results": results, "kept": kept }).to_string());
        return Ok(exit);
    }
    // What it begins with is said anyway.
    let why = results.first().map(|one| text(one, "why")).unwrap_or_default().trim_start_matches("it is not banned");
    match &args.address {
        Some(address) if changed == 0 => say(format!("{address}: not banned{why}")),
        Some(address) => say(format!("{address}: lifted {how}{why}")),
        None if changed == 0 => say("there was nothing of stockade in the kernel"),
        None => say(format!("all bans lifted {how}")),
    }
    for kept in kept {
        let (number, file) = (number(kept, "number"), text(kept, "file"));
        say(term::warn(&format!("{number} are kept by {file}: not {SUSPENDED}; remove the lines that are a mistake")));
    }
    Ok(exit)
}
