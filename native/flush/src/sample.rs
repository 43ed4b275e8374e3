//! The part of a flush of spans that decides which of them are written (docs/sampling.md).
//!
//! It comes after what is derived of them, which is of all, and before their own commit. That covers every
//! batch of the seal, so for watermarks, replay and whoever takes a stream over nothing is different from
//! a flush that writes all of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use otlake_base::{Result, Signal, StreamId, Table, worker};
use otlake_sample::{Batch, Counts, Early, Sampler, Sealed, Verdicts};

use crate::flusher::Worker;
use crate::{LiveBatch, Reason, Seal};

impl Worker {
    /// What decides of this worker's signal.
    pub(crate) fn sampler(&self) -> Option<&Arc<Sampler>> {
        let sampler = self.parts.sampler.as_ref();
        sampler.filter(|_| self.signal == Signal::Traces)
    }

    /// Of a seal's spans that their table lacks those that are kept, and what became of all; none where
    /// nothing is decided. What was decided is durable when this returns.
    pub(crate) async fn sampled(
        &mut self,
        seal: &Seal,
        watermarks: &HashMap<StreamId, u64>,
    ) -> Result<Option<(Vec<RecordBatch>, Counts)>> {
        let Some(sampler) = self.sampler().cloned() else {
            return Ok(None);
        };
        let lacking = seal.lacking(watermarks);
        let batches: Vec<Batch> = lacking
            .flat_map(|(batch, arrived)| spans_of(batch, arrived))
            .collect();
        let verdicts = match &self.verdicts {
            Some(verdicts) => Arc::clone(verdicts),
            None => {
                let verdicts = self.decide(&sampler, seal, batches.clone()).await?;
                self.verdicts = Some(Arc::clone(&verdicts));
                verdicts
            }
        };
        let work = move || {
            sampler.save()?;
            let (mut kept, mut counts) = (Vec::new(), verdicts.counts());
            for batch in &batches {
                kept.extend(verdicts.rows(batch, &mut counts)?);
            }
            Ok(Some((kept, counts)))
        };
        worker::run("otlake-flush", self.parts.live.nice(), work).await?
    }

    async fn decide(
        &self,
        sampler: &Arc<Sampler>,
        seal: &Seal,
        batches: Vec<Batch>,
    ) -> Result<Arc<Verdicts>> {
        let live = self.parts.live.capture(Table::Spans);
        let when = Sealed {
            at: seal.at,
            early: seal.hurried.map(|reason| match reason {
                Reason::Requested => Early::Asked,
                _ => Early::Memory,
            }),
        };
        let sampler = Arc::clone(sampler);
        let work = move || {
            let live = live.iter();
            let live: Vec<Batch> = live
                .flat_map(|batch| spans_of(batch, Duration::ZERO))
                .collect();
            sampler.decide(&batches, &live, when)
        };
        let verdicts = worker::run("otlake-flush", self.parts.live.nice(), work).await??;
        Ok(Arc::new(verdicts))
    }
}

/// The spans of a batch: one for each tenant that has some.
fn spans_of(batch: &LiveBatch, arrived: Duration) -> impl Iterator<Item = Batch> + '_ {
    batch.of(Table::Spans).map(move |part| Batch {
        position: batch.position,
        tenant: Arc::clone(&part.tenant),
        rows: part.rows.clone(),
        arrived,
    })
}
