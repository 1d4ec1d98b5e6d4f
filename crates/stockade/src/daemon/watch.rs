//! The source thread: waits for news of all logs at once and kicks their reads.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use stockade_source::{Glob, ReadyId, Waker, Watcher};

use super::actor::Reads;
use super::apart::Apart;
use super::flow::{Reader, SourceRun};
use super::rest::{AGAIN_EVERY, Rest};
use crate::log::Log;

/// What the thread is told.
enum Order {
    Add(Arc<SourceRun>),
    Apart(Arc<Apart>),
    Remove(Arc<str>),
    /// It was read until nothing came; ask again, and look at it then whatever happens.
    Read(Arc<str>, Option<Instant>),
    /// New files that match belong to this jail.
    Globs(Vec<Glob>, NewFiles),
    /// Files with lists of addresses, and who is told when one has changed.
    Lists(Vec<Arc<str>>, Changed),
    Close,
}

/// Called with files that appeared.
pub(crate) type NewFiles = Arc<dyn Fn(Vec<PathBuf>) + Send + Sync>;

/// Called with a file that may have changed and has come to rest; soon after it was named, too. Is
/// it of no use (`false`), it is looked at again later.
pub(crate) type Changed = Arc<dyn Fn(&Arc<str>) -> bool + Send + Sync>;

/// The way to the source thread.
#[derive(Clone)]
pub(crate) struct WatchHandle {
    orders: Arc<Mutex<Vec<Order>>>,
    waker: Waker,
}

impl WatchHandle {
    /// Starts the thread.
    pub(crate) fn start(mut watcher: Watcher, log: Log) -> io::Result<WatchHandle> {
        let handle = WatchHandle { orders: Arc::default(), waker: watcher.waker() };
        let orders = Arc::clone(&handle.orders);
        std::thread::Builder::new().name("source".into()).spawn(move || {
            let mut thread = Thread {
                log,
                known: HashMap::new(),
                names: HashMap::new(),
                globs: HashMap::new(),
                lists: HashMap::new(),
            };
            while thread.round(&mut watcher, &orders) {}
        })?;
        Ok(handle)
    }

    /// Watches a source; it is read at once.
    pub(crate) fn add(&self, source: Arc<SourceRun>) {
        self.order(Order::Add(source));
    }

    /// Watches what a jail reads apart, where the source itself does not tell of news; it is read at once.
    pub(crate) fn apart(&self, apart: &Arc<Apart>) {
        self.order(Order::Apart(Arc::clone(apart)));
    }

    /// Watches it no more.
    pub(crate) fn remove(&self, name: &Arc<str>) {
        self.order(Order::Remove(Arc::clone(name)));
    }

    /// It was read until nothing came.
    pub(crate) fn read(&self, name: &Arc<str>, look_at: Option<Instant>) {
        self.order(Order::Read(Arc::clone(name), look_at));
    }

    /// Replaces the patterns whose new files are to be told of.
    pub(crate) fn globs(&self, globs: Vec<Glob>, found: NewFiles) {
        self.order(Order::Globs(globs, found));
    }

    /// Replaces the files of `ignoreip = file:PATH` that are watched.
    pub(crate) fn lists(&self, files: Vec<Arc<str>>, changed: Changed) {
        self.order(Order::Lists(files, changed));
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.order(Order::Close);
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        self.waker.wake();
    }
}

struct Thread {
    log: Log,
    known: HashMap<ReadyId, Arc<dyn Reads>>,
    names: HashMap<Arc<str>, ReadyId>,
    globs: HashMap<ReadyId, NewFiles>,
    lists: HashMap<ReadyId, List>,
}

/// A file with a list of addresses.
struct List {
    file: Arc<str>,
    rest: Rest,
    changed: Changed,
}

impl Thread {
    /// Waits for news and passes them on; `false` at the end.
    fn round(&mut self, watcher: &mut Watcher, orders: &Mutex<Vec<Order>>) -> bool {
        let ready = match watcher.wait(None) {
            Ok(ready) => ready,
            Err(e) => {
                self.log.error(format!("log files can't be watched: {e}"));
                return false;
            }
        };
        for order in std::mem::take(&mut *orders.lock().unwrap_or_else(PoisonError::into_inner)) {
            match order {
                Order::Add(source) => self.add(watcher, &source),
                Order::Apart(apart) => self.apart(watcher, apart),
                Order::Remove(name) => {
                    if let Some(id) = self.names.remove(&name) {
                        self.known.remove(&id);
                        watcher.remove(id);
                    }
                }
                Order::Read(name, look_at) => {
                    if let Some(id) = self.names.get(&name) {
                        watcher.again(*id);
                        watcher.remind(*id, look_at);
                    }
                }
                Order::Globs(globs, found) => {
                    for id in std::mem::take(&mut self.globs).into_keys() {
                        watcher.remove(id);
                    }
                    for glob in globs {
                        let id = watcher.add_glob(glob);
                        self.globs.insert(id, Arc::clone(&found));
                    }
                }
                Order::Lists(files, changed) => {
                    for id in std::mem::take(&mut self.lists).into_keys() {
                        watcher.remove(id);
                    }
                    for file in files {
                        let id = watcher.add_file(&*file);
                        self.lists.insert(id, List { file, rest: Rest::default(), changed: Arc::clone(&changed) });
                    }
                }
                Order::Close => return false,
            }
        }
        for id in ready {
            if let Some(source) = self.known.get(&id) {
                Arc::clone(source).kick();
            } else if let Some(List { file, rest, changed }) = self.lists.get_mut(&id) {
                let now = Instant::now();
                let again = rest.wait(Path::new(&**file), now);
                let again = again.or_else(|| (!changed(file)).then(|| now + AGAIN_EVERY));
                watcher.remind(id, again);
            } else if let Some(found) = self.globs.get(&id) {
                let new = watcher.new_files(id);
                if !new.is_empty() {
                    found(new);
                }
            }
        }
        for note in watcher.take_notes() {
            self.log.line(super::source_level(note.level()), "fail2ban.filter", note.to_string());
        }
        true
    }

    fn add(&mut self, watcher: &mut Watcher, source: &Arc<SourceRun>) {
        let id = source.with_reader(|reader| match reader {
            Reader::File(file) => Ok(watcher.add_file(file.path())),
            Reader::Journal(journal) => watcher.add_fd(journal.as_fd()),
        });
        match id {
            Ok(id) => {
                let reads: Arc<SourceRun> = Arc::clone(source);
                self.known.insert(id, reads);
                self.names.insert(Arc::clone(&source.name), id);
                source.kick();
            }
            Err(e) => self.log.error(format!("{} can't be watched: {e}", source.name)),
        }
    }
    fn apart(&mut self, watcher: &mut Watcher, apart: Arc<Apart>) {
        match apart.with_fd(|fd| watcher.add_fd(fd)) {
            Some(Ok(id)) => {
                self.names.insert(Arc::clone(&apart.name), id);
                let reads: Arc<dyn Reads> = Arc::clone(&apart) as Arc<dyn Reads>;
                self.known.insert(id, reads);
            }
            Some(Err(e)) => {
                self.log.error(format!("{} can't be watched: {e}", apart.name.replace('\0', ", apart for ")))
            }
            None => {}
        }
        apart.kick();
    }
}
