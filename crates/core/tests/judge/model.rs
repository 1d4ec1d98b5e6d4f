//! A kernel that does what decisions say must hold exactly the bans that the
//! judge has, whatever happens and in whatever portions.
//!
//! `STOCKADE_LONG=n` multiplies the number of events.

use std::collections::{BTreeMap, BTreeSet};

use stockade_core::judge::{
    Bounds, Command, CommandId, Event, Guard, JailChange, JailSpec, Judge, Outputs, ProtectedAs, Protection,
    ServerSpec, StoredBan, StoredTime,
};
use stockade_core::{
    BanTime, Batch, DecisionKind, Failure, FailureId, Groups, JailName, Net, Origin, Position, Seq, SourceKey, Span,
    Timestamp, Who,
};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap_or(0) % n
    }
}

/// What a kernel, a store and a list of replies would have seen.
#[derive(Default)]
struct Model {
    bans: BTreeMap<(JailName, FailureId), Timestamp>,
    last: u64,
    announced: BTreeSet<(JailName, FailureId)>,
    replies: u64,
}

impl Model {
    fn apply(&mut self, out: &Outputs) {
        for decision in &out.turn.decisions {
            self.last += 1;
            assert_eq!(decision.seq.0, self.last, "numbers have no gaps");
            let key = (decision.jail.clone(), decision.id.clone());
            match decision.kind {
                DecisionKind::Ban | DecisionKind::Restore => {
                    assert!(self.bans.insert(key, decision.end).is_none(), "banned twice: {decision:?}");
                }
                DecisionKind::Prolong => {
                    assert!(self.bans.insert(key, decision.end).is_some(), "prolonged nothing: {decision:?}");
                }
                DecisionKind::Lift if decision.count == 0 => {
                    assert!(!self.bans.contains_key(&key), "forgot a living ban: {decision:?}");
                }
                DecisionKind::Unban | DecisionKind::Lift | DecisionKind::Repeal => {
                    assert!(self.bans.remove(&key).is_some(), "unbanned nobody: {decision:?}");
                }
                DecisionKind::Withhold => assert!(!self.bans.contains_key(&key)),
            }
        }
        for change in &out.changes {
            use stockade_core::judge::Change;
            match change {
                Change::Ban { jail, id, .. } => assert!(self.announced.insert((jail.clone(), id.clone()))),
                Change::Unban { jail, id, .. } => assert!(self.announced.remove(&(jail.clone(), id.clone()))),
                _ => {}
            }
        }
        self.replies += out.replies.len() as u64;
    }
}

fn name(dice: &mut Dice) -> JailName {
    JailName::new(match dice.below(3) {
        0 => "web",
        1 => "mail",
        _ => "ssh",
    })
}

fn jail(dice: &mut Dice) -> JailSpec {
    let mut spec = JailSpec::new(name(dice));
    spec.maxretry = 1 + dice.below(3);
    spec.bantime = match dice.below(6) {
        0 => BanTime::Permanent,
        n => BanTime::For(Span::from_secs(i64::from(n) * 20)),
    };
    spec.increment.increment = dice.below(2) == 0;
    spec.evidence = dice.below(2) == 0;
    spec.guard = if dice.below(2) == 0 { Guard::Refuse } else { Guard::Off };
    spec
}

fn id(dice: &mut Dice) -> FailureId {
    match dice.below(12) {
        0 => FailureId::Text("bob".into()),
        1 => FailureId::parse("192.0.2.0/29"),
        n => FailureId::parse(&format!("192.0.2.{n}")),
    }
}

fn event(dice: &mut Dice, now: Timestamp, commands: &mut u64) -> Event {
    let some = |dice: &mut Dice| if dice.below(2) == 0 { Some(name(dice)) } else { None };
    let net = |dice: &mut Dice| Net::host(std::net::Ipv4Addr::from(0xc000_0200 + dice.below(12)).into());
    let command = match dice.below(100) {
        0..60 => {
            let failures = (0..=dice.below(4))
                .map(|_| Failure {
                    who: Who::Id(id(dice)),
                    ip: None,
                    time: now - Span::from_secs(i64::from(dice.below(3) * 7)),
                    regex: 0,
                    place: Position::Offset(0),
                    matches: vec!["x".into()].into(),
                    groups: Groups::default(),
                })
                .collect();
            let source = SourceKey { path: "/log".into(), generation: 0 };
            let (jail, to) = (name(dice), Position::Offset(0));
            return Event::Batch(Batch { jail, source, to, failures, lines: 1, replay: false, epoch: 0 });
        }
        60..66 => return Event::Config(vec![JailChange::Put(Box::new(jail(dice)))]),
        66..68 => return Event::Config(vec![JailChange::Remove(name(dice))]),
        68..72 => {
            let reasons = [ProtectedAs::Own, ProtectedAs::Login("x".into())];
            let some = usize::from(dice.below(2) == 0);
            return Event::Protected(
                reasons.into_iter().skip(some).map(|reason| Protection { net: net(dice), reason }).collect(),
            );
        }
        72..76 => {
            let time = Span::from_secs(i64::from(dice.below(100)));
            return Event::Restore(vec![StoredBan {
                jail: name(dice),
                id: id(dice),
                ip: None,
                start: now - time,
                bantime: StoredTime::Known(BanTime::For(Span::from_secs(60))),
                count: 1,
                failures: 0,
                matches: vec!["of a row".into()],
                groups: Vec::new(),
            }]);
        }
        76..86 => Command::Ban {
            jail: name(dice),
            ids: vec![id(dice), id(dice)],
            bantime: None,
            force: dice.below(4) == 0,
            origin: Origin::Manual,
        },
        86..92 => Command::Unban { jail: some(dice), targets: vec![id(dice)] },
        92..94 => Command::UnbanAll { jail: some(dice) },
        94 => Command::Repeal { jail: some(dice) },
        95 => Command::Stop { jail: name(dice) },
        96..98 => Command::Allow { jail: some(dice), nets: vec![net(dice)] },
        _ => Command::Disallow { jail: some(dice), nets: (0..12).map(|n| Net::host([192, 0, 2, n].into())).collect() },
    };
    *commands += 1;
    Event::Command { id: CommandId(*commands), command }
}

#[test]
fn the_kernel_holds_what_the_judge_decided() {
    let long: u64 = std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in 0..8 * long {
        let mut dice = Dice(seed);
        let mut judge = Judge::new(seed, Seq(0));
        let mut model = Model::default();
        let mut now = Timestamp::from_secs(1_767_225_600);
        let (mut commands, mut bans, mut kept) = (0, 0, 0);
        let mut out = Outputs::default();
        let mut step = |judge: &mut Judge, model: &mut Model, now: Timestamp, event: Event| {
            out.clear();
            judge.step(now, event, &mut out);
            model.apply(&out);
            bans += out.turn.decisions.iter().filter(|d| d.kind == DecisionKind::Ban).count();
        };
        let bounds = Bounds { decisions: 2, ..Bounds::default() };
        step(&mut judge, &mut model, now, Event::Server(ServerSpec { bounds: Some(bounds), ..ServerSpec::default() }));
        for _ in 0..2000 {
            let happens = event(&mut dice, now, &mut commands);
            step(&mut judge, &mut model, now, happens);
            if dice.below(3) == 0 {
                let last = judge.health().last;
                let upto = Seq(last.0.saturating_sub(dice.below(3).into()));
                step(&mut judge, &mut model, now, Event::Saved(upto));
                let failed = if dice.below(5) == 0 { vec![(upto, "no".into())] } else { Vec::new() };
                step(&mut judge, &mut model, now, Event::Applied { upto, failed });
            }
            if dice.below(2) == 0 {
                now = now + Span::from_micros(i64::from(dice.below(20_000_000)));
            }
            if dice.below(4) == 0 {
                // All that is due, in its portions; then both must agree.
                while judge.next_deadline().is_some_and(|due| due <= now) {
                    step(&mut judge, &mut model, now, Event::Deadline);
                }
                let names: Vec<JailName> = judge.jails().cloned().collect();
                let held: BTreeMap<_, _> = names
                    .iter()
                    .flat_map(|name| judge.bans(name).into_iter().map(|ban| ((name.clone(), ban.id), ban.end)))
                    .collect();
                assert_eq!(held, model.bans, "seed {seed}");
                assert!(held.values().all(|end| *end >= now), "nothing is overdue");
                let views = names.iter().flat_map(|name| judge.bans(name));
                let shown: usize = views.flat_map(|ban| ban.matches.to_vec()).map(|line| line.len() + 16).sum();
                assert!(judge.health().matches_bytes >= shown, "seed {seed}: more is held than counted");
                kept += shown;
            }
        }
        // Acknowledgements do a portion of what is due as well.
        while judge.outstanding() > 0 || judge.next_deadline().is_some_and(|due| due <= now) {
            step(&mut judge, &mut model, now, Event::Deadline);
            let upto = judge.health().last;
            step(&mut judge, &mut model, now, Event::Saved(upto));
            step(&mut judge, &mut model, now, Event::Applied { upto, failed: Vec::new() });
        }
        // With nobody banned or counted any more nothing is held.
        commands += 1;
        let all = Event::Command { id: CommandId(commands), command: Command::UnbanAll { jail: None } };
        step(&mut judge, &mut model, now, all);
        now = now + Span::from_secs(86_400);
        while judge.outstanding() > 0 || judge.next_deadline().is_some_and(|due| due <= now) {
            step(&mut judge, &mut model, now, Event::Deadline);
            let upto = judge.health().last;
            step(&mut judge, &mut model, now, Event::Saved(upto));
            step(&mut judge, &mut model, now, Event::Applied { upto, failed: Vec::new() });
        }
        assert_eq!((judge.health().tallies, judge.health().matches_bytes), (0, 0), "seed {seed}");
        assert!(kept > 0, "no ban kept its lines");
        assert_eq!(model.announced, model.bans.keys().cloned().collect(), "seed {seed}");
        assert_eq!(model.replies, commands, "every command has one reply");
        assert!(bans > 100, "{bans}");
    }
}
