//! A panic in a probe is a fault of ours: it must neither end the prober, for
//! the backend would keep its last verdict for ever, nor be taken for one.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What `future` comes to, or what it said when it panicked. Whatever it
/// borrowed may be in any state then.
pub(super) async fn survive<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(words(&*panic))),
        }
    })
    .await
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_what_it_said() {
        assert_eq!(survive(async { 7 }).await, Ok(7));
        let late = async {
            tokio::task::yield_now().await;
            panic!("at {}", 3)
        };
        assert_eq!(survive::<()>(late).await, Err("at 3".to_owned()));
    }
}
