use std::fs;
use std::path::Path;
use std::sync::Arc;

use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Remove, Transaction};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use otlake_base::metrics::by_table;
use otlake_base::{Metrics, Position, StreamId, SystemClock, Table};
use otlake_shard::{WriteOptions, Written, write};
use url::Url;

use crate::{Catalog, DeltaTableHandle, Snapshot};

use crate::rows::{DAY, DAY_NANOS, batch};

async fn open(dir: &Path) -> Catalog {
    Catalog::open(dir, Arc::new(SystemClock), Arc::new(Metrics::new()))
        .await
        .unwrap()
}

async fn files(handle: &DeltaTableHandle, seed: u64) -> Vec<Written> {
    let rows = batch(handle.table(), seed, 100, DAY_NANOS, "acme /%");
    let root = handle.snapshot().root.clone();
    write(handle.table(), vec![rows], &root, &WriteOptions::default())
        .await
        .unwrap()
}

fn at(stream: u128, sequence: u64) -> Position {
    Position {
        stream: StreamId(stream),
        sequence,
    }
}

fn paths(snapshot: &Snapshot) -> Vec<String> {
    let mut paths: Vec<String> = snapshot
        .files
        .iter()
        .map(|file| file.path.clone())
        .collect();
    paths.sort();
    paths
}

/// The table as another program sees it.
async fn outside(root: &Path) -> DeltaTable {
    let url = Url::from_directory_path(root).unwrap();
    DeltaTableBuilder::from_url(url)
        .unwrap()
        .load()
        .await
        .unwrap()
}

async fn commit_outside(delta: &DeltaTable, actions: Vec<Action>, txn: Option<Transaction>) {
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    };
    let properties =
        CommitProperties::default().with_application_transactions(txn.into_iter().collect());
    CommitBuilder::from(properties)
        .with_actions(actions)
        .build(
            Some(delta.snapshot().unwrap()),
            delta.log_store(),
            operation,
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let catalog = Catalog::open(dir.path(), Arc::new(SystemClock), Arc::clone(&metrics))
        .await
        .unwrap();
    for table in Table::ALL {
        let handle = catalog.table(table);
        assert_eq!(handle.snapshot().version, 0);
        handle
            .commit_upto(files(&handle, 1).await, vec![at(1, 5)])
            .await
            .unwrap();
        let snapshot = handle
            .commit_upto(files(&handle, 2).await, vec![at(1, 9), at(2, 3)])
            .await
            .unwrap();
        assert_eq!(snapshot.version, 2);
        assert_eq!(
            metrics.table_rows.get_or_create(&by_table(table)).get(),
            200
        );
        assert_eq!(metrics.table_files.get_or_create(&by_table(table)).get(), 2);
    }
    let again = open(dir.path()).await;
    for table in Table::ALL {
        let before = catalog.table(table).snapshot();
        let after = again.table(table).snapshot();
        assert_eq!(after.version, 2);
        assert_eq!(paths(&before), paths(&after));
        assert_eq!(before.watermarks, after.watermarks);
        assert_eq!(after.watermarks[&StreamId(1)], 9);
        assert_eq!(after.watermarks[&StreamId(2)], 3);
        for file in after.files.iter() {
            let same = before
                .files
                .iter()
                .find(|same| same.path == file.path)
                .unwrap();
            assert_eq!(format!("{same:?}"), format!("{file:?}"));
            assert_eq!((file.tenant.as_str(), file.day), ("acme /%", DAY));
            assert!(file.min_time >= DAY_NANOS && file.max_time < DAY_NANOS + 1_000_000_000);
            assert!(after.root.join(&file.path).is_file(), "{}", file.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_commit_changes_nothing_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    let first = files(&handle, 1).await;
    let one = handle
        .commit_upto(first.clone(), vec![at(1, 5)])
        .await
        .unwrap();
    // The same rows in new files, as a flush after a crash has them.
    let second = files(&handle, 1).await;
    let two = handle
        .commit_upto(second.clone(), vec![at(1, 5)])
        .await
        .unwrap();
    assert_eq!((two.version, paths(&two)), (one.version, paths(&one)));
    assert!(!two.root.join(&second[0].file.path).exists());
    // The very same call again: its files are the table's, and stay.
    let three = handle
        .commit_upto(first.clone(), vec![at(1, 4)])
        .await
        .unwrap();
    assert_eq!(three.version, one.version);
    assert!(three.root.join(&first[0].file.path).exists());
    // A mark that lies behind does not go back beside one that lies ahead.
    let four = handle
        .commit_upto(files(&handle, 2).await, vec![at(1, 2), at(2, 1)])
        .await
        .unwrap();
    assert_eq!(four.watermarks[&StreamId(1)], 5);
    assert_eq!(
        open(dir.path())
            .await
            .table(Table::Spans)
            .snapshot()
            .watermarks,
        four.watermarks
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_others_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Logs);
    let first = files(&handle, 1).await;
    handle
        .commit_upto(first.clone(), vec![at(1, 1)])
        .await
        .unwrap();

    // Another program replaces the file, as an optimiser does.
    let delta = outside(&handle.snapshot().root).await;
    let replaced = files(&handle, 1).await;
    let removed = Remove {
        path: first[0].file.path.clone(),
        deletion_timestamp: Some(DAY_NANOS / 1_000_000),
        data_change: true,
        ..Default::default()
    };
    let actions = vec![
        Action::Remove(removed),
        Action::Add(crate::commit::add(&replaced[0], 1)),
    ];
    commit_outside(&delta, actions, None).await;
    let own = files(&handle, 2).await;
    let after = handle
        .commit_upto(own.clone(), vec![at(1, 2)])
        .await
        .unwrap();
    assert_eq!(after.version, 3);
    let mut expected = vec![replaced[0].file.path.clone(), own[0].file.path.clone()];
    expected.sort();
    assert_eq!(paths(&after), expected);

    // Another committed these very batches: ours must not be added.
    let delta = outside(&after.root).await;
    let theirs = files(&handle, 3).await;
    let txn = Transaction::new(format!("otlake/{}", StreamId(1)), 3);
    commit_outside(
        &delta,
        vec![Action::Add(crate::commit::add(&theirs[0], 1))],
        Some(txn),
    )
    .await;
    let ours = files(&handle, 3).await;
    let last = handle
        .commit_upto(ours.clone(), vec![at(1, 3)])
        .await
        .unwrap();
    assert_eq!(last.version, 4);
    assert_eq!(last.files.len(), 3);
    assert!(!last.root.join(&ours[0].file.path).exists());

    // The removed file is no orphan: a reader of an older version may hold it.
    let again = open(dir.path()).await.table(Table::Logs).snapshot();
    assert_eq!(paths(&again), paths(&last));
    assert!(again.root.join(&first[0].file.path).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_swept_and_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::MetricsSum);
    let kept = files(&handle, 1).await;
    let root = handle
        .commit_upto(kept.clone(), vec![at(1, 1)])
        .await
        .unwrap()
        .root
        .clone();
    let orphan = files(&handle, 2).await;
    let folder = root
        .join(&kept[0].file.path)
        .parent()
        .unwrap()
        .to_path_buf();
    let staged = folder.join(".0b7a2a0c-5f5e-4b6e-9b5b-0d6d6f1f2a11.tmp");
    let foreign = folder.join("part-00000-0b7a2a0c-5f5e-4b6e-9b5b-0d6d6f1f2a11-c000.parquet");
    fs::write(&staged, b"half").unwrap();
    fs::write(&foreign, b"someone's").unwrap();
    let again = open(dir.path()).await.table(Table::MetricsSum).snapshot();
    assert_eq!(again.files.len(), 1);
    assert!(root.join(&kept[0].file.path).exists());
    assert!(!root.join(&orphan[0].file.path).exists());
    assert!(!staged.exists());
    assert!(foreign.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_an_error_and_nothing_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    let kept = files(&handle, 1).await;
    let root = handle
        .commit_upto(kept.clone(), vec![at(1, 1)])
        .await
        .unwrap()
        .root
        .clone();
    fs::write(
        root.join("_delta_log/00000000000000000000.json"),
        b"{\"metaD",
    )
    .unwrap();
    let metrics = Arc::new(Metrics::new());
    assert!(
        Catalog::open(dir.path(), Arc::new(SystemClock), metrics)
            .await
            .is_err()
    );
    assert!(root.join(&kept[0].file.path).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpointed_table_reopens_with_its_watermarks() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::MetricsGauge);
    let commits = crate::columns::CHECKPOINT_INTERVAL + 3;
    for sequence in 1..=commits {
        let stream = u128::from(sequence % 3);
        handle
            .commit_upto(files(&handle, sequence).await, vec![at(stream, sequence)])
            .await
            .unwrap();
    }
    let before = handle.snapshot();
    let log = before.root.join("_delta_log");
    assert!(log.join("_last_checkpoint").exists());
    // What the checkpoint holds must not be needed any more.
    for version in 0..crate::columns::CHECKPOINT_INTERVAL {
        fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let after = open(dir.path()).await.table(Table::MetricsGauge).snapshot();
    assert_eq!(after.version, before.version);
    assert_eq!(after.watermarks, before.watermarks);
    assert_eq!(after.watermarks.len(), 3);
    assert_eq!(paths(&after), paths(&before));
    assert_eq!(
        after.files.iter().map(|file| file.rows).sum::<u64>(),
        commits * 100
    );
    for file in after.files.iter() {
        let same = before
            .files
            .iter()
            .find(|same| same.path == file.path)
            .unwrap();
        assert_eq!(format!("{same:?}"), format!("{file:?}"));
    }
    assert!(
        fs::read_dir(&log)
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().contains('#') })
    );
}
