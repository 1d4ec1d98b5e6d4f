//! A line that ended the process twice is left out, and all others count.

use stockade_core::FailureId;
use stockade_core::matcher::{Calendar, FilterSpec};

use super::*;

fn filter() -> Filter {
    let spec = FilterSpec { failregex: vec!["^ bad <HOST>$".to_owned()], ..FilterSpec::default() };
    Filter::compile(&spec, &Calendar::new(jiff::tz::TimeZone::UTC, 2026)).unwrap()
}

/// Three failures; the line of the second one is what a process dies on.
const LINES: [&str; 3] = [
    "2026-01-01 00:00:00 bad 192.0.2.1\n",
    "2026-01-01 00:00:01 bad 192.0.2.2\n",
    "2026-01-01 00:00:02 bad 192.0.2.3\n",
];

#[test]
fn a_line_that_ended_the_process_twice_is_left_out_and_the_others_count() {
    let house = House::new("actor-poison");
    let noted = house.path("noted");
    let jail = JailName::new("jail");
    let now = Timestamp::from_secs(1_767_225_602);
    let whole = LINES.concat();
    let who = |failures: Vec<Failure>| failures.iter().map(|f| f.who.clone()).collect::<Vec<_>>();
    let id = |n: u8| stockade_core::Who::Id(FailureId::parse(&format!("192.0.2.{n}")));

    // Dies within the block, then twice within the second line: none comes to the end of what it noted.
    let died = || Poison::open(&noted, &house.log).of(&jail);
    died().begin(&block(0, &whole));
    assert_eq!(died().begin(&block(0, &whole)), Care::LineByLine);
    let from = LINES[0].len() as u64;
    for _ in 0..2 {
        assert!(died().begin_line(&block(from, LINES[1])));
    }

    let mut third = Alone::new(&house, filter(), &noted);
    assert_eq!(who(third.lines(now, &whole, false)), [id(1), id(3)]);
    // What comes behind is looked at as always.
    assert_eq!(who(third.lines(now, LINES[1], false)), [id(2)]);
}

#[test]
fn lines_looked_at_one_by_one_give_what_a_block_gives() {
    let house = House::new("actor-line-by-line");
    let noted = house.path("noted");
    let now = Timestamp::from_secs(1_767_225_602);
    let whole = LINES.concat();
    let usual = Alone::new(&house, filter(), &noted).lines(now, &whole, false);
    Poison::open(&noted, &house.log).of(&JailName::new("jail")).begin(&block(0, &whole));
    let careful = Alone::new(&house, filter(), &noted).lines(now, &whole, false);
    assert_eq!((usual.len(), usual), (3, careful));
}
