//! Messages and errors on the wire.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use otlake_base::{Code, Error, Kind, Result};

use crate::config::{ERROR_BYTES, MAX_MESSAGE_BYTES, SMALL_MESSAGE_BYTES};

pub const TIMEOUT: HeaderName = HeaderName::from_static("otlake-timeout-us");
pub const END: HeaderName = HeaderName::from_static("otlake-end");
const ERROR: HeaderName = HeaderName::from_static("otlake-error");
const MESSAGE: HeaderName = HeaderName::from_static("otlake-message");

const PREFIX: usize = 4;

/// What is handed to HTTP/2: bytes in one part or several, with the length in front of them where they
/// are a message of a stream. All go to the socket in one frame and in vectored writes, without a copy.
#[derive(Debug)]
pub struct Piece {
    prefix: [u8; PREFIX],
    /// How much of the prefix is done.
    done: usize,
    /// Empty only where nothing is left behind it.
    body: Bytes,
    rest: std::vec::IntoIter<Bytes>,
    /// Bytes of `rest`.
    behind: usize,
}

impl Piece {
    /// Bytes as they are.
    pub fn plain(body: Bytes) -> Piece {
        Piece {
            prefix: [0; PREFIX],
            done: PREFIX,
            body,
            rest: Vec::new().into_iter(),
            behind: 0,
        }
    }

    /// A message of a stream, which is these parts one behind the other.
    ///
    /// # Errors
    /// `PEER_TOO_LARGE`.
    pub fn message(mut parts: Vec<Bytes>) -> Result<Piece> {
        parts.retain(|part| !part.is_empty());
        let length = parts.iter().map(Bytes::len).sum();
        check_length(length)?;
        let mut rest = parts.into_iter();
        let body = rest.next().unwrap_or_default();
        Ok(Piece {
            // It fits: the limit is below 2^32.
            prefix: (length as u32).to_le_bytes(),
            done: 0,
            behind: length - body.len(),
            body,
            rest,
        })
    }
}

/// # Errors
/// `PEER_TOO_LARGE` for more than a message may have.
pub fn check_length(length: usize) -> Result<()> {
    if length > MAX_MESSAGE_BYTES {
        let message = format!("{length} bytes are more than the {MAX_MESSAGE_BYTES} of a message");
        return Err(Error::new(Code::PeerTooLarge, message));
    }
    Ok(())
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        PREFIX - self.done + self.body.len() + self.behind
    }

    fn chunk(&self) -> &[u8] {
        if self.done < PREFIX {
            &self.prefix[self.done..]
        } else {
            &self.body
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let first = [&self.prefix[self.done..], &self.body[..]];
        let rest = self.rest.as_slice().iter().map(|part| &part[..]);
        let filled = first
            .into_iter()
            .chain(rest)
            .filter(|part| !part.is_empty());
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(filled) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(PREFIX - self.done);
        self.done += of_prefix;
        let mut left = count - of_prefix;
        while left >= self.body.len() {
            let Some(next) = self.rest.next() else { break };
            left -= self.body.len();
            self.behind -= next.len();
            self.body = next;
        }
        self.body.advance(left);
    }
}

/// Makes messages of what comes in pieces that know nothing of them.
#[derive(Default)]
pub struct Assembler {
    piece: Bytes,
    prefix: [u8; PREFIX],
    filled: usize,
    /// What has come of a message that is in more than one piece.
    partial: BytesMut,
}

impl Assembler {
    /// Adds what follows; what was added before has to be used up.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.piece.is_empty(), "a piece is used up before the next");
        self.piece = piece;
    }

    /// Whether a message has begun.
    pub fn is_within(&self) -> bool {
        self.filled > 0
    }

    /// The next message that is whole; None when more has to be added first. A message that is in
    /// one piece shares the piece's memory, unless it is small.
    ///
    /// # Errors
    /// `PEER_TOO_LARGE` for a message of more than `limit` bytes.
    pub fn next(&mut self, limit: usize) -> Result<Option<Bytes>> {
        let count = self.piece.len().min(PREFIX - self.filled);
        self.prefix[self.filled..self.filled + count].copy_from_slice(&self.piece[..count]);
        self.piece.advance(count);
        self.filled += count;
        if self.filled < PREFIX {
            return Ok(None);
        }
        let length = u32::from_le_bytes(self.prefix) as usize;
        if length > limit {
            let message = format!("a message of {length} bytes came where {limit} are allowed");
            return Err(Error::new(Code::PeerTooLarge, message));
        }
        let message = if self.partial.is_empty() && self.piece.len() >= length {
            let message = self.piece.split_to(length);
            if length < SMALL_MESSAGE_BYTES {
                Bytes::copy_from_slice(&message)
            } else {
                message
            }
        } else {
            let missing = length - self.partial.len();
            self.partial.reserve(missing);
            let count = self.piece.len().min(missing);
            self.partial.extend_from_slice(&self.piece[..count]);
            self.piece.advance(count);
            if count < missing {
                return Ok(None);
            }
            std::mem::take(&mut self.partial).freeze()
        };
        self.filled = 0;
        Ok(Some(message))
    }
}

/// Writes an error into the head of an answer, or behind the last message of a stream.
pub fn write_error(error: &Error, headers: &mut HeaderMap) {
    let code = HeaderValue::from_str(&named(error)).expect("codes and kinds are ASCII");
    headers.insert(ERROR, code);
    // A header has no control characters.
    let text = bounded(&error.message).replace(|each: char| each.is_ascii_control(), " ");
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        headers.insert(MESSAGE, value);
    }
}

/// The error that `write_error` wrote.
pub fn read_error(headers: &HeaderMap) -> Option<Error> {
    let text = headers.get(ERROR)?.to_str().unwrap_or_default();
    let message = headers.get(MESSAGE).map(HeaderValue::as_bytes);
    let message = String::from_utf8_lossy(message.unwrap_or_default()).into_owned();
    Some(Error {
        code: code_of(text),
        message,
    })
}

/// An error within a message of a stream that goes on: its code and kind, a zero, and its text.
pub fn error_bytes(error: &Error) -> Vec<u8> {
    let mut bytes = named(error).into_bytes();
    bytes.push(0);
    bytes.extend_from_slice(bounded(&error.message).as_bytes());
    bytes
}

/// The error that `error_bytes` wrote; whatever else the bytes are, an error comes of it.
pub fn error_of(bytes: &[u8]) -> Error {
    let text = String::from_utf8_lossy(bytes);
    let (code, message) = text.split_once('\0').unwrap_or((&text, ""));
    Error::new(code_of(code), message)
}

fn named(error: &Error) -> String {
    format!("{} {}", error.code.as_str(), error.kind().name())
}

/// A newer node may have codes that this one does not know: what can be done about them counts.
fn code_of(text: &str) -> Code {
    let (code, kind) = text.split_once(' ').unwrap_or((text, ""));
    Code::from_name(code).unwrap_or_else(|| match Kind::from_name(kind) {
        Some(Kind::Unavailable) => Code::PeerUnreachable,
        Some(Kind::Denied) => Code::PeerRefused,
        _ => Code::Internal,
    })
}

/// As much of a text as an error may have.
fn bounded(text: &str) -> &str {
    let mut end = text.len().min(ERROR_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
