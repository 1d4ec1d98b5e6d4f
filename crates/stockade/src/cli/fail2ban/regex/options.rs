//! Options of `fail2ban-regex`, read as the original's `optparse` reads them: anywhere between the
//! other words, long ones shortened as far as they stay unique.
//!
//! Source: fail2ban `client/fail2banregex.py`, names and rules only.

use std::path::PathBuf;

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flag,
    Text,
    Number,
}

/// Names of each option, the one that [`Options`] goes by last.
const TABLE: &[(&[&str], Kind)] = &[
    (&["--version"], Kind::Flag),
    (&["-h", "--help"], Kind::Flag),
    (&["-c", "--config"], Kind::Text),
    (&["-d", "--datepattern"], Kind::Text),
    (&["--TZ", "--timezone"], Kind::Text),
    (&["-e", "--encoding"], Kind::Text),
    (&["-r", "--raw"], Kind::Flag),
    (&["--usedns"], Kind::Text),
    (&["-L", "--maxlines"], Kind::Number),
    (&["-m", "--journalmatch"], Kind::Text),
    (&["-l", "--log-level"], Kind::Text),
    (&["-V"], Kind::Flag),
    (&["-v", "--verbose"], Kind::Flag),
    (&["--verbosity"], Kind::Number),
    (&["--VD", "--verbose-date"], Kind::Flag),
    (&["-D", "--debuggex"], Kind::Flag),
    (&["--no-check-all"], Kind::Flag),
    (&["-o", "--out"], Kind::Text),
    (&["--print-no-missed"], Kind::Flag),
    (&["--print-no-ignored"], Kind::Flag),
    (&["--print-all-matched"], Kind::Flag),
    (&["--print-all-missed"], Kind::Flag),
    (&["--print-all-ignored"], Kind::Flag),
    (&["-t", "--log-traceback"], Kind::Flag),
    (&["--full-traceback"], Kind::Flag),
];

/// What was asked for.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one per option of the original")]
pub(super) struct Options {
    pub(super) config: Option<PathBuf>,
    pub(super) datepattern: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) raw: bool,
    pub(super) usedns: Option<String>,
    pub(super) maxlines: i64,
    pub(super) journalmatch: Option<String>,
    pub(super) log_level: Option<String>,
    pub(super) verbose: i64,
    pub(super) verbose_date: bool,
    pub(super) debuggex: bool,
    pub(super) no_check_all: bool,
    pub(super) out: Option<String>,
    pub(super) no_missed: bool,
    pub(super) no_ignored: bool,
    pub(super) all_matched: bool,
    pub(super) all_missed: bool,
    pub(super) all_ignored: bool,
    /// What is no option.
    pub(super) words: Vec<String>,
}

/// What the words come to.
pub(super) enum Parsed {
    Work(Box<Options>),
    Help,
    Version {
        short: bool,
    },
    /// What is wrong.
    Wrong(String),
}

/// Reads the words behind the program's name.
pub(super) fn parse(words: &[String]) -> Parsed {
    let mut options = Options::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            options.words.extend(rest.by_ref().cloned());
        } else if word.starts_with("--") {
            let (given, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let found = match long(given) {
                Ok(found) => found,
                Err(what) => return Parsed::Wrong(what),
            };
            let (names, kind) = found;
            let shown = names.iter().find(|name| name.starts_with(given)).copied().unwrap_or(given);
            let value = match (kind, value) {
                (Kind::Flag, Some(_)) => return Parsed::Wrong(format!("{shown} option does not take a value")),
                (Kind::Flag, None) => String::new(),
                (_, Some(value)) => value,
                (_, None) => match rest.next() {
                    Some(value) => value.clone(),
                    None => return Parsed::Wrong(format!("{shown} option requires 1 argument")),
                },
            };
            if let Some(end) = options.set(names, kind, shown, value) {
                return end;
            }
        } else if word.len() > 1 && word.starts_with('-') {
            for (at, letter) in word.char_indices().skip(1) {
                let name = format!("-{letter}");
                let Some((names, kind)) = TABLE.iter().find(|(names, _)| names.contains(&name.as_str())) else {
                    return Parsed::Wrong(format!("no such option: {name}"));
                };
                let mut value = String::new();
                if *kind != Kind::Flag {
                    let behind = word.get(at + letter.len_utf8()..).unwrap_or("");
                    value = match (behind, rest.as_slice().first()) {
                        ("", None) => return Parsed::Wrong(format!("{name} option requires 1 argument")),
                        ("", Some(next)) => {
                            rest.next();
                            next.clone()
                        }
                        (behind, _) => behind.to_owned(),
                    };
                }
                if let Some(end) = options.set(names, *kind, &name, value) {
                    return end;
                }
                if *kind != Kind::Flag {
                    break;
                }
            }
        } else {
            options.words.push(word.clone());
        }
    }
    Parsed::Work(Box::new(options))
}

/// The option that a long name, shortened or not, means.
fn long(given: &str) -> Result<(&'static [&'static str], Kind), String> {
    let all = || TABLE.iter().flat_map(|(names, kind)| names.iter().map(|name| (*name, *names, *kind)));
    let long = || all().filter(|(name, ..)| name.starts_with("--"));
    if let Some((_, names, kind)) = long().find(|(name, ..)| *name == given) {
        return Ok((names, kind));
    }
    let mut near: Vec<_> = long().filter(|(name, ..)| name.starts_with(given)).collect();
    near.sort_by_key(|(name, ..)| *name);
    match near.as_slice() {
        [] => Err(format!("no such option: {given}")),
        [(_, names, kind)] => Ok((names, *kind)),
        many => {
            let names: Vec<&str> = many.iter().map(|(name, ..)| *name).collect();
            Err(format!("ambiguous option: {given} ({}?)", names.join(", ")))
        }
    }
}

impl Options {
    /// Takes one option; `Some` if that ends the work.
    fn set(&mut self, names: &[&str], kind: Kind, shown: &str, value: String) -> Option<Parsed> {
        let number = match kind {
            Kind::Number => match value.trim().parse::<i64>() {
                Ok(number) => number,
                Err(_) => return Some(Parsed::Wrong(format!("option {shown}: invalid integer value: '{value}'"))),
            },
            Kind::Flag | Kind::Text => 0,
        };
        match names.last().copied().unwrap_or("") {
            "--version" => return Some(Parsed::Version { short: false }),
            "-V" => return Some(Parsed::Version { short: true }),
            "--help" => return Some(Parsed::Help),
            "--config" => self.config = Some(value.into()),
            "--datepattern" => self.datepattern = Some(value),
            "--timezone" => self.timezone = Some(value),
            "--encoding" => self.encoding = Some(value),
            "--raw" => self.raw = true,
            "--usedns" => self.usedns = Some(value),
            "--maxlines" => self.maxlines = number,
            "--journalmatch" => self.journalmatch = Some(value),
            "--log-level" => self.log_level = Some(value),
            "--verbose" => self.verbose += 1,
            "--verbosity" => self.verbose = number,
            "--verbose-date" => self.verbose_date = true,
            "--debuggex" => self.debuggex = true,
            "--no-check-all" => self.no_check_all = true,
            "--out" => self.out = Some(value).filter(|out| !out.is_empty()),
            "--print-no-missed" => self.no_missed = true,
            "--print-no-ignored" => self.no_ignored = true,
            "--print-all-matched" => self.all_matched = true,
            "--print-all-missed" => self.all_missed = true,
            "--print-all-ignored" => self.all_ignored = true,
            // How a traceback looks does not matter where there is none.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Parsed {
        parse(&line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    }

    #[track_caller]
    fn wrong(line: &str, text: &str) {
        match words(line) {
            Parsed::Wrong(what) => assert_eq!(what, text, "{line}"),
            _ => panic!("{line} is taken"),
        }
    }

    #[test]
    fn options_stand_anywhere_and_may_be_shortened() {
        let Parsed::Work(options) = words("a -vvc DIR b --usedns=no --print-all-ma -L5 -- -c") else { panic!() };
        assert_eq!((options.verbose, options.maxlines, options.all_matched), (2, 5, true));
        assert_eq!((options.config, options.usedns.as_deref()), (Some("DIR".into()), Some("no")));
        assert_eq!(options.words, ["a", "b", "-c"]);
        assert!(matches!(words("x -vV"), Parsed::Version { short: true }));
        assert!(matches!(words("--hel"), Parsed::Help));
    }

    #[test]
    fn what_is_wrong_is_said_as_the_original_says_it() {
        wrong("--foo", "no such option: --foo");
        wrong("-vx", "no such option: -x");
        wrong("--verb", "ambiguous option: --verb (--verbose, --verbose-date, --verbosity?)");
        wrong("--raw=1", "--raw option does not take a value");
        wrong("-d", "-d option requires 1 argument");
        wrong("--conf", "--config option requires 1 argument");
        wrong("-L x", "option -L: invalid integer value: 'x'");
    }
}
