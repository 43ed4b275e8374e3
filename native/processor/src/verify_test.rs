use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::checksum::Checked;
use otlake_base::disk::RealDisk;
use otlake_base::{Code, Signal, Table};

use crate::testing::{capture, config, copy_as_crashed, ingest, logs, open, points, rows, spans};
use crate::{Finding, Processor, Verification};

async fn verify(root: &Path) -> Vec<Finding> {
    let mut verification = Verification::plan(root).await.expect("a plan");
    let total = verification.total_bytes();
    let mut findings = Vec::new();
    while let Some(finding) = verification.next().await {
        findings.push(finding.expect("it can be read"));
    }
    assert_eq!(findings.iter().map(|found| found.bytes).sum::<u64>(), total);
    findings
}

async fn damaged(root: &Path) -> Vec<PathBuf> {
    let findings = verify(root).await.into_iter();
    findings
        .filter(|found| matches!(found.checked, Checked::Damaged(_)))
        .map(|found| found.path)
        .collect()
}

/// A folder with a flushed part, and a part that only the log has.
async fn filled(root: &Path) -> Arc<Processor> {
    let node = open(config(root), None).await;
    for half in 0..2 {
        for (signal, body) in [
            (Signal::Traces, spans(half * 10, 10)),
            (Signal::Logs, logs(half * 10, 10)),
            (Signal::Metrics, points(half * 10, 10)),
        ] {
            ingest(&node, signal, body).await.expect("an ack");
        }
        if half == 0 {
            node.flush().await.expect("a flush");
        }
    }
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_folder_is_whole_beside_a_running_node_and_after_it() {
    let root = tempfile::tempdir().expect("a folder");
    let node = filled(root.path()).await;
    let findings = verify(root.path()).await;
    for found in &findings {
        assert_eq!(found.checked, Checked::Whole, "{}", found.path.display());
    }
    let of = |kind: &str| findings.iter().filter(|found| found.kind == kind).count();
    // Two commits of each of seven tables, and a file; a window of each signal.
    assert_eq!((of("commit"), of("file"), of("window")), (14, 7, 3));
    assert!(of("segment") > 0);
    node.close().await.expect("a close");
    assert_eq!(damaged(root.path()).await, Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_one_flipped_bit_in_any_file_is_found_and_named() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = filled(&folder).await;
    copy_as_crashed(&folder, &crashed);
    fs::create_dir_all(crashed.join("dedupe")).expect("a folder");
    for signal in Signal::ALL {
        let name = format!("dedupe/{}.window", signal.name());
        fs::copy(folder.join(&name), crashed.join(&name)).expect("a copy");
    }
    drop(node);
    let findings = verify(&crashed).await;
    let mut kinds = Vec::new();
    for found in &findings {
        let path = crashed.join(&found.path);
        let whole = fs::read(&path).expect("the file");
        // What lies behind the last record of a segment is no data.
        let used = whole.iter().rposition(|byte| *byte != 0).expect("bytes") + 1;
        for at in [used / 7, used / 2, used - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            fs::write(&path, flipped).expect("a write");
            let found_now = damaged(&crashed).await;
            let last_record_of_all = found.kind == "segment" && at == used - 1;
            if last_record_of_all {
                // It looks like a write that a power cut tore, which was never acknowledged.
                assert!(found_now.len() <= 1);
            } else {
                assert!(
                    found_now.contains(&found.path),
                    "{} at {at}",
                    path.display()
                );
            }
        }
        fs::write(&path, whole).expect("a write");
        kinds.push(found.kind);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["commit", "file", "segment", "window"]);
    // A file that is named and missing is found, too.
    let file = findings
        .iter()
        .find(|found| found.kind == "file")
        .expect("a file");
    fs::remove_file(crashed.join(&file.path)).expect("removed");
    assert_eq!(damaged(&crashed).await, std::slice::from_ref(&file.path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_record_of_the_log_is_counted_and_not_served() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    for request in 0..3 {
        ingest(&node, Signal::Traces, spans(request * 10, 10))
            .await
            .expect("an ack");
    }
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let segments = otlake_log::verify::segments(&RealDisk, &crashed.join("log")).expect("a list");
    let path = &segments[0].path;
    let mut bytes = fs::read(path).expect("the segment");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("bytes");
    bytes[64 + (used - 64) / 2] ^= 1;
    fs::write(path, bytes).expect("a write");
    let node = open(config(&crashed), None).await;
    assert_eq!(rows(&capture(&node, Table::Spans)), 20);
    let found = node
        .metrics
        .corruption
        .get_or_create(&vec![("kind", "log")]);
    assert_eq!(found.get(), 1);
    node.close().await.expect("a close");
}

#[tokio::test]
async fn a_folder_of_something_else_is_refused() {
    let root = tempfile::tempdir().expect("a folder");
    let error = Verification::plan(root.path())
        .await
        .err()
        .expect("no plan");
    assert_eq!(error.code, Code::NodeDirectoryUnusable);
}
