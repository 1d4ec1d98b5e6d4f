//! One command action: which text runs when, and what becomes of a failure.
//!
//! Families: `inet4`, `inet6`, the empty one of actions that make no
//! difference, and `None` of bans that have no address. Per family an action
//! remembers whether it was started and whether it has bans.
//!
//! Source: fail2ban `server/action.py`, `CommandAction`.

use std::collections::HashMap;
use std::sync::Arc;

use stockade_core::text::repr;

use super::dynamic::{self, Script};
use super::message::{ActionState, LineLevel, Speaker, Values, Verb};
use super::shell::{Ran, Tell};
use crate::actions::{ActionSpec, Expansion};

/// Whose ban it is; see the module's words.
type Family = Option<Arc<str>>;

/// The family was started.
const STARTED: u8 = 1;
/// It has bans since its start or the last flush.
const HAS_BANS: u8 = 2;

/// What an action does its work with.
pub(super) struct Hands<'a> {
    /// Runs a script: seconds that it may take, exit codes that are no failure.
    pub(super) run: &'a mut dyn FnMut(&Script, f64, &[i32]) -> Ran,
    /// Values that cost something: own and foreign host names.
    pub(super) rest: &'a mut dyn FnMut(&str, &Values) -> Option<String>,
    /// Takes lines for the log.
    pub(super) tell: Tell<'a>,
}

/// What one run brought, beside its result.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The first thing that a successful command wrote to standard error; where the run failed, how its
    /// last failed command ended, with the first line that it wrote there.
    pub(super) said: String,
    /// How the last failed command ended.
    fault: String,
    /// A check failed: bans made before may have lost their effect.
    pub(super) broken: bool,
    /// How many commands ran.
    pub(super) commands: u32,
}

/// One command action and what it has in force.
pub(super) struct CommandAction {
    spec: ActionSpec,
    ipv6: bool,
    idle: Values,
    expansions: HashMap<Family, Result<Expansion, String>>,
    started: Vec<(Family, u8)>,
    /// The text that ran for each family, by property, so that a text that is
    /// the same for two families runs once.
    executed: HashMap<&'static str, Vec<(Family, String)>>,
}

/// Why a run failed, in the original's words.
type Failure = String;

impl CommandAction {
    pub(super) fn new(spec: ActionSpec, state: &ActionState, idle: Values, ipv6: bool) -> Self {
        let started = state.families.iter().filter(|(_, flags)| *flags != 0).cloned().collect();
        CommandAction { spec, ipv6, idle, expansions: HashMap::new(), started, executed: HashMap::new() }
    }

    /// What is in force.
    pub(super) fn state(&self) -> ActionState {
        ActionState { families: self.started.iter().filter(|(_, flags)| *flags != 0).cloned().collect() }
    }

    /// Does what the verb says, with the tags' values of the ban it is about.
    pub(super) fn carry_out(
        &mut self,
        verb: &Verb,
        values: &Values,
        hands: &mut Hands<'_>,
    ) -> (Result<(), Failure>, Report) {
        let mut report = Report::default();
        let mut work = Work { action: self, hands, report: &mut report };
        let result = match verb {
            Verb::Start => work.start(values),
            Verb::Ban => work.ban("actionban", values),
            Verb::Reban => {
                let again = work.action.spec.property("actionreban").is_some_and(|text| !text.is_empty());
                work.ban(if again { "actionreban" } else { "actionban" }, values)
            }
            Verb::Prolong => work.prolong(values),
            Verb::Unban => work.unban(values),
            Verb::Flush => work.flush(values),
            Verb::Stop => work.stop(None),
            Verb::Renew { spec, reload } => work.renew(spec, *reload),
            Verb::Check => work.check_consistency(),
            Verb::Probe => work.probe(),
            Verb::Ask => work.ask(values),
            Verb::Forget => Ok(()),
        };
        if result.is_err() {
            report.said = std::mem::take(&mut report.fault);
        }
        (result, report)
    }

    fn flags(&self, family: &Family) -> u8 {
        self.started.iter().find(|(there, _)| there == family).map_or(0, |(_, flags)| *flags)
    }

    fn set_flags(&mut self, family: &Family, flags: u8) {
        match self.started.iter_mut().find(|(there, _)| there == family) {
            Some(slot) => slot.1 = flags,
            None => self.started.push((family.clone(), flags)),
        }
    }

    /// Families of which all these flags are set.
    fn families_with(&self, wanted: u8) -> Vec<Family> {
        self.started.iter().filter(|(_, flags)| flags & wanted == wanted).map(|(family, _)| family.clone()).collect()
    }

    /// The text of a property for a family; tags of the ban stay.
    fn text(&mut self, property: &str, family: &Family) -> Result<String, Failure> {
        let known = self
            .expansions
            .entry(family.clone())
            .or_insert_with(|| Expansion::new(&self.spec, family.as_deref()).map_err(|e| e.to_string()));
        match known {
            Ok(expansion) => expansion.text(property).map_err(|e| e.to_string()),
            Err(why) => Err(why.clone()),
        }
    }

    /// The text of an operation that is about a family, not about a ban.
    fn operation(&mut self, property: &'static str, family: &Family) -> Result<String, Failure> {
        let text = self.text(property, family)?;
        let Some(name) = family.as_deref().filter(|name| !name.is_empty()) else { return Ok(text) };
        let mut values = Values::default();
        values.tag("family", name);
        Ok(dynamic::fill(&text, &values, &mut |_| None).text)
    }

    fn has(&self, property: &str) -> bool {
        self.spec.property(property).is_some_and(|text| !text.is_empty())
    }

    /// What ran for a family under this name.
    fn note(&mut self, property: &'static str, family: &Family, text: Option<String>) {
        let notes = self.executed.entry(property).or_default();
        match text.filter(|text| !text.is_empty()) {
            Some(text) => match notes.iter_mut().find(|(there, _)| there == family) {
                Some(slot) => slot.1 = text,
                None => notes.push((family.clone(), text)),
            },
            // Forgotten for this family, and for all whose text is the same.
            None => {
                let old = notes.iter().find(|(there, _)| there == family).map(|(_, text)| text.clone());
                notes.retain(|(there, text)| there != family && old.as_ref() != Some(text));
            }
        }
    }
}

/// An action at work.
struct Work<'w, 'h> {
    action: &'w mut CommandAction,
    hands: &'w mut Hands<'h>,
    report: &'w mut Report,
}

impl Work<'_, '_> {
    fn execute(&mut self, script: &Script) -> bool {
        if script.text.is_empty() {
            return true;
        }
        let ran = (self.hands.run)(script, self.action.spec.timeout_secs(), &[0]);
        self.report.commands += 1;
        if !ran.success {
            self.report.fault = fault(&ran);
        } else if self.report.said.is_empty() {
            self.report.said = ran.said;
        }
        ran.success
    }

    fn tell(&self, level: LineLevel, text: &str) {
        (self.hands.tell)(level, Speaker::Action, text.to_owned());
    }

    /// Runs a property's text for some families, the same text once.
    fn operate(
        &mut self,
        property: &'static str,
        doing: &str,
        families: &[Family],
        mut after: impl FnMut(&mut CommandAction, &Family, bool),
    ) -> Result<(), Failure> {
        let (mut all_well, mut why) = (true, "Script error".to_owned());
        for family in families {
            let text = match self.action.operation(property, family) {
                Ok(text) => text,
                Err(e) => {
                    (all_well, why) = (false, e);
                    continue;
                }
            };
            let notes = self.action.executed.get(property);
            let ran_already = notes.is_some_and(|notes| notes.iter().any(|(f, t)| f != family && *t == text));
            let mut well = true;
            if !text.is_empty() && !ran_already {
                let mut values = self.action.idle.clone();
                values.tags.retain(|(name, _)| name != "family");
                values.tag("family", family.as_deref().unwrap_or("None"));
                well = self.fill_and_execute(&text, &values);
                all_well &= well;
            }
            after(self.action, family, well);
            self.action.note(property, family, well.then_some(text));
        }
        if all_well {
            return Ok(());
        }
        let ActionSpec { jail, name, .. } = &self.action.spec;
        let why = repr(&why);
        Err(format!("Error {doing} action Jail({})/{name}: {why}", repr(jail)))
    }

    fn fill_and_execute(&mut self, text: &str, values: &Values) -> bool {
        let rest = &mut *self.hands.rest;
        let script = dynamic::fill(text, values, &mut |tag| rest(tag, values));
        self.execute(&script)
    }

    /// A check or a repair knows of no ban: but for own names it runs as it stands.
    fn execute_bare(&mut self, text: &str) -> bool {
        let rest = &mut *self.hands.rest;
        let script = dynamic::fill_own_names(text, &mut |tag| rest(tag, &Values::default()));
        self.execute(&script)
    }

    /// `values` holds `again` if somebody asks for it by hand.
    fn start(&mut self, values: &Values) -> Result<(), Failure> {
        if self.action.spec.starts_on_demand() {
            return Ok(());
        }
        let families = self.own_families();
        // What an earlier process of ours started stands.
        if values.get("again").is_none()
            && !families.is_empty()
            && families.iter().all(|family| self.action.flags(family) & STARTED != 0)
        {
            return Ok(());
        }
        self.start_families(&families)
    }

    fn own_families(&self) -> Vec<Family> {
        self.action.spec.families(self.action.ipv6).into_iter().map(|family| Some(family.into())).collect()
    }

    /// Starts one family, whether or not it was started; no family at all are all of them.
    fn force_start(&mut self, family: &Family) -> Result<(), Failure> {
        let families = if family.is_some() { vec![family.clone()] } else { self.own_families() };
        self.start_families(&families)
    }

    fn start_families(&mut self, families: &[Family]) -> Result<(), Failure> {
        self.operate("actionstart", "starting", families, |action, family, well| {
            if well {
                action.note("actionstop", family, None);
                action.set_flags(family, STARTED);
            }
        })
    }

    fn ban(&mut self, property: &'static str, values: &Values) -> Result<(), Failure> {
        let family = family_of(values);
        if self.action.spec.starts_on_demand() && self.action.flags(&family) == 0 {
            self.force_start(&family)?;
        }
        self.process(property, values).map_err(|why| because("banning", values, why))?;
        let flags = self.action.flags(&family);
        self.action.set_flags(&family, flags | STARTED | HAS_BANS);
        Ok(())
    }

    fn prolong(&mut self, values: &Values) -> Result<(), Failure> {
        let prolongs = self.action.spec.property("actionprolong").is_some_and(|text| !text.trim().is_empty());
        if !prolongs {
            return Ok(());
        }
        self.process("actionprolong", values).map_err(|why| because("prolonging", values, why))
    }

    fn unban(&mut self, values: &Values) -> Result<(), Failure> {
        if self.action.flags(&family_of(values)) & HAS_BANS == 0 {
            return Ok(());
        }
        self.process("actionunban", values).map_err(|why| because("unbanning", values, why))
    }

    /// `values` holds `stopping` if the jail or the action stops.
    fn flush(&mut self, values: &Values) -> Result<(), Failure> {
        let families = self.action.families_with(STARTED | HAS_BANS);
        if families.is_empty() {
            return Ok(());
        }
        // DIVERGENCE: flush-twice. The original remembers for ever that a family's
        // flush ran, and leaves a second flush out where two families share one text.
        self.action.executed.remove("actionflush");
        let result = self.operate("actionflush", "flushing", &families, |action, family, well| {
            if well {
                let flags = action.flags(family);
                action.set_flags(family, flags & !HAS_BANS);
            }
        });
        if result.is_err() {
            (self.hands.tell)(LineLevel::Info, Speaker::Action, "No flush occurred, do consistency check".to_owned());
            let stopping = values.get("stopping").is_some() && !self.repairs_on_unban();
            self.check_all(stopping.then_some("Invariant check failed. Flush is impossible.")).ok();
        }
        result
    }

    /// Stops one family, or all that were started.
    fn stop(&mut self, family: Option<&Family>) -> Result<(), Failure> {
        let families = match family {
            None => {
                let families = self.action.families_with(0);
                let families: Vec<Family> = families.into_iter().filter(|f| self.action.flags(f) != 0).collect();
                if families.is_empty() {
                    return Ok(());
                }
                self.action.started.clear();
                families
            }
            Some(family) => {
                if !self.action.started.iter().any(|(there, _)| there == family) {
                    return Ok(());
                }
                self.action.set_flags(family, 0);
                vec![family.clone()]
            }
        };
        self.operate("actionstop", "stopping", &families, |action, family, well| {
            if well {
                action.note("actionstart", family, None);
            }
        })
    }

    /// New properties: those of the original's own names are as if never set
    /// before, others stay unless they are set anew.
    fn renew(&mut self, spec: &ActionSpec, reload: bool) -> Result<(), Failure> {
        let mut next = spec.clone();
        if reload {
            for (name, value) in &self.action.spec.properties {
                let own = name == "timeout" || crate::actions::COMMANDS.contains(&name.as_str());
                if !own && next.property(name).is_none() {
                    next.properties.push((name.clone(), value.clone()));
                }
            }
        }
        self.action.spec = next;
        self.action.expansions.clear();
        self.action.executed.clear();
        if !reload {
            return Ok(());
        }
        let families: Vec<Family> =
            self.action.started.iter().filter(|(_, flags)| *flags != 0).map(|(family, _)| family.clone()).collect();
        self.operate("actionreload", "reloading", &families, |_, _, _| {})
    }

    /// Checks every started family, and repairs.
    fn check_consistency(&mut self) -> Result<(), Failure> {
        self.check_all(None)
    }

    fn repairs_on_unban(&self) -> bool {
        self.action.spec.property("actionrepair_on_unban").is_some_and(crate::actions::is_true)
    }

    fn check_all(&mut self, no_repair: Option<&str>) -> Result<(), Failure> {
        if !self.action.has("actioncheck") {
            return Ok(());
        }
        for (family, flags) in self.action.started.clone() {
            // What can't be repaired now counts as sound where it isn't looked at (as in
            // the original): only an outright failure resets the family.
            if flags != 0 && self.invariant(&family, no_repair, true)? == Sanity::Lost {
                self.action.set_flags(&family, 0);
                self.action.note("actionstart", &family, None);
            }
        }
        Ok(())
    }

    /// Asks the check of each started family, and believes it.
    fn probe(&mut self) -> Result<(), Failure> {
        let mut lost = false;
        for (family, flags) in self.action.started.clone() {
            if flags == 0 {
                continue;
            }
            let text = self.action.operation("actioncheck", &family)?;
            if !self.execute_bare(&text) {
                self.action.set_flags(&family, 0);
                lost = true;
            }
        }
        if lost { Err("its effects are gone".to_owned()) } else { Ok(()) }
    }

    /// An ignore command: 0 is yes, 1 is no, all else is a failure and counts as no.
    fn ask(&mut self, values: &Values) -> Result<(), Failure> {
        let text = self.action.spec.property("ignorecommand").unwrap_or_default().to_owned();
        let rest = &mut *self.hands.rest;
        let script = dynamic::fill(&text, values, &mut |tag| rest(tag, values));
        let ran = (self.hands.run)(&script, self.action.spec.timeout_secs(), &[0, 1]);
        self.report.commands += 1;
        match ran.code {
            Some(0) if ran.success => Ok(()),
            Some(1) if ran.success => Err(String::new()),
            _ => Err(format!("the ignore command failed: {}", ran.said)),
        }
    }

    /// Is what a family needs in place? If not, repairs it.
    fn invariant(&mut self, family: &Family, no_repair: Option<&str>, force_start: bool) -> Result<Sanity, Failure> {
        if !force_start && family.is_some() && !self.action.started.iter().any(|(there, _)| there == family) {
            return Ok(Sanity::Sound);
        }
        let check = self.action.operation("actioncheck", family)?;
        if self.execute_bare(&check) {
            return Ok(Sanity::Sound);
        }
        if let Some(words) = no_repair {
            self.tell(LineLevel::Error, words);
            return Ok(Sanity::Unrepaired);
        }
        self.tell(LineLevel::Error, "Invariant check failed. Trying to restore a sane environment");
        self.report.broken = true;
        let repair = self.action.operation("actionrepair", family)?;
        if repair.is_empty() {
            // What can't be stopped may be startable all the same. A ban without
            // a family stops and starts all of them.
            self.stop(family.is_some().then_some(family)).ok();
            if force_start || !self.action.spec.starts_on_demand() {
                self.force_start(family)?;
            }
        } else {
            if !self.execute_bare(&repair) {
                self.action.set_flags(family, 0);
                self.tell(LineLevel::Critical, "Unable to restore environment");
                return Ok(Sanity::Lost);
            }
            self.action.set_flags(family, STARTED);
        }
        if self.action.flags(family) != 0 && !self.execute_bare(&check) {
            self.tell(LineLevel::Critical, "Unable to restore environment");
            return Ok(Sanity::Lost);
        }
        Ok(Sanity::Sound)
    }

    /// Runs a command of a ban; if it fails, checks, repairs and tries once more.
    fn process(&mut self, property: &'static str, values: &Values) -> Result<(), Failure> {
        let family = family_of(values);
        let mut tried = false;
        loop {
            if tried && self.action.has("actioncheck") {
                let unbans = property == "actionunban";
                let no_repair =
                    (unbans && !self.repairs_on_unban()).then_some("Invariant check failed. Unban is impossible.");
                if self.invariant(&family, no_repair, !unbans)? != Sanity::Sound {
                    return Err(String::new());
                }
            }
            let text = self.action.text(property, &family)?;
            let well = self.fill_and_execute(&text, values);
            if well {
                return Ok(());
            }
            if tried {
                return Err(String::new());
            }
            tried = true;
        }
    }
}

/// What a check led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sanity {
    /// All is in place (again).
    Sound,
    /// It isn't, and no repair was wanted.
    Unrepaired,
    /// It isn't, and could not be repaired.
    Lost,
}

/// The family of a ban: none if it has no address.
fn family_of(values: &Values) -> Family {
    match values.get("family") {
        Some("None") => None,
        Some(family) => Some(family.into()),
        None => Some("".into()),
    }
}

/// How a command failed: its exit code and the first line of its standard error.
fn fault(ran: &Ran) -> String {
    let end = ran.code.map_or("killed or out of time".to_owned(), |code| format!("exit {code}"));
    if ran.said.is_empty() { end } else { format!("{end}: {}", ran.said) }
}

/// The original's words for a failed ban; a text that can't be expanded has its own.
fn because(doing: &str, values: &Values, why: Failure) -> Failure {
    if why.is_empty() { format!("Error {doing} {}", values.get("ip").unwrap_or_default()) } else { why }
}
