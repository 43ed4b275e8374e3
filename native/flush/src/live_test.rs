use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringViewArray};
use otlake_base::{
    Clock, Metrics, Position, Signal, StreamId, SystemClock, Table, TableRows, priority,
};
use parking_lot::Mutex;

use crate::tail::Tailed;
use crate::{Budget, Due, LiveBatch, LiveSet, Reason, SealLimits, memory_bytes};

const STREAM: StreamId = StreamId(42);

fn set(bytes: usize, rows: usize) -> Arc<LiveSet> {
    let limits = SealLimits {
        bytes,
        rows,
        age: Duration::from_secs(3600),
        partitions: 8,
        ..SealLimits::default()
    };
    let budget = Budget::new(1 << 30);
    LiveSet::new(
        STREAM,
        limits,
        budget,
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
}

fn rows(count: usize) -> RecordBatch {
    let numbers = Int64Array::from_iter_values(0..count as i64);
    RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).expect("one column")
}

/// A part of a batch.
fn part(table: Table, tenant: &str, rows: RecordBatch) -> TableRows {
    TableRows {
        table,
        tenant: tenant.into(),
        rows,
    }
}

fn insert(live: &LiveSet, signal: Signal, sequence: u64, tables: &[Table]) {
    let tables = tables.iter().map(|table| part(*table, "a", rows(10)));
    let parts = tables.collect();
    let position = Position {
        stream: STREAM,
        sequence,
    };
    let batch = LiveBatch::new(position, signal, parts);
    let reservation = live.budget().reserve(batch.bytes);
    live.insert(batch, reservation);
}

fn sequences(live: &LiveSet, table: Table) -> Vec<u64> {
    live.capture(table)
        .iter()
        .map(|batch| batch.position.sequence)
        .collect()
}

#[test]
fn sealed_batches_stay_visible_until_they_are_removed() {
    let live = set(1 << 20, 1_000);
    insert(&live, Signal::Traces, 1, &[Table::Spans]);
    insert(&live, Signal::Logs, 2, &[Table::Logs]);
    insert(&live, Signal::Traces, 3, &[Table::Spans]);
    let seal = live.seal(Signal::Traces).expect("two batches");
    insert(&live, Signal::Traces, 4, &[Table::Spans]);
    assert!(live.seal(Signal::Traces).is_none(), "one seal at a time");
    assert_eq!(sequences(&live, Table::Spans), [1, 3, 4]);
    assert_eq!(
        seal.upto,
        [Position {
            stream: STREAM,
            sequence: 3
        }]
    );
    live.remove(seal);
    assert_eq!(sequences(&live, Table::Spans), [4]);
    assert_eq!(sequences(&live, Table::Logs), [2]);
    assert_eq!(live.figures().rows, 20);
    assert_eq!(live.budget().used(), live.figures().bytes);
    assert_eq!(live.last(STREAM), Some(4));
    assert_eq!(live.last(StreamId(1)), None);
}

#[test]
fn the_budget_is_held_until_removal_and_not_by_those_who_still_read() {
    let live = set(1 << 20, 1_000);
    insert(
        &live,
        Signal::Metrics,
        1,
        &[Table::MetricsGauge, Table::MetricsSum],
    );
    let reader = live.capture(Table::MetricsSum);
    let seal = live.seal(Signal::Metrics).expect("one batch");
    assert!(live.budget().used() > 0);
    live.remove(seal);
    assert_eq!(live.budget().used(), 0);
    assert_eq!(reader.len(), 1);
}

#[test]
fn one_seal_takes_no_more_than_its_limit_and_the_batch_that_reaches_it() {
    let live = set(1 << 20, 25);
    for sequence in 1..=7 {
        insert(&live, Signal::Traces, sequence, &[Table::Spans]);
    }
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Rows));
    let seal = live.seal(Signal::Traces).expect("three batches");
    assert_eq!((seal.batches.len(), seal.rows), (3, 30));
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Rows));
    live.remove(seal);
    live.remove(live.seal(Signal::Traces).expect("three more"));
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
    assert_eq!(live.due(Signal::Logs), Due::Idle);
}

fn of_days(days: &[i32]) -> RecordBatch {
    let days = Arc::new(Date32Array::from(days.to_vec())) as ArrayRef;
    RecordBatch::try_from_iter([("day", days)]).expect("one column")
}

fn insert_days(live: &LiveSet, sequence: u64, tenant: &str, days: &[i32]) {
    insert_parts(
        live,
        sequence,
        vec![part(Table::Spans, tenant, of_days(days))],
    );
}

fn insert_parts(live: &LiveSet, sequence: u64, parts: Vec<TableRows>) {
    let position = Position {
        stream: STREAM,
        sequence,
    };
    let batch = LiveBatch::new(position, Signal::Traces, parts);
    let reservation = live.budget().reserve(batch.bytes);
    live.insert(batch, reservation);
}

#[test]
fn i5_one_seal_makes_no_more_files_than_its_limit_and_one_request_more() {
    let live = set(1 << 20, 1_000);
    // Whatever is of the same tenant and day is in one file.
    for sequence in 1..=20 {
        insert_days(&live, sequence, "a", &[1, 2, 1, 2]);
    }
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
    insert_days(&live, 21, "b", &[1, 2]);
    insert_days(&live, 22, "b", &[3, 4, 5]);
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
    insert_days(&live, 23, "c", &[1, 2, 3]);
    insert_days(&live, 24, "d", &[1, 2]);
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Partitions));
    let seal = live.seal(Signal::Traces).expect("a seal");
    assert_eq!(seal.batches.len(), 23);
    // What is not in the seal counts for the next one alone.
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
    live.remove(seal);
    for (sequence, tenant) in (25..).zip(["e", "f", "g", "h", "i", "j"]) {
        insert_days(&live, sequence, tenant, &[7]);
    }
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Partitions));
    let seal = live.seal(Signal::Traces).expect("another");
    assert_eq!(seal.batches.len(), 7);
}

#[test]
fn i5_rows_of_one_request_count_for_each_tenant_that_they_go_to() {
    let live = set(1 << 20, 1_000);
    let of = |tenants: &[&str]| -> Vec<TableRows> {
        let parts = tenants.iter();
        parts
            .map(|tenant| part(Table::Spans, tenant, of_days(&[1, 2])))
            .collect()
    };
    insert_parts(&live, 1, of(&["a", "b", "c"]));
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
    insert_parts(&live, 2, of(&["b", "d"]));
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Partitions));
    let seal = live.seal(Signal::Traces).expect("a seal");
    assert_eq!((seal.batches.len(), seal.rows), (2, 10));
    assert_eq!(seal.rows_of(Table::Spans, &HashMap::new()).len(), 5);
    live.remove(seal);
    insert_parts(&live, 3, of(&["a"]));
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
}

#[test]
fn followers_get_each_batch_once_and_learn_what_they_missed() {
    let live = set(1 << 30, 1 << 30);
    insert(&live, Signal::Traces, 1, &[Table::Spans]);
    let mut tail = live.subscribe();
    assert!(tail.try_recv().is_none());
    insert(&live, Signal::Traces, 2, &[Table::Spans]);
    let Some(Tailed::Batch(batch)) = tail.try_recv() else {
        panic!("there is a batch");
    };
    assert_eq!(batch.position.sequence, 2);
    for sequence in 3..=1_000 {
        insert(&live, Signal::Traces, sequence, &[Table::Spans]);
    }
    assert!(matches!(tail.try_recv(), Some(Tailed::Skipped(742))));
    for _ in 0..256 {
        assert!(matches!(tail.try_recv(), Some(Tailed::Batch(_))));
    }
    assert!(tail.try_recv().is_none());
}

#[test]
fn i5_what_followers_have_not_read_is_bounded_in_bytes() {
    let live = set(1 << 30, 1 << 30);
    let (slow, mut quick) = (live.subscribe(), live.subscribe());
    let held = || live.metrics.tail_bytes.get() as usize;
    for sequence in 1..=20 {
        let parts = vec![part(Table::Spans, "a", rows(1 << 20))];
        let position = Position {
            stream: STREAM,
            sequence,
        };
        let batch = LiveBatch::new(position, Signal::Traces, parts);
        let reservation = live.budget().reserve(batch.bytes);
        live.insert(batch, reservation);
        assert!(matches!(quick.try_recv(), Some(Tailed::Batch(_))));
        assert!(held() <= otlake_base::limits::TAIL_BYTES, "{}", held());
    }
    assert!(held() > 0, "the slow one has still to read some");
    drop(slow);
    assert_eq!(held(), 0);
}

#[test]
fn text_that_columns_share_counts_once() {
    let long = "a text that does not fit into a view's twelve bytes ".repeat(1_000);
    let text = StringViewArray::from_iter_values(vec![long.as_str(); 4]);
    let shared: ArrayRef = Arc::new(text);
    let row = RecordBatch::try_from_iter([("a", Arc::clone(&shared))]).expect("one column");
    let one = row.clone();
    let both =
        RecordBatch::try_from_iter([("a", Arc::clone(&shared)), ("b", shared)]).expect("two");
    let (one, both) = (
        memory_bytes(&[part(Table::Logs, "a", one)]),
        memory_bytes(&[part(Table::Logs, "a", both)]),
    );
    assert!(one > long.len() && both < one + 1_000, "{one} and {both}");
    // So it does where rows of one request go to several tenants.
    let parts = ["a", "b"].map(|tenant| part(Table::Logs, tenant, row.clone()));
    assert!(memory_bytes(&parts) < one + 1_000);
}

#[tokio::test]
async fn i9_a_stream_that_is_taken_over_again_comes_anew_and_holds_nothing_meanwhile() {
    let live = set(1 << 20, 1_000);
    let other = StreamId(7);
    let insert_other = |sequence| {
        let stream = other;
        let position = Position { stream, sequence };
        let parts = vec![part(Table::Spans, "a", rows(10))];
        let batch = LiveBatch::new(position, Signal::Traces, parts);
        let reservation = live.budget().reserve(batch.bytes);
        live.insert(batch, reservation);
    };
    live.take_over(other, 2).await.expect("nothing is sealed");
    insert_other(5);
    insert(&live, Signal::Traces, 1, &[Table::Spans]);
    insert_other(8);
    live.hold_whole(other);
    assert_eq!(live.whole().len(), 2);
    live.take_over(other, 3).await.expect("nothing is sealed");
    assert_eq!(live.whole().len(), 1);
    assert_eq!(live.last_of(other, Signal::Traces), 0);
    assert_eq!(live.figures().rows, 10);
    assert_eq!(live.budget().used(), live.figures().bytes);
    let has_rows = |live: &LiveSet| -> Vec<u64> {
        let batches = live.capture(Table::Spans);
        let full = batches.iter().filter(|batch| batch.rows > 0);
        full.map(|batch| batch.position.sequence).collect()
    };
    assert_eq!(has_rows(&live), [1]);
    // The same record again, at the new epoch.
    insert_other(5);
    let seal = live.seal(Signal::Traces).expect("what is there");
    assert_eq!((seal.epoch(other), seal.epoch(STREAM)), (3, 1));
    let written: Vec<u64> = seal.written().iter().map(|upto| upto.sequence).collect();
    assert_eq!(written, [5, 1]);
    // What is on its way into files is waited for: it is there by then, or refused.
    let again = live.take_over(other, 4);
    let remove = async {
        tokio::task::yield_now().await;
        live.remove(seal.clone());
    };
    let (again, ()) = tokio::join!(again, remove);
    again.expect("it ended");
    assert_eq!((live.figures().batches, live.budget().used()), (0, 0));
}

#[test]
fn records_of_earlier_starts_follow_until_the_last_of_them_is_sealed() {
    let live = set(1 << 20, 10);
    assert!(!live.has_earlier(Signal::Traces));
    live.replaying(true);
    assert!(live.has_earlier(Signal::Traces));
    for (stream, sequence) in [(StreamId(7), 1), (StreamId(7), 2), (STREAM, 1)] {
        let position = Position { stream, sequence };
        let parts = vec![part(Table::Spans, "a", rows(10))];
        let batch = LiveBatch::new(position, Signal::Traces, parts);
        let reservation = live.budget().reserve(batch.bytes);
        live.insert(batch, reservation);
    }
    live.replaying(false);
    for follows in [true, false, false] {
        let seal = live.seal(Signal::Traces).expect("a batch");
        assert_eq!(live.has_earlier(Signal::Traces), follows);
        live.remove(seal);
    }
    assert!(!live.has_earlier(Signal::Metrics));
}

struct SetClock(Mutex<Duration>);

impl Clock for SetClock {
    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }

    fn unix_nano(&self) -> u64 {
        0
    }
}

/// Spans wait for 10 s, and then for an interval's worth of 5 s, or 30 rows; three batches take half
/// of the memory.
fn waiting_set() -> (Arc<LiveSet>, Arc<SetClock>) {
    let clock = Arc::new(SetClock(Mutex::new(Duration::from_secs(100))));
    let limits = SealLimits {
        bytes: 1 << 20,
        rows: 30,
        age: Duration::from_secs(5),
        partitions: 8,
        trace_wait: Duration::from_secs(10),
    };
    let one = memory_bytes(&[part(Table::Spans, "a", rows(10))]);
    let live = LiveSet::new(
        STREAM,
        limits,
        Budget::new(16 * one),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(Metrics::new()),
    );
    (live, clock)
}

fn pass(clock: &SetClock, seconds: u64) {
    *clock.0.lock() += Duration::from_secs(seconds);
}

#[test]
fn spans_are_sealed_once_they_have_waited_and_no_others_with_them() {
    let (live, clock) = waiting_set();
    insert(&live, Signal::Traces, 1, &[Table::Spans]);
    insert(&live, Signal::Logs, 2, &[Table::Logs]);
    assert_eq!(
        live.due(Signal::Traces),
        Due::In(Duration::from_secs(15)),
        "the wait, then the interval"
    );
    assert_eq!(live.due(Signal::Logs), Due::In(Duration::from_secs(5)));
    assert!(live.seal(Signal::Traces).is_none(), "nothing has waited");
    pass(&clock, 4);
    insert(&live, Signal::Traces, 3, &[Table::Spans]);
    pass(&clock, 7);
    insert(&live, Signal::Traces, 4, &[Table::Spans]);
    assert_eq!(live.due(Signal::Traces), Due::In(Duration::from_secs(4)));
    pass(&clock, 4);
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Age));
    let seal = live.seal(Signal::Traces).expect("two have waited");
    let sequences: Vec<u64> = seal.batches.iter().map(|of| of.position.sequence).collect();
    assert_eq!((sequences, seal.hurried), (vec![1, 3], None));
    let waited: Vec<u64> = seal
        .arrived
        .iter()
        .map(|arrived| (seal.at - *arrived).as_secs())
        .collect();
    assert_eq!(waited, [15, 11]);
    live.remove(seal);
    assert_eq!(live.due(Signal::Traces), Due::In(Duration::from_secs(11)));
}

#[test]
fn rows_that_have_waited_make_a_seal_and_those_that_have_not_do_not_count() {
    let (live, clock) = waiting_set();
    for sequence in 1..=3 {
        insert(&live, Signal::Traces, sequence, &[Table::Spans]);
        pass(&clock, 1);
    }
    assert!(matches!(live.due(Signal::Traces), Due::In(_)));
    pass(&clock, 8);
    assert!(matches!(live.due(Signal::Traces), Due::In(_)), "20 rows");
    pass(&clock, 1);
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Rows));
    let seal = live.seal(Signal::Traces).expect("all of them");
    assert_eq!(seal.batches.len(), 3);
}

#[test]
fn i5_memory_and_those_who_ask_are_not_kept_waiting() {
    let (live, _) = waiting_set();
    for sequence in 1..=8 {
        insert(&live, Signal::Traces, sequence, &[Table::Spans]);
    }
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Pressure));
    let seal = live.seal(Signal::Traces).expect("the oldest");
    assert_eq!(
        (seal.batches.len(), seal.hurried),
        (3, Some(Reason::Pressure))
    );
    live.remove(seal);
    let mut asked = std::pin::pin!(live.flushed());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(asked.as_mut().poll(&mut context).is_pending());
    insert(&live, Signal::Traces, 9, &[Table::Spans]);
    assert_eq!(live.due(Signal::Traces), Due::Now(Reason::Requested));
    for (batches, first) in [(3, 4), (2, 7)] {
        let seal = live.seal(Signal::Traces).expect("what was asked for");
        assert_eq!(seal.hurried, Some(Reason::Requested));
        assert_eq!(seal.batches[0].position.sequence, first);
        assert_eq!(seal.batches.len(), batches);
        live.remove(seal);
    }
    assert!(matches!(live.due(Signal::Traces), Due::In(_)), "the ninth");
}

#[test]
fn i5_what_waits_is_written_as_fast_as_rows_come_once_memory_is_short() {
    let (live, _) = waiting_set();
    let parts = live.parts();
    // Half of the budget is eight batches.
    for (sequences, nice) in [
        (1..=7, priority::FLUSHES),
        (8..=8, priority::FLUSHES_BEHIND),
    ] {
        for sequence in sequences {
            insert(&live, Signal::Traces, sequence, &[Table::Spans]);
        }
        assert_eq!(live.nice(), nice);
        let here = thread::current().id();
        let by = parts.run(|| thread::current().id());
        assert_eq!(by == here, nice == priority::FLUSHES_BEHIND);
    }
}
