//! RSA work runs beside the async workers, on a bounded pool of blocking threads, unless one request alone is at work.

use std::panic::resume_unwind;

use openset_store::is_one_alone_at_work;

/// Like [`offload`] for work of about a millisecond, as to sign and to open: where one request alone is at work, no other
/// thread is woken for it.
pub async fn offload_brief<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if is_one_alone_at_work().await {
        work()
    } else {
        offload(work).await
    }
}

/// Runs `work` on the blocking pool and waits for its result. A panic in it is the caller's.
///
/// Dropping the future does not stop `work`; it ends by itself, unheard.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is going down and takes the caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}
