//! Jobs beside the log and the flusher: a crash at any step, readers, stops, what is counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use otlake_base::metrics::by_table;
use otlake_base::{Code, Error, Signal, Table};
use otlake_catalog::{JobStep, OnJobStep, Retention, RetentionRule};

use crate::testing::{
    capture, config, copy_as_crashed, each_once, ingest, logs, numbers, open, parquet_files,
    points, spans,
};
use crate::{Job, JobConfig, Processor, ProcessorConfig};

/// Vacuum deletes at once what no version names.
fn at_once(root: &Path) -> ProcessorConfig {
    ProcessorConfig {
        jobs: JobConfig {
            vacuum_after_ms: 0,
            ..JobConfig::default()
        },
        ..config(root)
    }
}

/// So many flushes of ten records of each signal, from record 0 on.
async fn flushes(node: &Processor, count: u64) {
    for flush in 0..count {
        for (signal, body) in [
            (Signal::Traces, spans(flush * 10, 10)),
            (Signal::Metrics, points(flush * 10, 10)),
            (Signal::Logs, logs(flush * 10, 10)),
        ] {
            ingest(node, signal, body).await.expect("an ack");
        }
        node.flush().await.expect("a flush");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_has_done_its_part_says_that_another_can_go_on() {
    let root = tempfile::tempdir().expect("a folder");
    let mut config = at_once(root.path());
    config.jobs.run_bytes = 1;
    let node = open(config, None).await;
    flushes(&node, 4).await;
    assert!(node.run_job(Job::Compact).await.expect("a run").more);
    assert!(!node.run_job(Job::Compact).await.expect("a run").more);
    assert!(!node.run_job(Job::Vacuum).await.expect("a run").more);
    node.close().await.expect("a close");
}

/// A node whose rows are past the time of one day that it keeps them.
fn keeping_one_day(root: &Path) -> ProcessorConfig {
    let mut config = at_once(root);
    config.jobs.retention = Retention(vec![RetentionRule {
        tenant: None,
        signal: None,
        days: Some(1),
    }]);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_a_crash_at_any_step_of_a_job_loses_and_doubles_nothing() {
    let mut steps: Vec<(Job, JobStep)> = Vec::new();
    for table in [Table::Spans, Table::Logs, Table::MetricsHistogram] {
        steps.push((Job::Compact, JobStep::Merged(table)));
        steps.push((Job::Compact, JobStep::Compacted(table)));
        steps.push((Job::Vacuum, JobStep::Deleted(table)));
    }
    for (job, at) in steps {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
        let node = open(at_once(&folder), None).await;
        flushes(&node, 4).await;
        // Records 40 to 49 are in the log alone.
        ingest(&node, Signal::Traces, spans(40, 10))
            .await
            .expect("an ack");
        if job == Job::Vacuum {
            node.run_job(Job::Compact).await.expect("a run");
        }
        let passed = Arc::new(AtomicBool::new(false));
        let (from, to, seen) = (folder.clone(), crashed.clone(), Arc::clone(&passed));
        let on_step: OnJobStep = Arc::new(move |step| {
            if step == at && !seen.swap(true, Ordering::SeqCst) {
                copy_as_crashed(&from, &to);
            }
            Ok(())
        });
        node.run_job_observed(job, Some(on_step))
            .await
            .expect("a run");
        assert!(passed.load(Ordering::SeqCst), "{at:?} was not passed");
        drop(node);

        let node = open(at_once(&crashed), None).await;
        let expected = |table| each_once(if table == Table::Spans { 50 } else { 40 });
        for table in Table::ALL {
            assert_eq!(
                numbers(&node, table),
                expected(table),
                "{at:?}: {}",
                table.name()
            );
        }
        // The jobs go on where they were, and in the end the disk holds the newest files alone.
        node.flush().await.expect("a flush");
        for job in [Job::Compact, Job::Retain, Job::Vacuum] {
            node.run_job(job).await.expect("a run");
        }
        for table in Table::ALL {
            assert_eq!(
                numbers(&node, table),
                expected(table),
                "{at:?}: {}",
                table.name()
            );
        }
        assert_eq!(
            parquet_files(&crashed.join("tables")) as u64,
            on_disk(&node)
        );
        node.close().await.expect("a close");
    }
}

/// Files of the newest versions, and checkpoints, as `parquet_files` counts them.
fn on_disk(node: &Processor) -> u64 {
    let checkpoints: usize = Table::ALL
        .iter()
        .map(|table| parquet_files(&capture(node, *table).root.join("_delta_log")))
        .sum();
    node.stats().files + checkpoints as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_crash_while_days_expire_leaves_whole_tables() {
    for stop_at in [Table::Spans, Table::MetricsSum] {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
        let node = open(keeping_one_day(&folder), None).await;
        flushes(&node, 3).await;
        let (from, to) = (folder.clone(), crashed.clone());
        let on_step: OnJobStep = Arc::new(move |step| {
            if step == JobStep::Retained(stop_at) {
                copy_as_crashed(&from, &to);
            }
            Ok(())
        });
        let report = node
            .run_job_observed(Job::Retain, Some(on_step))
            .await
            .expect("a run");
        assert!(
            report
                .tables
                .iter()
                .all(|(_, work)| work.rows_expired == 30)
        );
        drop(node);
        let node = open(keeping_one_day(&crashed), None).await;
        assert_eq!(numbers(&node, stop_at), each_once(0));
        for table in Table::ALL {
            let rows = numbers(&node, table);
            assert!(
                rows == each_once(0) || rows == each_once(30),
                "{}",
                table.name()
            );
        }
        node.run_job(Job::Retain).await.expect("a run");
        node.run_job(Job::Vacuum).await.expect("a run");
        assert_eq!(node.stats().file_rows, 0);
        assert_eq!(
            parquet_files(&crashed.join("tables")) as u64,
            on_disk(&node)
        );
        node.close().await.expect("a close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_jobs_and_flushes_at_once_lose_and_double_nothing() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(at_once(root.path()), None).await;
    let (done, working) = (Arc::new(AtomicBool::new(false)), Arc::clone(&node));
    let ended = Arc::clone(&done);
    let jobs = tokio::spawn(async move {
        let mut runs = 0;
        while !ended.load(Ordering::SeqCst) || runs < 3 {
            for job in [Job::Compact, Job::Retain, Job::Vacuum] {
                working.run_job(job).await.expect("a run");
            }
            runs += 1;
        }
    });
    flushes(&node, 40).await;
    done.store(true, Ordering::SeqCst);
    jobs.await.expect("the jobs end");
    for table in Table::ALL {
        assert_eq!(numbers(&node, table), each_once(400), "{}", table.name());
        assert!(capture(&node, table).files.len() < 40, "{}", table.name());
    }
    node.run_job(Job::Vacuum).await.expect("a run");
    assert_eq!(
        parquet_files(&root.path().join("tables")) as u64,
        on_disk(&node)
    );
    node.close().await.expect("a close");
    let node = open(at_once(root.path()), None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(400));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_although_two_files_come_for_each_merge() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(at_once(root.path()), None).await;
    flushes(&node, 3).await;
    let (flushing, runtime) = (Arc::clone(&node), tokio::runtime::Handle::current());
    let merges = Arc::new(AtomicU64::new(0));
    let merged = Arc::clone(&merges);
    let on_step: OnJobStep = Arc::new(move |step| {
        if step == JobStep::Merged(Table::Spans) {
            let number = merged.fetch_add(1, Ordering::SeqCst);
            if number >= 10 {
                return Err(Error::new(Code::Internal, "the run goes on and on"));
            }
            let (node, runtime) = (Arc::clone(&flushing), runtime.clone());
            let flush = move || {
                runtime.block_on(async {
                    for part in [0, 10] {
                        let first = 100 + number * 20 + part;
                        ingest(&node, Signal::Traces, spans(first, 10))
                            .await
                            .expect("an ack");
                        node.flush().await.expect("a flush");
                    }
                });
            };
            std::thread::spawn(flush).join().expect("the flushes");
        }
        Ok(())
    });
    node.run_job_observed(Job::Compact, Some(on_step))
        .await
        .expect("a run");
    assert_eq!(merges.load(Ordering::SeqCst), 1);
    assert_eq!(capture(&node, Table::Spans).files.len(), 3);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_an_old_version_keeps_its_files_until_it_ends() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(at_once(root.path()), None).await;
    flushes(&node, 5).await;
    let reading = capture(&node, Table::Spans);
    node.run_job(Job::Compact).await.expect("a run");
    node.run_job(Job::Vacuum).await.expect("a run");
    let there = |file: &otlake_base::DataFile| reading.root.join(&file.path).exists();
    assert!(reading.files.iter().all(there));
    let files: Vec<_> = reading
        .files
        .iter()
        .map(|file| reading.root.join(&file.path))
        .collect();
    drop(reading);
    let report = node.run_job(Job::Vacuum).await.expect("a run");
    let (_, work) = report
        .tables
        .iter()
        .find(|(table, _)| *table == Table::Spans)
        .expect("spans");
    assert_eq!(work.files_in, 5);
    assert!(files.iter().all(|file| !file.exists()));
    assert_eq!(numbers(&node, Table::Spans), each_once(50));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_counted_and_a_table_that_fails_does_not_keep_the_others() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(at_once(root.path()), None).await;
    flushes(&node, 3).await;
    let broken: OnJobStep = Arc::new(|step| match step {
        JobStep::Merged(Table::Spans) => Err(Error::new(Code::TableIo, "the disk is full")),
        _ => Ok(()),
    });
    let error = node
        .run_job_observed(Job::Compact, Some(broken))
        .await
        .expect_err("spans fail");
    assert_eq!(error.code, Code::TableIo);
    assert_eq!(capture(&node, Table::Spans).files.len(), 3);
    assert_eq!(capture(&node, Table::Logs).files.len(), 1);
    // What the failed merge wrote waits for nobody, and the next run takes its turn.
    node.run_job(Job::Compact).await.expect("a run");
    assert_eq!(capture(&node, Table::Spans).files.len(), 1);
    let jobs = &node.metrics.jobs;
    let runs = |outcome| {
        let labels = vec![("job", "compact"), ("outcome", outcome)];
        jobs.runs.get_or_create(&labels).get()
    };
    assert_eq!((runs("ok"), runs("failed")), (1, 1));
    let of_spans = by_table(Table::Spans);
    assert_eq!(jobs.compacted_files_in.get_or_create(&of_spans).get(), 3);
    assert_eq!(jobs.compacted_files_out.get_or_create(&of_spans).get(), 1);
    let text = node.metrics.encode();
    for name in [
        "otlake_job_runs_total",
        "otlake_job_duration_seconds",
        "otlake_compacted_in_bytes_total",
        "otlake_duplicates_removed_total",
        "otlake_rows_expired_total",
        "otlake_vacuumed_files_total",
    ] {
        assert!(text.contains(name), "{name}");
    }
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_ends_the_job_at_work_and_leaves_the_table_as_it_was() {
    let root = tempfile::tempdir().expect("a folder");
    let mut slow = at_once(root.path());
    // One byte a second: without a stop this merge takes hours.
    slow.jobs.bytes_per_second = 1;
    let node = open(slow, None).await;
    flushes(&node, 3).await;
    let (running, polls) = (Arc::clone(&node), AtomicU64::new(0));
    let run = tokio::spawn(async move { running.run_job(Job::Compact).await });
    let gauge = node
        .metrics
        .jobs
        .running
        .get_or_create(&vec![("job", "compact")])
        .clone();
    while gauge.get() == 0 {
        polls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    node.close().await.expect("a close");
    let error = run
        .await
        .expect("the run ends")
        .expect_err("it was stopped");
    assert_eq!(error.code, Code::JobStopped);
    let refused = node
        .run_job(Job::Vacuum)
        .await
        .expect_err("the node is closed");
    assert_eq!(refused.code, Code::JobStopped);
    let node = open(at_once(root.path()), None).await;
    assert_eq!(numbers(&node, Table::Spans), each_once(30));
    assert_eq!(
        parquet_files(&root.path().join("tables")) as u64,
        on_disk(&node)
    );
    node.close().await.expect("a close");
}
