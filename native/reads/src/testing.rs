//! Nodes of one process, on one folder of tables, and the net between them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_base::{
    Code, Consistency, Error, Metrics, Position, Result, RowRules, Session, Signal, SystemClock,
};
use otlake_processor::{Processor, ProcessorConfig};
use otlake_query::{QueryConfig, QueryEngine, QueryRequest, QueryResult};
use parking_lot::Mutex;
use prost::Message;
use tempfile::TempDir;

use crate::{
    Cluster, LivePort, LiveServer, Messages, OpenStream, Patience, Reads, StreamState, Streams,
};

/// 2026-01-01, in ns.
pub(crate) const EPOCH: u64 = 1_767_225_600_000_000_000;

/// How long another node's answer is waited for where all answer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// It is known to be dead.
    Dead,
    /// It is taken for alive, and refuses.
    Refusing,
    /// It is taken for alive, and never answers.
    Silent,
    /// Its answers end after so many messages.
    Cut(usize),
}

/// The net, and the list of streams.
#[derive(Default)]
pub(crate) struct Net {
    servers: Mutex<BTreeMap<Arc<str>, (LiveServer, Health)>>,
    pub(crate) streams: Mutex<Vec<OpenStream>>,
    pub(crate) unlisted: Mutex<bool>,
    /// By asked node: how often.
    pub(crate) asked: Mutex<HashMap<Arc<str>, usize>>,
    /// Answers that have begun to come.
    begun: AtomicUsize,
}

impl Net {
    pub(crate) fn set(&self, node: &str, health: Health) {
        let mut servers = self.servers.lock();
        servers.get_mut(node).expect("a node").1 = health;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().values().sum()
    }

    /// How many answers have begun to come: whoever follows a node is told all from there on.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

struct Port {
    node: Arc<str>,
    net: Arc<Net>,
}

#[async_trait]
impl LivePort for Port {
    fn others(&self) -> Vec<Arc<str>> {
        let servers = self.net.servers.lock();
        let others = servers
            .iter()
            .filter(|(name, (_, health))| **name != self.node && *health != Health::Dead);
        others.map(|(name, _)| Arc::clone(name)).collect()
    }

    async fn live(&self, node: &str, request: Bytes) -> Result<Messages> {
        *self.net.asked.lock().entry(node.into()).or_default() += 1;
        let found = self.net.servers.lock().get(node).cloned();
        let refused = || Error::new(Code::QueryIncomplete, "the connection was refused");
        let (server, health) = found.ok_or_else(refused)?;
        match health {
            Health::Up => {
                let (net, mut is_first) = (Arc::clone(&self.net), true);
                let counted = server.serve(request)?.inspect(move |_| {
                    if std::mem::take(&mut is_first) {
                        net.begun.fetch_add(1, Ordering::SeqCst);
                    }
                });
                Ok(counted.boxed())
            }
            Health::Dead | Health::Refusing => Err(refused()),
            Health::Silent => Ok(stream::pending().boxed()),
            Health::Cut(messages) => Ok(server.serve(request)?.take(messages).boxed()),
        }
    }
}

#[async_trait]
impl Streams for Net {
    async fn open(&self) -> Result<Vec<OpenStream>> {
        if *self.unlisted.lock() {
            let message = "the metadata group has no leader";
            return Err(Error::new(Code::QueryIncomplete, message));
        }
        Ok(self.streams.lock().clone())
    }
}

/// A node.
pub(crate) struct Node {
    pub(crate) processor: Arc<Processor>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) engine: Arc<QueryEngine>,
    _folder: TempDir,
}

/// Several nodes on one folder of tables.
pub(crate) struct Nodes {
    pub(crate) net: Arc<Net>,
    pub(crate) nodes: Vec<Node>,
    _tables: TempDir,
}

impl Nodes {
    pub(crate) async fn start(count: usize) -> Nodes {
        Nodes::with_rules(count, None).await
    }

    /// The same, which rule rows on their way in.
    pub(crate) async fn with_rules(count: usize, rules: Option<Arc<dyn RowRules>>) -> Nodes {
        Nodes::that_wait(count, rules, PATIENCE).await
    }

    /// The same, which wait for so long for another node's answer.
    pub(crate) async fn that_wait(
        count: usize,
        rules: Option<Arc<dyn RowRules>>,
        answer: Duration,
    ) -> Nodes {
        let tables = TempDir::new().unwrap();
        let net = Arc::new(Net::default());
        let mut nodes = Vec::new();
        for number in 1..=count {
            let (name, rules) = (format!("n{number}"), rules.clone());
            let node = Node::start(tables.path(), rules).await;
            node.join(&name, &net, answer);
            nodes.push(node);
        }
        Nodes {
            net,
            nodes,
            _tables: tables,
        }
    }
}

impl std::ops::Index<usize> for Nodes {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        &self.nodes[number]
    }
}

impl Node {
    /// A node by itself.
    pub(crate) async fn start(tables: &Path, rules: Option<Arc<dyn RowRules>>) -> Node {
        let folder = TempDir::new().unwrap();
        let config = ProcessorConfig {
            tables_dir: Some(tables.to_owned()),
            flush_interval_ms: 3_600_000,
            rules,
            ..ProcessorConfig::new(folder.path())
        };
        let metrics = Arc::new(Metrics::strict());
        let processor = Processor::open(config, Arc::new(SystemClock), Arc::clone(&metrics))
            .await
            .unwrap();
        let reads = Reads::new(
            Arc::clone(processor.live()),
            processor.tables().clone(),
            Arc::clone(&metrics),
        );
        let config = QueryConfig {
            memory_bytes: 256 << 20,
            max_rows: 1_000_000,
            timeout_ms: 60_000,
            concurrency: 16,
            queue: 64,
            queue_ms: 60_000,
            temp_dir: folder.path().join("tmp"),
            partitions: 2,
            distribute_bytes: u64::MAX,
            trace_filters_bytes: 1 << 26,
        };
        let engine = QueryEngine::new(config, reads.sources(), Arc::new(SystemClock), metrics);
        Node {
            processor,
            reads,
            engine: engine.unwrap(),
            _folder: folder,
        }
    }

    fn join(&self, name: &str, net: &Arc<Net>, answer: Duration) {
        let name: Arc<str> = name.into();
        self.reads.join(Cluster {
            node: Arc::clone(&name),
            port: Arc::new(Port {
                node: Arc::clone(&name),
                net: Arc::clone(net),
            }),
            streams: Arc::clone(net) as _,
            patience: Patience {
                answer,
                session: Duration::from_millis(200),
            },
        });
        net.servers
            .lock()
            .insert(Arc::clone(&name), (self.reads.server(), Health::Up));
        net.streams.lock().push(OpenStream {
            stream: self.processor.session().stream,
            owner: name,
            state: StreamState::Open,
        });
    }

    /// Stores spans number `first` to `first + count - 1`, of traces of ten; says where.
    pub(crate) async fn ingest(&self, first: u64, count: u64) -> Position {
        self.ingest_of("default", first, count).await
    }

    pub(crate) async fn ingest_of(&self, tenant: &str, first: u64, count: u64) -> Position {
        let spans = (first..first + count).map(span).collect();
        let scope_spans = vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }];
        let resource_spans = vec![ResourceSpans {
            scope_spans,
            ..ResourceSpans::default()
        }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let ingested = self
            .processor
            .ingest(Signal::Traces, tenant.into(), "library", body.into());
        ingested.await.unwrap().position.unwrap()
    }

    pub(crate) async fn query(&self, sql: &str, consistency: Consistency) -> Result<QueryResult> {
        self.ask(sql, consistency, false).await
    }

    pub(crate) async fn ask(
        &self,
        sql: &str,
        consistency: Consistency,
        partial: bool,
    ) -> Result<QueryResult> {
        let request = QueryRequest {
            sql: sql.to_owned(),
            consistency,
            partial,
            ..QueryRequest::default()
        };
        self.engine.query(request).await
    }

    /// The numbers of all spans that a read sees, each as often as it is there.
    pub(crate) async fn numbers(&self, consistency: Consistency) -> Result<BTreeMap<u64, usize>> {
        let sql = "SELECT start_time_unix_nano FROM spans";
        Ok(numbers(self.query(sql, consistency).await?).await)
    }
}

fn span(number: u64) -> Span {
    Span {
        trace_id: u128::from(number / 10 + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: format!("operation {}", number % 7),
        kind: 2,
        start_time_unix_nano: EPOCH + number,
        end_time_unix_nano: EPOCH + number + 1_000,
        ..Span::default()
    }
}

/// All batches of an answer.
pub(crate) async fn batches(answer: QueryResult) -> Vec<RecordBatch> {
    answer.stream.try_collect().await.unwrap()
}

/// The numbers of spans, by their first column.
pub(crate) async fn numbers(answer: QueryResult) -> BTreeMap<u64, usize> {
    let mut numbers = BTreeMap::new();
    for batch in batches(answer).await {
        for time in batch.column(0).as_primitive::<Int64Type>().values() {
            *numbers.entry(*time as u64 - EPOCH).or_insert(0) += 1;
        }
    }
    numbers
}

/// Each of these numbers, once.
pub(crate) fn once(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<u64, usize> {
    numbers.into_iter().map(|number| (number, 1)).collect()
}

pub(crate) fn session(token: impl Into<Session>) -> Consistency {
    Consistency::Session(token.into())
}
