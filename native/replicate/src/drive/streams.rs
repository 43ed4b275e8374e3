//! What a node tells of streams that it wrote itself: the one it writes, and those of earlier
//! starts that its log still has.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use otlake_base::{Disk, Result, StreamId};
use otlake_log::StreamReader;
use parking_lot::Mutex;

use crate::Ranges;
use crate::message::{Held, Holder};

/// Bytes that are read of a stream at once.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// Streams of earlier starts.
pub struct OldStreams {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// What was found of each; an old stream changes no more.
    found: Mutex<HashMap<StreamId, Option<Arc<Old>>>>,
}

struct Old {
    ranges: [Ranges; 3],
    whole: bool,
    reader: Mutex<StreamReader>,
}

impl OldStreams {
    /// Those below the log's folder `dir`.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> OldStreams {
        OldStreams {
            disk,
            dir,
            found: Mutex::default(),
        }
    }

    /// What the log holds of a stream; none where it has no such stream. Reads all of it once.
    ///
    /// # Errors
    /// `LOG_IO` where it cannot be read.
    pub fn held(&self, stream: StreamId) -> Result<Option<Held>> {
        let old = self.find(stream)?;
        Ok(old.map(|old| Held {
            stream,
            holder: Holder::Owner { whole: old.whole },
            epoch: 0,
            released: [0; 3],
            ranges: old.ranges.clone(),
        }))
    }

    fn find(&self, stream: StreamId) -> Result<Option<Arc<Old>>> {
        if let Some(found) = self.found.lock().get(&stream) {
            return Ok(found.clone());
        }
        let folder = self.dir.join(stream.to_string());
        let found = match self.disk.status(&folder) {
            Ok(status) if status.folder => Some(Arc::new(self.read(stream)?)),
            _ => None,
        };
        self.found.lock().insert(stream, found.clone());
        Ok(found)
    }

    fn read(&self, stream: StreamId) -> Result<Old> {
        let mut reader = self.reader(stream, 1);
        let mut ranges: [Ranges; 3] = Default::default();
        let mut whole = true;
        loop {
            let chunk = reader.read(None, READ_BYTES)?;
            for frame in &chunk.frames {
                let header = frame.header();
                ranges[header.signal.index()].insert(header.sequence);
            }
            // What is gone before the first one went because the tables hold it.
            whole &= chunk.lost.is_empty() && !chunk.doubtful;
            if chunk.ended {
                break;
            }
        }
        Ok(Old {
            ranges,
            whole,
            reader: Mutex::new(self.reader(stream, 1)),
        })
    }

    fn reader(&self, stream: StreamId, from: u64) -> StreamReader {
        StreamReader::new(Arc::clone(&self.disk), self.dir.clone(), stream, from)
    }

    /// Whether the log has this stream.
    ///
    /// # Errors
    /// `LOG_IO` where it cannot be read.
    pub fn has(&self, stream: StreamId) -> Result<bool> {
        Ok(self.find(stream)?.is_some())
    }

    /// Forgets what was found of a stream.
    pub fn forget(&self, stream: StreamId) {
        self.found.lock().remove(&stream);
    }

    /// Records of these ranges, in order, up to `max_bytes` but for the first; and what is gone.
    ///
    /// # Errors
    /// `LOG_IO` where it cannot be read.
    pub fn fetch(
        &self,
        stream: StreamId,
        wanted: &Ranges,
        max_bytes: usize,
    ) -> Result<(Vec<otlake_log::Frame>, Ranges)> {
        let Some(old) = self.find(stream)? else {
            return Ok((Vec::new(), wanted.clone()));
        };
        let mut reader = old.reader.lock();
        let first = wanted.first().unwrap_or(1);
        if reader.next() > first {
            *reader = self.reader(stream, first);
        }
        pick(&mut reader, wanted, None, max_bytes)
    }
}

/// Reads on, up to `upto` where the stream is still written, and keeps what is wanted, up to
/// `max_bytes` but for the first record; with it, what is wanted and gone.
///
/// # Errors
/// `LOG_IO` where it cannot be read.
pub fn pick(
    reader: &mut StreamReader,
    wanted: &Ranges,
    upto: Option<u64>,
    max_bytes: usize,
) -> Result<(Vec<otlake_log::Frame>, Ranges)> {
    let (mut frames, mut gone) = (Vec::new(), wanted.clone());
    let last = wanted.last().unwrap_or(0);
    let bound = upto.map_or(last, |upto| upto.min(last));
    let mut bytes = 0;
    while reader.next() <= last {
        let chunk = match upto {
            Some(_) => reader.read(Some(bound), max_bytes)?,
            None => reader.read(None, max_bytes)?,
        };
        let ended = chunk.ended;
        for frame in chunk.frames {
            let sequence = frame.header().sequence;
            if wanted.contains(sequence) {
                gone.remove(sequence);
                if bytes < max_bytes {
                    bytes += frame.bytes();
                    frames.push(frame);
                }
            }
        }
        if ended || bytes >= max_bytes {
            break;
        }
    }
    // What was not reached yet is not gone.
    if reader.next() <= last {
        gone.remove_range(reader.next(), last);
    }
    Ok((frames, gone))
}
