//! A judge that decides at once, whose decisions are saved and applied at once,
//! and the actions' thread with a runner in this process.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockade_core::judge::{Command, CommandId, Event, JailChange, JailSpec, Judge, Outputs, StoredBan, StoredTime};
use stockade_core::{
    BanTime, Batch, Failure, FailureId, GroupValue, JailName, Position, Seq, SourceKey, Span, Timestamp, Who,
};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::runner::{Runner, serve};

use super::super::{ActionsHandle, How, JailActions, StagedActions};
use crate::daemon::inbox::Taken;
use crate::daemon::judge::{JudgeControl, JudgeInbox, inbox};
use crate::log::{Aim, Level, Log};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(super) struct Court {
    judge: Judge,
    inbox: Arc<JudgeInbox>,
    pub(super) actions: ActionsHandle,
    pub(super) now: Timestamp,
    log: Log,
    last: Seq,
    commands: u64,
    offset: u64,
    /// Are failures tried again, as in the daemon?
    pub(super) retries: bool,
}

impl Court {
    pub(super) fn new(now: Timestamp, log: &std::path::Path, effects: Option<std::path::PathBuf>) -> Court {
        let log = Log::start(&Aim::parse(log.to_str().unwrap(), "auto").unwrap(), Level::Debug, false).unwrap();
        let inbox = inbox();
        let spawn = || {
            let (ours, theirs) = UnixStream::pair()?;
            std::thread::spawn(move || serve(theirs));
            Runner::on(ours)
        };
        let runner = spawn().unwrap();
        let actions =
            ActionsHandle::start(runner, Box::new(spawn), effects, (Arc::clone(&inbox), Seq(0)), log.clone()).unwrap();
        let judge = Judge::new(1, Seq(0));
        Court { judge, inbox, actions, now, log, last: Seq(0), commands: 0, offset: 0, retries: false }
    }

    /// Makes jails that ban at the first failure.
    pub(super) fn jails(&mut self, jails: &[(&str, BanTime, Vec<ActionSpec>)]) {
        self.stage(jails, How::Tree);
        let specs = jails.iter().map(|(name, bantime, _)| {
            let mut spec = JailSpec::new(JailName::new(name));
            (spec.maxretry, spec.bantime, spec.findtime) = (1, *bantime, Span::from_secs(600));
            spec.maxmatches = 100;
            JailChange::Put(Box::new(spec))
        });
        self.step(Event::Config(specs.collect()));
    }

    pub(super) fn stage(&mut self, jails: &[(&str, BanTime, Vec<ActionSpec>)], how: How) {
        let jails = jails.iter().map(|(name, bantime, actions)| JailActions {
            name: JailName::new(name),
            bantime: *bantime,
            strict: true,
            actions: actions.clone(),
        });
        self.actions.stage(StagedActions { jails: jails.collect(), off: Vec::new(), how, ipv6: true, only: None });
    }

    /// Something happens, and what was decided is saved and applied.
    pub(super) fn step(&mut self, event: Event) {
        let mut out = Outputs::default();
        self.judge.step(self.now, event, &mut out);
        self.hand_out(&mut out);
        while self.judge.next_deadline().is_some_and(|at| at <= self.now) {
            self.judge.step(self.now, Event::Deadline, &mut out);
            self.hand_out(&mut out);
        }
    }

    fn hand_out(&mut self, out: &mut Outputs) {
        loop {
            let turn = Arc::new(std::mem::take(&mut out.turn));
            let decided = turn.decisions.last().map(|decision| decision.seq);
            self.actions.outputs(out, decided.map(|_| turn));
            for doubt in out.doubts.drain(..) {
                self.actions.doubt(doubt);
            }
            for ask in out.asks.drain(..) {
                if let stockade_core::judge::Question::IgnoreCommand { jail, command, about } = ask.question {
                    self.actions.ask(ask.id, jail, command, about);
                }
            }
            for retry in out.retries.drain(..).filter(|_| self.retries) {
                self.actions.retry(retry);
            }
            out.clear();
            let Some(last) = decided else { return };
            self.last = last;
            self.judge.step(self.now, Event::Saved(last), out);
            self.judge.step(self.now, Event::Applied { upto: last, failed: Vec::new() }, out);
        }
    }

    /// Waits until nothing is under way any more.
    pub(super) fn settle(&mut self) {
        let until = Instant::now() + PATIENCE;
        // What is asked of us just before it is idle shows in the round after.
        let mut calm = 0;
        while calm < 2 {
            let mut quiet = true;
            // What comes wakes us; that nothing is left to come has to be looked for.
            while let Taken::Control(messages) = self.inbox.take(Some(Instant::now() + LOOK_EVERY), false) {
                quiet = false;
                for message in messages {
                    match message {
                        JudgeControl::Event(event) => self.step(event),
                        JudgeControl::Look(look) => look(&self.judge, self.now),
                        _ => panic!("only events and looks come from actions"),
                    }
                }
            }
            calm = if self.actions.is_idle() && quiet { calm + 1 } else { 0 };
            assert!(Instant::now() < until, "actions do not come to rest: {:?}", self.actions.view());
        }
    }

    /// A failure, which is a ban.
    pub(super) fn fail(&mut self, jail: &str, id: &str, time: Timestamp, matches: &[&str], groups: &[(&str, &str)]) {
        self.offset += 1;
        let text = |text: &str| GroupValue::Text(text.into());
        let mut groups: Vec<(&str, GroupValue)> = groups.iter().map(|(n, v)| (*n, text(v))).collect();
        groups.sort_by_key(|(name, _)| *name);
        let source = SourceKey { path: "/log".into(), generation: 1 };
        let failure = Failure {
            who: Who::Id(FailureId::parse(id)),
            ip: None,
            time,
            regex: 0,
            place: Position::Offset(self.offset),
            matches: matches.iter().map(|m| Box::from(*m)).collect(),
            groups: groups.into_iter().collect(),
        };
        self.step(Event::Batch(Batch {
            jail: JailName::new(jail),
            source,
            to: Position::Offset(self.offset),
            failures: vec![failure],
            lines: 1,
            replay: false,
            epoch: 1,
        }));
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands += 1;
        self.step(Event::Command { id: CommandId(self.commands), command });
    }

    pub(super) fn unban(&mut self, jail: &str, id: &str) {
        let (jail, targets) = (Some(JailName::new(jail)), vec![FailureId::parse(id)]);
        self.command(Command::Unban { jail, targets });
    }

    pub(super) fn restore(&mut self, jail: &str, id: &str, start: Timestamp, bantime: BanTime, count: u32) {
        self.step(Event::Restore(vec![StoredBan {
            jail: JailName::new(jail),
            id: FailureId::parse(id),
            ip: None,
            start,
            bantime: StoredTime::Known(bantime),
            count,
            failures: 1,
            matches: Vec::new(),
            groups: Vec::new(),
        }]));
    }

    /// Takes what has come, without waiting for the end of anything.
    pub(super) fn look(&mut self) {
        while let Taken::Control(messages) = self.inbox.take(Some(Instant::now() + LOOK_EVERY), false) {
            for message in messages {
                match message {
                    JudgeControl::Event(event) => self.step(event),
                    JudgeControl::Look(look) => look(&self.judge, self.now),
                    _ => panic!("only events and looks come from actions"),
                }
            }
        }
    }

    /// A jail without actions that asks a command about each failure.
    pub(super) fn ignorecommand(&mut self, jail: &str, command: &str) {
        let mut spec = JailSpec::new(JailName::new(jail));
        (spec.maxretry, spec.ignorecommand) = (1, Some(command.into()));
        self.step(Event::Config(vec![JailChange::Put(Box::new(spec))]));
    }

    /// Who is banned, in the order of banning.
    pub(super) fn banned(&self, jail: &str) -> Vec<String> {
        self.judge.bans(&JailName::new(jail)).iter().map(|ban| ban.id.to_string()).collect()
    }

    /// Waits until the log is written.
    pub(super) fn flush_log(&self) {
        self.log.flush();
    }
}
