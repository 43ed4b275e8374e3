//! Reads one stream from a sequence on, also the one being written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::{Code, Disk, Error, Result, StreamId};

use crate::frame::Frame;
use crate::reading::{Begin, Head, NextFrame, Reading};

/// Times that the folder is listed again because a segment of the list was gone.
const LISTINGS: usize = 8;

/// A part of a stream.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Whole frames, in order.
    pub frames: Vec<Frame>,
    /// Sequences that were written and cannot be read: first and last of each range.
    pub lost: Vec<(u64, u64)>,
    /// Sequences below this are gone with their segments, because the tables hold them; 0 where none
    /// that was asked for is.
    pub gone_before: u64,
    /// The head of a segment is damaged, so that more can be lost than is told.
    pub doubtful: bool,
    /// There is nothing behind this part.
    pub ended: bool,
}

/// Reads a stream forwards. It opens a segment anew for each part, so that it never holds bytes
/// from before they were written.
pub struct StreamReader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    stream: StreamId,
    next: u64,
    /// Where the last part ended: the segment, bytes from its start, and the sequence there.
    place: Option<(u64, u64, u64)>,
}

/// A segment whose beginning is known.
struct Found {
    ordinal: u64,
    path: PathBuf,
    begin: Begin,
}

impl StreamReader {
    /// A reader of `stream` below the log's folder `dir`, from sequence `from` on.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, stream: StreamId, from: u64) -> StreamReader {
        StreamReader {
            disk,
            folder: dir.join(stream.to_string()),
            stream,
            next: from,
            place: None,
        }
    }

    /// The sequence that is read next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Frames up to `upto` and, but for the first, `max_bytes`. With `upto`, which must be durable,
    /// what is missing up to there is told as lost; without, the stream must have been ended, and
    /// what a crash cut off its end is not told.
    ///
    /// # Errors
    /// `LOG_IO` where it cannot be read.
    pub fn read(&mut self, upto: Option<u64>, max_bytes: usize) -> Result<Chunk> {
        let io = |folder: &Path, error: io::Error| {
            Error::new(Code::LogIo, format!("{}: {error}", folder.display()))
        };
        for _ in 0..LISTINGS {
            match self.part(upto, max_bytes) {
                Ok(chunk) => return Ok(chunk),
                // A segment went between the listing and the look: what was in it is in the tables.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(&self.folder, error)),
            }
        }
        let error = io::Error::other("segments go faster than they are read");
        Err(io(&self.folder, error))
    }

    fn part(&mut self, upto: Option<u64>, max_bytes: usize) -> io::Result<Chunk> {
        let (segments, doubtful) = self.segments()?;
        let mut chunk = Chunk {
            doubtful,
            ..Chunk::default()
        };
        let mut bytes = 0;
        let (mut next, mut place) = (self.next, self.place);
        let is_past = |next: u64| upto.is_some_and(|upto| next > upto);
        // The last segment that begins at or before `next` holds it: an abandoned one ends where
        // the next begins.
        let first = segments
            .iter()
            .rposition(|segment| segment.begin.sequence <= next)
            .unwrap_or(0);
        if let Some(segment) = segments.first()
            && segment.begin.sequence > next
            && !doubtful
        {
            next = upto.map_or(segment.begin.sequence, |upto| {
                segment.begin.sequence.min(upto + 1)
            });
            chunk.gone_before = next;
        }
        'segments: for (index, segment) in segments.iter().enumerate().skip(first) {
            let later = segments.get(index + 1).map(|later| later.begin.sequence);
            let mut begin = segment.begin;
            if let Some((ordinal, at, sequence)) = place
                && ordinal == segment.ordinal
            {
                (begin.at, begin.sequence) = (at, sequence);
            }
            let mut reading = Reading::open(
                &*self.disk,
                &segment.path,
                self.stream,
                segment.ordinal,
                begin,
                later,
            )?;
            loop {
                let (at, sequence) = reading.place();
                place = Some((segment.ordinal, at, sequence));
                if is_past(next.max(sequence)) || (bytes >= max_bytes && !chunk.frames.is_empty()) {
                    break 'segments;
                }
                match reading.next_frame()? {
                    NextFrame::Frame(frame) => {
                        let sequence = frame.header().sequence;
                        if sequence < next {
                            continue;
                        }
                        if is_past(sequence) {
                            break 'segments;
                        }
                        if sequence > next {
                            chunk.lost.push((next, sequence - 1));
                        }
                        next = sequence + 1;
                        bytes += frame.bytes();
                        chunk.frames.push(frame);
                    }
                    NextFrame::Damaged(_) => {
                        let (_, found) = reading.place();
                        let found = upto.map_or(found, |upto| found.min(upto + 1));
                        if found > next {
                            chunk.lost.push((next, found - 1));
                            next = found;
                        }
                    }
                    NextFrame::End => break,
                }
            }
            if index + 1 == segments.len() {
                chunk.ended = true;
            }
        }
        if segments.is_empty() {
            chunk.ended = true;
        }
        if chunk.ended
            && let Some(upto) = upto
            && next <= upto
        {
            chunk.lost.push((next, upto));
            next = upto + 1;
        }
        chunk.ended |= is_past(next);
        (self.next, self.place) = (next, place);
        Ok(chunk)
    }

    /// The stream's segments in order, without those that hold nothing for it; and whether the head
    /// of one is damaged.
    fn segments(&self) -> io::Result<(Vec<Found>, bool)> {
        let entries = match self.disk.list(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Vec::new(), false));
            }
            entries => entries?,
        };
        let (mut found, mut doubtful) = (Vec::new(), false);
        for entry in entries {
            let ordinal = entry.name.strip_suffix(".seg");
            let ordinal = ordinal.and_then(|name| u64::from_str_radix(name, 16).ok());
            let Some(ordinal) = ordinal else { continue };
            let path = self.folder.join(&entry.name);
            let head = Head::read(&*self.disk, &path, self.stream)?;
            doubtful |= !matches!(head, Head::Whole(_) | Head::Empty);
            if let Some(begin) = head.begin() {
                found.push(Found {
                    ordinal,
                    path,
                    begin,
                });
            }
        }
        found.sort_by_key(|segment| segment.ordinal);
        Ok((found, doubtful))
    }
}
