use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use otlake_base::invariant::Invariant;
use otlake_base::{Code, Metrics, SystemClock, Table};

use crate::hooked_disk::HookedDisk;
use crate::maintain::compact::same_rows;
use crate::maintain::testing::{at, compact, context, flush, open, rows, written};
use crate::rows::DAY_NANOS;
use crate::{Catalog, DeltaTableHandle, InLog, Sharing};

const TABLE: Table = Table::Spans;

/// A table whose log's folder cannot be synced so many times, from when a test says so.
struct Unsyncable {
    handle: Arc<DeltaTableHandle>,
    failures: Arc<AtomicUsize>,
    /// A commit has its name, and no sync of the folder since.
    at_risk: Arc<AtomicBool>,
}

async fn unsyncable(dir: &Path) -> Unsyncable {
    let failures = Arc::new(AtomicUsize::new(0));
    let at_risk = Arc::new(AtomicBool::new(false));
    let (left, named) = (Arc::clone(&failures), Arc::clone(&at_risk));
    let hook = move |operation: &'static str, path: &Path| {
        let of_table = path.to_string_lossy().contains(TABLE.name());
        match operation {
            "link" if of_table => named.store(true, Ordering::SeqCst),
            "sync_folder" if of_table && path.ends_with("_delta_log") => {
                let less = |left: usize| left.checked_sub(1);
                if left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                    .is_ok()
                {
                    return Err(io::Error::from_raw_os_error(5));
                }
                named.store(false, Ordering::SeqCst);
            }
            _ => {}
        }
        Ok(())
    };
    let disk = Arc::new(HookedDisk(Arc::new(hook)));
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let nothing: InLog = Arc::new(|_, _| None);
    let catalog = Catalog::open_on(disk, dir, clock, metrics, &nothing, Sharing::Alone)
        .await
        .unwrap();
    Unsyncable {
        handle: catalog.table(TABLE),
        failures,
        at_risk,
    }
}

impl Unsyncable {
    fn is_at_risk(&self) -> bool {
        self.at_risk.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_a_commit_is_trusted_once_its_name_is_durable_and_not_before() {
    for failures in 1..=4 {
        let dir = tempfile::tempdir().unwrap();
        let table = unsyncable(dir.path()).await;
        let handle = &table.handle;
        flush(handle, 1).await;
        let before = handle.snapshot();
        let files = written(handle, 2, DAY_NANOS, "acme").await;
        table.failures.store(failures, Ordering::SeqCst);
        loop {
            let committed = handle.commit_upto(files.clone(), vec![at(2)]).await;
            // What has read that the files hold a batch lets the log forget it.
            let covers = handle.snapshot().covers(at(2));
            assert_eq!(covers, committed.is_ok(), "{failures} failures");
            assert!(!(covers && table.is_at_risk()), "{failures} failures");
            match committed {
                Ok(_) => break,
                Err(error) => assert_eq!(error.code, Code::TableIo),
            }
        }
        // The one that landed is taken for what it is, and not made again.
        let after = handle.snapshot();
        assert_eq!((after.version, rows(&after)), (before.version + 1, 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_nothing_is_deleted_for_a_commit_that_a_power_cut_can_take_back() {
    for failures in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let table = unsyncable(dir.path()).await;
        let handle = &table.handle;
        flush(handle, 1).await;
        flush(handle, 2).await;
        let inputs = handle.snapshot().files.to_vec();
        let on_disk = || {
            let root = handle.snapshot().root.clone();
            inputs.iter().all(|file| root.join(&file.path).exists())
        };
        table.failures.store(failures, Ordering::SeqCst);
        let _ = compact(handle, &context(None)).await;
        // With no age to wait for, what the newest version lacks goes at once.
        let _ = handle
            .vacuum(std::time::Duration::ZERO, &context(None))
            .await;
        assert!(on_disk() || !table.is_at_risk(), "{failures} failures");
        compact(handle, &context(None)).await.unwrap();
        handle
            .vacuum(std::time::Duration::ZERO, &context(None))
            .await
            .unwrap();
        assert!(!on_disk() && !table.is_at_risk());
        let after = handle.snapshot();
        assert_eq!((after.files.len(), rows(&after)), (1, 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_file_that_cannot_be_checked_is_counted_when_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(TABLE);
    flush(&handle, 1).await;
    assert_eq!(handle.metrics.violations(Invariant::I6Detected), 0);
    let mut files = written(&handle, 2, DAY_NANOS, "acme").await;
    files[0].file.sums = None;
    handle.commit_upto(files, vec![at(2)]).await.unwrap();
    assert_eq!(handle.metrics.violations(Invariant::I6Detected), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_merge_of_other_rows_than_its_files_have_is_counted_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(TABLE);
    flush(&handle, 1).await;
    let inputs = flush(&handle, 2).await.files.to_vec();
    assert!(same_rows(&inputs, 200, &handle.metrics).is_ok());
    let error = same_rows(&inputs, 199, &handle.metrics).expect_err("a row is missing");
    assert_eq!(error.code, Code::Internal);
    assert_eq!(handle.metrics.violations(Invariant::I8Open), 1);
}
