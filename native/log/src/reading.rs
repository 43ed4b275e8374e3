//! Reads one segment: its head, its records one by one, and past damage to the next whole one.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memchr::memmem;
use otlake_base::disk::{Disk, Reader};
use otlake_base::{Code, Error, Position, StreamId};

use crate::frame::{
    self, FRAME_BYTES, FRAME_MAGIC, Frame, FrameHeader, HEADER_BYTES, Header, SegmentHeader,
};
use crate::log::Record;

const READ_BUFFER_BYTES: usize = 1024 * 1024;
/// What a disk writes as one.
const SECTOR_BYTES: u64 = 512;
/// So many zeros at its end tell that a frame was written in part.
const CUT_BYTES: usize = 8;

/// Where the records of a segment begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Bytes from the start of the file.
    pub at: u64,
    /// The first record's sequence.
    pub sequence: u64,
    /// When the segment was begun, as far as is known, in ns since 1970 UTC.
    pub unix_nano: u64,
}

/// What a segment turns out to be.
pub enum Head {
    Whole(Begin),
    /// The head is damaged; its first whole frame stands in for it.
    Salvaged(Begin),
    /// The head is damaged, and there is no whole frame.
    Lost,
    /// Nothing was written: a crash cut its creation off.
    Empty,
    /// Intact, and not for this program or this stream, as the text says.
    Foreign(String),
}

impl Head {
    pub fn read(disk: &dyn Disk, path: &Path, stream: StreamId) -> io::Result<Head> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        Reader::open(disk, path)?
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut bytes)?;
        if let Some(head) = bytes.first_chunk::<HEADER_BYTES>() {
            match SegmentHeader::decode(head) {
                Header::Whole(header) if header.stream == stream => {
                    return Ok(Head::Whole(Begin {
                        sequence: header.first_sequence,
                        unix_nano: header.created_unix_nano,
                        ..START
                    }));
                }
                Header::Whole(header) => {
                    let text = format!("the segment is of stream {}", header.stream);
                    return Ok(Head::Foreign(text));
                }
                Header::OtherVersion(version) => {
                    let text = format!("the segment has format version {version}");
                    return Ok(Head::Foreign(text));
                }
                Header::Damaged => {}
            }
        }
        let mut reading = Reading::open(disk, path, stream, 0, START, None)?;
        Ok(match reading.seek_frame(0, None)? {
            Some(frame) => Head::Salvaged(Begin {
                at: reading.at,
                sequence: frame.sequence,
                unix_nano: frame.received_unix_nano,
            }),
            None if bytes.iter().all(|byte| *byte == 0) => Head::Empty,
            None => Head::Lost,
        })
    }

    pub fn begin(&self) -> Option<Begin> {
        match self {
            Head::Whole(begin) | Head::Salvaged(begin) => Some(*begin),
            Head::Lost | Head::Empty | Head::Foreign(_) => None,
        }
    }
}

/// Behind the head, where nothing else is known.
const START: Begin = Begin {
    at: HEADER_BYTES as u64,
    sequence: 0,
    unix_nano: 0,
};

/// A segment being read.
pub struct Reading {
    pub stream: StreamId,
    pub ordinal: u64,
    pub path: PathBuf,
    file: BufReader<Reader>,
    at: u64,
    length: u64,
    /// Where the next segment begins: this one's records from there on were refused.
    end_sequence: Option<u64>,
    next_sequence: u64,
}

pub enum Next {
    Record(Position, Record),
    Damaged(Error),
    End,
}

/// As [`Next`], as the bytes stand in the segment.
pub enum NextFrame {
    Frame(Frame),
    Damaged(Error),
    End,
}

impl Reading {
    pub fn open(
        disk: &dyn Disk,
        path: &Path,
        stream: StreamId,
        ordinal: u64,
        begin: Begin,
        end_sequence: Option<u64>,
    ) -> io::Result<Reading> {
        let file = Reader::open(disk, path)?;
        let length = file.length()?;
        let mut file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        file.seek(SeekFrom::Start(begin.at))?;
        Ok(Reading {
            stream,
            ordinal,
            path: path.to_owned(),
            file,
            at: begin.at,
            length,
            end_sequence,
            next_sequence: begin.sequence,
        })
    }

    /// Where the next frame begins, in bytes from the start of the file, and its sequence.
    pub fn place(&self) -> (u64, u64) {
        (self.at, self.next_sequence)
    }

    pub fn next_record(&mut self) -> io::Result<Next> {
        Ok(match self.next_frame()? {
            NextFrame::Frame(frame) => match frame.record() {
                Some(record) => Next::Record(frame.position(), record),
                None => {
                    let sequence = frame.header().sequence;
                    Next::Damaged(self.damage(sequence, sequence + 1))
                }
            },
            NextFrame::Damaged(error) => Next::Damaged(error),
            NextFrame::End => Next::End,
        })
    }

    pub fn next_frame(&mut self) -> io::Result<NextFrame> {
        if self
            .end_sequence
            .is_some_and(|end| self.next_sequence >= end)
        {
            return Ok(NextFrame::End);
        }
        let began = self.at;
        match self.read_frame()? {
            Some(frame) if frame.header().sequence == self.next_sequence => {
                self.next_sequence += 1;
                Ok(NextFrame::Frame(frame))
            }
            _ => {
                self.at = began;
                self.past_damage()
            }
        }
    }

    /// The frame at the current place, or None where there is no intact one. The place moves
    /// only past an intact frame.
    fn read_frame(&mut self) -> io::Result<Option<Frame>> {
        if self.length.saturating_sub(self.at) < FRAME_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; FRAME_BYTES];
        self.file.read_exact(&mut head)?;
        let header = frame::decode_head(&head).filter(|header| {
            header.stream == self.stream
                && u64::from(header.length) <= self.length - self.at - FRAME_BYTES as u64
        });
        if let Some(header) = header {
            let mut bytes = vec![0; FRAME_BYTES + header.length as usize];
            bytes[..FRAME_BYTES].copy_from_slice(&head);
            self.file.read_exact(&mut bytes[FRAME_BYTES..])?;
            if frame::is_intact(&head, &header, &bytes[FRAME_BYTES..]) {
                self.at += bytes.len() as u64;
                return Ok(Frame::split(&mut Bytes::from(bytes)));
            }
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(None)
    }

    /// A place with no intact frame is the end of the stream, or damage (I6). Damage it is where
    /// a later frame, or the next segment, tells that the record was synced; and, with no such
    /// witness, where every sector of it was written: what a crash cuts off lacks some. What
    /// is left behind it of such a group was not acknowledged, and is read like the rest.
    fn past_damage(&mut self) -> io::Result<NextFrame> {
        let expected = self.next_sequence;
        let began = self.at;
        let later = self.seek_frame(expected.saturating_add(1), self.end_sequence)?;
        let resume = self.at;
        let mut witness = later;
        while let Some(frame) = witness.filter(|frame| frame.synced_before() <= expected) {
            self.read_frame()?;
            witness = self.seek_frame(frame.sequence.saturating_add(1), self.end_sequence)?;
        }
        self.at = resume;
        self.file.seek(SeekFrom::Start(resume))?;
        let synced = witness.is_some() || self.end_sequence.is_some();
        if !synced && self.lacks_a_sector(began, later.map(|_| resume))? {
            let Some(later) = later else {
                return Ok(NextFrame::End);
            };
            self.next_sequence = later.sequence;
            return self.next_frame();
        }
        // Where no frame follows, the next segment says how far this one went.
        let found = later
            .map(|frame| frame.sequence)
            .or(self.end_sequence)
            .unwrap_or(expected.saturating_add(1));
        self.next_sequence = found;
        Ok(NextFrame::Damaged(self.damage(expected, found)))
    }

    /// Whether what should be a frame at `began` looks as if a part of it was never written: it
    /// reaches to `end` or, where that is not known, as far as its head says. Segments begin as
    /// zeros, and sectors are written whole or not at all.
    fn lacks_a_sector(&mut self, began: u64, end: Option<u64>) -> io::Result<bool> {
        if self.length.saturating_sub(began) < FRAME_BYTES as u64 {
            return Ok(true);
        }
        let mut head = [0; FRAME_BYTES];
        self.file.seek(SeekFrom::Start(began))?;
        self.file.read_exact(&mut head)?;
        let header = frame::decode_head(&head);
        if let Some(header) = &header
            && end.is_none()
            && self.is_longer_by_a_bit(began, head, header)?
        {
            return Ok(false);
        }
        let length = header.map_or(0, |header| u64::from(header.length));
        let end = end.unwrap_or(began + FRAME_BYTES as u64 + length);
        if end > self.length {
            return Ok(true);
        }
        self.file.seek(SeekFrom::Start(began))?;
        let mut sector = [0; SECTOR_BYTES as usize];
        let mut at = began;
        let mut lacks = false;
        let mut zeros_at_end = 0;
        while at < end && !lacks {
            let next = (at - at % SECTOR_BYTES + SECTOR_BYTES).min(end);
            let part = &mut sector[..(next - at) as usize];
            self.file.read_exact(part)?;
            let zeros = part.iter().rev().take_while(|byte| **byte == 0).count();
            lacks = zeros == part.len();
            zeros_at_end = zeros;
            at = next;
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(lacks || zeros_at_end >= CUT_BYTES)
    }

    /// Whether the frame is whole but for a bit of its length: it then seems to reach to where
    /// nothing was written.
    fn is_longer_by_a_bit(
        &mut self,
        began: u64,
        mut head: [u8; FRAME_BYTES],
        header: &FrameHeader,
    ) -> io::Result<bool> {
        let left = self.length - began - FRAME_BYTES as u64;
        for bit in (0..u32::BITS).map(|bit| 1 << bit) {
            let length = header.length & !bit;
            if length == header.length || u64::from(length) > left {
                continue;
            }
            head[8..12].copy_from_slice(&length.to_le_bytes());
            let mut rest = vec![0; length as usize];
            self.file
                .seek(SeekFrom::Start(began + FRAME_BYTES as u64))?;
            self.file.read_exact(&mut rest)?;
            if frame::is_intact(&head, header, &rest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves to the next intact frame of a sequence from `from` to before `end`, or to the end
    /// of the file.
    fn seek_frame(&mut self, from: u64, end: Option<u64>) -> io::Result<Option<FrameHeader>> {
        let mut window = vec![0; READ_BUFFER_BYTES];
        let mut start = self.at;
        while self.length.saturating_sub(start) >= FRAME_BYTES as u64 {
            let left = usize::try_from(self.length - start).unwrap_or(usize::MAX);
            let take = window.len().min(left);
            self.file.seek(SeekFrom::Start(start))?;
            self.file.read_exact(&mut window[..take])?;
            for found in memmem::find_iter(&window[..take], &FRAME_MAGIC) {
                let Some(head) = window[found..take].first_chunk::<FRAME_BYTES>() else {
                    break;
                };
                let wanted = frame::decode_head(head).is_some_and(|header| {
                    header.stream == self.stream
                        && header.sequence >= from
                        && end.is_none_or(|end| header.sequence < end)
                });
                if !wanted {
                    continue;
                }
                let at = start + found as u64;
                self.at = at;
                self.file.seek(SeekFrom::Start(at))?;
                if let Some(frame) = self.read_frame()? {
                    self.at = at;
                    self.file.seek(SeekFrom::Start(at))?;
                    return Ok(Some(*frame.header()));
                }
            }
            // A head may lie across the end of the window.
            start += (take - (FRAME_BYTES - 1)) as u64;
        }
        self.at = self.length;
        Ok(None)
    }

    fn damage(&self, from: u64, to: u64) -> Error {
        let records = if to == from.saturating_add(1) {
            format!("record {from} is")
        } else {
            format!("records {from} to {} are", to.saturating_sub(1))
        };
        Error::new(
            Code::LogChecksumMismatch,
            format!("{}: {records} damaged", self.path.display()),
        )
    }
}
