//! Threads for work that takes the processor for long and is in no hurry.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::{Code, Error, Result, priority};

/// Runs `work` on a thread of its own, named `name`, at a lower priority (`priority` has the
/// numbers). Dropping the future leaves the thread to end by itself.
///
/// # Errors
/// `INTERNAL` where no thread can be started, or where `work` panicked.
pub async fn run<T: Send + 'static>(
    name: &'static str,
    nice: i32,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done, outcome) = oneshot::channel();
    let ended =
        |what: &str| Error::new(Code::Internal, format!("the thread {name} {what}"));
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if !priority::lower(nice) {
                tracing::debug!(target: "otlake::base", thread = name, "it keeps its priority");
            }
            // Whoever waited may be gone.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        })
        .map_err(|error| ended(&format!("cannot be started: {error}")))?;
    outcome
        .await
        .map_err(|_| ended("ended early"))?
        .map_err(|_| ended("panicked"))
}
