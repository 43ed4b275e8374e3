//! Queries over many nodes: a plan is cut into stages whose tasks run on several nodes, each on a
//! share of the files, by datafusion-distributed.
//!
//! ```text
//!  coordinator                                        worker (each ready node that answers queries)
//!  local plan --bytes of its files >= the threshold?
//!     `-> planned anew: every leaf has a share for each task
//!           task 0 of each stage: here, with all live rows  --> own session: pool, limits, reader
//!           task 1, 2, …: TaskScan as bytes  ==tunnel==>        scan of its pieces of files
//!           rows  <==tunnel==  Arrow batches, LZ4, with flow control by stream
//!
//!  tunnel    gRPC over HTTP/2 in one stream of the authenticated connection of two nodes
//! ```
//!
//! What is scanned was decided by the coordinator's capture: files by name and piece, live batches by
//! what was gathered. A share is of that and of nothing else, each piece is in one share, and live
//! batches never travel again: task 0 of each stage is the coordinator's own. So a distributed answer
//! has the rows that a local one has, each once (I2, I3, I7).
//!
//! An answer is handed on once it is whole, or larger than `WHOLE_ANSWER_BYTES`. Until then a worker
//! that is lost costs another attempt without it, and after `MAX_ATTEMPTS` of those the query runs on the
//! coordinator alone, which reaches every file: nothing is ever left out. Whatever ends a task early (an
//! error, a panic, a time-out) is an error of the query: `guard` sees to that.
//!
//! - `port`: what the rest of the cluster gives: the other nodes, and a way to each.
//! - `limits`: every bound.
//! - `run`: attempts, until an answer is there.
//! - `plan`: whether a query is worth it, and its plan.
//! - `share`: a leaf's share for each task.
//! - `leaf`: a leaf of one task; live batches that stay.
//! - `codec`: leaves and guards as bytes.
//! - `guard`: the head of a stage's task: errors with their codes, panics, deadlines.
//! - `trouble`: errors on their way between nodes, and what went wrong in an attempt.
//! - `channels`: the way to a worker, this node's own included.
//! - `tunnel`: bytes in both directions over messages.
//! - `worker`: tasks for other nodes, and for this one.

mod channels;
mod codec;
mod guard;
mod leaf;
mod limits;
mod plan;
mod port;
mod run;
mod share;
mod trouble;
mod tunnel;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_distributed::Worker;
use otlake_base::{Metrics, Result, TableSource};
use tokio::sync::Semaphore;

pub(crate) use plan::IsShared;
pub use port::{Incoming, Outgoing, Wire, Workers};
pub(crate) use run::Query;
pub(crate) use trouble::Told;

use channels::Channels;
use codec::Codec;
use leaf::Kept;
use limits::MAX_WORKER_TASKS;
use worker::Sessions;

/// What a distributed query takes of the engine.
pub(crate) struct Parts {
    /// Memory, spilling, caches: those of all queries of the node.
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) reader: Arc<dyn ParquetFileReaderFactory>,
    pub(crate) sources: Vec<Arc<dyn TableSource>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes of files from which on a query is distributed.
    pub(crate) distribute_bytes: u64,
}

/// A node's part in distributed queries: its own, and tasks of others'.
pub(crate) struct Distribution {
    workers: Arc<dyn Workers>,
    metrics: Arc<Metrics>,
    distribute_bytes: u64,
    kept: Arc<Kept>,
    codec: Arc<Codec>,
    channels: Arc<Channels>,
    worker: Worker,
}

impl Distribution {
    /// Needs a tokio runtime.
    pub(crate) fn new(workers: Arc<dyn Workers>, parts: Parts) -> Arc<Distribution> {
        let kept = Arc::new(Kept::default());
        let node = workers.own();
        let codec = Arc::new(Codec {
            node: Arc::clone(&node),
            kept: Arc::clone(&kept),
            reader: parts.reader,
            sources: parts.sources,
        });
        let channels = Arc::new(Channels::new(
            Arc::clone(&workers),
            Arc::clone(&parts.metrics),
        ));
        let worker = worker::worker(
            parts.runtime,
            Sessions {
                node,
                codec: Arc::clone(&codec),
                channels: Arc::downgrade(&channels),
                places: Arc::new(Semaphore::new(MAX_WORKER_TASKS)),
                metrics: Arc::clone(&parts.metrics),
            },
        );
        channels.own(worker.clone());
        tokio::spawn(worker::tidy(worker.clone(), Arc::downgrade(&channels)));
        Arc::new(Distribution {
            workers,
            metrics: parts.metrics,
            distribute_bytes: parts.distribute_bytes,
            kept,
            codec,
            channels,
            worker,
        })
    }

    /// Leaves that are kept for this node's own queries.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.kept.count()
    }

    /// Does the tasks that another node sends through a tunnel, until that ends.
    ///
    /// # Errors
    /// `PEER_REFUSED` where the other node is of another version.
    pub(crate) async fn serve(&self, head: &Bytes, wire: Wire) -> Result<()> {
        worker::serve(self.worker.clone(), head, wire).await
    }
}

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod guard_test;
#[cfg(test)]
mod share_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tunnel_test;
