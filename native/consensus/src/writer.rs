//! The thread that commits: what waits goes into one commit, with one fsync, and is answered then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use otlake_base::{Clock, Code, Error, Metrics, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::store::{Change, Store, closed};

/// Requests that one commit takes.
const MAX_GROUP: usize = 256;

struct Request {
    changes: Vec<Change>,
    durable: bool,
    done: oneshot::Sender<Result<()>>,
}

/// The store and its thread.
pub(crate) struct Writer {
    store: Arc<Store>,
    requests: Mutex<Option<mpsc::SyncSender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// When the commit began that runs now, in ms of the monotonic clock plus one; 0 for none.
    busy_since: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
    /// Why no commit is made any more.
    broken: Arc<OnceLock<Error>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// `METADATA_IO` where there is no thread to be had.
    pub(crate) fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Writer>> {
        let store = Arc::new(store);
        let busy_since = Arc::new(AtomicU64::new(0));
        let broken = Arc::new(OnceLock::new());
        let (sender, receiver) = mpsc::sync_channel(MAX_GROUP);
        let thread = {
            let (store, busy) = (Arc::clone(&store), Arc::clone(&busy_since));
            let broken = Arc::clone(&broken);
            let clock = Arc::clone(&clock);
            std::thread::Builder::new()
                .name("otlake-meta-log".to_owned())
                .spawn(move || run(&store, &receiver, &busy, &broken, &*clock, &metrics))
                .map_err(|error| {
                    Error::new(Code::MetadataIo, format!("no thread was started: {error}"))
                })?
        };
        Ok(Arc::new(Writer {
            store,
            requests: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            busy_since,
            clock,
            broken,
        }))
    }

    /// Why no commit is made any more; none where they are.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.broken.get().cloned()
    }

    /// The store, for reading.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes changes; as `Store::commit`.
    pub(crate) async fn commit(&self, changes: Vec<Change>, durable: bool) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let sender = self.requests.lock().clone();
        let mut request = Request {
            changes,
            durable,
            done,
        };
        // The queue is short and its thread only writes: whoever finds it full waits for a commit.
        loop {
            let Some(sender) = &sender else {
                return Err(closed());
            };
            match sender.try_send(request) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Full(back)) => request = back,
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(closed()),
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }

    /// As `commit`, for a thread that may wait.
    pub(crate) fn commit_waiting(&self, changes: Vec<Change>, durable: bool) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let sender = self.requests.lock().clone().ok_or_else(closed)?;
        let request = Request {
            changes,
            durable,
            done,
        };
        sender.send(request).map_err(|_| closed())?;
        outcome.blocking_recv().unwrap_or_else(|_| Err(closed()))
    }

    /// For how long the commit that runs now has been running, in milliseconds; 0 where none does.
    pub(crate) fn stalled_ms(&self) -> u64 {
        match self.busy_since.load(Ordering::Acquire) {
            0 => 0,
            since => now_ms(&*self.clock).saturating_sub(since - 1),
        }
    }

    /// Ends the thread after what waits, and closes the store.
    pub(crate) fn close(&self) {
        drop(self.requests.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(target: "otlake::metadata", "the log's thread panicked");
        }
        self.store.close();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn now_ms(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX)
}

fn run(
    store: &Store,
    requests: &mpsc::Receiver<Request>,
    busy: &AtomicU64,
    broken: &OnceLock<Error>,
    clock: &dyn Clock,
    metrics: &Metrics,
) {
    // After a failed commit nothing is known of what is on disk: everything later is refused, the
    // group stops, and the next start reads what is there.
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(MAX_GROUP - 1));
        if let Some(error) = broken.get() {
            answer(group, &Err(error.clone()));
            continue;
        }
        let mut changes = Vec::new();
        let mut durable = false;
        let mut waiting = Vec::with_capacity(group.len());
        for request in group {
            changes.extend(request.changes);
            durable |= request.durable;
            waiting.push(request.done);
        }
        let started = clock.monotonic();
        busy.store(now_ms(clock) + 1, Ordering::Release);
        let result = store.commit(changes, durable);
        busy.store(0, Ordering::Release);
        if durable {
            let took = clock.monotonic().saturating_sub(started);
            metrics.metadata.sync_seconds.observe(took.as_secs_f64());
        }
        if let Err(error) = &result {
            tracing::error!(target: "otlake::metadata", %error, "the metadata store failed");
            broken.get_or_init(|| error.clone());
        }
        for done in waiting {
            // Whoever waited may be gone.
            let _ = done.send(result.clone());
        }
    }
}

fn answer(group: Vec<Request>, result: &Result<()>) {
    for request in group {
        let _ = request.done.send(result.clone());
    }
}
