//! Reads a journal back: every whole record, the end that a crash cut off, and damage.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use otlake_base::disk::{Disk, create_folders, existing_above, read};
use otlake_base::{Clock, Code, Error, Metrics, Result};
use otlake_log::Frame;
use otlake_log::frame::{
    FRAME_BYTES, FRAME_MAGIC, HEADER_BYTES, Header, SegmentHeader, decode_head,
};
use parking_lot::RwLock;

use super::JournalConfig;
use super::core::JournalCore;
use super::index::{Index, Place, Segment};
use super::mark::{MARK_BYTES, MARK_MAGIC, Mark};

/// What a disk writes as one.
const SECTOR_BYTES: usize = 512;
/// So many zeros at its end tell that a frame was written in part.
const CUT_BYTES: usize = 8;

impl JournalCore {
    /// Opens the journal in `config.dir`, or makes one. Damage is counted and logged, and costs the
    /// journal its identity; what is whole is held as before.
    ///
    /// # Errors
    /// `LOG_IO` where it cannot be read, `LOG_FORMAT` where another version wrote it.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: JournalConfig,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<JournalCore> {
        let refused = |path: &Path, error: io::Error| {
            Error::new(Code::LogIo, format!("{}: {error}", path.display()))
        };
        let dir = &config.dir;
        create_folders(&*disk, existing_above(&*disk, dir), dir).map_err(|e| refused(dir, e))?;
        let mut ordinals = Vec::new();
        for entry in disk.list(dir).map_err(|error| refused(dir, error))? {
            let ordinal = entry.name.strip_suffix(".seg");
            ordinals.extend(ordinal.and_then(|name| u64::from_str_radix(name, 16).ok()));
        }
        ordinals.sort_unstable();
        let mut core = JournalCore {
            identity: disk.unique(dir),
            index: Arc::new(RwLock::new(Index::default())),
            open: None,
            next_ordinal: ordinals.last().map_or(0, |last| last + 1),
            lost_in_tidy: Vec::new(),
            config,
            disk,
            clock,
            metrics,
        };
        let fresh = core.identity;
        let mut damaged = Vec::new();
        let mut newest = None;
        for ordinal in ordinals {
            let path = core.path(ordinal);
            // The process before may have ended between a write and its sync.
            let bytes = core.disk.open(&path).and_then(|mut file| file.sync());
            let bytes = bytes.and_then(|()| read(&*core.disk, &path));
            let bytes = Bytes::from(bytes.map_err(|error| refused(&path, error))?);
            let scan = core.scan(ordinal, &bytes)?;
            if scan.identity.is_some() {
                newest = scan.identity;
            }
            if scan.damaged {
                core.metrics.damaged("replica");
                tracing::error!(
                    target: "otlake::replicate", code = Code::LogChecksumMismatch.as_str(),
                    path = %path.display(), "a replica segment is damaged"
                );
                damaged.push(scan.identity);
            }
        }
        // Damage under an earlier identity has cost that one.
        let is_damaged = damaged
            .iter()
            .any(|identity| identity.is_none() || *identity == newest);
        core.identity = match newest {
            Some(identity) if !is_damaged => identity,
            _ => fresh,
        };
        // Where there is no room for a segment, the journal can be read all the same.
        if let Err(error) = core.create(core.config.segment_bytes) {
            tracing::warn!(target: "otlake::replicate", %error, "the replica journal takes nothing");
        }
        core.measure();
        Ok(core)
    }

    fn scan(&mut self, ordinal: u64, bytes: &Bytes) -> Result<Scan> {
        let mut scan = Scan::default();
        let segment = Segment {
            bytes: bytes.len() as u64,
            sealed: true,
            ..Segment::default()
        };
        let mut index = self.index.write();
        index.segments.insert(ordinal, segment);
        match bytes
            .first_chunk::<HEADER_BYTES>()
            .map(SegmentHeader::decode)
        {
            Some(Header::Whole(header)) => scan.identity = Some(header.stream.0),
            Some(Header::OtherVersion(version)) => {
                let path = self.path(ordinal);
                let text = format!("{} has format version {version}", path.display());
                return Err(Error::new(Code::LogFormat, text));
            }
            // Its creation was cut off, and nothing was written to it.
            _ if bytes.iter().all(|byte| *byte == 0) => return Ok(scan),
            _ => scan.damaged = true,
        }
        let synced = last_group(bytes);
        let mut at = HEADER_BYTES.min(bytes.len());
        while at < bytes.len() {
            match item(bytes, at) {
                Some(Item::Mark(mark)) => {
                    if let Mark::State {
                        stream,
                        fence,
                        released,
                    } = mark
                    {
                        index.fence(stream, fence);
                        index.release(stream, released);
                        index.unwritten.remove(&stream);
                        if let Some(of) = index.streams.get_mut(&stream) {
                            of.state_in = Some(ordinal);
                        }
                    }
                    at += MARK_BYTES;
                }
                Some(Item::Frame(frame)) => {
                    let place = Place {
                        segment: ordinal,
                        at: at as u64,
                        bytes: frame.bytes() as u32,
                        signal: frame.header().signal,
                    };
                    let (stream, sequence) = (frame.header().stream, frame.header().sequence);
                    index.add(stream, sequence, place);
                    at += frame.bytes();
                }
                None => {
                    let next = next_item(bytes, at);
                    scan.damaged |= at < synced || !is_cut(bytes, at, next);
                    at = next.unwrap_or(bytes.len());
                }
            }
        }
        if scan.damaged
            && let Some(segment) = index.segments.get_mut(&ordinal)
        {
            segment.damaged = true;
        }
        Ok(scan)
    }
}

#[derive(Default)]
struct Scan {
    identity: Option<u128>,
    damaged: bool,
}

enum Item {
    Mark(Mark),
    Frame(Frame),
}

/// What stands whole at a place.
fn item(bytes: &Bytes, at: usize) -> Option<Item> {
    if bytes[at..].starts_with(&MARK_MAGIC) {
        let mark = Mark::decode(&bytes[at..])?;
        let stands_there = match mark {
            Mark::Group { place, .. } => place == at as u64,
            Mark::State { .. } => true,
        };
        return stands_there.then_some(Item::Mark(mark));
    }
    let frame = Frame::split(&mut bytes.slice(at..))?;
    frame.is_intact().then_some(Item::Frame(frame))
}

/// The place of the last group mark: everything before it was synced.
fn last_group(bytes: &Bytes) -> usize {
    memmem::rfind_iter(bytes, &MARK_MAGIC)
        .find(|at| matches!(item(bytes, *at), Some(Item::Mark(Mark::Group { .. }))))
        .unwrap_or(0)
}

/// Where the next whole thing behind a place stands.
fn next_item(bytes: &Bytes, at: usize) -> Option<usize> {
    let behind = &bytes[at + 1..];
    let mut frames = memmem::find_iter(behind, &FRAME_MAGIC).peekable();
    let mut marks = memmem::find_iter(behind, &MARK_MAGIC).peekable();
    loop {
        let next = match (frames.peek(), marks.peek()) {
            (Some(frame), Some(mark)) if frame < mark => frames.next(),
            (Some(_), None) => frames.next(),
            _ => marks.next(),
        };
        let found = at + 1 + next?;
        if item(bytes, found).is_some() {
            return Some(found);
        }
    }
}

/// Whether what should stand at a place looks as if a part of it was never written. Segments begin
/// as zeros, and sectors are written whole or not at all.
fn is_cut(bytes: &Bytes, at: usize, next: Option<usize>) -> bool {
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if written <= at {
        return true;
    }
    let head = bytes[at..].first_chunk::<FRAME_BYTES>();
    let header = head.and_then(decode_head);
    let length = header.map(|header| FRAME_BYTES + header.length as usize);
    if let (Some(head), Some(header), None) = (head, header, next) {
        // A flipped bit of the length makes it reach to where nothing was written.
        let is_longer = (0..u32::BITS)
            .map(|bit| header.length & !(1 << bit))
            .any(|length| {
                let end = at + FRAME_BYTES + length as usize;
                length != header.length && end <= bytes.len() && {
                    let mut head = *head;
                    head[8..12].copy_from_slice(&length.to_le_bytes());
                    otlake_log::frame::is_intact(&head, &header, &bytes[at + FRAME_BYTES..end])
                }
            });
        if is_longer {
            return false;
        }
    }
    let end = match (next, length) {
        (Some(next), _) => next,
        (None, Some(length)) if at + length > bytes.len() => return true,
        (None, Some(length)) => at + length,
        (None, None) => written,
    };
    let mut from = at;
    while from < end {
        let upto = (from - from % SECTOR_BYTES + SECTOR_BYTES).min(end);
        if bytes[from..upto].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = upto;
    }
    next.is_none()
        && bytes[..end]
            .iter()
            .rev()
            .take(CUT_BYTES)
            .all(|byte| *byte == 0)
}
