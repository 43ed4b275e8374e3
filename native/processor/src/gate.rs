//! The gate that requests pass, until the node stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use otlake_base::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that may be stored at once, whatever their size (I5).
pub(crate) const REQUESTS_IN_FLIGHT: u32 = 65_536;

pub(crate) struct Gate {
    passes: Arc<Semaphore>,
    closing: AtomicBool,
}

/// Held by a request until its record is live or refused, even when its client is gone.
pub(crate) type Pass = OwnedSemaphorePermit;

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate {
            passes: Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT as usize)),
            closing: AtomicBool::new(false),
        }
    }

    /// # Errors
    /// `INGEST_STOPPING` once closing began, `INGEST_OVERLOADED` when too many are inside.
    pub(crate) fn enter(&self) -> Result<Pass> {
        if self.closing() {
            return Err(Error::new(Code::IngestStopping, "the node is stopping"));
        }
        Arc::clone(&self.passes).try_acquire_owned().map_err(|_| {
            if self.closing() {
                Error::new(Code::IngestStopping, "the node is stopping")
            } else {
                Error::new(Code::IngestOverloaded, "too many requests are in flight")
            }
        })
    }

    /// Tells whether a request is inside, for as long as anybody asks.
    pub(crate) fn watch(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let passes = Arc::clone(&self.passes);
        move || passes.available_permits() < REQUESTS_IN_FLIGHT as usize
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Lets nobody in any more, and waits until all are out.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        if let Ok(all) = self.passes.acquire_many(REQUESTS_IN_FLIGHT).await {
            self.passes.close();
            drop(all);
        }
    }
}
