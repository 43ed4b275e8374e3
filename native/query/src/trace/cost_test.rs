//! What lookups of traces that were not asked for before cost, over a node's files.
//!
//! `OTLAKE_TRACES=<data>/tables/spans cargo test --release -p otlake-query lookups_cost -- --ignored --nocapture`;
//! `OTLAKE_COLD=1` has the files dropped from the page cache before each, `OTLAKE_FILTERS_BYTES` sets how many
//! bytes of filters are kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use futures::{StreamExt, TryStreamExt, stream};
use otlake_base::checksum::BlockSums;
use otlake_base::limits::TRACE_FILTERS_BYTES;
use otlake_base::{Clock, Consistency, DataFile, SystemClock, Table};
use otlake_decode::schema::schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use super::stored_test::Files;
use crate::engine::QueryEngine;
use crate::sample_test::{Random, config, engine};

/// Lookups one after the other, and how many of those are at once.
const LOOKUPS: usize = 400;
const MANY: usize = 1_600;
const AT_ONCE: usize = 16;

fn parquet_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            parquet_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "parquet")
            && !path
                .components()
                .any(|part| part.as_os_str() == "_delta_log")
        {
            found.push(path);
        }
    }
}

/// The node's files, and ids of some traces of each row group.
fn node(root: PathBuf, random: &mut Random, ids_wanted: usize) -> (Files, Vec<[u8; 16]>) {
    let mut paths = Vec::new();
    parquet_files(&root, &mut paths);
    paths.sort();
    let (mut files, mut ids) = (Vec::new(), Vec::new());
    let opened: Vec<_> = paths
        .iter()
        .map(|path| ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap())
        .collect();
    let groups: usize = opened
        .iter()
        .map(|file| file.metadata().num_row_groups())
        .sum();
    let each = ids_wanted.div_ceil(groups);
    for (path, file) in paths.iter().zip(opened) {
        let metadata = Arc::clone(file.metadata());
        for group in 0..metadata.num_row_groups() {
            let file = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
            let mask = ProjectionMask::leaves(file.parquet_schema(), [0]);
            let rows = metadata.row_group(group).num_rows() as usize;
            let batch = file
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_batch_size(rows)
                .build()
                .unwrap()
                .next()
                .unwrap()
                .unwrap();
            let all = batch.column(0).as_fixed_size_binary();
            for _ in 0..each {
                let row = random.below(all.len() as u64) as usize;
                ids.push(all.value(row).try_into().unwrap());
            }
        }
        files.push(DataFile {
            path: path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            size: fs::metadata(path).unwrap().len(),
            rows: metadata.file_metadata().num_rows() as u64,
            tenant: "default".to_owned(),
            day: 20_000,
            min_time: i64::MIN,
            max_time: i64::MAX,
            sums: Some(Arc::new(BlockSums::of(&fs::read(path).unwrap()))),
        });
    }
    ids.sort_unstable();
    ids.dedup();
    for at in (1..ids.len()).rev() {
        ids.swap(at, random.below(at as u64 + 1) as usize);
    }
    let files = Arc::new(files);
    let schema = schema(Table::Spans);
    let node = Files {
        files,
        root,
        schema,
    };
    (node, ids)
}

async fn spans(engine: &QueryEngine, id: [u8; 16]) -> usize {
    let answer = engine.trace(id, None, None, Consistency::Strong, false);
    let rows: Vec<RecordBatch> = answer.await.unwrap().stream.try_collect().await.unwrap();
    rows.iter().map(RecordBatch::num_rows).sum()
}

fn drop_from_cache(node: &Path) {
    let dd = [
        "-name",
        "*.parquet",
        "-exec",
        "dd",
        "if={}",
        "iflag=nocache",
        "count=0",
        ";",
    ];
    let mut find = Command::new("find");
    let done = find.arg(node).args(dd).output().unwrap();
    assert!(done.status.success());
}

fn share(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[at].as_secs_f64() * 1e3
}

/// Processor time of this process, in seconds.
fn processor() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

#[test]
#[ignore = "prints figures of a node's files, which OTLAKE_TRACES names"]
fn lookups_cost() {
    let root = PathBuf::from(std::env::var("OTLAKE_TRACES").unwrap());
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    let cold = std::env::var("OTLAKE_COLD").is_ok();
    let mut random = Random(seed);
    let (node, ids) = node(root.clone(), &mut random, LOOKUPS + MANY + 5);
    let files = node.files.len();
    let folder = TempDir::new().unwrap();
    let config = crate::QueryConfig {
        partitions: std::env::var("OTLAKE_THREADS").map_or(2, |threads| threads.parse().unwrap()),
        concurrency: AT_ONCE,
        queue: AT_ONCE,
        memory_bytes: 1 << 30,
        trace_filters_bytes: std::env::var("OTLAKE_FILTERS_BYTES")
            .map_or(TRACE_FILTERS_BYTES, |bytes| bytes.parse().unwrap()),
        ..config(&folder)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let engine = runtime.block_on(async { engine(config, node) });
    let mut ids = ids.into_iter();
    let mut found = 0;
    // The first knows nothing of the files yet; cold it reads all of what there is to know of them.
    if cold {
        drop_from_cache(&root);
        let began = SystemClock.monotonic();
        found += runtime.block_on(spans(&engine, ids.next().unwrap()));
        let took = (SystemClock.monotonic() - began).as_secs_f64() * 1e3;
        println!("the first: {took:.1} ms");
    }
    for id in ids.by_ref().take(5) {
        found += runtime.block_on(spans(&engine, id));
    }
    let lookups = if cold { 20 } else { LOOKUPS };
    let mut took = Vec::new();
    let before = processor();
    for id in ids.by_ref().take(lookups) {
        if cold {
            drop_from_cache(&root);
        }
        let began = SystemClock.monotonic();
        found += runtime.block_on(spans(&engine, id));
        took.push(SystemClock.monotonic() - began);
    }
    let each = (processor() - before) * 1e3 / lookups as f64;
    took.sort_unstable();
    println!(
        "{files} files, {lookups} lookups: p50 {:.3} ms, p99 {:.3} ms, processor {each:.2} ms each",
        share(&took, 0.5),
        share(&took, 0.99)
    );
    if cold {
        return;
    }
    let many: Vec<_> = ids.take(MANY).collect();
    let count = many.len();
    let (began, before) = (SystemClock.monotonic(), processor());
    let all = runtime.block_on(async {
        let lookups = many.into_iter().map(|id| {
            let engine = Arc::clone(&engine);
            async move {
                tokio::spawn(async move { spans(&engine, id).await })
                    .await
                    .unwrap()
            }
        });
        let found: Vec<usize> = stream::iter(lookups)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        found.into_iter().sum::<usize>()
    });
    let whole = (SystemClock.monotonic() - began).as_secs_f64();
    println!(
        "{AT_ONCE} at once: {:.0} /s, processor {:.2} ms each, {:.1} spans each",
        count as f64 / whole,
        (processor() - before) * 1e3 / count as f64,
        (found + all) as f64 / (count + lookups + 5) as f64
    );
}
