//! The thread that does a job's work, after everybody else's.

use otlake_base::{Result, priority, worker};

use super::JobContext;

/// Runs what blocks on a thread of its own that gets the processor when nothing else wants it.
/// Dropping the future leaves the thread to end by itself, and the folder locked until then.
pub(super) async fn run<T: Send + 'static>(
    context: &JobContext,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let guard = context.guard.clone();
    let guarded = move || {
        let result = work();
        drop(guard);
        result
    };
    worker::run("otlake-job", priority::JOBS, guarded).await
}
