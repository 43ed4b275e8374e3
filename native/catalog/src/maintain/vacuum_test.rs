use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otlake_base::metrics::by_table;
use otlake_base::{DataFile, Metrics, Table};

use super::testing::{
    Ahead, HOUR, at, compact, context, flush, open, open_at, outside, rows, written,
};
use crate::hooked_disk::{HookedDisk, full};
use crate::rows::DAY_NANOS;
use crate::{Catalog, InLog, Sharing};

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
    let late = handle
        .commit_upto(waiting.clone(), vec![at(4)])
        .await
        .unwrap();
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
async fn i10_vacuum_makes_room_on_a_disk_that_has_none_for_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, is_full) = (Arc::new(Ahead::default()), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&is_full);
    let disk = HookedDisk(Arc::new(move |operation, _| match operation {
        "create" | "create_folder" | "write" if told.load(Ordering::SeqCst) => Err(full()),
        _ => Ok(()),
    }));
    let metrics = Arc::new(Metrics::new());
    let (disk, counters) = (Arc::new(disk), Arc::clone(&metrics));
    let nothing: InLog = Arc::new(|_, _| None);
    let clock_of = Arc::clone(&clock) as _;
    let catalog = Catalog::open_on(
        disk,
        dir.path(),
        clock_of,
        counters,
        &nothing,
        Sharing::Alone,
    );
    let handle = catalog.await.unwrap().table(Table::Spans);
    for seed in 1..=12 {
        flush(&handle, seed).await;
    }
    compact(&handle, &context(None)).await.unwrap();
    clock.by(2 * HOUR);
    is_full.store(true, Ordering::SeqCst);
    let vacuumed = handle.vacuum(HOUR, &context(None)).await.unwrap();
    assert_eq!(vacuumed.files, 12);
    let failures = metrics
        .checkpoint_failures
        .get_or_create(&by_table(Table::Spans));
    assert_eq!(failures.get(), 1);
    // With the room, the next run writes it.
    is_full.store(false, Ordering::SeqCst);
    handle.vacuum(HOUR, &context(None)).await.unwrap();
    assert_eq!(failures.get(), 1);
    let hint = handle.snapshot().root.join("_delta_log/_last_checkpoint");
    assert!(hint.exists());
}
