//! How many queries run at once, and how those beyond it wait (I5).
//!
//! A query over the limit waits in a queue of a bounded length for a bounded time; the first to
//! come is the first let in. It is told to come later when the queue is full or its time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otlake_base::metrics::Gauge;
use otlake_base::{Code, Error, Metrics, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::QueryConfig;

/// Lets queries in.
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    concurrency: usize,
    waiting: Arc<AtomicUsize>,
    queue: usize,
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// The right to run; dropping it lets the next one in.
pub(crate) struct Pass {
    _permit: OwnedSemaphorePermit,
    running: Gauge,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.running.dec();
    }
}

/// A place in the queue.
struct Place {
    waiting: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }
}

impl Admission {
    pub(crate) fn new(config: &QueryConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(config.concurrency)),
            concurrency: config.concurrency,
            waiting: Arc::default(),
            queue: config.queue,
            patience: Duration::from_millis(config.queue_ms),
            metrics,
        }
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// `QUERY_OVERLOADED` where the queue is full or the wait too long.
    pub(crate) async fn enter(&self) -> Result<Pass> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(self.pass(permit));
        }
        let _place = self.place()?;
        let permit = timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => Ok(self.pass(permit)),
            _ => Err(self.overloaded("none of them ended in time")),
        }
    }

    fn pass(&self, permit: OwnedSemaphorePermit) -> Pass {
        let running = self.metrics.queries_running.clone();
        running.inc();
        Pass {
            _permit: permit,
            running,
        }
    }

    fn place(&self) -> Result<Place> {
        let more = |waiting: usize| (waiting < self.queue).then_some(waiting + 1);
        let taken = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if taken.is_err() {
            return Err(self.overloaded("as many wait as may"));
        }
        let gauge = self.metrics.queries_waiting.clone();
        gauge.inc();
        Ok(Place {
            waiting: Arc::clone(&self.waiting),
            gauge,
        })
    }

    fn overloaded(&self, why: &str) -> Error {
        let message = format!("{} queries run already, and {why}", self.concurrency);
        Error::new(Code::QueryOverloaded, message)
    }
}
