//! Options of a jail as `get JAIL` shows them.
//!
//! Source: fail2ban `server/transmitter.py`, `__commandGet`, and the getters
//! behind it, with their defaults.

use stockade_core::FailureId;
use stockade_core::judge::IgnoreCache;
use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterSpec};
use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::action::METHODS;
use super::jail::JailSettings;
use super::python::{Seconds, words};

/// The answer to `get JAIL OPTION ..`; `rest` stands behind the option.
/// `filter` is the jail's, compiled: patterns are shown with their tags replaced.
pub(crate) fn jail_option(
    jail: &JailSettings,
    filter: Option<&Filter>,
    option: &str,
    rest: &[Value],
) -> Result<Value, Exception> {
    let number = |value: Option<i64>, default: i64| Value::Int(value.unwrap_or(default));
    let text = |value: &Option<String>, default: &str| value.as_deref().unwrap_or(default).into();
    let word = |n: usize| rest.get(n).map(words).ok_or_else(Exception::missing_word);
    Ok(match option {
        "idle" => Value::Bool(jail.idle),
        "logpath" => list(jail.logpath.iter().map(|(path, _)| path.as_str())),
        "logencoding" => match jail.logencoding.as_deref() {
            None => "UTF-8".into(),
            Some(name) if name.eq_ignore_ascii_case("auto") => "UTF-8".into(),
            Some(name) => name.into(),
        },
        "journalmatch" => {
            let alternatives = jail.journalmatch.iter().map(|words| list(words.iter().map(String::as_str)));
            Value::List(if jail.reads_journal() { alternatives.collect() } else { Vec::new() })
        }
        "ignoreself" => Value::Bool(jail.ignoreself.unwrap_or(true)),
        "ignoreip" => ignoreip(&jail.ignoreip),
        "ignorecommand" => jail.ignorecommand.as_deref().map_or(Value::Bool(false), Value::from),
        "ignorecache" => jail.ignorecache.as_ref().map_or(Value::None, ignorecache),
        "prefregex" => match jail.prefregex.as_deref() {
            None | Some("") => "".into(),
            Some(raw) => filter.and_then(Filter::prefregex).unwrap_or(raw).into(),
        },
        "failregex" => match filter {
            Some(filter) => list(filter.failregex()),
            None => list(jail.failregex.iter().map(String::as_str)),
        },
        "ignoreregex" => match filter {
            Some(filter) => list(filter.ignoreregex()),
            None => list(jail.ignoreregex.iter().map(String::as_str)),
        },
        "usedns" => text(&jail.usedns, "warn"),
        "findtime" => jail.findtime.unwrap_or(Seconds::Whole(600)).value(),
        "datepattern" => datepattern(jail, filter),
        "logtimezone" => jail.logtimezone.as_deref().map_or(Value::None, Value::from),
        "maxmatches" => number(jail.maxmatches, 5),
        "maxretry" => number(jail.maxretry, 3),
        "maxlines" => number(jail.maxlines, 1),
        #[expect(clippy::cast_possible_truncation, reason = "has no fraction; beyond the range it saturates")]
        "bantime" => Value::Int(jail.bantime.unwrap_or(600.0) as i64),
        "actions" => list(jail.actions.iter().map(|action| action.name.as_str())),
        "action" => {
            let (name, property) = (word(0)?, word(1)?);
            jail.action(&name)?.get(&property)?
        }
        "actionproperties" => Value::List(jail.action(&word(0)?)?.names()),
        "actionmethods" => {
            jail.action(&word(0)?)?;
            list(METHODS.into_iter())
        }
        _ => match option.strip_prefix("bantime.") {
            Some(extra) => jail.bantime_extra.get(extra).cloned().unwrap_or(Value::None),
            None => match option.strip_prefix("stockade.") {
                Some(own) => jail.own(own).map_or(Value::None, Value::from),
                None => return Err(Exception::plain("Invalid command (no get action or not yet implemented)")),
            },
        },
    })
}

/// Which `get` shows what `set JAIL OPTION` has changed; `None` where the
/// answer is none.
pub(crate) fn asked_by_set(option: &str) -> Option<&str> {
    Some(match option {
        "addignoreip" | "delignoreip" => "ignoreip",
        "addlogpath" | "dellogpath" => "logpath",
        "addjournalmatch" | "deljournalmatch" => "journalmatch",
        "addfailregex" | "delfailregex" => "failregex",
        "addignoreregex" | "delignoreregex" => "ignoreregex",
        "delaction" | "stockade.logpath" | "stockade.origin" | "stockade.success" => return None,
        other => other,
    })
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    Value::List(texts.map(Value::from).collect())
}

/// Networks and names first, then single addresses.
fn ignoreip(words: &[String]) -> Value {
    let single = |word: &&String| FailureId::parse(word).net().is_some_and(|net| net.is_host());
    let (singles, others): (Vec<&String>, Vec<&String>) = words.iter().partition(single);
    let shown = others.into_iter().chain(singles).map(|word| FailureId::parse(word).to_string().into());
    Value::List(shown.collect())
}

fn ignorecache(cache: &IgnoreCache) -> Value {
    let time = cache.time_max.as_secs_f64();
    let time = if time.fract() == 0.0 { Value::Int(cache.time_max.secs()) } else { Value::Float(time) };
    Value::List(vec![(&*cache.key).into(), Value::Int(cache.count_max.into()), time])
}

/// Pattern and name of the first template; of more than two only that they are many.
fn datepattern(jail: &JailSettings, filter: Option<&Filter>) -> Value {
    if jail.reads_journal() && jail.datepattern.is_none() {
        return Value::None;
    }
    let templates = match &jail.datepattern {
        // Entries bring their time with them; the pattern is known all the same.
        Some(text) if jail.reads_journal() => {
            let spec = FilterSpec { datepattern: DatePattern::Text(text.clone()), ..FilterSpec::default() };
            let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2000);
            Filter::compile(&spec, &calendar).map(|filter| filter.date_templates()).unwrap_or_default()
        }
        _ => filter.map(Filter::date_templates).unwrap_or_default(),
    };
    match templates.as_slice() {
        [first] | [first, _] if jail.datepattern.is_some() => {
            let pattern = first.pattern.as_deref().map_or(Value::None, Value::from);
            Value::Tuple(vec![pattern, (&*first.name).into()])
        }
        _ => Value::Tuple(vec![Value::None, "Default Detectors".into()]),
    }
}
