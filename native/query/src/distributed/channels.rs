//! The way to a worker. One channel for each other node, whose exchanges share a tunnel; to this node's
//! own worker without one, but over the same bytes: two stages of a plan must not share what a join or
//! a sort learns while it runs, which holds for its own task's rows alone.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest,
    GetWorkerInfoResponse, MaybeEncoded, SetPlanRequest, Worker, WorkerChannel,
    WorkerToCoordinatorMsg, grpc,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{HeaderMap, Uri};
use hyper_util::rt::TokioIo;
use otlake_base::{Code, Error, Metrics};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tonic::codegen::Service;
use tonic::transport::Endpoint;
use url::Url;

use super::limits::{NODE_WINDOW_BYTES, SHUNNED, TASK_WINDOW_BYTES};
use super::port::Workers;
use super::trouble::{Told, Troubles};
use super::tunnel::tunnel;
use super::worker::version;

/// Every way to a worker.
pub(crate) struct Channels {
    workers: Arc<dyn Workers>,
    metrics: Arc<Metrics>,
    own: OnceLock<Worker>,
    others: Mutex<HashMap<Arc<str>, grpc::BoxCloneSyncChannel>>,
    /// Nodes that were lost a moment ago.
    shunned: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Channels {
    pub(crate) fn new(workers: Arc<dyn Workers>, metrics: Arc<Metrics>) -> Channels {
        Channels {
            workers,
            metrics,
            own: OnceLock::new(),
            others: Mutex::default(),
            shunned: Mutex::default(),
        }
    }

    /// This node's own worker.
    pub(crate) fn own(&self, worker: Worker) {
        let _ = self.own.set(worker);
    }

    /// Whether this node does no tasks.
    pub(crate) fn is_idle(&self) -> bool {
        self.metrics.distributed_tasks_running.get() == 0
    }

    /// A node was lost: for a moment it is asked for nothing.
    pub(crate) fn shun(&self, node: &Arc<str>) {
        let until = Instant::now() + SHUNNED;
        self.shunned.lock().insert(Arc::clone(node), until);
    }

    /// Whether a node is to be asked.
    pub(crate) fn asks(&self, node: &Arc<str>) -> bool {
        let mut shunned = self.shunned.lock();
        let now = Instant::now();
        shunned.retain(|_, until| *until > now);
        !shunned.contains_key(node)
    }

    fn channel(&self, node: &Arc<str>) -> grpc::BoxCloneSyncChannel {
        let mut others = self.others.lock();
        if others.len() > super::limits::MAX_TASKS {
            // Nodes that have gone for good; the others make their channel anew.
            others.clear();
        }
        let made = others.entry(Arc::clone(node)).or_insert_with(|| {
            let connector = Connector {
                workers: Arc::clone(&self.workers),
                node: Arc::clone(node),
                metrics: Arc::clone(&self.metrics),
            };
            let endpoint = Endpoint::from_static("http://otlake")
                .initial_stream_window_size(TASK_WINDOW_BYTES)
                .initial_connection_window_size(NODE_WINDOW_BYTES);
            grpc::BoxCloneSyncChannel::new(endpoint.connect_with_connector_lazy(connector))
        });
        made.clone()
    }
}

/// The URL that stands for a node in plans.
pub(crate) fn url(node: &str) -> Result<Url> {
    let mut url = Url::parse("otlake://node/")
        .map_err(|error| DataFusionError::Internal(format!("the URL of node `{node}`: {error}")))?;
    url.query_pairs_mut().append_pair("name", node);
    Ok(url)
}

fn node(url: &Url) -> Result<Arc<str>> {
    let name = url.query_pairs().find(|(key, _)| key == "name");
    let name = name.map(|(_, name)| name.as_ref().into());
    name.ok_or_else(|| DataFusionError::Internal(format!("{url} is no URL of a node")))
}

/// Opens tunnels to a node.
struct Connector {
    workers: Arc<dyn Workers>,
    node: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (workers, node) = (Arc::clone(&self.workers), Arc::clone(&self.node));
        let received = self.metrics.distributed_received_bytes.clone();
        Box::pin(async move {
            let wire = workers.open(&node, Bytes::from(version())).await?;
            let (end, carrying) = tunnel(wire, Some(received));
            tokio::spawn(carrying);
            Ok(TokioIo::new(end))
        })
    }
}

/// Finds the way to the workers of plans.
pub(crate) struct Resolver {
    pub(crate) channels: Arc<Channels>,
    /// Of the attempt, at its coordinator.
    pub(crate) troubles: Option<Arc<Troubles>>,
}

#[async_trait]
impl ChannelResolver for Resolver {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let node = node(url)?;
        let inner: Box<dyn WorkerChannel> = if *node == *self.channels.workers.own() {
            let own = self.channels.own.get().cloned();
            let own = own.ok_or_else(|| {
                let what = "the node does no tasks yet";
                Told::of(Error::new(Code::QueryOverloaded, what)).carried()
            })?;
            Box::new(OwnChannel(own))
        } else {
            grpc::create_worker_client(self.channels.channel(&node))
        };
        Ok(Box::new(Channel {
            node,
            inner,
            troubles: self.troubles.clone(),
        }))
    }
}

/// A worker, with its errors told for what they are.
struct Channel {
    node: Arc<str>,
    inner: Box<dyn WorkerChannel>,
    troubles: Option<Arc<Troubles>>,
}

#[async_trait]
impl WorkerChannel for Channel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let began = self
            .inner
            .coordinator_channel(headers, request, messages, metrics, context)
            .await;
        let (node, troubles) = (Arc::clone(&self.node), self.troubles.clone());
        let told = move |error| {
            let error = Told::from_worker(&node, error);
            // Rows may be waited for that never come: the attempt is told at once.
            if let Some(troubles) = &troubles {
                troubles.tell(&error);
            }
            error
        };
        let answers = began.map_err(&told)?;
        Ok(answers.map(move |answer| answer.map_err(&told)).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let rows = self.inner.execute_task(headers, request, metrics, context);
        let rows = rows.await;
        let rows = rows.map_err(|error| Told::from_worker(&self.node, error))?;
        let told = |rows: BoxStream<'static, Result<RecordBatch>>| {
            let node = Arc::clone(&self.node);
            let told = move |error| Told::from_worker(&node, error);
            rows.map(move |row| row.map_err(&told)).boxed()
        };
        Ok(rows.into_iter().map(told).collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse> {
        let info = self.inner.get_worker_info(request).await;
        info.map_err(|error| Told::from_worker(&self.node, error))
    }
}

/// This node's own worker. Rows go as they are.
struct OwnChannel(Worker);

#[async_trait]
impl WorkerChannel for OwnChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        mut request: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        request.plan = MaybeEncoded::Encoded(request.plan.encode(context)?);
        let messages = messages.map(Ok).boxed();
        self.0.coordinator_channel(headers, request, messages).await
    }

    async fn execute_task(
        &mut self,
        _: HeaderMap,
        request: ExecuteTaskRequest,
        _: ExecutionPlanMetricsSet,
        _: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let (rows, _) = self.0.execute_task(request).await?;
        Ok(rows.into_iter().map(|rows| rows.boxed()).collect())
    }

    async fn get_worker_info(&mut self, _: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        Ok(GetWorkerInfoResponse {
            version: self.0.version().to_owned(),
        })
    }
}
