//! The workers: as many threads as cores, one queue of short jobs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A piece of work that ends soon.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// Runs jobs in the order in which they came, several at a time. The number of
/// waiting jobs is bounded by who submits them: one per source and one per jail.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    queue: Arc<(Mutex<Queue>, Condvar)>,
}

impl Pool {
    /// Starts `threads` workers.
    pub(crate) fn start(threads: usize) -> io::Result<Pool> {
        let pool = Pool::default();
        for n in 0..threads.max(1) {
            let worker = pool.clone();
            std::thread::Builder::new().name(format!("worker {n}")).spawn(move || worker.work())?;
        }
        Ok(pool)
    }

    /// Adds a job; dropped without being run after [`Pool::close`].
    pub(crate) fn submit(&self, job: Job) {
        let (queue, arrived) = &*self.queue;
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.closed {
            queue.jobs.push_back(job);
            arrived.notify_one();
        }
    }

    /// Ends the workers after the jobs under way; waiting ones are dropped.
    pub(crate) fn close(&self) {
        let (queue, arrived) = &*self.queue;
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.jobs.clear();
        arrived.notify_all();
    }

    /// All that a worker does; `bench/clients` counts it by this name.
    #[inline(never)]
    fn work(&self) {
        let (queue, arrived) = &*self.queue;
        let mut guard = queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = guard.jobs.pop_front() {
                drop(guard);
                job();
                guard = queue.lock().unwrap_or_else(PoisonError::into_inner);
            } else if guard.closed {
                return;
            } else {
                guard = arrived.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
