use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use otlake_base::{Code, Error, Position, Result, Signal, StreamId, Table};
use otlake_log::{Appender, Log, OnAcknowledged, OnDurable, Record};
use parking_lot::Mutex;

use crate::Processor;
use crate::testing::{capture, config, each_once, ingest, ledger, numbers, open, rows, spans};

/// A log whose answers wait until they are let go, as those of a quorum do.
struct Held {
    log: Arc<Log>,
    waiting: Arc<Mutex<Vec<(Position, OnDurable)>>>,
    last: AtomicU64,
    refuses: AtomicBool,
    late: AtomicU64,
    /// What is let go has its quorum later.
    is_overdue: AtomicBool,
    overdue: Mutex<Vec<OnAcknowledged>>,
}

impl Held {
    /// Waits until the log has so many records that wait here: a request can be told that it is late
    /// before its record is on the disk.
    async fn logged(&self, count: usize) {
        while self.waiting.lock().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn let_go(&self) {
        for (position, answer) in std::mem::take(&mut *self.waiting.lock()) {
            self.last.store(position.sequence, Ordering::Release);
            answer(Ok(position));
        }
    }
}

fn held(log: Arc<Log>) -> Held {
    Held {
        log,
        waiting: Arc::default(),
        last: AtomicU64::new(0),
        refuses: AtomicBool::new(false),
        late: AtomicU64::new(0),
        is_overdue: AtomicBool::new(false),
        overdue: Mutex::default(),
    }
}

/// A node that stores through it.
async fn held_up(folder: &std::path::Path) -> (Arc<Processor>, Arc<Held>) {
    let node = open(config(folder), None).await;
    let made = Mutex::new(None);
    let wrap = |log| {
        let appender = Arc::new(held(log));
        *made.lock() = Some(Arc::clone(&appender));
        appender as Arc<dyn Appender>
    };
    node.append_through(wrap).expect("it is the first");
    let made = made.lock().take();
    (node, made.expect("it was made"))
}

impl Appender for Held {
    fn stream(&self) -> StreamId {
        self.log.stream()
    }

    fn admit(&self, _: Signal, _: &str) -> Result<()> {
        match self.refuses.load(Ordering::Acquire) {
            true => Err(Error::new(Code::ClusterQuorum, "too few nodes")),
            false => Ok(()),
        }
    }

    fn append(&self, record: Record, on_durable: OnDurable) {
        let waiting = Arc::clone(&self.waiting);
        self.log.append(
            record,
            Box::new(move |outcome| match outcome {
                Ok(position) => waiting.lock().push((position, on_durable)),
                Err(error) => on_durable(Err(error)),
            }),
        );
    }

    fn is_overdue(&self, _: Position) -> bool {
        self.is_overdue.load(Ordering::Acquire)
    }

    fn when_acknowledged(&self, _: Position, then: OnAcknowledged) {
        self.overdue.lock().push(then);
    }

    fn last_durable(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    fn patience(&self, _: Signal, _: &str) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }

    fn late(&self, _: Signal) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    fn release(&self, signal: Signal, upto: Position) {
        self.log.release(signal, upto);
    }

    fn fenced(&self, _: StreamId, _: u64) {
        self.refuses.store(true, Ordering::Release);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_request_whose_quorum_is_late_is_told_so_and_stored_once_whatever_is_sent_again() {
    let root = tempfile::tempdir().expect("a folder");
    let (node, held) = held_up(root.path()).await;
    for _ in 0..3 {
        let error = ingest(&node, Signal::Traces, spans(0, 10)).await;
        assert_eq!(error.expect_err("no quorum").code, Code::ClusterQuorum);
    }
    held.logged(1).await;
    assert_eq!(
        held.waiting.lock().len(),
        1,
        "the others wait for the first"
    );
    assert_eq!(held.late.load(Ordering::Relaxed), 3);
    assert_eq!(
        rows(&capture(&node, Table::Spans)),
        0,
        "it is not readable yet"
    );
    held.let_go();
    assert_eq!(numbers(&node, Table::Spans), each_once(10));
    let ack = ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    assert_eq!(ack.position, Some(node.session()));
    assert_eq!(numbers(&node, Table::Spans), each_once(10));
    // One late record, two that gave up waiting for it, one that was told that it is stored.
    assert_eq!(ledger(&node, Signal::Traces), (40, 20, 20));
    held.refuses.store(true, Ordering::Release);
    let error = ingest(&node, Signal::Traces, spans(10, 10)).await;
    assert_eq!(
        error.expect_err("refused at once").code,
        Code::ClusterQuorum
    );
    assert!(
        held.waiting.lock().is_empty(),
        "before anything was written"
    );
    let again = node.append_through(|log| log);
    assert_eq!(again.expect_err("once").code, Code::NodeState);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_record_that_is_readable_before_its_quorum_is_acknowledged_with_it_or_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let (node, held) = held_up(root.path()).await;
    held.is_overdue.store(true, Ordering::Release);
    let late = |outcome: Result<crate::Ack>| {
        assert_eq!(outcome.expect_err("no quorum").code, Code::ClusterQuorum);
    };
    late(ingest(&node, Signal::Traces, spans(0, 10)).await);
    held.logged(1).await;
    held.let_go();
    assert_eq!(
        numbers(&node, Table::Spans),
        each_once(10),
        "it is readable"
    );
    late(ingest(&node, Signal::Traces, spans(0, 10)).await);
    // The resend is told so, and nothing of the first yet.
    assert_eq!(ledger(&node, Signal::Traces), (10, 0, 10));
    for then in std::mem::take(&mut *held.overdue.lock()) {
        then(Ok(()));
    }
    assert_eq!(ledger(&node, Signal::Traces), (20, 10, 10));
    let ack = ingest(&node, Signal::Traces, spans(0, 10)).await;
    assert_eq!(ack.expect("it is stored").position, Some(node.session()));
    // One that never has its quorum is refused, and may be stored anew.
    late(ingest(&node, Signal::Traces, spans(10, 10)).await);
    held.logged(1).await;
    held.let_go();
    for then in std::mem::take(&mut *held.overdue.lock()) {
        then(Err(Error::new(
            Code::ClusterFenced,
            "another has the stream",
        )));
    }
    assert_eq!(ledger(&node, Signal::Traces), (40, 20, 20));
    late(ingest(&node, Signal::Traces, spans(10, 10)).await);
    // It is begun anew.
    held.logged(1).await;
    held.is_overdue.store(false, Ordering::Release);
    held.let_go();
    node.close().await.expect("a close");
}
