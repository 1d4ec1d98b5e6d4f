//! Streams are cut as files are.
#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use std::io::Read;

use stockade_core::block::Position;
use stockade_source::{Bounds, StreamReader};

/// Gives at most `step` bytes per read, and is interrupted now and then.
struct Slow<'t> {
    text: &'t [u8],
    step: usize,
    reads: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.reads += 1;
        if self.reads.is_multiple_of(3) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let n = self.step.min(room.len()).min(self.text.len());
        let (now, later) = self.text.split_at(n);
        room.get_mut(..n).unwrap().copy_from_slice(now);
        self.text = later;
        Ok(n)
    }
}

#[track_caller]
fn check(text: &str, expected: &str, unfinished: u64, notes: usize) {
    for step in [1, 3, 1000] {
        for block in [1, 8, 64] {
            let bounds = Bounds { block, line: 64 };
            let mut reader = StreamReader::with_bounds(Slow { text: text.as_bytes(), step, reads: 0 }, "-", bounds);
            let mut got = Vec::new();
            while let Some(part) = reader.read().unwrap() {
                let (Position::Offset(begin), Position::Offset(end)) = (&part.begin, &part.end) else { panic!() };
                let place = usize::try_from(*begin).unwrap()..usize::try_from(*end).unwrap();
                assert_eq!(Some(&*part.text), text.as_bytes().get(place));
                let lines = part.text.iter().filter(|b| **b == b'\n').count();
                assert!(part.text.len() <= block || lines == 1, "{lines} lines in {} bytes", part.text.len());
                got.extend_from_slice(&part.text);
            }
            assert_eq!(String::from_utf8(got).unwrap(), expected, "steps of {step}, blocks of {block}");
            assert_eq!(reader.unfinished(), unfinished, "steps of {step}, blocks of {block}");
            assert_eq!(reader.take_notes().len(), notes, "steps of {step}, blocks of {block}");
        }
    }
}

#[test]
fn whole_lines_come_and_an_incomplete_last_one_is_left_out() {
    check("one\ntwo\n\nthree\r\nfour", "one\ntwo\n\nthree\r\n", 4, 0);
    check("", "", 0, 0);
    check("no line end", "", 11, 0);
    check("\n\n", "\n\n", 0, 0);
}

#[test]
fn lines_over_the_bound_are_left_out() {
    let (longest, longer, endless) = ("x".repeat(63), "y".repeat(64), "z".repeat(1000));
    check(
        &format!("a\n{longest}\nb\n{longer}\nc\n{endless}\nd\n{longer}\n"),
        &format!("a\n{longest}\nb\nc\nd\n"),
        0,
        3,
    );
    check(&endless, "", 1000, 0);
}
