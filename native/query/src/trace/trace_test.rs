use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use otlake_base::{Code, Consistency, Result};
use tempfile::TempDir;

use super::compact::compact;
use crate::engine::QueryEngine;
use crate::sample_test::{Spans, config, engine, schema, spans};

async fn traced(engine: &QueryEngine, id: u8, tenant: Option<&str>) -> Result<RecordBatch> {
    let answer = engine.trace([id; 16], tenant, Consistency::Strong).await?;
    let batches: Vec<RecordBatch> = answer.stream.try_collect().await?;
    Ok(concat_batches(&schema(), &batches).unwrap())
}

/// Cuts every file short, so that reading one fails.
fn spoil(root: &Path) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path);
        } else {
            fs::write(path, b"").unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_found_of_a_trace_is_found_again_without_reading_the_files() {
    let folder = TempDir::new().unwrap();
    let source = Spans::new(&folder)
        .live("a", spans("a", 100, 5, 2))
        .file("a", 100, &spans("a", 100, 0, 20))
        .file("a", 100, &spans("a", 100, 10, 20))
        .file("b", 100, &spans("b", 100, 0, 20));
    let root = source.root.clone();
    let engine = engine(config(&folder), source);
    let mut first = Vec::new();
    for (id, tenant, rows) in [
        (5, Some("a"), 2),
        (5, Some("b"), 1),
        (15, None, 3),
        (29, Some("a"), 1),
        (99, None, 0),
    ] {
        let found = traced(&engine, id, tenant).await.unwrap();
        assert_eq!(found.num_rows(), rows, "trace {id} of {tenant:?}");
        first.push((id, tenant, found));
    }

    spoil(&root);
    for (id, tenant, found) in &first {
        // A trace that no file has needs none either: the filters are known.
        assert_eq!(&traced(&engine, *id, *tenant).await.unwrap(), found);
    }
    // One that nobody asked for has to be read, and what fails is no empty answer.
    let unread = traced(&engine, 7, Some("a")).await.unwrap_err();
    assert_eq!(unread.code, Code::TableIo);
}

#[test]
fn rows_that_are_kept_do_not_hold_on_to_what_they_were_read_from() {
    let whole = spans("a", 100, 0, 200);
    let one = whole.slice(50, 1);
    let kept = compact(&one).unwrap();
    assert_eq!(kept, one);
    let (kept, from) = (kept.get_array_memory_size(), one.get_array_memory_size());
    assert!(kept * 8 < from, "{kept} of {from} bytes");
}
