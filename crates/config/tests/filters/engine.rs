//! A filter of ours in our matcher.

use std::sync::Arc;

use serde_json::Value as Json;
use stockade_config::{TreeSource, load_filter};
use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterSpec, LineMode, Matcher, UseDns};
use stockade_core::{GroupValue, JailName, Timestamp, Who};
use stockade_wire::Value;

/// The clock of our samples: 2026-11-22 12:00:00 UTC.
const NOW: i64 = 1_795_348_800;

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    /// Seconds since the epoch.
    pub(crate) time: Option<i64>,
    /// Empty if there is none.
    pub(crate) user: String,
}

/// A matcher with one of our filters.
pub(crate) struct Engine {
    filter: Arc<Filter>,
    matcher: Matcher,
    journal: bool,
}

impl Engine {
    pub(crate) fn new(call: &str) -> Engine {
        Engine::build(call, false, UseDns::No)
    }

    /// For jails that look names up: a host name counts, too.
    pub(crate) fn with_names(call: &str) -> Engine {
        Engine::build(call, false, UseDns::Warn)
    }

    /// For lines that bring their time with them.
    pub(crate) fn of_journal(call: &str) -> Engine {
        Engine::build(call, true, UseDns::No)
    }

    /// For `stockade.success`: its "failures" are successes. `None` if the filter has no such patterns.
    pub(crate) fn of_success(call: &str) -> Option<Engine> {
        let spec = FilterSpec { prefregex: None, failregex: success(call), ignoreregex: Vec::new(), ..spec(call) };
        (!spec.failregex.is_empty()).then(|| Engine::of(call, &spec, false))
    }

    fn build(call: &str, journal: bool, usedns: UseDns) -> Engine {
        let mut spec = FilterSpec { usedns, ..spec(call) };
        if journal {
            spec.datepattern = DatePattern::Journal;
        }
        Engine::of(call, &spec, journal)
    }

    fn of(call: &str, spec: &FilterSpec, journal: bool) -> Engine {
        let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
        let filter = Arc::new(Filter::compile(spec, &calendar).unwrap_or_else(|e| panic!("{call}: {e}")));
        Engine { matcher: Matcher::new(JailName::new("jail"), Arc::clone(&filter), 0), filter, journal }
    }

    /// Forgets all lines.
    pub(crate) fn forget(&mut self) {
        self.matcher = Matcher::new(JailName::new("jail"), Arc::clone(&self.filter), 0);
    }

    /// What the daemon finds in a line.
    pub(crate) fn line(&mut self, line: &str) -> Vec<Found> {
        let now = Timestamp::from_secs(NOW);
        let report = self.matcher.line(now, line, self.journal.then_some(now), false, LineMode::SCAN);
        assert!(!report.undecided, "out of steps: {line}");
        let hits = report.hits.into_iter().filter_map(|hit| {
            let id = match hit.who? {
                Who::Id(id) => id.to_string(),
                Who::Name(name) => name.to_string(),
            };
            let user = hit.groups.iter().find(|(name, _)| &**name == "user").map(|(_, value)| match value {
                GroupValue::Text(text) => text.to_string(),
                GroupValue::List(list) => list.join(","),
            });
            Some(Found { id, time: hit.time.map(Timestamp::secs), user: user.unwrap_or_default() })
        });
        hits.collect()
    }

    /// The failregexes, then the ignoreregexes.
    pub(crate) fn patterns(&self) -> Vec<String> {
        self.filter.failregex().chain(self.filter.ignoreregex()).map(str::to_owned).collect()
    }

    /// Those of them that match this line, each for itself.
    pub(crate) fn patterns_that_match(&mut self, line: &str) -> Vec<String> {
        let all = self.matcher.line(Timestamp::from_secs(NOW), line, None, true, LineMode::ALL);
        let text = |list: Vec<String>, index: u32| list[usize::try_from(index).unwrap()].clone();
        let own = |patterns: Vec<&str>| patterns.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let fails = all.hits.iter().map(|hit| text(own(self.filter.failregex().collect()), hit.regex));
        let ignored = all.ignored.iter().map(|index| text(own(self.filter.ignoreregex().collect()), *index));
        fails.chain(ignored).collect()
    }
}

fn stream(call: &str) -> Vec<Vec<Value>> {
    load_filter(&TreeSource::Disk(crate::etc()), call, false).unwrap_or_else(|e| panic!("{call}: {e}"))
}

/// The patterns of success of a filter.
fn success(call: &str) -> Vec<String> {
    let stream = stream(call);
    let command = stream.iter().find(|command| command.get(2).and_then(Value::as_str) == Some("stockade.success"));
    let words = command.into_iter().flatten().skip(3);
    words.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The options of a filter as our configuration gives them.
pub(crate) fn spec(call: &str) -> FilterSpec {
    let stream = stream(call);
    let mut spec = FilterSpec { usedns: UseDns::No, ..FilterSpec::default() };
    for command in &stream {
        let word = |n: usize| command.get(n).and_then(Value::as_str).unwrap_or("").to_owned();
        let list = || match command.get(3).and_then(Value::as_items) {
            Some(items) => items.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
            None => vec![word(3)],
        };
        match word(2).as_str() {
            "usedns" => spec.usedns = UseDns::parse(&word(3)).unwrap(),
            "prefregex" => spec.prefregex = Some(word(3)).filter(|text| !text.is_empty()),
            "datepattern" => spec.datepattern = DatePattern::Text(word(3)),
            "maxlines" => panic!("{call}: our filters look at one line at a time"),
            "addfailregex" => spec.failregex = list(),
            "addignoreregex" => spec.ignoreregex = list(),
            _ => {}
        }
    }
    spec
}

/// The failures that the original reports of one line.
pub(crate) fn of_the_original(hits: &Json) -> Vec<Found> {
    let found = hits.as_array().unwrap().iter().map(|hit| {
        let user = hit[1].as_str().unwrap();
        Found {
            id: hit[0].as_str().unwrap().to_owned(),
            time: Some(format!("{:.0}", hit[2].as_f64().unwrap().floor()).parse().unwrap()),
            user: if user == "None" { String::new() } else { user.to_owned() },
        }
    });
    found.collect()
}
