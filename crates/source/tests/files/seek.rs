//! The half-interval search against reading line by line.

use std::fs;

use crate::tester::dir;
use stockade_core::time::Timestamp;
use stockade_source::{FileReader, Start};

/// The number at the start of a line, in seconds.
fn date(line: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(line).ok()?;
    text.split(' ').next()?.parse().ok().map(Timestamp::from_secs)
}

/// A log of `times` (`None`: a line without a date), padded to `width` bytes per line.
fn log(times: &[Option<i64>], width: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for time in times {
        let head = time.map_or("-".to_owned(), |t| t.to_string());
        out.extend_from_slice(head.as_bytes());
        out.resize(out.len() + width.saturating_sub(head.len()), b' ');
        out.push(b'\n');
    }
    out
}

/// Offset of the first line that is not older, or of the undated ones right before it: what must not be passed.
fn bounds(bytes: &[u8], since: i64) -> (u64, u64) {
    let (mut low, mut at) = (0, 0);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match date(line) {
            Some(t) if t < Timestamp::from_secs(since) => low = at + line.len() as u64,
            Some(_) => return (low, at),
            None => {}
        }
        at += line.len() as u64;
    }
    (low, at)
}

#[track_caller]
fn check(name: &str, times: &[Option<i64>], width: usize) {
    let path = dir(&format!("seek-{name}")).join("a.log");
    let bytes = log(times, width);
    fs::write(&path, &bytes).unwrap();
    let last = times.iter().flatten().max().copied().unwrap_or(0);
    for since in (-1..=last + 2).step_by(usize::try_from(last / 97 + 1).unwrap()) {
        let mut reader = FileReader::open(&path, Start::Head);
        let mut asked = 0;
        let got = reader
            .seek_time(Timestamp::from_secs(since), |line| {
                asked += 1;
                date(line)
            })
            .unwrap();
        let (low, first) = bounds(&bytes, since);
        assert!(got <= first, "{name}, since {since}: {got} is behind {first}");
        assert_eq!(got, reader.offset());
        // With a date on every line it is exact (unless a probe can't hold a line); otherwise at most the
        // undated ones are read too.
        if times.iter().all(Option::is_some) && width < 32 << 10 {
            assert_eq!(got, first, "{name}, since {since}");
        } else {
            assert!(got <= low, "{name}, since {since}: {got} is not at or before {low}");
        }
        assert!(asked < 3000, "{name}: {asked} lines were dated");
    }
}

#[test]
fn the_first_line_of_the_window_is_found() {
    check("each-second", &(0..10_000).map(Some).collect::<Vec<_>>(), 60);
    check("each-minute", &(0..10_000).map(|n| Some(n * 60)).collect::<Vec<_>>(), 30);
    check("same-time", &vec![Some(7); 5000], 80);
    check("bursts", &(0..9000).map(|n| Some(n / 1000 * 50)).collect::<Vec<_>>(), 100);
    check("one", &[Some(5)], 10);
    check("none", &[], 10);
}

#[test]
fn lines_without_a_date_are_never_taken_for_old() {
    check("undated", &vec![None; 3000], 50);
    let traces: Vec<_> = (0..200).flat_map(|n| std::iter::once(Some(n)).chain(vec![None; 40])).collect();
    check("traces", &traces, 70);
    let gap: Vec<_> = (0..500).map(Some).chain(vec![None; 5000]).chain((500..1000).map(Some)).collect();
    check("gap", &gap, 70);
}

#[test]
fn long_lines_do_not_mislead() {
    check("long", &(0..400).map(Some).collect::<Vec<_>>(), 3000);
    check("longer-than-a-probe", &(0..30).map(Some).collect::<Vec<_>>(), 100_000);
}

#[test]
fn a_search_begins_at_the_stored_position() {
    let path = dir("seek-stored").join("a.log");
    let bytes = log(&(0..1000).map(Some).collect::<Vec<_>>(), 50);
    fs::write(&path, &bytes).unwrap();
    let mut reader = FileReader::open(&path, Start::Head);
    while reader.read().unwrap().is_some() {}
    let generation = reader.generation();
    let mut reader = FileReader::open(&path, Start::Resume { generation, offset: 51 * 500 });
    assert_eq!(reader.seek_time(Timestamp::from_secs(100), date).unwrap(), 51 * 500);
    assert_eq!(reader.seek_time(Timestamp::from_secs(700), date).unwrap(), 51 * 700);
}
