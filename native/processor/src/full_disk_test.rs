use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otlake_base::{Kind, Metrics, Signal, SystemClock, Table};

use crate::hooked_disk::{HookedDisk, full};
use crate::testing::{config, copy_as_crashed, each_once, ingest, numbers, open, spans};
use crate::{Processor, ProcessorConfig};

/// A disk that takes nothing more while the flag is set, in the folders that `named` says.
fn filling(is_full: &Arc<AtomicBool>, named: fn(&Path) -> bool) -> Arc<HookedDisk> {
    let is_full = Arc::clone(is_full);
    Arc::new(HookedDisk(Arc::new(
        move |operation, path| match operation {
            // Folders that are there already are found before their space is missed.
            "create_folder" if path.exists() => Ok(()),
            "create" | "create_folder" | "write" | "allocate"
                if named(path) && is_full.load(Ordering::SeqCst) =>
            {
                Err(full())
            }
            _ => Ok(()),
        },
    )))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_a_node_starts_on_a_full_disk_answers_and_recovers_alone() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    node.flush().await.expect("a flush");
    ingest(&node, Signal::Traces, spans(10, 10))
        .await
        .expect("an ack");
    copy_as_crashed(&folder, &crashed);
    std::fs::create_dir(crashed.join("dedupe")).expect("a folder");
    drop(node);
    let is_full = Arc::new(AtomicBool::new(true));
    let on_full = ProcessorConfig {
        disk: filling(&is_full, |_| true),
        ..config(&crashed)
    };
    let node = open(on_full, None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(20));
    let refused = ingest(&node, Signal::Traces, spans(20, 10)).await;
    assert_eq!(refused.expect_err("no room").kind(), Kind::Unavailable);
    assert!(node.flush().await.is_err());
    assert_eq!(numbers(&node, Table::Spans), each_once(20));
    is_full.store(false, Ordering::SeqCst);
    ingest(&node, Signal::Traces, spans(20, 10))
        .await
        .expect("an ack");
    node.flush().await.expect("a flush");
    assert_eq!(node.stats().live_rows, 0);
    assert_eq!(numbers(&node, Table::Spans), each_once(30));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_a_node_starts_with_its_memory_full_of_rows_that_no_file_can_take() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    for request in 0..20 {
        let body = spans(request * 50, 50);
        ingest(&node, Signal::Traces, body).await.expect("an ack");
    }
    let live = node.stats().live_bytes as usize;
    copy_as_crashed(&folder, &crashed);
    std::fs::create_dir(crashed.join("dedupe")).expect("a folder");
    drop(node);
    let is_full = Arc::new(AtomicBool::new(true));
    let with = |live_max_bytes| ProcessorConfig {
        disk: filling(&is_full, |path| !path.to_string_lossy().contains("/log/")),
        live_max_bytes,
        flush_retry: Duration::from_millis(1),
        ..config(&crashed)
    };
    // Far more than there is memory for is more than a start can take (I5).
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::strict()));
    let refused = Processor::open(with(live / 2), clock, metrics).await;
    assert_eq!(refused.err().expect("no start").kind(), Kind::Unavailable);
    // What the process before could hold, the next one can.
    let node = open(with(live), None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(1_000));
    let refused = ingest(&node, Signal::Traces, spans(1_000, 1)).await;
    assert_eq!(refused.expect_err("no room").kind(), Kind::Unavailable);
    is_full.store(false, Ordering::SeqCst);
    node.flush().await.expect("a flush");
    ingest(&node, Signal::Traces, spans(1_000, 1))
        .await
        .expect("an ack");
    assert_eq!(numbers(&node, Table::Spans), each_once(1_001));
    node.close().await.expect("a close");
}
