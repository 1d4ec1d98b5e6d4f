//! Values that only the daemon would refuse, looked at while reading, so that
//! `-t` and a start name them with file and line.

use stockade_core::judge::formula::{Formula, parse_constant};
use stockade_core::matcher::Encoding;

use crate::call;
use crate::text::nearest;

/// Log readers that the option `backend` may name.
const BACKENDS: [&str; 4] = ["auto", "polling", "pyinotify", "systemd"];

/// What is wrong with the value of an option, and what to do; `None` if nothing is.
pub(crate) fn refused(option: &str, value: &str) -> Option<(String, String)> {
    match option {
        "backend" => backend(value),
        "logencoding" => {
            let why = Encoding::parse(value).err()?;
            Some((why, "write auto, utf-8, ascii, iso-8859-1, ..".to_owned()))
        }
        "bantime.factor" => {
            let why = parse_constant(value).err()?;
            Some((why.to_string(), "write a number, such as 1 or 0.5".to_owned()))
        }
        "bantime.formula" if !value.is_empty() => {
            let why = Formula::parse(value).err()?;
            Some((why.to_string(), "use ban.Time, ban.Count, banFactor, numbers and + - * / ( )".to_owned()))
        }
        "bantime.multipliers" => {
            let word = value.split_whitespace().find(|word| word.parse::<i64>().is_err())?;
            Some((format!("'{word}' is no whole number"), "write for example 1 2 4 8 16".to_owned()))
        }
        "ignorecache" if !value.is_empty() => ignorecache(value),
        _ => None,
    }
}

fn backend(value: &str) -> Option<(String, String)> {
    let name = call::parse(value).map_or_else(|_| value.to_owned(), |call| call.name.trim().to_owned());
    if BACKENDS.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        return None;
    }
    let help = match nearest(&name, BACKENDS) {
        Some(near) => format!("did you mean {near}?"),
        None if name.eq_ignore_ascii_case("gamin") => "gamin is gone since 1.1.0; write auto".to_owned(),
        None => format!("one of {}", BACKENDS.join(", ")),
    };
    Some((format!("there is no backend '{name}'"), help))
}

fn ignorecache(value: &str) -> Option<(String, String)> {
    let help = || "write key=\"<ip>\", max-count=100, max-time=5m".to_owned();
    match call::parse(&format!("x[{value}]")) {
        Err(why) => Some((why, help())),
        Ok(call) if !call.arguments.contains("key") => Some(("it has no key".to_owned(), help())),
        Ok(_) => None,
    }
}
