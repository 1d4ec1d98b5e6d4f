//! Options of `fail2ban-client` and `fail2ban-server`, read as the original's
//! `getopt` reads them: they end at the first other word, long ones may be
//! shortened as far as they stay unique.
//!
//! Source: fail2ban `client/fail2bancmdline.py`, names and rules only.

use std::path::PathBuf;

use stockade_config::{Overrides, duration};

/// How long a started server may take to answer, unless `--timeout` says so.
const WAIT_SECS: f64 = 30.0;

/// Letters of short options; those with a value are followed by a colon.
const SHORT: &str = "hc:s:p:xfbdtviqV";

/// Long options and whether they take a value.
const LONG: &[(&str, bool)] = &[
    ("loglevel", true),
    ("logtarget", true),
    ("syslogsocket", true),
    ("test", false),
    ("async", false),
    ("conf", true),
    ("pidfile", true),
    ("pname", true),
    ("socket", true),
    ("timeout", true),
    ("str2sec", true),
    ("help", false),
    ("version", false),
    ("dp", false),
    ("dump-pretty", false),
];

/// Says that this process is the one in the background. Only we ourselves give
/// it, and only in full, so that no word of the original becomes ambiguous.
pub(super) const DETACHED: &str = "--stockade-detached";

/// How `-d` and `--dp` print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dump {
    /// One line a command.
    Plain,
    /// Broken where a line were very long.
    Pretty,
}

/// What the options ask for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// `-c`
    pub(super) conf: PathBuf,
    /// `-s`, `-p`, `--loglevel`, `--logtarget`, `--syslogsocket`
    pub(super) given: Overrides,
    /// `-x`
    pub(super) force: bool,
    /// `-b`, not `-f`
    pub(super) background: bool,
    /// `--async`: start empty, the stream will come
    pub(super) empty: bool,
    /// [`DETACHED`]
    pub(super) detached: bool,
    /// `-d`, `--dp`
    pub(super) dump: Option<Dump>,
    /// `-t`
    pub(super) test: bool,
    /// `-i`
    pub(super) interactive: bool,
    /// 0 without `-v` and `-q`
    pub(super) verbosity: i32,
    /// `--timeout`, seconds
    pub(super) wait_secs: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            conf: "/etc/fail2ban".into(),
            given: Overrides::default(),
            force: false,
            background: true,
            empty: false,
            detached: false,
            dump: None,
            test: false,
            interactive: false,
            verbosity: 0,
            wait_secs: WAIT_SECS,
        }
    }
}

/// A command line, understood.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Options, and the words behind them.
    Work(Box<Options>, Vec<String>),
    /// An option that does not exist, or lacks its value: usage, and failure.
    Unknown,
    /// `-h`
    Help,
    /// `-V` (short) and `--version`
    Version {
        /// Only the number?
        short: bool,
    },
    /// `--str2sec`, with what to print
    Seconds(String),
    /// A length of time that is none; why.
    NoTime(String),
}

/// Reads the words behind the program's name.
pub(super) fn parse(words: &[String]) -> Parsed {
    let Some((found, rest)) = split(words) else { return Parsed::Unknown };
    let mut options = Options::default();
    for (name, value) in found {
        let text = || Some(value.clone());
        match name.as_str() {
            "-c" | "--conf" => options.conf = value.into(),
            "-s" | "--socket" => options.given.socket = text(),
            "-p" | "--pidfile" => options.given.pidfile = text(),
            "--loglevel" => options.given.loglevel = text(),
            "--logtarget" => options.given.logtarget = text(),
            "--syslogsocket" => options.given.syslogsocket = text(),
            "-d" => options.dump = Some(Dump::Plain),
            "--dp" | "--dump-pretty" => options.dump = Some(Dump::Pretty),
            "-t" | "--test" => options.test = true,
            "-v" => options.verbosity += 1,
            "-q" => options.verbosity -= 1,
            "-x" => options.force = true,
            "-i" => options.interactive = true,
            "-b" => options.background = true,
            "-f" => options.background = false,
            "--async" => options.empty = true,
            DETACHED => options.detached = true,
            "--timeout" => match duration::seconds(&value) {
                Ok(secs) => options.wait_secs = secs.as_f64(),
                Err(why) => return Parsed::NoTime(format!("'{value}' is not a length of time: {why}")),
            },
            "--str2sec" => match duration::seconds(&value) {
                Ok(secs) => return Parsed::Seconds(secs.to_string()),
                Err(why) => return Parsed::NoTime(format!("'{value}' is not a length of time: {why}")),
            },
            "-h" | "--help" => return Parsed::Help,
            "-V" | "--version" => return Parsed::Version { short: name == "-V" },
            // `--pname`: our process has the name it was started by.
            _ => {}
        }
    }
    Parsed::Work(Box::new(options), rest)
}

/// Options with their values (empty where they take none), and the other words.
type Split = (Vec<(String, String)>, Vec<String>);

/// Python's `getopt.getopt`; `None` where it would complain.
fn split(words: &[String]) -> Option<Split> {
    let mut found = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.as_slice().first() {
        if word == "--" {
            rest.next();
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            rest.next();
            if word == DETACHED {
                found.push((word.clone(), String::new()));
                continue;
            }
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (name, takes) = full_name(name)?;
            let value = match (takes, inline) {
                (true, Some(value)) => value,
                (true, None) => rest.next()?.clone(),
                (false, None) => String::new(),
                (false, Some(_)) => return None,
            };
            found.push((format!("--{name}"), value));
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else { break };
        rest.next();
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let at = SHORT.find(letter).filter(|_| letter != ':')?;
            let value = if SHORT.get(at + 1..).is_some_and(|more| more.starts_with(':')) {
                let inline: String = letters.by_ref().collect();
                if inline.is_empty() { rest.next()?.clone() } else { inline }
            } else {
                String::new()
            };
            found.push((format!("-{letter}"), value));
        }
    }
    Some((found, rest.cloned().collect()))
}

/// The long option that is meant, if there is one and no other.
fn full_name(begin: &str) -> Option<(&'static str, bool)> {
    let mut candidates = LONG.iter().filter(|(name, _)| name.starts_with(begin));
    if let Some(exact) = LONG.iter().find(|(name, _)| *name == begin) {
        return Some(*exact);
    }
    let first = candidates.next()?;
    candidates.next().is_none().then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
    }

    fn work(line: &str) -> (Options, Vec<String>) {
        match parse(&words(line)) {
            Parsed::Work(options, rest) => (*options, rest),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_end_at_the_first_word() {
        let (options, rest) = work("-xf -v start -b");
        assert!(options.force && !options.background && options.verbosity == 1);
        assert_eq!(rest, ["start", "-b"]);
        let (options, rest) = work("-c/etc/x -s S -- -d");
        assert_eq!((options.conf.to_str(), options.given.socket.as_deref()), (Some("/etc/x"), Some("S")));
        assert_eq!(rest, ["-d"]);
        assert_eq!(work("- status").1, ["-", "status"]);
    }

    #[test]
    fn long_options_may_be_shortened_while_unique() {
        assert!(work("--te").0.test);
        assert_eq!(work("--dump").0.dump, Some(Dump::Pretty));
        assert_eq!(work("--dp").0.dump, Some(Dump::Pretty));
        assert_eq!(work("--sock=X").0.given.socket.as_deref(), Some("X"));
        for line in ["--t", "--d", "--nothing", "--test=1", "--socket", "-s", "-z", "-:", "--s x", "--stockade-det"] {
            assert!(matches!(parse(&words(line)), Parsed::Unknown), "{line}");
        }
        assert!(work("--stockade-detached").0.detached);
    }

    #[test]
    fn the_first_answer_ends_it() {
        assert!(matches!(parse(&words("-V -h")), Parsed::Version { short: true }));
        assert!(matches!(parse(&words("--version")), Parsed::Version { short: false }));
        assert!(matches!(parse(&words("-h --str2sec 1h")), Parsed::Help));
        assert!(matches!(parse(&words("--str2sec 1h -h")), Parsed::Seconds(s) if s == "3600"));
        assert!(matches!(parse(&words("--timeout x status")), Parsed::NoTime(_)));
        assert!(matches!(parse(&words("-h -z")), Parsed::Unknown));
        assert_eq!(work("--timeout 1m").0.wait_secs, 60.0);
    }
}
