//! The thread that does a job's work, after everybody else's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use otlake_base::{Code, Error, Result, priority};
use tokio::sync::oneshot;

use super::JobContext;

/// Runs what blocks on a thread of its own that gets the processor when nothing else wants it.
/// Dropping the future leaves the thread to end by itself.
pub(super) async fn run<T: Send + 'static>(
    context: &JobContext,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let guard = context.guard.clone();
    let (done, outcome) = oneshot::channel();
    let ended = |what: &str| Error::new(Code::Internal, format!("a job's thread {what}"));
    std::thread::Builder::new()
        .name("otlake-job".to_owned())
        .spawn(move || {
            if !priority::lower(priority::JOBS) {
                tracing::debug!(target: "otlake::catalog", "a job's thread keeps its priority");
            }
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(guard);
            // Whoever waited may be gone.
            let _ = done.send(result);
        })
        .map_err(|error| ended(&format!("cannot be started: {error}")))?;
    outcome
        .await
        .map_err(|_| ended("ended early"))?
        .map_err(|_| ended("panicked"))
}
