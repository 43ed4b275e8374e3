use std::sync::Arc;

use otlake_base::{Position, Signal, StreamId};
use otlake_consensus::state::{StreamRecord, StreamState};
use otlake_replicate::{Copies, Ensemble, Ensembles, Member};

use crate::registry::{ensembles, to_state, was_kept};

#[test]
fn a_record_was_kept_where_a_range_or_its_signals_watermark_has_it() {
    let (ranges, released) = ([(3, 4), (9, 9)], [0, u64::MAX, 5]);
    let kept = |signal| -> Vec<u64> {
        let at = |sequence| {
            let stream = StreamId(1);
            Position { stream, sequence }
        };
        let is_kept = |sequence: &u64| was_kept(&ranges, &released, signal, at(*sequence));
        (1..=10).filter(is_kept).collect()
    };
    assert_eq!(kept(Signal::Traces), [3, 4, 9]);
    assert_eq!(kept(Signal::Metrics), (1..=10).collect::<Vec<u64>>());
    assert_eq!(kept(Signal::Logs), [1, 2, 3, 4, 5, 9]);
}

#[test]
fn ensembles_are_read_from_the_group_as_they_were_proposed() {
    let member = |name: &str, journal| Member {
        name: name.into(),
        journal,
    };
    let copies = |followers: Vec<Member>, acks| Copies { followers, acks };
    let first = Ensemble {
        version: 1,
        first_sequence: 1,
        signals: [
            copies(vec![member("n2", 5), member("a-b.c", u128::MAX)], 2),
            copies(vec![member("n2", 5)], 2),
            copies(Vec::new(), 1),
        ],
    };
    let second = Ensemble {
        version: 4,
        first_sequence: 900,
        ..first.clone()
    };
    let mut record = StreamRecord {
        stream: StreamId(1),
        owner: Arc::from("n1"),
        epoch: 1,
        ensembles: vec![to_state(&first), to_state(&second)],
        state: StreamState::Open,
        since_ms: 0,
    };
    assert_eq!(
        ensembles(&record).expect("members"),
        Ensembles(vec![first, second])
    );
    record.ensembles[0].followers.spans = vec![Arc::from("n2")];
    ensembles(&record).expect_err("a member without its journal");
}
