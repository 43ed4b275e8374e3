//! The log without its thread, for simulations: it writes when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use otlake_base::disk::{Disk, create_folders, existing_above};
use otlake_base::{Clock, Code, Error, Metrics, Position, Result, Signal, StreamId};

use crate::log::{LogConfig, OnFrame, Record};
use crate::order::{Answer, Order};
use crate::reader::StreamReader;
use crate::retention::Retention;
use crate::writer::Writer;

/// A log whose groups are made by whoever holds it.
pub struct SteppedLog {
    stream: StreamId,
    disk: Arc<dyn Disk>,
    config: LogConfig,
    writer: Writer,
    waiting: Vec<Order>,
    queued_bytes: Arc<AtomicUsize>,
    last_durable: Arc<AtomicU64>,
    retention: Arc<Retention>,
}

impl SteppedLog {
    /// Opens a new stream below `config.dir`; those of earlier starts stay as they are.
    ///
    /// # Errors
    /// `LOG_IO` where the folder cannot be created.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<SteppedLog> {
        create_folders(&*disk, existing_above(&*disk, &config.dir), &config.dir).map_err(
            |error| Error::new(Code::LogIo, format!("{}: {error}", config.dir.display())),
        )?;
        let retention = Arc::new(Retention::new(
            Arc::clone(&disk),
            Arc::clone(&metrics),
            config.dir.clone(),
        ));
        let stream = StreamId(disk.unique(&config.dir));
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let last_durable = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(
            stream,
            config.clone(),
            Arc::clone(&disk),
            clock,
            metrics,
            Arc::clone(&retention),
            Arc::clone(&queued_bytes),
            Arc::clone(&last_durable),
        );
        Ok(SteppedLog {
            stream,
            disk,
            config,
            writer,
            waiting: Vec::new(),
            queued_bytes,
            last_durable,
            retention,
        })
    }

    /// The stream that this log writes.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// As [`crate::Log::begin`].
    ///
    /// # Errors
    /// The same.
    pub fn begin(&mut self) -> Result<()> {
        self.writer.begin()
    }

    /// Takes a record for the next group.
    pub fn append(&mut self, record: Record, on_durable: OnFrame) {
        self.queued_bytes
            .fetch_add(record.payload.len(), Ordering::Relaxed);
        self.waiting.push(Order {
            record,
            answer: Answer::Frame(on_durable),
        });
    }

    /// Records that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Writes and syncs what waits, and answers it.
    pub fn step(&mut self) {
        let group = std::mem::take(&mut self.waiting);
        self.writer.step(group);
    }

    /// The last sequence that was answered as durable; 0 at first.
    pub fn last_durable(&self) -> u64 {
        self.last_durable.load(Ordering::Acquire)
    }

    /// As [`crate::Log::release`].
    pub fn release(&self, signal: Signal, upto: Position) {
        self.retention.release(signal, upto);
    }

    /// As [`crate::Log::reader`].
    pub fn reader(&self, from: u64) -> StreamReader {
        let dir = self.config.dir.clone();
        StreamReader::new(Arc::clone(&self.disk), dir, self.stream, from)
    }
}
