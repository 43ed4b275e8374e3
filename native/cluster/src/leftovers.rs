//! What is left of this node's earlier streams. A stream that this node finishes itself is recovered
//! like any other (`recover.rs`). One that another node sealed can have records that only this node's
//! log still holds: those that were never acknowledged, and those of signals that are acknowledged
//! at one copy. They are appended to the stream of this start, and then the old one goes. What this
//! node had written to files itself before the tables were fenced is there, and is not appended: of a
//! record of metrics, whose tables are written one after another, that can be a part.

use std::collections::HashSet;
use std::sync::Arc;

use otlake_base::{Code, Error, Position, Result, Signal, StreamId, Table};
use otlake_consensus::state::{StreamRecord, StreamState};
use otlake_consensus::{Answer, Command};
use otlake_log::StreamReader;
use otlake_processor::{Processor, Stage};

use crate::claims::{Claimed, claim, who_stores};
use crate::cluster::Cluster;
use crate::local::{cut, cut_tables};
use crate::recover::refresh;
use crate::registry::{ensembles, was_kept, watermark};

/// Bytes of an old stream that are read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

impl Cluster {
    /// Settles earlier streams of this node as far as can be done now. Those that nobody has fenced
    /// or sealed wait for a recovery, which TypeScript asks for.
    pub(crate) async fn settle(&self) -> Result<()> {
        let processor = self.processor()?;
        let own = processor.session().stream;
        let held: HashSet<StreamId> = processor.earlier_streams().into_iter().collect();
        let state = self.group().read().await?;
        for stream in &held {
            match state.streams.get(stream) {
                None => self.register_earlier(&processor, *stream).await?,
                Some(record) => match &record.state {
                    StreamState::Sealed {
                        ranges, released, ..
                    } => {
                        let kept = |signal, position| was_kept(ranges, released, signal, position);
                        processor.settle_recovered(*stream, kept);
                        self.append_again(&processor, record, kept).await?;
                        processor.release_stream(*stream).await?;
                        self.forget(*stream).await?;
                    }
                    StreamState::Open | StreamState::Fenced { .. } => {}
                },
            }
        }
        // Sealed streams of this node of which its log holds nothing.
        let is_gone = |record: &&Arc<StreamRecord>| {
            record.owner == *self.name()
                && record.stream != own
                && !held.contains(&record.stream)
                && matches!(record.state, StreamState::Sealed { .. })
        };
        let gone: Vec<StreamId> = state
            .streams
            .values()
            .filter(is_gone)
            .map(|record| record.stream)
            .collect();
        for stream in gone {
            self.forget(stream).await?;
        }
        Ok(())
    }

    /// A stream from before this node was in a cluster: it has no followers, and is recovered from
    /// this node's log alone.
    async fn register_earlier(&self, processor: &Arc<Processor>, stream: StreamId) -> Result<()> {
        let held = watermark(processor, stream);
        let mut reader = self.reader(stream);
        let is_in_files = blocking(move || {
            let is_lacking = |frame: &otlake_log::Frame| {
                let header = frame.header();
                header.sequence > held[header.signal.index()]
            };
            loop {
                let chunk = reader.read(None, READ_BYTES)?;
                if chunk.frames.iter().any(is_lacking) {
                    return Ok(false);
                }
                if chunk.ended {
                    return Ok(true);
                }
            }
        })
        .await?;
        if is_in_files {
            processor.settle_recovered(stream, |_, _| true);
            return processor.release_stream(stream).await;
        }
        let register = Command::RegisterStream {
            stream,
            owner: Arc::clone(self.name()),
            followers: Default::default(),
            acks: [1; 3],
        };
        match self.group().propose(register).await? {
            Answer::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    /// Appends what was not kept of a sealed stream to the stream of this start, of the signals of which
    /// that may have been acknowledged. Of the others it never was: who sent it was told so, or sends it
    /// again.
    async fn append_again(
        &self,
        processor: &Arc<Processor>,
        record: &StreamRecord,
        was_kept: impl Fn(Signal, Position) -> bool,
    ) -> Result<()> {
        let stream = record.stream;
        let ensembles = ensembles(record)?;
        // The seal came after the tables were fenced: from here on they tell what this node wrote.
        refresh(processor).await?;
        let mut reader = self.reader(stream);
        let mut appended = 0u64;
        loop {
            let (chunk, read) = blocking(move || {
                let chunk = reader.read(None, READ_BYTES)?;
                Ok((chunk, reader))
            })
            .await?;
            reader = read;
            for frame in &chunk.frames {
                let position = frame.position();
                let signal: Signal = frame.header().signal;
                if was_kept(signal, position) || !ensembles.may_be_owners_alone(signal) {
                    continue;
                }
                let Some(mut record) = frame.record() else {
                    continue;
                };
                let others = who_stores(&self.wires, &self.register);
                let gone = written(processor, signal, position);
                let claimed = Claimed::of(position, &record);
                let reserved = Stage::Reserved;
                let known = claim(self.peers(), &others, processor, &claimed, reserved).await?;
                let rest = cut(signal, &record.payload, &known);
                if let Some(rest) = rest.and_then(|rest| cut_tables(signal, rest, &gone)) {
                    record.payload = rest;
                    processor.append_again(record).await?;
                    appended += 1;
                }
                let rest = claimed.without(&known);
                claim(self.peers(), &others, processor, &rest, Stage::Stored).await?;
            }
            if chunk.ended {
                break;
            }
        }
        if appended > 0 {
            tracing::info!(
                target: "otlake::cluster", %stream, appended,
                "records that only this node held were appended anew"
            );
        }
        Ok(())
    }

    async fn forget(&self, stream: StreamId) -> Result<()> {
        match self
            .group()
            .propose(Command::ForgetStream { stream })
            .await?
        {
            Answer::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }

    fn reader(&self, stream: StreamId) -> StreamReader {
        let config = self.config();
        StreamReader::new(Arc::clone(&config.disk), config.log_dir(), stream, 1)
    }
}

/// The tables to which the owner of a stream had written this record before the stream was taken over.
fn written(processor: &Processor, signal: Signal, position: Position) -> Vec<Table> {
    let tables = signal.tables().iter().copied();
    let has_it = |table: &Table| {
        let snapshot = processor.tables().handle(*table).snapshot();
        snapshot.standing(position.stream).written >= position.sequence
    };
    tables.filter(has_it).collect()
}

/// Runs what reads a disk on a thread made for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))?
}
