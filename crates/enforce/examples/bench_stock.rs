//! Stock actions: how long a burst of bans takes, and how long it takes to bring
//! them back, by ourselves and by the original's own code in the same run.
//!
//! ```text
//! STOCKADE_F2B_ROOT_110=ROOT unshare -n target/release/examples/bench_stock [BANS, default 2000] [no-original]
//! ```
//! `burst`: the first bans of an action, from nothing to all in the kernel.
//! `back`: the same after a crash and an emptied kernel, as a start does it.
//! `repair`: the rules (and what hangs on them) were removed by somebody else.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench stops at the first surprise and prints")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/stock/original.rs"]
mod original;
#[path = "../src/stock/tests/trees.rs"]
mod trees;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::run;
use original::{Original, action_of, now, spec_of};
use stockade_core::{JailName, Net, Span};
use stockade_enforce::stock::{Stock, StockAction};
use stockade_enforce::{Held, SetOp};
use stockade_original::Installed;

const CALLS: [&str; 3] = [
    "nftables-multiport[name=web, port=\"http,https\"]",
    "iptables-multiport[name=web, port=\"http,https\"]",
    "iptables-ipset-proto6[name=web, port=\"http,https\"]",
];

fn main() {
    let bans: u32 = std::env::args().nth(1).map_or(2000, |n| n.parse().unwrap());
    let with_original = std::env::args().nth(2).is_none();
    let Installed { version, root } = stockade_original::newest("bench_stock").unwrap();
    assert_eq!(run("nft", &["list", "ruleset"]), "", "rules stand here; run it by `unshare -n`");
    let ops: Vec<SetOp> =
        (0..bans).map(|n| SetOp::Ban { jail: jail(), net: address(n), end: now() + Span::from_secs(3600) }).collect();
    for call in CALLS {
        let spec = spec_of(&root, call);
        let action = action_of(&spec);
        let started = Instant::now();
        let mut stock = open(&action);
        apply(&mut stock, &ops);
        let burst = started.elapsed();
        check(&mut stock, bans);
        let damage: &[&[&str]] = if call.starts_with("nft") {
            &[&["nft", "delete", "table", "inet", "f2b-table"]]
        } else {
            &[&["iptables", "-F", "INPUT"]]
        };
        damage.iter().for_each(|words| drop(run(words.first().unwrap(), words.get(1..).unwrap())));
        let started = Instant::now();
        stock.on_readable();
        assert_eq!(stock.check(now(), true), Ok(true));
        let repair = started.elapsed();
        check(&mut stock, bans);
        drop(stock);
        run("nft", &["flush", "ruleset"]);
        run("ipset", &["flush"]);
        run("ipset", &["destroy"]);
        let started = Instant::now();
        let mut stock = open(&action);
        ops.chunks(1000).for_each(|part| apply(&mut stock, part));
        assert_eq!(stock.settle(now()), []);
        let back = started.elapsed();
        check(&mut stock, bans);
        let started = Instant::now();
        let unbans: Vec<SetOp> = (0..bans / 2).map(|n| SetOp::Unban { jail: jail(), net: address(n) }).collect();
        apply(&mut stock, &unbans);
        let unban = started.elapsed();
        println!(
            "{call}: {bans} bans: burst {}, back {}, repair {}, half unbanned {}",
            ms(burst),
            ms(back),
            ms(repair),
            ms(unban)
        );
        stock.close(stockade_enforce::OnClose::Lift).unwrap();
        if with_original {
            let mut original = Original::start(&root, &spec);
            let started = Instant::now();
            assert_eq!(original.tell(&format!("bans 10.1.0.0 {bans}")), "ok");
            println!("{call}: {bans} bans: fail2ban {version}'s own code {}", ms(started.elapsed()));
        }
    }
}

fn jail() -> JailName {
    JailName::new("j")
}

fn address(n: u32) -> Net {
    Net::host(IpAddr::V4((u32::from_be_bytes([10, 1, 0, 0]) + n).into()))
}

fn open(action: &StockAction) -> Stock {
    let mut stock = Stock::new();
    assert_eq!(stock.set_actions(now(), [action.clone()], |_| Vec::new()), []);
    stock
}

fn apply(stock: &mut Stock, ops: &[SetOp]) {
    assert_eq!(stock.apply(now(), ops).failed, []);
}

fn check(stock: &mut Stock, bans: u32) {
    for n in [0, bans / 2, bans - 1] {
        assert_eq!(stock.verify(&jail(), address(n)), Ok(Held::Held), "ban {n}");
    }
    assert_eq!(stock.bans(), bans as usize);
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
