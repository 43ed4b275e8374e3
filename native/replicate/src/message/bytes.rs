//! The bytes of messages.
//!
//! ```text
//! version:u8 kind:u8 fields          numbers little-endian
//! ranges  count:u32 (first:u64 last:u64)*
//! frames  count:u32 frame*           each as it stands in its owner's log; a message's last field
//! ```

use bytes::Bytes;
use otlake_base::{Code, Error, Result, StreamId};
use otlake_log::Frame;

use super::{BySignal, Held, Holder, Message, Refusal, VERSION};
use crate::Ranges;

/// A payload below this many bytes is copied: to hand it over by itself would cost more.
const COPIED_BYTES: usize = 2 * 1024;

impl Message {
    fn kind(&self) -> u8 {
        match self {
            Message::Hello { .. } => 1,
            Message::Append { .. } => 2,
            Message::Beat { .. } => 3,
            Message::Held(_) => 4,
            Message::Durable { .. } => 5,
            Message::Refused { .. } => 6,
            Message::Alive { .. } => 7,
            Message::Fence { .. } => 8,
            Message::Ask { .. } => 9,
            Message::Fetch { .. } => 10,
            Message::Frames { .. } => 11,
            Message::Release { .. } => 12,
            Message::Forget { .. } => 13,
            Message::Done => 14,
        }
    }

    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut parts = self.parts();
        match parts.len() {
            1 => parts.remove(0),
            _ => Bytes::from(parts.concat()),
        }
    }

    /// The message's bytes in parts, one behind the other: large payloads are where they lie, and not
    /// copied.
    pub fn parts(&self) -> Vec<Bytes> {
        let frames = match self {
            Message::Append { frames, .. } | Message::Frames { frames, .. } => &frames[..],
            _ => &[],
        };
        let mut parts = Vec::new();
        let mut out = self.without_frames().0;
        for frame in frames {
            let [head, payload] = frame.parts();
            out.extend_from_slice(head);
            if payload.len() < COPIED_BYTES {
                out.extend_from_slice(payload);
            } else {
                parts.push(Bytes::from(std::mem::take(&mut out)));
                parts.push(payload.clone());
            }
        }
        if !out.is_empty() {
            parts.push(Bytes::from(out));
        }
        parts
    }

    /// The message's bytes up to its first frame.
    fn without_frames(&self) -> Writing {
        let mut out = Writing(Vec::with_capacity(160));
        out.0.extend_from_slice(&[VERSION, self.kind()]);
        match self {
            Message::Hello { stream, epoch } | Message::Fence { stream, epoch } => {
                out.stream(*stream);
                out.number(*epoch);
            }
            Message::Append {
                stream,
                epoch,
                frames,
            } => {
                out.stream(*stream);
                out.number(*epoch);
                out.count(frames.len());
            }
            Message::Beat {
                stream,
                epoch,
                sent,
                released,
                acknowledged,
            } => {
                out.stream(*stream);
                out.number(*epoch);
                out.number(*sent);
                out.by_signal(released);
                out.number(*acknowledged);
            }
            Message::Held(held) => out.held(held),
            Message::Durable {
                stream,
                journal,
                ranges,
            } => {
                out.stream(*stream);
                out.wide(*journal);
                out.ranges(ranges);
            }
            Message::Refused {
                stream,
                epoch,
                reason,
            } => {
                out.stream(*stream);
                out.number(*epoch);
                out.0.push(*reason as u8);
            }
            Message::Alive {
                stream,
                journal,
                sent,
                released,
            } => {
                out.stream(*stream);
                out.wide(*journal);
                out.number(*sent);
                out.by_signal(released);
            }
            Message::Ask { stream } | Message::Forget { stream } => out.stream(*stream),
            Message::Fetch {
                stream,
                ranges,
                max_bytes,
            } => {
                out.stream(*stream);
                out.number(*max_bytes);
                out.ranges(ranges);
            }
            Message::Frames {
                stream,
                frames,
                gone,
            } => {
                out.stream(*stream);
                out.ranges(gone);
                out.count(frames.len());
            }
            Message::Release { stream, released } => {
                out.stream(*stream);
                out.by_signal(released);
            }
            Message::Done => {}
        }
        out
    }

    /// Reads a message; its frames share its bytes, and their checksums are not checked yet.
    ///
    /// # Errors
    /// `CLUSTER_MESSAGE` where it is none, or of another version.
    pub fn decode(bytes: Bytes) -> Result<Message> {
        let mut from = Reading(bytes);
        let version = from.byte()?;
        if version != VERSION {
            let text = format!("a message of version {version}; this node speaks {VERSION}");
            return Err(Error::new(Code::ClusterMessage, text));
        }
        let kind = from.byte()?;
        let message = match kind {
            1 => Message::Hello {
                stream: from.stream()?,
                epoch: from.number()?,
            },
            2 => Message::Append {
                stream: from.stream()?,
                epoch: from.number()?,
                frames: from.frames()?,
            },
            3 => Message::Beat {
                stream: from.stream()?,
                epoch: from.number()?,
                sent: from.number()?,
                released: from.by_signal()?,
                acknowledged: from.number()?,
            },
            4 => Message::Held(from.held()?),
            5 => Message::Durable {
                stream: from.stream()?,
                journal: from.wide()?,
                ranges: from.ranges()?,
            },
            6 => Message::Refused {
                stream: from.stream()?,
                epoch: from.number()?,
                reason: match from.byte()? {
                    1 => Refusal::Fenced,
                    2 => Refusal::Busy,
                    3 => Refusal::Damaged,
                    other => return Err(malformed(&format!("an unknown refusal {other}"))),
                },
            },
            7 => Message::Alive {
                stream: from.stream()?,
                journal: from.wide()?,
                sent: from.number()?,
                released: from.by_signal()?,
            },
            8 => Message::Fence {
                stream: from.stream()?,
                epoch: from.number()?,
            },
            9 => Message::Ask {
                stream: from.stream()?,
            },
            10 => Message::Fetch {
                stream: from.stream()?,
                max_bytes: from.number()?,
                ranges: from.ranges()?,
            },
            11 => {
                let stream = from.stream()?;
                let gone = from.ranges()?;
                let frames = from.frames()?;
                Message::Frames {
                    stream,
                    frames,
                    gone,
                }
            }
            12 => Message::Release {
                stream: from.stream()?,
                released: from.by_signal()?,
            },
            13 => Message::Forget {
                stream: from.stream()?,
            },
            14 => Message::Done,
            other => return Err(malformed(&format!("an unknown kind {other}"))),
        };
        if !from.0.is_empty() {
            return Err(malformed("bytes behind its end"));
        }
        Ok(message)
    }
}

fn malformed(what: &str) -> Error {
    Error::new(Code::ClusterMessage, format!("a message with {what}"))
}

struct Writing(Vec<u8>);

impl Writing {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn wide(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn stream(&mut self, stream: StreamId) {
        self.wide(stream.0);
    }

    fn by_signal(&mut self, numbers: &BySignal) {
        for number in numbers {
            self.number(*number);
        }
    }

    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    fn ranges(&mut self, ranges: &Ranges) {
        self.count(ranges.len());
        for (first, last) in ranges.iter() {
            self.number(first);
            self.number(last);
        }
    }

    fn held(&mut self, held: &Held) {
        self.stream(held.stream);
        match held.holder {
            Holder::Journal(journal) => {
                self.0.push(1);
                self.wide(journal);
            }
            Holder::Owner { whole } => self.0.extend_from_slice(&[2, u8::from(whole)]),
        }
        self.number(held.epoch);
        self.by_signal(&held.released);
        for ranges in &held.ranges {
            self.ranges(ranges);
        }
    }
}

struct Reading(Bytes);

impl Reading {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = *self
            .0
            .first_chunk::<N>()
            .ok_or_else(|| malformed("too few bytes"))?;
        let _ = self.0.split_to(N);
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take::<1>()?[0])
    }

    fn number(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn wide(&mut self) -> Result<u128> {
        self.take().map(u128::from_le_bytes)
    }

    fn stream(&mut self) -> Result<StreamId> {
        self.wide().map(StreamId)
    }

    fn by_signal(&mut self) -> Result<BySignal> {
        Ok([self.number()?, self.number()?, self.number()?])
    }

    fn count(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn ranges(&mut self) -> Result<Ranges> {
        let mut ranges = Ranges::default();
        for _ in 0..self.count()? {
            let (first, last) = (self.number()?, self.number()?);
            if first > last {
                return Err(malformed("a range that ends before it begins"));
            }
            ranges.insert_range(first, last);
        }
        Ok(ranges)
    }

    fn frames(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for _ in 0..self.count()? {
            let frame = Frame::split(&mut self.0).ok_or_else(|| malformed("a torn frame"))?;
            frames.push(frame);
        }
        Ok(frames)
    }

    fn held(&mut self) -> Result<Held> {
        let stream = self.stream()?;
        let holder = match self.byte()? {
            1 => Holder::Journal(self.wide()?),
            2 => Holder::Owner {
                whole: self.byte()? == 1,
            },
            other => return Err(malformed(&format!("an unknown holder {other}"))),
        };
        Ok(Held {
            stream,
            holder,
            epoch: self.number()?,
            released: self.by_signal()?,
            ranges: [self.ranges()?, self.ranges()?, self.ranges()?],
        })
    }
}
