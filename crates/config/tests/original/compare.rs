//! Our stream against the original's, with the known differences taken out.

use serde_json::Value as Json;
use stockade_config::Loaded;
use stockade_wire::value::command_json;

#[path = "../../../../conformance/src/known.rs"]
mod known;

pub(crate) use known::Differences;

impl Differences {
    /// What differs and is not listed; empty if all is well.
    pub(crate) fn compare(&mut self, original: &Json, ours: &Loaded, version: &str) -> Vec<String> {
        let error = original["error"].as_str();
        if error.is_some() || ours.refused {
            return match (error, ours.refused) {
                (Some(_), true) => Vec::new(),
                (Some(error), false) => self.not_refused(error, version),
                _ => {
                    let says = |words: &str| ours.diagnostics.iter().any(|d| d.message.starts_with(words));
                    if says("there is no ") && self.note("missing-resource", version)
                        || says("not valid UTF-8") && self.note("undecodable-file", version)
                    {
                        return Vec::new();
                    }
                    // They left the jail out in which we found something worse.
                    let theirs = original["stream"].as_array().unwrap().iter();
                    let mut left_out = theirs.filter(|c| is_refused_for(std::slice::from_ref(*c), "?family"));
                    if left_out.next().is_some() && self.note("conditional-argument", version) {
                        return Vec::new();
                    }
                    let why = ours.diagnostics.iter().filter(|d| d.severity == stockade_config::Severity::Error);
                    let why: Vec<String> = why.map(ToString::to_string).collect();
                    vec![format!("the original accepts what we refuse: {why:#?}")]
                }
            };
        }
        let theirs = Parts::of(original["stream"].as_array().unwrap().clone());
        let ours_list = ours.original().map(|command| serde_json::from_str(&command_json(command)).unwrap());
        let mine = Parts::of(ours_list.collect());
        let mut wrong = Vec::new();
        self.compare_lists(&theirs.general, &mine.general, version, &mut wrong);
        let names = |parts: &Parts| parts.jails.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if names(&theirs) != names(&mine) {
            wrong.push(format!("jails: {:?} against {:?}", names(&theirs), names(&mine)));
        }
        let mut special = Vec::new();
        for ((name, a), (_, b)) in theirs.jails.iter().zip(&mine.jails) {
            if is_refused_for(a, "?family") && a != b && self.note("conditional-argument", version)
                || is_refused_for(b, "Have not found any log file") && self.note("skip-if-nologs", version)
                || is_refused_for(b, "Unable to read") && a != b && self.note("undecodable-file", version)
            {
                special.push(name.clone());
                continue;
            }
            self.compare_lists(a, b, version, &mut wrong);
        }
        let started = |parts: &Parts| {
            let all = parts.starts.iter().filter(|name| !special.contains(name));
            all.cloned().collect::<Vec<_>>()
        };
        if started(&theirs) != started(&mine) {
            wrong.push(format!("starts: {:?} against {:?}", theirs.starts, mine.starts));
        }
        if wrong.is_empty() && special.is_empty() && original["good"] != ours.is_startable() {
            wrong.push(format!("good for the original: {}, for us: {}", original["good"], ours.is_startable()));
        }
        wrong
    }

    /// The first difference of two lists of commands.
    fn compare_lists(&mut self, theirs: &[Json], ours: &[Json], version: &str, wrong: &mut Vec<String>) {
        for (a, b) in theirs.iter().zip(ours) {
            if a != b && !self.explains(a, b, version) {
                wrong.push(format!("theirs: {a}\n  ours: {b}"));
                return;
            }
        }
        if let Some(more) = theirs.get(ours.len()) {
            wrong.push(format!("theirs only: {more}"));
        }
        if let Some(more) = ours.get(theirs.len()) {
            wrong.push(format!("ours only: {more}"));
        }
    }

    fn not_refused(&mut self, error: &str, version: &str) -> Vec<String> {
        if error.contains("Have not found any log file") && self.note("wait-for-logs", version) {
            return Vec::new();
        }
        vec![format!("the original refuses what we accept: {error}")]
    }

    /// Is the difference between two commands a listed one?
    fn explains(&mut self, theirs: &Json, ours: &Json, version: &str) -> bool {
        if theirs[0] == "add" && ours[0] == "add" && theirs[1] == ours[1] {
            let from = theirs[2].as_str().unwrap_or("");
            return from.starts_with("auto") && ours[2] == "systemd" && self.note("journal-if-nologs", version);
        }
        if theirs[2] == "action" && ours[2] == "action" && theirs[3] == ours[3] {
            return self.explains_action(theirs, ours, version);
        }
        false
    }

    /// An argument that wins over the conditional option of the same name.
    fn explains_action(&mut self, theirs: &Json, ours: &Json, version: &str) -> bool {
        let (Some(a), Some(b)) = (theirs[4].as_array(), ours[4].as_array()) else { return false };
        let value = |name: &str| b.iter().find(|pair| pair[0] == name).map(|pair| &pair[1]);
        let conditional = |pair: &Json| pair[0].as_str().and_then(|k| k.split_once('?')).is_some();
        a.len() == b.len()
            && a.iter().zip(b).all(|(x, y)| {
                x == y
                    || x[0] == y[0] && {
                        let base = x[0].as_str().and_then(|k| k.split_once('?')).map(|(base, _)| base);
                        base.and_then(value) == Some(&y[1]) || !conditional(x) && mentions_conditional(a, b)
                    }
            })
            && self.note("argument-over-condition", version)
    }
}

/// Does some conditional property differ?
fn mentions_conditional(a: &[Json], b: &[Json]) -> bool {
    a.iter().zip(b).any(|(x, y)| x != y && x[0].as_str().is_some_and(|k| k.contains('?')))
}

/// A stream taken apart.
#[derive(Default)]
struct Parts {
    general: Vec<Json>,
    jails: Vec<(String, Vec<Json>)>,
    starts: Vec<String>,
}

impl Parts {
    fn of(stream: Vec<Json>) -> Self {
        let mut parts = Parts::default();
        for command in stream {
            let first = command[0].as_str().unwrap_or("").to_owned();
            let second = command[1].as_str().unwrap_or("").to_owned();
            match first.as_str() {
                "start" => parts.starts.push(second),
                "add" => parts.jails.push((second, vec![command])),
                "config-error" => {
                    let name =
                        second.strip_prefix("Jail '").and_then(|t| t.split_once("' skipped")).map_or("", |t| t.0);
                    parts.jails.push((name.to_owned(), vec![command]));
                }
                _ => match parts.jails.last_mut() {
                    Some((_, list)) => list.push(command),
                    None => parts.general.push(command),
                },
            }
        }
        parts
    }
}

/// Is the jail left out, with these words in the reason?
fn is_refused_for(commands: &[Json], words: &str) -> bool {
    matches!(commands, [one] if one[0] == "config-error" && one[1].as_str().is_some_and(|t| t.contains(words)))
}
