//! Our filters over the annotated sample logs of an installed fail2ban, for the
//! filters that both have: nearly all annotations must be met, and each that is
//! not stands in `missed-annotations.json` under the id of the difference that
//! is the reason (`conformance/known-differences.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use stockade_core::matcher::{Calendar, DatePattern, Filter, LineMode, Matcher, UseDns};
use stockade_core::{FailureId, GroupValue, JailName, Timestamp, Who};
use stockade_original::samples::{Sample, Samples, of_filter};

use crate::known::Differences;
use crate::{engine, filters, original};

/// The clock of those samples: 2005-08-14 12:00:00 in central Europe.
const NOW: i64 = 1_124_013_600;
const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";

/// Our filters that read a log which clients can't forge, where the original's samples
/// are of one that they can: the option that makes ours read that, too. Our jails do not
/// have it, so as they run such a line is missed: the difference [`AS_RUN`].
const FORGEABLE_LOG: &[(&str, &str)] = &[
    ("nginx-botsearch", "log=\"both\""),
    ("nginx-forbidden", "log=\"error\""),
    ("nginx-http-auth", "log=\"error\""),
    ("nginx-limit-req", "log=\"error\""),
    ("traefik-auth", "log=\"common\""),
];

/// The id of what is missed only because our jails leave forgeable logs alone.
const AS_RUN: &str = "forgeable-logs-unread";

/// What is missed of a filter's samples: `file:line` and why.
fn missed(name: &str, samples: &Samples, option: Option<&str>, calendar: &Arc<Calendar>) -> BTreeMap<String, String> {
    let mut matchers: BTreeMap<&str, Matcher> = BTreeMap::new();
    let mut missed = BTreeMap::new();
    for sample in &samples.list {
        let matcher =
            matchers.entry(&sample.label).or_insert_with(|| matcher(&call(name, sample, option), sample, calendar));
        if let Some(fault) = fault(matcher, sample) {
            let text = format!("[{}] {fault}\n    {}", sample.label, sample.line);
            missed.entry(sample.place.clone()).or_insert(text);
        }
    }
    missed
}

/// The filter with the options of a sample and one of ours.
fn call(name: &str, sample: &Sample, option: Option<&str>) -> String {
    let options = sample.plain_options();
    let words = options.iter().map(|(key, value)| format!("{key}=\"{}\"", value.as_str().unwrap()));
    let words: Vec<String> = words.chain(option.map(str::to_owned)).collect();
    if words.is_empty() { name.to_owned() } else { format!("{name}[{}]", words.join(",")) }
}

fn matcher(call: &str, sample: &Sample, calendar: &Arc<Calendar>) -> Matcher {
    let mut spec = engine::spec(call);
    // As the original's own test: names count, and are not looked up.
    spec.usedns = UseDns::Warn;
    if sample.is_of_journal() {
        spec.datepattern = DatePattern::Journal;
    }
    let filter = Filter::compile(&spec, calendar).unwrap_or_else(|e| panic!("{call}: {e}"));
    Matcher::new(JailName::new("jail"), Arc::new(filter), 0)
}

/// What is wrong with what came of a sample.
fn fault(matcher: &mut Matcher, sample: &Sample) -> Option<String> {
    let now = Timestamp::from_secs(NOW);
    let report = matcher.line(now, &sample.line, sample.is_of_journal().then_some(now), true, LineMode::SCAN);
    let hits: Vec<_> = report.hits.iter().filter(|hit| !hit.nofail).collect();
    match (hits.as_slice(), sample.is_failure()) {
        ([], false) => None,
        ([], true) => Some("not found".to_owned()),
        (hits, false) => Some(format!("found {:?} as {:?}", hits[0].regex, hits[0].who)),
        ([hit], true) => differs(hit, &sample.expected),
        (hits, true) => Some(format!("found {} times", hits.len())),
    }
}

/// How a failure differs from what is expected: who, when, and which user.
fn differs(hit: &stockade_core::matcher::Hit, expected: &Map<String, Value>) -> Option<String> {
    let id = match hit.who.as_ref()? {
        Who::Id(id) => id.to_string(),
        Who::Name(name) => name.to_string(),
    };
    if let Some(host) = expected.get("host").and_then(Value::as_str)
        && FailureId::parse(host).to_string() != id
    {
        return Some(format!("{id} instead of {host}"));
    }
    if let Some(text) = expected.get("time").and_then(Value::as_str)
        && hit.time.map(Timestamp::micros) != Some(local_micros(text))
    {
        return Some(format!("time {:?} instead of {text}", hit.time));
    }
    let user = hit.groups.iter().find(|(name, _)| &**name == "user").map(|(_, value)| match value {
        GroupValue::Text(text) => text.to_string(),
        GroupValue::List(list) => list.join(","),
    });
    match expected.get("user").map(Value::as_str) {
        Some(wanted) if wanted != user.as_deref() => Some(format!("user {user:?} instead of {wanted:?}")),
        _ => None,
    }
}

/// Microseconds of a local time as the logs spell it; numbers may lack their leading zero.
fn local_micros(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let n: Vec<i16> = whole.split(['-', 'T', ':']).map(|n| n.parse().unwrap()).collect();
    let small = |at: usize| i8::try_from(n[at]).unwrap();
    let at = jiff::civil::datetime(n[0], small(1), small(2), small(3), small(4), small(5), 0);
    let at = TimeZone::posix(ZONE).unwrap().to_timestamp(at).unwrap();
    at.as_microsecond() + format!("{fraction:0<6}").parse::<i64>().unwrap()
}

/// `file:line` of the annotations that are not met on purpose, with the difference's id.
fn missed_on_purpose(version: &str) -> BTreeMap<String, String> {
    let ids: Map<String, Value> = serde_json::from_str(include_str!("missed-annotations.json")).unwrap();
    let mut missed = BTreeMap::new();
    for (id, lines) in &ids {
        for place in lines[version].as_array().into_iter().flatten() {
            let place = place.as_str().unwrap().to_owned();
            assert!(missed.insert(place.clone(), id.clone()).is_none(), "{place} is listed twice");
        }
    }
    missed
}

/// What came of all samples of one version.
#[derive(Default)]
struct Count {
    annotations: usize,
    /// With the option of [`FORGEABLE_LOG`].
    missed: usize,
    /// As our jails run the filters.
    missed_as_run: usize,
    /// What is not listed.
    wrong: Vec<String>,
    /// What is listed, and came up.
    met: BTreeSet<String>,
}

impl Count {
    /// Adds one filter.
    fn add(
        &mut self,
        name: &str,
        samples: &Samples,
        calendar: &Arc<Calendar>,
        mut listed: impl FnMut(&str, &str) -> bool,
    ) {
        let annotations: usize = samples.annotations.values().sum();
        let option = FORGEABLE_LOG.iter().find(|(of, _)| *of == name).map(|(_, option)| *option);
        let offered = missed(name, samples, option, calendar);
        let as_run = if option.is_some() { missed(name, samples, None, calendar) } else { offered.clone() };
        let note = if offered.len() == as_run.len() { "" } else { ", as our jails run it" };
        println!("{name}: {} of {annotations} met{note}", annotations.saturating_sub(as_run.len()));
        if let Some(option) = option {
            println!("{name}[{option}]: {} of {annotations} met", annotations.saturating_sub(offered.len()));
        }
        self.annotations += annotations;
        self.missed += offered.len();
        self.missed_as_run += as_run.len();
        for (place, fault) in offered.iter().chain(as_run.iter().filter(|(place, _)| !offered.contains_key(*place))) {
            let only_as_run = !offered.contains_key(place);
            if listed(place, if only_as_run { AS_RUN } else { "" }) {
                self.met.insert(place.clone());
            } else {
                self.wrong.push(format!("{place}: {fault}"));
            }
        }
    }
}

#[test]
fn the_originals_samples_are_met_by_our_filters() {
    let calendar = Calendar::new(TimeZone::posix(ZONE).unwrap(), 2026);
    let mut differences = Differences::read();
    let originals = original::all("the_originals_samples_are_met_by_our_filters");
    let all = std::env::var_os("STOCKADE_FILTER").is_none();
    for original in &originals {
        let (version, logs) = (&original.version, original.installed.logs());
        let known = missed_on_purpose(version);
        let mut count = Count::default();
        for name in filters().iter().filter(|name| logs.join(name).is_file()) {
            count.add(name, &of_filter(&original.installed, name), &calendar, |place, wanted| {
                let id = known.get(place).filter(|id| (wanted == AS_RUN) == (*id == AS_RUN));
                id.is_some_and(|id| differences.note(id, version))
            });
        }
        let Count { annotations, missed, missed_as_run, wrong, met } = count;
        println!(
            "{version}: {} of {annotations} annotations met by the filters as they are offered",
            annotations - missed
        );
        println!("{version}: {} of {annotations} annotations met as our jails run them", annotations - missed_as_run);
        crate::stop_at(&wrong);
        if all {
            let stale: Vec<&String> = known.keys().filter(|place| !met.contains(*place)).collect();
            assert!(stale.is_empty(), "{version}: listed as a difference, but met: {stale:?}");
            assert!(missed * 50 <= annotations, "{missed} of {annotations} are not met, more than 2 in 100");
        }
    }
    if originals.len() == 2 && all {
        differences.finish(file!());
    }
}
