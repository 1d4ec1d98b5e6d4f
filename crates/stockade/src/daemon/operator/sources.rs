//! How jails come to their logs: what is opened, where reading begins, who joins whom.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use stockade_core::matcher::{LineMode, Matcher};
use stockade_core::{JailName, LineEnd, Position, SourceKey, Timestamp, Watermark};
use stockade_source::{Bounds as FileBounds, FileReader, Glob, Journal, JournalStart, Start};

use super::{Left, Operator, Running};
use crate::daemon::actor::{self, Actor, Past};
use crate::daemon::flow::{Place, Reader, SourceRun};
use crate::daemon::judge::JudgeControl;
use crate::daemon::stage::Sources;

/// Logs smaller than this are read from their beginning when they are new to us.
const SEEK_FROM_BYTES: u64 = 1 << 20;

/// Under which name the original notes its place in the systemd journal: the time of the last entry.
const THEIR_JOURNAL: &str = "systemd-journal";
/// The journal's times go by microseconds: the first that the original has not seen.
const THEIR_JOURNAL_STEP: f64 = 1e-6;

impl Operator {
    /// Opens what is read now, closes what is not, and attaches each jail to its sources.
    pub(super) fn open_sources(&mut self) {
        let mut wanted: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        let mut globs: Vec<Glob> = Vec::new();
        for (i, jail) in self.jails.iter_mut().enumerate() {
            jail.reads.clear();
            match &jail.staged.sources {
                Sources::Nothing => {}
                Sources::Journal(options) => match options.name() {
                    Ok(name) => jail.reads.push(name),
                    Err(e) => self.reach.log.error(format!("jail '{}': {e}", jail.staged.spec.name)),
                },
                Sources::Files { paths, patterns } => {
                    jail.reads.extend(paths.iter().map(|(path, _)| Arc::from(path.to_string_lossy())));
                    for (glob, _) in patterns {
                        jail.reads.extend(present(glob).into_iter().map(|path| Arc::from(path.to_string_lossy())));
                    }
                    globs.extend(patterns.iter().map(|(glob, _)| glob.clone()));
                }
            }
            jail.reads.sort();
            jail.reads.dedup();
            for name in &jail.reads {
                wanted.entry(Arc::clone(name)).or_default().push(i);
            }
        }
        let gone: Vec<Arc<str>> = self.sources.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.reach.watch.remove(&name);
            if let Some(source) = self.sources.remove(&name) {
                source.close();
            }
        }
        self.close_joined_journals(&wanted);
        let found = self.found_again();
        for (name, readers) in wanted {
            let actors = readers.iter().filter_map(|i| Some(Arc::clone(&self.jails.get(*i)?.actor))).collect();
            let line_end = self.line_end(&name, &readers);
            if let Some(source) = self.sources.get(&name) {
                source.attach(actors, &self.joining(source, &readers));
                if let Err(e) = source.set_line_end(line_end) {
                    self.reach.log.error(format!("{name}: {e}"));
                }
                continue;
            }
            match self.open(&name, &readers, line_end) {
                Ok(reader) => {
                    let source = SourceRun::new(Arc::clone(&name), reader, &self.reach);
                    source.attach(actors, &[]);
                    self.reach.watch.add(Arc::clone(&source));
                    self.sources.insert(name, source);
                }
                Err(e) => self.reach.log.error(format!("{name} can't be read: {e}")),
            }
        }
        for name in &found {
            self.left.remove(name);
        }
        self.post();
        if let Some(myself) = self.myself.clone() {
            self.reach.watch.globs(globs, Arc::new(move |_new: Vec<PathBuf>| myself.send(Operator::open_sources)));
        }
        self.watch_lists();
    }

    /// Does this jail not read that log so far?
    fn gains(&self, jail: &Running, name: &str) -> bool {
        self.sources.get(name).is_none_or(|source| !source.is_read_by(&jail.actor))
    }

    /// The journal can't be read twice: one that a jail joins is opened anew, where the first of its readers goes on.
    fn close_joined_journals(&mut self, wanted: &HashMap<Arc<str>, Vec<usize>>) {
        let joined = |(name, readers): (&Arc<str>, &Vec<usize>)| {
            let joins = readers.iter().any(|i| self.jails.get(*i).is_some_and(|jail| self.gains(jail, name)));
            let is_journal = self.sources.get(name).is_some_and(|source| matches!(source.place(), Place::Journal(_)));
            (joins && is_journal).then(|| Arc::clone(name))
        };
        for name in wanted.iter().filter_map(joined).collect::<Vec<_>>() {
            self.reach.watch.remove(&name);
            if let Some(source) = self.sources.remove(&name) {
                source.close();
            }
        }
    }

    /// Those of a log's readers that join it while others read it, and where each of them goes on.
    fn joining(&self, source: &SourceRun, readers: &[usize]) -> Vec<(Arc<Actor>, (u64, u64))> {
        let jails = readers.iter().filter_map(|i| self.jails.get(*i));
        let new = jails.filter(|jail| self.gains(jail, &source.name));
        new.filter_map(|jail| match self.place(&jail.staged.spec.name, &source.name)? {
            (key, Position::Offset(at)) => Some((Arc::clone(&jail.actor), (key.generation, at))),
            (_, Position::Cursor { .. }) => None,
        })
        .collect()
    }

    /// Jails that run and get a log (back): each goes on where it stopped, if it has ever read that log.
    /// Returns those that have; what they know of the logs is in `left` until the logs are open.
    fn found_again(&mut self) -> Vec<JailName> {
        let gains = |jail: &&Running| {
            // What a jail that starts goes on with is known.
            !self.left.contains_key(&jail.staged.spec.name) && jail.reads.iter().any(|name| self.gains(jail, name))
        };
        let gaining: Vec<&Running> = self.jails.iter().filter(gains).collect();
        let known = |marks: &HashMap<JailName, Vec<Watermark>>, jail: &Running| {
            let marks = marks.get(&jail.staged.spec.name).into_iter().flatten();
            let reads = |mark: &&Watermark| jail.reads.contains(&mark.source.path);
            let of_these = marks.filter(reads).filter(|mark| self.gains(jail, &mark.source.path));
            of_these.map(|mark| (mark.source.clone(), mark.to.clone())).collect::<Vec<_>>()
        };
        if gaining.is_empty() {
            return Vec::new();
        }
        let Some(marks) = self.places() else { return Vec::new() };
        let again: Vec<&Running> = gaining.into_iter().filter(|jail| !known(&marks, jail).is_empty()).collect();
        if again.is_empty() {
            return Vec::new();
        }
        // What was read just before the log was taken away is on its way to the judge.
        let actors = again.iter().map(|jail| &jail.actor);
        let marks = actor::settled(actors, &self.reach.log).or_else(|| self.places()).unwrap_or(marks);
        let mut found = Vec::new();
        for jail in again {
            let decided = known(&marks, jail);
            for (source, decided) in &decided {
                // Where another jail makes the log be read from further up.
                let (source, decided) = (source.clone(), decided.clone());
                jail.actor.replay(Past { source, counted: decided.clone(), decided });
            }
            found.push((jail.staged.spec.name.clone(), Left { decided, ..Left::default() }));
        }
        let names = found.iter().map(|(name, _)| name.clone()).collect();
        self.left.extend(found);
        names
    }

    /// Up to where each jail has decided about each log; `None` if the judge has gone.
    pub(super) fn places(&self) -> Option<HashMap<JailName, Vec<Watermark>>> {
        let (sender, places) = channel();
        self.judge.control(JudgeControl::Places(sender));
        places.recv().ok()
    }

    /// How lines end in a log, as the `logencoding` of its jails says. A file has one encoding: where they
    /// differ, one byte is a character (DIVERGENCE (one-encoding-a-file): the original reads it once for each jail).
    fn line_end(&self, name: &str, readers: &[usize]) -> LineEnd {
        let jails: Vec<&Running> = readers.iter().filter_map(|i| self.jails.get(*i)).collect();
        let end = |jail: &Running| jail.staged.filter.line_end();
        let Some(first) = jails.first().map(|jail| end(jail)) else { return LineEnd::Byte };
        if jails.iter().all(|jail| end(jail) == first) {
            return first;
        }
        for jail in jails.iter().filter(|jail| end(jail) != LineEnd::Byte) {
            let encoding = jail.staged.filter_spec.encoding;
            self.reach.log.error(format!(
                "jail '{}' sees nothing in {name}: its logencoding is {encoding}, that of other jails on this file is \
                 not; give all of them the file's encoding",
                jail.staged.spec.name
            ));
        }
        LineEnd::Byte
    }

    /// Opens a source where its readers left off.
    fn open(
        &mut self,
        name: &Arc<str>,
        readers: &[usize],
        line_end: LineEnd,
    ) -> Result<Reader, stockade_source::Error> {
        let jails: Vec<&Running> = readers.iter().filter_map(|i| self.jails.get(*i)).collect();
        let journal = jails.iter().find_map(|jail| match &jail.staged.sources {
            Sources::Journal(options) => Some(options.clone()),
            _ => None,
        });
        let findtime = jails.iter().map(|jail| jail.staged.spec.findtime).max().unwrap_or_default();
        let since = crate::daemon::now() - findtime;
        let places = jails.iter().map(|jail| self.place(&jail.staged.spec.name, name)).collect::<Vec<_>>();
        if let Some(options) = journal {
            let start = journal_start(&places, since);
            let decided = |at: f64| Position::Cursor { cursor: "".into(), at: Timestamp::from_secs_f64(at) };
            for (jail, at) in jails.iter().filter_map(|jail| Some((jail, self.theirs(jail, THEIR_JOURNAL)?.2))) {
                let source = SourceKey { path: Arc::clone(name), generation: 0 };
                let counted = decided(0.0);
                jail.actor.replay(Past { source, counted, decided: decided(at + THEIR_JOURNAL_STEP) });
            }
            return Journal::open(*options, start).map(|journal| Reader::Journal(Box::new(journal)));
        }
        let tail = jails.iter().all(|jail| match &jail.staged.sources {
            Sources::Files { paths, patterns } => {
                let path = Path::new(&**name);
                paths.iter().any(|(p, tail)| *tail && p == path)
                    || patterns.iter().any(|(glob, tail)| *tail && glob.matches(path))
            }
            _ => false,
        });
        let theirs = jails.iter().find_map(|jail| self.theirs(jail, name));
        let start = file_start(&places, theirs, tail);
        let mut fresh = start == Start::Head;
        let open = |start| FileReader::with_line_end(&**name, start, FileBounds::default(), line_end);
        let mut file = open(start);
        if theirs.is_some() && file.offset() > 0 {
            // What it had counted is known to nobody: the lines before its place are counted again, silently.
            let (source, decided) = (file.key(), file.offset());
            for jail in &jails {
                let own = self.theirs(jail, name).map_or(decided, |(_, _, place)| whole(*place).min(decided));
                let (counted, decided) = (Position::Offset(0), Position::Offset(own));
                jail.actor.replay(Past { source: source.clone(), counted, decided });
            }
            file = open(Start::Head);
            fresh = true;
        }
        if let Some(jail) = jails.first().filter(|_| fresh && file.lag_bytes() > SEEK_FROM_BYTES) {
            // A guess at the place; what is too old is left out line by line.
            let mut matcher = Matcher::new(jail.staged.spec.name.clone(), Arc::clone(&jail.staged.filter), self.epoch);
            let date = |line: &[u8]| {
                let text = jail.staged.filter.decode(line);
                matcher.line(crate::daemon::now(), text.trim_end(), None, false, LineMode::SCAN).date?.time
            };
            if let Err(e) = file.seek_time(since, date) {
                self.reach.log.warning(format!("{name}: {e}; reading from its beginning"));
            }
        }
        Ok(Reader::File(Box::new(file)))
    }

    /// Where the original stood in that log, for that jail.
    fn theirs(&self, jail: &Running, path: &str) -> Option<&(String, String, f64)> {
        self.left.get(&jail.staged.spec.name)?.theirs.iter().find(|(theirs, ..)| theirs == path)
    }

    /// Where a jail goes on with a source: behind what its saved counts know.
    fn place(&self, jail: &JailName, name: &str) -> Option<(SourceKey, Position)> {
        let left = self.left.get(jail)?;
        let decided = left.decided.iter().rfind(|(source, _)| &*source.path == name)?;
        let saved = left.saved.iter().flat_map(|saved| &saved.places).find(|(source, _)| *source == decided.0);
        Some(saved.unwrap_or(decided).clone())
    }
}

/// Where the journal is begun: at the earliest place of all readers, but not
/// before the oldest entry that may count.
fn journal_start(places: &[Option<(SourceKey, Position)>], since: Timestamp) -> JournalStart {
    let cursors: Option<Vec<(&Arc<str>, Timestamp)>> = places
        .iter()
        .map(|place| match place {
            Some((_, Position::Cursor { cursor, at })) => Some((cursor, *at)),
            _ => None,
        })
        .collect();
    match cursors.and_then(|all| all.into_iter().min_by_key(|(_, at)| *at)) {
        Some((cursor, at)) => JournalStart::After { cursor: Arc::clone(cursor), at, not_before: Some(since) },
        None => JournalStart::Since(since),
    }
}

/// Where a file is begun: at the earliest place of all readers.
fn file_start(places: &[Option<(SourceKey, Position)>], theirs: Option<&(String, String, f64)>, tail: bool) -> Start {
    let offsets: Option<Vec<(u64, u64)>> = places
        .iter()
        .map(|place| match place {
            Some((source, Position::Offset(offset))) => Some((source.generation, *offset)),
            _ => None,
        })
        .collect();
    let earliest = offsets.and_then(|all| {
        let generation = all.first()?.0;
        let same = all.iter().all(|(g, _)| *g == generation);
        same.then(|| all.iter().map(|(_, offset)| *offset).min()).flatten().map(|offset| (generation, offset))
    });
    match (earliest, theirs) {
        (_, Some((_, hash, place))) => Start::ResumeLegacy { first_line_hash: hash.clone(), offset: whole(*place) },
        (Some((generation, offset)), None) => Start::Resume { generation, offset },
        (None, None) if tail => Start::Tail,
        (None, None) => Start::Head,
    }
}

/// A place that the original noted, as a byte offset.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; a byte offset")]
fn whole(place: f64) -> u64 {
    place as u64
}

/// Files that match a pattern now.
fn present(glob: &Glob) -> Vec<PathBuf> {
    glob.expand()
}
