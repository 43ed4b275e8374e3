//! A running query within its limits: time, whether or not anyone reads; rows; and how it ended,
//! told once.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, Stream};
use otlake_base::{Clock, Code, Error, Metrics, Missing, Result, Session};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::admission::Pass;
use crate::error::from_datafusion;
use crate::progress::Listed;

fn timed_out(timeout_ms: u64) -> Error {
    Error::new(
        Code::QueryTimeout,
        format!("the query ran for {timeout_ms} ms"),
    )
}

fn panicked() -> Error {
    Error::new(Code::QueryFailed, "the query's execution panicked")
}

/// Until when a read may go on. Work that does not wait for anything keeps its thread, and the timer that
/// would end it is not looked at: it looks at this by itself.
pub(crate) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Duration,
    timeout_ms: u64,
}

impl Deadline {
    /// So long from now on.
    pub(crate) fn new(clock: Arc<dyn Clock>, timeout_ms: u64) -> Self {
        let timeout = Duration::from_millis(timeout_ms);
        Self {
            at: clock.monotonic().saturating_add(timeout),
            clock,
            timeout_ms,
        }
    }

    /// # Errors
    /// `QUERY_TIMEOUT` once it has come.
    pub(crate) fn check(&self) -> Result<()> {
        match self.clock.monotonic() < self.at {
            true => Ok(()),
            false => Err(timed_out(self.timeout_ms)),
        }
    }
}

/// Runs `work` for at most `timeout_ms`; a panic in it becomes an error.
pub(crate) async fn within<T>(timeout_ms: u64, work: impl Future<Output = Result<T>>) -> Result<T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(Duration::from_millis(timeout_ms), work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(panicked()),
        Err(_) => Err(timed_out(timeout_ms)),
    }
}

/// Tells the metrics how a query ended, once.
pub(crate) struct Account {
    kind: &'static str,
    started: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    open: bool,
}

impl Account {
    pub(crate) fn new(kind: &'static str, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            kind,
            started: clock.monotonic(),
            clock,
            metrics,
            open: true,
        }
    }

    /// It was no query after all.
    pub(crate) fn forget(&mut self) {
        self.open = false;
    }

    pub(crate) fn end(&mut self, error: Option<&Error>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let outcome = error.map_or("ok", |error| error.kind().name());
        let labels = vec![("kind", self.kind), ("outcome", outcome)];
        self.metrics.queries.get_or_create(&labels).inc();
        let elapsed = self.clock.monotonic().saturating_sub(self.started);
        self.metrics
            .query_seconds
            .get_or_create(&vec![("kind", self.kind)])
            .observe(elapsed.as_secs_f64());
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let cancelled = Error::new(Code::QueryCancelled, "the answer was dropped");
        self.end(Some(&cancelled));
    }
}

/// Rows that begin to come.
pub(crate) struct Started {
    pub(crate) rows: SendableRecordBatchStream,
    /// What must stay while they do: the tables whose files are read, which nobody deletes before
    /// it ends.
    pub(crate) held: Box<dyn Any + Send + Sync>,
    /// What they are of.
    pub(crate) seen: Session,
    /// What they may lack.
    pub(crate) missing: Vec<Missing>,
}

/// A running query; none once it is over, which stops what still runs and lets the next one in.
type Running = Arc<Mutex<Option<(Held, Pass, Listed)>>>;

/// Rows, and what must stay while they come.
type Held = (SendableRecordBatchStream, Box<dyn Any + Send + Sync>);

/// A stream of batches that ends with an error at a limit.
pub(crate) struct Limited {
    running: Running,
    /// Wakes a reader that waits for rows.
    deadline: Pin<Box<Sleep>>,
    /// Ends the other wait for the deadline.
    _guard: DropGuard,
    /// Nothing more comes.
    ended: bool,
    timeout_ms: u64,
    rows: usize,
    max_rows: usize,
    account: Account,
}

impl Limited {
    /// Gives what was started until `deadline`, which is `timeout_ms` after its start.
    pub(crate) fn new(
        (started, pass, listed): (Started, Pass, Listed),
        (deadline, timeout_ms): (Instant, u64),
        max_rows: usize,
        account: Account,
    ) -> Self {
        let running = Arc::new(Mutex::new(Some((
            (started.rows, started.held),
            pass,
            listed,
        ))));
        // A reader that has stopped reading never asks for more, so the deadline does not wait
        // to be asked: what the query holds goes to others.
        let (ended, overdue) = (CancellationToken::new(), Arc::clone(&running));
        let guard = ended.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                () = sleep_until(deadline) => drop(overdue.lock().take()),
                () = ended.cancelled() => {}
            }
        });
        Self {
            running,
            deadline: Box::pin(sleep_until(deadline)),
            _guard: guard,
            ended: false,
            timeout_ms,
            rows: 0,
            max_rows,
            account,
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<RecordBatch>>> {
        self.end(Some(&error));
        Poll::Ready(Some(Err(error)))
    }

    fn end(&mut self, error: Option<&Error>) {
        self.ended = true;
        drop(self.running.lock().take());
        self.account.end(error);
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        drop(self.running.lock().take());
    }
}

impl Stream for Limited {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().poll(context).is_ready() {
            let error = timed_out(this.timeout_ms);
            return this.fail(error);
        }
        let mut running = this.running.lock();
        let polled = running.as_mut().map(|((rows, _), ..)| {
            catch_unwind(AssertUnwindSafe(|| rows.as_mut().poll_next(context)))
        });
        drop(running);
        let Some(polled) = polled else {
            let error = timed_out(this.timeout_ms);
            return this.fail(error);
        };
        let Ok(polled) = polled else {
            return this.fail(panicked());
        };
        match ready!(polled) {
            Some(Ok(batch)) => {
                this.rows += batch.num_rows();
                if this.rows > this.max_rows {
                    let error = Error::new(
                        Code::QueryTooManyRows,
                        format!("the answer has more than {} rows", this.max_rows),
                    );
                    return this.fail(error);
                }
                Poll::Ready(Some(Ok(batch)))
            }
            Some(Err(error)) => this.fail(from_datafusion(&error)),
            None => {
                this.end(None);
                Poll::Ready(None)
            }
        }
    }
}
