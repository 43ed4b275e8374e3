use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otlake_base::metrics::by_signal;
use otlake_base::{
    Code, Consistency, Error, Metrics, Position, Result, Signal, StreamId, SystemClock, Table,
};
use otlake_peer::{PeerConfig, Peers, Services};
use otlake_processor::{Processor, ProcessorConfig};
use otlake_receive::{Ack, Ingest};
use parking_lot::Mutex;
use prost::Message;
use tempfile::TempDir;
use tokio::sync::RwLock;

use crate::testing::{owners_of, request, span, spans};
use crate::{Gateway, INGEST, IngestService, SLICES, View, split};

const TRANSPORT: &str = "grpc";

/// A slice without the mark that says which request it is of.
fn part(received: &Bytes) -> Bytes {
    let (mark, part) = otlake_decode::slice::of(received).expect("a mark");
    assert!(!mark.shards.is_empty());
    part
}

/// The port on a processor, as a node has it.
struct Storage(Arc<Processor>);

impl Ingest for Storage {
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        async move {
            let connection = Some(connection);
            let stored = self
                .0
                .ingest_over(signal, tenant, transport, connection, body);
            let ack = stored.await?;
            Ok(Ack {
                accepted: ack.accepted,
                rejected: ack.rejections.count,
                message: ack.message(),
                session: ack.position.map(|position| position.to_string()),
            })
        }
        .boxed()
    }
}

type Received = (Signal, Arc<str>, &'static str, u64, Bytes);

/// A port that keeps what it is given and answers as it is told.
#[derive(Default)]
struct Fake {
    received: Mutex<Vec<Received>>,
    refuse: Mutex<Option<Code>>,
    /// Whoever writes it holds all up that come.
    gate: Arc<RwLock<()>>,
    sequence: AtomicU64,
    stream: u128,
}

impl Ingest for Fake {
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        async move {
            drop(self.gate.read().await);
            if let Some(code) = *self.refuse.lock() {
                return Err(Error::new(code, "told to refuse"));
            }
            let accepted = crate::count::records(signal, &body);
            let received = (signal, tenant, transport, connection, body);
            self.received.lock().push(received);
            let position = Position {
                stream: StreamId(self.stream),
                sequence: self.sequence.fetch_add(1, Ordering::SeqCst) + 1,
            };
            Ok(Ack {
                accepted,
                session: Some(position.to_string()),
                ..Ack::default()
            })
        }
        .boxed()
    }
}

struct Node {
    peers: Arc<Peers>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
}

impl Node {
    async fn start(name: &str, local: Arc<dyn Ingest>, metrics: Arc<Metrics>, max: usize) -> Node {
        let config = PeerConfig {
            name: name.into(),
            cluster: "test".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            secret: Some([3; 32]),
        };
        let mut services = Services::new();
        let service = IngestService::new(local.clone());
        services.register(INGEST, service.clone());
        services.register_stream(SLICES, service);
        let clock = Arc::new(SystemClock);
        let peers = Peers::start(config, services, clock.clone(), metrics.clone());
        let peers = peers.await.unwrap();
        let gateway = Gateway::with_budget(max, local, peers.clone(), clock, metrics.clone());
        Node {
            gateway: gateway.unwrap(),
            peers,
            metrics,
        }
    }

    async fn send(&self, body: Bytes) -> Result<Ack> {
        let tenant = "tenant-1".into();
        self.gateway
            .ingest(Signal::Traces, tenant, TRANSPORT, 42, body)
            .await
    }
}

/// Makes the nodes know each other; those of `alive` can be sent to.
fn introduce(nodes: &[Node], alive: &[usize]) {
    for (index, node) in nodes.iter().enumerate() {
        let members = nodes
            .iter()
            .map(|each| (each.peers.name().clone(), each.peers.address()));
        node.peers.set_members(members.collect());
        node.gateway.place(View {
            owners: owners_of(&format!("n{index}"), nodes.len(), &[]),
            alive: alive.iter().map(|node| format!("n{node}").into()).collect(),
        });
    }
}

async fn fakes(count: usize, max: usize) -> (Vec<Node>, Vec<Arc<Fake>>) {
    let (mut nodes, mut fakes) = (Vec::new(), Vec::new());
    for index in 0..count {
        let fake = Arc::new(Fake {
            stream: index as u128,
            ..Fake::default()
        });
        let metrics = Arc::new(Metrics::strict());
        let local: Arc<dyn Ingest> = fake.clone();
        nodes.push(Node::start(&format!("n{index}"), local, metrics, max).await);
        fakes.push(fake);
    }
    introduce(&nodes, &(0..count).collect::<Vec<_>>());
    (nodes, fakes)
}

const MAX: usize = 10_000_000;

async fn processor(folder: &TempDir, metrics: &Arc<Metrics>) -> Arc<Processor> {
    let config = ProcessorConfig {
        // What is stored stays live, where it is counted.
        flush_interval_ms: 600_000,
        ..ProcessorConfig::new(folder.path())
    };
    Processor::open(config, Arc::new(SystemClock), metrics.clone())
        .await
        .unwrap()
}

fn rows(processor: &Processor, table: Table) -> usize {
    let source = processor.source(table);
    let capture = source.capture(&Consistency::Strong).unwrap();
    capture.live.iter().map(|rows| rows.batch.num_rows()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_stored_once_at_its_owner_whichever_node_takes_it_and_however_often() {
    let (mut nodes, mut processors, mut folders) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::strict());
        let storage = processor(&folder, &metrics).await;
        let local: Arc<dyn Ingest> = Arc::new(Storage(storage.clone()));
        nodes.push(Node::start(&format!("n{index}"), local, metrics, MAX).await);
        processors.push(storage);
        folders.push(folder);
    }
    introduce(&nodes, &[0, 1, 2]);

    let mut wanted = [0; 3];
    for round in 0..10 {
        let body = spans(round * 100, 300, 3);
        let owners = owners_of("n0", 3, &[]);
        for slice in split(Signal::Traces, &body, &owners) {
            wanted[usize::from(slice.owner)] += crate::count::records(Signal::Traces, &slice.body);
        }
        // The second time as a client that did not hear the answer, over another node.
        for node in [round as usize % 3, (round as usize + 1) % 3] {
            let ack = nodes[node].send(body.clone()).await.unwrap();
            assert_eq!((ack.accepted, ack.rejected, ack.message), (300, 0, None));
            let session = ack.session.unwrap();
            assert_eq!(session.split(',').count(), 3, "{session}");
            Consistency::parse(Some("session"), Some(&session)).unwrap();
        }
    }
    let stored: Vec<u64> = processors
        .iter()
        .map(|processor| rows(processor, Table::Spans) as u64)
        .collect();
    assert_eq!(stored, wanted);
    assert_eq!(stored.iter().sum::<u64>(), 3_000);

    let count = |family: fn(&Metrics) -> u64| -> u64 {
        nodes.iter().map(|node| family(&node.metrics)).sum()
    };
    let labels = by_signal(Signal::Traces);
    assert_eq!(
        count(|metrics| {
            let labels = by_signal(Signal::Traces);
            metrics.records_deduplicated.get_or_create(&labels).get()
        }),
        3_000
    );
    for node in &nodes {
        let received = node.metrics.records_received.get_or_create(&labels).get();
        let acknowledged = node
            .metrics
            .records_acknowledged
            .get_or_create(&labels)
            .get();
        assert_eq!(received, acknowledged);
        assert_eq!(node.metrics.peers.routing_bytes.get(), 0);
    }
    for processor in processors {
        processor.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_owners_refuse_are_told_as_rejected_and_the_others_are_stored() {
    let (mut nodes, mut processors, mut folders) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::strict());
        let storage = processor(&folder, &metrics).await;
        let local: Arc<dyn Ingest> = Arc::new(Storage(storage.clone()));
        nodes.push(Node::start(&format!("n{index}"), local, metrics, MAX).await);
        processors.push(storage);
        folders.push(folder);
    }
    introduce(&nodes, &[0, 1]);
    let mut all: Vec<_> = (0..40).map(|number| span(number, number)).collect();
    for bad in [3, 17, 18, 31] {
        all[bad].span_id = vec![1, 2];
    }
    let ack = nodes[0].send(request(all)).await.unwrap();
    assert_eq!((ack.accepted, ack.rejected), (36, 4));
    assert!(ack.message.unwrap().contains("invalid_span_id"));
    let stored: usize = processors.iter().map(|each| rows(each, Table::Spans)).sum();
    assert_eq!(stored, 36);

    // What is no message within one span is found by its owner alone.
    let mut sent = ExportTraceServiceRequest::decode(&spans(100, 20, 1)[..]).unwrap();
    sent.resource_spans[0].scope_spans[0].spans[7].name = "~".repeat(30);
    let mut body = sent.encode_to_vec();
    let at = body
        .windows(30)
        .position(|part| part == [b'~'; 30])
        .unwrap();
    // A group's start, which no message of today has.
    body[at - 2] = 5 << 3 | 3;
    let ack = nodes[0].send(body.into()).await.unwrap();
    assert_eq!(ack.accepted + ack.rejected, 20);
    assert!(ack.rejected > 0 && ack.accepted > 0, "{ack:?}");
    assert!(ack.message.unwrap().contains("OTLP_MALFORMED"));
    let whole = nodes[0].send(Bytes::from_static(b"no message")).await;
    assert_eq!(whole.unwrap_err().code, Code::OtlpMalformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_transport_and_connection_travel_with_a_slice() {
    let (nodes, fakes) = fakes(3, MAX).await;
    let body = spans(0, 30, 1);
    let ack = nodes[0].send(body.clone()).await.unwrap();
    assert_eq!(ack.accepted, 30);
    let owners = owners_of("n0", 3, &[]);
    let mut connections = HashSet::new();
    for slice in split(Signal::Traces, &body, &owners) {
        let received = fakes[usize::from(slice.owner)].received.lock();
        let [(signal, tenant, transport, connection, body)] = &received[..] else {
            panic!("one slice for each");
        };
        assert_eq!(
            (*signal, &**tenant, *transport),
            (Signal::Traces, "tenant-1", TRANSPORT)
        );
        assert_eq!(part(body), slice.body);
        connections.insert(*connection);
    }
    // The same one for both others, and not to be taken for one of their own.
    assert_eq!(connections.len(), 2);
    assert!(connections.contains(&42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_of_one_owner_is_told_as_one_that_can_be_retried() {
    let (nodes, fakes) = fakes(3, MAX).await;
    let body = spans(0, 30, 1);
    for (code, told) in [
        (Code::IngestOverloaded, Code::IngestOverloaded),
        (Code::LogFull, Code::LogFull),
        (Code::ClusterQuorum, Code::ClusterQuorum),
    ] {
        for (at, fake) in fakes.iter().enumerate() {
            *fake.refuse.lock() = Some(code);
            let error = nodes[0].send(body.clone()).await.unwrap_err();
            assert_eq!(error.code, told);
            assert!(error.message.contains(&format!("n{at}")), "{error}");
            *fake.refuse.lock() = None;
        }
    }
    // The same slices come again.
    nodes[0].send(body).await.unwrap();
    for fake in fakes {
        let received = fake.received.lock();
        assert!(received.iter().all(|each| each.4 == received[0].4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_not_alive_is_stood_in_for_and_one_that_seems_alive_is_waited_for() {
    let (nodes, fakes) = fakes(3, MAX).await;
    let body = spans(0, 30, 1);
    nodes[2].peers.close().await;
    let error = nodes[0].send(body.clone()).await.unwrap_err();
    assert_eq!(error.code, Code::PeerUnreachable);
    let counted = nodes[0].metrics.encode();
    assert!(
        counted.contains(
            r#"otlake_requests_refused_total{signal="traces",code="PEER_UNREACHABLE"} 1"#
        )
    );

    fakes[0].received.lock().clear();
    introduce(&nodes[..], &[0, 1]);
    let ack = nodes[0].send(body.clone()).await.unwrap();
    assert_eq!(ack.accepted, 30);
    let owners = owners_of("n0", 3, &[]);
    let slices = split(Signal::Traces, &body, &owners);
    let kept: HashSet<Bytes> = fakes[0]
        .received
        .lock()
        .iter()
        .map(|each| part(&each.4))
        .collect();
    // Each as it would have been sent, so that a resend to the owner is told.
    assert_eq!(
        kept,
        HashSet::from([slices[0].body.clone(), slices[2].body.clone()])
    );
    let counted = nodes[0].metrics.encode();
    assert!(
        counted.contains(r#"otlake_slices_total{signal="traces",place="kept"} 1"#),
        "{counted}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_to_owners_are_bounded() {
    let body = spans(0, 300, 1);
    let (nodes, fakes) = fakes(2, body.len() / 2).await;
    let fast = nodes[0].send(body.clone()).await.unwrap();
    assert_eq!(fast.accepted, 300);
    let closed = fakes[1].gate.clone().write_owned().await;
    let gateway = nodes[0].gateway.clone();
    let slow = body.clone();
    let first = fakes[0].received.lock().len();
    let held = tokio::spawn(async move {
        gateway
            .ingest(Signal::Traces, "tenant-1".into(), TRANSPORT, 1, slow)
            .await
    });
    // One slice is on its way, and the node's own is there.
    while nodes[0].metrics.peers.routing_bytes.get() == 0 || fakes[0].received.lock().len() == first
    {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let before = fakes[0].received.lock().len();
    let error = nodes[0].send(body.clone()).await.unwrap_err();
    assert_eq!(error.code, Code::IngestOverloaded);
    // Nothing of it was stored, also not here.
    assert_eq!(fakes[0].received.lock().len(), before);
    drop(closed);
    held.await.unwrap().unwrap();
    nodes[0].send(body).await.unwrap();
    assert_eq!(nodes[0].metrics.peers.routing_bytes.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_is_split_beside_the_workers_and_arrives_whole() {
    let (nodes, fakes) = fakes(3, 100_000_000).await;
    let large = (0..60).map(|number| opentelemetry_proto::tonic::trace::v1::Span {
        name: "x".repeat(100_000),
        ..span(number, number)
    });
    let body = request(large.collect());
    let ack = nodes[1].send(body.clone()).await.unwrap();
    assert_eq!(ack.accepted, 60);
    let owners = owners_of("n1", 3, &[]);
    for slice in split(Signal::Traces, &body, &owners) {
        let name = owners.name(slice.owner);
        let at: usize = name[1..].parse().unwrap();
        assert!(part(&fakes[at].received.lock()[0].4) == slice.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_view_all_is_the_nodes_own_and_the_body_is_handed_on_as_it_is() {
    let fake = Arc::new(Fake::default());
    let local: Arc<dyn Ingest> = fake.clone();
    let node = Node::start("n0", local, Arc::new(Metrics::strict()), MAX).await;
    let body = spans(0, 30, 1);
    node.send(body.clone()).await.unwrap();
    let received = fake.received.lock();
    assert_eq!(received[0].4.as_ptr(), body.as_ptr());
    assert!(!node.metrics.encode().contains("otlake_slices_total{"));
}
