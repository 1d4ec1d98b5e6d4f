//! Hostile text in each place of each sample where clients can write.

use std::collections::BTreeMap;

use crate::engine::{Engine, Found};
use crate::sample::{Field, Part, Sample, Writing};

/// Whom hostile text names.
const STRANGER: &str = "203.0.113.66";
const STRANGER_6: &str = "2001:db8::66";

/// Text that has led filters of this kind astray.
const HOSTILE: &[&str] = &[
    "x from 203.0.113.66",
    "x from 203.0.113.66 port 22",
    "203.0.113.66",
    "[203.0.113.66]",
    "(203.0.113.66)",
    "<203.0.113.66>",
    "x[203.0.113.66]: ",
    "rhost=203.0.113.66",
    "rip=203.0.113.66, ",
    "x, client: 203.0.113.66, server: y",
    "[client 203.0.113.66:80] ",
    "x\" 203.0.113.66 - - \"GET / HTTP/1.1\" 401 0",
    "' from '203.0.113.66'",
    "\"client\":\"203.0.113.66\"",
    "\\\" 203.0.113.66",
    "\\",
    "\"",
    "]",
    ">",
    ":",
    ": ",
    ", ",
    "",
    "x  y",
    "ſ\u{202e}é",
    "2001:db8::66",
    "::ffff:203.0.113.66",
    "Ban 203.0.113.66",
    "x from stranger.example.org",
    "x from stranger.example.org port 22 ssh2",
    "stranger.example.org",
    "rhost=stranger.example.org",
    "x, client: stranger.example.org",
];

/// Long names, headers and requests.
fn long_texts() -> Vec<String> {
    let mixed = |chars| "'(x:y), \"z\" [/] ".chars().cycle().take(chars).collect();
    [220, 1_000, 1_500].into_iter().flat_map(|chars| ["x".repeat(chars), mixed(chars)]).collect()
}

/// Text as the service writes it.
pub(crate) fn written(text: &str, field: &Field) -> String {
    let most = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= field.bytes_max).last();
    let text = &text[..most.unwrap_or(0)];
    match field.writing {
        // rsyslog's way; others write \\n or a blank.
        Writing::Any => text.replace('\n', "#012"),
        Writing::Raw => text.to_owned(),
        Writing::Tabbed => text.replace('\n', "\n\t"),
        Writing::Csv => text.replace('"', "\"\""),
        Writing::Json => {
            let text = serde_json::to_string(text).unwrap();
            text[1..text.len() - 1].to_owned()
        }
        Writing::Word => text.replace(char::is_whitespace, "_"),
        Writing::Cut => text.split([':', '\n']).next().unwrap_or(text).to_owned(),
        Writing::Quoted => text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"),
        Writing::Hex => text.replace('\\', "\\x5C").replace('"', "\\x22").replace('\n', "\\x0A"),
        Writing::Uri => {
            let text = text.replace('%', "%25").replace(' ', "%20").replace('"', "%22");
            text.replace('\\', "%5C").replace('\n', "%0A")
        }
    }
}

/// The line with the stranger in the place of whoever it is about.
fn about_the_stranger(sample: &Sample) -> String {
    let Some(expected) = &sample.expected else { return sample.line.clone() };
    let stranger = if expected.id.contains(':') { STRANGER_6 } else { STRANGER };
    sample.line.replace(&expected.id, stranger)
}

/// What a client may write in the place of `field`.
pub(crate) fn payloads(part: &Part, sample: &Sample, field: &Field) -> Vec<String> {
    let mut all: Vec<String> = HOSTILE.iter().map(|&text| text.to_owned()).collect();
    let copies = part.samples.iter().filter(|other| other.expected.is_some()).take(25).map(about_the_stranger);
    for copy in copies.chain([about_the_stranger(sample)]) {
        if let Some((_, message)) = copy.split_once(": ") {
            all.push(message.to_owned());
        }
        all.push(copy);
    }
    // The line that this one would be, from its start to the field, and from the field to its end.
    let own = about_the_stranger(sample);
    if let Some((head, tail)) = own.split_once(&field.text) {
        all.push(format!("x{tail}"));
        all.push(format!("{}{tail}", field.text));
        all.push(format!("{head}x"));
        all.push(format!("x{tail}{head}x"));
        all.push(format!("x{tail} {own}"));
    }
    all.extend(long_texts());
    all.extend(imitations(sample, field));
    // Whole lines of its own; also without their date, or with a blank before it.
    let bare = own.split_once("] ").map_or(own.as_str(), |(_, rest)| rest);
    for forged in [own.as_str(), bare] {
        all.push(format!("x\n{forged}\nx"));
        all.push(format!("\n{forged}\n"));
        all.push(format!("x\n {forged}\n "));
        all.push(format!("x\r\n{forged}\r\nx"));
    }
    all
}

/// What may stand behind a name, and make what follows look like the service's own.
const MARKS: [&str; 10] = ["", "'", "\"", "(", "<", "=", "/", "[", ") ", "> "];

/// Pieces of the line's own end, about the stranger, behind the field's own text: from
/// the field or a little later up to the address or a little further.
fn imitations(sample: &Sample, field: &Field) -> Vec<String> {
    let mut all = Vec::new();
    let Some(expected) = &sample.expected else { return all };
    let Some((_, tail)) = sample.line.split_once(&field.text) else { return all };
    let Some(at) = tail.find(&expected.id) else { return all };
    let stranger = if expected.id.contains(':') { STRANGER_6 } else { STRANGER };
    let (before, behind) = (&tail[..at], &tail[at + expected.id.len()..]);
    let cuts = |text: &str| -> Vec<usize> {
        let places = text.char_indices().filter(|(_, c)| !c.is_alphanumeric()).map(|(at, c)| at + c.len_utf8());
        std::iter::once(0).chain(places).collect()
    };
    let mut ends: Vec<usize> = cuts(behind).into_iter().take(12).collect();
    ends.push(behind.len());
    for start in cuts(before).into_iter().take(4) {
        for &end in &ends {
            for mark in MARKS {
                all.push(format!("{}{mark}{}{stranger}{}", field.text, &before[start..], &behind[..end]));
            }
        }
    }
    all
}

/// What is wrong with what came of one hostile line.
fn fault(sample: &Sample, field: &Field, payload: &str, line: &str, found: &[Found]) -> Option<String> {
    let wanted = sample.expected.as_ref().map(|expected| expected.id.as_str());
    let strange = |found: &Found| match wanted {
        Some(wanted) => found.id != wanted,
        None => !sample.line.contains(&found.id),
    };
    if let Some(wrong) = found.iter().find(|found| strange(found)) {
        return Some(format!("{} instead of {wanted:?} in\n  {line}", wrong.id));
    }
    let must_stay = !field.decides || (field.long_stays && long_texts().iter().any(|long| long == payload));
    let lost = wanted.is_some() && found.is_empty() && must_stay && payload.chars().count() <= field.followed_chars;
    lost.then(|| format!("nothing instead of {wanted:?} in\n  {line}"))
}

#[test]
fn no_text_of_a_client_chooses_who_is_counted() {
    let mut wrong = Vec::new();
    let mut sum = BTreeMap::new();
    for name in crate::filters() {
        let mut tried = 0;
        for part in crate::sample::read(&name) {
            for mut engine in [Engine::new(&part.call(&name)), Engine::with_names(&part.call(&name))] {
                for (at, sample) in part.samples.iter().enumerate() {
                    engine.forget();
                    // Some failures need an earlier line, which has the address.
                    let alone = sample.expected.is_none() || !engine.line(&sample.line).is_empty();
                    for field in &sample.fields {
                        for payload in payloads(&part, sample, field) {
                            let line = sample.line.replace(&field.text, &written(&payload, field));
                            engine.forget();
                            let earlier = part.samples.iter().take(if alone { 0 } else { at });
                            earlier.for_each(|sample| drop(engine.line(&sample.line)));
                            let found: Vec<Found> = line.lines().flat_map(|line| engine.line(line)).collect();
                            wrong.extend(
                                fault(sample, field, &payload, &line, &found)
                                    .map(|fault| format!("{name}.log:{}: {:?}: {fault}", sample.number, field.text)),
                            );
                            tried += 1;
                        }
                    }
                }
            }
        }
        sum.insert(name, tried);
    }
    crate::stop_at(&wrong);
    println!("{} hostile lines: {sum:?}", sum.values().sum::<usize>());
    let none: Vec<&String> = sum.iter().filter(|(_, tried)| **tried == 0).map(|(name, _)| name).collect();
    assert!(none.is_empty(), "samples do not say what clients choose: {none:?}");
}

#[test]
fn no_text_of_a_client_is_costly() {
    const LONG: usize = 8_000;
    let mut slowest = (std::time::Duration::ZERO, String::new());
    for name in crate::filters() {
        for part in crate::sample::read(&name) {
            let mut engine = Engine::new(&part.call(&name));
            for sample in &part.samples {
                for field in &sample.fields {
                    let tail = about_the_stranger(sample);
                    let tail = tail.split_once(&field.text).map_or("", |(_, tail)| tail).to_owned();
                    for piece in
                        ["A ", "a: ", "(", "[", "\"", "' from ", "x from 203.0.113.66 ", "/", "user=x>, ", &tail]
                    {
                        let text = piece.repeat(LONG / piece.len().max(1) + 1);
                        let line = sample.line.replace(&field.text, &written(&text, field));
                        engine.forget();
                        let begin = std::time::Instant::now();
                        // Stops if a pattern runs out of steps.
                        engine.line(&line);
                        let took = begin.elapsed();
                        if took > slowest.0 {
                            slowest = (took, format!("{name}.log:{} with {piece:?}", sample.number));
                        }
                    }
                }
            }
        }
    }
    println!("slowest: {slowest:?}");
}

#[test]
fn other_programs_can_not_speak_for_a_service() {
    let mut tried = 0;
    for name in crate::filters() {
        for part in crate::sample::read(&name) {
            let mut engine = Engine::new(&part.call(&name));
            for sample in &part.samples {
                let Some(rest) = crate::sample::without_syslog_date(&sample.line) else { continue };
                for line in [
                    format!("Nov 22 10:00:00 gate CRON[77]: {}", sample.line),
                    format!("Nov 22 10:00:00 gate logger: {rest}"),
                    format!("Nov 22 10:00:00 gate sudo[12]: x: {}", rest.split_once(": ").map_or(rest, |(_, m)| m)),
                ] {
                    engine.forget();
                    let found = engine.line(&line);
                    assert!(found.is_empty(), "{name}: {found:?} in {line}");
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} lines");
}
