//! Panics of a story, those of its background tasks included, which a runtime would keep to itself.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// The first panic of the story on this thread; `None` outside of stories.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// What `story` returns, or the first panic on this thread meanwhile.
pub(crate) fn caught<T>(story: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info| {
            if !note(info) {
                others(info)
            }
        }));
    });
    FIRST.set(Some(None));
    let ended = catch_unwind(AssertUnwindSafe(story));
    match (FIRST.take().flatten(), ended) {
        (None, Ok(value)) => Ok(value),
        (Some(panic), _) => Err(panic),
        (None, Err(_)) => Err("it panicked without a word".into()),
    }
}

/// Keeps the panic if it is a story's.
fn note(info: &PanicHookInfo<'_>) -> bool {
    FIRST.with_borrow_mut(|first| match first {
        Some(first) => {
            first.get_or_insert_with(|| info.to_string());
            true
        }
        None => false,
    })
}
