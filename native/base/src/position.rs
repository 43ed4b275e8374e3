//! Where a batch stands: the stream that holds it and its number there.

use std::fmt;
use std::str::FromStr;

use crate::{Code, Error};

/// The epoch at which a stream is written until another node takes it over; each that does writes at
/// one more.
pub const FIRST_EPOCH: u64 = 1;

/// A log stream: one start of one node writes one stream, alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u128);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StreamId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() != 32 {
            return Err(Error::new(
                Code::QuerySession,
                format!("`{text}` is not a stream id"),
            ));
        }
        u128::from_str_radix(text, 16)
            .map(StreamId)
            .map_err(|_| Error::new(Code::QuerySession, format!("`{text}` is not a stream id")))
    }
}

/// A batch's name: its stream, and its number there, from 1, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The stream.
    pub stream: StreamId,
    /// The number within the stream, from 1.
    pub sequence: u64,
}

/// A position as `otlake-session` carries it: `<stream, 32 hex>:<sequence>`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream, self.sequence)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::new(
                Code::QuerySession,
                format!("`{text}` is not a session token"),
            )
        };
        let (stream, sequence) = text.split_once(':').ok_or_else(bad)?;
        Ok(Position {
            stream: stream.parse()?,
            sequence: sequence.parse().map_err(|_| bad())?,
        })
    }
}
