//! What the files' tasks run on: a port, so that a simulation says when each of them goes on, and what
//! a disk holds when a machine goes down between two of them.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Runs tasks, lets time pass, and does what waits for a disk.
pub trait Runtime: Send + Sync + 'static {
    /// Runs a task beside whoever calls, to its end.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Returns after this time.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// Does what waits for a disk where that holds up nobody else, and returns then. Once begun it is
    /// done to its end, whether anybody still waits or not.
    ///
    /// # Errors
    /// Where the work ended without having returned.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>>;
}

/// The tokio runtime that this is called in, with time enabled.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokioRuntime;

impl Runtime for TokioRuntime {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed()
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, io::Result<()>> {
        let done = tokio::task::spawn_blocking(work);
        done.map(|done| done.map_err(io::Error::other)).boxed()
    }
}

/// What comes of work that waits for a disk.
///
/// # Errors
/// The work's own, and where it ended without any.
pub(crate) async fn blocking<T: Send + 'static>(
    runtime: &dyn Runtime,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (outcome, told) = oneshot::channel();
    let work = Box::new(move || {
        // Whoever waited for it may have gone.
        drop(outcome.send(work()));
    });
    runtime.blocking(work).await?;
    told.await.map_err(io::Error::other)?
}
