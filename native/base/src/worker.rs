//! Threads for work that takes the processor for long and is in no hurry.

use std::fmt::{self, Debug, Formatter};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
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

/// The priority of each part of a long piece of work. It is asked for before each, because what the
/// system lets a thread do is to become slower, and never quicker again.
#[derive(Clone)]
pub struct Parts(Arc<dyn Fn() -> i32 + Send + Sync>);

impl Debug for Parts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Parts {
    /// Parts at the priority that `nice` says (`priority` has the numbers).
    pub fn new(nice: impl Fn() -> i32 + Send + Sync + 'static) -> Parts {
        Parts(Arc::new(nice))
    }

    /// Does a part: on a thread of its own where it has a lower priority than this one's, `own`.
    pub fn run<T: Send>(&self, own: i32, work: impl FnOnce() -> T + Send) -> T {
        let nice = (self.0)();
        if nice <= own {
            return work();
        }
        let name = thread::current().name().unwrap_or("otlake").to_owned();
        // Kept here too, for a thread that cannot be started drops what it was to do.
        let waiting = Mutex::new(Some(work));
        let take = || waiting.lock().take();
        let lowered = || {
            priority::lower(nice);
            take().map(|work| work())
        };
        let done = thread::scope(|scope| {
            let part = thread::Builder::new().name(name);
            let part = part.spawn_scoped(scope, lowered).ok()?;
            part.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        match done {
            Some(done) => done,
            None => take().expect("no thread has done it")(),
        }
    }
}
