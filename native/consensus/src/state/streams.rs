//! Streams: who writes and follows them, their epochs, and how they end.
//!
//! ```text
//! open(epoch 1) -- fence(epoch + 1, by) --> fenced -- seal(ranges) --> sealed -- forget --> gone
//!      `------------- seal, by the owner at its epoch ---------------^
//! ```
//!
//! A fence is raised again, one epoch higher, where the recoverer itself dies. Only who holds the
//! newest epoch can seal (I9).

use std::collections::BTreeMap;
use std::sync::Arc;

use otlake_base::StreamId;
use serde::{Deserialize, Serialize};

use super::{State, full};
use crate::command::{Answer, Refusal};
use crate::limits::{MAX_ENSEMBLES, MAX_STREAMS};

/// The nodes that follow a stream, for each signal; its owner is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Followers {
    /// For spans.
    pub spans: Vec<Arc<str>>,
    /// For metric points.
    pub metrics: Vec<Arc<str>>,
    /// For log records.
    pub logs: Vec<Arc<str>>,
}

/// Who follows a stream from a record on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ensemble {
    /// Which change of the stream made it, from 1: a change that is late must not undo a later one.
    #[serde(default)]
    pub version: u64,
    /// The first record that this is for.
    pub first_sequence: u64,
    /// The followers.
    pub followers: Followers,
    /// Copies that an acknowledgement needs, by signal: traces, metrics, logs.
    #[serde(default)]
    pub acks: [u32; 3],
}

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Its owner writes it.
    Open,
    /// It is being recovered.
    Fenced {
        /// By this node.
        by: Arc<str>,
    },
    /// It has ended.
    Sealed {
        /// The node that sealed it.
        by: Arc<str>,
        /// The sequence numbers that were kept, both ends included, ascending.
        ranges: Vec<(u64, u64)>,
        /// By signal: every one of its sequence numbers up to here was kept, too.
        #[serde(default)]
        released: [u64; 3],
    },
}

/// What the group knows of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// The stream.
    #[serde(with = "crate::hex::stream")]
    pub stream: StreamId,
    /// The node that wrote it.
    pub owner: Arc<str>,
    /// The epoch: 1, and one more with each fence.
    pub epoch: u64,
    /// Who follows it, by first record, ascending.
    pub ensembles: Vec<Ensemble>,
    /// Where it stands.
    pub state: StreamState,
    /// When it came to stand there, in the group's time, in milliseconds.
    #[serde(default)]
    pub since_ms: u64,
}

impl State {
    pub(super) fn register(
        &mut self,
        stream: StreamId,
        owner: &Arc<str>,
        followers: &Followers,
        acks: [u32; 3],
    ) -> Result<Answer, Refusal> {
        if let Some(record) = self.streams.get(&stream) {
            if record.owner != *owner {
                return Err(Refusal::Registered {
                    owner: Arc::clone(&record.owner),
                });
            }
            open(record, record.epoch)?;
            return Ok(Answer::Stream(Arc::clone(record)));
        }
        if self.streams.len() >= MAX_STREAMS {
            return Err(full("streams", MAX_STREAMS));
        }
        let record = Arc::new(StreamRecord {
            stream,
            owner: Arc::clone(owner),
            epoch: 1,
            ensembles: vec![Ensemble {
                version: 1,
                first_sequence: 1,
                followers: followers.clone(),
                acks,
            }],
            state: StreamState::Open,
            since_ms: self.time_ms,
        });
        Ok(self.put(record))
    }

    pub(super) fn change_ensemble(
        &mut self,
        stream: StreamId,
        epoch: u64,
        ensemble: &Ensemble,
        released: u64,
    ) -> Result<Answer, Refusal> {
        let record = self.stream(stream)?;
        open(record, epoch)?;
        let mut changed = StreamRecord::clone(record);
        if let Some(last) = record.ensembles.last()
            && ensemble.version <= last.version
        {
            return match last == ensemble {
                true => Ok(Answer::Stream(Arc::clone(record))),
                false => Err(Refusal::StaleSequence {
                    first_sequence: last.first_sequence,
                }),
            };
        }
        changed
            .ensembles
            .retain(|other| other.first_sequence < ensemble.first_sequence);
        changed.ensembles.push(ensemble.clone());
        // An ensemble ends where the next one starts.
        let ended = changed
            .ensembles
            .iter()
            .skip(1)
            .take_while(|next| next.first_sequence <= released)
            .count();
        changed.ensembles.drain(..ended);
        if changed.ensembles.len() > MAX_ENSEMBLES {
            return Err(full("changes of a stream's followers", MAX_ENSEMBLES));
        }
        Ok(self.put(Arc::new(changed)))
    }

    pub(super) fn fence(
        &mut self,
        stream: StreamId,
        epoch: u64,
        by: &Arc<str>,
    ) -> Result<Answer, Refusal> {
        let record = self.stream(stream)?;
        match &record.state {
            StreamState::Sealed { .. } => return Err(Refusal::Sealed),
            // The same fence again is the answer to a question asked twice.
            StreamState::Fenced { by: holder } if record.epoch == epoch && holder == by => {
                return Ok(Answer::Stream(Arc::clone(record)));
            }
            StreamState::Fenced { by: holder } if epoch != record.epoch + 1 => {
                return Err(Refusal::Fenced {
                    epoch: record.epoch,
                    by: Arc::clone(holder),
                });
            }
            _ if epoch != record.epoch + 1 => {
                return Err(Refusal::StaleEpoch {
                    epoch: record.epoch,
                });
            }
            _ => {}
        }
        let mut fenced = StreamRecord::clone(record);
        fenced.epoch = epoch;
        fenced.state = StreamState::Fenced { by: Arc::clone(by) };
        fenced.since_ms = self.time_ms;
        Ok(self.put(Arc::new(fenced)))
    }

    pub(super) fn seal(
        &mut self,
        stream: StreamId,
        epoch: u64,
        by: &Arc<str>,
        (ranges, released): (&[(u64, u64)], [u64; 3]),
    ) -> Result<Answer, Refusal> {
        let record = self.stream(stream)?;
        let sealed = StreamState::Sealed {
            by: Arc::clone(by),
            ranges: ranges.to_vec(),
            released,
        };
        match &record.state {
            StreamState::Sealed { .. } if record.epoch == epoch && record.state == sealed => {
                return Ok(Answer::Stream(Arc::clone(record)));
            }
            StreamState::Sealed { .. } => return Err(Refusal::Sealed),
            StreamState::Fenced { by: holder } if record.epoch != epoch || holder != by => {
                return Err(Refusal::Fenced {
                    epoch: record.epoch,
                    by: Arc::clone(holder),
                });
            }
            StreamState::Open if record.epoch != epoch => {
                return Err(Refusal::StaleEpoch {
                    epoch: record.epoch,
                });
            }
            StreamState::Open if record.owner != *by => {
                return Err(Refusal::Registered {
                    owner: Arc::clone(&record.owner),
                });
            }
            _ => {}
        }
        let mut ended = StreamRecord::clone(record);
        ended.state = sealed;
        ended.since_ms = self.time_ms;
        Ok(self.put(Arc::new(ended)))
    }

    pub(super) fn forget(&mut self, stream: StreamId) -> Result<Answer, Refusal> {
        if let Some(record) = self.streams.get(&stream) {
            if !matches!(record.state, StreamState::Sealed { .. }) {
                return Err(Refusal::NotSealed);
            }
            Arc::make_mut(&mut self.streams).remove(&stream);
        }
        Ok(Answer::Done)
    }

    fn stream(&self, stream: StreamId) -> Result<&Arc<StreamRecord>, Refusal> {
        self.streams.get(&stream).ok_or(Refusal::UnknownStream)
    }

    fn put(&mut self, record: Arc<StreamRecord>) -> Answer {
        Arc::make_mut(&mut self.streams).insert(record.stream, Arc::clone(&record));
        Answer::Stream(record)
    }
}

/// Refuses what only the owner of an open stream may do.
fn open(record: &StreamRecord, epoch: u64) -> Result<(), Refusal> {
    match &record.state {
        StreamState::Open if record.epoch == epoch => Ok(()),
        StreamState::Open => Err(Refusal::StaleEpoch {
            epoch: record.epoch,
        }),
        StreamState::Fenced { by } => Err(Refusal::Fenced {
            epoch: record.epoch,
            by: Arc::clone(by),
        }),
        StreamState::Sealed { .. } => Err(Refusal::Sealed),
    }
}

/// Streams as a list: their records hold their ids.
pub(super) mod as_list {
    use serde::{Deserializer, Serializer};

    use super::{Arc, BTreeMap, Deserialize, StreamId, StreamRecord};

    type Streams = Arc<BTreeMap<StreamId, Arc<StreamRecord>>>;

    pub fn serialize<S: Serializer>(streams: &Streams, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(streams.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Streams, D::Error> {
        let list = Vec::<Arc<StreamRecord>>::deserialize(deserializer)?;
        let streams = list.into_iter().map(|record| (record.stream, record));
        Ok(Arc::new(streams.collect()))
    }
}
