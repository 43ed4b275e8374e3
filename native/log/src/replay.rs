//! Reads the streams of earlier starts, record by record.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use otlake_base::{Code, Error, Position, Result, StreamId};

use crate::frame::{self, FRAME_BYTES, FRAME_MAGIC, FrameHeader, HEADER_BYTES, SegmentHeader};
use crate::log::Record;
use crate::retention::Retention;

const READ_BUFFER_BYTES: usize = 1024 * 1024;

struct Found {
    stream: StreamId,
    ordinal: u64,
    path: PathBuf,
    /// None where the head is not whole: a segment whose creation a crash cut off.
    header: Option<SegmentHeader>,
}

struct Reading {
    stream: StreamId,
    ordinal: u64,
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
    length: u64,
    /// Where the next segment begins: this one's records from there on were refused.
    end_sequence: Option<u64>,
    next_sequence: u64,
}

/// The records of earlier streams: stream by stream, in the order of their sequence. An item is
/// an error where bytes are damaged (`LOG_CHECKSUM_MISMATCH`, `LOG_FORMAT`) or cannot be read
/// (`LOG_IO`); what follows the damage is still given.
pub struct Replay {
    retention: Arc<Retention>,
    segments: VecDeque<Found>,
    reading: Option<Reading>,
}

impl Replay {
    pub(crate) fn open(folder: &Path, retention: Arc<Retention>) -> io::Result<Replay> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(stream) = name.to_str().and_then(|name| StreamId::from_str(name).ok()) else {
                continue;
            };
            let before = segments.len();
            for file in fs::read_dir(entry.path())? {
                let path = file?.path();
                let ordinal = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .and_then(|name| name.strip_suffix(".seg"))
                    .and_then(|name| u64::from_str_radix(name, 16).ok());
                let Some(ordinal) = ordinal else { continue };
                let header = read_header(&path)?.filter(|header| header.stream == stream);
                retention.add(stream, ordinal, &path, fs::metadata(&path)?.len());
                segments.push(Found {
                    stream,
                    ordinal,
                    path,
                    header,
                });
            }
            if segments.len() == before {
                // A stream that wrote nothing leaves an empty folder; another may not be empty.
                let _ = fs::remove_dir(entry.path());
            }
        }
        // Streams in the order they began, so that what was sent first is replayed first.
        let begun = |found: &Found| {
            found
                .header
                .map_or(u64::MAX, |header| header.created_unix_nano)
        };
        let mut began = std::collections::HashMap::new();
        for found in &segments {
            let first = began.entry(found.stream).or_insert(u64::MAX);
            *first = begun(found).min(*first);
        }
        segments.sort_by_key(|found| (began[&found.stream], found.stream, found.ordinal));
        Ok(Replay {
            retention,
            segments: segments.into(),
            reading: None,
        })
    }

    /// Opens the next segment; None after the last.
    fn next_segment(&mut self) -> Option<Result<()>> {
        let found = self.segments.pop_front()?;
        let Some(header) = found.header else {
            let last = self
                .segments
                .front()
                .is_none_or(|next| next.stream != found.stream);
            self.retention.complete(found.stream, found.ordinal, None);
            if last {
                return Some(Ok(()));
            }
            return Some(Err(Error::new(
                Code::LogFormat,
                format!("{}: the segment's head is damaged", found.path.display()),
            )));
        };
        let end_sequence = self
            .segments
            .iter()
            .take_while(|next| next.stream == found.stream)
            .find_map(|next| next.header)
            .map(|next| next.first_sequence);
        let opened = File::open(&found.path).and_then(|file| {
            let length = file.metadata()?.len();
            let mut file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
            file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
            Ok((file, length))
        });
        match opened {
            Ok((file, length)) => {
                self.reading = Some(Reading {
                    stream: found.stream,
                    ordinal: found.ordinal,
                    path: found.path,
                    file,
                    at: HEADER_BYTES as u64,
                    length,
                    end_sequence,
                    next_sequence: header.first_sequence,
                });
                Some(Ok(()))
            }
            // The segment is kept, incomplete, so that nothing deletes what could not be read.
            Err(error) => Some(Err(Error::new(
                Code::LogIo,
                format!("{}: {error}", found.path.display()),
            ))),
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

enum Next {
    Record(Position, Record),
    Damaged(Error),
    End,
}

impl Reading {
    fn next_record(&mut self) -> io::Result<Next> {
        if self
            .end_sequence
            .is_some_and(|end| self.next_sequence >= end)
        {
            return Ok(Next::End);
        }
        match self.read_frame()? {
            Some((header, rest)) if header.sequence == self.next_sequence => {
                self.next_sequence += 1;
                Ok(self.record(&header, rest))
            }
            _ => self.past_damage(),
        }
    }

    fn record(&self, header: &FrameHeader, rest: Vec<u8>) -> Next {
        let mut payload = Bytes::from(rest);
        let tenant = payload.split_to(usize::from(header.tenant_length));
        let Ok(tenant) = std::str::from_utf8(&tenant) else {
            return Next::Damaged(self.damage(header.sequence, header.sequence + 1));
        };
        let position = Position {
            stream: self.stream,
            sequence: header.sequence,
        };
        Next::Record(
            position,
            Record {
                signal: header.signal,
                tenant: tenant.into(),
                received_unix_nano: header.received_unix_nano,
                payload,
            },
        )
    }

    /// The frame at the current place, or None where there is no intact one. The place moves
    /// only past an intact frame.
    fn read_frame(&mut self) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
        if self.length - self.at < FRAME_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; FRAME_BYTES];
        self.file.read_exact(&mut head)?;
        let header = frame::decode_head(&head).filter(|header| {
            header.stream == self.stream
                && u64::from(header.length) <= self.length - self.at - FRAME_BYTES as u64
        });
        if let Some(header) = header {
            let mut rest = vec![0; header.length as usize];
            self.file.read_exact(&mut rest)?;
            if frame::is_intact(&head, &header, &rest) {
                self.at += (FRAME_BYTES + rest.len()) as u64;
                return Ok(Some((header, rest)));
            }
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(None)
    }

    /// Behind a place with no intact frame there is either nothing, and the stream ends there
    /// (a write that a crash cut off was never acknowledged), or a later frame, and what stood
    /// between is damaged (I6).
    fn past_damage(&mut self) -> io::Result<Next> {
        let expected = self.next_sequence;
        let mut tail = Vec::new();
        self.file.read_to_end(&mut tail)?;
        for at in memmem::find_iter(&tail, &FRAME_MAGIC) {
            let Some(head) = tail[at..].first_chunk::<FRAME_BYTES>() else {
                break;
            };
            let Some(header) = frame::decode_head(head) else {
                continue;
            };
            let rest = at + FRAME_BYTES;
            let Some(rest) = tail.get(rest..rest + header.length as usize) else {
                continue;
            };
            let later = header.sequence > expected
                && self.end_sequence.is_none_or(|end| header.sequence < end);
            if header.stream == self.stream && later && frame::is_intact(head, &header, rest) {
                self.at += at as u64;
                self.file.seek(SeekFrom::Start(self.at))?;
                self.next_sequence = header.sequence;
                return Ok(Next::Damaged(self.damage(expected, header.sequence)));
            }
        }
        self.at = self.length;
        match self.end_sequence {
            // The next segment says how far this one went: what is missing was acknowledged.
            Some(end) => {
                self.next_sequence = end;
                Ok(Next::Damaged(self.damage(expected, end)))
            }
            None => Ok(Next::End),
        }
    }

    fn damage(&self, from: u64, to: u64) -> Error {
        Error::new(
            Code::LogChecksumMismatch,
            format!(
                "{}: records {from} to {} are damaged",
                self.path.display(),
                to - 1
            ),
        )
    }
}

fn read_header(path: &Path) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; HEADER_BYTES];
    match File::open(path)?.read_exact(&mut bytes) {
        Ok(()) => Ok(SegmentHeader::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
