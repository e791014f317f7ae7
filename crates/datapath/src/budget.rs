//! The byte budget: how much payload this process holds at once.
//!
//! A stream reserves a whole chunk before it reads the chunk's first byte, so nobody is ever stuck halfway through one
//! with the memory gone. Who holds nothing waits in arrival order; who already holds a chunk may take a further one
//! only if nobody is waiting for a first. So a thousand uploads all move, if slowly, and one alone runs ahead.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A budget of bytes, shared by all bodies of a process.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    state: Arc<Mutex<State>>,
    capacity: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    ready: oneshot::Sender<Reservation>,
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: ByteBudget,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `capacity` bytes; one reservation can never ask for more than all of it.
    pub fn new(capacity: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { free: capacity, waiting: VecDeque::new() })), capacity }
    }

    /// Bytes for somebody who holds none, in arrival order. Cancel-safe. More than the capacity is cut to it.
    pub async fn first(&self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.capacity);
        let ready = {
            let mut state = self.state.lock();
            if state.waiting.is_empty() && state.free >= bytes {
                state.free -= bytes;
                return Reservation { budget: self.clone(), bytes };
            }
            let (ready, wait) = oneshot::channel();
            state.waiting.push_back(Waiter { bytes, ready });
            wait
        };
        // A waiter is only ever dropped by handing it its reservation.
        ready.await.unwrap_or_else(|_| Reservation { budget: self.clone(), bytes: 0 })
    }

    /// Further bytes for somebody who holds some: at once, and only if nobody waits for a first.
    pub fn more(&self, bytes: usize) -> Option<Reservation> {
        let bytes = bytes.min(self.capacity);
        let mut state = self.state.lock();
        if !state.waiting.is_empty() || state.free < bytes {
            return None;
        }
        state.free -= bytes;
        Some(Reservation { budget: self.clone(), bytes })
    }

    /// Bytes not taken.
    pub fn free(&self) -> usize {
        self.state.lock().free
    }

    /// How many wait for a first reservation.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    fn give_back(&self, bytes: usize) {
        self.state.lock().free += bytes;
        self.serve_waiting();
    }

    fn serve_waiting(&self) {
        loop {
            let (waiter, bytes) = {
                let mut state = self.state.lock();
                match state.waiting.front() {
                    Some(waiter) if waiter.bytes <= state.free => {}
                    _ => return,
                }
                let Some(waiter) = state.waiting.pop_front() else { return };
                state.free -= waiter.bytes;
                (waiter.ready, waiter.bytes)
            };
            // If the waiter has gone, its reservation is dropped here and serves the next one.
            drop(waiter.send(Reservation { budget: self.clone(), bytes }));
        }
    }
}

impl Reservation {
    /// Gives back all but `bytes`: less was needed than was reserved.
    pub fn shrink_to(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        if spare > 0 {
            self.bytes -= spare;
            self.budget.give_back(spare);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn firsts_are_served_in_order_and_before_seconds() {
        let budget = ByteBudget::new(10);
        let held = match poll(pin!(budget.first(6))) {
            Poll::Ready(held) => held,
            Poll::Pending => panic!("there is room"),
        };
        let (mut large, mut small) = (pin!(budget.first(8)), pin!(budget.first(1)));
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending(), "the small one does not overtake");
        assert!(budget.more(1).is_none(), "no second chunk while somebody waits for a first");
        drop(held);
        let Poll::Ready(_large) = poll(large.as_mut()) else { panic!("its turn") };
        let Poll::Ready(_small) = poll(small.as_mut()) else { panic!("there is room for it beside") };
        assert_eq!((budget.free(), budget.waiting()), (1, 0));
        assert!(budget.more(1).is_some());
    }

    #[test]
    fn a_waiter_that_gave_up_takes_nothing_along() {
        let budget = ByteBudget::new(4);
        let held = budget.more(4);
        {
            let mut gone = pin!(budget.first(4));
            assert!(poll(gone.as_mut()).is_pending());
        }
        drop(held);
        assert_eq!((budget.free(), budget.waiting()), (4, 0));
    }

    #[test]
    fn what_was_not_needed_serves_others_at_once() {
        let budget = ByteBudget::new(10);
        let mut held = budget.more(8).unwrap();
        let mut waiter = pin!(budget.first(5));
        assert!(poll(waiter.as_mut()).is_pending());
        held.shrink_to(9);
        assert!(poll(waiter.as_mut()).is_pending());
        held.shrink_to(5);
        let Poll::Ready(_other) = poll(waiter.as_mut()) else { panic!("there is room now") };
        assert_eq!(budget.free(), 0);
        drop(held);
        assert_eq!(budget.free(), 5);
    }

    #[test]
    fn more_than_all_is_all() {
        let budget = ByteBudget::new(4);
        assert!(poll(pin!(budget.first(100))).is_ready());
    }
}
