//! The bytes of segment headers and frames.

use bytes::Bytes;
use otlake_base::{Position, Signal, StreamId};

use crate::log::Record;

/// Bytes of a segment's head.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a frame's head.
pub const FRAME_BYTES: usize = 48;
/// What each frame begins with.
pub const FRAME_MAGIC: [u8; 4] = *b"OTLF";
const SEGMENT_MAGIC: [u8; 8] = *b"OTLAKLOG";
const FORMAT_VERSION: u32 = 1;

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose frames follow: a stream, or a journal with frames of many streams.
    pub stream: StreamId,
    /// The sequence of the first frame; a reader leaves earlier segments here.
    pub first_sequence: u64,
    /// When it was created, in ns since 1970 UTC.
    pub created_unix_nano: u64,
}

impl SegmentHeader {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.stream.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_unix_nano.to_le_bytes());
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header. Every version keeps magic, version and checksum where they are, so that
    /// another version is told from damage.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Header {
        if bytes[..8] != SEGMENT_MAGIC || u32_at(bytes, 12) != header_crc(bytes) {
            return Header::Damaged;
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => Header::Whole(SegmentHeader {
                stream: StreamId(u128_at(bytes, 16)),
                first_sequence: u64_at(bytes, 32),
                created_unix_nano: u64_at(bytes, 40),
            }),
            version => Header::OtherVersion(version),
        }
    }
}

/// What the first bytes of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// What it says.
    Whole(SegmentHeader),
    /// Intact, and of a format that this program does not know.
    OtherVersion(u32),
    /// Not what was written.
    Damaged,
}

/// The checksum of a header: of everything in it but the checksum.
fn header_crc(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

/// Where a frame stops to say how much before it was not synced.
pub const UNSYNCED_MAX: u16 = u16::MAX;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// CRC-32C of everything behind it.
    pub crc: u32,
    /// Bytes of tenant and payload together.
    pub length: u32,
    /// What the payload is.
    pub signal: Signal,
    /// Bytes of the tenant.
    pub tenant_length: u8,
    /// How many records before this one were not synced when it was written; [`UNSYNCED_MAX`] for
    /// that many or more.
    pub unsynced: u16,
    /// The record's number in its stream.
    pub sequence: u64,
    /// When it was received, in ns since 1970 UTC.
    pub received_unix_nano: u64,
    /// The stream.
    pub stream: StreamId,
}

impl FrameHeader {
    /// Every record before this sequence was on stable storage when the frame was written.
    pub fn synced_before(&self) -> u64 {
        match self.unsynced {
            UNSYNCED_MAX => 0,
            unsynced => self.sequence.saturating_sub(u64::from(unsynced)),
        }
    }
}

/// Appends the head and the tenant of `record` to `heads`; the payload is written from where it
/// lies. Every record before `synced_before` is on stable storage.
pub fn encode_head(
    record: &Record,
    stream: StreamId,
    sequence: u64,
    synced_before: u64,
    heads: &mut Vec<u8>,
) {
    let unsynced = u16::try_from(sequence - synced_before).unwrap_or(UNSYNCED_MAX);
    let at = heads.len();
    let length = (record.tenant.len() + record.payload.len()) as u32;
    heads.extend_from_slice(&FRAME_MAGIC);
    heads.extend_from_slice(&[0; 4]);
    heads.extend_from_slice(&length.to_le_bytes());
    heads.extend_from_slice(&[record.signal as u8, record.tenant.len() as u8]);
    heads.extend_from_slice(&unsynced.to_le_bytes());
    heads.extend_from_slice(&sequence.to_le_bytes());
    heads.extend_from_slice(&record.received_unix_nano.to_le_bytes());
    heads.extend_from_slice(&stream.0.to_le_bytes());
    heads.extend_from_slice(record.tenant.as_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&heads[at + 8..]), &record.payload);
    heads[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads a frame's head; None where the bytes are not one. Its checksum is not checked yet.
pub fn decode_head(bytes: &[u8; FRAME_BYTES]) -> Option<FrameHeader> {
    if bytes[..4] != FRAME_MAGIC {
        return None;
    }
    let header = FrameHeader {
        crc: u32_at(bytes, 4),
        length: u32_at(bytes, 8),
        signal: Signal::from_u8(bytes[12])?,
        tenant_length: bytes[13],
        unsynced: u16::from_le_bytes([bytes[14], bytes[15]]),
        sequence: u64_at(bytes, 16),
        received_unix_nano: u64_at(bytes, 24),
        stream: StreamId(u128_at(bytes, 32)),
    };
    (u32::from(header.tenant_length) <= header.length).then_some(header)
}

/// Whether the head and what follows it are what was written.
pub fn is_intact(head: &[u8; FRAME_BYTES], header: &FrameHeader, rest: &[u8]) -> bool {
    header.crc == crc32c::crc32c_append(crc32c::crc32c(&head[8..]), rest)
}

/// One record as it stands in a segment. The bytes, and the checksum among them, are those that the
/// stream's writer made, wherever the frame is sent or kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    header: FrameHeader,
    /// The head and the tenant.
    head: Bytes,
    payload: Bytes,
}

impl Frame {
    /// A frame whose head and tenant are `head`; None where they are not.
    pub fn new(head: Bytes, payload: Bytes) -> Option<Frame> {
        let header = decode_head(head.first_chunk()?)?;
        let tenant = usize::from(header.tenant_length);
        let fits =
            head.len() == FRAME_BYTES + tenant && header.length as usize == tenant + payload.len();
        fits.then_some(Frame {
            header,
            head,
            payload,
        })
    }

    /// Takes the first frame off `bytes`, without a copy; None, and `bytes` as they were, where
    /// they do not begin with one. Its checksum is not checked yet.
    pub fn split(bytes: &mut Bytes) -> Option<Frame> {
        let header = decode_head(bytes.first_chunk()?)?;
        let end = FRAME_BYTES + header.length as usize;
        if bytes.len() < end {
            return None;
        }
        let mut payload = bytes.split_to(end);
        let head = payload.split_to(FRAME_BYTES + usize::from(header.tenant_length));
        Some(Frame {
            header,
            head,
            payload,
        })
    }

    /// Whether every byte is what the stream's writer wrote.
    pub fn is_intact(&self) -> bool {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.head[8..]), &self.payload);
        self.header.crc == crc
    }

    /// What the head says.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Where the record stands.
    pub fn position(&self) -> Position {
        Position {
            stream: self.header.stream,
            sequence: self.header.sequence,
        }
    }

    /// Its length, in bytes.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// Its bytes: the head with the tenant, and the payload.
    pub fn parts(&self) -> [&Bytes; 2] {
        [&self.head, &self.payload]
    }

    /// Whose record it is; None where the tenant is no text.
    pub fn tenant(&self) -> Option<&str> {
        std::str::from_utf8(&self.head[FRAME_BYTES..]).ok()
    }

    /// The record; None where the tenant is no text.
    pub fn record(&self) -> Option<Record> {
        Some(Record {
            signal: self.header.signal,
            tenant: self.tenant()?.into(),
            received_unix_nano: self.header.received_unix_nano,
            payload: self.payload.clone(),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}
