//! A daemon's life from the command line to its end: what it is told before it
//! starts, where it takes what it runs from, and how it may end.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use signal_hook::consts::SIGHUP;
use stockade_config::Overrides;
use stockade_enforce::runner::Runner;
use stockade_wire::pickle::Exception;

use super::boot::{Content, Daemon, Lock, Start, Wake, again, in_the_way, open_log, signals};
use super::door::{Door, First, Sent};
use super::notify::notify;
use crate::cli::{RUNNER_WORD, RunArgs};
use crate::control::desk::{End, LastWord};
use crate::control::server::Socket;
use crate::log::Log;
use crate::places::Tree;
use crate::settings::words;

/// How long a server whose first commands were refused still answers whoever sent them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How to start.
pub(crate) struct Launch {
    /// The tree's folder; without one our own settings over the embedded tree.
    pub(crate) conf: Option<PathBuf>,
    /// What the command line says in the tree's place.
    pub(crate) given: Overrides,
    /// Behave as the original: its profile, and its ways with signals.
    pub(crate) as_fail2ban: bool,
    /// Come up with nothing, and wait for a client to send the tree's commands.
    pub(crate) empty: bool,
    /// This process is the one in the background: standard output and error
    /// lead nowhere once it is ready, and a hang-up is none of its business.
    pub(crate) detached: bool,
    /// How many more words in the log.
    pub(crate) verbosity: u8,
    /// Decide, but ban nobody.
    pub(crate) dry_run: bool,
    /// Beside another guard: touch none of its places.
    pub(crate) shadow: bool,
    /// Called once the socket answers (empty), or everything works.
    pub(crate) ready: Option<Box<dyn FnOnce()>>,
}

impl From<&RunArgs> for Launch {
    fn from(args: &RunArgs) -> Launch {
        Launch {
            conf: args.common.conf.clone(),
            given: Overrides::default(),
            as_fail2ban: false,
            empty: false,
            detached: false,
            verbosity: args.verbose,
            dry_run: args.dry_run,
            shadow: args.shadow,
            ready: None,
        }
    }
}

/// How a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Its terminal went away (only as the original, in the foreground).
    HungUp,
}

/// Runs a daemon until it is told to stop.
///
/// # Errors
/// Why it could not start, or could not put everything away.
pub(crate) fn launch(mut launch: Launch) -> Result<Ended> {
    // Everything that is made here is for its owner alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    launch.dry_run |= launch.shadow || !rustix::process::geteuid().is_root();
    let handed_over = Socket::handed_over().context("the service manager's socket can't be used")?;
    // Before anything else is opened that its commands could inherit.
    let runner = if launch.dry_run { None } else { Some(Runner::spawn(RUNNER_WORD)?) };
    if launch.detached {
        launch.stand_at_the_root()?;
    }
    let mut tree = Tree::of(launch.conf.as_deref());
    if launch.as_fail2ban {
        tree = tree.under_fail2ban_name(launch.given.clone());
    }
    let mut places = tree.places()?;
    if launch.shadow {
        places.in_the_shadow();
    }
    let mut content = if launch.empty { None } else { Some(Content::of_tree(&tree)?) };
    if let Some(content) = &content {
        content.correct(&mut places, &launch);
    }
    let lock = Lock::take(&places.pidfile)?;
    let socket = match handed_over {
        Some(socket) => socket,
        None => Socket::bind(&places.socket).map_err(|e| in_the_way(&places, &tree, &e))?,
    };
    lock.write_pid()?;
    let log = open_log(&places, &launch)?;
    let (sender, wake) = channel();
    signals(sender.clone())?;
    let (mut door, mut sent) = (None, None);
    let mut socket = Some(socket);
    if launch.empty {
        let open = Door::open(socket.take(), sender.clone(), log.clone())?;
        launch.say_ready();
        let first = match first(&wake, &launch) {
            Ok(first) => first,
            Err(last) => {
                log.info("stopped before there was anything to run");
                go(&open, lock, last, &log);
                return Ok(Ended::Stopped);
            }
        };
        match Content::of_stream(first.stream, &tree) {
            Ok(got) => {
                got.correct(&mut places, &launch);
                content = Some(got);
            }
            Err(why) => return refused(first.sent, why, &wake, &open, &log),
        }
        (door, sent) = (Some(open), first.sent);
    }
    let content = content.context("there is nothing to run")?;
    let start = Start { launch: &launch, tree, places, content, log: log.clone(), runner };
    let (daemon, desk) = match Daemon::start(start, &sender) {
        Ok(started) => started,
        Err(why) => match &door {
            Some(door) => return refused(sent, Exception::plain(format!("{why:#}")), &wake, door, &log),
            None => return Err(why),
        },
    };
    let door = match door {
        Some(door) => door,
        None => Door::open(socket, sender, log.clone())?,
    };
    door.admit(desk);
    if let Some(sent) = sent {
        sent.done();
    }
    notify("READY=1");
    log.info("ready");
    launch.say_ready();
    let (end, ended, last) = daemon.wait(&wake, &launch, &log);
    let stopped = daemon.stop(end, &log);
    go(&door, lock, last, &log);
    stopped?;
    if end == End::Restart && door.is_handed_over() {
        bail!("stopped to be started anew by the service manager, whose socket it is");
    }
    if end == End::Restart {
        return Err(again().into());
    }
    Ok(ended)
}

/// Leaves: first the places that another daemon may want at once, then whoever waits for that.
fn go(door: &Door, lock: Lock, last: LastWord, log: &Log) {
    door.leave();
    drop(lock);
    last();
    door.close();
    log.flush();
}

impl Launch {
    /// Names every place from the root, and goes there: who is in the
    /// background must not hold on to the folder it was started in.
    fn stand_at_the_root(&mut self) -> Result<()> {
        let absolute = |text: &mut Option<String>| {
            let named = text.as_deref().filter(|text| !text.is_empty());
            if let Some(path) = named.and_then(|named| std::path::absolute(named).ok()) {
                *text = Some(path.to_string_lossy().into_owned());
            }
        };
        absolute(&mut self.given.socket);
        absolute(&mut self.given.pidfile);
        if let Some(conf) = &mut self.conf {
            *conf = std::path::absolute(&conf)?;
        }
        std::env::set_current_dir("/").context("the folder / can't be entered")
    }

    fn say_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            ready();
        }
    }
}

/// What an empty server shall run; or, if it is to stop before, the last word.
///
/// DIVERGENCE: failed-start-ends. What the original's client sends first is
/// one stream; a server that can't run it ends, instead of staying without jails.
fn first(wake: &Receiver<Wake>, launch: &Launch) -> Result<First, LastWord> {
    while let Ok(next) = wake.recv() {
        match next {
            Wake::First(first) => return Ok(first),
            Wake::End(_, last) => return Err(last),
            Wake::Signal(SIGHUP) if launch.detached => {}
            Wake::Signal(signal_hook::consts::SIGUSR1) => {}
            Wake::Signal(_) => break,
        }
    }
    Err(Box::new(|| {}))
}

/// Tells who sent the commands why they are refused, lets them ask what they
/// still want to, and ends.
fn refused(sent: Option<Sent>, why: Exception, wake: &Receiver<Wake>, door: &Door, log: &Log) -> Result<Ended> {
    let text = why.args.iter().map(words).collect::<Vec<_>>().join(": ");
    log.error(format!("what was sent is refused, and nothing runs: {text}"));
    if let Some(sent) = sent {
        sent.refused(why.clone());
    }
    door.turn_away(why);
    let until = std::time::Instant::now() + LAST_WORDS;
    while let Ok(next) = wake.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
        if matches!(next, Wake::End(..) | Wake::Signal(_)) {
            break;
        }
    }
    door.close();
    log.flush();
    bail!("what was sent is refused: {text}")
}
