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

/// What distinguishes the two companions of a stream, by which the metric tables tell what is derived
/// of its spans: random numbers, so that no companion is another's stream.
const COUNTED: u128 = 0x8a1d_3f52_c97e_4b06_9f31_6ad8_05e2_b7c4;
const SETTLED: u128 = 0x31c6_e90b_5d24_4f87_b2a5_0c7f_e818_96d3;

impl StreamId {
    /// The stream under whose name a table marks up to where the spans of this one are counted in its
    /// derived rows. The companion of a companion is the stream itself.
    #[must_use]
    pub fn counted(self) -> StreamId {
        StreamId(self.0 ^ COUNTED)
    }

    /// The stream under whose name a table marks up to where nothing of this one waits to be derived
    /// any more. As [`StreamId::counted`].
    #[must_use]
    pub fn settled(self) -> StreamId {
        StreamId(self.0 ^ SETTLED)
    }
}

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
