//! A database full of bans that were made from log lines.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use stockade_core::{
    BanTime, Decision, DecisionKind, FailureId, JailName, Origin, Position, Seq, SourceKey, Span, Timestamp, Turn,
};
use stockade_store::{Marks, Options, Store};

/// Address number `n`: scattered over 10.0.0.0/8 and its neighbours, each once.
pub(crate) fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 | (n.wrapping_mul(2_654_435_761) & 0x00ff_ffff))
}

/// Makes a database with `long` bans in jail `web`, and behind them `short` ones
/// in jail `short` that all began at the time returned.
pub(crate) fn make(path: &Path, long: u32, short: u32) -> Timestamp {
    let options = Options { journal_rows: 10_000_000, ..Options::default() };
    let (mut store, _) = Store::open(path, &options).unwrap();
    let now = Timestamp::from_secs(jiff::Timestamp::now().as_second());
    let began = now - Span::from_secs(3_600);
    let numbers: Vec<u32> = (0..long + short).collect();
    for part in numbers.chunks(1_000) {
        let decisions = part.iter().map(|n| decision(*n, if *n < long { "web" } else { "short" }, began)).collect();
        let done = part.last().map(|n| Seq(u64::from(*n) + 1));
        let marks = Marks { announced: done, issued: done, ..Marks::default() };
        store.commit(&[Turn { decisions, watermarks: Vec::new() }], &marks).unwrap();
    }
    store.close(now).unwrap();
    began
}

fn decision(n: u32, jail: &str, time: Timestamp) -> Decision {
    let address = address(n);
    let bantime = BanTime::For(Span::from_secs(7 * 86_400));
    let source = SourceKey { path: "/var/log/auth.log".into(), generation: 1 };
    Decision {
        seq: Seq(u64::from(n) + 1),
        kind: DecisionKind::Ban,
        jail: JailName::new(jail),
        id: FailureId::from(std::net::IpAddr::V4(address)),
        ip: None,
        time,
        bantime,
        end: bantime.end(time),
        count: 1,
        failures: 5,
        matches: Arc::from([Box::from(format!("host sshd[1234]: Failed password for root from {address} port 4242"))]),
        groups: Arc::from([(Arc::from("user"), stockade_core::GroupValue::Text("root".into()))]),
        origin: Origin::Log { source, place: Position::Offset(u64::from(n) * 100) },
        why: "".into(),
    }
}
