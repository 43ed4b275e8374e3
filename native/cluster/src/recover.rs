//! A stream whose owner is gone, or an earlier one of this node: from the copies that there are into
//! live rows, and from there into files.
//!
//! ```text
//! fence (metadata) --> fence (tables) --> Recovery: ask, gather, fetch --> claim --> live rows --+
//!                                               |  too few answer            |                 v
//!                                               `--> incomplete: tried again |      files --> seal, forget
//!                                                                            `--> readable from here on
//! ```
//!
//! A stream is sealed at the epoch at which every table was fenced: what the seal says is kept and
//! what is not was decided by watermarks that its owner can not have moved since.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otlake_base::{Clock, Code, Error, Result, Signal, StreamId, Table};
use otlake_consensus::state::{StreamRecord, StreamState};
use otlake_consensus::{Command, Refusal};
use otlake_log::Frame;
use otlake_processor::Processor;
use otlake_replicate::Ranges;
use otlake_replicate::drive::{Recoverer, Sink};
use otlake_replicate::recovery::{Recovery, RecoveryConfig};
use tokio::sync::Mutex;

use crate::claims::{Claimed, claim_rest, who_stores};
use crate::local::cut;
use crate::presence::gone;
use crate::registry::{Register, ensembles, watermark};
use crate::services::Wires;

/// How long a recovery waits for members that do not answer before it says that they are missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Times that a fence is tried again because another node was faster.
const FENCES: usize = 4;

/// What a recovery came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The stream.
    pub stream: StreamId,
    /// Whether everything that was acknowledged is readable, and in files.
    pub complete: bool,
    /// Records that were recovered.
    pub records: u64,
    /// Who holds copies and did not answer.
    pub missing: Vec<Arc<str>>,
}

/// Runs this node's recoveries.
pub(crate) struct Recoveries {
    pub(crate) register: Register,
    pub(crate) recoverer: Recoverer,
    pub(crate) wires: Wires,
    pub(crate) clock: Arc<dyn Clock>,
    /// Those that are not done: what was given out of them is not given out again.
    pub(crate) open: Mutex<HashMap<StreamId, Recovery>>,
}

impl Recoveries {
    /// Recovers a stream as far as can be done now.
    ///
    /// # Errors
    /// `METADATA_…`; what storing the records came to; `CLUSTER_FENCED` where another node is at it,
    /// or its owner is there and writes it.
    pub(crate) async fn recover(
        &self,
        processor: &Arc<Processor>,
        stream: StreamId,
    ) -> Result<RecoveryReport> {
        self.unheard(stream).await?;
        // One after another: they share the memory for live rows.
        let mut open = self.open.lock().await;
        let nothing_left = |stream| RecoveryReport {
            stream,
            complete: true,
            records: 0,
            missing: Vec::new(),
        };
        let Some(record) = self.fence(stream, open.contains_key(&stream)).await? else {
            open.remove(&stream);
            return Ok(nothing_left(stream));
        };
        let mut recovery = match open.remove(&stream) {
            Some(recovery) if recovery.config().epoch == record.epoch => recovery,
            _ => {
                // Before anything is read of what they hold: nobody who wrote the stream before
                // moves their watermarks from here on, however late it wakes (I9).
                processor.take_over(stream, record.epoch).await?;
                Recovery::new(
                    RecoveryConfig {
                        stream,
                        epoch: record.epoch,
                        owner: Arc::clone(&record.owner),
                        ensembles: ensembles(&record)?,
                        watermark: watermark(processor, stream),
                        planned: self.register.plans(stream),
                    },
                    self.clock.monotonic(),
                )
            }
        };
        let sink = Adopting {
            register: &self.register,
            stream,
            epoch: record.epoch,
            processor,
            wires: &self.wires,
        };
        // Where the sink fails, the next try begins anew: what is live already is passed over.
        let progress = self.recoverer.run(&mut recovery, &sink, PATIENCE).await?;
        if let Some(epoch) = progress.superseded {
            let what = format!("another node recovers the stream at epoch {epoch}");
            return Err(Error::new(Code::ClusterFenced, what));
        }
        let report = RecoveryReport {
            stream,
            complete: progress.complete,
            records: progress.records,
            missing: progress.missing.clone(),
        };
        if !progress.complete {
            open.insert(stream, recovery);
            return Ok(report);
        }
        processor.live().hold_whole(stream);
        drop(open);
        processor.flush().await?;
        self.seal(&record, &recovery).await?;
        self.register.forget_plans(stream).await?;
        tracing::info!(
            target: "otlake::cluster", %stream, owner = &*record.owner, records = report.records,
            "a stream was recovered"
        );
        Ok(report)
    }

    /// Where nobody has fenced the stream yet, waits until nobody hears its owner.
    async fn unheard(&self, stream: StreamId) -> Result<()> {
        // What was asked for while this node had no quorum may be long out of date.
        let state = self.register.group.read().await?;
        let Some(record) = state.streams.get(&stream) else {
            return Ok(());
        };
        if record.state != StreamState::Open {
            return Ok(());
        }
        let own = self.register.processor.upgrade();
        let own = own.map(|processor| processor.session().stream);
        let own = own.and_then(|stream| state.streams.get(&stream));
        if own.is_some_and(|own| own.state != StreamState::Open) {
            let what =
                "others took this node for dead: it starts anew before it takes over anything";
            return Err(Error::new(Code::ClusterFenced, what));
        }
        let (clock, own) = (&*self.clock, &self.register.name);
        gone(&self.wires, clock, own, (stream, &record.owner)).await
    }

    /// Fences the stream for this node; none where it is sealed or forgotten.
    async fn fence(&self, stream: StreamId, is_ours: bool) -> Result<Option<Arc<StreamRecord>>> {
        for _ in 0..FENCES {
            let state = self.register.group.read().await?;
            let Some(record) = state.streams.get(&stream) else {
                return Ok(None);
            };
            match &record.state {
                StreamState::Sealed { .. } => return Ok(None),
                StreamState::Fenced { by } if is_ours && *by == self.register.name => {
                    return Ok(Some(Arc::clone(record)));
                }
                _ => {}
            }
            let fence = Command::FenceStream {
                stream,
                epoch: record.epoch + 1,
                by: Arc::clone(&self.register.name),
            };
            match self.register.propose(fence).await? {
                Ok(record) => return Ok(Some(record)),
                Err(Refusal::Sealed | Refusal::UnknownStream) => return Ok(None),
                Err(Refusal::Fenced { .. } | Refusal::StaleEpoch { .. }) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let what = "other nodes recover the stream at the same time";
        Err(Error::new(Code::ClusterFenced, what))
    }

    async fn seal(&self, record: &StreamRecord, recovery: &Recovery) -> Result<()> {
        let (mut kept, mut released) = (Ranges::default(), [0; 3]);
        for signal in Signal::ALL {
            // In the beginning of a signal's there are sequences of others that may not be kept.
            let mut settled = recovery.settled(signal);
            let upto = settled.end_of(1).unwrap_or(0);
            released[signal.index()] = upto;
            settled.remove_upto(upto);
            kept.extend(&settled);
        }
        let seal = Command::SealStream {
            stream: record.stream,
            epoch: record.epoch,
            by: Arc::clone(&self.register.name),
            ranges: kept.iter().collect(),
            released,
        };
        match self.register.propose(seal).await? {
            Ok(_) | Err(Refusal::Sealed | Refusal::UnknownStream) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        let members = ensembles(record)?.members();
        let members: Vec<Arc<str>> = members.into_iter().map(|member| member.name).collect();
        let untold = self.recoverer.forget(&members, record.stream).await;
        if !untold.is_empty() {
            tracing::debug!(
                target: "otlake::cluster", ?untold, "copies are forgotten when their nodes come back"
            );
        }
        Ok(())
    }
}

/// Has every table's newest version read, whoever wrote it.
pub(crate) async fn refresh(processor: &Processor) -> Result<()> {
    for table in Table::ALL {
        processor.tables().handle(table).refresh().await?;
    }
    Ok(())
}

/// Takes recovered records into the live rows.
struct Adopting<'a> {
    register: &'a Register,
    stream: StreamId,
    epoch: u64,
    processor: &'a Arc<Processor>,
    wires: &'a Wires,
}

#[async_trait]
impl Sink for Adopting<'_> {
    async fn take(&self, frame: Frame) -> Result<bool> {
        let position = frame.position();
        let Some(mut record) = frame.record() else {
            let what = format!("{position}: a tenant that is no text");
            return Err(Error::new(Code::LogFormat, what));
        };
        let claimed = Claimed::of(position, &record);
        let others = who_stores(self.wires, self.register);
        let known = claim_rest(&self.wires.peers, &others, self.processor, &claimed).await?;
        let rest = cut(record.signal, &record.payload, &known);
        let has_rows = rest.is_some();
        record.payload = rest.unwrap_or_default();
        self.processor.adopt(position, record, has_rows).await?;
        Ok(known.is_empty())
    }

    async fn plan(&self, signal: Signal, kept: &Ranges) -> Result<()> {
        let register = self.register;
        register.plan(self.stream, self.epoch, signal, kept).await
    }
}
