use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::{Code, Error, Metrics, Signal, SystemClock, Table};

use crate::testing::{
    config, copy_as_crashed, each_once, ingest, logs, numbers, open, parquet_files, points, spans,
};
use crate::{Job, Processor};

/// The newest commit of a table.
fn newest_commit(folder: &Path, table: Table) -> PathBuf {
    let log = folder.join("tables").join(table.name()).join("_delta_log");
    let entries = fs::read_dir(log).expect("the table's log");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .max()
        .expect("a commit")
}

fn flip(path: &Path, at: usize, bit: u32) {
    let mut bytes = fs::read(path).expect("the file");
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).expect("a write");
}

async fn refusal(folder: &Path) -> Error {
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let opened = Processor::open(config(folder), clock, metrics).await;
    opened.err().expect("the node does not open")
}

async fn send_and_flush(node: &Processor, first: u64) {
    for (signal, body) in [
        (Signal::Traces, spans(first, 10)),
        (Signal::Logs, logs(first, 10)),
        (Signal::Metrics, points(first, 10)),
    ] {
        ingest(node, signal, body).await.expect("an ack");
    }
    node.flush().await.expect("a flush");
}

async fn expect_each_once(folder: &Path, count: u64, what: &str) {
    let node = open(config(folder), None).await;
    for flushed in [false, true] {
        if flushed {
            node.flush().await.expect("a flush");
        }
        for table in Table::ALL {
            let found = numbers(&node, table);
            assert_eq!(found, each_once(count), "{what}: {}", table.name());
        }
    }
    assert_eq!(parquet_files(folder) as u64, node.stats().files, "{what}");
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_newest_commit_is_flushed_again_from_the_log() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    send_and_flush(&node, 0).await;
    send_and_flush(&node, 10).await;
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let mut rebuilt = 0;
    let length = fs::read(newest_commit(&crashed, Table::Spans))
        .expect("it")
        .len();
    let places = (0..20).map(|part| part * (length - 1) / 19);
    for (number, at) in places.enumerate() {
        let trial = root.path().join(format!("trial {number}"));
        copy_as_crashed(&crashed, &trial);
        let commit = newest_commit(&trial, Table::Spans);
        flip(&commit, at, number as u32 % 8);
        let aside = PathBuf::from(format!("{}.damaged", commit.display()));
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::strict()));
        let opened = Processor::open(config(&trial), clock, Arc::clone(&metrics)).await;
        let found = metrics
            .corruption
            .get_or_create(&vec![("kind", "commit")])
            .get();
        assert!(found > 0, "byte {at}");
        match opened {
            Ok(node) => {
                assert!(aside.exists());
                assert_eq!(numbers(&node, Table::Spans), each_once(20), "byte {at}");
                node.close().await.expect("a close");
                expect_each_once(&trial, 20, &format!("byte {at}")).await;
                rebuilt += 1;
            }
            // The damage hides what the commit did.
            Err(error) => {
                assert_eq!(error.code, Code::TableCorrupt, "byte {at}");
                assert!(commit.exists() && !aside.exists());
            }
        }
    }
    assert!(rebuilt >= 10, "{rebuilt} of 20");
    // The commit of each table, one after the other and all at once.
    for table in Table::ALL {
        flip(&newest_commit(&crashed, table), 60, 1);
    }
    expect_each_once(&crashed, 20, "all tables").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_newest_commit_stays_where_the_log_has_forgotten_its_records() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    send_and_flush(&node, 0).await;
    send_and_flush(&node, 10).await;
    node.close().await.expect("a close, which empties the log");
    let commit = newest_commit(root.path(), Table::Spans);
    flip(&commit, 60, 1);
    let files = parquet_files(root.path());
    let error = refusal(root.path()).await;
    assert_eq!(error.code, Code::TableCorrupt);
    assert!(error.message.contains("the log does not hold"), "{error}");
    // Nothing is touched: with the commit from a backup, all is there.
    assert_eq!(parquet_files(root.path()), files);
    flip(&commit, 60, 1);
    expect_each_once(root.path(), 20, "with the commit again").await;
    // An older one is built upon.
    let older = commit.with_file_name(format!("{:020}.json", 1));
    flip(&older, 60, 1);
    let error = refusal(root.path()).await;
    assert_eq!(error.code, Code::TableCorrupt);
    assert!(error.message.contains("later versions"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_commit_of_a_merge_is_done_without_while_its_files_are_there() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for request in 0..4 {
        send_and_flush(&node, request * 10).await;
    }
    node.run_job(Job::Compact).await.expect("a merge");
    node.close().await.expect("a close, which empties the log");
    let commit = newest_commit(root.path(), Table::Spans);
    flip(&commit, 60, 1);
    let node = open(config(root.path()), None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(40));
    node.run_job(Job::Compact).await.expect("a merge");
    assert_eq!(numbers(&node, Table::Spans), each_once(40));
    node.close().await.expect("a close");
    // Without them it stays.
    let folder = root.path().join("tables/spans/tenant=default");
    let before = parquet_files(&folder);
    assert!(before >= 5, "{before} files");
    let commit = newest_commit(root.path(), Table::Spans);
    let text = fs::read_to_string(&commit).expect("the commit");
    let removed = text.lines().find(|line| line.starts_with("{\"remove\""));
    let removed = removed.and_then(|line| line.split("\"path\":\"").nth(1));
    let removed = removed
        .and_then(|rest| rest.split('"').next())
        .expect("a path");
    fs::remove_file(root.path().join("tables/spans").join(removed)).expect("removed");
    flip(&commit, 60, 1);
    let error = refusal(root.path()).await;
    assert_eq!(error.code, Code::TableCorrupt);
    assert!(error.message.contains("are gone"), "{error}");
}
