//! Bounds and portions that are too large for a scenario file.
//!
//! `STOCKADE_LONG=n` multiplies the sizes (1 by default; 50 is a million bans).

use std::net::Ipv4Addr;

use stockade_core::judge::{
    Bounds, Command, CommandId, Event, JailChange, JailSpec, Judge, Outputs, SNAPSHOT_TALLIES_MAX, ServerSpec,
};
use stockade_core::{
    BanTime, Batch, DecisionKind, Failure, FailureId, Groups, JailName, Position, Seq, SourceKey, Span, Timestamp, Who,
};

fn long() -> u32 {
    std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + secs)
}

fn id(n: u32) -> FailureId {
    FailureId::from(std::net::IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n)))
}

fn judge(change: impl FnOnce(&mut JailSpec), bounds: Bounds) -> Judge {
    let mut judge = Judge::new(1, Seq(0));
    let mut spec = JailSpec::new(JailName::new("web"));
    spec.maxretry = 1;
    change(&mut spec);
    let mut out = Outputs::default();
    judge.step(at(0), Event::Server(ServerSpec { bounds: Some(bounds), ..ServerSpec::default() }), &mut out);
    judge.step(at(0), Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut out);
    judge
}

fn fail(judge: &mut Judge, now: i64, ids: impl Iterator<Item = FailureId>, out: &mut Outputs) {
    let failures = ids
        .map(|id| Failure {
            who: Who::Id(id),
            ip: None,
            time: at(now),
            regex: 0,
            place: Position::Offset(1),
            matches: vec!["one line of a log".into()].into(),
            groups: Groups::default(),
        })
        .collect();
    let source = SourceKey { path: "/log".into(), generation: 0 };
    let to = Position::Offset(1);
    let batch = Batch { jail: JailName::new("web"), source, to, failures, lines: 1, replay: false, epoch: 0 };
    judge.step(at(now), Event::Batch(batch), out);
}

/// Steps until nothing is left to do at `now`, answering at once; the largest
/// number of decisions in one step.
fn settle(judge: &mut Judge, now: i64, mut seen: impl FnMut(&stockade_core::Decision)) -> usize {
    let mut largest = 0;
    let mut out = Outputs::default();
    while judge.next_deadline().is_some_and(|due| due <= at(now)) {
        out.clear();
        judge.step(at(now), Event::Deadline, &mut out);
        largest = largest.max(out.turn.decisions.len());
        out.turn.decisions.iter().for_each(&mut seen);
        while let Some(last) = out.turn.decisions.last() {
            let upto = last.seq;
            out.clear();
            judge.step(at(now), Event::Saved(upto), &mut out);
            judge.step(at(now), Event::Applied { upto, failed: Vec::new() }, &mut out);
            out.turn.decisions.iter().for_each(&mut seen);
        }
    }
    largest
}

#[test]
fn many_ends_at_once_come_in_order_and_in_portions() {
    let count = 20_000 * long();
    let mut judge = judge(|_| (), Bounds::default());
    let mut out = Outputs::default();
    for first in (0..count).step_by(1000) {
        out.clear();
        let now = i64::from(first / 1000);
        fail(&mut judge, now, (first..first + 1000).map(id), &mut out);
        assert_eq!(out.turn.decisions.len(), 1000);
    }
    let (mut ends, mut last) = (0, Timestamp::from_secs(0));
    let largest = settle(&mut judge, 100_000, |decision| {
        assert_eq!(decision.kind, DecisionKind::Unban);
        assert!(decision.end >= last, "by end");
        last = decision.end;
        ends += 1;
    });
    assert_eq!(ends, count);
    assert!(largest <= Bounds::default().decisions, "{largest}");
    assert!(judge.bans(&JailName::new("web")).is_empty());
    assert_eq!(judge.outstanding(), 0);
}

#[test]
fn lifting_many_touches_each_once() {
    let count = 20_000 * long();
    let mut judge = judge(|_| (), Bounds::default());
    let mut out = Outputs::default();
    fail(&mut judge, 0, (0..count).map(id), &mut out);
    let command = Command::UnbanAll { jail: None };
    out.clear();
    judge.step(at(1), Event::Command { id: CommandId(1), command }, &mut out);
    let mut seen: std::collections::HashSet<FailureId> = out.turn.decisions.iter().map(|d| d.id.clone()).collect();
    assert!(out.turn.decisions.len() <= Bounds::default().decisions);
    settle(&mut judge, 1, |decision| {
        assert_eq!(decision.kind, DecisionKind::Lift);
        assert!(seen.insert(decision.id.clone()), "{} twice", decision.id);
    });
    assert_eq!(seen.len(), usize::try_from(count).unwrap());
}

#[test]
fn a_new_bantime_reaches_all_bans() {
    let count = 20_000 * long();
    let mut judge = judge(|_| (), Bounds::default());
    let mut out = Outputs::default();
    fail(&mut judge, 0, (0..count).map(id), &mut out);
    let mut spec = judge.spec(&JailName::new("web")).unwrap().clone();
    spec.bantime = BanTime::For(Span::from_secs(3600));
    out.clear();
    judge.step(at(1), Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut out);
    let mut moved = out.turn.decisions.len();
    settle(&mut judge, 1, |decision| {
        assert_eq!((decision.kind, decision.end), (DecisionKind::Prolong, at(3600)));
        moved += 1;
    });
    assert_eq!(moved, usize::try_from(count).unwrap());
    settle(&mut judge, 3599, |decision| panic!("{decision:?}"));
}

/// threats.md: ten million distinct addresses in a minute; here 200,000 against
/// a table of 10,000, and ten heavy offenders among them.
#[test]
fn a_flood_of_addresses_stays_within_the_bound_and_heavy_offenders_are_banned() {
    let flood = 200_000 * long();
    let bounds = Bounds { tallies: 10_000, matches_bytes: 1 << 20, ..Bounds::default() };
    let mut judge = judge(|spec| spec.maxretry = 5, bounds);
    let mut out = Outputs::default();
    let mut banned = Vec::new();
    for n in 0..flood {
        let heavy = (n % 1000 == 0).then(|| id(0x00f0_0000 + (n / 1000) % 10));
        out.clear();
        fail(&mut judge, i64::from(n / (flood / 60 + 1)), heavy.into_iter().chain([id(n)]), &mut out);
        banned.extend(out.turn.decisions.iter().map(|d| d.id.clone()));
        if let Some(last) = out.turn.decisions.last() {
            let upto = last.seq;
            judge.step(at(0), Event::Saved(upto), &mut out);
            judge.step(at(0), Event::Applied { upto, failed: Vec::new() }, &mut out);
        }
        let health = judge.health();
        assert!(health.tallies <= bounds.tallies && health.matches_bytes <= bounds.matches_bytes + 4096);
    }
    let heavy: Vec<_> = (0..10).map(|n| id(0x00f0_0000 + n)).collect();
    assert!(heavy.iter().all(|id| banned.contains(id)), "{banned:?}");
    assert!(banned.iter().all(|id| heavy.contains(id)), "nobody else");
    let evicted = judge.status(&JailName::new("web")).unwrap().counters.evicted_total;
    assert!(evicted >= u64::from(flood) - 10_000 - 100, "{evicted}");
}

#[test]
fn a_snapshot_of_a_flood_keeps_the_highest_counts_and_the_newest() {
    let new = || judge(|spec| spec.maxretry = 3, Bounds::default());
    let (mut flooded, mut out) = (new(), Outputs::default());
    let most = u32::try_from(SNAPSHOT_TALLIES_MAX).unwrap();
    let heavy = || (0..100).map(|n| id(n * 500));
    fail(&mut flooded, 1, (0..most + 5000).map(id), &mut out);
    fail(&mut flooded, 2, heavy(), &mut out);
    // Once each, but later than the flood.
    let newest = || (0..100).map(|n| id(0x0100_0000 + n));
    fail(&mut flooded, 60, newest(), &mut out);
    let mut judge = new();
    assert_eq!(judge.load(&flooded.snapshot()), Ok(SNAPSHOT_TALLIES_MAX));
    out.clear();
    fail(&mut judge, 61, heavy(), &mut out);
    assert_eq!(out.turn.decisions.len(), 100);
    out.clear();
    fail(&mut judge, 61, newest().chain(newest()), &mut out);
    assert_eq!(out.turn.decisions.len(), 100);
}

/// The same input gives the same output, whatever the seed of the tables.
#[test]
fn decisions_do_not_depend_on_the_seed() {
    let run = |seed: u64| {
        let mut judge = Judge::new(seed, Seq(0));
        let mut out = Outputs::default();
        let mut spec = JailSpec::new(JailName::new("web"));
        spec.maxretry = 3;
        let bounds = Bounds { tallies: 500, decisions: 7, ..Bounds::default() };
        judge.step(at(0), Event::Server(ServerSpec { bounds: Some(bounds), ..ServerSpec::default() }), &mut out);
        judge.step(at(0), Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut out);
        let mut random = 12345u32;
        for step in 0..20_000i64 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            fail(&mut judge, step / 10, std::iter::once(id((random >> 16) % 2000)), &mut out);
            if random >> 24 == 0 {
                let command = Command::UnbanAll { jail: None };
                judge.step(at(step / 10), Event::Command { id: CommandId(0), command }, &mut out);
            }
        }
        assert!(out.turn.decisions.len() > 1000);
        (out.turn, judge.snapshot())
    };
    assert_eq!(run(1), run(2));
}
