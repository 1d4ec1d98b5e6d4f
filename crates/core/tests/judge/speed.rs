//! How fast and how large: prints figures, asserts that the work was done.
//!
//! `STOCKADE_LONG=n` multiplies 20,000 ids (50 is a million); figures mean
//! something only with optimisation.

use std::net::Ipv4Addr;

use stockade_core::judge::{Event, JailChange, JailSpec, Judge, Outputs, SNAPSHOT_TALLIES_MAX, StoredBan, StoredTime};
use stockade_core::{
    BanTime, Batch, Failure, FailureId, Groups, JailName, Matches, Position, Seq, SourceKey, Span, Timestamp, Who,
};

fn ids() -> u32 {
    20_000 * std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + secs)
}

fn id(n: u32) -> FailureId {
    FailureId::from(std::net::IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n)))
}

fn judge(maxretry: u32, jails: u32) -> Judge {
    let mut judge = Judge::new(1, Seq(0));
    let puts = (0..jails)
        .map(|n| {
            let mut spec = JailSpec::new(JailName::new(&format!("jail{n}")));
            spec.maxretry = maxretry;
            spec.maxmatches = 0;
            JailChange::Put(Box::new(spec))
        })
        .collect();
    judge.step(at(0), Event::Config(puts), &mut Outputs::default());
    judge
}

fn batch(now: i64, ids: impl Iterator<Item = u32>) -> Event {
    let failures = ids
        .map(|n| Failure {
            who: Who::Id(id(n)),
            ip: None,
            time: at(now),
            regex: 0,
            place: Position::Offset(1),
            matches: Matches::default(),
            groups: Groups::default(),
        })
        .collect();
    let source = SourceKey { path: "/log".into(), generation: 0 };
    let to = Position::Offset(1);
    Event::Batch(Batch { jail: JailName::new("jail0"), source, to, failures, lines: 1, replay: false, epoch: 0 })
}

/// Runs `work` and prints its rate and what it added to resident memory.
#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn measure(what: &str, count: u32, work: impl FnOnce()) {
    let (before, start) = (resident(), busy());
    work();
    let took = busy().saturating_sub(start).max(1) as f64 / 1e9;
    let grown = resident().saturating_sub(before);
    println!(
        "{what:36} {count:>9} in {:>7.1} ms of CPU {:>11.0}/s {:>6} bytes each",
        took * 1e3,
        f64::from(count) / took,
        grown / u64::from(count)
    );
}

/// Nanoseconds that this thread has run; other load of the machine is left out.
fn busy() -> u64 {
    line_of("/proc/thread-self/schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Resident memory in bytes, 0 where there is no /proc.
fn resident() -> u64 {
    line_of("/proc/self/statm").split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[expect(clippy::disallowed_methods, reason = "one line of the kernel's")]
fn line_of(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn answer(judge: &mut Judge, now: i64, out: &mut Outputs) -> usize {
    let decisions = out.turn.decisions.len();
    if let Some(last) = out.turn.decisions.last() {
        let upto = last.seq;
        out.clear();
        judge.step(at(now), Event::Saved(upto), out);
        judge.step(at(now), Event::Applied { upto, failed: Vec::new() }, out);
        decisions + out.turn.decisions.len()
    } else {
        0
    }
}

#[test]
fn figures() {
    let count = ids();
    let web = JailName::new("jail0");
    let mut out = Outputs::default();

    let mut counting = judge(1_000_000, 1);
    measure("tallies of new addresses", count, || {
        for first in (0..count).step_by(1000) {
            out.clear();
            counting.step(at(1), batch(1, first..first + 1000), &mut out);
        }
    });
    measure("failures of known addresses", count, || {
        for first in (0..count).step_by(1000) {
            out.clear();
            counting.step(at(2), batch(2, first..first + 1000), &mut out);
        }
    });
    assert_eq!(counting.status(&web).unwrap().counters.failed, u64::from(count));
    let mut snapshot = Vec::new();
    measure("tallies into a snapshot", count, || snapshot = counting.snapshot());
    let mut loaded = judge(1_000_000, 1);
    measure("tallies out of a snapshot", count, || {
        loaded.load(&snapshot).unwrap();
    });
    let kept = u64::from(count).min(SNAPSHOT_TALLIES_MAX as u64);
    assert_eq!(loaded.status(&web).unwrap().counters.failed, kept);
    measure("tallies swept", count, || {
        while counting.next_deadline().is_some_and(|due| due <= at(700)) {
            out.clear();
            counting.step(at(700), Event::Deadline, &mut out);
        }
    });
    assert_eq!(counting.status(&web).unwrap().counters.failed, 0);
    drop((counting, loaded, snapshot));

    let mut one_by_one = judge(1_000_000, 100);
    measure("failures, a step each, 100 jails", count, || {
        for n in 0..count {
            out.clear();
            one_by_one.step(at(1), batch(1, n..n + 1), &mut out);
        }
    });
    drop(one_by_one);

    let mut banning = judge(1, 1);
    let mut bans = 0;
    measure("bans, saved, applied, announced", count, || {
        for first in (0..count).step_by(1000) {
            out.clear();
            banning.step(at(1), batch(1, first..first + 1000), &mut out);
            bans += answer(&mut banning, 1, &mut out);
        }
    });
    assert_eq!(bans, usize::try_from(count).unwrap());
    let mut ends = 0;
    measure("bans over", count, || {
        while banning.next_deadline().is_some_and(|due| due <= at(1000)) {
            out.clear();
            banning.step(at(1000), Event::Deadline, &mut out);
            ends += answer(&mut banning, 1000, &mut out);
        }
    });
    assert_eq!(ends, usize::try_from(count).unwrap());
    drop(banning);

    let mut restoring = judge(1, 1);
    let rows: Vec<StoredBan> = (0..count)
        .map(|n| StoredBan {
            jail: web.clone(),
            id: id(n),
            ip: None,
            start: at(0),
            bantime: StoredTime::Known(BanTime::For(Span::from_secs(600))),
            count: 1,
            failures: 5,
            matches: Vec::new(),
            groups: Vec::new(),
        })
        .collect();
    measure("bans restored", count, || {
        let mut rows = rows.into_iter();
        loop {
            let some: Vec<_> = rows.by_ref().take(4096).collect();
            if some.is_empty() {
                break;
            }
            out.clear();
            restoring.step(at(1), Event::Restore(some), &mut out);
            answer(&mut restoring, 1, &mut out);
        }
    });
    assert_eq!(restoring.status(&web).unwrap().counters.banned, u64::from(count));
}
