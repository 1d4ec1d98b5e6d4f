//! The steps of a takeover, each way, and what undoes them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stockade_core::{FailureId, JailName};

use super::bridge::{Bridge, LIFETIME, TABLE, remove_left};
use super::names::{self, Name};
use super::server::{Listed, Server, Who};
use super::units;
use crate::cli::client::{Client, text};
use crate::places::{Places, Tree};
use crate::settings::Settings;

/// How many bans that could not be taken over are shown.
pub(super) const MISSING_SHOWN: usize = 20;
/// The original ends bans one by one where its actions can't do it at once: 20,000 take minutes.
const END_MAX: Duration = Duration::from_secs(1_800);
/// And it makes them anew one by one: 20,000 take five minutes with the stock action.
const BANS_BACK_MAX: Duration = Duration::from_secs(6 * 3_600);
/// It lists a ban just before it carries it out, and actions may be slow.
const LAST_BAN: Duration = Duration::from_secs(3);
const START_MAX: Duration = Duration::from_secs(60);
/// Bans handed over in one request.
const AT_ONCE: usize = 2_000;

/// Which guard follows which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// stockade follows fail2ban.
    Over,
    /// fail2ban follows stockade.
    Back,
}

impl Way {
    /// For programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Way::Over => "over",
            Way::Back => "back",
        }
    }
}

/// What is going to be done.
pub(super) struct Change {
    way: Way,
    conf: PathBuf,
    places: Places,
    settings: Settings,
    server: Server,
    running: bool,
    names: Vec<Name>,
    /// systemd starts and stops them.
    units: bool,
}

/// Whom the old guard had banned, and what refuses them meanwhile.
struct Held {
    bridge: Option<Bridge>,
    bans: BTreeSet<Listed>,
}

impl Held {
    /// Lets the bridge stand until its own end; what is said of it.
    fn stays(self) -> String {
        match self.bridge.map(Bridge::keep) {
            Some(true) => format!(
                "the bans are held for {} h by the table inet {TABLE}; `nft delete table inet {TABLE}` ends that",
                LIFETIME.secs() / 3_600
            ),
            Some(false) | None => "no ban is in force until then".to_owned(),
        }
    }
}

/// What was done.
pub(super) struct Done {
    /// Bans that stood before and stand now.
    pub(super) bans: usize,
    /// Bans that were not in the database and were handed over.
    pub(super) handed_over: usize,
    /// Bans that the new guard has not, in words.
    pub(super) missing: Vec<String>,
    pub(super) seconds: f64,
}

impl Change {
    /// Looks at everything that has to be there, and changes nothing.
    pub(super) fn plan(
        way: Way,
        conf: PathBuf,
        tree: &Tree,
        places: Places,
        server: Server,
        running: bool,
        keep_names: bool,
    ) -> Result<Change> {
        // What can't be used is refused while the old guard still stands.
        let loaded = tree.load().context("nothing is changed")?;
        let (settings, broken) = Settings::default()
            .staged_as_far_as_possible(&loaded.stream)
            .map_err(|why| anyhow::anyhow!("the configuration can't be used, and nothing is changed: {why}"))?;
        let off = loaded.off(&broken);
        if let Some((jail, why)) = off.first().filter(|_| way == Way::Over) {
            bail!(
                "jail '{jail}' can't run with stockade, and nothing is changed: {why}; switch it off or mend it first"
            );
        }
        if way == Way::Over {
            // Patterns, dates and actions are looked at only when a daemon makes use of them.
            crate::doctor::staged(settings.clone())
                .map_err(|why| anyhow::anyhow!("the configuration can't be used, and nothing is changed: {why}"))?;
        }
        let names = match way {
            Way::Over if keep_names => Vec::new(),
            Way::Over => names::theirs(),
            Way::Back => names::ours(),
        };
        let units = units::are_there();
        let needed = if way == Way::Over { units::OURS } else { units::THEIRS };
        if units && !units::known(needed) {
            bail!("systemd knows no {needed}, and nothing is changed; install the package that has it");
        }
        Ok(Change { way, conf, places, settings, server, running, names, units })
    }

    /// The steps, in words.
    pub(super) fn words(&self) -> Vec<String> {
        let (old, new) = match self.way {
            Way::Over => ("fail2ban", "stockade"),
            Way::Back => ("stockade", "fail2ban"),
        };
        let mut words = Vec::new();
        if self.running {
            words.push(format!("hold all bans of {old} in a table of their own (inet stockade-bridge)"));
            words.push(match self.units {
                true => format!("systemctl disable --now {}", self.old_unit()),
                false => format!("stop {old}, which answers at {}", self.server.socket().display()),
            });
        } else {
            words.push(format!("{old} does not run: nothing to stop"));
            if self.units && units::known(self.old_unit()) {
                words.push(format!("systemctl disable --now {}", self.old_unit()));
            }
        }
        for name in &self.names {
            words.push(match self.way {
                Way::Over => format!("{} becomes a link to stockade; the file is kept beside it", name.path.display()),
                Way::Back => format!("{} is fail2ban's own program again", name.path.display()),
            });
        }
        words.push(match (self.units, self.way) {
            (true, Way::Over) => format!("systemctl enable --now {}", units::OURS),
            (true, Way::Back) => format!("systemctl enable --now {}", units::THEIRS),
            (false, _) => format!("start {new} with {}", self.conf.display()),
        });
        let database =
            self.places.database.as_ref().map_or("no database".to_owned(), |path| path.display().to_string());
        words.push(format!("{new} goes on with {database}: bans, their counts, and places in the logs"));
        words.push(format!("wait until {new} has every ban, hand over what is missing, and remove the table"));
        words
    }

    /// Does it. If a step fails, the guard that ran before guards again, and the bans are held until it has them.
    pub(super) fn carry_out(&self, told: &dyn Fn(&str)) -> Result<Done> {
        let begin = Instant::now();
        // What can be known before anybody stops is known before.
        self.names.iter().try_for_each(Name::try_out).context("nothing is changed")?;
        let mut held = match self.hold(told) {
            // It was stopping when it was asked.
            Err(_) if self.running && self.has_gone(told) => Held { bridge: None, bans: self.stored()? },
            held => held.context("nothing is changed")?,
        };
        if let Err(why) = self.change_places(&mut held, told) {
            return Err(self.back_to_before(held, why, told));
        }
        told(&format!("waiting until it has all {} bans", held.bans.len()));
        let (handed_over, missing) = match self.all_of(&held.bans, self.way, told) {
            Ok(both) => both,
            Err(why) => {
                let stays = held.stays();
                return Err(why.context(format!("the new guard runs, but whom it has banned can't be seen; {stays}")));
            }
        };
        match held.bridge {
            Some(bridge) => bridge.remove()?,
            // One that was killed half-way may have left its own.
            None => remove_left(),
        }
        let kept = held.bans.len().saturating_sub(missing.len());
        Ok(Done { bans: kept, handed_over, missing, seconds: begin.elapsed().as_secs_f64() })
    }

    /// What starts the old guard, where systemd does.
    fn old_unit(&self) -> &'static str {
        match self.way {
            Way::Over => units::THEIRS,
            Way::Back => units::OURS,
        }
    }

    /// Is the old guard on its way out? Then until it has gone.
    fn has_gone(&self, told: &dyn Fn(&str)) -> bool {
        let begin = Instant::now();
        told("the old guard does not answer well: is it stopping?");
        while !self.server.answers() {
            if self.server.pid().is_none() {
                return true;
            }
            if begin.elapsed() > END_MAX {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Holds the bans of who runs, who goes on meanwhile.
    fn hold(&self, told: &dyn Fn(&str)) -> Result<Held> {
        if !self.running {
            return Ok(Held { bridge: None, bans: self.stored().unwrap_or_default() });
        }
        let bans = self.standing()?;
        let bridge = Bridge::put(&self.settings, &bans)?;
        if bridge.holds() {
            told(&format!("{} bans are held in a table of their own", bans.len()));
        } else {
            told("this kernel has no nftables and no ipset: until the new guard has them, bans are not in force");
        }
        Ok(Held { bridge: Some(bridge), bans })
    }

    /// Stops who runs, and starts the other one.
    fn change_places(&self, held: &mut Held, told: &dyn Fn(&str)) -> Result<()> {
        if let Some(bridge) = &mut held.bridge {
            // From here on it decides nothing more: lines that it has not read are read by the next one.
            if self.way == Way::Over {
                self.server.idle(true)?;
            }
            held.bans = self.standing()?;
            bridge.hold(&held.bans)?;
            told("the old guard is told to stop");
            let waiting = || told("it is still taking its bans out of the firewall");
            match (self.units, self.way) {
                (true, Way::Over) => units::off(units::THEIRS).and_then(|()| self.server.end(END_MAX, &waiting)),
                (false, Way::Over) => self.server.end(END_MAX, &waiting),
                (_, Way::Back) => self.stop_ours(&waiting),
            }?;
            // Whom it has banned since, the database knows.
            match self.stored() {
                Ok(stored) => held.bans = together(std::mem::take(&mut held.bans), stored),
                Err(why) => {
                    told(&format!("bans of the last moment may be missing, the database can't be read: {why:#}"))
                }
            }
            bridge.hold(&held.bans)?;
        } else if self.units {
            // It does not run, or is on its way out: the machine must not start both next time.
            if units::known(self.old_unit()) {
                units::off(self.old_unit())?;
            }
        }
        self.start_new(told)
    }

    /// After a step that failed: the guard that ran before guards again.
    fn back_to_before(&self, held: Held, why: anyhow::Error, told: &dyn Fn(&str)) -> anyhow::Error {
        told("a step failed; the guard that ran before goes on");
        let wrong = self.undo();
        let back = match self.way {
            Way::Over => Way::Back,
            Way::Back => Way::Over,
        };
        if !self.running && wrong.is_empty() {
            if self.units {
                return why.context(format!("nobody guards, as before, and {} is disabled now", self.old_unit()));
            }
            return why.context("everything is as it was before");
        }
        if self.running && self.old_runs() {
            told(&format!("waiting until it has all {} bans again", held.bans.len()));
            if let Ok((_, missing)) = self.all_of(&held.bans, back, told) {
                for ban in missing.iter().take(MISSING_SHOWN) {
                    told(&format!("not banned again: {ban}"));
                }
                drop(held);
                return match wrong.first() {
                    None => why.context("everything is as it was before"),
                    Some(_) => why.context(format!("the guard that ran before runs, but {}", in_a_row(&wrong))),
                };
            }
        }
        let stays = held.stays();
        let wrong = if wrong.is_empty() { "it does not answer".to_owned() } else { in_a_row(&wrong) };
        why.context(format!("and the guard that ran before does not come back; start it by hand ({wrong}); {stays}"))
    }

    /// Sees to it that who runs now has all bans; how many it was given, and whom it has not.
    fn all_of(&self, bans: &BTreeSet<Listed>, way: Way, told: &dyn Fn(&str)) -> Result<(usize, Vec<String>)> {
        match way {
            Way::Over => self.hand_over(bans),
            Way::Back => Ok((0, self.wait_for_bans(bans, told)?)),
        }
    }

    /// Does the guard answer that ran before?
    fn old_runs(&self) -> bool {
        let old = match self.way {
            Way::Over => Who::Original,
            Way::Back => Who::Stockade,
        };
        self.server.who().is_ok_and(|who| who == Some(old))
    }

    /// Stops ours, and what it has put into the firewall goes: the original makes its own anew.
    fn stop_ours(&self, waiting: &dyn Fn()) -> Result<()> {
        Client::at(&self.places.socket)?.ask("stop", &json!({ "lift": true }))?;
        if self.units {
            units::off(units::OURS)?;
        }
        self.server.end(END_MAX, waiting)
    }

    fn start_new(&self, told: &dyn Fn(&str)) -> Result<()> {
        for name in &self.names {
            match self.way {
                Way::Over => name.take()?,
                Way::Back => name.give_back()?,
            }
        }
        told("the new guard is started");
        match (self.units, self.way) {
            (true, Way::Over) => units::on(units::OURS)?,
            (true, Way::Back) => units::on(units::THEIRS)?,
            (false, Way::Over) => units::start_stockade(&self.conf)?,
            (false, Way::Back) => units::start_original(&self.conf)?,
        }
        self.wait_for_answer("the new guard")
    }

    fn wait_for_answer(&self, who: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.server.answers() {
            if begin.elapsed() > START_MAX {
                bail!("{who} does not answer at {} within {} s", self.server.socket().display(), START_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Puts everything back and lets the old guard go on, or starts it again. Each step is tried whatever became of the
    /// others; what failed.
    fn undo(&self) -> Vec<anyhow::Error> {
        let (old, new) = match self.way {
            Way::Over => (units::THEIRS, units::OURS),
            Way::Back => (units::OURS, units::THEIRS),
        };
        let mut wrong = Vec::new();
        let mut tried = |step: Result<()>| wrong.extend(step.err());
        let alive = self.running && self.old_runs();
        if !alive {
            if self.units {
                tried(units::off(new));
            }
            tried(self.server.end(END_MAX, &|| {}));
        }
        for name in &self.names {
            tried(match self.way {
                Way::Over => name.give_back(),
                Way::Back => name.take(),
            });
        }
        if self.running {
            match (self.units, alive, self.way) {
                (true, _, _) => tried(units::on(old)),
                (false, true, _) => {}
                (false, false, Way::Over) => tried(units::start_original(&self.conf)),
                (false, false, Way::Back) => tried(units::start_stockade(&self.conf)),
            }
            tried(self.wait_for_answer("the guard that ran before"));
            if alive && self.way == Way::Over {
                tried(self.server.idle(false));
            }
        }
        wrong
    }

    /// Everybody whom the running guard has banned.
    fn standing(&self) -> Result<BTreeSet<Listed>> {
        match self.way {
            Way::Over => self.server.bans(),
            Way::Back => self.ours(),
        }
    }

    /// Bans in the database that stand, of jails that run.
    fn stored(&self) -> Result<BTreeSet<Listed>> {
        let mut all = BTreeSet::new();
        let Some(path) = self.places.database.as_ref().filter(|path| path.exists()) else { return Ok(all) };
        let now = crate::daemon::now();
        let runs = |jail: &JailName| self.settings.jails.iter().any(|known| known.jail() == *jail);
        stockade_store::import(path, |ban| {
            // Of one without a time nobody knows how long it lasts: the guards' own lists have it if it stands.
            if ban.bantime.is_some() && ban.stands(now) && runs(&ban.jail) {
                let secs = ban.bantime.map_or(0, |time| time.secs());
                all.insert(Listed { jail: ban.jail, id: ban.id, time: Some((ban.time.secs(), secs)) });
            }
        })?;
        Ok(all)
    }

    /// Everybody whom stockade has banned.
    fn ours(&self) -> Result<BTreeSet<Listed>> {
        Ok(self.ours_and_on_the_way()?.0)
    }

    /// Waits until the kernel has said of all of them that it has them.
    fn in_force(&self) -> Result<BTreeSet<Listed>> {
        let begin = Instant::now();
        loop {
            let (all, on_the_way) = self.ours_and_on_the_way()?;
            if on_the_way == 0 {
                return Ok(all);
            }
            if begin.elapsed() > START_MAX {
                bail!("{on_the_way} bans are not in the kernel after {} s", START_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everybody whom stockade has banned, and how many of them the kernel has not answered about.
    fn ours_and_on_the_way(&self) -> Result<(BTreeSet<Listed>, usize)> {
        let (mut all, mut on_the_way) = (BTreeSet::new(), 0);
        Client::at(&self.places.socket)?.banned(None, false, |page| {
            on_the_way += page.iter().filter(|ban| ban.get("applied") == Some(&json!(false))).count();
            all.extend(page.iter().map(|ban| Listed {
                jail: JailName::new(text(ban, "jail")),
                id: FailureId::parse(text(ban, "id")),
                time: None,
            }));
            Ok(())
        })?;
        Ok((all, on_the_way))
    }

    /// What the database did not have, ours gets; how many, and whom it has not taken.
    fn hand_over(&self, bans: &BTreeSet<Listed>) -> Result<(usize, Vec<String>)> {
        let now = crate::daemon::now().secs();
        let lacking = |there: &BTreeSet<Listed>| -> Vec<Listed> {
            let there: BTreeSet<_> = there.iter().map(|ban| (&ban.jail, &ban.id)).collect();
            let over =
                |ban: &Listed| ban.time.is_some_and(|(begin, secs)| secs >= 0 && begin.saturating_add(secs) <= now);
            bans.iter().filter(|ban| !there.contains(&(&ban.jail, &ban.id)) && !over(ban)).cloned().collect()
        };
        let first = lacking(&self.in_force()?);
        let row = |ban: &Listed| {
            let (begin, secs) = ban.time.unwrap_or((now, 600));
            json!({ "jail": ban.jail.as_str(), "id": ban.id.to_string(), "time": begin, "bantime": secs })
        };
        for part in first.chunks(AT_ONCE) {
            let rows: Vec<Value> = part.iter().map(row).collect();
            Client::at(&self.places.socket)?.ask("import", &json!({ "bans": rows }))?;
        }
        let missing = if first.is_empty() { first.clone() } else { lacking(&self.in_force()?) };
        Ok((first.len().saturating_sub(missing.len()), missing.iter().map(in_words).collect()))
    }

    /// Waits until the original has made all bans anew.
    fn wait_for_bans(&self, bans: &BTreeSet<Listed>, told: &dyn Fn(&str)) -> Result<Vec<String>> {
        let begin = Instant::now();
        let (mut last, mut since, mut shown) = (usize::MAX, begin, begin);
        loop {
            let there = self.server.bans()?;
            let have: BTreeMap<_, _> = there.iter().map(|ban| ((&ban.jail, &ban.id), ())).collect();
            let missing: Vec<&Listed> = bans.iter().filter(|ban| !have.contains_key(&(&ban.jail, &ban.id))).collect();
            if missing.len() != last {
                (last, since) = (missing.len(), Instant::now());
            }
            // Bans that ended meanwhile never come; fail2ban makes some each second while it is at it.
            let still = since.elapsed() > Duration::from_secs(30);
            if missing.is_empty() || still || begin.elapsed() > BANS_BACK_MAX {
                std::thread::sleep(LAST_BAN);
                return Ok(missing.into_iter().map(in_words).collect());
            }
            if shown.elapsed() > Duration::from_secs(10) {
                shown = Instant::now();
                told(&format!("{} bans to go", missing.len()));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Each (jail, id) once.
fn together(bans: BTreeSet<Listed>, more: BTreeSet<Listed>) -> BTreeSet<Listed> {
    let known: BTreeSet<_> = bans.iter().map(|ban| (ban.jail.clone(), ban.id.clone())).collect();
    let new = more.into_iter().filter(|ban| !known.contains(&(ban.jail.clone(), ban.id.clone())));
    let new: Vec<Listed> = new.collect();
    bans.into_iter().chain(new).collect()
}

fn in_a_row(errors: &[anyhow::Error]) -> String {
    errors.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; ")
}

fn in_words(ban: &Listed) -> String {
    format!("{} in jail {}", ban.id, ban.jail)
}
