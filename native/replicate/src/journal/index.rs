//! Where each record stands, and what each segment still holds. The writer changes it; readers of
//! records look into it beside the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::{Code, Disk, Error, Result, Signal, StreamId};
use otlake_log::Frame;
use parking_lot::RwLock;

use crate::Ranges;
use crate::follower::Contents;
use crate::message::BySignal;

/// Streams of which nothing is held but that they are fenced (I5). Beyond it the oldest is
/// forgotten: each is one start of one node, so this is years.
const MAX_FENCES: usize = 16_384;

#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub segment: u64,
    pub at: u64,
    pub bytes: u32,
    pub signal: Signal,
}

#[derive(Clone, Debug, Default)]
pub struct StreamIndex {
    pub fence: u64,
    pub released: BySignal,
    pub records: BTreeMap<u64, Place>,
    /// Where its state is written.
    pub state_in: Option<u64>,
}

impl StreamIndex {
    pub fn has_state(&self) -> bool {
        self.fence > 0 || self.released.iter().any(|upto| *upto > 0)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Bytes on disk.
    pub bytes: u64,
    pub live_bytes: u64,
    pub live_records: u64,
    /// Nothing more is written to it.
    pub sealed: bool,
    /// Something in it is damaged: the rest of it is written anew soon.
    pub damaged: bool,
}

#[derive(Debug, Default)]
pub struct Index {
    pub streams: BTreeMap<StreamId, StreamIndex>,
    pub segments: BTreeMap<u64, Segment>,
    pub records: usize,
    /// Streams whose state is to be written.
    pub unwritten: BTreeSet<StreamId>,
}

impl Index {
    /// A record stands here; false where the journal has it already, or the tables do.
    pub fn add(&mut self, stream: StreamId, sequence: u64, place: Place) -> bool {
        let of = self.streams.entry(stream).or_default();
        if sequence <= of.released[place.signal.index()] || of.records.contains_key(&sequence) {
            return false;
        }
        of.records.insert(sequence, place);
        self.records += 1;
        let segment = self.segments.entry(place.segment).or_default();
        segment.live_bytes += u64::from(place.bytes);
        segment.live_records += 1;
        true
    }

    /// A record stands elsewhere now.
    pub fn moved(&mut self, stream: StreamId, sequence: u64, place: Place) {
        if self.drop_record(stream, sequence) {
            self.add(stream, sequence, place);
        }
    }

    pub fn drop_record(&mut self, stream: StreamId, sequence: u64) -> bool {
        let Some(of) = self.streams.get_mut(&stream) else {
            return false;
        };
        let Some(place) = of.records.remove(&sequence) else {
            return false;
        };
        self.records -= 1;
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live_bytes -= u64::from(place.bytes);
            segment.live_records -= 1;
        }
        true
    }

    pub fn fence(&mut self, stream: StreamId, epoch: u64) {
        let of = self.streams.entry(stream).or_default();
        of.fence = of.fence.max(epoch);
    }

    pub fn release(&mut self, stream: StreamId, released: BySignal) {
        // Also of a stream with no record yet: one can stand in the same group.
        let of = self.streams.entry(stream).or_default();
        let mut is_new = false;
        for (known, upto) in of.released.iter_mut().zip(released) {
            is_new |= upto > *known;
            *known = upto.max(*known);
        }
        if !is_new {
            return;
        }
        let released = of.released;
        let passed: Vec<u64> = of
            .records
            .iter()
            .filter(|(sequence, place)| **sequence <= released[place.signal.index()])
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in passed {
            self.drop_record(stream, sequence);
        }
        self.unwritten.insert(stream);
    }

    /// Drops what is known of the oldest streams that hold nothing.
    pub fn forget_oldest(&mut self) {
        let empty = |(_, of): &(&StreamId, &StreamIndex)| of.records.is_empty();
        while self.streams.iter().filter(empty).count() > MAX_FENCES {
            let oldest = self.streams.iter().filter(empty);
            let oldest = oldest
                .min_by_key(|(_, of)| of.state_in)
                .map(|(stream, _)| *stream);
            let Some(oldest) = oldest else { return };
            self.streams.remove(&oldest);
            self.unwritten.remove(&oldest);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    pub fn contents(&self) -> BTreeMap<StreamId, Contents> {
        let contents = self.streams.iter().map(|(stream, of)| {
            let mut ranges: [Ranges; 3] = Default::default();
            for (sequence, place) in &of.records {
                ranges[place.signal.index()].insert(*sequence);
            }
            let contents = Contents {
                fence: of.fence,
                released: of.released,
                ranges,
            };
            (*stream, contents)
        });
        contents.collect()
    }
}

/// Reads records of a journal beside its writer.
#[derive(Clone)]
pub struct JournalReader {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) index: Arc<RwLock<Index>>,
}

/// Where a segment is.
pub fn path(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(format!("{ordinal:016x}.seg"))
}

impl JournalReader {
    /// A record; none where the journal has none of it.
    ///
    /// # Errors
    /// `LOG_CHECKSUM_MISMATCH` where it is damaged, `LOG_IO` where it cannot be read.
    pub fn read(&self, stream: StreamId, sequence: u64) -> Result<Option<Frame>> {
        // It can be moved between the look and the read.
        for _ in 0..8 {
            let place = {
                let index = self.index.read();
                let of = index.streams.get(&stream);
                of.and_then(|of| of.records.get(&sequence).copied())
            };
            let Some(place) = place else { return Ok(None) };
            match self.read_at(stream, sequence, place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let path = path(&self.dir, place.segment);
                    let text = format!("{}: {error}", path.display());
                    return Err(Error::new(Code::LogIo, text));
                }
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {
                    let path = path(&self.dir, place.segment);
                    let text = format!(
                        "{}: record {sequence} of {stream} is damaged",
                        path.display()
                    );
                    return Err(Error::new(Code::LogChecksumMismatch, text));
                }
            }
        }
        Ok(None)
    }

    fn read_at(&self, stream: StreamId, sequence: u64, place: Place) -> io::Result<Option<Frame>> {
        let mut file = self.disk.open(&path(&self.dir, place.segment))?;
        let mut bytes = vec![0; place.bytes as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = file.read_at(place.at + filled as u64, &mut bytes[filled..])?;
            if read == 0 {
                return Ok(None);
            }
            filled += read;
        }
        let frame = Frame::split(&mut Bytes::from(bytes)).filter(|frame| {
            let header = frame.header();
            frame.is_intact() && header.stream == stream && header.sequence == sequence
        });
        Ok(frame)
    }

    /// Records of these ranges, in order, up to `max_bytes` but for the first; with those that are
    /// not there, and those that are damaged.
    ///
    /// # Errors
    /// `LOG_IO` where they cannot be read.
    pub fn fetch(&self, stream: StreamId, ranges: &Ranges, max_bytes: usize) -> Result<Fetched> {
        let mut fetched = Fetched::default();
        let mut bytes = 0;
        let held: Vec<u64> = {
            let index = self.index.read();
            let Some(of) = index.streams.get(&stream) else {
                fetched.gone = ranges.clone();
                return Ok(fetched);
            };
            let mut gone = ranges.clone();
            let mut held = Vec::new();
            for (first, last) in ranges.iter() {
                for (sequence, _) in of.records.range(first..=last) {
                    gone.remove(*sequence);
                    held.push(*sequence);
                }
            }
            fetched.gone = gone;
            held
        };
        for sequence in held {
            if bytes >= max_bytes && !fetched.frames.is_empty() {
                break;
            }
            match self.read(stream, sequence) {
                Ok(Some(frame)) => {
                    bytes += frame.bytes();
                    fetched.frames.push(frame);
                }
                Ok(None) => {
                    fetched.gone.insert(sequence);
                }
                Err(error) if error.code == Code::LogChecksumMismatch => {
                    fetched.gone.insert(sequence);
                    fetched.damaged.push(sequence);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fetched)
    }

    /// Every record that it holds.
    pub fn all(&self) -> Vec<(StreamId, u64)> {
        let index = self.index.read();
        let streams = index.streams.iter();
        let records = streams.flat_map(|(stream, of)| of.records.keys().map(|s| (*stream, *s)));
        records.collect()
    }

    /// What it holds, by stream.
    pub fn contents(&self) -> BTreeMap<StreamId, Contents> {
        self.index.read().contents()
    }

    /// Bytes of all segments on disk.
    pub fn bytes(&self) -> u64 {
        self.index.read().bytes()
    }

    /// Segments on disk.
    pub fn segments(&self) -> usize {
        self.index.read().segments.len()
    }

    /// Records that it holds.
    pub fn records(&self) -> usize {
        self.index.read().records
    }
}

/// What a fetch gave.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The records, in order.
    pub frames: Vec<Frame>,
    /// Those that were asked for and are not there.
    pub gone: Ranges,
    /// Those among them that are damaged.
    pub damaged: Vec<u64>,
}
