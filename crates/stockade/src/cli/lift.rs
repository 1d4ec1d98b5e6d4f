//! `lift`: the way out that needs no daemon.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use stockade_core::{Net, Span};
use stockade_store::Marked;

use super::client::Client;
use super::term::{self, say};
use super::{Common, Exit};
use crate::places::Places;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade lift 192.0.2.1    let this address in again, now\n  \
    stockade lift              remove everything stockade put into the kernel\n\n\
    Works with the daemon dead, its socket gone or its database damaged. A daemon\n\
    started later is told, and does not ban these addresses again for what is past.";

/// The database keeps whole seconds, rounded; a ban of just now must be covered.
const ROUNDING: Span = Span::from_secs(1);

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
        return told(args, super::client::number(&answer, "changed"), "by the daemon");
    }
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
    let changed = if target.is_none() { u64::from(removed.found) } else { removed.elements as u64 };
    let exit = told(args, i64::try_from(changed).unwrap_or(i64::MAX), "from the kernel, without a daemon")?;
    Ok(if marked { exit } else { Exit::Refused })
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

fn told(args: &LiftArgs, changed: i64, how: &str) -> Result<Exit> {
    if args.common.json {
        say(json!({ "changed": changed, "how": how }).to_string());
        return Ok(if changed > 0 || args.address.is_none() { Exit::Done } else { Exit::Refused });
    }
    match &args.address {
        Some(address) if changed == 0 => say(format!("{address}: not banned")),
        Some(address) => say(format!("{address}: lifted {how}")),
        None if changed == 0 => say("there was nothing of stockade in the kernel"),
        None => say(format!("all bans lifted {how}")),
    }
    Ok(if changed > 0 || args.address.is_none() { Exit::Done } else { Exit::Refused })
}
