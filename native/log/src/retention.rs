//! Which segments exist, and when they may go: once the tables hold all that is in them, and all
//! that is in the stream's earlier segments. They go in order because a segment's head says where
//! the one before it ends: without it, a reader would take the hole for damage, and records that
//! were refused for acknowledged ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::{Disk, Metrics, Position, Signal, StreamId};
use parking_lot::{Mutex, MutexGuard};

/// One segment on disk.
struct Segment {
    path: PathBuf,
    bytes: u64,
    /// The last sequence of each signal in it.
    last: [Option<u64>; 3],
    /// Nothing more will be written to it or read from it.
    complete: bool,
}

#[derive(Default)]
struct Stream {
    segments: BTreeMap<u64, Segment>,
    /// By signal, the last sequence that the tables hold.
    released: [u64; 3],
    /// Segments are still added: the folder stays.
    writing: bool,
}

/// Every stream's segments.
pub struct Retention {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    folder: PathBuf,
    streams: Mutex<BTreeMap<StreamId, Stream>>,
    /// Held while segments are deleted, so that they go in order.
    sweeping: Mutex<()>,
    /// Streams that are to be looked at.
    due: Mutex<BTreeSet<StreamId>>,
}

impl Retention {
    pub fn new(disk: Arc<dyn Disk>, metrics: Arc<Metrics>, folder: PathBuf) -> Self {
        Self {
            disk,
            metrics,
            folder,
            streams: Mutex::default(),
            sweeping: Mutex::default(),
            due: Mutex::default(),
        }
    }

    /// A stream will be written: its folder stays until `end`.
    pub fn begin(&self, stream: StreamId) {
        self.streams.lock().entry(stream).or_default().writing = true;
    }

    /// Nothing more will be added to the stream.
    pub fn end(&self, stream: StreamId) {
        if let Some(stream) = self.streams.lock().get_mut(&stream) {
            stream.writing = false;
        }
        self.sweep(stream);
    }

    pub fn stream_folder(&self, stream: StreamId) -> PathBuf {
        self.folder.join(stream.to_string())
    }

    /// A segment was created, or found at the start.
    pub fn add(&self, stream: StreamId, ordinal: u64, path: &Path, bytes: u64) {
        let segment = Segment {
            path: path.to_owned(),
            bytes,
            last: [None; 3],
            complete: false,
        };
        self.streams
            .lock()
            .entry(stream)
            .or_default()
            .segments
            .insert(ordinal, segment);
        self.measure();
    }

    /// A record stands in the segment.
    pub fn holds(&self, stream: StreamId, ordinal: u64, signal: Signal, sequence: u64) {
        let mut streams = self.streams.lock();
        let segment = streams
            .get_mut(&stream)
            .and_then(|s| s.segments.get_mut(&ordinal));
        if let Some(segment) = segment {
            segment.last[signal.index()] = Some(sequence);
        }
    }

    /// Nothing more will be written to the segment or read from it; `bytes` is its length now.
    pub fn complete(&self, stream: StreamId, ordinal: u64, bytes: Option<u64>) {
        {
            let mut streams = self.streams.lock();
            let segment = streams
                .get_mut(&stream)
                .and_then(|s| s.segments.get_mut(&ordinal));
            if let Some(segment) = segment {
                segment.complete = true;
                segment.bytes = bytes.unwrap_or(segment.bytes);
            }
        }
        self.sweep_or_leave(stream);
    }

    /// The tables hold everything of `signal` up to `upto`.
    pub fn release(&self, signal: Signal, upto: Position) {
        {
            let mut streams = self.streams.lock();
            let Some(stream) = streams.get_mut(&upto.stream) else {
                return;
            };
            let released = &mut stream.released[signal.index()];
            *released = (*released).max(upto.sequence);
        }
        self.sweep(upto.stream);
    }

    /// Bytes of all segments on disk.
    pub fn bytes(&self) -> u64 {
        let streams = self.streams.lock();
        streams
            .values()
            .flat_map(|stream| stream.segments.values())
            .map(|s| s.bytes)
            .sum()
    }

    /// Number of segments on disk.
    pub fn segments(&self) -> usize {
        self.streams
            .lock()
            .values()
            .map(|stream| stream.segments.len())
            .sum()
    }

    /// Deletes the stream's first segments as far as they have passed; when it returns, they are
    /// gone.
    fn sweep(&self, id: StreamId) {
        self.due.lock().insert(id);
        self.sweep_due(self.sweeping.lock());
    }

    /// The same for the writer, which does not wait for somebody else's: whoever is at it looks
    /// again afterwards.
    fn sweep_or_leave(&self, id: StreamId) {
        self.due.lock().insert(id);
        if let Some(sweeping) = self.sweeping.try_lock() {
            self.sweep_due(sweeping);
        }
    }

    fn sweep_due<'a>(&'a self, mut sweeping: MutexGuard<'a, ()>) {
        loop {
            let due = std::mem::take(&mut *self.due.lock());
            for id in due {
                self.sweep_stream(id);
            }
            drop(sweeping);
            // What came due before the lock was given back was left to this call.
            if self.due.lock().is_empty() {
                return;
            }
            match self.sweeping.try_lock() {
                Some(again) => sweeping = again,
                None => return,
            }
        }
    }

    /// The disk is not waited for under the lock that the writer needs.
    fn sweep_stream(&self, id: StreamId) {
        while let Some((ordinal, path)) = self.first_passed(id) {
            if let Err(error) = self.remove(id, &path) {
                // It is tried again with the next release; until then it only costs space.
                tracing::warn!(path = %path.display(), %error, "a log segment stays");
                break;
            }
            if let Some(stream) = self.streams.lock().get_mut(&id) {
                stream.segments.remove(&ordinal);
            }
        }
        let ended = {
            let mut streams = self.streams.lock();
            let ended = streams
                .get(&id)
                .is_some_and(|stream| stream.segments.is_empty() && !stream.writing);
            if ended {
                streams.remove(&id);
            }
            ended
        };
        if ended {
            let _ = self.disk.remove_folder(&self.stream_folder(id));
        }
        self.measure();
    }

    /// Removes a segment, durably: were a later one gone and this one back after a crash, a reader
    /// would not know where this one ends. So its folder is synced also where an earlier attempt
    /// has taken the name and then failed.
    fn remove(&self, stream: StreamId, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match self.disk.sync_folder(&self.stream_folder(stream)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The stream's first segment, if the tables hold all that is in it.
    fn first_passed(&self, id: StreamId) -> Option<(u64, PathBuf)> {
        let streams = self.streams.lock();
        let stream = streams.get(&id)?;
        let (ordinal, segment) = stream.segments.first_key_value()?;
        let passed = segment
            .last
            .iter()
            .zip(stream.released)
            .all(|(last, upto)| last.is_none_or(|last| last <= upto));
        (segment.complete && passed).then(|| (*ordinal, segment.path.clone()))
    }

    fn measure(&self) {
        self.metrics
            .log_bytes
            .set(i64::try_from(self.bytes()).unwrap_or(i64::MAX));
        self.metrics.log_segments.set(self.segments() as i64);
    }
}
