//! Whole filters on small logs: text, ids, dates, sessions, ignoring.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::*;
use crate::block::{Block, Position, SourceKey, Stamp};
use crate::failure::{Batch, Failure, GroupValue, Who};
use crate::jail::JailName;
use crate::time::{Span, Timestamp};

/// 2025-08-12 12:00:00 UTC.
const NOW: i64 = 1_755_000_000;

fn spec(failregex: &[&str]) -> FilterSpec {
    FilterSpec { failregex: failregex.iter().map(|s| (*s).to_owned()).collect(), ..FilterSpec::default() }
}

fn build(spec: &FilterSpec) -> Result<Filter, FilterError> {
    Filter::compile(spec, &Calendar::new(TimeZone::UTC, 2026))
}

fn matcher(spec: &FilterSpec) -> Matcher {
    Matcher::new(JailName::new("t"), Arc::new(build(spec).unwrap()), 1)
}

fn block(text: &[u8], in_operation: bool) -> Block {
    Block {
        source: SourceKey { path: "/var/log/t".into(), generation: 1 },
        begin: Position::Offset(100),
        end: Position::Offset(100 + text.len() as u64),
        text: text.into(),
        stamps: Box::default(),
        in_operation,
        replay: false,
    }
}

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn who(failure: &Failure) -> String {
    match &failure.who {
        Who::Id(id) => id.to_string(),
        Who::Name(name) => format!("name {name}"),
    }
}

/// `id` of each failure of `lines`, all written at the present second.
fn ids(spec: &FilterSpec, lines: &[&str]) -> Vec<String> {
    let text: String = lines.iter().map(|l| format!("2025-08-12 12:00:00{l}\n")).collect();
    matcher(spec).block(now(), &block(text.as_bytes(), true)).failures.iter().map(who).collect()
}

fn group(failure: &Failure, name: &str) -> Option<GroupValue> {
    failure.groups.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
}

#[test]
fn patterns_see_the_line_without_its_date() {
    for (line, seen) in [
        ("2025-08-12 12:00:00 host x", r"^ host x 1"),
        ("[2025-08-12 12:00:00] x", r"^\[\] x 1"),
        ("1.2.3.4 - - [12/Aug/2025:12:00:00 +0000] \"GET", r#"^1\.2\.3\.4 - - \[\] "GET 1"#),
        ("<13>Aug 12 12:00:00 h x", r"^<13> h x 1"),
        ("audit(1755000000.123:987) x", r"^audit\(:987\) x 1"),
        ("no date", "^no date 1"),
        ("2025-02-30 10:11:12 x", "^ x 1"),
    ] {
        let failregex = format!("{}<F-ID>0</F-ID>$", seen.strip_suffix('1').unwrap());
        let found = matcher(&spec(&[&failregex])).block(now(), &block(format!("{line} 0\n").as_bytes(), true));
        assert_eq!(found.failures.len(), 1, "{line}");
        let expected = match line.starts_with("audit") {
            true => Timestamp::from_micros(NOW * 1_000_000),
            false => now(),
        };
        assert_eq!(found.failures[0].time, expected, "{line}");
    }
}

#[test]
fn a_batch_tells_places_and_texts() {
    let text = b"2025-08-12 11:59:58 bad 1.2.3.4\nx\n2025-08-12 11:59:59 bad 2001:DB8::1\r\n";
    let mut matcher = matcher(&spec(&["^ bad <HOST>$"]));
    let Batch { failures, lines, to, epoch, .. } = matcher.block(now(), &block(text, true));
    assert_eq!((lines, to, epoch), (3, Position::Offset(100 + text.len() as u64), 1));
    assert_eq!(failures.iter().map(who).collect::<Vec<_>>(), ["1.2.3.4", "2001:db8::1"]);
    assert_eq!(failures[0].place, Position::Offset(132));
    assert_eq!(*failures[0].matches, ["2025-08-12 11:59:58 bad 1.2.3.4".into()]);
    assert_eq!(failures[1].time, Timestamp::from_secs(NOW - 1));
    assert_eq!(*failures[1].matches, ["2025-08-12 11:59:59 bad 2001:DB8::1".into()]);
    assert!(failures[0].groups.is_empty());
    assert_eq!(matcher.counters().failures, 2);
    assert!(matcher.take_notes().is_empty());
}

#[test]
fn ids_come_from_the_first_group_that_has_one() {
    let host = spec(&["^ <HOST>(?: |:|%|/|$)"]);
    for (line, id) in [
        (" 1.2.3.4", "1.2.3.4"),
        (" ::ffff:1.2.3.4", "1.2.3.4"),
        (" [2001:DB8:0::1] x", "2001:db8::1"),
        (" fe80::1%eth0", "fe80::1"),
        (" 1.2.3.4:22", "1.2.3.4"),
        (" 10.0.0.0/24", "10.0.0.0"),
        (" 999.1.1.1", "999.1.1.1"),
        (" host.example.com", "name host.example.com"),
    ] {
        assert_eq!(ids(&host, &[line]), [id], "{line}");
    }
    let subnet = spec(&["^ <SUBNET>$"]);
    assert_eq!(
        ids(&subnet, &[" 10.1.2.3/24", " 2001:db8::1/32", " 1.2.3.4"]),
        ["10.1.2.0/24", "2001:db8::/32", "1.2.3.4"]
    );
    assert_eq!(ids(&subnet, &[" 1.2.3.4/33"]), ["1.2.3.4"]);
    let id = spec(&["^ <F-ID>\\S+</F-ID>$"]);
    assert_eq!(ids(&id, &[" 10.0.0.1/8", " bob", " [::1]"]), ["10.0.0.0/8", "bob", "::1"]);
}

#[test]
fn an_id_beside_an_address_keeps_the_address() {
    let both = spec(&["^ <F-ID>\\S+</F-ID> <HOST>$"]);
    let found = matcher(&both).block(now(), &block(b" bob 1.2.3.4\n 1.2.3.4 1.2.3.4\n", true));
    let ips: Vec<_> = found.failures.iter().map(|f| (who(f), f.ip.map(|ip| ip.to_string()))).collect();
    assert_eq!(ips, [("bob".to_owned(), Some("1.2.3.4".to_owned())), ("1.2.3.4".to_owned(), None)]);
}

#[test]
fn names_follow_usedns() {
    let with = |usedns| FilterSpec { usedns, ..spec(&["^ from <HOST>$", "^ dns <DNS>$"]) };
    let lines = [" from host.example", " dns host.example", " from 1.2.3.4"];
    let name = "name host.example";
    assert_eq!(ids(&with(UseDns::Yes), &lines), [name, name, "1.2.3.4"]);
    assert_eq!(ids(&with(UseDns::Warn), &lines), [name, name, "1.2.3.4"]);
    assert_eq!(ids(&with(UseDns::No), &lines), ["1.2.3.4"]);
    assert_eq!(ids(&with(UseDns::Raw), &lines), ["host.example", "host.example", "1.2.3.4"]);
}

#[test]
fn alternates_and_tuples_are_merged() {
    let pattern = "^(?: a=<F-ALT_USER>\\w*</F-ALT_USER>)?(?: b=<F-ALT_USER_2>\\w*</F-ALT_USER_2>)?\
                   (?: c=<F-ALT_USER1>\\w*</F-ALT_USER1>)?(?: u=<F-USER>\\w*</F-USER>)? <HOST>$";
    let users = |line: &str| {
        let found = matcher(&spec(&[pattern])).block(now(), &block(format!("{line}\n").as_bytes(), true));
        let text = |v: Option<&GroupValue>| v.map(|v| format!("{v:?}"));
        (text(group(&found.failures[0], "user").as_ref()), text(group(&found.failures[0], "user1").as_ref()))
    };
    let shown = |t: &str| Some(format!("{:?}", GroupValue::Text(t.into())));
    assert_eq!(users(" a=x b=y 1.2.3.4"), (shown("x"), None));
    assert_eq!(users(" a= b=y 1.2.3.4"), (shown("y"), None));
    assert_eq!(users(" a=x u= 1.2.3.4"), (shown("x"), None));
    assert_eq!(users(" a=x u=z 1.2.3.4"), (shown("z"), None));
    assert_eq!(users(" c=x 1.2.3.4"), (None, shown("x")));
    let tuple = spec(&["^ <F-ID>\\w</F-ID> <F-TUPLE_ID_1>\\w</F-TUPLE_ID_1> <F-TUPLE_ID>\\w</F-TUPLE_ID>$"]);
    assert_eq!(ids(&tuple, &[" a b c"]), ["('a', 'c', 'b')"]);
}

#[test]
fn the_first_failregex_wins_and_prefregex_gives_the_content() {
    let filter = FilterSpec {
        prefregex: Some(r"^\s*p(?:<F-USER>\w+</F-USER>)?: <F-CONTENT>.+</F-CONTENT>$".to_owned()),
        ..spec(&["^bad (?:<F-USER>u\\w+</F-USER> )?<HOST>$", "<HOST>"])
    };
    let found = matcher(&filter).block(now(), &block(b"pbob: bad 1.2.3.4\npbob: bad ux 1.2.3.4\nbad 1.2.3.4\n", true));
    let got: Vec<_> = found.failures.iter().map(|f| (f.regex, group(f, "user"))).collect();
    let user = |u: &str| Some(GroupValue::Text(u.into()));
    // The unset group of the failregex leaves the prefregex's value.
    assert_eq!(got, [(0, user("bob")), (0, user("ux"))]);
}

#[test]
fn ignoreregex_takes_hits_back() {
    let filter = FilterSpec { ignoreregex: vec!["friend".to_owned()], ..spec(&["^ bad <HOST>", "^ bad2 <HOST>"]) };
    assert_eq!(ids(&filter, &[" bad 1.2.3.4 friend", " bad 1.2.3.5"]), ["1.2.3.5"]);
    // One ignoreregex to more than three failregexes: it is tried first, on the line before the prefregex.
    let many = FilterSpec {
        prefregex: Some("^ x friend: <F-CONTENT>.+</F-CONTENT>$".to_owned()),
        ignoreregex: vec!["friend".to_owned()],
        ..spec(&["^a <HOST>", "^b <HOST>", "^c <HOST>", "^d <HOST>"])
    };
    assert!(ids(&many, &[" x friend: a 1.2.3.4"]).is_empty());
    let few = FilterSpec { failregex: many.failregex[..3].to_vec(), ..many };
    assert_eq!(ids(&few, &[" x friend: a 1.2.3.4"]), ["1.2.3.4"]);
    // All failregexes: an ignored hit leaves the others.
    let mut m = matcher(&FilterSpec { ignoreregex: vec!["friend".to_owned()], ..spec(&["^a <HOST>"]) });
    let report = m.line(now(), "a 1.2.3.4 friend", None, true, LineMode::ALL);
    assert_eq!((report.hits.len(), &*report.ignored), (0, [0_u32].as_slice()));
}

#[test]
fn dates_are_judged_by_the_present() {
    // Seconds from now of the line's date; in operation; time of the failure from now (none: dropped).
    for (date, in_operation, expected) in [
        (-60, true, Some(-60)),
        (-61, true, Some(0)),
        (60, true, Some(0)),
        (3600, true, Some(0)),
        (-600, false, Some(-600)),
        (-601, false, None),
        (3600, false, Some(0)),
    ] {
        let at = jiff::Timestamp::from_second(NOW + date).unwrap().to_zoned(TimeZone::UTC);
        let line = format!("{} bad 1.2.3.4\n", at.strftime("%Y-%m-%d %H:%M:%S"));
        let mut m = matcher(&spec(&["^ bad <HOST>$"]));
        let found = m.block(now(), &block(line.as_bytes(), in_operation));
        let got = found.failures.first().map(|f| (f.time - now()).secs());
        assert_eq!(got, expected, "{date} {in_operation}");
    }
}

#[test]
fn odd_dates_are_told_once_a_day() {
    let mut m = matcher(&spec(&["^ bad <HOST>$"]));
    let text = b"2025-08-12 14:00:05 bad 1.2.3.4\n2025-08-12 10:00:00 bad 1.2.3.4\n";
    assert_eq!(m.block(now(), &block(text, true)).failures.len(), 2);
    let notes: Vec<String> = m.take_notes().into_iter().map(|n| n.text).collect();
    assert_eq!(
        notes,
        [
            "[t] Detected a log entry 2h after the current time in operation mode. This looks like a timezone \
             problem. Treating such entries as if they just happened.",
            "[t] Please check a jail for a timing issue. Line with odd timestamp: 2025-08-12 14:00:05 bad 1.2.3.4",
        ]
    );
    m.block(now() + Span::from_secs(86_400), &block(text, true));
    assert_eq!(m.take_notes().len(), 2);
    let mut m = matcher(&spec(&["^ bad <HOST>$"]));
    m.block(now(), &block(b"2025-08-12 11:00:00 bad 1.2.3.4\n", false));
    assert_eq!(
        m.take_notes()[0].text,
        "[t] Ignoring all log entries older than 600s; these are probably messages generated while fail2ban was \
         not running."
    );
    let mut m = matcher(&spec(&["^ bad <HOST>$"]));
    m.block(now(), &block(b"2025-08-12 11:10:00 bad 1.2.3.4\n", true));
    assert!(
        m.take_notes()[0].text.contains("50m before the current time in operation mode. This looks like a latency")
    );
}

#[test]
fn lines_without_a_date_borrow_one() {
    let filter = spec(&["bad <HOST>$"]);
    let at = |text: &str, in_operation| {
        let found = matcher(&filter).block(now(), &block(text.as_bytes(), in_operation));
        found.failures.iter().map(|f| ((f.time - now()).secs(), f.matches[0].to_string())).collect::<Vec<_>>()
    };
    let dated = "2025-08-12 11:59:30 x\n";
    // The last date stands before the whole line.
    assert_eq!(at(&format!("{dated}bad 1.2.3.4\n"), true), [(-30, "2025-08-12 11:59:30bad 1.2.3.4".to_owned())]);
    assert_eq!(at("bad 1.2.3.4\n", true), [(0, "bad 1.2.3.4".to_owned())]);
    assert_eq!(at("bad 1.2.3.4\n", false), []);
    assert_eq!(at("2025-08-12 11:58:30 x\nbad 1.2.3.4\n", false), []);
    // A text that is no date: the last date and the uncut line, else the cut one.
    let broken = "2025-02-30 11:59:30 bad 1.2.3.4\n";
    assert_eq!(
        at(&format!("{dated}{broken}"), true),
        [(-30, "2025-08-12 11:59:302025-02-30 11:59:30 bad 1.2.3.4".to_owned())]
    );
    assert_eq!(at(broken, true), [(0, "2025-02-30 11:59:30 bad 1.2.3.4".to_owned())]);
    let mut m = matcher(&filter);
    m.block(now(), &block(broken.as_bytes(), true));
    let notes: Vec<_> = m.take_notes().into_iter().map(|n| (n.level, n.text)).collect();
    assert_eq!(notes[0], (Level::Error, "findFailure failed to parse timeText: 2025-02-30 11:59:30".to_owned()));
    assert_eq!(
        notes[1],
        (Level::Warning, "[t] Found a match but no valid date/time found for '2025-02-30 11:59:30'.".to_owned())
    );
    // A pattern that allows for no date: no warning, now.
    let mut m = matcher(&FilterSpec { datepattern: DatePattern::Text("{NONE}".to_owned()), ..filter.clone() });
    assert_eq!(m.block(now(), &block(b"bad 1.2.3.4\n", false)).failures[0].time, now());
    assert!(m.take_notes().is_empty());
}

#[test]
fn old_logs_count_at_their_own_time() {
    let mut m = matcher(&spec(&["bad <HOST>$"]));
    let hit = |m: &mut Matcher, line: &str| m.line(now(), line, None, false, LineMode::SCAN).hits[0].time;
    assert_eq!(hit(&mut m, "bad 1.2.3.4"), None);
    assert_eq!(hit(&mut m, "2001-08-12 12:00:00 bad 1.2.3.4"), Some(Timestamp::from_secs(997_617_600)));
    assert_eq!(hit(&mut m, "2028-08-12 12:00:00 bad 1.2.3.4").map(Timestamp::secs), Some(1_849_694_400));
    assert_eq!(hit(&mut m, "bad 1.2.3.4").map(Timestamp::secs), Some(1_849_694_400));
}

const SESSION: &[&str] = &[
    "^<F-NOFAIL>connection</F-NOFAIL> from <HOST>$",
    "^fail <F-USER>\\w+</F-USER>$",
    "^<F-MLFGAINED>ok</F-MLFGAINED> <F-USER>\\w+</F-USER>$",
    "^<F-NOFAIL><F-MLFFORGET>bye</F-MLFFORGET></F-NOFAIL>$",
    "^<F-MLFFORGET>too</F-MLFFORGET> many$",
];

/// Which lines (from 1) of one session complete a failure, of whom, and how many lines it has.
#[track_caller]
fn session(lines: &[&str], expected: &[(u64, &str, usize)]) {
    let filter = FilterSpec {
        prefregex: Some(r"^ <F-MLFID>c\d</F-MLFID> <F-CONTENT>.+</F-CONTENT>$".to_owned()),
        ..spec(SESSION)
    };
    let mut m = matcher(&filter);
    let mut got = Vec::new();
    for (line, n) in lines.iter().zip(1..) {
        let text = format!("2025-08-12 12:00:00 c1 {line}\n");
        for failure in m.block(now(), &block(text.as_bytes(), true)).failures {
            got.push((n, who(&failure), failure.matches.len()));
        }
    }
    let expected: Vec<_> = expected.iter().map(|(n, id, lines)| (*n, (*id).to_owned(), *lines)).collect();
    assert_eq!(got, expected, "{lines:?}");
}

#[test]
fn sessions_put_lines_together() {
    let from = "connection from 1.2.3.4";
    let ip = "1.2.3.4";
    session(&[from, "fail bob", "fail bob", "ok bob", "bye", "fail x"], &[(2, ip, 2), (3, ip, 1)]);
    session(&["fail bob", "fail eve", from, "bye"], &[(3, ip, 3), (4, ip, 1)]);
    session(&[from, "fail bob", "ok eve", "bye"], &[(2, ip, 2), (3, ip, 1), (4, ip, 1)]);
    session(&[from, "too many", "fail z"], &[(2, ip, 2)]);
    session(&["fail bob", "ok bob", from], &[]);
}

#[test]
fn nofail_without_a_session_is_a_failure() {
    assert_eq!(ids(&spec(&["^ <F-NOFAIL>x</F-NOFAIL> <HOST>$"]), &[" x 1.2.3.4"]), ["1.2.3.4"]);
}

#[test]
fn users_of_a_session_are_reported() {
    let filter = spec(&["^ <F-MLFID>\\w+</F-MLFID> <F-USER>\\w+</F-USER> <HOST>$"]);
    let found = matcher(&filter).block(now(), &block(b" c bob 1.2.3.4\n c eve 1.2.3.4\n", true));
    let users = GroupValue::List(vec!["bob".into(), "eve".into()]);
    assert_eq!(group(&found.failures[1], "users"), Some(users));
    assert_eq!(group(&found.failures[1], "mlfid"), Some(GroupValue::Text("c".into())));
}

#[test]
fn sessions_are_few_and_short_lived() {
    let filter = spec(&["^ <F-MLFID>\\w+</F-MLFID> <F-NOFAIL>at</F-NOFAIL> <HOST>$", "^ <F-MLFID>\\w+</F-MLFID> bad$"]);
    let mut m = matcher(&filter);
    let mut run = |at: i64, line: &str| {
        let b = block(format!("{line}\n").as_bytes(), true);
        m.block(now() + Span::from_secs(at), &b).failures.len()
    };
    assert_eq!(run(0, " a at 1.2.3.4"), 0);
    assert_eq!(run(299, " a bad"), 1);
    // Not refreshed by use.
    assert_eq!(run(300, " a bad"), 0);
    for n in 0..100 {
        run(301, &format!(" s{n} at 1.2.3.4"));
    }
    // The pending one of `a` at 300 went first, for the hundredth.
    assert_eq!(run(302, " s0 bad"), 1);
    assert_eq!(run(302, " b at 1.2.3.4"), 0);
    assert_eq!(run(302, " s0 bad"), 0);
    assert_eq!(m.sessions(), 100);
}

#[test]
fn several_lines_make_one_match() {
    let filter = FilterSpec { maxlines: 5, ..spec(&["^ a<SKIPLINES>^ b <HOST>$"]) };
    let mut m = matcher(&filter);
    let text = "2025-08-12 12:00:00 a\n2025-08-12 12:00:00 z\n2025-08-12 12:00:00 b 1.2.3.4\n\
                2025-08-12 12:00:00 b 1.2.3.4\n";
    let failures = m.block(now(), &block(text.as_bytes(), true)).failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(*failures[0].matches, ["2025-08-12 12:00:00 a".into(), "2025-08-12 12:00:00 b 1.2.3.4".into()]);
    // The skipped line has stayed and may serve again.
    let mut m =
        matcher(&FilterSpec { maxlines: 5, ..spec(&["^ a<SKIPLINES>^ b <HOST>$", "^ z<SKIPLINES>^ c <HOST>$"]) });
    let text = format!("{text}2025-08-12 12:00:00 c 1.2.3.5\n");
    let ids: Vec<_> = m.block(now(), &block(text.as_bytes(), true)).failures.iter().map(who).collect();
    assert_eq!(ids, ["1.2.3.4", "1.2.3.5"]);
}

#[test]
fn a_prefregex_sees_the_whole_buffer_at_once() {
    let filter = FilterSpec {
        prefregex: Some("^ <F-CONTENT>bad .+</F-CONTENT>$".to_owned()),
        maxlines: 3,
        ..spec(&["^bad <HOST>$"])
    };
    assert_eq!(ids(&filter, &[" bad 1.2.3.4"]), ["1.2.3.4"]);
    assert!(ids(&filter, &[" noise", " bad 1.2.3.4"]).is_empty());
}

#[test]
fn journal_lines_bring_their_time() {
    let filter = FilterSpec { datepattern: DatePattern::Journal, ..spec(&["^host sshd\\[1\\]: bad <HOST>$"]) };
    let text = b"host sshd[1]: bad 1.2.3.4\nhost sshd[1]: bad 1.2.3.5\n";
    let stamp = |end, micros, cursor: &str| Stamp { end, time: Timestamp::from_micros(micros), cursor: cursor.into() };
    let (first, second) = (NOW * 1_000_000 - 30_000_000, NOW * 1_000_000 - 29_654_322);
    let stamps = Box::from([stamp(26, first, "s=1"), stamp(52, second, "s=2")]);
    let begin = Position::Cursor { cursor: "s=0".into(), at: Timestamp::from_micros(first) };
    let block = Block { stamps, begin, ..block(text, true) };
    let failures = matcher(&filter).block(now(), &block).failures;
    assert_eq!(failures[1].time.micros(), second);
    assert_eq!(*failures[0].matches, ["2025-08-12T11:59:30 host sshd[1]: bad 1.2.3.4".into()]);
    assert_eq!(*failures[1].matches, ["2025-08-12T11:59:30.345678 host sshd[1]: bad 1.2.3.5".into()]);
    assert_eq!(failures[1].place, Position::Cursor { cursor: "s=2".into(), at: Timestamp::from_micros(second) });
}

#[test]
fn dirty_lines_are_looked_at_as_far_as_they_go() {
    let filter = spec(&["^ bad .*<HOST>$"]);
    let mut m = matcher(&filter);
    let mut found = |bytes: &[u8]| m.block(now(), &block(bytes, true)).failures.len();
    assert_eq!(found(b" bad 1.2.3.4\r\r\n"), 1);
    assert_eq!(found(b" bad \xff\xfe 1.2.3.4\n"), 1);
    assert_eq!(found(b" bad 1.2.3.4\0\n"), 0);
    assert_eq!(found("\u{85} bad \u{2028} 1.2.3.4\n".as_bytes()), 0);
    assert_eq!(found(" bad \u{2028}\u{b} 1.2.3.4\n".as_bytes()), 1);
    assert_eq!(found(b"\n\n bad 1.2.3.4"), 1);
    let mut long = b" bad 1.2.3.4 ".to_vec();
    long.resize(LINE_BYTES_MAX + 10, b'!');
    long.push(b'\n');
    assert_eq!(found(&long), 0);
    let counters = m.counters();
    assert_eq!((counters.undecodable, counters.long), (1, 1));
    let notes: Vec<String> = m.take_notes().into_iter().map(|n| n.text).collect();
    let at = notes.iter().position(|n| n.starts_with("Error decoding")).unwrap();
    assert_eq!(notes[at], "Error decoding line from '/var/log/t' with 'UTF-8'.");
    assert!(notes[at + 1].ends_with(r"ignoring invalid characters: b' bad \xff\xfe 1.2.3.4\n'"), "{}", notes[at + 1]);
    assert!(notes.iter().any(|n| n.contains("is left out")));
}

#[test]
fn a_search_out_of_steps_is_told_and_counted() {
    let mut m = matcher(&spec(&["^ (?:a+)+b <HOST>$", "^ a+ <HOST>$"]));
    m.scratch = stockade_pattern::Scratch::with_limit(200);
    let line = format!("2025-08-12 12:00:00 {} 1.2.3.4\n", "a".repeat(60));
    let batch = m.block(now(), &block(line.repeat(3).as_bytes(), true));
    assert!(m.counters().exhausted >= 3, "{:?}", m.counters());
    let notes = m.take_notes();
    // Once for each pattern, then with the number of those in between.
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].level, Level::Error);
    assert!(notes[0].text.starts_with("[t] failregex 1 ran out of steps on a line of "), "{}", notes[0].text);
    assert!(notes[0].text.ends_with(r"^ (?:a+)+b (?:\[?(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})|(?P<ip6>(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|(?<=:):)))\]?|(?P<dns>[\w\-.^_]*\w))$"), "{}", notes[0].text);
    // The patterns behind it are tried all the same.
    assert_eq!(batch.failures.iter().map(|f| f.regex).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(notes[0].text.contains(" in /var/log/t, before byte "), "{}", notes[0].text);
    // After a minute, ten minutes, then each hour.
    let mut said = |secs: i64| {
        m.block(now() + Span::from_secs(secs), &block(line.as_bytes(), true));
        let of_first: Vec<String> = m.take_notes().into_iter().map(|note| note.text).collect();
        of_first.into_iter().find(|text| text.contains("failregex 1"))
    };
    for (secs, expected) in [
        (59, None),
        (60, Some("(4 such searches since this was last said; silent about it for 10m now)")),
        (659, None),
        (660, Some("(2 such searches since this was last said; silent about it for 1h now)")),
        (4259, None),
        (4260, Some("(2 such searches since this was last said; silent about it for 1h now)")),
        (7859, None),
        (7860, Some("(2 such searches")),
    ] {
        let text = said(secs);
        assert_eq!(text.is_some(), expected.is_some(), "{secs}: {text:?}");
        assert!(text.unwrap_or_default().contains(expected.unwrap_or_default()), "{secs}");
    }
}

#[test]
fn a_new_pattern_that_runs_out_of_steps_is_told_at_once() {
    let line = format!("2025-08-12 12:00:00 {} 1.2.3.4\n", "a".repeat(60));
    let mut m = matcher(&spec(&["^ (?:a+)+b <HOST>$"]));
    m.scratch = stockade_pattern::Scratch::with_limit(200);
    let look = |m: &mut Matcher| {
        m.block(now(), &block(line.as_bytes(), true));
        m.take_notes().len()
    };
    assert_eq!(look(&mut m), 1);
    let first = m.overruns();
    assert_eq!((first.len(), first[0].option, first[0].index, first[0].searches), (1, "failregex", 0, 1));
    // The same patterns: nothing new is to be said.
    let same = FilterSpec { findtime: Span::from_secs(1200), ..spec(&["^ (?:a+)+b <HOST>$"]) };
    m.swap(Arc::new(build(&same).unwrap()), 2);
    assert_eq!((look(&mut m), m.overruns()[0].searches), (0, 2));
    m.swap(Arc::new(build(&spec(&["^ (?:a+)+c <HOST>$"])).unwrap()), 3);
    assert!(m.overruns().is_empty(), "what is gone does not run out any more");
    assert_eq!((look(&mut m), m.overruns()[0].searches), (1, 1));
    assert!(m.overruns()[0].pattern.starts_with("^ (?:a+)+c "));
    assert_eq!(m.counters().exhausted, 3);
}

#[test]
fn a_batch_keeps_no_room_that_it_does_not_use() {
    let filter = Arc::new(build(&spec(&["^ bad <HOST>$"])).unwrap());
    let mut scanner = Scanner::new(vec![Arc::clone(&filter)]);
    for (line, failures) in [("bad 1.2.3.4 not", 0), ("bad 1.2.3.4", 1_000)] {
        let text = format!("2025-08-12 12:00:00 {line}\n").repeat(1_000);
        let block = block(text.as_bytes(), true);
        let scan = scanner.scan(now(), &block);
        let batch = Matcher::new(JailName::new("t"), Arc::clone(&filter), 1).scanned(&block, &scan);
        assert_eq!((batch.lines, batch.failures.len()), (1_000, failures));
        assert!(batch.failures.capacity() <= 2 * failures, "{} for {failures}", batch.failures.capacity());
    }
}

#[test]
fn faulty_filters_say_what_is_wrong() {
    let fault = |spec: &FilterSpec| {
        let e = build(spec).unwrap_err();
        (e.option, e.index, e.message)
    };
    let bad = spec(&["^<HOST>$", "a(b"]);
    assert_eq!(fault(&bad).0, "failregex");
    assert_eq!(fault(&bad).1, 1);
    assert_eq!(build(&bad).unwrap_err().position, Some(1));
    assert_eq!(fault(&spec(&["^abc$"])), ("failregex", 0, "No failure-id group in '^abc$'".to_owned()));
    assert_eq!(fault(&spec(&[" "])), ("failregex", 0, "Cannot add empty regex".to_owned()));
    let pre = FilterSpec { prefregex: Some("^<F-MLFID>a</F-MLFID>".to_owned()), ..spec(&["^abc$"]) };
    assert!(build(&pre).is_ok());
    assert_eq!(fault(&FilterSpec { ignoreregex: vec!["*".to_owned()], ..pre.clone() }).0, "ignoreregex");
    assert_eq!(fault(&FilterSpec { datepattern: DatePattern::Text("%s".to_owned()), ..pre.clone() }).0, "datepattern");
    assert_eq!(fault(&FilterSpec { logtimezone: Some("BST".to_owned()), ..pre.clone() }).0, "logtimezone");
    assert_eq!(fault(&FilterSpec { maxlines: 0, ..pre }).0, "maxlines");
}

#[test]
fn a_snapshot_goes_on_where_it_was_taken() {
    let filter = FilterSpec {
        maxlines: 2,
        ..spec(&[
            "^ <F-MLFID>\\w+</F-MLFID> <F-NOFAIL>at</F-NOFAIL> <HOST>$",
            "^ <F-MLFID>\\w+</F-MLFID> bad$",
            "bad <HOST>$",
        ])
    };
    let mut first = matcher(&filter);
    first.block(now(), &block(b"2025-08-12 11:59:59 c at 1.2.3.4\n2025-08-12 11:59:59 ab\n", true));
    let bytes = first.snapshot();
    let mut second = matcher(&filter);
    second.restore(&bytes).unwrap();
    assert_eq!(second.snapshot(), bytes);
    let b = block("2025-08-12 12:00:00 c bad\nbad 1.2.3.5\n".as_bytes(), true);
    let failures = second.block(now(), &b).failures;
    assert_eq!(failures, first.block(now(), &b).failures);
    assert_eq!(failures.iter().map(who).collect::<Vec<_>>(), ["1.2.3.4", "1.2.3.5"]);
    // Another date pattern: the rest is taken all the same.
    let other = FilterSpec { datepattern: DatePattern::Text("^%Y-%m-%d %H:%M:%S".to_owned()), ..filter };
    let mut third = matcher(&other);
    third.restore(&bytes).unwrap();
    assert_eq!((third.sessions(), third.date_ranks().len()), (1, 0));
}

#[test]
fn broken_snapshots_are_refused_without_harm() {
    let filter = spec(&["^ <F-MLFID>\\w+</F-MLFID> <F-NOFAIL>at</F-NOFAIL> <HOST>$"]);
    let mut m = matcher(&filter);
    m.block(now(), &block(b"2025-08-12 11:59:59 c at 1.2.3.4\n", true));
    let bytes = m.snapshot();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        assert!(m.restore(&changed).is_err(), "{at}");
        assert!(m.restore(&bytes[..at]).is_err(), "{at}");
    }
    assert_eq!(m.restore(b""), Err(SnapshotError::Foreign));
    assert_eq!(m.snapshot(), bytes);
}

#[test]
fn a_new_filter_keeps_what_the_original_keeps() {
    let mut m = matcher(&spec(&["^ <F-MLFID>\\w+</F-MLFID> <F-NOFAIL>at</F-NOFAIL> <HOST>$"]));
    m.block(now(), &block(b"2025-08-12 11:59:59 c at 1.2.3.4\n", true));
    let next = spec(&["^ <F-MLFID>\\w+</F-MLFID> bad$"]);
    m.swap(Arc::new(build(&next).unwrap()), 2);
    assert_eq!((m.date_ranks()[0].template, m.date_ranks()[0].hits), (0, 1));
    let batch = m.block(now(), &block(b"2025-08-12 11:59:59 c bad\n", true));
    assert_eq!((batch.failures.len(), batch.epoch), (1, 2));
    let other = FilterSpec { datepattern: DatePattern::Text("{^LN-BEG}".to_owned()), ..next };
    m.swap(Arc::new(build(&other).unwrap()), 3);
    assert_eq!((m.date_ranks().len(), m.sessions()), (0, 1));
}

#[test]
fn matchers_move_between_threads_and_filters_are_shared() {
    fn moves<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    moves::<Matcher>();
    shared::<Filter>();
    shared::<Calendar>();
}

#[test]
fn a_report_tells_all_about_a_line() {
    let mut m = matcher(&spec(&["^ bad <HOST>$", "^ (?:bad|worse) <F-USER>\\S+</F-USER> ?<F-ID/>?$"]));
    let report = m.line(now(), "[2025-08-12 10:00:00] bad 1.2.3.4", None, true, LineMode::ALL);
    assert_eq!(report.hits.len(), 0);
    let report = m.line(now(), "2025-08-12 10:00:00 bad 1.2.3.4", None, true, LineMode::ALL);
    let date = report.date.unwrap();
    assert_eq!((date.span, date.template, date.time), (0..19, 0, Some(Timestamp::from_secs(NOW - 7_200))));
    assert_eq!(report.hits.iter().map(|h| h.regex).collect::<Vec<_>>(), [0]);
    assert!(report.hits[0].groups.contains(&("ip4".into(), GroupValue::Text("1.2.3.4".into()))));
    assert_eq!(m.filter().date_templates()[date.template].name.get(..10), Some("{^LN-BEG}E"));
}
