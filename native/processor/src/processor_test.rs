use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use otlake_base::{Code, Consistency, Metrics, Position, Signal, StreamId, SystemClock, Table};

use crate::testing::{
    capture, config, each_once, ingest, logs, numbers, open, parquet_files, points, rows, spans,
};
use crate::{Processor, ProcessorConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_during_flushes_neither_misses_nor_doubles() {
    let root = tempfile::tempdir().expect("a folder");
    let config = ProcessorConfig {
        flush_rows: 700,
        ..config(root.path())
    };
    let node = open(config, None).await;
    let (next, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (node, next, acknowledged) = (
                Arc::clone(&node),
                Arc::clone(&next),
                Arc::clone(&acknowledged),
            );
            tokio::spawn(async move {
                // So many, and further ones until enough flushes have come between.
                for written in 0_u64.. {
                    if written >= 400 && node.stats().files > 5 {
                        break;
                    }
                    let first = next.fetch_add(10, Ordering::SeqCst);
                    ingest(&node, Signal::Traces, spans(first, 10))
                        .await
                        .expect("an ack");
                    acknowledged.fetch_add(10, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let flushes = {
        let (node, done) = (Arc::clone(&node), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                node.flush().await.expect("a flush");
                tokio::task::yield_now().await;
            }
        })
    };
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (node, next, acknowledged, done) = (
                Arc::clone(&node),
                Arc::clone(&next),
                Arc::clone(&acknowledged),
                Arc::clone(&done),
            );
            tokio::spawn(async move {
                let mut captures = 0_u64;
                while !done.load(Ordering::SeqCst) {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let seen = rows(&capture(&node, Table::Spans));
                    let most = next.load(Ordering::SeqCst);
                    assert!(least <= seen && seen <= most, "{least} <= {seen} <= {most}");
                    captures += 1;
                    tokio::task::yield_now().await;
                }
                captures
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    done.store(true, Ordering::SeqCst);
    flushes.await.expect("the flushes");
    for reader in readers {
        assert!(reader.await.expect("a reader") > 10);
    }
    let written = next.load(Ordering::SeqCst);
    assert!(written >= 12_000, "{written}");
    assert_eq!(numbers(&node, Table::Spans), each_once(written));
    assert!(node.stats().files > 5, "there were flushes");
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_node_opens_with_what_it_had_and_leaves_an_empty_log() {
    let root = tempfile::tempdir().expect("a folder");
    for opened in 0..3 {
        let node = open(config(root.path()), None).await;
        assert_eq!(
            node.stats().live_rows,
            0,
            "a close leaves nothing to replay"
        );
        for (signal, body) in [
            (Signal::Traces, spans(opened * 100, 100)),
            (Signal::Logs, logs(opened * 100, 100)),
            (Signal::Metrics, points(opened * 100, 100)),
        ] {
            ingest(&node, signal, body).await.expect("an ack");
        }
        node.close().await.expect("a close");
    }
    let node = open(config(root.path()), None).await;
    for table in Table::ALL {
        assert_eq!(numbers(&node, table), each_once(300), "{}", table.name());
    }
    assert_eq!(node.stats().file_rows, 7 * 300);
    assert_eq!(parquet_files(root.path()) as u64, node.stats().files);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_reach_files_by_age_without_being_asked() {
    let root = tempfile::tempdir().expect("a folder");
    let config = ProcessorConfig {
        flush_interval_ms: 50,
        ..config(root.path())
    };
    let node = open(config, None).await;
    ingest(&node, Signal::Metrics, points(0, 10))
        .await
        .expect("an ack");
    while node.stats().live_rows > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!((node.stats().live_rows, node.stats().file_rows), (0, 50));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_rows_gets_no_commit() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    node.flush().await.expect("a flush");
    let commits = |table| {
        let labels = otlake_base::metrics::by_table(table);
        node.metrics.flushes.get_or_create(&labels).get()
    };
    assert_eq!(Table::ALL.map(commits), [1, 0, 0, 0, 0, 0, 0]);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_token_holds_until_after_a_restart_and_an_unknown_one_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let read = |node: &Processor, token: Position, table| {
        node.source(table)
            .capture(&Consistency::Session(token.into()))
    };
    let empty = node.session();
    let ack = ingest(&node, Signal::Logs, logs(0, 10))
        .await
        .expect("an ack");
    let token = ack.position.expect("a position");
    assert_eq!(
        rows(&read(&node, token, Table::Logs).expect("a capture")),
        10
    );
    assert_eq!(
        rows(&read(&node, token, Table::Spans).expect("a capture")),
        0
    );
    let beyond = Position {
        sequence: token.sequence + 1,
        ..token
    };
    let unknown = Position {
        stream: StreamId(7),
        sequence: 1,
    };
    for refused in [beyond, unknown] {
        let error = read(&node, refused, Table::Logs).expect_err("it was not reached");
        assert_eq!(error.code, Code::QuerySession);
    }
    let eventual = node
        .source(Table::Logs)
        .capture(&Consistency::Eventual)
        .expect("a capture");
    assert_eq!(rows(&eventual), 0, "no file holds them yet");
    node.close().await.expect("a close");
    let node = open(config(root.path()), None).await;
    assert_ne!(node.session().stream, token.stream);
    for token in [token, empty] {
        assert_eq!(
            rows(&read(&node, token, Table::Logs).expect("a capture")),
            10
        );
        read(&node, token, Table::Spans).expect("another table's token is as good");
    }
    assert_eq!(
        read(&node, beyond, Table::Logs).expect_err("lost").code,
        Code::QuerySession
    );
    let eventual = node
        .source(Table::Logs)
        .capture(&Consistency::Eventual)
        .expect("a capture");
    assert_eq!(rows(&eventual), 10);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let second = Processor::open(
        config(root.path()),
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    );
    assert_eq!(
        second.await.err().expect("it is locked").code,
        Code::NodeDirectoryLocked
    );
    node.close().await.expect("a close");
    open(config(root.path()), None)
        .await
        .close()
        .await
        .expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_batches_as_they_are_acknowledged() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let mut tail = node.subscribe();
    let ack = ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    let Some(otlake_flush::Tailed::Batch(batch)) = tail.recv().await else {
        panic!("there is a batch");
    };
    assert_eq!((Some(batch.position), batch.rows), (ack.position, 10));
    assert_eq!(batch.parts.len(), 1);
    assert_eq!(&*batch.parts[0].tenant, "default");
    node.close().await.expect("a close");
}
