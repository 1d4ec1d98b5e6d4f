//! `fail2ban-server`: how a server starts under the original's name.
//!
//! In the foreground it reads the tree itself. In the background, and where the
//! original's client starts it (`--async`), it comes up empty, answers `ping`,
//! and waits until a client sends the commands of the tree.

use std::process::ExitCode;

use super::background::{self, Background};
use super::client::{Client, Failed};
use super::voice::Level;
use super::{FAILED, exit};
use crate::cli::term::say;
use crate::daemon::{Ended, Launch};

/// The exit code that a shell shows for a process that a hang-up ended.
const HUNG_UP: i32 = 129;

/// `fail2ban-server [start]`
pub(super) fn start(client: &Client) -> ExitCode {
    let options = client.options();
    if options.detached {
        let background = match Background::enter() {
            Ok(background) => background,
            Err(e) => return end(client, Err(e.into())),
        };
        let there = background.clone();
        let ended = crate::daemon::launch(launch(client, Box::new(move || there.is_ready())));
        if ended.is_err() {
            background.failed();
        }
        return end(client, ended);
    }
    if options.empty {
        if !options.background {
            return end(client, crate::daemon::launch(launch(client, Box::new(|| {}))));
        }
        return match background::detach() {
            Ok(None) => ExitCode::SUCCESS,
            Ok(Some(status)) => exit(status.success()),
            Err(e) => {
                client.voice.say(Level::Error, format!("the server can't go into the background: {e}"));
                ExitCode::from(FAILED)
            }
        };
    }
    let Some(stream) = client.prepare() else {
        client.voice.say(Level::Error, "Async configuration of server failed");
        return ExitCode::from(FAILED);
    };
    let started = if options.background { client.start_with(stream) } else { in_foreground(client) };
    match started {
        Ok(good) => exit(good),
        Err(Failed(why)) => {
            client.voice.say(Level::Error, why);
            ExitCode::from(FAILED)
        }
    }
}

/// Runs the server of the tree in this process, until it is told to stop.
pub(super) fn in_foreground(client: &Client) -> Result<bool, Failed> {
    match crate::daemon::launch(launch(client, Box::new(|| say("Server ready")))) {
        Ok(Ended::Stopped) => Ok(true),
        Ok(Ended::HungUp) => std::process::exit(HUNG_UP),
        Err(why) => Err(Failed(format!("{why:#}"))),
    }
}

fn end(client: &Client, ended: anyhow::Result<Ended>) -> ExitCode {
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(why) => {
            client.voice.say(Level::Error, format!("{why:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// What the daemon is told; it calls `ready`.
fn launch(client: &Client, ready: Box<dyn FnOnce()>) -> Launch {
    let options = client.options();
    let given = &client.places;
    Launch {
        conf: Some(options.conf.clone()),
        given: stockade_config::Overrides {
            socket: Some(given.socket.clone()),
            pidfile: Some(given.pidfile.clone()),
            loglevel: Some(given.loglevel.clone()),
            logtarget: Some(given.logtarget.clone()),
            syslogsocket: Some(given.syslogsocket.clone()),
        },
        as_fail2ban: true,
        empty: options.empty,
        detached: options.detached,
        verbosity: u8::try_from(options.verbosity.max(0)).unwrap_or(u8::MAX),
        dry_run: false,
        shadow: false,
        ready: Some(ready),
    }
}
