//! What a matcher has to say beside failures.

use std::sync::Arc;

use super::decode::Encoding;
use crate::time::{Span, Timestamp};

/// Most notes kept until they are taken; more are counted, not kept.
pub const NOTES_MAX: usize = 64;

/// How grave a note is, as fail2ban's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Look at it.
    Warning,
}

/// One line for the log (logger `fail2ban.filter`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its level.
    pub level: Level,
    /// The text, with `[jail]` in front where the original has it; at most a
    /// few KiB, may hold any character of the log.
    pub text: String,
}

/// What happens once a day only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Daily {
    /// A date far from the present.
    OddDate,
    /// Old lines after a start.
    OldLine,
    /// A match without a date.
    NoDate,
    /// A line over the cap.
    LongLine,
}

/// Most files whose decoding trouble is remembered.
const FILES_MAX: usize = 64;
const DAY: Span = Span::from_secs(24 * 60 * 60);

/// Notes not yet taken, and what was said today.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    dropped: u64,
    /// When each of [`Daily`] may be said again.
    quiet_until: [Option<Timestamp>; 4],
    /// Files with lines that did not decode, and when that may be said again.
    undecodable: Vec<(Arc<str>, Timestamp)>,
}

/// Longest text of one note.
const NOTE_BYTES_MAX: usize = 4 * 1024;

impl Notes {
    /// Adds a note.
    pub(super) fn say(&mut self, level: Level, mut text: String) {
        if self.list.len() >= NOTES_MAX {
            self.dropped += 1;
            return;
        }
        if text.len() > NOTE_BYTES_MAX {
            let cut = (0..=NOTE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push_str(" ...");
        }
        self.list.push(Note { level, text });
    }

    /// Was this said within the last day?
    pub(super) fn is_quiet(&self, what: Daily, now: Timestamp) -> bool {
        self.quiet_until.get(what as usize).is_some_and(|until| until.is_some_and(|until| now < until))
    }

    /// May this be said now? If so, not again for a day.
    pub(super) fn today(&mut self, what: Daily, now: Timestamp) -> bool {
        let Some(until) = self.quiet_until.get_mut(what as usize) else { return false };
        if until.is_some_and(|until| now < until) {
            return false;
        }
        *until = Some(now + DAY);
        true
    }

    /// A line of `file` did not decode.
    pub(super) fn undecodable(&mut self, file: &Arc<str>, encoding: Encoding, line: &[u8], now: Timestamp) {
        self.undecodable.retain(|(_, until)| now < *until);
        if self.undecodable.iter().any(|(name, _)| name == file) || self.undecodable.len() >= FILES_MAX {
            return;
        }
        self.undecodable.push((Arc::clone(file), now + DAY));
        let head = line.get(..line.len().min(1024)).unwrap_or(line);
        self.say(Level::Warning, format!("Error decoding line from '{file}' with '{encoding}'."));
        self.say(
            Level::Warning,
            format!(
                "Consider setting logencoding to appropriate encoding for this jail. \
                 Continuing to process line ignoring invalid characters: {}",
                crate::text::repr_bytes(head)
            ),
        );
    }

    /// All notes, in order; how many more there were is the last one.
    pub(super) fn take(&mut self) -> Vec<Note> {
        let mut list = std::mem::take(&mut self.list);
        if self.dropped > 0 {
            let text = format!("{} more messages of this kind left out", std::mem::take(&mut self.dropped));
            list.push(Note { level: Level::Warning, text });
        }
        list
    }
}
