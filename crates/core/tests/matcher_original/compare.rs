//! Runs sequences through both and compares.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterSpec, LineMode, LineReport, Matcher, UseDns};
use stockade_core::{GroupValue, JailName, Span, Timestamp, Who};
use stockade_original::{Driver, Installed};

use crate::generate::{Random, date, dated, mutate};
use crate::homemade::{self, Homemade};

/// Local zones, as both sides read them.
const ZONES: &[&str] = &["UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "NPT-5:45"];
/// Date patterns that filters have, or might.
const PATTERNS: &[&str] = &[
    "{^LN-BEG}",
    "%Y-%m-%d %H:%M:%S\n%b %d %H:%M:%S",
    "^[^\\[]*\\[({DATE})",
    "{DATE}",
    "{NONE}",
    "EPOCH\n{^LN-BEG}",
    "%d %b %Y\n{DEFAULT}",
    "LEPOCH",
    "%ExY-%Exm-%Exd %ExH:%ExM:%ExS",
    "^%b %d %k:%M",
    "**%H:%M**",
    "%d/%B/%Y %l:%M:%S %p",
    "%j %Y %H:%M:%S",
    "%ExY-%Exm-%Exd %H:%M:%S %Exz",
    "%Y-%m-%d %H:%M:%S %Z",
    "{UNB}%Y%m%d",
    "%m/%d",
    "%a %b %d %I:%M",
    "%Y W%W %w",
    "%y U%U %a",
    "{^LN-BEG}EPOCH",
    "{^LN-BEG}LEPOCH",
    "TAI64N\n%H:%M:%S",
    "^\\w+ msg=audit\\(({EPOCH})",
    "\\[{LEPOCH}\\]",
    "(?P<Y>\\d{4})x(?P<m>\\d\\d)(?P<d>\\d\\d)",
    "%d %b$",
    "(?:%Y-)?%m-%d %k:%M",
    "%c",
    "%x %X",
    "^{DATE}",
    "<{DATE}>",
];
const MODES: &[&str] = &["normal", "ddos", "extra", "aggressive"];

struct Totals {
    lines: u64,
    hits: u64,
    errors: u64,
    undecided: u64,
}

impl Totals {
    fn tell(&self, what: &str, sequences: u64) {
        let Totals { lines, hits, errors, undecided } = self;
        println!(
            "{what}: {sequences} sequences, {lines} lines, {hits} hits; {errors} given up by the original, {undecided} by us"
        );
        assert!(undecided * 1_000 < (*lines).max(5_000), "too many lines without an answer");
        assert!(hits * 20 > *lines, "too few hits to mean anything");
    }
}

/// Where the lines of a sequence come from.
enum Lines<'a> {
    Samples(Vec<&'a str>),
    Homemade(&'a Homemade),
    /// Dates of all shapes with something around them.
    Dates,
}

fn start(installed: &Installed) -> Driver {
    Driver::start(installed.python(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matcher_original/original.py")))
}

/// Compares so many sequences of stock filters on their mutated samples.
pub(crate) fn run(installed: &Installed, sequences: u64, seed: u64) {
    let mut original = start(installed);
    let logs = installed.logs();
    let mut names: Vec<String> = std::fs::read_dir(installed.tree().join("filter.d"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok()?.strip_suffix(".conf").map(str::to_owned))
        .filter(|name| !name.ends_with("common") && logs.join(name).is_file())
        .collect();
    names.sort();
    let mut totals = Totals { lines: 0, hits: 0, errors: 0, undecided: 0 };
    for n in 0..sequences {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(n));
        // The filters with sessions and several lines more often.
        let often = ["sshd", "mongodb-auth", "exim", "slapd"];
        let name = if random.one_in(3) { *random.pick(&often) } else { random.pick(&names).as_str() };
        let text = std::fs::read_to_string(logs.join(name)).unwrap();
        let samples: Vec<&str> = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).collect();
        if samples.is_empty() {
            continue;
        }
        let mut options = json!({});
        if random.one_in(2) {
            options["mode"] = Value::from(*random.pick(MODES));
        }
        let expanded = original.ask(&json!({"filter": name, "options": options}));
        let what = format!("sequence {n}: {name} {options}");
        sequence(&mut original, &mut random, &expanded, &Lines::Samples(samples), &mut totals, &what);
    }
    totals.tell("stock filters", sequences);
}

/// Compares so many sequences of filters of our own.
pub(crate) fn run_homemade(installed: &Installed, sequences: u64, seed: u64) {
    let mut original = start(installed);
    let filters = homemade::all();
    let mut totals = Totals { lines: 0, hits: 0, errors: 0, undecided: 0 };
    for n in 0..sequences {
        let mut random = Random::new(seed.wrapping_mul(7_000_003).wrapping_add(n));
        let at = random.below(filters.len());
        let what = format!("sequence {n}: homemade {at}");
        let lines = Lines::Homemade(&filters[at]);
        sequence(&mut original, &mut random, &filters[at].options, &lines, &mut totals, &what);
    }
    totals.tell("homemade filters", sequences);
}

/// Compares what is cut of so many sequences of lines, and the time of each.
pub(crate) fn run_dates(installed: &Installed, sequences: u64, seed: u64) {
    let mut original = start(installed);
    let mut totals = Totals { lines: 0, hits: 0, errors: 0, undecided: 0 };
    // Every line hits, and its id is what the patterns see of it.
    let everything = json!({
        "prefregex": null, "failregex": ["^<F-ID>[\\s\\S]*</F-ID>"], "ignoreregex": [], "datepattern": null, "maxlines": 1,
    });
    for n in 0..sequences {
        let mut random = Random::new(seed.wrapping_mul(3_000_017).wrapping_add(n));
        let what = format!("sequence {n}: dates");
        sequence(&mut original, &mut random, &everything, &Lines::Dates, &mut totals, &what);
    }
    totals.tell("dates", sequences);
}

fn sequence(
    original: &mut Driver,
    random: &mut Random,
    options: &Value,
    source: &Lines<'_>,
    totals: &mut Totals,
    what: &str,
) {
    let spec = spec_of(random, options);
    let zone = *random.pick(ZONES);
    let local = TimeZone::posix(zone).unwrap();
    let Ok(filter) = Filter::compile(&spec, &Calendar::new(local.clone(), 2026)) else {
        return;
    };
    let mut matcher = Matcher::new(JailName::new("jail"), Arc::new(filter), 0);
    // All over the year, and near its turn; not in the hour that exists twice in autumn, where the C library's
    // choice hangs on what it was asked before.
    let mut now = *random.pick(&[1_755_000_000_i64, 1_767_225_500, 1_767_139_300, 1_774_745_900, 1_772_300_000]);
    original.ask(&json!({"new": question(&spec), "zone": zone, "now": now}));
    let all = random.one_in(4);
    let journal = spec.datepattern == DatePattern::Journal;
    let mut past: Vec<String> = Vec::new();
    for _ in 0..random.below(20) + 5 {
        now += *random.pick(&[0, 0, 1, 5, 59, 61, 130, 310, 90_000, -30]);
        let (op, findtime) = (!random.one_in(4), !random.one_in(4));
        let lines = batch(random, source, now, &local);
        let stamp = journal.then(|| now - *random.pick(&[0, 1, 59, 62, 599, 700, -5]));
        let shown_stamp = stamp.map(|at| {
            let at = jiff::Timestamp::from_second(at).unwrap().to_zoned(local.clone());
            at.strftime("%Y-%m-%dT%H:%M:%S ").to_string()
        });
        let answer = original.ask(&json!({
            "now": now, "op": op, "all": all, "findtime": findtime, "lines": lines, "stamp": stamp, "shown": shown_stamp,
        }));
        for (line, theirs) in lines.iter().zip(answer["lines"].as_array().unwrap()) {
            past.push(format!("now {now} op {op} findtime {findtime} {stamp:?}: {line:?}"));
            totals.lines += 1;
            let mode = LineMode { all, findtime, pending: all, ageless: false, show: false };
            let report = matcher.line(Timestamp::from_secs(now), line, stamp.map(Timestamp::from_secs), op, mode);
            if theirs.get("error").is_some() {
                totals.errors += 1;
                // DIVERGENCE (zone-word-gives-up-line): it has thrown the line away; from here on both may have seen different dates.
                return;
            }
            if report.undecided {
                totals.undecided += 1;
                return;
            }
            let (ours, theirs) = (shown(&report), expected(&theirs["hits"]));
            totals.hits += report.hits.len() as u64;
            let last: Vec<&String> = past.iter().rev().take(12).rev().collect();
            assert!(
                ours == theirs,
                "{what} all={all} zone={zone}\n{last:#?}\nours   {ours:#}\ntheirs {theirs:#}\nspec {}",
                question(&spec)
            );
        }
        let names = matcher.filter().date_templates();
        let dates: Value =
            matcher.date_ranks().iter().map(|rank| json!([*names[rank.template].name, rank.hits])).collect();
        assert!(
            dates == answer["dates"],
            "{what}: other templates after\n{past:#?}\nours {dates}\ntheirs {}",
            answer["dates"]
        );
    }
}

/// A few lines that might follow each other.
fn batch(random: &mut Random, source: &Lines<'_>, now: i64, zone: &TimeZone) -> Vec<String> {
    let count = random.below(12) + 1;
    match source {
        Lines::Homemade(filter) => (0..count).map(|_| filter.line(random)).collect(),
        Lines::Dates => {
            let shape = date(random, now, zone);
            (0..count).map(|_| dated(random, &shape, now, zone)).collect()
        }
        Lines::Samples(samples) => {
            let start = random.below(samples.len());
            let one = |n| {
                let from = if random.one_in(4) { random.below(samples.len()) } else { (start + n) % samples.len() };
                mutate(random, samples[from], now, zone)
            };
            (0..count).map(one).collect()
        }
    }
}

/// A filter as the stock one, with other options around it at times.
fn spec_of(random: &mut Random, expanded: &Value) -> FilterSpec {
    let texts = |key: &str| -> Vec<String> {
        expanded[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let mut spec = FilterSpec {
        prefregex: expanded["prefregex"].as_str().map(str::to_owned),
        failregex: texts("failregex"),
        ignoreregex: texts("ignoreregex"),
        datepattern: expanded["datepattern"].as_str().map_or(DatePattern::Default, |t| DatePattern::Text(t.to_owned())),
        maxlines: u32::try_from(expanded["maxlines"].as_u64().unwrap()).unwrap(),
        usedns: *random.pick(&[UseDns::Raw, UseDns::Raw, UseDns::No]),
        findtime: Span::from_secs(*random.pick(&[600, 3_600, 100_000])),
        ..FilterSpec::default()
    };
    if random.one_in(4) {
        spec.datepattern = DatePattern::Text((*random.pick(PATTERNS)).to_owned());
    }
    if random.one_in(10) {
        spec.datepattern = DatePattern::Journal;
    }
    if random.one_in(5) {
        spec.logtimezone = Some((*random.pick(&["UTC", "CET+0130", "-0430", "EST"])).to_owned());
    }
    if random.one_in(6) {
        spec.maxlines = *random.pick(&[1, 2, 5]);
    }
    if random.one_in(5) {
        spec.ignoreregex
            .push((*random.pick(&["192\\.0\\.2", "root", "from <HOST> port \\d*7", "a.*e.*i$"])).to_owned());
    }
    spec
}

fn question(spec: &FilterSpec) -> Value {
    json!({
        "prefregex": spec.prefregex,
        "failregex": spec.failregex,
        "ignoreregex": spec.ignoreregex,
        "datepattern": match &spec.datepattern { DatePattern::Text(text) => Some(text), _ => None },
        "journal": spec.datepattern == DatePattern::Journal,
        "maxlines": spec.maxlines,
        "usedns": if spec.usedns == UseDns::No { "no" } else { "raw" },
        "logtimezone": spec.logtimezone,
        "findtime": spec.findtime.secs(),
    })
}

/// Before 1970 the C library has no summer time.
fn since_1970(time: Timestamp) -> i64 {
    time.micros().max(0)
}

/// Our hits in the form of the original's.
fn shown(report: &LineReport) -> Value {
    let hits = report.hits.iter().map(|hit| {
        let id = match &hit.who {
            Some(Who::Id(id)) => Some(id.to_string()),
            Some(Who::Name(name)) => Some(name.to_string()),
            None => None,
        };
        let mut groups = serde_json::Map::new();
        for (name, value) in &hit.groups {
            let value = match value {
                GroupValue::Text(text) => Value::from(&**text),
                GroupValue::List(list) => list.iter().map(|t| Value::from(&**t)).collect(),
            };
            groups.insert(name.to_string(), value);
        }
        json!({
            "regex": hit.regex, "id": id, "micros": hit.time.map(since_1970),
            "ip": hit.ip.as_ref().map(ToString::to_string), "groups": groups, "matches": hit.matches,
        })
    });
    hits.collect()
}

/// The original's hits in our form.
fn expected(hits: &Value) -> Value {
    let one = |hit: &Value| {
        let micros = hit[2].as_f64().map(|secs| since_1970(Timestamp::from_secs_f64(secs)));
        json!({"regex": hit[0], "id": hit[1], "micros": micros, "ip": hit[3], "groups": hit[4], "matches": hit[5]})
    };
    hits.as_array().unwrap().iter().map(one).collect()
}
