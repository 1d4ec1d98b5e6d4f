//! `run`, `reload`, `restart` and `stop`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::client::{Client, list, number};
use super::term::{self, say};
use super::{Common, Exit};
use crate::daemon::Launch;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade run                     protect this machine with the embedded configuration\n  \
    stockade run -c /etc/fail2ban    run a fail2ban tree as it stands\n  \
    stockade run --dry-run           watch and decide, but ban nobody\n\n\
    Without root it is a dry run by itself. Your own settings go into\n\
    /etc/stockade/jail.local, for example:\n\n  \
    [DEFAULT]\n  bantime = 1h\n  ignoreip = 192.0.2.0/24";

pub(crate) const RELOAD_EXAMPLES: &str = "Examples:\n  \
    stockade reload                    after a change in /etc/stockade\n  \
    stockade reload -c /etc/fail2ban   the daemon of that tree\n\n\
    Bans and counts stay. A mistake is shown with file and line, and nothing changes.";

pub(crate) const RESTART_EXAMPLES: &str = "Examples:\n  \
    stockade restart                   after an update of the program\n\n\
    The firewall keeps every ban meanwhile; lines written meanwhile are read afterwards.";

pub(crate) const STOP_EXAMPLES: &str = "Examples:\n  \
    stockade stop                    bans stay in the kernel and expire by themselves\n  \
    stockade stop --lift             bans are lifted from the kernel, and taken up again at the next start\n  \
    stockade stop -c /etc/fail2ban   lifts them, as fail2ban's own stop does\n\n\
    `stockade.onstop = lift` or `keep` in a jail says it for good.";

/// Words of `run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Watch and decide, but ban nobody
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Beside another guard on the same tree: a dry run that touches none of its places
    #[arg(long)]
    pub(crate) shadow: bool,
    /// More words in the log; twice for still more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Words of commands that need none.
#[derive(Args)]
pub(crate) struct PlainArgs {
    #[command(flatten)]
    common: Common,
}

/// Words of `stop`.
#[derive(Args)]
pub(crate) struct StopArgs {
    /// Lift all bans from the kernel, whatever stockade.onstop says
    #[arg(long, conflicts_with = "keep")]
    lift: bool,
    /// Leave all bans in the kernel, whatever stockade.onstop says
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the daemon until it is told to stop.
pub(crate) fn run(args: &RunArgs) -> Result<Exit> {
    crate::daemon::launch(Launch::from(args))?;
    Ok(Exit::Done)
}

/// Carries out actions until the daemon at the other end is gone.
pub(crate) fn runner() -> Result<Exit> {
    stockade_enforce::runner::serve_stdin()?;
    Ok(Exit::Done)
}

/// Reads the configuration again.
pub(crate) fn reload(args: &PlainArgs) -> Result<Exit> {
    let answer = Client::connect(&args.common)?.ask("reload", &json!({}))?;
    if args.common.json {
        say(answer.to_string());
        return Ok(Exit::Done);
    }
    for problem in list(&answer, "problems") {
        term::note(term::warn(problem.as_str().unwrap_or_default()));
    }
    let jails = number(&answer, "jails");
    say(format!("reloaded: {jails} {} run", if jails == 1 { "jail" } else { "jails" }));
    // A script should see that something is wrong, even if it was so before.
    Ok(if number(&answer, "off") > 0 { Exit::Refused } else { Exit::Done })
}

/// Replaces the running process by a new one.
pub(crate) fn restart(args: &PlainArgs) -> Result<Exit> {
    let socket = crate::places::socket_of(args.common.conf.as_deref())?;
    let mut client = Client::connect(&args.common)?;
    let before = number(&client.ask("status", &json!({}))?, "started");
    client.ask("restart", &json!({}))?;
    drop(client);
    for _ in 0..600 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let Ok(mut client) = Client::at(&socket) else { continue };
        let Ok(status) = client.ask("status", &json!({})) else { continue };
        if number(&status, "started") != before {
            say(if args.common.json {
                json!({ "pid": number(&status, "pid") }).to_string()
            } else {
                "restarted".to_owned()
            });
            return Ok(Exit::Done);
        }
    }
    anyhow::bail!("the daemon stopped, but no new one answers within 30 s; its log says why")
}

/// Stops the daemon and waits until it has gone.
pub(crate) fn stop(args: &StopArgs) -> Result<Exit> {
    let socket = crate::places::socket_of(args.common.conf.as_deref())?;
    let mut client = Client::connect(&args.common)?;
    let answer = client.ask("stop", &json!({ "lift": args.lift, "keep": args.keep }))?;
    drop(client);
    for _ in 0..600 {
        match Client::at(&socket) {
            Err(_) => break,
            Ok(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
    let (bans, left) = (number(&answer, "bans"), number(&answer, "left"));
    let lifted = bans.saturating_sub(left);
    if args.common.json {
        say(answer.to_string());
        return Ok(Exit::Done);
    }
    let mut said = String::from("stopped");
    let stay = if left == 1 { "1 ban stays".to_owned() } else { format!("{left} bans stay") };
    if lifted > 0 {
        write!(said, "; {} lifted from the kernel, to be taken up again at the next start", term::count(lifted, "ban"))
            .ok();
    }
    if left > 0 && crate::places::Tree::of(args.common.conf.as_deref()).is_foreign() {
        // The sets and chains of stock actions know no ends.
        let how = "until stockade starts again (`stockade lift` removes them; use it before you start fail2ban)";
        write!(said, "; {stay} in the kernel, those in fail2ban's own sets and chains without an end, {how}").ok();
    } else if left > 0 {
        write!(said, "; {stay} in the kernel, each until its end (`stockade lift` ends them at once)").ok();
    }
    say(said);
    Ok(Exit::Done)
}
