use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{FIRST_EPOCH, Position, Signal, StreamId, Table};

use crate::{Due, LiveBatch, Reason, Seal, SealLimits, Unsealed, Waited, covers};

const LIMITS: SealLimits = SealLimits {
    bytes: 1_000,
    rows: 100,
    age: Duration::from_secs(10),
    partitions: 50,
    trace_wait: Duration::ZERO,
};

fn little() -> Unsealed {
    Unsealed {
        batches: 1,
        bytes: 10,
        rows: 1,
        partitions: 1,
        age: Duration::from_secs(4),
        requested: false,
        live_bytes: 10,
        used_bytes: 10,
        max_bytes: 10_000,
        waited: None,
    }
}

#[test]
fn each_trigger_seals_and_nothing_else_does() {
    assert_eq!(LIMITS.due(&little()), Due::In(Duration::from_secs(6)));
    assert_eq!(
        LIMITS.due(&Unsealed {
            batches: 0,
            requested: true,
            ..little()
        }),
        Due::Idle
    );
    let due = |unsealed| LIMITS.due(&unsealed);
    assert_eq!(
        due(Unsealed {
            bytes: 1_000,
            ..little()
        }),
        Due::Now(Reason::Bytes)
    );
    assert_eq!(
        due(Unsealed {
            rows: 100,
            ..little()
        }),
        Due::Now(Reason::Rows)
    );
    assert_eq!(
        due(Unsealed {
            partitions: 50,
            ..little()
        }),
        Due::Now(Reason::Partitions)
    );
    assert_eq!(
        due(Unsealed {
            age: LIMITS.age,
            ..little()
        }),
        Due::Now(Reason::Age)
    );
    assert_eq!(
        due(Unsealed {
            requested: true,
            ..little()
        }),
        Due::Now(Reason::Requested)
    );
}

#[test]
fn batches_that_wait_are_sealed_when_those_that_have_waited_make_a_file() {
    let wait = Duration::from_secs(5);
    let due = |bytes, rows, age| {
        LIMITS.due(&Unsealed {
            bytes: 5_000,
            rows: 500,
            partitions: 60,
            age: Duration::from_secs(age),
            waited: Some(Waited { wait, bytes, rows }),
            ..little()
        })
    };
    assert_eq!(due(0, 0, 4), Due::In(Duration::from_secs(11)));
    assert_eq!(due(999, 99, 14), Due::In(Duration::from_secs(1)));
    assert_eq!(due(1_000, 1, 6), Due::Now(Reason::Bytes));
    assert_eq!(due(1, 100, 6), Due::Now(Reason::Rows));
    assert_eq!(due(1, 1, 15), Due::Now(Reason::Age));
    let none = Some(Waited {
        wait,
        bytes: 0,
        rows: 0,
    });
    for (unsealed, reason) in [
        (
            Unsealed {
                requested: true,
                ..little()
            },
            Reason::Requested,
        ),
        (
            Unsealed {
                bytes: 300,
                live_bytes: 900,
                used_bytes: 5_000,
                ..little()
            },
            Reason::Pressure,
        ),
    ] {
        let waited = none;
        assert_eq!(
            LIMITS.due(&Unsealed { waited, ..unsealed }),
            Due::Now(reason)
        );
    }
}

#[test]
fn under_pressure_the_signals_that_hold_the_memory_seal() {
    let pressed = |bytes| {
        LIMITS.due(&Unsealed {
            bytes,
            live_bytes: 900,
            used_bytes: 5_000,
            ..little()
        })
    };
    assert_eq!(pressed(300), Due::Now(Reason::Pressure));
    assert!(matches!(pressed(299), Due::In(_)));
}

#[test]
fn a_seal_carries_the_last_sequence_of_each_stream() {
    let batch = |stream, sequence| {
        let position = Position {
            stream: StreamId(stream),
            sequence,
        };
        Arc::new(LiveBatch::new(position, Signal::Logs, Vec::new()))
    };
    let seal = Seal::new(
        Signal::Logs,
        vec![batch(7, 3), batch(7, 9), batch(8, 1), batch(8, 2)],
        &HashMap::from([(StreamId(8), 3), (StreamId(9), 2)]),
    );
    assert_eq!(
        seal.upto,
        [
            Position {
                stream: StreamId(7),
                sequence: 9
            },
            Position {
                stream: StreamId(8),
                sequence: 2
            }
        ]
    );
    assert_eq!(seal.epoch(StreamId(7)), FIRST_EPOCH);
    assert_eq!(seal.epoch(StreamId(8)), 3);
    assert!(seal.bytes > 0, "a batch without rows is not free");
    assert!(seal.rows_of(Table::Logs, &HashMap::new()).is_empty());
}

#[test]
fn a_watermark_covers_its_own_stream_up_to_its_number() {
    let watermarks = HashMap::from([(StreamId(7), 5)]);
    let at = |stream, sequence| {
        covers(
            &watermarks,
            Position {
                stream: StreamId(stream),
                sequence,
            },
        )
    };
    assert!(at(7, 1) && at(7, 5));
    assert!(!at(7, 6) && !at(8, 1));
}
