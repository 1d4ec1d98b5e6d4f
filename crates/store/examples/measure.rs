//! How fast the store is here: `measure [ROWS] [FOLDER]`, default a million rows
//! in the system's folder for temporary files. Figures go to standard output.
#![expect(clippy::print_stdout, reason = "its purpose")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_core::{
    BanTime, Decision, DecisionKind, FailureId, JailName, Origin, Position, Seq, SourceKey, Span, Timestamp, Turn,
    Watermark,
};
use stockade_store::{Marks, Options, Reader, Store, Trace, mark_lifted};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let rows: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("stockade-measure-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(&folder.join("bans.sqlite3"), rows);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn measure(path: &Path, rows: u64) -> Result<(), Box<dyn Error>> {
    let now = Timestamp::from_secs(1_700_000_000);
    let longest = Arc::new(Longest::default());
    let trace: Trace = {
        let longest = Arc::clone(&longest);
        Arc::new(move |step| longest.step(step))
    };
    let options = Options { journal_rows: 10_000_000, trace: Some(trace), ..Options::default() };

    let (mut store, _) = Store::open(path, &options)?;
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    let mut next = 1;
    while next <= rows {
        let turn = turn(next, 1_000.min(rows + 1 - next));
        next += 1_000;
        let begin = Instant::now();
        let done = Some(Seq(next));
        store.commit(&[turn], &Marks { announced: done, issued: done, ..Marks::default() })?;
        slowest = slowest.max(begin.elapsed());
    }
    per("journal, 1,000 rows per commit", rows, start.elapsed());
    println!("  slowest commit {slowest:?}; waiting {:?}; {}", store.catch_up(now)?, size(path)?);

    drop(store);
    let start = Instant::now();
    let (mut store, recovery) = Store::open(path, &options)?;
    let opened = start.elapsed();
    let given = store.each_ban(|_| {})?;
    println!(
        "start after a crash with {} rows waiting: open {opened:?}, {given} bans after {:?}",
        recovery.pending,
        start.elapsed()
    );

    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut pieces = 0_u32;
    loop {
        let begin = Instant::now();
        let waiting = store.catch_up(now)?;
        slowest = slowest.max(begin.elapsed());
        pieces += 1;
        if waiting.backlog == 0 {
            break;
        }
    }
    per("catching up", rows, start.elapsed());
    println!("  {pieces} pieces, slowest {slowest:?}; {}", size(path)?);
    let start = Instant::now();
    store.close(now)?;
    println!("close: {:?}; {}", start.elapsed(), size(path)?);

    let start = Instant::now();
    let (mut store, _) = Store::open(path, &options)?;
    let opened = start.elapsed();
    let mut standing = 0_u64;
    store.each_ban(|ban| standing += u64::from(ban.stands(now)))?;
    println!("start: open {opened:?}, {standing} bans after {:?}", start.elapsed());
    let start = Instant::now();
    let mut evidence = 0;
    store.each_ban(|ban| evidence += ban.evidence().matches.len())?;
    println!("all bans with their evidence ({evidence} lines): {:?}", start.elapsed());

    let reader = Reader::open(path)?;
    let start = Instant::now();
    let found = reader.history(&FailureId::parse("10.0.1.1"), 10)?.len();
    println!("history of one address ({found} rows): {:?}", start.elapsed());

    let mut times = Vec::new();
    for _ in 0..2_000 {
        let turn = turn(next, 1);
        next += 1;
        let begin = Instant::now();
        store.commit(&[turn], &Marks::default())?;
        times.push(begin.elapsed());
    }
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 1_000).copied().unwrap_or_default();
    storm(&mut store, next)?;
    println!("longest write transaction of all: {:?}", longest.time());
    println!("one ban per commit over these: median {:?}, p99 {:?}, worst {:?}", at(500), at(990), at(999));
    store.close(now)?;
    let start = Instant::now();
    println!("lift of all: {:?} in {:?}", mark_lifted(path, None, now)?, start.elapsed());
    Ok(())
}

/// 20,000 bans per second for ten seconds on top of what stands, in turns of 200.
fn storm(store: &mut Store, mut next: u64) -> Result<(), Box<dyn Error>> {
    let now = Timestamp::from_secs(1_700_000_000);
    let start = Instant::now();
    let (mut lag, mut times) = (0, Vec::new());
    for n in 0..1_000 {
        let due = start + Duration::from_millis(10) * n;
        while Instant::now() < due {
            lag = lag.max(store.catch_up(now)?.backlog);
        }
        let turn = turn(next, 200);
        next += 200;
        store.commit(&[turn], &Marks { announced: Some(Seq(next)), issued: Some(Seq(next)), ..Marks::default() })?;
        times.push(due.elapsed());
    }
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 1_000).copied().unwrap_or_default();
    let taken = start.elapsed();
    while store.catch_up(now)?.backlog > 0 {}
    println!(
        "storm of 20,000 bans/s: {taken:?} for 10 s; saved after median {:?}, p99 {:?}; most rows waiting {lag}, all there {:?} later",
        at(500),
        at(990),
        start.elapsed().saturating_sub(taken)
    );
    Ok(())
}

/// How long the longest write transaction was.
#[derive(Default)]
struct Longest(Mutex<(Option<Instant>, Duration)>);

impl Longest {
    fn step(&self, step: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (step, state.0) {
            ("begin", _) => state.0 = Some(Instant::now()),
            ("committed", Some(begin)) => state.1 = state.1.max(begin.elapsed()),
            _ => {}
        }
    }

    fn time(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

fn per(what: &str, rows: u64, time: Duration) {
    println!("{what}: {time:?}, {} rows/s", u128::from(rows) * 1_000_000 / time.as_micros().max(1));
}

fn size(path: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = format!("file {} MB", path.metadata()?.len() / 1_000_000);
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if let Ok(meta) = Path::new(&wal).metadata() {
        text.push_str(&format!(", WAL {} MB", meta.len() / 1_000_000));
    }
    Ok(text)
}

/// Bans of scattered addresses with one matched line each.
fn turn(first: u64, count: u64) -> Turn {
    let source = SourceKey { path: "/var/log/auth.log".into(), generation: 1 };
    let decisions = (first..first + count).map(|n| decision(n, &source)).collect();
    let to = Position::Offset(first * 100);
    Turn { decisions, watermarks: vec![Watermark { jail: JailName::new("sshd"), source, to }] }
}

fn decision(n: u64, source: &SourceKey) -> Decision {
    let scattered = (n.wrapping_mul(2_654_435_761) & 0x00ff_ffff) | 0x0a00_0000;
    let address = std::net::Ipv4Addr::from(u32::try_from(scattered).unwrap_or(0));
    let time = Timestamp::from_secs(1_699_999_000 + i64::try_from(n / 10_000).unwrap_or(0));
    let bantime = BanTime::For(Span::from_secs(86_400));
    Decision {
        seq: Seq(n),
        kind: DecisionKind::Ban,
        jail: JailName::new("sshd"),
        id: FailureId::from(std::net::IpAddr::V4(address)),
        ip: None,
        time,
        bantime,
        end: bantime.end(time),
        count: 1,
        failures: 5,
        matches: Arc::from([Box::from(format!(
            "host sshd[1234]: Failed password for root from {address} port 4242 ssh2"
        ))]),
        groups: Arc::from([]),
        origin: Origin::Log { source: source.clone(), place: Position::Offset(n * 100) },
        why: "".into(),
    }
}
