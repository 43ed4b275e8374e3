//! The engine: the processor that stores and the query engine that reads, each on a runtime of
//! its own: threads of queries give way to those of ingest, and neither waits for the other's.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{RecordBatch, StringViewArray};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::cmp::eq;
use arrow::error::ArrowError;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use napi::bindgen_prelude::{BigInt, Buffer, Either};
use otlake_base::{
    Clock, Code, Consistency, Error, Metrics, Result, Signal, SystemClock, Table, priority,
};
use otlake_cluster::{Cluster, Local};
use otlake_files::Files;
use otlake_peer::StreamService;
use otlake_processor::{Job, Processor};
use otlake_query::QueryEngine;
use otlake_query::format::{Encoder, Format};
use otlake_query::pieces::fitting;
use otlake_reads::{Follow, Followed, Reads};
use otlake_receive::Ingest;
use otlake_rules::RuleSet;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::byte_stream::ByteStream;
use crate::cluster::{NativeCluster, NativeClusterConfig};
use crate::export::{self, Otlp};
use crate::failure::Outcome;
use crate::records::{
    self, EngineConfig, FlightConfig, IngestResult, JobReport, QueryRequest, ReceiverConfig,
    RunningQuery, Stats, TailRequest, TraceRequest,
};
use crate::servers::{FlightServer, Receiver};
use crate::trace::{self, Answer};
use crate::workers::{Others, QUERY, Tasks};

/// How long closing waits for tasks that do not end by themselves.
const RUNTIME_GRACE: Duration = Duration::from_secs(5);

/// What stands for a connection where the process itself sends.
const LIBRARY: u64 = 0;

/// Rows that a tail tells at a time, and bytes of their values unless a single row has more.
const TAIL_ROWS: usize = 1024;
const TAIL_BYTES: usize = 1024 * 1024;

struct Open {
    processor: Arc<Processor>,
    reads: Arc<Reads>,
    queries: Arc<QueryEngine>,
    /// The tables' files, where the nodes keep them on their own disks.
    files: Option<Arc<Files>>,
    data_dir: String,
    /// What is before the processor in a cluster.
    cluster: OnceLock<Arc<Cluster>>,
}

impl Open {
    /// What requests go through.
    fn ingest(&self) -> Arc<dyn Ingest> {
        match self.cluster.get() {
            Some(cluster) => cluster.gateway(),
            None => Arc::new(Local::alone(Arc::clone(&self.processor))),
        }
    }
}

/// An open store.
pub struct Engine {
    runtime: Handle,
    /// Where queries and their servers run.
    asking: Handle,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    open: Mutex<Option<Arc<Open>>>,
    /// Ended by `close`, or with the last handle.
    owned_runtimes: Mutex<Option<Runtimes>>,
}

struct Runtimes {
    storing: Runtime,
    asking: Runtime,
}

impl Runtimes {
    fn start(threads: usize) -> Result<Runtimes> {
        otlake_allocator::bound();
        let build = |builder: &mut Builder| {
            let built = builder.worker_threads(threads).enable_all().build();
            built.map_err(|error| Error::new(Code::Internal, format!("starting threads: {error}")))
        };
        let quick = &mut Builder::new_multi_thread();
        let patient = &mut Builder::new_multi_thread();
        Ok(Runtimes {
            storing: build(quick.thread_name("otlake").on_thread_start(|| {
                if !priority::wake_soon() {
                    tracing::debug!(target: "otlake", "a thread keeps the usual turns");
                }
            }))?,
            asking: build(patient.thread_name("otlake-query").on_thread_start(|| {
                if !priority::lower(priority::QUERIES) {
                    tracing::debug!(target: "otlake::query", "a thread keeps its priority");
                }
            }))?,
        })
    }

    fn shutdown_background(self) {
        self.asking.shutdown_background();
        self.storing.shutdown_background();
    }

    /// Blocks until the tasks have ended, at most `grace` for each.
    fn shutdown(self, grace: Duration) {
        self.asking.shutdown_timeout(grace);
        self.storing.shutdown_timeout(grace);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtimes) = self.owned_runtimes.lock().take() {
            runtimes.shutdown_background();
        }
    }
}

impl Engine {
    pub async fn open(config: EngineConfig) -> Outcome<Engine> {
        let runtimes = Runtimes::start(config.worker_threads.max(1) as usize)?;
        let handle = runtimes.storing.handle().clone();
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (opening_metrics, opening_clock) = (Arc::clone(&metrics), Arc::clone(&clock));
        let opened = handle
            .spawn(async move {
                let (clock, metrics) = (Arc::clone(&opening_clock), Arc::clone(&opening_metrics));
                let files =
                    records::files(&config, Arc::clone(&clock), Arc::clone(&metrics)).await?;
                let bucket = match &files {
                    Some(files) => Some(files.mounted(config.data_dir.as_ref())?),
                    None => records::bucket(&config, clock, metrics).await?,
                };
                let mut storing = config.processor()?;
                storing.rules = RuleSet::plan(&config.rules()?, &opening_metrics)?;
                if let Some(bucket) = &bucket {
                    storing.tables_dir = Some(bucket.path());
                    storing.disk = bucket.disk(storing.disk);
                }
                let processor = Processor::open(
                    storing,
                    Arc::clone(&opening_clock),
                    Arc::clone(&opening_metrics),
                )
                .await?;
                let reads = Reads::new(
                    Arc::clone(processor.live()),
                    processor.tables().clone(),
                    Arc::clone(&opening_metrics),
                );
                let sources = reads.sources();
                let asking = config.query();
                let queries = match &bucket {
                    None => QueryEngine::new(asking, sources, opening_clock, opening_metrics)?,
                    Some(bucket) => {
                        let files = bucket.files();
                        let (clock, metrics) = (opening_clock, opening_metrics);
                        QueryEngine::over(asking, sources, files, clock, metrics)?
                    }
                };
                if let Some(bucket) = bucket {
                    // The data folder's lock is held.
                    tokio::task::spawn_blocking(move || bucket.sweep());
                }
                Ok::<_, Error>(Open {
                    processor,
                    reads,
                    queries,
                    files,
                    data_dir: config.data_dir,
                    cluster: OnceLock::new(),
                })
            })
            .await;
        let opened = match opened.map_err(Into::into).and_then(|opened| Ok(opened?)) {
            Ok(opened) => opened,
            Err(failure) => {
                runtimes.shutdown_background();
                return Err(failure);
            }
        };
        let queries = Arc::clone(&opened.queries);
        // It is not waited for: it may take seconds for many files.
        runtimes
            .asking
            .spawn(async move { queries.learn_traces().await });
        Ok(Engine {
            runtime: handle,
            asking: runtimes.asking.handle().clone(),
            metrics,
            clock,
            open: Mutex::new(Some(Arc::new(opened))),
            owned_runtimes: Mutex::new(Some(runtimes)),
        })
    }

    fn opened(&self) -> Result<Arc<Open>> {
        self.open
            .lock()
            .clone()
            .ok_or_else(|| Error::new(Code::HandleClosed, "the store was closed"))
    }

    /// What answers queries, and whether other nodes have a part in it.
    pub fn asking(&self) -> Result<(Arc<QueryEngine>, bool)> {
        let open = self.opened()?;
        Ok((Arc::clone(&open.queries), open.reads.is_joined()))
    }

    /// Where queries run.
    pub fn asking_runtime(&self) -> &Handle {
        &self.asking
    }

    pub async fn ingest(
        &self,
        signal: &str,
        encoding: &str,
        tenant: &str,
        body: Vec<u8>,
    ) -> Outcome<IngestResult> {
        let open = self.opened()?;
        let signal = Signal::from_name(signal).ok_or_else(|| {
            Error::new(
                Code::OtlpMalformed,
                format!("`{signal}` is not traces, metrics or logs"),
            )
        })?;
        otlake_base::validate_tenant(tenant)?;
        let tenant: Arc<str> = tenant.into();
        let json = match encoding {
            "protobuf" => false,
            "json" => true,
            other => {
                return Err(Error::new(
                    Code::OtlpMediaType,
                    format!("`{other}` is neither `protobuf` nor `json`"),
                )
                .into());
            }
        };
        let ack = self
            .runtime
            .spawn(async move {
                let body = if json {
                    otlake_decode::json::to_protobuf(signal, &body)?
                } else {
                    body
                };
                let body = Bytes::from(body);
                if let Some(cluster) = open.cluster.get() {
                    let gateway = cluster.gateway();
                    return gateway
                        .ingest(signal, tenant, "library", LIBRARY, body)
                        .await;
                }
                let ack = open
                    .processor
                    .ingest(signal, tenant, "library", body)
                    .await?;
                Ok(Local::told(&ack))
            })
            .await??;
        Ok(IngestResult {
            accepted: ack.accepted as f64,
            rejected: ack.rejected as f64,
            message: ack.message,
            session: ack.session,
        })
    }

    pub async fn start_receiver(&self, config: ReceiverConfig) -> Outcome<Receiver> {
        let open = self.opened()?;
        let config = otlake_receive::ReceiverConfig {
            grpc: config.grpc.as_deref().map(records::address).transpose()?,
            http: config.http.as_deref().map(records::address).transpose()?,
            max_request_bytes: config.max_request_bytes as usize,
            max_in_flight_bytes: config.max_in_flight_bytes as usize,
            cors_origins: config.cors_origins,
            tokens: config
                .tokens
                .iter()
                .map(|token| {
                    Ok(otlake_receive::Token {
                        sha256: token.digest()?,
                        tenant: token.tenant.clone(),
                    })
                })
                .collect::<Result<_>>()?,
            retry_after_ms: config.retry_after_ms as u64,
        };
        let metrics = Arc::clone(&self.metrics);
        let ingest = open.ingest();
        let server = self
            .runtime
            .spawn(otlake_receive::Receiver::start(config, ingest, metrics))
            .await??;
        Ok(Receiver::new(self.runtime.clone(), server))
    }

    pub async fn start_cluster(&self, config: NativeClusterConfig) -> Outcome<NativeCluster> {
        let open = self.opened()?;
        let config = config.config(&open.data_dir, open.files.clone())?;
        let what = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let tasks = Tasks {
            queries: Arc::clone(&open.queries),
            asking: self.asking.clone(),
        };
        let cluster = self
            .runtime
            .spawn(async move {
                let (processor, reads) = (Arc::clone(&open.processor), Arc::clone(&open.reads));
                let offered: Vec<(_, Arc<dyn StreamService>)> = vec![(QUERY, Arc::new(tasks))];
                let cluster = Cluster::start(config, processor, reads, offered, what).await?;
                open.queries.join(Arc::new(Others {
                    own: Arc::clone(cluster.name()),
                    cluster: Arc::downgrade(&cluster),
                }));
                let is_first = open.cluster.set(Arc::clone(&cluster)).is_ok();
                is_first
                    .then_some(cluster)
                    .ok_or_else(|| Error::new(Code::NodeState, "the store is in a cluster already"))
            })
            .await??;
        Ok(NativeCluster::new(self.runtime.clone(), cluster))
    }

    pub async fn start_flight(&self, config: FlightConfig) -> Outcome<FlightServer> {
        let open = self.opened()?;
        let config = otlake_query::FlightConfig {
            address: records::address(&config.address)?,
            tokens: config
                .tokens
                .iter()
                .map(|token| {
                    Ok(otlake_query::Token {
                        sha256: token.digest()?,
                        tenant: token.tenant.clone(),
                    })
                })
                .collect::<Result<_>>()?,
        };
        let (queries, clock) = (Arc::clone(&open.queries), Arc::clone(&self.clock));
        let server = self
            .asking
            .spawn(otlake_query::FlightServer::start(config, queries, clock))
            .await??;
        Ok(FlightServer::new(self.asking.clone(), server))
    }

    pub async fn query(&self, request: QueryRequest) -> Outcome<ByteStream> {
        let open = self.opened()?;
        let format = match Otlp::from_name(&request.format) {
            Some(otlp) => Err(otlp),
            None => Ok(Format::from_str(&request.format)?),
        };
        let parameters = serde_json::from_str(&request.parameters).map_err(|error| {
            Error::new(
                Code::QueryParameters,
                format!("parameters are a JSON array: {error}"),
            )
        })?;
        let request = otlake_query::QueryRequest {
            id: request.id,
            sql: request.sql,
            parameters,
            tenant: request.tenant,
            consistency: Consistency::parse(
                request.consistency.as_deref(),
                request.session.as_deref(),
            )?,
            partial: request.partial.unwrap_or(false),
            max_rows: request.max_rows.map(|rows| rows as usize),
            timeout_ms: request.timeout_ms.map(|milliseconds| milliseconds as u64),
            memory_bytes: request.memory_bytes.map(|bytes| bytes as usize),
        };
        // Alone, a node's own token covers what its answers show.
        let is_joined = open.reads.is_joined();
        let (chunks, seen, missing) = self
            .asking
            .spawn(async move {
                let result = open.queries.query(request).await?;
                let (seen, missing) = (result.session.clone(), result.missing.clone());
                let chunks = match format {
                    Ok(format) => {
                        let chunks = otlake_query::format::encode(result, format)?;
                        chunks.map_ok(Vec::from).boxed()
                    }
                    Err(otlp) => export::chunks(result, otlp)?,
                };
                Ok::<_, Error>((chunks, seen, missing))
            })
            .await??;
        let stream = ByteStream::new(self.asking.clone(), chunks);
        Ok(stream.showing(is_joined.then_some(&seen), &missing))
    }

    pub async fn trace(
        &self,
        request: TraceRequest,
    ) -> Outcome<Option<Either<Buffer, ByteStream>>> {
        let open = self.opened()?;
        let is_joined = open.reads.is_joined();
        let queries = Arc::clone(&open.queries);
        let partial = request.partial.unwrap_or(false);
        let (form, consistency) = trace::asked(request)?;
        let answer = self
            .asking
            .spawn(async move { trace::look_up(&queries, form, consistency, partial).await })
            .await??;
        Ok(answer.map(|found| {
            let parts = match found.answer {
                Answer::Whole(answer) if !is_joined => return Either::A(Buffer::from(answer)),
                Answer::Whole(answer) => stream::iter([Ok(answer)]).boxed(),
                Answer::Parts(parts) => parts,
            };
            let parts = ByteStream::new(self.asking.clone(), parts);
            Either::B(parts.showing(is_joined.then_some(&found.seen), &found.missing))
        }))
    }

    pub fn known_trace(&self, request: TraceRequest) -> Outcome<Option<Buffer>> {
        let open = self.opened()?;
        let (form, consistency) = trace::asked(request)?;
        let known = open.queries.known_trace(&form, &consistency)?;
        Ok(known.map(|answer| Buffer::from(answer.to_vec())))
    }

    pub fn running_queries(&self) -> Outcome<Vec<RunningQuery>> {
        let running = self.opened()?.queries.running_queries();
        Ok(running.into_iter().map(RunningQuery::from).collect())
    }

    pub fn tail(&self, request: TailRequest) -> Outcome<ByteStream> {
        let open = self.opened()?;
        let table = Table::from_name(&request.table).ok_or_else(|| {
            Error::new(
                Code::QueryInvalid,
                format!("there is no table `{}`", request.table),
            )
        })?;
        let follow = {
            // Other nodes are followed by tasks of their own.
            let _asking = self.asking.enter();
            open.reads.follow(table, request.tenant.map(Arc::from))
        };
        let following = Following {
            follow,
            service: request.service,
            rows: None,
        };
        let chunks = stream::unfold(following, |mut following| async move {
            let chunk = following.next().await?;
            Some((chunk, following))
        });
        Ok(ByteStream::new(self.asking.clone(), chunks.boxed()))
    }

    pub async fn flush(&self) -> Outcome<()> {
        let open = self.opened()?;
        Ok(self
            .runtime
            .spawn(async move { open.processor.flush().await })
            .await??)
    }

    pub async fn run_job(&self, job: &str) -> Outcome<JobReport> {
        let (open, job) = (self.opened()?, Job::from_name(job)?);
        let report = self
            .runtime
            .spawn(async move { open.processor.run_job(job).await })
            .await??;
        Ok(report.into())
    }

    pub fn stop_jobs(&self) -> Outcome<()> {
        self.opened()?.processor.stop_jobs();
        Ok(())
    }

    pub fn session(&self) -> Outcome<String> {
        Ok(self.opened()?.processor.session().to_string())
    }

    pub fn stats(&self) -> Outcome<Stats> {
        let stats = self.opened()?.processor.stats();
        Ok(Stats {
            stream: stats.stream.to_string(),
            last_durable: BigInt::from(stats.last_durable),
            live_bytes: stats.live_bytes as f64,
            live_rows: stats.live_rows as f64,
            log_bytes: stats.log_bytes as f64,
            log_segments: stats.log_segments as f64,
            files: stats.files as f64,
            file_bytes: stats.file_bytes as f64,
            file_rows: stats.file_rows as f64,
        })
    }

    pub fn metrics(&self) -> String {
        if let Some(memory) = otlake_allocator::memory() {
            let states = [
                ("allocated", memory.allocated),
                ("resident", memory.resident),
            ];
            for (state, bytes) in states {
                let gauge = self
                    .metrics
                    .native_memory
                    .get_or_create(&vec![("state", state)]);
                gauge.set(bytes as i64);
            }
        }
        self.metrics.encode()
    }

    pub async fn close(&self) -> Outcome<()> {
        let open = self
            .open
            .lock()
            .take()
            .ok_or_else(|| Error::new(Code::HandleClosed, "the store was closed already"))?;
        let closed = self
            .runtime
            .spawn(async move { open.processor.close().await })
            .await;
        let runtimes = self.owned_runtimes.lock().take();
        if let Some(runtimes) = runtimes {
            // Waiting for threads blocks, so it happens on a thread that may.
            tokio::task::spawn_blocking(move || runtimes.shutdown(RUNTIME_GRACE)).await?;
        }
        Ok(closed??)
    }
}

/// A tail and what it has begun to tell.
struct Following {
    follow: Follow,
    service: Option<String>,
    /// Rows of the last batch that are still to be told.
    rows: Option<RecordBatch>,
}

impl Following {
    /// The next lines; `None` when the store was closed.
    async fn next(&mut self) -> Option<Result<Vec<u8>>> {
        loop {
            if let Some(rows) = self.rows.take() {
                // A large batch is told in pieces: as text it can be many times its size.
                let now = fitting(&rows, TAIL_ROWS, TAIL_BYTES);
                if now < rows.num_rows() {
                    self.rows = Some(rows.slice(now, rows.num_rows() - now));
                }
                let lines = lines(&rows.slice(0, now), self.service.as_deref());
                if lines.as_ref().is_ok_and(Vec::is_empty) {
                    continue;
                }
                return Some(lines);
            }
            let notice = match self.follow.recv().await? {
                Followed::Rows { rows, .. } => {
                    self.rows = Some(rows);
                    continue;
                }
                Followed::Skipped(skipped) => serde_json::json!({"skipped_batches": skipped}),
                Followed::Lost(node) => serde_json::json!({"lost_node": &*node}),
            };
            return Some(Ok(format!("{notice}\n").into_bytes()));
        }
    }
}

/// The rows, of one service where it is named, as one JSON object a line.
fn lines(rows: &RecordBatch, service: Option<&str>) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(Format::Ndjson, &rows.schema())?;
    let names = rows.column_by_name("service_name");
    match service.zip(names) {
        None => encoder.write(rows),
        Some((service, names)) => {
            let internal = |error: ArrowError| Error::new(Code::Internal, error);
            let wanted = eq(names, &StringViewArray::new_scalar(service)).map_err(internal)?;
            encoder.write(&filter_record_batch(rows, &wanted).map_err(internal)?)
        }
    }
}
