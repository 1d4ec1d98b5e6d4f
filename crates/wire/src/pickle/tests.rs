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
fn texts_of_protocol_2_are_read_as_ascii() {
    reads(b"\x80\x02](U\x06statusU\x04sshde.", list(vec!["status".into(), "sshd".into()]));
    refused(b"\x80\x02U\x02\xc3\xa9.", ReadError::Malformed { at: 2 });
}
