//! A thread that owns something and does to it what it is told, in order.

use std::io;
use std::sync::mpsc::{Sender, channel};

/// Something to be done to a `T`.
type Task<T> = Box<dyn FnOnce(&mut T) + Send>;

/// The way to the thread that owns a `T`. The number of tasks that wait is
/// bounded by who sends them: one per connection of the control socket.
pub(crate) struct Room<T> {
    tasks: Sender<Task<T>>,
}

impl<T> Clone for Room<T> {
    fn clone(&self) -> Self {
        Room { tasks: self.tasks.clone() }
    }
}

impl<T: Send + 'static> Room<T> {
    /// Moves `owned` into a thread of its own; it ends with the last handle.
    pub(crate) fn start(name: &str, mut owned: T) -> io::Result<Room<T>> {
        let (tasks, receiver) = channel::<Task<T>>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for task in receiver {
                task(&mut owned);
            }
        })?;
        Ok(Room { tasks })
    }

    /// Does something, later. Lost if the thread has gone.
    pub(crate) fn send(&self, task: impl FnOnce(&mut T) + Send + 'static) {
        drop(self.tasks.send(Box::new(task)));
    }
}
