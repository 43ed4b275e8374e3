//! Tasks for other nodes, and for this one: each in a session of its own, over the memory, files and
//! limits of this node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion_distributed::{
    DistributedExt, ExecuteTaskRequest, ProducerHead, TaskKey, Worker, WorkerQueryContext,
    WorkerSessionBuilder,
};
use futures::stream;
use http::{HeaderMap, HeaderName};
use otlake_base::metrics::Gauge;
use otlake_base::{Code, Error, Metrics, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::transport::Server;
use uuid::Uuid;

use super::channels::{Channels, Resolver};
use super::codec::Codec;
use super::limits::{
    MAX_EXCHANGES, MAX_WORKER_TASKS, NODE_WINDOW_BYTES, TASK_WINDOW_BYTES, TIDY_EVERY,
};
use super::port::Wire;
use super::trouble::Told;
use super::tunnel::tunnel;
use crate::functions;
use crate::memory::Share;

/// What is left of a query's time, in milliseconds.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("otlake-timeout-ms");
/// What each of a query's tasks may hold, in bytes, where that is less than what the node has.
pub(crate) const MEMORY: HeaderName = HeaderName::from_static("otlake-memory-bytes");
/// The number of what nodes say to each other beside the library's messages.
const PROTOCOL: u32 = 1;

/// What has to be the same on both ends of a tunnel: plans are read by the version that wrote them.
pub(crate) fn version() -> String {
    let (own, datafusion) = (env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION);
    format!("otlake {own}, datafusion {datafusion}, protocol {PROTOCOL}")
}

/// A task's part of its session.
pub(crate) struct Task {
    /// Where it is done.
    pub(crate) node: Arc<str>,
    pub(crate) deadline: Instant,
    _place: OwnedSemaphorePermit,
    _running: Running,
}

/// Counts a task while it is there.
struct Running(Gauge);

impl Running {
    fn of(metrics: &Metrics) -> Running {
        metrics.distributed_tasks.inc();
        metrics.distributed_tasks_running.inc();
        Running(metrics.distributed_tasks_running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What does tasks.
pub(crate) fn worker(runtime: Arc<RuntimeEnv>, sessions: Sessions) -> Worker {
    Worker::from_session_builder(sessions)
        .with_runtime_env(runtime)
        .with_version(version())
}

/// Makes each task's session.
pub(crate) struct Sessions {
    pub(crate) node: Arc<str>,
    pub(crate) codec: Arc<Codec>,
    /// The worker is of the channels, and they of it.
    pub(crate) channels: Weak<Channels>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Sessions {
    fn task(&self, headers: &HeaderMap) -> Result<Task> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let what = format!("the node does {MAX_WORKER_TASKS} tasks of queries already");
            Error::new(Code::QueryOverloaded, what)
        })?;
        let left = number(headers, &TIMEOUT)
            .ok_or_else(|| Error::new(Code::QueryFailed, "a task came without the query's time"))?;
        Ok(Task {
            node: Arc::clone(&self.node),
            deadline: Instant::now() + Duration::from_millis(left),
            _place: place,
            _running: Running::of(&self.metrics),
        })
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    async fn build_session_state(
        &self,
        context: WorkerQueryContext,
    ) -> DataFusionResult<SessionState> {
        let carried = |error| Told::of(error).carried();
        let task = self.task(&context.headers).map_err(carried)?;
        let channels = self.channels.upgrade().ok_or_else(|| {
            let what = "the node is stopping";
            Told::lost(&self.node, what).carried()
        })?;
        let mut builder = context
            .builder
            .with_distributed_user_codec_arc(Arc::clone(&self.codec) as _)
            .with_distributed_channel_resolver(Resolver {
                channels,
                troubles: None,
            });
        let config = builder.config().get_or_insert_default();
        config.set_extension(Arc::new(task));
        let limit = number(&context.headers, &MEMORY).and_then(|limit| usize::try_from(limit).ok());
        if let (Some(limit), Some(runtime)) = (limit, builder.runtime_env().clone()) {
            let mut runtime = RuntimeEnv::clone(&runtime);
            let pool = Arc::clone(&runtime.memory_pool);
            runtime.memory_pool = Arc::new(Share::new(pool, limit));
            builder = builder.with_runtime_env(Arc::new(runtime));
        }
        let mut state = builder.build();
        for function in functions::all() {
            state.register_udf(Arc::new(function))?;
        }
        Ok(state)
    }
}

/// Sees to it that what tasks held goes when they are over. The library keeps tasks in a cache that lets
/// go of what was removed when it is used the next time, which on a quiet node may be long after: so it
/// is used, as a look for a task that there is not.
pub(crate) async fn tidy(worker: Worker, channels: Weak<Channels>) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        match channels.upgrade() {
            Some(channels) if channels.is_idle() => continue,
            Some(_) => {}
            None => return,
        }
        let look = worker.execute_task(ExecuteTaskRequest {
            task_key: TaskKey {
                query_id: Uuid::nil(),
                stage_id: 0,
                task_number: 0,
            },
            target_partition_start: 0,
            target_partition_end: 0,
            producer_head: ProducerHead::None,
        });
        // It would wait for the task's plan.
        let _ = tokio::time::timeout(TIDY_EVERY / 10, look).await;
    }
}

/// Does the tasks that come through a tunnel, until that ends.
///
/// # Errors
/// `PEER_REFUSED` where the other end is of another version.
pub(crate) async fn serve(worker: Worker, head: &Bytes, wire: Wire) -> Result<()> {
    let own = version();
    if **head != *own.as_bytes() {
        let theirs = String::from_utf8_lossy(head);
        let what = format!("the other node speaks `{theirs}` in queries, this one `{own}`");
        return Err(Error::new(Code::PeerRefused, what));
    }
    let (end, carrying) = tunnel(wire, None);
    let serving = Server::builder()
        .initial_stream_window_size(TASK_WINDOW_BYTES)
        .initial_connection_window_size(NODE_WINDOW_BYTES)
        .max_concurrent_streams(MAX_EXCHANGES)
        .add_service(worker.into_worker_server())
        .serve_with_incoming(stream::iter([Ok::<_, std::io::Error>(end)]));
    // It returns once the connection has been taken, and that goes on by itself until its bytes end.
    let serving = tokio::spawn(serving);
    carrying.await;
    serving.abort();
    Ok(())
}
