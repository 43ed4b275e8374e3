//! A crash is the folder as it was at one moment, opened again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use otlake_base::metrics::by_signal;
use otlake_base::{Code, Error, Signal, Table};
use otlake_flush::{OnStep, Step};
use tempfile::TempDir;

use crate::ProcessorConfig;
use crate::testing::{
    capture, config, copy_as_crashed, crash_at, each_once, ingest, logs, numbers, open,
    parquet_files, points, rows, spans,
};

fn folders() -> (TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().expect("a folder");
    let (node, crashed) = (root.path().join("node"), root.path().join("crashed"));
    (root, node, crashed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_any_flush_is_there_after_a_crash() {
    let (_root, folder, crashed) = folders();
    let node = open(config(&folder), None).await;
    for request in 0..30 {
        ingest(&node, Signal::Traces, spans(request * 10, 10))
            .await
            .expect("an ack");
        ingest(&node, Signal::Logs, logs(request * 10, 10))
            .await
            .expect("an ack");
    }
    copy_as_crashed(&folder, &crashed);
    drop(node);
    // A node that crashes again before it flushes has two streams to replay.
    let twice = folder.with_file_name("twice");
    let node = open(config(&crashed), None).await;
    ingest(&node, Signal::Traces, spans(300, 10))
        .await
        .expect("an ack");
    copy_as_crashed(&crashed, &twice);
    drop(node);
    let node = open(config(&twice), None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(310));
    assert_eq!(numbers(&node, Table::Logs), each_once(300));
    node.flush().await.expect("a flush");
    assert_eq!(numbers(&node, Table::Spans), each_once(310));
    node.close().await.expect("a close");
    let node = open(config(&twice), None).await;
    assert_eq!(node.stats().live_rows, 0);
    assert_eq!(numbers(&node, Table::Spans), each_once(310));
    assert_eq!(numbers(&node, Table::Logs), each_once(300));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_step_of_a_flush_loses_and_doubles_nothing() {
    let mut steps = vec![
        Step::Releasing(Signal::Metrics),
        Step::Releasing(Signal::Traces),
    ];
    steps.extend(Table::ALL.map(Step::Written));
    steps.extend(Table::ALL.map(Step::Committed));
    for step in steps {
        let (_root, folder, crashed) = folders();
        let node = open(config(&folder), Some(crash_at(step, &folder, &crashed))).await;
        for request in 0..5 {
            ingest(&node, Signal::Traces, spans(request * 10, 10))
                .await
                .expect("an ack");
            ingest(&node, Signal::Metrics, points(request * 10, 10))
                .await
                .expect("an ack");
            ingest(&node, Signal::Logs, logs(request * 10, 10))
                .await
                .expect("an ack");
        }
        node.flush().await.expect("a flush");
        drop(node);
        let node = open(config(&crashed), None).await;
        for table in Table::ALL {
            assert_eq!(
                numbers(&node, table),
                each_once(50),
                "{step:?}: {}",
                table.name()
            );
        }
        node.flush().await.expect("a flush");
        for table in Table::ALL {
            assert_eq!(
                numbers(&node, table),
                each_once(50),
                "{step:?}: {}",
                table.name()
            );
        }
        assert_eq!(
            parquet_files(&crashed) as u64,
            node.stats().files,
            "{step:?}: orphans"
        );
        node.close().await.expect("a close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_load_keeps_what_was_acknowledged() {
    let (_root, folder, crashed) = folders();
    let small = |folder: &Path| ProcessorConfig {
        flush_rows: 300,
        ..config(folder)
    };
    let node = open(small(&folder), None).await;
    let mut acknowledged = 0;
    for request in 0..200 {
        ingest(&node, Signal::Traces, spans(request * 10, 10))
            .await
            .expect("an ack");
        if request == 150 {
            acknowledged = (request + 1) * 10;
            copy_as_crashed(&folder, &crashed);
        }
    }
    drop(node);
    let node = open(small(&crashed), None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(acknowledged));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_is_repeated_and_counts_nothing_twice() {
    let (_root, folder, _) = folders();
    let failures = Arc::new(AtomicU64::new(0));
    let failed = Arc::clone(&failures);
    // Every other step fails: between the failures one table after the other is committed.
    let on_step: OnStep = Arc::new(move |step| {
        let number = failed.fetch_add(1, Ordering::SeqCst);
        match number % 2 {
            0 if number < 8 => Err(Error::new(Code::TableIo, format!("{step:?} fails"))),
            _ => Ok(()),
        }
    });
    let node = open(config(&folder), Some(on_step)).await;
    ingest(&node, Signal::Metrics, points(0, 20))
        .await
        .expect("an ack");
    while node.flush().await.is_err() {
        assert_eq!(rows(&capture(&node, Table::MetricsSum)), 20);
    }
    for table in Signal::Metrics.tables() {
        assert_eq!(numbers(&node, *table), each_once(20), "{}", table.name());
    }
    let counted = node
        .metrics
        .flush_failures
        .get_or_create(&by_signal(Signal::Metrics))
        .get();
    assert_eq!(counted, 4);
    assert_eq!(parquet_files(&folder) as u64, node.stats().files);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_larger_than_the_memory_is_replayed_within_it() {
    let (_root, folder, crashed) = folders();
    let node = open(config(&folder), None).await;
    for request in 0..40 {
        ingest(&node, Signal::Traces, spans(request * 500, 500))
            .await
            .expect("an ack");
    }
    let live_bytes = node.stats().live_bytes as usize;
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let small = ProcessorConfig {
        live_max_bytes: live_bytes / 8,
        ..config(&crashed)
    };
    let node = open(small, None).await;
    assert!(node.stats().live_bytes as usize <= live_bytes / 4);
    assert_eq!(numbers(&node, Table::Spans), each_once(20_000));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_flush_closes_and_the_log_keeps_its_rows() {
    let (_root, folder, _) = folders();
    let broken: OnStep = Arc::new(|_| Err(Error::new(Code::TableIo, "the disk is full")));
    let node = open(config(&folder), Some(broken)).await;
    ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    assert_eq!(
        node.close().await.expect_err("nothing was flushed").code,
        Code::TableIo
    );
    let node = open(config(&folder), None).await;
    assert_eq!(node.stats().live_rows, 10);
    node.close().await.expect("a close");
    assert_eq!(numbers(&node, Table::Spans), each_once(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_costs_its_own_record_and_no_other() {
    let (_root, folder, crashed) = folders();
    let node = open(config(&folder), None).await;
    for request in 0..10 {
        ingest(&node, Signal::Traces, spans(request * 10, 10))
            .await
            .expect("an ack");
    }
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let segment = segments(&crashed).pop().expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("the segment");
    let body = spans(40, 10);
    let at = bytes
        .windows(body.len())
        .position(|window| *window == body[..])
        .expect("the body is in the log as it came");
    bytes[at + body.len() / 2] ^= 0x10;
    std::fs::write(&segment, bytes).expect("the segment");
    let node = open(config(&crashed), None).await;
    let mut kept = each_once(100);
    kept.retain(|number, _| !(40..50).contains(number));
    assert_eq!(numbers(&node, Table::Spans), kept);
    node.close().await.expect("a close");
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let streams = std::fs::read_dir(root.join("log")).expect("the log");
    streams
        .flat_map(|stream| std::fs::read_dir(stream.expect("a stream").path()).expect("segments"))
        .map(|segment| segment.expect("a segment").path())
        .collect()
}
