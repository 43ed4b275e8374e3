use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use otlake_base::checksum::Checked;
use otlake_base::disk::{Disk, RealDisk, real};
use otlake_base::{Code, Error, Metrics, Position, StreamId, SystemClock, Table};
use otlake_shard::{WriteOptions, write};

use crate::columns::CHECKPOINT_INTERVAL;
use crate::maintain::testing::{Ahead, HOUR};
use crate::verify::{check_data_file, check_log_file, data_files, log_files};
use crate::{Catalog, Snapshot};

use crate::rows::{DAY_NANOS, batch};

const TABLE: Table = Table::Logs;

async fn open(dir: &Path) -> Result<(Arc<Snapshot>, Arc<Metrics>), Error> {
    let metrics = Arc::new(Metrics::new());
    let catalog = Catalog::open(dir, Arc::new(SystemClock), Arc::clone(&metrics)).await?;
    Ok((catalog.table(TABLE).snapshot(), metrics))
}

/// A table of so many commits beyond one checkpoint, with a file in each tenth.
async fn table_with_a_checkpoint(dir: &Path, beyond: u64) -> Arc<Snapshot> {
    let catalog = Catalog::open(dir, Arc::new(SystemClock), Arc::new(Metrics::new()))
        .await
        .unwrap();
    let handle = catalog.table(TABLE);
    for sequence in 1..=CHECKPOINT_INTERVAL + beyond {
        let root = handle.snapshot().root.clone();
        let files = match sequence % 10 {
            0 => {
                let rows = batch(TABLE, sequence, 500, DAY_NANOS, "default");
                write(TABLE, vec![rows], &root, &WriteOptions::default())
                    .await
                    .unwrap()
            }
            _ => Vec::new(),
        };
        let stream = StreamId(7);
        handle
            .commit_upto(files, vec![Position { stream, sequence }])
            .await
            .unwrap();
    }
    handle.snapshot()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 0x04;
    fs::write(path, bytes).unwrap();
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<&str> = snapshot.files.iter().map(|file| &*file.path).collect();
    names.sort_unstable();
    names
}

fn damaged(root: &Path) -> Vec<PathBuf> {
    let files = log_files(&RealDisk, root).unwrap();
    let is_damaged =
        |path: &PathBuf| matches!(check_log_file(&RealDisk, path), Ok(Checked::Damaged(_)));
    let paths = files.into_iter().map(|(path, _)| path);
    paths.filter(is_damaged).collect()
}

fn version(number: u64, end: &str) -> String {
    format!("{number:020}.{end}")
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_of_files_survive_commits_and_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let before = table_with_a_checkpoint(dir.path(), 15).await;
    let (after, _) = open(dir.path()).await.unwrap();
    assert_eq!(names(&before), names(&after));
    assert_eq!(after.files.len(), 6);
    let named = data_files(real(), TABLE, &after.root).await.unwrap();
    for file in &named {
        assert!(file.sums.is_some(), "{}", file.path);
        assert_eq!(
            check_data_file(&RealDisk, &after.root, file).unwrap(),
            Checked::Whole
        );
    }
    let log = log_files(&RealDisk, &after.root).unwrap();
    assert!(
        log.iter()
            .any(|(path, _)| path.ends_with("_last_checkpoint"))
    );
    assert_eq!(log.len() as u64, CHECKPOINT_INTERVAL + 15 + 1 + 2);
    for (path, bytes) in log {
        assert_eq!(bytes, RealDisk.status(&path).unwrap().bytes);
        assert_eq!(
            check_log_file(&RealDisk, &path).unwrap(),
            Checked::Whole,
            "{}",
            path.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_flipped_bit_of_a_data_file_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = table_with_a_checkpoint(dir.path(), 0).await;
    let file = &snapshot.files[0];
    let path = snapshot.root.join(&file.path);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        flip(&path, at);
        let found = check_data_file(&RealDisk, &snapshot.root, file).unwrap();
        assert!(matches!(found, Checked::Damaged(_)), "byte {at}");
        fs::write(&path, &whole).unwrap();
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let found = check_data_file(&RealDisk, &snapshot.root, file).unwrap();
    assert!(matches!(found, Checked::Damaged(_)), "a shorter file");
    fs::remove_file(&path).unwrap();
    assert_eq!(
        check_data_file(&RealDisk, &snapshot.root, file).unwrap(),
        Checked::Gone
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_damaged_commit_is_told_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = table_with_a_checkpoint(dir.path(), 5).await;
    let log = snapshot.root.join("_delta_log");
    for at in [3, 40, 200, 400] {
        let commit = log.join(version(CHECKPOINT_INTERVAL + 3, "json"));
        let whole = fs::read(&commit).unwrap();
        flip(&commit, at);
        assert_eq!(damaged(&snapshot.root), std::slice::from_ref(&commit));
        let error = open(dir.path()).await.err().expect("no table");
        assert_eq!(error.code, Code::TableCorrupt, "{error}");
        assert!(error.to_string().contains("053.json"), "{error}");
        let error = data_files(real(), TABLE, &snapshot.root)
            .await
            .expect_err("no list");
        assert_eq!(error.code, Code::TableCorrupt);
        fs::write(&commit, whole).unwrap();
    }
    // One that the checkpoint stands for is not needed any more; it is told all the same.
    let old = log.join(version(20, "json"));
    flip(&old, 100);
    assert_eq!(damaged(&snapshot.root), [old]);
    let (after, _) = open(dir.path()).await.unwrap();
    assert_eq!(names(&snapshot), names(&after));
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_damaged_checkpoint_is_set_aside_and_made_good_from_the_commits() {
    for at in [0, 5, 1_000, 3_000, usize::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = table_with_a_checkpoint(dir.path(), 5).await;
        let log = snapshot.root.join("_delta_log");
        let checkpoint = log.join(version(CHECKPOINT_INTERVAL, "checkpoint.parquet"));
        flip(&checkpoint, at);
        assert_eq!(damaged(&snapshot.root), std::slice::from_ref(&checkpoint));
        let (after, metrics) = open(dir.path()).await.unwrap();
        assert_eq!(names(&snapshot), names(&after));
        assert_eq!(snapshot.watermarks, after.watermarks);
        let found = metrics
            .corruption
            .get_or_create(&vec![("kind", "checkpoint")]);
        assert!(found.get() > 0);
        assert!(!checkpoint.exists() && damaged(&snapshot.root).is_empty());
        let mut aside = checkpoint.into_os_string();
        aside.push(".damaged");
        assert!(Path::new(&aside).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_hint_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = table_with_a_checkpoint(dir.path(), 5).await;
    let hint = snapshot.root.join("_delta_log/_last_checkpoint");
    for at in [1, 11, 12, 30] {
        let whole = fs::read(&hint).unwrap();
        flip(&hint, at);
        assert_eq!(damaged(&snapshot.root), std::slice::from_ref(&hint));
        let (after, _) = open(dir.path()).await.unwrap();
        assert_eq!(names(&snapshot), names(&after));
        fs::write(&hint, whole).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_damaged_checkpoint_is_made_good_also_when_the_entries_it_stands_for_have_expired() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Ahead::default());
    let catalog = Catalog::open(
        dir.path(),
        Arc::clone(&clock) as _,
        Arc::new(Metrics::new()),
    );
    let handle = catalog.await.unwrap().table(TABLE);
    for sequence in 1..=2 * CHECKPOINT_INTERVAL + 3 {
        if sequence == 2 * CHECKPOINT_INTERVAL {
            clock.by(25 * HOUR);
        }
        let stream = StreamId(7);
        let position = Position { stream, sequence };
        handle
            .commit_upto(Vec::new(), vec![position])
            .await
            .unwrap();
    }
    let before = handle.snapshot();
    let log = before.root.join("_delta_log");
    let is_there = |number, end| log.join(version(number, end)).exists();
    assert!(!is_there(CHECKPOINT_INTERVAL - 1, "json"), "it has expired");
    assert!(is_there(CHECKPOINT_INTERVAL, "checkpoint.parquet"));
    flip(
        &log.join(version(2 * CHECKPOINT_INTERVAL, "checkpoint.parquet")),
        1_000,
    );
    let (after, _) = open(dir.path()).await.unwrap();
    assert_eq!(after.version, before.version);
    assert_eq!(after.watermarks, before.watermarks);
}
