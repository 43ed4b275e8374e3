//! An answer that is dropped at its deadline, whether or not its reader asks for more: what was
//! encoded for a client that has stopped reading must not stay in memory with the connection (I5).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use otlake_base::{Code, Error};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use super::access::status;

type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// The stream, until its deadline.
pub(super) struct Kept<T> {
    running: Arc<Mutex<Option<Messages<T>>>>,
    timeout: Duration,
    ended: bool,
    /// Ends the wait for the deadline.
    _guard: DropGuard,
}

impl<T: 'static> Kept<T> {
    /// Keeps `stream` for `timeout` from now on.
    pub(super) fn new(stream: Messages<T>, timeout: Duration) -> Self {
        let running = Arc::new(Mutex::new(Some(stream)));
        let (ended, overdue) = (CancellationToken::new(), Arc::clone(&running));
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(timeout) => drop(overdue.lock().take()),
                () = ended.cancelled() => {}
            }
        });
        Self {
            running,
            timeout,
            ended: false,
            _guard: guard,
        }
    }
}

impl<T: 'static> Stream for Kept<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut running = self.running.lock();
        let Some(stream) = running.as_mut() else {
            drop(running);
            self.ended = true;
            let milliseconds = self.timeout.as_millis();
            let message = format!("the answer was not read within {milliseconds} ms");
            let error = Error::new(Code::QueryTimeout, message);
            return Poll::Ready(Some(Err(status(&error))));
        };
        let next = stream.poll_next_unpin(context);
        drop(running);
        if matches!(next, Poll::Ready(None)) {
            self.ended = true;
        }
        next
    }
}

#[cfg(test)]
#[path = "kept_test.rs"]
mod kept_test;
