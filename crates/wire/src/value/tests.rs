use super::*;

fn list(items: &[Value]) -> Value {
    Value::List(items.to_vec())
}

#[track_caller]
fn check(value: &Value, repr: &str, json: &str) {
    assert_eq!(value.repr(), repr);
    assert_eq!(value.json(), json);
}

#[test]
fn texts_are_quoted_as_python_does() {
    check(&"plain".into(), "'plain'", r#""plain""#);
    check(&"it's".into(), r#""it's""#, r#""it's""#);
    check(&r#"it's "so""#.into(), r#"'it\'s "so"'"#, r#""it's \"so\"""#);
    check(&"a\\d\n\t\x1b\x7f".into(), r"'a\\d\n\t\x1b\x7f'", "\"a\\\\d\\n\\t\\u001b\x7f\"");
    check(
        &"é€\u{a0}\u{200b}\u{2028}\u{e000}\u{1f600}".into(),
        "'é€\\xa0\\u200b\\u2028\\ue000😀'",
        "\"é€\u{a0}\u{200b}\u{2028}\u{e000}😀\"",
    );
    check(&"e\u{301}".into(), "'e\u{301}'", "\"e\u{301}\"");
}

#[test]
fn numbers_and_nests() {
    check(&Value::Float(5400.0), "5400.0", "5400.0");
    check(&Value::Float(1e16), "1e+16", "1e+16");
    check(&Value::Float(1.5e-7), "1.5e-07", "1.5e-7");
    check(&Value::Float(0.0001), "0.0001", "0.0001");
    check(&Value::Float(f64::NAN), "nan", "null");
    check(&list(&[Value::None, true.into(), (-3).into()]), "[None, True, -3]", "[null,true,-3]");
    check(&Value::Tuple(vec![1.into()]), "(1,)", "[1]");
    check(&Value::Bytes(b"a'\x00".to_vec()), r#"b"a'\x00""#, "\"a'\\u0000\"");
    let dict = Value::Dict(vec![("stacksize".into(), 0.into()), (1.into(), Value::None)]);
    check(&dict, "{'stacksize': 0, 1: None}", r#"{"stacksize":0,"1":null}"#);
}

#[test]
fn a_wide_command_is_broken_after_its_items() {
    let long = "word ".repeat(250);
    let command = vec!["set".into(), list(&["x".repeat(600).into(), long.as_str().into()])];
    let text = pretty(&command);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"[ 'set',"));
    assert_eq!(lines.get(1).map(|l| l.chars().take(5).collect::<String>()).as_deref(), Some("  [ '"));
    assert!(lines.iter().all(|l| l.chars().count() <= 1000), "{text}");
    assert!(text.ends_with("word ']]"), "{text}");
    assert_eq!(pretty(&["a".into()]), "['a']");
}
