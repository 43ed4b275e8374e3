use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use otlake_base::invariant::Invariant;
use otlake_base::{
    Code, Consistency, FIRST_EPOCH, Metrics, Position, Signal, StreamId, SystemClock, Table,
    TableRows, TableSource,
};
use otlake_catalog::Catalog;

use crate::flusher::holds_rows;
use crate::{Budget, LiveBatch, LiveSet, SealLimits, Source, Tables};

const STREAM: StreamId = StreamId(42);

fn set() -> (Arc<LiveSet>, Arc<Metrics>) {
    let limits = SealLimits {
        bytes: 1 << 20,
        rows: 1_000,
        age: Duration::from_secs(3600),
        ..SealLimits::default()
    };
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    let live = LiveSet::new(
        STREAM,
        limits,
        Budget::new(1 << 30),
        clock,
        Arc::clone(&metrics),
    );
    (live, metrics)
}

fn insert(live: &LiveSet, sequence: u64) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("one column");
    let position = Position {
        stream: STREAM,
        sequence,
    };
    let parts = TableRows::all_of(&"a".into(), vec![(Table::Spans, rows)]);
    let batch = LiveBatch::new(position, Signal::Traces, parts);
    let reservation = live.budget().reserve(batch.bytes);
    live.insert(batch, reservation);
}

#[test]
fn i2_removing_what_is_not_the_front_is_counted_and_removes_nothing() {
    let (live, metrics) = set();
    insert(&live, 1);
    let seal = live.seal(Signal::Traces).expect("a batch");
    live.remove(seal.clone());
    insert(&live, 2);
    assert_eq!(metrics.violations(Invariant::I2NothingLost), 0);
    live.remove(seal);
    assert_eq!(metrics.violations(Invariant::I2NothingLost), 1);
    assert_eq!(live.figures().batches, 1);
}

#[test]
fn i3_a_second_batch_of_the_same_name_is_counted_and_not_taken_in() {
    let (live, metrics) = set();
    insert(&live, 1);
    insert(&live, 1);
    assert_eq!(metrics.violations(Invariant::I3Once), 1);
    assert_eq!(live.figures().rows, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_capture_that_lacks_an_acknowledged_batch_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let (live, metrics) = set();
    let catalog = Catalog::open(dir.path(), Arc::new(SystemClock), Arc::new(Metrics::new()));
    let tables = Tables::of(&catalog.await.expect("a catalog"));
    let source = Source::new(Table::Spans, Arc::clone(&live), tables.clone());
    let capture = |consistency| source.capture(&consistency).expect("a capture").live.len();
    assert_eq!(capture(Consistency::Strong), 0);
    insert(&live, 1);
    insert(&live, 2);
    assert_eq!(capture(Consistency::Strong), 2);
    // Flushed: the files cover what is live no more.
    let position = |sequence| Position {
        stream: STREAM,
        sequence,
    };
    let handle = tables.handle(Table::Spans);
    handle
        .commit(
            Vec::new(),
            handle.snapshot().marks(&[position(2)], |_| FIRST_EPOCH),
        )
        .await
        .expect("a commit");
    live.remove(live.seal(Signal::Traces).expect("two batches"));
    assert_eq!(capture(Consistency::Strong), 0);
    assert_eq!(metrics.violations(Invariant::I7StrongRead), 0);
    // Let go of without a commit.
    insert(&live, 3);
    live.remove(live.seal(Signal::Traces).expect("a batch"));
    assert_eq!(capture(Consistency::Eventual), 0);
    assert_eq!(metrics.violations(Invariant::I7StrongRead), 0);
    assert_eq!(capture(Consistency::Strong), 0);
    assert_eq!(metrics.violations(Invariant::I7StrongRead), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_record_are_captured_as_the_tenants_that_they_are_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let (live, _) = set();
    let catalog = Catalog::open(dir.path(), Arc::new(SystemClock), Arc::new(Metrics::new()));
    let tables = Tables::of(&catalog.await.expect("a catalog"));
    let source = Source::new(Table::Spans, Arc::clone(&live), tables);
    let part = |tenant: &str, count: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
        TableRows {
            table: Table::Spans,
            tenant: tenant.into(),
            rows: RecordBatch::try_from_iter([("n", numbers)]).expect("one column"),
        }
    };
    let position = Position {
        stream: STREAM,
        sequence: 1,
    };
    let parts = vec![part("a", 3), part("archive", 4)];
    let batch = LiveBatch::new(position, Signal::Traces, parts);
    assert_eq!(batch.rows, 7);
    let reservation = live.budget().reserve(batch.bytes);
    live.insert(batch, reservation);
    let capture = source.capture(&Consistency::Strong).expect("a capture");
    let captured = capture.live.iter();
    let captured: Vec<(&str, usize)> = captured
        .map(|rows| (&*rows.tenant, rows.batch.num_rows()))
        .collect();
    assert_eq!(captured, [("a", 3), ("archive", 4)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_whatever_changes_the_rows_of_a_table_changes_its_moment() {
    let dir = tempfile::tempdir().expect("a folder");
    let (live, _) = set();
    let catalog = Catalog::open(dir.path(), Arc::new(SystemClock), Arc::new(Metrics::new()));
    let tables = Tables::of(&catalog.await.expect("a catalog"));
    let source = Source::new(Table::Spans, Arc::clone(&live), tables.clone());
    let strong = || source.moment(&Consistency::Strong).expect("a moment");
    let eventual = || source.moment(&Consistency::Eventual).expect("a moment");
    let (empty, no_files) = (strong(), eventual());
    assert_eq!(strong(), empty);
    insert(&live, 1);
    let one = strong();
    assert_ne!(one, empty);
    // Files alone are what they were.
    assert_eq!(eventual(), no_files);
    insert(&live, 2);
    let two = strong();
    assert_ne!(two, one);
    let position = |sequence| Position {
        stream: STREAM,
        sequence,
    };
    let session = |sequence| Consistency::Session(position(sequence).into());
    assert_eq!(source.moment(&session(2)).expect("reached"), two);
    let refused = source.moment(&session(3)).expect_err("not reached");
    assert_eq!(refused.code, Code::QuerySession);
    let handle = tables.handle(Table::Spans);
    handle
        .commit(
            Vec::new(),
            handle.snapshot().marks(&[position(2)], |_| FIRST_EPOCH),
        )
        .await
        .expect("a commit");
    let flushed = strong();
    assert_ne!(flushed, two);
    assert_ne!(eventual(), no_files);
    // The rows are the same, wherever they are read from.
    live.remove(live.seal(Signal::Traces).expect("two batches"));
    assert_eq!(strong(), flushed);
}

#[test]
fn i8_files_of_other_rows_than_the_seal_has_are_counted_and_refused() {
    let metrics = Metrics::new();
    assert!(holds_rows(&[], 0, &metrics).is_ok());
    let error = holds_rows(&[], 5, &metrics).expect_err("five rows are missing");
    assert_eq!(error.code, Code::Internal);
    assert_eq!(metrics.violations(Invariant::I8Open), 1);
}
