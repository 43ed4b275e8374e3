use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use otlake_base::{Code, Metrics, Position, RealDisk, Result, Signal, SystemClock};

use crate::faulty_disk::FaultyDisk;
use crate::{Durability, Log, LogConfig, Record, Replay};

pub const SEGMENT: u64 = 4096;

pub fn config(dir: &Path) -> LogConfig {
    LogConfig {
        dir: dir.to_owned(),
        segment_bytes: SEGMENT,
        max_bytes: 1024 * SEGMENT,
        durability: Durability::Fsync,
    }
}

pub fn open(dir: &Path) -> (Log, Replay) {
    Log::open(config(dir), Arc::new(SystemClock), Arc::new(Metrics::new())).unwrap()
}

pub fn record(text: &str) -> Record {
    Record {
        signal: Signal::ALL[text.len() % 3],
        tenant: "default".into(),
        received_unix_nano: 7,
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// Appends and waits for the answer.
pub fn append(log: &Log, record: Record) -> Result<Position> {
    let (answer, answered) = channel();
    log.append(record, Box::new(move |result| answer.send(result).unwrap()));
    answered.recv().unwrap()
}

/// The payloads and the error codes that a replay of `dir` gives.
pub fn replayed(dir: &Path) -> (Vec<String>, Vec<Code>) {
    let (log, replay) = open(dir);
    let (mut payloads, mut codes) = (Vec::new(), Vec::new());
    for item in replay {
        match item {
            Ok((_, record)) => payloads.push(String::from_utf8(record.payload.to_vec()).unwrap()),
            Err(error) => codes.push(error.code),
        }
    }
    log.close().unwrap();
    (payloads, codes)
}

#[test]
fn sequences_are_gapless_and_answered_in_order_from_many_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let (answer, answered) = channel();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (log, answer) = (&log, answer.clone());
            scope.spawn(move || {
                for number in 0..100 {
                    let answer = answer.clone();
                    log.append(
                        record(&format!("{thread}-{number}")),
                        Box::new(move |result| answer.send(result.unwrap().sequence).unwrap()),
                    );
                }
            });
        }
    });
    let sequences: Vec<u64> = answered.iter().take(800).collect();
    assert_eq!(sequences, (1..=800).collect::<Vec<_>>());
    assert_eq!(log.last_durable(), 800);
    log.close().unwrap();
    let (mut payloads, codes) = replayed(dir.path());
    assert_eq!(codes, []);
    payloads.sort();
    let mut sent: Vec<String> = (0..8)
        .flat_map(|t| (0..100).map(move |n| format!("{t}-{n}")))
        .collect();
    sent.sort();
    assert_eq!(payloads, sent);
}

#[test]
fn a_reopened_log_replays_what_was_appended_with_every_field() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let sent = Record {
        signal: Signal::Logs,
        tenant: "blå".into(),
        received_unix_nano: u64::MAX,
        payload: Bytes::from_static(&[0, 1, 255]),
    };
    let position = append(&log, sent.clone()).unwrap();
    let empty = Record {
        payload: Bytes::new(),
        ..sent.clone()
    };
    append(&log, empty.clone()).unwrap();
    log.close().unwrap();
    let (log, replay) = open(dir.path());
    let items: Vec<_> = replay.map(Result::unwrap).collect();
    assert_eq!(items[0], (position, sent));
    assert_eq!(items[1].1, empty);
    assert_ne!(log.stream(), position.stream);
}

#[test]
fn segments_go_when_every_signal_has_passed_them() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let long = "x".repeat(900);
    let mut last = [None; 3];
    for number in 0..12 {
        let record = record(&format!("{long}{}", "y".repeat(number % 3)));
        let signal = record.signal;
        last[signal.index()] = Some((signal, append(&log, record).unwrap()));
    }
    let before = log.segments();
    assert!(before >= 3, "{before} segments");
    let [first, second, third] = last.map(Option::unwrap);
    log.release(first.0, first.1);
    log.release(second.0, second.1);
    assert_eq!(log.segments(), before);
    log.release(third.0, third.1);
    assert_eq!(log.segments(), 1, "the segment being written stays");
    log.close().unwrap();
    assert_eq!(log.segments(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn segments_of_earlier_streams_go_when_released() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let position = append(&log, record("abc")).unwrap();
    log.close().unwrap();
    let (log, mut replay) = open(dir.path());
    assert_eq!(replay.next().unwrap().unwrap().0, position);
    log.release(Signal::ALL[0], position);
    assert_eq!(log.segments(), 1, "the replay may still read it");
    assert!(replay.next().is_none());
    log.release(Signal::ALL[0], position);
    assert_eq!(log.segments(), 0);
}

#[test]
fn a_full_log_refuses_and_recovers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        max_bytes: 3 * SEGMENT,
        ..config(dir.path())
    };
    let (log, _) = Log::open(config, Arc::new(SystemClock), Arc::new(Metrics::new())).unwrap();
    let payload = "z".repeat(1500);
    let mut accepted = Vec::new();
    let refused = loop {
        match append(&log, record(&payload)) {
            Ok(position) => accepted.push(position),
            Err(error) => break error,
        }
        assert!(accepted.len() < 100);
    };
    assert_eq!(refused.code, Code::LogFull);
    assert!(log.bytes() <= 3 * SEGMENT);
    log.release(record(&payload).signal, *accepted.last().unwrap());
    let next = append(&log, record(&payload)).unwrap();
    assert_eq!(next.sequence, accepted.last().unwrap().sequence + 1);
}

#[test]
fn a_failed_sync_refuses_what_it_covered_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (log, _) = Log::open_on(
        Arc::new(disk.clone()),
        config(dir.path()),
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
    .unwrap();
    assert_eq!(append(&log, record("kept")).unwrap().sequence, 1);
    disk.0.lock().sync = true;
    assert_eq!(
        append(&log, record("refused")).unwrap_err().code,
        Code::LogIo
    );
    assert_eq!(append(&log, record("after")).unwrap().sequence, 2);
    disk.0.lock().write_after = Some(60);
    assert_eq!(
        append(&log, record("cut off")).unwrap_err().code,
        Code::LogIo
    );
    assert_eq!(append(&log, record("last")).unwrap().sequence, 3);
    log.close().unwrap();
    assert_eq!(
        replayed(dir.path()),
        (vec!["kept".into(), "after".into(), "last".into()], vec![])
    );
}

#[test]
fn a_disk_with_no_space_for_a_segment_refuses_and_recovers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::default();
    let (log, _) = Log::open_on(
        Arc::new(disk.clone()),
        config(dir.path()),
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
    .unwrap();
    disk.0.lock().create = true;
    assert_eq!(
        append(&log, record("refused")).unwrap_err().code,
        Code::LogIo
    );
    assert_eq!(append(&log, record("kept")).unwrap().sequence, 1);
    // The head of a new segment cannot be written either: nothing may be acknowledged in it.
    disk.0.lock().write_after = None;
    log.close().unwrap();
    assert_eq!(replayed(dir.path()), (vec!["kept".into()], vec![]));
}

#[test]
fn a_closed_log_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open_on(
        Arc::new(RealDisk),
        LogConfig {
            durability: Durability::Relaxed,
            ..config(dir.path())
        },
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
    .unwrap();
    append(&log, record("relaxed")).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(
        append(&log, record("late")).unwrap_err().code,
        Code::IngestStopping
    );
    assert_eq!(replayed(dir.path()).0, ["relaxed"]);
}

fn of(signal: Signal, text: &str) -> Record {
    Record {
        signal,
        ..record(text)
    }
}

fn open_faulty(dir: &Path, max_bytes: u64) -> (Log, FaultyDisk) {
    let disk = FaultyDisk::default();
    let config = LogConfig {
        max_bytes,
        ..config(dir)
    };
    let (log, _) = Log::open_on(
        Arc::new(disk.clone()),
        config,
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    )
    .unwrap();
    (log, disk)
}

#[test]
fn segments_go_in_order_so_that_replay_finds_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let long = "x".repeat(3500);
    let logs = format!("logs{long}");
    let more = format!("more{long}");
    let first = append(&log, of(Signal::Logs, &logs)).unwrap();
    let traces = append(&log, of(Signal::Traces, &long)).unwrap();
    append(&log, of(Signal::Logs, &more)).unwrap();
    log.release(Signal::Traces, traces);
    assert_eq!(log.segments(), 3);
    log.close().unwrap();
    assert_eq!(
        replayed(dir.path()),
        (vec![logs, long, more.clone()], vec![])
    );
    let (log, replay) = open(dir.path());
    assert_eq!(replay.count(), 3);
    log.release(Signal::Traces, traces);
    log.release(Signal::Logs, first);
    log.close().unwrap();
    assert_eq!(replayed(dir.path()), (vec![more], vec![]));
}

#[test]
fn a_refused_record_does_not_come_back_when_nothing_follows_it() {
    for max_bytes in [1024 * SEGMENT, SEGMENT] {
        let dir = tempfile::tempdir().unwrap();
        let (log, disk) = open_faulty(dir.path(), max_bytes);
        append(&log, of(Signal::Logs, "kept")).unwrap();
        disk.0.lock().sync = true;
        append(&log, of(Signal::Logs, "refused")).unwrap_err();
        // As after a crash: the log is read before it is closed.
        assert_eq!(replayed(dir.path()), (vec!["kept".into()], vec![]));
        log.close().unwrap();
        assert_eq!(replayed(dir.path()), (vec!["kept".into()], vec![]));
    }
}

#[test]
fn a_refused_record_does_not_come_back_after_a_second_failure_or_a_release() {
    let dir = tempfile::tempdir().unwrap();
    let (log, disk) = open_faulty(dir.path(), 1024 * SEGMENT);
    append(&log, of(Signal::Logs, "kept")).unwrap();
    disk.0.lock().sync = true;
    disk.0.lock().create = true;
    append(&log, of(Signal::Logs, "refused")).unwrap_err();
    let long = "x".repeat(3500);
    let traces = append(&log, of(Signal::Traces, &long)).unwrap();
    assert_eq!(traces.sequence, 2);
    append(&log, of(Signal::Logs, "after")).unwrap();
    log.release(Signal::Traces, traces);
    log.close().unwrap();
    assert_eq!(
        replayed(dir.path()),
        (vec!["kept".into(), long, "after".into()], vec![])
    );
}

#[test]
fn a_record_that_a_frame_cannot_describe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path());
    let long = Record {
        tenant: "t".repeat(256).into(),
        ..record("payload")
    };
    assert_eq!(append(&log, long).unwrap_err().code, Code::OtlpTenant);
    assert_eq!(append(&log, record("fits")).unwrap().sequence, 1);
}
