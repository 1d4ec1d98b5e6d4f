//! `lift`: the way out that needs no daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use stockade_core::{JailName, Net, Span, Timestamp};
use stockade_enforce::stock::{Stock, StockAction};
use stockade_enforce::{Error, Held, OnClose, SetOp};
use stockade_store::{Marked, Reader};

use super::client::{Client, TAKEN_OVER, harmless, list, number, text};
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

/// How many stored bans of one jail and family are looked for in the kernel, each perhaps by a program.
const LOOKS_MAX: usize = 100;

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
    let mut changed = 0;
    let from_stock = match &settings {
        Ok(settings) => lift_from_stock(settings, &places, target, &mut changed),
        Err(e) => Err(anyhow!("{e:#}")),
    };
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
    changed += if target.is_none() { u64::from(removed.found) } else { removed.elements as u64 };
    if let Err(e) = &from_stock {
        term::note(format!("stockade: sets and chains of the tree's own actions were not all looked at: {e:#}"));
    }
    for kept in settings.iter().flat_map(|settings| kept_by_lists(settings, target)) {
        term::note(format!("stockade: {kept}"));
    }
    let exit =
        told(args, i64::try_from(changed).unwrap_or(i64::MAX), "from the kernel, without a daemon", &Value::Null)?;
    Ok(if marked && from_stock.is_ok() { exit } else { Exit::Refused })
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

/// Lifts from the sets and chains of the tree's stock actions, as far as bans are found there:
/// one address from each, or all by stopping the actions. Adds how many were found.
fn lift_from_stock(settings: &Settings, places: &Places, target: Option<Net>, lifted: &mut u64) -> Result<()> {
    let actions: Vec<StockAction> = stock_actions(settings).into_iter().map(StockAction::for_lifting).collect();
    let jails: BTreeSet<JailName> = actions.iter().map(|action| action.jail.clone()).collect();
    if jails.is_empty() {
        return Ok(());
    }
    let now = crate::daemon::now();
    let mut stock = Stock::new();
    // No ban is known to it yet, so nothing is set up that is not there.
    for (jail, action, e) in stock.set_actions(now, actions, |_| Vec::new()) {
        term::note(format!("stockade: action '{action}' of jail {jail}: {e}"));
    }
    let mut trouble = None;
    let close = match target {
        Some(net) => {
            for jail in &jails {
                match lift_one(&mut stock, now, jail, net) {
                    Ok(found) => *lifted += u64::from(found),
                    Err(e) => drop(trouble.get_or_insert(e)),
                }
            }
            OnClose::Keep
        }
        None => {
            let Some(database) = places.database.as_deref().filter(|database| database.exists()) else {
                bail!("no database tells whose bans to look for; `stockade lift ADDRESS` looks for one")
            };
            for ((jail, _), bans) in last_ending(database, &jails)? {
                let mut found = false;
                for (_, net) in bans.into_iter().rev() {
                    match stock.take_over(&jail, net) {
                        Ok(there) => found |= there,
                        Err(e) => drop(trouble.get_or_insert(e)),
                    }
                    // One ban that each action has is enough to know that they were started.
                    if found && stock.verify(&jail, net) == Ok(Held::Held) {
                        break;
                    }
                }
                *lifted += u64::from(found);
            }
            OnClose::Lift
        }
    };
    stock.close(close).map_err(|e| anyhow!("{e}"))?;
    trouble.map_or(Ok(()), |e| Err(anyhow!("{e}")))
}

/// Removes one ban of one jail from all its actions, however often its rule stands there. Was it there?
fn lift_one(stock: &mut Stock, now: Timestamp, jail: &JailName, net: Net) -> Result<bool, Error> {
    let mut found = false;
    for _ in 0..COPIES_MAX {
        let there = stock.take_over(jail, net);
        if there == Ok(false) {
            break;
        }
        // Where one action can't be asked, another one may have it.
        let refused = stock.apply(now, &[SetOp::Unban { jail: jail.clone(), net }]).failed;
        found |= there?;
        if let Some((_, e)) = refused.into_iter().next() {
            return Err(e);
        }
    }
    Ok(found)
}

/// The bans that end last, or have, of each jail and family (IPv4?). Most actions' sets and chains know no ends: a
/// ban that ran out while no daemon looked is there still.
type LastEnding = BTreeMap<(JailName, bool), BTreeSet<(Timestamp, Net)>>;

fn last_ending(database: &Path, jails: &BTreeSet<JailName>) -> Result<LastEnding> {
    let mut all = LastEnding::new();
    Reader::open(database)?.bans(|ban| {
        let Some(net) = ban.id.net().filter(|_| jails.contains(&ban.jail)) else { return };
        let end = ban.end().unwrap_or(Timestamp::MAX);
        let bans = all.entry((ban.jail, net.is_ipv4())).or_default();
        bans.insert((end, net));
        if bans.len() > LOOKS_MAX {
            bans.pop_first();
        }
    })?;
    Ok(all)
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
    if changed == 0 && args.common.conf.is_none() && super::client::is_elsewhere() {
        say(term::warn(&format!("stockade guards with {TAKEN_OVER}: `stockade lift -c {TAKEN_OVER}` lifts there")));
    }
    for kept in kept {
        let (number, file) = (number(kept, "number"), text(kept, "file"));
        say(term::warn(&format!("{number} are kept by {file}: not {SUSPENDED}; remove the lines that are a mistake")));
    }
    Ok(exit)
}
