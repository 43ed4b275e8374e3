//! Writes groups: all of one is durable, or none of it is confirmed.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::disk::{Disk, DiskFile};
use otlake_base::{Clock, Code, Error, Metrics, Result, StreamId};
use otlake_log::Frame;
use otlake_log::frame::{HEADER_BYTES, SegmentHeader};
use parking_lot::RwLock;

use super::index::{self, Index, JournalReader, Place};
use super::mark::{MARK_BYTES, Mark};
use super::{JournalConfig, Write};

pub(super) struct Open {
    pub ordinal: u64,
    pub file: Box<dyn DiskFile>,
    pub used: u64,
    pub bytes: u64,
}

/// A journal without its thread.
pub struct JournalCore {
    pub(super) config: JournalConfig,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) identity: u128,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) open: Option<Open>,
    pub(super) next_ordinal: u64,
    /// Records that turned out to be damaged while segments were tidied.
    pub(super) lost_in_tidy: Vec<(StreamId, u64)>,
}

impl JournalCore {
    /// The identity, which stands for what it has confirmed.
    pub fn identity(&self) -> u128 {
        self.identity
    }

    /// Reads records beside the writer.
    pub fn reader(&self) -> JournalReader {
        JournalReader {
            disk: Arc::clone(&self.disk),
            dir: self.config.dir.clone(),
            index: Arc::clone(&self.index),
        }
    }

    /// Writes and syncs a group, and tells what became of each write. A full journal takes no records
    /// and still takes what is told about streams: only so can it get room.
    pub fn commit_each(&mut self, group: &[Write]) -> Vec<Result<()>> {
        let outcome = self.commit(group);
        let is_told = |write: &Write| !matches!(write, Write::Frames(_));
        let told: Vec<Write> = group
            .iter()
            .filter(|write| is_told(write))
            .cloned()
            .collect();
        let is_full = outcome
            .as_ref()
            .is_err_and(|error| error.code == Code::LogFull);
        if !is_full || told.is_empty() || told.len() == group.len() {
            return vec![outcome; group.len()];
        }
        let told = self.commit(&told);
        let each = group.iter().map(|write| match is_told(write) {
            true => told.clone(),
            false => outcome.clone(),
        });
        each.collect()
    }

    /// Writes and syncs a group. An error means that none of it is confirmed; it can be there all
    /// the same, and does no harm: it was written by the stream's owner.
    ///
    /// # Errors
    /// `LOG_FULL` at the limits, `LOG_IO` where the disk refuses.
    pub fn commit(&mut self, group: &[Write]) -> Result<()> {
        for write in group {
            let mut index = self.index.write();
            match write {
                Write::Frames(_) | Write::Fence { .. } => {}
                Write::Release { stream, released } => index.release(*stream, *released),
                Write::Forget { stream } => {
                    index.fence(*stream, u64::MAX);
                    index.release(*stream, [u64::MAX; 3]);
                    index.unwritten.insert(*stream);
                }
            }
        }
        let frames: Vec<&Frame> = group
            .iter()
            .filter_map(|write| match write {
                Write::Frames(frames) => Some(frames.iter()),
                _ => None,
            })
            .flatten()
            .collect();
        if self.index.read().records + frames.len() > self.config.max_records {
            let text = format!(
                "the replica journal holds {} records",
                self.config.max_records
            );
            return Err(Error::new(Code::LogFull, text));
        }
        let states = self.states(group);
        let spare = match frames.is_empty() {
            true => self.config.segment_bytes,
            false => 0,
        };
        self.write(&states, &frames, spare)?;
        let mut index = self.index.write();
        for write in group {
            if let Write::Fence { stream, epoch } = write {
                index.fence(*stream, *epoch);
            }
        }
        index.forget_oldest();
        Ok(())
    }

    /// The states that go with a group: of fences in it, and of releases up to now.
    fn states(&self, group: &[Write]) -> Vec<(StreamId, Mark)> {
        let index = self.index.read();
        let mut streams = index.unwritten.clone();
        for write in group {
            if let Write::Fence { stream, .. } = write {
                streams.insert(*stream);
            }
        }
        let state = |stream: StreamId| {
            let of = index.streams.get(&stream);
            let mut fence = of.map_or(0, |of| of.fence);
            for write in group {
                if let Write::Fence { stream: of, epoch } = write
                    && *of == stream
                {
                    fence = fence.max(*epoch);
                }
            }
            let released = of.map_or([0; 3], |of| of.released);
            let mark = Mark::State {
                stream,
                fence,
                released,
            };
            (stream, mark)
        };
        streams.into_iter().map(state).collect()
    }

    /// Writes states and frames as one group, beyond the limit on bytes by `spare`, and brings
    /// the index up to date.
    pub(super) fn write(
        &mut self,
        states: &[(StreamId, Mark)],
        frames: &[&Frame],
        spare: u64,
    ) -> Result<()> {
        let bodies: usize = frames.iter().map(|frame| frame.bytes()).sum();
        let marks = MARK_BYTES * (1 + states.len());
        let bytes = (marks + bodies) as u64;
        self.make_room(bytes, spare)?;
        let Some(open) = self.open.as_mut() else {
            return Err(Error::new(Code::LogIo, "no segment is open"));
        };
        let mut head = Vec::with_capacity(marks);
        let group = Mark::Group {
            identity: self.identity,
            place: open.used,
        };
        group.encode(&mut head);
        for (_, state) in states {
            state.encode(&mut head);
        }
        let mut slices = Vec::with_capacity(1 + 2 * frames.len());
        slices.push(IoSlice::new(&head));
        for frame in frames {
            let parts = frame.parts().into_iter().filter(|part| !part.is_empty());
            slices.extend(parts.map(|part| IoSlice::new(part)));
        }
        let began = self.clock.monotonic();
        let written = open
            .file
            .write_all(&mut slices)
            .and_then(|()| open.file.sync());
        if let Err(error) = written {
            return Err(self.abandon(&error));
        }
        let took = self.clock.monotonic().saturating_sub(began);
        self.metrics
            .replica_sync_seconds
            .observe(took.as_secs_f64());
        self.metrics.replica_appended_bytes.inc_by(bodies as u64);
        let mut at = open.used + marks as u64;
        open.used += bytes;
        let ordinal = open.ordinal;
        let mut index = self.index.write();
        for (stream, _) in states {
            index.unwritten.remove(stream);
            index.streams.entry(*stream).or_default().state_in = Some(ordinal);
        }
        for frame in frames {
            let place = Place {
                segment: ordinal,
                at,
                bytes: frame.bytes() as u32,
                signal: frame.header().signal,
            };
            at += frame.bytes() as u64;
            let (stream, sequence) = (frame.header().stream, frame.header().sequence);
            if spare > 0 {
                index.moved(stream, sequence, place);
            } else {
                index.add(stream, sequence, place);
            }
        }
        drop(index);
        self.measure();
        Ok(())
    }

    /// Sees to it that the open segment has room for `bytes`, and for the mark that seals it.
    fn make_room(&mut self, bytes: u64, spare: u64) -> Result<()> {
        let bytes = bytes + MARK_BYTES as u64;
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.used + bytes <= open.bytes)
        {
            return Ok(());
        }
        self.seal();
        let size = self.config.segment_bytes.max(HEADER_BYTES as u64 + bytes);
        let on_disk = self.index.read().bytes();
        if on_disk + size > self.config.max_bytes + spare {
            let text = format!(
                "the replica journal holds {on_disk} bytes of {}",
                self.config.max_bytes
            );
            return Err(Error::new(Code::LogFull, text));
        }
        self.create(size)
    }

    pub(super) fn path(&self, ordinal: u64) -> PathBuf {
        index::path(&self.config.dir, ordinal)
    }

    /// Begins a segment under the identity of now.
    pub(super) fn create(&mut self, bytes: u64) -> Result<()> {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let path = self.path(ordinal);
        let refused = |error: io::Error| {
            Error::new(Code::LogIo, format!("creating a replica segment: {error}"))
        };
        let mut file = self.disk.create(&path).map_err(refused)?;
        let header = SegmentHeader {
            stream: StreamId(self.identity),
            first_sequence: ordinal,
            created_unix_nano: self.clock.unix_nano(),
        };
        let begun = file
            .allocate(bytes)
            .and_then(|()| file.write_all(&mut [IoSlice::new(&header.encode())]))
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.sync_folder(&self.config.dir));
        let segment = index::Segment {
            bytes,
            ..index::Segment::default()
        };
        if let Err(error) = begun {
            drop(file);
            if self.disk.remove(&path).is_err() {
                // It holds nothing, but it takes space until it is tidied away.
                let mut index = self.index.write();
                index.segments.insert(ordinal, segment);
                if let Some(segment) = index.segments.get_mut(&ordinal) {
                    segment.sealed = true;
                }
            }
            return Err(refused(error));
        }
        self.index.write().segments.insert(ordinal, segment);
        self.open = Some(Open {
            ordinal,
            file,
            used: HEADER_BYTES as u64,
            bytes,
        });
        Ok(())
    }

    /// Ends the open segment: a last mark tells that all of it was synced, and space that it did
    /// not use is given back.
    pub(super) fn seal(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let mut mark = Vec::with_capacity(MARK_BYTES);
        let group = Mark::Group {
            identity: self.identity,
            place: open.used,
        };
        group.encode(&mut mark);
        let mut bytes = open.bytes;
        let sealed = open
            .file
            .write_all(&mut [IoSlice::new(&mark)])
            .and_then(|()| open.file.truncate(open.used + MARK_BYTES as u64))
            .and_then(|()| open.file.sync());
        match sealed {
            Ok(()) => bytes = open.used + MARK_BYTES as u64,
            Err(error) => {
                tracing::warn!(target: "otlake::replicate", %error, "a replica segment has no end");
            }
        }
        self.sealed(open.ordinal, bytes);
    }

    /// Leaves the open segment after a failure: what was confirmed of it stays, and nothing more is
    /// written to it.
    fn abandon(&mut self, error: &io::Error) -> Error {
        tracing::error!(target: "otlake::replicate", %error, "a replica segment is abandoned");
        if let Some(open) = self.open.take() {
            self.sealed(open.ordinal, open.bytes);
        }
        Error::new(Code::LogIo, format!("writing the replica journal: {error}"))
    }

    fn sealed(&mut self, ordinal: u64, bytes: u64) {
        if let Some(segment) = self.index.write().segments.get_mut(&ordinal) {
            segment.sealed = true;
            segment.bytes = bytes;
        }
    }

    /// Records cannot be read back: they are dropped, and the journal takes another identity.
    pub fn lost(&mut self, records: &[(StreamId, u64)]) {
        self.metrics.damaged("replica");
        {
            let mut index = self.index.write();
            for (stream, sequence) in records {
                let of = index.streams.get(stream);
                let place = of.and_then(|of| of.records.get(sequence).copied());
                if let Some(place) = place
                    && let Some(segment) = index.segments.get_mut(&place.segment)
                {
                    segment.damaged = true;
                }
                index.drop_record(*stream, *sequence);
            }
        }
        self.identity = self.disk.unique(&self.config.dir);
        self.seal();
        // Where no segment can be begun now, the next one bears the identity.
        let bytes = self.config.segment_bytes;
        if let Err(error) = self.create(bytes) {
            tracing::warn!(target: "otlake::replicate", %error, "the journal's identity waits");
        }
    }

    /// Records that tidying found damaged since the last call: the identity has changed.
    pub fn take_lost(&mut self) -> Vec<(StreamId, u64)> {
        std::mem::take(&mut self.lost_in_tidy)
    }

    /// Ends the journal in good order.
    pub fn close(&mut self) {
        if !self.index.read().unwritten.is_empty() {
            let states = self.states(&[]);
            let _ = self.write(&states, &[], self.config.segment_bytes);
        }
        self.seal();
    }

    pub(super) fn measure(&self) {
        let index = self.index.read();
        let bytes = i64::try_from(index.bytes()).unwrap_or(i64::MAX);
        self.metrics.replica_bytes.set(bytes);
        self.metrics.replica_records.set(index.records as i64);
    }
}
