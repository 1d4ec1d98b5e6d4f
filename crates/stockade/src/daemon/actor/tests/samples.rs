//! The annotated sample logs of an installed fail2ban through the daemon's own actors: its filters as our
//! reader gives them to the daemon, each line at its own time, names as they stand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stockade_config::TreeSource;
use stockade_core::matcher::{Calendar, LineMode, UseDns};
use stockade_core::{FailureId, GroupValue, Span, Who};
use stockade_original::samples::{Options, Sample, filters, of_filter};
use stockade_original::{Installed, newest, older};

use super::super::super::stage::filter_spec;
use super::*;
use crate::settings::Settings;

/// The clock where a line says nothing of its time: 2005-08-14 12:00:00 in central Europe.
const NOW: i64 = 1_124_013_600;
/// A little more than a date is lent to lines without one.
const MINUTE: Span = Span::from_secs(61);
const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";

#[test]
fn samples_of_1_1_0_come_through_the_daemon() {
    if let Some(installed) = newest("samples_of_1_1_0_come_through_the_daemon") {
        check(&installed, 1_101);
    }
}

#[test]
fn samples_of_1_0_2_come_through_the_daemon() {
    if let Some(installed) = older("samples_of_1_0_2_come_through_the_daemon") {
        check(&installed, 1_067);
    }
}

/// The tests' own filters include stock ones by a path that only fits a checkout: four folders up in one
/// version, seven in another.
fn checkout(house: &House, installed: &Installed) -> PathBuf {
    let packages = house.path("usr/lib/python3");
    let own = packages.join("fail2ban/tests/config");
    std::fs::create_dir_all(own.join("filter.d")).unwrap();
    for entry in std::fs::read_dir(installed.packages().join("fail2ban/tests/config/filter.d")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), own.join("filter.d").join(entry.file_name())).unwrap();
        }
    }
    std::os::unix::fs::symlink(installed.tree(), house.path("config")).unwrap();
    std::os::unix::fs::symlink(installed.tree(), packages.join("config")).unwrap();
    own
}

/// The filter with these options, as the daemon makes it from a tree.
fn filter(tree: PathBuf, name: &str, options: &Options, journal: bool) -> Filter {
    let quoted = |value: &str| if value.contains('"') { format!("'{value}'") } else { format!("\"{value}\"") };
    let words: Vec<String> =
        options.iter().map(|(key, v)| format!("[{key}={}]", quoted(v.as_str().unwrap()))).collect();
    let stream = stockade_config::load_filter(&TreeSource::Disk(tree), &format!("{name}{}", words.concat()), journal);
    let settings = Settings::default().staged(&stream.unwrap_or_else(|e| panic!("{name}: {e}"))).unwrap();
    let mut spec = filter_spec(&settings.jails[0], journal).unwrap();
    spec.usedns = UseDns::Raw;
    Filter::compile(&spec, &Calendar::new(jiff::tz::TimeZone::posix(ZONE).unwrap(), 2026))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Holds all samples of a version, which has so many annotations, to what actors make of them.
fn check(installed: &Installed, annotations: usize) {
    let house = House::new(&format!("actor-samples-{}", installed.version));
    let own = checkout(&house, installed);
    let (mut faults, mut files) = (Vec::new(), BTreeMap::new());
    // Annotations by whether each was checked under at least one set of options.
    let (mut met, mut clockless) = (BTreeSet::new(), BTreeSet::new());
    for name in filters(installed) {
        let tree = if name.starts_with("zzz-") { own.clone() } else { installed.tree() };
        // With each actor a matcher that only looks at dates, and the actor's clock.
        let mut actors: BTreeMap<String, (Alone, Matcher, Timestamp)> = BTreeMap::new();
        let all = of_filter(installed, &name);
        for sample in &all.list {
            let actor = actors.entry(sample.label.clone()).or_insert_with(|| {
                let filter = filter(tree.clone(), &name, &sample.plain_options(), sample.is_of_journal());
                let actor = Alone::new(&house, filter, &house.path("noted"));
                let dates = Matcher::new(JailName::new("dates"), actor.actor.filter(), 1);
                (actor, dates, Timestamp::from_secs(NOW))
            });
            let (actor, dates, clock) = actor;
            let told = sample.expected.get("time").and_then(Value::as_str).map(local_time);
            // No clock of a daemon stands before 1970.
            let dated = told.filter(|time| *time >= Timestamp::from_secs(0));
            // Of a line of which nothing is said its own date tells; one that is said to have none comes so long
            // after the one before that it does not borrow that one's.
            let seen = || dates.line(Timestamp::from_secs(NOW), &sample.line, None, false, LineMode::SCAN).date?.time;
            let own = dated.or_else(seen).filter(|time| *time >= Timestamp::from_secs(0));
            let timeless = sample.expected.get("time").is_some_and(Value::is_null);
            *clock = own.unwrap_or(if timeless { *clock + MINUTE } else { *clock });
            let found = actor.lines(*clock, &format!("{}\n", sample.line), sample.is_of_journal());
            if sample.expected.is_empty() || !fault(&found, sample, dated, &mut faults, &name) {
                continue;
            }
            met.insert(sample.place.clone());
            if dated.is_none() && sample.is_failure() {
                clockless.insert(sample.place.clone());
            }
        }
        files.extend(all.annotations);
    }
    let seen: usize = files.values().sum();
    println!(
        "{}: {seen} annotations, {} met by actors ({} of them without a time of their own), {} faults",
        installed.version,
        met.len(),
        clockless.len(),
        faults.len()
    );
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!((seen, met.len()), (annotations, annotations));
}

/// Is it as expected? Else says what is wrong.
fn fault(found: &[Failure], sample: &Sample, dated: Option<Timestamp>, faults: &mut Vec<String>, name: &str) -> bool {
    let wrong = match (found, sample.is_failure()) {
        ([], false) => None,
        ([], true) => Some("no failure".to_owned()),
        // Without a session the daemon counts what a pattern calls no failure, as the original's does.
        (all, false) if all.iter().all(is_nofail) => None,
        (all, false) => Some(format!("{:?} failed", all.iter().map(|f| &f.who).collect::<Vec<_>>())),
        ([one], true) => differs(one, sample, dated),
        (all, true) => Some(format!("{} failures", all.len())),
    };
    let Some(wrong) = wrong else { return true };
    faults.push(format!("{name}: {} [{:?}]: {wrong}\n    {}", sample.place, sample.plain_options(), sample.line));
    false
}

fn is_nofail(failure: &Failure) -> bool {
    failure.groups.iter().any(|(name, value)| name == "nofail" && !text(&value).is_empty())
}

fn text(value: &GroupValue) -> &str {
    match value {
        GroupValue::Text(text) => text,
        GroupValue::List(_) => "",
    }
}

/// In what a failure differs from what the annotation says.
fn differs(failure: &Failure, sample: &Sample, dated: Option<Timestamp>) -> Option<String> {
    if dated.is_some_and(|time| time != failure.time) {
        return Some(format!("at {:?}, not {dated:?}", failure.time));
    }
    let id = match &failure.who {
        Who::Id(id) => id.to_string(),
        Who::Name(name) => name.to_string(),
    };
    for (key, value) in &sample.expected {
        let group = failure.groups.iter().find(|(name, _)| *name == key.as_str()).map(|(_, value)| value);
        let right = match (key.as_str(), &group) {
            ("match" | "desc" | "constraint" | "time", _) => true,
            (_, Some(GroupValue::Text(text))) => *value == **text,
            (_, Some(GroupValue::List(list))) => {
                let mut wanted: Vec<_> = value.as_array().into_iter().flatten().map(|v| v.as_str()).collect();
                wanted.sort_unstable();
                list.iter().map(|text| Some(&**text)).eq(wanted)
            }
            // Compared as addresses: one expectation is in capital letters.
            ("host", None) => value.as_str().is_some_and(|v| v == id || FailureId::parse(v).to_string() == id),
            ("fid" | "ip4" | "ip6" | "dns", None) => value.is_null() || value == &id,
            ("attempts", None) => value.as_u64() == u64::try_from(failure.matches.len()).ok(),
            (_, None) => value.is_null(),
        };
        if !right {
            return Some(format!("{key} is {group:?} of {id}, expected {value}"));
        }
    }
    None
}

/// A local time as the logs spell it; numbers may lack their leading zero.
fn local_time(text: &str) -> Timestamp {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let n: Vec<i16> = whole.split(['-', 'T', ':']).map(|n| n.parse().unwrap()).collect();
    let small = |at: usize| i8::try_from(n[at]).unwrap();
    let at = jiff::civil::datetime(n[0], small(1), small(2), small(3), small(4), small(5), 0);
    let at = jiff::tz::TimeZone::posix(ZONE).unwrap().to_timestamp(at).unwrap();
    Timestamp::from_micros(at.as_microsecond() + format!("{fraction:0<6}").parse::<i64>().unwrap())
}
