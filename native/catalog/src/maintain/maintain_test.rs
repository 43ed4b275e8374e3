use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Remove};
use deltalake_core::protocol::DeltaOperation;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use otlake_base::{
    Clock, Code, DataFile, Error, Metrics, Position, Result, Signal, StreamId, SystemClock, Table,
};
use otlake_shard::{WriteOptions, Written, write};
use url::Url;

use super::{CompactLimits, Compacted, JobContext, JobStep, OnJobStep, Pace, Throttle};
use super::{Retained, Retention, RetentionRule};
use crate::rows::{DAY, DAY_NANOS, batch};
use crate::{Catalog, DeltaTableHandle, Snapshot};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// The machine's clock, set forward by a test.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Ahead {
    fn by(&self, time: Duration) {
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

struct Unpaced;

impl Pace for Unpaced {
    fn spend(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}

fn context(on_step: Option<OnJobStep>) -> JobContext {
    JobContext {
        pace: Arc::new(Unpaced),
        on_step,
        guard: Arc::new(()),
    }
}

async fn open_at(dir: &Path, clock: Arc<dyn Clock>) -> Catalog {
    Catalog::open(dir, clock, Arc::new(Metrics::new()))
        .await
        .unwrap()
}

async fn open(dir: &Path) -> Catalog {
    open_at(dir, Arc::new(SystemClock)).await
}

fn at(sequence: u64) -> Position {
    Position {
        stream: StreamId(7),
        sequence,
    }
}

async fn written(handle: &DeltaTableHandle, seed: u64, start: i64, tenant: &str) -> Vec<Written> {
    let rows = batch(handle.table(), seed, 100, start, tenant);
    let root = handle.snapshot().root.clone();
    write(handle.table(), vec![rows], &root, &WriteOptions::default())
        .await
        .unwrap()
}

async fn flush(handle: &DeltaTableHandle, seed: u64) -> Arc<Snapshot> {
    let files = written(handle, seed, DAY_NANOS, "acme").await;
    handle.commit(files, vec![at(seed)]).await.unwrap()
}

/// Every file of the newest version.
fn candidates(handle: &DeltaTableHandle) -> HashSet<String> {
    let snapshot = handle.snapshot();
    snapshot
        .files
        .iter()
        .map(|file| file.path.clone())
        .collect()
}

async fn compact(handle: &DeltaTableHandle, context: &JobContext) -> Result<Option<Compacted>> {
    let limits = CompactLimits::default();
    let write = WriteOptions::default();
    handle
        .compact(&limits, &write, &mut candidates(handle), context)
        .await
}

fn rows(snapshot: &Snapshot) -> u64 {
    snapshot.files.iter().map(|file| file.rows).sum()
}

fn parquet_below(root: &Path) -> Vec<String> {
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
async fn outside(root: &Path) -> DeltaTable {
    DeltaTableBuilder::from_url(Url::from_directory_path(root).unwrap())
        .unwrap()
        .load()
        .await
        .unwrap()
}

async fn remove_outside(root: &Path, file: &DataFile) {
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

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_in_one_commit_that_leaves_the_watermarks() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    for table in Table::ALL {
        let handle = catalog.table(table);
        let mut before = handle.snapshot();
        for seed in 1..=6 {
            before = flush(&handle, seed).await;
        }
        let compacted = compact(&handle, &context(None)).await.unwrap().unwrap();
        assert_eq!(
            (compacted.files, compacted.rows, compacted.duplicates),
            (6, 600, 0)
        );
        assert!(compacted.bytes_after < compacted.bytes_before);
        let after = handle.snapshot();
        assert_eq!(after.version, before.version + 1);
        assert_eq!((after.files.len(), rows(&after)), (1, 600));
        assert_eq!(after.watermarks, before.watermarks);
        assert_eq!(compact(&handle, &context(None)).await.unwrap(), None);

        let log = after
            .root
            .join(format!("_delta_log/{:020}.json", after.version));
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("\"operation\":\"OPTIMIZE\""), "{log}");
        assert!(log.contains("\"dataChange\":false") && !log.contains("\"dataChange\":true"));
        assert!(!log.contains("\"txn\""));
        // Another program, and this one after a restart, see the same.
        let outside = outside(&after.root).await;
        assert_eq!(outside.snapshot().unwrap().log_data().num_files(), 1);
        let again = open(dir.path()).await.table(table).snapshot();
        assert_eq!(again.watermarks, before.watermarks);
        assert_eq!(format!("{:?}", again.files), format!("{:?}", after.files));
        // The old files are another reader's until they are vacuumed.
        assert_eq!(parquet_below(&after.root).len(), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_were_stored_twice_are_there_once_and_the_commit_says_that_data_changed() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    for sequence in 1..=3 {
        let files = written(&handle, 1, DAY_NANOS, "acme").await;
        handle.commit(files, vec![at(sequence)]).await.unwrap();
    }
    let compacted = compact(&handle, &context(None)).await.unwrap().unwrap();
    assert_eq!((compacted.rows, compacted.duplicates), (300, 200));
    let after = handle.snapshot();
    assert_eq!(rows(&after), 100);
    let log = after
        .root
        .join(format!("_delta_log/{:020}.json", after.version));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("\"dataChange\":true") && !log.contains("\"dataChange\":false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_commits_meanwhile_is_kept_and_the_merge_lands_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    flush(&handle, 1).await;
    flush(&handle, 2).await;
    let (flushing, runtime) = (Arc::clone(&handle), tokio::runtime::Handle::current());
    let on_step: OnJobStep = Arc::new(move |step| {
        if step == JobStep::Merged(Table::Spans) {
            let (handle, runtime) = (Arc::clone(&flushing), runtime.clone());
            std::thread::spawn(move || runtime.block_on(flush(&handle, 3)))
                .join()
                .unwrap();
        }
        Ok(())
    });
    let compacted = compact(&handle, &context(Some(on_step))).await.unwrap();
    assert_eq!(compacted.unwrap().files, 2);
    let after = handle.snapshot();
    assert_eq!(
        (after.version, after.files.len(), rows(&after)),
        (4, 2, 300)
    );
    assert!(after.covers(at(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_other_programs_are_met_again_and_a_merge_of_a_removed_file_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    flush(&handle, 1).await;
    flush(&handle, 2).await;
    let third = flush(&handle, 3).await;
    let root = third.root.clone();

    // Another program adds a commit: ours lands on top of it.
    let (elsewhere, runtime) = (root.clone(), tokio::runtime::Handle::current());
    let largest = third.files.iter().max_by_key(|file| file.size).unwrap();
    let on_step = |victim: DataFile| -> OnJobStep {
        let (root, runtime) = (elsewhere.clone(), runtime.clone());
        Arc::new(move |step| {
            if matches!(step, JobStep::Merged(_)) {
                let (root, runtime, victim) = (root.clone(), runtime.clone(), victim.clone());
                std::thread::spawn(move || runtime.block_on(remove_outside(&root, &victim)))
                    .join()
                    .unwrap();
            }
            Ok(())
        })
    };
    let limits = CompactLimits {
        // The largest is at its target, and not part of the merge.
        target_bytes: largest.size,
        ..CompactLimits::default()
    };
    let write = WriteOptions::default();
    let mut all = candidates(&handle);
    let small = third.files.iter().filter(|file| file.size < largest.size);
    assert_eq!(small.count(), 2, "the three files have three sizes");
    let landed = handle
        .compact(
            &limits,
            &write,
            &mut all,
            &context(Some(on_step(largest.clone()))),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(landed.files, 2);
    assert_eq!(
        (handle.snapshot().files.len(), rows(&handle.snapshot())),
        (1, 200)
    );

    // It removes a file of the merge: the merge is given up, and leaves nothing.
    flush(&handle, 4).await;
    let before = handle.snapshot();
    let victim = before.files[0].clone();
    let on_disk = parquet_below(&root).len();
    let given_up = compact(&handle, &context(Some(on_step(victim))))
        .await
        .unwrap();
    assert_eq!(given_up, Some(Compacted::default()));
    assert_eq!(handle.snapshot().files.len(), 1);
    assert_eq!(parquet_below(&root).len(), on_disk);
    assert!(handle.snapshot().covers(at(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_left_out_and_the_others_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Logs);
    for seed in 1..=4 {
        flush(&handle, seed).await;
    }
    let now = handle.snapshot();
    let damaged = now.root.join(&now.files[2].path);
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() - 6]).unwrap();
    let mut candidates = candidates(&handle);
    let (limits, write) = (CompactLimits::default(), WriteOptions::default());
    let mut merged = 0;
    while let Some(compacted) = handle
        .compact(&limits, &write, &mut candidates, &context(None))
        .await
        .unwrap()
    {
        merged += compacted.files;
    }
    assert_eq!(merged, 3);
    assert!(!candidates.contains(&now.files[2].path));
    let damaged = vec![("kind", "file")];
    assert_eq!(handle.metrics.corruption.get_or_create(&damaged).get(), 1);
    assert_eq!(rows(&handle.snapshot()), 400);
}

fn rule(tenant: Option<&str>, signal: Option<Signal>, days: Option<u32>) -> RetentionRule {
    RetentionRule {
        tenant: tenant.map(str::to_owned),
        signal,
        days,
    }
}

#[test]
fn the_rule_that_says_the_most_decides() {
    let rules = Retention(vec![
        rule(Some("acme"), Some(Signal::Logs), None),
        rule(Some("acme"), None, Some(30)),
        rule(None, Some(Signal::Logs), Some(3)),
        rule(None, None, Some(7)),
    ]);
    assert_eq!(rules.days("acme", Signal::Logs), None);
    assert_eq!(rules.days("acme", Signal::Traces), Some(30));
    assert_eq!(rules.days("other", Signal::Logs), Some(3));
    assert_eq!(rules.days("other", Signal::Metrics), Some(7));
    assert_eq!(Retention::default().days("acme", Signal::Logs), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_days_expire_by_tenant_in_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    // Noon of the day `DAY` + 9.
    let clock = Arc::new(Fixed(
        (DAY_NANOS + 9 * NANOS_PER_DAY + NANOS_PER_DAY / 2) as u64,
    ));
    let handle = open_at(dir.path(), clock).await.table(Table::Spans);
    let mut files = Vec::new();
    for day in 0..10 {
        for tenant in ["acme", "beta"] {
            let start = DAY_NANOS + day * NANOS_PER_DAY;
            files.extend(written(&handle, day as u64, start, tenant).await);
        }
    }
    // Rows without a time.
    files.extend(written(&handle, 99, 0, "acme").await);
    let before = handle.commit(files, vec![at(1)]).await.unwrap();
    assert_eq!(before.files.len(), 21);
    let rules = Retention(vec![
        rule(Some("beta"), None, Some(5)),
        rule(None, Some(Signal::Traces), Some(2)),
        rule(None, None, Some(1)),
    ]);
    let retained = handle.retain(&rules, &context(None)).await.unwrap();
    let after = handle.snapshot();
    let mut days: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for file in after.files.iter() {
        days.entry(&file.tenant).or_default().push(file.day);
    }
    days.values_mut().for_each(|days| days.sort_unstable());
    // Two days back from noon of the ninth is noon of the seventh, whose other half is kept.
    assert_eq!(days["acme"], vec![0, DAY + 7, DAY + 8, DAY + 9]);
    assert_eq!(days["beta"], (DAY + 4..=DAY + 9).collect::<Vec<_>>());
    assert_eq!((retained.files, retained.rows), (11, 1_100));
    assert_eq!(after.version, before.version + 1);
    assert_eq!(after.watermarks, before.watermarks);
    let log = after
        .root
        .join(format!("_delta_log/{:020}.json", after.version));
    assert!(
        fs::read_to_string(log)
            .unwrap()
            .contains("\"operation\":\"DELETE\"")
    );
    // The same once more finds nothing, and without rules nothing ever expires.
    let again = handle.retain(&rules, &context(None)).await.unwrap();
    assert_eq!(again, Retained::default());
    let none = handle.retain(&Retention::default(), &context(None)).await;
    assert_eq!(none.unwrap(), Retained::default());
    assert_eq!(handle.snapshot().version, after.version);
}

/// A clock that stands still.
struct Fixed(u64);

impl Clock for Fixed {
    fn unix_nano(&self) -> u64 {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_deletes_what_was_removed_long_ago_and_what_nobody_named() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Ahead::default());
    let handle = open_at(dir.path(), Arc::clone(&clock) as _)
        .await
        .table(Table::Spans);
    flush(&handle, 1).await;
    flush(&handle, 2).await;
    let old = handle.snapshot();
    compact(&handle, &context(None)).await.unwrap();
    let root = old.root.clone();
    let orphan = written(&handle, 3, DAY_NANOS, "acme").await;
    let waiting = written(&handle, 4, DAY_NANOS, "acme").await;
    handle.expect(&waiting);
    let folder = root.join(&orphan[0].file.path).parent().unwrap().to_owned();
    let foreign = folder.join("part-0-c000.parquet");
    fs::write(&foreign, b"someone's").unwrap();
    let staged = folder.join(".0b7a2a0c-5f5e-4b6e-9b5b-0d6d6f1f2a11.tmp");
    fs::write(&staged, b"half").unwrap();
    let on_disk = |file: &DataFile| root.join(&file.path).exists();

    // Too early.
    let none = handle.vacuum(HOUR, &context(None)).await.unwrap();
    assert_eq!(none.files, 0);
    clock.by(HOUR + Duration::from_secs(1));
    // Someone reads the old version still.
    let some = handle.vacuum(HOUR, &context(None)).await.unwrap();
    assert_eq!(some.files, 2, "the orphan, and the one half written");
    assert!(old.files.iter().all(on_disk));
    assert!(!on_disk(&orphan[0].file) && !staged.exists());
    assert!(on_disk(&waiting[0].file) && foreign.exists());
    // Nobody does any more.
    let files: Vec<DataFile> = old.files.to_vec();
    drop(old);
    let rest = handle.vacuum(HOUR, &context(None)).await.unwrap();
    assert_eq!(rest.files, 2);
    assert!(!files.iter().any(on_disk));
    assert!(handle.snapshot().files.iter().all(on_disk));
    // What waited is committed and stays; what was discarded goes.
    let late = handle.commit(waiting.clone(), vec![at(4)]).await.unwrap();
    clock.by(HOUR);
    assert_eq!(handle.vacuum(HOUR, &context(None)).await.unwrap().files, 0);
    assert!(late.files.iter().all(on_disk));
    assert_eq!(
        rows(&open(dir.path()).await.table(Table::Spans).snapshot()),
        300
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_shortens_the_log_behind_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Ahead::default());
    let handle = open_at(dir.path(), Arc::clone(&clock) as _)
        .await
        .table(Table::MetricsGauge);
    for seed in 1..=12 {
        flush(&handle, seed).await;
    }
    compact(&handle, &context(None)).await.unwrap();
    let before = handle.snapshot();
    let log = before.root.join("_delta_log");
    let entries = || {
        let names = fs::read_dir(&log).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".json")).count()
    };
    assert_eq!(entries(), 14);
    // A checkpoint now; a day later the entries before it go.
    assert_eq!(
        handle.vacuum(HOUR, &context(None)).await.unwrap().log_files,
        0
    );
    assert!(log.join("_last_checkpoint").exists());
    clock.by(25 * HOUR);
    for seed in 13..=22 {
        flush(&handle, seed).await;
    }
    let vacuumed = handle.vacuum(HOUR, &context(None)).await.unwrap();
    assert!(vacuumed.log_files >= 13, "{vacuumed:?}");
    assert!(entries() <= 11, "{}", entries());
    assert_eq!(vacuumed.files, 12);
    let now = handle.snapshot();
    let again = open(dir.path()).await.table(Table::MetricsGauge).snapshot();
    assert_eq!(again.watermarks, now.watermarks);
    assert_eq!((again.version, rows(&again)), (now.version, 2_200));
    let outside = outside(&now.root).await;
    assert_eq!(
        outside.snapshot().unwrap().log_data().num_files(),
        now.files.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_merge_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    flush(&handle, 1).await;
    flush(&handle, 2).await;
    let pace = Throttle::new(1, Arc::new(SystemClock), || true);
    pace.stop();
    let context = JobContext {
        pace: Arc::new(pace),
        ..context(None)
    };
    let before = handle.snapshot();
    let error = compact(&handle, &context).await.unwrap_err();
    assert_eq!(error.code, Code::JobStopped);
    assert_eq!(handle.snapshot().version, before.version);
    assert_eq!(parquet_below(&before.root).len(), 2);
}

#[test]
fn a_throttle_spreads_bytes_over_time() {
    let clock = Arc::new(Ahead::default());
    let throttle = Throttle::new(1_000_000, Arc::clone(&clock) as _, || false);
    let started = SystemClock.monotonic();
    for _ in 0..10 {
        throttle.spend(10_000).unwrap();
    }
    assert!(SystemClock.monotonic() - started >= Duration::from_millis(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_ends_the_job_with_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    flush(&handle, 1).await;
    flush(&handle, 2).await;
    let broken: OnJobStep = Arc::new(|_| Err(Error::new(Code::TableIo, "the disk is full")));
    let error = compact(&handle, &context(Some(broken))).await.unwrap_err();
    assert_eq!(error.code, Code::TableIo);
    assert_eq!(rows(&handle.snapshot()), 200);
    let file = File::open(dir.path().join("spans/_delta_log"));
    assert!(file.is_ok());
}
