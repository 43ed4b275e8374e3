//! The thread that does a job's work, after everybody else's.

use otlake_base::{Result, worker};

use super::{JobContext, Urgency};

/// Runs what blocks on a thread of its own, which gets the processor when nothing else wants it, or a
/// share where it is behind.
/// Dropping the future leaves the thread to end by itself, and the folder locked until then.
pub(super) async fn run<T: Send + 'static>(
    context: &JobContext,
    urgency: Urgency,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let guard = context.guard.clone();
    let guarded = move || {
        let result = work();
        drop(guard);
        result
    };
    worker::run("otlake-job", urgency.nice(), guarded).await
}
