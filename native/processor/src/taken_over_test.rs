//! Two nodes on one folder of tables, one of which takes over what the other writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use otlake_base::{Code, Error, Position, Signal, StreamId, Table};
use otlake_flush::{OnStep, Step};
use otlake_log::Record;

use crate::testing::{config, each_once, ingest, logs, numbers, open, points, records, spans};
use crate::{Processor, ProcessorConfig};

fn shared(root: &Path, node: &str) -> ProcessorConfig {
    ProcessorConfig {
        tables_dir: Some(root.join("tables")),
        leave_earlier: true,
        ..config(&root.join(node))
    }
}

/// Stores the same numbers in every table.
async fn store(node: &Processor, first: u64, count: u64) {
    for (signal, body) in [
        (Signal::Traces, spans(first, count)),
        (Signal::Logs, logs(first, count)),
        (Signal::Metrics, points(first, count)),
    ] {
        ingest(node, signal, body).await.expect("an ack");
    }
}

async fn adopt(node: &Arc<Processor>, records: Vec<(Position, Record)>) {
    for (position, record) in records {
        node.adopt(position, record, true).await.expect("adopted");
    }
}

async fn in_files(node: &Processor, table: Table) -> BTreeMap<u64, u64> {
    node.tables().handle(table).refresh().await.expect("a look");
    numbers(node, table)
}

async fn all_hold(node: &Processor, count: u64) {
    assert_eq!(node.live().figures().rows, 0);
    for table in Table::ALL {
        assert_eq!(in_files(node, table).await, each_once(count), "{table:?}");
    }
}

fn answers_for(node: &Processor, stream: StreamId) -> bool {
    node.live().whole().iter().any(|own| own.stream == stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i9_an_owner_whose_stream_was_taken_over_writes_nothing_more_and_keeps_it_in_its_log() {
    let root = tempfile::tempdir().expect("a folder");
    let owner = open(shared(root.path(), "owner"), None).await;
    let other = open(shared(root.path(), "other"), None).await;
    let stream = owner.session().stream;
    store(&owner, 0, 10).await;
    owner.flush().await.expect("a flush");
    store(&owner, 10, 10).await;
    other.take_over(stream, 2).await.expect("it is the first");
    // It was paused meanwhile, say, and goes on where it was.
    owner
        .flush()
        .await
        .expect("what is not its own is let go of");
    all_hold(&other, 10).await;
    assert_eq!(owner.live().figures().batches, 0);
    assert!(!answers_for(&owner, stream));
    owner.close().await.expect("a close");
    let held = records(&root.path().join("owner"), stream);
    assert_eq!(
        held.len(),
        6,
        "nothing of what was flushed is released early either"
    );
    adopt(&other, held).await;
    other.flush().await.expect("a flush");
    all_hold(&other, 20).await;
    // The next start finds what is left, to append what was not recovered.
    let again = open(shared(root.path(), "owner"), None).await;
    assert_eq!(again.earlier_streams(), [stream]);
    assert_eq!(records(&root.path().join("owner"), stream).len(), 6);
    again.close().await.expect("a close");
    other.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i9_whoever_recovers_a_stream_lets_go_of_it_when_another_does_at_a_later_epoch() {
    let root = tempfile::tempdir().expect("a folder");
    let owner = open(shared(root.path(), "owner"), None).await;
    let stream = owner.session().stream;
    store(&owner, 0, 10).await;
    store(&owner, 10, 10).await;
    let held = records(&root.path().join("owner"), stream);
    let first = open(shared(root.path(), "first"), None).await;
    let second = open(shared(root.path(), "second"), None).await;
    first.take_over(stream, 2).await.expect("the first");
    adopt(&first, held.clone()).await;
    first.live().hold_whole(stream);
    second.take_over(stream, 3).await.expect("the second");
    let error = first.take_over(stream, 2).await.expect_err("it is at 3");
    assert_eq!(error.code, Code::ClusterFenced);
    first
        .flush()
        .await
        .expect("what is not its own is let go of");
    assert!(!answers_for(&first, stream));
    all_hold(&first, 0).await;
    // The second has some of it when the first one is at it again.
    adopt(&second, held[..3].to_vec()).await;
    second.flush().await.expect("a flush");
    all_hold(&second, 10).await;
    adopt(&second, held[3..].to_vec()).await;
    first.take_over(stream, 4).await.expect("the third");
    adopt(&first, held).await;
    let (one, two) = tokio::join!(first.flush(), second.flush());
    one.expect("its own");
    two.expect("what is not its own is let go of");
    all_hold(&first, 20).await;
    assert_eq!(second.live().figures().batches, 0);
    for node in [owner, first, second] {
        node.close().await.expect("a close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_record_that_reached_some_of_its_tables_before_the_fence_reaches_the_others_alone() {
    let root = tempfile::tempdir().expect("a folder");
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let on_step: OnStep = Arc::new(move |step| {
        let is_here = step == Step::Written(Table::MetricsHistogram);
        match is_here && failing.load(Ordering::Acquire) {
            true => Err(Error::new(Code::TableIo, "a disk that is away")),
            false => Ok(()),
        }
    });
    let owner = open(shared(root.path(), "owner"), Some(on_step)).await;
    let other = open(shared(root.path(), "other"), None).await;
    let stream = owner.session().stream;
    store(&owner, 0, 10).await;
    owner.flush().await.expect_err("the disk is away");
    assert_eq!(in_files(&other, Table::MetricsSum).await, each_once(10));
    assert!(in_files(&other, Table::MetricsHistogram).await.is_empty());
    other.take_over(stream, 2).await.expect("it is the first");
    fails.store(false, Ordering::Release);
    owner.flush().await.expect("the rest is not its own");
    assert!(in_files(&other, Table::MetricsHistogram).await.is_empty());
    adopt(&other, records(&root.path().join("owner"), stream)).await;
    other.flush().await.expect("a flush");
    all_hold(&other, 10).await;
    let written = |table| {
        let snapshot = other.tables().handle(table).snapshot();
        snapshot.standing(stream).written
    };
    assert!(written(Table::MetricsSum) > 0);
    assert_eq!(written(Table::MetricsHistogram), 0);
    owner.close().await.expect("a close");
    other.close().await.expect("a close");
}
