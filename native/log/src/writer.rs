//! The one thread that writes: takes what waits, writes it with one call, syncs once, answers.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use otlake_base::disk::{Disk, DiskFile, create_folders};
use otlake_base::{Clock, Code, Error, Metrics, Position, Result, StreamId};

use crate::frame::{self, FRAME_BYTES, Frame, HEADER_BYTES, SegmentHeader};
use crate::log::{Durability, LogConfig};
use crate::order::{Answer, Order, Sent, gather};
use crate::retention::Retention;

/// How long the log may hold what is written but not synced, with durability `relaxed`.
const RELAXED_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The heads of a group, as they were written: each ends where it is told.
struct Heads {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

struct Segment {
    ordinal: u64,
    file: Box<dyn DiskFile>,
    used: u64,
    bytes: u64,
}

pub struct Writer {
    stream: StreamId,
    config: LogConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    retention: Arc<Retention>,
    queued_bytes: Arc<AtomicUsize>,
    last_durable: Arc<AtomicU64>,
    segment: Option<Segment>,
    next_ordinal: u64,
    next_sequence: u64,
    /// Every record before this sequence is on stable storage.
    synced_before: u64,
    /// When the oldest write that no sync covers was made (`Relaxed` alone).
    unsynced_since: Option<Duration>,
    /// No segment behind an abandoned one says yet where that one ends.
    end_untold: bool,
}

impl Writer {
    #[allow(clippy::too_many_arguments, reason = "one call, in `Log::open_on`")]
    pub fn new(
        stream: StreamId,
        config: LogConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        retention: Arc<Retention>,
        queued_bytes: Arc<AtomicUsize>,
        last_durable: Arc<AtomicU64>,
    ) -> Self {
        retention.begin(stream);
        Self {
            stream,
            config,
            disk,
            clock,
            metrics,
            retention,
            queued_bytes,
            last_durable,
            segment: None,
            next_ordinal: 0,
            next_sequence: 1,
            synced_before: 1,
            unsynced_since: None,
            end_untold: false,
        }
    }

    /// Begins the stream's first segment, where there is none.
    pub fn begin(&mut self) -> Result<()> {
        self.make_room(0)
    }

    /// Writes and syncs these records as one group.
    pub fn step(&mut self, group: Vec<Order>) {
        if !group.is_empty() {
            self.commit(group);
        }
    }

    /// Runs until every sender is gone.
    pub fn run(mut self, orders: &Receiver<Sent>) {
        loop {
            let first = match self.unsynced_since {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => {
                    let waited = self.clock.monotonic().saturating_sub(since);
                    orders.recv_timeout(RELAXED_SYNC_INTERVAL.saturating_sub(waited))
                }
            };
            match first {
                Ok(first) => {
                    let (group, begins) = gather(first, orders);
                    if !group.is_empty() {
                        self.commit(group);
                    }
                    for begun in begins {
                        let _ = begun.send(self.begin());
                    }
                    let due = self.unsynced_since.is_some_and(|since| {
                        self.clock.monotonic().saturating_sub(since) >= RELAXED_SYNC_INTERVAL
                    });
                    if due {
                        self.sync_relaxed();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sync_relaxed(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end();
    }

    /// Ends the stream in good order.
    pub fn end(mut self) {
        self.sync_relaxed();
        if self.end_untold {
            self.tell_end();
        }
        self.seal();
        self.retention.end(self.stream);
    }

    /// Writes and syncs a group, and answers each of its records.
    fn commit(&mut self, group: Vec<Order>) {
        let bytes: usize = group.iter().map(|order| order.record.payload.len()).sum();
        let outcome = self.write(&group);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match outcome {
            Ok(heads) => {
                if self.unsynced_since.is_none() {
                    self.synced_before = self.next_sequence + group.len() as u64;
                }
                let bytes = Bytes::from(heads.bytes);
                let mut start = 0;
                let is_framed = |order: &Order| matches!(order.answer, Answer::Frame(_));
                let mut frames = group.iter().filter(|order| is_framed(order)).count();
                for (order, end) in group.into_iter().zip(heads.ends) {
                    let sequence = self.next_sequence;
                    self.next_sequence += 1;
                    // Whoever sees the position below also sees that it is durable (I1).
                    self.last_durable.store(sequence, Ordering::Release);
                    match order.answer {
                        Answer::Position(answer) => answer(Ok(Position {
                            stream: self.stream,
                            sequence,
                        })),
                        Answer::Frame(answer) => {
                            let head = bytes.slice(start..end);
                            let frame = Frame::new(head, order.record.payload);
                            let frame = frame.ok_or_else(|| {
                                Error::new(Code::Internal, "a head that was written is none")
                            });
                            frames -= 1;
                            answer(frame, frames > 0);
                        }
                    }
                    start = end;
                }
            }
            Err(error) => {
                for order in group {
                    order.answer.refuse(error.clone());
                }
            }
        }
    }

    fn write(&mut self, group: &[Order]) -> Result<Heads> {
        let mut heads = Vec::with_capacity(group.len() * (FRAME_BYTES + 16));
        let mut ends = Vec::with_capacity(group.len());
        for (sequence, order) in (self.next_sequence..).zip(group) {
            frame::encode_head(
                &order.record,
                self.stream,
                sequence,
                self.synced_before,
                &mut heads,
            );
            ends.push(heads.len());
        }
        let payloads: usize = group.iter().map(|order| order.record.payload.len()).sum();
        let bytes = (heads.len() + payloads) as u64;
        self.make_room(bytes)?;
        let Some(segment) = self.segment.as_mut() else {
            return Err(Error::new(Code::LogIo, "no segment is open"));
        };
        let mut slices = Vec::with_capacity(2 * group.len());
        let mut start = 0;
        for (end, order) in ends.iter().zip(group) {
            slices.push(IoSlice::new(&heads[start..*end]));
            if !order.record.payload.is_empty() {
                slices.push(IoSlice::new(&order.record.payload));
            }
            start = *end;
        }
        let ordinal = segment.ordinal;
        let written = segment.file.write_all(&mut slices);
        let done = match self.config.durability {
            Durability::Fsync => written.and_then(|()| self.sync()),
            Durability::Relaxed => written.map(|()| {
                self.unsynced_since
                    .get_or_insert_with(|| self.clock.monotonic());
            }),
        };
        if let Err(error) = done {
            return Err(self.abandon(&error));
        }
        if let Some(segment) = self.segment.as_mut() {
            segment.used += bytes;
        }
        for (sequence, order) in (self.next_sequence..).zip(group) {
            self.retention
                .holds(self.stream, ordinal, order.record.signal, sequence);
        }
        self.metrics.log_appended_bytes.inc_by(bytes);
        Ok(Heads { bytes: heads, ends })
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(segment) = self.segment.as_mut() else {
            return Ok(());
        };
        let began = self.clock.monotonic();
        segment.file.sync()?;
        self.metrics.log_syncs.inc();
        let took = self.clock.monotonic().saturating_sub(began);
        self.metrics.log_sync_seconds.observe(took.as_secs_f64());
        Ok(())
    }

    fn sync_relaxed(&mut self) {
        if self.unsynced_since.take().is_none() {
            return;
        }
        match self.sync() {
            Ok(()) => self.synced_before = self.next_sequence,
            // Its records were answered already, as `Relaxed` allows; the segment is not trusted
            // with more.
            Err(error) => {
                self.abandon(&error);
            }
        }
    }

    /// Sees to it that the open segment has room for `bytes`.
    fn make_room(&mut self, bytes: u64) -> Result<()> {
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.used + bytes <= segment.bytes)
        {
            return Ok(());
        }
        self.sync_relaxed();
        self.seal();
        let size = self.config.segment_bytes.max(HEADER_BYTES as u64 + bytes);
        let on_disk = self.retention.bytes();
        if on_disk + size > self.config.max_bytes {
            return Err(Error::new(
                Code::LogFull,
                format!("the log holds {on_disk} bytes of {}", self.config.max_bytes),
            ));
        }
        self.segment = Some(self.create(size).map_err(|error| {
            Error::new(Code::LogIo, format!("creating a log segment: {error}"))
        })?);
        Ok(())
    }

    fn path(&self, ordinal: u64) -> PathBuf {
        self.retention
            .stream_folder(self.stream)
            .join(format!("{ordinal:016x}.seg"))
    }

    fn create(&mut self, bytes: u64) -> io::Result<Segment> {
        let folder = self.retention.stream_folder(self.stream);
        create_folders(&*self.disk, &self.config.dir, &folder)?;
        let ordinal = self.next_ordinal;
        // An ordinal is used once, whatever becomes of its file.
        self.next_ordinal += 1;
        let path = self.path(ordinal);
        let mut file = self.disk.create(&path)?;
        let header = SegmentHeader {
            stream: self.stream,
            first_sequence: self.next_sequence,
            created_unix_nano: self.clock.unix_nano(),
        };
        // Space, head and name are durable before any record in it is acknowledged: a reader of
        // the segment before this one needs to know where it ends.
        let begun = file
            .allocate(bytes)
            .and_then(|()| file.write_all(&mut [IoSlice::new(&header.encode())]))
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_folder(&folder));
        if let Err(error) = begun {
            drop(file);
            // The space may be what is missing: nothing is left behind.
            if self.disk.remove(&path).is_err() {
                // It holds nothing, but it takes space.
                self.retention.add(self.stream, ordinal, &path, bytes);
                self.retention.complete(self.stream, ordinal, None);
            }
            return Err(error);
        }
        self.retention.add(self.stream, ordinal, &path, bytes);
        self.end_untold = false;
        Ok(Segment {
            ordinal,
            file,
            used: HEADER_BYTES as u64,
            bytes,
        })
    }

    /// Ends the open segment in good order and gives back the space it did not use.
    fn seal(&mut self) {
        let Some(mut segment) = self.segment.take() else {
            return;
        };
        let bytes = match segment.file.truncate(segment.used) {
            Ok(()) => segment.used,
            Err(_) => segment.bytes,
        };
        drop(segment.file);
        self.retention
            .complete(self.stream, segment.ordinal, Some(bytes));
    }

    /// Leaves the open segment after a failure: it is neither tried again nor written to.
    fn abandon(&mut self, error: &io::Error) -> Error {
        tracing::error!(%error, stream = %self.stream, "a log segment is abandoned");
        // A failed write leaves the answered ones before it, which `Relaxed` still owes their sync.
        if self.unsynced_since.take().is_some()
            && let Err(error) = self.sync()
        {
            tracing::error!(%error, stream = %self.stream, "relaxed log records are not synced");
        }
        if let Some(segment) = self.segment.take() {
            drop(segment.file);
            self.retention.complete(self.stream, segment.ordinal, None);
        }
        self.tell_end();
        Error::new(Code::LogIo, format!("writing the log: {error}"))
    }

    /// Begins the segment behind an abandoned one before anything is answered: its head is what
    /// keeps the refused records from coming back, also when nothing is appended any more. A log
    /// at its limit gets a segment of the head alone. Where the disk refuses this too, the next
    /// append and the end try again.
    fn tell_end(&mut self) {
        self.end_untold = true;
        let whole = self.config.segment_bytes.max(HEADER_BYTES as u64);
        let size = if self.retention.bytes() + whole <= self.config.max_bytes {
            whole
        } else {
            HEADER_BYTES as u64
        };
        match self.create(size) {
            Ok(segment) => self.segment = Some(segment),
            Err(error) => {
                tracing::error!(%error, stream = %self.stream, "no log segment can be created");
            }
        }
    }
}
