//! The only crate that names napi. This file is the inventory of every export: the same names,
//! order and nesting as `ts/native/binding.ts`, which a test compares with it.
//!
//! Only plain records, bytes and opaque handles cross. Every field is present and `null` means
//! none; nanoseconds and u64 cross as `bigint`. Slow calls return promises and run on the
//! engine's own runtimes. Buffers are copied in and given out, never lent. An error's message is
//! `CODE: what happened`, which `ts/native/` turns into a typed error; no panic crosses.
//!
//! - `engine.rs`: opens the storage, the queries and the runtimes that carry them.
//! - `records.rs`: the plain records, and their conversions.
//! - `sampling.rs`: those of tail sampling.
//! - `cluster.rs`: the node's place in a cluster.
//! - `workers.rs`: queries that are shared among nodes.
//! - `servers.rs`: the OTLP receiver and the Flight SQL server as handles.
//! - `export.rs`: the rows of an answer as OTLP.
//! - `trace.rs`: a trace as OTLP, part by part.
//! - `rules.rs`: the records of rules that rows go through on their way in.
//! - `traceql.rs`: TraceQL, JSON in and out.
//! - `byte_stream.rs`: results that the consumer pulls, chunk by chunk.
//! - `verification.rs`: the check of a data folder.
//! - `log_sink.rs`: what the native module has to say, into the node's log.
//! - `failure.rs`: otlake's error as JavaScript's.

mod byte_stream;
mod cluster;
mod engine;
mod export;
mod failure;
mod log_sink;
mod records;
mod rules;
mod sampling;
mod servers;
mod trace;
mod traceql;
mod verification;
mod workers;

use std::collections::HashMap;

use napi::Result;
use napi::bindgen_prelude::{Buffer, Either};
use napi_derive::napi;

use byte_stream::ByteStream;
use cluster::{NativeCluster, NativeClusterConfig};
use log_sink::OnLog;
use records::{
    EngineConfig, ErrorInfo, FlightConfig, IngestResult, JobReport, QueryRequest, ReceiverConfig,
    RunningQuery, Stats, StoreConfig, TailRequest, TraceRequest,
};
use servers::{FlightServer, Receiver};
use traceql::{Asked, TraceqlAnswer};

/// napi's own runtime only carries promises; the work runs on the engine's.
#[napi_derive::module_init]
fn init() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlake-promises")
        .enable_all()
        .build();
    if let Ok(runtime) = runtime {
        napi::bindgen_prelude::create_custom_tokio_runtime(runtime);
    }
}

/// The version of the native module; it must equal the package's.
#[napi]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Every error code with its kind and the sentence that names the fix.
#[napi]
pub fn error_table() -> Vec<ErrorInfo> {
    records::error_table()
}

/// The defaults of every limit a user can set.
#[napi]
pub fn limits() -> HashMap<String, f64> {
    records::limits()
}

/// Opens the storage below `config.data_dir` and replays its log.
#[napi]
pub async fn open_engine(config: EngineConfig, on_log: OnLog) -> Result<Engine> {
    log_sink::attach(on_log);
    Ok(Engine(engine::Engine::open(config).await?))
}

/// Checks every file of a data folder, and of its tables where they are elsewhere: a line of JSON
/// for each.
#[napi]
pub async fn verify(
    data_dir: String,
    tables: Option<String>,
    store: Option<StoreConfig>,
) -> Result<ByteStream> {
    Ok(verification::verify(&data_dir, tables, store).await?)
}

/// Whether a node has the copies of tables' files in this data folder open, those that a cluster keeps on
/// its nodes' own disks.
#[napi]
pub async fn copies_are_open(data_dir: String) -> Result<bool> {
    Ok(verification::copies_are_open(&data_dir)?)
}

/// Holds a file against what stands beside a copy; null where it is whole, else what is wrong.
#[napi]
pub async fn check_copy(path: String, sums: String) -> Result<Option<String>> {
    Ok(verification::check_copy(path, sums).await?)
}

/// The paths of the files that a table's newest version names, in a data folder.
#[napi]
pub async fn named_files(data_dir: String, table: String) -> Result<Vec<String>> {
    Ok(verification::named_files(&data_dir, &table).await?)
}

/// An open store: storage, queries and the servers started on it.
#[napi]
pub struct Engine(engine::Engine);

#[napi]
impl Engine {
    /// Stores one OTLP request; resolves when it is durable (I1).
    #[napi]
    pub async fn ingest(
        &self,
        signal: String,
        encoding: String,
        tenant: String,
        body: Buffer,
    ) -> Result<IngestResult> {
        Ok(self
            .0
            .ingest(&signal, &encoding, &tenant, body.to_vec())
            .await?)
    }

    /// Starts the OTLP servers.
    #[napi]
    pub async fn start_receiver(&self, config: ReceiverConfig) -> Result<Receiver> {
        Ok(self.0.start_receiver(config).await?)
    }

    /// Starts the Flight SQL server.
    #[napi]
    pub async fn start_flight(&self, config: FlightConfig) -> Result<FlightServer> {
        Ok(self.0.start_flight(config).await?)
    }

    /// Puts the store into a cluster; before the servers, and before anything is stored.
    #[napi]
    pub async fn start_cluster(&self, config: NativeClusterConfig) -> Result<NativeCluster> {
        Ok(self.0.start_cluster(config).await?)
    }

    /// Plans a statement and returns its answer as a stream of bytes.
    #[napi]
    pub async fn query(&self, request: QueryRequest) -> Result<ByteStream> {
        Ok(self.0.query(request).await?)
    }

    /// One whole trace: its bytes, a stream of them where it is large, or `null` where no span of
    /// it is stored.
    #[napi]
    pub async fn trace(&self, request: TraceRequest) -> Result<Option<Either<Buffer, ByteStream>>> {
        Ok(self.0.trace(request).await?)
    }

    /// The bytes of one whole trace at once, where it was asked for before and is still the same;
    /// `null` does not tell that there is none.
    #[napi]
    pub fn known_trace(&self, request: TraceRequest) -> Result<Option<Buffer>> {
        Ok(self.0.known_trace(request)?)
    }

    /// The newest traces with spansets of a TraceQL query.
    #[napi]
    pub async fn search_traces(&self, request: String) -> Result<TraceqlAnswer> {
        Ok(self.0.traceql(Asked::Traces, request).await?)
    }

    /// The keys of attributes, by scope.
    #[napi]
    pub async fn trace_tags(&self, request: String) -> Result<TraceqlAnswer> {
        Ok(self.0.traceql(Asked::Tags, request).await?)
    }

    /// The values of an attribute or an intrinsic.
    #[napi]
    pub async fn trace_tag_values(&self, request: String) -> Result<TraceqlAnswer> {
        Ok(self.0.traceql(Asked::TagValues, request).await?)
    }

    /// Series of spans over time; without a step one value of each.
    #[napi]
    pub async fn trace_metrics(&self, request: String) -> Result<TraceqlAnswer> {
        Ok(self.0.traceql(Asked::Metrics, request).await?)
    }

    /// The queries that have come and not ended, the oldest first.
    #[napi]
    pub fn running_queries(&self) -> Result<Vec<RunningQuery>> {
        Ok(self.0.running_queries()?)
    }

    /// Follows a table: one JSON object a line for each row acknowledged from now on.
    #[napi]
    pub fn tail(&self, request: TailRequest) -> Result<ByteStream> {
        Ok(self.0.tail(request)?)
    }

    /// Writes everything acknowledged so far to files; resolves when they are committed.
    #[napi]
    pub async fn flush(&self) -> Result<()> {
        Ok(self.0.flush().await?)
    }

    /// Runs a job over every table, after those that were asked for before.
    #[napi]
    pub async fn run_job(&self, job: String) -> Result<JobReport> {
        Ok(self.0.run_job(&job).await?)
    }

    /// Ends the job at work, and refuses to run others.
    #[napi]
    pub fn stop_jobs(&self) -> Result<()> {
        Ok(self.0.stop_jobs()?)
    }

    /// A token that covers everything acknowledged up to now.
    #[napi]
    pub fn session(&self) -> Result<String> {
        Ok(self.0.session()?)
    }

    /// What the store holds.
    #[napi]
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.0.stats()?)
    }

    /// Every native metric as OpenMetrics text.
    #[napi]
    pub fn metrics(&self) -> Result<String> {
        Ok(self.0.metrics())
    }

    /// Finishes what is in flight, flushes and closes; the second call is an error.
    #[napi]
    pub async fn close(&self) -> Result<()> {
        Ok(self.0.close().await?)
    }
}
