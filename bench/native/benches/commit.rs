//! Durable commits of one flushed file, by the versions that the table has already: how many a second.
//! Writing the file does not count.
//!
//! `cargo bench --profile release --bench commit` in `bench/native`.

#[path = "../../../native/shard/testing/rows.rs"]
mod rows;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use otlake_allocator as _;
use otlake_base::{Clock, FIRST_EPOCH, Metrics, Position, StreamId, SystemClock, Table};
use otlake_catalog::{Catalog, DeltaTableHandle, Mark, Outcome};
use otlake_shard::{WriteOptions, write};
use tokio::runtime::Runtime;

const FILE_ROWS: usize = 100;

/// A table that one stream is flushed to.
struct Flushed {
    handle: Arc<DeltaTableHandle>,
    sequence: u64,
}

impl Flushed {
    async fn open(folder: &Path) -> Flushed {
        let metrics = Arc::new(Metrics::new());
        let catalog = Catalog::open(folder, Arc::new(SystemClock), metrics).await;
        let handle = catalog.expect("the tables open").table(Table::Spans);
        Flushed {
            handle,
            sequence: 0,
        }
    }

    /// Writes a file and commits it; how long the commit took.
    async fn commit(&mut self) -> Duration {
        let base = self.sequence;
        self.sequence += 1;
        let rows = rows::batch(
            Table::Spans,
            self.sequence,
            FILE_ROWS,
            rows::DAY_NANOS,
            "default",
        );
        let root = self.handle.snapshot().root.clone();
        let files = write(Table::Spans, vec![rows], &root, &WriteOptions::default()).await;
        let upto = Position {
            stream: StreamId(1),
            sequence: self.sequence,
        };
        let mark = Mark {
            upto,
            base,
            epoch: FIRST_EPOCH,
        };
        let clock = SystemClock;
        let began = clock.monotonic();
        let committed = self
            .handle
            .commit(files.expect("written"), vec![mark])
            .await;
        let took = clock.monotonic() - began;
        let committed = committed.expect("committed");
        assert_eq!(committed.outcome, Outcome::Held);
        assert_eq!(committed.snapshot.files.len() as u64, self.sequence);
        took
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("commit");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(1));
    for versions in [0, 1_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut table = runtime.block_on(async {
            let mut table = Flushed::open(folder.path()).await;
            for _ in 0..versions {
                table.commit().await;
            }
            table
        });
        group.bench_function(BenchmarkId::new("after", versions), |bencher| {
            bencher.iter_custom(|commits| {
                runtime.block_on(async {
                    let mut took = Duration::ZERO;
                    for _ in 0..commits {
                        took += table.commit().await;
                    }
                    took
                })
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
