use super::*;
use crate::value::Value;

fn list(items: Vec<Value>) -> Value {
    Value::List(items)
}

#[track_caller]
fn reads(bytes: &[u8], expected: Value) {
    assert_eq!(read(bytes, Limits::default()), Ok(expected));
}

#[track_caller]
fn refused(bytes: &[u8], expected: ReadError) {
    assert_eq!(read(bytes, Limits::default()), Err(expected));
}

#[test]
fn requests_of_the_real_client_are_read() {
    reads(b"\x80\x05\x95\x0b\0\0\0\0\0\0\0]\x94\x8c\x04ping\x94a.", list(vec!["ping".into()]));
    reads(
        b"\x80\x05\x95\x14\0\0\0\0\0\0\0]\x94(\x8c\x04ping\x94G\x3f\xb9\x99\x99\x99\x99\x99\x9ae.",
        list(vec!["ping".into(), 0.1.into()]),
    );
    reads(
        b"\x80\x05\x953\0\0\0\0\0\0\0]\x94(\x8c\x03set\x94\x8c\x03web\x94\x8c\x05banip\x94\x8c\t192.0.2.7\x94h\x02e.",
        list(vec!["set".into(), "web".into(), "banip".into(), "192.0.2.7".into(), "web".into()]),
    );
}

#[test]
fn nothing_that_could_run_is_read() {
    // os.system("true"), in the old and in the new spelling.
    refused(b"\x80\x02cos\nsystem\n(X\x04\0\0\0truetR.", ReadError::Forbidden { opcode: b'c', at: 2 });
    refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93(\x8c\x04truetR.", ReadError::Forbidden { opcode: 0x93, at: 14 });
    refused(b"\x80\x02]\x81.", ReadError::Forbidden { opcode: 0x81, at: 3 });
}

#[test]
fn malformed_pickles_are_refused() {
    refused(b"", ReadError::Truncated);
    refused(b"\x80\x05]", ReadError::Truncated);
    refused(b"a.", ReadError::Malformed { at: 0 });
    refused(b"Na.", ReadError::Malformed { at: 1 });
    refused(b"h\x07.", ReadError::Malformed { at: 0 });
    refused(b"X\xff\xff\xff\xffab", ReadError::Truncated);
    refused(b"\x8c\x01\xff.", ReadError::Malformed { at: 0 });
    refused(b"]r\xff\xff\xff\xff.", ReadError::TooLarge("values"));
}

#[test]
fn bombs_are_bounded() {
    // A list that holds itself.
    refused(b"]\x94h\0a.", ReadError::TooLarge("lists in lists"));
    // 20 doublings of a list.
    let mut bomb = b"]\x94".to_vec();
    for n in 0..25_u8 {
        bomb.extend([b']', 0x94, b'(', b'h', n, b'h', n, b'e']);
    }
    bomb.push(b'.');
    assert!(matches!(read(&bomb, Limits::default()), Err(ReadError::TooLarge(_))));
}

#[test]
fn answers_read_back() {
    let value = list(vec![
        Value::Tuple(vec!["Number of jail".into(), 2.into()]),
        Value::Dict(vec![("web".into(), list(vec!["192.0.2.7".into()]))]),
        (1_i64 << 40).into(),
        (-5).into(),
        1.5.into(),
        Value::None,
        true.into(),
        "x".repeat(300).into(),
        Value::Bytes(vec![0, 255]),
    ]);
    reads(&answer(&value), Value::Tuple(vec![0.into(), value]));
}

#[test]
fn failures_name_their_class() {
    let bytes = failure(&Exception::of_fail2ban("UnknownJailException", "nope"));
    assert_eq!(bytes, b"\x80\x04K\x01\x8c\x13fail2ban.exceptions\x8c\x14UnknownJailException\x93(\x8c\x04nopetR\x86.");
}

#[test]
fn requests_are_lists_of_words() {
    let command = ["set".into(), "web".into(), Value::None, 0.5.into(), list(vec!["a".into()])];
    reads(
        &request(&command),
        list(vec!["set".into(), "web".into(), "None".into(), 0.5.into(), list(vec!["a".into()])]),
    );
}

#[test]
fn answers_of_the_real_server_are_read() {
    let read = |bytes: &[u8]| read_answer(bytes, Limits::default());
    assert_eq!(read(b"\x80\x05\x95\x0c\0\0\0\0\0\0\0K\0\x8c\x04pong\x94\x86\x94."), Ok(Answer::Result("pong".into())));
    let banned = b"\x80\x05\x95X\0\0\0\0\0\0\0K\0]\x94(}\x94\x8c\x03web\x94]\x94(\x8c\x08builtins\x94\x8c\x03str\x94\x93\x94\x8c\t192.0.2.7\x94\x85\x94R\x94h\x06\x8c\x0b2001:db8::7\x94\x85\x94R\x94es}\x94\x8c\x03api\x94]\x94se\x86\x94.";
    let dict = |jail: &str, ids: Vec<Value>| Value::Dict(vec![(jail.into(), list(ids))]);
    assert_eq!(
        read(banned),
        Ok(Answer::Result(list(vec![
            dict("web", vec!["192.0.2.7".into(), "2001:db8::7".into()]),
            dict("api", Vec::new())
        ])))
    );
    let refused = read(&failure(&Exception::of_fail2ban("UnknownJailException", "nope")));
    let Ok(Answer::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!((refusal.class.as_str(), refusal.args_repr().as_str()), ("UnknownJailException", "('nope',)"));
    assert_eq!(read(b"\x80\x04\x8c\x08ERROR: x."), Ok(Answer::Other("ERROR: x".into())));
    // A class anywhere else is no value, whatever it is called.
    assert!(read(b"\x80\x04K\x00]\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85Ra\x86.").is_err());
    assert!(read(b"\x80\x04K\x00\x8c\x02os\x8c\x06system\x93\x86.").is_err());
}

#[test]
fn refusals_print_as_python_prints_them() {
    let shown =
        |class: &str, args: Vec<Value>| Refusal { module: "builtins".into(), class: class.into(), args }.to_string();
    assert_eq!(shown("KeyError", vec!["Invalid Action name: a".into()]), "'Invalid Action name: a'");
    assert_eq!(shown("ValueError", vec!["it's".into()]), "it's");
    assert_eq!(
        shown("FileNotFoundError", vec![2.into(), "No such file or directory".into(), "/x".into()]),
        "[Errno 2] No such file or directory: '/x'"
    );
    assert_eq!(shown("Exception", vec!["a".into(), 1.into()]), "('a', 1)");
    let place = Value::Tuple(vec!["<string>".into(), 1.into(), 2.into(), "1x".into()]);
    assert_eq!(shown("SyntaxError", vec!["invalid syntax".into(), place]), "invalid syntax (<string>, line 1)");
    let json = vec!["Expecting value".into(), "{\nx".into(), 2.into()];
    assert_eq!(shown("JSONDecodeError", json), "Expecting value: line 2 column 1 (char 2)");
}

#[test]
fn texts_of_protocol_2_are_read_as_ascii() {
    reads(b"\x80\x02](U\x06statusU\x04sshde.", list(vec!["status".into(), "sshd".into()]));
    refused(b"\x80\x02U\x02\xc3\xa9.", ReadError::Malformed { at: 2 });
}
