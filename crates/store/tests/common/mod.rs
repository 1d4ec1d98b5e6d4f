//! What the tests of this crate share: decisions out of thin air and a model of the bans.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stockade_core::{
    BanTime, Decision, DecisionKind, FailureId, GroupValue, JailName, Origin, Position, Seq, SourceKey, Span,
    Timestamp, Turn, Watermark,
};
use stockade_store::{Options, Store};

/// A folder of its own, gone at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        // Killed processes need no real disk, and in memory nothing waits for one.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = base.join(format!("stockade-store-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("bans.sqlite3")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A time near which all tests are.
pub const T0: i64 = 1_700_000_000;

pub fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(T0 + secs)
}

pub fn source(path: &str, generation: u64) -> SourceKey {
    SourceKey { path: path.into(), generation }
}

/// A decision with everything in it.
pub fn decision(seq: u64, kind: DecisionKind, jail: &str, id: &str, secs: i64, bantime_secs: i64) -> Decision {
    let bantime = if bantime_secs < 0 { BanTime::Permanent } else { BanTime::For(Span::from_secs(bantime_secs)) };
    Decision {
        seq: Seq(seq),
        kind,
        jail: JailName::new(jail),
        id: FailureId::parse(id),
        ip: None,
        time: at(secs),
        bantime,
        end: bantime.end(at(secs)),
        count: 1,
        failures: 3,
        matches: Arc::from([Box::from(format!("line of {id} \u{e4}\t\"quoted\"")), Box::from("second line")]),
        groups: Arc::from([
            (Arc::from("user"), GroupValue::Text("root".into())),
            (Arc::from("users"), GroupValue::List(vec!["root".into(), "admin".into()])),
        ]),
        origin: Origin::Log { source: source("/var/log/auth.log", 7), place: Position::Offset(1_000 + seq) },
        why: "maxretry 3 reached".into(),
    }
}

pub fn ban(seq: u64, jail: &str, id: &str, secs: i64, bantime_secs: i64) -> Decision {
    decision(seq, DecisionKind::Ban, jail, id, secs, bantime_secs)
}

pub fn turn(decisions: Vec<Decision>) -> Turn {
    Turn { decisions, watermarks: Vec::new() }
}

pub fn watermark(jail: &str, source: SourceKey, offset: u64) -> Watermark {
    Watermark { jail: JailName::new(jail), source, to: Position::Offset(offset) }
}

pub fn open(path: &Path) -> (Store, stockade_store::Recovery) {
    Store::open(path, &Options::default()).unwrap()
}

/// (jail, id) to (start, ban time in microseconds or -1, count), all in whole seconds where the original rounds.
pub type Bans = BTreeMap<(String, String), (i64, i64, u32)>;

/// All stored bans.
pub fn bans(store: &mut Store) -> Bans {
    let mut all = Bans::new();
    store
        .each_ban(|ban| {
            let bantime = match ban.bantime {
                None => -2,
                Some(BanTime::Permanent) => -1,
                Some(BanTime::For(span)) => span.secs(),
            };
            let key = (ban.jail.to_string(), ban.id.to_string());
            all.insert(key, (ban.time.secs_rounded(), bantime, ban.count));
        })
        .unwrap();
    all
}

/// What the bans are after `decisions`, done in the plainest way.
pub fn model<'a>(decisions: impl IntoIterator<Item = &'a Decision>) -> Bans {
    let mut all = Bans::new();
    for decision in decisions {
        let key = (decision.jail.to_string(), decision.id.to_string());
        match decision.kind {
            DecisionKind::Ban => {
                all.insert(key, (decision.time.secs_rounded(), decision.bantime.secs(), decision.count));
            }
            DecisionKind::Prolong => {
                if let Some(ban) = all.get_mut(&key) {
                    ban.1 = if decision.end == Timestamp::MAX { -1 } else { decision.end.secs_rounded() - ban.0 };
                }
            }
            DecisionKind::Lift => {
                all.remove(&key);
            }
            _ => {}
        }
    }
    all
}
