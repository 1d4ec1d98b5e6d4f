//! The queue in front of an owner: a lane for control, served first, and a
//! bounded lane for data, which makes senders wait when it is full.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// What a data message counts for where the lane's bound is not only one of messages.
pub(crate) trait Weighs {
    /// In units of the owner's choice.
    fn weight(&self) -> usize;
}

/// Two lanes into one owner.
///
/// Control messages are few (commands, answers, acknowledgements) and never
/// wait: their number is bounded by what is under way elsewhere. Data messages
/// wait for room, which is how lag arises instead of loss.
pub(crate) struct Inbox<C, D> {
    lanes: Mutex<Lanes<C, D>>,
    arrived: Condvar,
    room: Condvar,
    data_max: usize,
    weight_max: usize,
}

struct Lanes<C, D> {
    control: VecDeque<C>,
    data: VecDeque<D>,
    /// Of all data messages that wait.
    weight: usize,
    closed: bool,
}

/// What [`Inbox::take`] found.
pub(crate) enum Taken<C, D> {
    /// All control messages that waited, in order.
    Control(VecDeque<C>),
    /// One data message.
    Data(D),
    /// Nothing until the deadline.
    Late,
    /// The inbox is closed and empty.
    Closed,
}

impl<C, D: Weighs> Inbox<C, D> {
    /// An empty inbox that holds at most `data_max` data messages, and takes no more once they weigh `weight_max`.
    pub(crate) fn new(data_max: usize, weight_max: usize) -> Self {
        let lanes = Lanes { control: VecDeque::new(), data: VecDeque::new(), weight: 0, closed: false };
        Inbox { lanes: Mutex::new(lanes), arrived: Condvar::new(), room: Condvar::new(), data_max, weight_max }
    }

    /// Sends a control message; lost without a word if the owner has gone.
    pub(crate) fn control(&self, message: C) {
        let mut lanes = self.lock();
        if !lanes.closed {
            lanes.control.push_back(message);
            self.arrived.notify_one();
        }
    }

    /// Sends a data message, waiting for room; `false` if the owner has gone.
    pub(crate) fn data(&self, message: D) -> bool {
        let mut lanes = self.lock();
        while (lanes.data.len() >= self.data_max || lanes.weight >= self.weight_max) && !lanes.closed {
            lanes = self.room.wait(lanes).unwrap_or_else(PoisonError::into_inner);
        }
        if lanes.closed {
            return false;
        }
        lanes.weight += message.weight();
        lanes.data.push_back(message);
        self.arrived.notify_one();
        true
    }

    /// The owner takes what comes next: control before data, and data only if
    /// `want_data`. Waits until `deadline`, or for ever without one.
    pub(crate) fn take(&self, deadline: Option<Instant>, want_data: bool) -> Taken<C, D> {
        let mut lanes = self.lock();
        loop {
            if !lanes.control.is_empty() {
                return Taken::Control(std::mem::take(&mut lanes.control));
            }
            if want_data && let Some(message) = lanes.data.pop_front() {
                lanes.weight -= message.weight();
                // A heavy one makes room for several.
                self.room.notify_all();
                return Taken::Data(message);
            }
            if lanes.closed {
                return Taken::Closed;
            }
            lanes = match deadline {
                None => self.arrived.wait(lanes).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return Taken::Late;
                    }
                    self.arrived.wait_timeout(lanes, deadline - now).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Nothing may be sent any more; the owner is told once the rest is taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Number of data messages that wait.
    pub(crate) fn data_len(&self) -> usize {
        self.lock().data.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lanes<C, D>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    impl Weighs for u8 {
        fn weight(&self) -> usize {
            usize::from(*self)
        }
    }

    #[test]
    fn heavy_messages_wait_for_each_other() {
        let inbox: Arc<Inbox<u8, u8>> = Arc::new(Inbox::new(100, 10));
        // The last one may go beyond the bound.
        assert!(inbox.data(9) && inbox.data(9));
        let other = Arc::clone(&inbox);
        let sender = std::thread::spawn(move || other.data(1));
        assert!(matches!(inbox.take(None, true), Taken::Data(9)));
        assert!(sender.join().unwrap());
        assert_eq!(inbox.data_len(), 2);
        assert!(matches!(inbox.take(None, true), Taken::Data(9)));
        assert!(matches!(inbox.take(None, true), Taken::Data(1)));
        assert_eq!(inbox.lock().weight, 0);
    }

    #[test]
    fn control_goes_first_and_data_waits_while_unwanted() {
        let inbox: Inbox<u8, u8> = Inbox::new(4, 100);
        assert!(inbox.data(1));
        inbox.control(9);
        assert!(matches!(inbox.take(None, true), Taken::Control(c) if c == [9]));
        assert!(matches!(inbox.take(Some(Instant::now()), false), Taken::Late));
        assert!(matches!(inbox.take(None, true), Taken::Data(1)));
        inbox.close();
        assert!(matches!(inbox.take(None, true), Taken::Closed));
        assert!(!inbox.data(2));
    }
}
