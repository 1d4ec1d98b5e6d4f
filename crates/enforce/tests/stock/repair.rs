//! How soon what others removed from stock actions stands again. The short form
//! has 500 bans; `STOCKADE_LONG=20` has 10,000, and then the bar counts.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use stockade_core::{Net, Span};
use stockade_enforce::stock::StockAction;
use stockade_enforce::{Held, OnClose, SetOp};
use stockade_original::{Installed, newest};

use crate::common::{in_namespace, run};
use crate::holding::wait_for_news;
use crate::original::{action_of, now, spec_of};
use crate::{apply, jail, stock_with};

/// Actions, what another program does to them, and whether the bar counts: with
/// `iptables -F` the bans themselves are gone, which are 10,000 rules for `iptables-restore` there.
const DAMAGES: [(&str, &[&str], bool); 5] = [
    ("nftables-multiport[name=web, port=\"http,https\"]", &["nft", "delete", "table", "inet", "f2b-table"], true),
    (
        "nftables-multiport[name=web, port=\"http,https\"]",
        &["nft", "flush", "chain", "inet", "f2b-table", "f2b-chain"],
        true,
    ),
    ("iptables-multiport[name=web, port=\"http,https\"]", &["iptables", "-F", "INPUT"], true),
    ("iptables-multiport[name=web, port=\"http,https\"]", &["iptables", "-F"], false),
    ("iptables-ipset-proto6[name=web, port=\"http,https\"]", &["iptables", "-F", "INPUT"], true),
];

fn scale() -> u32 {
    std::env::var("STOCKADE_LONG").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

fn address(n: u32) -> Net {
    Net::host(IpAddr::V4((u32::from_be_bytes([10, 1, 0, 0]) + n).into()))
}

#[test]
fn what_others_remove_stands_again_at_once() {
    let test = "repair::what_others_remove_stands_again_at_once";
    let Some(Installed { root, .. }) = newest(test) else { return };
    in_namespace(test, || {
        let bans = 500 * scale();
        for (call, damage, bar) in DAMAGES {
            let action = action_of(&spec_of(&root, call));
            let took = (0..3).map(|_| repaired(&action, damage, bans)).min().unwrap();
            let what = damage.join(" ");
            let millis = took.as_secs_f64() * 1e3;
            println!("{call} after `{what}`: {bans} bans in force again after {millis:.1} ms");
            assert!(!bar || scale() < 20 || millis <= 100.0, "{call} after `{what}`: above 100 ms");
        }
    });
}

/// From the foreign program's end until everything is in force again.
fn repaired(action: &StockAction, damage: &[&str], bans: u32) -> Duration {
    let ops: Vec<SetOp> =
        (0..bans).map(|n| SetOp::Ban { jail: jail(), net: address(n), end: now() + Span::from_secs(3_600) }).collect();
    let mut stock = stock_with(action);
    apply(&mut stock, &ops);
    stock.on_readable();
    run(damage.first().unwrap(), damage.get(1..).unwrap());
    let start = Instant::now();
    wait_for_news(&mut stock);
    assert_eq!(stock.check(now(), true), Ok(true));
    let took = start.elapsed();
    for n in [0, bans / 2, bans - 1] {
        assert_eq!(stock.verify(&jail(), address(n)), Ok(Held::Held), "ban {n}");
    }
    assert_eq!(stock.check(now(), true), Ok(false), "not whole afterwards");
    stock.close(OnClose::Lift).unwrap();
    took
}
