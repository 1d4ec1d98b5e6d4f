//! The date tables: a local clock in Switzerland, 14:00 in summer.

use super::choice::Choice;
use super::convert::{Bad, Clock};
use super::*;
use crate::time::Timestamp;
use stockade_pattern::{Scratch, Slots};

/// 2025-08-12 12:00:00 UTC.
const NOW: i64 = 1_755_000_000;

fn calendar() -> Arc<Calendar> {
    Calendar::new(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(), 2026)
}

/// A detector that keeps its state over lines.
struct Detector {
    calendar: Arc<Calendar>,
    templates: Templates,
    offset: Option<i32>,
    choice: Choice,
    now: i64,
}

/// Index of the template, time in microseconds (none if the text is no date), what is left of the line.
type Seen = Option<(usize, Option<i64>, String)>;

impl Detector {
    fn new(pattern: Option<&str>) -> Self {
        let calendar = calendar();
        let templates = match pattern {
            None => Templates::default(&calendar),
            Some(text) => Templates::parse(text, &calendar).unwrap(),
        };
        Detector { calendar, templates, offset: None, choice: Choice::default(), now: NOW }
    }

    fn line(&mut self, line: &str) -> Seen {
        let clock = Clock {
            now: Timestamp::from_secs(self.now),
            wall: Timestamp::from_secs(self.now),
            zone: self.calendar.zone(),
            offset: self.offset,
        };
        let mut scratch = Scratch::new();
        let mut slots = Slots::new();
        let found = self.choice.look(&self.templates, &mut scratch, &mut slots, line, &clock);
        assert_eq!(found.exhausted, None, "{line}");
        let dated = found.dated?;
        let time = match dated.time {
            Ok(time) => Some(time.micros()),
            Err(Bad::Invalid) => None,
            Err(bad) => panic!("{line}: {bad:?}"),
        };
        let rest = [line.get(..dated.cut.start).unwrap(), line.get(dated.cut.end..).unwrap()].concat();
        Some((dated.template, time, rest))
    }
}

const SECOND: i64 = 1_000_000;

#[track_caller]
fn check(pattern: Option<&str>, line: &str, expected: Option<(usize, Option<i64>, &str)>) {
    let expected = expected.map(|(t, secs, rest)| (t, secs.map(|s| s * SECOND), rest.to_owned()));
    assert_eq!(Detector::new(pattern).line(line), expected, "{line}");
}

/// Default templates on `date x`, where nothing but ` x` is left.
#[track_caller]
fn plain(date: &str, template: usize, time: i64) {
    check(None, &format!("{date} x"), Some((template, Some(time), " x")));
}

#[track_caller]
fn none(date: &str) {
    check(None, &format!("{date} x"), None);
}

#[track_caller]
fn invalid(date: &str, template: usize) {
    check(None, &format!("{date} x"), Some((template, None, " x")));
}

#[test]
fn all_default_templates_compile() {
    let calendar = calendar();
    assert_eq!(calendar.defaults().len(), 31);
    for template in calendar.defaults().iter() {
        let again = Template::parse(template.pattern.as_deref().unwrap_or("EPOCH"), 2026);
        assert!(again.is_ok(), "{:?}", again.err());
    }
    let anchored: Vec<usize> = (0..31).filter(|i| calendar.defaults()[*i].anchored).collect();
    assert_eq!(anchored, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 22, 23, 26]);
}

#[test]
fn dates_of_iso_form() {
    plain("2025-08-12 10:11:12", 0, 1_754_986_272);
    plain("2025-08-12T10:11:12.345678Z", 0, 1_754_993_472);
    plain("2025-08-12T10:11:12+02:00", 0, 1_754_986_272);
    plain("2025-08-12T10:11:12+0530", 0, 1_754_973_672);
    plain("2025-08-12 10:11:12 -0700", 0, 1_755_018_672);
    check(None, "2025-08-12 10:11:12 CEST x", Some((0, Some(1_754_986_272), " CEST x")));
    plain("2025-08-12 10:11:12,123", 0, 1_754_986_272);
    plain("2025/08/12 10:11:12", 0, 1_754_986_272);
    plain("2025.08.12 10:11:12", 0, 1_754_986_272);
    plain("2025-08-12  8:11:12", 0, 1_754_979_072);
    invalid("2025-02-29 10:11:12", 0);
    none("1999-08-12 10:11:12");
    none("2031-08-12 10:11:12");
    invalid("2025-08-12 10:11:61", 0);
    none("2025-08-12 10:11:123");
    none("2025-08-12 10:11:12x");
}

#[test]
fn dates_of_syslog_form() {
    for date in ["Aug 12 10:11:12", "AUG 12 10:11:12", "Tue Aug 12 10:11:12 2025", "Mon Aug 12 10:11:12"] {
        plain(date, 1, 1_754_986_272);
    }
    plain("Tue Aug 12 10:11:12.011 2025", 1, 1_754_986_272);
    plain("Aug  2 10:11:12", 1, 1_754_122_272);
    plain("Aug 02 10:11:12", 1, 1_754_122_272);
    invalid("Aug 12 25:11:12", 1);
    plain("Aug 13 13:59:59", 1, 1_755_086_399);
    plain("Aug 13 14:00:01", 1, 1_723_550_401);
    plain("Dec 31 23:59:59", 1, 1_735_685_999);
    invalid("Feb 29 10:00:00", 1);
    plain("Tue Aug 12 2025 10:11:12", 2, 1_754_986_272);
}

#[test]
fn dates_of_other_forms() {
    for date in ["12/08/2025 10:11:12", "12/08/25 10:11:12", "12-08-2025 10:11:12"] {
        plain(date, 3, 1_754_986_272);
    }
    none("08/31/2025 10:11:12");
    check(None, "08-12-2025 10:11:12.244 x", Some((3, Some(1_765_185_072), ".244 x")));
    plain("12-31-2025 10:11:12", 6, 1_767_172_272);
    plain("12/Aug/2025:10:11:12 +0200", 4, 1_754_986_272);
    plain("12-Aug-2025 10:11:12.252", 4, 1_754_986_272);
    check(None, "[12/Aug/2025:10:11:12 +0200] x", Some((4, Some(1_754_986_272), "[] x")));
    check(None, "12-Aug-2025 10:11:12 error x", Some((4, Some(1_754_986_272), " error x")));
    let line = r#"1.2.3.4 - - [12/Aug/2025:10:11:12 +0000] "GET"#;
    check(None, line, Some((18, Some(1_754_993_472), r#"1.2.3.4 - - [] "GET"#)));
    plain("08/12/2025:10:11:12", 5, 1_754_986_272);
    plain("10:11:12", 22, 1_754_986_272);
    plain("14:00:00", 22, 1_755_000_000);
    plain("14:00:01", 22, 1_754_913_601);
    plain("23:59:59", 22, 1_754_949_599);
    plain("<08/12/25@10:11:12>", 23, 1_754_986_272);
    plain("250812 10:11:12", 8, 1_754_986_272);
    plain("250812  8:11:12", 8, 1_754_979_072);
    plain("Aug 12, 2025 9:59:59 PM", 9, 1_755_028_799);
    plain("Aug 12, 2025 12:00:01 AM", 9, 1_754_949_601);
    plain("Aug-12-25 10:11:12", 26, 1_754_986_272);
    for date in ["20250812T101112", "20250812 101112", "20250812-10:11:12"] {
        plain(date, 10, 1_754_986_272);
    }
    none("20250812101112");
}

#[test]
fn dates_with_a_zone_before_them() {
    plain("CEST Aug 12 10:11:12", 11, 1_754_986_272);
    plain("PDT Aug 12 10:11:12", 11, 1_755_018_672);
    plain("EST Jan  2 10:11:12", 11, 1_735_830_672);
    plain("+00:00 Aug 12 10:11:12 2025", 12, 1_754_993_472);
    plain("-0500 Aug 12 10:11:12", 12, 1_755_011_472);
    // A lower-case word is taken for a zone that does not exist; the date is lost.
    invalid("host Aug 12 10:11:12", 11);
    invalid("pst Aug 12 10:11:12", 11);
    check(None, "webserver Aug 12 10:11:12 x", Some((15, Some(1_754_986_272), "webserver  x")));
    check(None, "a Aug 12 10:11:12 x", Some((15, Some(1_754_986_272), "a  x")));
    check(None, "[warn] Aug 12 10:11:12 x", Some((15, Some(1_754_986_272), "[warn]  x")));
    // DIVERGENCE (zone-word-gives-up-line): the original gives up these lines.
    check(None, "ERROR Aug 12 10:11:12 x", Some((15, Some(1_754_986_272), "ERROR  x")));
    check(None, "BST Aug 12 10:11:12 x", Some((15, Some(1_754_986_272), "BST  x")));
}

#[test]
fn epoch_and_tai64n() {
    plain("1754986272", 7, 1_754_986_272);
    plain("17549862729", 7, 17_549_862_729);
    check(None, "[1754986272] x", Some((7, Some(1_754_986_272), "[] x")));
    let fraction = Some((7, Some(1_754_986_272_123_000), " x".to_owned()));
    assert_eq!(Detector::new(None).line("1754986272.123 x"), fraction);
    check(None, "1754986272.5 x", Some((7, Some(1_754_986_272), ".5 x")));
    none("1754986272123");
    none("y 1754986272");
    let audit = Some((21, Some(1_754_986_272_123_000), "audit(:987) x".to_owned()));
    assert_eq!(Detector::new(None).line("audit(1754986272.123:987) x"), audit);
    plain("@40000000689ae5e000000000", 13, 1_754_981_856);
}

#[test]
fn what_may_stand_before_a_date() {
    check(None, "<13>Aug 12 10:11:12 host", Some((15, Some(1_754_986_272), "<13> host")));
    check(None, "<13>1 2025-08-12T10:11:12.000Z host", Some((14, Some(1_754_993_472), "<13>1  host")));
    check(None, "\"2025-08-12 10:11:12\" x", Some((0, Some(1_754_986_272), "\"\" x")));
    check(None, "((2025-08-12 10:11:12)) x", Some((0, Some(1_754_986_272), "(()) x")));
    check(None, "(((2025-08-12 10:11:12))) x", Some((14, Some(1_754_986_272), "((())) x")));
    check(None, "pre 2025-08-12 10:11:12 x", Some((14, Some(1_754_986_272), "pre  x")));
    none("pre2025-08-12 10:11:12");
}

#[test]
fn the_choice_depends_on_the_lines_before() {
    let templates = |pattern: Option<&str>, lines: &[&str]| -> Vec<usize> {
        let mut detector = Detector::new(pattern);
        lines.iter().map(|line| detector.line(line).unwrap().0).collect()
    };
    let access = r#"1.2.3.4 - - [12/Aug/2025:10:11:12 +0000] "GET /a 2025-08-12 10:11:12""#;
    let iso = "2025-08-12 10:11:12 x [12/Aug/2025:10:11:12 +0000]";
    assert_eq!(templates(None, &[access, access, access, iso, access]), [18, 18, 18, 0, 18]);

    let mut detector = Detector::new(None);
    let mut at = |line: &str| {
        let (template, time, _) = detector.line(line).unwrap();
        (template, time.map(|t| t / SECOND))
    };
    assert_eq!(at("08-12-2025 10:11:12"), (3, Some(1_765_185_072)));
    assert_eq!(at("12-31-2025 10:11:12"), (6, Some(1_767_172_272)));
    assert_eq!(at("08-12-2025 10:11:12"), (6, Some(1_754_986_272)));

    let mut detector = Detector::new(None);
    assert_eq!(detector.line("a 2025-08-12 10:11:12 x").unwrap().2, "a  x");
    let far = detector.line("a bbbbbbbbb 2025-08-12 10:11:12 Aug 11 10:11:12").unwrap();
    assert_eq!((far.0, &*far.2), (14, "a bbbbbbbbb  Aug 11 10:11:12"));

    let both = Detector::new(None).line("a Aug 11 10:11:12 2025-08-12 10:11:12").unwrap();
    assert_eq!((both.0, &*both.2), (15, "a -08-12 10:11:12"));

    let syslog = ["<13>Aug 12 10:11:12 h", "<134>Aug 12 10:11:12 h", "x Aug 12 10:11:12 h"];
    assert_eq!(templates(None, &syslog), [15, 15, 28]);

    let two = Some("%Y-%m-%d\n%d %m %Y");
    assert_eq!(templates(two, &["12 08 2025 x", "2025-08-12 x", "12 08 2025 x"]), [1, 0, 1]);
}

#[test]
fn custom_patterns() {
    let cut = |pattern: &str, line: &str, time: i64| check(Some(pattern), line, Some((0, Some(time), " x")));
    cut("%Y-%m-%d %H:%M", "2025-08-12 10:11 x", 1_754_986_260);
    cut("%d/%B/%Y %l:%M:%S %p", "12/August/2025  9:11:12 PM x", 1_755_025_872);
    cut("%j %Y %H:%M:%S", "224 2025 10:11:12 x", 1_754_986_272);
    cut("%ExY-%Exm-%Exd %H:%M:%S %Exz", "2025-08-12 10:11:12 PDT x", 1_755_018_672);
    cut("%ExY-%Exm-%Exd %H:%M:%S %Exz", "2025-08-12 10:11:12 CET+0130 x", 1_754_984_472);
    cut("%Y-%m-%d %H:%M:%S %Z", "2025-08-12 10:11:12 MSK x", 1_754_982_672);
    cut("%H:%M", "00:30 x", 1_754_951_400);
    cut("%H:%M", "15:30 x", 1_754_919_000);
    cut("%m/%d", "08/13 x", 1_755_036_000);
    cut("%m/%d", "12/24 x", 1_734_994_800);
    cut("%Y W%W %w %H:%M:%S", "2025 W32 2 00:00:00 x", 1_754_949_600);
    for pattern in ["**%Y%m%d**", "{UNB}%Y%m%d"] {
        check(Some(pattern), "x20250812y", Some((0, Some(1_754_949_600), "xy")));
    }
    check(Some("{^LN-BEG}"), "pre 2025-08-12 10:11:12 x", None);
    check(Some("^{DATE}"), " 2025-08-12 10:11:12 x", None);
    check(Some("^{DATE}"), "2025-08-12 10:11:12 x", Some((0, Some(1_754_986_272), " x")));
    let inside = r"^[^\[]*\[({DATE})";
    check(Some(inside), "1.2.3.4 - - [1754986272] x", None);
    check(Some(inside), "1.2 [12/Aug/2025:10:11:12 +0200] x", Some((4, Some(1_754_986_272), "1.2 [] x")));
    check(Some("EPOCH"), "x 1754986272 y", None);
    check(Some("{NONE}"), "any", Some((0, Some(1_754_949_600), "any")));
    let micros = Some((0, Some(1_754_986_272_123_456), " x".to_owned()));
    assert_eq!(Detector::new(Some("LEPOCH")).line("1754986272123456 x"), micros);
    check(Some("LEPOCH"), "1754986272000 x", Some((0, Some(1_754_986_272), " x")));
    let audit = Some((0, Some(1_754_986_272_123_000), "A msg=audit(:9)".to_owned()));
    let pattern = r"^\w+ msg=audit\(({EPOCH})";
    assert_eq!(Detector::new(Some(pattern)).line("A msg=audit(1754986272.123:9)"), audit);
}

#[test]
fn the_zone_of_the_log() {
    let at = |zone: &str, line: &str| {
        let mut detector = Detector::new(None);
        detector.offset = zones::offset_minutes(zone);
        detector.line(line).unwrap().1.unwrap() / SECOND
    };
    assert_eq!(at("UTC", "2025-08-12 10:11:12 x"), 1_754_993_472);
    assert_eq!(at("UTC", "2025-08-12 10:11:12+02:00 x"), 1_754_986_272);
    assert_eq!(at("UTC+0300", "2025-08-12 10:11:12 x"), 1_754_982_672);
    assert_eq!(at("CET", "2025-08-12 10:11:12 x"), 1_754_989_872);
    assert_eq!(at("-0430", "2025-08-12 10:11:12 x"), 1_755_009_672);
    assert_eq!(at("UTC-0500", "Aug 12 10:11:12 x"), 1_755_011_472);
    // Compared with the local clock although it is a reading of UTC.
    assert_eq!(at("UTC", "13:30:00 x"), 1_755_005_400);
}

#[test]
fn hours_that_exist_twice_or_never() {
    plain("2025-10-26 02:30:00", 0, 1_761_438_600);
    plain("2025-03-30 02:30:00", 0, 1_743_298_200);
}

#[test]
fn parts_that_make_no_date_give_up_the_line() {
    let mut detector = Detector::new(Some("%b %H:%M"));
    let clock = Clock {
        now: Timestamp::from_secs(NOW),
        wall: Timestamp::from_secs(NOW),
        zone: detector.calendar.zone(),
        offset: None,
    };
    let found =
        detector.choice.look(&detector.templates, &mut Scratch::new(), &mut Slots::new(), "Aug 10:11 x", &clock);
    assert!(matches!(found.dated.unwrap().time, Err(Bad::Unfit(_))));
}

#[test]
fn faulty_patterns_are_refused() {
    let calendar = calendar();
    for (text, index) in
        [("%Y\n%s", 1), ("%Y-%m(", 0), ("%Y\n%Y", 1), ("{DEFAULT}\n%Y(?P<Y>x)", 1), ("{^LN-BEG}\n^%Y\n^%Y", 2)]
    {
        let fault = Templates::parse(text, &calendar);
        assert_eq!(fault.as_ref().err().map(|(at, _)| *at), Some(index), "{text}: {fault:?}");
    }
    assert_eq!(Templates::parse("{^LN-BEG}", &calendar).unwrap().len(), 17);
    assert_eq!(Templates::parse("{DEFAULT}", &calendar).unwrap().len(), 31);
    assert_eq!(Templates::parse("^x%Y\n{DEFAULT}", &calendar).unwrap().len(), 1);
}
