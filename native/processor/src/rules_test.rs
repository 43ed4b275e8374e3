//! Rules on the way in: whatever becomes of a record, its rows are those that the rules leave.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use otlake_base::{RowRules, Signal, Table, TableRows};
use otlake_derive::DeriveConfig;
use otlake_flush::Step;

use crate::ProcessorConfig;
use crate::testing::{
    adopt_and_append, capture, config, copy_as_crashed, crash_at, derived_calls, folders, ingest,
    ingest_each_twice, ledger, logs, numbers, open, rows, spans,
};

/// Keeps the rows whose time is even.
#[derive(Debug)]
struct Even;

impl RowRules for Even {
    fn apply(&self, tenant: &Arc<str>, rows: Vec<(Table, RecordBatch)>) -> Vec<TableRows> {
        let even = rows.into_iter().map(|(table, batch)| {
            let times = batch.column_by_name(table.time_column()).expect("a time");
            let times = times.as_primitive::<Int64Type>().values().iter();
            let is_even: BooleanArray = times.map(|time| Some(time % 2 == 0)).collect();
            (table, filter_record_batch(&batch, &is_even).expect("rows"))
        });
        let even = even.filter(|(_, batch)| batch.num_rows() > 0);
        TableRows::all_of(tenant, even.collect())
    }
}

fn ruled(root: &Path) -> ProcessorConfig {
    ProcessorConfig {
        rules: Some(Arc::new(Even)),
        ..config(root)
    }
}

fn even(count: u64) -> BTreeMap<u64, u64> {
    (0..count).step_by(2).map(|number| (number, 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_dropped_rows_are_acknowledged_and_a_request_without_others_is_not_logged() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(ruled(root.path()), None).await;
    let ack = ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    assert_eq!((ack.accepted, ack.rejections.count), (10, 0));
    assert_eq!(ack.position, Some(node.session()));
    let logged = node.session();
    // Sent twice, as by a client that heard no answer.
    for _ in 0..2 {
        let ack = ingest(&node, Signal::Traces, spans(11, 1))
            .await
            .expect("an ack");
        assert_eq!((ack.accepted, ack.position), (1, None));
    }
    assert_eq!(node.session(), logged);
    assert_eq!(rows(&capture(&node, Table::Spans)), 5);
    assert_eq!(ledger(&node, Signal::Traces), (12, 12, 0));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_crashes_and_resends_give_the_rows_that_the_rules_left() {
    for step in [
        None,
        Some(Step::Written(Table::MetricsSum)),
        Some(Step::Committed(Table::Spans)),
    ] {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, crashed) = folders(root.path());
        let on_step = step.map(|step| crash_at(step, &folder, &crashed));
        let node = open(ruled(&folder), on_step).await;
        ingest_each_twice(&node).await;
        match step {
            None => copy_as_crashed(&folder, &crashed),
            Some(_) => node.flush().await.expect("a flush"),
        }
        drop(node);
        let node = open(ruled(&crashed), None).await;
        for table in Table::ALL {
            assert_eq!(numbers(&node, table), even(100), "{step:?} {table:?}");
        }
        node.flush().await.expect("a flush");
        for table in Table::ALL {
            assert_eq!(numbers(&node, table), even(100), "{step:?} {table:?}");
        }
        node.close().await.expect("a close");
        let node = open(ruled(&crashed), None).await;
        assert_eq!(node.stats().live_rows, 0);
        assert_eq!(node.stats().file_rows, 7 * 50);
        node.close().await.expect("a close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_node_and_one_that_is_appended_again_go_through_the_rules() {
    let root = tempfile::tempdir().expect("a folder");
    let shared = |node: &str| ProcessorConfig {
        tables_dir: Some(root.path().join("tables")),
        leave_earlier: true,
        ..ruled(&root.path().join(node))
    };
    let owner = open(shared("owner"), None).await;
    for request in 0..4 {
        let body = spans(request * 10, 10);
        ingest(&owner, Signal::Traces, body).await.expect("an ack");
    }
    let stream = owner.session().stream;
    drop(owner);
    let other = open(shared("other"), None).await;
    adopt_and_append(&other, &root.path().join("owner"), stream).await;
    assert_eq!(numbers(&other, Table::Spans), even(40));
    other.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_are_derived_of_the_spans_that_the_rules_left() {
    let root = tempfile::tempdir().expect("a folder");
    let deriving = ProcessorConfig {
        derive: DeriveConfig {
            span_metrics: true,
            ..DeriveConfig::default()
        },
        ..ruled(root.path())
    };
    let node = open(deriving, None).await;
    ingest(&node, Signal::Traces, spans(0, 20))
        .await
        .expect("an ack");
    node.flush().await.expect("a flush");
    assert_eq!(derived_calls(&node), [("default".to_owned(), 10)].into());
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_holds_when_the_rules_change_goes_through_the_new_ones() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    let node = open(config(&folder), None).await;
    ingest(&node, Signal::Logs, logs(0, 10))
        .await
        .expect("an ack");
    ingest(&node, Signal::Logs, logs(11, 1))
        .await
        .expect("an ack");
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let node = open(ruled(&crashed), None).await;
    assert_eq!(numbers(&node, Table::Logs), even(10));
    // A record without rows left takes part in the flush, and the log lets go of it.
    node.flush().await.expect("a flush");
    node.close().await.expect("a close");
    let node = open(config(&crashed), None).await;
    assert_eq!(numbers(&node, Table::Logs), even(10));
    node.close().await.expect("a close");
}
