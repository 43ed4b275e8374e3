//! Nodes that share queries, over real sockets on the loopback, on one folder of tables.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, Date32Array, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use otlake_base::{Code, Error, Metrics, Result, SystemClock};
use otlake_peer::{PeerConfig, Peers, Services, StreamService};
use parking_lot::Mutex;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::port::{Incoming, Outgoing, Wire, Workers};
use crate::format::{Format, encode};
use crate::sample_test::{DAY_NANOS, Spans, config, schema};
use crate::{QueryConfig, QueryEngine, QueryRequest};

const QUERY: &str = "query";

/// Numbers by a seed (SplitMix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn of<'a, T: ?Sized>(&mut self, some: &[&'a T]) -> &'a T {
        some[self.below(some.len() as u64) as usize]
    }
}

/// Random spans of a tenant on a day, numbered from `first`.
pub(crate) fn random_spans(
    chance: &mut Chance,
    tenant: &str,
    day: i32,
    first: u64,
    count: usize,
) -> RecordBatch {
    let (mut ids, mut names, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut nanos, mut attributes) = (Vec::new(), Vec::new());
    for row in 0..count as u64 {
        let number = first + row;
        ids.push((u128::from(number / 3) + 1).to_be_bytes());
        names.push(format!("operation {}", chance.below(40)));
        kinds.push(chance.below(6) as i32);
        nanos.push(i64::from(day) * DAY_NANOS + number as i64 * 1_000);
        let noise = format!("{:016x}{:016x}", chance.next(), chance.next());
        attributes.push(format!(
            r#"{{"n":{number},"m":{},"noise":"{noise}"}}"#,
            chance.below(9)
        ));
    }
    let micros = nanos.iter().map(|nanos| nanos / 1_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids.into_iter()).unwrap()),
        Arc::new(StringViewArray::from_iter_values(names)),
        Arc::new(Int32Array::from(kinds)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")),
        Arc::new(Int64Array::from(nanos)),
        Arc::new(StringViewArray::from_iter_values(attributes)),
        Arc::new(StringViewArray::from(vec![tenant; count])),
        Arc::new(Date32Array::from(vec![day; count])),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// A table with live rows and many files of a seed, one of which is cut into pieces.
pub(crate) fn random_table(folder: &TempDir, chance: &mut Chance) -> Spans {
    let mut table = Spans::new(folder);
    let mut first = 0;
    let groups = |rows| {
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(rows))
            .build()
    };
    for file in 0..9 {
        let count = 50 + chance.below(900) as usize;
        let tenant = chance.of(&["a", "b"]);
        let day = 100 + file % 3;
        let batch = random_spans(chance, tenant, day, first, count);
        table = table.file_as(
            tenant,
            day,
            &batch,
            groups(100 + chance.below(300) as usize),
        );
        first += count as u64;
    }
    let batch = random_spans(chance, "a", 101, first, 12_000);
    table = table.file_as("a", 101, &batch, groups(700));
    first += 12_000;
    for tenant in ["a", "b", "a"] {
        let batch = random_spans(chance, tenant, 102, first, 300);
        table = table.live(tenant, batch);
        first += 300;
    }
    table
}

/// How one node misbehaves.
#[derive(Default)]
pub(crate) struct Hook {
    /// Messages of its tasks that go out before it dies; none: it does not.
    messages: Mutex<Option<Arc<AtomicI64>>>,
}

/// A node.
pub(crate) struct Node {
    pub(crate) engine: Arc<QueryEngine>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hook: Arc<Hook>,
    members: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Node {
    /// Has the node die once its tasks have sent so many messages.
    pub(crate) fn die_after(&self, messages: i64) {
        *self.hook.messages.lock() = Some(Arc::new(AtomicI64::new(messages)));
    }

    /// Tasks that it does.
    pub(crate) fn tasks(&self) -> usize {
        usize::try_from(self.metrics.distributed_tasks_running.get()).unwrap()
    }

    /// Queries that it has answered together with others.
    pub(crate) fn shared(&self) -> u64 {
        let queries = &self.metrics.distributed_queries;
        queries.get_or_create(&vec![("outcome", "ok")]).get()
    }

    /// Whom it takes for there.
    pub(crate) fn knows(&self, names: &[&str]) {
        *self.members.lock() = names.iter().map(|name| (*name).into()).collect();
    }
}

/// Nodes, and one that is alone with the same table.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<Node>,
    pub(crate) alone: Arc<QueryEngine>,
    pub(crate) folder: TempDir,
}

impl Nodes {
    /// Nodes on a table. Each has the live rows of its own capture: what the first one has.
    pub(crate) async fn start(
        count: usize,
        change: impl Fn(&mut QueryConfig),
        make: impl FnOnce(&TempDir) -> Spans,
    ) -> Nodes {
        let folder = TempDir::new().unwrap();
        let table = make(&folder);
        let copy = || Spans {
            live: table.live.clone(),
            files: table.files.clone(),
            root: table.root.clone(),
        };
        let mut of_queries = config(&folder);
        of_queries.memory_bytes = 256 << 20;
        of_queries.max_rows = 1_000_000_000;
        change(&mut of_queries);
        let engine = |source: Spans, metrics: &Arc<Metrics>| {
            QueryEngine::new(
                of_queries.clone(),
                vec![Arc::new(source)],
                Arc::new(SystemClock),
                Arc::clone(metrics),
            )
            .unwrap()
        };
        let alone = engine(copy(), &Arc::new(Metrics::strict()));
        let mut nodes = Vec::new();
        for number in 1..=count {
            let metrics = Arc::new(Metrics::strict());
            let engine = engine(copy(), &metrics);
            nodes.push(Node::start(&format!("n{number}"), engine, metrics).await);
        }
        let members: Vec<_> = nodes
            .iter()
            .map(|node| (Arc::clone(node.peers.name()), node.peers.address()))
            .collect();
        for node in &nodes {
            node.peers.set_members(members.clone());
            let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
            node.knows(&names);
        }
        Nodes {
            nodes,
            alone,
            folder,
        }
    }

    /// Waits until nobody does any task, and nothing is kept for one.
    pub(crate) async fn settle(&self) {
        for _ in 0..6_000 {
            let kept = |node: &Node| node.engine.distribution().unwrap().kept();
            if self
                .nodes
                .iter()
                .all(|node| node.tasks() == 0 && kept(node) == 0)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let tasks: Vec<usize> = self.nodes.iter().map(Node::tasks).collect();
        panic!("tasks go on: {tasks:?}");
    }
}

impl Node {
    async fn start(name: &str, engine: Arc<QueryEngine>, metrics: Arc<Metrics>) -> Node {
        let hook = Arc::new(Hook::default());
        let own: Arc<Mutex<Option<Arc<Peers>>>> = Arc::default();
        let mut services = Services::new();
        let tasks = Tasks {
            engine: Arc::clone(&engine),
            hook: Arc::clone(&hook),
            peers: Arc::clone(&own),
        };
        services.register_stream(QUERY, Arc::new(tasks));
        let peers = Peers::start(
            PeerConfig {
                name: name.into(),
                cluster: "test".into(),
                listen: ([127, 0, 0, 1], 0).into(),
                secret: Some([7; 32]),
            },
            services,
            Arc::new(SystemClock),
            Arc::clone(&metrics),
        );
        let peers = peers.await.unwrap();
        *own.lock() = Some(Arc::clone(&peers));
        let members: Arc<Mutex<BTreeSet<Arc<str>>>> = Arc::default();
        engine.join(Arc::new(Others {
            peers: Arc::clone(&peers),
            members: Arc::clone(&members),
        }));
        Node {
            engine,
            peers,
            metrics,
            hook,
            members,
        }
    }
}

struct Tasks {
    engine: Arc<QueryEngine>,
    hook: Arc<Hook>,
    peers: Arc<Mutex<Option<Arc<Peers>>>>,
}

#[async_trait]
impl StreamService for Tasks {
    async fn serve(
        &self,
        _: Arc<str>,
        head: Bytes,
        incoming: otlake_peer::Incoming,
        outgoing: otlake_peer::Outgoing,
    ) -> Result<()> {
        let wire = Wire {
            outgoing: Box::new(Sending {
                outgoing,
                hook: Arc::clone(&self.hook),
                peers: self.peers.lock().clone(),
            }),
            incoming: Box::new(Receiving(incoming)),
        };
        self.engine.serve(head, wire).await
    }
}

struct Others {
    peers: Arc<Peers>,
    members: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

#[async_trait]
impl Workers for Others {
    fn own(&self) -> Arc<str> {
        Arc::clone(self.peers.name())
    }

    fn others(&self) -> Vec<Arc<str>> {
        let members = self.members.lock();
        let others = members.iter().filter(|name| *name != self.peers.name());
        others.cloned().collect()
    }

    async fn open(&self, node: &str, head: Bytes) -> Result<Wire> {
        let (outgoing, incoming) = self.peers.open(node, QUERY, head).await?;
        Ok(Wire {
            outgoing: Box::new(Sending {
                outgoing,
                hook: Arc::default(),
                peers: None,
            }),
            incoming: Box::new(Receiving(incoming)),
        })
    }
}

struct Sending {
    outgoing: otlake_peer::Outgoing,
    hook: Arc<Hook>,
    peers: Option<Arc<Peers>>,
}

#[async_trait]
impl Outgoing for Sending {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        let left = self.hook.messages.lock().clone();
        if let (Some(left), Some(peers)) = (left, &self.peers)
            && left.fetch_sub(1, Ordering::SeqCst) <= 0
        {
            let peers = Arc::clone(peers);
            tokio::spawn(async move { peers.close().await });
            return Err(Error::new(Code::PeerUnreachable, "the node dies"));
        }
        self.outgoing.send(message).await
    }
}

struct Receiving(otlake_peer::Incoming);

#[async_trait]
impl Incoming for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.next().await
    }
}

/// A statement over every tenant.
pub(crate) fn asked(sql: &str) -> QueryRequest {
    QueryRequest {
        sql: sql.to_owned(),
        ..QueryRequest::default()
    }
}

/// The rows of an answer, in an order of their own.
pub(crate) async fn rows(engine: &QueryEngine, request: QueryRequest) -> Result<Vec<String>> {
    let answer = engine.query(request).await?;
    let chunks: Vec<Bytes> = encode(answer, Format::Ndjson)?.try_collect().await?;
    let text = String::from_utf8(chunks.concat()).unwrap();
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort_unstable();
    Ok(rows)
}

/// The code that a query ends with.
pub(crate) async fn code(engine: &QueryEngine, request: QueryRequest) -> Code {
    rows(engine, request).await.expect_err("it fails").code
}
