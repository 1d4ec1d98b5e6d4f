//! The annotated lines the way the daemon takes them: as blocks through a matcher, and its batches
//! through a judge, under a virtual clock that stands at each line's own time.

use std::sync::Arc;

use serde_json::{Map, Value};
use stockade_core::judge::{Event, JailChange, JailSpec, Judge, Outputs, UseDns};
use stockade_core::matcher::{Filter, Matcher};
use stockade_core::{Block, DecisionKind, FailureId, JailName, Position, Seq, SourceKey, Span, Timestamp};

/// One jail, fed line by line.
pub(crate) struct Daemon {
    matcher: Matcher,
    judge: Judge,
    outputs: Outputs,
    at: u64,
}

impl Daemon {
    pub(crate) fn new(filter: Arc<Filter>, now: Timestamp) -> Daemon {
        let name = JailName::new("jail");
        let mut judge = Judge::new(0, Seq(0));
        let mut outputs = Outputs::default();
        let mut spec = JailSpec::new(name.clone());
        (spec.maxretry, spec.findtime) = (1, Span::from_secs(600));
        (spec.ignoreself, spec.usedns) = (false, UseDns::Raw);
        judge.step(now, Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut outputs);
        Daemon { matcher: Matcher::new(name, filter, 0), judge, outputs, at: 0 }
    }

    /// What a line that was just written leads to: who is banned, from when on.
    pub(crate) fn line(&mut self, now: Timestamp, line: &str) -> Vec<(FailureId, Timestamp)> {
        let text = format!("{line}\n").into_bytes();
        let begin = self.at;
        self.at += text.len() as u64;
        let block = Block {
            source: SourceKey { path: "/log".into(), generation: 1 },
            begin: Position::Offset(begin),
            end: Position::Offset(self.at),
            text: text.into_boxed_slice(),
            stamps: Box::default(),
            in_operation: true,
            replay: false,
        };
        let batch = self.matcher.block(now, &block);
        self.outputs.clear();
        self.judge.step(now, Event::Batch(batch), &mut self.outputs);
        let bans = self.outputs.turn.decisions.iter().filter(|d| d.kind == DecisionKind::Ban);
        let bans: Vec<_> = bans.map(|d| (d.id.clone(), d.time)).collect();
        // The next line may be about the same address.
        self.outputs.clear();
        let all = stockade_core::judge::Command::UnbanAll { jail: None };
        self.judge.step(
            now,
            Event::Command { id: stockade_core::judge::CommandId(0), command: all },
            &mut self.outputs,
        );
        bans
    }
}

/// What is wrong with the bans of a line, if anything. `now` is the time that the line states.
pub(crate) fn judge(bans: &[(FailureId, Timestamp)], expected: &Map<String, Value>, now: Timestamp) -> Option<String> {
    let wanted = expected.get("match").is_some_and(|v| v == true);
    match (bans, wanted) {
        ([], false) => None,
        ([], true) => Some("nobody is banned".to_owned()),
        (bans, false) => Some(format!("{bans:?} are banned")),
        ([(id, time)], true) => {
            let host = expected.get("host").and_then(Value::as_str);
            let right = host.is_none_or(|host| FailureId::parse(host) == *id || id.to_string() == host);
            if !right {
                Some(format!("{id} is banned, not {host:?}"))
            } else if *time != now {
                Some(format!("banned from {time:?} on, not {now:?}"))
            } else {
                None
            }
        }
        (bans, true) => Some(format!("several are banned: {bans:?}")),
    }
}
