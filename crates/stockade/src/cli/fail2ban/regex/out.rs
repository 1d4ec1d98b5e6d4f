//! `-o`: results only, one line each, in the form that was asked for.

use std::sync::Arc;

use stockade_core::matcher::Filter;
use stockade_core::{FailureId, GroupValue};
use stockade_pattern::{Flags, Regex};
use stockade_wire::value::{Value, repr_str};

use super::report::Found;
use crate::cli::term::say;

/// Prints the hits of one line.
pub(super) fn print(form: &str, found: &[Found], filter: &Filter) {
    let found = found.iter().filter(|found| !found.nofail);
    match form {
        "id" | "fid" => found.for_each(|f| say(id(f))),
        "ip" => found.for_each(|f| say(f.ip.clone().unwrap_or_else(|| id(f)))),
        "msg" => found.flat_map(|f| &f.matches).for_each(say),
        "row" => found.for_each(|f| say(format!("[{},\t{},\t{}],", repr_str(&id(f)), time(f), dict(f, filter)))),
        form if form.contains('<') => templates(form, &found.collect::<Vec<_>>()),
        name => found.for_each(|f| say(value(name, f))),
    }
}

fn id(found: &Found) -> String {
    found.id.clone().unwrap_or_else(|| "None".to_owned())
}

fn time(found: &Found) -> String {
    found.time.map_or_else(|| "None".to_owned(), |time| Value::Float(time.as_secs_f64()).repr())
}

/// What Python prints for one key of the failure.
fn value(name: &str, found: &Found) -> String {
    if name == "matches" {
        return matches(found);
    }
    if name == "ip" {
        return found.ip.clone().unwrap_or_else(|| "None".to_owned());
    }
    match found.groups.iter().find(|(known, _)| **known == *name) {
        Some((_, GroupValue::Text(text))) => text.to_string(),
        Some((_, GroupValue::List(list))) => set(list),
        None => "None".to_owned(),
    }
}

fn set(list: &[Box<str>]) -> String {
    format!("{{{}}}", list.iter().map(|text| repr_str(text)).collect::<Vec<_>>().join(", "))
}

/// The lines, divided at their dates. Of lines before the last one the place of the date is not known any more.
fn matches(found: &Found) -> String {
    let tuple = |parts: [&str; 3]| format!("({})", parts.map(repr_str).join(", "));
    let last = found.matches.len().saturating_sub(1);
    let lines = found.matches.iter().enumerate().map(|(n, line)| {
        let [before, date, behind] = &found.parts;
        if n == last && **line == *[&**before, &**date, &**behind].concat() {
            tuple([before, date, behind])
        } else {
            tuple(["", "", line])
        }
    });
    format!("[{}]", lines.collect::<Vec<_>>().join(", "))
}

/// All that is known of the failure, but for its lines, as Python shows a dictionary.
fn dict(found: &Found, filter: &Filter) -> String {
    let mut names: Vec<Arc<str>> = Vec::new();
    let failregex = filter.failregex().nth(found.regex as usize);
    for (regex, prefix) in [(filter.prefregex(), true), (failregex, false)] {
        let Some(regex) = regex.and_then(|text| Regex::new(text, Flags::default()).ok()) else { continue };
        let mut own = regex.group_names().to_vec();
        own.sort_by_key(|(_, group)| *group);
        for (name, _) in own {
            let left_out = prefix && &*name == "content" || &*name == "mlfforget" || names.contains(&name);
            if !left_out {
                names.push(name);
            }
        }
    }
    // What earlier lines of the session told.
    let more = found.groups.iter().map(|(name, _)| name).filter(|name| &***name != "users");
    let more: Vec<Arc<str>> = more.filter(|name| !names.contains(name)).cloned().collect();
    let mut pairs: Vec<String> = names
        .iter()
        .chain(&more)
        .map(|name| {
            let value = found.groups.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            let shown = match value {
                Some(GroupValue::Text(text)) => repr_str(text),
                Some(GroupValue::List(list)) => set(list),
                None => "None".to_owned(),
            };
            format!("{}: {shown}", repr_str(name))
        })
        .collect();
    for (name, value) in &found.groups {
        if let ("users", GroupValue::List(list)) = (&**name, value) {
            pairs.push(format!("'users': {}", set(list)));
        }
    }
    if let Some(ip) = &found.ip {
        pairs.push(format!("'ip': {}", repr_str(ip)));
    }
    format!("{{{}}}", pairs.join(", "))
}

/// A text with tags, once for each hit; with `<msg>` in it once for each line, if one has several.
fn templates(form: &str, found: &[&Found]) {
    let wraps = form.contains("<msg>") && found.iter().any(|f| f.matches.len() > 1);
    for found in found {
        if wraps {
            for line in &found.matches {
                say(expand(form, found, line));
            }
        } else {
            say(expand(form, found, found.matches.first().map_or("", |line| line)));
        }
    }
}

fn expand(form: &str, found: &Found, msg: &str) -> String {
    let mut out = String::new();
    let mut rest = form;
    while let Some((before, tail)) = rest.split_once('<') {
        out.push_str(before);
        let Some((tag, after)) = tail.split_once('>').filter(|(tag, _)| !tag.is_empty() && !tag.contains('<')) else {
            out.push('<');
            rest = tail;
            continue;
        };
        match tag_value(tag, found, msg) {
            Some(value) if tag == "msg" => out.push_str(&value),
            Some(value) => out.push_str(&value.replace('\0', "\\x00")),
            None => {
                out.push('<');
                rest = tail;
                continue;
            }
        }
        rest = after;
    }
    out + rest
}

/// What a tag stands for; `None` if it is none.
fn tag_value(tag: &str, found: &Found, msg: &str) -> Option<String> {
    let address = || found.ip.clone().unwrap_or_else(|| id(found));
    Some(match tag {
        "ip" => address(),
        "fid" => id(found),
        "family" => match FailureId::parse(&address()) {
            FailureId::Net(net) if net.addr().is_ipv4() => "inet4".to_owned(),
            FailureId::Net(_) => "inet6".to_owned(),
            FailureId::Text(_) => String::new(),
        },
        // A failure without a date is taken for one of just now.
        "time" => Value::Float(found.time.unwrap_or_else(crate::daemon::now).as_secs_f64()).repr(),
        "failures" | "bancount" => "0".to_owned(),
        "msg" => msg.to_owned(),
        "matches" => found.matches.join("\n"),
        "raw-ticket" => String::new(),
        _ => {
            let name = tag.strip_prefix("F-")?.to_lowercase();
            match found.groups.iter().find(|(known, _)| **known == *name) {
                Some((_, GroupValue::Text(text))) => text.to_string(),
                Some((_, GroupValue::List(list))) => set(list),
                None => String::new(),
            }
        }
    })
}
