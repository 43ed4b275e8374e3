//! Threads for work that takes the processor for long and is in no hurry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{Code, Error, Result, priority};

/// Runs `work` on a thread of its own, named `name`, at a lower priority (`priority` has the
/// numbers); by the caller where no thread can be started. Dropping the future leaves the thread to
/// end by itself.
///
/// # Errors
/// `INTERNAL` where `work` panicked.
pub async fn run<T: Send + 'static>(
    name: &'static str,
    nice: i32,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, outcome) = oneshot::channel();
    // Kept here too, for a thread that cannot be started drops what it was to do.
    let waiting = Arc::new(Mutex::new(Some(work)));
    let taken = Arc::clone(&waiting);
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if !priority::lower(nice) {
                tracing::debug!(target: "otlake::base", thread = name, "it keeps its priority");
            }
            let work = taken.lock().take();
            // Whoever waited may be gone.
            let _ = done.send(work.map(|work| catch_unwind(AssertUnwindSafe(work))));
        });
    let result = match started {
        Ok(_) => outcome.await.ok().flatten(),
        Err(error) => {
            tracing::warn!(target: "otlake::base", thread = name, %error, "no thread was started");
            let work = waiting.lock().take();
            work.map(|work| catch_unwind(AssertUnwindSafe(work)))
        }
    };
    match result {
        Some(Ok(result)) => Ok(result),
        _ => Err(Error::new(
            Code::Internal,
            format!("the thread {name} panicked"),
        )),
    }
}
