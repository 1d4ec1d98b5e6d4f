//! Who stands in a `.keep` file is banned for good, and nobody who doesn't any more.
//!
//! What was banned so is remembered in the database, so that a line removed
//! while no daemon ran is unbanned at the next start. It is saved before the
//! bans: a crash between the two leaves nobody banned whom nobody remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use stockade_core::judge::{Command, Guard, IgnoreEntry, JailSpec, Outcome, ProtectedAs, Protection};
use stockade_core::{BanTime, FailureId, JailName, Net, Origin};
use stockade_store::Snapshot;

use super::jail::Jail;
use super::{SNAPSHOT, Thread};
use crate::blacklist::Protected;
use crate::daemon::store::StoreJob;
use crate::log::Level;

/// How many bans are asked for at once; the judge does other things in between.
const AT_ONCE: usize = 1_000;
/// How many lines that can't be banned are remembered; further ones are counted.
const LEFT_OUT_MAX: usize = 100;
/// Why somebody who was lifted is not banned.
const LIFTED: &str = "it was lifted by `stockade lift`; it is banned again when this file changes, or at a reload";
/// How many addresses a line of the log names.
const NAMED_MAX: usize = 5;

impl Thread {
    /// Makes the bans of a jail what its `.keep` file says.
    pub(super) fn keep(&self, jail: &mut Jail, now: Instant) {
        let name = jail.spec.name.clone();
        let Some(protected) = self.protected(&jail.spec) else { return };
        let (mut wanted, mut left_out) = (BTreeMap::new(), LeftOut::default());
        let let_go = self.shared.let_go().get(&name).cloned().unwrap_or_default();
        for (net, line) in &jail.keep.nets {
            match protected.why_not(*net).or_else(|| let_go.covers(*net).then(|| LIFTED.to_owned())) {
                Some(why) => left_out.add(*line, *net, &why),
                None => drop(wanted.insert(*net, *line)),
            }
        }
        let before = self.applied(&name);
        let gone: Vec<Net> = before.iter().filter(|net| !wanted.contains_key(net)).copied().collect();
        let Some(missing) = self.missing(&name, &wanted.keys().copied().collect::<Vec<_>>()) else { return };
        if missing.iter().any(|net| !before.contains(net)) || wanted.keys().any(|net| !before.contains(net)) {
            self.remember(&name, before.iter().copied().chain(wanted.keys().copied()).collect());
        }
        let lifted: Vec<Net> = missing.iter().filter(|net| before.contains(net)).copied().collect();
        let banned = self.ban(&name, &missing, |net, why| {
            if let Some(line) = wanted.remove(&net) {
                left_out.add(line, net, why);
            }
        });
        let unbanned = self.unban(&name, &gone);
        let kept: BTreeSet<Net> = wanted.keys().copied().collect();
        if self.is_closing() {
            return;
        }
        self.remember(&name, kept);
        let file = jail.lists.keep.display();
        if !lifted.is_empty() {
            let who = lifted.iter().take(NAMED_MAX).map(|net| match wanted.get(net) {
                Some(line) => format!("{net} ({file}:{line})"),
                None => net.to_string(),
            });
            let who = who.collect::<Vec<_>>().join(", ");
            let more = if lifted.len() > NAMED_MAX {
                format!(" and {} more", lifted.len() - NAMED_MAX)
            } else {
                String::new()
            };
            let text =
                format!("[{name}] {who}{more} had been unbanned, but is kept: banned again; remove the line instead");
            self.say(Level::Warning, text);
        }
        if banned + unbanned > 0 {
            let text = format!(
                "[{name}] {file}: {banned} banned for good, {unbanned} unbanned, {} lines in force",
                wanted.len()
            );
            self.say(Level::Notice, text);
        }
        if left_out.total > 0 {
            jail.look_again(now);
        }
        jail.left_out = left_out.lines();
        jail.kept = Arc::new(wanted);
    }

    /// A jail that keeps nobody any more.
    pub(super) fn keep_no_more(&self, name: &JailName) {
        let gone = self.applied(name);
        let unbanned = self.unban(name, &gone.into_iter().collect::<Vec<_>>());
        self.remember(name, BTreeSet::new());
        self.say(
            Level::Notice,
            format!("[{name}] it has no blacklist any more: {unbanned} unbanned who were kept by it"),
        );
    }

    /// Whom the jail must not ban by such a list, as it stands now.
    fn protected(&self, spec: &JailSpec) -> Option<Protected> {
        self.around.guard.refresh();
        let mut protected = Protected::default();
        for entry in &spec.ignoreip {
            match entry {
                IgnoreEntry::Net(net) => protected.add(*net, "ignoreip names it"),
                IgnoreEntry::File { path, nets } => {
                    let why = format!("ignoreip names it, in {path}");
                    nets.iter().for_each(|net| protected.add(*net, &why));
                }
                IgnoreEntry::Name(_) => {}
            }
        }
        let name = spec.name.clone();
        for (jail, net) in self.look(|judge| judge.allowed())? {
            if jail.is_none_or(|jail| jail == name) {
                protected.add(net, "stockade allow has allowed it");
            }
        }
        for Protection { net, reason } in self.around.guard.protected() {
            let counts = match (spec.guard, &reason) {
                (Guard::Off, _) => false,
                (Guard::Refuse, reason) => reason.concerns(&name),
                (Guard::Warn, ProtectedAs::Login(_) | ProtectedAs::Relay { .. }) => false,
                (Guard::Warn, _) => spec.ignoreself,
            };
            if counts {
                protected.add(net, &reason.to_string());
            }
        }
        Some(protected)
    }

    /// Who of these is not banned for good.
    fn missing(&self, name: &JailName, nets: &[Net]) -> Option<Vec<Net>> {
        let mut missing = Vec::new();
        for part in nets.chunks(AT_ONCE) {
            let (jail, part) = (name.clone(), part.to_vec());
            let found = self.look(move |judge| {
                let for_good = |net: &Net| {
                    judge.ban(&jail, &FailureId::Net(*net)).is_some_and(|ban| ban.bantime == BanTime::Permanent)
                };
                part.into_iter().filter(|net| !for_good(net)).collect::<Vec<_>>()
            });
            missing.extend(found?);
        }
        Some(missing)
    }

    /// Bans for good; tells who is not, and why. Returns how many were.
    fn ban(&self, name: &JailName, nets: &[Net], mut withheld: impl FnMut(Net, &str)) -> usize {
        let mut banned = 0;
        for part in nets.chunks(AT_ONCE) {
            if self.is_closing() {
                break;
            }
            // Who is let go while this runs is unbanned behind what is sent here, or not banned at all.
            let all = self.shared.let_go();
            let let_go = all.get(name);
            let part = part.iter().filter(|net| !let_go.is_some_and(|let_go| let_go.covers(**net)));
            let ids: Vec<FailureId> = part.map(|net| FailureId::Net(*net)).collect();
            let number = ids.len();
            let bantime = Some(BanTime::Permanent);
            let (jail, origin) = (name.clone(), Origin::Config);
            let outcome = self.send(Command::Ban { jail, ids, bantime, force: false, origin });
            drop(all);
            let Ok(Outcome::Banned { withheld: not, .. }) = outcome.recv() else { break };
            banned += number.saturating_sub(not.len());
            for (id, why) in not {
                if let Some(net) = id.net() {
                    withheld(net, &why);
                }
            }
        }
        banned
    }

    /// Unbans who is banned of these; returns how many were.
    fn unban(&self, name: &JailName, nets: &[Net]) -> usize {
        let mut unbanned = 0;
        for part in nets.chunks(AT_ONCE) {
            let (jail, part) = (name.clone(), part.to_vec());
            // A network that is not banned itself would take along who is within.
            let there = self.look(move |judge| {
                let ids = part.into_iter().map(FailureId::Net);
                ids.filter(|id| judge.is_banned(&jail, id)).collect::<Vec<_>>()
            });
            let Some(targets) = there.filter(|targets| !targets.is_empty()) else { continue };
            unbanned += targets.len();
            self.command(Command::Unban { jail: Some(name.clone()), targets });
        }
        unbanned
    }

    /// Keeps whom a jail keeps over a restart.
    fn remember(&self, name: &JailName, kept: BTreeSet<Net>) {
        if self.applied(name) == kept {
            return;
        }
        let snapshot = Snapshot { name: format!("{SNAPSHOT}{name}").into(), data: encode(&kept).into() };
        self.around.store.send(StoreJob::Snapshots(vec![snapshot]));
        self.around.store.sync();
        let mut applied = self.shared.applied();
        if kept.is_empty() {
            applied.remove(name);
        } else {
            applied.insert(name.clone(), kept);
        }
    }

    /// Whom this thread has banned for good in a jail, also in an earlier process.
    fn applied(&self, name: &JailName) -> BTreeSet<Net> {
        self.shared.applied().get(name).cloned().unwrap_or_default()
    }
}

/// Lines that are not banned.
#[derive(Default)]
struct LeftOut {
    first: Vec<(u32, String)>,
    total: usize,
}

impl LeftOut {
    fn add(&mut self, line: u32, net: Net, why: &str) {
        self.total += 1;
        if self.first.len() < LEFT_OUT_MAX {
            self.first.push((line, format!("{net} is not banned: {why}")));
        }
    }

    fn lines(mut self) -> Vec<(u32, String)> {
        self.first.sort();
        let more = self.total - self.first.len();
        if let Some((_, last)) = self.first.last_mut().filter(|_| more > 0) {
            *last += &format!(" ({more} more lines are left out)");
        }
        self.first
    }
}

/// One network a line.
fn encode(nets: &BTreeSet<Net>) -> Vec<u8> {
    nets.iter().map(|net| format!("{net}\n")).collect::<String>().into_bytes()
}

/// What [`encode`] wrote.
pub(super) fn decode(data: &[u8]) -> BTreeSet<Net> {
    let text = String::from_utf8_lossy(data);
    text.lines().filter_map(|line| FailureId::parse(line).net()).collect()
}
