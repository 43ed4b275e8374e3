//! The writer's thread: takes what waits for all streams, writes it as one group, answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use otlake_base::disk::Disk;
use otlake_base::limits::{LOG_GROUP_BYTES, LOG_GROUP_RECORDS};
use otlake_base::{Clock, Code, Error, Metrics, Result, StreamId};
use parking_lot::Mutex;

use super::core::JournalCore;
use super::index::JournalReader;
use super::{JournalConfig, Write};

/// Writes that may wait for the disk (I5); their bytes are bounded by who sends them.
const QUEUE_WRITES: usize = 4096;
/// How long the thread rests before it looks for something to tidy.
const REST: Duration = Duration::from_secs(1);
/// Steps of tidying between two groups.
const TIDY_STEPS: usize = 4;

/// Told, on the journal's thread and in the order of the writes, what became of one: `Ok` means
/// fsynced. It must not block.
pub type OnWritten = Box<dyn FnOnce(Result<()>) + Send>;

/// Told, on the journal's thread, of records that cannot be read back, and the identity that the
/// journal has because of it.
pub type OnLost = Box<dyn Fn(u128, &[(StreamId, u64)]) + Send>;

enum Order {
    Write(Write, OnWritten),
    Lost(Vec<(StreamId, u64)>),
    OnLost(OnLost),
}

/// A journal and its thread.
pub struct Journal {
    identity: u128,
    reader: JournalReader,
    orders: Mutex<Option<SyncSender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in `config.dir`.
    ///
    /// # Errors
    /// As [`JournalCore::open`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Journal> {
        let core = JournalCore::open(disk, config, clock, metrics)?;
        let (identity, reader) = (core.identity(), core.reader());
        let (sender, receiver) = sync_channel(QUEUE_WRITES);
        let thread = std::thread::Builder::new()
            .name("otlake-replica".into())
            .spawn(move || run(core, &receiver))
            .map_err(|error| Error::new(Code::LogIo, format!("starting the journal: {error}")))?;
        Ok(Journal {
            identity,
            reader,
            orders: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The identity that it was opened with.
    pub fn identity(&self) -> u128 {
        self.identity
    }

    /// Reads records.
    pub fn reader(&self) -> &JournalReader {
        &self.reader
    }

    /// Has this called when records turn out to be lost.
    pub fn on_lost(&self, on_lost: OnLost) {
        self.send(Order::OnLost(on_lost));
    }

    /// Writes; never blocks. `on_written` is called once.
    pub fn write(&self, write: Write, on_written: OnWritten) {
        if let Some(Order::Write(_, on_written)) = self.send(Order::Write(write, on_written)) {
            let text = "too much waits for the replica journal";
            on_written(Err(Error::new(Code::IngestOverloaded, text)));
        }
    }

    /// These cannot be read back.
    pub fn lost(&self, records: Vec<(StreamId, u64)>) {
        self.send(Order::Lost(records));
    }

    /// Gives an order back that is not taken.
    fn send(&self, order: Order) -> Option<Order> {
        let sender = self.orders.lock().clone();
        let Some(sender) = sender else {
            return Some(order);
        };
        match sender.try_send(order) {
            Ok(()) => None,
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => Some(order),
        }
    }

    /// Writes what waits and ends the thread. A second call does nothing.
    ///
    /// # Errors
    /// `LOG_IO` where the thread ended by a defect.
    pub fn close(&self) -> Result<()> {
        drop(self.orders.lock().take());
        let Some(thread) = self.thread.lock().take() else {
            return Ok(());
        };
        // An answer that held the journal last drops it on this very thread.
        if thread.thread().id() == std::thread::current().id() {
            return Ok(());
        }
        let ended = thread.join();
        ended.map_err(|_| Error::new(Code::LogIo, "the journal's writer panicked"))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

fn run(mut core: JournalCore, orders: &Receiver<Order>) {
    let mut on_lost: Option<OnLost> = None;
    loop {
        let mut next = match orders.recv_timeout(REST) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let (mut writes, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(order) = next.take() {
            match order {
                Order::Write(write, answer) => {
                    bytes += write.bytes();
                    writes.push(write);
                    answers.push(answer);
                }
                Order::Lost(records) => {
                    core.lost(&records);
                    if let Some(on_lost) = &on_lost {
                        on_lost(core.identity(), &records);
                    }
                }
                Order::OnLost(told) => on_lost = Some(told),
            }
            if writes.len() < LOG_GROUP_RECORDS && bytes < LOG_GROUP_BYTES {
                next = orders.try_recv().ok();
            }
        }
        if !writes.is_empty() {
            let outcomes = core.commit_each(&writes);
            drop(writes);
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                answer(outcome);
            }
        }
        for _ in 0..TIDY_STEPS {
            match core.tidy() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(target: "otlake::replicate", %error, "a segment stays");
                    break;
                }
            }
        }
        let lost = core.take_lost();
        if !lost.is_empty()
            && let Some(on_lost) = &on_lost
        {
            on_lost(core.identity(), &lost);
        }
    }
    core.close();
}
