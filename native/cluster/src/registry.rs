//! The metadata group, as replication and reads need it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use otlake_base::{Code, Error, Position, Result, Signal, StreamId};
use otlake_consensus::state::{self, Followers, StreamRecord, StreamState};
use otlake_consensus::{Answer, Command, MetadataGroup, Refusal};
use otlake_processor::Processor;
use otlake_reads::{OpenStream, Streams};
use otlake_replicate::drive::Registry;
use otlake_replicate::owner::Proposed;
use otlake_replicate::{Copies, Ensemble, Ensembles, Ranges};

/// What keys of the configuration begin with that say what a recovery keeps.
const PLAN: &str = "plan/";

/// Streams in the metadata group.
#[derive(Clone)]
pub(crate) struct Register {
    pub(crate) group: Arc<MetadataGroup>,
    pub(crate) name: Arc<str>,
    pub(crate) processor: Weak<Processor>,
}

impl Register {
    /// Proposes something about a stream.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE`, where it is not known what became of it.
    pub(crate) async fn propose(
        &self,
        command: Command,
    ) -> Result<std::result::Result<Arc<StreamRecord>, Refusal>> {
        match self.group.propose(command).await? {
            Answer::Stream(record) => Ok(Ok(record)),
            Answer::Refused(refusal) => Ok(Err(refusal)),
            other => Err(Error::new(
                Code::Internal,
                format!("the metadata group answered {other:?} about a stream"),
            )),
        }
    }

    /// Writes what a recovery keeps of a signal.
    ///
    /// # Errors
    /// `METADATA_…`.
    pub(crate) async fn plan(
        &self,
        stream: StreamId,
        epoch: u64,
        signal: Signal,
        kept: &Ranges,
    ) -> Result<()> {
        let kept: Vec<(u64, u64)> = kept.iter().collect();
        // Epochs of one length, so that keys are in their order.
        let key = format!("{PLAN}{stream}/{}/{epoch:020}", signal.name());
        self.set(key, Some(serde_json::json!(kept).to_string()))
            .await
    }

    /// By signal: what the last recovery of a stream that planned anything keeps of it.
    pub(crate) fn plans(&self, stream: StreamId) -> [Option<Ranges>; 3] {
        let state = self.group.local();
        Signal::ALL.map(|signal| {
            let prefix = format!("{PLAN}{stream}/{}/", signal.name());
            let plans = state.settings.range(prefix.clone()..);
            let last = plans
                .take_while(|(key, _)| key.starts_with(&prefix))
                .last()?;
            let kept: Vec<(u64, u64)> = serde_json::from_str(&last.1.value).ok()?;
            let mut ranges = Ranges::default();
            for (first, last) in kept {
                ranges.insert_range(first, last);
            }
            Some(ranges)
        })
    }

    /// Removes what recoveries of a stream have planned: the seal says it now.
    ///
    /// # Errors
    /// `METADATA_…`.
    pub(crate) async fn forget_plans(&self, stream: StreamId) -> Result<()> {
        let prefix = format!("{PLAN}{stream}/");
        let state = self.group.local();
        let plans = state.settings.range(prefix.clone()..);
        let plans = plans.take_while(|(key, _)| key.starts_with(&prefix));
        for (key, _) in plans {
            self.set(key.clone(), None).await?;
        }
        Ok(())
    }

    async fn set(&self, key: String, value: Option<String>) -> Result<()> {
        let configure = Command::Configure {
            key,
            value,
            expect: None,
        };
        match self.group.propose(configure).await? {
            Answer::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    /// By signal: every table of it holds all of the stream up to here.
    pub(crate) fn watermark(&self, stream: StreamId) -> [u64; 3] {
        match self.processor.upgrade() {
            None => [0; 3],
            Some(processor) => watermark(&processor, stream),
        }
    }

    /// The first sequence that some table may lack.
    fn released(&self, stream: StreamId) -> u64 {
        let held = self.watermark(stream).into_iter().min();
        held.map_or(1, |held| held + 1)
    }

    /// Registers the stream, and makes `ensemble` its last one.
    async fn make(
        &self,
        stream: StreamId,
        epoch: u64,
        ensemble: &Ensemble,
    ) -> Result<std::result::Result<(), Refusal>> {
        let wanted = to_state(ensemble);
        let register = Command::RegisterStream {
            stream,
            owner: Arc::clone(&self.name),
            followers: wanted.followers.clone(),
            acks: wanted.acks,
        };
        let registered = match self.group.local().streams.get(&stream) {
            Some(record) => Arc::clone(record),
            None => match self.propose(register).await? {
                Ok(record) => record,
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        if registered.epoch == epoch && registered.ensembles.last() == Some(&wanted) {
            return Ok(Ok(()));
        }
        let change = Command::ChangeEnsemble {
            stream,
            epoch,
            ensemble: wanted,
            released: self.released(stream),
        };
        Ok(self.propose(change).await?.map(|_| ()))
    }
}

/// By signal: every table of it holds all of the stream up to here, as far as this node knows.
pub(crate) fn watermark(processor: &Processor, stream: StreamId) -> [u64; 3] {
    Signal::ALL.map(|signal| {
        let held = signal.tables().iter().map(|table| {
            let snapshot = processor.tables().handle(*table).snapshot();
            snapshot.watermarks.get(&stream).copied().unwrap_or(0)
        });
        held.min().unwrap_or(0)
    })
}

#[async_trait]
impl Registry for Register {
    async fn change(&self, stream: StreamId, epoch: u64, ensemble: &Ensemble) -> Result<Proposed> {
        match self.make(stream, epoch, ensemble).await? {
            Ok(()) => Ok(Proposed::Committed),
            Err(Refusal::Fenced { epoch, .. } | Refusal::StaleEpoch { epoch }) => {
                Ok(Proposed::Fenced(epoch))
            }
            Err(Refusal::Sealed | Refusal::UnknownStream) => Ok(Proposed::Fenced(epoch + 1)),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

#[async_trait]
impl Streams for Register {
    async fn open(&self) -> Result<Vec<OpenStream>> {
        let state = self.group.read().await?;
        let streams = state.streams.values().filter_map(|record| {
            let state = match &record.state {
                StreamState::Open => otlake_reads::StreamState::Open,
                StreamState::Fenced { by } => {
                    otlake_reads::StreamState::Fenced { by: Arc::clone(by) }
                }
                // It was sealed when all of it was in files.
                StreamState::Sealed { .. } => return None,
            };
            Some(OpenStream {
                stream: record.stream,
                owner: Arc::clone(&record.owner),
                state,
            })
        });
        Ok(streams.collect())
    }
}

/// Whether the record stands in the stream's tables or was kept when the stream was sealed.
pub(crate) fn was_kept(
    ranges: &[(u64, u64)],
    released: &[u64; 3],
    signal: Signal,
    position: Position,
) -> bool {
    let sequence = position.sequence;
    let after = ranges.partition_point(|(first, _)| *first <= sequence);
    let is_in = |at: usize| ranges[at].1 >= sequence;
    sequence <= released[signal.index()] || after.checked_sub(1).is_some_and(is_in)
}

/// An ensemble as the group keeps it: members as text.
pub(crate) fn to_state(ensemble: &Ensemble) -> state::Ensemble {
    let names = |signal: Signal| -> Vec<Arc<str>> {
        let followers = ensemble.of(signal).followers.iter();
        followers.map(|member| member.to_string().into()).collect()
    };
    state::Ensemble {
        version: ensemble.version,
        first_sequence: ensemble.first_sequence,
        followers: Followers {
            spans: names(Signal::Traces),
            metrics: names(Signal::Metrics),
            logs: names(Signal::Logs),
        },
        acks: Signal::ALL.map(|signal| ensemble.of(signal).acks as u32),
    }
}

/// What `to_state` was given.
///
/// # Errors
/// `CLUSTER_MESSAGE` for a member that is none.
pub(crate) fn ensembles(record: &StreamRecord) -> Result<Ensembles> {
    let copies = |names: &[Arc<str>], acks: u32| -> Result<Copies> {
        let followers = names.iter().map(|name| name.parse());
        Ok(Copies {
            followers: followers.collect::<Result<_>>()?,
            acks: acks as usize,
        })
    };
    let ensembles = record.ensembles.iter().map(|ensemble| {
        let Followers {
            spans,
            metrics,
            logs,
        } = &ensemble.followers;
        let [of_spans, of_metrics, of_logs] = ensemble.acks;
        Ok::<_, Error>(Ensemble {
            version: ensemble.version,
            first_sequence: ensemble.first_sequence,
            signals: [
                copies(spans, of_spans)?,
                copies(metrics, of_metrics)?,
                copies(logs, of_logs)?,
            ],
        })
    });
    Ok(Ensembles(ensembles.collect::<Result<_>>()?))
}
