//! Any sequence of changes leaves the kernel as a plain model says.
//! Steps: `STOCKADE_LONG` times 200, 600 without it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use common::in_namespace;
use stockade_core::{JailName, Net, Timestamp};
use stockade_enforce::{
    Held, JailBlock, Kernel, Layout, OnClose, Options, PortSpec, Progress, Services, SetOp, Verdict,
};

/// A small generator with a fixed seed: a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }
}

const JAILS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PORTS: [(&str, &str); 6] =
    [("any", "all"), ("22", "tcp"), ("20-30", "tcp"), ("22,53", "tcp,udp"), ("any", "icmp"), ("0:65535", "udp")];

/// Per jail: its ports, and whom it bans.
type Model = BTreeMap<&'static str, (usize, BTreeMap<Net, Timestamp>)>;

fn layout(model: &Model) -> Layout {
    Layout::new(model.iter().map(|(jail, (ports, _))| JailBlock {
        jail: JailName::new(jail),
        ports: PortSpec::parse(PORTS[*ports].0, PORTS[*ports].1, &Services::embedded()).unwrap(),
        verdict: Verdict::Drop,
    }))
}

fn bans(model: &Model) -> Vec<(JailName, Net, Timestamp)> {
    let all =
        model.iter().flat_map(|(jail, (_, bans))| bans.iter().map(|(net, end)| (JailName::new(jail), *net, *end)));
    all.collect()
}

fn change_layout(model: &mut Model, dice: &mut Dice) {
    for jail in JAILS {
        match dice.roll(4) {
            0 => drop(model.remove(jail)),
            1 => model.entry(jail).or_default().0 = dice.roll(PORTS.len()),
            _ => {}
        }
    }
}

#[track_caller]
fn check(kernel: &mut Kernel, model: &Model, nets: &[Net], what: &str) {
    assert!(kernel.is_whole().unwrap(), "{what}");
    assert_eq!(kernel.bans(), model.values().map(|(_, bans)| bans.len()).sum::<usize>(), "{what}");
    for (jail, (ports, _)) in model {
        for net in nets {
            // A group holds it while any of its jails does.
            let expected = model.values().any(|(p, bans)| p == ports && bans.contains_key(net));
            let held = kernel.verify(&JailName::new(jail), *net).unwrap() == Held::Held;
            assert_eq!(held, expected, "{what}: {net} in {jail}");
        }
    }
}

fn run_model(as_old_kernel: bool, seed: u64) {
    let options = Options { as_old_kernel, ..Options::default() };
    let mut dice = Dice(seed);
    let nets: Vec<Net> = (0..24u8)
        .map(|i| {
            let (v4, v6) = ([192, 0, 2, i].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(i)].into());
            let net = match i % 4 {
                0 => Net::new(v4, 32),
                1 => Net::new(v6, 128),
                2 => Net::new(v4, 20 + i / 2),
                _ => Net::new(v6, 100 + i),
            };
            net.unwrap()
        })
        .collect();
    let now = Timestamp::from_secs(1_800_000_000);
    let mut model = Model::new();
    JAILS.iter().enumerate().for_each(|(i, jail)| drop(model.insert(jail, (i, BTreeMap::new()))));
    let mut kernel = Kernel::open(&options).unwrap();
    kernel.restore(now, layout(&model), []).unwrap();
    let steps = std::env::var("STOCKADE_LONG").map_or(600, |n| n.parse::<usize>().unwrap() * 200);
    for step in 0..steps {
        let mut in_load = false;
        let what = match dice.roll(20) {
            0 => {
                change_layout(&mut model, &mut dice);
                kernel.relayout(now, layout(&model)).unwrap();
                "relayout"
            }
            1 => {
                kernel.repair(now).unwrap();
                "repair"
            }
            2 => {
                change_layout(&mut model, &mut dice);
                drop(kernel);
                kernel = Kernel::open(&options).unwrap();
                kernel.restore(now, layout(&model), bans(&model)).unwrap();
                "restart"
            }
            3 => {
                kernel.begin_repair().unwrap();
                in_load = true;
                "changes during a load"
            }
            _ => "changes",
        };
        let jails: Vec<&'static str> = model.keys().copied().collect();
        let ops: Vec<SetOp> = (0..if jails.is_empty() { 0 } else { dice.roll(8) })
            .map(|_| {
                let (name, net) = (dice.one(&jails), dice.one(&nets));
                let (jail, bans) = (JailName::new(name), &mut model.get_mut(name).unwrap().1);
                if dice.roll(2) == 0 {
                    bans.remove(&net);
                    return SetOp::Unban { jail, net };
                }
                let end = Timestamp::from_secs(1_800_001_000 + i64::try_from(dice.roll(9)).unwrap() * 1000);
                bans.insert(net, end);
                SetOp::Ban { jail, net, end }
            })
            .collect();
        let applied = kernel.apply(now, &ops);
        assert!(applied.failed.is_empty() && !applied.repaired, "{applied:?}");
        if in_load {
            while let Progress::Left(_) = kernel.load(now).unwrap() {}
        }
        check(&mut kernel, &model, &nets, &format!("seed {seed}, step {step}, {what}"));
    }
    kernel.close(OnClose::Lift).unwrap();
}

#[test]
fn any_sequence_of_changes_is_as_the_model_says() {
    in_namespace("any_sequence_of_changes_is_as_the_model_says", || {
        run_model(false, 7);
        run_model(true, 8);
    });
}
