use std::fs;
use std::fs::File;
use std::sync::Arc;

use otlake_base::{Code, DataFile, Error, Result, SystemClock, Table, priority};
use otlake_shard::WriteOptions;
use parking_lot::Mutex;

use super::testing::{
    at, candidates, compact, context, flush, open, outside, parquet_below, remove_outside, rows,
    written,
};
use super::{CompactLimits, Compacted, JobContext, JobStep, OnJobStep, Pace, Throttle, Urgency};
use crate::rows::DAY_NANOS;
#[cfg(target_os = "linux")]
use crate::thread_priority;

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
        handle.commit_upto(files, vec![at(sequence)]).await.unwrap();
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

/// Notes how urgent a job is told to be, and its thread's priority.
#[cfg(target_os = "linux")]
#[derive(Default)]
struct Noted(Mutex<Vec<(Urgency, i32)>>);

#[cfg(target_os = "linux")]
impl Pace for Noted {
    fn spend(&self, _bytes: u64, urgency: Urgency) -> Result<()> {
        self.0.lock().push((urgency, thread_priority::nice()));
        Ok(())
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_is_behind_has_a_share_of_the_processor() {
    let dir = tempfile::tempdir().unwrap();
    let handle = open(dir.path()).await.table(Table::Spans);
    for (flushes, behind_files, urgency, nice) in [
        (3, 3, Urgency::Whenever, priority::JOBS),
        (4, 3, Urgency::Behind, priority::JOBS_BEHIND),
    ] {
        // The second round has the first one's merged file, too.
        for _ in handle.snapshot().files.len()..flushes {
            let seed = handle.snapshot().version as u64 + 1;
            flush(&handle, seed).await;
        }
        let noted = Arc::new(Noted::default());
        let context = JobContext {
            pace: Arc::clone(&noted) as _,
            ..context(None)
        };
        let limits = CompactLimits {
            behind_files,
            ..CompactLimits::default()
        };
        let write = WriteOptions::default();
        let merged = handle
            .compact(&limits, &write, &mut candidates(&handle), &context)
            .await;
        assert_eq!(merged.unwrap().unwrap().files, flushes as u64);
        let noted = noted.0.lock();
        assert!(!noted.is_empty());
        let expected = (urgency, nice);
        assert!(noted.iter().all(|one| *one == expected), "{noted:?}");
    }
}
