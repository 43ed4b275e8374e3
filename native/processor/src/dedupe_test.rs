use std::fs;
use std::path::Path;

use otlake_base::disk::real;
use otlake_base::{Metrics, Signal, Table};

use crate::dedupe::{Claim, ContentHash, Dedupe, WindowLimits, decode};
use crate::testing::{
    config, copy_as_crashed, each_once, ingest, ledger, logs, mixed_spans, numbers, open, points,
    spans,
};
use crate::{Processor, ProcessorConfig};

const LIMITS: WindowLimits = WindowLimits {
    nanos: 1_000,
    requests: 3,
};

fn window(folder: &Path, metrics: &Metrics) -> Dedupe {
    Dedupe::open(real(), folder, LIMITS, metrics).expect("a window")
}

fn hash(number: u8) -> ContentHash {
    ContentHash::of("default", &[number])
}

fn store(dedupe: &Dedupe, number: u8, now: u64) {
    match dedupe.claim(Signal::Traces, hash(number), now) {
        Claim::First(ticket) => ticket.stored(now),
        _ => panic!("{number} is known"),
    }
}

fn is_known(dedupe: &Dedupe, number: u8, now: u64) -> bool {
    matches!(
        dedupe.claim(Signal::Traces, hash(number), now),
        Claim::Stored
    )
}

fn deduplicated(node: &Processor, signal: Signal) -> u64 {
    let labels = otlake_base::metrics::by_signal(signal);
    let counter = &node.metrics.records_deduplicated;
    counter.get_or_create(&labels).get()
}

async fn send_all(node: &Processor) {
    for (signal, body) in [
        (Signal::Traces, spans(0, 10)),
        (Signal::Logs, logs(0, 10)),
        (Signal::Metrics, points(0, 10)),
    ] {
        ingest(node, signal, body).await.expect("an ack");
    }
}

fn assert_each_once(node: &Processor) {
    for table in Table::ALL {
        assert_eq!(numbers(node, table), each_once(10), "{}", table.name());
    }
}

#[test]
fn a_window_forgets_by_age_and_by_number() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    store(&dedupe, 1, 0);
    assert!(is_known(&dedupe, 1, 1_000));
    assert!(!is_known(&dedupe, 1, 1_001), "too old");
    for number in 2..6 {
        store(&dedupe, number, 2_000);
    }
    assert!(!is_known(&dedupe, 2, 2_000), "one too many");
    assert!((3..6).all(|number| is_known(&dedupe, number, 2_000)));
}

#[test]
fn a_dropped_ticket_leaves_the_place_to_the_next() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    let first = dedupe.claim(Signal::Traces, hash(1), 0);
    let Claim::InFlight(mut ended) = dedupe.claim(Signal::Traces, hash(1), 0) else {
        panic!("the first is in flight");
    };
    assert!(ended.has_changed().is_ok());
    // Another signal's request of the same bytes is another request.
    assert!(matches!(
        dedupe.claim(Signal::Logs, hash(1), 0),
        Claim::First(_)
    ));
    drop(first);
    assert!(ended.has_changed().is_err(), "those who wait are told");
    ended.mark_unchanged();
    store(&dedupe, 1, 0);
}

#[test]
fn a_window_survives_and_a_damaged_one_begins_empty() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    store(&dedupe, 1, 5);
    dedupe.persist(Signal::Traces).expect("a file");
    let path = root.path().join("traces.window");
    let whole = fs::read(&path).expect("the file");
    assert_eq!(decode(&whole), Ok(vec![(hash(1), 5)]));
    let again = window(root.path(), &Metrics::new());
    assert!(is_known(&again, 1, 5));
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).expect("a torn file");
    let metrics = Metrics::new();
    let torn = window(root.path(), &metrics);
    assert!(!is_known(&torn, 1, 5));
    // It is counted (I6); the windows that are not there are no damage.
    let found = metrics.corruption.get_or_create(&vec![("kind", "window")]);
    assert_eq!(found.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_an_identical_request_is_stored_once_and_acknowledged_again() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for _ in 0..3 {
        send_all(&node).await;
    }
    assert_each_once(&node);
    assert_eq!(ledger(&node, Signal::Traces), (30, 30, 0));
    assert_eq!(deduplicated(&node, Signal::Traces), 20);
    // What was refused of it is told each time.
    for _ in 0..2 {
        let ack = ingest(&node, Signal::Traces, mixed_spans(10, 1, 2))
            .await
            .expect("an ack");
        assert_eq!((ack.accepted, ack.rejections.count), (1, 2));
        assert_eq!(ack.position, Some(node.session()));
    }
    // The same bytes of another tenant are other records.
    node.ingest(Signal::Traces, "other".into(), "library", spans(0, 10))
        .await
        .expect("an ack");
    assert_eq!(deduplicated(&node, Signal::Traces), 21);
    assert_eq!(node.stats().live_rows, 7 * 10 + 1 + 10);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_identical_requests_at_once_are_stored_once() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for round in 0..50 {
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let node = std::sync::Arc::clone(&node);
                let body = spans(round * 2, 2);
                tokio::spawn(async move { ingest(&node, Signal::Traces, body).await })
            })
            .collect();
        for sender in senders {
            let ack = sender.await.expect("a task").expect("an ack");
            assert_eq!(ack.accepted, 2);
        }
    }
    assert_eq!(numbers(&node, Table::Spans), each_once(100));
    assert_eq!(ledger(&node, Signal::Traces), (800, 800, 0));
    node.close().await.expect("a close");
}

/// Sends, crashes as `before` says, and sends the same again to what the crash left.
async fn resend_after_a_crash(flush: bool) {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    send_all(&node).await;
    if flush {
        node.flush().await.expect("a flush");
    }
    copy_as_crashed(&folder, &crashed);
    copy_folder(&folder.join("dedupe"), &crashed.join("dedupe"));
    drop(node);
    let node = open(config(&crashed), None).await;
    send_all(&node).await;
    assert_each_once(&node);
    assert_eq!(deduplicated(&node, Signal::Logs), 10);
    node.close().await.expect("a close");
    let node = open(config(&crashed), None).await;
    send_all(&node).await;
    assert_each_once(&node);
    node.close().await.expect("a close");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_resend_after_a_crash_is_told_by_the_log() {
    resend_after_a_crash(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_resend_after_a_crash_is_told_when_the_log_is_gone() {
    resend_after_a_crash(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_keeps_its_records_until_the_window_is_durable() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    // A folder in the place of the file: it cannot be replaced.
    let place = root.path().join("dedupe/traces.window/in-the-way");
    fs::create_dir_all(&place).expect("a folder");
    ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    let segments = node.stats().log_segments;
    node.flush()
        .await
        .expect_err("the window cannot be written");
    assert_eq!(node.stats().log_segments, segments);
    fs::remove_dir_all(root.path().join("dedupe/traces.window")).expect("out of the way");
    node.close().await.expect("it recovers by itself");
    assert_eq!(numbers(&node, Table::Spans), each_once(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_no_length_stores_each_request() {
    let root = tempfile::tempdir().expect("a folder");
    let config = ProcessorConfig {
        dedupe_window_ms: 0,
        ..config(root.path())
    };
    let node = open(config, None).await;
    for _ in 0..2 {
        ingest(&node, Signal::Traces, spans(0, 3))
            .await
            .expect("an ack");
    }
    assert_eq!(node.stats().live_rows, 6);
    node.close().await.expect("a close");
}
