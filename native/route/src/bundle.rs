//! Slices on their way to their owner, several in one message of a stream, and the answers on their
//! way back: each slice has its own, in whatever order they are there.
//!
//! ```text
//!  bundle  = count u16 LE | (number u64 LE | length u32 LE) × count | slice × count
//!  answers = (number u64 LE | kind u8 | length u32 LE | bytes) …
//!  kind      0: an answer as a call has it; 1: an error
//! ```
//! Slices and answers to them are as in `parcel.rs`; a slice's number is its sender's and only grows.

use bytes::{Buf, Bytes};
use otlake_base::{Code, Error, Result};
use otlake_peer::{error_bytes, error_of};

/// Slices of requests that go to their owner in one message.
pub const BUNDLE_SLICES: usize = 16;
/// Bytes of slices that go to their owner in one message. A larger slice is a call of its own, which the
/// other side has to have room for.
pub const BUNDLE_BYTES: usize = 512 * 1024;
/// A slice below this many bytes that came with others is copied, so that it does not keep them in
/// memory.
const SHARED_BYTES: usize = 16 * 1024;

const ENTRY_BYTES: usize = 8 + 4;
const STORED: u8 = 0;
const REFUSED: u8 = 1;

/// A slice, as a call would carry it, and its number.
pub type Numbered = (u64, Bytes);

/// The parts of a message with these slices, of which there are `BUNDLE_SLICES` at most.
pub fn write(slices: Vec<Numbered>) -> Vec<Bytes> {
    let mut head = Vec::with_capacity(2 + slices.len() * ENTRY_BYTES);
    head.extend_from_slice(&(slices.len() as u16).to_le_bytes());
    for (number, slice) in &slices {
        head.extend_from_slice(&number.to_le_bytes());
        // It fits: a message is bounded.
        head.extend_from_slice(&(slice.len() as u32).to_le_bytes());
    }
    let mut parts = Vec::with_capacity(1 + slices.len());
    parts.push(Bytes::from(head));
    parts.extend(slices.into_iter().map(|(_, slice)| slice));
    parts
}

/// The slices of a message.
///
/// # Errors
/// `PEER_PROTOCOL`.
pub fn read(mut bytes: Bytes) -> Result<Vec<Numbered>> {
    let count = usize::from(bytes.try_get_u16_le().map_err(|_| malformed())?);
    if count > BUNDLE_SLICES || bytes.len() < count * ENTRY_BYTES {
        return Err(malformed());
    }
    let mut heads = bytes.split_to(count * ENTRY_BYTES);
    let mut slices = Vec::with_capacity(count);
    while heads.has_remaining() {
        let (number, length) = (heads.get_u64_le(), heads.get_u32_le() as usize);
        if length > bytes.len() {
            return Err(malformed());
        }
        let slice = bytes.split_to(length);
        slices.push((number, slice));
    }
    if !bytes.is_empty() {
        return Err(malformed());
    }
    if count > 1 {
        for (_, slice) in &mut slices {
            if slice.len() < SHARED_BYTES {
                *slice = Bytes::copy_from_slice(slice);
            }
        }
    }
    Ok(slices)
}

/// What became of the slice with this number.
pub type Answer = (u64, Result<Bytes>);

/// A message with these answers.
pub fn write_answers(answers: &[Answer]) -> Bytes {
    let mut bytes = Vec::with_capacity(answers.len() * 128);
    for (number, answer) in answers {
        bytes.extend_from_slice(&number.to_le_bytes());
        let mut put = |kind: u8, answer: &[u8]| {
            bytes.push(kind);
            // It fits: sessions and messages are some kilobytes.
            bytes.extend_from_slice(&(answer.len() as u32).to_le_bytes());
            bytes.extend_from_slice(answer);
        };
        match answer {
            Ok(answer) => put(STORED, answer),
            Err(error) => put(REFUSED, &error_bytes(error)),
        }
    }
    bytes.into()
}

/// The answers of a message.
///
/// # Errors
/// `PEER_PROTOCOL`.
pub fn read_answers(mut bytes: Bytes) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    while bytes.has_remaining() {
        if bytes.len() < 8 + 1 + 4 {
            return Err(malformed());
        }
        let (number, kind) = (bytes.get_u64_le(), bytes.get_u8());
        let length = bytes.get_u32_le() as usize;
        if length > bytes.len() {
            return Err(malformed());
        }
        let answer = bytes.split_to(length);
        let answer = match kind {
            STORED => Ok(answer),
            REFUSED => Err(error_of(&answer)),
            _ => return Err(malformed()),
        };
        answers.push((number, answer));
    }
    Ok(answers)
}

fn malformed() -> Error {
    let message = "slices, or the answers to some, that are not of this protocol";
    Error::new(Code::PeerProtocol, message)
}
