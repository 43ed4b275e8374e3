//! What is said when a write has ended, and what is held.

use otlake_base::{Result, StreamId};

use super::{Awaited, Follower, Stream, To};
use crate::Ranges;
use crate::message::{Held, Holder, Message, Refusal};

impl Follower {
    /// What came of a write: `Ok` means that it is fsynced. Writes end in the order they were asked.
    pub fn written(&mut self, ticket: u64, outcome: &Result<()>) {
        let journal = self.journal;
        match self.awaited.remove(&ticket) {
            Some(Awaited::Frames {
                stream,
                records,
                bytes,
            }) => {
                self.waiting_bytes -= bytes;
                let Some(of) = self.streams.get_mut(&stream) else {
                    return;
                };
                let mut ranges = Ranges::default();
                for (signal, sequence) in records {
                    of.writing.remove(sequence);
                    if outcome.is_err() {
                        continue;
                    }
                    if sequence > of.released[signal] {
                        of.durable[signal].insert(sequence);
                    }
                    ranges.insert(sequence);
                }
                let message = match outcome {
                    Ok(()) => Message::Durable {
                        stream,
                        journal,
                        ranges,
                    },
                    Err(_) => Message::Refused {
                        stream,
                        epoch: 0,
                        reason: Refusal::Busy,
                    },
                };
                if let Some(link) = of.link {
                    self.say(To::Link(link), message);
                }
            }
            Some(Awaited::Fence {
                stream,
                epoch,
                call,
            }) => {
                let message = match outcome {
                    Ok(()) => {
                        let of = self.streams.entry(stream).or_default();
                        of.fence_durable = of.fence_durable.max(epoch);
                        Message::Held(self.held(stream))
                    }
                    Err(_) => Message::Refused {
                        stream,
                        epoch: 0,
                        reason: Refusal::Busy,
                    },
                };
                self.say(To::Call(call), message);
            }
            Some(Awaited::Release { stream, released }) => {
                if let Some(of) = self.streams.get_mut(&stream) {
                    of.releasing = false;
                    if outcome.is_ok() {
                        of.released_durable = released;
                    }
                }
            }
            Some(Awaited::Nothing) | None => {}
        }
    }

    /// The journal lost these records, and has another identity because of it: every owner is told.
    pub fn lost(&mut self, journal: u128, records: &[(StreamId, u64)]) {
        self.journal = journal;
        for (stream, sequence) in records {
            if let Some(of) = self.streams.get_mut(stream) {
                for ranges in &mut of.durable {
                    ranges.remove(*sequence);
                }
            }
        }
        let linked: Vec<(StreamId, u64)> = self
            .streams
            .iter()
            .filter_map(|(stream, of)| Some((*stream, of.link?)))
            .collect();
        for (stream, link) in linked {
            let held = Message::Held(self.held(stream));
            self.say(To::Link(link), held);
        }
    }

    /// What it holds of a stream, all of it fsynced.
    pub fn held(&self, stream: StreamId) -> Held {
        let of = self.streams.get(&stream);
        Held {
            stream,
            holder: Holder::Journal(self.journal),
            epoch: of.map_or(0, |of| of.fence),
            released: of.map_or([0; 3], |of| of.released),
            ranges: of.map_or_else(Default::default, |of| of.durable.clone()),
        }
    }

    /// Streams of which it holds records.
    pub fn holding(&self) -> Vec<StreamId> {
        let holds = |of: &Stream| of.durable.iter().any(|ranges| !ranges.is_empty());
        self.streams
            .iter()
            .filter(|(_, of)| holds(of) || !of.writing.is_empty())
            .map(|(stream, _)| *stream)
            .collect()
    }
}
