//! An actor with nobody around it: its mailbox, its matcher, and what it sends.

mod poison;
mod samples;

use std::path::{Path, PathBuf};

use stockade_core::matcher::Scanner;
use stockade_core::{Failure, SourceKey, Stamp, Timestamp};

use super::super::inbox::Taken;
use super::super::judge::inbox;
use super::*;
use crate::log::{Aim, Level};

/// How long an actor may take for one block, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Workers, and a log of their own.
struct House {
    folder: PathBuf,
    pool: Pool,
    log: Log,
}

impl House {
    fn new(name: &str) -> House {
        let folder = std::env::temp_dir().join(format!("stockade-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).unwrap_or_default();
        std::fs::create_dir_all(&folder).unwrap();
        let aim = Aim::parse(&folder.join("own.log").to_string_lossy(), "auto").unwrap();
        House { pool: Pool::start(1).unwrap(), log: Log::start(&aim, Level::Info, false).unwrap(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.pool.close();
        std::fs::remove_dir_all(&self.folder).unwrap_or_default();
    }
}

/// One jail's actor, fed with blocks.
struct Alone {
    actor: Arc<Actor>,
    judge: Arc<JudgeInbox>,
    scanner: Scanner,
    at: u64,
}

impl Alone {
    /// Notes go to the file `noted` of the house.
    fn new(house: &House, filter: Filter, noted: &Path) -> Alone {
        let (judge, filter) = (inbox(), Arc::new(filter));
        let name = JailName::new("jail");
        let around = Around {
            guard: GuardHandle::new(Arc::clone(&judge), stockade_core::Span::from_secs(86_400)),
            pool: house.pool.clone(),
            judge: Arc::clone(&judge),
            poison: Poison::open(noted, &house.log),
            log: house.log.clone(),
        };
        let actor = Actor::new(name.clone(), Matcher::new(name, Arc::clone(&filter), 1), Vec::new(), around);
        Alone { actor, judge, scanner: Scanner::new(vec![filter]), at: 0 }
    }

    /// What these lines (with their ends), just written, come to at that time; `stamped`: as entries of
    /// the journal.
    fn lines(&mut self, now: Timestamp, text: &str, stamped: bool) -> Vec<Failure> {
        let begin = self.at;
        self.at += text.len() as u64;
        let mut block = block(begin, text);
        if stamped {
            let ends = text.match_indices('\n').map(|(at, _)| u32::try_from(at + 1).unwrap());
            let cursor = |n: u64| Arc::from(format!("c{n}"));
            block.stamps = ends.map(|end| Stamp { end, time: now, cursor: cursor(begin + u64::from(end)) }).collect();
            block.begin = Position::Cursor { cursor: cursor(begin), at: now };
            block.end = Position::Cursor { cursor: cursor(self.at), at: now };
        }
        let to = block.end.clone();
        let scan = self.scanner.scan(now, &block);
        self.actor.block(Arc::new(block), Arc::new(scan));
        let until = Instant::now() + PATIENCE;
        loop {
            match self.judge.take(Some(until), true) {
                Taken::Data(JudgeData::Batch(batch)) if batch.to == to => return batch.failures,
                // Where counting begins, a first snapshot, who must not be banned.
                Taken::Data(_) | Taken::Control(_) => {}
                Taken::Late | Taken::Closed => panic!("nothing came of {text:?}"),
            }
        }
    }
}

/// Lines of a file, from this place on.
pub(in crate::daemon) fn block(begin: u64, text: &str) -> Block {
    Block {
        source: SourceKey { path: "/log".into(), generation: 7 },
        begin: Position::Offset(begin),
        end: Position::Offset(begin + text.len() as u64),
        text: text.as_bytes().into(),
        stamps: Box::default(),
        in_operation: true,
        replay: false,
    }
}

#[test]
fn a_block_is_cut_at_line_ends_with_its_places() {
    let whole = block(100, "a\nb\nc\n");
    let part = cut(&whole, 2, 6, true).unwrap();
    assert_eq!(&*part.text, b"b\nc\n");
    assert_eq!((part.begin, part.end, part.replay), (Position::Offset(102), Position::Offset(106), true));
    assert!(cut(&whole, 6, 6, false).is_none());
}

#[test]
fn places_are_clamped_to_the_block() {
    let whole = block(100, "a\nb\n");
    assert_eq!(place(&whole, &Position::Offset(50)), 0);
    assert_eq!(place(&whole, &Position::Offset(102)), 2);
    assert_eq!(place(&whole, &Position::Offset(500)), 4);
}
