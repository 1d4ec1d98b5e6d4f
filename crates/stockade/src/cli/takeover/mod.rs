//! `takeover`: changes places with a running fail2ban, each way, with no gap and no ban lost.
//!
//! While one guard goes and the other comes, a table of its own (the [`bridge`])
//! refuses whoever is banned. Both read the same tree and the same database; what
//! the new guard does not know of the old one's bans is handed to it.

mod bridge;
mod names;
mod server;
mod steps;
mod units;

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::json;

use super::Exit;
use super::term::{self, note, say};
use crate::places::Tree;
use server::{Server, Who};
use steps::{Change, Way};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade takeover --dry-run    what would be done, step by step\n  \
    stockade takeover              stop fail2ban and go on in its place: its tree, its database, its programs' names\n  \
    stockade takeover --back       the other way round\n\n\
    Nobody who is banned gets a packet through meanwhile, and no ban is lost. The\n\
    files of /etc/fail2ban are not touched. If a step fails, the guard that ran\n\
    before is started again.";

/// The tree that fail2ban uses unless told otherwise.
const TREE: &str = "/etc/fail2ban";

/// Words of `takeover`.
#[derive(Args)]
pub(crate) struct TakeoverArgs {
    /// Give the machine back to fail2ban
    #[arg(long)]
    back: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Leave the programs' names (fail2ban-client and its like) as they are
    #[arg(long)]
    keep_names: bool,
    /// Configuration folder of both guards [default: /etc/fail2ban]
    #[arg(short = 'c', long = "conf", value_name = "DIR")]
    conf: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Changes places.
pub(crate) fn takeover(args: &TakeoverArgs) -> Result<Exit> {
    let conf = args.conf.clone().unwrap_or_else(|| PathBuf::from(TREE));
    let tree = Tree::of(Some(&conf));
    if !tree.is_foreign() {
        bail!("{} is no tree of fail2ban: there is no jail.conf in it; name another with -c", conf.display());
    }
    let places = tree.places()?;
    let server = Server::at(&places.socket);
    let way = if args.back { Way::Back } else { Way::Over };
    let running = server.who()?;
    let done = match (way, running) {
        (Way::Over, Some(Who::Stockade)) => Some("stockade runs in the place of fail2ban already"),
        (Way::Back, Some(Who::Original)) => Some("fail2ban runs already"),
        _ => None,
    };
    if let Some(done) = done {
        if args.dry_run || !rustix::process::geteuid().is_root() {
            bail!("{done}");
        }
        return Err(already(way, done));
    }
    if !rustix::process::geteuid().is_root() && !args.dry_run {
        bail!("only root can stop one guard and start the other; try `sudo stockade takeover`");
    }
    let change = Change::plan(way, conf, &tree, places, server, running.is_some(), args.keep_names)?;
    if args.dry_run {
        let plan = change.words();
        if args.json {
            say(json!({ "way": way.word(), "plan": plan }).to_string());
        } else {
            plan.iter().zip(1..).for_each(|(step, number)| say(format!("{number}. {step}")));
        }
        return Ok(Exit::Done);
    }
    let json = args.json;
    let told = |text: &str| if json { note(text) } else { say(text) };
    let done = change.carry_out(&told)?;
    if json {
        say(json!({
            "way": way.word(), "bans": done.bans, "handed_over": done.handed_over, "missing": done.missing,
            "seconds": done.seconds,
        })
        .to_string());
    } else {
        let who = if way == Way::Over { "stockade" } else { "fail2ban" };
        say(format!(
            "{}: {} bans, {:.1} s",
            term::bold(&format!("{who} guards this machine now")),
            done.bans,
            done.seconds
        ));
        for missing in done.missing.iter().take(steps::MISSING_SHOWN) {
            note(term::warn(&format!("not taken over: {missing}")));
        }
    }
    Ok(if done.missing.is_empty() { Exit::Done } else { Exit::Refused })
}

/// The machine is as it should be. What becomes of a table that an earlier takeover has left, or still needs.
fn already(way: Way, done: &str) -> anyhow::Error {
    match way {
        Way::Over => {
            // Ours has all bans at once.
            bridge::remove_left();
            anyhow!("{done}")
        }
        Way::Back if bridge::stands() => anyhow!(
            "{done}; the table inet {} still holds who was banned, until fail2ban has them again, at most {} h; \
             `nft delete table inet {0}` ends that",
            bridge::TABLE,
            bridge::LIFETIME.secs() / 3_600
        ),
        Way::Back => anyhow!("{done}"),
    }
}
