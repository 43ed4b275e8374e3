//! From threads that block to the client, which does not.

use std::future::Future;
use std::io;
use std::sync::mpsc;

use otlake_base::{Code, Error, Result};
use tokio::runtime::{Builder, Runtime};

/// Threads that drive the requests; they wait for the network alone.
const THREADS: usize = 2;

/// A runtime of its own: whoever waits may be a thread of another one, which must not drive this.
#[derive(Debug)]
pub(crate) struct Waiting(Option<Runtime>);

impl Waiting {
    pub(crate) fn start() -> Result<Waiting> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("otlake-bucket")
            .enable_all()
            .build()
            .map_err(|error| Error::new(Code::Internal, format!("starting threads: {error}")))?;
        Ok(Waiting(Some(runtime)))
    }

    /// Blocks until the future has its result.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let ended = || io::Error::other("the threads of the bucket have ended");
        let runtime = self.0.as_ref().ok_or_else(ended)?;
        let (answer, answered) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Whoever waited is there: nothing makes it give up.
            let _ = answer.send(future.await);
        });
        answered.recv().map_err(|_| ended())?
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may be dropped where nobody may wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
