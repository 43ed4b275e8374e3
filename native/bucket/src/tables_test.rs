//! Tables of several nodes in a bucket whose answers are lost, late and wrong.

use std::sync::Arc;

use otlake_base::disk::{Disk, real};
use otlake_base::{FIRST_EPOCH, Metrics, Position, SystemClock};
use otlake_catalog::verify::{check_log_file, log_files};
use otlake_catalog::{Addition, Catalog, DeltaTableHandle, InLog, Outcome, Sharing};
use otlake_shard::{WriteOptions, write};

use crate::records::{TABLE, at, each_once, held, records};
use crate::rows::Random;
use crate::testing::{Faulty, bucket};

/// Commits of each node; together more than lie between two checkpoints.
const COMMITS: u64 = 30;
const NODES: u64 = 3;
/// The stream that all nodes flush, beside one of their own.
const SHARED: u64 = 0;
/// Attempts of one flush before the test gives up.
const ATTEMPTS: usize = 200;

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
                let marks = &before.watermarks;
                let records = records(upto, |stream| marks.get(&stream).copied().unwrap_or(0));
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
            let each = each_once((0..=NODES).map(|stream| (stream, COMMITS)));
            let held = held(&*node.disk, &snapshot.root, &snapshot.files);
            assert_eq!(held, each, "seed {seed}");
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
