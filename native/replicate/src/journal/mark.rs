//! The bytes of the journal's own marks.

use otlake_base::StreamId;

use crate::message::BySignal;

pub const MARK_BYTES: usize = 64;
pub const MARK_MAGIC: [u8; 4] = *b"OTLJ";

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A group begins here, and everything before it in the segment is synced.
    Group { identity: u128, place: u64 },
    /// What is known of a stream besides its records.
    State {
        stream: StreamId,
        fence: u64,
        released: BySignal,
    },
}

impl Mark {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, name, numbers) = match *self {
            Mark::Group { identity, place } => (1u64, identity, [place, 0, 0, 0]),
            Mark::State {
                stream,
                fence,
                released: [traces, metrics, logs],
            } => (2, stream.0, [fence, traces, metrics, logs]),
        };
        let at = out.len();
        out.extend_from_slice(&MARK_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&name.to_le_bytes());
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[at + 8..]);
        out[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads a mark; None where the bytes are not one, whole and intact.
    pub fn decode(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; MARK_BYTES] = bytes.first_chunk()?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let crc = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        if bytes[..4] != MARK_MAGIC || crc != crc32c::crc32c(&bytes[8..]) {
            return None;
        }
        let name = u128::from_le_bytes(std::array::from_fn(|byte| bytes[16 + byte]));
        match number(8) {
            1 => Some(Mark::Group {
                identity: name,
                place: number(32),
            }),
            2 => Some(Mark::State {
                stream: StreamId(name),
                fence: number(32),
                released: [number(40), number(48), number(56)],
            }),
            _ => None,
        }
    }
}
