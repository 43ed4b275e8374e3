//! Tables of several nodes in a bucket whose answers are lost, late and wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use otlake_base::disk::{Disk, read, real};
use otlake_base::{FIRST_EPOCH, Metrics, Position, StreamId, SystemClock, Table};
use otlake_catalog::verify::{check_log_file, log_files};
use otlake_catalog::{Addition, Catalog, DeltaTableHandle, InLog, Outcome, Sharing, Snapshot};
use otlake_shard::{WriteOptions, write};

use crate::rows::{DAY_NANOS, Random, batch};
use crate::testing::{Faulty, bucket};
use crate::times::times;

const TABLE: Table = Table::Logs;
const SECOND: i64 = 1_000_000_000;
/// Commits of each node; together more than lie between two checkpoints.
const COMMITS: u64 = 30;
const NODES: u64 = 3;
/// The stream that all nodes flush, beside one of their own.
const SHARED: u64 = 0;
/// Attempts of one flush before the test gives up.
const ATTEMPTS: usize = 200;

/// Rows of a record: two, by whose times it can be told.
fn record(stream: u64, sequence: u64) -> RecordBatch {
    let start = DAY_NANOS + (stream * 1_000 + sequence) as i64 * SECOND;
    batch(TABLE, sequence, 2, start, "acme")
}

fn at(stream: u64, sequence: u64) -> Position {
    let stream = StreamId(u128::from(stream));
    Position { stream, sequence }
}

struct Node {
    disk: Arc<dyn Disk>,
    table: Arc<DeltaTableHandle>,
    _folder: tempfile::TempDir,
}

async fn node(store: &Arc<Faulty>) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let bucket = bucket(store, folder.path());
    let (disk, path) = (bucket.disk(real()), bucket.path());
    let nothing: InLog = Arc::new(|_, _| None);
    let mut opened = None;
    for _ in 0..ATTEMPTS {
        let catalog = Catalog::open_on(
            Arc::clone(&disk),
            &path,
            Arc::new(SystemClock),
            Arc::new(Metrics::new()),
            &nothing,
            Sharing::Shared,
        );
        if let Ok(catalog) = catalog.await {
            opened = Some(catalog);
            break;
        }
    }
    Node {
        table: opened.expect("the tables open").table(TABLE),
        disk,
        _folder: folder,
    }
}

/// Flushes these streams as a flusher does, until the table holds their records.
async fn flush(node: &Node, upto: &[Position]) {
    let options = WriteOptions {
        disk: Arc::clone(&node.disk),
        ..WriteOptions::default()
    };
    let mut addition: Option<Addition> = None;
    for _ in 0..ATTEMPTS {
        let ready = match addition.take() {
            Some(addition) => addition,
            None => {
                let before = node.table.snapshot();
                let records: Vec<RecordBatch> = upto
                    .iter()
                    .flat_map(|upto| {
                        let base = before.watermarks.get(&upto.stream).copied().unwrap_or(0);
                        let stream = upto.stream.0 as u64;
                        (base + 1..=upto.sequence).map(move |sequence| record(stream, sequence))
                    })
                    .collect();
                let files = match records.is_empty() {
                    true => Vec::new(),
                    false => match write(TABLE, records, &before.root, &options).await {
                        Ok(files) => files,
                        Err(_) => continue,
                    },
                };
                node.table.expect(&files);
                Addition {
                    files,
                    marks: before.marks(upto, |_| FIRST_EPOCH),
                    tried: false,
                }
            }
        };
        match node.table.commit_one(ready.clone()).await {
            Ok(committed) if committed.outcome == Outcome::Held => {
                assert!(upto.iter().all(|upto| committed.snapshot.covers(*upto)));
                return;
            }
            Ok(_) => {}
            Err(_) => {
                addition = Some(Addition {
                    tried: true,
                    ..ready
                });
            }
        }
    }
    panic!("a flush did not succeed in {ATTEMPTS} attempts");
}

/// How often each row is in the table, by stream and sequence.
fn held(disk: &dyn Disk, snapshot: &Snapshot) -> BTreeMap<(u64, u64), usize> {
    let mut held = BTreeMap::new();
    for file in snapshot.files.iter() {
        let bytes = Bytes::from(read(disk, &snapshot.root.join(&file.path)).unwrap());
        for time in times(TABLE, bytes) {
            let number = ((time - DAY_NANOS) / SECOND) as u64;
            *held.entry((number / 1_000, number % 1_000)).or_insert(0) += 1;
        }
    }
    held
}

fn seed() -> u64 {
    let given = std::env::var("OTLAKE_TEST_BUCKET_SEED").ok();
    given.map_or(7, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i3_i9_nodes_that_flush_the_same_streams_lose_and_double_nothing_whatever_answers_say() {
    for seed in seed()..seed() + 4 {
        println!("OTLAKE_TEST_BUCKET_SEED={seed}");
        let store = Arc::new(Faulty::default());
        *store.chance.lock() = Some(Random(seed));
        let flushing = (1..=NODES).map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let node = node(&store).await;
                for sequence in 1..=COMMITS {
                    flush(&node, &[at(number, sequence), at(SHARED, sequence)]).await;
                }
            })
        });
        for flushed in flushing.collect::<Vec<_>>() {
            flushed.await.unwrap();
        }
        *store.chance.lock() = None;
        let node = node(&store).await;
        let snapshot = node.table.snapshot();
        tokio::task::spawn_blocking(move || {
            let each = (0..=NODES)
                .flat_map(|stream| (1..=COMMITS).map(move |sequence| ((stream, sequence), 2)));
            assert_eq!(held(&*node.disk, &snapshot), each.collect(), "seed {seed}");
            let files = log_files(&*node.disk, &snapshot.root).unwrap();
            for (path, _) in files {
                // The hint and its sums can be of two writers; readers do without.
                if !path.ends_with("_last_checkpoint") {
                    let checked = check_log_file(&*node.disk, &path).unwrap();
                    let whole = otlake_base::checksum::Checked::Whole;
                    assert_eq!(checked, whole, "seed {seed}: {}", path.display());
                }
            }
        })
        .await
        .unwrap();
    }
}
