use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use otlake_base::{Code, Error, Signal, Table};

use crate::testing::{
    capture, config, each_once, ingest, ledger, logs, mixed_spans, numbers, open, rows, spans,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_rows_are_captured_at_once() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for request in 0..20 {
        let ack = ingest(&node, Signal::Traces, spans(request * 10, 10))
            .await
            .expect("an ack");
        assert_eq!((ack.accepted, ack.rejections.count), (10, 0));
        assert_eq!(ack.position, Some(node.session()));
        assert_eq!(rows(&capture(&node, Table::Spans)), (request + 1) * 10);
    }
    assert_eq!(numbers(&node, Table::Spans), each_once(200));
    assert_eq!(ledger(&node, Signal::Traces), (200, 200, 0));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_records_are_told_and_what_holds_nothing_is_not_logged() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let partial = ingest(&node, Signal::Traces, mixed_spans(0, 3, 2))
        .await
        .expect("an ack");
    assert_eq!((partial.accepted, partial.rejections.count), (3, 2));
    let first = partial.rejections.first.expect("the first offence");
    assert!(first.contains("trace_id"), "{first}");
    let logged = node.session();
    for body in [mixed_spans(0, 0, 4), Bytes::new(), spans(0, 0)] {
        let ack = ingest(&node, Signal::Traces, body).await.expect("an ack");
        assert_eq!((ack.accepted, ack.position), (0, None));
    }
    assert_eq!(node.session(), logged);
    let malformed = ingest(&node, Signal::Traces, Bytes::from_static(b"\x0a\xff\xff")).await;
    assert_eq!(malformed.expect_err("no OTLP").code, Code::OtlpMalformed);
    assert_eq!(ledger(&node, Signal::Traces), (9, 3, 6));
    assert_eq!(rows(&capture(&node, Table::Spans)), 3);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_is_stored_like_a_small_one() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let body = spans(0, 30_000);
    assert!(body.len() > 1024 * 1024, "{} bytes", body.len());
    ingest(&node, Signal::Traces, body).await.expect("an ack");
    assert_eq!(numbers(&node, Table::Spans), each_once(30_000));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_breaks_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for request in 0..50 {
        // The first poll appends; the log has not answered when the future is dropped.
        let body = spans(request * 2, 2);
        let _ = tokio::time::timeout(Duration::ZERO, ingest(&node, Signal::Traces, body)).await;
    }
    node.close().await.expect("a close");
    assert_eq!(numbers(&node, Table::Spans), each_once(100));
    assert_eq!(ledger(&node, Signal::Traces), (100, 100, 0));
    assert_eq!(node.stats().live_rows, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_memory_limit_requests_are_refused_until_a_flush_has_made_room() {
    let root = tempfile::tempdir().expect("a folder");
    let broken = Arc::new(AtomicBool::new(true));
    let disk = Arc::clone(&broken);
    let config = crate::ProcessorConfig {
        live_max_bytes: 512 * 1024,
        ..config(root.path())
    };
    let on_step = move |_| match disk.load(Ordering::SeqCst) {
        true => Err(Error::new(Code::TableIo, "the disk is full")),
        false => Ok(()),
    };
    let node = open(config, Some(Arc::new(on_step))).await;
    let mut stored = 0;
    let refused = loop {
        match ingest(&node, Signal::Logs, logs(stored, 50)).await {
            Ok(ack) => stored += ack.accepted,
            Err(error) => break error,
        }
        assert!(stored < 1_000_000, "the limit holds");
    };
    assert_eq!(refused.code, Code::IngestOverloaded);
    assert!(stored > 0);
    assert!(node.stats().live_bytes <= 512 * 1024);
    // What is stored is readable throughout, and waiting for files tells what is wrong.
    assert_eq!(
        node.flush().await.expect_err("the disk is full").code,
        Code::TableIo
    );
    assert_eq!(numbers(&node, Table::Logs), each_once(stored));
    broken.store(false, Ordering::SeqCst);
    while ingest(&node, Signal::Logs, logs(stored, 50)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stored += 50;
    node.flush().await.expect("a flush");
    assert_eq!(numbers(&node, Table::Logs), each_once(stored));
    assert_eq!(node.stats().live_bytes, 0);
    let (received, acknowledged, rejected) = ledger(&node, Signal::Logs);
    assert_eq!((received, acknowledged), (acknowledged + rejected, stored));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_can_never_fit_are_refused_for_good() {
    let root = tempfile::tempdir().expect("a folder");
    let config = crate::ProcessorConfig {
        live_max_bytes: 64 * 1024,
        ..config(root.path())
    };
    let node = open(config, None).await;
    let refused = ingest(&node, Signal::Logs, logs(0, 5_000))
        .await
        .expect_err("5,000 rows in 64 KiB");
    assert_eq!(refused.code, Code::OtlpTooLarge);
    assert_eq!(ledger(&node, Signal::Logs), (5_000, 0, 5_000));
    ingest(&node, Signal::Logs, logs(0, 10))
        .await
        .expect("a small request fits");
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_and_the_ledger_counts_each_record() {
    let root = tempfile::tempdir().expect("a folder");
    let config = crate::ProcessorConfig {
        log_segment_bytes: 64 * 1024,
        log_max_bytes: 256 * 1024,
        ..config(root.path())
    };
    let node = open(config, None).await;
    let mut stored = 0;
    let refused = loop {
        match ingest(&node, Signal::Traces, spans(stored, 100)).await {
            Ok(ack) => stored += ack.accepted,
            Err(error) => break error,
        }
        assert!(stored < 100_000, "the limit holds");
    };
    assert_eq!(refused.code, Code::LogFull);
    assert_eq!(ledger(&node, Signal::Traces), (stored + 100, stored, 100));
    node.flush().await.expect("a flush");
    ingest(&node, Signal::Traces, spans(stored, 100))
        .await
        .expect("the flush made room");
    assert_eq!(numbers(&node, Table::Spans), each_once(stored + 100));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_close_began_nothing_is_taken() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    ingest(&node, Signal::Logs, logs(0, 5))
        .await
        .expect("an ack");
    node.close().await.expect("a close");
    let refused = ingest(&node, Signal::Logs, logs(5, 5))
        .await
        .expect_err("the node is closed");
    assert_eq!(refused.code, Code::IngestStopping);
    assert_eq!(
        node.flush().await.expect_err("the node is closed").code,
        Code::NodeState
    );
    node.close().await.expect("a second close does nothing");
}
