//! The annotations in its sample logs.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

use crate::Installed;

/// Named options of a filter call.
pub type Options = BTreeMap<String, Value>;

/// `# failJSON: {..}` and its like: the word and what follows it.
#[must_use]
pub fn annotation(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix('#')?.trim_start_matches('#');
    let (kind, json) = rest.strip_prefix(' ').unwrap_or(rest).split_once(':')?;
    ["failJSON", "fileOptions", "filterOptions", "addFILE"].contains(&kind).then_some((kind, json))
}

/// Evaluates the three forms of conditions that those logs have, for the filter of that name.
#[must_use]
pub fn holds(condition: &str, name: &str, options: &Options) -> bool {
    let words: String = condition.chars().filter(|c| !c.is_whitespace()).collect();
    let mode = options.get("mode").and_then(Value::as_str);
    if let Some(wanted) = words.strip_prefix("name==") {
        return wanted.trim_matches('\'') == name;
    }
    if let Some(wanted) = words.strip_prefix("opts.get('mode')==") {
        return mode == Some(wanted.trim_matches('\''));
    }
    if let Some(wanted) = words.strip_prefix("opts.get('mode')!=") {
        return mode != Some(wanted.trim_matches('\''));
    }
    panic!("unknown condition {condition}")
}

/// One line of a sample log, under one set of options.
#[derive(Clone, Debug)]
pub struct Sample {
    /// File and line, for messages.
    pub place: String,
    /// The line, as the filter gets it.
    pub line: String,
    /// Names the set of options; the same for all lines of one run of the filter.
    pub label: String,
    /// The options of the filter, those for tests (`test.`) among them.
    pub options: Options,
    /// What is said of the line; empty if nothing is: then it is no failure.
    pub expected: Map<String, Value>,
}

impl Sample {
    /// The options that the filter itself knows.
    #[must_use]
    pub fn plain_options(&self) -> Options {
        plain(&self.options)
    }

    /// Does the line come from the journal, which brings its time with it?
    #[must_use]
    pub fn is_of_journal(&self) -> bool {
        self.options.get("logtype").is_some_and(|v| v == "journal")
    }

    /// Is it to be a failure?
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.expected.get("match").is_some_and(|v| v == true)
    }
}

fn plain(options: &Options) -> Options {
    options.iter().filter(|(k, _)| !k.starts_with("test.")).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Filters of the tree and of its tests that have samples; the latter begin with `zzz-`.
#[must_use]
pub fn filters(installed: &Installed) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let own = installed.packages().join("fail2ban/tests/config/filter.d");
    for (folder, stock) in [(installed.tree().join("filter.d"), true), (own, false)] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(name) = name.strip_suffix(".conf") else { continue };
            if if stock { !name.ends_with("common") } else { name.starts_with("zzz-") } {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names
}

/// All samples of one filter.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// In the order of the lines, each under every set of options that it is meant for.
    pub list: Vec<Sample>,
    /// How many lines of each file are annotated, whatever the options.
    pub annotations: BTreeMap<String, usize>,
}

/// The samples of a filter: those of its own file, and of the files which that one names.
#[must_use]
pub fn of_filter(installed: &Installed, name: &str) -> Samples {
    let mut walk =
        Walk { name, common: Options::new(), sets: Vec::new(), queue: VecDeque::new(), out: Samples::default() };
    walk.queue.push_back(name.to_owned());
    while let Some(file) = walk.queue.pop_front() {
        walk.file(&file, &text(installed, &file));
    }
    walk.out
}

#[expect(clippy::disallowed_methods, reason = "a test file of a distribution's package")]
fn text(installed: &Installed, file: &str) -> String {
    std::fs::read_to_string(installed.logs().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

struct Walk<'a> {
    name: &'a str,
    /// Options of all sets.
    common: Options,
    /// What the next lines are for: label and options.
    sets: Vec<(String, Options)>,
    queue: VecDeque<String>,
    out: Samples,
}

impl Walk<'_> {
    fn file(&mut self, file: &str, text: &str) {
        let mut skip_block = false;
        let mut annotations = 0;
        let mut lines = text.lines().zip(1..);
        while let Some((line, mut number)) = lines.next() {
            let mut sample = line;
            let mut expected = Map::new();
            if let Some((kind, json)) = annotation(line) {
                let json: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{file}:{number}: {e}"));
                match (kind, json) {
                    ("fileOptions", Value::Object(map)) => self.common = map.into_iter().collect(),
                    ("filterOptions", json) => skip_block = self.choose(json),
                    ("addFILE", Value::String(file)) => self.queue.push_back(file),
                    ("failJSON", Value::Object(map)) => {
                        expected = map;
                        annotations += 1;
                        (sample, number) = lines.next().unwrap();
                    }
                    (kind, json) => panic!("{file}:{number}: {kind} {json}"),
                }
                if expected.is_empty() {
                    continue;
                }
            } else if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if !skip_block {
                self.line(&format!("{file}:{number}"), sample, &expected);
            }
        }
        self.out.annotations.insert(file.to_owned(), annotations);
    }

    /// Sets which options the next lines are for; true if they are to be left out.
    fn choose(&mut self, json: Value) -> bool {
        self.sets.clear();
        let sets = match json {
            Value::Array(sets) => sets,
            one => vec![one],
        };
        let mut skip = false;
        for set in sets {
            let mut options = self.common.clone();
            options.extend(set.as_object().unwrap().clone());
            if let Some(condition) = options.get("test.condition") {
                skip = !holds(condition.as_str().unwrap(), self.name, &options);
            }
            if !skip {
                let label = match options.get("test.filter-name") {
                    Some(label) => label.as_str().unwrap().to_owned(),
                    None => format!("{:?}", plain(&options)),
                };
                self.sets.push((label, options));
            }
        }
        skip
    }

    fn line(&mut self, place: &str, line: &str, expected: &Map<String, Value>) {
        if self.sets.is_empty() {
            self.sets.push((String::new(), Options::new()));
        }
        let mut line = line.to_owned();
        for (label, options) in &self.sets {
            if let Some(constraint) = expected.get("constraint")
                && !holds(constraint.as_str().unwrap(), self.name, options)
            {
                continue;
            }
            let journal = options.get("logtype").is_some_and(|v| v == "journal");
            if let (true, Some(prefix)) = (journal, options.get("test.prefix-line")) {
                line = format!("{}{line}", prefix.as_str().unwrap());
            }
            self.out.list.push(Sample {
                place: place.to_owned(),
                line: line.clone(),
                label: label.clone(),
                options: options.clone(),
                expected: expected.clone(),
            });
        }
    }
}
