//! Threads for work that takes the processor for long and is in no hurry.

use std::fmt::{self, Debug, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::thread;

use parking_lot::Mutex;
use rayon_core::{ThreadPool, ThreadPoolBuilder};
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
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
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

/// Where each part of a flush is done. It is asked before each, because what the system lets a thread do
/// is to become slower, and never quicker again.
#[derive(Clone)]
pub struct Parts(Arc<dyn Fn() -> bool + Send + Sync>);

impl Debug for Parts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Parts {
    /// Parts that are done by whoever comes to them while `is_urgent`, and behind queries while not.
    pub fn new(is_urgent: impl Fn() -> bool + Send + Sync + 'static) -> Parts {
        Parts(Arc::new(is_urgent))
    }

    /// Does a part; a panic of it goes on here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match patient() {
            Some(patient) if !(self.0)() => patient.install(work),
            _ => work(),
        }
    }
}

/// The threads that flush behind queries, as many as there are processors; none where they cannot be started.
/// They stay: a thread that is new has its turn before one that has had some, and a flush of many short
/// ones came before queries for all its low priority.
fn patient() -> Option<&'static ThreadPool> {
    static PATIENT: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let lower = |_| {
            priority::lower(priority::FLUSHES);
        };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|_| "otlake-flush".to_owned())
            .start_handler(lower);
        pool.build()
            .inspect_err(|error| {
                tracing::warn!(target: "otlake::base", %error, "flushes have no threads of their own");
            })
            .ok()
    });
    PATIENT.as_ref()
}
