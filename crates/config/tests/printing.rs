//! What `-d`, `--dp` and `--str2sec` print, against the original.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

mod original;

use serde_json::{Value as Json, json};
use stockade_config::duration::seconds;
use stockade_wire::Value;
use stockade_wire::value::{command_repr, pretty};

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap()), Value::Int),
        Json::String(text) => Value::Str(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(map) => Value::Dict(map.iter().map(|(k, v)| (Value::Str(k.clone()), value(v))).collect()),
    }
}

#[test]
fn commands_print_as_the_original_prints_them() {
    let Some(mut original) = original::newest("commands_print_as_the_original_prints_them") else { return };
    let words = "word and <more>, ".repeat(90);
    let lines = "one line of a script 'x'\n".repeat(60);
    let tight = "x".repeat(1_500);
    for command in [
        json!(["set", "web", "addfailregex", "^it's \"so\" \\d+\t$"]),
        json!(["set", "thread", {"stacksize": 0}]),
        json!(["set", "web", "é€\u{a0}\u{200b}\u{1f600}\u{7f}\u{85}", 1.5, 1e20, -3, null, true]),
        json!([
            "multi-set",
            "web",
            "action",
            "fw",
            [["actionstart", lines], ["x", words], ["y", tight], ["z", "short"]]
        ]),
        json!(["multi-set", "web", "addfailregex", [tight, tight, "a"]]),
        json!(["set", "web", "x", words, [1, [2, [lines]]]]),
    ] {
        let theirs = original.ask(&json!({"op": "show", "command": command}));
        let Value::List(ours) = value(&command) else { panic!("a list") };
        assert_eq!(command_repr(&ours), theirs["plain"].as_str().unwrap());
        assert_eq!(pretty(&ours), theirs["pretty"].as_str().unwrap());
    }
}

#[test]
fn times_are_read_as_the_original_reads_them() {
    for mut original in original::all("times_are_read_as_the_original_reads_them") {
        let mut texts: Vec<String> = [
            "1d12h",
            "1h 2m 3s",
            "1m30",
            "1d 12",
            "2d+3h",
            "1h*2",
            "1.5h",
            "1mo",
            "1year-6mo",
            "5M",
            "-1",
            "1 000",
            "1_000",
            "inf",
            "foo",
            "",
            "010",
            "0x10",
            "600",
            "00",
            "1.",
            ".5",
            "(1h+2)*3",
            "3/2",
            "1 h",
            "1  d\n2 h",
            "h",
            "--1",
            "+ 5",
            "1h-",
            "2*-3m",
            "10 minuts",
            "10m # ten minutes",
            "1h#",
            "1h # a\n30m",
            "# 1h",
        ]
        .map(str::to_owned)
        .to_vec();
        let units = [
            "s", "sec", "seconds", "m", "mm", "min", "minutes", "h", "hou", "hours", "d", "da", "days", "w", "wee",
            "mo", "month", "y", "years",
        ];
        for (n, unit) in units.iter().enumerate() {
            texts.push(format!("{n}{unit}"));
            texts.push(format!("{n} {} 2{unit}", unit.to_uppercase()));
            texts.push(format!("1.25{unit}{}h", n + 1));
        }
        for text in texts {
            let theirs = original.ask(&json!({"op": "seconds", "text": text}));
            let ours = seconds(&text);
            match (theirs["number"] == true, &ours) {
                (true, Ok(ours)) => assert_eq!(ours.to_string(), theirs["value"].as_str().unwrap(), "{text}"),
                (false, Err(_)) => {}
                _ => panic!("'{text}': theirs {theirs}, ours {ours:?}"),
            }
        }
    }
}
