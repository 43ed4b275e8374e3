//! The metadata group, as a linearizable register of streams.

use std::collections::BTreeMap;

use otlake_base::StreamId;
use otlake_replicate::owner::Proposed;
use otlake_replicate::{Ensemble, Ensembles, Ranges};

/// Where a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamState {
    Open,
    Fenced { by: usize },
    Sealed { settled: [Ranges; 3] },
}

#[derive(Clone, Debug)]
pub struct StreamRecord {
    pub owner: usize,
    pub epoch: u64,
    pub ensembles: Ensembles,
    pub state: StreamState,
    /// By signal, what recoveries have planned to keep.
    pub plans: [Option<Ranges>; 3],
}

#[derive(Clone, Debug)]
pub enum Ask {
    Change {
        stream: StreamId,
        ensemble: Ensemble,
    },
    Fence {
        stream: StreamId,
        epoch: u64,
    },
    Seal {
        stream: StreamId,
        epoch: u64,
        settled: [Ranges; 3],
    },
    Plan {
        stream: StreamId,
        epoch: u64,
        signal: usize,
        kept: Ranges,
    },
    Forget {
        stream: StreamId,
    },
    List,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Changed(Proposed),
    /// The stream is fenced for whoever asked.
    Fenced(StreamId, Box<StreamRecord>),
    Sealed(StreamId),
    Planned(StreamId, usize),
    Forgotten,
    Listed(BTreeMap<StreamId, StreamRecord>),
    Refused,
}

#[derive(Default)]
pub struct Register {
    pub streams: BTreeMap<StreamId, StreamRecord>,
    /// Streams that were there and are forgotten: none is registered twice.
    pub gone: std::collections::BTreeSet<StreamId>,
}

impl Register {
    pub fn ask(&mut self, by: usize, ask: Ask) -> Reply {
        match ask {
            Ask::Change { stream, ensemble } => {
                if self.gone.contains(&stream) {
                    return Reply::Changed(Proposed::Fenced(u64::MAX));
                }
                let record = self.streams.entry(stream).or_insert_with(|| StreamRecord {
                    owner: by,
                    epoch: 1,
                    ensembles: Ensembles::default(),
                    state: StreamState::Open,
                    plans: Default::default(),
                });
                if record.state != StreamState::Open {
                    return Reply::Changed(Proposed::Fenced(record.epoch));
                }
                record.ensembles.change(ensemble);
                Reply::Changed(Proposed::Committed)
            }
            Ask::Fence { stream, epoch } => match self.streams.get_mut(&stream) {
                Some(record) if !matches!(record.state, StreamState::Sealed { .. }) => {
                    let again = record.epoch == epoch && record.state == StreamState::Fenced { by };
                    if epoch != record.epoch + 1 && !again {
                        return Reply::Refused;
                    }
                    record.epoch = epoch;
                    record.state = StreamState::Fenced { by };
                    Reply::Fenced(stream, Box::new(record.clone()))
                }
                _ => Reply::Refused,
            },
            Ask::Seal {
                stream,
                epoch,
                settled,
            } => match self.streams.get_mut(&stream) {
                Some(record)
                    if record.epoch == epoch && record.state == StreamState::Fenced { by } =>
                {
                    record.state = StreamState::Sealed { settled };
                    Reply::Sealed(stream)
                }
                Some(record)
                    if record.epoch == epoch
                        && record.state
                            == StreamState::Sealed {
                                settled: settled.clone(),
                            } =>
                {
                    Reply::Sealed(stream)
                }
                _ => Reply::Refused,
            },
            Ask::Plan {
                stream,
                epoch,
                signal,
                kept,
            } => match self.streams.get_mut(&stream) {
                Some(record)
                    if record.epoch == epoch && record.state == StreamState::Fenced { by } =>
                {
                    record.plans[signal] = Some(kept);
                    Reply::Planned(stream, signal)
                }
                _ => Reply::Refused,
            },
            Ask::Forget { stream } => {
                let sealed = self.streams.get(&stream);
                if sealed.is_some_and(|r| matches!(r.state, StreamState::Sealed { .. })) {
                    self.streams.remove(&stream);
                    self.gone.insert(stream);
                }
                Reply::Forgotten
            }
            Ask::List => Reply::Listed(self.streams.clone()),
        }
    }
}
