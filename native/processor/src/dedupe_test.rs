use std::fs;
use std::path::Path;

use futures::FutureExt;
use otlake_base::disk::real;
use otlake_base::{Code, Metrics, Position, ShardSet, Signal, StreamId, Table};

use crate::dedupe::{
    Claim, Content, ContentHash, Dedupe, RESERVED_NANOS, Recovered, SETTLING_NANOS, Stage,
    WindowLimits, decode,
};
use crate::testing::{
    config, copy_as_crashed, each_once, ingest, ledger, logs, mixed_spans, numbers, open, points,
    spans,
};
use crate::{Processor, ProcessorConfig, SliceOutcome};

const LIMITS: WindowLimits = WindowLimits {
    nanos: 1_000,
    requests: 3,
};

fn window(folder: &Path, metrics: &Metrics) -> Dedupe {
    Dedupe::open(real(), folder, LIMITS, metrics).expect("a window")
}

fn hash(number: u8) -> Content {
    Content::whole(ContentHash::of("default", &[number]))
}

fn store(dedupe: &Dedupe, number: u8, now: u64) {
    match dedupe.claim(Signal::Traces, hash(number), now) {
        Claim::First(ticket) => ticket.stored(now),
        _ => panic!("{number} is known"),
    }
}

fn is_known(dedupe: &Dedupe, number: u8, now: u64) -> bool {
    matches!(
        dedupe.claim(Signal::Traces, hash(number), now),
        Claim::Stored
    )
}

fn deduplicated(node: &Processor, signal: Signal) -> u64 {
    let labels = otlake_base::metrics::by_signal(signal);
    let counter = &node.metrics.records_deduplicated;
    counter.get_or_create(&labels).get()
}

async fn send_all(node: &Processor) {
    for (signal, body) in [
        (Signal::Traces, spans(0, 10)),
        (Signal::Logs, logs(0, 10)),
        (Signal::Metrics, points(0, 10)),
    ] {
        ingest(node, signal, body).await.expect("an ack");
    }
}

fn assert_each_once(node: &Processor) {
    for table in Table::ALL {
        assert_eq!(numbers(node, table), each_once(10), "{}", table.name());
    }
}

#[test]
fn a_window_forgets_by_age_and_by_number() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    store(&dedupe, 1, 0);
    assert!(is_known(&dedupe, 1, 1_000));
    assert!(!is_known(&dedupe, 1, 1_001), "too old");
    for number in 2..6 {
        store(&dedupe, number, 2_000);
    }
    assert!(!is_known(&dedupe, 2, 2_000), "one too many");
    assert!((3..6).all(|number| is_known(&dedupe, number, 2_000)));
}

/// Shards of one request.
fn part(number: u8, shards: impl IntoIterator<Item = usize>) -> Content {
    Content {
        shards: shards.into_iter().collect(),
        ..hash(number)
    }
}

#[test]
fn a_request_split_otherwise_is_told_by_its_shards() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    let claim = |content| dedupe.claim(Signal::Traces, content, 0);
    let Claim::First(ticket) = claim(part(1, 0..10)) else {
        panic!("it is the first");
    };
    // Whatever of it comes meanwhile waits.
    assert!(matches!(claim(part(1, 20..30)), Claim::InFlight(_)));
    ticket.stored(0);
    assert!(matches!(claim(part(1, 3..5)), Claim::Stored));
    let Claim::Partly(known) = claim(part(1, 5..15)) else {
        panic!("half of it is stored");
    };
    assert_eq!(known, (5..10).collect());
    // Others of its shards are new, and a failure forgets nothing that was stored.
    drop(claim(part(1, 10..20)));
    assert!(matches!(claim(part(1, 0..10)), Claim::Stored));
    let Claim::First(ticket) = claim(part(1, 10..20)) else {
        panic!("it was not stored");
    };
    ticket.stored(1);
    assert!(matches!(claim(part(1, 0..20)), Claim::Stored));
    // All of it survives a restart, once.
    dedupe.persist(Signal::Traces).expect("a file");
    let written = fs::read(root.path().join("traces.window")).expect("the file");
    assert_eq!(decode(&written), Ok(vec![(part(1, 0..20), 0)]));
    store(&dedupe, 2, 0);
    dedupe.persist(Signal::Traces).expect("a file");
    let again = window(root.path(), &Metrics::new());
    let claim = |content| again.claim(Signal::Traces, content, 0);
    assert!(matches!(claim(part(1, 7..20)), Claim::Stored));
    assert!(matches!(claim(part(1, 7..21)), Claim::Partly(_)));
    assert!(matches!(claim(hash(2)), Claim::Stored));
    // A whole request and its parts are one request.
    assert!(matches!(claim(part(2, 7..21)), Claim::Stored));
}

#[test]
fn a_dropped_ticket_leaves_the_place_to_the_next() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    let first = dedupe.claim(Signal::Traces, hash(1), 0);
    let Claim::InFlight(mut ended) = dedupe.claim(Signal::Traces, hash(1), 0) else {
        panic!("the first is in flight");
    };
    assert!(ended.has_changed().is_ok());
    // Another signal's request of the same bytes is another request.
    assert!(matches!(
        dedupe.claim(Signal::Logs, hash(1), 0),
        Claim::First(_)
    ));
    drop(first);
    assert!(ended.has_changed().is_err(), "those who wait are told");
    ended.mark_unchanged();
    store(&dedupe, 1, 0);
}

#[test]
fn i3_what_is_readable_and_not_acknowledged_is_waited_for_and_known_to_the_next_start() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    let claim = |number| match dedupe.claim(Signal::Traces, hash(number), 0) {
        Claim::First(ticket) => ticket,
        _ => panic!("{number} is known"),
    };
    let restarted = || {
        dedupe.persist(Signal::Traces).expect("a file");
        window(root.path(), &Metrics::new())
    };
    let (first, second) = (claim(1), claim(2));
    first.readable(5);
    // It may come into files at any time, after which the log forgets it.
    let again = restarted();
    assert!(is_known(&again, 1, 5) && !is_known(&again, 2, 5));
    assert!(matches!(
        dedupe.claim(Signal::Traces, hash(1), 0),
        Claim::InFlight(_)
    ));
    second.readable(6);
    drop(second);
    assert!(!is_known(&restarted(), 2, 6), "it was refused after all");
    first.stored(5);
    assert!(is_known(&dedupe, 1, 5));
    restarted();
    let written = fs::read(root.path().join("traces.window")).expect("the file");
    assert_eq!(decode(&written), Ok(vec![(hash(1), 5)]), "once");
}

#[test]
fn a_window_survives_and_a_damaged_one_begins_empty() {
    let root = tempfile::tempdir().expect("a folder");
    let dedupe = window(root.path(), &Metrics::new());
    store(&dedupe, 1, 5);
    dedupe.persist(Signal::Traces).expect("a file");
    let path = root.path().join("traces.window");
    let whole = fs::read(&path).expect("the file");
    assert_eq!(decode(&whole), Ok(vec![(hash(1), 5)]));
    let again = window(root.path(), &Metrics::new());
    assert!(is_known(&again, 1, 5));
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).expect("a torn file");
    let metrics = Metrics::new();
    let torn = window(root.path(), &metrics);
    assert!(!is_known(&torn, 1, 5));
    // It is counted (I6); the windows that are not there are no damage.
    let found = metrics.corruption.get_or_create(&vec![("kind", "window")]);
    assert_eq!(found.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_an_identical_request_is_stored_once_and_acknowledged_again() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for _ in 0..3 {
        send_all(&node).await;
    }
    assert_each_once(&node);
    assert_eq!(ledger(&node, Signal::Traces), (30, 30, 0));
    assert_eq!(deduplicated(&node, Signal::Traces), 20);
    // What was refused of it is told each time.
    for _ in 0..2 {
        let ack = ingest(&node, Signal::Traces, mixed_spans(10, 1, 2))
            .await
            .expect("an ack");
        assert_eq!((ack.accepted, ack.rejections.count), (1, 2));
        assert_eq!(ack.position, Some(node.session()));
    }
    // The same bytes of another tenant are other records.
    node.ingest(Signal::Traces, "other".into(), "library", spans(0, 10))
        .await
        .expect("an ack");
    assert_eq!(deduplicated(&node, Signal::Traces), 21);
    assert_eq!(node.stats().live_rows, 7 * 10 + 1 + 10);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_identical_requests_at_once_are_stored_once() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    for round in 0..50 {
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let node = std::sync::Arc::clone(&node);
                let body = spans(round * 2, 2);
                tokio::spawn(async move { ingest(&node, Signal::Traces, body).await })
            })
            .collect();
        for sender in senders {
            let ack = sender.await.expect("a task").expect("an ack");
            assert_eq!(ack.accepted, 2);
        }
    }
    assert_eq!(numbers(&node, Table::Spans), each_once(100));
    assert_eq!(ledger(&node, Signal::Traces), (800, 800, 0));
    node.close().await.expect("a close");
}

/// Sends, crashes as `before` says, and sends the same again to what the crash left.
async fn resend_after_a_crash(flush: bool) {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    send_all(&node).await;
    if flush {
        node.flush().await.expect("a flush");
    }
    copy_as_crashed(&folder, &crashed);
    copy_folder(&folder.join("dedupe"), &crashed.join("dedupe"));
    drop(node);
    let node = open(config(&crashed), None).await;
    send_all(&node).await;
    assert_each_once(&node);
    assert_eq!(deduplicated(&node, Signal::Logs), 10);
    node.close().await.expect("a close");
    let node = open(config(&crashed), None).await;
    send_all(&node).await;
    assert_each_once(&node);
    node.close().await.expect("a close");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_resend_after_a_crash_is_told_by_the_log() {
    resend_after_a_crash(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_resend_after_a_crash_is_told_when_the_log_is_gone() {
    resend_after_a_crash(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_keeps_its_records_until_the_window_is_durable() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    // A folder in the place of the file: it cannot be replaced.
    let place = root.path().join("dedupe/traces.window/in-the-way");
    fs::create_dir_all(&place).expect("a folder");
    ingest(&node, Signal::Traces, spans(0, 10))
        .await
        .expect("an ack");
    let segments = node.stats().log_segments;
    node.flush()
        .await
        .expect_err("the window cannot be written");
    assert_eq!(node.stats().log_segments, segments);
    fs::remove_dir_all(root.path().join("dedupe/traces.window")).expect("out of the way");
    node.close().await.expect("it recovers by itself");
    assert_eq!(numbers(&node, Table::Spans), each_once(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_no_length_stores_each_request() {
    let root = tempfile::tempdir().expect("a folder");
    let config = ProcessorConfig {
        dedupe_window_ms: 0,
        ..config(root.path())
    };
    let node = open(config, None).await;
    for _ in 0..2 {
        ingest(&node, Signal::Traces, spans(0, 3))
            .await
            .expect("an ack");
    }
    assert_eq!(node.stats().live_rows, 6);
    node.close().await.expect("a close");
}

/// A part of a request, as a gateway sends it.
fn sliced(body: &bytes::Bytes, shards: impl IntoIterator<Item = usize>) -> bytes::Bytes {
    let slice = otlake_decode::slice::Slice {
        request: otlake_decode::slice::request_hash("default", body),
        shards: shards.into_iter().collect(),
    };
    otlake_decode::slice::marked(body, &slice)
}

async fn send_slice(node: &Processor, slice: bytes::Bytes) -> SliceOutcome {
    let outcome = node.ingest_slice(Signal::Traces, "default".into(), "peer", None, slice);
    outcome.await.expect("an outcome")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_part_of_a_request_is_stored_once_over_restarts() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = (root.path().join("node"), root.path().join("crashed"));
    let node = open(config(&folder), None).await;
    let body = spans(0, 10);
    for _ in 0..2 {
        let outcome = send_slice(&node, sliced(&body, 0..10)).await;
        let SliceOutcome::Stored(ack) = outcome else {
            panic!("it is stored");
        };
        assert_eq!((ack.accepted, ack.position), (10, Some(node.session())));
    }
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let node = open(config(&crashed), None).await;
    assert_each_row_once(&node);
    let outcome = send_slice(&node, sliced(&body, 5..15)).await;
    assert!(matches!(outcome, SliceOutcome::Partly(known) if known == (5..10).collect()));
    // The whole of it is what a client sends that knows of no shards; it is not the same bytes.
    let forged = sliced(&spans(20, 5), [1]);
    ingest(&node, Signal::Traces, forged.clone())
        .await
        .expect("an ack");
    ingest(&node, Signal::Traces, forged).await.expect("an ack");
    assert_eq!(deduplicated(&node, Signal::Traces), 5);
    let outcome = node.ingest_slice(Signal::Traces, "default".into(), "peer", None, body);
    let code = outcome.await.expect_err("no mark").code;
    assert_eq!(code, otlake_base::Code::OtlpMalformed);
    node.close().await.expect("a close");
}

fn assert_each_row_once(node: &Processor) {
    assert_eq!(numbers(node, Table::Spans), each_once(10));
}

/// The stream of what is stored here.
const OWN: StreamId = StreamId(99);

fn long_window(folder: &Path) -> Dedupe {
    let limits = WindowLimits {
        nanos: 10 * RESERVED_NANOS,
        requests: 10,
    };
    Dedupe::open(real(), folder, limits, &Metrics::new()).expect("a window")
}

#[test]
fn i2_what_is_appended_anew_is_told_as_stored_only_once_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    let position = Position {
        stream: StreamId(7),
        sequence: 3,
    };
    let tell = |stage, now| {
        let told = dedupe.recovered(Signal::Traces, part(1, 0..10), (position, stage), OWN, now);
        matches!(told, Recovered::Known(known) if known.is_empty())
    };
    assert!(tell(Stage::Reserved, 0));
    let claim = |content, now| dedupe.claim(Signal::Traces, content, now);
    assert!(matches!(claim(part(1, 0..10), 1), Claim::Reserved));
    assert!(matches!(claim(part(1, 9..20), 1), Claim::Reserved));
    assert!(matches!(claim(part(1, 10..20), 1), Claim::First(_)));
    assert!(matches!(claim(part(2, 0..10), 1), Claim::First(_)));

    // Who tries again holds it for longer.
    assert!(tell(Stage::Reserved, RESERVED_NANOS - 1));
    let later = RESERVED_NANOS + 1;
    assert!(matches!(claim(part(1, 0..10), later), Claim::Reserved));
    assert!(tell(Stage::Stored, later));
    assert!(tell(Stage::Reserved, later));
    assert!(matches!(claim(part(1, 0..10), later), Claim::Stored));
}

#[test]
fn what_nobody_appends_anew_any_more_is_taken_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    let at = Position {
        stream: StreamId(7),
        sequence: 3,
    };
    dedupe.recovered(
        Signal::Traces,
        part(1, 0..10),
        (at, Stage::Reserved),
        OWN,
        0,
    );
    let again = dedupe.claim(Signal::Traces, part(1, 0..10), RESERVED_NANOS);
    assert!(matches!(again, Claim::First(_)));
}

#[test]
fn i2_what_is_recovered_is_told_as_stored_only_once_its_stream_is_sealed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    let stream = StreamId(7);
    let at = |sequence| Position { stream, sequence };
    for (number, sequence) in [(1, 1), (2, 2)] {
        let record = (at(sequence), Stage::Recovering);
        dedupe.recovered(Signal::Traces, part(number, 0..10), record, OWN, 0);
    }
    let claim = |number| {
        let later = 2 * RESERVED_NANOS;
        dedupe.claim(Signal::Traces, part(number, 0..10), later)
    };
    assert!(matches!(claim(1), Claim::Reserved));
    assert_eq!(dedupe.recovering(), [stream].into());
    dedupe.settle(StreamId(8), |_, _| true);
    assert!(matches!(claim(2), Claim::Reserved));
    dedupe.settle(stream, |_, position| position.sequence == 1);
    assert!(matches!(claim(1), Claim::Stored));
    assert!(matches!(claim(2), Claim::First(_)));
    assert!(dedupe.recovering().is_empty());
}

fn record(stream: u128, sequence: u64) -> Position {
    let stream = StreamId(stream);
    Position { stream, sequence }
}

#[test]
fn i1_i2_what_an_earlier_start_left_is_told_as_stored_only_once_it_is_known_to_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    for (number, sequence) in [(1, 1), (2, 2)] {
        dedupe.unsettled(Signal::Traces, part(number, 0..10), 0, record(7, sequence));
    }
    let claim = |content| dedupe.claim(Signal::Traces, content, 1);
    assert!(matches!(claim(part(1, 5..15)), Claim::Reserved));
    assert!(matches!(claim(part(1, 10..15)), Claim::First(_)));
    assert_eq!(dedupe.recovering(), [StreamId(7)].into());
    dedupe.settle(StreamId(7), |_, position| position.sequence == 1);
    assert!(dedupe.recovering().is_empty());
    assert!(matches!(claim(part(1, 0..10)), Claim::Stored));
    assert!(matches!(claim(part(2, 0..10)), Claim::First(_)));

    // What was kept outlives the log that told it. What the log still tells is in doubt all the same.
    dedupe.persist(Signal::Traces).expect("it is written");
    let again = long_window(folder.path());
    let claim = |content| again.claim(Signal::Traces, content, 1);
    assert!(matches!(claim(part(1, 0..10)), Claim::Stored));
    assert!(matches!(claim(part(2, 0..10)), Claim::First(_)));
    again.unsettled(Signal::Traces, part(1, 0..5), 0, record(7, 1));
    assert!(matches!(claim(part(1, 0..5)), Claim::Reserved));
    assert!(matches!(claim(part(1, 5..10)), Claim::Stored));
    again.settle(StreamId(7), |_, _| false);
    assert!(matches!(claim(part(1, 0..5)), Claim::First(_)));
}

#[test]
fn i3_what_is_being_stored_goes_on_when_other_shards_of_it_are_settled() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    dedupe.unsettled(Signal::Traces, part(1, 0..10), 0, record(7, 1));
    let claim = |shards| dedupe.claim(Signal::Traces, part(1, shards), 1);
    let Claim::First(ticket) = claim(10..20) else {
        panic!("it is new");
    };
    dedupe.settle(StreamId(7), |_, _| true);
    assert!(matches!(claim(10..20), Claim::InFlight(_)));
    drop(ticket);
    assert!(matches!(claim(0..10), Claim::Stored));
    let Claim::First(ticket) = claim(10..20) else {
        panic!("it was let go of");
    };
    ticket.stored(1);
    assert!(matches!(claim(0..20), Claim::Stored));
}

/// How many shards are stored beside a record that is recovered; none where that is not known yet.
fn shards_beside(dedupe: &Dedupe, record: (Position, Stage), now: u64) -> Option<usize> {
    match dedupe.recovered(Signal::Traces, part(1, 0..10), record, OWN, now) {
        Recovered::Known(known) => Some(known.len()),
        Recovered::Unsettled => None,
        Recovered::InFlight(_) => panic!("nothing is being stored"),
    }
}

#[test]
fn i2_i3_of_two_records_of_one_content_in_doubt_one_waits_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    let (low, high) = (record(7, 1), record(8, 1));
    let tell = |at, stage, now| shards_beside(&dedupe, (at, stage), now);
    // Both are in logs of earlier starts.
    dedupe.unsettled(Signal::Traces, part(1, 0..10), 0, low);
    dedupe.unsettled(Signal::Traces, part(1, 0..10), 0, high);
    assert_eq!(tell(high, Stage::Recovering, 1), None);
    assert_eq!(tell(low, Stage::Recovering, 1), Some(0));
    dedupe.settle(low.stream, |_, _| true);
    assert_eq!(tell(high, Stage::Recovering, 2), Some(10));

    // Nothing waits for what is only to be appended anew; that waits for everything else.
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    let tell = |at, stage, now| shards_beside(&dedupe, (at, stage), now);
    assert_eq!(tell(low, Stage::Reserved, 0), Some(0));
    assert_eq!(tell(high, Stage::Recovering, 0), Some(0));
    assert_eq!(tell(low, Stage::Reserved, 1), None);
    // One that is further holds it up for a while, and not for ever.
    assert_eq!(tell(record(6, 1), Stage::Recovering, 2), None);
    let later = SETTLING_NANOS + 1;
    assert_eq!(tell(record(6, 1), Stage::Recovering, later), Some(0));
    dedupe.settle(high.stream, |_, _| false);
    dedupe.settle(StreamId(6), |_, _| true);
    assert_eq!(tell(low, Stage::Reserved, later), Some(10));
}

#[test]
fn i2_a_record_of_the_stream_that_is_written_here_is_not_beside_itself() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    let Claim::First(ticket) = dedupe.claim(Signal::Traces, part(1, 0..10), 0) else {
        panic!("it is new");
    };
    ticket.stored(0);
    let own = record(OWN.0, 1);
    assert_eq!(shards_beside(&dedupe, (own, Stage::Recovering), 1), Some(0));
    let other = record(7, 1);
    assert_eq!(
        shards_beside(&dedupe, (other, Stage::Recovering), 1),
        Some(10)
    );
}

#[test]
fn i2_i3_a_copy_is_known_as_stored_once_it_is_acknowledged_and_recovered_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    for (number, sequence) in [(1, 1), (2, 2), (3, 3)] {
        let content = part(number, 0..10);
        dedupe.followed(Signal::Traces, content, 0, record(7, sequence));
    }
    let is_stored = |dedupe: &Dedupe, number| {
        let claim = dedupe.claim(Signal::Traces, part(number, 0..10), 1);
        matches!(claim, Claim::Stored)
    };
    assert!(!is_stored(&dedupe, 1), "its owner may have refused it");
    let claim = dedupe.claim(Signal::Traces, part(1, 5..15), 1);
    assert!(matches!(claim, Claim::Undecided(of) if of == [record(7, 1)]));
    let claim = dedupe.claim(Signal::Traces, part(1, 10..15), 1);
    assert!(matches!(claim, Claim::First(_)), "other shards");
    drop(claim);
    dedupe.acknowledged(StreamId(7), 2, [0; 3]);
    assert!(is_stored(&dedupe, 1) && is_stored(&dedupe, 2) && !is_stored(&dedupe, 3));
    let beside = |sequence| shards_beside(&dedupe, (record(7, sequence), Stage::Recovering), 1);
    assert_eq!(beside(1), Some(0), "it is not beside itself");
    // What is in the tables is known after a restart, too.
    dedupe.acknowledged(StreamId(7), 2, [2, 0, 0]);
    dedupe.settle(StreamId(7), |_, position| position.sequence < 3);
    assert!(dedupe.recovering().is_empty());
    dedupe.persist(Signal::Traces).expect("it is written");
    let again = long_window(folder.path());
    assert!(is_stored(&again, 1) && is_stored(&again, 2) && !is_stored(&again, 3));
}

/// Owners of a request's parts ask each other about it at the same time: none may wait for the other's part.
#[tokio::test]
async fn i3_who_asks_for_some_shards_of_a_request_waits_for_those_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = open(config(folder.path()), None).await;
    let of = |shards: std::ops::Range<usize>| Content {
        hash: ContentHash::of_request(9),
        shards: shards.collect(),
    };
    let stored = |shards| node.stored_of(Signal::Traces, 9, of(shards).shards);
    let Claim::First(ticket) = node.dedupe.claim(Signal::Traces, of(0..10), 0) else {
        panic!("it is new");
    };
    node.dedupe
        .followed(Signal::Traces, of(10..20), 0, record(7, 1));
    assert_eq!(stored(20..30).await.expect("an answer"), ShardSet::EMPTY);
    let undecided = stored(15..25).await.expect_err("its owner may store it");
    assert_eq!(undecided.code, Code::IngestOverloaded);
    assert!(stored(5..15).now_or_never().is_none(), "it is being stored");
    ticket.stored(0);
    assert_eq!(
        stored(5..10).await.expect("an answer"),
        of(5..10).shards,
        "what was not asked for is not told"
    );
    let claim = (record(8, 1), Stage::Recovering);
    let known = node.claim_recovered(Signal::Traces, claim, 9, of(30..40).shards);
    assert_eq!(known.await.expect("an answer"), ShardSet::EMPTY);
    let recovering = stored(35..45)
        .await
        .expect_err("it may be there in a moment");
    assert_eq!(recovering.code, Code::IngestOverloaded);
    assert_eq!(stored(40..45).await.expect("an answer"), ShardSet::EMPTY);
    node.close().await.expect("a close");
}

/// One record was left out in part for another, which is recovered later: each is there once.
#[test]
fn i2_what_was_left_out_of_a_record_is_not_beside_the_one_for_which_it_was() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (owner, third) = (long_window(folder.path()), long_window(other.path()));
    let (first, second) = (record(7, 1), record(OWN.0, 5));
    let Claim::First(ticket) = owner.claim(Signal::Traces, part(1, 0..4), 0) else {
        panic!("it is new");
    };
    ticket.stored(0);
    third.followed(Signal::Traces, part(1, 0..10), 0, first);
    third.acknowledged(first.stream, 1, [0; 3]);
    let claim = (first, Stage::Recovering);
    assert_eq!(shards_beside(&owner, claim, 1), Some(4));
    assert_eq!(shards_beside(&third, claim, 1), Some(0));
    for dedupe in [&owner, &third] {
        let cut = (first, Stage::Cut);
        dedupe.recovered(Signal::Traces, part(1, 4..10), cut, StreamId(1), 1);
        // The seal names those that are there as a whole.
        dedupe.settle(first.stream, |_, _| false);
        assert!(dedupe.recovering().is_empty());
    }
    let claim = (second, Stage::Recovering);
    let third_says = third.recovered(Signal::Traces, part(1, 0..4), claim, StreamId(1), 2);
    assert!(matches!(third_says, Recovered::Known(known) if known.is_empty()));
    // The first one's owner comes back, and may not append what is there.
    let again = (first, Stage::Reserved);
    assert_eq!(shards_beside(&third, again, 3), None);
    third.settle(second.stream, |_, _| true);
    assert_eq!(shards_beside(&third, again, 3), Some(10));
    let claim = third.claim(Signal::Traces, part(1, 4..10), 3);
    assert!(matches!(claim, Claim::Stored));
}

#[test]
fn i2_i3_a_copy_that_the_tables_lack_when_they_are_fenced_is_held_against_what_is_stored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dedupe = long_window(folder.path());
    for (number, sequence) in [(1, 1), (2, 2)] {
        let content = part(number, 0..10);
        dedupe.followed(Signal::Traces, content, 0, record(7, sequence));
    }
    dedupe.decided(Signal::Traces, record(7, 1), true);
    dedupe.decided(Signal::Traces, record(7, 2), false);
    let claim = |number| dedupe.claim(Signal::Traces, part(number, 0..10), 1);
    assert!(matches!(claim(1), Claim::Stored));
    let Claim::First(ticket) = claim(2) else {
        panic!("it can be stored");
    };
    ticket.stored(1);
    let recovered = (record(7, 2), Stage::Recovering);
    let known = dedupe.recovered(Signal::Traces, part(2, 0..10), recovered, OWN, 2);
    assert!(matches!(known, Recovered::Known(known) if known.len() == 10));
}
