//! Tables in folders of their own, and what tests of the jobs do to them.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Remove};
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use otlake_base::{Clock, DataFile, FIRST_EPOCH, Metrics, Position, Result, StreamId, SystemClock};
use otlake_shard::{WriteOptions, Written, write};
use url::Url;

use super::{CompactLimits, Compacted, JobContext, OnJobStep, Pace, Urgency};
use crate::rows::{DAY_NANOS, batch};
use crate::{Catalog, DeltaTableHandle, Snapshot};

pub(super) const NANOS_PER_DAY: i64 = 86_400_000_000_000;
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The machine's clock, set forward by a test.
#[derive(Default)]
pub(crate) struct Ahead(AtomicU64);

impl Ahead {
    pub(crate) fn by(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn unix_nano(&self) -> u64 {
        SystemClock.unix_nano() + self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

impl DeltaTableHandle {
    /// Commits files that were written against the newest version that is known.
    pub(crate) async fn commit_upto(
        &self,
        files: Vec<Written>,
        upto: Vec<Position>,
    ) -> Result<Arc<Snapshot>> {
        let marks = self.snapshot().marks(&upto, |_| FIRST_EPOCH);
        let committed = self.commit(files, marks).await?;
        Ok(committed.snapshot)
    }
}

pub(super) struct Unpaced;

impl Pace for Unpaced {
    fn spend(&self, _bytes: u64, _urgency: Urgency) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn context(on_step: Option<OnJobStep>) -> JobContext {
    JobContext {
        pace: Arc::new(Unpaced),
        on_step,
        guard: Arc::new(()),
    }
}

pub(super) async fn open_at(dir: &Path, clock: Arc<dyn Clock>) -> Catalog {
    Catalog::open(dir, clock, Arc::new(Metrics::new()))
        .await
        .unwrap()
}

pub(crate) async fn open(dir: &Path) -> Catalog {
    open_at(dir, Arc::new(SystemClock)).await
}

pub(crate) fn at(sequence: u64) -> Position {
    Position {
        stream: StreamId(7),
        sequence,
    }
}

pub(crate) async fn written(
    handle: &DeltaTableHandle,
    seed: u64,
    start: i64,
    tenant: &str,
) -> Vec<Written> {
    let rows = batch(handle.table(), seed, 100, start, tenant);
    let root = handle.snapshot().root.clone();
    write(handle.table(), vec![rows], &root, &WriteOptions::default())
        .await
        .unwrap()
}

pub(crate) async fn flush(handle: &DeltaTableHandle, seed: u64) -> Arc<Snapshot> {
    let files = written(handle, seed, DAY_NANOS, "acme").await;
    handle.commit_upto(files, vec![at(seed)]).await.unwrap()
}

/// Every file of the newest version.
pub(super) fn candidates(handle: &DeltaTableHandle) -> HashSet<String> {
    let snapshot = handle.snapshot();
    snapshot
        .files
        .iter()
        .map(|file| file.path.clone())
        .collect()
}

pub(crate) async fn compact(
    handle: &DeltaTableHandle,
    context: &JobContext,
) -> Result<Option<Compacted>> {
    let limits = CompactLimits::default();
    let write = WriteOptions::default();
    handle
        .compact(&limits, &write, &mut candidates(handle), context)
        .await
}

pub(crate) fn rows(snapshot: &Snapshot) -> u64 {
    snapshot.files.iter().map(|file| file.rows).sum()
}

pub(super) fn parquet_below(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            names.extend(parquet_below(&path));
        } else if path
            .extension()
            .is_some_and(|end| end == "parquet" || end == "tmp")
        {
            names.push(path.to_string_lossy().into_owned());
        }
    }
    names
}

/// The table as another program sees it.
pub(super) async fn outside(root: &Path) -> DeltaTable {
    DeltaTableBuilder::from_url(Url::from_directory_path(root).unwrap())
        .unwrap()
        .load()
        .await
        .unwrap()
}

pub(super) async fn remove_outside(root: &Path, file: &DataFile) {
    let delta = outside(root).await;
    let removed = Remove {
        path: file.path.clone(),
        deletion_timestamp: Some(DAY_NANOS / 1_000_000),
        data_change: true,
        ..Default::default()
    };
    let operation = DeltaOperation::Delete { predicate: None };
    CommitBuilder::from(CommitProperties::default())
        .with_actions(vec![Action::Remove(removed)])
        .build(
            Some(delta.snapshot().unwrap()),
            delta.log_store(),
            operation,
        )
        .await
        .unwrap();
}
