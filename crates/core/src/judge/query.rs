//! What the judge can be asked: status, bans, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Judge;
use super::announce::{Announcer, Trouble};
use super::bans::Ban;
use super::ignore::{Surroundings, Verdict};
use super::jail::Jail;
use super::log::IgnoreSource;
use super::output::{About, Counters};
use crate::decision::Seq;
use crate::failure::{GroupValue, Groups, Matches};
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::{BanTime, Timestamp};

/// The judge's part of `status JAIL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailStatus {
    /// The counters.
    pub counters: Counters,
    /// Bans that are not saved, not applied, or whose action failed.
    pub troubled: u64,
}

/// The judge's part of the health of the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The last decision made.
    pub last: Seq,
    /// Up to where decisions are durable.
    pub saved: Seq,
    /// Up to where the kernel has tried them.
    pub applied: Seq,
    /// Why saving lags, if the store said so.
    pub unsaved: Option<Box<str>>,
    /// Failures that are being retried.
    pub troubles: Vec<Trouble>,
    /// Failures that found no room to be retried.
    pub troubles_dropped: u64,
    /// Failures parked for an answer now.
    pub parked: usize,
    /// Questions that were never answered or could not be asked.
    pub unasked_total: u64,
    /// Batches of jails that do not exist (any more).
    pub dropped_batches_total: u64,
    /// Tallies over all jails.
    pub tallies: usize,
    /// Bytes of matches and groups that are held.
    pub matches_bytes: usize,
}

/// What may be wrong with a ban.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanState {
    /// Its decision is not durable yet.
    pub unsaved: bool,
    /// The kernel has not answered yet.
    pub unapplied: bool,
    /// Kernel or actions that failed and are retried.
    pub failed: Vec<Trouble>,
}

/// One living ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanView {
    /// Number of its decision.
    pub seq: Seq,
    /// Who.
    pub id: FailureId,
    /// The address for firewalls where the id is something else.
    pub ip: Option<Net>,
    /// When it began.
    pub start: Timestamp,
    /// How long it lasts.
    pub bantime: BanTime,
    /// When it ends.
    pub end: Timestamp,
    /// How often the id was banned, as actions see it: with `restored` one more than it really was.
    pub count: u32,
    /// Counted failures.
    pub failures: u32,
    /// Does it come from the database?
    pub restored: bool,
    /// The matched lines.
    pub matches: Arc<[Box<str>]>,
    /// Captured groups.
    pub groups: Arc<[(Arc<str>, GroupValue)]>,
    /// How the ban time came about; may be empty.
    pub why: Box<str>,
    /// What may be wrong with it.
    pub state: BanState,
}

/// What lists show of a living ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanLine {
    /// Number of its decision; lists are ordered by it.
    pub seq: Seq,
    /// Who.
    pub id: FailureId,
    /// When it began.
    pub start: Timestamp,
    /// How long it lasts.
    pub bantime: BanTime,
    /// When it ends.
    pub end: Timestamp,
}

/// A running count.
#[derive(Clone, Debug, PartialEq)]
pub struct TallyView {
    /// Begin of the estimate.
    pub first: Timestamp,
    /// Time of the newest failure.
    pub last: Timestamp,
    /// The estimate that is compared with `maxretry`.
    pub retry: f64,
    /// Counted failures.
    pub failures: u32,
    /// The newest matched lines.
    pub matches: Vec<Box<str>>,
}

/// What one jail knows about an id.
#[derive(Clone, Debug, PartialEq)]
pub struct JailWhy {
    /// Which jail.
    pub jail: JailName,
    /// Its `maxretry`, for comparison with the tally.
    pub maxretry: u32,
    /// The running count.
    pub tally: Option<TallyView>,
    /// The living ban.
    pub ban: Option<BanView>,
    /// The ban that the guard withholds: since when, until when, why.
    pub withheld: Option<(Timestamp, Timestamp, Box<str>)>,
    /// The rule by which its failures are not counted, as far as it is known
    /// without asking.
    pub ignored: Option<IgnoreSource>,
    /// The last ended ban: how many there were, its begin, its length.
    pub past: Option<(u32, Timestamp, BanTime)>,
    /// Failures that wait for an answer.
    pub parked: usize,
}

/// All that is known about an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// Why the guard protects it, if it does.
    pub protected: Option<Box<str>>,
    /// Jails that know something of it, in their order.
    pub jails: Vec<JailWhy>,
}

impl Judge {
    /// Names of the jails in the order in which they were made.
    pub fn jails(&self) -> impl Iterator<Item = &JailName> {
        self.jails.iter().map(Jail::name)
    }

    /// The options of a jail.
    pub fn spec(&self, jail: &JailName) -> Option<&super::JailSpec> {
        Some(&self.jail(jail)?.spec)
    }

    /// Counters and troubles of a jail.
    pub fn status(&self, jail: &JailName) -> Option<JailStatus> {
        let troubled = self.desk.announcer.troubles().filter(|trouble| trouble.subject.jail == *jail).count() as u64;
        Some(JailStatus { counters: self.jail(jail)?.counters(), troubled })
    }

    /// The living bans of a jail in the order of banning.
    pub fn bans(&self, jail: &JailName) -> Vec<BanView> {
        let Some(jail) = self.jail(jail) else { return Vec::new() };
        let mut bans: Vec<BanView> = jail.bans.iter().map(|(id, ban)| self.view(jail, id, ban)).collect();
        bans.sort_by_key(|ban| ban.seq);
        bans
    }

    /// At most `most` living bans of a jail, as [`Judge::ban_lines`] gives them, with all that is known of each.
    pub fn bans_page(&self, jail: &JailName, from: u32, most: usize) -> (Vec<BanView>, Option<u32>) {
        let Some(jail) = self.jail(jail) else { return (Vec::new(), None) };
        let (page, next) = jail.bans.page(from, most);
        (page.map(|(id, ban)| self.view(jail, id, ban)).collect(), next)
    }

    /// At most `most` living bans of a jail in no order, from place `from` on
    /// (begin with 0), and the place to go on from; `None` when all were seen.
    /// What is banned or unbanned between two pages may be in none or in two.
    pub fn ban_lines(&self, jail: &JailName, from: u32, most: usize) -> (Vec<BanLine>, Option<u32>) {
        let Some(jail) = self.jail(jail) else { return (Vec::new(), None) };
        let (page, next) = jail.bans.page(from, most);
        let line = |(id, ban): (&FailureId, &Ban)| BanLine {
            seq: ban.seq,
            id: id.clone(),
            start: ban.start,
            bantime: ban.bantime(jail.spec.bantime),
            end: ban.end,
        };
        (page.map(line).collect(), next)
    }

    /// The living bans of networks in a jail, in no order.
    pub fn network_bans(&self, jail: &JailName) -> Vec<BanView> {
        let Some(jail) = self.jail(jail) else { return Vec::new() };
        let wide = |id: &FailureId| id.net().is_some_and(|net| !net.is_host());
        jail.bans.iter().filter(|(id, _)| wide(id)).map(|(id, ban)| self.view(jail, id, ban)).collect()
    }

    /// Bans that the guard withholds now: jail, who, why.
    pub fn withheld(&self) -> impl Iterator<Item = (&JailName, &FailureId, &str)> {
        let now = self.desk.now;
        self.jails.iter().flat_map(move |jail| {
            let living = jail.withheld.iter().filter(move |(_, spell)| spell.until >= now);
            living.map(|(id, spell)| (jail.name(), id, &*spell.why))
        })
    }

    /// The living bans of a jail by end, as `get JAIL banip` lists them.
    pub fn bans_by_end(&self, jail: &JailName) -> Vec<BanView> {
        let mut bans = self.bans(jail);
        bans.sort_by_key(|ban| ban.end);
        bans
    }

    /// The living ban of an id in a jail.
    pub fn ban(&self, jail: &JailName, id: &FailureId) -> Option<BanView> {
        let jail = self.jail(jail)?;
        Some(self.view(jail, id, jail.bans.get(id)?))
    }

    /// Is this id banned in the jail?
    pub fn is_banned(&self, jail: &JailName, id: &FailureId) -> bool {
        self.jail(jail).is_some_and(|jail| jail.bans.get(id).is_some())
    }

    fn view(&self, jail: &Jail, id: &FailureId, ban: &Ban) -> BanView {
        let evidence = ban.evidence();
        BanView {
            seq: ban.seq,
            id: id.clone(),
            ip: evidence.and_then(|e| e.ip),
            start: ban.start,
            bantime: ban.bantime(jail.spec.bantime),
            end: ban.end,
            count: ban.count,
            failures: ban.failures,
            restored: ban.restored,
            matches: evidence.map(|e| e.matches.clone()).unwrap_or_default(),
            groups: evidence.map(|e| e.groups.clone()).unwrap_or_default(),
            why: evidence.map(|e| e.why.clone()).unwrap_or_default(),
            state: state(jail, id, ban, &self.desk.announcer),
        }
    }

    /// All that is known about an id, without asking anybody.
    pub fn why(&self, id: &FailureId) -> Why {
        let mut parked: BTreeMap<&JailName, usize> = BTreeMap::new();
        for (jail, count) in self.parking.of(id) {
            *parked.entry(jail).or_default() += count;
        }
        let jails = self
            .jails
            .iter()
            .map(|jail| JailWhy {
                jail: jail.name().clone(),
                maxretry: jail.spec.maxretry,
                tally: jail.tallies.get(id).map(|tally| TallyView {
                    first: tally.first,
                    last: tally.last,
                    retry: tally.retry,
                    failures: tally.failures,
                    matches: tally.detail.as_ref().map(|detail| detail.matches.clone()).unwrap_or_default(),
                }),
                ban: jail.bans.get(id).map(|ban| self.view(jail, id, ban)),
                withheld: jail.withheld.get(id).map(|spell| (spell.since, spell.until, spell.why.clone())),
                ignored: self.ignored(jail, id),
                past: jail.history.get(id).map(|past| (past.count, past.start, past.bantime)),
                parked: parked.get(jail.name()).copied().unwrap_or(0),
            })
            .filter(|why| {
                why.tally.is_some()
                    || why.ban.is_some()
                    || why.withheld.is_some()
                    || why.ignored.is_some()
                    || why.past.is_some()
                    || why.parked > 0
            })
            .collect();
        Why { protected: self.desk.protection_anywhere(id.net()), jails }
    }

    fn ignored(&self, jail: &Jail, id: &FailureId) -> Option<IgnoreSource> {
        let around = Surroundings {
            own: &self.desk.own,
            names: &self.desk.names,
            allowed: &self.desk.allowed,
            now: self.desk.now,
            command: None,
            no_asking: true,
        };
        let about = About {
            id: id.clone(),
            ip: None,
            time: self.desk.now,
            matches: Matches::default(),
            groups: Groups::default(),
        };
        match jail.rules.peek(&about, &around) {
            Verdict::Ignore(source) => Some(source),
            _ => None,
        }
    }

    /// How it stands with saving, applying and asking.
    pub fn health(&self) -> Health {
        let announcer = &self.desk.announcer;
        Health {
            last: announcer.last,
            saved: announcer.saved,
            applied: announcer.applied,
            unsaved: announcer.unsaved.clone(),
            troubles: announcer.troubles().cloned().collect(),
            troubles_dropped: announcer.troubles_dropped,
            parked: self.parking.len(),
            unasked_total: self.unasked,
            dropped_batches_total: self.dropped_batches,
            tallies: self.jails.iter().map(|jail| jail.tallies.len()).sum(),
            matches_bytes: self.matches_bytes(),
        }
    }

    /// Decisions that have not been announced yet.
    pub fn outstanding(&self) -> usize {
        self.desk.announcer.outstanding()
    }

    /// What `stockade allow` has allowed: for all jails, and per jail.
    pub fn allowed(&self) -> Vec<(Option<JailName>, Net)> {
        let all = self.desk.allowed.iter().map(|net| (None, net));
        let each =
            self.jails.iter().flat_map(|jail| jail.rules.allowed.iter().map(|net| (Some(jail.name().clone()), net)));
        all.chain(each).collect()
    }
}

/// Is anything of this ban not as it should be?
fn state(jail: &Jail, id: &FailureId, ban: &Ban, announcer: &Announcer) -> BanState {
    BanState {
        unsaved: ban.last() > announcer.saved,
        unapplied: ban.last() > announcer.applied,
        failed: announcer.troubles_of(jail.name(), id),
    }
}
