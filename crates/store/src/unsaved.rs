//! Decisions and marks that wait in memory because the disk fails.

use std::collections::HashMap;

use stockade_core::{Decision, JailName, Position, Seq, SourceKey, Turn, Watermark};

use crate::marks::{Allow, FirstLine, Forget, Marks, Snapshot};

/// Everything that a commit writes, merged: decisions in order, of all else the newest.
#[derive(Default)]
pub(crate) struct Unsaved {
    pub(crate) decisions: Vec<Decision>,
    watermarks: HashMap<(JailName, SourceKey), Position>,
    announced: Option<Seq>,
    issued: Option<Seq>,
    firstlines: Vec<FirstLine>,
    dropped: Vec<(JailName, SourceKey)>,
    snapshots: HashMap<Box<str>, Box<[u8]>>,
    allow: Vec<Allow>,
    /// With the number of the decision behind which each stands.
    pub(crate) forget: Vec<(Seq, Forget)>,
    jails: Option<Vec<JailName>>,
    any: bool,
}

impl Unsaved {
    /// Is nothing waiting?
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Adds what a failed commit had to save. `last` is the newest decision before it.
    pub(crate) fn add(&mut self, turns: &[Turn], marks: &Marks, last: Seq) {
        self.any = true;
        for turn in turns {
            self.decisions.extend(turn.decisions.iter().cloned());
            for mark in &turn.watermarks {
                self.watermarks.insert((mark.jail.clone(), mark.source.clone()), mark.to.clone());
            }
        }
        let last = self.decisions.last().map_or(last, |decision| decision.seq.max(last));
        self.announced = self.announced.max(marks.announced);
        self.issued = self.issued.max(marks.issued);
        for line in &marks.firstlines {
            self.firstlines.retain(|old| old.source != line.source);
            self.firstlines.push(line.clone());
        }
        for key in &marks.dropped {
            self.watermarks.remove(key);
            if !self.dropped.contains(key) {
                self.dropped.push(key.clone());
            }
        }
        for snapshot in &marks.snapshots {
            self.snapshots.insert(snapshot.name.clone(), snapshot.data.clone());
        }
        for entry in &marks.allow {
            self.allow.retain(|old| (&old.jail, &old.id) != (&entry.jail, &entry.id));
            self.allow.push(entry.clone());
        }
        self.forget.extend(marks.forget.iter().map(|forget| (last, forget.clone())));
        if marks.jails.is_some() {
            self.jails.clone_from(&marks.jails);
        }
    }

    /// Drops the decisions up to `saved`: a commit of several transactions got as far as that.
    pub(crate) fn drop_saved(&mut self, saved: Seq) {
        self.decisions.retain(|decision| decision.seq > saved);
    }

    /// As one turn and marks (without what is to be forgotten), for the next attempt.
    pub(crate) fn watermarks(&self) -> Vec<Watermark> {
        self.watermarks
            .iter()
            .map(|((jail, source), to)| Watermark { jail: jail.clone(), source: source.clone(), to: to.clone() })
            .collect()
    }

    /// The marks, without what is to be forgotten.
    pub(crate) fn marks(&self) -> Marks {
        Marks {
            announced: self.announced,
            issued: self.issued,
            firstlines: self.firstlines.clone(),
            dropped: self.dropped.clone(),
            snapshots: self
                .snapshots
                .iter()
                .map(|(name, data)| Snapshot { name: name.clone(), data: data.clone() })
                .collect(),
            allow: self.allow.clone(),
            forget: Vec::new(),
            jails: self.jails.clone(),
        }
    }
}
