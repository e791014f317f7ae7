//! The id of the request that is being worked on, so that one id finds its lines in the logs of every process it touched.
//!
//! The listener draws an id (or takes the caller's) and runs the handler in its [`scope`]; a client adds [`current`] to what it
//! sends. Nobody in between passes it on: it travels with the future, as thread-local state that is set whenever the future is
//! polled. A task that is spawned is a future of its own and takes the id along with [`carry`].

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

thread_local! {
    static CURRENT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The id of the request that this code runs for, if it runs for one.
pub fn current() -> Option<Arc<str>> {
    CURRENT.with_borrow(Clone::clone)
}

/// `work`, for the request `id`, or for none.
pub fn scope<F: Future>(id: Option<Arc<str>>, work: F) -> Scoped<F> {
    Scoped { id, work: Box::pin(work) }
}

/// `work`, for the request that this code runs for: what to hand to `spawn`.
pub fn carry<F: Future>(work: F) -> Scoped<F> {
    scope(current(), work)
}

/// A future that runs for a request.
pub struct Scoped<F> {
    id: Option<Arc<str>>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let outside = CURRENT.replace(self.id.clone());
        let _restore = Restore(outside);
        self.work.as_mut().poll(context)
    }
}

/// Puts the former id back, also when a poll panics.
struct Restore(Option<Arc<str>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn run<F: Future>(work: F) -> F::Output {
        let mut work = Box::pin(work);
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    #[test]
    fn an_id_stays_in_its_scope_and_goes_where_it_is_carried() {
        assert_eq!(current(), None);
        let mut carried = None;
        run(scope(Some("a".into()), async {
            carried = Some(carry(async { current() }));
            let other = run(scope(Some("b".into()), async { current() }));
            assert_eq!((current().as_deref(), other.as_deref()), (Some("a"), Some("b")));
        }));
        assert_eq!(current(), None);
        assert_eq!(carried.and_then(run).as_deref(), Some("a"));
    }

    #[test]
    fn a_panic_leaves_no_id_behind() {
        let panicked = std::panic::catch_unwind(|| run(scope(Some("a".into()), async { panic!("on purpose") })));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
    }
}
