//! The log's handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use otlake_base::disk::{Disk, create_folders, existing_above, real};
use otlake_base::{Clock, Code, Error, Metrics, Position, Result, Signal, StreamId, priority};
use parking_lot::Mutex;

use crate::frame::Frame;
use crate::order::{Answer, Order, Sent};
use crate::reader::StreamReader;
use crate::replay::Replay;
use crate::retention::Retention;
use crate::writer::Writer;

/// Requests that may wait to be written to the log (I5).
const QUEUE_RECORDS: usize = 4096;
/// Bytes that may wait to be written to the log (I5).
const QUEUE_BYTES: usize = 512 * 1024 * 1024;

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync`: it survives a power cut.
    Fsync,
    /// After `write`: it survives the end of the process; synced within a second.
    Relaxed,
}

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The folder of all streams.
    pub dir: PathBuf,
    /// Preallocated bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of all segments together; beyond it appends are refused.
    pub max_bytes: u64,
    /// When an append counts as done.
    pub durability: Durability,
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the payload is.
    pub signal: Signal,
    /// Whose it is: at most 255 bytes.
    pub tenant: Arc<str>,
    /// When it was received, in ns since 1970 UTC.
    pub received_unix_nano: u64,
    /// The OTLP protobuf request.
    pub payload: Bytes,
}

/// Told, on the log's thread and in the order of the sequence, what became of an append. An
/// `Ok` means durable in the sense of [`Durability`]; it must not block.
pub type OnDurable = Box<dyn FnOnce(Result<Position>) + Send>;

/// As [`OnDurable`], with the record as it stands in the log, and whether another record of the same
/// group is told of right after it: what is done for a group need not be done for each of its records.
pub type OnFrame = Box<dyn FnOnce(Result<Frame>, bool) + Send>;

/// A node's write-ahead log.
pub struct Log {
    stream: StreamId,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    orders: Mutex<Option<SyncSender<Sent>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    queued_bytes: Arc<AtomicUsize>,
    last_durable: Arc<AtomicU64>,
    retention: Arc<Retention>,
}

impl Log {
    /// Opens a new stream below `config.dir`, and gives what earlier streams hold.
    ///
    /// # Errors
    /// `LOG_IO` where the folder cannot be read or created.
    pub fn open(
        config: LogConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<(Log, Replay)> {
        Self::open_on(real(), config, clock, metrics)
    }

    /// As `open`, on a given disk.
    ///
    /// # Errors
    /// `LOG_IO` where the folder cannot be read or created.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<(Log, Replay)> {
        let io = |error: std::io::Error| {
            Error::new(Code::LogIo, format!("{}: {error}", config.dir.display()))
        };
        create_folders(&*disk, existing_above(&*disk, &config.dir), &config.dir).map_err(io)?;
        let retention = Arc::new(Retention::new(
            disk.clone(),
            metrics.clone(),
            config.dir.clone(),
        ));
        let replay = Replay::open(disk.clone(), &config.dir, retention.clone()).map_err(io)?;
        let stream = StreamId(disk.unique(&config.dir));
        let (sender, receiver) = sync_channel(QUEUE_RECORDS);
        let (disk_read, dir) = (Arc::clone(&disk), config.dir.clone());
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let last_durable = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(
            stream,
            config,
            disk,
            clock,
            metrics,
            retention.clone(),
            queued_bytes.clone(),
            last_durable.clone(),
        );
        let thread = std::thread::Builder::new()
            .name("otlake-log".into())
            .spawn(move || {
                if !priority::wake_soon() {
                    tracing::debug!(target: "otlake::log", "the writer keeps the usual turns");
                }
                writer.run(&receiver)
            })
            .map_err(|error| Error::new(Code::LogIo, format!("starting the writer: {error}")))?;
        let log = Log {
            stream,
            disk: disk_read,
            dir,
            orders: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(thread)),
            queued_bytes,
            last_durable,
            retention,
        };
        Ok((log, replay))
    }

    /// The stream that this log writes.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Appends a record; never blocks. `on_durable` is called once: with the position when the
    /// record is durable, or with `LOG_IO` (the disk refused), `LOG_FULL` (at `max_bytes`),
    /// `INGEST_OVERLOADED` (too much waits for the disk), `INGEST_STOPPING` (after `close`),
    /// `OTLP_TENANT` or `OTLP_TOO_LARGE` (a frame cannot say its length). A record refused with
    /// `LOG_IO` may be on disk all the same where the disk also refuses to say that it is not.
    pub fn append(&self, record: Record, on_durable: OnDurable) {
        self.submit(record, Answer::Position(on_durable));
    }

    /// As [`Log::append`], and gives the record's frame, which is what copies of it are made of.
    pub fn append_framed(&self, record: Record, on_durable: OnFrame) {
        self.submit(record, Answer::Frame(on_durable));
    }

    fn submit(&self, record: Record, answer: Answer) {
        if let Err(error) = fits_frame(&record) {
            answer.refuse(error);
            return;
        }
        let bytes = record.payload.len();
        let sender = self.orders.lock().clone();
        let Some(sender) = sender else {
            answer.refuse(Error::new(Code::IngestStopping, "the log is closed"));
            return;
        };
        let waiting = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let overloaded = || {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            Error::new(
                Code::IngestOverloaded,
                "too many requests wait for the disk",
            )
        };
        if waiting > 0 && waiting + bytes > QUEUE_BYTES {
            answer.refuse(overloaded());
            return;
        }
        match sender.try_send(Sent::Order(Order { record, answer })) {
            Err(TrySendError::Full(Sent::Order(order))) => order.answer.refuse(overloaded()),
            Err(TrySendError::Disconnected(Sent::Order(order))) => {
                self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                let error = Error::new(Code::LogIo, "the log's writer has ended");
                order.answer.refuse(error);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Begins the stream on disk, before its first record: a node that comes back can tell a stream
    /// that it never wrote to from one that it has lost. Blocks for some syncs.
    ///
    /// # Errors
    /// `LOG_IO`, `LOG_FULL`, `INGEST_STOPPING` after `close`.
    pub fn begin(&self) -> Result<()> {
        let closed = || Error::new(Code::IngestStopping, "the log is closed");
        let sender = self.orders.lock().clone().ok_or_else(closed)?;
        let (begun, outcome) = sync_channel(1);
        sender.send(Sent::Begin(begun)).map_err(|_| closed())?;
        drop(sender);
        outcome.recv().map_err(|_| closed())?
    }

    /// A reader of the stream being written, from sequence `from` on, as far as it is durable.
    pub fn reader(&self, from: u64) -> StreamReader {
        StreamReader::new(Arc::clone(&self.disk), self.dir.clone(), self.stream, from)
    }

    /// Tells that the tables hold everything of `signal` up to `upto`; whole segments that every
    /// signal has passed are deleted.
    pub fn release(&self, signal: Signal, upto: Position) {
        self.retention.release(signal, upto);
    }

    /// Bytes of all segments on disk.
    pub fn bytes(&self) -> u64 {
        self.retention.bytes()
    }

    /// Segments on disk.
    pub fn segments(&self) -> usize {
        self.retention.segments()
    }

    /// The last sequence of this stream that was answered as durable; 0 at first.
    pub fn last_durable(&self) -> u64 {
        self.last_durable.load(Ordering::Acquire)
    }

    /// Writes what waits, syncs, and ends the writer; segments with nothing left to hold are
    /// deleted. A second call does nothing.
    ///
    /// # Errors
    /// `LOG_IO` where the writer ended by a defect.
    pub fn close(&self) -> Result<()> {
        drop(self.orders.lock().take());
        let Some(writer) = self.writer.lock().take() else {
            return Ok(());
        };
        // An answer that held the log last drops it on the writer's own thread.
        if writer.thread().id() == std::thread::current().id() {
            return Ok(());
        }
        writer
            .join()
            .map_err(|_| Error::new(Code::LogIo, "the log's writer panicked"))
    }
}

/// Whether a frame's length fields can hold the record: cut-off lengths would be read back as
/// another record.
fn fits_frame(record: &Record) -> Result<()> {
    if record.tenant.len() > usize::from(u8::MAX) {
        return Err(Error::new(
            Code::OtlpTenant,
            format!("the tenant has {} bytes", record.tenant.len()),
        ));
    }
    if u32::try_from(record.tenant.len() + record.payload.len()).is_err() {
        return Err(Error::new(
            Code::OtlpTooLarge,
            format!("the request has {} bytes", record.payload.len()),
        ));
    }
    Ok(())
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
