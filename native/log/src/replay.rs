//! Reads the streams of earlier starts, record by record.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use otlake_base::{Code, Disk, Error, Position, Result, StreamId};

use crate::log::Record;
use crate::reading::{Head, Next, Reading};
use crate::retention::Retention;

struct Found {
    stream: StreamId,
    ordinal: u64,
    path: PathBuf,
    head: Head,
}

/// The records of earlier streams: stream by stream, in the order of their sequence. An item is
/// an error where bytes are damaged (`LOG_CHECKSUM_MISMATCH`), a segment is another version's or
/// another stream's (`LOG_FORMAT`) or cannot be read (`LOG_IO`); what follows is still given. The
/// last two kinds of segment stay on disk, and what follows them in their stream with them.
pub struct Replay {
    disk: Arc<dyn Disk>,
    retention: Arc<Retention>,
    segments: VecDeque<Found>,
    reading: Option<Reading>,
}

impl Replay {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        retention: Arc<Retention>,
    ) -> io::Result<Replay> {
        let mut segments = Vec::new();
        for entry in disk.list(folder)? {
            let Ok(stream) = StreamId::from_str(&entry.name) else {
                continue;
            };
            let folder = folder.join(&entry.name);
            let before = segments.len();
            for file in disk.list(&folder)? {
                let ordinal = file
                    .name
                    .strip_suffix(".seg")
                    .and_then(|name| u64::from_str_radix(name, 16).ok());
                let Some(ordinal) = ordinal else { continue };
                let path = folder.join(&file.name);
                // The process before may have ended between a write and its sync. A record that
                // is replayed is taken for durable, so that a resend of it is acknowledged.
                disk.open(&path)?.sync()?;
                let head = Head::read(&*disk, &path, stream)?;
                retention.add(stream, ordinal, &path, disk.status(&path)?.bytes);
                segments.push(Found {
                    stream,
                    ordinal,
                    path,
                    head,
                });
            }
            if segments.len() == before {
                // A stream that wrote nothing leaves an empty folder; another may not be empty.
                let _ = disk.remove_folder(&folder);
            }
        }
        // Streams in the order they began, so that what was sent first is replayed first.
        let mut began = HashMap::new();
        for found in &segments {
            let begun = found.head.begin().map_or(u64::MAX, |begin| begin.unix_nano);
            let first = began.entry(found.stream).or_insert(u64::MAX);
            *first = begun.min(*first);
        }
        segments.sort_by_key(|found| (began[&found.stream], found.stream, found.ordinal));
        Ok(Replay {
            disk,
            retention,
            segments: segments.into(),
            reading: None,
        })
    }

    /// The streams that are there to be read, in the order they began.
    pub fn streams(&self) -> Vec<StreamId> {
        let mut streams: Vec<StreamId> = self.segments.iter().map(|found| found.stream).collect();
        streams.dedup();
        streams
    }

    /// Opens the next segment; None after the last.
    fn next_segment(&mut self) -> Option<Result<()>> {
        let found = self.segments.pop_front()?;
        let error =
            |code, text: &str| Error::new(code, format!("{}: {text}", found.path.display()));
        let begin = match &found.head {
            Head::Whole(begin) | Head::Salvaged(begin) => *begin,
            Head::Empty => {
                self.retention.complete(found.stream, found.ordinal, None);
                return Some(Ok(()));
            }
            Head::Lost => {
                self.retention.complete(found.stream, found.ordinal, None);
                let text = "the segment's head is damaged, and no record behind it is whole";
                return Some(Err(error(Code::LogChecksumMismatch, text)));
            }
            // Kept, incomplete, so that nothing deletes what could not be read.
            Head::Foreign(text) => return Some(Err(error(Code::LogFormat, text))),
        };
        let end_sequence = self
            .segments
            .iter()
            .take_while(|next| next.stream == found.stream)
            .find_map(|next| next.head.begin())
            .map(|next| next.sequence);
        match Reading::open(
            &*self.disk,
            &found.path,
            found.stream,
            found.ordinal,
            begin,
            end_sequence,
        ) {
            Ok(reading) => self.reading = Some(reading),
            // Kept, as above.
            Err(cause) => return Some(Err(error(Code::LogIo, &cause.to_string()))),
        }
        match found.head {
            Head::Salvaged(begin) => {
                let text = format!(
                    "the segment's head is damaged; it is read from record {} on",
                    begin.sequence
                );
                Some(Err(error(Code::LogChecksumMismatch, &text)))
            }
            _ => Some(Ok(())),
        }
    }
}

impl Iterator for Replay {
    type Item = Result<(Position, Record)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(reading) = self.reading.as_mut() else {
                match self.next_segment()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            match reading.next_record() {
                Ok(Next::Record(position, record)) => {
                    let (stream, ordinal) = (reading.stream, reading.ordinal);
                    self.retention
                        .holds(stream, ordinal, record.signal, position.sequence);
                    return Some(Ok((position, record)));
                }
                Ok(Next::Damaged(error)) => return Some(Err(error)),
                Ok(Next::End) => {
                    self.retention
                        .complete(reading.stream, reading.ordinal, None);
                    self.reading = None;
                }
                Err(error) => {
                    let error =
                        Error::new(Code::LogIo, format!("{}: {error}", reading.path.display()));
                    self.reading = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
